/*
 * generation: one loaded version of the strategy in one worker: a lua_State with the runtime, the sandboxed strategy
 * and its state, and the views that calls are made over. decide.h enters it.
 *
 * Thread: its worker's loop (or the thread that checks a file); any, one at a time, when generation_bind() says so.
 * Owner: the worker; exchanges count themselves in and out.
 */
#ifndef MOONGATE_SCRIPT_GENERATION_H
#define MOONGATE_SCRIPT_GENERATION_H

#include "base/buf.h"
#include "model/plan.h"
#include "model/strategy_stats.h"

#define SCRIPT_ERROR_MAX  512
#define SCRIPT_EXPORT_MAX ((size_t)1 << 20)

struct generation;

/*
 * Loads the plan's strategy: compiles, runs the file in the sandbox, checks the returned table (abi, unknown
 * callbacks, select or score present), calls init. `previous`: what generation_export() of the one before gave, or
 * NULL. Takes its own reference on the plan. NULL on failure, with a text "file:line: what" in err.
 */
struct generation *generation_new(struct plan *plan, unsigned worker, const char *previous,
                                  char err[SCRIPT_ERROR_MAX]);
void generation_free(struct generation *g);
/* From now on the calling thread is the generation's: for one that was made on another thread and handed over. */
void generation_bind(struct generation *g);

static inline const struct plan *generation_plan(const struct generation *g) {
  return *(struct plan *const *)g; /* the first member */
}

/* Exchanges in flight on it; a replaced generation is freed when this falls to 0. */
void generation_enter(struct generation *g);
/* True when it was the last one. */
bool generation_leave(struct generation *g);

/*
 * Calls export and appends what it returned to `out` as Lua text "return …": numbers, texts, booleans, and tables of
 * them. False when there is none, or it failed (which is noted as any callback's error): `out` is then unchanged.
 */
bool generation_export(struct generation *g, struct buf *out);

/* The `name` field of the strategy's table (or the file's name), and what it implements, for start-up texts. */
const char *generation_strategy_name(const struct generation *g);
bool generation_implements(const struct generation *g, enum callback c);
/* Its strategy is one of the program's, which run compiled and take no time. */
bool generation_is_ours(const struct generation *g);
/* False: its strategy is one of ours that does not look at prefix_hash, which need not be computed. */
bool generation_has_prefix_hash(const struct generation *g);
/* The script's word for it: "select" or "score". */
const char *generation_callback_name(const struct generation *g, enum callback c);

/* ---- trouble: the next three may be asked from any thread ---- */

/*
 * SERVING: all is well. BENCHED: the strategy failed too often (BENCH_IN_ROW in a row, or BENCH_SHARE of the last
 * BENCH_WINDOW decisions). DEAD: its compiled code did not come to an end or ran out of memory, and was left behind. In the last two the
 * script is not entered any more: decide_* answer with the built-in behaviour.
 */
enum generation_phase { GENERATION_SERVING, GENERATION_BENCHED, GENERATION_DEAD };
#define BENCH_IN_ROW 8
#define BENCH_WINDOW 64
#define BENCH_SHARE  0.5

enum generation_phase generation_phase(const struct generation *g);
static inline bool generation_is_benched(const struct generation *g) {
  return generation_phase(g) != GENERATION_SERVING;
}
/* Errors of this generation's callbacks so far, all kinds. */
uint64_t generation_errors(const struct generation *g);
/* Copies the last error, "file:line: callback: what"; empty when there was none. */
void generation_last_error(const struct generation *g, char out[SCRIPT_ERROR_MAX]);

/*
 * Called on the generation's thread, from within decide_*, when the phase changes. It may note and post; it must not
 * free the generation.
 */
typedef void generation_trouble_fn(void *context, struct generation *g, enum generation_phase phase);
void generation_on_trouble(struct generation *g, generation_trouble_fn *fn, void *context);

/* What all generations of this one's plan have done so far, see strategy_stats.h; any thread that holds the plan. */
static inline void generation_stats(const struct plan *plan, struct strategy_totals *out) {
  strategy_stats_read(plan->stats, out);
}

#endif
