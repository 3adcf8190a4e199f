/*
 * generation: one loaded version of the strategy in one worker: a lua_State with the runtime, the sandboxed strategy
 * and its state, and the views that calls are made over. decide.h enters it.
 *
 * Thread: its worker's loop (or the thread that checks a file). Owner: the worker; exchanges count themselves in and out.
 */
#ifndef MOONGATE_SCRIPT_GENERATION_H
#define MOONGATE_SCRIPT_GENERATION_H

#include "model/plan.h"

#define SCRIPT_ERROR_MAX 512

struct generation;

/*
 * Loads the plan's strategy: compiles, runs the file in the sandbox, checks the returned table (abi, unknown
 * callbacks, select or score present), calls init. Takes its own reference on the plan. NULL on failure, with
 * a text "file:line: what" in err.
 */
struct generation *generation_new(struct plan *plan, unsigned worker, char err[SCRIPT_ERROR_MAX]);
void generation_free(struct generation *g);

static inline const struct plan *generation_plan(const struct generation *g) {
  return *(struct plan *const *)g; /* the first member */
}

/* Exchanges in flight on it; a replaced generation is freed when this falls to 0. */
void generation_enter(struct generation *g);
/* True when it was the last one. */
bool generation_leave(struct generation *g);

/* The `name` field of the strategy's table (or the file's name), and what it implements, for start-up texts. */
const char *generation_strategy_name(const struct generation *g);
/* Errors of this generation's callbacks so far, all kinds. */
uint64_t generation_errors(const struct generation *g);

#endif
