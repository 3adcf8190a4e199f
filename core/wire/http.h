/*
 * http: what requests and answers have in common: field names and values, the fields we know by name, and
 * faults. Sources: RFC 9110 (fields, tokens), RFC 9112 (framing).
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_WIRE_HTTP_H
#define MOONGATE_WIRE_HTTP_H

#include "base/buf.h"
#include "base/span.h"

#define HTTP_HEAD_MAX   16384 /* bytes of a head, request line and final CRLF included */
#define HTTP_TARGET_MAX 8192
#define HTTP_FIELDS_MAX 100

/* Fields that the program treats by name. */
#define HTTP_FIELD_MAP(X)                                                                                    \
  X(ACCEPT, "accept")                                                                                        \
  X(ACCEPT_ENCODING, "accept-encoding")                                                                      \
  X(ALT_SVC, "alt-svc")                                                                                      \
  X(API_KEY, "api-key")                                                                                      \
  X(AUTHORIZATION, "authorization")                                                                          \
  X(CLEAR_SITE_DATA, "clear-site-data")                                                                      \
  X(CONNECTION, "connection")                                                                                \
  X(CONTENT_ENCODING, "content-encoding")                                                                    \
  X(CONTENT_LENGTH, "content-length")                                                                        \
  X(CONTENT_TYPE, "content-type")                                                                            \
  X(COOKIE, "cookie")                                                                                        \
  X(DATE, "date")                                                                                            \
  X(EXPECT, "expect")                                                                                        \
  X(HOST, "host")                                                                                            \
  X(IDEMPOTENCY_KEY, "idempotency-key")                                                                      \
  X(KEEP_ALIVE, "keep-alive")                                                                                \
  X(LOCATION, "location")                                                                                    \
  X(NEL, "nel")                                                                                              \
  X(ORIGIN, "origin")                                                                                        \
  X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                                \
  X(PROXY_AUTHENTICATION_INFO, "proxy-authentication-info")                                                  \
  X(PROXY_AUTHORIZATION, "proxy-authorization")                                                              \
  X(PROXY_CONNECTION, "proxy-connection")                                                                    \
  X(REFRESH, "refresh")                                                                                      \
  X(REPORT_TO, "report-to")                                                                                  \
  X(REPORTING_ENDPOINTS, "reporting-endpoints")                                                              \
  X(RETRY_AFTER, "retry-after")                                                                              \
  X(RETRY_AFTER_MS, "retry-after-ms")                                                                        \
  X(SERVER, "server")                                                                                        \
  X(SET_COOKIE, "set-cookie")                                                                                \
  X(STRICT_TRANSPORT_SECURITY, "strict-transport-security")                                                  \
  X(TE, "te")                                                                                                \
  X(TRACEPARENT, "traceparent")                                                                              \
  X(TRACESTATE, "tracestate")                                                                                \
  X(TRAILER, "trailer")                                                                                      \
  X(TRANSFER_ENCODING, "transfer-encoding")                                                                  \
  X(UPGRADE, "upgrade")                                                                                      \
  X(USER_AGENT, "user-agent")                                                                                \
  X(WWW_AUTHENTICATE, "www-authenticate")                                                                    \
  X(X_API_KEY, "x-api-key")                                                                                  \
  X(X_PROVIDER_ADDRESS, "x-provider-address")                                                                \
  X(X_REQUEST_ID, "x-request-id")                                                                            \
  X(X_RATELIMIT_REMAINING_REQUESTS, "x-ratelimit-remaining-requests")                                        \
  X(X_RATELIMIT_REMAINING_TOKENS, "x-ratelimit-remaining-tokens")                                            \
  X(X_RATELIMIT_RESET_REQUESTS, "x-ratelimit-reset-requests")                                                \
  X(X_RATELIMIT_RESET_TOKENS, "x-ratelimit-reset-tokens")                                                    \
  X(X_SHOULD_RETRY, "x-should-retry")                                                                        \
  X(X_SESSION_ID, "x-session-id")                                                                            \
  X(ZG_RES_KEY, "zg-res-key")

enum http_field_id {
  HTTP_FIELD_OTHER,
#define HTTP_FIELD_ENUM_(id, name) HTTP_FIELD_##id,
  HTTP_FIELD_MAP(HTTP_FIELD_ENUM_)
#undef HTTP_FIELD_ENUM_
      HTTP_FIELD_N
};

struct http_field {
  struct span name, value; /* value without blanks at its ends */
  enum http_field_id id;
};

/* Why a message is refused. Compared by pointer; all are static. */
struct http_fault {
  int status;          /* what to answer on the request side: 400, 405, 408, 413, 414, 417, 431, 501, 505 */
  const char *code;    /* stable, machine-readable: "bad_request_line" … */
  const char *message; /* a sentence for the caller */
};

enum http_field_id http_field_id(struct span name);
/* RFC 9110 token: 1*tchar. */
bool http_is_token(struct span s);
/* Field value: no control bytes but tab; bytes >= 0x80 are allowed. */
bool http_is_field_value(struct span s);
/* What a part of a path stands for, its %-escapes undone, in `out`; empty when it is malformed or does not fit. */
struct span http_path_text(char *out, size_t room, struct span part);
/* Connection, Keep-Alive, Proxy-…, TE, Trailer, Transfer-Encoding, Upgrade. */
bool http_is_hop_by_hop(enum http_field_id id);
/* Whether a comma-separated list holds `token`, ASCII case ignored. */
bool http_list_has(struct span list, struct span token);
/* Whether a Connection field names this one, which makes it hop-by-hop (RFC 9110, 7.6.1). */
bool http_is_named_by_connection(const struct http_field *fields, unsigned n, struct span name);
/* First field with that id, or NULL. */
const struct http_field *http_find(const struct http_field *fields, unsigned n, enum http_field_id id);
/* First field with that name (case ignored), or NULL. */
const struct http_field *http_find_name(const struct http_field *fields, unsigned n, struct span name);
/* RFC 9110 Host: uri-host [":" port], not empty, port 0…65535, no userinfo; no comma, it could be two hosts. */
bool http_is_host(struct span s);

/* "Mon, 23 Nov 2026 02:17:00 GMT"; returns the length (29), a NUL follows. RFC 9110, 5.6.7. */
size_t http_date(char out[32], uint64_t wall_ms);
/* Seconds or an HTTP date → milliseconds from now (dates in the past are 0). False when malformed. Capped at 24 h. */
bool http_retry_after_ms(struct span value, uint64_t wall_now_ms, uint64_t *out_ms);
/* "OK", "Not Found" …; "" for a status that has no name. */
const char *http_reason(int status);

/* ---- what http_request.c and http_response.c share ---- */

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
