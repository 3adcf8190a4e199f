#include "check.h"

#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "script/decide.h"
#include "script/generation_private.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/*
 * What lb.pick.* chooses among the call's candidates in C is what it chooses in Lua from a list of them: from the pool the
 * choice is C's, from what lb.filter.where keeps it is Lua's. Each sentence is proved with scripts as tables and compiled.
 */

enum { N = 9, ROUNDS = 3000, DRAWS = 60000 };

static struct plan *plan;
static struct generation *g;
static struct lb_request req;
static struct rng rng;
static struct decision d;
static char err[SCRIPT_ERROR_MAX];

static const double WEIGHTS[N] = {1, 2, 0, 3, 0.5, 1, 0, 4, 1};
static const double SKEWED[N] = {1000, 1, 0.001, 3, 1e-9, 40, 0, 7, 1e6};
static const double PRIORITIES[N] = {1, 1, 1, 2, 2, 2, 2, 3, 3};

static void close_script(void) {
  generation_free(g);
  g = NULL;
  plan_unref(&plan);
}

static void open_script(const char *select, bool is_fast, const double *weights) {
  close_script();
  plan = plan_new();
  plan->settings.guard_is_fast = is_fast;
  plan->n_entries = N;
  plan->entries = x_calloc(N, sizeof *plan->entries);
  for (unsigned i = 0; i < N; i++) {
    struct plan_entry *e = &plan->entries[i];
    char id[] = {(char)('a' + i), '\0'};
    e->provider = provider_new(id, PROVIDER_DIRECT, 0);
    e->weight = weights ? weights[i] : 1;
    e->priority = PRIORITIES[i];
    e->has_price = i != 4;
    e->price_in = 1 + i % 3;
    e->price_out = 2;
  }
  char text[2048];
  (void)snprintf(text, sizeof text,
                 "local function all() return true end\n"
                 "local function odd(p) return p.slot %% 2 end\n"
                 "local function gaps(p) if p.slot %% 3 == 1 then return nil end\n"
                 "  return p.slot %% 4 == 0 and 0/0 or p.in_flight end\n"
                 "return { abi = 1, name = 'mine', init = function() return { n = 0, current = {} } end,\n"
                 "select = function(state, req, pool)\n"
                 "local list = lb.filter.where(pool, all)\n"
                 "%s\nend }",
                 select);
  plan->strategy_name = x_strdup("my.lua");
  plan->strategy_path = x_strdup("my.lua");
  plan->strategy_source = span_str(x_strdup(text));
  plan_seal(plan);
  req = (struct lb_request){
      .id = {"req-1", 5, 0},
      .kind = {"chat", 4, 0},
      .model = {"m", 1, 0},
      .est_input_tokens = 250,
      .max_tokens = NAN,
      .attempt = 1,
  };
  rng_seed(&rng, 7);
  g = generation_new(plan, 0, NULL, err);
  if (!g) printf("# %s\n", err);
  CHECK(g);
}

/* Some of the nine, in order; at least one. */
static unsigned some(uint16_t *candidates) {
  unsigned n = 0, bits = 1 + (unsigned)(rng_double(&rng) * ((1 << N) - 1));
  for (unsigned i = 0; i < N; i++)
    if (bits >> i & 1) candidates[n++] = (uint16_t)i;
  return n;
}

/* Loads that differ in every order, so that nothing is left to chance. */
static void load_at_random(void) {
  for (unsigned i = 0; i < N; i++)
    plan->entries[i].provider->in_flight = (uint32_t)(rng_double(&rng) * 100) * 64 + i;
}

static void ask(const uint16_t *candidates, unsigned n) {
  decide_select(g, &d, &req, candidates, n, &rng);
}

/* The script returns 1 when the two choices are the same, else raises. */
static void agree(const char *select, const double *weights) {
  for (int is_fast = 0; is_fast < 2; is_fast++) {
    open_script(select, is_fast, weights);
    for (unsigned i = 0; i < ROUNDS; i++) {
      uint16_t candidates[N];
      unsigned n = some(candidates);
      if (i % 7 == 0) load_at_random();
      ask(candidates, n);
      bool is_same = !d.is_fallback;
      if (!is_same) {
        struct strategy_totals totals;
        generation_stats(plan, &totals);
        printf("# %s: %s, %u candidates from %u on: %s\n", is_fast ? "fast" : "strict", select, n,
               candidates[0], totals.last_error);
      }
      CHECK(is_same);
      if (!is_same) return;
    }
  }
}

#define SAME_AS(pool_pick, list_pick)                                                                        \
  "local x, y = " pool_pick ", " list_pick "\n"                                                              \
  "if x ~= y then error(tostring(x) .. ' from the pool, ' .. tostring(y) .. ' from a list') end\n"           \
  "return 1"

static void rendezvous_is_exact(void) {
  static const char select[] = "state.n = state.n + 1\n" SAME_AS("lb.pick.rendezvous(pool, 'k' .. state.n)",
                                                                 "lb.pick.rendezvous(list, 'k' .. state.n)");
  agree(select, WEIGHTS);
  agree(select, SKEWED);
  agree(select, NULL);
  agree("state.n = state.n + 1\n" SAME_AS("lb.pick.rendezvous(pool, state.n * 7919.5 - 3e6, math.huge)",
                                          "lb.pick.rendezvous(list, state.n * 7919.5 - 3e6, math.huge)"),
        WEIGHTS);
  agree("state.n = state.n + 1\n"
        "local key = state.n % 2 == 0 and 0/0 or 2^60 + state.n * 4096\n" SAME_AS(
            "lb.pick.rendezvous(pool, key, 0.5)", "lb.pick.rendezvous(list, key, 0.5)"),
        WEIGHTS);
}

static void smooth_goes_the_same_round(void) {
  static const char select[] = SAME_AS("lb.pick.smooth(pool)", "lb.pick.smooth(list, state.current)");
  agree(select, WEIGHTS);
  agree(select, NULL);
}

static void least_is_the_same(void) {
  agree(SAME_AS("lb.pick.least(pool)", "lb.pick.least(list)"), WEIGHTS);
  agree(SAME_AS("lb.pick.least(pool)", "lb.pick.least(pool, lb.score.in_flight)"), WEIGHTS);
  agree(SAME_AS("lb.pick.least(pool, gaps)", "lb.pick.least(list, gaps)"), NULL);
  agree("local best, least = nil, math.huge\n"
        "for i = 1, #pool do local s = gaps(pool[i]) if s and s < least then best, least = i, s end "
        "end\n" SAME_AS("lb.pick.least(pool, gaps)", "best"),
        NULL);
}

static void tiers_are_the_same(void) {
  agree(SAME_AS("lb.pick.tiered(pool, 3000)", "lb.pick.tiered(list, 3000)"), WEIGHTS);
  agree(SAME_AS("lb.pick.tiered(pool, 200)", "lb.pick.tiered(list, 200)"), WEIGHTS);
  agree(SAME_AS("lb.pick.tiered(pool, 0)", "lb.pick.tiered(list, 0)"), WEIGHTS);
  agree(SAME_AS("lb.pick.tiered(pool, math.huge)", "lb.pick.tiered(list, math.huge)"), NULL);
  agree(SAME_AS("lb.pick.tiered(pool, 2000, odd)", "lb.pick.tiered(list, 2000, odd)"), WEIGHTS);
  agree(SAME_AS("lb.pick.tiered(pool, 2000, gaps)", "lb.pick.tiered(list, 2000, gaps)"), WEIGHTS);
}

static void the_cheapest_is_the_same(void) {
  agree(SAME_AS("lb.pick.cheapest(pool, req, 3000)", "lb.pick.cheapest(list, req, 3000)"), WEIGHTS);
  agree(SAME_AS("lb.pick.cheapest(pool, req, 2, 100)", "lb.pick.cheapest(list, req, 2, 100)"), WEIGHTS);
}

static void a_score_may_ask_for_a_pick(void) {
  agree("local function inner(p) local k = lb.pick.least(pool, odd) return p.in_flight + 0 * k end\n" SAME_AS(
            "lb.pick.least(pool, inner)", "lb.pick.least(pool, lb.score.in_flight)"),
        NULL);
}

static void count(const char *select, bool is_fast, const double *weights, unsigned *seen) {
  open_script(select, is_fast, weights);
  uint16_t all[N];
  for (unsigned i = 0; i < N; i++)
    all[i] = (uint16_t)i;
  memset(seen, 0, N * sizeof *seen);
  for (unsigned i = 0; i < N; i++)
    plan->entries[i].provider->in_flight = i % 3;
  for (unsigned i = 0; i < DRAWS; i++) {
    ask(all, N);
    CHECK(!d.is_fallback && d.n == 1);
    if (d.n) seen[d.slots[0]]++;
  }
}

/* Shares of chance: within 2 % of all. */
static void draw_alike(const char *from_pool, const char *from_list, const double *weights) {
  unsigned a[N], c[N];
  for (int is_fast = 0; is_fast < 2; is_fast++) {
    count(from_pool, is_fast, weights, a);
    count(from_list, is_fast, weights, c);
    for (unsigned i = 0; i < N; i++) {
      double apart = fabs((double)a[i] - (double)c[i]) / DRAWS;
      if (apart > 0.02) printf("# %s: %u has %u from the pool, %u from a list\n", from_pool, i, a[i], c[i]);
      CHECK(apart <= 0.02);
      if (weights && weights[i] <= 0) CHECK(a[i] == 0 && c[i] == 0);
    }
  }
}

static void draws_have_the_same_chances(void) {
  draw_alike("return lb.pick.weighted(pool)", "return lb.pick.weighted(list)", WEIGHTS);
  draw_alike("return lb.pick.weighted(pool)", "return lb.pick.weighted(list)", NULL);
  draw_alike("return lb.pick.p2c(pool)", "return lb.pick.p2c(list)", WEIGHTS);
  draw_alike("return lb.pick.p2c(pool)", "return lb.pick.p2c(list)", NULL);
  draw_alike("return lb.pick.p2c(pool, odd)", "return lb.pick.p2c(list, odd)", WEIGHTS);
  draw_alike("return lb.pick.p2c(pool, gaps)", "return lb.pick.p2c(list, gaps)", NULL);
}

static void ties_have_the_same_chances(void) {
  draw_alike("return lb.pick.least(pool, odd)", "return lb.pick.least(list, odd)", NULL);
  draw_alike("return lb.pick.tiered(pool, 2)", "return lb.pick.tiered(list, 2)", WEIGHTS);
  draw_alike("return lb.pick.tiered(pool, 9, odd)", "return lb.pick.tiered(list, 9, odd)", NULL);
}

int main(void) {
  log_setup(getenv("TEST_LOG") ? LOG_INFO : LOG_OFF, LOG_TEXT);
  RUN(rendezvous_is_exact);
  RUN(smooth_goes_the_same_round);
  RUN(least_is_the_same);
  RUN(tiers_are_the_same);
  RUN(the_cheapest_is_the_same);
  RUN(a_score_may_ask_for_a_pick);
  RUN(draws_have_the_same_chances);
  RUN(ties_have_the_same_chances);
  close_script();
  guard_stop();
  return CHECK_END();
}
