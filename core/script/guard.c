/*
 * guard: the watcher and its two means.
 *
 * Thread: its own, and the signal handler on the watched one.   Owns: the slots.
 * Invariant: L of a slot is touched under the lock, and only while the slot is in use; the handler jumps only when
 * the interrupted instruction belongs to compiled Lua, to LuaJIT or to one of ours that says so, where no lock is held and
 * nothing is half done that anybody sees again.
 *
 *   seq odd, the same at two looks -> over budget: hook counts -> GUARD_GRACE_*: hook stops
 *                                  -> over GUARD_JUMP_MS: GUARD_SIGNALS signals -> jump
 *                                  -> over GUARD_ABORT_MS: abort
 */
#include "script/guard.h"

#include "base/log.h"
#include "base/thread.h"
#include "script/heap.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>

#include <errno.h>
#include <link.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ucontext.h>

#if !defined(GUARD_IS_SANITIZED) && defined(__x86_64__)
#  define CAN_JUMP       1
#  define PC_OF(context) ((uintptr_t)(context)->uc_mcontext.gregs[REG_RIP])
#elif !defined(GUARD_IS_SANITIZED) && defined(__aarch64__) && !defined(__clang__)
#  define CAN_JUMP       1
#  define PC_OF(context) ((uintptr_t)(context)->uc_mcontext.pc)
#else
#  define CAN_JUMP       0
#  define PC_OF(context) ((void)(context), (uintptr_t)0)
#endif

/* Between two looks: while calls come, while one is suspect, when nothing happens, and when no script of others is there. */
#define ABORT_LOOKS      100 /* beyond GUARD_ABORT_MS */
#define PAUSE_BUSY_US    2000
#define PAUSE_SUSPECT_US 500
#define PAUSE_IDLE_US    5000
#define PAUSE_TRUSTED_US 100000
#define ARM_AGAIN_US     5000
/* Between two calls of a hook that only counts; one when instructions are so slow that it is never called. */
#define STEPS_PER_HOOK 100
/* Between two signals. */
#define JUMP_PAUSE_US 1000
#define RANGES_MAX    512

static struct {
  pthread_mutex_t lock;
  pthread_cond_t wake;
  pthread_t thread;
  bool is_running, is_stopping;
  struct list used, unused;
} guard = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .wake = PTHREAD_COND_INITIALIZER,
           .used = {&guard.used, &guard.used},
           .unused = {&guard.unused, &guard.unused}};

static void lock(void) {
  REQUIRE(pthread_mutex_lock(&guard.lock) == 0);
}

static void unlock(void) {
  REQUIRE(pthread_mutex_unlock(&guard.lock) == 0);
}

static uint64_t now_ns(clockid_t clock) {
  struct timespec t = {0, 0};
  (void)clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* ---- the hook: interpreted code ---- */

static struct guard_slot *slot_of(lua_State *L) {
  void *heap;
  (void)lua_getallocf(L, &heap);
  return ((struct heap *)heap)->slot;
}

/* Counts; true when the script has had its chance to end. */
static bool is_grace_over(struct guard_slot *s, lua_State *L) {
  uint64_t now = now_ns(CLOCK_THREAD_CPUTIME_ID);
  uint32_t steps = __atomic_load_n(&s->steps, __ATOMIC_RELAXED);
  if (steps == 0) s->grace_from_ns = now;
  __atomic_store_n(&s->steps, steps + (uint32_t)lua_gethookcount(L), __ATOMIC_RELAXED);
  return steps >= GUARD_GRACE_STEPS || now - s->grace_from_ns >= (uint64_t)GUARD_GRACE_MS * 1000000;
}

static void on_instruction(lua_State *L, lua_Debug *ar) {
  struct guard_slot *s = slot_of(L);
  if (__atomic_load_n(&s->armed_seq, __ATOMIC_RELAXED) != s->seq) {
    /* Set for a call that had just ended. */
    guard_disarm(s);
    return;
  }
  if (!__atomic_load_n(&s->has_fired, __ATOMIC_RELAXED)) {
    if (!is_grace_over(s, L)) return;
    __atomic_store_n(&s->has_fired, true, __ATOMIC_RELAXED);
    /* A pcall of the script catches what is thrown; at its next instruction it is thrown again. */
    (void)lua_sethook(L, on_instruction, LUA_MASKCOUNT, 1);
  }
  /* Inside the engine's own Lua it is the line of the script that called it. */
  lua_Debug at;
  for (int level = 0; level < GUARD_LEVELS && lua_getstack(L, level, &at); level++) {
    (void)lua_getinfo(L, "Sl", &at);
    if (at.source[0] == '@' || level == 0) *ar = at;
    if (at.source[0] == '@') break;
  }
  lua_pushfstring(L, "%s:%d: the script takes too long and was stopped", ar->short_src, ar->currentline);
  (void)lua_error(L);
}

/*
 * Lua notes in one word, without atomics, which hooks are set and whether one runs: setting one from here while one
 * runs could leave that note behind for ever, and no hook would fire again. So it is set once, and again only when
 * nothing has come of it for long. That starts its count anew, so then it has to be called at once.
 */
static void arm_locked(struct guard_slot *s, uint32_t seq, uint64_t spent_us) {
  bool is_armed = s->armed_seq == seq;
  if (is_armed && (spent_us < s->arm_again_us || __atomic_load_n(&s->steps, __ATOMIC_RELAXED))) return;
  s->arm_again_us = spent_us + ARM_AGAIN_US;
  if (!is_armed) __atomic_store_n(&s->steps, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&s->armed_seq, seq, __ATOMIC_RELEASE);
  (void)lua_sethook(s->L, on_instruction, LUA_MASKCOUNT, is_armed ? 1 : STEPS_PER_HOOK);
}

void guard_disarm(struct guard_slot *s) {
  lock();
  __atomic_store_n(&s->armed_seq, 0, __ATOMIC_RELAXED);
  (void)lua_sethook(s->L, NULL, 0, 0);
  unlock();
}

/* ---- the jump: compiled code ---- */

/*
 * Where loaded programs and libraries have their instructions. Only grows in place, so that a handler that runs while it is
 * made anew reads nothing wrong. LuaJIT's own functions take no lock and work on nothing but the state, which is given up:
 * its library may be left as compiled code may, when it is one, and not a part of this program.
 */
static struct range {
  uintptr_t from, to;
  bool is_luajit;
} ranges[RANGES_MAX];
static unsigned n_ranges;

static int add_object(struct dl_phdr_info *info, size_t size, void *at) {
  (void)size;
  unsigned *n = at;
  bool is_program = info->dlpi_name == NULL || info->dlpi_name[0] == '\0';
  for (unsigned i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    if (p->p_type != PT_LOAD || !(p->p_flags & PF_X)) continue;
    if (*n == RANGES_MAX) return 1;
    uintptr_t from = (uintptr_t)(info->dlpi_addr + p->p_vaddr), to = from + p->p_memsz;
    uintptr_t known = (uintptr_t)lua_pcall;
    ranges[*n] = (struct range){from, to, !is_program && known >= from && known < to};
    (*n)++;
  }
  return 0;
}

static bool find_objects(void) {
  unsigned n = 0;
  if (dl_iterate_phdr(add_object, &n)) return false;
  __atomic_store_n(&n_ranges, n, __ATOMIC_RELEASE);
  return true;
}

/* Functions that compiled code calls, see LB_MAY_BE_LEFT: where most of a loop's time is spent in them, signals would hardly
   ever find the loop itself. The linker tells where they are. */
extern const char __start_lb_may_be_left[], __stop_lb_may_be_left[];

/* Compiled code belongs to no object. */
static bool may_be_left(uintptr_t pc) {
  if (pc >= (uintptr_t)__start_lb_may_be_left && pc < (uintptr_t)__stop_lb_may_be_left) return true;
  unsigned n = __atomic_load_n(&n_ranges, __ATOMIC_ACQUIRE);
  for (unsigned i = 0; i < n; i++)
    if (pc >= ranges[i].from && pc < ranges[i].to) return ranges[i].is_luajit;
  return n > 0;
}

static void on_signal(int number, siginfo_t *info, void *context) {
  (void)number;
  struct guard_slot *s = info->si_code == SI_QUEUE ? info->si_value.sival_ptr : NULL;
  if (!s) return;
  uint32_t seq = __atomic_load_n(&s->seq, __ATOMIC_RELAXED);
  /* A late signal of a call that has ended counts for nobody. */
  if (seq % 2 == 0 || seq != __atomic_load_n(&s->jump_seq, __ATOMIC_ACQUIRE)) return;
  if (!pthread_equal(pthread_self(), s->thread)) return;
  __atomic_store_n(&s->n_signals, s->n_signals + 1, __ATOMIC_RELAXED);
  if (!may_be_left(PC_OF((const ucontext_t *)context))) return;
  if (++s->n_found >= GUARD_SIGNALS) __builtin_longjmp(s->jump, 1);
}

static int jump_signal(void) {
  return SIGRTMIN + 5;
}

/* The next only when the one before has arrived: those that pile up while nothing runs prove nothing. */
static void signal_locked(struct guard_slot *s, uint32_t seq, uint64_t spent_us) {
  if (s->jump_seq != seq) {
    if (!find_objects()) return;
    s->n_sent = 0;
    s->sent_us = 0;
    __atomic_store_n(&s->n_signals, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->n_found, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&s->jump_seq, seq, __ATOMIC_RELEASE);
  }
  if (__atomic_load_n(&s->n_signals, __ATOMIC_RELAXED) != s->n_sent) return;
  if (spent_us < s->sent_us + JUMP_PAUSE_US) return;
  s->n_sent++;
  s->sent_us = spent_us;
  (void)pthread_sigqueue(s->thread, jump_signal(), (union sigval){.sival_ptr = s});
}

bool guard_can_jump(void) {
  return CAN_JUMP;
}

/* The compiler's own setjmp keeps three words and is done in 2 ns, where the library's takes 10. What it does not keep is
   reloaded after it, so the function has nothing else to do, and must not become part of another. */
__attribute__((noinline)) int guard_call_with_jump(struct guard_slot *s, lua_State *L, int n_args,
                                                   int n_results, int on_error, uint32_t budget_us) {
  if (__builtin_setjmp(s->jump) != 0) return GUARD_LEFT_BEHIND;
  guard_inside = s;
  return guard_call_plainly(s, L, n_args, n_results, on_error, budget_us);
}

_Thread_local struct guard_slot *guard_inside;

void guard_leave_behind(struct guard_slot *s) {
  __builtin_longjmp(s->jump, 1);
}

/* ---- the watcher ---- */

/* How long until the next look. */
static long watch_locked(struct guard_slot *s) {
  uint32_t seq = __atomic_load_n(&s->seq, __ATOMIC_ACQUIRE);
  if (seq % 2 == 0) {
    bool is_busy = seq != s->seen_seq;
    s->seen_seq = seq;
    if (s->is_trusted) return PAUSE_TRUSTED_US;
    return is_busy ? PAUSE_BUSY_US : PAUSE_IDLE_US;
  }
  uint64_t cpu = now_ns(s->clock);
  if (seq != s->seen_seq) {
    s->seen_seq = seq;
    s->seen_cpu_ns = cpu;
    s->n_looks = 0;
    return PAUSE_SUSPECT_US;
  }
  uint64_t spent_us = (cpu - s->seen_cpu_ns) / 1000;
  if (spent_us >= __atomic_load_n(&s->budget_us, __ATOMIC_RELAXED)) arm_locked(s, seq, spent_us);
  if (spent_us >= GUARD_JUMP_MS * 1000 && s->is_compiled) signal_locked(s, seq, spent_us);
  /* Of a virtual machine that stood still, all of that time was the thread's: it gets time to be stopped. */
  if (spent_us >= GUARD_ABORT_MS * 1000 && ++s->n_looks > ABORT_LOOKS) {
    log_error("a worker is stuck in the script %s and cannot be freed: the process ends", s->name);
    abort();
  }
  return spent_us >= GUARD_JUMP_MS * 1000 ? PAUSE_BUSY_US : PAUSE_SUSPECT_US;
}

static void *watch_all(void *arg) {
  (void)arg;
  thread_name("guard");
  long pause_us = PAUSE_BUSY_US;
  lock();
  while (!guard.is_stopping) {
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC,
                        &until); /* the other one may jump, and nobody would look for years */
    long nsec = until.tv_nsec + pause_us * 1000;
    until.tv_sec += nsec / 1000000000;
    until.tv_nsec = nsec % 1000000000;
    if (list_is_empty(&guard.used))
      (void)pthread_cond_wait(&guard.wake, &guard.lock);
    else
      (void)pthread_cond_clockwait(&guard.wake, &guard.lock, CLOCK_MONOTONIC, &until);
    pause_us = PAUSE_TRUSTED_US;
    list_each(node, next, &guard.used) {
      long wish_us = watch_locked(container_of(node, struct guard_slot, node));
      if (wish_us < pause_us) pause_us = wish_us;
    }
  }
  unlock();
  return NULL;
}

static void start_locked(void) {
  if (guard.is_running) return;
  struct sigaction action = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO | SA_NODEFER | SA_RESTART};
  sigemptyset(&action.sa_mask);
  REQUIRE(sigaction(jump_signal(), &action, NULL) == 0);
  guard.is_stopping = false;
  REQUIRE(thread_start(&guard.thread, watch_all, NULL) == 0);
  guard.is_running = true;
}

void guard_start(void) {
  lock();
  start_locked();
  unlock();
}

void guard_stop(void) {
  lock();
  bool was_running = guard.is_running;
  REQUIRE(list_is_empty(&guard.used));
  guard.is_stopping = true;
  guard.is_running = false;
  (void)pthread_cond_signal(&guard.wake);
  unlock();
  if (was_running) (void)pthread_join(guard.thread, NULL);
  lock();
  list_each(node, next, &guard.unused) {
    list_remove(node);
    free(container_of(node, struct guard_slot, node));
  }
  unlock();
}

/* ---- slots ---- */

static void bind_locked(struct guard_slot *s) {
  s->thread = pthread_self();
  if (pthread_getcpuclockid(s->thread, &s->clock) != 0) s->clock = CLOCK_MONOTONIC;
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, jump_signal());
  (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

void guard_bind(struct guard_slot *s) {
  lock();
  bind_locked(s);
  unlock();
}

void guard_trust(struct guard_slot *s) {
  lock();
  s->is_trusted = true;
  unlock();
}

struct guard_slot *guard_take_slot(lua_State *L, const char *name) {
  lock();
  start_locked();
  struct list *node = list_pop_front(&guard.unused);
  struct guard_slot *s = node ? container_of(node, struct guard_slot, node) : x_calloc(1, sizeof *s);
  s->L = L;
  s->name = name;
  s->is_compiled = s->is_trusted = s->has_fired = false;
  s->seen_seq = s->seq;
  bind_locked(s);
  list_push_back(&guard.used, &s->node);
  (void)pthread_cond_signal(&guard.wake);
  unlock();
  return s;
}

void guard_give_slot(struct guard_slot *s) {
  if (!s) return;
  lock();
  list_remove(&s->node);
  s->L = NULL;
  list_push_back(&guard.unused, &s->node);
  unlock();
}

void guard_abandon(struct guard_slot *s) {
  lock();
  __atomic_store_n(&s->armed_seq, 0, __ATOMIC_RELAXED);
  __atomic_store_n(&s->seq, s->seq + 1, __ATOMIC_RELEASE);
  list_remove(&s->node);
  s->L = NULL;
  list_push_back(&guard.unused, &s->node);
  unlock();
}

/* ---- self test ---- */

/* Milliseconds until the loop had ended, or below 0. */
static double time_to_stop(const char *loop, bool is_compiled) {
  struct heap heap;
  heap_init(&heap, (size_t)4 << 20);
  double ms = -1;
  lua_State *L = lua_newstate(heap_realloc, &heap);
  if (!L) {
    heap_release(&heap);
    return ms;
  }
  struct guard_slot *s = heap.slot = guard_take_slot(L, "self test");
  luaL_openlibs(L);
  (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | (is_compiled ? LUAJIT_MODE_ON : LUAJIT_MODE_OFF));
  int status = luaL_loadstring(L, loop);
  if (status == 0) {
    s->is_compiled = is_compiled;
    uint64_t start = now_ns(CLOCK_MONOTONIC);
    status = guard_call(s, L, 0, 0, 0, 2000);
    ms = (double)(now_ns(CLOCK_MONOTONIC) - start) / 1e6;
  }
  if (status == GUARD_LEFT_BEHIND) {
    guard_abandon(s);
  } else {
    guard_give_slot(s);
    lua_close(L);
  }
  heap_release(&heap);
  return ms;
}

bool guard_self_test(char out[160]) {
  double plain = time_to_stop("while true do end", false);
  int n = plain < 0 ? snprintf(out, 160, "interpreted loops: not tried")
                    : snprintf(out, 160, "interpreted loops: stopped in %.1f ms", plain);
  if (CAN_JUMP) {
    double compiled = time_to_stop("local x = 0 while true do x = x + 1 end", true);
    (void)snprintf(out + n, 160 - (size_t)n, "; compiled loops: stopped in %.0f ms", compiled);
  } else {
    (void)snprintf(out + n, 160 - (size_t)n, "; compiled loops: cannot be stopped in this build");
  }
  return plain >= 0;
}
