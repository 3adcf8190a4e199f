/*
 * The file runs in a Lua state of its own, made for one load and closed behind it, with a memory bound and an
 * instruction budget. What may stand in the file is decided by scripts/runtime/config.lua in the same state;
 * this file gives it the few functions it needs, and copies the result into a plan.
 *
 * Owns: the state, everything in struct load.   Invariant: no call into Lua happens outside lua_cpcall.
 */
#include "script/settings.h"

#include "base/clock.h"
#include "base/embedded.h"
#include "base/redact.h"
#include "base/secrecy.h"
#include "script/chunk.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <lauxlib.h>
#include <lua.h>
#include <luajit.h>
#include <lualib.h>

#define FILE_MAX_BYTES   ((size_t)1 << 20)
#define REPORT_MAX_BYTES ((size_t)1 << 20)
/* Of the file while it runs, and of the checks behind it, which hold its tokens as well. */
#define RUN_MAX_BYTES   ((size_t)64 << 20)
#define CHECK_MAX_BYTES ((size_t)512 << 20)
#define RUN_MAX_STEPS   20000000L
#define STEPS_PER_HOOK  1000

struct load {
  struct settings_report *report;
  const char *path; /* NULL: no file */
  struct span text; /* ptr is NULL without a file */
  bool is_from_disk;
  const struct settings_overrides *overrides;
  struct registry *registry;
  size_t used_bytes, max_bytes;
  long steps;
  char *scratch; /* of host_read, so that an error on the way does not lose it */
  size_t scratch_len;
  struct plan *plan;
};

/* ---- report ---- */

void settings_report_init(struct settings_report *r) {
  memset(r, 0, sizeof *r);
  buf_init(&r->problems, REPORT_MAX_BYTES);
  buf_init(&r->warnings, REPORT_MAX_BYTES);
}

void settings_report_release(struct settings_report *r) {
  buf_release(&r->problems);
  buf_release(&r->warnings);
  key_free(r->key);
  r->key = NULL;
}

/* A line that does not fit is dropped: the count still tells that there was one. */
static void add_line(struct buf *to, struct span line) {
  if (buf_reserve(to, line.len + 1)) return;
  buf_put_span(to, line);
  buf_put(to, "\n", 1);
}

static void add_problem(struct settings_report *r, const char *path, const char *text) {
  r->n_problems++;
  if (buf_appendf(&r->problems, "%s%s%s\n", path ? path : "", path ? ": " : "", text)) return;
}

/* ---- memory, budget ---- */

/* What is given back is wiped: the state held keys. */
static void *lua_memory(void *ud, void *ptr, size_t old_size, size_t new_size) {
  struct load *load = ud;
  if (!ptr) old_size = 0;
  if (new_size > old_size && new_size - old_size > load->max_bytes - load->used_bytes) return NULL;
  void *fresh = NULL;
  if (new_size) {
    fresh = malloc(new_size);
    if (!fresh) return NULL;
    if (ptr) memcpy(fresh, ptr, old_size < new_size ? old_size : new_size);
  }
  if (ptr) {
    wipe(ptr, old_size);
    free(ptr);
  }
  load->used_bytes += new_size;
  load->used_bytes -= old_size;
  return fresh;
}

static struct load *load_of(lua_State *L) {
  void *ud = NULL;
  (void)lua_getallocf(L, &ud);
  return ud;
}

/* Stays armed, at every instruction, once the budget is used up: a pcall in the file cannot swallow it. */
static void on_steps(lua_State *L, lua_Debug *at) {
  struct load *load = load_of(L);
  load->steps += STEPS_PER_HOOK;
  if (load->steps < RUN_MAX_STEPS) return;
  lua_sethook(L, on_steps, LUA_MASKCOUNT, 1);
  (void)lua_getinfo(L, "Sl", at);
  bool is_in_file = strcmp(at->short_src, "config") == 0;
  lua_pushfstring(L, "config:%d: it does not come to an end (stopped after %d million steps)",
                  is_in_file ? at->currentline : 1, (int)(RUN_MAX_STEPS / 1000000));
  lua_error(L);
}

/* ---- host: what config.lua asks of C ---- */

/* The bytes of a file, to be freed; NULL with a static text in *why. */
static char *read_file(const char *path, size_t max_bytes, size_t *len, const char **why) {
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
  if (fd < 0) {
    *why = err_text(-errno);
    return NULL;
  }
  char *data = x_malloc(max_bytes + 1);
  size_t n = 0;
  ssize_t got = 1;
  while (n <= max_bytes && got > 0) {
    got = read(fd, data + n, max_bytes + 1 - n);
    if (got < 0 && errno == EINTR)
      got = 1;
    else if (got > 0)
      n += (size_t)got;
  }
  *why = got < 0 ? err_text(-errno) : n > max_bytes ? "the file is too large" : NULL;
  (void)close(fd);
  if (*why) {
    wipe(data, n);
    free(data);
    return NULL;
  }
  *len = n;
  return data;
}

static void drop_scratch(struct load *load) {
  if (load->scratch) wipe(load->scratch, load->scratch_len);
  free(load->scratch);
  load->scratch = NULL;
}

static int push_failure(lua_State *L, const char *why) {
  lua_pushnil(L);
  lua_pushstring(L, why);
  return 2;
}

static int host_read(lua_State *L) {
  struct load *load = load_of(L);
  const char *why = NULL;
  load->scratch = read_file(luaL_checkstring(L, 1), (size_t)luaL_checknumber(L, 2), &load->scratch_len, &why);
  if (!load->scratch) return push_failure(L, why);
  lua_pushlstring(L, load->scratch, load->scratch_len);
  drop_scratch(load);
  return 1;
}

static int host_mode(lua_State *L) {
  struct stat st;
  if (stat(luaL_checkstring(L, 1), &st)) return push_failure(L, err_text(-errno));
  if (!S_ISREG(st.st_mode)) return push_failure(L, "not a regular file");
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
  struct load *load = load_of(L);
  struct span hex;
  hex.ptr = luaL_checklstring(L, 1, &hex.len);
  if (secrecy_is_mask(hex)) {
    lua_pushboolean(L, true);
    return 1;
  }
  redact_add_key(without_prefix(hex));
  struct key *key = NULL;
  switch (key_new(&key, hex)) {
  case 0: break;
  case ERR_RANGE: return push_failure(L, "is no private key: the number is out of range");
  case ERR_STATE: return push_failure(L, "cannot be kept: the system gives no memory for it");
  default: return push_failure(L, "must be a private key: 64 hex digits, with or without 0x");
  }
  key_free(load->report->key);
  load->report->key = key;
  secrecy_mask_environment(hex);
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
    return push_failure(L, err == ERR_RANGE ? "at most 18 places are possible" : "not a decimal number");
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
  if (wrong) return push_failure(L, wrong);
  char host[256];
  (void)snprintf(host, sizeof host, "%s", e.host);
  unsigned port = e.port;
  endpoint_release(&e);
  lua_pushstring(L, host);
  lua_pushinteger(L, (lua_Integer)port);
  return 2;
}

#define PRESET_FOLDER SPAN("strategies/")
#define PRESET_TAIL   SPAN(".lua")

static int host_presets(lua_State *L) {
  size_t n;
  const struct embedded_file *files = embedded_list(&n);
  lua_newtable(L);
  int at = 0;
  for (size_t i = 0; i < n; i++) {
    struct span name = span_str(files[i].name);
    if (!span_starts(name, PRESET_FOLDER) || !span_ends(name, PRESET_TAIL)) continue;
    lua_pushlstring(L, name.ptr + PRESET_FOLDER.len, name.len - PRESET_FOLDER.len - PRESET_TAIL.len);
    lua_rawseti(L, -2, ++at);
  }
  return 1;
}

/* Another file of scripts/runtime, as a function. */
static int host_part(lua_State *L) {
  const char *part = luaL_checkstring(L, 1);
  chunk_push(L, lua_pushfstring(L, "scripts/runtime/%s.lua", part), lua_pushfstring(L, "=%s.lua", part));
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

static void push_host(lua_State *L) {
  static const struct luaL_Reg FUNCTIONS[] = {
      {"read", host_read},         {"mode", host_mode},         {"env", host_env},       {"part", host_part},
      {"endpoint", host_endpoint}, {"presets", host_presets},   {"secret", host_secret}, {"key", host_key},
      {"amount", host_amount},     {"checksum", host_checksum},
  };
  const struct health_rules *h = &HEALTH_RULES_DEFAULT;
  lua_newtable(L);
  for (size_t i = 0; i < ARRAY_LEN(FUNCTIONS); i++) {
    lua_pushcfunction(L, FUNCTIONS[i].func);
    lua_setfield(L, -2, FUNCTIONS[i].name);
  }
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

/* ---- from the result to a plan; the table in question is on top of the stack ---- */

static double get_number(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  double n = lua_tonumber(L, -1);
  lua_pop(L, 1);
  return n;
}

static bool get_bool(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  bool is_set = lua_toboolean(L, -1);
  lua_pop(L, 1);
  return is_set;
}

/* Borrowed while the table lives; "" when absent. */
static const char *get_text(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const char *s = lua_tostring(L, -1);
  lua_pop(L, 1);
  return s ? s : "";
}

/* NULL when absent. */
static char *copy_text(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  const char *s = lua_tostring(L, -1);
  char *copy = s ? x_strdup(s) : NULL;
  lua_pop(L, 1);
  return copy;
}

static char **copy_texts(lua_State *L, const char *name) {
  lua_getfield(L, -1, name);
  size_t n = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
  char **list = x_calloc(n + 1, sizeof *list);
  for (size_t i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    const char *s = lua_tostring(L, -1);
    list[i] = x_strdup(s ? s : "");
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
  return list;
}

static void take_timeouts(lua_State *L, struct plan_timeouts *t) {
  lua_getfield(L, -1, "timeouts");
  t->connect = (uint32_t)get_number(L, "connect");
  t->first_byte = (uint32_t)get_number(L, "firstByte");
  t->idle = (uint32_t)get_number(L, "idle");
  t->total = (uint32_t)get_number(L, "total");
  t->client_header = (uint32_t)get_number(L, "clientHeader");
  t->client_idle = (uint32_t)get_number(L, "clientIdle");
  t->queue = (uint32_t)get_number(L, "queue");
  t->drain = (uint32_t)get_number(L, "drain");
  lua_pop(L, 1);
}

static void take_health(lua_State *L, struct health_rules *h) {
  lua_getfield(L, -1, "health");
  h->fall = (unsigned)get_number(L, "fall");
  h->rise = (unsigned)get_number(L, "rise");
  h->eject_after = (unsigned)get_number(L, "ejectAfter");
  h->eject_base_ms = (uint32_t)get_number(L, "ejectBase");
  h->eject_max_ms = (uint32_t)get_number(L, "ejectMax");
  h->rate_limit_ms = (uint32_t)get_number(L, "rateLimitCooldown");
  h->account_ms = (uint32_t)get_number(L, "accountCooldown");
  lua_pop(L, 1);
}

static struct u256 get_amount(lua_State *L, const char *name) {
  struct u256 neuron = U256_ZERO;
  int err = u256_parse_0g(&neuron, span_str(get_text(L, name)));
  REQUIRE(!err);
  return neuron;
}

static void take_chain(lua_State *L, struct chain_settings *c) {
  c->nodes = copy_texts(L, "rpc");
  c->token_lifetime_ms = (uint64_t)get_number(L, "tokenLifetime");
  c->refresh_ms = (uint32_t)get_number(L, "chainRefreshInterval");
  lua_getfield(L, -1, "contracts");
  c->has_ledger = provider_id_address(&c->ledger, span_str(get_text(L, "ledger")));
  c->has_inference = provider_id_address(&c->inference, span_str(get_text(L, "inference")));
  lua_pop(L, 1);
  lua_getfield(L, -1, "autoFunding");
  struct funding_rules *f = &c->funding;
  f->is_on = lua_istable(L, -1);
  if (f->is_on) {
    f->ledger_min = get_amount(L, "ledgerMin");
    f->per_provider = get_amount(L, "perProvider");
    f->max = get_amount(L, "max");
  }
  lua_pop(L, 1);
}

static void take_settings(lua_State *L, struct settings *s) {
  s->host = copy_text(L, "host");
  s->port = (uint16_t)get_number(L, "port");
  s->workers = (unsigned)get_number(L, "workers");
  s->max_retries = (unsigned)get_number(L, "maxRetries");
  s->health_interval_ms = (uint32_t)get_number(L, "healthCheckInterval");
  s->health_timeout_ms = (uint32_t)get_number(L, "healthCheckTimeout");
  s->session_timeout_ms = (uint64_t)get_number(L, "sessionTimeout");
  s->max_sessions = (size_t)get_number(L, "maxSessions");
  s->session_store = copy_text(L, "sessionStore");
  s->max_session_store_bytes = (uint64_t)get_number(L, "maxSessionStoreBytes");
  s->max_body_bytes = (size_t)get_number(L, "maxBodyBytes");
  s->max_buffered_bytes = (size_t)get_number(L, "maxBufferedBytes");
  s->max_connections = (unsigned)get_number(L, "maxConnections");
  s->max_connections_per_address = (unsigned)get_number(L, "maxConnectionsPerAddress");
  s->max_active_requests = (unsigned)get_number(L, "maxActiveRequests");
  s->max_queued_requests = (unsigned)get_number(L, "maxQueuedRequests");
  s->body_rate_bytes = (uint32_t)get_number(L, "minBodyRate");
  s->forward_headers = copy_texts(L, "forwardHeaders");
  s->strict_models = get_bool(L, "strictModels");
  s->panic_refuse = strcmp(get_text(L, "panic"), "refuse") == 0;
  const char *verify = get_text(L, "verifyAnswers");
  s->verify_answers = strcmp(verify, "all") == 0      ? VERIFY_ALL
                      : strcmp(verify, "sample") == 0 ? VERIFY_SAMPLE
                                                      : VERIFY_ON_DEMAND;
  s->verify_sample_rate = get_number(L, "verifySampleRate");
  s->client_keys = copy_texts(L, "clientKeys");
  s->admin_token = copy_text(L, "adminToken");
  s->guard_is_fast = strcmp(get_text(L, "guard"), "fast") == 0;
  s->call_budget_us = (uint32_t)(get_number(L, "callBudget") * 1000);
  s->upstream = copy_text(L, "upstream");
  (void)log_level_parse(get_text(L, "logLevel"), &s->log_level);
  s->log_format = strcmp(get_text(L, "logFormat"), "json") == 0 ? LOG_JSON : LOG_TEXT;
  take_timeouts(L, &s->timeouts);
  take_health(L, &s->health);
  take_chain(L, &s->chain);
  lua_getfield(L, -1, "retryBudget");
  s->retry_budget = get_number(L, "ratio");
  s->retry_budget_min = (unsigned)get_number(L, "min");
  lua_pop(L, 1);
  lua_getfield(L, -1, "cors");
  s->cors_origins = copy_texts(L, "origins");
  lua_pop(L, 1);
  lua_getfield(L, -1, "tls");
  s->tls_ca = copy_text(L, "ca");
  lua_pop(L, 1);
  lua_getfield(L, -1, "reload");
  s->reload_watch = get_bool(L, "watch");
  s->reload_canary = get_bool(L, "canary");
  lua_pop(L, 1);
}

static void take_entry(lua_State *L, struct load *load, struct plan_entry *e) {
  e->weight = get_number(L, "weight");
  e->priority = get_number(L, "priority");
  e->model = copy_text(L, "model");
  e->api_key = copy_text(L, "apiKey");
  e->health_path = copy_text(L, "healthPath");
  e->tags = copy_texts(L, "tags");
  e->takes_unverified = get_bool(L, "unverified");
  lua_getfield(L, -1, "endpoint");
  if (lua_istable(L, -1)) {
    e->has_endpoint = true;
    const char *wrong = endpoint_parse(&e->endpoint, span_str(get_text(L, "url")));
    REQUIRE(!wrong);
  }
  lua_pop(L, 1);
  bool is_on_chain = get_text(L, "address")[0];
  e->provider = registry_get(load->registry, get_text(L, "id"),
                             is_on_chain ? PROVIDER_ONCHAIN : PROVIDER_DIRECT, clock_mono_ms());
}

/* Prices are given in 0G per million tokens. */
static bool get_price(lua_State *L, const char *name, struct u256 *out) {
  uint64_t rest;
  if (!get_text(L, name)[0]) return false;
  *out = u256_div_u64(get_amount(L, name), 1000000, &rest);
  return true;
}

static void take_discover(lua_State *L, struct plan_discover *d) {
  d->model = copy_text(L, "model");
  d->service_type = copy_text(L, "type");
  d->is_verifiable = get_bool(L, "verifiable");
  d->takes_unverified = !d->is_verifiable;
  d->has_max_in = get_price(L, "maxPriceIn", &d->max_in);
  d->has_max_out = get_price(L, "maxPriceOut", &d->max_out);
  d->limit = (unsigned)get_number(L, "limit");
  d->weight = get_number(L, "weight");
  d->priority = get_number(L, "priority");
  d->tags = copy_texts(L, "tags");
}

static void take_discovers(lua_State *L, struct plan *p) {
  lua_getfield(L, -1, "discovers");
  unsigned n = lua_istable(L, -1) ? (unsigned)lua_objlen(L, -1) : 0;
  if (n) p->discovers = x_calloc(n, sizeof *p->discovers);
  p->n_discovers = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    take_discover(L, &p->discovers[i]);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_entries(lua_State *L, struct load *load, struct plan *p) {
  lua_getfield(L, -1, "providers");
  unsigned n = (unsigned)lua_objlen(L, -1);
  REQUIRE(n <= PLAN_PROVIDERS_MAX);
  p->entries = x_calloc(n ? n : 1, sizeof *p->entries);
  p->n_entries = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    take_entry(L, load, &p->entries[i]);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_route(lua_State *L, struct model_route *r, unsigned n_entries) {
  r->name = copy_text(L, "name");
  r->found = copy_texts(L, "found");
  lua_getfield(L, -1, "slots");
  int n = (int)lua_objlen(L, -1);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    unsigned slot = (unsigned)lua_tointeger(L, -1);
    REQUIRE(slot >= 1 && slot <= n_entries);
    slot_add(&r->slots, slot - 1);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_routes(lua_State *L, struct plan *p) {
  lua_getfield(L, -1, "models");
  unsigned n = lua_istable(L, -1) ? (unsigned)lua_objlen(L, -1) : 0;
  if (n) p->routes = x_calloc(n, sizeof *p->routes);
  p->n_routes = n;
  for (unsigned i = 0; i < n; i++) {
    lua_rawgeti(L, -1, (int)i + 1);
    take_route(L, &p->routes[i], p->n_entries);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_strategy(lua_State *L, struct plan *p) {
  p->strategy_options = copy_text(L, "strategyOptions");
  lua_getfield(L, -1, "strategy");
  p->strategy_name = copy_text(L, "name");
  p->strategy_path = copy_text(L, "path");
  if (p->strategy_path) {
    lua_getfield(L, -1, "source");
    struct span source;
    source.ptr = lua_tolstring(L, -1, &source.len);
    p->strategy_source = span_make(x_strndup(source.ptr, source.len), source.len);
    lua_pop(L, 1);
  } else {
    lua_pushfstring(L, "strategies/%s.lua", p->strategy_name);
    p->strategy_source = embedded_get(lua_tostring(L, -1));
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void build_plan(lua_State *L, struct load *load) {
  struct plan *p = load->plan = plan_new();
  if (load->is_from_disk) p->config_path = x_strdup(load->path);
  take_settings(L, &p->settings);
  take_entries(L, load, p);
  take_discovers(L, p);
  take_routes(L, p);
  plan_resolve(p, load->registry);
  take_strategy(L, p);
  plan_seal(p);
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

/* Leaves what the file returned, or nil after an error, which config.failed() has noted. */
static void run_file(lua_State *L, struct load *load, int config) {
  int failed = luaL_loadbufferx(L, load->text.ptr, load->text.len, "=config", "t");
  if (!failed) {
    lua_getfield(L, config, "environment");
    lua_call(L, 0, 1);
    lua_setfenv(L, -2);
    load->max_bytes = load->used_bytes + RUN_MAX_BYTES;
    lua_sethook(L, on_steps, LUA_MASKCOUNT, STEPS_PER_HOOK);
    failed = lua_pcall(L, 0, 1, 0);
    lua_sethook(L, NULL, 0, 0);
    load->max_bytes = CHECK_MAX_BYTES;
  }
  if (!failed) return;
  lua_getfield(L, config, "failed");
  lua_insert(L, -2);
  lua_call(L, 1, 0);
  lua_pushnil(L);
}

static void set_text(lua_State *L, const char *name, const char *value) {
  if (!value) return;
  lua_pushstring(L, value);
  lua_setfield(L, -2, name);
}

static void set_number(lua_State *L, const char *name, long value) {
  if (value < 0) return;
  lua_pushnumber(L, (lua_Number)value);
  lua_setfield(L, -2, name);
}

static void push_overrides(lua_State *L, const struct settings_overrides *o) {
  lua_newtable(L);
  if (!o) return;
  set_text(L, "host", o->host);
  set_number(L, "port", o->port);
  set_text(L, "strategy", o->strategy);
  set_number(L, "maxRetries", o->max_retries);
  set_number(L, "healthCheckInterval", o->health_interval_ms);
  set_number(L, "sessionTimeout", o->session_timeout_ms);
  set_number(L, "workers", o->workers);
  set_text(L, "rpc", o->rpc);
  set_text(L, "logLevel", o->log_level);
  set_text(L, "logFormat", o->log_format);
  if (o->n_providers == 0) return;
  lua_newtable(L);
  for (unsigned i = 0; i < o->n_providers; i++) {
    lua_pushstring(L, o->providers[i]);
    lua_rawseti(L, -2, (int)i + 1);
  }
  lua_setfield(L, -2, "providers");
}

static void take_lines(lua_State *L, int config, const char *which, struct buf *to) {
  lua_getfield(L, config, which);
  lua_call(L, 0, 1);
  int n = (int)lua_objlen(L, -1);
  for (int i = 1; i <= n; i++) {
    lua_rawgeti(L, -1, i);
    struct span line;
    line.ptr = lua_tolstring(L, -1, &line.len);
    add_line(to, line);
    lua_pop(L, 1);
  }
  lua_pop(L, 1);
}

static void take_report(lua_State *L, int config, struct settings_report *r) {
  take_lines(L, config, "problems", &r->problems);
  take_lines(L, config, "warnings", &r->warnings);
  lua_getfield(L, config, "count");
  lua_call(L, 0, 2);
  r->n_problems += (unsigned)lua_tointeger(L, -2);
  r->n_warnings += (unsigned)lua_tointeger(L, -1);
  lua_pop(L, 2);
}

static int load_protected(lua_State *L) {
  struct load *load = lua_touserdata(L, 1);
  open_libraries(L);
  chunk_push(L, "scripts/runtime/config.lua", "=config.lua");
  push_host(L);
  lua_call(L, 1, 1);
  int config = lua_gettop(L);

  lua_getfield(L, config, "open");
  lua_pushstring(L, load->path);
  if (load->text.ptr)
    lua_pushlstring(L, load->text.ptr, load->text.len);
  else
    lua_pushnil(L);
  lua_call(L, 2, 0);

  lua_getfield(L, config, "check");
  if (load->text.ptr)
    run_file(L, load, config);
  else
    lua_pushnil(L);
  push_overrides(L, load->overrides);
  lua_call(L, 2, 1);
  int result = lua_gettop(L);
  take_report(L, config, load->report);
  if (!lua_istable(L, result)) return 0;
  lua_pushvalue(L, result);
  build_plan(L, load);
  return 0;
}

/* Everything between making and closing the state. */
static void load_in_state(struct load *load) {
  load->max_bytes = CHECK_MAX_BYTES;
  lua_State *L = lua_newstate(lua_memory, load);
  if (!L) {
    add_problem(load->report, load->path,
                "no Lua state can be made (out of memory, or a LuaJIT without GC64)");
    return;
  }
  if (lua_cpcall(L, load_protected, load)) {
    const char *why = lua_tostring(L, -1);
    add_problem(load->report, load->path, why ? why : "the configuration cannot be checked");
    plan_unref(&load->plan);
  }
  lua_close(L);
  drop_scratch(load);
  /* One that the configuration does not use is no less a key. */
  const char *unused = load->report->key ? getenv("ZG_PRIVATE_KEY") : NULL;
  if (unused) secrecy_mask_environment(span_str(unused));
}

struct plan *settings_load(struct settings_report *report, const char *path, struct span text,
                           const struct settings_overrides *overrides, struct registry *registry) {
  struct load load = {
      .report = report, .path = path, .text = text, .overrides = overrides, .registry = registry};
  char *from_disk = NULL;
  if (path && !text.ptr) {
    const char *why = NULL;
    from_disk = read_file(path, FILE_MAX_BYTES, &load.text.len, &why);
    if (!from_disk) {
      add_problem(report, path, why);
      return NULL;
    }
    load.text.ptr = from_disk;
    load.is_from_disk = true;
  } else if (text.ptr && !path) {
    load.path = "config";
  }
  load_in_state(&load);
  if (from_disk) wipe(from_disk, load.text.len);
  free(from_disk);
  (void)redact_apply(&report->problems);
  (void)redact_apply(&report->warnings);
  return load.plan;
}
