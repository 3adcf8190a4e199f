/*
 * The rate limits of a provider: noted by workers from the heads of answers, read by scripts and pages. Most providers
 * tell none, so that neither side looks at the clock before it has to.
 */
#include "model/provider.h"

#include "base/clock.h"

#include <math.h>

#define HOLDS_MS 60000 /* without a time of its own: limits count by the minute, most of the time */

static void note(struct provider_limit *to, const struct limit *said) {
  bool has_reset = said->reset_ms >= 0;
  double left = said->left;
  if (LIKELY(isnan(left) && !has_reset)) return;
  uint64_t now_ms = clock_mono_ms(), reset_at = has_reset ? now_ms + (uint64_t)said->reset_ms : 0;
  __atomic_store(&to->left, &left, __ATOMIC_RELAXED);
  __atomic_store_n(&to->reset_at_ms, reset_at, __ATOMIC_RELAXED);
  __atomic_store_n(&to->until_ms, reset_at ? reset_at : now_ms + HOLDS_MS, __ATOMIC_RELAXED);
}

void provider_note_limits(struct provider *p, const struct limits *l) {
  note(&p->requests, &l->requests);
  note(&p->tokens, &l->tokens);
}

/* Returns how long until it is full again; NaN when that is not known. */
static double read_limit(const struct provider_limit *from, double *left) {
  uint64_t until = __atomic_load_n(&from->until_ms, __ATOMIC_RELAXED), now_ms;
  *left = NAN;
  if (LIKELY(until == 0) || until <= (now_ms = clock_mono_ms())) return NAN;
  __atomic_load(&from->left, left, __ATOMIC_RELAXED);
  uint64_t reset_at = __atomic_load_n(&from->reset_at_ms, __ATOMIC_RELAXED);
  return reset_at > now_ms ? (double)(reset_at - now_ms) : NAN;
}

void provider_read_limits(const struct provider *p, struct provider_rest *out) {
  double requests_ms = read_limit(&p->requests, &out->requests_left);
  double tokens_ms = read_limit(&p->tokens, &out->tokens_left);
  out->reset_ms = fmax(requests_ms, tokens_ms); /* of one that is NaN the other */
}
