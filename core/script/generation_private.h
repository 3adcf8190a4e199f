/* For generation.c, decide.c, abi.c and their test only: what a generation is made of. */
#ifndef MOONGATE_SCRIPT_GENERATION_PRIVATE_H
#define MOONGATE_SCRIPT_GENERATION_PRIVATE_H

#include "script/abi.h"
#include "script/generation.h"

#include <lua.h>

#define GENERATION_MEMORY_MAX ((size_t)64 << 20)
#define MEMORY_TEXT           "the script needs more than 64 MiB of memory"
/* Lua instructions between two looks at the budget, and how many looks a load or a call may last. */
#define GUARD_STRIDE 1000
#define GUARD_LOAD   20000
#define GUARD_CALL   200

/* Fixed places on the generation's Lua stack; a call pushes a copy and leaves the stack as it was. */
enum { STACK_ON_ERROR = 1, STACK_SELECT, STACK_RETRY, STACK_OBSERVE, STACK_TOP = STACK_OBSERVE };

struct generation {
  struct plan *plan; /* first, see generation_plan() */
  lua_State *L;
  unsigned worker;
  unsigned users;
  uint64_t errors;        /* atomic: admin texts read it from other threads */
  struct log_limit limit; /* of the lines about them */

  size_t memory;
  unsigned looks_left; /* of the running load or call */
  bool is_guarded;     /* interpreted, with the budget's hook always armed: scripts that are not part of the
                          program */
  bool is_over_budget; /* from the first expiry until C has control again */

  bool has[CALLBACK_N];
  const char *what[CALLBACK_N]; /* "select" or "score", … */
  int line[CALLBACK_N];
  char *name;
  char *file; /* as error texts name it */

  struct lb_call call;
};

_Static_assert(PLAN_PROVIDERS_MAX <= ARRAY_LEN(((struct lb_call *)0)->order), "a pool holds every provider");

extern const struct lb_request REQUEST_NONE;

/* Around each entry: sets the budget, and takes the hook back to its stride when it had fired. */
void generation_arm(struct generation *g, unsigned looks);
void generation_disarm(struct generation *g);
/* Whether an error text says where, as in "x.lua:3: …". */
bool generation_names_line(const char *text);

#endif
