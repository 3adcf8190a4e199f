#include "daemon/control_private.h"
#include "daemon/notify.h"
#include "daemon/upgrade.h"
#include "base/clock.h"
#include "base/redact.h"
#include "base/secrecy.h"
#include "base/thread.h"
#include "flow/onchain.h"
#include "script/guard.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#define FIRST_ROUND_MS 1000
#define CHAIN_ROUND_MS 5000  /* the start waits no longer for the chain */
#define LOAD_MS        5000  /* a start waits so long for stored sessions */
#define LOAD_NEXT_MS   30000 /* and one that takes over, since the other one serves meanwhile */
#define LOAD_LOOK_MS   10
#define SESSION_SHARDS 256
#define SWEEP_MS       1000
#define SWEEP_SHARDS   8
#define TRIM_PEAK      128
#define TRIMS          3 /* one a second: connections that follow their requests give back memory, too */
/* Standard streams, files, control's loop; a worker's loop, listener and reserve. */
#define OWN_DESCRIPTORS            40
#define OWN_DESCRIPTORS_PER_WORKER 10

static const int SIGNALS[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2};

/* The next line without its end, which leaves the text. */
static struct span take_line(struct span *text) {
  const char *end = memchr(text->ptr, '\n', text->len);
  size_t len = end ? (size_t)(end - text->ptr) : text->len;
  struct span line = span_make(text->ptr, len);
  text->ptr += end ? len + 1 : len;
  text->len -= end ? len + 1 : len;
  return line;
}

static void print_lines(FILE *out, const char *prefix, struct span text) {
  while (text.len) {
    struct span line = take_line(&text);
    (void)fprintf(out, "%s%.*s\n", prefix, SPAN_FMT(line));
  }
}

static void log_warnings(struct span text) {
  while (text.len) {
    struct span line = take_line(&text);
    log_warn("%.*s", SPAN_FMT(line));
  }
}

/* ---- wishes of workers ---- */

struct probe_wish {
  struct loop_message message;
  struct control *control;
  struct provider *provider;
};

static void on_probe_wish(struct loop_message *m) {
  struct probe_wish *w = container_of(m, struct probe_wish, message);
  if (!w->control->is_stopping) prober_hurry(&w->control->prober, w->provider);
  /* The contract may say why: it has moved, or the account there is empty. */
  if (w->control->chain) chain_hurry(w->control->chain, w->provider);
  provider_unref(&w->provider);
  free(w);
}

static void ask_probe(struct shared *s, struct provider *p) {
  struct probe_wish *w = x_calloc(1, sizeof *w);
  w->message.on_loop = on_probe_wish;
  w->control = s->control_context;
  w->provider = provider_ref(p);
  loop_post(s->control, &w->message);
}

struct token_wish {
  struct loop_message message;
  struct control *control;
  struct token_ticket *ticket;
};

static void answer_token(void *user, bool has_fresh) {
  token_ticket_answer(user, has_fresh);
}

static void on_token_wish(struct loop_message *m) {
  struct token_wish *w = container_of(m, struct token_wish, message);
  struct token_ticket *t = w->ticket;
  if (w->control->chain)
    chain_ask_token(w->control->chain, t->provider, t->serial, answer_token, t);
  else
    answer_token(t, false);
  free(w);
}

static void ask_token(struct shared *s, struct token_ticket *t) {
  struct token_wish *w = x_calloc(1, sizeof *w);
  w->message.on_loop = on_token_wish;
  w->control = s->control_context;
  w->ticket = t;
  loop_post(s->control, &w->message);
}

/* ---- signals, stopping ---- */

struct joiner {
  struct loop_message message;
  struct control *control;
};

static void on_joined(struct loop_message *m) {
  struct joiner *j = container_of(m, struct joiner, message);
  uv_stop(&j->control->loop.uv);
  free(j);
}

/* A thread of its own waits for the workers, so that control's loop still hears a second signal. */
static void *join_workers(void *arg) {
  struct joiner *j = arg;
  for (unsigned i = 0; i < j->control->n_workers; i++)
    worker_join(&j->control->workers[i]);
  loop_post(&j->control->loop, &j->message);
  return NULL;
}

static void start_joining(struct control *c) {
  struct joiner *j = x_calloc(1, sizeof *j);
  j->control = c;
  j->message.on_loop = on_joined;
  c->is_joining = thread_start(&c->joiner, join_workers, j) == 0;
  if (!c->is_joining) (void)join_workers(j); /* a second signal is not heard then */
}

/* How long what runs may take. */
static uint32_t begin_stop(struct control *c) {
  uint32_t drain_ms = c->plan->settings.timeouts.drain;
  c->is_stopping = true;
  log_info("stopping: finishing what runs, at most %u ms", drain_ms);
  prober_stop(&c->prober);
  watch_stop(&c->watch);
  reload_stop(c);
  upgrade_stop(c);
  chain_retire(c->chain);
  return drain_ms ? drain_ms : 1;
}

static void stop(struct control *c) {
  if (c->is_stopping) {
    log_warn("second signal: ending at once");
    for (unsigned i = 0; i < c->n_workers; i++)
      worker_stop(&c->workers[i], 0);
    return;
  }
  uint32_t drain_ms = begin_stop(c);
  notify_send("STOPPING=1");
  for (unsigned i = 0; i < c->n_workers; i++)
    worker_stop(&c->workers[i], drain_ms);
  start_joining(c);
}

void control_retire(struct control *c) {
  if (c->is_stopping) return;
  uint32_t drain_ms = begin_stop(c);
  for (unsigned i = 0; i < c->n_workers; i++)
    worker_retire(&c->workers[i], drain_ms);
  start_joining(c);
}

static void on_signal(uv_signal_t *h, int number) {
  struct control *c = h->data;
  if (number != SIGHUP && number != SIGUSR2) {
    stop(c);
  } else if (!c->is_stopping && c->is_serving) {
    if (number == SIGHUP)
      reload_ask(c, NULL);
    else
      upgrade_start(c);
  }
}

static uint32_t active_exchanges(const void *shared) {
  return shared_active_exchanges(shared);
}

/* After a wave of requests the allocator's free pages go back to the system; never while one is running. */
static void trim_after_peak(struct control *c) {
  uint32_t active = shared_active_exchanges(&c->shared);
  if (active > c->peak) c->peak = active;
  if (c->trims_left) {
    c->trims_left--;
    (void)malloc_trim(0);
  }
  if (c->peak < TRIM_PEAK || active > c->peak / 8) return;
  c->peak = active;
  c->trims_left = TRIMS;
  for (unsigned i = 0; i < c->n_workers; i++)
    worker_ease(&c->workers[i]);
}

static void on_sweep(struct wheel_timer *t) {
  struct control *c = container_of(t, struct control, sweep_timer);
  trim_after_peak(c);
  session_sweep(c->shared.sessions, SWEEP_SHARDS, clock_mono_ms());
  control_follow_limits(c);
  if (c->is_serving && !c->is_stopping) upgrade_say_alive(c);
  loop_timer_start(&c->loop, t, on_sweep, SWEEP_MS);
}

/* ---- start ---- */

static void greet(const struct control *c) {
  const struct plan *plan = c->plan;
  const struct settings *s = &plan->settings;
  unsigned healthy = 0;
  uint64_t now = clock_mono_ms();
  for (unsigned i = 0; i < plan->n_entries; i++)
    healthy += provider_is_healthy(plan->entries[i].provider, now);
  log_info("Moongate " MOONGATE_VERSION ": strategy %s, %u providers configured, %u healthy, %u workers",
           plan->strategy_name, plan->n_entries, healthy, c->n_workers);
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    char reason[PROVIDER_REASON_MAX];
    provider_copy_reason(e->provider, reason, now);
    bool ok = provider_is_healthy(e->provider, now);
    log_info("provider %s: %s, %s%s%s", e->provider->id, e->has_endpoint ? e->endpoint.text : "no endpoint",
             ok ? "healthy" : "not healthy", ok || !reason[0] ? "" : ": ", ok ? "" : reason);
  }
  bool needs_brackets = strchr(s->host, ':') != NULL;
  printf("listening on http://%s%s%s:%u\n", needs_brackets ? "[" : "", s->host, needs_brackets ? "]" : "",
         c->port);
  (void)fflush(stdout);
  notify_send("READY=1\nSTATUS=%u providers, %u of them healthy, on port %u", plan->n_entries, healthy,
              c->port);
  if (c->on_listening) c->on_listening(c->port);
}

static void cannot_start(struct control *c, unsigned i, const char *err) {
  log_error("worker %u cannot start: %s", i, err);
  c->exit_code = 1;
  c->is_stopping = true;
  for (unsigned k = 0; k <= i; k++)
    worker_stop(&c->workers[k], 0);
  start_joining(c);
}

/* Those of worker i, which closes them from now on. */
static unsigned take_sockets(struct control *c, unsigned i, int *out) {
  unsigned n = 0;
  for (unsigned k = i; k < c->sockets.n && n < HANDOVER_FDS_MAX; k += c->n_workers)
    out[n++] = c->sockets.fds[k];
  return n;
}

static void serve(struct control *c) {
  if (c->is_serving || c->is_stopping) return;
  c->is_serving = true;
  loop_timer_stop(&c->loop, &c->start_timer);
  for (unsigned i = 0; i < c->n_workers; i++) {
    char err[SCRIPT_ERROR_MAX];
    struct generation *g = reload_new_generation(c, i, NULL, err);
    if (!g) {
      cannot_start(c, i, err);
      return;
    }
    int fds[HANDOVER_FDS_MAX];
    unsigned n_fds = take_sockets(c, i, fds);
    if (worker_start(&c->workers[i], i, &c->shared, g, fds, n_fds, err) == 0) continue;
    cannot_start(c, i, err);
    return;
  }
  char err[SCRIPT_ERROR_MAX];
  struct generation *own = reload_new_generation(c, c->n_workers, NULL, err);
  if (!own) log_warn("the strategy's health callback is not asked: %s", err);
  reload_follow_plan(c, own);
  greet(c);
  upgrade_say_ready(c);
}

static void on_start_timer(struct wheel_timer *t);

/* A verify may be the first request: sessions of the process before this one are there by then. */
static void serve_when_loaded(struct control *c) {
  bool is_late = loop_now_ms(&c->loop) >= c->load_until_ms;
  if (c->is_serving || is_late || !c->store || session_store_is_loaded(c->store))
    serve(c);
  else
    loop_timer_start(&c->loop, &c->start_timer, on_start_timer, LOAD_LOOK_MS);
}

/* Not before the providers are known and have been asked once, or both have had their time. */
static void serve_when_ready(struct control *c) {
  if (c->is_probed && !chain_has_first_round(c->chain)) serve_when_loaded(c);
}

static void on_first_round(struct prober *p) {
  struct control *c = p->context;
  c->is_probed = true;
  serve_when_ready(c);
}

static void on_start_timer(struct wheel_timer *t) {
  serve_when_loaded(container_of(t, struct control, start_timer));
}

/* ---- news of the chain ---- */

static void on_chain_records(void *context) {
  struct control *c = context;
  if (c->is_stopping) return;
  if (c->is_serving) {
    reload_derive(c);
    return;
  }
  struct plan *plan = reload_derive_first(c);
  if (!plan) return;
  reload_take_plan(c, plan, true);
  c->is_probed = false;
  loop_timer_start(&c->loop, &c->start_timer, on_start_timer, FIRST_ROUND_MS);
  chain_adopt(c->chain, c->plan);
  prober_adopt(&c->prober, c->plan);
}

static void on_chain_first_round(void *context) {
  serve_when_ready(context);
}

static void on_chain_status(void *context, const struct chain_status *status) {
  struct control *c = context;
  pthread_mutex_lock(&c->shared.status_lock);
  c->shared.chain = *status;
  pthread_mutex_unlock(&c->shared.status_lock);
}

static const struct chain_ops CHAIN_OPS = {
    .on_records = on_chain_records, .on_first_round = on_chain_first_round, .on_status = on_chain_status};

static void raise_descriptor_limit(void) {
  struct rlimit r;
  if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r);
  }
}

/* The limit may be changed from outside while the program runs (prlimit). */
void control_follow_limits(struct control *c) {
  const struct settings *s = &c->plan->settings;
  struct rlimit r = {.rlim_cur = 1024};
  (void)getrlimit(RLIMIT_NOFILE, &r);
  uint64_t descriptors = r.rlim_cur == RLIM_INFINITY ? UINT32_MAX : (uint64_t)r.rlim_cur;
  admission_limit(c->shared.admission, s->max_connections, s->max_connections_per_address, descriptors,
                  OWN_DESCRIPTORS + OWN_DESCRIPTORS_PER_WORKER * c->n_workers);
}

static void open_session_store(struct control *c) {
  const struct settings *set = &c->plan->settings;
  char *usual = set->session_store ? NULL : session_store_default_path(c->plan->config_path);
  struct session_store_options o = {.path = set->session_store ? set->session_store : usual,
                                    .max_bytes = set->max_session_store_bytes,
                                    .ttl_ms = set->session_timeout_ms,
                                    .is_default = usual != NULL};
  if (o.path && o.path[0]) c->store = session_store_open(c->shared.sessions, &o);
  free(usual);
}

static bool bind_sockets(struct control *c) {
  const struct settings *s = &c->plan->settings;
  const char *why = NULL;
  c->port = s->port;
  if (handover_sockets(&c->inherited, &c->sockets, c->n_workers, s->host, &c->port, &why)) return true;
  (void)fprintf(stderr, "moongate: cannot listen on %s:%u: %s\n", s->host, c->port, why);
  return false;
}

/* SO_REUSEPORT would let a second program of the same user take half of the connections unnoticed. */
static bool port_is_free(const struct settings *s) {
  if (s->port == 0) return true;
  uint16_t port = s->port;
  const char *why = NULL;
  int fd = listener_bind(s->host, &port, false, &why);
  if (fd < 0) {
    (void)fprintf(
        stderr, "moongate: cannot listen on %s:%u: %s; another program may be using the port (try --port)\n",
        s->host, s->port, why);
    return false;
  }
  (void)close(fd);
  return true;
}

static unsigned count_workers(const struct settings *s) {
  if (s->workers) return s->workers;
  long n = sysconf(_SC_NPROCESSORS_ONLN);
  return n < 1 ? 1 : n > 64 ? 64 : (unsigned)n;
}

/* Until there is somebody who hears them, signals wait: none of them may end a start half-way, as some would. */
static void hold_signals(int how) {
  sigset_t set;
  sigemptyset(&set);
  for (size_t i = 0; i < ARRAY_LEN(SIGNALS); i++)
    sigaddset(&set, SIGNALS[i]);
  (void)pthread_sigmask(how, &set, NULL);
}

static void run_loop(struct control *c, struct settings_report *report) {
  for (size_t i = 0; i < ARRAY_LEN(SIGNALS); i++) {
    (void)uv_signal_init(&c->loop.uv, &c->signals[i]);
    c->signals[i].data = c;
    (void)uv_signal_start(&c->signals[i], on_signal, SIGNALS[i]);
  }
  hold_signals(SIG_UNBLOCK);
  struct upstream_options up = {.ca_file = c->plan->settings.tls_ca,
                                .idle_ms = 55000,
                                .is_curl_only = strcmp(c->plan->settings.upstream, "curl") == 0};
  c->upstream = upstream_new(&c->loop, &up);
  prober_init(&c->prober, &c->loop, c->upstream);
  c->prober.on_first_round = on_first_round;
  c->prober.judge = reload_judge_probe;
  c->prober.context = c;
  c->load_until_ms = loop_now_ms(&c->loop) + (c->inherited.takes_over ? LOAD_NEXT_MS : LOAD_MS);
  c->chain = chain_new(&c->loop, c->upstream, c->registry, c->inherited.tally, &CHAIN_OPS, c);
  reload_take_key(c, report);
  chain_adopt(c->chain, c->plan);
  loop_timer_start(&c->loop, &c->start_timer, on_start_timer,
                   chain_has_first_round(c->chain) ? CHAIN_ROUND_MS : FIRST_ROUND_MS);
  loop_timer_start(&c->loop, &c->sweep_timer, on_sweep, SWEEP_MS);
  prober_adopt(&c->prober, c->plan);
  (void)uv_run(&c->loop.uv, UV_RUN_DEFAULT);
  for (size_t i = 0; i < ARRAY_LEN(SIGNALS); i++)
    uv_close((uv_handle_t *)&c->signals[i], NULL);
}

/* What this LuaJIT can do about scripts that loop takes a moment to find out; the start does not wait for it. */
static void *test_guard(void *arg) {
  struct control *c = arg;
  char text[sizeof c->shared.status.guard];
  bool ok = guard_self_test(text);
  if (!ok) log_warn("some looping scripts cannot be stopped here: %s", text);
  pthread_mutex_lock(&c->shared.status_lock);
  memcpy(c->shared.status.guard, text, sizeof text);
  pthread_mutex_unlock(&c->shared.status_lock);
  return NULL;
}

static void release(struct control *c) {
  if (c->is_joining) (void)pthread_join(c->joiner, NULL);
  prober_stop(&c->prober);
  upgrade_stop(c);
  loop_timer_stop(&c->loop, &c->start_timer);
  loop_timer_stop(&c->loop, &c->sweep_timer);
  loop_timer_stop(&c->loop, &c->window_timer);
  chain_free(c->chain);
  c->chain = NULL;
  secrecy_unseal();
  upstream_free(c->upstream);
  if (c->job) builder_join(&c->job->builder);
  loop_close(&c->loop); /* frees the generations that workers returned */
  if (c->generation) generation_free(c->generation);
  free(c->windows);
  /* The workers have closed theirs. */
  if (!c->is_serving) sockets_release(&c->sockets);
  sockets_release(&c->inherited.sockets);
  free(c->sockets.fds);
  free(c->workers);
  free(c->shared.traffic);
  free(c->shared.in_hand);
  session_store_close(c->store);
  session_table_free(c->shared.sessions);
  admission_free(c->shared.admission);
  if (c->last_good) plan_unref(&c->last_good);
  plan_unref(&c->plan);
  registry_free(c->registry);
  guard_stop();
  pthread_mutex_destroy(&c->shared.status_lock);
  redact_forget_all();
}

int control_run(const struct options *o, struct span text, void (*on_listening)(uint16_t port)) {
  (void)signal(SIGPIPE, SIG_IGN);
  (void)signal(SIGXFSZ, SIG_IGN); /* a file that may not grow is an error like a full disk */
  (void)signal(SIGUSR1, SIG_IGN); /* to others it means that log files have moved */
  hold_signals(SIG_BLOCK);
  raise_descriptor_limit();
  struct control c = {.options = o, .text = text, .on_listening = on_listening, .registry = registry_new()};
  handover_take(&c.inherited); /* before descriptors of our own may pass for inherited ones */
  c.parent_channel = c.inherited.channel;
  int err = loop_init(&c.loop);
  if (err) {
    (void)fprintf(stderr, "moongate: cannot make an event loop: %s\n", err_text(err));
    sockets_release(&c.inherited.sockets);
    registry_free(c.registry);
    return 1;
  }
  struct settings_report report;
  settings_report_init(&report);
  struct plan *plan = reload_load_plan(&report, o, text, c.registry);
  (void)redact_apply(&report.problems);
  print_lines(stderr, "moongate: ", buf_span(&report.problems));
  if (!plan) {
    (void)fprintf(stderr, "moongate: not started: %u problem%s\n", report.n_problems,
                  report.n_problems == 1 ? "" : "s");
    settings_report_release(&report);
    sockets_release(&c.inherited.sockets);
    loop_close(&c.loop);
    registry_free(c.registry);
    redact_forget_all();
    return 1;
  }
  if (redact_knows_any()) secrecy_forbid_core();
  if (report.key) secrecy_seal();
  pthread_mutex_init(&c.shared.status_lock, NULL);
  list_init(&c.waiting);
  reload_take_plan(&c, plan, false);
  log_warnings(buf_span(&report.warnings));
  c.n_workers = count_workers(&plan->settings);
  c.workers = x_calloc(c.n_workers, sizeof *c.workers);
  c.shared.traffic = x_calloc(c.n_workers, sizeof *c.shared.traffic);
  c.shared.in_hand = aligned_alloc(CACHE_LINE, c.n_workers * sizeof *c.shared.in_hand);
  REQUIRE(c.shared.in_hand);
  memset(c.shared.in_hand, 0, c.n_workers * sizeof *c.shared.in_hand);
  c.shared.n_workers = c.n_workers;
  c.shared.sessions =
      session_table_new(plan->settings.max_sessions, plan->settings.session_timeout_ms, SESSION_SHARDS);
  session_table_expect_filers(c.shared.sessions, c.n_workers);
  c.shared.admission = admission_new(active_exchanges, &c.shared);
  control_follow_limits(&c);
  c.shared.control = &c.loop;
  c.shared.control_context = &c;
  c.shared.ask_reload = reload_ask_any_thread;
  c.shared.return_generation = reload_return_generation;
  c.shared.ask_probe = ask_probe;
  c.shared.ask_token = ask_token;
  c.shared.started_wall_ms = clock_wall_ms();
  if ((c.inherited.sockets.n || port_is_free(&plan->settings)) && bind_sockets(&c)) {
    guard_start();
    open_session_store(&c);
    bool is_testing = thread_start(&c.tester, test_guard, &c) == 0;
    run_loop(&c, &report);
    if (is_testing) (void)pthread_join(c.tester, NULL);
  } else {
    c.exit_code = 1;
    struct upstream_options up = {0};
    c.upstream = upstream_new(&c.loop, &up);
    prober_init(&c.prober, &c.loop, c.upstream);
  }
  if (c.is_serving && c.exit_code == 0) log_info("stopped");
  settings_report_release(&report);
  release(&c);
  return c.exit_code;
}

int control_check(const struct options *o) {
  struct registry *registry = registry_new();
  struct settings_report report;
  settings_report_init(&report);
  struct plan *plan = reload_load_plan(&report, o, SPAN_NONE, registry);
  print_lines(stderr, "", buf_span(&report.problems));
  print_lines(stderr, "warning: ", buf_span(&report.warnings));
  int code = 1;
  if (plan) {
    printf("%s: fine: strategy %s over %u providers\n", o->config ? o->config : "defaults",
           plan->strategy_name, plan->n_entries);
    plan_unref(&plan);
    code = 0;
  } else {
    (void)fprintf(stderr, "%u problem%s\n", report.n_problems, report.n_problems == 1 ? "" : "s");
  }
  settings_report_release(&report);
  registry_free(registry);
  redact_forget_all();
  return code;
}

/* "file: fine: strategy prequal with init, select, tick" */
static void print_fine(const char *file, struct plan *plan) {
  char err[SCRIPT_ERROR_MAX];
  struct generation *g = generation_new(plan, 0, NULL, err);
  printf("%s: fine", file);
  for (int i = 0, n = 0; g && i < CALLBACK_N; i++) {
    /* In the order in which they are called. */
    enum callback c = i == 0 ? CALLBACK_INIT : (enum callback)(i - 1);
    if (!generation_implements(g, c)) continue;
    if (n++ == 0) printf(": strategy %s with ", generation_strategy_name(g));
    printf("%s%s", n > 1 ? ", " : "", generation_callback_name(g, c));
  }
  printf("\n");
  generation_free(g);
}

int control_check_strategy(const char *file) {
  struct registry *registry = registry_new();
  struct settings_report report;
  settings_report_init(&report);
  /* Made-up providers, so that the configuration around the strategy is complete. */
  static const char *const providers[] = {"http://127.0.0.1:7/v1", "http://127.0.0.1:8/v1",
                                          "http://127.0.0.1:9/v1"};
  struct options o = {.overrides = {.port = -1,
                                    .max_retries = -1,
                                    .health_interval_ms = -1,
                                    .session_timeout_ms = -1,
                                    .workers = -1,
                                    .strategy = file,
                                    .strategy_from = "strategy",
                                    .providers = providers,
                                    .n_providers = ARRAY_LEN(providers)}};
  struct plan *plan = reload_load_plan(&report, &o, SPAN_NONE, registry);
  print_lines(stderr, "", buf_span(&report.problems));
  int code = plan ? 0 : 1;
  if (plan) {
    print_fine(file, plan);
    plan_unref(&plan);
  }
  settings_report_release(&report);
  registry_free(registry);
  return code;
}
