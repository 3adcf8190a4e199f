#include "check.h"

#include "base/base.h"
#include "base/log.h"
#include "script/decide.h"
#include "script/generation_private.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/*
 * Scripts that mean harm, under both guards: each call is answered in time, what went wrong is named with file and line,
 * and after some calls the script is out. On a thread with little stack of its own, which no error of Lua's protects.
 */

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#  define THREAD_STACK ((size_t)2 << 20) /* the sanitizer keeps its own state of a thread there */
#elif defined(__has_feature)
#  if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#    define THREAD_STACK ((size_t)2 << 20)
#  endif
#endif
#ifndef THREAD_STACK
#  define THREAD_STACK ((size_t)768 << 10)
#endif

/* Processor time that no call may take: on a machine that does something else, the wall clock says nothing. */
#define STRICT_MS 300
#define FAST_MS   2000

static struct plan *plan;
static struct generation *g;
static struct rng rng;
static struct decision d;
static struct lb_request req = {.id = {"r", 1, 0}, .kind = {"chat", 4, 0}, .attempt = 1, .max_tokens = NAN};
static uint16_t all[] = {0, 1, 2};

static void close_script(void) {
  generation_free(g);
  g = NULL;
  plan_unref(&plan);
}

static void open_select(const char *body, bool is_fast) {
  close_script();
  plan = plan_new();
  plan->settings.guard_is_fast = is_fast;
  plan->n_entries = 3;
  plan->entries = x_calloc(3, sizeof *plan->entries);
  for (unsigned i = 0; i < 3; i++) {
    char id[] = {(char)('a' + i), '\0'};
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = 1;
  }
  char text[2048];
  (void)snprintf(text, sizeof text,
                 "return { abi = 1, name = 'mine', select = function(state, req, pool)\n%s\nend }", body);
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_name = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup(text));
  plan_seal(plan);
  rng_seed(&rng, 1);
  char err[SCRIPT_ERROR_MAX];
  g = generation_new(plan, 0, NULL, err);
  if (!g) printf("# %s\n", err);
  CHECK(g);
}

static double cpu_ms(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static const char *last_error(void) {
  static char error[SCRIPT_ERROR_MAX];
  generation_last_error(g, error);
  return error;
}

/* Whether one of the texts in `texts`, with "|" between them, stands in `whole`. */
static bool has_one_of(const char *whole, const char *texts) {
  char one[160];
  for (const char *at = texts; at; at = strchr(at, '|') ? strchr(at, '|') + 1 : NULL) {
    (void)snprintf(one, sizeof one, "%.*s", (int)strcspn(at, "|"), at);
    if (strstr(whole, one)) return true;
  }
  return false;
}

/* Until it is out; `errors` as above. */
static void has_harmed_nobody(const char *body, bool is_fast, const char *errors) {
  open_select(body, is_fast);
  double worst = 0;
  for (unsigned i = 0; i < BENCH_IN_ROW && g->phase == GENERATION_SERVING; i++) {
    double start = cpu_ms();
    decide_select(g, &d, &req, all, 3, &rng);
    double took = cpu_ms() - start;
    worst = took > worst ? took : worst;
    CHECK(d.n == 1);
  }
  bool is_named = has_one_of(last_error(), errors);
  bool is_in_time = worst < (is_fast ? FAST_MS : STRICT_MS) * GUARD_PATIENCE;
  if (!is_named || !is_in_time || g->phase == GENERATION_SERVING)
    printf("# %s, %s: %.0f ms, phase %u, %s\n", body, is_fast ? "fast" : "strict", worst, g->phase,
           last_error());
  CHECK(is_named && is_in_time);
  CHECK(g->phase != GENERATION_SERVING);
}

struct harm {
  const char *body, *error;
};

#define TOO_LONG "my.lua:2: select: the script takes too long and was stopped|was left behind"
#define TOO_MUCH ": select: the script needs more than 64 MiB of memory"
#define OVERFLOW                                                                                             \
  "select: stack overflow|select: the script takes too long and was stopped" /* whatever comes first */
#define NESTED "is called from within itself too often"

static void each_harms_nobody(const struct harm *harms, size_t n) {
  for (size_t i = 0; i < n; i++)
    for (int is_fast = 0; is_fast < 2; is_fast++)
      has_harmed_nobody(harms[i].body, is_fast, harms[i].error);
}
#define EACH_HARMS_NOBODY(harms) each_harms_nobody(harms, ARRAY_LEN(harms))

/* What LuaJIT does in C between two instructions of the script takes milliseconds. */
static void slow_instructions_end(void) {
  static const struct harm harms[] = {
      {"local s = ('x'):rep(2^20) s = s .. s s = s .. s s = s .. s for i = 1, 1e6 do s:upper() end",
       TOO_LONG},
      {"local s = ('x'):rep(2^20) s = s .. s s = s .. s s = s .. s while true do lb.hash(s) end", TOO_LONG},
      {"local s = ('x'):rep(2^20) s = s .. s s = s .. s while true do req:hash(s) end", TOO_LONG},
      {"local t = {} for i = 1, 3e5 do t[i] = i end for i = 1, 1e9 do table.maxn(t) end", TOO_LONG},
      {"local t = {} for i = 1, 7000 do t[i] = i end while true do select('#', unpack(t)) end", TOO_LONG},
      {"local s, p = ('a'):rep(2000), ('a'):rep(1999) .. 'b' while true do s:find(p, 1, true) end", TOO_LONG},
      {"local s, t = ('x'):rep(2^20), {} for i = 1, 8000 do t[i] = s end table.sort(t)", TOO_LONG},
      {"while true do lb.log('debug', ('x'):rep(1000)) end", TOO_LONG},
      {"while true do lb.shared.incr('x' .. lb.random(1e9)) end", TOO_LONG},
  };
  EACH_HARMS_NOBODY(harms);
}

/* Where nearly all of a compiled loop's time is spent in functions of ours. */
static void loops_over_our_functions_end(void) {
  static const struct harm harms[] = {
      {"while req:rand() do end", TOO_LONG},
      {"while lb.random() do end", TOO_LONG},
      {"while lb.now_ms() do end", TOO_LONG},
      {"while lb.turn(pool) do end", TOO_LONG},
      {"local c = lb.counter('x') while c:add() do end", TOO_LONG},
      {"while pool[1].dispatched do end", TOO_LONG},
      {"while lb.pick.least(pool) do end", TOO_LONG},
      {"while lb.pick.rendezvous(pool, 'some text') do end", TOO_LONG},
      {"while req:header('x-nothing') == nil do end", TOO_LONG},
      {"while lb.hash('x') do end", TOO_LONG},
      {"while lb.shared.get('x') == nil do end", TOO_LONG},
  };
  EACH_HARMS_NOBODY(harms);
}

static void one_call_into_c_is_short(void) {
  static const struct harm harms[] = {
      {"return #string.rep(123, 2e7)", "the repeated text would be too long"},
      {"return #('x'):rep('60000000')", "the repeated text would be too long"},
      {"return #(''):rep(2e7, 'xyz')", "the repeated text would be too long"},
      {"local s = ('a'):rep(2^16):gsub('a', ('b'):rep(1000)) return #s",
       "my.lua:2: select: the replacements may be too long"},
      {"local t, s = {}, ('x'):rep(2^20) for i = 1, 60 do t[i] = s end return #table.concat(t)",
       "the text would be too long"},
      {"local t = {} for i = 1, 9000 do t[i] = -i end table.sort(t) return 1",
       "my.lua:2: select: the table is too long: 9000 elements"},
      {"local t = {} for i = 1, 9000 do t[i] = i end while true do table.insert(t, 1, 0) end",
       "my.lua:2: select: the table is too long: 9000 elements"},
      {"table.insert({ 1 }, 1/0, 2)", "my.lua:2: select: there is no place inf in a table"},
      {"table.insert({ 1 }, 0/0, 2)", " in a table"},
      {"table.insert({ 1 }, -2^31, 2)", "my.lua:2: select: there is no place -2147483648 in a table"},
      {"table.insert({ 1 }, '1', 2)", "my.lua:2: select: there is no place 1 in a table"},
      {"local t = {} for i = 1, 9000 do t[i] = i end while true do table.remove(t, 1) end",
       "my.lua:2: select: the table is too long: 9000 elements"},
  };
  EACH_HARMS_NOBODY(harms);
}

static void memory_ends_where_compiled_code_asks_for_it(void) {
  static const struct harm harms[] = {
      {"for i = 1, 1e7 do state[#state + 1] = { i } end return 1", TOO_MUCH "|" TOO_LONG},
      {"local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end", TOO_MUCH "|" TOO_LONG},
      {"local s = 'x' while true do s = s .. s end", TOO_MUCH "|" TOO_LONG},
      {"local t = {} while true do t[#t + 1] = coroutine.create(pcall) end", TOO_MUCH "|" TOO_LONG},
  };
  EACH_HARMS_NOBODY(harms);
}

static void calls_within_calls_end_before_the_stack(void) {
  static const struct harm harms[] = {
      {"local function f() return (('x'):gsub('x', f)) end return f()", NESTED},
      {"local t = setmetatable({}, {}) getmetatable(t).__index = function() return (('x'):gsub('x', t)) end\n"
       "return ('x'):gsub('x', t)",
       NESTED},
      {"local function f() table.sort({ 1, 2, 3 }, function(x, y) f() return x < y end) end f()", NESTED},
      {"local function f() return coroutine.wrap(f)() end return f()", NESTED},
      {"local function f() return coroutine.wrap(function() return (('x'):gsub('x', f)) end)() end return "
       "f()",
       NESTED},
      {"local function f() local co = coroutine.create(function() f() end) assert(coroutine.resume(co)) end "
       "f()",
       NESTED},
      {"local t = setmetatable({}, { __tostring = function(t) return ('%s'):format(t) end }) return "
       "('%s'):format(t)",
       OVERFLOW},
      {"local t = setmetatable({}, { __concat = function(x) return x .. 1 end }) return t .. 1", OVERFLOW},
      {"local t = setmetatable({}, { __newindex = function(t, k, v) t[k] = v end }) t.x = 1", OVERFLOW},
      {"local t t = setmetatable({}, { __index = function(_, k) return t[k] end }) return t.x", OVERFLOW},
      {"local t t = setmetatable({}, { __tostring = function() return pool[1][t] end }) return pool[1][t]",
       OVERFLOW},
      {"local t t = setmetatable({}, { __tostring = function() return req[t] end }) return req[t]", OVERFLOW},
      {"local t t = setmetatable({}, { __tostring = function() return lb.pick[t] end }) return pool[t]",
       OVERFLOW},
  };
  EACH_HARMS_NOBODY(harms);
}

/* Functions of LuaJIT's that call a script's value without a look at the hook or at the room on Lua's stack. */
static void functions_that_call_what_they_are_given_end(void) {
  static const struct harm harms[] = {
      {"return tostring(setmetatable({}, { __tostring = tostring }))", OVERFLOW},
      {"local t t = setmetatable({}, { __tostring = function() return tostring(t) end }) return tostring(t)",
       OVERFLOW},
  };
  EACH_HARMS_NOBODY(harms);
}

/* A list with a key looks like a pool, and may be longer than any. */
static void a_false_pool_is_no_longer_than_a_true_one(void) {
#define FALSE_POOL "local t = { key = 1 } for i = 1, 3000 do t[i] = pool[1] end "
  static const struct harm harms[] = {
      {FALSE_POOL "lb.pick.tiered(t, 1, function() return 1 end) error('ended')", "ended"},
      {FALSE_POOL "lb.pick.least(t, function() return 1 end) error('ended')", "ended"},
      {FALSE_POOL "lb.pick.p2c(t, function() return 1 end) lb.pick.smooth(t) lb.pick.weighted(t) "
                  "lb.pick.rendezvous(t, 'x') lb.pick.cheapest(t, req, 1) error('ended')",
       "ended"},
      {"for _, key in ipairs({ 1/0, -1/0, 0/0, -1, 1e300 }) do lb.turn({ key = key }) end error('ended')",
       "ended"},
  };
  EACH_HARMS_NOBODY(harms);
}

/* A call that was cut off between going in and coming out must not count for ever. */
static void who_was_cut_off_may_go_on_later(void) {
  open_select(
      "state.n = (state.n or 0) + 1\n"
      "if state.n % 4 == 0 then return (('x'):gsub('x', function() while true do pcall(error) end end)) end\n"
      "return #('xx'):gsub('x', function() return 'y' end) - 1",
      false);
  for (unsigned i = 1; i <= 4 * 40; i++) {
    decide_select(g, &d, &req, all, 3, &rng);
    if (d.is_fallback != (i % 4 == 0)) printf("# call %u: %s\n", i, last_error());
    CHECK(d.is_fallback == (i % 4 == 0));
  }
}

static void errors_tell_the_script_and_nothing_else(void) {
  static const struct harm harms[] = {
      {"error('/etc/other.lua:1: not mine', 0)", "my.lua:2: select: /etc/other.lua:1: not mine"},
      {"error('http://10.0.0.1:8080: refused', 0)", "my.lua:2: select: http://10.0.0.1:8080: refused"},
      {"error('one\\n2020-01-01 two\\27[31m')", "my.lua:2: select: one 2020-01-01 two [31m"},
      {"error(('x'):rep(2^20))", "my.lua:2: select: xxxx"},
      {"error((':1'):rep(2^19), 0)", "my.lua:2: select: :1:1:1"},
      {"error(setmetatable({}, { __tostring = function() while true do end end }))",
       "my.lua:2: select: the script threw a table value"},
      {"error()", "my.lua:2: select: the script threw a nil value"},
      {"error(5)", "my.lua:2: select: 5"},
      {"local t = { 1, 'a' } table.sort(t) return 1",
       "my.lua:2: select: attempt to compare string with number"},
      {"local t = { 1, 2 } table.sort(t, function() error({}) end) return 1",
       "my.lua:2: select: the script threw a table value"},
      {"coroutine.wrap(function() error('inner') end)()", "my.lua:2: select: inner"},
      {"local n = #lb.filter.below(pool) return n",
       "my.lua:2: select: lb.filter.below: a number is expected, not nil"},
      {"local n = lb.pick.least(pool, 'x') return n",
       "my.lua:2: select: lb.pick.least: a function for the score is expected, not a string"},
      {"local p = pool[1].inflight return p",
       "my.lua:2: select: a provider has no field inflight (did you mean \"in_flight\"?)"},
      {"local f = io.open('/etc/passwd') return f",
       "my.lua:2: select: attempt to index global 'io' (a nil value): a strategy has no I/O"},
  };
  EACH_HARMS_NOBODY(harms);
}

static void views_do_not_tell_what_they_are(void) {
  static const char *const checks[] = {
      "type(pool) == 'table' and type(pool[1]) == 'table' and type(req) == 'table' and type(type) == "
      "'function'",
      "(function() local s = '' for i, p in pairs(pool) do s = s .. i .. p.id end return s end)() == "
      "'1a2b3c'",
      "select('#', unpack(pool)) == 3 and unpack(pool).id == 'a' and select(2, unpack(pool)).id == 'b'",
      "not pcall(pairs, pool[1]) and not pcall(pairs, req) and not pcall(next, pool) and not pcall(next, "
      "pool[1])",
      "not pcall(rawget, pool, 1) and not pcall(rawget, pool[1], 'id') and not pcall(rawset, pool, 1, 1)",
      "not pcall(setmetatable, pool, {}) and not pcall(setmetatable, {}, pool) and getmetatable(req) == "
      "'ffi'",
      "not pcall(table.concat, pool) and not pcall(table.sort, pool) and not pcall(table.insert, pool, 1)",
      "('%s'):format(pool[1]) == 'provider a' and ('%s %d'):format('x', 5) == 'x 5' and ('%5.1f'):format(2) "
      "== '  2.0'",
      "coroutine.wrap(function(a) return coroutine.yield(a + 1) end)(1) == 2",
      "(function() local t = { 1, 3 } table.insert(t, 2, 2) table.insert(t, 4) table.insert(t, 1, 0) "
      "table.insert(t, 8, 9)"
      " return table.concat(t, ',', 1, 5) == '0,1,2,3,4' and t[8] == 9 and table.remove(t, 1) == 0 and t[1] "
      "== 1 end)()",
      "select(2, coroutine.resume(coroutine.create(function(a) return a * 2 end), 4)) == 8",
      "('abc'):gsub('%w', { a = 1, b = false }) == '1bc' and ('abc'):gsub('b', 'x') == 'axc'",
      "('abc'):gsub('%w', function(c) return c == 'b' and '-' or nil end) == 'a-c'",
  };
  for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
    for (int is_fast = 0; is_fast < 2; is_fast++) {
      char body[512];
      (void)snprintf(body, sizeof body, "return (%s) and 2 or 1", checks[i]);
      open_select(body, is_fast);
      for (unsigned k = 0; k < 100; k++) {
        decide_select(g, &d, &req, all, 3, &rng);
        if (d.is_fallback || d.slots[0] != 1) printf("# %s: %s\n", checks[i], last_error());
        CHECK(!d.is_fallback);
        CHECK_INT(d.slots[0], 1);
      }
    }
  }
}

static void *run(void *arg) {
  (void)arg;
  RUN(slow_instructions_end);
  RUN(loops_over_our_functions_end);
  RUN(one_call_into_c_is_short);
  RUN(memory_ends_where_compiled_code_asks_for_it);
  RUN(calls_within_calls_end_before_the_stack);
  RUN(functions_that_call_what_they_are_given_end);
  RUN(a_false_pool_is_no_longer_than_a_true_one);
  RUN(who_was_cut_off_may_go_on_later);
  RUN(errors_tell_the_script_and_nothing_else);
  RUN(views_do_not_tell_what_they_are);
  close_script();
  return NULL;
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  pthread_attr_t attr;
  pthread_t thread;
  REQUIRE(pthread_attr_init(&attr) == 0);
  REQUIRE(pthread_attr_setstacksize(&attr, THREAD_STACK) == 0);
  REQUIRE(pthread_create(&thread, &attr, run, NULL) == 0);
  REQUIRE(pthread_join(thread, NULL) == 0);
  guard_stop();
  return CHECK_END();
}
