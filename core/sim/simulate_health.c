/* simulate_health: probes and windows of attempts; who decides on them is as in flow/probe and daemon/reload. */
#include "sim/simulate_private.h"

#include "base/clock.h"

#define FAST_MAX_MS 1000
#define WINDOW_MS   1000
#define PROBE_MS    1 /* what a probe is said to take */

/* Asks the strategy; false when the engine's own rules hold. */
static bool judge(struct simulation *sim, unsigned slot, const struct evidence *e) {
  struct generation *g = sim->judge;
  if (generation_is_benched(g) || !generation_implements(g, CALLBACK_HEALTH)) return false;
  uint64_t errors = generation_errors(g);
  char reason[DECIDE_REASON_MAX];
  enum lb_health verdict = decide_health(g, reason, slot, e);
  if (generation_errors(g) != errors) return false;
  static const int states[] = {
      [LB_KEEP] = -1, [LB_UP] = PROVIDER_UP, [LB_DEGRADED] = PROVIDER_DEGRADED, [LB_DOWN] = PROVIDER_DOWN};
  (void)provider_judged(sim->providers[slot].provider, states[verdict], reason[0] ? reason : e->reason,
                        e->is_probe, e->ok, clock_mono_ms(), clock_wall_ms());
  return true;
}

void simulate_probe_in(struct simulation *sim, struct made_up *p, double ms) {
  simulate_in_ms(sim, ms, ON_PROBE, (uint32_t)(p - sim->providers), ++p->probe_version);
}

void simulate_probe(struct simulation *sim, struct made_up *p) {
  const struct settings *s = &sim->plan->settings;
  unsigned slot = (unsigned)(p - sim->providers);
  bool ok = !p->is_down;
  struct evidence e = {.is_probe = true,
                       .ok = ok,
                       .status = ok ? 200 : 0,
                       .latency_ms = PROBE_MS,
                       .attempts = 1,
                       .failures = !ok,
                       .reason = ok ? NULL : "connection refused"};
  if (!judge(sim, slot, &e))
    (void)provider_probed(p->provider, ok, e.reason, &s->health, clock_mono_ms(), clock_wall_ms());
  uint32_t ms = s->health_interval_ms;
  if (!ok && p->provider->state != PROVIDER_DOWN) {
    uint32_t fast = ms / 10 < 50 ? 50 : ms / 10 > FAST_MAX_MS ? FAST_MAX_MS : ms / 10;
    if (fast < ms) ms = fast;
  }
  struct rng r = dice_of(sim->seed, DRAW_PROBE, slot, p->probe_version);
  simulate_probe_in(sim, p, ms + rng_below(&r, ms / 10 + 1));
}

static void close_window(struct simulation *sim, unsigned slot) {
  struct made_up *p = &sim->providers[slot];
  uint64_t attempts = 0, failures = 0;
  for (int i = 0; i < OUTCOME_N; i++) {
    uint64_t n = p->provider->counters.by_class[i];
    attempts += n;
    if (outcome_harms_health((enum outcome_class)i)) failures += n;
  }
  struct evidence e = {.latency_ms = p->provider->latency_ms,
                       .attempts = (uint32_t)(attempts - p->seen_attempts),
                       .failures = (uint32_t)(failures - p->seen_failures)};
  e.ok = e.failures == 0;
  p->seen_attempts = attempts;
  p->seen_failures = failures;
  if (e.attempts) (void)judge(sim, slot, &e);
}

void simulate_close_windows(struct simulation *sim) {
  for (unsigned i = 0; i < sim->scenario->n_providers; i++)
    close_window(sim, i);
  simulate_in_ms(sim, WINDOW_MS, ON_WINDOW, 0, 0);
}

void simulate_begin_health(struct simulation *sim) {
  for (unsigned i = 0; i < sim->scenario->n_providers; i++)
    simulate_probe_in(sim, &sim->providers[i], 0);
  if (generation_implements(sim->judge, CALLBACK_HEALTH)) simulate_in_ms(sim, WINDOW_MS, ON_WINDOW, 0, 0);
}
