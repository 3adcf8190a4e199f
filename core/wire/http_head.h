/*
 * http_head: what http_request.c and http_response.c share: from the lines of a head to its fields, what these say
 * about the message's length, and a second reader that must agree. For them and their tests only.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_WIRE_HTTP_HEAD_H
#define MOONGATE_WIRE_HTTP_HEAD_H

#include "wire/http.h"

extern const struct http_fault HTTP_FAULT_LINE_END;        /* 400 */
extern const struct http_fault HTTP_FAULT_FOLDED;          /* 400 */
extern const struct http_fault HTTP_FAULT_TOO_MANY_FIELDS; /* 431 */
extern const struct http_fault HTTP_FAULT_UNKNOWN_METHOD;  /* 501 */

struct http_split {
  unsigned n; /* fields */
  /* Values are visible ASCII and blanks, and no field but Content-Length and Connection ("keep-alive" or "close")
     bears on framing. */
  bool is_plain;
};

/* Splits field lines, each with its CRLF, into at most HTTP_FIELDS_MAX fields. */
const struct http_fault *http_split_fields(struct http_split *out, struct http_field *fields,
                                           struct span lines) MUST_CHECK;
/* As many as stand before the empty line. Returns the length with that line; 0 when it has not come, or when something
 * is wrong. */
size_t http_split_head(struct http_split *out, struct http_field *fields, struct span text) MUST_CHECK;

/* What two readers of one head must agree on. */
struct http_reading {
  struct span method; /* empty for answers */
  int status;         /* 0 for requests */
  unsigned minor, n_fields;
  bool is_plain; /* of http_split */
  bool has_length, is_chunked;
  uint64_t length;
};

/* Fills has_length, is_chunked and length from the fields; `minor` and `n_fields` are set. */
const struct http_fault *http_read_lengths(struct http_reading *r,
                                           const struct http_field *fields) MUST_CHECK;
/* Has llhttp read the head, start line and lines behind it, and refuses it unless llhttp read the same. */
const struct http_fault *http_read_again(const struct http_reading *ours, struct span start,
                                         struct span lines) MUST_CHECK;
/* The same, but for heads in which there is nothing that two readers could take differently: those are not read again. */
const struct http_fault *http_read_twice(const struct http_reading *ours, struct span start,
                                         struct span lines) MUST_CHECK;
/* A Connection that names more fields than a head may have is no use, and work for each field of the head. */
const struct http_fault *http_check_connection(const struct http_field *fields, unsigned n) MUST_CHECK;
/* Whether the connection outlives the message, as far as its version and Connection say (RFC 9112, 9.3). */
bool http_is_persistent(unsigned minor, const struct http_field *fields, unsigned n);

#endif
