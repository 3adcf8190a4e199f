/*
 * pick: the choices of lb.pick.* over the candidates of the current call, in C. They are defined in
 * scripts/runtime/lb.lua, which makes the same choice from a list or under plain luajit; here they are because a loop that
 * remembers the best leaves its compiled path at each new best, and that costs more than all the rest of a decision.
 *
 * Thread: the generation's.   Borrows: the candidates of the current call.
 * Invariant: nothing allocates or calls Lua; places are 1 to n, 0 is nobody.
 */
#include "script/generation_private.h"

#include <float.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

static const struct generation *generation_of(const struct lb_call *call) {
  return container_of(call, struct generation, call);
}

static const struct lb_provider *candidate(const struct generation *g, uint32_t i) {
  return &g->call.providers[g->shown[i]];
}

/* What is no number is behind all tiers. */
static double tier(double x) {
  return x <= DBL_MAX ? x : DBL_MAX;
}

/* The candidates' places by priority, out of the plan's order, and where each tier ends. */
static void sort_tiers(const struct generation *g, struct pick_facts *f) {
  uint32_t n = 0, from = 0;
  double last = NAN;
  for (uint32_t k = 0; k < g->plan->n_entries; k++) {
    uint32_t slot = g->by_priority[k], place = g->call.providers[slot].index - 1;
    if (place >= g->n_shown || g->shown[place] != slot) continue;
    double own = tier(g->call.providers[slot].priority);
    if (own > last) from = n;
    last = own;
    f->by_tier[n++] = (uint16_t)place;
    f->tier_end[from] = (uint16_t)n;
  }
}

/* The same as long as the candidates are. */
SELDOM static void find_facts(struct generation *g, struct pick_facts *f) {
  f->is_known = f->is_even = true;
  f->total = f->max_share = 0;
  for (uint32_t i = 0; i < g->n_shown; i++) {
    double weight = candidate(g, i)->weight;
    f->is_even = f->is_even && weight == candidate(g, 0)->weight;
    f->sums[i] = f->total += weight;
    f->shares[i] = weight > 0 ? weight : 1;
    f->max_share = f->shares[i] > f->max_share ? f->shares[i] : f->max_share;
    f->per_request[i] = 1 / f->shares[i];
    f->base[i] = weight > 0 ? 0 : 1e12;
    f->price_in[i] = g->call.stats[g->shown[i]].price_in;
    f->price_out[i] = g->call.stats[g->shown[i]].price_out;
    f->seeds[i] = g->seeds[g->shown[i]];
  }
  /* All of weight 0 count alike. */
  f->per_total = 1 / (f->total > 0 ? f->total : g->n_shown);
  for (uint32_t i = 0; i < g->n_shown; i++)
    f->per_wait[i] = f->total > 0 && !(candidate(g, i)->weight > 0) ? INFINITY : f->per_request[i];
  sort_tiers(g, f);
}

static const struct pick_facts *facts_of(const struct lb_call *call) {
  struct generation *g = container_of((struct lb_call *)call, struct generation, call);
  if (UNLIKELY(!g->facts.is_known)) find_facts(g, &g->facts);
  return &g->facts;
}

static double running_at(const struct generation *g, uint32_t i) {
  return *g->shown_loads[i].told;
}

static double load_of(const struct generation *g, const struct pick_facts *f, uint32_t i) {
  return running_at(g, i) * f->per_request[i] + f->base[i];
}

/* Infinite when there is none. Four at a time, since one minimum has to wait for the one before. */
static double lowest_of(const double *x, uint32_t n) {
  double a = INFINITY, b = INFINITY, c = INFINITY, d = INFINITY;
  uint32_t i = 0;
  for (; i + 4 <= n; i += 4) {
    a = x[i] < a ? x[i] : a;
    b = x[i + 1] < b ? x[i + 1] : b;
    c = x[i + 2] < c ? x[i + 2] : c;
    d = x[i + 3] < d ? x[i + 3] : d;
  }
  for (; i < n; i++)
    a = x[i] < a ? x[i] : a;
  a = b < a ? b : a;
  c = d < c ? d : c;
  return c < a ? c : a;
}

/* Of the places in `tied`, from 0, one in proportion to the weights; 1 and up. */
SELDOM static uint32_t break_tie(const struct pick_facts *f, const uint16_t *tied, uint32_t n) {
  double total = 0, sum = 0;
  uint32_t at = 0;
  for (uint32_t i = 0; i < n; i++)
    total += f->shares[tied[i]];
  double x = lb_abi_random() * total;
  for (uint32_t i = 0; i + 1 < n; i++) {
    sum += f->shares[tied[i]];
    at += sum <= x;
  }
  return tied[at] + 1u;
}

/* Places with the lowest value, which is known, into `tied`, which has room for one more than `n`. */
static uint32_t collect(uint16_t *tied, const double *values, uint32_t n, double value) {
  uint32_t n_tied = 0;
  for (uint32_t i = 0; i < n; i++) {
    tied[n_tied] = (uint16_t)i;
    n_tied += values[i] <= value;
  }
  return n_tied;
}

/* One of those with the lowest load, which is known; 1 and up. */
static uint32_t one_of(const struct pick_facts *f, const double *loads, uint32_t n, double lowest) {
  uint16_t tied[PLAN_PROVIDERS_MAX + 1];
  uint32_t n_tied = collect(tied, loads, n, lowest);
  return n_tied < 2 ? tied[0] + 1u : break_tie(f, tied, n_tied);
}

/* Nothing in these rounds has to be guessed by the processor: which candidate is the best changes all the time. */
LB_MAY_BE_LEFT uint32_t lb_abi_least(const struct lb_call *call) {
  const struct generation *g = generation_of(call);
  const struct pick_facts *f = facts_of(call);
  double loads[PLAN_PROVIDERS_MAX];
  uint32_t n = g->n_shown;
  if (n == 0) return 0;
  for (uint32_t i = 0; i < n; i++)
    loads[i] = load_of(g, f, i);
  return one_of(f, loads, n, lowest_of(loads, n));
}

/* ---- tiers ---- */

/* 0: has room, 1: full, 2: of weight 0. */
static unsigned rank_of(const struct pick_facts *f, double load, double full, uint32_t i) {
  return f->base[i] > 0 ? 2 : load >= full;
}

/* The first tier has no room. */
SELDOM static uint32_t in_further_tiers(const struct generation *g, const struct pick_facts *f,
                                        const double *tiers, double full) {
  double loads[PLAN_PROVIDERS_MAX];
  uint32_t n = g->n_shown;
  unsigned rank = 3;
  double first = INFINITY;
  for (uint32_t i = 0; i < n; i++) {
    unsigned own = rank_of(f, loads[i] = load_of(g, f, i), full, i);
    if (own > rank || (own == rank && tiers[i] >= first)) continue;
    rank = own;
    first = tiers[i];
  }
  for (uint32_t i = 0; i < n; i++)
    if (rank_of(f, loads[i], full, i) != rank || tiers[i] > first) loads[i] = INFINITY;
  return one_of(f, loads, n, lowest_of(loads, n));
}

static uint32_t in_tiers(const struct generation *g, const struct pick_facts *f, const double *tiers,
                         double full) {
  double loads[PLAN_PROVIDERS_MAX];
  uint32_t n = g->n_shown;
  if (n == 0) return 0;
  double first = lowest_of(tiers, n);
  for (uint32_t i = 0; i < n; i++) {
    double load = load_of(g, f, i);
    loads[i] = tiers[i] <= first ? load : INFINITY;
  }
  double lowest = lowest_of(loads, n);
  if (UNLIKELY(!(lowest < full))) return in_further_tiers(g, f, tiers, full);
  return one_of(f, loads, n, lowest);
}

SELDOM static uint32_t break_tie_of_tier(const struct pick_facts *f, const uint16_t *places, uint16_t *tied,
                                         uint32_t n) {
  for (uint32_t k = 0; k < n; k++)
    tied[k] = places[tied[k]];
  return break_tie(f, tied, n);
}

/* Tier by tier, where they are known from the start. */
static uint32_t in_known_tiers(const struct generation *g, const struct pick_facts *f, double full) {
  double loads[PLAN_PROVIDERS_MAX];
  uint16_t tied[PLAN_PROVIDERS_MAX + 1];
  for (uint32_t from = 0, to; from < g->n_shown; from = to) {
    const uint16_t *places = &f->by_tier[from];
    to = f->tier_end[from];
    uint32_t n = to - from;
    for (uint32_t k = 0; k < n; k++)
      loads[k] = load_of(g, f, places[k]);
    double lowest = lowest_of(loads, n);
    if (!(lowest < full)) continue;
    uint32_t n_tied = collect(tied, loads, n, lowest);
    return n_tied < 2 ? places[tied[0]] + 1u : break_tie_of_tier(f, places, tied, n_tied);
  }
  if (g->n_shown == 0) return 0;
  for (uint32_t i = 0; i < g->n_shown; i++)
    loads[i] = tier(candidate(g, i)->priority);
  return in_further_tiers(g, f, loads, full);
}

LB_MAY_BE_LEFT uint32_t lb_abi_tiered(const struct lb_call *call, double full, bool has_scores) {
  const struct generation *g = generation_of(call);
  double own[PLAN_PROVIDERS_MAX];
  if (!has_scores) return in_known_tiers(g, facts_of(call), full);
  for (uint32_t i = 0; i < g->n_shown; i++)
    own[i] = tier(call->scores[i]);
  return in_tiers(g, facts_of(call), own, full);
}

LB_MAY_BE_LEFT uint32_t lb_abi_cheapest(struct lb_call *call, double tokens_in, double tokens_out,
                                        double full) {
  const struct generation *g = generation_of(call);
  const struct pick_facts *f = facts_of(call);
  double costs[PLAN_PROVIDERS_MAX];
  for (uint32_t i = 0; i < g->n_shown; i++)
    costs[i] = tier(f->price_in[i] * tokens_in + f->price_out[i] * tokens_out);
  return in_tiers(g, f, costs, full);
}

LB_MAY_BE_LEFT uint32_t lb_abi_better(uint32_t both, double first, double second) {
  uint32_t low = both & 0xffff, high = both >> 16, is_second = (second < first) | (first != first);
  return low ^ ((low ^ high) & (0 - is_second));
}

/* ---- the script's own numbers ---- */

LB_MAY_BE_LEFT uint32_t lb_abi_lowest(const struct lb_call *call, uint32_t n) {
  uint16_t tied[PLAN_PROVIDERS_MAX + 1];
  if (n > PLAN_PROVIDERS_MAX) n = PLAN_PROVIDERS_MAX;
  double lowest = lowest_of(call->scores, n);
  if (!(lowest < INFINITY)) return 0;
  uint32_t n_tied = collect(tied, call->scores, n, lowest);
  return tied[n_tied > 1 ? (uint32_t)(lb_abi_random() * n_tied) : 0] + 1u;
}

/* ---- draws in proportion to the weights ---- */

/* Whose part of the sum `x` falls into; who has weight 0 has none. The last steps are counted: nothing has to be guessed. */
static uint32_t find_part(const struct pick_facts *f, uint32_t n, double x) {
  const double *sums = f->sums;
  uint32_t at = 0;
  for (; n > 16; n -= n / 2)
    if (sums[n / 2 - 1] <= x) sums += n / 2;
  for (uint32_t i = 0; i + 1 < n; i++)
    at += sums[i] <= x;
  return (uint32_t)(sums - f->sums) + at;
}

/* Sums are rounded: what fell onto an edge goes to the next who has a part. n when nobody but `skipped` has one. */
static uint32_t with_part(const struct generation *g, uint32_t at, uint32_t skipped) {
  uint32_t n = g->n_shown;
  for (uint32_t i = 0; i < n; i++, at = at + 1 < n ? at + 1 : 0)
    if (at != skipped && candidate(g, at)->weight > 0) return at;
  return n;
}

static uint32_t draw_uneven(const struct generation *g, const struct pick_facts *f) {
  return with_part(g, find_part(f, g->n_shown, lb_abi_random() * f->total), g->n_shown);
}

/* Among all but one; n when no other has a weight. */
static uint32_t draw_other(const struct generation *g, const struct pick_facts *f, uint32_t skipped) {
  double without = candidate(g, skipped)->weight, total = f->total - without;
  if (!(total > 0)) return g->n_shown;
  double x = lb_abi_random() * total;
  x += x >= f->sums[skipped] - without ? without : 0;
  return with_part(g, find_part(f, g->n_shown, x), skipped);
}

LB_MAY_BE_LEFT uint32_t lb_abi_draw(const struct lb_call *call) {
  const struct generation *g = generation_of(call);
  uint32_t n = g->n_shown;
  if (n == 0) return 0;
  const struct pick_facts *f = facts_of(call);
  return (f->is_even ? (uint32_t)(lb_abi_random() * n) : draw_uneven(g, f)) + 1;
}

/*
 * Two that differ. The second may be drawn from all as well, and only when it is the first again from the others: the chances
 * are those of drawing from the others at once, and one number and one walk serve both.
 */
static uint32_t draw_two_uneven(const struct generation *g, const struct pick_facts *f) {
  uint32_t n = g->n_shown, first = 0, second = 0;
  uint64_t bits = abi_random_bits();
  double unit = 0x1p-32 * f->total, x = (double)(bits >> 32) * unit, y = (double)(uint32_t)bits * unit;
  if (n <= 16) {
    for (uint32_t i = 0; i + 1 < n; i++) {
      first += f->sums[i] <= x;
      second += f->sums[i] <= y;
    }
  } else {
    first = find_part(f, n, x);
    second = find_part(f, n, y);
  }
  first = with_part(g, first, n);
  second = with_part(g, second, n);
  if (first == second) second = draw_other(g, f, first);
  return second == n ? first + 1 : (first + 1) | (second + 1) << 16;
}

LB_MAY_BE_LEFT uint32_t lb_abi_draw_two(const struct lb_call *call) {
  const struct generation *g = generation_of(call);
  uint32_t n = g->n_shown;
  if (n < 2) return n;
  const struct pick_facts *f = facts_of(call);
  if (!f->is_even) return draw_two_uneven(g, f);
  uint64_t bits = abi_random_bits();
  uint32_t first = (uint32_t)((bits >> 32) * n >> 32),
           second = (uint32_t)((bits & UINT32_MAX) * (n - 1) >> 32);
  second += second >= first;
  return (first + 1) | (second + 1) << 16;
}

LB_MAY_BE_LEFT uint32_t lb_abi_p2c(const struct lb_call *call) {
  const struct generation *g = generation_of(call);
  uint32_t both = lb_abi_draw_two(call), first = both & 0xffff, second = both >> 16;
  if (!second) return first;
  const struct pick_facts *f = facts_of(call);
  uint32_t is_second = load_of(g, f, second - 1) < load_of(g, f, first - 1);
  return first ^ ((first ^ second) & (0 - is_second)); /* nobody could guess which */
}

/* ---- smooth weighted round robin ---- */

LB_MAY_BE_LEFT uint32_t lb_abi_smooth(struct lb_call *call) {
  struct generation *g = container_of(call, struct generation, call);
  double highest = 0, total = 0;
  uint32_t best = 0;
  for (uint32_t i = 0; i < g->n_shown; i++) {
    double weight = candidate(g, i)->weight, *current = &g->currents[g->shown[i]];
    if (!(weight > 0)) continue;
    total += weight;
    *current += weight;
    if (best && *current <= highest) continue;
    best = i + 1;
    highest = *current;
  }
  if (!best) return lb_abi_least(call);
  g->currents[g->shown[best - 1]] = highest - total;
  return best;
}

/* ---- rendezvous hashing ---- */

/* Who is out of the race. */
static const double NEVER_IF[] = {0, INFINITY};

/* The last steps of MurmurHash3, as in lb.lua. */
static uint32_t mix(uint32_t x) {
  x = (x ^ x >> 16) * 0x85ebca6bu;
  x = (x ^ x >> 13) * 0xc2b2ae35u;
  return x ^ x >> 16;
}

/* The low 32 bits of the whole number at or below x, as Lua's `%` has them; 0 for what is none. */
static uint32_t low_bits(double x) {
  if (!(fabs(x) <= 0x1p53)) return 0;
  int64_t whole = (int64_t)x;
  return (uint32_t)(whole - ((double)whole > x));
}

uint32_t pick_seed(const char *id) {
  return low_bits(lb_abi_hash(id, (uint32_t)strlen(id), 0));
}

/*
 * -ln u for u = (x + 0.5) / 2^32, from a straight line for each of 256 steps of u: at most CLOSE times too much. In the first
 * steps, where the curve is steep, it is the least of the step, which CURVE_MAX tells from the others.
 */
#define STEPS     256
#define STEEP     4
#define CURVE_MAX 4.15 /* -ln (STEEP / STEPS) */
#define CLOSE     1.002
static struct line { double at, slope; } curve[STEPS];

static void draw_curve(void) {
  for (int k = 0; k < STEPS; k++) {
    double low = -log((k + 1.0) / STEPS),
           slope = k < STEEP ? 0 : (low + log((double)k / STEPS)) * STEPS / 0x1p32;
    curve[k] = (struct line){low - slope * (0x1p32 / STEPS - 0.5), slope};
  }
}

static double curve_at(uint32_t x) {
  const struct line *line = &curve[x / (UINT32_MAX / STEPS + 1)];
  return line->at + line->slope * (x % (UINT32_MAX / STEPS + 1));
}

void pick_prepare(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  (void)pthread_once(&once, draw_curve);
}

static double wait_of(const struct pick_facts *f, uint32_t i, uint32_t key) {
  return -log((mix(key ^ f->seeds[i]) + 0.5) * 0x1p-32) / f->shares[i];
}

/* By logarithms, where the curve does not tell. */
SELDOM static uint32_t shortest_exactly(const struct pick_facts *f, const double *waits, uint32_t n,
                                        uint32_t best, uint32_t key) {
  double shortest = wait_of(f, best, key);
  for (uint32_t i = 0; i < n; i++) {
    if (waits[i] > shortest * CLOSE || i == best) continue;
    double wait = wait_of(f, i, key);
    if (wait > shortest || (wait == shortest && i > best)) continue;
    shortest = wait;
    best = i;
  }
  return best;
}

/*
 * Each candidate draws from the key how long it would wait, -ln u / weight, and the shortest wait of those with room wins.
 * Mostly nobody else comes close, and no logarithm is needed.
 */
LB_MAY_BE_LEFT uint32_t lb_abi_rendezvous(const struct lb_call *call, double key, double factor) {
  const struct generation *g = generation_of(call);
  const struct pick_facts *f = facts_of(call);
  double waits[PLAN_PROVIDERS_MAX];
  uint32_t n = g->n_shown, from = low_bits(key);
  if (n == 0) return 0;
  uint64_t running = 0;
  for (uint32_t i = 0; i < n; i++)
    running += *g->shown_loads[i].told;
  double room = factor * ((double)running + 1) * f->per_total;
  for (uint32_t i = 0; i < n; i++)
    waits[i] = curve_at(mix(from ^ f->seeds[i])) * f->per_wait[i] +
               NEVER_IF[running_at(g, i) >= room * f->shares[i]];
  double lowest = lowest_of(waits, n);
  if (UNLIKELY(!(lowest < INFINITY))) return lb_abi_least(call);
  uint32_t best = n, n_close = 0;
  for (uint32_t i = n; i-- > 0;) {
    best = waits[i] <= lowest ? i : best;
    n_close += waits[i] <= lowest * CLOSE;
  }
  bool is_clear = n_close < 2 && lowest * f->max_share <= CURVE_MAX;
  return (LIKELY(is_clear) ? best : shortest_exactly(f, waits, n, best, from)) + 1;
}
