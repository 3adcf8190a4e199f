/*
 * admin: the routes that read (health, providers, strategy) and the operator's switches. They sum
 * atomics and read the plan of the worker that answers; only a reload leaves the worker.
 */
#include "flow/admin_chain.h"
#include "flow/api.h"
#include "base/clock.h"
#include "wire/json.h"

#include <math.h>
#include <stdlib.h>

static double load_double(const double *at) {
  double x;
  __atomic_load(at, &x, __ATOMIC_RELAXED);
  return x;
}

static void put_u64(struct json_writer *w, const char *key, const uint64_t *counter) {
  json_key(w, key);
  json_int(w, (int64_t)__atomic_load_n(counter, __ATOMIC_RELAXED));
}

static void put_double(struct json_writer *w, const char *key, const double *value) {
  json_key(w, key);
  json_double(w, load_double(value));
}

static void put_counters(struct json_writer *w, struct provider *p, uint64_t now) {
  put_u64(w, "dispatched", &p->dispatched);
  json_key(w, "outcomes");
  json_open(w, '{');
  for (int i = 0; i < OUTCOME_N; i++)
    put_u64(w, outcome_name((enum outcome_class)i), &p->counters.by_class[i]);
  json_close(w, '}');
  put_u64(w, "tokensIn", &p->counters.tokens_in);
  put_u64(w, "tokensOut", &p->counters.tokens_out);
  put_u64(w, "probesOk", &p->counters.probes_ok);
  put_u64(w, "probesFailed", &p->counters.probes_failed);
  json_key(w, "ejections");
  json_int(w, (int64_t)provider_sum(p->counters.ejections));
  json_key(w, "cooldowns");
  json_int(w, (int64_t)provider_sum(p->counters.cooldowns));
  json_key(w, "verifyOk");
  json_int(w, shared_get_u32(&p->counters.verify_ok));
  json_key(w, "verifyFail");
  json_int(w, shared_get_u32(&p->counters.verify_fail));
  put_double(w, "latencyMs", &p->latency_ms);
  put_double(w, "ttftMs", &p->ttft_ms);
  put_double(w, "tpotMs", &p->tpot_ms);
  put_double(w, "errorRate", &p->error_rate);
  put_double(w, "throttleRate", &p->throttle_rate);
  json_key(w, "consecutiveFailures");
  json_int(w, shared_get_u32(&p->consecutive_failures));
  struct provider_rest rest;
  provider_read_limits(p, &rest);
  json_key(w, "rateLimitRequestsLeft");
  json_double(w, rest.requests_left);
  json_key(w, "rateLimitTokensLeft");
  json_double(w, rest.tokens_left);
  json_key(w, "rateLimitResetMs");
  json_double(w, rest.reset_ms);
  json_key(w, "stateSinceMs");
  uint64_t since = __atomic_load_n(&p->state_since_ms, __ATOMIC_RELAXED);
  json_int(w, (int64_t)(now > since ? now - since : 0));
}

static void put_provider(struct json_writer *w, const struct plan_entry *e, uint64_t now, bool all) {
  struct provider *p = e->provider;
  char reason[PROVIDER_REASON_MAX];
  provider_copy_reason(p, reason, now);
  json_open(w, '{');
  json_key(w, "address");
  json_cstring(w, p->id);
  json_key(w, "endpoint");
  json_cstring(w, e->has_endpoint ? e->endpoint.text : NULL);
  json_key(w, "model");
  json_cstring(w, e->model);
  json_key(w, "isHealthy");
  json_bool(w, provider_is_healthy(p, now));
  json_key(w, "connections");
  json_int(w, shared_get_u32(&p->in_flight));
  json_key(w, "lastHealthCheck");
  uint64_t probed = __atomic_load_n(&p->last_probe_wall_ms, __ATOMIC_RELAXED);
  if (probed)
    json_int(w, (int64_t)probed);
  else
    json_null(w);
  json_key(w, "kind");
  json_cstring(w, p->kind == PROVIDER_ONCHAIN ? "onchain" : "direct");
  json_key(w, "state");
  json_cstring(w, provider_state_name((enum provider_state)shared_get_u32(&p->state)));
  json_key(w, "admin");
  json_cstring(w, provider_admin_name((enum provider_admin)shared_get_u32(&p->admin)));
  json_key(w, "cooldownMs");
  json_int(w, (int64_t)provider_free_in_ms(p, now));
  json_key(w, "reason");
  json_cstring(w, reason[0] ? reason : NULL);
  json_key(w, "weight");
  json_double(w, e->weight);
  json_key(w, "priority");
  json_double(w, e->priority);
  if (all) admin_put_service(w, e);
  if (all) put_counters(w, p, now);
  json_close(w, '}');
}

static unsigned count_healthy(const struct plan *plan, uint64_t now) {
  unsigned n = 0;
  for (unsigned i = 0; i < plan->n_entries; i++)
    n += provider_is_healthy(plan->entries[i].provider, now);
  return n;
}

/* Of the whole: what the operator has switched off is no sickness, but nobody is served when all are. */
static const char *judge(const struct plan *plan, bool is_benched, uint64_t now) {
  unsigned n_on = 0, n_healthy = 0;
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct provider *p = plan->entries[i].provider;
    if (shared_get_u32(&p->admin) != PROVIDER_ENABLED) continue;
    n_on++;
    n_healthy += provider_is_healthy(p, now);
  }
  if (n_healthy == 0) return "unhealthy";
  return n_healthy < n_on || is_benched ? "degraded" : "healthy";
}

static void put_balancer(struct json_writer *w, struct exchange *x, bool all) {
  const struct plan *plan = x->plan;
  uint64_t now = clock_mono_ms(), connections = 0;
  for (unsigned i = 0; i < plan->n_entries; i++)
    connections += shared_get_u32(&plan->entries[i].provider->in_flight);
  json_open(w, '{');
  json_key(w, "totalProviders");
  json_int(w, plan->n_entries);
  json_key(w, "healthyProviders");
  json_int(w, count_healthy(plan, now));
  json_key(w, "totalConnections");
  json_int(w, (int64_t)connections);
  json_key(w, "activeSessions");
  json_int(w, (int64_t)session_count(x->flow->shared->sessions));
  json_key(w, "providers");
  json_open(w, '[');
  for (unsigned i = 0; i < plan->n_entries; i++)
    put_provider(w, &plan->entries[i], now, all);
  json_close(w, ']');
  if (all) admin_put_chain(w, x->flow->shared, true);
  json_close(w, '}');
}

/* Bodies of local answers have a maximum that 256 providers cannot reach. */
static void begin(struct exchange *x, struct json_writer *w) {
  buf_clear(&x->flow->text);
  json_begin(w, &x->flow->text);
}

static void answer(struct exchange *x, int status) {
  static const struct reply_extra extra = {.fields = {"Cache-Control: no-store\r\n", 25}};
  exchange_answer(x, status, "application/json", buf_span(&x->flow->text), &extra);
}

/* An empty text is null. */
static void put_text(struct json_writer *w, const char *key, const char *text) {
  json_key(w, key);
  json_cstring(w, text[0] ? text : NULL);
}

/* How much is going on, beside its bounds. */
static void put_load(struct json_writer *w, struct shared *s) {
  json_key(w, "load");
  json_open(w, '{');
  json_key(w, "clients");
  json_int(w, admission_count(s->admission));
  json_key(w, "maxClients");
  json_int(w, admission_max(s->admission));
  json_key(w, "activeRequests");
  json_int(w, shared_active_exchanges(s));
  json_key(w, "queuedRequests");
  json_int(w, shared_get_u32(&s->queued_exchanges));
  json_close(w, '}');
}

/* Empty: none is. Control's word comes a moment after the worker's own. */
static const char *why_benched(const struct strategy_status *status, const struct strategy_totals *totals) {
  if (status->benched[0] || !(totals->n_benched || totals->n_dead)) return status->benched;
  return totals->last_error[0] ? totals->last_error : "too many errors";
}

void admin_health(struct exchange *x) {
  struct shared *s = x->flow->shared;
  struct strategy_status strategy;
  shared_copy_status(s, &strategy);
  struct strategy_totals totals;
  generation_stats(x->plan, &totals);
  const char *why = why_benched(&strategy, &totals);
  const char *status = judge(x->plan, *why, clock_mono_ms());
  struct json_writer w;
  begin(x, &w);
  json_open(&w, '{');
  json_key(&w, "status");
  json_cstring(&w, status);
  json_key(&w, "loadBalancer");
  put_balancer(&w, x, false);
  json_key(&w, "strategy");
  json_open(&w, '{');
  json_key(&w, "name");
  json_cstring(&w, generation_strategy_name(x->generation));
  json_key(&w, "generation");
  json_int(&w, (int64_t)x->plan->generation);
  json_key(&w, "phase");
  json_cstring(&w, *why ? "benched" : "serving");
  json_key(&w, "errors");
  json_int(&w, (int64_t)totals.errors);
  put_text(&w, "benched", why);
  put_text(&w, "lastReloadError", strategy.last_error);
  put_text(&w, "guard", strategy.guard);
  json_close(&w, '}');
  put_load(&w, s);
  admin_put_chain(&w, s, false);
  json_key(&w, "version");
  json_cstring(&w, MOONGATE_VERSION);
  json_key(&w, "uptimeMs");
  json_int(&w, (int64_t)(clock_wall_ms() - s->started_wall_ms));
  json_close(&w, '}');
  answer(x, strcmp(status, "unhealthy") == 0 ? 503 : 200);
}

/* For those who come with a browser. */
void admin_welcome(struct exchange *x) {
  static const char text[] = "Moongate: one OpenAI-compatible endpoint in front of many providers.\n"
                             "\n"
                             "  POST /v1/chat/completions  a chat; GET /v1/models lists the models\n"
                             "  GET  /health               state of the balancer and its providers\n"
                             "  GET  /admin/providers      the same with all counters, for the operator\n"
                             "  GET  /metrics              for Prometheus\n";
  exchange_answer(x, 200, "text/plain; charset=utf-8", span_make(text, sizeof text - 1), NULL);
}

void admin_providers(struct exchange *x) {
  struct json_writer w;
  begin(x, &w);
  put_balancer(&w, x, true);
  answer(x, 200);
}

static void put_callbacks(struct json_writer *w, const struct strategy_totals *totals) {
  json_key(w, "callbacks");
  json_open(w, '{');
  for (int i = 0; i < CALLBACK_N; i++) {
    const struct callback_stats *c = &totals->callbacks[i];
    json_key(w, callback_name((enum callback)i));
    json_open(w, '{');
    json_key(w, "calls");
    json_int(w, (int64_t)c->calls);
    json_key(w, "meanNs");
    json_double(w, c->timed ? round((double)c->total_ns / (double)c->timed) : NAN);
    json_key(w, "maxNs");
    json_int(w, (int64_t)c->max_ns);
    json_key(w, "errors");
    json_open(w, '{');
    for (int k = 0; k < FAULT_N; k++) {
      json_key(w, script_fault_name((enum script_fault)k));
      json_int(w, (int64_t)c->faults[k]);
    }
    json_close(w, '}');
    json_close(w, '}');
  }
  json_close(w, '}');
}

void admin_strategy(struct exchange *x) {
  struct strategy_status status;
  struct strategy_totals totals;
  shared_copy_status(x->flow->shared, &status);
  generation_stats(x->plan, &totals);
  const char *why = why_benched(&status, &totals);
  struct json_writer w;
  begin(x, &w);
  json_open(&w, '{');
  json_key(&w, "name");
  json_cstring(&w, generation_strategy_name(x->generation));
  put_text(&w, "strategy", status.name);
  put_text(&w, "file", status.file);
  json_key(&w, "generation");
  json_int(&w, (int64_t)status.generation);
  put_text(&w, "digest", status.digest);
  json_key(&w, "since");
  json_int(&w, (int64_t)status.since_wall_ms);
  json_key(&w, "phase");
  json_cstring(&w, *why ? "benched" : "serving");
  json_key(&w, "errors");
  json_int(&w, (int64_t)totals.errors);
  put_text(&w, "lastError", totals.last_error);
  json_key(&w, "builtinChoices");
  json_int(&w, (int64_t)totals.skipped);
  put_callbacks(&w, &totals);
  json_key(&w, "reloads");
  json_int(&w, (int64_t)status.reloads_ok);
  json_key(&w, "failedReloads");
  json_int(&w, (int64_t)status.reloads_failed);
  put_text(&w, "lastReloadError", status.last_error);
  put_text(&w, "benched", why);
  put_text(&w, "guard", status.guard);
  json_close(&w, '}');
  answer(x, 200);
}

/* ---- switches ---- */

void admin_switch_provider(struct exchange *x) {
  static const struct {
    struct span verb;
    enum provider_admin admin;
  } verbs[] = {{{"/drain", 6}, PROVIDER_DRAINING},
               {{"/enable", 7}, PROVIDER_ENABLED},
               {{"/disable", 8}, PROVIDER_DISABLED}};
  size_t skip = strlen("/admin/providers/");
  struct span rest = span_make(x->path.ptr + skip, x->path.len - skip);
  for (size_t i = 0; i < ARRAY_LEN(verbs); i++) {
    if (!span_ends(rest, verbs[i].verb)) continue;
    char id[PROVIDER_ID_MAX];
    struct span written = span_make(rest.ptr, rest.len - verbs[i].verb.len);
    int slot = plan_find(x->plan, http_path_text(id, sizeof id, written));
    if (slot < 0) {
      exchange_error(x, 404, NULL, "provider_not_found",
                     "There is no provider with that id; see /admin/providers");
      return;
    }
    struct provider *p = x->plan->entries[slot].provider;
    provider_switch(p, verbs[i].admin);
    log_info("provider %s: %s by the operator", p->id, provider_admin_name(verbs[i].admin));
    struct json_writer w;
    begin(x, &w);
    put_provider(&w, &x->plan->entries[slot], clock_mono_ms(), false);
    answer(x, 200);
    return;
  }
  exchange_error(x, 404, NULL, "not_found", "Say /admin/providers/ID/drain, /enable or /disable");
}

/* ---- reload ---- */

static void on_reload_answer(struct reload_ticket *t) {
  struct flow *f = t->flow;
  list_each(node, next, &f->exchanges) {
    struct exchange *x = container_of(node, struct exchange, node);
    if (x->id != t->exchange_id) continue;
    if (t->ok) {
      struct json_writer w;
      begin(x, &w);
      json_open(&w, '{');
      json_key(&w, "generation");
      json_int(&w, (int64_t)t->generation);
      json_close(&w, '}');
      answer(x, 200);
    } else {
      exchange_error(x, 422, NULL, "reload_failed", t->error);
    }
    break;
  }
  free(t);
}

void admin_reload(struct exchange *x) {
  x->state = EXCHANGE_WAITING_FOR_CONTROL;
  struct reload_ticket *t = x_calloc(1, sizeof *t);
  t->reply_to = x->flow->loop;
  t->on_answer = on_reload_answer;
  t->flow = x->flow;
  t->exchange_id = x->id;
  x->flow->shared->ask_reload(x->flow->shared, t);
}
