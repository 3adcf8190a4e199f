/*
 * The native transport: HTTP/1.1 over TCP or TLS with a keep-alive pool per provider. In steady state a call
 * costs one writev and one read: the head and the body's segments leave together, and the answer is handed
 * over where it was read (or deciphered). What it is made of: h1_private.h.
 *
 * A provider that would rather speak HTTP/2 says so in the TLS handshake. That call and all later ones to it are handed
 * over to the transport for HTTP/2.
 *
 * Thread: the loop's.   Owner: upstream.c, until release(); then the last of its sockets and look-ups.
 */
#include "net/h1_private.h"

#include <stdlib.h>

#define SWEEP_MS 5000

/* ---- HTTP/2: another transport's ---- */

static void on_inner_head(void *user, const struct http_response *head) {
  struct h1_call *call = user;
  call->req.events->on_head(call->req.user, head);
}

static void on_inner_data(void *user, const char *bytes, size_t len) {
  struct h1_call *call = user;
  call->req.events->on_data(call->req.user, bytes, len);
}

static void on_inner_done(void *user, enum upstream_end end, const char *detail) {
  h1_call_finish(user, end, detail);
}

static void cancel_inner(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  upstream_cancel(call->inner);
  h1_call_free(call);
}

static void pause_inner(struct upstream_call *base) {
  upstream_pause(container_of(base, struct h1_call, base)->inner);
}

static void resume_inner(struct upstream_call *base) {
  upstream_resume(container_of(base, struct h1_call, base)->inner);
}

static bool has_inner_sent(struct upstream_call *base) {
  return upstream_has_sent(container_of(base, struct h1_call, base)->inner);
}

static double inner_connect_ms(struct upstream_call *base) {
  return upstream_connect_ms(container_of(base, struct h1_call, base)->inner);
}

static const struct transport_ops INNER_OPS = {.cancel = cancel_inner,
                                               .pause = pause_inner,
                                               .resume = resume_inner,
                                               .has_sent = has_inner_sent,
                                               .connect_ms = inner_connect_ms};
static const struct upstream_events INNER_EVENTS = {
    .on_head = on_inner_head, .on_data = on_inner_data, .on_done = on_inner_done};

void h1_hand_over(struct h1_call *call) {
  struct transport *other = upstream_h2(call->h1->upstream);
  struct upstream_request req = call->req;
  req.events = &INNER_EVENTS;
  req.user = call;
  loop_timer_stop(call->h1->loop, &call->clock);
  call->base.ops = &INNER_OPS;
  other->ops->start(other, &req, &call->inner);
}

/* ---- calls ---- */

static bool has_tls(struct h1 *h) {
  if (h->tls) return true;
  h->tls = tls_context_new(h->ca_file, h->tls_error);
  if (h->tls) h->plain = x_malloc(H1_PLAIN_BYTES);
  return h->tls != NULL;
}

static void start(struct transport *base, const struct upstream_request *req, struct upstream_call **out) {
  struct h1 *h = container_of(base, struct h1, base);
  struct blocks *blocks = &h->loop->blocks;
  struct h1_origin *o = h1_origin_find(h, req->base, req->is_public_only);
  if (o->is_h2) {
    struct transport *other = upstream_h2(h->upstream);
    other->ops->start(other, req, out);
    return;
  }
  struct h1_call *call = blocks_take(blocks, sizeof *call, NULL);
  *call = (struct h1_call){.base.ops = h->base.ops, .h1 = h, .origin = o, .req = *req};
  list_init(&call->node);
  buf_init_in(&call->answer_head, HTTP_RESPONSE_HEAD_MAX + LOOP_READ_BYTES, blocks);
  call->origin->n_users++;
  h->n_live++;
  *out = &call->base;
  if (o->is_tls && !has_tls(h))
    h1_call_fail_later(call, UPSTREAM_TLS, h->tls_error);
  else
    h1_call_begin(call, false);
}

static void cancel(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  if (call->socket) h1_socket_close(call->socket);
  h1_call_free(call);
}

static void pause_call(struct upstream_call *base) {
  const struct h1_call *call = container_of(base, struct h1_call, base);
  if (call->socket) h1_socket_read_no_more(call->socket);
}

static void resume_call(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  if (call->socket && call->phase >= PHASE_SENDING && !h1_socket_read_on(call->socket))
    h1_call_fail_later(call, UPSTREAM_CUT, "cannot read on");
}

static bool has_sent(struct upstream_call *base) {
  const struct h1_call *call = container_of(base, struct h1_call, base);
  return call->phase == PHASE_BODY && call->socket && call->socket->n_writing == 0;
}

static double connect_ms(struct upstream_call *base) {
  return container_of(base, struct h1_call, base)->connect_ms;
}

/* ---- the whole ---- */

/* Sockets and look-ups end on the loop, after release(). */
void h1_free_when_unused(struct h1 *h) {
  if (!h->is_released || !list_is_empty(&h->origins)) return;
  if (h->head.data) wipe(h->head.data, h->head.cap);
  buf_release(&h->head);
  if (h->plain) wipe(h->plain, H1_PLAIN_BYTES);
  free(h->plain);
  if (h->tls) tls_context_free(h->tls);
  free(h->ca_file);
  free(h);
}

static void on_sweep(struct wheel_timer *t) {
  struct h1 *h = container_of(t, struct h1, sweep);
  list_each(node, next, &h->origins) {
    h1_origin_sweep(container_of(node, struct h1_origin, node));
  }
  loop_timer_start(h->loop, t, on_sweep, SWEEP_MS);
}

static void release(struct transport *base) {
  struct h1 *h = container_of(base, struct h1, base);
  REQUIRE(h->n_live == 0);
  loop_timer_stop(h->loop, &h->sweep);
  list_each(socket_node, next_socket, &h->sockets) {
    h1_socket_close(container_of(socket_node, struct h1_socket, node));
  }
  list_each(origin_node, next_origin, &h->origins) {
    struct h1_origin *o = container_of(origin_node, struct h1_origin, node);
    if (o->is_resolving) (void)uv_cancel((uv_req_t *)&o->request);
    h1_origin_forget(o);
  }
  h->is_released = true;
  h1_free_when_unused(h);
}

static const struct transport_ops OPS = {.start = start,
                                         .cancel = cancel,
                                         .pause = pause_call,
                                         .resume = resume_call,
                                         .has_sent = has_sent,
                                         .connect_ms = connect_ms,
                                         .release = release};

struct transport *transport_h1_new(struct upstream *u, struct loop *loop,
                                   const struct upstream_options *options) {
  struct h1 *h = x_calloc(1, sizeof *h);
  h->base.ops = &OPS;
  h->upstream = u;
  h->loop = loop;
  h->ca_file = options->ca_file ? x_strdup(options->ca_file) : NULL;
  h->idle_ms = options->idle_ms;
  list_init(&h->origins);
  list_init(&h->sockets);
  buf_init(&h->head, HTTP_RESPONSE_HEAD_MAX + LOOP_READ_BYTES);
  loop_timer_start(loop, &h->sweep, on_sweep, SWEEP_MS);
  return &h->base;
}
