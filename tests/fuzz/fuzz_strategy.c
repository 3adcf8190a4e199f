/*
 * Input: choices of a grammar that writes a strategy, out of all that the sandbox has and of arguments that fit nothing;
 * FUZZ_PRINT=1 shows it. Whatever it does, each call is answered within its time, and what went wrong is told with the
 * script's own line, in printable words. Over both kinds of views; compiled where compiled loops can be left, which is
 * without sanitizers.
 */
#include "base/base.h"
#include "base/buf.h"
#include "base/log.h"
#include "script/decide.h"
#include "script/generation_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Processor time that no call may take. */
#define CALL_MS    (100 * GUARD_PATIENCE)
#define LEFT_MS    2000 /* with compiled code */
#define SCRIPT_MAX 16384
#define DEPTH_MAX  5 /* of forms in forms */

/* The first is what is chosen when the input is at its end. */
static const char *const ATOMS[] = {
    "1",
    "nil",
    "true",
    "0",
    "-1",
    "1.5",
    "0/0",
    "1/0",
    "-1/0",
    "2^53",
    "-2^31",
    "1e308",
    "255",
    "1LL",
    "'x'",
    "''",
    "'%'",
    "'%s'",
    "'%d %s %q'",
    "'(.-)*b'",
    "('x'):rep(1000)",
    "('ab'):rep(70000)",
    "'x-team'",
    "pool",
    "pool[1]",
    "pool[9]",
    "pool[1].tags",
    "pool[1].id",
    "req",
    "req.session_key",
    "state",
    "lb",
    "#pool",
    "{}",
    "{ 1, 2, 3 }",
    "{ pool[1], pool[2] }",
    "{ [1] = pool }",
    "setmetatable({}, { __index = pool })",
    "setmetatable({}, { __index = function(t, k) return k end })",
    "setmetatable({}, { __tostring = f })",
    "setmetatable({}, { __call = f, __lt = f, __concat = f })",
    "f",
    "deep",
    "nest",
    "print",
    "_G",
    "string",
    "coroutine.running()",
    "lb.counter('x')",
    "function(p) return p.in_flight end",
    "function(a, b) return a end",
    "function() error({}) end",
    "coroutine.create(f)",
    "coroutine.wrap(f)",
    "lb.score.ttft",
    "lb.class",
    "'warn'",
    "math.huge",
};
static const char *const FUNCTIONS[] = {"f",
                                        "pcall",
                                        "error",
                                        "assert",
                                        "deep",
                                        "nest",
                                        "select",
                                        "next",
                                        "pairs",
                                        "ipairs",
                                        "unpack",
                                        "rawget",
                                        "rawset",
                                        "rawequal",
                                        "setmetatable",
                                        "getmetatable",
                                        "tonumber",
                                        "tostring",
                                        "type",
                                        "print",
                                        "string.rep",
                                        "string.len",
                                        "string.lower",
                                        "string.format",
                                        "string.gsub",
                                        "string.find",
                                        "string.match",
                                        "string.gmatch",
                                        "string.sub",
                                        "string.byte",
                                        "string.char",
                                        "string.upper",
                                        "string.reverse",
                                        "table.concat",
                                        "table.sort",
                                        "table.insert",
                                        "table.remove",
                                        "table.maxn",
                                        "coroutine.create",
                                        "coroutine.wrap",
                                        "coroutine.resume",
                                        "coroutine.status",
                                        "coroutine.running",
                                        "coroutine.yield",
                                        "math.floor",
                                        "math.random",
                                        "math.fmod",
                                        "math.ldexp",
                                        "math.max",
                                        "math.modf",
                                        "math.frexp",
                                        "math.log",
                                        "bit.band",
                                        "bit.tobit",
                                        "bit.tohex",
                                        "bit.lshift",
                                        "bit.bswap",
                                        "lb.log",
                                        "lb.now_ms",
                                        "lb.random",
                                        "lb.hash",
                                        "lb.counter",
                                        "lb.shared.get",
                                        "lb.shared.set",
                                        "lb.shared.incr",
                                        "lb.shared.delete",
                                        "lb.score.in_flight",
                                        "req.header",
                                        "req.hash",
                                        "req.rand"};
/* Those that take a pool, what may be in its place, and those that may be found as metamethods of what they are given. */
static const char *const POOL_FUNCTIONS[] = {
    "lb.pick.least",  "lb.pick.tiered",     "lb.pick.cheapest",  "lb.pick.p2c",     "lb.pick.weighted",
    "lb.pick.smooth", "lb.pick.rendezvous", "lb.filter.healthy", "lb.filter.below", "lb.filter.not_throttled",
    "lb.filter.tag",  "lb.filter.where",    "lb.filter.lowest",  "lb.turn",         "lb.score.cost",
    "lb.slow_start"};
static const char *const POOLS[] = {
    "pool", "t", "false_pool(@)", "{ pool[1], pool[2] }", "lb.filter.where(pool, @)", "{ @, key = @ }", "@"};
static const char *const METHODS[] = {"f",
                                      "pcall",
                                      "tostring",
                                      "error",
                                      "next",
                                      "select",
                                      "deep",
                                      "nest",
                                      "rawget",
                                      "setmetatable",
                                      "table.sort",
                                      "table.insert",
                                      "string.gsub",
                                      "string.format",
                                      "coroutine.wrap",
                                      "coroutine.resume",
                                      "coroutine.yield",
                                      "lb.pick.least",
                                      "lb.log",
                                      "print",
                                      "pairs",
                                      "unpack",
                                      "getmetatable",
                                      "poke"};
static const char *const OPERATORS[] = {"+", "-", "*", "/", "%", "^", "..", "==", "<", "<=", "and", "or"};
static const char *const FIELDS[] = {"x",       "id",        "slot",   "index", "in_flight", "weight",
                                     "tags",    "key",       "state",  "model", "price_in",  "cooldown_ms",
                                     "samples", "class",     "header", "rand",  "samples",   "ttft",
                                     "status",  "tokens_in", "least",  "add",   "dispatched"};
static const char *const METAMETHODS[] = {"__index",  "__newindex", "__call", "__tostring",
                                          "__concat", "__eq",       "__lt",   "__le",
                                          "__unm",    "__add",      "__len",  "__metatable"};

/* In the following stand @ for an expression, $ for an atom, ! for a function, ^ for one that takes a pool, * for what may be
   one, ~ for an operator, ` for a field, ? for a metamethod, % for what may be one, and & for a statement. */
static const char *const CALLS[] = {"!()",
                                    "!(@)",
                                    "!($, @)",
                                    "!(@, $, @)",
                                    "!($, $, $)",
                                    "!(t, @, @)",
                                    "pcall(!, @)",
                                    "^(*)",
                                    "^(*, @)",
                                    "^(*, @, @)",
                                    "^(*, function(p, x) return @ end, @)",
                                    "req:`(@)"};
static const char *const EXPRESSIONS[] = {"$",
                                          "!",
                                          "t",
                                          "(@ ~ @)",
                                          "(@).`",
                                          "(@)[@]",
                                          "(@)(@)",
                                          "(@):`(@)",
                                          "{ @, ` = @ }",
                                          "setmetatable({ @ }, { ? = % })",
                                          "poke(@, $)",
                                          "poke(setmetatable({ @ }, { ? = %, ? = % }), $)",
                                          "function(...) return @ end",
                                          "function(x, y) & return x end"};
static const char *const STATEMENTS[] = {
    "local _ = @;",
    "t = @;",
    "pcall(function() return @ end);",
    "pcall(function() (@).` = @ end);",
    "pcall(function() (@)[@] = @ & end);",
    "pool[1].` = @;",
    "state.` = @;",
    "state[#state + 1] = @;",
    "if @ then & end;",
    "while @ do & break end;",
    "for i = 1, $ do & end;",
    "for i, p in ipairs(pool) do & end;",
    "for k, v in pairs(@) do & break end;",
    "for k in coroutine.wrap(function() coroutine.yield(@) & end) do & end;",
    "error(@);",
};

static const char PRELUDE[] =
    "local depth, t = 0, {}\n"
    "local function f(...) depth = depth + 1 if depth > 50 then depth = 0 error('deep') end return ... end\n"
    "local function deep() return (('x'):gsub('x', deep)) end\n"
    "local function nest() return coroutine.wrap(nest)() end\n"
    "local function poke(x, y)\n"
    "  pcall(function() return x(y) end) pcall(function() return x[y] end) pcall(function() x.x = y end)\n"
    "  pcall(function() return -x end) pcall(function() return x + y end) pcall(function() return x .. y "
    "end)\n"
    "  pcall(function() return x < x end) pcall(function() return x <= x end) pcall(function() return x == y "
    "end)\n"
    "  return pcall(tostring, x)\n"
    "end\n"
    "local function false_pool(p)\n"
    "  local list = { key = 1 }\n"
    "  for i = 1, 3000 do list[i] = p or i end\n"
    "  return list\n"
    "end\n"
    "return { abi = 1, name = 'fuzz', export = function(state) return state end,\n";

/* ---- the grammar ---- */

struct writer {
  const uint8_t *at, *end;
  struct buf out;
  unsigned depth;
};

static const char *one_of(struct writer *w, const char *const *list, size_t n) {
  return list[w->at < w->end ? *w->at++ % n : 0];
}
#define ONE_OF(w, list) one_of(w, list, ARRAY_LEN(list))

static void put(struct writer *w, const char *text, size_t len) {
  if (w->out.len + len <= SCRIPT_MAX) buf_put(&w->out, text, len);
}

static void put_form(struct writer *w, const char *form);

/* What a place of a form is filled with. */
static void put_place(struct writer *w, char place) {
  bool is_deep = w->depth >= DEPTH_MAX;
  const char *text = "";
  switch (place) {
  case '@':
    if (!is_deep) {
      put_form(w, w->at < w->end && *w->at++ % 2 ? ONE_OF(w, CALLS) : ONE_OF(w, EXPRESSIONS));
      return;
    }
    text = ONE_OF(w, ATOMS);
    break;
  case '&':
    if (!is_deep) put_form(w, ONE_OF(w, STATEMENTS));
    break;
  case '$': text = ONE_OF(w, ATOMS); break;
  case '!': text = ONE_OF(w, FUNCTIONS); break;
  case '^': text = ONE_OF(w, POOL_FUNCTIONS); break;
  case '*': put_form(w, is_deep ? "pool" : ONE_OF(w, POOLS)); return;
  case '%': text = ONE_OF(w, METHODS); break;
  case '~': text = ONE_OF(w, OPERATORS); break;
  case '`': text = ONE_OF(w, FIELDS); break;
  default: text = ONE_OF(w, METAMETHODS); break;
  }
  put(w, text, strlen(text));
}

static void put_form(struct writer *w, const char *form) {
  w->depth++;
  while (*form) {
    size_t len = strcspn(form, "@$!^*~`?%&");
    put(w, form, len);
    form += len;
    if (*form) put_place(w, *form++);
  }
  w->depth--;
}

static void put_callback(struct writer *w, const char *head, const char *end) {
  put(w, head, strlen(head));
  unsigned n = w->at < w->end ? *w->at++ % 8 : 0;
  for (unsigned i = 0; i <= n; i++) {
    /* Mostly so that the next comes in any case. */
    put_form(w, w->at < w->end && *w->at++ % 4 ? "pcall(function() & end)\n" : "&\n");
  }
  put(w, end, strlen(end));
}

/* ---- running it ---- */

static double cpu_ms(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void require_in_time(double *start) {
  double now = cpu_ms();
  REQUIRE(now - *start < (guard_can_jump() ? LEFT_MS : CALL_MS));
  *start = now;
}

/* Once it did not end it would only cost its budget again and again. */
static bool is_endless(const struct generation *g) {
  uint64_t n = 0;
  for (unsigned i = 0; i < CALLBACK_N; i++)
    n += g->stats.callbacks[i].faults[FAULT_TIMEOUT];
  return n > 0;
}

static void require_told(const struct generation *g) {
  char error[SCRIPT_ERROR_MAX];
  if (generation_errors(g) == 0) return;
  generation_last_error(g, error);
  REQUIRE(strncmp(error, "fuzz.lua:", 9) == 0 && error[9] >= '1' && error[9] <= '9');
  for (const char *c = error; *c; c++)
    REQUIRE((unsigned char)*c >= 0x20 && *c != 0x7f);
}

static void call_all(struct generation *g) {
  static const struct outcome failure = {
      .class = OUTCOME_SERVER, .status = 500, .tokens_in = -1, .tokens_out = -1};
  static const uint16_t all[] = {0, 1, 2};
  struct lb_request req = {
      .id = {"r", 1, 0}, .kind = {"chat", 4, 0}, .attempt = 1, .max_tokens = NAN, .seed = 0.5};
  struct rng rng;
  rng_seed(&rng, 1);
  struct decision d;
  double start = cpu_ms();
  for (unsigned i = 0; i < 2 && !is_endless(g); i++) {
    decide_select(g, &d, &req, all, 3, &rng);
    REQUIRE(d.n <= 3 && (d.n == 1 || !d.is_fallback));
    for (unsigned k = 0; k < d.n; k++)
      REQUIRE(d.slots[k] < 3);
    require_in_time(&start);
    decide_observe(g, &req, 2, &failure);
    require_in_time(&start);
  }
  struct buf out;
  buf_init(&out, SCRIPT_EXPORT_MAX + 1);
  if (!is_endless(g)) (void)generation_export(g, &out);
  buf_release(&out);
  require_told(g);
}

static struct plan *plan_of(struct span source) {
  struct plan *plan = plan_new();
  plan->settings.call_budget_us = 500;
  plan->n_entries = 3;
  plan->entries = x_calloc(3, sizeof *plan->entries);
  for (unsigned i = 0; i < 3; i++) {
    char id[] = {(char)('a' + i), '\0'};
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = i;
  }
  plan->strategy_path = x_strdup("fuzz.lua");
  plan->strategy_name = x_strdup("fuzz.lua");
  plan->strategy_source = span_make(x_strndup(source.ptr, source.len), source.len);
  plan_seal(plan);
  return plan;
}

static void try_mode(struct plan *plan, enum generation_mode mode) {
  char err[SCRIPT_ERROR_MAX];
  struct generation *g = generation_new_as(plan, 0, NULL, mode, true, err);
  if (g)
    call_all(g);
  else
    REQUIRE(strncmp(err, "fuzz.lua:", 9) == 0);
  generation_free(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  log_setup(LOG_OFF, LOG_TEXT);
  struct writer w = {.at = data, .end = data + size};
  buf_init(&w.out, 2 * SCRIPT_MAX);
  put(&w, PRELUDE, sizeof PRELUDE - 1);
  put_callback(&w, "observe = function(state, req, p) local pool = { p }\n", "end,\n");
  put_callback(&w, "select = function(state, req, pool)\n", "return 1 end }\n");
  if (getenv("FUZZ_PRINT")) (void)fwrite(w.out.data, 1, w.out.len, stdout);
  struct plan *plan = plan_of(buf_span(&w.out));
  abi_restart(1);
  abi_begin_trial();
  try_mode(plan, MODE_TABLES);
  try_mode(plan, guard_can_jump() ? MODE_FFI : MODE_FFI_SLOW);
  abi_end_trial();
  plan_unref(&plan);
  buf_release(&w.out);
  return 0;
}
