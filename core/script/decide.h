/*
 * decide: the one place where C enters Lua for a request. Fills the views, calls under lua_pcall and the guard, checks
 * what comes back, and falls back to the built-in behaviour (fewest in flight ÷ weight, ties at random): a request
 * never fails because a script did.
 *
 * Thread: the generation's.
 */
#ifndef MOONGATE_SCRIPT_DECIDE_H
#define MOONGATE_SCRIPT_DECIDE_H

#include "base/rand.h"
#include "script/abi.h"
#include "script/generation.h"

#define DECIDE_REASON_MAX 96

struct decision {
  unsigned n;                         /* 0: the strategy said "none" */
  uint16_t slots[PLAN_PROVIDERS_MAX]; /* plan slots, best first: the choice, and what to try next */
  bool is_plan;                       /* the strategy returned an ordered list: walk it on failure */
  bool is_fallback;               /* the script failed, is benched or dead; the built-in choice was made */
  char reason[DECIDE_REASON_MAX]; /* why none, when the strategy said so */
};

/* candidates[0 … n-1] are plan slots in configuration order, n >= 1. Never fails. */
void decide_select(struct generation *g, struct decision *out, const struct lb_request *req,
                   const uint16_t *candidates, unsigned n, struct rng *rng);

enum decide_verdict { DECIDE_NEXT, DECIDE_SAME, DECIDE_STOP };
/* The strategy's retry callback, or the default by class. *delay_ms is clamped to 0 … 60000. */
enum decide_verdict decide_retry(struct generation *g, uint32_t *delay_ms, const struct lb_request *req,
                                 unsigned slot, const struct outcome *o);
/* Feedback; does nothing when the strategy has no observe. */
void decide_observe(struct generation *g, const struct lb_request *req, unsigned slot,
                    const struct outcome *o);

/* What health is asked about: a probe that ended, or a window of attempts that closed. */
struct evidence {
  bool is_probe;
  bool ok;           /* the probe passed; for a window: none of its attempts failed */
  int status;        /* HTTP status of the probe, or of the last attempt; 0: none came */
  double latency_ms; /* of the probe, or the mean of the window's successes; NaN when nothing was measured */
  uint32_t attempts; /* a probe is 1 */
  uint32_t failures;
  const char *reason; /* why it failed, may be NULL */
};
/*
 * LB_KEEP (nothing to say, no callback, an error, benched: the engine's own rules hold), LB_UP, LB_DEGRADED or LB_DOWN;
 * *reason is empty unless the strategy gave one.
 */
enum lb_health decide_health(struct generation *g, char reason[DECIDE_REASON_MAX], unsigned slot,
                             const struct evidence *e);
/* Once a second; does nothing when the strategy has no tick. The pool it sees holds all providers of the plan. */
void decide_tick(struct generation *g);

/* Fewest in flight divided by weight, ties at random; what is used when no script can answer. n >= 1. */
unsigned decide_builtin(const struct plan *plan, const uint16_t *candidates, unsigned n, struct rng *rng);

#endif
