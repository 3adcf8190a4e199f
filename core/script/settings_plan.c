/*
 * From what scripts/runtime/config.lua has checked to a plan; the table in question is on top of the stack.
 */
#include "script/settings_private.h"

#include "base/clock.h"
#include "base/embedded.h"
#include "base/reach.h"

#include <stdlib.h>

static void take_timeouts(lua_State *L, struct plan_timeouts *t) {
  lua_getfield(L, -1, "timeouts");
  t->connect = (uint32_t)field_number(L, "connect");
  t->first_byte = (uint32_t)field_number(L, "firstByte");
  t->idle = (uint32_t)field_number(L, "idle");
  t->total = (uint32_t)field_number(L, "total");
  t->client_header = (uint32_t)field_number(L, "clientHeader");
  t->client_idle = (uint32_t)field_number(L, "clientIdle");
  t->queue = (uint32_t)field_number(L, "queue");
  t->drain = (uint32_t)field_number(L, "drain");
  lua_pop(L, 1);
}

static void take_health(lua_State *L, struct health_rules *h) {
  lua_getfield(L, -1, "health");
  h->fall = (unsigned)field_number(L, "fall");
  h->rise = (unsigned)field_number(L, "rise");
  h->eject_after = (unsigned)field_number(L, "ejectAfter");
  h->eject_base_ms = (uint32_t)field_number(L, "ejectBase");
  h->eject_max_ms = (uint32_t)field_number(L, "ejectMax");
  h->rate_limit_ms = (uint32_t)field_number(L, "rateLimitCooldown");
  h->account_ms = (uint32_t)field_number(L, "accountCooldown");
  lua_pop(L, 1);
}

static struct u256 get_amount(lua_State *L, const char *name) {
  struct u256 neuron = U256_ZERO;
  int err = u256_parse_0g(&neuron, span_str(field_text(L, name)));
  REQUIRE(!err);
  return neuron;
}

/* A chain of one's own: its providers are likely to be near, too. */
static bool has_private_node(char **nodes) {
  for (; nodes && *nodes; nodes++) {
    struct endpoint e;
    if (endpoint_parse(&e, span_str(*nodes))) continue;
    bool is_near = reach_is_private_host(e.host) || !strpbrk(e.host, ".:");
    endpoint_release(&e);
    if (is_near) return true;
  }
  return false;
}

static void take_chain(lua_State *L, struct chain_settings *c) {
  c->nodes = field_copies(L, "rpc");
  lua_getfield(L, -1, "allowPrivateProviders");
  c->takes_private = lua_isnil(L, -1) ? has_private_node(c->nodes) : lua_toboolean(L, -1);
  lua_pop(L, 1);
  c->token_lifetime_ms = (uint64_t)field_number(L, "tokenLifetime");
  c->refresh_ms = (uint32_t)field_number(L, "chainRefreshInterval");
  lua_getfield(L, -1, "contracts");
  c->has_ledger = provider_id_address(&c->ledger, span_str(field_text(L, "ledger")));
  c->is_dev = field_is_set(L, "isDev");
  c->has_inference = provider_id_address(&c->inference, span_str(field_text(L, "inference")));
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
  s->host = field_copy(L, "host");
  s->port = (uint16_t)field_number(L, "port");
  s->workers = (unsigned)field_number(L, "workers");
  s->max_retries = (unsigned)field_number(L, "maxRetries");
  s->health_interval_ms = (uint32_t)field_number(L, "healthCheckInterval");
  s->health_timeout_ms = (uint32_t)field_number(L, "healthCheckTimeout");
  s->session_timeout_ms = (uint64_t)field_number(L, "sessionTimeout");
  s->max_sessions = (size_t)field_number(L, "maxSessions");
  s->session_store = field_copy(L, "sessionStore");
  s->max_session_store_bytes = (uint64_t)field_number(L, "maxSessionStoreBytes");
  s->max_body_bytes = (size_t)field_number(L, "maxBodyBytes");
  s->max_buffered_bytes = (size_t)field_number(L, "maxBufferedBytes");
  s->max_connections = (unsigned)field_number(L, "maxConnections");
  s->max_connections_per_address = (unsigned)field_number(L, "maxConnectionsPerAddress");
  s->max_active_requests = (unsigned)field_number(L, "maxActiveRequests");
  s->max_queued_requests = (unsigned)field_number(L, "maxQueuedRequests");
  s->body_rate_bytes = (uint32_t)field_number(L, "minBodyRate");
  s->forward_headers = field_copies(L, "forwardHeaders");
  s->strict_models = field_is_set(L, "strictModels");
  s->panic_refuse = strcmp(field_text(L, "panic"), "refuse") == 0;
  const char *verify = field_text(L, "verifyAnswers");
  s->verify_answers = strcmp(verify, "all") == 0      ? VERIFY_ALL
                      : strcmp(verify, "sample") == 0 ? VERIFY_SAMPLE
                                                      : VERIFY_ON_DEMAND;
  s->verify_sample_rate = field_number(L, "verifySampleRate");
  s->client_keys = field_copies(L, "clientKeys");
  s->admin_token = field_copy(L, "adminToken");
  s->guard_is_fast = strcmp(field_text(L, "guard"), "fast") == 0;
  s->call_budget_us = (uint32_t)(field_number(L, "callBudget") * 1000);
  s->upstream = field_copy(L, "upstream");
  (void)log_level_parse(field_text(L, "logLevel"), &s->log_level);
  s->log_format = strcmp(field_text(L, "logFormat"), "json") == 0 ? LOG_JSON : LOG_TEXT;
  take_timeouts(L, &s->timeouts);
  take_health(L, &s->health);
  take_chain(L, &s->chain);
  lua_getfield(L, -1, "retryBudget");
  s->retry_budget = field_number(L, "ratio");
  s->retry_budget_min = (unsigned)field_number(L, "min");
  lua_pop(L, 1);
  lua_getfield(L, -1, "cors");
  s->cors_origins = field_copies(L, "origins");
  lua_pop(L, 1);
  lua_getfield(L, -1, "tls");
  s->tls_ca = field_copy(L, "ca");
  lua_pop(L, 1);
  lua_getfield(L, -1, "reload");
  s->reload_watch = field_is_set(L, "watch");
  s->reload_canary = field_is_set(L, "canary");
  lua_pop(L, 1);
}

static void take_entry(lua_State *L, struct load *load, struct plan_entry *e) {
  e->weight = field_number(L, "weight");
  e->priority = field_number(L, "priority");
  e->model = field_copy(L, "model");
  e->api_key = field_copy(L, "apiKey");
  e->health_path = field_copy(L, "healthPath");
  e->tags = field_copies(L, "tags");
  e->takes_unverified = field_is_set(L, "unverified");
  lua_getfield(L, -1, "endpoint");
  if (lua_istable(L, -1)) {
    e->has_endpoint = true;
    const char *wrong = endpoint_parse(&e->endpoint, span_str(field_text(L, "url")));
    REQUIRE(!wrong);
  }
  lua_pop(L, 1);
  bool is_on_chain = field_text(L, "address")[0];
  e->provider = registry_get(load->registry, field_text(L, "id"),
                             is_on_chain ? PROVIDER_ONCHAIN : PROVIDER_DIRECT, clock_mono_ms());
}

static bool get_price(lua_State *L, const char *name, struct u256 *out) {
  if (!field_text(L, name)[0]) return false;
  *out = get_amount(L, name);
  return true;
}

static void take_discover(lua_State *L, struct plan_discover *d) {
  d->model = field_copy(L, "model");
  d->service_type = field_copy(L, "type");
  d->is_verifiable = field_is_set(L, "verifiable");
  d->takes_unverified = !d->is_verifiable;
  d->has_max_in = get_price(L, "maxPriceIn", &d->max_in);
  d->has_max_out = get_price(L, "maxPriceOut", &d->max_out);
  d->limit = (unsigned)field_number(L, "limit");
  d->weight = field_number(L, "weight");
  d->priority = field_number(L, "priority");
  d->tags = field_copies(L, "tags");
}

static void take_discovers(lua_State *L, struct plan *p) {
  unsigned n = field_open_list(L, "discovers");
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
  unsigned n = field_open_list(L, "providers");
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
  r->name = field_copy(L, "name");
  r->found = field_copies(L, "found");
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
  unsigned n = field_open_list(L, "models");
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
  p->strategy_options = field_copy(L, "strategyOptions");
  p->strategy_options_at = field_copy(L, "strategyOptionsAt");
  lua_getfield(L, -1, "strategy");
  p->strategy_name = field_copy(L, "name");
  p->strategy_path = field_copy(L, "path");
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

void settings_build_plan(lua_State *L) {
  struct load *load = reader_owner(L);
  struct plan *p = load->plan = plan_new();
  if (load->is_from_disk) p->config_path = x_strdup(load->path);
  take_settings(L, &p->settings);
  take_entries(L, load, p);
  take_discovers(L, p);
  take_routes(L, p);
  plan_resolve(p, load->registry);
  take_strategy(L, p);
  plan_seal(p);
  if (field_is_set(L, "isTrial")) {
    load->report->trial = p;
    load->plan = NULL;
  }
}
