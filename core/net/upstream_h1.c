/*
 * The native transport: HTTP/1.1 over TCP or TLS with a keep-alive pool per provider. In steady state a call
 * costs one writev and one read: the head and the body's segments leave together, and the answer is handed
 * over where it was read (or deciphered).
 *
 *   call:   RESOLVING ─► CONNECTING ─► SENDING ─► HEAD ─► BODY ─► done          (an idle connection starts at
 * SENDING) socket: owned by the transport; lent to one call at a time; idle ones keep reading, so that the
 * provider's close, or a byte nobody asked for, takes them out of the pool at once.
 *
 * A connection may die at the moment it is used again: when it ends before any byte of the answer, the call
 * is carried over to a fresh connection, once.
 *
 * A provider that would rather speak HTTP/2 says so in the TLS handshake. That call and all later ones to it are handed
 * over to the transport for HTTP/2.
 */
#include "net/transport.h"
#include "net/socket.h"
#include "net/tls.h"
#include "base/reach.h"
#include "wire/chunk.h"

#include <math.h>
#include <stdlib.h>

#define ADDRESSES_MAX   8
#define RESOLVED_MS     30000
#define IDLE_MAX        256
#define INTERIM_MAX     16
#define SWEEP_MS        5000
#define NEXT_ADDRESS_MS 1000  /* an address gets this long while another is left */
#define ROOMS_MAX       4     /* what one call may take from others when descriptors are short */
#define PLAIN_BYTES     16384 /* of a TLS record */

enum phase { PHASE_RESOLVING, PHASE_CONNECTING, PHASE_SENDING, PHASE_HEAD, PHASE_BODY };

struct h1_call;

struct origin { /* one scheme://host:port */
  struct list node;
  struct h1 *h1;
  char *base; /* as in requests: "http://host:port/path" */
  bool is_tls, is_h2, is_public_only;
  struct tls_ticket *ticket;
  size_t base_len;
  char *host, *authority, *path;
  uint16_t port;
  struct sockaddr_storage addresses[ADDRESSES_MAX];
  unsigned n_addresses;
  uint64_t resolved_at_ms; /* 0: not yet */
  bool is_literal, is_resolving;
  uv_getaddrinfo_t request;
  struct list waiting;      /* calls, for the resolver */
  struct list idle;         /* sockets, the one used last comes first */
  unsigned n_idle, n_users; /* calls, sockets and a running look-up keep an origin alive */
};

struct h1 {
  struct transport base;
  struct upstream *upstream;
  struct loop *loop;
  char *ca_file;
  struct tls_context *tls; /* once an https:// URL was asked for */
  char *plain;             /* scratch: what was deciphered last */
  char tls_error[TLS_ERROR_MAX];
  struct list origins;
  struct list sockets;
  struct wheel_timer sweep;
  unsigned n_live;
  uint32_t idle_ms;
  struct http_response scratch;
  struct buf head; /* scratch: of the request being sent */
  bool is_closing, is_released;
};

struct socket {
  uv_tcp_t tcp;
  struct list node; /* in h1.sockets */
  struct list idle; /* in origin.idle */
  struct h1 *h1;
  struct origin *origin;
  struct h1_call *call;
  struct tls *tls; /* NULL: plain */
  uint64_t idle_since_ms;
  unsigned n_writing;
  bool is_reused, is_secure, is_reading, is_closing;
};

struct h1_call {
  struct upstream_call base;
  struct list node; /* origin.waiting */
  struct h1 *h1;
  struct origin *origin;
  struct socket *socket;
  struct upstream_request req;
  struct upstream_call *inner; /* handed over: the other transport's */
  size_t body_at;              /* over TLS: how much of the body is on its way */
  struct buf answer_head;      /* one that came in pieces */
  enum phase phase;
  unsigned next_address, interim;
  uint64_t began_ms;
  double connect_ms;
  bool is_replayed, is_paused, got_byte;
  enum http_framing framing;
  uint64_t left;
  struct chunk_decoder chunk;
  bool keep_alive;
  struct wheel_timer clock; /* connecting; also carries failures out of upstream_start() */
  enum upstream_end end;
  const char *detail;
};

static void connect_next(struct h1_call *call);
static bool read_on(struct socket *s);
static void use_socket(struct h1_call *call, struct socket *s);
static void begin(struct h1_call *call, bool fresh);
static void shake_on(struct socket *s);
static bool flush(struct socket *s);
static bool send_secure(struct h1_call *call, struct socket *s, bool is_first);
static void on_connect_timeout(struct wheel_timer *t);

/* ---- ends ---- */

/* Sockets and look-ups end on the loop, after release(); the last one takes the transport with it. */
static void free_when_unused(struct h1 *h) {
  if (!h->is_released || !list_is_empty(&h->origins)) return;
  if (h->head.data) wipe(h->head.data, h->head.cap);
  buf_release(&h->head);
  if (h->plain) wipe(h->plain, PLAIN_BYTES);
  free(h->plain);
  if (h->tls) tls_context_free(h->tls);
  free(h->ca_file);
  free(h);
}

static void forget_origin(struct origin *o) {
  struct h1 *h = o->h1;
  if (--o->n_users) return;
  list_remove(&o->node);
  free(o->base);
  free(o->host);
  free(o->authority);
  free(o->path);
  tls_ticket_free(o->ticket);
  free(o);
  free_when_unused(h);
}

static void on_socket_closed(uv_handle_t *h) {
  struct socket *s = h->data;
  list_remove(&s->node);
  struct blocks *blocks = &s->h1->loop->blocks;
  if (s->tls) tls_free(s->tls);
  forget_origin(s->origin);
  blocks_give(blocks, s, sizeof *s);
}

/* The farewell of TLS, or why there was no handshake: sent when it can be at once. */
static void say_goodbye(struct socket *s) {
  tls_close(s->tls);
  struct span out = tls_output(s->h1->tls);
  uv_buf_t b = uv_buf_init((char *)out.ptr, (unsigned)out.len);
  if (b.len && s->n_writing == 0) (void)socket_write(&s->tcp, &b, 1);
}

static void close_socket(struct socket *s) {
  if (s->is_closing) return;
  s->is_closing = true;
  if (s->tls) say_goodbye(s);
  if (s->call) s->call->socket = NULL;
  s->call = NULL;
  if (!list_is_empty(&s->idle)) {
    list_remove(&s->idle);
    s->origin->n_idle--;
  }
  uv_close((uv_handle_t *)&s->tcp, on_socket_closed);
}

static void recycle(struct h1_call *call) {
  struct h1 *h = call->h1;
  loop_timer_stop(h->loop, &call->clock);
  list_remove(&call->node);
  forget_origin(call->origin);
  h->n_live--;
  buf_release(&call->answer_head);
  blocks_give(&h->loop->blocks, call, sizeof *call);
}

/* The call is over; the connection was dealt with before. */
static void finish(struct h1_call *call, enum upstream_end end, const char *detail) {
  const struct upstream_events *ev = call->req.events;
  void *user = call->req.user;
  recycle(call);
  ev->on_done(user, end, detail);
}

static void fail(struct h1_call *call, enum upstream_end end, const char *detail) {
  if (call->socket) close_socket(call->socket);
  finish(call, end, detail);
}

static void on_late_failure(struct wheel_timer *t) {
  struct h1_call *call = container_of(t, struct h1_call, clock);
  fail(call, call->end, call->detail);
}

/* From inside upstream_start() no event may come yet. */
static void fail_later(struct h1_call *call, enum upstream_end end, const char *detail) {
  call->end = end;
  call->detail = detail;
  loop_timer_start(call->h1->loop, &call->clock, on_late_failure, 0);
}

static void cancel(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  if (call->socket) close_socket(call->socket);
  recycle(call);
}

/* The answer is complete: the connection goes back to the pool when nothing speaks against it. */
static void complete(struct h1_call *call, bool is_clean) {
  struct socket *s = call->socket;
  struct h1 *h = call->h1;
  is_clean = is_clean && !(s->tls && tls_has_more(s->tls));
  bool keep = is_clean && call->keep_alive && s->n_writing == 0 && s->origin->n_idle < IDLE_MAX && read_on(s);
  if (keep) {
    s->call = NULL;
    call->socket = NULL;
    s->idle_since_ms = loop_now_ms(h->loop);
    list_push_front(&s->origin->idle, &s->idle);
    s->origin->n_idle++;
  } else {
    close_socket(s);
  }
  finish(call, UPSTREAM_OK, "");
}

/* The connection ended. */
static void lost(struct h1_call *call, const char *why) {
  struct socket *s = call->socket;
  bool may_replay = s->is_reused && !call->got_byte && !call->is_replayed;
  close_socket(s);
  if (may_replay) {
    call->is_replayed = true;
    begin(call, true);
  } else if (call->phase == PHASE_BODY) {
    finish(call, UPSTREAM_CUT, why);
  } else {
    finish(call, UPSTREAM_NO_ANSWER, why);
  }
}

/* ---- the answer ---- */

/* Length of the head at the front of data; 0: incomplete, -1: a line that does not end in CRLF. */
static long find_head_end(const char *data, size_t len, size_t from) {
  const char *at = data + from, *end = data + len;
  while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
    if (at == data || at[-1] != '\r') return -1;
    if (at - data >= 3 && at[-2] == '\n') return (long)(at - data) + 1;
    at++;
  }
  return 0;
}

/* Whether the first bytes of a head may become a status line: another protocol shows at once, not when time is over. */
static bool may_be_http(const char *text, size_t len) {
  static const char start[] = "HTTP/1.";
  return memcmp(text, start, len < sizeof start - 1 ? len : sizeof start - 1) == 0;
}

/* Takes a complete head. False: the call is over (or has a new connection). */
static bool take_head(struct h1_call *call, const char *data, size_t len) {
  struct http_response *head = &call->h1->scratch;
  const char *wrong = http_response_parse(head, data, len, false);
  if (!wrong && head->status == 101) wrong = "it switches protocols";
  if (!wrong && head->status < 200 && ++call->interim > INTERIM_MAX) wrong = "too many interim answers";
  if (wrong) {
    fail(call, UPSTREAM_BAD_ANSWER, wrong);
    return false;
  }
  if (head->status < 200) return true;
  call->phase = PHASE_BODY;
  call->framing = head->framing;
  call->left = head->framing == HTTP_LENGTH ? head->content_length : 0;
  call->keep_alive = head->keep_alive && head->framing != HTTP_UNTIL_CLOSE;
  if (head->framing == HTTP_CHUNKED) chunk_decoder_init(&call->chunk);
  struct socket *s = call->socket;
  call->req.events->on_head(call->req.user, head);
  return s->call == call;
}

/* Takes body bytes; returns how many. The call may be over afterwards: s->call tells. */
static size_t take_body(struct h1_call *call, struct socket *s, const char *data, size_t len) {
  const struct upstream_events *ev = call->req.events;
  void *user = call->req.user;
  size_t used = 0;
  while (used < len) {
    struct span piece = SPAN_NONE;
    if (call->framing == HTTP_CHUNKED) {
      size_t n = 0;
      enum chunk_result r = chunk_decode(&call->chunk, &n, &piece, data + used, len - used);
      used += n;
      if (r == CHUNK_BAD) {
        fail(call, UPSTREAM_CUT, chunk_fault(&call->chunk));
        return len;
      }
      if (r == CHUNK_END) {
        complete(call, used == len);
        return used;
      }
      if (piece.len == 0) return used;
    } else {
      size_t take = len - used;
      if (call->framing == HTTP_LENGTH && take > call->left) take = (size_t)call->left;
      piece = span_make(data + used, take);
      used += take;
      call->left -= call->framing == HTTP_LENGTH ? take : 0;
    }
    ev->on_data(user, piece.ptr, piece.len);
    if (s->call != call) return len;
    if (call->framing == HTTP_LENGTH && call->left == 0) {
      complete(call, used == len);
      return used;
    }
  }
  return used;
}

static bool has_no_body(const struct h1_call *call) {
  return call->framing == HTTP_NO_BODY || (call->framing == HTTP_LENGTH && call->left == 0);
}

/* Heads (interim ones included) and what follows them. */
static void take_bytes(struct h1_call *call, struct socket *s, const char *data, size_t len) {
  call->got_byte = true;
  while (len && call->phase != PHASE_BODY) {
    bool is_split = call->phase == PHASE_HEAD && call->answer_head.len;
    size_t from = 0, before = is_split ? call->answer_head.len : 0;
    if (is_split) {
      from = before > 3 ? before - 3 : 0;
      if (before + len > HTTP_RESPONSE_HEAD_MAX + LOOP_READ_BYTES ||
          buf_append(&call->answer_head, data, len)) {
        fail(call, UPSTREAM_BAD_ANSWER, "its head is too large");
        return;
      }
    }
    const char *text = is_split ? call->answer_head.data : data;
    size_t have = is_split ? call->answer_head.len : len;
    if (!may_be_http(text, have)) {
      fail(call, UPSTREAM_BAD_ANSWER, "it does not speak HTTP/1.1");
      return;
    }
    long end = find_head_end(text, have, from);
    if (end < 0) {
      fail(call, UPSTREAM_BAD_ANSWER, "a line does not end in CRLF");
      return;
    }
    if ((end == 0 && have > HTTP_RESPONSE_HEAD_MAX) || end > HTTP_RESPONSE_HEAD_MAX) {
      fail(call, UPSTREAM_BAD_ANSWER, "its head is too large");
      return;
    }
    if (end == 0) {
      if (!is_split) {
        call->phase = PHASE_HEAD;
        buf_clear(&call->answer_head);
        if (buf_append(&call->answer_head, data, len))
          fail(call, UPSTREAM_BAD_ANSWER, "its head is too large");
      }
      return;
    }
    if (!take_head(call, text, (size_t)end)) return;
    size_t used = (size_t)end - before;
    data += used;
    len -= used;
    buf_clear(&call->answer_head);
  }
  if (call->phase != PHASE_BODY) return;
  if (has_no_body(call)) {
    complete(call, len == 0);
    return;
  }
  (void)take_body(call, s, data, len);
}

static void end_of_input(struct socket *s, ssize_t n) {
  struct h1_call *call = s->call;
  if (!call)
    close_socket(s); /* idle: closed by the provider */
  else if (s->tls && !s->is_secure)
    fail(call, UPSTREAM_TLS, "the connection was closed in the handshake");
  else if (call->phase == PHASE_BODY && call->framing == HTTP_UNTIL_CLOSE && n == UV_EOF)
    complete(call, false);
  else
    lost(call, n == UV_EOF ? "the connection was closed" : uv_strerror((int)n));
}

static void take_plain(struct socket *s, const char *data, size_t len) {
  if (s->call)
    take_bytes(s->call, s, data, len);
  else
    close_socket(s); /* bytes that nobody asked for */
}

static void take_ciphered(struct socket *s, const char *data, size_t len) {
  struct h1 *h = s->h1;
  tls_feed(s->tls, data, len);
  if (!s->is_secure) shake_on(s);
  while (s->is_secure && !s->is_closing) {
    ssize_t n = tls_read(s->tls, h->plain, PLAIN_BYTES);
    /* What TLS answers by itself leaves before anybody else has a say. */
    if (n >= 0 && !flush(s)) n = UV_EPIPE;
    if (n < 0) end_of_input(s, n);
    if (n <= 0) break;
    take_plain(s, h->plain, (size_t)n);
  }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct socket *s = stream->data;
  struct loop *l = s->h1->loop;
  (void)buf;
  if (n != UV_ENOBUFS) return;
  loop_time_passes(l);
  for (int i = 0; i < SOCKET_READS_MAX && s->is_reading && !s->is_closing; i++) {
    char *into = loop_read_buf(l);
    n = socket_read(&s->tcp, into, LOOP_READ_BYTES);
    /* An end without TLS's farewell may be anybody's doing. */
    if (n < 0) end_of_input(s, n == UV_EOF && s->is_secure ? UV_ECONNRESET : n);
    if (n <= 0) return;
    if (s->tls)
      take_ciphered(s, into, (size_t)n);
    else
      take_plain(s, into, (size_t)n);
    if (n < LOOP_READ_BYTES) return;
  }
}

static bool read_on(struct socket *s) {
  if (s->is_reading) return true;
  s->is_reading = uv_read_start((uv_stream_t *)&s->tcp, socket_lend_nothing, on_read) == 0;
  return s->is_reading;
}

static void pause_call(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  call->is_paused = true;
  if (!call->socket || !call->socket->is_reading) return;
  (void)uv_read_stop((uv_stream_t *)&call->socket->tcp);
  call->socket->is_reading = false;
}

static void resume_call(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  call->is_paused = false;
  if (call->socket && call->phase >= PHASE_SENDING && !read_on(call->socket))
    fail_later(call, UPSTREAM_CUT, "cannot read on");
}

/* ---- the request ---- */

/* What a full socket did not take at once; the head's bytes are copied, the scratch is needed for others. */
struct late_write {
  uv_write_t req;
  size_t head_len;
  char head[];
};

static void on_written(uv_write_t *req, int status) {
  struct socket *s = req->data;
  struct late_write *w = container_of(req, struct late_write, req);
  s->n_writing--;
  wipe(w->head, w->head_len);
  blocks_give(&s->h1->loop->blocks, w, sizeof *w + w->head_len);
  /* A failed write shows when reading: an early answer may still be there. */
  if (status == 0 && s->tls && s->call && s->n_writing == 0) (void)send_secure(s->call, s, false);
}

static void put_head(struct h1_call *call) {
  const struct upstream_request *req = &call->req;
  struct buf *b = &call->h1->head;
  size_t body = 0;
  for (unsigned i = 0; i < req->n_body; i++)
    body += req->body[i].len;
  buf_clear(b);
  buf_put_str(b, req->is_post ? "POST " : "GET ");
  buf_put_str(b, call->origin->path);
  buf_put_span(b, req->path);
  buf_put_str(b, " HTTP/1.1\r\nHost: ");
  buf_put_str(b, call->origin->authority);
  buf_put_str(b, "\r\nAccept-Encoding: identity\r\n");
  buf_put_span(b, req->fields[0]);
  buf_put_span(b, req->fields[1]);
  if (req->is_post) http_put_field_u64(b, "Content-Length", body);
  buf_put_str(b, "\r\n");
}

static bool send_later(struct socket *s, uv_buf_t *bufs, unsigned n, bool has_head) {
  struct blocks *blocks = &s->h1->loop->blocks;
  size_t head_len = has_head ? bufs[0].len : 0;
  struct late_write *w = blocks_take(blocks, sizeof *w + head_len, NULL);
  w->head_len = head_len;
  w->req.data = s;
  if (has_head) {
    memcpy(w->head, bufs[0].base, head_len);
    bufs[0].base = w->head;
  }
  bool is_under_way = uv_write(&w->req, (uv_stream_t *)&s->tcp, bufs, n, on_written) == 0;
  s->n_writing += is_under_way;
  if (!is_under_way) blocks_give(blocks, w, sizeof *w + head_len);
  return is_under_way;
}

/* Sends what TLS has to say. False: the connection is of no use. */
static bool flush(struct socket *s) {
  struct span out = tls_output(s->h1->tls);
  uv_buf_t b = uv_buf_init((char *)out.ptr, (unsigned)out.len);
  if (b.len == 0) return true;
  ssize_t r = s->n_writing ? UV_EAGAIN : socket_write(&s->tcp, &b, 1);
  if (r < 0 && r != UV_EAGAIN) return false;
  size_t sent = r > 0 ? (size_t)r : 0;
  b.base += sent;
  b.len -= sent;
  return b.len == 0 || send_later(s, &b, 1, true);
}

/* The body's next pieces, as much as may be ciphered at once. */
static unsigned next_pieces(struct h1_call *call, uv_buf_t *out, size_t room) {
  const struct upstream_request *req = &call->req;
  size_t skip = call->body_at;
  unsigned n = 0;
  for (unsigned i = 0; i < req->n_body && room; i++) {
    struct span s = req->body[i];
    if (skip >= s.len) {
      skip -= s.len;
      continue;
    }
    size_t take = s.len - skip < room ? s.len - skip : room;
    out[n++] = uv_buf_init((char *)s.ptr + skip, (unsigned)take);
    call->body_at += take;
    room -= take;
    skip = 0;
  }
  return n;
}

/* As far as the socket takes it; the rest follows when it does. False: the connection is of no use. */
static bool send_secure(struct h1_call *call, struct socket *s, bool is_first) {
  do {
    uv_buf_t bufs[UPSTREAM_SEGMENTS_MAX + 1];
    unsigned n = 0;
    size_t room = TLS_WRITE_MAX;
    if (is_first) {
      struct span head = buf_span(&call->h1->head);
      bufs[n++] = uv_buf_init((char *)head.ptr, (unsigned)head.len);
      room -= head.len < room ? head.len : room;
      call->body_at = 0;
    }
    n += next_pieces(call, bufs + n, room);
    if (n == 0) return true;
    if (!tls_write(s->tls, bufs, n) || !flush(s)) return false;
    is_first = false;
  } while (s->n_writing == 0);
  return true;
}

/* False: the connection is of no use. */
static bool send_request(struct h1_call *call, struct socket *s) {
  const struct upstream_request *req = &call->req;
  uv_buf_t bufs[UPSTREAM_SEGMENTS_MAX + 1];
  unsigned n = 0;
  put_head(call);
  REQUIRE(req->n_body <= UPSTREAM_SEGMENTS_MAX);
  call->phase = PHASE_SENDING;
  if (s->tls) return send_secure(call, s, true);
  bufs[n++] = uv_buf_init(call->h1->head.data, (unsigned)call->h1->head.len);
  for (unsigned i = 0; i < req->n_body; i++)
    if (req->body[i].len) bufs[n++] = uv_buf_init((char *)req->body[i].ptr, (unsigned)req->body[i].len);
  ssize_t r = socket_write(&s->tcp, bufs, n);
  if (r < 0 && r != UV_EAGAIN) return false;
  size_t sent = r > 0 ? (size_t)r : 0;
  unsigned first = 0;
  while (first < n && sent >= bufs[first].len)
    sent -= bufs[first++].len;
  if (first == n) return true;
  bufs[first].base += sent;
  bufs[first].len -= sent;
  return send_later(s, bufs + first, n - first, first == 0);
}

static void use_socket(struct h1_call *call, struct socket *s) {
  s->call = call;
  call->socket = s;
  if (read_on(s) && send_request(call, s)) return;
  bool was_reused = s->is_reused;
  close_socket(s);
  if (was_reused && !call->is_replayed) {
    call->is_replayed = true;
    begin(call, true);
  } else {
    fail_later(call, UPSTREAM_NO_ANSWER, "the request could not be written");
  }
}

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
  finish(user, end, detail);
}

static void cancel_inner(struct upstream_call *base) {
  struct h1_call *call = container_of(base, struct h1_call, base);
  upstream_cancel(call->inner);
  recycle(call);
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

/* It has no connection, and nothing of it was sent. */
static void hand_over(struct h1_call *call) {
  struct transport *other = upstream_h2(call->h1->upstream);
  struct upstream_request req = call->req;
  req.events = &INNER_EVENTS;
  req.user = call;
  loop_timer_stop(call->h1->loop, &call->clock);
  call->base.ops = &INNER_OPS;
  other->ops->start(other, &req, &call->inner);
}

/* ---- connecting ---- */

static void drop_connection(struct h1_call *call) {
  struct socket *s = call->socket;
  s->call = NULL;
  call->socket = NULL;
  close_socket(s);
}

static void shake_hands(struct socket *s) {
  struct h1_call *call = s->call;
  switch (tls_handshake(s->tls)) {
  case TLS_WANTS_MORE: return;
  case TLS_HAS_FAILED: fail(call, UPSTREAM_TLS, tls_error(s->tls)); return;
  case TLS_IS_OPEN: break;
  }
  s->is_secure = true;
  if (tls_is_h2(s->tls)) {
    s->origin->is_h2 = true;
    drop_connection(call);
    hand_over(call);
    return;
  }
  loop_timer_stop(call->h1->loop, &call->clock);
  call->connect_ms = (double)(loop_now_ms(call->h1->loop) - call->began_ms);
  use_socket(call, s);
}

/* On what was fed. */
static void shake_on(struct socket *s) {
  shake_hands(s);
  if (!s->is_closing && !flush(s)) end_of_input(s, UV_EPIPE);
}

/* The handshake has as long as the connection had. */
static void begin_tls(struct h1_call *call, struct socket *s) {
  struct h1 *h = call->h1;
  uint64_t passed = loop_now_ms(h->loop) - call->began_ms, limit = call->req.connect_ms;
  s->tls = tls_new(h->tls, s->origin->host, &s->origin->ticket);
  loop_timer_start(h->loop, &call->clock, on_connect_timeout, passed < limit ? limit - passed : 0);
  if (!read_on(s)) {
    fail(call, UPSTREAM_CONNECT, "cannot read");
    return;
  }
  shake_on(s);
}

static void on_connected(uv_connect_t *c, int status) {
  struct socket *s = c->data;
  struct h1_call *call = s->call;
  blocks_give(&s->h1->loop->blocks, c, sizeof *c);
  if (!call) { /* cancelled, or its time was over */
    close_socket(s);
    return;
  }
  if (status < 0) {
    close_socket(s);
    call->end = UPSTREAM_CONNECT;
    call->detail = uv_strerror(status);
    connect_next(call);
    return;
  }
  (void)uv_tcp_nodelay(&s->tcp, 1);
  if (s->origin->is_h2) {
    drop_connection(call);
    hand_over(call);
    return;
  }
  if (s->origin->is_tls) {
    begin_tls(call, s);
    return;
  }
  loop_timer_stop(call->h1->loop, &call->clock);
  call->connect_ms = (double)(loop_now_ms(call->h1->loop) - call->began_ms);
  use_socket(call, s);
}

static void on_connect_timeout(struct wheel_timer *t) {
  struct h1_call *call = container_of(t, struct h1_call, clock);
  if (call->socket) close_socket(call->socket);
  call->end = UPSTREAM_CONNECT_TIMEOUT;
  call->detail = "no connection in time";
  connect_next(call);
}

/* No descriptor is left: an idle connection of the pool goes, or an idle client. */
static bool make_room(struct h1 *h) {
  list_each(node, next, &h->origins) {
    struct origin *o = container_of(node, struct origin, node);
    if (list_is_empty(&o->idle)) continue;
    close_socket(container_of(o->idle.prev, struct socket, idle));
    return true;
  }
  return loop_spare_descriptor(h->loop);
}

static void connect_next(struct h1_call *call) {
  struct origin *o = call->origin;
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
    struct socket *s = blocks_take(&h->loop->blocks, sizeof *s, NULL);
    *s = (struct socket){.h1 = h, .origin = o};
    list_init(&s->idle);
    if (uv_tcp_init(&h->loop->uv, &s->tcp)) {
      blocks_give(&h->loop->blocks, s, sizeof *s);
      continue;
    }
    s->tcp.data = s;
    o->n_users++;
    list_push_back(&h->sockets, &s->node);
    s->call = call;
    call->socket = s;
    uv_connect_t *connect = blocks_take(&h->loop->blocks, sizeof *connect, NULL);
    connect->data = s;
    int err = uv_tcp_connect(connect, &s->tcp, a, on_connected);
    if (err) {
      blocks_give(&h->loop->blocks, connect, sizeof *connect);
      close_socket(s);
      bool is_ours = err == UV_EMFILE || err == UV_ENFILE;
      call->end = is_ours ? UPSTREAM_NO_DESCRIPTOR : UPSTREAM_CONNECT;
      call->detail = uv_strerror(err);
      if (is_ours && n_rooms++ < ROOMS_MAX && make_room(h)) call->next_address--;
      continue;
    }
    call->phase = PHASE_CONNECTING;
    uint64_t limit = call->req.connect_ms - passed;
    if (call->next_address < o->n_addresses && limit > NEXT_ADDRESS_MS) limit = NEXT_ADDRESS_MS;
    loop_timer_start(h->loop, &call->clock, on_connect_timeout, limit);
    return;
  }
  fail_later(call, call->end, call->detail);
}

/* Even and odd families in turn, the resolver's first choice first (RFC 8305, 4, without the parallel
 * attempts). */
static void take_addresses(struct origin *o, const struct addrinfo *list) {
  const struct addrinfo *all[32];
  unsigned n = 0;
  for (const struct addrinfo *a = list; a && n < ARRAY_LEN(all); a = a->ai_next)
    if (a->ai_family == AF_INET || a->ai_family == AF_INET6) all[n++] = a;
  o->n_addresses = 0;
  int family = n ? all[0]->ai_family : 0;
  for (unsigned taken = 0; taken < n && o->n_addresses < ADDRESSES_MAX; taken++) {
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
  struct origin *o = r->data;
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
      connect_next(call);
    else
      finish(call, UPSTREAM_DNS, status ? uv_strerror(status) : "the name has no address");
  }
  forget_origin(o);
}

static void on_resolve_timeout(struct wheel_timer *t) {
  struct h1_call *call = container_of(t, struct h1_call, clock);
  list_remove(&call->node);
  finish(call, UPSTREAM_DNS, "the name was not resolved in time");
}

static void resolve(struct h1_call *call) {
  struct origin *o = call->origin;
  call->phase = PHASE_RESOLVING;
  if (!o->is_resolving) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char service[8];
    (void)snprintf(service, sizeof service, "%u", o->port);
    o->request.data = o;
    int err = uv_getaddrinfo(&o->h1->loop->uv, &o->request, on_resolved, o->host, service, &hints);
    if (err) {
      fail_later(call, UPSTREAM_DNS, uv_strerror(err));
      return;
    }
    o->is_resolving = true;
    o->n_users++;
  }
  list_push_back(&o->waiting, &call->node);
  loop_timer_start(o->h1->loop, &call->clock, on_resolve_timeout, call->req.connect_ms);
}

static struct socket *take_idle(struct origin *o) {
  struct list *node = list_pop_front(&o->idle);
  if (!node) return NULL;
  o->n_idle--;
  struct socket *s = container_of(node, struct socket, idle);
  s->is_reused = true;
  return s;
}

static void begin(struct h1_call *call, bool fresh) {
  struct origin *o = call->origin;
  struct h1 *h = call->h1;
  call->got_byte = false;
  call->interim = 0;
  call->next_address = 0;
  call->began_ms = loop_now_ms(h->loop);
  call->end = UPSTREAM_CONNECT;
  call->detail = "no address";
  struct socket *s = fresh ? NULL : take_idle(o);
  call->connect_ms = s ? 0 : NAN;
  if (s) {
    use_socket(call, s);
    return;
  }
  bool is_known = o->is_literal || (o->resolved_at_ms && call->began_ms - o->resolved_at_ms < RESOLVED_MS);
  if (is_known)
    connect_next(call);
  else
    resolve(call);
}

/* ---- origins, the transport ---- */

/* `base` was checked when the configuration was loaded: http://authority/path, or https://. */
static struct origin *new_origin(struct h1 *h, struct span base, bool is_public_only) {
  struct origin *o = x_calloc(1, sizeof *o);
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

static struct origin *find_origin(struct h1 *h, struct span base, bool is_public_only) {
  list_each(node, next, &h->origins) {
    struct origin *o = container_of(node, struct origin, node);
    if (o->is_public_only == is_public_only && o->base_len == base.len &&
        memcmp(o->base, base.ptr, base.len) == 0)
      return o;
  }
  return new_origin(h, base, is_public_only);
}

static bool has_tls(struct h1 *h) {
  if (h->tls) return true;
  h->tls = tls_context_new(h->ca_file, h->tls_error);
  if (h->tls) h->plain = x_malloc(PLAIN_BYTES);
  return h->tls != NULL;
}

static void start(struct transport *base, const struct upstream_request *req, struct upstream_call **out) {
  struct h1 *h = container_of(base, struct h1, base);
  struct blocks *blocks = &h->loop->blocks;
  struct origin *o = find_origin(h, req->base, req->is_public_only);
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
    fail_later(call, UPSTREAM_TLS, h->tls_error);
  else
    begin(call, false);
}

static bool has_sent(struct upstream_call *base) {
  const struct h1_call *call = container_of(base, struct h1_call, base);
  return call->phase == PHASE_BODY && call->socket && call->socket->n_writing == 0;
}

static double connect_ms(struct upstream_call *base) {
  return container_of(base, struct h1_call, base)->connect_ms;
}

static void on_sweep(struct wheel_timer *t) {
  struct h1 *h = container_of(t, struct h1, sweep);
  uint64_t now = loop_now_ms(h->loop);
  list_each(node, next, &h->origins) {
    struct origin *o = container_of(node, struct origin, node);
    while (!list_is_empty(&o->idle)) {
      struct socket *oldest = container_of(o->idle.prev, struct socket, idle);
      if (now - oldest->idle_since_ms < h->idle_ms) break;
      close_socket(oldest);
    }
  }
  loop_timer_start(h->loop, t, on_sweep, SWEEP_MS);
}

static void release(struct transport *base) {
  struct h1 *h = container_of(base, struct h1, base);
  REQUIRE(h->n_live == 0);
  h->is_closing = true;
  loop_timer_stop(h->loop, &h->sweep);
  list_each(socket_node, next_socket, &h->sockets) {
    close_socket(container_of(socket_node, struct socket, node));
  }
  list_each(origin_node, next_origin, &h->origins) {
    struct origin *o = container_of(origin_node, struct origin, node);
    if (o->is_resolving) (void)uv_cancel((uv_req_t *)&o->request);
    forget_origin(o);
  }
  h->is_released = true;
  free_when_unused(h);
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
