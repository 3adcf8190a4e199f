/*
 * decide: fills the views, enters Lua, and believes nothing that comes back.
 *
 * Thread: the generation's.   Borrows: the request, during the call only.
 * Invariant: the Lua stack is the same before and after; between calls the runtime sees an empty request, so
 * a script that kept its views reads nothing of somebody else's.
 */
#include "script/decide.h"

#include "base/log.h"
#include "script/generation_private.h"

#include <lua.h>

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define RETRY_DELAY_MAX_MS 60000
#define NOT_AN_INDEX       UINT32_MAX

/* ---- the built-in choice ---- */

static double load_of(const struct plan_entry *e) {
  double running = __atomic_load_n(&e->provider->in_flight, __ATOMIC_RELAXED);
  /* Without weight: only when nobody else is there. */
  return e->weight > 0 ? running / e->weight : 1e12 + running;
}

unsigned decide_builtin(const struct plan *plan, const uint16_t *candidates, unsigned n, struct rng *rng) {
  unsigned best = candidates[0], ties = 1;
  double lowest = load_of(&plan->entries[best]);
  for (unsigned i = 1; i < n; i++) {
    double load = load_of(&plan->entries[candidates[i]]);
    if (load > lowest) continue;
    ties = load < lowest ? 1 : ties + 1;
    lowest = load;
    if (ties == 1 || rng_below(rng, ties) == 0) best = candidates[i];
  }
  return best;
}

/* ---- entering Lua ---- */

static void open_call(struct generation *g, const struct lb_request *req) {
  g->call.request = req;
  g->call.view.attempt = req->attempt;
  g->call.draws = g->call.has_chosen = 0;
  g->call.serial++;
}

static void close_call(struct generation *g) {
  g->call.request = &REQUEST_NONE;
  if (LIKELY(g->L != NULL)) lua_settop(g->L, g->top);
}

static uint64_t now_ns(void) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

SELDOM static void note_time(struct callback_stats *s, uint64_t start_ns) {
  uint64_t ns = now_ns() - start_ns;
  __atomic_store_n(&s->timed, s->timed + 1, __ATOMIC_RELAXED);
  __atomic_store_n(&s->total_ns, s->total_ns + ns, __ATOMIC_RELAXED);
  uint64_t *alike = &s->by_time[histogram_bucket(ns, STRATEGY_FIRST_NS)];
  __atomic_store_n(alike, *alike + 1, __ATOMIC_RELAXED);
  if (ns > s->max_ns) __atomic_store_n(&s->max_ns, ns, __ATOMIC_RELAXED);
}

SELDOM static void note_failure(struct generation *g, enum callback which, int status) {
  lua_State *L = g->L;
  if (status == GUARD_LEFT_BEHIND) {
    fault_leave_behind(g, which);
    return;
  }
  if (status == LUA_ERRMEM) {
    char text[MEMORY_TEXT_MAX];
    fault_note(g, which, FAULT_MEMORY, fault_memory_text(g, text));
    /* What filled the memory is garbage now, unless the script keeps it. */
    (void)lua_gc(L, LUA_GCCOLLECT, 0);
  } else if (status == 0) {
    /* A pcall in its last expression has swallowed the error. */
    fault_note(g, which, FAULT_TIMEOUT, "the script takes too long and was stopped");
  } else {
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "error without a text";
    fault_note(g, which, g->slot->has_fired ? FAULT_TIMEOUT : FAULT_THROW, text);
  }
  lua_settop(L, g->top);
  lua_pushvalue(L, STACK_RECOVER);
  (void)lua_pcall(L, 0, 0, 0);
}

/* False when the script has written to its views, which is then noted. */
SELDOM static bool has_left_views(struct generation *g, enum callback which) {
  char text[VIEW_TEXT_MAX];
  if (LIKELY(views_are_intact(g, text))) return true;
  fault_note(g, which, FAULT_THROW, text);
  return false;
}

/* THE way into Lua. True with the results on the stack, false when the script failed, which is then noted. */
static bool enter(struct generation *g, enum callback which, int n_args, int n_results, uint32_t budget_us) {
  struct callback_stats *s = &g->stats.callbacks[which];
  bool is_timed = s->calls % STRATEGY_TIMED_EACH == 0;
  uint64_t start_ns = UNLIKELY(is_timed) ? now_ns() : 0;
  __atomic_store_n(&s->calls, s->calls + 1, __ATOMIC_RELAXED);
  int status = guard_call(g->slot, g->L, n_args, n_results, STACK_ON_ERROR, budget_us);
  if (UNLIKELY(is_timed)) note_time(s, start_ns);
  if (UNLIKELY(status != 0 || __atomic_load_n(&g->slot->has_fired, __ATOMIC_RELAXED))) {
    note_failure(g, which, status);
    return false;
  }
  if (LIKELY(g->mode != MODE_TABLES)) return true;
  return LIKELY(--g->check_in != 0 && !g->watched) || has_left_views(g, which);
}

static uint32_t call_budget(const struct generation *g) {
  return g->plan->settings.call_budget_us;
}

/* Benched or dead: nobody enters. */
static bool is_out(struct generation *g) {
  if (LIKELY(g->phase == GENERATION_SERVING)) return false;
  __atomic_store_n(&g->stats.skipped, g->stats.skipped + 1, __ATOMIC_RELAXED);
  return true;
}

/* ---- select ---- */

/* Other candidates than those of the call before. */
SELDOM static void show_references(struct generation *g, const uint16_t *candidates, unsigned n) {
  uint32_t key = n;
  for (unsigned i = 0; i < n; i++) {
    struct lb_provider *p = &g->call.providers[candidates[i]];
    p->index = i + 1;
    generation_note_place(g, i, candidates[i]);
    g->call.order[i] = (uint16_t)p->slot;
    key = (key ^ p->slot) * 0x9e3779b1u;
  }
  g->n_shown = n;
  g->facts.is_known = false;
  g->call.pool.n = n;
  g->call.pool.key = key;
}

static void fill_references(struct generation *g, const uint16_t *candidates, unsigned n) {
  if (UNLIKELY(!generation_shows(g, candidates, n))) show_references(g, candidates, n);
  for (unsigned i = 0; i < n; i++)
    *g->shown_loads[i].told = __atomic_load_n(g->shown_loads[i].now, __ATOMIC_RELAXED);
}

static void fill_pool(struct generation *g, const uint16_t *candidates, unsigned n) {
  if (g->mode == MODE_TABLES)
    views_show_pool(g, candidates, n);
  else
    fill_references(g, candidates, n);
}

/* As a position 1 … n, or NOT_AN_INDEX. */
static uint32_t to_index(double x, unsigned n) {
  if (!(x >= 1 && x <= n)) return NOT_AN_INDEX;
  uint32_t index = (uint32_t)x;
  return (double)index == x ? index : NOT_AN_INDEX;
}

/* The reason as it may stand in an error body: printable, bounded. */
static void copy_reason(char *out, size_t size, lua_State *L, int at) {
  size_t len = 0;
  const char *text = lua_type(L, at) == LUA_TSTRING ? lua_tolstring(L, at, &len) : "";
  if (len >= size) len = size - 1;
  for (size_t i = 0; i < len; i++)
    out[i] = text[i] >= 0x20 && text[i] < 0x7f ? text[i] : '?';
  out[len] = '\0';
}

/* An ordered list: what is no index, or there before, is left out. NULL, or what is wrong. */
static const char *take_list(struct decision *out, lua_State *L, int at, const uint16_t *candidates,
                             unsigned n) {
  struct slot_set seen = {{0}};
  size_t len = lua_objlen(L, at);
  /* Nobody needs to name a candidate more than a few times; a huge list is not walked to its end. */
  size_t limit = 4 * (size_t)n < len ? 4 * (size_t)n : len;
  for (size_t i = 1; i <= limit; i++) {
    lua_rawgeti(L, at, (int)i);
    uint32_t index = lua_type(L, -1) == LUA_TNUMBER ? to_index(lua_tonumber(L, -1), n) : NOT_AN_INDEX;
    lua_pop(L, 1);
    if (index == NOT_AN_INDEX || slot_has(&seen, index - 1)) continue;
    slot_add(&seen, index - 1);
    out->slots[out->n++] = candidates[index - 1];
  }
  out->is_plan = out->n > 0;
  return out->n || len == 0 ? NULL : "returned a list without one index of a candidate in it";
}

#define NOT_A_RESULT "must return an index (p.index of a provider p), a list of them, or nil"

static const char NO_INDEX[] = "returned a number that is no index of a candidate (1 to #pool)";

static const char *take_number(struct decision *out, double x, const uint16_t *candidates, unsigned n) {
  uint32_t index = to_index(x, n);
  if (index == NOT_AN_INDEX) return NO_INDEX;
  out->n = 1;
  out->slots[0] = candidates[index - 1];
  return NULL;
}

/* What is no number. */
SELDOM static const char *take_other(struct decision *out, lua_State *L, int at, const uint16_t *candidates,
                                     unsigned n) {
  switch (lua_type(L, at)) {
  case LUA_TNIL: copy_reason(out->reason, sizeof out->reason, L, at + 1); return NULL;
  case LUA_TTABLE:
    /* Views may be tables, too. */
    if (lua_getmetatable(L, at)) return NOT_A_RESULT;
    return take_list(out, L, at, candidates, n);
  default: return NOT_A_RESULT;
  }
}

static const char *take_result(struct generation *g, struct decision *out, const uint16_t *candidates,
                               unsigned n) {
  if (g->call.has_chosen) return take_number(out, g->call.chosen, candidates, n);
  int at = g->top + 1;
  if (LIKELY(lua_type(g->L, at) == LUA_TNUMBER))
    return take_number(out, lua_tonumber(g->L, at), candidates, n);
  return take_other(out, g->L, at, candidates, n);
}

SELDOM static void note_wrong_result(struct generation *g, const char *wrong) {
  char text[96];
  if (wrong == NO_INDEX) {
    double x = g->call.has_chosen ? g->call.chosen : lua_tonumber(g->L, g->top + 1);
    char number[32] = "NaN";
    if (!isnan(x)) (void)snprintf(number, sizeof number, "%.14g", x);
    (void)snprintf(text, sizeof text, "returned %s, which is no index of a candidate (1 to #pool)", number);
    wrong = text;
  }
  fault_note(g, CALLBACK_SELECT, FAULT_INVALID, wrong);
}

bool decide_ask(struct generation *g, struct decision *out, const struct lb_request *req,
                const uint16_t *candidates, unsigned n) {
  lua_State *L = g->L;
  open_call(g, req);
  fill_pool(g, candidates, n);
  lua_pushvalue(L, STACK_CALLBACKS + CALLBACK_SELECT);
  if (g->is_direct) {
    lua_pushvalue(L, STACK_STATE);
    lua_pushvalue(L, STACK_REQUEST);
    lua_pushvalue(L, STACK_POOL);
  }
  bool ok = enter(g, CALLBACK_SELECT, g->is_direct ? 3 : 0, 2, call_budget(g));
  if (LIKELY(ok)) {
    const char *wrong = take_result(g, out, candidates, n);
    if (UNLIKELY(wrong != NULL)) {
      note_wrong_result(g, wrong);
      ok = false;
    }
  }
  close_call(g);
  return ok;
}

void decide_select(struct generation *g, struct decision *out, const struct lb_request *req,
                   const uint16_t *candidates, unsigned n, struct rng *rng) {
  REQUIRE(n >= 1 && n <= PLAN_PROVIDERS_MAX);
  out->n = 0;
  out->is_plan = out->is_fallback = false;
  out->reason[0] = '\0';
  if (LIKELY(!is_out(g) && decide_ask(g, out, req, candidates, n))) return;
  out->n = 1;
  out->slots[0] = (uint16_t)decide_builtin(g->plan, candidates, n, rng);
  out->is_plan = false;
  out->is_fallback = true;
  out->reason[0] = '\0';
}

/* ---- retry and observe ---- */

static double or_nan(int64_t n) {
  return n < 0 ? (double)NAN : (double)n;
}

static void fill_provider(struct generation *g, unsigned slot) {
  if (g->mode == MODE_TABLES) {
    views_show_provider(g, slot);
    return;
  }
  struct lb_provider *p = &g->call.providers[slot];
  p->in_flight = __atomic_load_n(g->loads[slot], __ATOMIC_RELAXED);
}

static void fill_outcome(struct generation *g, const struct outcome *o) {
  g->call.outcome = (struct lb_outcome){
      .class_id = (uint32_t)o->class,
      .status = o->status,
      .retry_after_ms = o->retry_after_ms,
      .connect_ms = o->connect_ms,
      .ttft_ms = o->ttft_ms,
      .total_ms = o->total_ms,
      .tokens_in = or_nan(o->tokens_in),
      .tokens_out = or_nan(o->tokens_out),
      .committed = o->committed || o->class == OUTCOME_OK, /* what was held to its end goes out now */
  };
}

/* LB_DEFAULT when the script has nothing to say or says nonsense. */
static uint32_t ask_retry(struct generation *g, uint32_t *delay_ms, const struct lb_request *req,
                          const struct outcome *o) {
  lua_State *L = g->L;
  uint32_t verdict = LB_DEFAULT;
  open_call(g, req);
  fill_outcome(g, o);
  lua_pushvalue(L, STACK_CALLBACKS + CALLBACK_RETRY);
  if (enter(g, CALLBACK_RETRY, 0, 2, call_budget(g))) {
    int first = g->top + 1, second = g->top + 2;
    double said = lua_type(L, first) == LUA_TNUMBER ? lua_tonumber(L, first) : NAN;
    double delay = lua_type(L, second) == LUA_TNUMBER ? lua_tonumber(L, second) : NAN;
    bool is_delay = lua_isnil(L, second) || !isnan(delay);
    bool is_verdict = said == LB_DEFAULT || said == LB_NEXT || said == LB_SAME || said == LB_STOP;
    if ((is_verdict || lua_isnil(L, first)) && is_delay) {
      if (is_verdict) verdict = (uint32_t)said;
      if (delay > 0) *delay_ms = delay < RETRY_DELAY_MAX_MS ? (uint32_t)delay : RETRY_DELAY_MAX_MS;
    } else {
      fault_note(g, CALLBACK_RETRY, FAULT_INVALID,
                 "must return lb.NEXT, lb.SAME, lb.STOP, lb.DEFAULT or nil, and a delay in ms or nil");
    }
  }
  close_call(g);
  return verdict;
}

enum decide_verdict decide_retry(struct generation *g, uint32_t *delay_ms, const struct lb_request *req,
                                 unsigned slot, const struct outcome *o) {
  REQUIRE(slot < g->plan->n_entries);
  *delay_ms = 0;
  bool asks = g->has[CALLBACK_RETRY] && !is_out(g);
  switch (asks ? ask_retry(g, delay_ms, req, o) : LB_DEFAULT) {
  case LB_NEXT: return DECIDE_NEXT;
  case LB_SAME: return DECIDE_SAME;
  case LB_STOP: return DECIDE_STOP;
  default: return outcome_is_retryable(o->class) ? DECIDE_NEXT : DECIDE_STOP;
  }
}

void decide_observe(struct generation *g, const struct lb_request *req, unsigned slot,
                    const struct outcome *o) {
  REQUIRE(slot < g->plan->n_entries);
  if (!g->has[CALLBACK_OBSERVE] || is_out(g)) return;
  open_call(g, req);
  fill_provider(g, slot);
  fill_outcome(g, o);
  lua_pushvalue(g->L, STACK_CALLBACKS + CALLBACK_OBSERVE);
  lua_pushinteger(g->L, (lua_Integer)slot + 1);
  (void)enter(g, CALLBACK_OBSERVE, 1, 0, call_budget(g));
  close_call(g);
}

/* ---- health, tick, export ---- */

enum lb_health decide_health(struct generation *g, char reason[DECIDE_REASON_MAX], unsigned slot,
                             const struct evidence *e) {
  REQUIRE(slot < g->plan->n_entries);
  reason[0] = '\0';
  if (!g->has[CALLBACK_HEALTH] || is_out(g)) return LB_KEEP;
  lua_State *L = g->L;
  enum lb_health verdict = LB_KEEP;
  open_call(g, &REQUEST_NONE);
  fill_provider(g, slot);
  g->call.reason = (struct lb_text){e->reason, e->reason ? (uint32_t)strlen(e->reason) : 0, 0};
  lua_pushvalue(L, STACK_CALLBACKS + CALLBACK_HEALTH);
  lua_pushinteger(L, (lua_Integer)slot + 1);
  lua_pushboolean(L, e->is_probe);
  lua_pushboolean(L, e->ok);
  lua_pushinteger(L, e->status);
  lua_pushnumber(L, e->latency_ms);
  lua_pushnumber(L, e->attempts);
  lua_pushnumber(L, e->failures);
  if (enter(g, CALLBACK_HEALTH, 7, 2, call_budget(g))) {
    int first = g->top + 1;
    double said = lua_type(L, first) == LUA_TNUMBER ? lua_tonumber(L, first) : NAN;
    if (said == LB_KEEP || said == LB_UP || said == LB_DEGRADED || said == LB_DOWN)
      verdict = (enum lb_health)said;
    else if (!lua_isnil(L, first))
      fault_note(g, CALLBACK_HEALTH, FAULT_INVALID, "must return lb.UP, lb.DEGRADED, lb.DOWN or nil");
    if (verdict != LB_KEEP) copy_reason(reason, DECIDE_REASON_MAX, L, first + 1);
  }
  close_call(g);
  return verdict;
}

void decide_tick(struct generation *g) {
  if (!g->has[CALLBACK_TICK] || is_out(g)) return;
  uint16_t all[PLAN_PROVIDERS_MAX];
  for (unsigned i = 0; i < g->plan->n_entries; i++)
    all[i] = (uint16_t)i;
  open_call(g, &REQUEST_NONE);
  fill_pool(g, all, g->plan->n_entries);
  lua_pushvalue(g->L, STACK_CALLBACKS + CALLBACK_TICK);
  (void)enter(g, CALLBACK_TICK, 0, 0, call_budget(g));
  close_call(g);
}

bool generation_export(struct generation *g, struct buf *out) {
  if (!g->has[CALLBACK_EXPORT] || is_out(g)) return false;
  lua_State *L = g->L;
  bool has_data = false;
  open_call(g, &REQUEST_NONE);
  lua_pushvalue(L, STACK_CALLBACKS + CALLBACK_EXPORT);
  if (enter(g, CALLBACK_EXPORT, 0, 1, generation_load_budget(g)) && lua_type(L, -1) == LUA_TSTRING) {
    struct span text;
    text.ptr = lua_tolstring(L, -1, &text.len);
    has_data = text.len <= SCRIPT_EXPORT_MAX && buf_append_span(out, text) == 0;
  }
  close_call(g);
  return has_data;
}
