/*
 * Fields: the names that the program knows, told apart by length and first letter before they are compared; which
 * fields end at each hop; lists in values; and looking for a field.
 *
 * Thread: any; no state.
 */
#include "wire/http.h"

/* ---- names ---- */

#define EACH_BYTE(c) ((c)*UINT64_C(0x0101010101010101))

static inline uint64_t word_differs(const char *name, const char *lower) {
  uint64_t x, y;
  memcpy(&x, name, 8);
  memcpy(&y, lower, 8);
  return ((x | EACH_BYTE(0x20)) ^ y) | ((x - EACH_BYTE(0x20)) & ~x & EACH_BYTE(0x80));
}

static inline uint32_t half_differs(const char *name, const char *lower) {
  const uint32_t each = 0x01010101u;
  uint32_t x, y;
  memcpy(&x, name, 4);
  memcpy(&y, lower, 4);
  return ((x | each * 0x20) ^ y) | ((x - each * 0x20) & ~x & each * 0x80);
}

/*
 * Whether `name` is `lower`, which has letters, digits and '-' only, but for case. Bit 0x20 folds the
 * letters; it would also turn control bytes into digits and '-', so these are refused.
 */
static bool folds_to(struct span name, struct span lower) {
  if (name.len != lower.len) return false;
  if (name.len >= 8) {
    uint64_t differs = word_differs(name.ptr + name.len - 8, lower.ptr + name.len - 8);
    for (size_t i = 0; i + 8 < name.len; i += 8)
      differs |= word_differs(name.ptr + i, lower.ptr + i);
    return differs == 0;
  }
  if (name.len >= 4) {
    uint32_t differs = half_differs(name.ptr, lower.ptr);
    return (differs | half_differs(name.ptr + name.len - 4, lower.ptr + name.len - 4)) == 0;
  }
  unsigned differs = 0;
  for (size_t i = 0; i < name.len; i++) {
    unsigned char c = (unsigned char)name.ptr[i];
    differs |= (unsigned)((c | 0x20) ^ (unsigned char)lower.ptr[i]) | (c < 0x20);
  }
  return differs == 0;
}

static enum http_field_id id_if(struct span name, enum http_field_id id) {
  static const struct span NAMES[HTTP_FIELD_N] = {
#define HTTP_FIELD_NAME_(id, name) [HTTP_FIELD_##id] = {name, sizeof name - 1},
      HTTP_FIELD_MAP(HTTP_FIELD_NAME_)
#undef HTTP_FIELD_NAME_
  };
  return folds_to(name, NAMES[id]) ? id : HTTP_FIELD_OTHER;
}

/* Length and first letter tell all known names apart, but for two pairs. */
#define KEY(len, letter) ((len)*256 + (letter))

enum http_field_id http_field_id(struct span name) {
  if (name.len == 0 || name.len > 32) return HTTP_FIELD_OTHER;
  switch (KEY((int)name.len, ascii_lower(name.ptr[0]))) {
  case KEY(2, 't'): return id_if(name, HTTP_FIELD_TE);
  case KEY(3, 'n'): return id_if(name, HTTP_FIELD_NEL);
  case KEY(4, 'd'): return id_if(name, HTTP_FIELD_DATE);
  case KEY(4, 'h'): return id_if(name, HTTP_FIELD_HOST);
  case KEY(6, 'a'): return id_if(name, HTTP_FIELD_ACCEPT);
  case KEY(6, 'c'): return id_if(name, HTTP_FIELD_COOKIE);
  case KEY(6, 'e'): return id_if(name, HTTP_FIELD_EXPECT);
  case KEY(6, 'o'): return id_if(name, HTTP_FIELD_ORIGIN);
  case KEY(6, 's'): return id_if(name, HTTP_FIELD_SERVER);
  case KEY(7, 'a'): {
    enum http_field_id id = id_if(name, HTTP_FIELD_API_KEY);
    return id ? id : id_if(name, HTTP_FIELD_ALT_SVC);
  }
  case KEY(7, 'r'): return id_if(name, HTTP_FIELD_REFRESH);
  case KEY(7, 't'): return id_if(name, HTTP_FIELD_TRAILER);
  case KEY(7, 'u'): return id_if(name, HTTP_FIELD_UPGRADE);
  case KEY(8, 'l'): return id_if(name, HTTP_FIELD_LOCATION);
  case KEY(9, 'r'): return id_if(name, HTTP_FIELD_REPORT_TO);
  case KEY(9, 'x'): return id_if(name, HTTP_FIELD_X_API_KEY);
  case KEY(10, 'c'): return id_if(name, HTTP_FIELD_CONNECTION);
  case KEY(10, 'k'): return id_if(name, HTTP_FIELD_KEEP_ALIVE);
  case KEY(10, 's'): return id_if(name, HTTP_FIELD_SET_COOKIE);
  case KEY(10, 't'): return id_if(name, HTTP_FIELD_TRACESTATE);
  case KEY(10, 'u'): return id_if(name, HTTP_FIELD_USER_AGENT);
  case KEY(10, 'z'): return id_if(name, HTTP_FIELD_ZG_RES_KEY);
  case KEY(11, 'r'): return id_if(name, HTTP_FIELD_RETRY_AFTER);
  case KEY(11, 't'): return id_if(name, HTTP_FIELD_TRACEPARENT);
  case KEY(12, 'c'): return id_if(name, HTTP_FIELD_CONTENT_TYPE);
  case KEY(12, 'x'): {
    enum http_field_id id = id_if(name, HTTP_FIELD_X_REQUEST_ID);
    return id ? id : id_if(name, HTTP_FIELD_X_SESSION_ID);
  }
  case KEY(13, 'a'): return id_if(name, HTTP_FIELD_AUTHORIZATION);
  case KEY(14, 'c'): return id_if(name, HTTP_FIELD_CONTENT_LENGTH);
  case KEY(14, 'r'): return id_if(name, HTTP_FIELD_RETRY_AFTER_MS);
  case KEY(14, 'x'): return id_if(name, HTTP_FIELD_X_SHOULD_RETRY);
  case KEY(15, 'a'): return id_if(name, HTTP_FIELD_ACCEPT_ENCODING);
  case KEY(15, 'c'): return id_if(name, HTTP_FIELD_CLEAR_SITE_DATA);
  case KEY(15, 'i'): return id_if(name, HTTP_FIELD_IDEMPOTENCY_KEY);
  case KEY(16, 'c'): return id_if(name, HTTP_FIELD_CONTENT_ENCODING);
  case KEY(16, 'p'): return id_if(name, HTTP_FIELD_PROXY_CONNECTION);
  case KEY(16, 'w'): return id_if(name, HTTP_FIELD_WWW_AUTHENTICATE);
  case KEY(17, 't'): return id_if(name, HTTP_FIELD_TRANSFER_ENCODING);
  case KEY(18, 'p'): return id_if(name, HTTP_FIELD_PROXY_AUTHENTICATE);
  case KEY(18, 'x'): return id_if(name, HTTP_FIELD_X_PROVIDER_ADDRESS);
  case KEY(19, 'p'): return id_if(name, HTTP_FIELD_PROXY_AUTHORIZATION);
  case KEY(19, 'r'): return id_if(name, HTTP_FIELD_REPORTING_ENDPOINTS);
  case KEY(24, 'x'): return id_if(name, HTTP_FIELD_X_RATELIMIT_RESET_TOKENS);
  case KEY(25, 'p'): return id_if(name, HTTP_FIELD_PROXY_AUTHENTICATION_INFO);
  case KEY(25, 's'): return id_if(name, HTTP_FIELD_STRICT_TRANSPORT_SECURITY);
  case KEY(26, 'x'): return id_if(name, HTTP_FIELD_X_RATELIMIT_RESET_REQUESTS);
  case KEY(28, 'x'): return id_if(name, HTTP_FIELD_X_RATELIMIT_REMAINING_TOKENS);
  case KEY(30, 'x'): return id_if(name, HTTP_FIELD_X_RATELIMIT_REMAINING_REQUESTS);
  default: return HTTP_FIELD_OTHER;
  }
}

bool http_is_hop_by_hop(enum http_field_id id) {
  switch (id) {
  case HTTP_FIELD_CONNECTION:
  case HTTP_FIELD_KEEP_ALIVE:
  case HTTP_FIELD_PROXY_AUTHENTICATE:
  case HTTP_FIELD_PROXY_AUTHENTICATION_INFO:
  case HTTP_FIELD_PROXY_AUTHORIZATION:
  case HTTP_FIELD_PROXY_CONNECTION:
  case HTTP_FIELD_TE:
  case HTTP_FIELD_TRAILER:
  case HTTP_FIELD_TRANSFER_ENCODING:
  case HTTP_FIELD_UPGRADE: return true;
  default: return false;
  }
}

/* ---- values and looking up ---- */

bool http_list_has(struct span list, struct span token) {
  if (list.len == 0) return false;
  const char *at = list.ptr, *end = at + list.len;
  while (at < end) {
    const char *comma = memchr(at, ',', (size_t)(end - at));
    const char *stop = comma ? comma : end;
    if (span_eq_nocase(span_trim(span_make(at, (size_t)(stop - at))), token)) return true;
    if (!comma) return false;
    at = comma + 1;
  }
  return false;
}

bool http_is_named_by_connection(const struct http_field *fields, unsigned n, struct span name) {
  for (unsigned i = 0; i < n; i++)
    if (fields[i].id == HTTP_FIELD_CONNECTION && http_list_has(fields[i].value, name)) return true;
  return false;
}

const struct http_field *http_find(const struct http_field *fields, unsigned n, enum http_field_id id) {
  for (unsigned i = 0; i < n; i++)
    if (fields[i].id == id) return &fields[i];
  return NULL;
}

const struct http_field *http_find_name(const struct http_field *fields, unsigned n, struct span name) {
  for (unsigned i = 0; i < n; i++)
    if (span_eq_nocase(fields[i].name, name)) return &fields[i];
  return NULL;
}
