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

/* Views as tables: what interpreted scripts read is what C knows, and what they overwrite is found. */

enum { N = 5, ROTATION = 61 * N }; /* one provider is looked at each 61 calls */

static struct plan *plan;
static struct generation *g;
static struct lb_request req = {.id = {"req-1", 5, 0}, .kind = {"chat", 4, 0}, .attempt = 1};
static struct rng rng;
static struct decision d;
static char err[SCRIPT_ERROR_MAX];
static uint16_t all[N] = {0, 1, 2, 3, 4};

static void close_script(void) {
  generation_free(g);
  g = NULL;
  plan_unref(&plan);
}

static bool load(const char *text) {
  close_script();
  plan = plan_new();
  plan->n_entries = N;
  plan->entries = x_calloc(N, sizeof *plan->entries);
  for (unsigned i = 0; i < N; i++) {
    char id[] = {(char)('a' + i), '\0'};
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = 1 + i;
    plan->entries[i].priority = 50;
    plan->entries[i].has_price = true;
    plan->entries[i].price_in = 0.5 * i;
  }
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_name = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup(text));
  plan_seal(plan);
  rng_seed(&rng, 1);
  g = generation_new(plan, 0, NULL, err);
  return g != NULL;
}

static void open_script(const char *text) {
  bool is_open = load(text);
  if (!is_open) printf("# %s\n", err);
  CHECK(is_open);
}

static void open_select(const char *body) {
  char text[1024];
  (void)snprintf(text, sizeof text,
                 "return { abi = 1, name = 'mine', select = function(state, req, pool)\n%s\nreturn 1 end }",
                 body);
  open_script(text);
}

static bool is_refused(void) {
  decide_select(g, &d, &req, all, N, &rng);
  return d.is_fallback;
}

static const char *last_error(void) {
  generation_last_error(g, err);
  return err;
}

#define CHECK_ERROR(text)                                                                                    \
  do {                                                                                                       \
    if (!strstr(last_error(), text)) printf("# the error is %s\n", err);                                     \
    CHECK(strstr(err, text));                                                                                \
  } while (0)

/* ---- what is read ---- */

static bool is_number(unsigned slot, const char *field, double x) {
  lua_getfield(g->L, STACK_PROVIDERS + (int)slot, field);
  double found = lua_tonumber(g->L, -1);
  bool is_same = lua_type(g->L, -1) == LUA_TNUMBER && (found == x || (isnan(found) && isnan(x)));
  if (!is_same) printf("# %s of %u is %g, not %g\n", field, slot, found, x);
  lua_pop(g->L, 1);
  return is_same;
}

static void check_numbers(unsigned slot) {
  const struct provider *p = plan->entries[slot].provider;
  CHECK(is_number(slot, "in_flight", p->in_flight));
  CHECK(is_number(slot, "dispatched", (double)p->dispatched));
  CHECK(is_number(slot, "samples", p->samples));
  CHECK(is_number(slot, "latency_ms", p->latency_ms));
  CHECK(is_number(slot, "ttft_ms", p->ttft_ms));
  CHECK(is_number(slot, "error_rate", p->error_rate));
  CHECK(is_number(slot, "consecutive_failures", p->consecutive_failures));
  CHECK(is_number(slot, "balance", p->balance));
  CHECK(is_number(slot, "runway_s", p->runway_s));
  CHECK(is_number(slot, "price_in", 0.5 * slot));
}

static void change(struct provider *p) {
  if (rng_below(&rng, 4) == 0) {
    p->balance = rng_below(&rng, 3) ? rng_below(&rng, 1000) : NAN;
    p->runway_s = rng_below(&rng, 2) ? INFINITY : 60;
  }
  if (p->in_flight && rng_below(&rng, 2)) {
    bool ok = rng_below(&rng, 3) > 0;
    struct outcome o = {.class = ok ? OUTCOME_OK : OUTCOME_SERVER,
                        .status = ok ? 200 : 500,
                        .ttft_ms = 1 + rng_below(&rng, 100),
                        .total_ms = 200,
                        .tokens_in = -1,
                        .tokens_out = -1};
    (void)provider_settle(p, &o, &HEALTH_RULES_DEFAULT, 0);
  } else {
    provider_begin(p);
  }
}

static void tables_follow_what_happens(void) {
  open_select("for i = 1, #pool do local p = pool[i]\n"
              "  local n = p.dispatched + p.samples + p.latency_ms + p.ttft_ms + p.error_rate + p.price_in\n"
              "  n = n + p.consecutive_failures + p.balance + p.runway_s + p.state_since_ms\n"
              "  assert(p.index == i and type(p.last_class) == 'string') end");
  for (unsigned round = 0; round < 2000; round++) {
    change(plan->entries[rng_below(&rng, N)].provider);
    uint16_t some[N];
    unsigned n = 0;
    for (uint16_t i = 0; i < N; i++)
      if (n == 0 || rng_below(&rng, 8)) some[n++] = i;
    decide_select(g, &d, &req, some, n, &rng);
    CHECK(!d.is_fallback);
    for (unsigned i = 0; i < n; i++)
      check_numbers(some[i]);
    CHECK_INT(lua_gettop(g->L), g->top);
  }
  CHECK_INT(generation_errors(g), 0);
}

static void a_provider_alone_is_up_to_date(void) {
  open_script("return { abi = 1, select = function() return 1 end, observe = function(_, _, p)\n"
              "  local n = p.dispatched + p.samples + p.latency_ms + p.ttft_ms + p.error_rate + p.price_in\n"
              "  n = n + p.consecutive_failures + p.balance + p.runway_s end }");
  struct outcome o = {.class = OUTCOME_OK};
  for (unsigned round = 0; round < 500; round++) {
    unsigned slot = rng_below(&rng, N);
    change(plan->entries[slot].provider);
    decide_observe(g, &req, slot, &o);
    check_numbers(slot);
  }
  CHECK_INT(generation_errors(g), 0);
}

/* ---- what is overwritten ---- */

static void a_field_named_in_the_text_is_refused_at_once(void) {
  static const char *const lines[] = {
      "pool[2].in_flight = 7",
      "pool[2].weight = nil",
      "local p = pool[2] p.id = 'x'",
      "pool[2].tags = {}",
      "pool[2].index = 1",
      "if pool[2].samples then pool[2].samples = 7 end",
      "pool[2].price_in = 0 / 0",
      "pcall(function() pool[2].weight = 1 end)",
      "local t = { weight = 1 } t = pool[2] t.weight = 3",
  };
  for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
    char body[256];
    (void)snprintf(body, sizeof body, "local _ = pool[2].price_in\n%s", lines[i]);
    open_select(body);
    for (unsigned k = 1; k <= BENCH_IN_ROW; k++) {
      bool refused = is_refused();
      if (!refused) printf("# %s\n", lines[i]);
      CHECK(refused);
      CHECK_INT(generation_errors(g), k);
    }
    CHECK_ERROR("my.lua:3: select: views are read-only, what is yours belongs into the state");
    CHECK(generation_is_benched(g));
  }
}

static void what_was_overwritten_is_put_right(void) {
  open_select(
      "local a, b = pool[1], pool[2]\n"
      "if not state.seen then\n"
      "  state.seen = true\n"
      "  b.id, b.weight, b.in_flight, b.kind, b.samples = nil, 'x', {}, 5, b.samples\n"
      "  pool[1], pool[2] = b, a\n"
      "else\n"
      "  assert(b.id == 'b' and b.weight == 2 and b.in_flight == 3 and b.kind == 'direct' and a.id == 'a')\n"
      "end");
  plan->entries[1].provider->in_flight = 3;
  CHECK(is_refused());
  CHECK_ERROR("my.lua:5: select: views are read-only");
  CHECK(!is_refused());
  CHECK_INT(generation_errors(g), 1);
}

static void every_callback_is_looked_after(void) {
  open_script("local last\n"
              "return { abi = 1, score = function(_, _, p) last = p return 1 end,\n"
              "  observe = function(_, _, p) p.weight = 0 end,\n"
              "  health = function(_, p) p.index = 9 return lb.DOWN end,\n"
              "  retry = function() last.in_flight = 9 return lb.STOP end,\n"
              "  tick = function(_, pool) pool[3].model = 'x' end,\n"
              "  export = function() last.tags = nil return {} end }");
  CHECK(!is_refused());
  struct outcome o = {.class = OUTCOME_SERVER};
  decide_observe(g, &req, 4, &o);
  CHECK_ERROR("my.lua:3: observe: views are read-only");
  char reason[DECIDE_REASON_MAX];
  CHECK_INT(decide_health(g, reason, 0, &(struct evidence){.ok = true}), LB_KEEP);
  CHECK_ERROR("my.lua:4: health: views are read-only");
  uint32_t delay;
  CHECK_INT(decide_retry(g, &delay, &req, 0, &o), DECIDE_NEXT);
  CHECK_ERROR("my.lua:5: retry: views are read-only");
  decide_tick(g);
  CHECK_ERROR("my.lua:6: tick: views are read-only");
  struct buf out;
  buf_init(&out, SCRIPT_EXPORT_MAX);
  CHECK(!generation_export(g, &out));
  buf_release(&out);
  CHECK_ERROR("my.lua:7: export: views are read-only");
  CHECK_INT(generation_errors(g), 5);
}

static void a_computed_name_is_found_after_a_while_and_then_at_once(void) {
  static const struct {
    const char *body, *error;
  } cases[] = {
      {"local name = 'weight' pool[2][name] = 7", "my.lua:1: select: weight of a provider was assigned to"},
      {"for _, k in ipairs({ 'id', 'model', 'kind' }) do pool[2][k] = 'x' end",
       " of a provider was assigned to: views are read-only"},
      {"pool[1], pool[2] = pool[2], pool[1]", "my.lua:1: select: a place of the pool was assigned to"},
      {"pool[#pool] = nil", ": views are read-only, what is yours belongs into the state"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    open_select(cases[i].body);
    unsigned calls = 1;
    while (!is_refused() && calls <= ROTATION)
      calls++;
    if (calls > ROTATION) printf("# %s\n", cases[i].body);
    CHECK(calls <= ROTATION);
    CHECK_ERROR(cases[i].error);
    for (unsigned k = 1; k < BENCH_IN_ROW; k++)
      CHECK(is_refused());
    CHECK(generation_is_benched(g));
  }
}

static void init_must_leave_them_alone(void) {
  CHECK(!load("return { abi = 1, select = function() return 1 end,\n"
              "  init = function(pool)\n    pool[2].weight = 3 end }"));
  CHECK_STR(err, strlen(err), "my.lua:3: views are read-only, what is yours belongs into the state");
  CHECK(!load("return { abi = 1, select = function() return 1 end,\n"
              "  init = function(pool) pool[2]['wei' .. 'ght'] = 3 end }"));
  CHECK_STR(err, strlen(err),
            "my.lua:2: weight of a provider was assigned to: views are read-only, what is yours belongs into "
            "the state");
}

/* ---- what is not ---- */

static void tables_of_ones_own_may_have_the_same_names(void) {
  open_script("local function make(w) return { weight = w, in_flight = 0 } end\n"
              "return { abi = 1,\n"
              "  init = function() local s = { index = 1 } s.weight = 2 s.model = '' return s end,\n"
              "  select = function(s, req, pool)\n"
              "    s.model, s.in_flight, s.id = req.model, 1, pool[1].id\n"
              "    local best = {} best.weight, best.slot = 0, 1\n"
              "    local made = make(3)\n"
              "    return made.weight - 2 end }");
  CHECK_INT(g->watched, 0);
  for (unsigned i = 0; i < 3 * ROTATION; i++)
    CHECK(!is_refused());
}

static void what_cannot_be_told_apart_costs_time_alone(void) {
  open_script("local mine = {}\n"
              "return { abi = 1, init = function(pool) return pool[1] end, select = function(s, _, pool)\n"
              "  mine.weight = #pool\n"
              "  if mine.weight == 0 then s.index = 2 end\n"
              "  return s.index end }");
  CHECK_INT(g->watched, VIEW_BIT(VIEW_weight) | VIEW_BIT(VIEW_index));
  for (unsigned i = 0; i < 3 * ROTATION; i++)
    CHECK(!is_refused());
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  RUN(tables_follow_what_happens);
  RUN(a_provider_alone_is_up_to_date);
  RUN(a_field_named_in_the_text_is_refused_at_once);
  RUN(what_was_overwritten_is_put_right);
  RUN(every_callback_is_looked_after);
  RUN(a_computed_name_is_found_after_a_while_and_then_at_once);
  RUN(init_must_leave_them_alone);
  RUN(tables_of_ones_own_may_have_the_same_names);
  RUN(what_cannot_be_told_apart_costs_time_alone);
  close_script();
  guard_stop();
  return CHECK_END();
}
