/*
 * reload: how a changed configuration or strategy comes into service, and how a strategy that keeps failing leaves it.
 *
 *   wish (signal, file, route) ─► load ─► ask workers for what their strategies hand over ─► canary ─► a generation for
 *   each worker, built here ─► hand over (one pointer per worker, between requests) ─► old ones come back and are freed
 *
 * Any step that fails leaves what serves untouched. One job at a time; wishes without a ticket are merged. There is one
 * kind of reload: the same steps serve a changed script, provider list or timeout.
 *
 * Thread: control's, but for the two functions that say otherwise.
 */
#include "base/clock.h"
#include "base/redact.h"
#include "base/secrecy.h"
#include "daemon/control_private.h"
#include "daemon/notify.h"

#include <math.h>
#include <nettle/sha2.h>
#include <stdlib.h>

#define WINDOW_MS 1000

struct reload_wish {
  struct list node;
  struct reload_ticket *ticket;
  struct plan *strategy_of; /* counted; NULL: everything as configured */
  bool is_derived;
};

static void begin_next(struct control *c);

/* ---- plans ---- */

/* What a plan speaks, now or when the contract has been read: services there are reached by https://. */
static bool needs_tls(const struct plan *p) {
  if (p->settings.chain.nodes[0] || strcmp(p->settings.upstream, "curl") == 0) return true;
  for (unsigned i = 0; i < p->n_entries; i++)
    if (p->entries[i].has_endpoint && p->entries[i].endpoint.is_tls) return true;
  return false;
}

/* A configuration that can be served as far as this machine goes, or NULL. */
static struct plan *load_settings(struct settings_report *report, const struct options *o, struct span text,
                                  struct registry *registry) {
  struct plan *plan = settings_load(report, o->config, text, &o->overrides, registry);
  const char *trouble = plan && needs_tls(plan) ? upstream_prepare_tls(plan->settings.tls_ca) : NULL;
  if (trouble) {
    buf_putf(&report->problems, "%s\n", trouble);
    report->n_problems++;
    plan_unref(&plan);
  }
  return plan;
}

struct plan *reload_load_plan(struct settings_report *report, const struct options *o, struct span text,
                              struct registry *registry) {
  struct plan *plan = load_settings(report, o, text, registry);
  if (plan && !builder_try(report, plan, NULL)) plan_unref(&plan);
  if (report->trial) (void)builder_try(report, report->trial, NULL);
  return plan;
}

static void put_digest(char out[65], struct span source) {
  struct sha256_ctx hash;
  uint8_t digest[SHA256_DIGEST_SIZE];
  sha256_init(&hash);
  sha256_update(&hash, source.len, (const uint8_t *)source.ptr);
  sha256_digest(&hash, sizeof digest, digest);
  for (size_t i = 0; i < sizeof digest; i++)
    (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
}

static void note_taken(struct control *c, bool is_derived) {
  struct strategy_status *s = &c->shared.status;
  pthread_mutex_lock(&c->shared.status_lock);
  if (!is_derived) s->last_error[0] = '\0';
  s->generation = c->plan->generation;
  s->since_wall_ms = clock_wall_ms();
  (void)snprintf(s->name, sizeof s->name, "%s", c->plan->strategy_name);
  (void)snprintf(s->file, sizeof s->file, "%s", c->plan->strategy_path ? c->plan->strategy_path : "");
  put_digest(s->digest, c->plan->strategy_source);
  if (c->last_generation > 1 && !is_derived) s->reloads_ok++;
  pthread_mutex_unlock(&c->shared.status_lock);
}

static void note_refused(struct control *c, const char *error) {
  struct strategy_status *s = &c->shared.status;
  pthread_mutex_lock(&c->shared.status_lock);
  s->reloads_failed++;
  (void)snprintf(s->last_error, sizeof s->last_error, "%s", error);
  pthread_mutex_unlock(&c->shared.status_lock);
}

static void note_benched(struct control *c, const char *why) {
  pthread_mutex_lock(&c->shared.status_lock);
  (void)snprintf(c->shared.status.benched, sizeof c->shared.status.benched, "%s", why);
  pthread_mutex_unlock(&c->shared.status_lock);
}

static bool has_same_strategy(const struct plan *a, const struct plan *b) {
  return span_eq(a->strategy_source, b->strategy_source) &&
         strcmp(a->strategy_options, b->strategy_options) == 0;
}

/* The plan that leaves is the one to come back to, when its strategy did its work. */
static void remember_good(struct control *c, const struct plan *next) {
  struct strategy_totals totals;
  strategy_stats_read(c->plan->stats, &totals);
  if (totals.benched_ever || totals.dead_ever || has_same_strategy(c->plan, next)) return;
  if (c->last_good) plan_unref(&c->last_good);
  c->last_good = plan_ref(c->plan);
}

void reload_take_plan(struct control *c, struct plan *plan, bool is_derived) {
  if (c->plan) {
    remember_good(c, plan);
    plan_unref(&c->plan);
  }
  c->plan = plan;
  plan->generation = ++c->last_generation;
  plan_init_providers(plan);
  log_setup(plan->settings.log_level, plan->settings.log_format);
  note_taken(c, is_derived);
}

/* ---- generations ---- */

struct trouble {
  struct loop_message message;
  struct control *control;
  uint64_t generation;
  enum generation_phase phase;
  char error[SCRIPT_ERROR_MAX];
};

static void on_trouble_message(struct loop_message *m) {
  struct trouble *t = container_of(m, struct trouble, message);
  struct control *c = t->control;
  /* Each worker's generation of a plan may report; the first one is enough. */
  if (!c->is_stopping && !c->loop.is_closing && t->generation == c->plan->generation &&
      c->plan != c->last_good) {
    char why[768];
    (void)snprintf(why, sizeof why, "strategy %s (generation %llu) %s: %s", c->plan->strategy_name,
                   (unsigned long long)t->generation,
                   t->phase == GENERATION_DEAD ? "did not come to an end" : "kept failing", t->error);
    note_benched(c, why);
    bool has_other = c->last_good && !has_same_strategy(c->last_good, c->plan);
    log_error("%s; %s serves", why,
              has_other ? c->last_good->strategy_name : "the built-in least in-flight choice");
    if (has_other) {
      struct reload_wish *w = x_calloc(1, sizeof *w);
      w->strategy_of = plan_ref(c->last_good);
      list_push_back(&c->waiting, &w->node);
      begin_next(c);
    }
  }
  free(t);
}

static void on_trouble(void *context, struct generation *g, enum generation_phase phase) {
  struct trouble *t = x_calloc(1, sizeof *t);
  t->control = context;
  t->generation = generation_plan(g)->generation;
  t->phase = phase;
  generation_last_error(g, t->error);
  t->message.on_loop = on_trouble_message;
  loop_post(&t->control->loop, &t->message);
}

struct generation *reload_new_generation(struct control *c, unsigned worker, const char *previous,
                                         char err[SCRIPT_ERROR_MAX]) {
  struct generation *g = generation_new(c->plan, worker, previous, err);
  if (g) generation_on_trouble(g, on_trouble, c);
  return g;
}

struct returned {
  struct loop_message message;
  struct generation *generation;
};

static void on_returned(struct loop_message *m) {
  struct returned *r = container_of(m, struct returned, message);
  generation_bind(r->generation);
  generation_free(r->generation);
  free(r);
}

/* Any thread. */
void reload_return_generation(struct shared *s, struct generation *g) {
  struct returned *r = x_calloc(1, sizeof *r);
  r->generation = g;
  r->message.on_loop = on_returned;
  loop_post(s->control, &r->message);
}

/* ---- a job ---- */

static void warn_of_fixed(const struct settings *was, const struct settings *is) {
  if (strcmp(was->host, is->host) != 0 || was->port != is->port)
    log_warn("host and port change with a restart only");
  if (was->workers != is->workers) log_warn("workers changes with a restart only");
  bool same_ca = was->tls_ca && is->tls_ca ? strcmp(was->tls_ca, is->tls_ca) == 0 : was->tls_ca == is->tls_ca;
  if (!same_ca || strcmp(was->upstream, is->upstream) != 0)
    log_warn("tls.ca and upstream change with a restart only");
  bool same_store = was->session_store && is->session_store
                        ? strcmp(was->session_store, is->session_store) == 0
                        : was->session_store == is->session_store;
  if (!same_store || was->max_session_store_bytes != is->max_session_store_bytes)
    log_warn("sessionStore and maxSessionStoreBytes change with a restart only");
}

static void on_answer_message(struct loop_message *m) {
  struct reload_ticket *t = container_of(m, struct reload_ticket, message);
  t->on_answer(t);
}

static void answer(struct reload_ticket *t, bool ok, uint64_t generation, const char *error) {
  if (!t) return;
  t->ok = ok;
  t->generation = generation;
  (void)snprintf(t->error, sizeof t->error, "%s", error);
  t->message.on_loop = on_answer_message;
  loop_post(t->reply_to, &t->message);
}

static void end_job(struct control *c) {
  struct reload_job *job = c->job;
  notify_send("READY=1");
  c->job = NULL;
  for (unsigned i = 0; job->exports && i < c->n_workers; i++)
    free(job->exports[i]);
  free(job->exports);
  if (job->plan) plan_unref(&job->plan);
  if (job->strategy_of) plan_unref(&job->strategy_of);
  free(job);
}

static void refuse(struct control *c, struct settings_report *report) {
  (void)redact_apply(&report->problems);
  if (report->problems.len && report->problems.data[report->problems.len - 1] == '\n') report->problems.len--;
  const char *text = buf_cstr(&report->problems);
  log_error("%s refused, generation %llu goes on: %s",
            c->job->is_derived ? "what the contract says now is" : "reload",
            (unsigned long long)c->plan->generation, text);
  note_refused(c, text);
  answer(c->job->ticket, false, c->plan->generation, text);
  end_job(c);
}

/* The loaded plan takes over. */
static void take_over(struct control *c, struct generation **all) {
  struct reload_job *job = c->job;
  warn_of_fixed(&c->plan->settings, &job->plan->settings);
  bool is_return = job->strategy_of != NULL || job->is_derived;
  reload_take_plan(c, job->plan, job->is_derived);
  job->plan = NULL;
  if (!is_return) note_benched(c, "");
  for (unsigned i = 0; i < c->n_workers; i++) {
    generation_on_trouble(all[i], on_trouble, c);
    worker_adopt(&c->workers[i], all[i]);
  }
  session_table_limit(c->shared.sessions, c->plan->settings.max_sessions,
                      c->plan->settings.session_timeout_ms);
  if (c->store) session_store_limit(c->store, c->plan->settings.session_timeout_ms);
  control_follow_limits(c);
  prober_adopt(&c->prober, c->plan);
  chain_adopt(c->chain, c->plan);
  if (!is_return) chain_hurry_all(c->chain);
  generation_on_trouble(all[c->n_workers], on_trouble, c);
  reload_follow_plan(c, all[c->n_workers]);
  free(all);
  log_info("generation %llu: strategy %s over %u providers%s", (unsigned long long)c->plan->generation,
           c->plan->strategy_name, c->plan->n_entries, job->is_derived ? ", as the contract says now" : "");
  answer(job->ticket, true, c->plan->generation, "");
  end_job(c);
}

static void on_built(struct builder *b) {
  struct control *c = b->context;
  struct generation **all = b->all;
  struct settings_report report = b->report;
  for (unsigned i = 0; all && i <= c->n_workers; i++)
    generation_bind(all[i]);
  if (c->is_stopping) {
    if (all) builder_drop(all, c->n_workers + 1);
    end_job(c);
  } else if (all) {
    take_over(c, all);
  } else {
    refuse(c, &report);
  }
  settings_report_release(&report);
  begin_next(c);
}

static void build(struct control *c) {
  struct reload_job *job = c->job;
  job->plan->generation = c->last_generation + 1;
  job->builder = (struct builder){.loop = &c->loop,
                                  .plan = job->plan,
                                  .exports = job->exports,
                                  .n_workers = c->n_workers,
                                  .on_built = on_built,
                                  .context = c};
  builder_start(&job->builder);
}

static void on_exported(struct loop_message *m) {
  struct worker_export *e = container_of(m, struct worker_export, message);
  struct control *c = e->context;
  struct reload_job *job = c->job;
  if (job) {
    size_t i = (size_t)(e->worker - c->workers);
    if (e->text.len) job->exports[i] = x_strndup(e->text.data, e->text.len);
    if (--job->n_left == 0 && !c->is_stopping) build(c);
  }
  buf_release(&e->text);
  free(e);
}

void reload_take_key(struct control *c, struct settings_report *report) {
  bool has_key = report->key != NULL;
  if (has_key && !key_is_locked(report->key))
    log_warn("the wallet's key cannot be kept out of swap: raise the limit of locked memory (ulimit -l)");
  if (!chain_take_key(c->chain, &report->key)) log_warn("the wallet's key changes with a restart only");
  if (redact_knows_any()) secrecy_forbid_core();
  if (has_key) secrecy_seal();
}

/* From the configuration; false when that has ended the job. */
static bool load_configuration(struct control *c) {
  struct reload_job *job = c->job;
  notify_reloading();
  struct settings_report report;
  settings_report_init(&report);
  struct plan *plan = load_settings(&report, c->options, c->text, c->registry);
  job->plan = plan;
  if (plan)
    reload_take_key(c, &report);
  else
    refuse(c, &report); /* ends the job */
  settings_report_release(&report);
  if (!plan) return false;
  if (job->strategy_of) plan_take_strategy(job->plan, job->strategy_of);
  return true;
}

static void load(struct control *c) {
  struct reload_job *job = c->job;
  if (job->is_derived) {
    job->plan = plan_derive(c->plan, c->registry);
  } else if (!load_configuration(c)) {
    begin_next(c);
    return;
  }
  if (c->generation && generation_implements(c->generation, CALLBACK_EXPORT)) {
    job->exports = x_calloc(c->n_workers, sizeof(char *));
    job->n_left = c->n_workers;
    for (unsigned i = 0; i < c->n_workers; i++)
      worker_ask_export(&c->workers[i], on_exported, c);
    return;
  }
  build(c);
}

static void begin_next(struct control *c) {
  struct list *node;
  if (c->job || c->is_stopping || !c->is_serving || !(node = list_pop_front(&c->waiting))) return;
  struct reload_wish *w = container_of(node, struct reload_wish, node);
  c->job = x_calloc(1, sizeof *c->job);
  c->job->ticket = w->ticket;
  c->job->strategy_of = w->strategy_of;
  c->job->is_derived = w->is_derived;
  free(w);
  load(c);
}

/* Any reload that waits takes up what the contract says, too. */
void reload_derive(struct control *c) {
  if (c->is_stopping || !list_is_empty(&c->waiting)) return;
  struct reload_wish *w = x_calloc(1, sizeof *w);
  w->is_derived = true;
  list_push_back(&c->waiting, &w->node);
  begin_next(c);
}

struct plan *reload_derive_first(struct control *c) {
  struct settings_report report;
  settings_report_init(&report);
  struct plan *plan = plan_derive(c->plan, c->registry);
  plan->generation = c->last_generation + 1;
  if (!builder_try(&report, plan, NULL)) {
    log_error("the strategy does not run over what the contract says: %s", buf_cstr(&report.problems));
    plan_unref(&plan);
  }
  settings_report_release(&report);
  return plan;
}

void reload_ask(struct control *c, struct reload_ticket *ticket) {
  if (c->is_stopping) {
    answer(ticket, false, c->plan->generation, "the balancer is stopping");
    return;
  }
  list_each(node, next, &c->waiting) {
    const struct reload_wish *w = container_of(node, struct reload_wish, node);
    if (!ticket && !w->ticket && !w->strategy_of && !w->is_derived) return; /* one is on its way already */
  }
  struct reload_wish *w = x_calloc(1, sizeof *w);
  w->ticket = ticket;
  list_push_back(&c->waiting, &w->node);
  begin_next(c);
}

static void on_ask_message(struct loop_message *m) {
  struct reload_ticket *t = container_of(m, struct reload_ticket, message);
  reload_ask(((struct flow *)t->flow)->shared->control_context, t);
}

/* Any thread. */
void reload_ask_any_thread(struct shared *s, struct reload_ticket *t) {
  t->message.on_loop = on_ask_message;
  loop_post(s->control, &t->message);
}

void reload_stop(struct control *c) {
  if (c->job) {
    answer(c->job->ticket, false, c->plan->generation, "the balancer is stopping");
    c->job->ticket = NULL;
    if (!c->job->builder.is_running) end_job(c); /* else on_built does */
  }
  struct list *node;
  while ((node = list_pop_front(&c->waiting))) {
    struct reload_wish *w = container_of(node, struct reload_wish, node);
    answer(w->ticket, false, c->plan->generation, "the balancer is stopping");
    if (w->strategy_of) plan_unref(&w->strategy_of);
    free(w);
  }
}

/* ---- health by strategy ---- */

/* Attempts of one provider at the last look. */
struct window {
  uint64_t attempts, failures, ok;
};

static struct window count_attempts(const struct provider *p) {
  struct window w = {0};
  for (int i = 0; i < OUTCOME_N; i++) {
    uint64_t n = __atomic_load_n(&p->counters.by_class[i], __ATOMIC_RELAXED);
    if (i == OUTCOME_CLIENT_CLOSED) continue;
    w.attempts += n;
    if (outcome_harms_health((enum outcome_class)i)) w.failures += n;
    if (i == OUTCOME_OK) w.ok += n;
  }
  return w;
}

/* Asks the strategy; false when the engine's own rules hold. */
static bool judge(struct control *c, unsigned slot, const struct evidence *e, enum health_event *event) {
  struct generation *g = c->generation;
  if (!g || generation_is_benched(g) || !generation_implements(g, CALLBACK_HEALTH)) return false;
  uint64_t errors = generation_errors(g);
  char reason[DECIDE_REASON_MAX];
  enum lb_health verdict = decide_health(g, reason, slot, e);
  if (generation_errors(g) != errors) return false;
  int state = verdict == LB_UP         ? PROVIDER_UP
              : verdict == LB_DEGRADED ? PROVIDER_DEGRADED
              : verdict == LB_DOWN     ? PROVIDER_DOWN
                                       : -1;
  struct provider *p = generation_plan(g)->entries[slot].provider;
  *event = provider_judged(p, state, reason[0] ? reason : e->reason, e->is_probe, e->ok, clock_mono_ms(),
                           clock_wall_ms());
  return true;
}

bool reload_judge_probe(struct prober *p, unsigned slot, bool ok, int status, double latency_ms,
                        const char *reason, enum health_event *event) {
  struct evidence e = {.is_probe = true,
                       .ok = ok,
                       .status = status,
                       .latency_ms = latency_ms,
                       .attempts = 1,
                       .failures = !ok,
                       .reason = ok ? NULL : reason};
  struct control *c = p->context;
  /* A provider that has moved says so in the contract. */
  if (!ok) chain_hurry(c->chain, p->plan->entries[slot].provider);
  return judge(c, slot, &e, event);
}

static void on_window(struct wheel_timer *t) {
  struct control *c = container_of(t, struct control, window_timer);
  for (unsigned i = 0; i < c->plan->n_entries; i++) {
    struct provider *p = c->plan->entries[i].provider;
    struct window now = count_attempts(p), *was = &c->windows[i];
    uint64_t attempts = now.attempts - was->attempts, failures = now.failures - was->failures;
    *was = now;
    if (attempts == 0) continue;
    double latency;
    __atomic_load(&p->latency_ms, &latency, __ATOMIC_RELAXED);
    struct evidence e = {.ok = failures == 0,
                         .latency_ms = latency,
                         .attempts = (uint32_t)attempts,
                         .failures = (uint32_t)failures};
    enum health_event event = HEALTH_SAME;
    if (!judge(c, i, &e, &event)) continue;
    if (event == HEALTH_WENT_DOWN) log_warn("provider %s is down by the strategy's verdict", p->id);
    if (event == HEALTH_CAME_UP) log_info("provider %s is up by the strategy's verdict", p->id);
  }
  loop_timer_start(&c->loop, t, on_window, WINDOW_MS);
}

static void on_files_changed(struct watch *w) {
  reload_ask(w->context, NULL);
}

void reload_follow_plan(struct control *c, struct generation *g) {
  if (c->generation) generation_free(c->generation);
  c->generation = g;
  free(c->windows);
  c->windows = x_calloc(c->plan->n_entries, sizeof *c->windows);
  for (unsigned i = 0; i < c->plan->n_entries; i++)
    c->windows[i] = count_attempts(c->plan->entries[i].provider);
  if (c->generation && generation_implements(c->generation, CALLBACK_HEALTH))
    loop_timer_start(&c->loop, &c->window_timer, on_window, WINDOW_MS);
  else
    loop_timer_stop(&c->loop, &c->window_timer);
  if (!c->watch.loop) watch_init(&c->watch, &c->loop, on_files_changed, c);
  const char *paths[WATCH_FILES_MAX] = {c->plan->config_path, c->plan->strategy_path};
  watch_files(&c->watch, paths, c->plan->settings.reload_watch ? WATCH_FILES_MAX : 0);
}
