#include "net/conn.h"
#include "net/socket.h"

#include <netinet/in.h>
#include <unistd.h>

#define LINGER_MS       2000
#define DRAIN_MS        5000
#define BODY_GRACE_MS   5000
#define OUT_MAX         (64u * 1024 * 1024)
#define IN_MAX          (HTTP_HEAD_MAX + LOOP_ROOM_BYTES)
#define OVER_IDLE_MS    2000
#define HEAD_READ_BYTES 16384 /* of a read before a body's length is known … */
#define BULKY_BYTES     32768 /* … but more where the last body was so long */
#define PLACE_MIN       4096  /* fewer body bytes are not worth a place of their own */
#define RECLAIM_LOOKS   32
#define RECLAIM_IDLE_MS 16 /* who came just now may be about to ask */

/* What few connections need, and those not for long. */
struct backlog {
  struct conn *conn;
  struct buf in;           /* not consumed yet */
  struct buf out, writing; /* not sent yet */
  uv_write_t write_req;
  uv_shutdown_t shutdown_req;
  struct wheel_timer write_timer;
  bool is_shut;
};

static void parse(struct conn *c);
static void on_deadline(struct wheel_timer *t);
static void enter_idle(struct conn *c);

static struct backlog *need_backlog(struct conn *c) {
  if (c->backlog) return c->backlog;
  struct blocks *blocks = &c->server->loop->blocks;
  struct backlog *b = c->backlog = blocks_take(blocks, sizeof *b, NULL);
  b->conn = c;
  b->write_timer = (struct wheel_timer){.on_due = NULL};
  b->is_shut = false;
  buf_init_in(&b->in, IN_MAX, blocks);
  buf_init_in(&b->out, OUT_MAX, blocks);
  buf_init_in(&b->writing, OUT_MAX, blocks);
  return b;
}

static void free_backlog(struct conn *c) {
  struct backlog *b = c->backlog;
  if (!b) return;
  c->backlog = NULL;
  buf_release(&b->in);
  buf_release(&b->out);
  buf_release(&b->writing);
  blocks_give(&c->server->loop->blocks, b, sizeof *b);
}

static size_t unread(const struct conn *c) {
  return c->backlog ? c->backlog->in.len : 0;
}

size_t conn_pending(const struct conn *c) {
  return c->backlog ? c->backlog->out.len + c->backlog->writing.len : 0;
}

static void drop_backlog_if_empty(struct conn *c) {
  const struct backlog *b = c->backlog;
  if (!b || b->is_shut || c->is_writing || wheel_is_armed(&b->write_timer) || unread(c) || conn_pending(c))
    return;
  free_backlog(c);
}

static void drop_unread(struct conn *c) {
  if (c->backlog) buf_release(&c->backlog->in);
}

/* ---- life and death ---- */

void conn_server_init(struct conn_server *s, struct loop *loop, const struct conn_ops *ops, void *context,
                      const struct conn_limits *limits) {
  *s = (struct conn_server){.loop = loop, .ops = ops, .context = context, .limits = *limits};
  list_init(&s->conns);
}

static void on_closed(uv_handle_t *h) {
  struct conn *c = h->data;
  list_remove(&c->node);
  c->server->n_conns--;
  free_backlog(c);
  blocks_give(&c->server->loop->blocks, c, sizeof *c);
}

/* The descriptor is closed, or as good as. */
static void note_closing(struct conn *c) {
  c->state = CONN_CLOSING;
  loop_timer_stop(c->server->loop, &c->timer);
  if (c->backlog) loop_timer_stop(c->server->loop, &c->backlog->write_timer);
  if (c->server->admission) admission_leave(c->server->admission, c->is_over, c->address);
}

static void close_now(struct conn *c) {
  if (c->state == CONN_CLOSING) return;
  note_closing(c);
  uv_close((uv_handle_t *)&c->tcp, on_closed);
}

/* The connection is of no use any more; tells the layer above when a request was active. */
static void fail(struct conn *c) {
  if (c->state == CONN_CLOSING) return;
  bool was_active = c->is_active;
  c->is_active = false;
  close_now(c);
  if (was_active) c->server->ops->on_gone(c);
}

void conn_abort(struct conn *c) {
  c->is_active = false;
  c->user = NULL;
  if (c->state == CONN_CLOSING) return;
  /* A reset, not an orderly end: a client that reads until close must not take what it has for the whole. */
  if (uv_tcp_close_reset(&c->tcp, on_closed) == 0)
    note_closing(c);
  else
    close_now(c);
}

void conn_server_stop(struct conn_server *s) {
  s->is_stopping = true;
  list_each(node, next, &s->conns) {
    struct conn *c = container_of(node, struct conn, node);
    if (c->state == CONN_IDLE && conn_pending(c) == 0) close_now(c);
  }
}

void conn_server_retire(struct conn_server *s, uint32_t idle_ms) {
  s->is_stopping = s->is_retiring = true;
  if (s->limits.idle_ms > idle_ms) s->limits.idle_ms = idle_ms;
  list_each(node, next, &s->conns) {
    struct conn *c = container_of(node, struct conn, node);
    if (c->state == CONN_IDLE && conn_pending(c) == 0) enter_idle(c);
  }
}

void conn_server_abort(struct conn_server *s) {
  s->is_stopping = true;
  list_each(node, next, &s->conns) {
    fail(container_of(node, struct conn, node));
  }
}

/* ---- reading ---- */

/* Where the rest of a body may go at once: the layer above wants it whole. */
static char *place_body(struct conn *c, size_t *room) {
  bool is_known = c->state == CONN_BODY && c->framing == HTTP_LENGTH && c->body_left >= PLACE_MIN;
  if (!is_known || unread(c) || !c->server->ops->on_body_room) return NULL;
  size_t want = c->body_left < SIZE_MAX ? (size_t)c->body_left : SIZE_MAX;
  return c->server->ops->on_body_room(c, want, room);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf);

static void read_start(struct conn *c) {
  if (c->is_reading || c->state == CONN_CLOSING || c->saw_eof) return;
  int err = uv_read_start((uv_stream_t *)&c->tcp, socket_lend_nothing, on_read);
  if (err)
    fail(c);
  else
    c->is_reading = true;
}

static void read_stop(struct conn *c) {
  if (!c->is_reading) return;
  (void)uv_read_stop((uv_stream_t *)&c->tcp);
  c->is_reading = false;
}

static void start_timer(struct conn *c, uint64_t after_ms) {
  loop_timer_start(c->server->loop, &c->timer, on_deadline, after_ms);
}

/* Ends with the window, or with the whole body's time when that is sooner. */
static void start_body_window(struct conn *c, uint64_t window_ms) {
  uint64_t now = loop_now_ms(c->server->loop), left = c->body_until_ms > now ? c->body_until_ms - now : 0;
  start_timer(c, window_ms < left ? window_ms : left);
}

static void enter_idle(struct conn *c) {
  c->state = CONN_IDLE;
  c->scan = (struct http_head_scan){0};
  c->has_faulted = false;
  c->user = NULL;
  drop_backlog_if_empty(c);
  start_timer(c, c->is_over ? OVER_IDLE_MS : c->server->limits.idle_ms);
}

static void on_shutdown(uv_shutdown_t *req, int status) {
  (void)req;
  (void)status; /* lingering ends with the peer's end of file or its deadline */
}

static void end_output(struct conn *c) {
  struct backlog *b = need_backlog(c);
  b->is_shut = true;
  start_timer(c, LINGER_MS);
  if (uv_shutdown(&b->shutdown_req, (uv_stream_t *)&c->tcp, on_shutdown)) close_now(c);
}

/*
 * Our side is closed once everything is sent; what the client still sends is read and dropped for a while, so
 * that a reset does not destroy the answer on its way.
 */
static void enter_linger(struct conn *c) {
  c->state = CONN_LINGER;
  drop_unread(c);
  loop_timer_stop(c->server->loop, &c->timer);
  if (conn_pending(c) == 0) end_output(c);
  if (c->state == CONN_LINGER) read_start(c);
}

static void raise_fault(struct conn *c, const struct http_fault *fault) {
  if (c->has_faulted) return;
  c->has_faulted = true;
  c->keep_alive = false;
  c->is_active = true;
  c->is_finished = false;
  c->state = CONN_WAITING;
  c->body_ended = false;
  loop_timer_stop(c->server->loop, &c->timer);
  drop_unread(c);
  c->server->ops->on_fault(c, fault);
}

static void on_deadline(struct wheel_timer *t) {
  struct conn *c = container_of(t, struct conn, timer);
  switch (c->state) {
  case CONN_HEAD: raise_fault(c, &HTTP_FAULT_HEAD_TIMEOUT); break;
  case CONN_BODY:
    if (c->window_bytes < c->server->limits.body_rate_bytes ||
        loop_now_ms(c->server->loop) >= c->body_until_ms) {
      raise_fault(c, &HTTP_FAULT_BODY_TIMEOUT);
    } else {
      c->window_bytes = 0;
      start_body_window(c, c->server->limits.body_window_ms);
    }
    break;
  default: fail(c);
  }
}

/* Takes one head from the front of in. False: more bytes are needed, or the connection is done for. */
static bool take_head(struct conn *c, const char *data, size_t len, size_t *used) {
  struct conn_server *s = c->server;
  size_t head_len = 0;
  struct http_request *req = &s->scratch;
  const struct http_fault *fault = http_request_read(req, &c->scan, &head_len, data, len);
  if (!fault && head_len == 0) {
    if (c->state == CONN_IDLE) {
      c->state = CONN_HEAD;
      start_timer(c, c->is_over && OVER_IDLE_MS < s->limits.head_ms ? OVER_IDLE_MS : s->limits.head_ms);
    }
    return false;
  }
  if (fault) {
    c->minor = 1;
    c->is_head_request = false;
    raise_fault(c, fault);
    return false;
  }
  *used = head_len;
  c->scan = (struct http_head_scan){0};
  c->minor = req->minor;
  c->is_head_request = req->method == HTTP_HEAD;
  c->awaits_continue = req->expect_continue;
  c->keep_alive = req->keep_alive && !s->is_stopping && !c->is_over;
  c->framing = req->framing;
  c->body_left = req->framing == HTTP_LENGTH ? req->content_length : 0;
  c->body_ended = req->framing == HTTP_NO_BODY || (req->framing == HTTP_LENGTH && c->body_left == 0);
  c->is_bulky = c->body_left >= BULKY_BYTES;
  if (req->framing == HTTP_CHUNKED) chunk_decoder_init(&c->chunk);
  c->is_active = true;
  c->is_finished = false;
  c->window_bytes = 0;
  c->body_until_ms = loop_now_ms(s->loop) + s->limits.body_ms;
  c->state = CONN_BODY;
  if (c->body_ended)
    loop_timer_stop(s->loop, &c->timer);
  else
    start_body_window(c, BODY_GRACE_MS + s->limits.body_window_ms);
  s->ops->on_request(c, req);
  return true;
}

/* Nobody gets another request on a connection, not even where the answer's head let him hope for it. */
static bool is_closing_idle(const struct conn_server *s) {
  return s->is_stopping && !s->is_retiring;
}

static void end_of_body(struct conn *c) {
  c->body_ended = true;
  loop_timer_stop(c->server->loop, &c->timer);
  if (c->state == CONN_BODY) {
    c->state = CONN_WAITING;
    c->server->ops->on_body_end(c);
  }
}

/* Feeds body bytes; returns how many were used. */
static size_t take_body(struct conn *c, const char *data, size_t len) {
  size_t used = 0;
  while (!c->body_ended && used < len && (c->state == CONN_BODY || c->state == CONN_DRAINING)) {
    struct span piece = SPAN_NONE;
    if (c->framing == HTTP_LENGTH) {
      size_t take = len - used < c->body_left ? len - used : (size_t)c->body_left;
      piece = span_make(data + used, take);
      used += take;
      c->body_left -= take;
    } else {
      size_t n = 0;
      enum chunk_result r = chunk_decode(&c->chunk, &n, &piece, data + used, len - used);
      used += n;
      if (r == CHUNK_BAD) {
        if (c->state == CONN_DRAINING)
          close_now(c);
        else
          raise_fault(c, &HTTP_FAULT_BAD_CHUNK);
        return len;
      }
      if (r == CHUNK_END) {
        end_of_body(c);
        return used;
      }
    }
    if (c->state == CONN_DRAINING) {
      c->drained += piece.len;
      if (c->drained > CONN_DRAIN_MAX) {
        enter_linger(c);
        return len;
      }
    } else if (piece.len) {
      c->window_bytes += piece.len;
      c->server->ops->on_body(c, piece.ptr, piece.len, piece.ptr + piece.len == data + len);
    }
    uint64_t ahead = c->framing == HTTP_CHUNKED ? chunk_bytes_left(&c->chunk) : 0;
    if (ahead && c->state == CONN_BODY && c->server->ops->on_body_ahead)
      c->server->ops->on_body_ahead(c, ahead);
    if (c->framing == HTTP_LENGTH && c->body_left == 0 &&
        (c->state == CONN_BODY || c->state == CONN_DRAINING))
      end_of_body(c);
  }
  return used;
}

/* The request and its answer are both complete. */
static void next_request(struct conn *c) {
  if (!c->keep_alive || c->saw_eof || is_closing_idle(c->server)) {
    if (conn_pending(c) == 0) close_now(c);
    return;
  }
  if (c->state != CONN_IDLE) enter_idle(c);
}

/* Runs as far as the bytes at hand allow; returns how many were used. */
static size_t consume(struct conn *c, const char *data, size_t len) {
  size_t at = 0;
  for (;;) {
    size_t used = 0;
    switch (c->state) {
    case CONN_IDLE:
    case CONN_HEAD:
      /* An unsent answer to an earlier request holds the next one back: pipelining cannot fill memory. */
      if (at == len || conn_pending(c) > CONN_HIGH_WATER) return at;
      if (!take_head(c, data + at, len - at, &used))
        return c->state == CONN_HEAD || c->state == CONN_IDLE ? at : len;
      at += used;
      if (c->state == CONN_BODY && c->body_ended) end_of_body(c);
      break;
    case CONN_BODY:
    case CONN_DRAINING:
      if (!c->body_ended) {
        if (at == len) return at;
        at += take_body(c, data + at, len - at);
        if (!c->body_ended && at < len) break;
        if (!c->body_ended) return at;
      }
      if (c->is_finished && (c->state == CONN_DRAINING || c->state == CONN_BODY)) next_request(c);
      if (c->state == CONN_BODY || c->state == CONN_DRAINING) return at;
      break;
    case CONN_WAITING: return at;
    default: return len; /* lingering or closing: nobody wants them */
    }
  }
}

static void parse(struct conn *c) {
  if (c->is_parsing) return; /* the caller's loop below goes on */
  c->is_parsing = true;
  size_t used = consume(c, c->backlog->in.data, c->backlog->in.len);
  /* A fault has dropped them, and an answer may have begun to wait. */
  struct buf *in = c->backlog ? &c->backlog->in : NULL;
  if (in && used && in->len) buf_consume(in, used < in->len ? used : in->len);
  if (in && in->len == 0) buf_release(in);
  c->is_parsing = false;
}

static void take_bytes(struct conn *c, const char *data, size_t len) {
  if (unread(c) == 0) {
    c->is_parsing = true;
    size_t used = consume(c, data, len);
    c->is_parsing = false;
    data += used;
    len -= used;
    if (len == 0 || c->state == CONN_CLOSING || c->state == CONN_LINGER) return;
    if (buf_append(&need_backlog(c)->in, data, len)) fail(c);
  } else {
    if (buf_append(&c->backlog->in, data, len))
      fail(c);
    else
      parse(c);
  }
  /* More requests behind a running one: enough is held, the rest may wait in the kernel. */
  bool is_blocked = c->state == CONN_WAITING || conn_pending(c) > CONN_HIGH_WATER;
  if (is_blocked && unread(c) > HTTP_HEAD_MAX) read_stop(c);
}

static void end_of_input(struct conn *c) {
  c->saw_eof = true;
  read_stop(c);
  if (c->is_active || conn_pending(c) == 0)
    fail(c);
  else
    c->keep_alive = false; /* the answer still goes out */
}

/* False: that was all for now. */
static bool read_once(struct conn *c) {
  struct loop *l = c->server->loop;
  (void)loop_read_clock(l); /* the last read of a request is when it has arrived */
  /* Clients keep to their ways: who sends much gets the room for all of it, and nobody else makes much wait. */
  bool is_head = c->state == CONN_IDLE || c->state == CONN_HEAD;
  size_t room = !is_head ? LOOP_READ_BYTES : c->is_bulky ? LOOP_ROOM_BYTES : HEAD_READ_BYTES;
  char *place = place_body(c, &room), *into = place ? place : loop_read_buf(l);
  ssize_t n = socket_read(&c->tcp, into, room);
  if (n < 0) end_of_input(c);
  if (n <= 0) return false;
  if (c->state == CONN_LINGER)
    c->drained += (uint64_t)n;
  else
    take_bytes(c, into, (size_t)n);
  /* What is left of a body whose place is full is asked for when it has come, not by a read that finds nothing. */
  return (size_t)n == room && !place && c->is_reading && c->state != CONN_CLOSING;
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *buf) {
  struct conn *c = s->data;
  (void)buf;
  if (n != UV_ENOBUFS) return;
  loop_time_passes(c->server->loop);
  for (int i = 0; i < SOCKET_READS_MAX && read_once(c); i++) {
  }
}

/* ---- writing ---- */

static void flush(struct conn *c);

static void after_output(struct conn *c) {
  if (c->state == CONN_CLOSING) return;
  if (c->is_finished && !c->is_active) {
    if (c->state == CONN_LINGER) {
      end_output(c);
      return;
    }
    if (c->keep_alive) {
      if (unread(c)) parse(c);
      read_start(c);
      return;
    }
    if (c->body_ended || c->saw_eof) close_now(c);
    return;
  }
  if (c->is_active && c->server->ops->on_drained) c->server->ops->on_drained(c);
}

static void on_write_stalled(struct wheel_timer *t) {
  fail(container_of(t, struct backlog, write_timer)->conn);
}

static void on_written(uv_write_t *req, int status) {
  struct backlog *b = container_of(req, struct backlog, write_req);
  struct conn *c = b->conn;
  c->is_writing = false;
  buf_release(&b->writing);
  if (c->state == CONN_CLOSING) return;
  loop_timer_stop(c->server->loop, &b->write_timer);
  if (status < 0) {
    fail(c);
  } else if (b->out.len) {
    flush(c);
  } else {
    drop_backlog_if_empty(c);
    after_output(c);
  }
}

static void flush(struct conn *c) {
  struct backlog *b = c->backlog;
  if (!b || c->is_writing || b->out.len == 0 || c->state == CONN_CLOSING) return;
  struct buf ready = b->out;
  b->out = b->writing;
  b->writing = ready;
  uv_buf_t bytes = uv_buf_init(b->writing.data, (unsigned)b->writing.len);
  int err = uv_write(&b->write_req, (uv_stream_t *)&c->tcp, &bytes, 1, on_written);
  if (err) {
    fail(c);
    return;
  }
  c->is_writing = true;
  loop_timer_start(c->server->loop, &b->write_timer, on_write_stalled, c->server->limits.write_ms);
}

int conn_send(struct conn *c, const uv_buf_t *bufs, unsigned n) {
  if (c->state == CONN_CLOSING) return UV_ECANCELED;
  size_t sent = 0;
  if (conn_pending(c) == 0) {
    ssize_t r = socket_write(&c->tcp, bufs, n);
    if (r < 0 && r != UV_EAGAIN) {
      /* The caller is told of the end by on_gone, from the loop, as of any other way a client leaves. */
      loop_timer_start(c->server->loop, &need_backlog(c)->write_timer, on_write_stalled, 0);
      return (int)r;
    }
    if (r > 0) sent = (size_t)r;
  }
  for (unsigned i = 0; i < n; i++) {
    if (sent >= bufs[i].len) {
      sent -= bufs[i].len;
      continue;
    }
    int err = buf_append(&need_backlog(c)->out, bufs[i].base + sent, bufs[i].len - sent);
    if (err) return err;
    sent = 0;
  }
  flush(c);
  return c->state == CONN_CLOSING ? UV_ECANCELED : 0;
}

void conn_continue(struct conn *c) {
  static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
  c->awaits_continue = false;
  if (c->body_ended || c->minor == 0) return;
  uv_buf_t b = uv_buf_init((char *)text, sizeof text - 1);
  (void)conn_send(c, &b, 1);
}

bool conn_may_keep(const struct conn *c) {
  /* Who was not asked for the body and has an answer may go on with the next request: nobody could tell them apart. */
  if (c->awaits_continue) return false;
  bool is_small = c->body_ended || c->framing == HTTP_CHUNKED || c->body_left <= CONN_DRAIN_MAX;
  return c->keep_alive && is_small;
}

void conn_finish(struct conn *c, bool keep) {
  if (c->state == CONN_CLOSING) return;
  c->is_active = false;
  c->is_finished = true;
  c->user = NULL;
  c->keep_alive = c->keep_alive && keep && !is_closing_idle(c->server);
  if (!c->body_ended) {
    if (conn_may_keep(c)) {
      c->state = CONN_DRAINING;
      c->drained = 0;
      start_timer(c, DRAIN_MS);
    } else {
      enter_linger(c);
      return;
    }
  } else {
    next_request(c);
  }
  if (c->state == CONN_CLOSING) return;
  read_start(c);
  if (!c->is_parsing && unread(c)) parse(c);
}

/* ---- accepting ---- */

static void note_peer(struct conn *c, const struct sockaddr *peer) {
  if (peer->sa_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *)peer;
    (void)uv_ip4_name(in, c->peer, sizeof c->peer);
    c->peer_is_loopback = (ntohl(in->sin_addr.s_addr) >> 24) == 127;
  } else if (peer->sa_family == AF_INET6) {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)peer;
    (void)uv_ip6_name(in6, c->peer, sizeof c->peer);
    const unsigned char *b = in6->sin6_addr.s6_addr;
    c->peer_is_loopback =
        IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr) || (IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr) && b[12] == 127);
  }
}

/* How long a connection has waited for its next request; 0: it does not wait. */
static uint64_t idle_for_ms(const struct conn *c) {
  if (c->state != CONN_IDLE || conn_pending(c) || !wheel_is_armed(&c->timer)) return 0;
  uint64_t limit = c->is_over ? OVER_IDLE_MS : c->server->limits.idle_ms;
  uint64_t now = loop_now_ms(c->server->loop), due = c->timer.due_tick * WHEEL_TICK_MS;
  uint64_t left = due > now ? due - now : 0;
  return left < limit ? limit - left : 0;
}

bool conn_server_reclaim(struct conn_server *s) {
  struct conn *best = NULL;
  uint64_t best_ms = RECLAIM_IDLE_MS;
  unsigned looks = s->n_conns < RECLAIM_LOOKS ? s->n_conns : RECLAIM_LOOKS;
  while (looks--) {
    /* Round and round: who was looked at goes to the end. */
    struct list *node = list_pop_front(&s->conns);
    list_push_back(&s->conns, node);
    struct conn *c = container_of(node, struct conn, node);
    uint64_t ms = idle_for_ms(c);
    if (ms < best_ms) continue;
    best = c;
    best_ms = ms;
  }
  if (best) close_now(best);
  return best != NULL;
}

/* False: it was sent away. */
static bool admit(struct conn_server *s, int fd, const struct sockaddr *peer, bool *is_over,
                  struct address_count **address) {
  *is_over = false;
  *address = NULL;
  if (!s->admission) return true;
  if (admission_is_full(s->admission)) (void)conn_server_reclaim(s);
  enum admission_verdict v = admission_enter(s->admission, peer, address);
  *is_over = v == ADMITTED_OVER;
  if (v == ADMITTED || v == ADMITTED_OVER) return true;
  admission_refuse(fd, v);
  return false;
}

void conn_accept(struct conn_server *s, int fd, const struct sockaddr *peer) {
  bool is_over;
  struct address_count *address;
  if (!admit(s, fd, peer, &is_over, &address)) return;
  struct blocks *blocks = &s->loop->blocks;
  struct conn *c = blocks_take(blocks, sizeof *c, NULL);
  *c = (struct conn){.server = s, .minor = 1, .is_over = is_over, .address = address};
  int err = uv_tcp_init(&s->loop->uv, &c->tcp);
  REQUIRE(err == 0);
  c->tcp.data = c;
  list_push_back(&s->conns, &c->node);
  s->n_conns++;
  if (uv_tcp_open(&c->tcp, fd)) {
    (void)close(fd);
    close_now(c);
    return;
  }
  (void)uv_tcp_nodelay(&c->tcp, 1);
  note_peer(c, peer);
  enter_idle(c);
  read_start(c);
}
