/*
 * h1_origin: where a base URL leads: host and port taken apart once, the addresses of the name, and the connections that
 * wait there for the next call. Idle ones keep reading, so that the provider's close, or a byte nobody asked for, takes
 * them out of the pool at once.
 *
 * Thread: the loop's; names are resolved by libuv's pool.   Owner: the transport, by h1.origins; the last user frees it.
 */
#include "net/h1_private.h"

#include <stdlib.h>

#define RESOLVED_MS 30000
#define IDLE_MAX    256

/* ---- origins ---- */

void h1_origin_forget(struct h1_origin *o) {
  struct h1 *h = o->h1;
  if (--o->n_users) return;
  list_remove(&o->node);
  free(o->base);
  free(o->host);
  free(o->authority);
  free(o->path);
  tls_ticket_free(o->ticket);
  free(o);
  h1_free_when_unused(h);
}

/* `base` was checked when the configuration was loaded: http://authority/path, or https://. */
static struct h1_origin *new_origin(struct h1 *h, struct span base, bool is_public_only) {
  struct h1_origin *o = x_calloc(1, sizeof *o);
  o->h1 = h;
  o->base = x_strndup(base.ptr, base.len);
  o->base_len = base.len;
  o->is_public_only = is_public_only;
  o->is_tls = span_starts_nocase(base, SPAN("https:"));
  const char *authority = o->base + strlen(o->is_tls ? "https://" : "http://");
  size_t len = strcspn(authority, "/");
  o->authority = x_strndup(authority, len);
  o->path = x_strdup(authority + len);
  const char *colon = NULL;
  if (o->authority[0] == '[') {
    char *end = strchr(o->authority, ']');
    REQUIRE(end != NULL);
    o->host = x_strndup(o->authority + 1, (size_t)(end - o->authority) - 1);
    colon = end[1] == ':' ? end + 1 : NULL;
  } else {
    colon = strchr(o->authority, ':');
    o->host = x_strndup(o->authority, colon ? (size_t)(colon - o->authority) : len);
  }
  o->port = colon ? (uint16_t)strtoul(colon + 1, NULL, 10) : o->is_tls ? 443 : 80;
  struct sockaddr_in *v4 = (struct sockaddr_in *)&o->addresses[0];
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)&o->addresses[0];
  o->is_literal = uv_ip4_addr(o->host, o->port, v4) == 0 || uv_ip6_addr(o->host, o->port, v6) == 0;
  o->n_addresses = o->is_literal;
  list_init(&o->waiting);
  list_init(&o->idle);
  list_push_front(&h->origins, &o->node);
  o->n_users = 1; /* the list's own */
  return o;
}

struct h1_origin *h1_origin_find(struct h1 *h, struct span base, bool is_public_only) {
  list_each(node, next, &h->origins) {
    struct h1_origin *o = container_of(node, struct h1_origin, node);
    if (o->is_public_only == is_public_only && o->base_len == base.len &&
        memcmp(o->base, base.ptr, base.len) == 0)
      return o;
  }
  return new_origin(h, base, is_public_only);
}

/* ---- addresses ---- */

bool h1_origin_is_known(const struct h1_origin *o, uint64_t now_ms) {
  return o->is_literal || (o->resolved_at_ms && now_ms - o->resolved_at_ms < RESOLVED_MS);
}

/* Even and odd families in turn, the resolver's first choice first (RFC 8305, 4, without the parallel
 * attempts). */
static void take_addresses(struct h1_origin *o, const struct addrinfo *list) {
  const struct addrinfo *all[32];
  unsigned n = 0;
  for (const struct addrinfo *a = list; a && n < ARRAY_LEN(all); a = a->ai_next)
    if (a->ai_family == AF_INET || a->ai_family == AF_INET6) all[n++] = a;
  o->n_addresses = 0;
  int family = n ? all[0]->ai_family : 0;
  for (unsigned taken = 0; taken < n && o->n_addresses < H1_ADDRESSES_MAX; taken++) {
    unsigned pick = n;
    for (unsigned i = 0; i < n; i++) {
      if (!all[i]) continue;
      if (all[i]->ai_family == family) {
        pick = i;
        break;
      }
      if (pick == n) pick = i;
    }
    if (pick == n) break;
    memcpy(&o->addresses[o->n_addresses++], all[pick]->ai_addr, all[pick]->ai_addrlen);
    family = all[pick]->ai_family == AF_INET ? AF_INET6 : AF_INET;
    all[pick] = NULL;
  }
}

static void on_resolved(uv_getaddrinfo_t *r, int status, struct addrinfo *list) {
  struct h1_origin *o = r->data;
  o->is_resolving = false;
  if (status == 0) {
    take_addresses(o, list);
    o->resolved_at_ms = loop_now_ms(o->h1->loop);
  }
  uv_freeaddrinfo(list);
  struct list *node;
  struct list ready;
  list_init(&ready);
  while ((node = list_pop_front(&o->waiting)))
    list_push_back(&ready, node);
  while ((node = list_pop_front(&ready))) {
    struct h1_call *call = container_of(node, struct h1_call, node);
    loop_timer_stop(o->h1->loop, &call->clock);
    if (status == 0 && o->n_addresses)
      h1_connect(call);
    else
      h1_call_finish(call, UPSTREAM_DNS, status ? uv_strerror(status) : "the name has no address");
  }
  h1_origin_forget(o);
}

static void on_resolve_timeout(struct wheel_timer *t) {
  struct h1_call *call = container_of(t, struct h1_call, clock);
  list_remove(&call->node);
  h1_call_finish(call, UPSTREAM_DNS, "the name was not resolved in time");
}

void h1_origin_resolve(struct h1_call *call) {
  struct h1_origin *o = call->origin;
  call->phase = PHASE_RESOLVING;
  if (!o->is_resolving) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char service[8];
    (void)snprintf(service, sizeof service, "%u", o->port);
    o->request.data = o;
    int err = uv_getaddrinfo(&o->h1->loop->uv, &o->request, on_resolved, o->host, service, &hints);
    if (err) {
      h1_call_fail_later(call, UPSTREAM_DNS, uv_strerror(err));
      return;
    }
    o->is_resolving = true;
    o->n_users++;
  }
  list_push_back(&o->waiting, &call->node);
  loop_timer_start(o->h1->loop, &call->clock, on_resolve_timeout, call->req.connect_ms);
}

/* ---- idle connections ---- */

struct h1_socket *h1_origin_take_idle(struct h1_origin *o) {
  struct list *node = list_pop_front(&o->idle);
  if (!node) return NULL;
  o->n_idle--;
  struct h1_socket *s = container_of(node, struct h1_socket, idle);
  s->is_reused = true;
  return s;
}

bool h1_origin_has_room(const struct h1_origin *o) {
  return o->n_idle < IDLE_MAX;
}

void h1_origin_keep_idle(struct h1_origin *o, struct h1_socket *s) {
  s->idle_since_ms = loop_now_ms(o->h1->loop);
  list_push_front(&o->idle, &s->idle);
  o->n_idle++;
}

static struct h1_socket *idle_longest(const struct h1_origin *o) {
  return container_of(o->idle.prev, struct h1_socket, idle);
}

void h1_origin_sweep(struct h1_origin *o) {
  uint64_t now = loop_now_ms(o->h1->loop);
  while (!list_is_empty(&o->idle) && now - idle_longest(o)->idle_since_ms >= o->h1->idle_ms)
    h1_socket_close(idle_longest(o));
}

bool h1_origin_close_one(struct h1 *h) {
  list_each(node, next, &h->origins) {
    struct h1_origin *o = container_of(node, struct h1_origin, node);
    if (list_is_empty(&o->idle)) continue;
    h1_socket_close(idle_longest(o));
    return true;
  }
  return false;
}
