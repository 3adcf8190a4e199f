/*
 * views_read: what scripts read through functions of C: fields of providers that their tables do not hold yet, requests and
 * outcomes, of which most fields are never asked for, and the parts of lb.* that need the engine.
 *
 * Thread: the generation's.   Borrows: the request of the current call.
 */
#include "script/generation_private.h"

#include <lauxlib.h>

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

/* A field that is not in the provider's table. The table names its slot, which a script may have spoilt. */
static int provider_field(lua_State *L) {
  struct generation *g = generation_of(L);
  lua_settop(L, 2);
  int which = field_at(L);
  lua_getfield(L, 1, "slot");
  double slot = lua_tonumber(L, -1);
  if (which < 0 || !(slot >= 1 && slot <= g->plan->n_entries)) return 0;
  const struct view_names names = {lua_upvalueindex(4), lua_upvalueindex(5)};
  views_answer(L, g, (unsigned)slot - 1, (enum stat)which, &names, lua_upvalueindex(6));
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

/* What only looks like a pool may have any number for a key. */
static int api_turn(lua_State *L) {
  double key = luaL_checknumber(L, 1);
  lua_pushnumber(L, lb_abi_turn(key >= 0 && key <= UINT32_MAX ? (uint32_t)key : 0));
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

/* ---- lb.shared: get(key), set(key, value or nil), incr(key, by), see program_store() in lb.lua ---- */

static const char *key_at(lua_State *L, uint32_t *len) {
  size_t size;
  const char *key = luaL_checklstring(L, 1, &size);
  *len = (uint32_t)size;
  return key;
}

static int store_get(lua_State *L) {
  struct lb_value value;
  uint32_t len;
  const char *key = key_at(L, &len);
  switch (lb_abi_store_get(key, len, &value)) {
  case LB_STORE_NUMBER: lua_pushnumber(L, value.number); break;
  case LB_STORE_BOOLEAN: lua_pushboolean(L, value.number != 0); break;
  case LB_STORE_TEXT: lua_pushlstring(L, value.text, value.len); break;
  default: lua_pushnil(L);
  }
  return 1;
}

static int store_set(lua_State *L) {
  size_t text_len = 0;
  uint32_t len;
  const char *key = key_at(L, &len), *text = NULL;
  int32_t kind = LB_STORE_NOTHING;
  double number = 0;
  switch (lua_type(L, 2)) {
  case LUA_TNUMBER:
    kind = LB_STORE_NUMBER;
    number = lua_tonumber(L, 2);
    break;
  case LUA_TBOOLEAN:
    kind = LB_STORE_BOOLEAN;
    number = lua_toboolean(L, 2);
    break;
  case LUA_TSTRING:
    kind = LB_STORE_TEXT;
    text = lua_tolstring(L, 2, &text_len);
    break;
  default: break;
  }
  lua_pushboolean(L, lb_abi_store_set(key, len, kind, number, text, (uint32_t)text_len) != LB_STORE_FULL);
  return 1;
}

static int store_incr(lua_State *L) {
  struct lb_value value;
  uint32_t len;
  const char *key = key_at(L, &len);
  switch (lb_abi_store_incr(key, len, luaL_checknumber(L, 2), &value)) {
  case LB_STORE_NUMBER: lua_pushnumber(L, value.number); break;
  case LB_STORE_FULL: lua_pushboolean(L, 0); break;
  default: lua_pushnil(L);
  }
  return 1;
}

static void push_store(lua_State *L) {
  static const struct luaL_Reg FUNCTIONS[] = {{"get", store_get}, {"set", store_set}, {"incr", store_incr}};
  lua_createtable(L, 0, 3);
  for (size_t i = 0; i < ARRAY_LEN(FUNCTIONS); i++) {
    lua_pushcfunction(L, FUNCTIONS[i].func);
    lua_setfield(L, -2, FUNCTIONS[i].name);
  }
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
#define STAT_NAME_(name, member, kind, source) #name,
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
  push_store(L);
  lua_setfield(L, -2, "store");
}
