/*
 * http_response: answers. Checks a provider's head as strictly as a client's, and writes our own heads and
 * error bodies. No other file spells an error body.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_WIRE_HTTP_RESPONSE_H
#define MOONGATE_WIRE_HTTP_RESPONSE_H

#include "wire/http_request.h"

#define HTTP_RESPONSE_HEAD_MAX 65536 /* of a provider */

struct http_response {
  int status;     /* 100 … 599 */
  unsigned minor; /* 1 for HTTP/2 as well */
  bool is_http2;
  enum http_framing framing; /* for a request that was no HEAD; 1xx, 204 and 304 have no body */
  uint64_t content_length;
  bool keep_alive;
  unsigned n_fields;
  struct http_field fields[HTTP_FIELDS_MAX];
};

/*
 * Parses one complete provider head (status line … empty line). `from_curl` accepts libcurl's rendering of an
 * HTTP/2 head ("HTTP/2 200"). Same rules as for requests: CRLF only, no folds, no controls, no blank before the
 * colon, one Content-Length of digits, Transfer-Encoding exactly "chunked", never both, none of them in 1xx/204.
 * 101 is refused: we never ask for another protocol.
 * Returns NULL or a static text that says what is wrong ("two Content-Length fields").
 */
const char *http_response_parse(struct http_response *out, const char *head, size_t head_len,
                                bool from_curl) MUST_CHECK;

/* ---- writing ---- */

/* "HTTP/1.1 200 OK\r\n". */
void http_put_status(struct buf *out, int status);
/* "Name: value\r\n"; the caller guarantees that both are clean (see http_is_token, http_is_field_value). */
void http_put_line(struct buf *out, struct span name, struct span value);
static inline void http_put_field(struct buf *out, const char *name, struct span value) {
  http_put_line(out, span_str(name), value); /* most names are literals: their length costs nothing */
}
void http_put_field_u64(struct buf *out, const char *name, uint64_t value);

/* How an error looks to a client. */
struct http_error {
  int status;
  const char *type;       /* NULL: chosen by status (see http_error_type) */
  const char *code;       /* stable, machine-readable; NULL: null */
  struct span message;    /* redacted by http_put_error_body */
  struct span request_id; /* may be empty */
};

/* 401 authentication_error, 402 payment_error, 403 permission_error, 404 not_found_error, 429 rate_limit_error, other 4xx
 * invalid_request_error, 5xx server_error. */
const char *http_error_type(int status);
/* {"error":{"message":…,"type":…,"param":null,"code":…},"request_id":…}; an empty request_id is written as null. */
void http_put_error_body(struct buf *out, const struct http_error *e);

#endif
