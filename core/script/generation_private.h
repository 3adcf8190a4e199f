/* For this room's files around a generation and their tests only: what a generation is made of. */
#ifndef MOONGATE_SCRIPT_GENERATION_PRIVATE_H
#define MOONGATE_SCRIPT_GENERATION_PRIVATE_H

#include "base/log.h"
#include "script/abi.h"
#include "script/generation.h"
#include "script/guard.h"
#include "script/heap.h"

#include <lua.h>

#include <string.h>

#define GENERATION_MEMORY_MAX ((size_t)64 << 20)
#define MEMORY_TEXT           "the script needs more than 64 MiB of memory"
#define MEMORY_TEXT_MAX       160 /* with its place */
/* Processor time of a load with init, and of an export: so many times that of a call. */
#define LOAD_BUDGET_CALLS 10

/*
 * TABLES: interpreted, views are tables of which only what changed is written. FFI: compiled, views are references.
 * FFI_SLOW: interpreted over references, which refuse every write; for the canary.
 */
enum generation_mode { MODE_TABLES, MODE_FFI, MODE_FFI_SLOW };

/*
 * Fields of a provider that scripts seldom ask for: name, member of lb_stats, kind, and for those that workers change the
 * member of struct provider that they come from. The kinds are views.c's.
 */
#define STAT_MAP(X)                                                                                          \
  X(consecutive_failures, consecutive_failures, U32, consecutive_failures)                                   \
  X(samples, samples, U32, samples)                                                                          \
  X(verify_ok, verify_ok, U32, counters.verify_ok)                                                           \
  X(verify_fail, verify_fail, U32, counters.verify_fail)                                                     \
  X(dispatched, dispatched, U64, dispatched)                                                                 \
  X(latency_ms, latency_ms, NUMBER, latency_ms)                                                              \
  X(ttft_ms, ttft_ms, NUMBER, ttft_ms)                                                                       \
  X(tpot_ms, tpot_ms, NUMBER, tpot_ms)                                                                       \
  X(peak_ttft_ms, peak_ttft_ms, NUMBER, peak_ttft_ms)                                                        \
  X(error_rate, error_rate, NUMBER, error_rate)                                                              \
  X(throttle_rate, throttle_rate, NUMBER, throttle_rate)                                                     \
  X(balance, balance, NUMBER, balance)                                                                       \
  X(runway_s, runway_s, NUMBER, runway_s)                                                                    \
  X(state, state_id, STATE, state)                                                                           \
  X(last_class, last_class_id, CLASS, last_class)                                                            \
  X(price_in, price_in, FIXED, id)                                                                           \
  X(price_out, price_out, FIXED, id)                                                                         \
  X(verifiable, verifiable, FIXED_BOOL, id)                                                                  \
  X(rl_requests_left, rl_requests_left, CLOCK, id)                                                           \
  X(rl_tokens_left, rl_tokens_left, CLOCK, id)                                                               \
  X(rl_reset_ms, rl_reset_ms, CLOCK, id)                                                                     \
  X(token_expires_s, token_expires_s, CLOCK, id)                                                             \
  X(state_since_ms, state_since_at_ms, SINCE, id)                                                            \
  X(cooldown_ms, cooldown_until_ms, UNTIL, id)

enum stat {
#define STAT_CONST_(name, member, kind, source) STAT_##name,
  STAT_MAP(STAT_CONST_)
#undef STAT_CONST_
      STAT_N
};

/* All fields of a provider: those that each table has from the start, then those that a script has to ask for. */
#define VIEW_FIXED_MAP(X)                                                                                    \
  X(index) X(slot) X(in_flight) X(weight) X(priority) X(id) X(address) X(kind) X(model) X(tags)
enum view_field {
#define VIEW_CONST_(name) VIEW_##name,
  VIEW_FIXED_MAP(VIEW_CONST_)
#undef VIEW_CONST_
      VIEW_STATS,
  VIEW_N = VIEW_STATS + STAT_N
};
#define VIEW_BIT(field) ((uint64_t)1 << (field))
#define VIEW_TEXTS_N    (VIEW_STATS - VIEW_id)
#define VIEW_TEXT_MAX   256

/* Fixed places on the generation's Lua stack; a call pushes copies and leaves the stack as it was. */
enum {
  STACK_ON_ERROR = 1,
  STACK_CALLBACKS, /* one per enum callback */
  STACK_STATE = STACK_CALLBACKS + CALLBACK_N,
  STACK_REQUEST,
  STACK_POOL,
  STACK_RECOVER,
  STACK_POOL_KEY, /* from here on only with MODE_TABLES */
  STACK_STATES,
  STACK_CLASSES,
  STACK_TEXTS,                               /* columns by slot, from VIEW_id on */
  STACK_FIELDS = STACK_TEXTS + VIEW_TEXTS_N, /* names, one per enum view_field */
  STACK_PROVIDERS = STACK_FIELDS + VIEW_N    /* tables by slot, from 0 */
};

/* What picks need to know of the candidates shown last, by place. Load: in flight x per_request + base. */
struct pick_facts {
  bool is_known, is_even; /* even: the weights are all alike */
  double total, max_share;
  double per_total;                  /* of the weights; of the candidates when all weights are 0 */
  double sums[PLAN_PROVIDERS_MAX];   /* of the weights up to here */
  double shares[PLAN_PROVIDERS_MAX]; /* the weight, 1 for weight 0 */
  double per_request[PLAN_PROVIDERS_MAX];
  double base[PLAN_PROVIDERS_MAX];     /* for weight 0: behind everybody else */
  double per_wait[PLAN_PROVIDERS_MAX]; /* per_request; infinite for weight 0, unless all have that */
  double price_in[PLAN_PROVIDERS_MAX], price_out[PLAN_PROVIDERS_MAX];
  uint32_t seeds[PLAN_PROVIDERS_MAX];    /* of rendezvous hashing */
  uint16_t by_tier[PLAN_PROVIDERS_MAX];  /* places by priority, */
  uint16_t tier_end[PLAN_PROVIDERS_MAX]; /* and where the tier ends that begins here */
};

struct generation {
  struct plan *plan; /* first, see generation_plan() */
  lua_State *L;      /* NULL once dead */
  struct guard_slot *slot;
  enum generation_mode mode;
  bool is_ours;         /* a strategy of the program */
  bool has_prefix_hash; /* of requests, because the strategy may look at it */
  bool is_direct;       /* select is called with its arguments, not through a closure */
  bool is_quiet;        /* a dry run: no log lines */
  uint32_t phase;       /* atomic */
  unsigned worker;
  unsigned users;

  struct lb_call call;
  const uint32_t **loads; /* by slot: where in_flight is counted */

  unsigned n_shown;
  uint16_t shown[PLAN_PROVIDERS_MAX]; /* slots of the candidates, as the pool shows them */
  struct shown_load {
    const uint32_t *now;             /* where it is counted */
    uint32_t *told;                  /* what scripts see */
  } shown_loads[PLAN_PROVIDERS_MAX]; /* likewise */
  struct pick_facts facts;
  int top; /* of the Lua stack between calls */
  const double **averages;
  uint16_t *by_priority; /* slots, those with the lowest first */
  double *currents;      /* by slot: of smooth weighted round robin */
  uint32_t *seeds;       /* by slot: of rendezvous hashing */

  /* Views as tables. What call.providers, call.pool.key and `shown` say is what the tables hold. */
  uint64_t present; /* bits of enum view_field: what the tables have */
  uint32_t kept;  /* bits of enum stat: fields that the script has asked for, kept up to date from then on */
  uint64_t *told; /* by slot and enum stat: their bits as written last */
  uint16_t subject; /* slot of the provider shown alone; PLAN_PROVIDERS_MAX: none */
  uint64_t
      watched; /* bits of enum view_field: looked at after each call; all of them once one was overwritten */
  uint32_t check_in, n_checks;
  int lines[VIEW_N]; /* where the script's text assigns to a field of that name; 0: nowhere */

  struct strategy_block stats;
  uint64_t last_fault_at[CALLBACK_N]; /* number of the call */
  unsigned in_row[CALLBACK_N];
  uint64_t window_start;
  unsigned window_faults;
  generation_trouble_fn *on_trouble;
  void *trouble_context;
  struct log_limit limit;
  pthread_mutex_t error_lock;
  char last_error[SCRIPT_ERROR_MAX]; /* under the lock */

  bool has[CALLBACK_N];
  const char *what[CALLBACK_N]; /* "select" or "score", … */
  int line[CALLBACK_N];
  char *name;
  char *file;       /* as error texts name it */
  char full_at[80]; /* "file:line" where memory ran out last; empty: not known */
  bool is_full;     /* memory ran out in compiled code */
  struct heap heap;
};

_Static_assert(PLAN_PROVIDERS_MAX <= ARRAY_LEN(((struct lb_call *)0)->order), "a pool holds every provider");
_Static_assert(PLAN_PROVIDERS_MAX <= ARRAY_LEN(((struct lb_call *)0)->scores), "scores for all");
#define AVERAGE_IS_AT_(member, place)                                                                        \
  _Static_assert(offsetof(struct provider, member) ==                                                        \
                     offsetof(struct provider, latency_ms) + (place) * sizeof(double),                       \
                 #member " is where scripts look for it")
AVERAGE_IS_AT_(ttft_ms, LB_TTFT_MS);
AVERAGE_IS_AT_(tpot_ms, LB_TPOT_MS);
AVERAGE_IS_AT_(peak_ttft_ms, LB_PEAK_TTFT_MS);
AVERAGE_IS_AT_(error_rate, LB_ERROR_RATE);
AVERAGE_IS_AT_(throttle_rate, LB_THROTTLE_RATE);
#undef AVERAGE_IS_AT_
_Static_assert(STAT_N <= 32 && VIEW_N <= 64, "a bit for each");
_Static_assert(sizeof(enum provider_state) == sizeof(uint32_t), "read as the others");

extern const struct lb_request REQUEST_NONE;

/* Whether the pool holds exactly these already. */
static inline bool generation_shows(const struct generation *g, const uint16_t *candidates, unsigned n) {
  return n == g->n_shown && g->call.pool.key && memcmp(candidates, g->shown, n * sizeof *candidates) == 0;
}

static inline void generation_note_place(struct generation *g, unsigned place, unsigned slot) {
  g->shown[place] = (uint16_t)slot;
  g->shown_loads[place] = (struct shown_load){g->loads[slot], &g->call.providers[slot].in_flight};
}

/* As generation_new(), in a mode; `is_quiet` for dry runs, which belong between abi_begin_trial() and abi_end_trial(). */
struct generation *generation_new_as(struct plan *plan, unsigned worker, const char *previous,
                                     enum generation_mode mode, bool is_quiet, char err[SCRIPT_ERROR_MAX]);
/* In us, see LOAD_BUDGET_CALLS. */
uint32_t generation_load_budget(const struct generation *g);

/* ---- fault.c ---- */

/* Lua's message handler: whatever was thrown becomes a text that names a line of the script. */
int fault_on_error(lua_State *L);
/* The heap's: notes where memory ran out, and leaves compiled code behind. */
void fault_on_full(struct heap *h);
/* What a script is told that ran out of memory, with the place when it is known. */
const char *fault_memory_text(struct generation *g, char out[MEMORY_TEXT_MAX]);
/* "file:line: callback: what", or "file:line: what" without a callback. `line` for a text without a place. */
void fault_compose(const struct generation *g, char full[SCRIPT_ERROR_MAX], const char *callback, int line,
                   const char *text);
/* Counts a failure, remembers and tells it. `text` may lack the place. */
void fault_note(struct generation *g, enum callback which, enum script_fault fault, const char *text);
/* Its compiled code was left behind: nothing touches the state any more. */
void fault_leave_behind(struct generation *g, enum callback which);

/* ---- decide.c ---- */

struct decision;
/* What decide_select() asks the script, also with n 0. False when it failed, which is then noted. */
bool decide_ask(struct generation *g, struct decision *out, const struct lb_request *req,
                const uint16_t *candidates, unsigned n);

/* 64 bits of the chance that lb_abi_random() takes from. */
uint64_t abi_random_bits(void);
/* enum lb_health of an enum provider_state. */
uint32_t abi_state(uint32_t provider_state);

/* ---- pick.c ---- */

/* Before the first pick. */
void pick_prepare(void);
/* 32 bits that are the provider's own, the same in every process. */
uint32_t pick_seed(const char *id);

/* ---- views.c: views as tables ---- */

/* Where the names of states and classes stand, by number, on the stack of the caller. */
struct view_names {
  int states, classes;
};

/* The pool holds exactly these; what has changed since the last call is written. */
void views_show_pool(struct generation *g, const uint16_t *candidates, unsigned n);
/* Brings one provider up to date. */
void views_show_provider(struct generation *g, unsigned slot);
/* Everything anew: what the configuration says has changed, which only a trial does. */
void views_write_all(struct generation *g);
/* Pushes a field that the tables lack, and has them hold it from now on if that can be; `providers` are the tables. */
void views_answer(lua_State *L, struct generation *g, unsigned slot, enum stat which,
                  const struct view_names *names, int providers);
/* After a call: whether the script has written to what it was shown. That is put right, and `out` says what it was. */
bool views_are_intact(struct generation *g, char out[VIEW_TEXT_MAX]);
bool views_are_intact_after_load(struct generation *g, char out[VIEW_TEXT_MAX]);
/* Pushes the names of enum view_field. */
void views_push_names(lua_State *L);
/* Takes from the table on top in which lines the script assigns to which fields. */
void views_take_lines(lua_State *L, struct generation *g);
const char *views_field_name(enum view_field field);

/* ---- views_read.c ---- */

/* Pushes a table of functions for the runtime: those of lb.*, and what stands behind the views' fields. */
void views_push_api(lua_State *L, struct generation *g);

#endif
