/*
 * plan_derive: what the contract adds to a plan, and a plan made anew from another one's configuration. Apart from
 * plan.c, since nothing here is asked while requests run.
 */
#include "model/plan.h"

#include "base/clock.h"
#include "base/reach.h"
#include "eth/fee.h"

#include <stdio.h>
#include <stdlib.h>

static unsigned count_texts(char **list) {
  unsigned n = 0;
  while (list && list[n])
    n++;
  return n;
}

/* ---- what the contract says ---- */

#define PROXY_PATH SPAN("/v1/proxy")

static void take_endpoint_of_record(struct plan_entry *e, bool takes_private) {
  struct span url = e->service->url;
  while (url.len && url.ptr[url.len - 1] == '/')
    url.len--;
  size_t size = url.len + PROXY_PATH.len + 1;
  char *text = x_malloc(size);
  (void)snprintf(text, size, "%.*s%s", SPAN_FMT(url), PROXY_PATH.ptr);
  /* A url that cannot be used leaves the entry without an endpoint. */
  e->has_endpoint = endpoint_parse(&e->endpoint, span_str(text)) == NULL;
  e->is_endpoint_of_record = true;
  e->is_public_only = !takes_private;
  e->is_private_url = e->has_endpoint && !takes_private && reach_is_private_host(e->endpoint.host);
  if (e->is_private_url) {
    endpoint_release(&e->endpoint);
    e->has_endpoint = false;
  }
  free(text);
}

static bool is_model_name(struct span name) {
  if (name.len == 0 || name.len > MODEL_NAME_MAX) return false;
  for (size_t i = 0; i < name.len; i++)
    if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7f) return false;
  return true;
}

static void resolve_entry(struct plan_entry *e, struct registry *registry, bool takes_private) {
  if (e->provider->kind != PROVIDER_ONCHAIN) return;
  if (!e->record) e->record = registry_record(registry, span_str(e->provider->id));
  if (e->record) {
    e->service = &e->record->service;
    e->has_price = true;
    e->price_in = u256_to_double(e->service->input_price);
    e->price_out = u256_to_double(e->service->output_price);
    if (!e->has_endpoint) take_endpoint_of_record(e, takes_private);
    if (!e->model && is_model_name(e->service->model)) {
      e->model = x_strndup(e->service->model.ptr, e->service->model.len);
      e->is_model_of_record = true;
    }
  }
  struct span text = e->has_endpoint ? span_str(e->endpoint.text) : SPAN_NONE;
  if (span_ends(text, PROXY_PATH)) e->service_url = x_strndup(text.ptr, text.len - PROXY_PATH.len);
}

static bool is_wanted(const struct plan_discover *d, const struct record *r) {
  const struct service *s = &r->service;
  if (d->model && !span_eq(s->model, span_str(d->model))) return false;
  if (d->service_type && !span_eq(s->service_type, span_str(d->service_type))) return false;
  if (d->is_verifiable && !record_is_verifiable(r)) return false;
  if (d->has_max_in && u256_cmp(fee_for_people(s->service_type, s->input_price), d->max_in) > 0) return false;
  return !d->has_max_out || u256_cmp(fee_for_people(s->service_type, s->output_price), d->max_out) <= 0;
}

static char **copy_list(char **list) {
  unsigned n = count_texts(list);
  char **copy = x_calloc(n + 1, sizeof *copy);
  for (unsigned i = 0; i < n; i++)
    copy[i] = x_strdup(list[i]);
  return copy;
}

static void add_found(struct plan *p, const struct plan_discover *d, struct record *r,
                      struct registry *registry) {
  p->entries = x_realloc(p->entries, (p->n_entries + 1) * sizeof *p->entries);
  struct plan_entry *e = &p->entries[p->n_entries++];
  *e = (struct plan_entry){
      .provider = registry_get(registry, r->id, PROVIDER_ONCHAIN, clock_mono_ms()),
      .record = record_ref(r),
      .weight = d->weight,
      .priority = d->priority,
      .tags = copy_list(d->tags),
      .takes_unverified = d->takes_unverified,
  };
}

static void discover(struct plan *p, const struct plan_discover *d, struct record **records, size_t n,
                     struct registry *registry) {
  unsigned n_found = 0;
  for (size_t i = 0; i < n && p->n_entries < PLAN_PROVIDERS_MAX; i++) {
    if (d->limit && n_found == d->limit) return;
    if (!is_wanted(d, records[i])) continue;
    n_found++;
    if (plan_find(p, span_str(records[i]->id)) < 0) add_found(p, d, records[i], registry);
  }
}

static void resolve_routes(struct plan *p) {
  for (unsigned i = 0; i < p->n_routes; i++) {
    for (char **id = p->routes[i].found; id && *id; id++) {
      int slot = plan_find(p, span_str(*id));
      if (slot >= 0) slot_add(&p->routes[i].slots, (unsigned)slot);
    }
  }
}

void plan_resolve(struct plan *p, struct registry *registry) {
  p->n_configured = p->n_entries;
  if (p->n_discovers) {
    size_t n;
    struct record **records = registry_records(registry, &n);
    for (unsigned i = 0; i < p->n_discovers; i++)
      discover(p, &p->discovers[i], records, n, registry);
    for (size_t i = 0; i < n; i++)
      record_unref(&records[i]);
    free(records);
  }
  for (unsigned i = 0; i < p->n_entries; i++)
    resolve_entry(&p->entries[i], registry, p->settings.chain.takes_private);
  resolve_routes(p);
}

/* ---- deriving ---- */

static char *copy_text(const char *s) {
  return s ? x_strdup(s) : NULL;
}

static void copy_settings(struct settings *to, const struct settings *from) {
  *to = *from;
  to->host = copy_text(from->host);
  to->forward_headers = copy_list(from->forward_headers);
  to->client_keys = copy_list(from->client_keys);
  to->admin_token = copy_text(from->admin_token);
  to->cors_origins = copy_list(from->cors_origins);
  to->tls_ca = copy_text(from->tls_ca);
  to->upstream = copy_text(from->upstream);
  to->chain.nodes = copy_list(from->chain.nodes);
}

/* What the configuration says of it; what came from the contract is read anew. */
static void copy_entry(struct plan_entry *to, const struct plan_entry *from) {
  *to = (struct plan_entry){
      .provider = provider_ref(from->provider),
      .model = from->is_model_of_record ? NULL : copy_text(from->model),
      .api_key = copy_text(from->api_key),
      .health_path = copy_text(from->health_path),
      .weight = from->weight,
      .priority = from->priority,
      .tags = copy_list(from->tags),
      .takes_unverified = from->takes_unverified,
  };
  if (!from->has_endpoint || from->is_endpoint_of_record) return;
  const char *wrong = endpoint_parse(&to->endpoint, span_str(from->endpoint.text));
  REQUIRE(!wrong);
  to->has_endpoint = true;
}

static void copy_discover(struct plan_discover *to, const struct plan_discover *from) {
  *to = *from;
  to->model = copy_text(from->model);
  to->service_type = copy_text(from->service_type);
  to->tags = copy_list(from->tags);
}

static void copy_route(struct model_route *to, const struct model_route *from, unsigned n_configured) {
  *to = (struct model_route){.name = x_strdup(from->name),
                             .found = from->found ? copy_list(from->found) : NULL};
  for (unsigned i = 0; i < n_configured; i++)
    if (slot_has(&from->slots, i)) slot_add(&to->slots, i);
}

static struct plan *derive_unsealed(const struct plan *from, struct registry *registry) {
  struct plan *p = plan_new();
  copy_settings(&p->settings, &from->settings);
  p->config_path = copy_text(from->config_path);
  p->n_entries = from->n_configured;
  p->entries = x_calloc(p->n_entries ? p->n_entries : 1, sizeof *p->entries);
  for (unsigned i = 0; i < p->n_entries; i++)
    copy_entry(&p->entries[i], &from->entries[i]);
  p->n_discovers = from->n_discovers;
  if (p->n_discovers) p->discovers = x_calloc(p->n_discovers, sizeof *p->discovers);
  for (unsigned i = 0; i < p->n_discovers; i++)
    copy_discover(&p->discovers[i], &from->discovers[i]);
  p->n_routes = from->n_routes;
  if (p->n_routes) p->routes = x_calloc(p->n_routes, sizeof *p->routes);
  for (unsigned i = 0; i < p->n_routes; i++)
    copy_route(&p->routes[i], &from->routes[i], from->n_configured);
  plan_take_strategy(p, from);
  plan_resolve(p, registry);
  return p;
}

struct plan *plan_derive(const struct plan *from, struct registry *registry) {
  struct plan *p = derive_unsealed(from, registry);
  plan_seal(p);
  return p;
}

bool plan_is_outdated(const struct plan *p, struct registry *registry) {
  bool has_chain = p->n_discovers > 0;
  for (unsigned i = 0; i < p->n_entries && !has_chain; i++)
    has_chain = p->entries[i].provider->kind == PROVIDER_ONCHAIN;
  if (!has_chain) return false;
  struct plan *now = derive_unsealed(p, registry);
  bool differs = now->n_entries != p->n_entries;
  for (unsigned i = 0; i < p->n_entries && !differs; i++)
    differs =
        now->entries[i].provider != p->entries[i].provider || now->entries[i].record != p->entries[i].record;
  plan_unref(&now);
  return differs;
}
