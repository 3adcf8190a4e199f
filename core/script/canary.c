/*
 * canary: a strategy against made-up providers and requests. Twice: over the plan's own providers in the kind of views
 * that it will meet in service, and over at least 64, through references, which refuse every write to a view.
 *
 * Thread: the caller's.   Owns: copies of the plan around providers of its own, so that nothing that serves is touched.
 * Invariant: always interpreted, so that the guard can end it; nothing that is common to all workers is changed.
 */
#include "script/canary.h"

#include "base/clock.h"
#include "script/decide.h"
#include "script/generation_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define MANY       64
#define HEAD_BYTES 8192

struct trial {
  struct generation *g;
  struct plan *plan;
  struct buf *report;
  char **told; /* findings without their inputs */
  unsigned *n_told;
  uint64_t until_ns;
  const char *look, *request_name; /* the current inputs */
  struct lb_request request;
  char head[HEAD_BYTES];
  uint16_t all[PLAN_PROVIDERS_MAX];
};

static uint64_t cpu_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- made-up providers ---- */

static char **copy_list(char **list) {
  unsigned n = 0;
  while (list && list[n])
    n++;
  char **copy = x_calloc(n + 1, sizeof *copy);
  for (unsigned i = 0; i < n; i++)
    copy[i] = x_strdup(list[i]);
  return copy;
}

static void copy_entry(struct plan_entry *to, const struct plan *real, unsigned i) {
  const struct plan_entry *from = real->n_entries ? &real->entries[i % real->n_entries] : NULL;
  char id[PROVIDER_ID_MAX + 1];
  if (i < real->n_entries)
    (void)snprintf(id, sizeof id, "%s", from->provider->id);
  else
    (void)snprintf(id, sizeof id, "made-up-%u", i + 1);
  to->provider = provider_new(id, from ? from->provider->kind : PROVIDER_DIRECT, clock_mono_ms());
  to->weight = from ? from->weight : 1;
  to->priority = from ? from->priority : 100;
  if (from && from->model) to->model = x_strdup(from->model);
  to->tags = copy_list(from ? from->tags : NULL);
}

/* The same strategy over copies of its providers, filled up to `at_least`. */
static struct plan *copy_plan(const struct plan *real, unsigned at_least) {
  struct plan *p = plan_new();
  p->generation = real->generation;
  p->settings.guard_is_fast = real->settings.guard_is_fast;
  p->settings.call_budget_us = real->settings.call_budget_us;
  p->strategy_name = real->strategy_name ? x_strdup(real->strategy_name) : NULL;
  p->strategy_options = real->strategy_options ? x_strdup(real->strategy_options) : NULL;
  p->strategy_options_at = real->strategy_options_at ? x_strdup(real->strategy_options_at) : NULL;
  p->strategy_source = real->strategy_source;
  if (real->strategy_path) {
    p->strategy_path = x_strdup(real->strategy_path);
    p->strategy_source.ptr = x_strndup(real->strategy_source.ptr, real->strategy_source.len);
  }
  p->n_entries = real->n_entries > at_least ? real->n_entries : at_least;
  p->entries = x_calloc(p->n_entries ? p->n_entries : 1, sizeof *p->entries);
  for (unsigned i = 0; i < p->n_entries; i++)
    copy_entry(&p->entries[i], real, i);
  plan_seal(p);
  return p;
}

static void set_averages(struct provider *p, uint32_t samples, double x) {
  p->samples = samples;
  p->latency_ms = p->ttft_ms = p->tpot_ms = p->peak_ttft_ms = x;
}

static void look_new(struct provider *p, unsigned i) {
  (void)i;
  set_averages(p, 0, NAN);
  p->in_flight = 0;
}

static void look_busy(struct provider *p, unsigned i) {
  set_averages(p, 100 + i, 20.0 * (i % 7 + 1));
  p->in_flight = i % 5;
  p->error_rate = p->throttle_rate = 0.05 * (i % 3);
  p->dispatched = 1000 + i;
  provider_note_limits(p, &(struct limits){.requests = {10, 500}, .tokens = {1000, 500}});
}

static void look_failing(struct provider *p, unsigned i) {
  look_busy(p, i);
  p->error_rate = p->throttle_rate = 1;
  p->consecutive_failures = 1000000;
  p->last_class = i % OUTCOME_N;
  p->state = PROVIDER_DOWN;
  p->cooldown_until_ms = clock_mono_ms() + 3600000;
}

static void look_huge(struct provider *p, unsigned i) {
  look_busy(p, i);
  set_averages(p, UINT32_MAX, i % 2 ? 1e300 : INFINITY);
  p->in_flight = UINT32_MAX - i % 3;
  p->dispatched = UINT64_MAX;
}

static void look_weightless(struct provider *p, unsigned i) {
  look_busy(p, i);
  set_averages(p, 1, 0);
}

static const struct look {
  const char *name;
  void (*dress)(struct provider *p, unsigned i);
} LOOKS[] = {{"new providers", look_new},
             {"busy providers", look_busy},
             {"all failing", look_failing},
             {"huge numbers", look_huge},
             {"weight 0, averages 0", look_weightless}};

static void dress(struct trial *t, const struct look *look) {
  t->look = look->name;
  for (unsigned i = 0; i < t->plan->n_entries; i++) {
    look->dress(t->plan->entries[i].provider, i);
    t->g->call.providers[i].weight = look->dress == look_weightless ? 0 : t->plan->entries[i].weight;
  }
  t->g->facts.is_known = false;
  if (t->g->mode == MODE_TABLES) views_write_all(t->g);
}

/* ---- made-up requests ---- */

static struct lb_text text(const char *s) {
  return (struct lb_text){s, (uint32_t)strlen(s), 0};
}

static void make_request(struct trial *t, unsigned which) {
  static const char *const names[] = {"a plain request", "an empty request", "a huge request"};
  t->request_name = names[which];
  /* What no request lacks in service, none lacks here. */
  t->request = (struct lb_request){.id = text("canary"),
                                   .kind = text(which ? "embeddings" : "chat"),
                                   .client = text("127.0.0.1"),
                                   .max_tokens = NAN,
                                   .attempt = 1,
                                   .seed = 0.5};
  if (which == 1) return;
  t->request.model = text("gpt-4o");
  t->request.session_key = text("session-1");
  t->request.head = text("content-type: application/json\r\n");
  t->request.body_bytes = 1000;
  t->request.est_input_tokens = 250;
  t->request.deadline_ms = 600000;
  t->request.prefix_hash = 0x1p52;
  t->request.stream = 1;
  if (which < 2) return;
  memset(t->head, 'x', sizeof t->head);
  memcpy(t->head, "x-tenant: ", 10);
  t->request.head = (struct lb_text){t->head, sizeof t->head, 0};
  t->request.body_bytes = 1e12;
  t->request.est_input_tokens = 2.5e11;
  t->request.max_tokens = 1e15;
  t->request.elapsed_ms = 1e9;
  t->request.deadline_ms = -1;
  t->request.attempt = 1000;
}

#define N_REQUESTS 3

/* ---- findings ---- */

static void tell(struct trial *t, const char *finding, const char *format, ...) PRINTF_LIKE(3, 4);
static void tell(struct trial *t, const char *finding, const char *format, ...) {
  if (*t->n_told == CANARY_FINDINGS_MAX) return;
  for (unsigned i = 0; i < *t->n_told; i++)
    if (strcmp(t->told[i], finding) == 0) return;
  t->told[(*t->n_told)++] = x_strdup(finding);
  char input[128];
  va_list args;
  va_start(args, format);
  (void)vsnprintf(input, sizeof input, format, args);
  va_end(args);
  if (*input)
    buf_putf(t->report, "%s (%s)\n", finding, input);
  else
    buf_putf(t->report, "%s\n", finding);
}

static uint64_t faults(const struct trial *t, enum callback which) {
  const uint64_t *n = t->g->stats.callbacks[which].faults;
  return n[FAULT_TIMEOUT] + n[FAULT_MEMORY] + n[FAULT_THROW] + n[FAULT_INVALID];
}

/* One that did not end once has shown what it is: it would only cost its budget again and again. */
static bool is_endless(const struct trial *t, enum callback which) {
  return t->g->stats.callbacks[which].faults[FAULT_TIMEOUT] > 0;
}

/*
 * What counts against a choice among n. Nobody asks for one among none, so there it only has to end. And one that picks
 * by a fixed number may miss when few are left: the engine's own choice stands in then, which is no reason to refuse it.
 */
static uint64_t select_faults(const struct trial *t, unsigned n) {
  const uint64_t *f = t->g->stats.callbacks[CALLBACK_SELECT].faults;
  uint64_t count = f[FAULT_TIMEOUT] + f[FAULT_MEMORY];
  if (n > 0) count += f[FAULT_THROW];
  if (n == t->plan->n_entries) count += f[FAULT_INVALID];
  return count;
}

static bool is_over(const struct trial *t) {
  return cpu_ns() > t->until_ns || *t->n_told == CANARY_FINDINGS_MAX;
}

/* Findings are what it is here for: they bench nobody. */
static void go_on(struct trial *t) {
  t->g->phase = GENERATION_SERVING;
  t->g->window_faults = 0;
}

static void tell_last(struct trial *t, const char *input) {
  char error[SCRIPT_ERROR_MAX];
  generation_last_error(t->g, error);
  tell(t, error, "%s", input);
  go_on(t);
}

/* ---- the callbacks ---- */

static void try_select(struct trial *t, unsigned n) {
  if (is_endless(t, CALLBACK_SELECT)) return;
  struct decision d = {0};
  uint64_t before = select_faults(t, n);
  (void)decide_ask(t->g, &d, &t->request, t->all, n);
  if (select_faults(t, n) == before) {
    go_on(t);
    return;
  }
  char input[128];
  (void)snprintf(input, sizeof input, "%u candidates, %s, %s", n, t->look, t->request_name);
  tell_last(t, input);
}

static void try_outcome(struct trial *t, const struct outcome *o) {
  char input[128];
  (void)snprintf(input, sizeof input, "class %s, %s, %s", outcome_name(o->class), t->look, t->request_name);
  uint32_t delay_ms;
  for (unsigned i = 0; i < 2; i++) {
    unsigned slot = i ? t->plan->n_entries - 1 : 0;
    uint64_t before = faults(t, CALLBACK_RETRY);
    if (o->class != OUTCOME_OK && !is_endless(t, CALLBACK_RETRY))
      (void)decide_retry(t->g, &delay_ms, &t->request, slot, o);
    if (faults(t, CALLBACK_RETRY) != before) tell_last(t, input);
    before = faults(t, CALLBACK_OBSERVE);
    if (!is_endless(t, CALLBACK_OBSERVE)) decide_observe(t->g, &t->request, slot, o);
    if (faults(t, CALLBACK_OBSERVE) != before) tell_last(t, input);
  }
}

static void try_outcomes(struct trial *t) {
  for (int class = 0; class < OUTCOME_N; class ++) {
    struct outcome o = {.class = class,
                        .status = class == OUTCOME_OK ? 200 : 500,
                        .connect_ms = 1,
                        .ttft_ms = 50,
                        .total_ms = 200,
                        .tokens_in = 10,
                        .tokens_out = 100};
    try_outcome(t, &o);
    o = (struct outcome){.class = class,
                         .retry_after_ms = UINT32_MAX,
                         .connect_ms = NAN,
                         .ttft_ms = NAN,
                         .total_ms = 0,
                         .tokens_in = -1,
                         .tokens_out = -1,
                         .committed = true};
    try_outcome(t, &o);
    if (is_over(t)) return;
  }
}

static void try_health(struct trial *t) {
  static const struct evidence all[] = {
      {.is_probe = true, .ok = true, .status = 200, .latency_ms = 5, .attempts = 1},
      {.is_probe = true, .latency_ms = NAN, .attempts = 1, .failures = 1, .reason = "connection refused"},
      {.ok = true, .status = 200, .latency_ms = 900, .attempts = 100},
      {.status = 503, .latency_ms = NAN, .attempts = 100, .failures = 100, .reason = ""},
      {.status = 200, .latency_ms = INFINITY, .attempts = UINT32_MAX, .failures = 1},
      {.latency_ms = NAN},
  };
  char reason[DECIDE_REASON_MAX];
  for (size_t i = 0; i < ARRAY_LEN(all) && !is_endless(t, CALLBACK_HEALTH); i++) {
    uint64_t before = faults(t, CALLBACK_HEALTH);
    (void)decide_health(t->g, reason, (unsigned)i % t->plan->n_entries, &all[i]);
    char input[128];
    (void)snprintf(input, sizeof input, "%s, %u of %u failed, %s", all[i].is_probe ? "a probe" : "a window",
                   all[i].failures, all[i].attempts, t->look);
    if (faults(t, CALLBACK_HEALTH) != before) tell_last(t, input);
  }
}

static void try_look(struct trial *t, const struct look *look) {
  dress(t, look);
  unsigned n_all = t->plan->n_entries;
  const unsigned sizes[] = {0, 1, 3, MANY, n_all};
  for (unsigned r = 0; r < N_REQUESTS && !is_over(t); r++) {
    make_request(t, r);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
      if (sizes[i] <= n_all) try_select(t, sizes[i]);
    try_outcomes(t);
  }
  try_health(t);
  uint64_t before = faults(t, CALLBACK_TICK);
  if (!is_endless(t, CALLBACK_TICK)) decide_tick(t->g);
  if (faults(t, CALLBACK_TICK) != before) tell_last(t, look->name);
}

/* What it exports must suit its own init. */
static void try_handover(struct trial *t) {
  struct buf data;
  buf_init(&data, SCRIPT_EXPORT_MAX + 1);
  uint64_t before = faults(t, CALLBACK_EXPORT);
  bool has_data = generation_export(t->g, &data);
  if (faults(t, CALLBACK_EXPORT) != before) tell_last(t, t->look);
  if (has_data) {
    char err[SCRIPT_ERROR_MAX];
    struct generation *next = generation_new_as(t->plan, 0, buf_cstr(&data), t->g->mode, true, err);
    if (!next) tell(t, err, "with what its own export has returned");
    generation_free(next);
  }
  buf_release(&data);
}

static bool run(struct trial *t, const struct plan *real, unsigned at_least, enum generation_mode mode,
                const char *previous) {
  char err[SCRIPT_ERROR_MAX];
  abi_begin_trial();
  t->plan = copy_plan(real, at_least);
  t->g = generation_new_as(t->plan, 0, previous, mode, true, err);
  bool is_loaded = t->g != NULL;
  if (!is_loaded && previous)
    tell(t, err, "with what the version before has exported");
  else if (!is_loaded && t->plan->n_entries != real->n_entries)
    tell(t, err, "with %u providers", t->plan->n_entries);
  else if (!is_loaded)
    tell(t, err, "%s", "");
  for (size_t i = 0; is_loaded && i < ARRAY_LEN(LOOKS) && !is_over(t); i++)
    try_look(t, &LOOKS[i]);
  if (is_loaded && cpu_ns() <= t->until_ns) try_handover(t);
  generation_free(t->g);
  plan_unref(&t->plan);
  abi_end_trial();
  return is_loaded;
}

unsigned canary_run(struct plan *plan, const char *previous, struct buf *report) {
  char *told[CANARY_FINDINGS_MAX];
  unsigned n_told = 0;
  struct trial t = {.report = report,
                    .told = told,
                    .n_told = &n_told,
                    .until_ns = cpu_ns() + (uint64_t)CANARY_MAX_MS * 1000000};
  for (unsigned i = 0; i < PLAN_PROVIDERS_MAX; i++)
    t.all[i] = (uint16_t)i;
  bool is_strict = plan->strategy_path && !plan->settings.guard_is_fast;
  if (run(&t, plan, 1, is_strict ? MODE_TABLES : MODE_FFI_SLOW, previous))
    (void)run(&t, plan, MANY, MODE_FFI_SLOW, previous);
  for (unsigned i = 0; i < n_told; i++)
    free(told[i]);
  return n_told;
}
