#include "flow/reply.h"
#include "base/clock.h"
#include "wire/json.h"

#define USUAL_FIELDS SPAN("Authorization, Content-Type, X-Request-Id, X-Session-Id, Idempotency-Key")

struct span reply_date(struct flow *f) {
  uint64_t wall_ms = clock_wall_ms();
  if (wall_ms / 1000 != f->date_s) {
    f->date_s = wall_ms / 1000;
    (void)http_date(f->date, wall_ms);
  }
  return span_str(f->date);
}

/* Fields that every answer carries. */
static void put_common(struct reply *r) {
  struct buf *h = &r->flow->head;
  if (r->provider.len) http_put_field(h, "X-Provider-Address", r->provider);
  if (r->request_id.len) http_put_field(h, "X-Request-Id", r->request_id);
  if (r->cors_origin.len) {
    http_put_field(h, "Access-Control-Allow-Origin", r->cors_origin);
    http_put_field(h, "Access-Control-Expose-Headers",
                   SPAN("X-Provider-Address, X-Request-Id, ZG-Res-Key, Retry-After, X-Should-Retry"));
    if (!span_eq(r->cors_origin, SPAN("*"))) http_put_field(h, "Vary", SPAN("Origin"));
  }
}

static void put_connection(struct reply *r) {
  struct buf *h = &r->flow->head;
  bool keep = r->keep && conn_may_keep(r->conn) && !r->conn->server->is_stopping;
  if (!keep)
    http_put_field(h, "Connection", SPAN("close"));
  else if (r->conn->minor == 0)
    http_put_field(h, "Connection", SPAN("keep-alive"));
  r->keep = keep;
}

static void finish(struct reply *r) {
  struct conn *c = r->conn;
  r->conn = NULL;
  if (c) conn_finish(c, r->keep);
}

void reply_text(struct reply *r, int status, const char *content_type, struct span body,
                const struct reply_extra *extra) {
  if (!r->conn) return;
  struct buf *h = &r->flow->head;
  buf_clear(h);
  http_put_status(h, status);
  http_put_field(h, "Date", reply_date(r->flow));
  put_common(r);
  if (extra && extra->retry_after_s) http_put_field_u64(h, "Retry-After", extra->retry_after_s);
  if (extra && extra->allow) http_put_field(h, "Allow", span_str(extra->allow));
  if (extra && extra->is_preflight) {
    http_put_field(h, "Access-Control-Allow-Methods", SPAN("GET, POST, OPTIONS"));
    http_put_field(h, "Access-Control-Allow-Headers",
                   extra->asked_fields.len ? extra->asked_fields : USUAL_FIELDS);
    http_put_field(h, "Access-Control-Max-Age", SPAN("86400"));
  }
  if (extra) buf_put_span(h, extra->fields);
  if (status != 204) {
    if (content_type) http_put_field(h, "Content-Type", span_str(content_type));
    http_put_field_u64(h, "Content-Length", body.len);
  }
  put_connection(r);
  buf_put_str(h, "\r\n");
  uv_buf_t bufs[2] = {uv_buf_init(h->data, (unsigned)h->len),
                      uv_buf_init((char *)body.ptr, (unsigned)body.len)};
  bool has_body = body.len && !r->conn->is_head_request && status != 204;
  if (conn_send(r->conn, bufs, has_body ? 2 : 1)) r->keep = false;
  finish(r);
}

void reply_error(struct reply *r, int status, const char *type, const char *code, struct span message,
                 const struct reply_extra *extra) {
  if (!r->conn) return;
  struct buf *t = &r->flow->text;
  buf_clear(t);
  struct http_error e = {
      .status = status, .type = type, .code = code, .message = message, .request_id = r->request_id};
  http_put_error_body(t, &e);
  reply_text(r, status, "application/json", buf_span(t), extra);
}

void reply_fault(struct reply *r, const struct http_fault *fault) {
  r->keep = false;
  reply_error(r, fault->status, NULL, fault->code, span_str(fault->message), NULL);
}

int reply_begin(struct reply *r, int status, struct span fields, uint64_t length, struct span first) {
  if (!r->conn) return UV_ECANCELED;
  struct buf *h = &r->flow->head;
  buf_clear(h);
  http_put_status(h, status);
  buf_put_span(h, fields);
  put_common(r);
  r->has_begun = true;
  r->is_bodyless = status == 204 || status == 304 || r->conn->is_head_request;
  r->is_chunked = false;
  r->left = length;
  if (status != 204 && status != 304) {
    if (length != REPLY_LENGTH_UNKNOWN) {
      http_put_field_u64(h, "Content-Length", length);
    } else if (r->conn->minor >= 1) {
      http_put_field(h, "Transfer-Encoding", SPAN("chunked"));
      r->is_chunked = true;
    } else {
      r->keep = false; /* the end of the connection is the end of the body */
    }
  }
  put_connection(r);
  buf_put_str(h, "\r\n");
  if (r->is_bodyless || first.len == 0) {
    uv_buf_t one = uv_buf_init(h->data, (unsigned)h->len);
    return conn_send(r->conn, &one, 1);
  }
  unsigned n = 0;
  uv_buf_t bufs[3];
  if (r->is_chunked) {
    char line[CHUNK_HEAD_MAX];
    buf_put(h, line, chunk_head(line, first.len));
  } else if (r->left != REPLY_LENGTH_UNKNOWN) {
    r->left -= first.len;
  }
  bufs[n++] = uv_buf_init(h->data, (unsigned)h->len);
  bufs[n++] = uv_buf_init((char *)first.ptr, (unsigned)first.len);
  if (r->is_chunked) bufs[n++] = uv_buf_init("\r\n", 2);
  return conn_send(r->conn, bufs, n);
}

int reply_bytes(struct reply *r, struct span bytes) {
  if (!r->conn) return UV_ECANCELED;
  if (bytes.len == 0 || r->is_bodyless) return 0;
  unsigned n = 0;
  uv_buf_t bufs[3];
  char line[CHUNK_HEAD_MAX];
  if (r->is_chunked) {
    bufs[n++] = uv_buf_init(line, (unsigned)chunk_head(line, bytes.len));
  } else if (r->left != REPLY_LENGTH_UNKNOWN) {
    r->left -= bytes.len <= r->left ? bytes.len : r->left;
  }
  bufs[n++] = uv_buf_init((char *)bytes.ptr, (unsigned)bytes.len);
  if (r->is_chunked) bufs[n++] = uv_buf_init("\r\n", 2);
  return conn_send(r->conn, bufs, n);
}

void reply_complete(struct reply *r) {
  if (!r->conn || !r->is_chunked || r->is_bodyless) return;
  uv_buf_t last = uv_buf_init("0\r\n\r\n", 5);
  if (conn_send(r->conn, &last, 1)) r->keep = false;
}

void reply_end(struct reply *r) {
  if (r->conn) finish(r);
}

void reply_break(struct reply *r, struct span last_words) {
  if (!r->conn) return;
  r->keep = false;
  if (last_words.len && (r->is_chunked || r->left == REPLY_LENGTH_UNKNOWN)) (void)reply_bytes(r, last_words);
  if (r->is_chunked || r->left != REPLY_LENGTH_UNKNOWN) {
    finish(r); /* the missing last chunk, or missing bytes, tell */
    return;
  }
  struct conn *c = r->conn;
  r->conn = NULL;
  conn_abort(c);
}
