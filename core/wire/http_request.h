/*
 * http_request: from the bytes of one request head to a checked struct. Two readers see every head that could be taken
 * in two ways: ours, which is stricter, then llhttp (strict); where they disagree about method, version, number of
 * fields or length, the head is refused. Most heads are too plain for that (http_read_twice in http.h says which), and
 * the fuzz targets hold llhttp against those, too. A head is parsed only when it is complete and contiguous, so nothing is copied: all spans point
 * into the caller's bytes.
 *
 * Thread: any; no state but the caller's.
 *
 * Refused (fault → the connection closes): everything under "Edge rules" of the product's HTTP contract, that is
 *   a line end other than CRLF, obs-fold, control bytes, a blank before the colon, a line without a colon, a name
 *   that is no token; a request line that is not exactly METHOD SP target SP HTTP/1.0|1.1 (505 for other HTTP
 *   versions, also for the HTTP/2 preface); '#', controls or bytes >= 0x80 in the target; CONNECT and TRACE (405),
 *   methods that llhttp does not know (501); a target that is neither origin-form nor absolute-form http(s) nor "*"
 *   with OPTIONS; absolute-form whose authority differs from Host; not exactly one valid Host in 1.1 (more than one
 *   in 1.0); Transfer-Encoding other than one field with exactly "chunked" (ASCII case ignored; 501 for another
 *   coding, 400 for the rest), in HTTP/1.0, or beside Content-Length; Content-Length repeated (even equal), a list,
 *   signed, empty, over 18 digits;
 *   Expect other than 100-continue (417).
 * Limits: HTTP_HEAD_MAX (431), HTTP_FIELDS_MAX (431), HTTP_TARGET_MAX (414).
 */
#ifndef MOONGATE_WIRE_HTTP_REQUEST_H
#define MOONGATE_WIRE_HTTP_REQUEST_H

#include "wire/http.h"

enum http_method {
  HTTP_GET,
  HTTP_HEAD,
  HTTP_POST,
  HTTP_PUT,
  HTTP_PATCH,
  HTTP_DELETE,
  HTTP_OPTIONS,
  HTTP_OTHER
};
enum http_framing {
  HTTP_NO_BODY,
  HTTP_LENGTH /* also 0 */,
  HTTP_CHUNKED,
  HTTP_UNTIL_CLOSE /* answers only */
};

struct http_request {
  enum http_method method;
  struct span method_text;
  struct span target; /* as sent */
  struct span path;   /* of the target, without query; absolute-form already stripped to its path */
  struct span query;  /* behind '?', or empty */
  struct span host;   /* value of Host, empty in 1.0 without one */
  unsigned minor;     /* HTTP/1.minor */
  enum http_framing framing;
  uint64_t content_length;
  bool keep_alive; /* the client allows another request on this connection */
  bool expect_continue;
  unsigned n_fields;
  struct http_field fields[HTTP_FIELDS_MAX];
};

/* Where the search for the end of a head stands between reads. Zero-initialised for each new head. */
struct http_head_scan {
  uint32_t checked;    /* bytes already looked at */
  uint32_t line_start; /* offset of the line that `checked` is in */
  uint32_t lines;
};

/*
 * Looks for the end of the head that starts at data[0]; call again with the same start and more bytes.
 * NULL and *head_len = 0: more is needed. NULL and *head_len > 0: complete, that many bytes with the final
 * CRLF CRLF. Else the fault; it is found at the earliest byte that proves it (bare LF, bytes that start no
 * request at all, a limit passed). At most two empty lines (CRLF) before a request line are allowed (RFC 9112, 2.2): they
 * count into *head_len.
 */
const struct http_fault *http_request_find_end(struct http_head_scan *scan, size_t *head_len,
                                               const char *data, size_t len) MUST_CHECK;

/* Parses and checks a complete head. NULL when it is fine. Spans live as long as the bytes. */
const struct http_fault *http_request_parse(struct http_request *out, const char *head,
                                            size_t head_len) MUST_CHECK;

/*
 * Both at once: NULL and *head_len = 0 when more is needed, else as http_request_parse(). A head that came in one
 * piece and has nothing wrong is passed over once; everything else takes the way of the two functions above.
 */
const struct http_fault *http_request_read(struct http_request *out, struct http_head_scan *scan,
                                           size_t *head_len, const char *data, size_t len) MUST_CHECK;

/* Faults that other layers raise while a request arrives. */
extern const struct http_fault HTTP_FAULT_HEAD_TIMEOUT;   /* 408 */
extern const struct http_fault HTTP_FAULT_BODY_TIMEOUT;   /* 408 */
extern const struct http_fault HTTP_FAULT_BODY_TOO_LARGE; /* 413 */
extern const struct http_fault HTTP_FAULT_BAD_CHUNK;      /* 400 */

#endif
