/*
 * strategy_stats: what the callbacks of a plan's strategy have done: calls, errors by kind, time. Each generation
 * counts for itself, in a block that only its own thread writes; a plan's stats add up the blocks of its living
 * generations and what those that are gone left behind.
 *
 * Thread: a block is written by its generation's thread, read by any; join, leave and read take a lock.
 * Owner: the plan.
 */
#ifndef MOONGATE_MODEL_STRATEGY_STATS_H
#define MOONGATE_MODEL_STRATEGY_STATS_H

#include "base/histogram.h"
#include "base/list.h"

#include <stdbool.h>
#include <stdint.h>

/* name, the script's word for it. A strategy has select or score; both count as select. */
#define CALLBACK_MAP(X)                                                                                      \
  X(SELECT, "select")                                                                                        \
  X(RETRY, "retry")                                                                                          \
  X(OBSERVE, "observe")                                                                                      \
  X(HEALTH, "health")                                                                                        \
  X(TICK, "tick")                                                                                            \
  X(EXPORT, "export")                                                                                        \
  X(INIT, "init")

enum callback {
#define CALLBACK_CONST_(name, text) CALLBACK_##name,
  CALLBACK_MAP(CALLBACK_CONST_)
#undef CALLBACK_CONST_
      CALLBACK_N
};
const char *callback_name(enum callback c);

/* Kinds of error: it threw, was stopped by the budget, ran out of its memory, returned what it must not. */
#define FAULT_MAP(X)                                                                                         \
  X(THROW, "throw")                                                                                          \
  X(TIMEOUT, "timeout")                                                                                      \
  X(MEMORY, "memory")                                                                                        \
  X(INVALID, "invalid_return")

enum script_fault {
#define FAULT_CONST_(name, text) FAULT_##name,
  FAULT_MAP(FAULT_CONST_)
#undef FAULT_CONST_
      FAULT_N
};
const char *script_fault_name(enum script_fault f);

struct callback_stats {
  uint64_t calls;
  uint64_t faults[FAULT_N];
  /* Reading the clock costs as much as a decision, so one call in STRATEGY_TIMED_EACH is timed. */
  uint64_t timed, total_ns, max_ns;
  uint64_t by_time[HISTOGRAM_BOUNDS + 1]; /* of those timed, as in a histogram */
};
#define STRATEGY_TIMED_EACH 64
#define STRATEGY_FIRST_NS   250 /* first bound of by_time */

/* Relaxed atomics, one writer. */
struct strategy_block {
  struct list node;
  struct callback_stats callbacks[CALLBACK_N];
  uint64_t skipped; /* decisions that the built-in choice made because the generation was benched or dead */
  uint32_t is_benched, is_dead;
};

struct strategy_totals {
  struct callback_stats callbacks[CALLBACK_N];
  uint64_t errors; /* all kinds, all callbacks */
  uint64_t skipped;
  unsigned generations;             /* alive now */
  unsigned n_benched, n_dead;       /* of those */
  uint64_t benched_ever, dead_ever; /* those that are gone included */
  char last_error[512];             /* "file:line: callback: what"; empty: none so far */
  uint64_t last_error_wall_ms;
};

struct strategy_stats;
struct strategy_stats *strategy_stats_new(void);
void strategy_stats_free(struct strategy_stats *s);

void strategy_stats_join(struct strategy_stats *s, struct strategy_block *b);
void strategy_stats_leave(struct strategy_stats *s, struct strategy_block *b);
void strategy_stats_note_error(struct strategy_stats *s, const char *text);
void strategy_stats_read(struct strategy_stats *s, struct strategy_totals *out);

#endif
