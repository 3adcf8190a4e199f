/*
 * The file runs in a Lua state of its own without I/O, made for one load, with a memory bound and a step budget.
 * scripts/runtime/scenario.lua checks what it returns, in the same state; this file copies the result.
 *
 * Owns: the state.   Invariant: no call into Lua happens outside lua_cpcall.
 */
#include "daemon/scenario.h"

#include "base/embedded.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define MEMORY_MAX     ((size_t)256 << 20)
#define STEPS_MAX      20000000L
#define STEPS_PER_HOOK 1000

/* ---- the built-in scenario ---- */

static const struct scenario_provider CHARACTERS[] = {
    {.id = "steady", .weight = 2, .priority = 10, .latency_ms = 400, .jitter = 0.3, .parallel = 32},
    {.id = "quick", .weight = 1, .priority = 20, .latency_ms = 150, .jitter = 0.4, .parallel = 4},
    {.id = "roomy", .weight = 3, .priority = 10, .latency_ms = 800, .jitter = 0.3, .parallel = 96},
    {.id = "spiky", .weight = 1, .priority = 30, .latency_ms = 300, .jitter = 1.5, .parallel = 16},
    {.id = "flaky",
     .weight = 1,
     .priority = 30,
     .latency_ms = 350,
     .jitter = 0.5,
     .parallel = 16,
     .error_rate = 0.08},
};

struct scenario *scenario_new(unsigned n) {
  struct scenario *s = x_calloc(1, sizeof *s);
  s->providers = x_calloc(n, sizeof *s->providers);
  s->n_providers = n;
  for (unsigned i = 0; i < n; i++) {
    struct scenario_provider *p = &s->providers[i];
    unsigned round = i / ARRAY_LEN(CHARACTERS);
    *p = CHARACTERS[i % ARRAY_LEN(CHARACTERS)];
    char id[32];
    (void)snprintf(id, sizeof id, round ? "%s-%u" : "%s", p->id, round + 1);
    p->id = x_strdup(id);
    p->tags = x_calloc(1, sizeof *p->tags);
    p->first_byte = 0.3;
    p->error_class = OUTCOME_SERVER;
    p->error_ms = 20;
    p->price_in = p->price_out = NAN;
  }
  s->skew = 1;
  s->max_retries = 3;
  s->health_interval_ms = 30000;
  return s;
}

/* What all of them answer in a second when none is full. */
static double capacity_per_s(const struct scenario *s) {
  double sum = 0;
  for (unsigned i = 0; i < s->n_providers; i++)
    sum += s->providers[i].parallel * 1000 / s->providers[i].latency_ms;
  return sum;
}

void scenario_seal(struct scenario *s) {
  if (s->n_kinds == 0) {
    s->kinds = x_calloc(1, sizeof *s->kinds);
    s->n_kinds = 1;
    s->kinds[0] = (struct scenario_kind){.share = 1,
                                         .head = x_strdup(""),
                                         .stream = 0.5,
                                         .tokens_in = 500,
                                         .tokens_out = 200,
                                         .max_tokens = NAN,
                                         .size = 1};
  }
  if (s->rate == 0 && s->clients == 0) {
    double half = capacity_per_s(s) / 2;
    if (half >= 10) half = floor(half);
    s->rate = half < 0.01 ? 0.01 : half > 1e6 ? 1e6 : half;
  }
  if (s->requests == 0 && s->duration_s == 0) s->requests = SCENARIO_REQUESTS_DEFAULT;
  if (s->workers == 0) s->workers = SCENARIO_WORKERS_DEFAULT;
}

void scenario_free(struct scenario *s) {
  if (!s) return;
  for (unsigned i = 0; i < s->n_providers; i++) {
    struct scenario_provider *p = &s->providers[i];
    for (char **tag = p->tags; tag && *tag; tag++)
      free(*tag);
    free(p->tags);
    free(p->id);
    free(p->model);
    free(p->down);
  }
  for (unsigned i = 0; i < s->n_kinds; i++) {
    free(s->kinds[i].model);
    free(s->kinds[i].head);
  }
  free(s->providers);
  free(s->kinds);
  for (unsigned i = 0; i < s->n_options; i++) {
    free(s->options[i].name);
    free(s->options[i].text);
  }
  free(s->options);
  free(s);
}

/* ---- the Lua state ---- */

struct load {
  const char *path;
  struct span text;
  size_t used_bytes;
  long steps;
  struct buf *problems;
  struct scenario *scenario;
};

static void *limited_alloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  struct load *load = ud;
  if (!ptr) old_size = 0;
  if (new_size == 0) {
    free(ptr);
    load->used_bytes -= old_size;
    return NULL;
  }
  if (new_size > old_size && new_size - old_size > MEMORY_MAX - load->used_bytes) return NULL;
  void *p = realloc(ptr, new_size);
  if (p) load->used_bytes += new_size - old_size;
  return p;
}

/* Stays armed at every instruction once the budget is used up, so that a pcall in the file cannot swallow it. */
static void on_steps(lua_State *L, lua_Debug *at) {
  void *ud;
  (void)lua_getallocf(L, &ud);
  struct load *load = ud;
  load->steps += STEPS_PER_HOOK;
  if (load->steps < STEPS_MAX) return;
  lua_sethook(L, on_steps, LUA_MASKCOUNT, 1);
  (void)lua_getinfo(L, "Sl", at);
  bool is_in_file = strcmp(at->short_src, "config") == 0;
  lua_pushfstring(L, "config:%d: it does not come to an end", is_in_file ? at->currentline : 1);
  lua_error(L);
}

static void push_embedded(lua_State *L, const char *name, const char *chunk) {
  struct span source = embedded_get(name);
  REQUIRE(source.ptr);
  if (luaL_loadbufferx(L, source.ptr, source.len, chunk, "t")) lua_error(L);
}

/* Another file of scripts/runtime, as a function. */
static int host_part(lua_State *L) {
  const char *part = luaL_checkstring(L, 1);
  push_embedded(L, lua_pushfstring(L, "scripts/runtime/%s.lua", part), lua_pushfstring(L, "=%s.lua", part));
  return 1;
}

static int host_env(lua_State *L) {
  lua_pushstring(L, getenv(luaL_checkstring(L, 1)));
  return 1;
}

/* Whether a made-up provider can end an attempt like this. */
static bool is_fault(enum outcome_class c) {
  return c != OUTCOME_OK && c != OUTCOME_CLIENT_CLOSED;
}

static void set_number(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

static void push_host(lua_State *L) {
  lua_newtable(L);
  lua_pushcfunction(L, host_part);
  lua_setfield(L, -2, "part");
  lua_pushcfunction(L, host_env);
  lua_setfield(L, -2, "env");
  lua_newtable(L);
  set_number(L, "providers", PLAN_PROVIDERS_MAX);
  set_number(L, "id", PROVIDER_ID_MAX);
  set_number(L, "model", MODEL_NAME_MAX);
  lua_setfield(L, -2, "limits");
  lua_newtable(L);
  int n = 0;
  for (int c = 0; c < OUTCOME_N; c++) {
    if (!is_fault((enum outcome_class)c)) continue;
    lua_pushstring(L, outcome_name((enum outcome_class)c));
    lua_rawseti(L, -2, ++n);
  }
  lua_setfield(L, -2, "classes");
}

/* ---- from the result to the struct; the table in question is on top of the stack ---- */

/* `missing` when it is absent. */
static double get_number(lua_State *L, const char *name, double missing) {
  lua_getfield(L, -1, name);
  double n = lua_isnil(L, -1) ? missing : lua_tonumber(L, -1);
  lua_pop(L, 1);
  return n;
}

/* NULL when absent. */
static char *copy_text(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const char *s = lua_tostring(L, -1);
  char *copy = s ? x_strdup(s) : NULL;
  lua_pop(L, 1);
  return copy;
}

/* Pushes a list and tells its length. */
static unsigned open_list(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  return lua_istable(L, -1) ? (unsigned)lua_objlen(L, -1) : 0;
}

static char **copy_texts(lua_State *L, const char *name) {
  unsigned n = open_list(L, name);
  char **list = x_calloc(n + 1, sizeof *list);
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    list[i] = x_strdup(lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return list;
}

static enum outcome_class class_of(const char *name) {
  for (int c = 0; c < OUTCOME_N; c++)
    if (strcmp(outcome_name((enum outcome_class)c), name) == 0) return (enum outcome_class)c;
  return OUTCOME_SERVER;
}

static void take_provider(lua_State *L, struct scenario_provider *p) {
  p->id = copy_text(L, "id");
  p->model = copy_text(L, "model");
  p->tags = copy_texts(L, "tags");
  p->weight = get_number(L, "weight", 1);
  p->priority = get_number(L, "priority", 50);
  p->latency_ms = get_number(L, "latencyMs", 400);
  p->jitter = get_number(L, "jitter", 0);
  p->first_byte = get_number(L, "firstByte", 0);
  p->parallel = get_number(L, "parallel", 1);
  p->error_rate = get_number(L, "errorRate", 0);
  p->error_ms = get_number(L, "errorMs", 0);
  p->retry_after_ms = get_number(L, "retryAfterMs", 0);
  p->price_in = get_number(L, "price_in", NAN);
  p->price_out = get_number(L, "price_out", NAN);
  lua_getfield(L, -1, "errorClass");
  p->error_class = class_of(lua_tostring(L, -1));
  lua_pop(L, 1);
  unsigned n = open_list(L, "down");
  p->down = x_calloc(n ? n : 1, sizeof *p->down);
  p->n_down = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    p->down[i] = (struct scenario_window){get_number(L, "from", 0), get_number(L, "to", 0)};
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_kind(lua_State *L, struct scenario_kind *k) {
  k->share = get_number(L, "share", 1);
  k->model = copy_text(L, "model");
  k->head = copy_text(L, "headers");
  k->stream = get_number(L, "stream", 0);
  k->tokens_in = get_number(L, "promptTokens", 0);
  k->tokens_out = get_number(L, "answerTokens", 1);
  k->max_tokens = get_number(L, "maxTokens", NAN);
  k->size = get_number(L, "size", 1);
}

static void take_load(lua_State *L, struct scenario *s) {
  lua_getfield(L, -1, "load");
  s->skew = 1;
  if (lua_istable(L, -1)) {
    s->rate = get_number(L, "rate", 0);
    s->clients = (unsigned)get_number(L, "clients", 0);
    s->think_ms = get_number(L, "thinkMs", 0);
    s->requests = (unsigned)get_number(L, "requests", 0);
    s->sessions = (unsigned)get_number(L, "sessions", 0);
    s->skew = get_number(L, "skew", 1);
    unsigned n = open_list(L, "mix");
    s->kinds = n ? x_calloc(n, sizeof *s->kinds) : NULL;
    s->n_kinds = n;
    for (unsigned i = 0; i < n; i++) {
      lua_rawgeti(L, -1, (int)i + 1);
      take_kind(L, &s->kinds[i]);
      lua_pop(L, 1);
    }
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_scenario(lua_State *L, struct load *load) {
  struct scenario *s = load->scenario = x_calloc(1, sizeof *s);
  s->duration_s = get_number(L, "duration", 0);
  s->workers = (unsigned)get_number(L, "workers", 0);
  s->max_retries = (unsigned)get_number(L, "maxRetries", 3);
  s->health_interval_ms = (uint32_t)get_number(L, "healthCheckInterval", 30000);
  take_load(L, s);
  s->n_options = open_list(L, "strategyOptions");
  s->options = x_calloc(s->n_options + 1, sizeof *s->options);
  for (unsigned i = 0; i < s->n_options; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    s->options[i] = (struct scenario_options){copy_text(L, "name"), copy_text(L, "text")};
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  unsigned n = open_list(L, "providers");
  s->providers = x_calloc(n, sizeof *s->providers);
  s->n_providers = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    take_provider(L, &s->providers[i]);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

/* ---- the load ---- */

static void open_libraries(lua_State *L) {
  static const lua_CFunction OPENERS[] = {luaopen_base, luaopen_table, luaopen_string, luaopen_math,
                                          luaopen_debug};
  for (size_t i = 0; i < ARRAY_LEN(OPENERS); i++) {
    lua_pushcfunction(L, OPENERS[i]);
    lua_call(L, 0, 0);
  }
  (void)luaJIT_setmode(L, 0, LUAJIT_MODE_ENGINE | LUAJIT_MODE_OFF);
}

/* Leaves what the file returned, or nil after an error, which has been noted. */
static void run_file(lua_State *L, struct load *load, int checker) {
  int failed = luaL_loadbufferx(L, load->text.ptr, load->text.len, "=config", "t");
  if (!failed) {
    lua_getfield(L, checker, "environment");
    lua_call(L, 0, 1);
    lua_setfenv(L, -2);
    lua_sethook(L, on_steps, LUA_MASKCOUNT, STEPS_PER_HOOK);
    failed = lua_pcall(L, 0, 1, 0);
    lua_sethook(L, NULL, 0, 0);
  }
  if (!failed) return;
  lua_getfield(L, checker, "failed");
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  lua_pushnil(L);
}

static void put_line(struct buf *to, struct span line) {
  if (buf_reserve(to, line.len + 1)) return;
  buf_put_span(to, line);
  buf_put(to, "\n", 1);
}

static void take_problems(lua_State *L, struct load *load, int checker) {
  lua_getfield(L, checker, "problems");
  lua_call(L, 0, 1);
  int n = (int)lua_objlen(L, -1);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    struct span line;
    line.ptr = lua_tolstring(L, -1, &line.len);
    put_line(load->problems, line);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static int load_protected(lua_State *L) {
  struct load *load = lua_touserdata(L, 1);
  open_libraries(L);
  push_embedded(L, "scripts/runtime/scenario.lua", "=scenario.lua");
  push_host(L);
  lua_call(L, 1, 1);
  int checker = lua_gettop(L);
  lua_getfield(L, checker, "open");
  lua_pushstring(L, load->path);
  lua_pushlstring(L, load->text.ptr, load->text.len);
  lua_call(L, 2, 0);
  lua_getfield(L, checker, "check");
  run_file(L, load, checker);
  lua_call(L, 1, 1);
  take_problems(L, load, checker);
  if (lua_istable(L, -1)) take_scenario(L, load);
  return 0;
}

static bool read_file(const char *path, struct buf *out, struct buf *problems) {
  FILE *f = fopen(path, "rbe");
  int err = f ? buf_reserve(out, FILE_MAX_BYTES) : -errno;
  if (f && !err) {
    out->len = fread(out->data, 1, out->cap, f);
    if (ferror(f))
      err = -errno;
    else if (!feof(f))
      err = ERR_TOO_LARGE;
  }
  if (f) (void)fclose(f);
  if (err) buf_putf(problems, "%s: %s\n", path, err_text(err));
  return !err;
}

struct scenario *scenario_load(const char *path, struct buf *problems) {
  struct load load = {.path = path, .problems = problems};
  struct buf text;
  buf_init(&text, 2 * FILE_MAX_BYTES);
  if (read_file(path, &text, problems)) {
    load.text = span_make(text.data ? text.data : "", text.len);
    lua_State *L = lua_newstate(limited_alloc, &load);
    if (!L) buf_putf(problems, "%s: no Lua state can be made\n", path);
    if (L && lua_cpcall(L, load_protected, &load)) {
      const char *why = lua_tostring(L, -1);
      buf_putf(problems, "%s: %s\n", path, why ? why : "the file cannot be checked");
      scenario_free(load.scenario);
      load.scenario = NULL;
    }
    if (L) lua_close(L);
  }
  buf_release(&text);
  return load.scenario;
}
