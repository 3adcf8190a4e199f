#include "check.h"

#include "base/log.h"
#include "script/decide.h"
#include "script/generation_private.h"

#include <math.h>
#include <stdlib.h>
#include <time.h>

/* Processor time that nobody may exceed: on a machine that does something else at the same time, the wall clock says
   nothing. */
#define STRICT_MS 200
#define FAST_MS   2000

static struct plan *plan;
static struct generation *g;
static struct rng rng;
static struct lb_request req = {.id = {"r", 1, 0}, .kind = {"chat", 4, 0}, .attempt = 1, .max_tokens = NAN};
static const uint16_t ALL[] = {0, 1, 2};
static struct decision d;

static void close_all(void) {
  generation_free(g);
  g = NULL;
  if (plan) plan_unref(&plan);
}

static bool open_script(const char *script, bool is_fast) {
  close_all();
  plan = plan_new();
  plan->n_entries = 3;
  plan->entries = x_calloc(3, sizeof *plan->entries);
  for (unsigned i = 0; i < 3; i++) {
    char id[2] = {(char)('a' + i), '\0'};
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = 1;
    plan->entries[i].priority = 100;
    plan->entries[i].provider->in_flight = i == 1 ? 0 : 1;
  }
  plan->strategy_name = x_strdup("my.lua");
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup(script));
  plan->settings.guard_is_fast = is_fast;
  plan_seal(plan);
  char err[SCRIPT_ERROR_MAX];
  g = generation_new(plan, 0, NULL, err);
  if (!g) printf("# %s\n", err);
  return g != NULL;
}

static bool open_body(const char *callback, const char *body, bool is_fast) {
  char script[4096];
  (void)snprintf(script, sizeof script, "return { abi = 1, %s%s = function(a, b, c)\n%s\nend }",
                 strcmp(callback, "select") == 0 ? "" : "select = function() return 1 end, ", callback, body);
  return open_script(script, is_fast);
}

static double now_ms(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1000 + (double)t.tv_nsec / 1e6;
}

static void call(const char *callback) {
  static const struct outcome o = {.class = OUTCOME_SERVER, .status = 500, .tokens_in = -1, .tokens_out = -1};
  static const struct evidence e = {.is_probe = true, .latency_ms = NAN, .attempts = 1, .failures = 1};
  char reason[DECIDE_REASON_MAX];
  uint32_t delay_ms;
  struct buf out;
  if (strcmp(callback, "select") == 0) {
    decide_select(g, &d, &req, ALL, 3, &rng);
  } else if (strcmp(callback, "retry") == 0) {
    CHECK_INT(decide_retry(g, &delay_ms, &req, 0, &o), DECIDE_NEXT);
  } else if (strcmp(callback, "observe") == 0) {
    decide_observe(g, &req, 0, &o);
  } else if (strcmp(callback, "health") == 0) {
    CHECK_INT(decide_health(g, reason, 0, &e), LB_KEEP);
  } else if (strcmp(callback, "tick") == 0) {
    decide_tick(g);
  } else {
    buf_init(&out, 100);
    CHECK(!generation_export(g, &out));
    CHECK_INT(out.len, 0);
    buf_release(&out);
  }
}

static void has_told(const char *text) {
  char error[SCRIPT_ERROR_MAX];
  generation_last_error(g, error);
  if (!strstr(error, text)) printf("# told is: %s\n", error);
  CHECK(strstr(error, text));
}

/* ---- strict ---- */

static const char *const LOOPS[] = {
    "while true do end",
    "for i = 1, 1e15 do end",
    "while true do pcall(function() while true do end end) end",
    "pcall(pcall, function() while true do end end) return 1",
    "local function f() return pcall(f) and f() or f() end return f()",
    "local co = coroutine.wrap(function() while true do end end) co() return 1",
    "local co = coroutine.create(function() while true do end end) while true do coroutine.resume(co) end",
    "while true do local co = coroutine.wrap(function() coroutine.yield(1) end) co() end",
    "local t = setmetatable({}, { __index = function() while true do end end }) return t.x",
    "local t = setmetatable({}, { __lt = function() while true do end end }) return t < t",
    "local t = setmetatable({}, { __tostring = function() while true do end end }) return tostring(t)",
    "table.sort({ 1, 2, 3 }, function() while true do end end) return 1",
    "return ('abc'):gsub('.', function() while true do end end)",
    "while true do local x = ('a'):rep(1000):find('b') end",
    "while true do pcall(error, 'x') end",
    "local t = {} while true do t[1] = { t[1] } t[1] = nil end",
    "local s = 0 while true do s = s + lb.random() lb.now_ms() end",
};

static void loops_end_in_each_callback(void) {
  static const char *const callbacks[] = {"select", "retry", "observe", "health", "tick", "export"};
  for (size_t i = 0; i < ARRAY_LEN(callbacks); i++) {
    CHECK(open_body(callbacks[i], "while true do end", false));
    double start = now_ms();
    call(callbacks[i]);
    double took = now_ms() - start;
    double limit =
        STRICT_MS + (strcmp(callbacks[i], "export") == 0 ? 4 * generation_load_budget(g) / 1000 : 0);
    if (took > limit) printf("# %s: %.0f ms\n", callbacks[i], took);
    CHECK(took <= limit);
    CHECK_INT(generation_errors(g), 1);
    char told[128];
    (void)snprintf(told, sizeof told, "my.lua:2: %s: the script takes too long and was stopped",
                   callbacks[i]);
    has_told(told);
  }
}

static void loops_end(void) {
  double worst = 0;
  for (size_t i = 0; i < ARRAY_LEN(LOOPS); i++) {
    CHECK(open_body("select", LOOPS[i], false));
    for (unsigned k = 0; k < 3; k++) {
      double start = now_ms();
      call("select");
      double took = now_ms() - start;
      if (took > worst) worst = took;
      if (getenv("TEST_LOG")) printf("# %.1f ms: %s\n", took, LOOPS[i]);
      if (took > STRICT_MS || !d.is_fallback) printf("# %.0f ms: %s\n", took, LOOPS[i]);
      CHECK(took <= STRICT_MS);
      CHECK(d.is_fallback && d.slots[0] == 1);
      has_told(i == 4 ? "my.lua:" : "the script takes too long and was stopped");
    }
  }
  printf("# worst: %.1f ms\n", worst);
}

static void memory_ends(void) {
  static const char *const bombs[] = {
      "local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end",
      "local s = 'x' while true do s = s .. s end",
      "local t = {} while true do t = { t, t, t, t, t, t, t, t } end",
      "local t = {} for i = 1, 1e9 do t[i] = i end return t",
      "local t = {} while true do local ok = pcall(function() t[#t + 1] = ('x'):rep(1e6) .. #t end) end",
  };
  for (size_t i = 0; i < ARRAY_LEN(bombs); i++) {
    CHECK(open_body("select", bombs[i], false));
    for (unsigned k = 0; k < 3; k++) {
      double start = now_ms();
      call("select");
      double took = now_ms() - start;
      if (took > 2 * STRICT_MS) printf("# %.0f ms: %s\n", took, bombs[i]);
      CHECK(took <= 2 * STRICT_MS);
      CHECK(d.is_fallback);
      has_told("my.lua:2: select: the script ");
      CHECK(g->heap.used <= GENERATION_MEMORY_MAX);
    }
  }
}

static void errors_name_the_callback_and_line(void) {
  static const char *const callbacks[] = {"select", "retry", "observe", "health", "tick", "export"};
  for (size_t i = 0; i < ARRAY_LEN(callbacks); i++) {
    CHECK(open_body(callbacks[i], "\nlocal x = nil\nreturn x.y", false));
    call(callbacks[i]);
    char told[128];
    (void)snprintf(told, sizeof told, "my.lua:4: %s: attempt to index local 'x' (a nil value)", callbacks[i]);
    has_told(told);
  }
}

static void each_kind_is_counted(void) {
  CHECK(open_body("select",
                  "a.n = (a.n or 0) + 1\n"
                  "if a.n == 1 then error('x') end\n"
                  "if a.n == 2 then while true do end end\n"
                  "if a.n == 3 then return 9 end\n"
                  "if a.n == 4 then local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end end\n"
                  "return 1",
                  false));
  for (unsigned i = 0; i < 3 * STRATEGY_TIMED_EACH; i++)
    call("select");
  struct strategy_totals totals;
  generation_stats(plan, &totals);
  const struct callback_stats *s = &totals.callbacks[CALLBACK_SELECT];
  CHECK_INT(s->calls, 3 * STRATEGY_TIMED_EACH);
  CHECK_INT(s->faults[FAULT_THROW], 1);
  CHECK_INT(s->faults[FAULT_TIMEOUT] + s->faults[FAULT_MEMORY], 2);
  CHECK(s->faults[FAULT_TIMEOUT] >= 1);
  CHECK_INT(s->faults[FAULT_INVALID], 1);
  CHECK_INT(totals.errors, 4);
  CHECK_INT(totals.generations, 1);
  CHECK(s->timed >= 2 && s->total_ns > 0 && s->max_ns > 0 && s->max_ns <= s->total_ns);
  CHECK(strstr(totals.last_error, "my.lua:"));
  generation_free(g);
  g = NULL;
  generation_stats(plan, &totals);
  CHECK_INT(totals.generations, 0);
  CHECK_INT(totals.callbacks[CALLBACK_SELECT].calls, 3 * STRATEGY_TIMED_EACH);
  CHECK_INT(totals.errors, 4);
}

/* ---- benching ---- */

static enum generation_phase told_phase;
static unsigned n_told;

static void on_trouble(void *context, struct generation *of, enum generation_phase phase) {
  CHECK(context == &n_told && of == g);
  told_phase = phase;
  n_told++;
}

static void errors_in_a_row_bench(void) {
  n_told = 0;
  CHECK(open_body("select", "error('no')", false));
  generation_on_trouble(g, on_trouble, &n_told);
  for (unsigned i = 0; i < 100; i++) {
    CHECK(generation_is_benched(g) == (i >= BENCH_IN_ROW));
    call("select");
    CHECK(d.is_fallback && d.slots[0] == 1);
  }
  CHECK_INT(generation_errors(g), BENCH_IN_ROW);
  CHECK_INT(n_told, 1);
  CHECK_INT(told_phase, GENERATION_BENCHED);
  struct strategy_totals totals;
  generation_stats(plan, &totals);
  CHECK_INT(totals.n_benched, 1);
  CHECK_INT(totals.skipped, 100 - BENCH_IN_ROW);
}

static void a_bad_rate_benches(void) {
  CHECK(open_body("select", "a.n = (a.n or 0) + 1 if a.n % 2 == 0 then error('no') end return 1", false));
  for (unsigned i = 0; i < 100; i++)
    call("select");
  CHECK(generation_is_benched(g));
}

static void a_few_errors_do_not_bench(void) {
  CHECK(open_body("select", "a.n = (a.n or 0) + 1 if a.n % 10 < 3 then error('no') end return 1", false));
  for (unsigned i = 0; i < 1000; i++)
    call("select");
  CHECK(!generation_is_benched(g));
  CHECK(generation_errors(g) >= 200);
}

static void another_callback_benches_too(void) {
  CHECK(open_body("observe", "error('no')", false));
  for (unsigned i = 0; i < 20; i++) {
    call("select");
    call("observe");
  }
  CHECK(generation_is_benched(g));
  CHECK_INT(generation_errors(g), BENCH_IN_ROW);
}

/* ---- fast ---- */

static void a_compiled_loop_is_left_behind(void) {
  static const char *const loops[] = {
      "local x = 0 while true do x = x + 1 end",
      "while true do pcall(function() local x = 0 while true do x = x + 1 end end) end",
      "local co = coroutine.wrap(function() local x = 0 while true do x = x + 1 end end) co() return 1",
      "local t, x = { 1, 2, 3 }, 0 while true do for i = 1, 3 do x = x + t[i] end end",
      "local x = 0 while true do x = x + c[1].in_flight + c[2].weight end",
      "table.sort({ 3, 2, 1 }, function() local x = 0 while true do x = x + 1 end end) return 1",
      "local x = 0 while true do x = x + lb.random() end",
      "while true do end",
  };
  if (!guard_can_jump()) {
    printf("# not in this build: it cannot leave compiled code\n");
    return;
  }
  for (size_t i = 0; i < ARRAY_LEN(loops); i++) {
    CHECK(open_body("select", loops[i], true));
    double start = now_ms();
    call("select");
    double took = now_ms() - start;
    if (took > FAST_MS) printf("# %.0f ms: %s\n", took, loops[i]);
    CHECK(took <= FAST_MS);
    CHECK(d.is_fallback && d.slots[0] == 1);
    has_told("my.lua:");
    start = now_ms();
    for (unsigned k = 0; k < 20 && !generation_is_benched(g); k++)
      call("select");
    CHECK(generation_is_benched(g));
    call("select");
    CHECK(d.is_fallback);
  }
}

static void the_dead_answer(void) {
  if (!guard_can_jump()) return;
  n_told = 0;
  CHECK(
      open_script("return { abi = 1, select = function() local x = 0 while true do x = x + 1 end end,\n"
                  " retry = function() return lb.STOP end, observe = function() end, tick = function() end,\n"
                  " health = function() return lb.DOWN end, export = function() return {} end }",
                  true));
  generation_on_trouble(g, on_trouble, &n_told);
  call("select");
  CHECK_INT(generation_phase(g), GENERATION_DEAD);
  CHECK_INT(told_phase, GENERATION_DEAD);
  CHECK_INT(n_told, 1);
  has_told("my.lua:1: select: compiled code did not come to an end and was left behind");
  static const char *const callbacks[] = {"select", "retry", "observe", "health", "tick", "export"};
  for (size_t i = 0; i < ARRAY_LEN(callbacks); i++)
    call(callbacks[i]);
  CHECK(d.is_fallback);
  struct strategy_totals totals;
  generation_stats(plan, &totals);
  CHECK_INT(totals.n_dead, 1);
}

static void a_long_but_finite_compiled_loop_is_no_death(void) {
  CHECK(open_body("select", "local x = 0 for i = 1, 2e7 do x = x + i end return 3", true));
  call("select");
  CHECK(generation_phase(g) != GENERATION_DEAD);
}

/* ---- the machinery ---- */

static void it_finds_out_what_it_can_do(void) {
  char text[160];
  CHECK(guard_self_test(text));
  printf("# %s\n", text);
  CHECK(strstr(text, "interpreted loops: stopped in "));
  if (guard_can_jump()) CHECK(strstr(text, "compiled loops: stopped in "));
}

static void the_slow_are_not_blamed_for_waiting(void) {
  CHECK(open_body("select", "local x = 0 for i = 1, 1e4 do x = x + i end return 3", false));
  for (unsigned i = 0; i < 2000; i++) {
    call("select");
    CHECK(!d.is_fallback);
  }
  CHECK_INT(generation_errors(g), 0);
}

static void a_handover_keeps_plain_data(void) {
  CHECK(open_script("return { abi = 1,\n"
                    "  init = function(_, _, p)\n"
                    "    if not p then return { first = true } end\n"
                    "    return { same = p.n == 7 and p[1] == 'a\\n\"\\0\\200' and p.t.x[2] == false and "
                    "p.inf == math.huge\n"
                    "      and p.nan ~= p.nan and p[-1.5] == -1e300 and getmetatable(p) == nil }\n"
                    "  end,\n"
                    "  select = function(s) return s.first and 1 or s.same and 2 or 3 end,\n"
                    "  export = function() return { 'a\\n\"\\0\\200', n = 7, t = { x = { true, false } }, "
                    "inf = math.huge,\n"
                    "    nan = 0/0, [-1.5] = -1e300 } end }",
                    false));
  call("select");
  CHECK_INT(d.slots[0], 0);
  struct buf data;
  buf_init(&data, SCRIPT_EXPORT_MAX + 1);
  CHECK(generation_export(g, &data));
  generation_free(g);
  char err[SCRIPT_ERROR_MAX];
  g = generation_new(plan, 0, buf_cstr(&data), err);
  CHECK(g);
  call("select");
  CHECK_INT(d.slots[0], 1);
  buf_release(&data);
}

static void what_cannot_be_handed_over_is_an_error(void) {
  static const char *const exports[] = {
      "return { print }",
      "local t = {} t.t = t return t",
      "return { [{}] = 1 }",
      "return coroutine.create(function() end)",
      "local t = {} for i = 1, 1e5 do t[i] = i end return t",
      "local t = {} for i = 1, 100 do t[i] = ('\\0'):rep(1e4) end return t",
      "local t = {} for i = 1, 100 do t = { t } end return t",
  };
  for (size_t i = 0; i < ARRAY_LEN(exports); i++) {
    CHECK(open_body("export", exports[i], false));
    call("export");
    if (generation_errors(g) != 1) printf("# %s\n", exports[i]);
    CHECK_INT(generation_errors(g), 1);
    has_told("my.lua:1: export: ");
  }
}

static void a_spoilt_handover_is_nothing(void) {
  CHECK(open_body("init", "return { has = c ~= nil }", false));
  char err[SCRIPT_ERROR_MAX];
  struct generation *other = generation_new(plan, 0, "return {", err);
  CHECK(other);
  generation_free(other);
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  rng_seed(&rng, 1);
  RUN(loops_end_in_each_callback);
  RUN(loops_end);
  RUN(memory_ends);
  RUN(errors_name_the_callback_and_line);
  RUN(each_kind_is_counted);
  RUN(errors_in_a_row_bench);
  RUN(a_bad_rate_benches);
  RUN(a_few_errors_do_not_bench);
  RUN(another_callback_benches_too);
  RUN(a_compiled_loop_is_left_behind);
  RUN(the_dead_answer);
  RUN(a_long_but_finite_compiled_loop_is_no_death);
  RUN(it_finds_out_what_it_can_do);
  RUN(the_slow_are_not_blamed_for_waiting);
  RUN(a_handover_keeps_plain_data);
  RUN(what_cannot_be_handed_over_is_an_error);
  RUN(a_spoilt_handover_is_nothing);
  close_all();
  guard_stop();
  return CHECK_END();
}
