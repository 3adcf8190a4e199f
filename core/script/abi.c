/*
 * abi: the functions that scripts reach through the runtime.
 *
 * Thread: any; a call's struct belongs to the caller's generation.
 * Invariant: nothing here allocates, blocks for long, or calls Lua; arguments come from scripts and are
 * checked.
 */
#include "script/abi.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "script/generation_private.h"
#include "script/store.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define COUNTERS_MAX     1024
#define COUNTER_NAME_MAX 48
#define TURNS_BITS       12

/* ---- numbers common to all workers ---- */

/* A counter of a trial alone. */
#define OF_TRIAL COUNTERS_MAX

/* A line each: a turn taken for every request must not slow down its neighbours. */
struct counter {
  _Alignas(CACHE_LINE) int64_t value;
  uint32_t len;
  char name[COUNTER_NAME_MAX];
};

static struct counter counters[COUNTERS_MAX];
static uint32_t n_counters;
static pthread_mutex_t counters_lock = PTHREAD_MUTEX_INITIALIZER;
static int64_t turns[1 << TURNS_BITS];

/* What a script on trial counts: from nothing, and forgotten afterwards. */
struct trial {
  int64_t turns;
  int64_t counts[COUNTERS_MAX]; /* of counters that exist */
  struct counter own[COUNTERS_MAX];
  uint32_t n_own;
};
static _Thread_local struct trial *trial;

/* Index of the counter, added at the end when there is none; -1 when there is no room. */
static int32_t find_counter(struct counter all[COUNTERS_MAX], uint32_t *n, const char *name, uint32_t len,
                            bool may_add) {
  for (uint32_t i = 0; i < *n; i++)
    if (all[i].len == len && memcmp(all[i].name, name, len) == 0) return (int32_t)i;
  if (!may_add || *n == COUNTERS_MAX) return -1;
  struct counter *c = &all[*n];
  c->len = len;
  memcpy(c->name, name, len);
  __atomic_store_n(n, *n + 1, __ATOMIC_RELEASE);
  return (int32_t)(*n - 1);
}

int32_t lb_abi_counter_find(const char *name, uint32_t len) {
  if (len == 0 || len > COUNTER_NAME_MAX) return -1;
  REQUIRE(pthread_mutex_lock(&counters_lock) == 0);
  int32_t found = find_counter(counters, &n_counters, name, len, !trial);
  REQUIRE(pthread_mutex_unlock(&counters_lock) == 0);
  guard_safe_point();
  if (found >= 0 || !trial) return found;
  found = find_counter(trial->own, &trial->n_own, name, len, true);
  return found < 0 ? found : OF_TRIAL + found;
}

void abi_begin_trial(void) {
  REQUIRE(!trial);
  trial = aligned_alloc(CACHE_LINE, sizeof *trial);
  REQUIRE(trial);
  memset(trial, 0, sizeof *trial);
  store_begin_trial();
}

void abi_end_trial(void) {
  store_end_trial();
  free(trial);
  trial = NULL;
}

static double add_on_trial(uint32_t counter, int64_t by) {
  int64_t *count = counter < OF_TRIAL ? &trial->counts[counter] : &trial->own[counter - OF_TRIAL].value;
  *count = (int64_t)((uint64_t)*count + (uint64_t)by);
  return (double)*count;
}

LB_MAY_BE_LEFT double lb_abi_counter_add(uint32_t counter, double n) {
  if (!(fabs(n) <= 0x1p53)) return NAN;
  int64_t by = (int64_t)n;
  bool is_own = counter >= OF_TRIAL && trial && counter - OF_TRIAL < trial->n_own;
  if (!is_own && counter >= __atomic_load_n(&n_counters, __ATOMIC_ACQUIRE)) return NAN;
  if (UNLIKELY(trial != NULL)) return add_on_trial(counter, by);
  int64_t before = __atomic_fetch_add(&counters[counter].value, by, __ATOMIC_RELAXED);
  return (double)(int64_t)((uint64_t)before + (uint64_t)by);
}

LB_MAY_BE_LEFT double lb_abi_turn(uint32_t key) {
  if (UNLIKELY(trial != NULL)) return (double)++trial->turns;
  return (double)__atomic_add_fetch(&turns[key >> (32 - TURNS_BITS)], 1, __ATOMIC_RELAXED);
}

/* ---- clock, chance, log ---- */

LB_MAY_BE_LEFT double lb_abi_now_ms(void) {
  return (double)clock_mono_us() / 1000;
}

static double unit(uint64_t x) {
  return (double)(x >> 11) * 0x1.0p-53;
}

static _Thread_local struct rng chance;
static _Thread_local bool chance_is_seeded;

static struct rng *seeded_chance(void) {
  if (UNLIKELY(!chance_is_seeded)) {
    rng_seed_os(&chance);
    chance_is_seeded = true;
  }
  return &chance;
}

LB_MAY_BE_LEFT double lb_abi_random(void) {
  return rng_double(seeded_chance());
}

uint64_t abi_random_bits(void) {
  return rng_u64(seeded_chance());
}

void abi_restart(uint64_t seed) {
  rng_seed(&chance, seed);
  chance_is_seeded = true;
  memset(turns, 0, sizeof turns);
  for (uint32_t i = 0; i < n_counters; i++)
    counters[i].value = 0;
}

double lb_abi_hash(const char *text, uint32_t len, double seed) {
  struct siphash_key key = {0x6d6f6f6e67617465u, 0};
  memcpy(&key.k1, &seed, sizeof seed);
  double hash = (double)(siphash(&key, text, len) >> 11);
  guard_safe_point();
  return hash;
}

static void log_limited(enum log_level level, const char *text, uint32_t len) {
  static struct log_limit limit;
  unsigned suppressed;
  if (!log_is_on(level) || !log_limit_pass(&limit, 20, 1000, &suppressed)) return;
  int shown = len > 1024 ? 1024 : (int)len;
  if (suppressed)
    log_write(level, "strategy: %.*s (%u more not shown)", shown, text, suppressed);
  else
    log_write(level, "strategy: %.*s", shown, text);
}

void lb_abi_log(uint32_t level, const char *text, uint32_t len) {
  if (level <= LOG_ERROR) log_limited((enum log_level)level, text, len);
  guard_safe_point();
}

/* ---- the current call ---- */

static double load_double(const double *from) {
  double x;
  __atomic_load(from, &x, __ATOMIC_RELAXED);
  return x;
}

#define LOAD(p) __atomic_load_n(p, __ATOMIC_RELAXED)

/* Whole seconds, so that a view does not change each time that it is looked at. */
static double seconds_left(uint64_t until_wall_ms) {
  if (LIKELY(until_wall_ms == 0)) return NAN;
  uint64_t now = clock_wall_ms();
  return until_wall_ms > now ? (double)((until_wall_ms - now) / 1000) : 0;
}

uint32_t abi_state(uint32_t provider_state) {
  static const uint32_t states[] = {
      [PROVIDER_UP] = LB_UP, [PROVIDER_DEGRADED] = LB_DEGRADED, [PROVIDER_DOWN] = LB_DOWN};
  return provider_state < ARRAY_LEN(states) ? states[provider_state] : LB_DOWN;
}

LB_MAY_BE_LEFT void lb_abi_stats_fill(struct lb_call *call, uint32_t slot) {
  const struct generation *g = container_of(call, struct generation, call);
  if (slot == 0 || slot > g->plan->n_entries) return;
  const struct provider *p = g->plan->entries[slot - 1].provider;
  struct lb_stats *s = &call->stats[slot - 1];
  s->serial = call->serial;
  s->state_id = abi_state(LOAD(&p->state));
  s->last_class_id = LOAD(&p->last_class);
  s->consecutive_failures = LOAD(&p->consecutive_failures);
  s->samples = __atomic_load_n(&p->samples, __ATOMIC_ACQUIRE);
  s->dispatched = (double)LOAD(&p->dispatched);
  s->latency_ms = load_double(&p->latency_ms);
  s->ttft_ms = load_double(&p->ttft_ms);
  s->tpot_ms = load_double(&p->tpot_ms);
  s->peak_ttft_ms = load_double(&p->peak_ttft_ms);
  s->error_rate = load_double(&p->error_rate);
  s->throttle_rate = load_double(&p->throttle_rate);
  s->state_since_at_ms = (double)LOAD(&p->state_since_ms);
  s->cooldown_until_ms = (double)LOAD(&p->cooldown_until_ms);
  struct provider_rest rest;
  provider_read_limits(p, &rest);
  s->rl_requests_left = rest.requests_left;
  s->rl_tokens_left = rest.tokens_left;
  s->rl_reset_ms = rest.reset_ms;
  s->verify_ok = LOAD(&p->counters.verify_ok);
  s->verify_fail = LOAD(&p->counters.verify_fail);
  s->balance = load_double(&p->balance);
  s->runway_s = load_double(&p->runway_s);
  s->token_expires_s = seconds_left(LOAD(&p->token_expires_wall_ms));
}

/* The n-th number depends on the request's seed, the attempt and n alone, so that a replay repeats. */
LB_MAY_BE_LEFT double lb_abi_request_random(struct lb_call *call) {
  uint64_t seed;
  memcpy(&seed, &call->request->seed, sizeof seed);
  struct rng rng;
  rng_seed(&rng, seed + ((uint64_t)call->request->attempt << 32) + call->draws++);
  return unit(rng_u64(&rng));
}

/* The value of the first field of that name; NULL when there is none. */
const char *lb_abi_request_header(const struct lb_request *req, const char *name, uint32_t len,
                                  uint32_t *out_len) {
  const char *at = req->head.ptr, *end = at ? at + req->head.len : at;
  while (at < end) {
    const char *eol = memchr(at, '\n', (size_t)(end - at));
    const char *next = eol ? eol + 1 : end;
    if (!eol) eol = end;
    if ((size_t)(eol - at) > len && at[len] == ':' && strncasecmp(at, name, len) == 0) {
      const char *value = at + len + 1;
      while (value < eol && (*value == ' ' || *value == '\t'))
        value++;
      while (eol > value && (eol[-1] == '\r' || eol[-1] == ' ' || eol[-1] == '\t'))
        eol--;
      *out_len = (uint32_t)(eol - value);
      return value;
    }
    at = next;
  }
  return NULL;
}
