/*
 * guard: ends scripts that do not end by themselves. One thread of the process watches all generations. A call that
 * is over its budget of processor time is made to count its instructions; when it goes on and on, a hook stops it at every
 * instruction until C has control again. A compiled loop, which no hook reaches, is left behind by a jump out of it, and its
 * state is lost from then on.
 *
 * On a virtual machine whose host does something else, processor time passes while nothing runs. So no call is stopped for
 * time alone: it must be seen running after its budget was used up.
 *
 * Thread: start, stop and self test are control's; a slot belongs to its generation's thread.
 */
#ifndef MOONGATE_SCRIPT_GUARD_H
#define MOONGATE_SCRIPT_GUARD_H

#include "base/list.h"

#include <lua.h>

#include <pthread.h>
#include <time.h>

/*
 * A compiled loop is left after so much processor time. While the thread is in a library other than LuaJIT's it cannot
 * be left; when that lasts until GUARD_ABORT_MS the process ends, which a service manager notices and a stuck worker would
 * not.
 */
#define GUARD_JUMP_MS  250
#define GUARD_ABORT_MS 5000
/* It is left when so many signals have found it, after each other: what only looked long is over then. */
#define GUARD_SIGNALS 4

/* Over its budget, a call may still run so many instructions, or so long when they are slow ones. */
#define GUARD_GRACE_STEPS 20000
#define GUARD_GRACE_MS    8

/* Calls above a failing one in which its line is looked for: finding the n-th takes n steps. */
#define GUARD_LEVELS 100

/* Sanitized builds take longer for the same work. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#  define GUARD_IS_SANITIZED 1
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#    define GUARD_IS_SANITIZED 1
#  endif
#endif
#ifdef GUARD_IS_SANITIZED
#  define GUARD_PATIENCE 40
#else
#  define GUARD_PATIENCE 1
#endif

/* Starts the watching thread; more than once does no harm. The first slot starts it, too. */
void guard_start(void);
/* Ends it; no slot may be in use. */
void guard_stop(void);

/*
 * Finds out what this LuaJIT can do: lets an interpreted and a compiled loop run into the guard, and writes a text such
 * as "interpreted loops: stopped in 2.1 ms; compiled loops: stopped in 251 ms". False when an interpreted loop cannot be
 * stopped. Takes about 0.3 s; from any thread.
 */
bool guard_self_test(char out[160]);

/*
 * Whether compiled loops can be left: not on processors that we do not know, and not under sanitizers, which must see
 * every return; scripts then run interpreted whatever the configuration says.
 */
bool guard_can_jump(void);

/* ---- for those who enter Lua ---- */

/* Slots are never freed, so that a late signal finds one. */
struct guard_slot {
  uint32_t seq;       /* odd while inside Lua */
  uint32_t armed_seq; /* of the call that the hook was set for; 0: no hook */
  uint32_t steps;     /* that the hook has counted since then, atomic */
  uint32_t jump_seq;  /* of the call that may be left */
  uint32_t n_signals; /* of that call that have arrived, atomic, written by the handler as the next */
  uint32_t n_found;   /* of them, those that found it in compiled code or LuaJIT */
  uint32_t budget_us;
  bool is_compiled; /* the jump is set; without it, only the hook helps */
  bool has_fired;   /* the hook has stopped the current call */
  lua_State *L;
  const char *name; /* for the last words of the process */
  pthread_t thread;
  clockid_t clock;
  void *jump[5];          /* of __builtin_setjmp */
  uint64_t grace_from_ns; /* the hook's: when it fired first, by s->clock */
  /* The watcher's. */
  struct list node;
  bool is_trusted;
  uint32_t seen_seq;
  uint64_t seen_cpu_ns;
  unsigned n_looks; /* of the watcher, at a call that ought to have ended */
  uint64_t arm_again_us;
  uint32_t n_sent;
  uint64_t sent_us;
};

/* `name` and L stay valid until guard_leave_slot(); bound to the calling thread. */
struct guard_slot *guard_take_slot(lua_State *L, const char *name);
void guard_give_slot(struct guard_slot *s);
/* The calling thread is the one that enters from now on. */
void guard_bind(struct guard_slot *s);
/* What it runs from now on is ours and ends; it is looked at now and then. */
void guard_trust(struct guard_slot *s);
/* After a jump: the state is not touched any more, by anybody. */
void guard_abandon(struct guard_slot *s);
void guard_disarm(struct guard_slot *s);
/* From within a call in compiled code, for LuaJIT's allocator: the call ends here with GUARD_LEFT_BEHIND. */
NORETURN void guard_leave_behind(struct guard_slot *s);
/* Before a function that compiled code calls, and that has locked something, returns to it; the others are LB_MAY_BE_LEFT. */
extern _Thread_local struct guard_slot *guard_inside; /* whose compiled code was entered last */
static inline void guard_safe_point(void) {
  struct guard_slot *s = guard_inside;
  if (UNLIKELY(s && __atomic_load_n(&s->jump_seq, __ATOMIC_RELAXED) == s->seq &&
               s->n_signals >= GUARD_SIGNALS))
    guard_leave_behind(s);
}
/* Whether the slot's thread, which asks, is in a call that can be left. */
static inline bool guard_can_leave(const struct guard_slot *s) {
  return s->is_compiled && s->seq % 2 == 1;
}

static inline void guard_enter(struct guard_slot *s, uint32_t budget_us) {
  __atomic_store_n(&s->has_fired, false, __ATOMIC_RELAXED);
  __atomic_store_n(&s->budget_us, budget_us, __ATOMIC_RELAXED);
  __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
}

static inline void guard_leave(struct guard_slot *s) {
  __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
  if (UNLIKELY(__atomic_load_n(&s->armed_seq, __ATOMIC_RELAXED) != 0)) guard_disarm(s);
}

#define GUARD_LEFT_BEHIND (-1)
int guard_call_with_jump(struct guard_slot *s, lua_State *L, int n_args, int n_results, int on_error,
                         uint32_t budget_us);

static inline int guard_call_plainly(struct guard_slot *s, lua_State *L, int n_args, int n_results,
                                     int on_error, uint32_t budget_us) {
  guard_enter(s, budget_us);
  int status = lua_pcall(L, n_args, n_results, on_error);
  guard_leave(s);
  return status;
}

/* lua_pcall under the guard; GUARD_LEFT_BEHIND: the state is gone, see guard_abandon(). */
static inline int guard_call(struct guard_slot *s, lua_State *L, int n_args, int n_results, int on_error,
                             uint32_t budget_us) {
  return s->is_compiled ? guard_call_with_jump(s, L, n_args, n_results, on_error, budget_us)
                        : guard_call_plainly(s, L, n_args, n_results, on_error, budget_us);
}

#endif
