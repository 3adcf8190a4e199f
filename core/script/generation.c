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

/* ---- memory and time ---- */

static void *limited_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  struct generation *g = ud;
  if (new_size == 0) {
    g->memory -= old_size;
    free(ptr);
    return NULL;
  }
  if (new_size > old_size && g->memory + (new_size - old_size) > GENERATION_MEMORY_MAX) return NULL;
  void *p = realloc(ptr, new_size);
  if (p) g->memory += new_size - old_size;
  return p;
}

static void on_stride(lua_State *L, lua_Debug *ar);

static void set_stride(struct generation *g, int stride) {
  (void)lua_sethook(g->L, stride ? on_stride : NULL, stride ? LUA_MASKCOUNT : 0, stride);
}

static void on_stride(lua_State *L, lua_Debug *ar) {
  void *ud;
  (void)lua_getallocf(L, &ud);
  struct generation *g = ud;
  if (!g->is_over_budget) {
    if (g->looks_left > 0) {
      g->looks_left--;
      return;
    }
    /* A pcall in the script may catch this error; then the next instruction raises it again. */
    g->is_over_budget = true;
    set_stride(g, 1);
  }
  (void)lua_getinfo(L, "Sl", ar);
  lua_pushfstring(L, "%s:%d: the script takes too long and was stopped", ar->short_src, ar->currentline);
  (void)lua_error(L);
}

void generation_arm(struct generation *g, unsigned looks) {
  g->looks_left = looks;
}

void generation_disarm(struct generation *g) {
  if (LIKELY(!g->is_over_budget)) return;
  g->is_over_budget = false;
  set_stride(g, GUARD_STRIDE);
}

/* ---- errors ---- */

bool generation_names_line(const char *text) {
  const char *colon = strchr(text, ':');
  while (colon) {
    if (colon[1] >= '0' && colon[1] <= '9') return true;
    colon = strchr(colon + 1, ':');
  }
  return false;
}

/* Message handler: whatever was thrown becomes a text that names a line of the script. */
static int on_error(lua_State *L) {
  const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tostring(L, 1) : NULL;
  if (text && generation_names_line(text)) return 1;
  if (!text) text = lua_pushfstring(L, "the script threw a %s value", luaL_typename(L, 1));
  lua_Debug ar;
  for (int level = 1; lua_getstack(L, level, &ar); level++) {
    if (!lua_getinfo(L, "Sl", &ar) || ar.currentline < 0 || ar.source[0] != '@') continue;
    lua_pushfstring(L, "%s:%d: %s", ar.short_src, ar.currentline, text);
    return 1;
  }
  lua_pushstring(L, text);
  return 1;
}

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

static void push_chunk(lua_State *L, const char *name, const char *chunk_name) {
  struct span text = embedded_get(name);
  if (!text.ptr) (void)luaL_error(L, "%s is missing from the program", name);
  if (luaL_loadbufferx(L, text.ptr, text.len, chunk_name, "t") != 0) (void)lua_error(L);
}

/* Runs a file of the runtime; its result becomes a field of the table on top. */
static void run_module(lua_State *L, const char *field, const char *name, const char *chunk_name) {
  push_chunk(L, name, chunk_name);
  lua_call(L, 0, 1);
  lua_setfield(L, -2, field);
}

static struct span strategy_source(const struct plan *plan) {
  if (plan->strategy_source.ptr) return plan->strategy_source;
  char name[128];
  int n = snprintf(name, sizeof name, "strategies/%s.lua", plan->strategy_name ? plan->strategy_name : "");
  return n > 0 && (size_t)n < sizeof name ? embedded_get(name) : SPAN_NONE;
}

static int get_int_field(lua_State *L, int table, const char *name) {
  lua_getfield(L, table, name);
  int n = (int)lua_tointeger(L, -1);
  lua_pop(L, 1);
  return n;
}

/* Pushes the loaded strategy's entry points: select, retry, observe (nil for what it leaves to the defaults).
 */
static int load_protected(lua_State *L) {
  struct generation *g = lua_touserdata(L, 1);
  const struct plan *plan = g->plan;
  lua_settop(L, 0);
  luaL_openlibs(L);
  /* Only interpreted code can be interrupted, so what runs at load is never compiled. Opening the libraries
   * has switched the compiler on. */
  if (!luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF))
    return luaL_error(L, "the compiler cannot be switched off");

  lua_newtable(L);
  run_module(L, "sandbox", "scripts/runtime/sandbox.lua", "=sandbox");
  run_module(L, "lb", "scripts/runtime/lb.lua", "=lb");
  run_module(L, "locate", "scripts/runtime/locate.lua", "=locate");
  push_embedded(L, "core/script/abi_decl.h");
  lua_setfield(L, 1, "cdef");
  push_sizes(L);
  lua_setfield(L, 1, "sizes");
  push_size(L, "abi_major", LB_ABI_MAJOR);
  push_size(L, "abi_minor", LB_ABI_MINOR);
  lua_pushlightuserdata(L, &g->call);
  lua_setfield(L, 1, "call");
  push_entries(L, plan);
  lua_setfield(L, 1, "entries");
  struct span source = strategy_source(plan);
  if (!source.ptr) return luaL_error(L, "%s:0: there is no strategy of this name", g->file);
  lua_pushlstring(L, source.ptr, source.len);
  lua_setfield(L, 1, "source");
  push_text(L, "file", g->file);
  push_text(L, "options", plan->strategy_options ? plan->strategy_options : "return {}");

  push_chunk(L, "scripts/runtime/runtime.lua", "=runtime");
  lua_insert(L, 1);
  lua_call(L, 1, 1);

  lua_getfield(L, 1, "name");
  if (lua_isstring(L, -1)) g->name = x_strdup(lua_tostring(L, -1));
  lua_getfield(L, 1, "is_score");
  g->what[CALLBACK_SELECT] = lua_toboolean(L, -1) ? "score" : "select";
  g->line[CALLBACK_SELECT] = get_int_field(L, 1, "select_line");
  g->line[CALLBACK_RETRY] = get_int_field(L, 1, "retry_line");
  g->line[CALLBACK_OBSERVE] = get_int_field(L, 1, "observe_line");
  lua_getfield(L, 1, "select");
  lua_getfield(L, 1, "retry");
  lua_getfield(L, 1, "observe");
  return 3;
}

static bool load(struct generation *g, char err[SCRIPT_ERROR_MAX]) {
  lua_State *L = g->L;
  lua_pushcfunction(L, on_error);
  lua_pushcfunction(L, load_protected);
  lua_pushlightuserdata(L, g);
  set_stride(g, GUARD_STRIDE);
  generation_arm(g, GUARD_LOAD);
  int status = lua_pcall(L, 1, 3, STACK_ON_ERROR);
  generation_disarm(g);
  if (status != 0) {
    const char *text = "the script could not be loaded";
    if (status == LUA_ERRMEM)
      text = MEMORY_TEXT;
    else if (lua_type(L, -1) == LUA_TSTRING)
      text = lua_tostring(L, -1);
    bool is_placed = generation_names_line(text);
    (void)snprintf(err, SCRIPT_ERROR_MAX, "%s%s%s", is_placed ? "" : g->file, is_placed ? "" : ":1: ", text);
    return false;
  }
  for (int i = 0; i <= CALLBACK_OBSERVE; i++)
    g->has[i] = lua_isfunction(L, STACK_SELECT + i);
  if (!g->is_guarded) {
    set_stride(g, 0);
    (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_ON);
  }
  return true;
}

/* ---- life ---- */

static void make_views(struct generation *g) {
  const struct plan *plan = g->plan;
  size_t n = plan->n_entries ? plan->n_entries : 1;
  g->call.request = &REQUEST_NONE;
  g->call.providers = x_calloc(n, sizeof *g->call.providers);
  g->call.stats = x_calloc(n, sizeof *g->call.stats);
  g->call.serial = 1;
  g->call.pool.n = plan->n_entries;
  for (unsigned i = 0; i < plan->n_entries; i++) {
    struct lb_provider *p = &g->call.providers[i];
    struct lb_stats *s = &g->call.stats[i];
    /* At init the pool holds everyone. */
    p->index = p->slot = i + 1;
    p->weight = plan->entries[i].weight;
    p->priority = plan->entries[i].priority;
    s->price_in = s->price_out = s->balance = s->runway_s = s->token_expires_s = NAN;
    g->call.order[i] = (uint16_t)(i + 1);
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

struct generation *generation_new(struct plan *plan, unsigned worker, const char *previous,
                                  char err[SCRIPT_ERROR_MAX]) {
  (void)previous;
  struct generation *g = x_calloc(1, sizeof *g);
  g->plan = plan_ref(plan);
  g->worker = worker;
  g->is_guarded = plan->strategy_path != NULL;
  g->what[CALLBACK_SELECT] = "select";
  g->what[CALLBACK_RETRY] = "retry";
  g->what[CALLBACK_OBSERVE] = "observe";
  g->file = shown_file(plan);
  make_views(g);
  err[0] = '\0';
  g->L = lua_newstate(limited_alloc, g);
  if (!g->L) (void)snprintf(err, SCRIPT_ERROR_MAX, "%s:1: no memory for a Lua state", g->file);
  if (!g->L || !load(g, err)) {
    generation_free(g);
    return NULL;
  }
  if (!g->name) g->name = x_strdup(g->file);
  return g;
}

void generation_free(struct generation *g) {
  if (!g) return;
  if (g->L) lua_close(g->L);
  free(g->call.providers);
  free(g->call.stats);
  free(g->name);
  free(g->file);
  plan_unref(&g->plan);
  free(g);
}

void generation_enter(struct generation *g) {
  g->users++;
}

bool generation_leave(struct generation *g) {
  REQUIRE(g->users > 0);
  return --g->users == 0;
}

const char *generation_strategy_name(const struct generation *g) {
  return g->name;
}

uint64_t generation_errors(const struct generation *g) {
  return __atomic_load_n(&g->errors, __ATOMIC_RELAXED);
}

void generation_bind(struct generation *g) {
  (void)g;
}

bool generation_export(struct generation *g, struct buf *out) {
  (void)g;
  (void)out;
  return false;
}

bool generation_implements(const struct generation *g, enum callback c) {
  return g->has[c];
}

enum generation_phase generation_phase(const struct generation *g) {
  (void)g;
  return GENERATION_SERVING;
}

void generation_last_error(const struct generation *g, char out[SCRIPT_ERROR_MAX]) {
  (void)g;
  out[0] = '\0';
}

void generation_on_trouble(struct generation *g, generation_trouble_fn *fn, void *context) {
  (void)g;
  (void)fn;
  (void)context;
}
