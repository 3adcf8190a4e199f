/*
 * guard: ends scripts that do not end by themselves. One thread of the process watches all generations. A call that
 * is over its budget of processor time gets a hook that fires at every instruction until C has control again; a
 * compiled loop, which no hook reaches, is left behind by a jump out of it, and its generation is dead from then on.
 *
 * Thread: start, stop and self test are control's; the rest is for generation.c and decide.c.
 */
#ifndef MOONGATE_SCRIPT_GUARD_H
#define MOONGATE_SCRIPT_GUARD_H

#include "base/base.h"

/* A compiled loop is left after so long. */
#define GUARD_JUMP_MS 250

/* Starts the watching thread; more than once does no harm. The first generation starts it, too. */
void guard_start(void);
/* Ends it; no generation may be alive. */
void guard_stop(void);

/*
 * Finds out what this LuaJIT can do: lets an interpreted and a compiled loop run into the guard, and writes a text such as
 * "interpreted loops: stopped in 2.1 ms; compiled loops: stopped in 251 ms". False when one of them cannot be stopped.
 * Takes about 0.3 s; from a thread on which no generation runs.
 */
bool guard_self_test(char out[160]);

#endif
