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

/* ---- http.c ---- */

/* RFC 9110 token: 1*tchar. */
bool http_is_token(struct span s);
/* What a part of a path stands for, its %-escapes undone, in `out`; empty when it is malformed or does not fit. */
struct span http_path_text(char *out, size_t room, struct span part);
/* RFC 9110 Host: uri-host [":" port], not empty, port 0…65535, no userinfo; no comma, it could be two hosts. */
bool http_is_host(struct span s);
/* "OK", "Not Found" …; "" for a status that has no name. */
const char *http_reason(int status);

/* ---- http_field.c, http_head.c ---- */

enum http_field_id http_field_id(struct span name);
/* Field value: no control bytes but tab; bytes >= 0x80 are allowed. */
bool http_is_field_value(struct span s);
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

/* ---- http_date.c ---- */

/* "Mon, 23 Nov 2026 02:17:00 GMT"; returns the length (29), a NUL follows. RFC 9110, 5.6.7. */
size_t http_date(char out[32], uint64_t wall_ms);
/* Seconds or an HTTP date → milliseconds from now (dates in the past are 0). False when malformed. Capped at 24 h. */
bool http_retry_after_ms(struct span value, uint64_t wall_now_ms, uint64_t *out_ms);

#endif
