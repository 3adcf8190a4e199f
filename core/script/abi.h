/*
 * abi: abi_decl.h as C sees it, with the checks that keep it in step with the rest of the program. Scripts reach
 * the functions through ffi.C, so they are exported from the binary.
 */
#ifndef MOONGATE_SCRIPT_ABI_H
#define MOONGATE_SCRIPT_ABI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "model/outcome.h"

#pragma GCC visibility push(default)
#include "script/abi_decl.h"
#pragma GCC visibility pop

_Static_assert(sizeof(struct lb_text) == 16, "lb_text has no hidden padding");
_Static_assert(sizeof(struct lb_provider) == 4 * 4 + 2 * 8, "lb_provider has no hidden padding");
_Static_assert(sizeof(struct lb_stats) == 8 * 4 + 17 * 8, "lb_stats has no hidden padding");
_Static_assert(sizeof(struct lb_request) == 6 * 16 + 7 * 8 + 2 * 4, "lb_request has no hidden padding");
_Static_assert(sizeof(struct lb_outcome) == 2 * 4 + 6 * 8 + 8, "lb_outcome has no hidden padding");
_Static_assert(offsetof(struct lb_call, order) == 3 * 8 + 4 * 4 + 2 * 8 + sizeof(struct lb_outcome),
               "lb_call has no hidden padding");
_Static_assert((int)LB_CLASS_N == (int)OUTCOME_N, "classes are the same set");
#define ABI_SAME_CLASS_(name, text, retry, health)                                                           \
  _Static_assert((int)LB_CLASS_##name == (int)OUTCOME_##name, "class " text " has one number");
OUTCOME_MAP(ABI_SAME_CLASS_)
#undef ABI_SAME_CLASS_

/*
 * For functions above that take no lock and change nothing but what belongs to the caller's generation: the guard may end a
 * call of compiled code at any of their instructions, see guard.h.
 */
#define LB_MAY_BE_LEFT __attribute__((section("lb_may_be_left")))

/*
 * For simulations, which must repeat: lb.random() of this thread follows `seed` from now on, and turns and counters
 * start at 0 again. Not while other threads run scripts.
 */
void abi_restart(uint64_t seed);

/*
 * Between the two, what scripts on this thread take and count (lb.turn, lb.counter) is counted apart, from nothing, and
 * then forgotten: a trial must not move the turns of those that serve. So is what they put into lb.shared.
 */
void abi_begin_trial(void);
void abi_end_trial(void);

#endif
