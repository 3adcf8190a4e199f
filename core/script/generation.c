/*
 * generation: makes the Lua state of one strategy, lends it the runtime and the views, loads the script under
 * a budget, and takes it down.
 *
 * Thread: its worker's loop.   Owns: lua_State, views.   Holds: a reference on its plan.
 * Invariant: outside a protected call nothing is done with the state that may allocate, since a state that is
 * out of memory may only be closed or entered again.
 */
#include "script/generation.h"

#include "base/base.h"
#include "base/embedded.h"
#include "script/chunk.h"
#include "script/generation_private.h"

#include <lauxlib.h>
#include <luajit.h>
#include <lualib.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

const struct lb_request REQUEST_NONE = {.max_tokens = (double)NAN};

/* Longer chunk names are cut by Lua, from the left. */
#define CHUNK_NAME_MAX 56

/* ---- load ---- */

static void push_text(lua_State *L, const char *name, const char *value) {
  lua_pushstring(L, value ? value : "");
  lua_setfield(L, -2, name);
}

/* The texts of each provider; numbers reach Lua through the views. */
static void push_entries(lua_State *L, const struct plan *plan) {
  lua_createtable(L, (int)plan->n_entries, 0);
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    bool is_onchain = e->provider->kind == PROVIDER_ONCHAIN;
    lua_createtable(L, 0, 5);
    push_text(L, "id", e->provider->id);
    push_text(L, "address", is_onchain ? e->provider->id : "");
    push_text(L, "kind", is_onchain ? "onchain" : "direct");
    push_text(L, "model", e->model);
    lua_newtable(L);
    for (char **tag = e->tags; tag && *tag; tag++) {
      const char *equals = strchr(*tag, '=');
      if (equals) {
        lua_pushlstring(L, *tag, (size_t)(equals - *tag));
        lua_pushstring(L, equals + 1);
      } else {
        lua_pushstring(L, *tag);
        lua_pushboolean(L, 1);
      }
      lua_rawset(L, -3);
    }
    lua_setfield(L, -2, "tags");
    lua_rawseti(L, -2, (int)i + 1);
  }
}

static void push_size(lua_State *L, const char *name, size_t size) {
  lua_pushinteger(L, (lua_Integer)size);
  lua_setfield(L, -2, name);
}

static void push_sizes(lua_State *L) {
  lua_newtable(L);
  push_size(L, "lb_text", sizeof(struct lb_text));
  push_size(L, "lb_provider", sizeof(struct lb_provider));
  push_size(L, "lb_stats", sizeof(struct lb_stats));
  push_size(L, "lb_request", sizeof(struct lb_request));
  push_size(L, "lb_outcome", sizeof(struct lb_outcome));
  push_size(L, "lb_pool", sizeof(struct lb_pool));
  push_size(L, "lb_request_view", sizeof(struct lb_request_view));
  push_size(L, "lb_call", sizeof(struct lb_call));
}

static void push_embedded(lua_State *L, const char *name) {
  struct span text = embedded_get(name);
  if (!text.ptr) (void)luaL_error(L, "%s is missing from the program", name);
  lua_pushlstring(L, text.ptr, text.len);
}

/* Runs a file of the runtime; its result becomes a field of the table on top. */
static void run_module(lua_State *L, const char *field, const char *name, const char *chunk_name) {
  chunk_push(L, name, chunk_name);
  lua_call(L, 0, 1);
  lua_setfield(L, -2, field);
}

static struct span strategy_source(const struct plan *plan) {
  if (plan->strategy_source.ptr) return plan->strategy_source;
  char name[128];
  int n = snprintf(name, sizeof name, "strategies/%s.lua", plan->strategy_name ? plan->strategy_name : "");
  return n > 0 && (size_t)n < sizeof name ? embedded_get(name) : SPAN_NONE;
}

static void push_host(lua_State *L, struct generation *g) {
  lua_newtable(L);
  run_module(L, "sandbox", "scripts/runtime/sandbox.lua", "=sandbox");
  run_module(L, "lb", "scripts/runtime/lb.lua", "=lb");
  run_module(L, "locate", "scripts/runtime/locate.lua", "=locate");
  run_module(L, "bytecode", "scripts/runtime/bytecode.lua", "=bytecode");
  run_module(L, "handover", "scripts/runtime/handover.lua", "=handover");
  run_module(L, "strategy_checks", "scripts/runtime/strategy_checks.lua", "=strategy_checks");
  push_embedded(L, "core/script/abi_decl.h");
  lua_setfield(L, -2, "cdef");
  push_sizes(L);
  lua_setfield(L, -2, "sizes");
  push_size(L, "abi_major", LB_ABI_MAJOR);
  push_size(L, "abi_minor", LB_ABI_MINOR);
  lua_pushlightuserdata(L, &g->call);
  lua_setfield(L, -2, "call");
  push_entries(L, g->plan);
  lua_setfield(L, -2, "entries");
  lua_pushboolean(L, g->mode == MODE_TABLES);
  lua_setfield(L, -2, "is_tables");
  if (g->mode != MODE_FFI) {
    views_push_api(L, g);
    lua_setfield(L, -2, "api");
  }
  push_text(L, "file", g->file);
  push_text(L, "options", g->plan->strategy_options ? g->plan->strategy_options : "return {}");
  if (g->plan->strategy_options_at) push_text(L, "options_at", g->plan->strategy_options_at);
}

struct loading {
  struct generation *g;
  const char *previous;
};

static void push_tables(lua_State *L, struct generation *g) {
  lua_pushliteral(L, "key");
  lua_getfield(L, 1, "states");
  lua_getfield(L, 1, "classes");
  for (int i = 0; i < VIEW_TEXTS_N; i++) {
    lua_getfield(L, 1, "texts");
    lua_getfield(L, -1, views_field_name(VIEW_id + i));
    lua_remove(L, -2);
  }
  views_push_names(L);
  lua_getfield(L, 1, "providers");
  for (unsigned i = 0; i < g->plan->n_entries; i++)
    lua_rawgeti(L, STACK_PROVIDERS, (int)i + 1);
  lua_remove(L, STACK_PROVIDERS);
  lua_getfield(L, 1, "assigned");
  views_take_lines(L, g);
  lua_pop(L, 1);
}

/* Leaves what enum STACK_… lists, from STACK_CALLBACKS on. */
static void push_fixed(lua_State *L, struct generation *g) {
  lua_getfield(L, 1, "callbacks");
  for (int i = 0; i < CALLBACK_N; i++)
    lua_getfield(L, 2, callback_name(i));
  lua_remove(L, 2);
  lua_getfield(L, 1, "state");
  lua_getfield(L, 1, "request");
  lua_getfield(L, 1, "pool");
  lua_getfield(L, 1, "recover");
  for (int i = 0; i < CALLBACK_N; i++)
    g->has[i] = lua_isfunction(L, STACK_CALLBACKS + i);
  if (g->mode == MODE_TABLES) push_tables(L, g);
}

static void take_lines(lua_State *L, struct generation *g) {
  lua_getfield(L, 1, "lines");
  for (int i = 0; i < CALLBACK_N; i++) {
    lua_getfield(L, -1, callback_name(i));
    g->line[i] = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static int load_protected(lua_State *L) {
  struct loading *loading = lua_touserdata(L, 1);
  struct generation *g = loading->g;
  lua_settop(L, 0);
  luaL_checkstack(L, STACK_PROVIDERS + PLAN_PROVIDERS_MAX + LUA_MINSTACK, "views");
  luaL_openlibs(L);
  /* Only interpreted code can be interrupted, so what runs at load is never compiled. Opening the libraries
   * has switched the compiler on. */
  if (!luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF))
    return luaL_error(L, "the compiler cannot be switched off");

  struct span source = strategy_source(g->plan);
  if (!source.ptr) return luaL_error(L, "%s:0: there is no strategy of this name", g->file);
  push_host(L, g);
  lua_pushlstring(L, source.ptr, source.len);
  lua_setfield(L, 1, "source");
  if (loading->previous) push_text(L, "previous", loading->previous);
  chunk_push(L, "scripts/runtime/runtime.lua", "=runtime");
  lua_insert(L, 1);
  lua_call(L, 1, 1);

  lua_getfield(L, 1, "name");
  if (lua_isstring(L, -1)) g->name = x_strdup(lua_tostring(L, -1));
  lua_getfield(L, 1, "is_score");
  if (lua_toboolean(L, -1)) g->what[CALLBACK_SELECT] = "score";
  lua_getfield(L, 1, "is_direct");
  g->is_direct = lua_toboolean(L, -1);
  lua_settop(L, 1);
  take_lines(L, g);
  push_fixed(L, g);
  lua_gc(L, LUA_GCCOLLECT, 0);
  g->top = lua_gettop(L);
  return g->top - STACK_CALLBACKS + 1;
}

uint32_t generation_load_budget(const struct generation *g) {
  return GUARD_PATIENCE * LOAD_BUDGET_CALLS * g->plan->settings.call_budget_us;
}

/* Why it was not loaded, "file:line: what". */
static void tell_why(struct generation *g, int status, char err[SCRIPT_ERROR_MAX]) {
  char full[MEMORY_TEXT_MAX];
  const char *text = "the script could not be loaded";
  if (status == LUA_ERRMEM)
    text = fault_memory_text(g, full);
  else if (lua_type(g->L, -1) == LUA_TSTRING)
    text = lua_tostring(g->L, -1);
  fault_compose(g, err, "", 1, text);
}

/* What init did to the views; through references it could not. */
static bool are_views_intact(struct generation *g, char err[SCRIPT_ERROR_MAX]) {
  char text[VIEW_TEXT_MAX];
  if (g->mode != MODE_TABLES || views_are_intact_after_load(g, text)) return true;
  fault_compose(g, err, "", g->line[CALLBACK_INIT], text);
  return false;
}

static bool load(struct generation *g, const char *previous, char err[SCRIPT_ERROR_MAX]) {
  lua_State *L = g->L;
  struct loading loading = {g, previous};
  lua_pushcfunction(L, fault_on_error);
  lua_pushcfunction(L, load_protected);
  lua_pushlightuserdata(L, &loading);
  int status = guard_call(g->slot, L, 1, LUA_MULTRET, STACK_ON_ERROR, generation_load_budget(g));
  if (status != 0) {
    tell_why(g, status, err);
    return false;
  }
  if (!are_views_intact(g, err)) return false;
  if (g->mode == MODE_FFI) {
    g->slot->is_compiled = guard_can_jump();
    if (g->is_ours) guard_trust(g->slot);
    (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
  }
  return true;
}

/* ---- life ---- */

/* Slots by priority; of the same in configuration order. */
static void sort_by_priority(struct generation *g) {
  const struct plan *plan = g->plan;
  for (unsigned i = 0; i < plan->n_entries; i++) {
    unsigned at = i;
    for (; at > 0 && plan->entries[g->by_priority[at - 1]].priority > plan->entries[i].priority; at--)
      g->by_priority[at] = g->by_priority[at - 1];
    g->by_priority[at] = (uint16_t)i;
  }
}

static void make_views(struct generation *g) {
  const struct plan *plan = g->plan;
  size_t n = plan->n_entries ? plan->n_entries : 1;
  g->call.request = &REQUEST_NONE;
  g->call.providers = x_calloc(n, sizeof *g->call.providers);
  g->call.stats = x_calloc(n, sizeof *g->call.stats);
  g->loads = x_calloc(n, sizeof *g->loads);
  g->averages = x_calloc(n, sizeof *g->averages);
  g->call.averages = g->averages;
  g->by_priority = x_calloc(n, sizeof *g->by_priority);
  sort_by_priority(g);
  g->currents = x_calloc(n, sizeof *g->currents);
  g->seeds = x_calloc(n, sizeof *g->seeds);
  g->told = x_calloc(n * STAT_N, sizeof *g->told);
  g->present = VIEW_BIT(VIEW_STATS) - 1;
  g->subject = PLAN_PROVIDERS_MAX;
  g->call.serial = 1;
  g->call.pool.n = plan->n_entries;
  g->n_shown = plan->n_entries;
  for (unsigned i = 0; i < plan->n_entries; i++) {
    struct lb_provider *p = &g->call.providers[i];
    struct lb_stats *s = &g->call.stats[i];
    g->loads[i] = &plan->entries[i].provider->in_flight;
    /* At init the pool holds everyone. */
    p->index = p->slot = i + 1;
    p->weight = plan->entries[i].weight;
    p->priority = plan->entries[i].priority;
    const struct plan_entry *e = &plan->entries[i];
    s->price_in = e->has_price ? e->price_in : NAN;
    s->price_out = e->has_price ? e->price_out : NAN;
    s->verifiable = record_is_verifiable(e->record);
    s->balance = s->runway_s = s->token_expires_s = NAN;
    g->call.order[i] = (uint16_t)(i + 1);
    generation_note_place(g, i, i);
    g->averages[i] = &e->provider->latency_ms;
    g->seeds[i] = pick_seed(e->provider->id);
  }
}

static char *shown_file(const struct plan *plan) {
  char text[160];
  const char *path = plan->strategy_path;
  if (!path) {
    (void)snprintf(text, sizeof text, "strategies/%s.lua", plan->strategy_name ? plan->strategy_name : "?");
    return x_strdup(text);
  }
  const char *slash = strrchr(path, '/');
  return x_strdup(strlen(path) > CHUNK_NAME_MAX && slash ? slash + 1 : path);
}

static bool has_own_strategy(const struct plan *plan) {
  return plan->strategy_path == NULL;
}

static enum generation_mode mode_of(const struct plan *plan) {
  return has_own_strategy(plan) || (plan->settings.guard_is_fast && guard_can_jump()) ? MODE_FFI
                                                                                      : MODE_TABLES;
}

struct generation *generation_new(struct plan *plan, unsigned worker, const char *previous,
                                  char err[SCRIPT_ERROR_MAX]) {
  return generation_new_as(plan, worker, previous, mode_of(plan), false, err);
}

struct generation *generation_new_as(struct plan *plan, unsigned worker, const char *previous,
                                     enum generation_mode mode, bool is_quiet, char err[SCRIPT_ERROR_MAX]) {
  struct generation *g = x_calloc(1, sizeof *g);
  g->plan = plan_ref(plan);
  g->worker = worker;
  g->mode = mode;
  g->is_quiet = is_quiet;
  g->is_ours = has_own_strategy(plan);
  struct span source = strategy_source(plan);
  g->has_prefix_hash = !g->is_ours || (source.len && span_find(source, SPAN("prefix_hash")));
  REQUIRE(pthread_mutex_init(&g->error_lock, NULL) == 0);
  for (int i = 0; i < CALLBACK_N; i++)
    g->what[i] = callback_name(i);
  g->file = shown_file(plan);
  pick_prepare();
  make_views(g);
  strategy_stats_join(plan->stats, &g->stats);
  heap_init(&g->heap, GENERATION_MEMORY_MAX);
  err[0] = '\0';
  g->L = lua_newstate(heap_realloc, &g->heap);
  if (g->L)
    g->slot = g->heap.slot = guard_take_slot(g->L, g->file);
  else
    (void)snprintf(err, SCRIPT_ERROR_MAX, "%s:1: no memory for a Lua state", g->file);
  g->heap.on_full = fault_on_full;
  if (!g->L || !load(g, previous, err)) {
    generation_free(g);
    return NULL;
  }
  if (!g->name) g->name = x_strdup(g->file);
  return g;
}

void generation_free(struct generation *g) {
  if (!g) return;
  guard_give_slot(g->slot);
  if (g->L) lua_close(g->L);
  heap_release(&g->heap);
  strategy_stats_leave(g->plan->stats, &g->stats);
  pthread_mutex_destroy(&g->error_lock);
  free(g->call.providers);
  free(g->call.stats);
  free(g->told);
  free(g->loads);
  free(g->averages);
  free(g->by_priority);
  free(g->currents);
  free(g->seeds);
  free(g->name);
  free(g->file);
  plan_unref(&g->plan);
  free(g);
}

void generation_bind(struct generation *g) {
  if (g->slot) guard_bind(g->slot);
}

void generation_enter(struct generation *g) {
  g->users++;
}

bool generation_leave(struct generation *g) {
  REQUIRE(g->users > 0);
  return --g->users == 0;
}

/* ---- questions ---- */

const char *generation_strategy_name(const struct generation *g) {
  return g->name;
}

bool generation_implements(const struct generation *g, enum callback c) {
  return g->has[c];
}

bool generation_is_ours(const struct generation *g) {
  return g->is_ours;
}

bool generation_has_prefix_hash(const struct generation *g) {
  return g->has_prefix_hash;
}

const char *generation_callback_name(const struct generation *g, enum callback c) {
  return g->what[c];
}

enum generation_phase generation_phase(const struct generation *g) {
  return __atomic_load_n(&g->phase, __ATOMIC_RELAXED);
}

uint64_t generation_errors(const struct generation *g) {
  uint64_t n = 0;
  for (unsigned i = 0; i < CALLBACK_N; i++)
    for (unsigned k = 0; k < FAULT_N; k++)
      n += __atomic_load_n(&g->stats.callbacks[i].faults[k], __ATOMIC_RELAXED);
  return n;
}

void generation_last_error(const struct generation *g, char out[SCRIPT_ERROR_MAX]) {
  pthread_mutex_t *error_lock = (pthread_mutex_t *)&g->error_lock;
  REQUIRE(pthread_mutex_lock(error_lock) == 0);
  memcpy(out, g->last_error, SCRIPT_ERROR_MAX);
  REQUIRE(pthread_mutex_unlock(error_lock) == 0);
}

void generation_on_trouble(struct generation *g, generation_trouble_fn *fn, void *context) {
  g->on_trouble = fn;
  g->trouble_context = context;
}
