/*
 * metrics: GET /metrics, Prometheus' text format 0.0.4. Labels come from the configuration and from closed sets alone:
 * no text of a client is ever among them, so their number is bounded. Units are seconds, as the format's users expect.
 *
 * Thread: the worker that answers; it sums what all workers count.
 */
#include "flow/api.h"
#include "base/clock.h"
#include "flow/traffic.h"

#include <math.h>

static uint64_t load(const uint64_t *counter) {
  return __atomic_load_n(counter, __ATOMIC_RELAXED);
}

static double load_double(const double *at) {
  double x;
  __atomic_load(at, &x, __ATOMIC_RELAXED);
  return x;
}

/* ---- lines ---- */

static void head(struct buf *b, const char *name, const char *type, const char *help) {
  buf_putf(b, "# HELP moongate_%s %s\n# TYPE moongate_%s %s\n", name, help, name, type);
}

static void put_escaped(struct buf *b, const char *text) {
  for (; *text; text++) {
    if (*text == '\n') {
      buf_put_str(b, "\\n");
      continue;
    }
    if (*text == '"' || *text == '\\') buf_put_str(b, "\\");
    buf_put(b, text, 1);
  }
}

static void label(struct buf *b, const char *name, const char *value) {
  bool is_first = b->data[b->len - 1] == '{';
  buf_putf(b, "%s%s=\"", is_first ? "" : ",", name);
  put_escaped(b, value);
  buf_put_str(b, "\"");
}

static void open_labels(struct buf *b, const char *name) {
  buf_putf(b, "moongate_%s{", name);
}

/* Without a label there are no braces either. */
static void close_labels(struct buf *b) {
  if (b->data[b->len - 1] == '{')
    b->len--;
  else
    buf_put_str(b, "}");
}

static void end_u64(struct buf *b, uint64_t value) {
  close_labels(b);
  buf_putf(b, " %llu\n", (unsigned long long)value);
}

/* Shortest of the forms that the format knows; infinities are spelled +Inf and -Inf there. */
static void end_double(struct buf *b, double value) {
  close_labels(b);
  if (isinf(value))
    buf_putf(b, " %sInf\n", value < 0 ? "-" : "+");
  else
    buf_putf(b, " %.9g\n", value);
}

static void gauge(struct buf *b, const char *name, const char *help, double value) {
  head(b, name, "gauge", help);
  buf_putf(b, "moongate_%s %.15g\n", name, value);
}

/* Two labels at most; names that are NULL are none. */
struct labels {
  const char *name, *value, *name2, *value2;
};

static void put_labels(struct buf *b, const struct labels *l) {
  if (l->name) label(b, l->name, l->value);
  if (l->name2) label(b, l->name2, l->value2);
}

/* Bucket i ends at first_s doubled i times. */
static void put_buckets(struct buf *b, const char *name, const struct labels *l,
                        const uint64_t counts[HISTOGRAM_BOUNDS + 1], double first_s, double sum_s) {
  uint64_t n = 0;
  for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++) {
    n += counts[i];
    buf_putf(b, "moongate_%s_bucket{", name);
    char bound[32];
    put_labels(b, l);
    if (i < HISTOGRAM_BOUNDS) (void)snprintf(bound, sizeof bound, "%.9g", first_s * (double)(1u << i));
    label(b, "le", i < HISTOGRAM_BOUNDS ? bound : "+Inf");
    end_u64(b, n);
  }
  buf_putf(b, "moongate_%s_sum{", name);
  put_labels(b, l);
  end_double(b, sum_s);
  buf_putf(b, "moongate_%s_count{", name);
  put_labels(b, l);
  end_u64(b, n);
}

static void put_histogram(struct buf *b, const char *name, const struct labels *l, const struct histogram *h,
                          uint32_t first_us) {
  put_buckets(b, name, l, h->counts, first_us / 1e6, (double)h->sum_us / 1e6);
}

/* ---- requests ---- */

static uint64_t count_requests(const struct shared *s, unsigned kind, unsigned status, bool is_stream) {
  uint64_t n = 0;
  for (unsigned i = 0; i < s->n_workers; i++)
    n += load(&s->traffic[i].kinds[kind].by_status[status - TRAFFIC_STATUS_MIN][is_stream]);
  return n;
}

static void put_requests(struct buf *b, const struct shared *s) {
  head(b, "requests_total", "counter",
       "Balanced requests that have ended, by the status that the client got; 499: it left.");
  for (unsigned k = 0; k < TRAFFIC_KIND_N; k++) {
    for (unsigned status = TRAFFIC_STATUS_MIN; status <= TRAFFIC_STATUS_MAX; status++) {
      for (int is_stream = 0; is_stream < 2; is_stream++) {
        uint64_t n = count_requests(s, k, status, is_stream);
        if (n == 0) continue;
        open_labels(b, "requests_total");
        label(b, "kind", TRAFFIC_KIND_NAMES[k]);
        buf_putf(b, ",status=\"%u\"", status);
        label(b, "stream", is_stream ? "true" : "false");
        end_u64(b, n);
      }
    }
  }
  head(b, "request_duration_seconds", "histogram",
       "Time of balanced requests from the head to the last byte, all attempts included.");
  for (unsigned k = 0; k < TRAFFIC_KIND_N; k++) {
    struct histogram h = {{0}, 0};
    for (unsigned i = 0; i < s->n_workers; i++)
      histogram_read(&h, &s->traffic[i].kinds[k].duration);
    struct labels l = {"kind", TRAFFIC_KIND_NAMES[k], NULL, NULL};
    put_histogram(b, "request_duration_seconds", &l, &h, TRAFFIC_FIRST_US);
  }
}

/* Of one of the two that workers keep beside their requests. */
static void put_own_times(struct buf *b, const struct shared *s, const char *name, const char *help,
                          size_t offset, uint32_t first_us) {
  static const struct labels none = {NULL, NULL, NULL, NULL};
  struct histogram h = {{0}, 0};
  for (unsigned i = 0; i < s->n_workers; i++)
    histogram_read(&h, (const void *)((const char *)&s->traffic[i] + offset));
  head(b, name, "histogram", help);
  put_histogram(b, name, &none, &h, first_us);
}

static void put_own(struct buf *b, const struct shared *s) {
  put_own_times(
      b, s, "upstream_overhead_seconds",
      "Own time in requests: from the read of a request's last bytes to the start of its first attempt, "
      "without its time in the queue.",
      offsetof(struct traffic, overhead), TRAFFIC_OVERHEAD_FIRST_US);
  put_own_times(
      b, s, "loop_lag_seconds",
      "Turns of the workers' loops, in whole milliseconds: from the first news after waiting until all that "
      "came is served, which is how late what comes meanwhile can be.",
      offsetof(struct traffic, turns), LOOP_TURN_FIRST_US);
}

static void put_denied(struct buf *b, const struct shared *s) {
  head(b, "retries_denied_total", "counter",
       "Requests whose last failed attempt had no other one behind it, by why.");
  for (int k = 0; k < DENIED_N; k++) {
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n_workers; i++)
      n += load(&s->traffic[i].denied[k]);
    open_labels(b, "retries_denied_total");
    label(b, "reason", TRAFFIC_DENIAL_NAMES[k]);
    end_u64(b, n);
  }
}

static void put_affinity(struct buf *b, const struct shared *s) {
  head(b, "affinity_total", "counter",
       "Requests that X-0G-Provider-Address held to one provider, by whether it answered.");
  for (int is_hit = 1; is_hit >= 0; is_hit--) {
    uint64_t n = 0;
    for (unsigned i = 0; i < s->n_workers; i++)
      n += load(&s->traffic[i].pinned[is_hit]);
    open_labels(b, "affinity_total");
    label(b, "source", "header");
    label(b, "outcome", is_hit ? "hit" : "strict_fail");
    end_u64(b, n);
  }
}

static void put_load(struct buf *b, struct exchange *x) {
  struct shared *s = x->flow->shared;
  uint32_t active = shared_active_exchanges(s), retries = shared_get_u32(&s->active_retries);
  gauge(b, "connections", "Connections of clients.", admission_count(s->admission));
  gauge(b, "active_requests", "Balanced requests that run or wait.", active);
  gauge(b, "queued_requests", "Balanced requests that wait for their turn.",
        shared_get_u32(&s->queued_exchanges));
  gauge(b, "retry_budget_remaining", "Requests that may be in a retry now, beyond those that are.",
        fmax(0, floor(settings_retry_limit(&x->plan->settings, active)) - retries));
  gauge(b, "sessions", "Answers that can be verified.", (double)session_count(s->sessions));
}

/* ---- providers ---- */

static void begin_of(struct buf *b, const char *name, const struct plan_entry *e, bool with_model) {
  open_labels(b, name);
  label(b, "provider", e->provider->id);
  if (with_model) label(b, "model", e->model ? e->model : "");
}

static void put_attempts(struct buf *b, const struct plan *plan) {
  head(b, "attempts_total", "counter",
       "Attempts at providers that have ended, by how; retry: those behind the first of a request.");
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    for (int c = 0; c < OUTCOME_N; c++) {
      uint64_t retries = load(&e->provider->counters.retries[c]);
      uint64_t all = load(&e->provider->counters.by_class[c]);
      for (int is_retry = 0; is_retry < 2; is_retry++) {
        begin_of(b, "attempts_total", e, true);
        label(b, "class", outcome_name((enum outcome_class)c));
        label(b, "attempt", is_retry ? "retry" : "first");
        end_u64(b, is_retry ? retries : all > retries ? all - retries : 0);
      }
    }
  }
}

/* Counters by the class that led there, those that can. */
static void put_by_class(struct buf *b, const struct plan *plan, const char *name, const char *help,
                         size_t offset, bool (*is_possible)(enum outcome_class c)) {
  head(b, name, "counter", help);
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    const uint64_t *counters = (const void *)((const char *)&e->provider->counters + offset);
    for (int c = 0; c < OUTCOME_N; c++) {
      if (!is_possible((enum outcome_class)c)) continue;
      begin_of(b, name, e, false);
      label(b, "reason", outcome_name((enum outcome_class)c));
      end_u64(b, load(&counters[c]));
    }
  }
}

static bool may_pause(enum outcome_class c) {
  return c == OUTCOME_RATE_LIMITED || c == OUTCOME_EXHAUSTED || c == OUTCOME_AUTH || c == OUTCOME_OVERLOADED;
}

static void put_exclusions(struct buf *b, const struct plan *plan) {
  head(b, "pick_exclusions_total", "counter",
       "Choices that a provider was no candidate for, by why; those who do not serve the model are not "
       "counted.");
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    for (unsigned k = PROVIDER_IS_FREE + 1; k < PROVIDER_BAR_N; k++) {
      begin_of(b, "pick_exclusions_total", e, false);
      label(b, "reason", provider_bar_name((enum provider_bar)k));
      end_u64(b, load(&e->provider->counters.barred[k]));
    }
  }
}

static void put_probe_times(struct buf *b, const struct plan *plan) {
  head(b, "provider_probe_duration_seconds", "histogram", "Time of health checks.");
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct provider *p = plan->entries[i].provider;
    for (int ok = 1; ok >= 0; ok--) {
      struct histogram h = {{0}, 0};
      histogram_read(&h, &p->counters.probes[ok]);
      struct labels l = {"provider", p->id, "result", ok ? "ok" : "fail"};
      put_histogram(b, "provider_probe_duration_seconds", &l, &h, PROVIDER_PROBE_FIRST_US);
    }
  }
}

/* A counter in two parts. */
static void put_pair(struct buf *b, const struct plan *plan, const char *name, const char *help,
                     const char *label_name, const char *const values[2], bool with_model,
                     void (*get)(const struct provider *p, uint64_t out[2])) {
  head(b, name, "counter", help);
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    uint64_t n[2];
    get(e->provider, n);
    for (int k = 0; k < 2; k++) {
      begin_of(b, name, e, with_model);
      label(b, label_name, values[k]);
      end_u64(b, n[k]);
    }
  }
}

static void get_tokens(const struct provider *p, uint64_t out[2]) {
  out[0] = load(&p->counters.tokens_in);
  out[1] = load(&p->counters.tokens_out);
}
static void get_probes(const struct provider *p, uint64_t out[2]) {
  out[0] = load(&p->counters.probes_ok);
  out[1] = load(&p->counters.probes_failed);
}
static void get_verified(const struct provider *p, uint64_t out[2]) {
  out[0] = shared_get_u32(&p->counters.verify_ok);
  out[1] = shared_get_u32(&p->counters.verify_fail);
}

static void put_one(struct buf *b, const struct plan *plan, const char *name, const char *type,
                    const char *help, double (*get)(const struct provider *p, uint64_t now_ms)) {
  head(b, name, type, help);
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    double value = get(e->provider, clock_mono_ms());
    if (isnan(value)) continue; /* not known */
    begin_of(b, name, e, false);
    end_double(b, value);
  }
}

static double get_in_flight(const struct provider *p, uint64_t now_ms) {
  (void)now_ms;
  return shared_get_u32(&p->in_flight);
}
static double get_healthy(const struct provider *p, uint64_t now_ms) {
  return provider_is_healthy(p, now_ms);
}
static double get_cooldown(const struct provider *p, uint64_t now_ms) {
  return (double)provider_free_in_ms(p, now_ms) / 1000;
}
static double get_balance(const struct provider *p, uint64_t now_ms) {
  (void)now_ms;
  return p->kind == PROVIDER_ONCHAIN ? load_double(&p->balance) / 1e18 : NAN;
}
static double get_runway(const struct provider *p, uint64_t now_ms) {
  (void)now_ms;
  return p->kind == PROVIDER_ONCHAIN ? load_double(&p->runway_s) : NAN;
}
static double get_token_expiry(const struct provider *p, uint64_t now_ms) {
  (void)now_ms;
  uint64_t at = load(&p->token_expires_wall_ms);
  return at ? ((double)at - (double)clock_wall_ms()) / 1000 : NAN;
}

static void put_states(struct buf *b, const struct plan *plan) {
  head(b, "provider_state", "gauge",
       "1 for the state that the provider is in, and for the operator's switch.");
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    unsigned state = shared_get_u32(&e->provider->state), admin = shared_get_u32(&e->provider->admin);
    for (unsigned k = PROVIDER_UP; k <= PROVIDER_DOWN; k++) {
      begin_of(b, "provider_state", e, false);
      label(b, "state", provider_state_name((enum provider_state)k));
      end_u64(b, k == state);
    }
    for (unsigned k = PROVIDER_DRAINING; k <= PROVIDER_DISABLED; k++) {
      begin_of(b, "provider_state", e, false);
      label(b, "state", provider_admin_name((enum provider_admin)k));
      end_u64(b, k == admin);
    }
  }
}

static void put_rate_limits(struct buf *b, const struct plan *plan) {
  static const char *const names[2] = {"requests", "tokens"};
  head(b, "provider_ratelimit_remaining", "gauge", "What the provider's own fields said is left.");
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    struct provider_rest rest;
    provider_read_limits(e->provider, &rest);
    double left[2] = {rest.requests_left, rest.tokens_left};
    for (int k = 0; k < 2; k++) {
      if (isnan(left[k])) continue;
      begin_of(b, "provider_ratelimit_remaining", e, false);
      label(b, "resource", names[k]);
      end_double(b, left[k]);
    }
  }
}

static void put_stream_times(struct buf *b, const struct plan *plan) {
  static const struct {
    const char *name, *help;
    uint32_t first_us;
    size_t at;
  } kinds[] = {{"time_to_first_token_seconds", "Streams: from the start of the attempt to the first byte.",
                PROVIDER_TTFT_FIRST_US, offsetof(struct provider_counters, ttft)},
               {"time_per_output_token_seconds", "Streams with a usage: time of each token behind the first.",
                PROVIDER_TPOT_FIRST_US, offsetof(struct provider_counters, tpot)}};
  for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
    head(b, kinds[k].name, "histogram", kinds[k].help);
    for (unsigned i = 0; i < plan->n_entries; i++) {
      const struct plan_entry *e = &plan->entries[i];
      struct histogram h = {{0}, 0};
      histogram_read(&h, (const void *)((const char *)&e->provider->counters + kinds[k].at));
      struct labels l = {"provider", e->provider->id, "model", e->model ? e->model : ""};
      put_histogram(b, kinds[k].name, &l, &h, kinds[k].first_us);
    }
  }
}

static void put_providers(struct buf *b, const struct plan *plan) {
  static const char *const directions[2] = {"input", "output"}, *const passed[2] = {"ok", "fail"};
  put_attempts(b, plan);
  put_pair(b, plan, "tokens_total", "Tokens, as answers tell them.", "type", directions, true, get_tokens);
  put_one(b, plan, "provider_inflight_requests", "gauge", "Attempts that run.", get_in_flight);
  put_states(b, plan);
  put_one(b, plan, "provider_healthy", "gauge", "1 when /health calls it healthy.", get_healthy);
  put_one(b, plan, "provider_cooldown_seconds", "gauge", "What is left of a pause or ejection.",
          get_cooldown);
  put_by_class(b, plan, "provider_ejections_total", "Ejections after failures in a row, by the last one.",
               offsetof(struct provider_counters, ejections), outcome_harms_health);
  put_by_class(b, plan, "provider_cooldowns_total", "Pauses for limits and accounts, by what asked for them.",
               offsetof(struct provider_counters, cooldowns), may_pause);
  put_exclusions(b, plan);
  put_pair(b, plan, "provider_probes_total", "Health checks.", "result", passed, false, get_probes);
  put_probe_times(b, plan);
  put_rate_limits(b, plan);
  put_stream_times(b, plan);
  put_pair(b, plan, "verify_total", "Verified answers; fail: not what the provider signed.", "result", passed,
           false, get_verified);
  put_one(b, plan, "provider_balance", "gauge", "0G that the sub-account can spend.", get_balance);
  put_one(b, plan, "provider_runway_seconds", "gauge", "How long the balance lasts.", get_runway);
  put_one(b, plan, "session_token_expiry_seconds", "gauge", "Until the session token ends.",
          get_token_expiry);
}

/* ---- strategy ---- */

static void put_strategy(struct buf *b, struct exchange *x) {
  struct strategy_status status;
  struct strategy_totals totals;
  shared_copy_status(x->flow->shared, &status);
  generation_stats(x->plan, &totals);
  const char *name = generation_strategy_name(x->generation);
  head(b, "strategy_calls_total", "counter", "Calls of the strategy since it was loaded.");
  for (int c = 0; c < CALLBACK_N; c++) {
    open_labels(b, "strategy_calls_total");
    label(b, "strategy", name);
    label(b, "hook", callback_name((enum callback)c));
    end_u64(b, totals.callbacks[c].calls);
  }
  head(b, "strategy_errors_total", "counter", "Calls that went wrong since it was loaded, by how.");
  for (int c = 0; c < CALLBACK_N; c++) {
    for (int k = 0; k < FAULT_N; k++) {
      open_labels(b, "strategy_errors_total");
      label(b, "hook", callback_name((enum callback)c));
      label(b, "kind", script_fault_name((enum script_fault)k));
      end_u64(b, totals.callbacks[c].faults[k]);
    }
  }
  head(b, "strategy_duration_seconds", "histogram",
       "Time of calls since it was loaded; one of some is measured.");
  for (int c = 0; c < CALLBACK_N; c++) {
    const struct callback_stats *calls = &totals.callbacks[c];
    struct labels l = {"strategy", name, "hook", callback_name((enum callback)c)};
    put_buckets(b, "strategy_duration_seconds", &l, calls->by_time, STRATEGY_FIRST_NS / 1e9,
                (double)calls->total_ns / 1e9);
  }
  head(b, "strategy_reloads_total", "counter", "Reloads of configuration and strategy.");
  buf_putf(b, "moongate_strategy_reloads_total{result=\"ok\"} %llu\n", (unsigned long long)status.reloads_ok);
  buf_putf(b, "moongate_strategy_reloads_total{result=\"fail\"} %llu\n",
           (unsigned long long)status.reloads_failed);
  head(b, "strategy_info", "gauge", "What decides now.");
  open_labels(b, "strategy_info");
  label(b, "strategy", name);
  buf_putf(b, ",version=\"%llu\"", (unsigned long long)status.generation);
  label(b, "sha", status.digest);
  label(b, "phase", status.benched[0] || totals.n_benched || totals.n_dead ? "benched" : "serving");
  end_u64(b, 1);
}

void metrics_page(struct exchange *x) {
  static const struct reply_extra extra = {.fields = {"Cache-Control: no-store\r\n", 25}};
  const struct shared *s = x->flow->shared;
  struct buf *b = &x->flow->text;
  buf_clear(b);
  head(b, "build_info", "gauge", "The program.");
  buf_put_str(b, "moongate_build_info{version=\"" MOONGATE_VERSION "\"} 1\n");
  gauge(b, "start_time_seconds", "When it started, in seconds since 1970.",
        (double)s->started_wall_ms / 1000);
  put_requests(b, s);
  put_own(b, s);
  put_denied(b, s);
  put_affinity(b, s);
  put_load(b, x);
  put_providers(b, x->plan);
  put_strategy(b, x);
  exchange_answer(x, 200, "text/plain; version=0.0.4; charset=utf-8", buf_span(b), &extra);
}
