/*
 * h1_request: our head and the body's segments, on their way: all at once where the socket takes it, and over TLS piece by
 * piece, so that no more is ciphered than the socket has room for.
 *
 * Thread: the loop's.   Owns nothing: the body is the caller's, the head is built in the transport's scratch.
 */
#include "net/h1_private.h"

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

/* As far as the socket takes it; the rest follows when it does. */
static bool send_secure(struct h1_call *call, struct h1_socket *s, bool is_first) {
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
    if (!tls_write(s->tls, bufs, n) || !h1_socket_flush(s)) return false;
    is_first = false;
  } while (s->n_writing == 0);
  return true;
}

bool h1_request_send_on(struct h1_call *call, struct h1_socket *s) {
  return send_secure(call, s, false);
}

bool h1_request_send(struct h1_call *call, struct h1_socket *s) {
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
  return h1_socket_write(s, bufs, n);
}
