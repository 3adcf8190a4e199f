#include "model/plan.h"

#include "base/base.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#define URL_MAX  2048
#define HOST_MAX 253

/* ---- life ---- */

struct plan *plan_new(void) {
  struct plan *p = x_calloc(1, sizeof *p);
  p->refs = 1;
  p->stats = strategy_stats_new();
  struct settings *s = &p->settings;
  s->port = 3000;
  s->max_retries = 3;
  s->health_interval_ms = 30000;
  s->health_timeout_ms = 5000;
  s->session_timeout_ms = 30 * 60 * 1000;
  s->max_sessions = 1000000;
  s->max_session_store_bytes = (uint64_t)256 << 20;
  s->max_body_bytes = (size_t)32 << 20;
  s->max_buffered_bytes = (size_t)1 << 30;
  s->timeouts = (struct plan_timeouts){
      .connect = 5000,
      .first_byte = 120000,
      .idle = 60000,
      .total = 600000,
      .client_header = 10000,
      .client_idle = 75000,
      .queue = 5000,
      .drain = 30000,
  };
  s->max_queued_requests = 1000;
  s->body_rate_bytes = 240;
  s->body_rate_window_ms = 10000;
  s->retry_budget = 0.2;
  s->retry_budget_min = 3;
  s->reload_watch = s->reload_canary = true;
  s->call_budget_us = 2000;
  s->log_level = LOG_INFO;
  s->log_format = LOG_TEXT;
  s->health = HEALTH_RULES_DEFAULT;
  s->verify_sample_rate = 0.1;
  s->chain.token_lifetime_ms = PLAN_TOKEN_LIFETIME_MS;
  s->chain.refresh_ms = 180000;
  return p;
}

struct plan *plan_ref(struct plan *p) {
  (void)__atomic_fetch_add(&p->refs, 1, __ATOMIC_RELAXED);
  return p;
}

static void free_list(char **list) {
  for (char **s = list; s && *s; s++)
    free(*s);
  free(list);
}

static void free_secret(char *secret) {
  if (secret) wipe(secret, strlen(secret));
  free(secret);
}

static void free_secrets(char **list) {
  for (char **s = list; s && *s; s++)
    free_secret(*s);
  free(list);
}

static void free_routes(struct model_route *routes, unsigned n) {
  for (unsigned i = 0; i < n; i++) {
    free(routes[i].name);
    free_list(routes[i].found);
  }
  free(routes);
}

static void release_settings(struct settings *s) {
  free(s->session_store);
  free(s->host);
  free_list(s->forward_headers);
  free_secrets(s->client_keys);
  free_secret(s->admin_token);
  free_list(s->cors_origins);
  free(s->tls_ca);
  free(s->upstream);
  free_secrets(s->chain.nodes);
}

static void release_entry(struct plan_entry *e) {
  provider_unref(&e->provider);
  record_unref(&e->record);
  endpoint_release(&e->endpoint);
  free(e->service_url);
  free(e->model);
  free_secret(e->api_key);
  free(e->health_path);
  free_list(e->tags);
}

static void release_discover(struct plan_discover *d) {
  free(d->model);
  free(d->service_type);
  free_list(d->tags);
}

void plan_unref(struct plan **pp) {
  struct plan *p = *pp;
  *pp = NULL;
  if (!p || __atomic_fetch_sub(&p->refs, 1, __ATOMIC_ACQ_REL) != 1) return;
  for (unsigned i = 0; i < p->n_entries; i++)
    release_entry(&p->entries[i]);
  free(p->entries);
  for (unsigned i = 0; i < p->n_discovers; i++)
    release_discover(&p->discovers[i]);
  free(p->discovers);
  free_routes(p->routes, p->n_routes);
  free_routes(p->own, p->n_own);
  release_settings(&p->settings);
  free(p->config_path);
  free(p->strategy_name);
  if (p->strategy_path) free((char *)p->strategy_source.ptr);
  free(p->strategy_path);
  free(p->strategy_options);
  free(p->strategy_options_at);
  strategy_stats_free(p->stats);
  free(p);
}

/* ---- sealing ---- */

static int compare_names(struct span a, struct span b) {
  size_t n = a.len < b.len ? a.len : b.len;
  int c = n ? memcmp(a.ptr, b.ptr, n) : 0;
  if (c) return c;
  return (a.len > b.len) - (a.len < b.len);
}

static int compare_routes(const void *a, const void *b) {
  const struct model_route *x = a, *y = b;
  return compare_names(span_str(x->name), span_str(y->name));
}

static void add_slots(struct slot_set *to, const struct slot_set *from) {
  for (size_t i = 0; i < ARRAY_LEN(to->w); i++)
    to->w[i] |= from->w[i];
}

static unsigned count_texts(char **list) {
  unsigned n = 0;
  while (list && list[n])
    n++;
  return n;
}

/* Moves the texts of one list behind those of the other. */
static void append_texts(char ***to, char **from) {
  unsigned n = count_texts(*to), more = count_texts(from);
  if (more) {
    *to = x_realloc(*to, (n + more + 1) * sizeof **to);
    memcpy(*to + n, from, (more + 1) * sizeof **to);
  }
  free(from);
}

/* Sorts by name and joins routes of one name; returns how many are left. */
static unsigned sort_routes(struct model_route *routes, unsigned n) {
  if (n < 2) return n;
  qsort(routes, n, sizeof *routes, compare_routes);
  unsigned kept = 0;
  for (unsigned i = 1; i < n; i++) {
    if (strcmp(routes[kept].name, routes[i].name) == 0) {
      add_slots(&routes[kept].slots, &routes[i].slots);
      append_texts(&routes[kept].found, routes[i].found);
      free(routes[i].name);
    } else {
      routes[++kept] = routes[i];
    }
  }
  return kept + 1;
}

static void list_own_models(struct plan *p) {
  if (p->n_entries) p->own = x_calloc(p->n_entries, sizeof *p->own);
  for (unsigned i = 0; i < p->n_entries; i++) {
    if (!p->entries[i].model) continue;
    struct model_route *r = &p->own[p->n_own++];
    r->name = x_strdup(p->entries[i].model);
    slot_add(&r->slots, i);
  }
  p->n_own = sort_routes(p->own, p->n_own);
}

static void set_list(char ***list) {
  if (!*list) *list = x_calloc(1, sizeof **list);
}

static void set_text(char **text, const char *value) {
  if (!*text) *text = x_strdup(value);
}

void plan_take_strategy(struct plan *p, const struct plan *from) {
  free(p->strategy_name);
  free(p->strategy_options);
  free(p->strategy_options_at);
  if (p->strategy_path) free((char *)p->strategy_source.ptr);
  free(p->strategy_path);
  p->strategy_name = x_strdup(from->strategy_name);
  p->strategy_options = x_strdup(from->strategy_options);
  p->strategy_options_at = from->strategy_options_at ? x_strdup(from->strategy_options_at) : NULL;
  p->strategy_path = from->strategy_path ? x_strdup(from->strategy_path) : NULL;
  p->strategy_source = from->strategy_source;
  if (from->strategy_path)
    p->strategy_source.ptr = x_strndup(from->strategy_source.ptr, from->strategy_source.len);
}

static void note_work(struct plan *p, unsigned slot) {
  static const struct {
    enum plan_work work;
    const char *type;
  } works[] = {{WORK_CHAT, "chatbot"},
               {WORK_IMAGES, "text-to-image"},
               {WORK_IMAGE_EDITS, "image-editing"},
               {WORK_TRANSCRIPTION, "speech-to-text"},
               {WORK_EMBEDDINGS, "embedding"}};
  const struct service *s = p->entries[slot].service;
  if (!s) return;
  for (size_t i = 0; i < ARRAY_LEN(works); i++) {
    if (!span_eq(s->service_type, span_str(works[i].type))) continue;
    for (unsigned work = 0; work < WORK_N; work++)
      if (work != works[i].work) slot_add(&p->others[work], slot);
  }
}

void plan_seal(struct plan *p) {
  REQUIRE(p->n_entries <= PLAN_PROVIDERS_MAX);
  REQUIRE(p->n_configured <= p->n_entries);
  REQUIRE(!p->own);
  set_text(&p->settings.host, "0.0.0.0");
  set_text(&p->settings.upstream, "curl");
  set_text(&p->strategy_name, "round-robin");
  set_text(&p->strategy_options, "return {}");
  set_list(&p->settings.forward_headers);
  set_list(&p->settings.client_keys);
  set_list(&p->settings.cors_origins);
  set_list(&p->settings.chain.nodes);
  for (unsigned i = 0; i < p->n_entries; i++) {
    slot_add(&p->all, i);
    if (!p->entries[i].model && p->entries[i].provider->kind == PROVIDER_DIRECT) slot_add(&p->open, i);
    note_work(p, i);
    set_list(&p->entries[i].tags);
  }
  list_own_models(p);
  p->n_routes = sort_routes(p->routes, p->n_routes);
}

/* ---- endpoints ---- */

static bool is_host_char(char c) {
  c = ascii_lower(c);
  return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' || c == '.';
}

static const char *check_host_name(struct span host) {
  if (host.len == 0) return "the URL names no host";
  if (host.len > HOST_MAX) return "the host name is too long";
  for (size_t i = 0; i < host.len; i++) {
    if (!is_host_char(host.ptr[i])) return "the host name has a character that no host name has";
    bool is_empty_label = host.ptr[i] == '.' && (i == 0 || host.ptr[i - 1] == '.');
    if (is_empty_label) return "the host name has an empty label";
  }
  return NULL;
}

static const char *check_host_v6(struct span host) {
  char text[INET6_ADDRSTRLEN];
  unsigned char bytes[16];
  if (host.len >= sizeof text) return "the IPv6 address is malformed";
  memcpy(text, host.ptr, host.len);
  text[host.len] = '\0';
  if (strlen(text) != host.len || inet_pton(AF_INET6, text, bytes) != 1)
    return "the IPv6 address is malformed";
  return NULL;
}

static const char *check_path(struct span path) {
  for (size_t i = 0; i < path.len; i++) {
    unsigned char c = (unsigned char)path.ptr[i];
    if (c <= ' ' || c >= 0x7f || strchr("\"<>\\^`{|}", c))
      return "the path has a character that must be escaped";
    bool is_escape = i + 2 < path.len && hex_digit(path.ptr[i + 1]) >= 0 && hex_digit(path.ptr[i + 2]) >= 0;
    if (c == '%' && !is_escape) return "the path has a malformed % escape";
    if (c != '/') continue;
    const char *rest = path.ptr + i + 1;
    size_t left = path.len - i - 1;
    bool is_dots = left >= 1 && rest[0] == '.' &&
                   (left == 1 || rest[1] == '/' || (rest[1] == '.' && (left == 2 || rest[2] == '/')));
    if (is_dots) return "the path has a . or .. segment";
  }
  return NULL;
}

/* Cuts the authority into host and port; a v6 host comes without its brackets. */
static const char *split_authority(struct span authority, struct span *host, struct span *port, bool *is_v6) {
  *is_v6 = authority.len > 0 && authority.ptr[0] == '[';
  const char *end = authority.ptr + authority.len, *at;
  if (*is_v6) {
    const char *close = memchr(authority.ptr, ']', authority.len);
    if (!close) return "the IPv6 address has no closing bracket";
    *host = span_make(authority.ptr + 1, (size_t)(close - authority.ptr - 1));
    at = close + 1;
    if (at < end && *at != ':') return "after the IPv6 address only a port can follow";
  } else {
    at = memchr(authority.ptr, ':', authority.len);
    if (!at) at = end;
    *host = span_make(authority.ptr, (size_t)(at - authority.ptr));
  }
  *port = at < end ? span_make(at + 1, (size_t)(end - at - 1)) : SPAN_NONE;
  return NULL;
}

static const char *read_port(struct span text, bool is_tls, uint16_t *out) {
  uint64_t port = is_tls ? 443 : 80;
  if (text.ptr && (!span_to_u64(text, 65535, &port) || port == 0))
    return "the port is not between 1 and 65535";
  *out = (uint16_t)port;
  return NULL;
}

static char *lower_copy(struct span s) {
  char *copy = x_strndup(s.ptr, s.len);
  for (size_t i = 0; i < s.len; i++)
    copy[i] = ascii_lower(copy[i]);
  return copy;
}

static char *make_authority(const struct endpoint *e, bool is_v6) {
  size_t size = strlen(e->host) + sizeof "[]:65535";
  char *text = x_malloc(size);
  const char *open = is_v6 ? "[" : "", *close = is_v6 ? "]" : "";
  bool is_default = e->port == (e->is_tls ? 443 : 80);
  if (is_default)
    (void)snprintf(text, size, "%s%s%s", open, e->host, close);
  else
    (void)snprintf(text, size, "%s%s%s:%u", open, e->host, close, e->port);
  return text;
}

static bool starts_with_scheme(struct span url, const char *scheme) {
  size_t n = strlen(scheme);
  if (url.len < n) return false;
  for (size_t i = 0; i < n; i++)
    if (ascii_lower(url.ptr[i]) != scheme[i]) return false;
  return true;
}

const char *endpoint_parse(struct endpoint *out, struct span url) {
  memset(out, 0, sizeof *out);
  if (url.len > URL_MAX) return "the URL is too long";
  bool is_tls = starts_with_scheme(url, "https://");
  if (!is_tls && !starts_with_scheme(url, "http://")) return "an endpoint is an http:// or https:// URL";
  while (url.len && url.ptr[url.len - 1] == '/')
    url.len--;
  size_t scheme_len = is_tls ? sizeof "https://" - 1 : sizeof "http://" - 1;
  if (url.len < scheme_len) return "the URL names no host";
  struct span rest = span_make(url.ptr + scheme_len, url.len - scheme_len);
  if (rest.len && memchr(rest.ptr, '?', rest.len)) return "an endpoint has no query";
  if (rest.len && memchr(rest.ptr, '#', rest.len)) return "an endpoint has no fragment";
  const char *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
  struct span authority = rest, path = SPAN("");
  if (slash) {
    authority.len = (size_t)(slash - rest.ptr);
    path = span_make(slash, rest.len - authority.len);
  }
  if (authority.len && memchr(authority.ptr, '@', authority.len))
    return "an endpoint has no user or password (use apiKey)";

  struct span host = SPAN_NONE, port_text = SPAN_NONE;
  bool is_v6 = false;
  uint16_t port = 0;
  const char *wrong =
      authority.len ? split_authority(authority, &host, &port_text, &is_v6) : "the URL names no host";
  if (!wrong) wrong = is_v6 ? check_host_v6(host) : check_host_name(host);
  if (!wrong) wrong = read_port(port_text, is_tls, &port);
  if (!wrong) wrong = check_path(path);
  if (wrong) return wrong;
  out->text = x_strndup(url.ptr, url.len);
  out->is_tls = is_tls;
  out->host = lower_copy(host);
  out->port = port;
  out->path = x_strndup(path.ptr, path.len);
  out->authority = make_authority(out, is_v6);
  return NULL;
}

void endpoint_release(struct endpoint *e) {
  free(e->text);
  free(e->host);
  free(e->authority);
  free(e->path);
  memset(e, 0, sizeof *e);
}

void plan_init_providers(const struct plan *p) {
  for (unsigned i = 0; i < p->n_entries; i++) {
    const struct plan_entry *e = &p->entries[i];
    if (e->provider->kind == PROVIDER_ONCHAIN && e->record) continue;
    char reason[PROVIDER_REASON_MAX];
    (void)snprintf(reason, sizeof reason,
                   "Failed to initialize provider %s: its service has not been read from the chain",
                   e->provider->id);
    provider_set_init(e->provider, e->has_endpoint ? NULL : reason);
  }
}

/* ---- reading ---- */

static const struct model_route *find_route(const struct model_route *routes, unsigned n, struct span name) {
  unsigned low = 0, high = n;
  while (low < high) {
    unsigned mid = low + (high - low) / 2;
    int c = compare_names(span_str(routes[mid].name), name);
    if (c == 0) return &routes[mid];
    if (c < 0)
      low = mid + 1;
    else
      high = mid;
  }
  return NULL;
}

bool plan_has_open(const struct plan *p) {
  uint64_t any = 0;
  for (size_t w = 0; w < ARRAY_LEN(p->open.w); w++)
    any |= p->open.w[w];
  return any != 0;
}

/* Of those without a model of their own: who lists it, and who may have it, for all we know. */
static bool find_listed(const struct plan *p, struct slot_set *out, struct span model) {
  bool is_listed = false;
  struct slot_set found = {{0}};
  for (unsigned i = 0; i < p->n_entries; i++) {
    if (!slot_has(&p->open, i)) continue;
    enum provider_listing said = provider_lists(p->entries[i].provider, model);
    if (said != PROVIDER_LISTS_OTHERS) slot_add(&found, i);
    is_listed |= said == PROVIDER_LISTS_IT;
  }
  if (is_listed) *out = found;
  return is_listed;
}

bool plan_who_serves(const struct plan *p, struct slot_set *out, struct span model) {
  *out = p->all;
  if (model.len == 0) return true;
  const struct model_route *route = find_route(p->routes, p->n_routes, model);
  if (!route) route = find_route(p->own, p->n_own, model);
  if (route) {
    *out = route->slots;
    return true;
  }
  return find_listed(p, out, model) || !p->settings.strict_models;
}

bool plan_keep_who_does(const struct plan *p, struct slot_set *serves, enum plan_work work) {
  uint64_t any = 0;
  for (unsigned w = 0; w < ARRAY_LEN(serves->w); w++)
    any |= serves->w[w] &= ~p->others[work].w[w];
  return any != 0;
}

typedef enum provider_bar bar_fn(const struct provider *p, uint64_t now_ms);

static unsigned take_free(const struct plan *p, uint16_t *out, const struct slot_set *asked, bar_fn *bar_of,
                          uint64_t now_ms) {
  unsigned n = 0;
  for (unsigned w = 0; w < ARRAY_LEN(asked->w); w++)
    for (uint64_t left = asked->w[w]; left; left &= left - 1) {
      unsigned slot = w * 64 + (unsigned)__builtin_ctzll(left);
      enum provider_bar bar = bar_of(p->entries[slot].provider, now_ms);
      if (LIKELY(bar == PROVIDER_IS_FREE))
        out[n++] = (uint16_t)slot;
      else if (bar_of == provider_barred)
        provider_note_barred(p->entries[slot].provider, bar);
    }
  return n;
}

unsigned plan_candidates(const struct plan *p, uint16_t *out, const struct slot_set *serves,
                         const struct slot_set *tried, uint64_t now_ms) {
  struct slot_set asked;
  for (unsigned w = 0; w < ARRAY_LEN(asked.w); w++)
    asked.w[w] = serves->w[w] & ~tried->w[w];
  unsigned n = take_free(p, out, &asked, provider_barred, now_ms);
  if (n || p->settings.panic_refuse) return n;
  return take_free(p, out, &asked, provider_barred_in_panic, now_ms);
}

double settings_retry_limit(const struct settings *s, uint32_t active) {
  double share = s->retry_budget * active;
  return share > s->retry_budget_min ? share : s->retry_budget_min;
}

int plan_find(const struct plan *p, struct span id) {
  for (unsigned i = 0; i < p->n_entries; i++)
    if (provider_id_eq(span_str(p->entries[i].provider->id), id)) return (int)i;
  return -1;
}
