/*
 * What scripts/runtime/config.lua asks of C.   Invariant: whatever looks like a secret is known to base/redact before Lua
 * has it in hand.
 */
#include "script/preset.h"
#include "script/settings_private.h"

#include "base/redact.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

void settings_drop_scratch(struct load *load) {
  if (load->scratch) wipe(load->scratch, load->scratch_len);
  free(load->scratch);
  load->scratch = NULL;
}

static int host_read(lua_State *L) {
  struct load *load = reader_owner(L);
  const char *why = NULL;
  load->scratch =
      reader_file(luaL_checkstring(L, 1), (size_t)luaL_checknumber(L, 2), &load->scratch_len, &why);
  if (!load->scratch) return reader_refuse(L, why);
  lua_pushlstring(L, load->scratch, load->scratch_len);
  settings_drop_scratch(load);
  return 1;
}

static int host_mode(lua_State *L) {
  struct stat st;
  if (stat(luaL_checkstring(L, 1), &st)) return reader_refuse(L, err_text(-errno));
  if (!S_ISREG(st.st_mode)) return reader_refuse(L, "not a regular file");
  lua_pushinteger(L, st.st_mode & 07777);
  return 1;
}

static struct span without_prefix(struct span key) {
  bool has_prefix = key.len >= 2 && key.ptr[0] == '0' && ascii_lower(key.ptr[1]) == 'x';
  return has_prefix ? span_make(key.ptr + 2, key.len - 2) : key;
}

static int host_env(lua_State *L) {
  const char *value = getenv(luaL_checkstring(L, 1));
  /* What looks like a private key is kept out of all messages, whatever the file does with it. */
  if (value) redact_add_key(without_prefix(span_str(value)));
  lua_pushstring(L, value);
  return 1;
}

/* key(text): takes over the wallet's private key; true, or nil and what is wrong with it. */
static int host_key(lua_State *L) {
  struct load *load = reader_owner(L);
  struct span hex;
  hex.ptr = luaL_checklstring(L, 1, &hex.len);
  redact_add_key(without_prefix(hex));
  struct key *key = NULL;
  switch (key_new(&key, hex)) {
  case 0: break;
  case ERR_RANGE: return reader_refuse(L, "is no private key: the number is out of range");
  case ERR_NOT_NOW: return reader_refuse(L, "cannot be kept: the system gives no memory for it");
  default: return reader_refuse(L, "must be a private key: 64 hex digits, with or without 0x");
  }
  key_free(load->report->key);
  load->report->key = key;
  lua_pushboolean(L, true);
  return 1;
}

/* amount(text): true when it is an amount in 0G, else nil and what is wrong. */
static int host_amount(lua_State *L) {
  struct span text;
  struct u256 neuron;
  text.ptr = luaL_checklstring(L, 1, &text.len);
  int err = u256_parse_0g(&neuron, text);
  if (err)
    return reader_refuse(L, err == ERR_RANGE ? "at most 18 places are possible" : "not a decimal number");
  lua_pushboolean(L, true);
  return 1;
}

/* checksum(address): false when the case of its letters is a checksum, and a wrong one. */
static int host_checksum(lua_State *L) {
  struct span text;
  struct address a;
  text.ptr = luaL_checklstring(L, 1, &text.len);
  lua_pushboolean(L, address_parse(&a, text) != ERR_RANGE);
  return 1;
}

static int host_endpoint(lua_State *L) {
  struct span url;
  url.ptr = luaL_checklstring(L, 1, &url.len);
  struct endpoint e;
  const char *wrong = endpoint_parse(&e, url);
  if (wrong) return reader_refuse(L, wrong);
  char host[256];
  (void)snprintf(host, sizeof host, "%s", e.host);
  unsigned port = e.port;
  endpoint_release(&e);
  lua_pushstring(L, host);
  lua_pushinteger(L, (lua_Integer)port);
  return 2;
}

static int host_presets(lua_State *L) {
  lua_newtable(L);
  struct span name;
  for (int i = 0; (name = preset_name((size_t)i)).ptr; i++) {
    lua_pushlstring(L, name.ptr, name.len);
    lua_rawseti(L, -2, i + 1);
  }
  return 1;
}

static int host_preset(lua_State *L) {
  struct span name = preset_find(luaL_checkstring(L, 1));
  if (name.ptr)
    lua_pushlstring(L, name.ptr, name.len);
  else
    lua_pushnil(L);
  return 1;
}

static int host_secret(lua_State *L) {
  struct span secret;
  secret.ptr = luaL_checklstring(L, 1, &secret.len);
  redact_add(secret);
  return 0;
}

static void set_limit(lua_State *L, const char *name, double value) {
  lua_pushnumber(L, value);
  lua_setfield(L, -2, name);
}

const struct luaL_Reg SETTINGS_HOST[] = {
    {"read", host_read},
    {"mode", host_mode},
    {"env", host_env},
    {"endpoint", host_endpoint},
    {"presets", host_presets},
    {"preset", host_preset},
    {"secret", host_secret},
    {"key", host_key},
    {"amount", host_amount},
    {"checksum", host_checksum},
    {NULL, NULL},
};

void settings_push_limits(lua_State *L) {
  const struct health_rules *h = &HEALTH_RULES_DEFAULT;
  lua_newtable(L);
  set_limit(L, "providers", PLAN_PROVIDERS_MAX);
  set_limit(L, "id", PROVIDER_ID_MAX);
  set_limit(L, "model", MODEL_NAME_MAX);
  set_limit(L, "fall", h->fall);
  set_limit(L, "rise", h->rise);
  set_limit(L, "ejectAfter", h->eject_after);
  set_limit(L, "ejectBase", h->eject_base_ms);
  set_limit(L, "ejectMax", h->eject_max_ms);
  set_limit(L, "rateLimitCooldown", h->rate_limit_ms);
  set_limit(L, "accountCooldown", h->account_ms);
  lua_setfield(L, -2, "limits");
}
