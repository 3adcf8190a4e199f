#include "check.h"

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "script/decide.h"
#include "script/generation_private.h"

#include <lua.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- a plan by hand ---- */

struct bench {
  struct plan *plan;
  struct generation *g;
  char err[SCRIPT_ERROR_MAX];
  struct lb_request req;
  struct rng rng;
  struct decision d;
  uint16_t all[PLAN_PROVIDERS_MAX];
};
static struct bench b;

static void close_bench(void) {
  generation_free(b.g);
  plan_unref(&b.plan);
  memset(&b, 0, sizeof b);
}

/* n providers a, b, c …; weights NULL: 1 each. */
static struct plan *plan_of(unsigned n, const double *weights) {
  struct plan *plan = plan_new();
  plan->n_entries = n;
  plan->entries = x_calloc(n ? n : 1, sizeof *plan->entries);
  for (unsigned i = 0; i < n; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, i < 26 ? "%c" : "p%u", i < 26 ? 'a' + i : i);
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = weights ? weights[i] : 1;
    plan->entries[i].priority = 100;
  }
  return plan;
}

static bool open_plan(struct plan *plan) {
  close_bench();
  b.plan = plan;
  plan_seal(plan);
  for (unsigned i = 0; i < PLAN_PROVIDERS_MAX; i++)
    b.all[i] = (uint16_t)i;
  b.req = (struct lb_request){
      .id = {"req-1", 5, 0},
      .kind = {"chat", 4, 0},
      .model = {"gpt-4o", 6, 0},
      .head = {"content-type: application/json\r\nX-Team:  blue \r\nopenai-organization:\r\n", 71, 0},
      .body_bytes = 1000,
      .est_input_tokens = 250,
      .max_tokens = NAN,
      .seed = 0.25,
      .attempt = 1,
      .stream = 1,
  };
  rng_seed(&b.rng, 7);
  b.g = generation_new(plan, 0, NULL, b.err);
  return b.g != NULL;
}

static bool open_preset(const char *name, unsigned n, const double *weights, const char *options) {
  struct plan *plan = plan_of(n, weights);
  plan->strategy_name = x_strdup(name);
  if (options) plan->strategy_options = x_strdup(options);
  return open_plan(plan);
}

static bool open_script_with(const char *text, unsigned n, const char *options) {
  struct plan *plan = plan_of(n, NULL);
  plan->strategy_name = x_strdup("my.lua");
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup(text));
  if (options) plan->strategy_options = x_strdup(options);
  return open_plan(plan);
}

static bool open_script(const char *text) {
  return open_script_with(text, 3, NULL);
}

/* A strategy whose select has this body. */
static bool open_select(const char *body) {
  char text[2048];
  (void)snprintf(text, sizeof text,
                 "return { abi = 1, name = 'mine', select = function(state, req, pool)\n%s\nend }", body);
  return open_script(text);
}

static unsigned choose(unsigned n) {
  decide_select(b.g, &b.d, &b.req, b.all, n, &b.rng);
  return b.d.n ? b.d.slots[0] : PLAN_PROVIDERS_MAX;
}

#define CHECK_OPEN(x)                                                                                        \
  do {                                                                                                       \
    bool is_open = (x);                                                                                      \
    if (!is_open) printf("# %s\n", b.err);                                                                   \
    CHECK(is_open);                                                                                          \
  } while (0)

/* ---- presets ---- */

static void round_robin_goes_round(void) {
  CHECK_OPEN(open_preset("round-robin", 3, NULL, NULL));
  CHECK_STR(generation_strategy_name(b.g), strlen(generation_strategy_name(b.g)), "round-robin");
  unsigned first = choose(3);
  for (unsigned i = 1; i < 3000; i++)
    CHECK_INT(choose(3), (first + i) % 3);
  CHECK_INT(generation_errors(b.g), 0);
}

static void round_robin_is_common_to_all_generations(void) {
  CHECK_OPEN(open_preset("round-robin", 3, NULL, NULL));
  char err[SCRIPT_ERROR_MAX];
  struct generation *other = generation_new(b.plan, 1, NULL, err);
  CHECK(other);
  unsigned first = choose(3);
  struct decision d;
  decide_select(other, &d, &b.req, b.all, 3, &b.rng);
  CHECK_INT(d.slots[0], (first + 1) % 3);
  CHECK_INT(choose(3), (first + 2) % 3);
  generation_free(other);
}

static void two_kinds_of_request_in_alternation_both_go_round(void) {
  static const uint16_t left[] = {0, 1}, right[] = {0, 2};
  CHECK_OPEN(open_preset("round-robin", 3, NULL, NULL));
  unsigned seen[3] = {0};
  for (unsigned i = 0; i < 1000; i++) {
    decide_select(b.g, &b.d, &b.req, i % 2 ? left : right, 2, &b.rng);
    seen[b.d.slots[0]]++;
  }
  CHECK_INT(seen[0], 500);
  CHECK_INT(seen[1], 250);
  CHECK_INT(seen[2], 250);
}

static void weights_are_met_smoothly(void) {
  static const double weights[] = {5, 1, 1};
  CHECK_OPEN(open_preset("weighted-round-robin", 3, weights, NULL));
  char order[15] = "";
  for (unsigned i = 0; i < 14; i++)
    order[i] = (char)('a' + choose(3));
  CHECK_STR(order, 14, "aabacaaaabacaa");
}

static void real_weights_and_zero_are_met(void) {
  static const double weights[] = {0.5, 1.25, 0, 0.25};
  CHECK_OPEN(open_preset("weighted-round-robin", 4, weights, NULL));
  unsigned seen[4] = {0};
  for (unsigned i = 0; i < 8000; i++)
    seen[choose(4)]++;
  CHECK_INT(seen[0], 2000);
  CHECK_INT(seen[1], 5000);
  CHECK_INT(seen[2], 0);
  CHECK_INT(seen[3], 1000);
  static const uint16_t only[] = {2};
  decide_select(b.g, &b.d, &b.req, only, 1, &b.rng);
  CHECK_INT(b.d.slots[0], 2);
  CHECK(!b.d.is_fallback);
}

static void weights_hold_while_candidates_come_and_go(void) {
  static const double weights[] = {3, 1, 2};
  static const uint16_t some[] = {0, 2};
  CHECK_OPEN(open_preset("weighted-round-robin", 3, weights, NULL));
  unsigned seen[3] = {0}, seen_some[3] = {0};
  for (unsigned i = 0; i < 12000; i++) {
    if (i / 60 % 2) {
      decide_select(b.g, &b.d, &b.req, some, 2, &b.rng);
      seen_some[b.d.slots[0]]++;
    } else {
      seen[choose(3)]++;
    }
  }
  CHECK(seen[0] >= 2990 && seen[0] <= 3010 && seen[1] >= 990 && seen[1] <= 1010);
  CHECK(seen_some[0] >= 3590 && seen_some[0] <= 3610 && seen_some[1] == 0);
}

static void least_connections_follows_the_load(void) {
  static const double weights[] = {1, 2, 1};
  CHECK_OPEN(open_preset("least-connections", 3, weights, NULL));
  b.plan->entries[0].provider->in_flight = 4;
  b.plan->entries[1].provider->in_flight = 6;
  b.plan->entries[2].provider->in_flight = 5;
  CHECK_INT(choose(3), 1);
  b.plan->entries[0].provider->in_flight = 2;
  CHECK_INT(choose(3), 0);
}

static void least_connections_breaks_ties_by_weight(void) {
  static const double weights[] = {1, 2, 1};
  CHECK_OPEN(open_preset("least-connections", 3, weights, NULL));
  unsigned seen[3] = {0};
  for (unsigned i = 0; i < 20000; i++)
    seen[choose(3)]++;
  for (unsigned i = 0; i < 3; i++)
    CHECK(fabs(seen[i] - 5000 * weights[i]) < 500);
}

static void least_connections_keeps_the_counts_together(void) {
  CHECK_OPEN(open_preset("least-connections", 5, NULL, NULL));
  for (unsigned i = 0; i < 1000; i++) {
    provider_begin(b.plan->entries[choose(5)].provider);
    uint32_t low = UINT32_MAX, high = 0;
    for (unsigned k = 0; k < 5; k++) {
      uint32_t x = b.plan->entries[k].provider->in_flight;
      low = x < low ? x : low;
      high = x > high ? x : high;
    }
    CHECK(high - low <= 1);
  }
}

static void weight_zero_serves_only_when_nobody_else_may(void) {
  static const double weights[] = {0, 1, 0};
  static const uint16_t zeros[] = {0, 2};
  CHECK_OPEN(open_preset("least-connections", 3, weights, NULL));
  b.plan->entries[1].provider->in_flight = 1000;
  for (unsigned i = 0; i < 100; i++)
    CHECK_INT(choose(3), 1);
  b.plan->entries[0].provider->in_flight = 1;
  decide_select(b.g, &b.d, &b.req, zeros, 2, &b.rng);
  CHECK_INT(b.d.slots[0], 2);
}

static void random_follows_the_weights(void) {
  static const double weights[] = {1, 3, 0};
  CHECK_OPEN(open_preset("random", 3, weights, NULL));
  unsigned seen[3] = {0};
  for (unsigned i = 0; i < 20000; i++)
    seen[choose(3)]++;
  CHECK(seen[0] > 4600 && seen[0] < 5400);
  CHECK_INT(seen[2], 0);
}

static void p2c_takes_the_less_loaded_of_two(void) {
  CHECK_OPEN(open_preset("p2c", 3, NULL, NULL));
  b.plan->entries[1].provider->in_flight = 9;
  unsigned seen[3] = {0};
  for (unsigned i = 0; i < 9000; i++)
    seen[choose(3)]++;
  CHECK_INT(seen[1], 0);
  CHECK(seen[0] > 4100 && seen[2] > 4100);
  CHECK_INT(choose(1), 0);
}

static void priority_overflows_and_comes_back(void) {
  CHECK_OPEN(open_preset("priority", 3, NULL, "return { maxInFlight = 2 }"));
  b.plan->entries[0].provider->in_flight = 5; /* tier 100, full: it matters only when all are */
  CHECK(choose(3) != 0);
  close_bench();
  struct plan *plan = plan_of(3, NULL);
  plan->strategy_name = x_strdup("priority");
  plan->strategy_options = x_strdup("return { maxInFlight = 2 }");
  plan->entries[2].priority = 1;
  CHECK_OPEN(open_plan(plan));
  CHECK_INT(choose(3), 2);
  plan->entries[2].provider->in_flight = 2;
  plan->entries[0].provider->in_flight = 1;
  CHECK_INT(choose(3), 1);
  plan->entries[0].provider->in_flight = plan->entries[1].provider->in_flight = 2;
  CHECK_INT(choose(3), 2);
  plan->entries[2].provider->in_flight = 1;
  CHECK_INT(choose(3), 2);
}

static void every_preset_serves_any_number(void) {
  static const char *const names[] = {"round-robin", "least-connections", "weighted-round-robin", "random",
                                      "p2c",         "priority"};
  for (size_t k = 0; k < ARRAY_LEN(names); k++) {
    CHECK_OPEN(open_preset(names[k], PLAN_PROVIDERS_MAX, NULL, NULL));
    for (unsigned n = 1; n <= PLAN_PROVIDERS_MAX; n++)
      for (unsigned i = 0; i < 20; i++)
        CHECK(choose(n) < n);
    CHECK_INT(generation_errors(b.g), 0);
  }
}

/* ---- results ---- */

static void an_index_is_taken(void) {
  CHECK_OPEN(open_select("return 2"));
  CHECK_INT(choose(3), 1);
  CHECK(!b.d.is_fallback && !b.d.is_plan);
  static const uint16_t some[] = {0, 2};
  decide_select(b.g, &b.d, &b.req, some, 2, &b.rng);
  CHECK_INT(b.d.slots[0], 2);
}

static void nil_is_none_with_a_reason(void) {
  CHECK_OPEN(open_select("return nil, 'all\\nbusy'"));
  CHECK_INT(choose(3), PLAN_PROVIDERS_MAX);
  CHECK_STR(b.d.reason, strlen(b.d.reason), "all?busy");
  CHECK(!b.d.is_fallback);
  CHECK_OPEN(open_select("local x = 1"));
  CHECK_INT(choose(3), PLAN_PROVIDERS_MAX);
  CHECK_OPEN(open_select("return nil, ('x'):rep(500)"));
  CHECK_INT(choose(3), PLAN_PROVIDERS_MAX);
  CHECK_INT(strlen(b.d.reason), sizeof b.d.reason - 1);
  CHECK_INT(generation_errors(b.g), 0);
}

static void a_list_is_a_plan(void) {
  CHECK_OPEN(open_select("return { 3, 'x', 1, 3, 0, 4, 0/0, -1, 1.5, {}, 2 }"));
  CHECK_INT(choose(3), 2);
  CHECK(b.d.is_plan);
  CHECK_INT(b.d.n, 3);
  CHECK_INT(b.d.slots[1], 0);
  CHECK_INT(b.d.slots[2], 1);
  CHECK_OPEN(open_select("return {}"));
  CHECK_INT(choose(3), PLAN_PROVIDERS_MAX);
  CHECK(!b.d.is_fallback);
}

static void nonsense_falls_back(void) {
  static const char *const bodies[] = {
      "return 0",
      "return 4",
      "return -1",
      "return 1.5",
      "return 0/0",
      "return 1/0",
      "return 2^53",
      "return -0",
      "return 1e308",
      "return 1LL",
      "return setmetatable({ 2 }, {})",
      "return coroutine.wrap(function() return 1 end)",
      "return '1'",
      "return true",
      "return pool",
      "return pool[1]",
      "return select",
      "return { 'x' }",
      "return { 0, 4 }",
      "error('no')",
      "error({})",
      "error(nil)",
      "error('x', 0)",
      "return pool[9].id",
      "return pool.foo",
      "return pool[1].in_fligth",
      "return req.foo",
      "coroutine.yield(1)",
      "return (function() return coroutine.yield(1) end)()",
      "pool[9] = 1 return 1",
      "pool[1].mine = 1 return 1",
      "table.insert(pool, 1) return 1",
      "table.remove(pool) return 1",
      "table.sort(pool, function() return true end) return 1",
      "req.attempt = 3 return 1",
      "x = 1 return 1",
      "_G.x = 1 return 1",
      "lb.NEXT = 3 return 1",
      "lb.pick.least = nil return 1",
      "string.find = nil return 1",
      "return lb.NXT",
      "return lb.class.rate_limted",
      "while true do end",
      "while true do pcall(function() while true do end end) end",
      "local function f() return f() end return f()",
      "local function f() return 1 + f() end return f()",
      "local co = coroutine.wrap(function() while true do end end) while true do pcall(co) end",
      "local t = setmetatable({}, {__index = function(t, k) while true do end end}) return t.x",
      "local t = {} while true do t[#t + 1] = ('x'):rep(100000) .. #t end",
      "local s = 'x' while true do s = s .. s end",
      "return ('a'):rep(1e9)",
      "return (('a'):rep(30000)):find(('.-'):rep(8) .. 'b')",
      "return (('a'):rep(30000)):match('(a*)*b')",
      "return (('a'):rep(5000)):gsub('.-.-.-b', '')",
      "local t = {} for i = 1, 1e5 do t[i] = i end table.sort(t) return 1",
  };
  for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
    CHECK_OPEN(open_select(bodies[i]));
    b.plan->entries[0].provider->in_flight = b.plan->entries[2].provider->in_flight = 1;
    for (unsigned k = 0; k < 2; k++) {
      unsigned slot = choose(3);
      if (slot != 1 || !b.d.is_fallback) printf("# %s\n", bodies[i]);
      CHECK_INT(slot, 1);
      CHECK(b.d.is_fallback && b.d.n == 1 && !b.d.is_plan);
    }
    CHECK_INT(generation_errors(b.g), 2);
  }
}

static void after_an_overrun_the_next_call_is_served(void) {
  CHECK_OPEN(
      open_select("state.n = (state.n or 0) + 1\n"
                  "if state.n == 1 then while true do pcall(error) end end\n"
                  "if state.n == 2 then local t = {} while true do t[#t + 1] = ('x'):rep(1e5) .. #t end end\n"
                  "local x = 0 for i = 1, 1e4 do x = x + i end return 3"));
  b.plan->entries[2].provider->in_flight = 1;
  CHECK(choose(3) != 2);
  CHECK(choose(3) != 2);
  for (unsigned i = 0; i < 100; i++)
    CHECK_INT(choose(3), 2);
  CHECK_INT(generation_errors(b.g), 2);
}

static void the_lowest_score_wins(void) {
  CHECK_OPEN(open_script("return { abi = 1, score = function(_, req, p)\n"
                         "  if p.id == 'a' then return nil end\n"
                         "  if p.id == 'b' then return 0/0 end\n"
                         "  return p.in_flight + req.attempt\nend }"));
  CHECK_INT(choose(3), 2);
  CHECK_INT(choose(2), PLAN_PROVIDERS_MAX);
  CHECK(!b.d.is_fallback);
  CHECK_OPEN(open_script("return { abi = 1, score = function() return 1 end }"));
  unsigned seen[3] = {0};
  for (unsigned i = 0; i < 9000; i++)
    seen[choose(3)]++;
  for (unsigned i = 0; i < 3; i++)
    CHECK(seen[i] > 2700 && seen[i] < 3300);
  CHECK_OPEN(open_script("return { abi = 1, score = function() return 'x' end }"));
  (void)choose(3);
  CHECK(b.d.is_fallback);
}

static void the_built_in_choice_spreads_ties(void) {
  struct plan *plan = plan_of(3, NULL);
  CHECK_OPEN(open_plan(plan));
  plan->entries[1].provider->in_flight = 1;
  unsigned seen[3] = {0};
  for (unsigned i = 0; i < 1000; i++)
    seen[decide_builtin(plan, b.all, 3, &b.rng)]++;
  CHECK_INT(seen[1], 0);
  CHECK(seen[0] > 400 && seen[2] > 400);
}

/* ---- views ---- */

static void scripts_read_what_c_wrote(void) {
  static const char *const checks[] = {
      "#pool == 3 and pool[0] == nil and pool[4] == nil and pool[1].id == 'a' and pool[3].index == 3",
      "pool[1].kind == 'direct' and pool[1].address == '' and pool[1].model == 'llama' and pool[2].model == "
      "''",
      "pool[1].tags.region == 'eu' and pool[1].tags.gpu == true and pool[2].tags.region == nil",
      "pool[1].weight == 1 and pool[1].priority == 100 and pool[2].in_flight == 1 and pool[2].dispatched == "
      "1",
      "pool[2].state == 'up' and pool[2].last_class == 'ok' and pool[2].cooldown_ms == 0",
      "pool[1].samples == 0 and pool[1].latency_ms ~= pool[1].latency_ms and pool[1].price_in ~= "
      "pool[1].price_in",
      "pool[3].last_class == 'server' and pool[3].consecutive_failures == 1 and pool[3].error_rate > 0",
      "pool[3].verifiable == false and pool[3].state_since_ms >= 0",
      "req.id == 'req-1' and req.kind == 'chat' and req.model == 'gpt-4o' and req.session_key == ''",
      "req.stream == true and req.attempt == 1 and req.body_bytes == 1000 and req.max_tokens ~= "
      "req.max_tokens",
      "req:header('x-team') == 'blue' and req:header('X-TEAM') == 'blue' and req:header('x-tea') == nil",
      "req:header('x-team') == 'blue' and #req:header('content-type') == 16 and #req:header('x-team') == 4",
      "req:header('openai-organization') == '' and req:header('authorization') == nil and req:header('') == "
      "nil",
      "req:rand() ~= req:rand() and req:rand() < 1 and req:hash('x') == req:hash('x') and req:hash('x') ~= "
      "req:hash('y')",
      "lb.hash('x') == lb.hash('x') and lb.hash('x') ~= lb.hash('x', 1) and lb.hash('x') % 1 == 0",
      "lb.now_ms() > 0 and lb.random() < 1 and lb.random(1) == 1 and lb.class.rate_limited == 'rate_limited'",
      "tostring(pool[1]) == 'provider a' and pool[1] == pool[1] and pool[1] ~= pool[2]",
      "(function() local s = '' for i, p in ipairs(pool) do s = s .. i .. p.id end return s end)() == "
      "'1a2b3c'",
      "(function() local n = 0 for k, v in pairs(pool[1].tags) do n = n + 1 end return n end)() == 2",
      "lb.pick.least(lb.filter.tag(pool, 'region')) == 1 and #lb.filter.tag(pool, 'region', 'us') == 0",
      "#lb.filter.where(pool, function(p) return p.in_flight == 0 end) == 2",
      "#lb.filter.lowest(pool, lb.score.in_flight) == 2 and lb.pick.least({}) == nil and lb.pick.p2c({}) == "
      "nil",
      "('a-b'):find('-', 1, true) == 2 and ('x=1'):match('^(%w+)=') == 'x' and ('ab'):upper() == 'AB'",
      "('bearer abc'):gsub('^bearer%s+', '') == 'abc' and ('[a-z0-9_-]+'):len() == 11",
      "(function() local c = lb.counter('t') local x = c:get() c:add() c:add(4) c:add(-1) return c:get() - x "
      "end)() == 4",
  };
  for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
    for (unsigned guarded = 0; guarded < 2; guarded++) {
      struct plan *plan = plan_of(3, NULL);
      char text[1024];
      (void)snprintf(text, sizeof text,
                     "return { abi = 1, select = function(state, req, pool) return (%s) and 2 or 1 end }",
                     checks[i]);
      plan->entries[0].model = x_strdup("llama");
      plan->entries[0].tags = x_calloc(3, sizeof(char *));
      plan->entries[0].tags[0] = x_strdup("region=eu");
      plan->entries[0].tags[1] = x_strdup("gpu");
      provider_begin(plan->entries[1].provider);
      provider_begin(plan->entries[2].provider);
      struct outcome o = {
          .class = OUTCOME_SERVER, .status = 500, .total_ms = 5, .tokens_in = -1, .tokens_out = -1};
      (void)provider_settle(plan->entries[2].provider, &o, &HEALTH_RULES_DEFAULT, 0);
      plan->strategy_name = x_strdup("mine");
      char *owned = x_strdup(text);
      plan->strategy_source = span_str(owned);
      if (guarded) plan->strategy_path = x_strdup("mine.lua");
      CHECK_OPEN(open_plan(plan));
      /* Often enough to be compiled where that is allowed. */
      for (unsigned k = 0; k < 300; k++) {
        unsigned slot = choose(3);
        if (slot != 1 || b.d.is_fallback) printf("# %s\n", checks[i]);
        CHECK_INT(slot, 1);
        CHECK(!b.d.is_fallback);
      }
      close_bench();
      if (!guarded) free(owned);
    }
  }
}

static void a_replay_repeats_and_an_attempt_does_not(void) {
  CHECK_OPEN(open_select("state[#state + 1] = req:rand()\n"
                         "if #state == 2 then return state[1] == state[2] and 1 or 2 end\n"
                         "if #state == 3 then return state[3] ~= state[1] and 1 or 2 end\n"
                         "return 1"));
  (void)choose(3);
  CHECK_INT(choose(3), 0);
  b.req.attempt = 2;
  CHECK_INT(choose(3), 0);
}

static void counters_outlive_generations(void) {
  static const char *const script = "local c = lb.counter('outlive')\n"
                                    "return { abi = 1, select = function() return c:add(1) end }";
  CHECK_OPEN(open_script(script));
  CHECK_INT(choose(3), 0);
  CHECK_OPEN(open_script(script));
  CHECK_INT(choose(3), 1);
}

static void a_select_leaves_no_garbage_and_no_stack(void) {
  static const char *const names[] = {"round-robin", "least-connections", "weighted-round-robin", "random",
                                      "p2c",         "priority"};
  for (size_t k = 0; k < ARRAY_LEN(names); k++) {
    CHECK_OPEN(open_preset(names[k], 8, NULL, NULL));
    for (unsigned i = 0; i < 20000; i++)
      (void)choose(8);
    (void)lua_gc(b.g->L, LUA_GCCOLLECT, 0);
    (void)lua_gc(b.g->L, LUA_GCSTOP, 0);
    size_t before = b.g->heap.used;
    for (unsigned i = 0; i < 100000; i++)
      (void)choose(8);
    CHECK(b.g->heap.used - before < 10000);
    CHECK_INT(lua_gettop(b.g->L), b.g->top);
    CHECK_INT(generation_errors(b.g), 0);
  }
}

/* ---- retry, observe ---- */

static void retry_has_defaults(void) {
  CHECK_OPEN(open_select("return 1"));
  uint32_t delay = 9;
  struct outcome o = {.class = OUTCOME_CONNECT};
  CHECK_INT(decide_retry(b.g, &delay, &b.req, 0, &o), DECIDE_NEXT);
  CHECK_INT(delay, 0);
  o.class = OUTCOME_CLIENT_ERROR;
  CHECK_INT(decide_retry(b.g, &delay, &b.req, 0, &o), DECIDE_STOP);
}

static void retry_decides(void) {
  CHECK_OPEN(open_script("return { abi = 1, select = function() return 1 end, retry = function(_, req, o)\n"
                         "  if o.class == lb.class.rate_limited then return lb.SAME, o.retry_after_ms end\n"
                         "  if o.class == 'server' and o.status == 501 then return lb.STOP end\n"
                         "  if o.class == 'client_error' then return lb.NEXT, 1e9 end\n"
                         "  if o.class == 'auth' then return 7, 50 end\n"
                         "  if o.class == 'tls' then return lb.NEXT, 'soon' end\n"
                         "  if o.class == 'dns' then error('x') end\n"
                         "  if o.class == 'overloaded' then return lb.DEFAULT, -5 end\n"
                         "  if o.class == 'connect' then while true do end end\n"
                         "end }"));
  static const struct {
    enum outcome_class class;
    int status;
    enum decide_verdict verdict;
    uint32_t delay;
    unsigned errors;
  } cases[] = {
      {OUTCOME_RATE_LIMITED, 429, DECIDE_SAME, 1500, 0},
      {OUTCOME_SERVER, 501, DECIDE_STOP, 0, 0},
      {OUTCOME_SERVER, 500, DECIDE_NEXT, 0, 0},
      {OUTCOME_CLIENT_ERROR, 400, DECIDE_NEXT, 60000, 0},
      {OUTCOME_OVERLOADED, 503, DECIDE_NEXT, 0, 0},
      {OUTCOME_AUTH, 401, DECIDE_NEXT, 0, 1},
      {OUTCOME_TLS, 0, DECIDE_NEXT, 0, 2},
      {OUTCOME_DNS, 0, DECIDE_NEXT, 0, 3},
      {OUTCOME_CONNECT, 0, DECIDE_NEXT, 0, 4},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    uint32_t delay = 9;
    struct outcome o = {.class = cases[i].class, .status = cases[i].status, .retry_after_ms = 1500};
    CHECK_INT(decide_retry(b.g, &delay, &b.req, 1, &o), cases[i].verdict);
    CHECK_INT(delay, cases[i].delay);
    CHECK_INT(generation_errors(b.g), cases[i].errors);
  }
}

static void observe_learns(void) {
  CHECK_OPEN(open_script(
      "return { abi = 1, init = function() return { seen = {} } end,\n"
      "  select = function(s, _, pool)\n"
      "    for i = 1, #pool do if not s.seen[pool[i]] then return i end end\n"
      "  end,\n"
      "  observe = function(s, req, p, o)\n"
      "    if o.class == 'ok' and o.tokens_out == 7 and o.tokens_in ~= o.tokens_in and o.committed\n"
      "      and req.id == 'req-1' and p.id == 'b' then s.seen[p] = true else s.seen[p] = o.class end\n"
      "  end }"));
  CHECK_INT(choose(3), 0);
  struct outcome o = {.class = OUTCOME_SERVER};
  decide_observe(b.g, &b.req, 0, &o);
  CHECK_INT(choose(3), 1);
  o = (struct outcome){.class = OUTCOME_OK, .tokens_in = -1, .tokens_out = 7}; /* held to its end */
  decide_observe(b.g, &b.req, 1, &o);
  CHECK_INT(choose(3), 2);
  decide_observe(b.g, &b.req, 2, &o);
  CHECK_INT(choose(3), PLAN_PROVIDERS_MAX);
  CHECK_INT(generation_errors(b.g), 0);
}

/* ---- loading ---- */

static void load_errors_name_the_line(void) {
  static const struct {
    const char *script, *options, *text;
  } cases[] = {
      {"return {\n abi = 1,\n select = 1 1\n}", NULL,
       "my.lua:3: '}' expected (to close '{' at line 1) near '1'"},
      {"", NULL, "my.lua:1: a strategy returns one table, this file returned nothing"},
      {"\nreturn 5", NULL, "my.lua:2: a strategy returns one table, this file returned number"},
      {"return {\n select = print }", NULL, "my.lua:1: the field abi is missing: abi = 1"},
      {"return {\n abi = 2, select = print }", NULL,
       "my.lua:2: abi = 2 is not known, this program speaks abi = 1"},
      {"return {\n abi = 1 }", NULL, "my.lua:1: select (or score) is missing"},
      {"return {\n abi = 1, select = print,\n score = print }", NULL,
       "my.lua:3: select and score exclude each other"},
      {"return {\n abi = 1,\n selekt = print }", NULL,
       "my.lua:3: a strategy has no field selekt (did you mean \"select\"?)"},
      {"return {\n abi = 1, select = print,\n on_failure = print }", NULL,
       "my.lua:3: a strategy has no field on_failure"},
      {"return {\n abi = 1,\n select = 'x' }", NULL, "my.lua:3: select must be a function, not a string"},
      {"return {\n abi = 1, select = print,\n name = 5 }", NULL,
       "my.lua:3: name must be a string, not a number"},
      {"return { abi = 1, select = print,\n init = function()\n  local x\n  x.y = 1\n end }", NULL,
       "my.lua:4: attempt to index local 'x' (a nil value)"},
      {"return { abi = 1, select = print,\n init = function() error('bad') end }", NULL, "my.lua:2: bad"},
      {"return { abi = 1, select = print,\n init = function() error({}) end }", NULL,
       "my.lua:2: the script threw a table value"},
      {"local x = 1\ncount = 0\nreturn {}", NULL,
       "my.lua:2: a strategy has no globals to write: use `local count`"},
      {"while true do end", NULL, "my.lua:1: the script takes too long and was stopped"},
      {"return { abi = 1, select = print, init = function()\n while true do pcall(function() while true do "
       "end end) end end }",
       NULL, "my.lua:2: the script takes too long and was stopped"},
      {"local ffi = require('ffi')", NULL,
       "my.lua:1: attempt to call global 'require' (a nil value): a strategy has no I/O, loads no code, and "
       "has no modules "
       "but the sandbox's own"},
      {"return { abi = 1, select = print }", "return { x = 1 }",
       "my.lua:1: this strategy has no option x (strategyOptions); it has none"},
      {"return { abi = 1, select = print,\n options = { limit = { default = 5, max = 9 } } }",
       "return { limt = 1 }",
       "my.lua:2: this strategy has no option limt (strategyOptions) (did you mean \"limit\"?); it has "
       "limit"},
      {"return { abi = 1, select = print,\n options = {\n limit = { default = 5, max = 9 } } }",
       "return { limit = 10 }", "my.lua:3: strategyOptions.limit is 10, allowed is any to 9"},
      {"return { abi = 1, select = print,\n options = {\n limit = { default = 5 } } }",
       "return { limit = 'x' }", "my.lua:3: strategyOptions.limit must be a number, not a string"},
      {"return { abi = 1, select = print,\n options = {\n limit = { defualt = 5 } } }", NULL,
       "my.lua:3: the option limit has no defualt (did you mean \"default\"?)"},
      {"return { abi = 1, select = print,\n options = {\n limit = { default = 5, min = 'a' } } }", NULL,
       "my.lua:3: min of the option limit must be a number, not a string"},
      {"return { abi = 1, select = print,\n options = {\n limit = { default = 5, min = 6 } } }", NULL,
       "my.lua:3: the default of the option limit is 5, allowed is 6 to any"},
      {"return { abi = 1, select = print,\n options = {\n limit = { default = 5, type = 'string' } } }", NULL,
       "my.lua:3: the default of the option limit is a number, and its type is string"},
      {"return { abi = 1, select = print,\n options = {\n limit = { default = print } } }", NULL,
       "my.lua:3: the default of the option limit is a function: number, string, boolean and table are "
       "possible"},
      {"return { abi = 1, select = print,\n options = {\n { default = 5 } } }", NULL,
       "my.lua:3: options are named: the entry 1 has no name"},
      {"return { abi = '1', select = print }", NULL,
       "my.lua:1: abi = \"1\" is not known, this program speaks abi = 1"},
      {"return { abi = 1, select = print,\n name = ('x'):rep(65) }", NULL,
       "my.lua:2: name must be 1 to 64 characters, none of them a control character"},
      {"return { abi = 1, select = print,\n name = 'a\\nb' }", NULL,
       "my.lua:2: name must be 1 to 64 characters, none of them a control character"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    CHECK(!open_script_with(cases[i].script, 3, cases[i].options));
    CHECK_STR(b.err, strlen(b.err), cases[i].text);
  }
}

static void a_load_without_end_of_memory_names_the_line(void) {
  struct plan *plan = plan_of(1, NULL);
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_source =
      span_str(x_strdup("local t = {}\nwhile true do\n t[#t + 1] = ('x'):rep(100000) .. #t\nend"));
  plan->settings.call_budget_us = 1000000; /* filling the memory takes its time */
  CHECK(!open_plan(plan));
  CHECK_STR(b.err, strlen(b.err), "my.lua:3: the script needs more than 64 MiB of memory");
}

static void bytecode_is_refused(void) {
  struct plan *plan = plan_of(1, NULL);
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup("\033LJ\002"));
  CHECK(!open_plan(plan));
  CHECK(strstr(b.err, "attempt to load chunk with wrong mode"));
}

static void an_unknown_preset_is_refused(void) {
  CHECK(!open_preset("no-such", 1, NULL, NULL));
  CHECK(strstr(b.err, "no-such"));
}

static void init_gets_pool_and_options(void) {
  CHECK_OPEN(
      open_script_with("return { abi = 1,\n"
                       "  options = { limit = { default = 5, min = 1 }, who = { type = 'string' }, on = { "
                       "default = true } },\n"
                       "  init = function(pool, o, previous)\n"
                       "    assert(#pool == 3 and pool[3].id == 'c' and pool[3].index == 3)\n"
                       "    assert(o.limit == 7 and o.who == 'c' and o.on == true and previous == nil)\n"
                       "    return { want = o.who }\n"
                       "  end,\n"
                       "  select = function(s, _, pool)\n"
                       "    for i = 1, #pool do if pool[i].id == s.want then return i end end\n"
                       "  end }",
                       3, "return { limit = 7, who = 'c' }"));
  CHECK_INT(choose(3), 2);
  CHECK_INT(choose(2), PLAN_PROVIDERS_MAX);
}

static void nothing_leads_out_of_the_sandbox(void) {
  static const char *const escapes[] = {
      "io == nil and os == nil and ffi == nil and debug == nil and jit == nil and package == nil",
      "require == nil and load == nil and loadstring == nil and loadfile == nil and dofile == nil",
      "xpcall == nil and getfenv == nil and setfenv == nil and collectgarbage == nil and newproxy == nil",
      "module == nil and string.dump == nil and table.foreach == nil and math.randomseed == nil",
      "('').dump == nil and getmetatable('') == false and not pcall(setmetatable, '', {})",
      "_G.io == nil and _G._G == _G and rawget(_G, 'io') == nil and next(_G) == nil",
      "not pcall(rawset, _G, 'x', 1) and not pcall(rawset, lb, 'x', 1) and not pcall(rawset, string, 'x', 1)",
      "getmetatable(_G) == false and getmetatable(lb) == false and getmetatable(lb.pick) == false",
      "not pcall(setmetatable, _G, {}) and not pcall(setmetatable, lb, nil)",
      "getmetatable(pool) == 'ffi' and getmetatable(pool[1]) == 'ffi' and getmetatable(req) == 'ffi'",
      "not pcall(function() return pool.items end) and not pcall(function() return pool[1].ptr end)",
      "not pcall(function() return pool[1] + 1 end) and not pcall(function() return pool + 1 end)",
      "not pcall(function() return pool[1][1] end) and not pcall(function() return req.head end)",
      "not pcall(setmetatable, pool, {}) and not pcall(setmetatable, req, nil)",
      "not pcall(rawset, req, 'id', 1) and not pcall(rawset, pool[1], 'id', 1)",
      "not pcall(function() return pool() end) and not pcall(rawset, pool, 1, 1)",
      "not pcall(function() return pool[1].__index end) and not pcall(function() pool.n = 100 end)",
      "pcall(table.insert, lb.class, 'x') and lb.class.ok == 'ok' and pcall(table.insert, _G, 1)",
      "not pcall(function() pool[1].tags.x = 1 end) and not pcall(rawset, pool[1].tags, 'x', 1)",
      "(function() local f, s = pairs(lb) return s == lb end)()",
      "not pcall(string.rep, 'x', 1e8) and not pcall(string.find, ('x'):rep(1e5), 'x-x-x-y')",
      "not pcall(lb.counter, ('x'):rep(49)) and not pcall(lb.counter, '') and not pcall(lb.counter, 5)",
      "not pcall(lb.log, 'loud', 'x')",
  };
  for (size_t i = 0; i < ARRAY_LEN(escapes); i++) {
    char body[1024];
    (void)snprintf(body, sizeof body, "return (%s) and 1 or 2", escapes[i]);
    CHECK_OPEN(open_select(body));
    unsigned slot = choose(3);
    if (slot != 0 || b.d.is_fallback) printf("# %s\n", escapes[i]);
    CHECK(slot == 0 && !b.d.is_fallback);
  }
}

static void counters_are_bounded(void) {
  CHECK_OPEN(open_script("return { abi = 1, select = function(s) return s.full end, init = function()\n"
                         "  for i = 1, 2000 do local ok = pcall(lb.counter, 'many' .. i) if not ok then "
                         "return { full = 2 } end end\n"
                         "  return { full = 1 } end }"));
  CHECK_INT(choose(3), 1);
}

static void exchanges_are_counted(void) {
  CHECK_OPEN(open_preset("round-robin", 1, NULL, NULL));
  generation_enter(b.g);
  generation_enter(b.g);
  CHECK(!generation_leave(b.g));
  CHECK(generation_leave(b.g));
  CHECK(generation_plan(b.g) == b.plan);
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  RUN(round_robin_goes_round);
  RUN(round_robin_is_common_to_all_generations);
  RUN(two_kinds_of_request_in_alternation_both_go_round);
  RUN(weights_are_met_smoothly);
  RUN(real_weights_and_zero_are_met);
  RUN(weights_hold_while_candidates_come_and_go);
  RUN(least_connections_follows_the_load);
  RUN(least_connections_breaks_ties_by_weight);
  RUN(least_connections_keeps_the_counts_together);
  RUN(weight_zero_serves_only_when_nobody_else_may);
  RUN(random_follows_the_weights);
  RUN(p2c_takes_the_less_loaded_of_two);
  RUN(priority_overflows_and_comes_back);
  RUN(every_preset_serves_any_number);
  RUN(an_index_is_taken);
  RUN(nil_is_none_with_a_reason);
  RUN(a_list_is_a_plan);
  RUN(nonsense_falls_back);
  RUN(after_an_overrun_the_next_call_is_served);
  RUN(the_lowest_score_wins);
  RUN(the_built_in_choice_spreads_ties);
  RUN(scripts_read_what_c_wrote);
  RUN(a_replay_repeats_and_an_attempt_does_not);
  RUN(counters_outlive_generations);
  RUN(a_select_leaves_no_garbage_and_no_stack);
  RUN(retry_has_defaults);
  RUN(retry_decides);
  RUN(observe_learns);
  RUN(load_errors_name_the_line);
  RUN(a_load_without_end_of_memory_names_the_line);
  RUN(bytecode_is_refused);
  RUN(an_unknown_preset_is_refused);
  RUN(init_gets_pool_and_options);
  RUN(nothing_leads_out_of_the_sandbox);
  RUN(counters_are_bounded);
  RUN(exchanges_are_counted);
  close_bench();
  guard_stop();
  return CHECK_END();
}
