/*
 * h1_socket: one connection to a provider: made, read, written, closed. What comes goes to the call that has it, after
 * TLS where there is TLS; where nobody has it, anything that comes ends it.
 *
 * Thread: the loop's.   Owner: the transport, by h1.sockets; the memory goes back when libuv has closed the handle.
 */
#include "net/h1_private.h"
#include "net/socket.h"

/* ---- its life ---- */

struct h1_socket *h1_socket_new(struct h1_call *call) {
  struct h1 *h = call->h1;
  struct h1_socket *s = blocks_take(&h->loop->blocks, sizeof *s, NULL);
  *s = (struct h1_socket){.h1 = h, .origin = call->origin};
  list_init(&s->idle);
  if (uv_tcp_init(&h->loop->uv, &s->tcp)) {
    blocks_give(&h->loop->blocks, s, sizeof *s);
    return NULL;
  }
  s->tcp.data = s;
  s->origin->n_users++;
  list_push_back(&h->sockets, &s->node);
  s->call = call;
  call->socket = s;
  return s;
}

static void on_closed(uv_handle_t *h) {
  struct h1_socket *s = h->data;
  list_remove(&s->node);
  struct blocks *blocks = &s->h1->loop->blocks;
  if (s->tls) tls_free(s->tls);
  h1_origin_forget(s->origin);
  blocks_give(blocks, s, sizeof *s);
}

/* The farewell of TLS, or why there was no handshake: sent when it can be at once. */
static void say_goodbye(struct h1_socket *s) {
  tls_close(s->tls);
  struct span out = tls_output(s->h1->tls);
  uv_buf_t b = uv_buf_init((char *)out.ptr, (unsigned)out.len);
  if (b.len && s->n_writing == 0) (void)socket_write(&s->tcp, &b, 1);
}

void h1_socket_close(struct h1_socket *s) {
  if (s->is_closing) return;
  s->is_closing = true;
  if (s->tls) say_goodbye(s);
  if (s->call) s->call->socket = NULL;
  s->call = NULL;
  if (!list_is_empty(&s->idle)) {
    list_remove(&s->idle);
    s->origin->n_idle--;
  }
  uv_close((uv_handle_t *)&s->tcp, on_closed);
}

/* ---- reading ---- */

void h1_socket_ended(struct h1_socket *s, ssize_t n) {
  if (s->call)
    h1_answer_ended(s->call, n);
  else
    h1_socket_close(s); /* idle: closed by the provider */
}

static void take_plain(struct h1_socket *s, const char *data, size_t len) {
  if (s->call)
    h1_answer_take(s->call, s, data, len);
  else
    h1_socket_close(s); /* bytes that nobody asked for */
}

static void take_ciphered(struct h1_socket *s, const char *data, size_t len) {
  struct h1 *h = s->h1;
  tls_feed(s->tls, data, len);
  if (!s->is_secure) h1_connect_shake(s);
  while (s->is_secure && !s->is_closing) {
    ssize_t n = tls_read(s->tls, h->plain, H1_PLAIN_BYTES);
    /* What TLS answers by itself leaves before anybody else has a say. */
    if (n >= 0 && !h1_socket_flush(s)) n = UV_EPIPE;
    if (n < 0) h1_socket_ended(s, n);
    if (n <= 0) break;
    take_plain(s, h->plain, (size_t)n);
  }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
  struct h1_socket *s = stream->data;
  struct loop *l = s->h1->loop;
  (void)buf;
  if (n != UV_ENOBUFS) return;
  loop_time_passes(l);
  for (int i = 0; i < SOCKET_READS_MAX && s->is_reading && !s->is_closing; i++) {
    char *into = loop_read_buf(l);
    n = socket_read(&s->tcp, into, LOOP_READ_BYTES);
    /* An end without TLS's farewell may be anybody's doing. */
    if (n < 0) h1_socket_ended(s, n == UV_EOF && s->is_secure ? UV_ECONNRESET : n);
    if (n <= 0) return;
    if (s->tls)
      take_ciphered(s, into, (size_t)n);
    else
      take_plain(s, into, (size_t)n);
    if (n < LOOP_READ_BYTES) return;
  }
}

bool h1_socket_read_on(struct h1_socket *s) {
  if (s->is_reading) return true;
  s->is_reading = uv_read_start((uv_stream_t *)&s->tcp, socket_lend_nothing, on_read) == 0;
  return s->is_reading;
}

void h1_socket_read_no_more(struct h1_socket *s) {
  if (!s->is_reading) return;
  (void)uv_read_stop((uv_stream_t *)&s->tcp);
  s->is_reading = false;
}

/* ---- writing ---- */

/* What a full socket did not take at once; the first piece is copied, others need its place. */
struct late_write {
  uv_write_t req;
  size_t first_len;
  char first[];
};

static void on_written(uv_write_t *req, int status) {
  struct h1_socket *s = req->data;
  struct late_write *w = container_of(req, struct late_write, req);
  s->n_writing--;
  wipe(w->first, w->first_len);
  blocks_give(&s->h1->loop->blocks, w, sizeof *w + w->first_len);
  /* A failed write shows when reading: an early answer may still be there. */
  if (status == 0 && s->tls && s->call && s->n_writing == 0) (void)h1_request_send_on(s->call, s);
}

static bool write_later(struct h1_socket *s, uv_buf_t *bufs, unsigned n, bool has_first) {
  struct blocks *blocks = &s->h1->loop->blocks;
  size_t first_len = has_first ? bufs[0].len : 0;
  struct late_write *w = blocks_take(blocks, sizeof *w + first_len, NULL);
  w->first_len = first_len;
  w->req.data = s;
  if (has_first) {
    memcpy(w->first, bufs[0].base, first_len);
    bufs[0].base = w->first;
  }
  bool is_under_way = uv_write(&w->req, (uv_stream_t *)&s->tcp, bufs, n, on_written) == 0;
  s->n_writing += is_under_way;
  if (!is_under_way) blocks_give(blocks, w, sizeof *w + first_len);
  return is_under_way;
}

bool h1_socket_write(struct h1_socket *s, uv_buf_t *bufs, unsigned n) {
  ssize_t r = s->n_writing ? UV_EAGAIN : socket_write(&s->tcp, bufs, n);
  if (r < 0 && r != UV_EAGAIN) return false;
  size_t sent = r > 0 ? (size_t)r : 0;
  unsigned first = 0;
  while (first < n && sent >= bufs[first].len)
    sent -= bufs[first++].len;
  if (first == n) return true;
  bufs[first].base += sent;
  bufs[first].len -= sent;
  return write_later(s, bufs + first, n - first, first == 0);
}

bool h1_socket_flush(struct h1_socket *s) {
  struct span out = tls_output(s->h1->tls);
  uv_buf_t b = uv_buf_init((char *)out.ptr, (unsigned)out.len);
  return b.len == 0 || h1_socket_write(s, &b, 1);
}
