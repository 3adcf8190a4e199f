#include "model/provider.h"

#include "base/base.h"
#include "base/redact.h"
#include "eth/hex.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define LOAD(p)       __atomic_load_n(p, __ATOMIC_RELAXED)
#define STORE(p, v)   __atomic_store_n(p, v, __ATOMIC_RELAXED)
#define ADD(p, n)     __atomic_fetch_add(p, n, __ATOMIC_RELAXED)
#define ADDRESS_CHARS 42

const struct health_rules HEALTH_RULES_DEFAULT = {
    .fall = 2,
    .rise = 1,
    .eject_after = 3,
    .eject_base_ms = 5000,
    .eject_max_ms = 300000,
    .rate_limit_ms = 1000,
    .account_ms = 60000,
    .cooldown_max_ms = 3600000,
};

/* ---- life ---- */

_Static_assert(offsetof(struct provider, error_rate) == offsetof(struct provider, in_flight) + CACHE_LINE &&
                   offsetof(struct provider, counters.by_class[OUTCOME_OK + 1]) <=
                       offsetof(struct provider, in_flight) + 2 * CACHE_LINE,
               "what a successful attempt writes is on two lines");

struct provider *provider_new(const char *id, enum provider_kind kind, uint64_t now_ms) {
  size_t len = strlen(id);
  REQUIRE(len > 0 && len <= PROVIDER_ID_MAX);
  struct provider *p = aligned_alloc(2 * CACHE_LINE, sizeof *p);
  REQUIRE(p);
  memset(p, 0, sizeof *p);
  memcpy(p->id, id, len + 1);
  p->kind = kind;
  p->refs = 1;
  p->latency_ms = p->ttft_ms = p->tpot_ms = p->peak_ttft_ms = NAN;
  p->requests.left = p->tokens.left = NAN;
  p->balance = p->runway_s = NAN;
  race_is_meant(&p->latency_ms, (size_t)((char *)(&p->throttle_rate + 1) - (char *)&p->latency_ms),
                "scripts read averages where they are (abi_decl.h, averages)");
  p->state = PROVIDER_UP;
  p->admin = PROVIDER_ENABLED;
  p->state_since_ms = now_ms;
  p->is_initialised = 1;
  REQUIRE(pthread_mutex_init(&p->lock, NULL) == 0);
  REQUIRE(pthread_mutex_init(&p->token_lock, NULL) == 0);
  return p;
}

struct provider *provider_ref(struct provider *p) {
  (void)ADD(&p->refs, 1);
  return p;
}

void provider_unref(struct provider **pp) {
  struct provider *p = *pp;
  *pp = NULL;
  if (!p || __atomic_fetch_sub(&p->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
  provider_set_token(p, SPAN_NONE, 0);
  provider_set_token(p, SPAN_NONE, 0);
  (void)pthread_mutex_destroy(&p->token_lock);
  (void)pthread_mutex_destroy(&p->lock);
  free(p->models);
  free(p);
}

static void lock(struct provider *p) {
  REQUIRE(pthread_mutex_lock(&p->lock) == 0);
}

static void unlock(struct provider *p) {
  REQUIRE(pthread_mutex_unlock(&p->lock) == 0);
}

/* ---- session tokens ---- */

void provider_set_token(struct provider *p, struct span token, uint64_t expires_wall_ms) {
  REQUIRE(token.len < PROVIDER_TOKEN_MAX);
  if (token.len) redact_add(token);
  REQUIRE(pthread_mutex_lock(&p->token_lock) == 0);
  redact_remove(span_str(p->token_before));
  wipe(p->token_before, sizeof p->token_before);
  memcpy(p->token_before, p->token, sizeof p->token);
  wipe(p->token, sizeof p->token);
  if (token.len) memcpy(p->token, token.ptr, token.len);
  p->token_len = token.len;
  p->token_serial++;
  REQUIRE(pthread_mutex_unlock(&p->token_lock) == 0);
  STORE(&p->token_expires_wall_ms, token.len ? expires_wall_ms : 0);
}

size_t provider_copy_token(struct provider *p, char out[PROVIDER_TOKEN_MAX], uint64_t *serial) {
  REQUIRE(pthread_mutex_lock(&p->token_lock) == 0);
  size_t len = p->token_len;
  memcpy(out, p->token, len);
  *serial = p->token_serial;
  REQUIRE(pthread_mutex_unlock(&p->token_lock) == 0);
  return len;
}

void provider_end_account_pause(struct provider *p, uint64_t now_ms) {
  lock(p);
  uint64_t keep = LOAD(&p->rate_limited_until_ms);
  if (LOAD(&p->cooldown_until_ms) > now_ms) {
    STORE(&p->cooldown_until_ms, keep);
    if (keep <= now_ms && LOAD(&p->is_initialised)) p->reason[0] = '\0';
  }
  unlock(p);
}

/* ---- averages ---- */

static double load_double(const double *from) {
  double x;
  __atomic_load(from, &x, __ATOMIC_RELAXED);
  return x;
}

static void store_double(double *to, double x) {
  __atomic_store(to, &x, __ATOMIC_RELAXED);
}

static void average(double *avg, double x) {
  if (!isfinite(x) || x < 0) return;
  double old = load_double(avg);
  store_double(avg, isnan(old) ? x : old + PROVIDER_EWMA_ALPHA * (x - old));
}

static void average_peak(struct provider *p, double x, uint64_t now_ms) {
  if (!isfinite(x) || x < 0) return;
  double old = load_double(&p->peak_ttft_ms);
  uint64_t at = LOAD(&p->peak_at_ms);
  if (!isnan(old) && x < old) {
    double passed = now_ms > at ? (double)(now_ms - at) : 0;
    double keep = exp(-passed / PROVIDER_PEAK_TAU_MS);
    x = old * keep + x * (1 - keep);
  }
  store_double(&p->peak_ttft_ms, x);
  STORE(&p->peak_at_ms, now_ms);
}

/* The time per token after the first; an answer that came in one piece says nothing about it. */
/* Of each token behind the first; NaN when that is not known. */
static double token_time(const struct outcome *o) {
  if (o->tokens_out < 2 || !isfinite(o->ttft_ms) || !isfinite(o->total_ms)) return NAN;
  return (o->total_ms - o->ttft_ms) / (double)(o->tokens_out - 1);
}

static void average_token_time(struct provider *p, const struct outcome *o) {
  double per_token = token_time(o);
  if (per_token >= 0.05) average(&p->tpot_ms, per_token);
}

void provider_note_stream(struct provider *p, const struct outcome *o) {
  double per_token = token_time(o);
  if (isfinite(o->ttft_ms))
    histogram_add(&p->counters.ttft, (uint64_t)(o->ttft_ms * 1000), PROVIDER_TTFT_FIRST_US);
  if (per_token >= 0) histogram_add(&p->counters.tpot, (uint64_t)(per_token * 1000), PROVIDER_TPOT_FIRST_US);
}

static void average_success(struct provider *p, const struct outcome *o, uint64_t now_ms) {
  average(&p->latency_ms, o->total_ms);
  average(&p->ttft_ms, o->ttft_ms);
  average_token_time(p, o);
  average_peak(p, o->ttft_ms, now_ms);
  /* Readers take NaN to mean "no samples": the values are there before the count. */
  (void)__atomic_fetch_add(&p->samples, 1, __ATOMIC_RELEASE);
}

/* ---- attempts ---- */

void provider_begin(struct provider *p) {
  (void)ADD(&p->in_flight, 1);
  (void)ADD(&p->dispatched, 1);
}

PRINTF_LIKE(2, 3) static void set_reason_locked(struct provider *p, const char *fmt, ...) {
  /* Why it could not be initialised is what the operator has to see first. */
  if (!LOAD(&p->is_initialised)) return;
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(p->reason, sizeof p->reason, fmt, args);
  va_end(args);
}

static uint64_t ejection_ms(const struct health_rules *rules, unsigned before) {
  uint64_t ms = rules->eject_base_ms;
  for (unsigned i = 0; i < before && ms < rules->eject_max_ms; i++)
    ms *= 2;
  return ms < rules->eject_max_ms ? ms : rules->eject_max_ms;
}

/* COOLING when a pause began. */
static enum health_event pause_locked(struct provider *p, const struct outcome *o, uint32_t ms,
                                      uint64_t now_ms) {
  enum health_event event = HEALTH_SAME;
  uint64_t had = LOAD(&p->cooldown_until_ms), until = now_ms + ms;
  if (had <= now_ms && ms) {
    (void)ADD(&p->counters.cooldowns[o->class], 1);
    if (o->reason)
      set_reason_locked(p, "paused for %u ms: %s", ms, o->reason);
    else
      set_reason_locked(p, "paused for %u ms: %s (status %d)", ms, outcome_name(o->class), o->status);
    event = HEALTH_COOLING;
  }
  if (until > had) STORE(&p->cooldown_until_ms, until);
  return event;
}

static uint32_t bounded_pause(uint32_t ms, const struct health_rules *rules) {
  return ms < rules->cooldown_max_ms ? ms : rules->cooldown_max_ms;
}

static enum health_event settle_failure(struct provider *p, const struct outcome *o,
                                        const struct health_rules *rules, uint64_t now_ms) {
  enum health_event event = HEALTH_SAME;
  lock(p);
  if (o->class == OUTCOME_OVERLOADED && o->retry_after_ms)
    event = pause_locked(p, o, bounded_pause(o->retry_after_ms, rules), now_ms);
  uint32_t in_row = ADD(&p->consecutive_failures, 1) + 1;
  uint32_t before = LOAD(&p->ejections_in_row);
  bool is_ejected = LOAD(&p->ejected_until_ms) > now_ms;
  if (rules->eject_after && !is_ejected && (in_row >= rules->eject_after || before > 0)) {
    uint64_t ms = ejection_ms(rules, before);
    STORE(&p->ejected_until_ms, now_ms + ms);
    STORE(&p->ejections_in_row, before + 1);
    (void)ADD(&p->counters.ejections[o->class], 1);
    p->ejected_for = o->class;
    set_reason_locked(p, "ejected for %llu ms after %u failed attempts in a row, the last: %s",
                      (unsigned long long)ms, in_row, o->reason ? o->reason : outcome_name(o->class));
    event = HEALTH_EJECTED;
  }
  unlock(p);
  return event;
}

static enum health_event settle_pause(struct provider *p, const struct outcome *o,
                                      const struct health_rules *rules, uint64_t now_ms) {
  bool is_rate_limit = o->class == OUTCOME_RATE_LIMITED;
  uint32_t ms = rules->account_ms;
  if (is_rate_limit) ms = o->retry_after_ms ? o->retry_after_ms : rules->rate_limit_ms;
  ms = bounded_pause(ms, rules);
  uint64_t until = now_ms + ms;
  lock(p);
  enum health_event event = pause_locked(p, o, ms, now_ms);
  if (is_rate_limit && until > LOAD(&p->rate_limited_until_ms)) STORE(&p->rate_limited_until_ms, until);
  unlock(p);
  return event;
}

enum health_event provider_settle(struct provider *p, const struct outcome *o,
                                  const struct health_rules *rules, uint64_t now_ms) {
  REQUIRE((unsigned)o->class < OUTCOME_N);
  uint32_t before = __atomic_fetch_sub(&p->in_flight, 1, __ATOMIC_RELAXED);
  REQUIRE(before > 0);
  (void)ADD(&p->counters.by_class[o->class], 1);
  if (o->is_retry) (void)ADD(&p->counters.retries[o->class], 1);
  if (o->tokens_in > 0) (void)ADD(&p->counters.tokens_in, (uint64_t)o->tokens_in);
  if (o->tokens_out > 0) (void)ADD(&p->counters.tokens_out, (uint64_t)o->tokens_out);
  STORE(&p->last_class, (uint32_t)o->class);
  if (o->class == OUTCOME_CLIENT_CLOSED) return HEALTH_SAME;

  bool harms = outcome_harms_health(o->class);
  average(&p->error_rate, harms ? 1 : 0);
  average(&p->throttle_rate, o->class == OUTCOME_RATE_LIMITED ? 1 : 0);
  if (harms) return settle_failure(p, o, rules, now_ms);
  switch (o->class) {
  case OUTCOME_OK:
    average_success(p, o, now_ms);
    /* Reading first keeps the line shared between cores while all goes well. */
    if (LOAD(&p->consecutive_failures)) STORE(&p->consecutive_failures, 0);
    if (LOAD(&p->ejections_in_row)) STORE(&p->ejections_in_row, 0);
    return HEALTH_SAME;
  case OUTCOME_RATE_LIMITED:
  case OUTCOME_EXHAUSTED:
  case OUTCOME_AUTH: return settle_pause(p, o, rules, now_ms);
  default: return HEALTH_SAME;
  }
}

/* ---- probes, switches, initialisation ---- */

static void set_state_locked(struct provider *p, enum provider_state state, uint64_t now_ms) {
  STORE(&p->state, (uint32_t)state);
  STORE(&p->state_since_ms, now_ms);
}

static bool is_for_want_of_a_connection(enum outcome_class c) {
  return c == OUTCOME_CONNECT || c == OUTCOME_DNS || c == OUTCOME_TLS || c == OUTCOME_TIMEOUT_CONNECT;
}

static enum health_event probe_passed_locked(struct provider *p, const struct health_rules *rules,
                                             uint64_t now_ms) {
  enum health_event event = HEALTH_SAME;
  p->probe_fails = 0;
  p->probe_passes++;
  if (LOAD(&p->state) == PROVIDER_DOWN && p->probe_passes >= rules->rise) {
    set_state_locked(p, PROVIDER_UP, now_ms);
    event = HEALTH_CAME_UP;
  }
  bool is_ejected = LOAD(&p->ejected_until_ms) > now_ms;
  if (is_ejected && is_for_want_of_a_connection(p->ejected_for)) {
    STORE(&p->ejected_until_ms, 0);
    is_ejected = false;
    if (LOAD(&p->state) != PROVIDER_DOWN) event = HEALTH_CAME_UP;
  }
  bool is_paused = LOAD(&p->cooldown_until_ms) > now_ms;
  if (LOAD(&p->state) != PROVIDER_DOWN && !is_ejected && !is_paused) set_reason_locked(p, "%s", "");
  return event;
}

static enum health_event probe_failed_locked(struct provider *p, const char *reason,
                                             const struct health_rules *rules, uint64_t now_ms) {
  p->probe_passes = 0;
  p->probe_fails++;
  bool is_down = LOAD(&p->state) == PROVIDER_DOWN;
  if (!is_down && p->was_probed && p->probe_fails < rules->fall) return HEALTH_SAME;
  set_reason_locked(p, "%s", reason ? reason : "health check failed");
  if (is_down) return HEALTH_SAME;
  set_state_locked(p, PROVIDER_DOWN, now_ms);
  return HEALTH_WENT_DOWN;
}

enum health_event provider_probed(struct provider *p, bool ok, const char *reason,
                                  const struct health_rules *rules, uint64_t now_ms, uint64_t wall_ms) {
  (void)ADD(ok ? &p->counters.probes_ok : &p->counters.probes_failed, 1);
  lock(p);
  STORE(&p->last_probe_wall_ms, wall_ms);
  enum health_event event =
      ok ? probe_passed_locked(p, rules, now_ms) : probe_failed_locked(p, reason, rules, now_ms);
  p->was_probed = true;
  if (event == HEALTH_CAME_UP) (void)ADD(&p->comebacks, 1);
  unlock(p);
  return event;
}

enum health_event provider_judged(struct provider *p, int state, const char *reason, bool is_probe, bool ok,
                                  uint64_t now_ms, uint64_t wall_ms) {
  if (is_probe) (void)ADD(ok ? &p->counters.probes_ok : &p->counters.probes_failed, 1);
  lock(p);
  if (is_probe) STORE(&p->last_probe_wall_ms, wall_ms);
  if (is_probe) p->was_probed = true;
  uint32_t before = LOAD(&p->state);
  enum health_event event = HEALTH_SAME;
  if (state >= 0) {
    if (state == PROVIDER_UP) STORE(&p->ejected_until_ms, 0);
    if ((uint32_t)state != before) {
      STORE(&p->state, (uint32_t)state);
      STORE(&p->state_since_ms, now_ms);
      if (state == PROVIDER_DOWN)
        event = HEALTH_WENT_DOWN;
      else if (before == PROVIDER_DOWN)
        event = HEALTH_CAME_UP;
    }
    p->probe_fails = p->probe_passes = 0;
    set_reason_locked(p, "%s", state == PROVIDER_UP || !reason ? "" : reason);
  }
  if (event == HEALTH_CAME_UP) (void)ADD(&p->comebacks, 1);
  unlock(p);
  return event;
}

void provider_note_probe(struct provider *p, bool ok, double latency_ms) {
  if (latency_ms >= 0)
    histogram_add(&p->counters.probes[ok], (uint64_t)(latency_ms * 1000), PROVIDER_PROBE_FIRST_US);
}

void provider_switch(struct provider *p, enum provider_admin admin) {
  STORE(&p->admin, (uint32_t)admin);
}

void provider_set_init(struct provider *p, const char *reason) {
  lock(p);
  bool was_ready = LOAD(&p->is_initialised);
  STORE(&p->is_initialised, 1);
  if (reason || !was_ready) set_reason_locked(p, "%s", reason ? reason : "");
  if (reason) STORE(&p->is_initialised, 0);
  unlock(p);
}

/* ---- reading ---- */

enum provider_bar provider_barred(const struct provider *p, uint64_t now_ms) {
  if (UNLIKELY(LOAD(&p->admin) != PROVIDER_ENABLED)) return PROVIDER_BARRED_ADMIN;
  if (UNLIKELY(!LOAD(&p->is_initialised))) return PROVIDER_BARRED_INIT;
  if (UNLIKELY(LOAD(&p->cooldown_until_ms) > now_ms)) return PROVIDER_BARRED_COOLDOWN;
  if (UNLIKELY(LOAD(&p->state) == PROVIDER_DOWN || LOAD(&p->ejected_until_ms) > now_ms))
    return PROVIDER_BARRED_HEALTH;
  return PROVIDER_IS_FREE;
}

enum provider_bar provider_barred_in_panic(const struct provider *p, uint64_t now_ms) {
  if (LOAD(&p->admin) != PROVIDER_ENABLED) return PROVIDER_BARRED_ADMIN;
  if (!LOAD(&p->is_initialised)) return PROVIDER_BARRED_INIT;
  return LOAD(&p->rate_limited_until_ms) > now_ms ? PROVIDER_BARRED_COOLDOWN : PROVIDER_IS_FREE;
}

void provider_note_barred(struct provider *p, enum provider_bar bar) {
  (void)ADD(&p->counters.barred[bar], 1);
}

const char *provider_bar_name(enum provider_bar bar) {
  static const char *const names[PROVIDER_BAR_N] = {"none", "admin", "init", "cooldown", "health"};
  return (unsigned)bar < PROVIDER_BAR_N ? names[bar] : "unknown";
}

uint64_t provider_sum(const uint64_t by_class[OUTCOME_N]) {
  uint64_t sum = 0;
  for (int i = 0; i < OUTCOME_N; i++)
    sum += LOAD(&by_class[i]);
  return sum;
}

bool provider_is_healthy(const struct provider *p, uint64_t now_ms) {
  return LOAD(&p->is_initialised) && LOAD(&p->state) != PROVIDER_DOWN && LOAD(&p->ejected_until_ms) <= now_ms;
}

uint64_t provider_free_in_ms(const struct provider *p, uint64_t now_ms) {
  uint64_t pause = LOAD(&p->cooldown_until_ms), ejection = LOAD(&p->ejected_until_ms);
  uint64_t until = pause > ejection ? pause : ejection;
  return until > now_ms ? until - now_ms : 0;
}

/* An ejection or a pause that has run out is no reason any more. */
static bool is_in_force(const struct provider *p, uint64_t now_ms) {
  return p->probe_fails > 0 || LOAD(&p->state) != PROVIDER_UP || !LOAD(&p->is_initialised) ||
         provider_free_in_ms(p, now_ms) > 0;
}

void provider_copy_reason(struct provider *p, char out[PROVIDER_REASON_MAX], uint64_t now_ms) {
  lock(p);
  if (p->reason[0] && is_in_force(p, now_ms))
    memcpy(out, p->reason, PROVIDER_REASON_MAX);
  else
    (void)snprintf(out, PROVIDER_REASON_MAX, "%s", p->unverified);
  unlock(p);
}

const char *provider_state_name(enum provider_state s) {
  switch (s) {
  case PROVIDER_UP: return "up";
  case PROVIDER_DEGRADED: return "degraded";
  case PROVIDER_DOWN: return "down";
  }
  return "unknown";
}

const char *provider_admin_name(enum provider_admin a) {
  switch (a) {
  case PROVIDER_ENABLED: return "enabled";
  case PROVIDER_DRAINING: return "draining";
  case PROVIDER_DISABLED: return "disabled";
  }
  return "unknown";
}

/* ---- registry ---- */

bool provider_id_is_address(struct span id) {
  if (id.len != ADDRESS_CHARS || id.ptr[0] != '0' || ascii_lower(id.ptr[1]) != 'x') return false;
  for (size_t i = 2; i < id.len; i++) {
    char c = ascii_lower(id.ptr[i]);
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

bool provider_id_eq(struct span a, struct span b) {
  if (span_eq(a, b)) return true;
  return a.len == b.len && provider_id_is_address(a) && provider_id_is_address(b) &&
         strncasecmp(a.ptr, b.ptr, a.len) == 0;
}

bool provider_id_address(struct address *out, struct span id) {
  if (!provider_id_is_address(id)) return false;
  return hex_read(out->bytes, ADDRESS_BYTES, span_make(id.ptr + 2, id.len - 2));
}

void provider_verified(struct provider *p, bool ok, const char *reason, uint64_t now_ms) {
  (void)ADD(ok ? &p->counters.verify_ok : &p->counters.verify_fail, 1);
  if (ok && !LOAD(&p->is_unverified)) return;
  lock(p);
  uint32_t state = LOAD(&p->state);
  if (ok) {
    p->unverified[0] = '\0';
    if (state == PROVIDER_DEGRADED) set_state_locked(p, PROVIDER_UP, now_ms);
  } else {
    (void)snprintf(p->unverified, sizeof p->unverified, "an answer failed its verification: %s", reason);
    if (state == PROVIDER_UP) set_state_locked(p, PROVIDER_DEGRADED, now_ms);
  }
  STORE(&p->is_unverified, !ok);
  unlock(p);
}

struct registry {
  pthread_mutex_t lock;
  struct provider **list;
  size_t n, cap;
  struct record **records; /* sorted by address */
  size_t n_records, records_cap;
};

struct registry *registry_new(void) {
  struct registry *r = x_calloc(1, sizeof *r);
  REQUIRE(pthread_mutex_init(&r->lock, NULL) == 0);
  return r;
}

void registry_free(struct registry *r) {
  if (!r) return;
  for (size_t i = 0; i < r->n; i++)
    provider_unref(&r->list[i]);
  free(r->list);
  for (size_t i = 0; i < r->n_records; i++)
    record_unref(&r->records[i]);
  free(r->records);
  (void)pthread_mutex_destroy(&r->lock);
  free(r);
}

static void forget_locked(struct registry *r, size_t i) {
  provider_unref(&r->list[i]);
  r->list[i] = r->list[--r->n];
}

struct provider *registry_get(struct registry *r, const char *id, enum provider_kind kind, uint64_t now_ms) {
  struct provider *found = NULL;
  REQUIRE(pthread_mutex_lock(&r->lock) == 0);
  for (size_t i = r->n; i-- > 0;) {
    struct provider *p = r->list[i];
    bool is_it = provider_id_eq(span_str(p->id), span_str(id));
    if (is_it && p->kind == kind) found = p;
    /* Only this function hands out references from here, so nobody can revive one that is ours alone. */
    else if (is_it || __atomic_load_n(&p->refs, __ATOMIC_ACQUIRE) == 1)
      forget_locked(r, i);
  }
  if (!found) {
    if (r->n == r->cap) {
      r->cap = r->cap ? r->cap * 2 : 16;
      r->list = x_realloc(r->list, r->cap * sizeof *r->list);
    }
    found = r->list[r->n++] = provider_new(id, kind, now_ms);
  }
  (void)provider_ref(found);
  REQUIRE(pthread_mutex_unlock(&r->lock) == 0);
  return found;
}

/* Where the record of that address stands, or would. */
static size_t find_record_locked(const struct registry *r, const struct address *a, bool *is_there) {
  size_t low = 0, high = r->n_records;
  *is_there = false;
  while (low < high) {
    size_t mid = low + (high - low) / 2;
    int c = memcmp(r->records[mid]->service.provider.bytes, a->bytes, ADDRESS_BYTES);
    if (c == 0) {
      *is_there = true;
      return mid;
    }
    if (c < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

static void insert_record_locked(struct registry *r, size_t at, struct record *record) {
  if (r->n_records == r->records_cap) {
    r->records_cap = r->records_cap ? r->records_cap * 2 : 16;
    r->records = x_realloc(r->records, r->records_cap * sizeof *r->records);
  }
  memmove(r->records + at + 1, r->records + at, (r->n_records - at) * sizeof *r->records);
  r->records[at] = record;
  r->n_records++;
}

bool registry_put_record(struct registry *r, struct record *record) {
  bool is_there, is_news = true;
  REQUIRE(pthread_mutex_lock(&r->lock) == 0);
  size_t at = find_record_locked(r, &record->service.provider, &is_there);
  if (!is_there) {
    insert_record_locked(r, at, record);
  } else if (record_eq(r->records[at], record)) {
    is_news = false;
    record_unref(&record);
  } else {
    record_unref(&r->records[at]);
    r->records[at] = record;
  }
  REQUIRE(pthread_mutex_unlock(&r->lock) == 0);
  return is_news;
}

bool registry_drop_record(struct registry *r, const struct address *provider) {
  bool is_there;
  REQUIRE(pthread_mutex_lock(&r->lock) == 0);
  size_t at = find_record_locked(r, provider, &is_there);
  if (is_there) {
    record_unref(&r->records[at]);
    r->n_records--;
    memmove(r->records + at, r->records + at + 1, (r->n_records - at) * sizeof *r->records);
  }
  REQUIRE(pthread_mutex_unlock(&r->lock) == 0);
  return is_there;
}

struct record *registry_record(struct registry *r, struct span id) {
  struct address a;
  struct record *found = NULL;
  bool is_there;
  if (!provider_id_address(&a, id)) return NULL;
  REQUIRE(pthread_mutex_lock(&r->lock) == 0);
  size_t at = find_record_locked(r, &a, &is_there);
  if (is_there) found = record_ref(r->records[at]);
  REQUIRE(pthread_mutex_unlock(&r->lock) == 0);
  return found;
}

struct record **registry_records(struct registry *r, size_t *n) {
  REQUIRE(pthread_mutex_lock(&r->lock) == 0);
  *n = r->n_records;
  struct record **all = x_calloc(*n, sizeof *all);
  for (size_t i = 0; i < *n; i++)
    all[i] = record_ref(r->records[i]);
  REQUIRE(pthread_mutex_unlock(&r->lock) == 0);
  return all;
}
