/*
 * h1_connect: until a connection stands: the addresses of an origin one after the other, room when descriptors are short,
 * and TLS's handshake, which may find that the provider prefers HTTP/2.
 *
 * Thread: the loop's.   Owns nothing: a call's clock bounds all of it.
 */
#include "net/h1_private.h"
#include "base/reach.h"

#define NEXT_ADDRESS_MS 1000 /* an address gets this long while another is left */
#define ROOMS_MAX       4    /* what one call may take from others when descriptors are short */

static void on_timeout(struct wheel_timer *t) {
  struct h1_call *call = container_of(t, struct h1_call, clock);
  if (call->socket) h1_socket_close(call->socket);
  call->end = UPSTREAM_CONNECT_TIMEOUT;
  call->detail = "no connection in time";
  h1_connect(call);
}

/* ---- what follows ---- */

static void use(struct h1_call *call, struct h1_socket *s) {
  loop_timer_stop(call->h1->loop, &call->clock);
  call->connect_ms = (double)(loop_now_ms(call->h1->loop) - call->began_ms);
  h1_call_use(call, s);
}

static void leave_to_h2(struct h1_call *call, struct h1_socket *s) {
  h1_socket_close(s);
  h1_hand_over(call);
}

static void shake_hands(struct h1_socket *s) {
  struct h1_call *call = s->call;
  switch (tls_handshake(s->tls)) {
  case TLS_WANTS_MORE: return;
  case TLS_HAS_FAILED: h1_call_fail(call, UPSTREAM_TLS, tls_error(s->tls)); return;
  case TLS_IS_OPEN: break;
  }
  s->is_secure = true;
  if (tls_is_h2(s->tls)) {
    s->origin->is_h2 = true;
    leave_to_h2(call, s);
  } else {
    use(call, s);
  }
}

void h1_connect_shake(struct h1_socket *s) {
  shake_hands(s);
  if (!s->is_closing && !h1_socket_flush(s)) h1_socket_ended(s, UV_EPIPE);
}

/* The handshake has as long as the connection had. */
static void begin_tls(struct h1_call *call, struct h1_socket *s) {
  struct h1 *h = call->h1;
  uint64_t passed = loop_now_ms(h->loop) - call->began_ms, limit = call->req.connect_ms;
  s->tls = tls_new(h->tls, s->origin->host, &s->origin->ticket);
  loop_timer_start(h->loop, &call->clock, on_timeout, passed < limit ? limit - passed : 0);
  if (!h1_socket_read_on(s)) {
    h1_call_fail(call, UPSTREAM_CONNECT, "cannot read");
    return;
  }
  h1_connect_shake(s);
}

/* ---- an address ---- */

static void on_connected(uv_connect_t *c, int status) {
  struct h1_socket *s = c->data;
  struct h1_call *call = s->call;
  blocks_give(&s->h1->loop->blocks, c, sizeof *c);
  if (!call) { /* cancelled, or its time was over */
    h1_socket_close(s);
    return;
  }
  if (status < 0) {
    h1_socket_close(s);
    call->end = UPSTREAM_CONNECT;
    call->detail = uv_strerror(status);
    h1_connect(call);
    return;
  }
  (void)uv_tcp_nodelay(&s->tcp, 1);
  if (s->origin->is_h2)
    leave_to_h2(call, s);
  else if (s->origin->is_tls)
    begin_tls(call, s);
  else
    use(call, s);
}

/* 0: under way. */
static int begin(struct h1_socket *s, const struct sockaddr *address) {
  struct blocks *blocks = &s->h1->loop->blocks;
  uv_connect_t *connect = blocks_take(blocks, sizeof *connect, NULL);
  connect->data = s;
  int err = uv_tcp_connect(connect, &s->tcp, address, on_connected);
  if (err) blocks_give(blocks, connect, sizeof *connect);
  return err;
}

/* No descriptor is left: an idle connection of the pool goes, or an idle client. */
static bool make_room(struct h1 *h) {
  return h1_origin_close_one(h) || loop_spare_descriptor(h->loop);
}

void h1_connect(struct h1_call *call) {
  struct h1_origin *o = call->origin;
  struct h1 *h = call->h1;
  unsigned n_rooms = 0;
  uint64_t passed = loop_now_ms(h->loop) - call->began_ms;
  bool is_over = passed >= call->req.connect_ms;
  while (!is_over && call->next_address < o->n_addresses) {
    const struct sockaddr *a = (const struct sockaddr *)&o->addresses[call->next_address++];
    if (o->is_public_only && !reach_is_public(a)) {
      call->detail = TRANSPORT_IS_PRIVATE;
      continue;
    }
    struct h1_socket *s = h1_socket_new(call);
    if (!s) continue;
    int err = begin(s, a);
    if (err) {
      h1_socket_close(s);
      bool is_ours = err == UV_EMFILE || err == UV_ENFILE;
      call->end = is_ours ? UPSTREAM_NO_DESCRIPTOR : UPSTREAM_CONNECT;
      call->detail = uv_strerror(err);
      if (is_ours && n_rooms++ < ROOMS_MAX && make_room(h)) call->next_address--;
      continue;
    }
    call->phase = PHASE_CONNECTING;
    uint64_t limit = call->req.connect_ms - passed;
    if (call->next_address < o->n_addresses && limit > NEXT_ADDRESS_MS) limit = NEXT_ADDRESS_MS;
    loop_timer_start(h->loop, &call->clock, on_timeout, limit);
    return;
  }
  h1_call_fail_later(call, call->end, call->detail);
}
