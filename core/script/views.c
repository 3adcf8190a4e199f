/*
 * views: what interpreted scripts see. A provider is a plain table, and reading a field of a plain table is the
 * cheapest thing that an interpreter does; so C writes the fields, and only those that have changed. Fields that no
 * script has asked for yet are missing in the tables: the first question is answered by a function, from then on the
 * field is kept written. Request and outcome are read through functions, since most of them is never asked for.
 *
 * Thread: the generation's.   Borrows: the request of the current call.
 */
#include "script/generation_private.h"

#include <lauxlib.h>

#include <math.h>
#include <string.h>

/* The tables are made anew after so many pools, in case that a script has written to one. */
#define REFRESH_EACH 256
#define UNKNOWN      UINT32_MAX

/* ---- statistics of a provider ---- */

enum kind { KIND_U32, KIND_BOOL, KIND_NUMBER, KIND_STATE, KIND_CLASS, KIND_SINCE, KIND_UNTIL };

static const struct stat_field {
  const char *name;
  uint16_t offset, size;
  enum kind kind;
} STATS[STAT_N] = {
#define STAT_FIELD_(name, member, kind)                                                                      \
  {#name, offsetof(struct lb_stats, member), sizeof(((struct lb_stats *)0)->member), KIND_##kind},
    STAT_MAP(STAT_FIELD_)
#undef STAT_FIELD_
};

static bool moves_by_itself(enum kind k) {
  return k == KIND_SINCE || k == KIND_UNTIL;
}

/* `states` and `classes` are where their names stand. */
static void push_stat(lua_State *L, const struct lb_stats *s, enum stat which, int states, int classes) {
  const struct stat_field *f = &STATS[which];
  const char *at = (const char *)s + f->offset;
  uint32_t n = 0;
  double x = 0;
  if (f->size == sizeof n) memcpy(&n, at, sizeof n);
  if (f->size == sizeof x) memcpy(&x, at, sizeof x);
  switch (f->kind) {
  case KIND_U32: lua_pushnumber(L, n); break;
  case KIND_BOOL: lua_pushboolean(L, *at != 0); break;
  case KIND_NUMBER: lua_pushnumber(L, x); break;
  case KIND_STATE: lua_rawgeti(L, states, (int)n); break;
  case KIND_CLASS: lua_rawgeti(L, classes, (int)n); break;
  case KIND_SINCE: lua_pushnumber(L, lb_abi_now_ms() - x); break;
  case KIND_UNTIL:
    x -= lb_abi_now_ms();
    lua_pushnumber(L, x > 0 ? x : 0);
    break;
  }
}

/* ---- writing ---- */

/* The provider's table is on top. */
static void write_wanted(struct generation *g, unsigned slot) {
  lua_State *L = g->L;
  struct lb_stats *now = &g->call.stats[slot], *was = &g->written[slot];
  lb_abi_stats_fill(&g->call, slot + 1);
  for (uint32_t left = g->wanted; left; left &= left - 1) {
    unsigned i = (unsigned)__builtin_ctz(left);
    const struct stat_field *f = &STATS[i];
    if (memcmp((char *)now + f->offset, (char *)was + f->offset, f->size) == 0) continue;
    memcpy((char *)was + f->offset, (char *)now + f->offset, f->size);
    lua_pushvalue(L, STACK_STATS + (int)i);
    push_stat(L, now, i, STACK_STATES, STACK_CLASSES);
    lua_rawset(L, -3);
  }
}

static void write_number(lua_State *L, int key, double value) {
  lua_pushvalue(L, key);
  lua_pushnumber(L, value);
  lua_rawset(L, -3);
}

static void show(struct generation *g, unsigned slot, unsigned index) {
  lua_State *L = g->L;
  struct lb_provider *p = &g->call.providers[slot];
  uint32_t in_flight = __atomic_load_n(g->loads[slot], __ATOMIC_RELAXED);
  bool same_index = p->index == index, same_load = p->in_flight == in_flight;
  if (LIKELY(same_index && same_load && !g->wanted)) return;
  lua_rawgeti(L, STACK_PROVIDERS, (int)slot + 1);
  if (!same_index) write_number(L, STACK_KEY_INDEX, p->index = index);
  if (!same_load) write_number(L, STACK_KEY_IN_FLIGHT, p->in_flight = in_flight);
  if (g->wanted) write_wanted(g, slot);
  lua_pop(L, 1);
}

/* As if nothing had been written. */
static void refresh(struct generation *g) {
  g->refresh_in = REFRESH_EACH;
  memset(g->shown, 0xff, sizeof g->shown);
  memset(g->written, 0xff, g->plan->n_entries * sizeof *g->written);
  for (unsigned i = 0; i < g->plan->n_entries; i++)
    g->call.providers[i].index = g->call.providers[i].in_flight = UNKNOWN;
  lua_pushvalue(g->L, STACK_REFRESH);
  (void)lua_pcall(g->L, 0, 0, 0);
  lua_settop(g->L, STACK_TOP);
}

static void write_order(struct generation *g, const uint16_t *candidates, unsigned n) {
  lua_State *L = g->L;
  unsigned most = n > g->n_shown ? n : g->n_shown;
  uint32_t key = n;
  for (unsigned i = 0; i < most; i++) {
    if (i < n) key = (key ^ (candidates[i] + 1u)) * 0x9e3779b1u;
    if (i < n && i < g->n_shown && g->shown[i] == candidates[i]) continue;
    if (i < n)
      lua_rawgeti(L, STACK_PROVIDERS, candidates[i] + 1);
    else
      lua_pushnil(L);
    lua_rawseti(L, STACK_POOL, (int)i + 1);
    if (i < n) g->shown[i] = candidates[i];
  }
  g->n_shown = n;
  g->facts.is_known = false;
  g->call.pool.key = key;
  lua_pushvalue(L, STACK_POOL);
  write_number(L, STACK_KEY_KEY, key);
  lua_pop(L, 1);
}

void views_show_pool(struct generation *g, const uint16_t *candidates, unsigned n) {
  if (UNLIKELY(g->refresh_in-- == 0)) refresh(g);
  if (n != g->n_shown || memcmp(candidates, g->shown, n * sizeof *candidates) != 0)
    write_order(g, candidates, n);
  for (unsigned i = 0; i < n; i++)
    show(g, candidates[i], i + 1);
}

void views_show_provider(struct generation *g, unsigned slot) {
  uint32_t index = g->call.providers[slot].index;
  show(g, slot, index == UNKNOWN ? slot + 1 : index);
}

/* ---- reading through functions ---- */

/* Upvalues of each: the generation, names to numbers, what tells that a field does not exist. */
static struct generation *generation_of(lua_State *L) {
  return lua_touserdata(L, lua_upvalueindex(1));
}

/* The number behind the name at stack place 2; calls unknown(nil, key) when there is none. */
static int field_at(lua_State *L) {
  lua_pushvalue(L, 2);
  lua_rawget(L, lua_upvalueindex(2));
  if (LIKELY(lua_type(L, -1) == LUA_TNUMBER)) return (int)lua_tonumber(L, -1);
  lua_pushvalue(L, lua_upvalueindex(3));
  lua_pushvalue(L, 1);
  lua_pushvalue(L, 2);
  lua_call(L, 2, 0);
  return -1;
}

/* Gives the field a place in all providers' tables, here where running out of memory is an error like others. */
static void want(lua_State *L, struct generation *g, enum stat which) {
  int providers = lua_upvalueindex(6);
  for (unsigned i = 0; i < g->plan->n_entries; i++) {
    lua_rawgeti(L, providers, (int)i + 1);
    lua_pushstring(L, STATS[which].name);
    lb_abi_stats_fill(&g->call, i + 1);
    push_stat(L, &g->call.stats[i], which, lua_upvalueindex(4), lua_upvalueindex(5));
    lua_rawset(L, -3);
    lua_pop(L, 1);
  }
  g->wanted |= 1u << which;
}

/* A field that is not in the provider's table. The table names its slot, which a script may have spoilt. */
static int provider_field(lua_State *L) {
  struct generation *g = generation_of(L);
  lua_settop(L, 2);
  int which = field_at(L);
  lua_getfield(L, 1, "slot");
  double slot = lua_tonumber(L, -1);
  if (which < 0 || !(slot >= 1 && slot <= g->plan->n_entries)) return 0;
  struct lb_stats *s = &g->call.stats[(unsigned)slot - 1];
  lb_abi_stats_fill(&g->call, (uint32_t)slot);
  if (!moves_by_itself(STATS[which].kind)) want(L, g, which);
  push_stat(L, s, which, lua_upvalueindex(4), lua_upvalueindex(5));
  return 1;
}

#define REQUEST_MAP(X)                                                                                       \
  X(id, TEXT)                                                                                                \
  X(kind, TEXT)                                                                                              \
  X(model, TEXT)                                                                                             \
  X(session_key, TEXT)                                                                                       \
  X(client, TEXT)                                                                                            \
  X(body_bytes, NUMBER)                                                                                      \
  X(est_input_tokens, NUMBER)                                                                                \
  X(max_tokens, NUMBER)                                                                                      \
  X(elapsed_ms, NUMBER)                                                                                      \
  X(deadline_ms, NUMBER)                                                                                     \
  X(prefix_hash, NUMBER)                                                                                     \
  X(attempt, NUMBER)                                                                                         \
  X(stream, BOOL)

enum request_field {
#define REQUEST_CONST_(name, kind) REQUEST_##name,
  REQUEST_MAP(REQUEST_CONST_)
#undef REQUEST_CONST_
      REQUEST_header,
  REQUEST_rand,
  REQUEST_hash,
  REQUEST_N
};

#define PUSH_TEXT(x)   lua_pushlstring(L, (x).ptr ? (x).ptr : "", (x).len)
#define PUSH_NUMBER(x) lua_pushnumber(L, (lua_Number)(x))
#define PUSH_BOOL(x)   lua_pushboolean(L, (x) != 0)

/* Upvalues 4 to 6: header, rand, hash. */
static int request_field(lua_State *L) {
  const struct lb_request *r = generation_of(L)->call.request;
  lua_settop(L, 2);
  int which = field_at(L);
  switch (which) {
#define REQUEST_CASE_(name, kind)                                                                            \
  case REQUEST_##name: PUSH_##kind(r->name); break;
    REQUEST_MAP(REQUEST_CASE_)
#undef REQUEST_CASE_
  case REQUEST_header:
  case REQUEST_rand:
  case REQUEST_hash: lua_pushvalue(L, lua_upvalueindex(4 + which - REQUEST_header)); break;
  default: return 0;
  }
  return 1;
}

#define OUTCOME_FIELD_MAP(X)                                                                                 \
  X(status, NUMBER)                                                                                          \
  X(retry_after_ms, NUMBER)                                                                                  \
  X(connect_ms, NUMBER)                                                                                      \
  X(ttft_ms, NUMBER)                                                                                         \
  X(total_ms, NUMBER)                                                                                        \
  X(tokens_in, NUMBER)                                                                                       \
  X(tokens_out, NUMBER)                                                                                      \
  X(committed, BOOL)

enum outcome_field {
#define OUTCOME_CONST_(name, kind) OUTCOME_FIELD_##name,
  OUTCOME_FIELD_MAP(OUTCOME_CONST_)
#undef OUTCOME_CONST_
      OUTCOME_FIELD_class,
  OUTCOME_FIELD_N
};

/* Upvalue 4: names of the classes. */
static int outcome_field(lua_State *L) {
  const struct lb_outcome *o = &generation_of(L)->call.outcome;
  lua_settop(L, 2);
  switch (field_at(L)) {
#define OUTCOME_CASE_(name, kind)                                                                            \
  case OUTCOME_FIELD_##name: PUSH_##kind(o->name); break;
    OUTCOME_FIELD_MAP(OUTCOME_CASE_)
#undef OUTCOME_CASE_
  case OUTCOME_FIELD_class: lua_rawgeti(L, lua_upvalueindex(4), (int)o->class_id); break;
  default: return 0;
  }
  return 1;
}

static int request_header(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING)
    return luaL_error(L, "req:header: a name is expected, as in req:header(\"x-team\")");
  size_t len;
  uint32_t value_len = 0;
  const char *name = lua_tolstring(L, 2, &len);
  const char *value = lb_abi_request_header(generation_of(L)->call.request, name, (uint32_t)len, &value_len);
  if (value)
    lua_pushlstring(L, value, value_len);
  else
    lua_pushnil(L);
  return 1;
}

static int request_rand(lua_State *L) {
  lua_pushnumber(L, lb_abi_request_random(&generation_of(L)->call));
  return 1;
}

static int request_hash(lua_State *L) {
  if (lua_type(L, 2) != LUA_TSTRING) return luaL_error(L, "req:hash: a text is expected");
  size_t len;
  const char *text = lua_tolstring(L, 2, &len);
  lua_pushnumber(L, lb_abi_hash(text, (uint32_t)len, generation_of(L)->call.request->seed));
  return 1;
}

/* ---- lb.* ---- */

static int api_now_ms(lua_State *L) {
  lua_pushnumber(L, lb_abi_now_ms());
  return 1;
}

static int api_random(lua_State *L) {
  lua_pushnumber(L, lb_abi_random());
  return 1;
}

static int api_least(lua_State *L) {
  lua_pushnumber(L, lb_abi_least(&generation_of(L)->call));
  return 1;
}

static int api_tiered(lua_State *L) {
  lua_pushnumber(L, lb_abi_tiered(&generation_of(L)->call, luaL_checknumber(L, 1), false));
  return 1;
}

static int api_cheapest(lua_State *L) {
  lua_pushnumber(L, lb_abi_cheapest(&generation_of(L)->call, luaL_checknumber(L, 1), luaL_checknumber(L, 2),
                                    luaL_checknumber(L, 3)));
  return 1;
}

static int api_draw(lua_State *L) {
  lua_pushnumber(L, lb_abi_draw(&generation_of(L)->call));
  return 1;
}

static int api_draw_two(lua_State *L) {
  lua_pushnumber(L, lb_abi_draw_two(&generation_of(L)->call));
  return 1;
}

static int api_p2c(lua_State *L) {
  lua_pushnumber(L, lb_abi_p2c(&generation_of(L)->call));
  return 1;
}

static int api_smooth(lua_State *L) {
  lua_pushnumber(L, lb_abi_smooth(&generation_of(L)->call));
  return 1;
}

static int api_rendezvous(lua_State *L) {
  lua_pushnumber(L,
                 lb_abi_rendezvous(&generation_of(L)->call, luaL_checknumber(L, 1), luaL_checknumber(L, 2)));
  return 1;
}

static int api_hash(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 1, &len);
  lua_pushnumber(L, lb_abi_hash(text, (uint32_t)len, luaL_optnumber(L, 2, 0)));
  return 1;
}

static int api_turn(lua_State *L) {
  lua_pushnumber(L, lb_abi_turn((uint32_t)luaL_checknumber(L, 1)));
  return 1;
}

static int api_log(lua_State *L) {
  size_t len;
  const char *text = luaL_checklstring(L, 2, &len);
  if (!generation_of(L)->is_quiet) lb_abi_log((uint32_t)luaL_checknumber(L, 1), text, (uint32_t)len);
  return 0;
}

static int api_counter_find(lua_State *L) {
  size_t len;
  const char *name = luaL_checklstring(L, 1, &len);
  lua_pushnumber(L, lb_abi_counter_find(name, (uint32_t)len));
  return 1;
}

static int api_counter_add(lua_State *L) {
  double n = luaL_checknumber(L, 2);
  lua_pushnumber(L, lb_abi_counter_add((uint32_t)luaL_checknumber(L, 1), n));
  return 1;
}

/* ---- making ---- */

static void push_names(lua_State *L, const char *const *names, int n) {
  lua_createtable(L, 0, n);
  for (int i = 0; i < n; i++) {
    lua_pushinteger(L, i);
    lua_setfield(L, -2, names[i]);
  }
}

/*
 * make_fields(what, unknown, …): a function for __index. The further arguments are its upvalues from 4 on.
 */
static int make_fields(lua_State *L) {
  static const char *const request[] = {
#define REQUEST_NAME_(name, kind) #name,
      REQUEST_MAP(REQUEST_NAME_)
#undef REQUEST_NAME_
          "header",
      "rand", "hash"};
  static const char *const outcome[] = {
#define OUTCOME_NAME_(name, kind) #name,
      OUTCOME_FIELD_MAP(OUTCOME_NAME_)
#undef OUTCOME_NAME_
          "class"};
  static const char *const stats[] = {
#define STAT_NAME_(name, member, kind) #name,
      STAT_MAP(STAT_NAME_)
#undef STAT_NAME_
  };
  const char *what = luaL_checkstring(L, 1);
  int n = lua_gettop(L);
  lua_pushvalue(L, lua_upvalueindex(1));
  if (*what == 'r')
    push_names(L, request, REQUEST_N);
  else if (*what == 'o')
    push_names(L, outcome, OUTCOME_FIELD_N);
  else
    push_names(L, stats, STAT_N);
  for (int i = 2; i <= n; i++)
    lua_pushvalue(L, i);
  lua_pushcclosure(L, *what == 'r' ? request_field : *what == 'o' ? outcome_field : provider_field, n + 1);
  return 1;
}

void views_push_api(lua_State *L, struct generation *g) {
  static const struct luaL_Reg FUNCTIONS[] = {
      {"now_ms", api_now_ms},
      {"random", api_random},
      {"least", api_least},
      {"tiered", api_tiered},
      {"cheapest", api_cheapest},
      {"draw", api_draw},
      {"draw_two", api_draw_two},
      {"p2c", api_p2c},
      {"smooth", api_smooth},
      {"rendezvous", api_rendezvous},
      {"hash", api_hash},
      {"turn", api_turn},
      {"log", api_log},
      {"counter_find", api_counter_find},
      {"counter_add", api_counter_add},
      {"request_header", request_header},
      {"request_rand", request_rand},
      {"request_hash", request_hash},
      {"fields", make_fields},
  };
  lua_newtable(L);
  for (size_t i = 0; i < ARRAY_LEN(FUNCTIONS); i++) {
    lua_pushlightuserdata(L, g);
    lua_pushcclosure(L, FUNCTIONS[i].func, 1);
    lua_setfield(L, -2, FUNCTIONS[i].name);
  }
}

void views_push_names(lua_State *L) {
  for (int i = 0; i < STAT_N; i++)
    lua_pushstring(L, STATS[i].name);
}
