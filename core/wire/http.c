#include "wire/http.h"

#include <arpa/inet.h>
#include <llhttp.h>

#if defined(__SSE2__) && !defined(WIRE_WITHOUT_SSE2)
#  include <emmintrin.h>
#  define HTTP_SSE2 1
#else
#  define HTTP_SSE2 0
#endif

/* ---- characters and names ---- */

enum { IS_TOKEN = 1, IS_VALUE = 2, IS_REG_NAME = 4, IS_PLAIN_PATH = 8 };

/* clang-format off */
static const uint8_t CLASS[256] = {
     0,  0,  0,  0,  0,  0,  0,  0,  0,  2,  0,  0,  0,  0,  0,  0,
     0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,  0,
     2,  7,  2,  3,  7,  3,  7,  7,  6,  6,  7,  7,  2, 15, 15, 10,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  2,  6,  2,  6,  2,  2,
     2, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  2,  2,  2,  3, 15,
     3, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,
    15, 15, 15, 15, 15, 15, 15, 15, 15, 15, 15,  2,  3,  2,  7,  0,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
     2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,  2,
};
/* clang-format on */

#define EACH_BYTE(c) ((c)*UINT64_C(0x0101010101010101))

static inline bool is(char c, uint8_t class) {
  return CLASS[(unsigned char)c] & class;
}

static inline bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* ---- finding bytes ---- */

/* What a run of bytes has beside visible ASCII and blanks. */
#define ODD_TAB  1u
#define ODD_HIGH 2u /* 0x80 and above */

#if HTTP_SSE2
/* Letters, digits, '-' and '.' at the front of 16 bytes: what names are made of, nearly always. */
static inline unsigned name_run16(const char *at) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
  __m128i lower = _mm_or_si128(bytes, _mm_set1_epi8(0x20));
  __m128i letter = _mm_and_si128(_mm_cmpgt_epi8(lower, _mm_set1_epi8('a' - 1)),
                                 _mm_cmpgt_epi8(_mm_set1_epi8('z' + 1), lower));
  __m128i digit = _mm_and_si128(_mm_cmpgt_epi8(bytes, _mm_set1_epi8('-' - 1)),
                                _mm_cmpgt_epi8(_mm_set1_epi8('9' + 1), bytes));
  digit = _mm_andnot_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('/')), digit);
  unsigned mask = ~(unsigned)_mm_movemask_epi8(_mm_or_si128(letter, digit));
  return (unsigned)__builtin_ctz(mask);
}
#endif

/* The first byte that is no field value, or `end`. */
static inline const char *skip_value(const char *at, const char *end, unsigned *odd) {
#if HTTP_SSE2
  const __m128i last = _mm_set1_epi8(0x1f), del = _mm_set1_epi8(0x7f);
  while (end - at >= 16) {
    __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
    __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last), bytes);
    unsigned stop = (unsigned)_mm_movemask_epi8(_mm_or_si128(control, _mm_cmpeq_epi8(bytes, del)));
    unsigned high = (unsigned)_mm_movemask_epi8(bytes);
    if (!stop) {
      *odd |= high ? ODD_HIGH : 0;
      at += 16;
      continue;
    }
    unsigned n = (unsigned)__builtin_ctz(stop);
    *odd |= high & ((1u << n) - 1) ? ODD_HIGH : 0;
    at += n;
    if (*at != '\t') return at;
    *odd |= ODD_TAB;
    at++;
  }
#endif
  for (; at < end; at++) {
    if (!is(*at, IS_VALUE)) return at;
    *odd |= *at == '\t' ? ODD_TAB : (unsigned char)*at >= 0x80 ? ODD_HIGH : 0;
  }
  return end;
}

bool http_is_token(struct span s) {
  for (size_t i = 0; i < s.len; i++)
    if (!is(s.ptr[i], IS_TOKEN)) return false;
  return s.len > 0;
}

bool http_is_field_value(struct span s) {
  unsigned odd = 0;
  return s.len == 0 || skip_value(s.ptr, s.ptr + s.len, &odd) == s.ptr + s.len;
}

static int hex_digit(char c) {
  char lower = ascii_lower(c);
  return c >= '0' && c <= '9' ? c - '0' : lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

struct span http_path_text(char *out, size_t room, struct span part) {
  size_t n = 0;
  for (size_t i = 0; i < part.len; i++) {
    if (n == room) return SPAN_NONE;
    bool is_escape = part.ptr[i] == '%';
    int high = is_escape && i + 2 < part.len ? hex_digit(part.ptr[i + 1]) : -1;
    int low = high >= 0 ? hex_digit(part.ptr[i + 2]) : -1;
    if (is_escape && low < 0) return SPAN_NONE;
    out[n++] = is_escape ? (char)(high << 4 | low) : part.ptr[i];
    if (is_escape) i += 2;
  }
  return span_make(out, n);
}

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

static bool is_hex(char c) {
  char lower = ascii_lower(c);
  return is_digit(c) || (lower >= 'a' && lower <= 'f');
}

static bool is_reg_name(struct span s) {
  for (size_t i = 0; i < s.len; i++) {
    if (is(s.ptr[i], IS_REG_NAME)) continue;
    if (s.ptr[i] != '%' || s.len - i < 3 || !is_hex(s.ptr[i + 1]) || !is_hex(s.ptr[i + 2])) return false;
    i += 2;
  }
  return s.len > 0;
}

static bool is_ipv6(struct span s) {
  char text[INET6_ADDRSTRLEN];
  struct in6_addr address;
  if (s.len >= sizeof text || memchr(s.ptr, 0, s.len)) return false;
  memcpy(text, s.ptr, s.len);
  text[s.len] = 0;
  return inet_pton(AF_INET6, text, &address) == 1;
}

bool http_is_host(struct span s) {
  if (s.len == 0 || s.len > 255 + sizeof ":65535" - 1) return false;
  const char *end = s.ptr + s.len, *host_end;
  if (s.ptr[0] == '[') {
    const char *bracket = memchr(s.ptr, ']', s.len);
    if (!bracket || !is_ipv6(span_make(s.ptr + 1, (size_t)(bracket - s.ptr - 1)))) return false;
    host_end = bracket + 1;
  } else {
    const char *colon = memchr(s.ptr, ':', s.len);
    host_end = colon ? colon : end;
    if (!is_reg_name(span_make(s.ptr, (size_t)(host_end - s.ptr)))) return false;
  }
  if (host_end == end) return true;
  uint64_t port;
  return *host_end == ':' && span_to_u64(span_make(host_end + 1, (size_t)(end - host_end - 1)), 65535, &port);
}

/* ---- dates ---- */

#define DAY_MS       UINT64_C(86400000)
#define LAST_WALL_MS UINT64_C(253402300799999) /* the end of the year 9999 */

static const char WEEKDAYS[] = "SunMonTueWedThuFriSat";
static const char MONTHS[] = "JanFebMarAprMayJunJulAugSepOctNovDec";

struct date {
  unsigned year, month, day; /* month 1 … 12 */
};

/* Both by H. Hinnant, "chrono-compatible low-level date algorithms": years start in March, eras have 400
 * years. */
static struct date date_of_day(uint64_t day) {
  uint64_t z = day + 719468, era = z / 146097, doe = z % 146097;
  uint64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  uint64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100), mp = (5 * doy + 2) / 153;
  unsigned month = (unsigned)(mp < 10 ? mp + 3 : mp - 9);
  return (struct date){(unsigned)(yoe + era * 400) + (month <= 2), month,
                       (unsigned)(doy - (153 * mp + 2) / 5) + 1};
}

static int64_t day_of_date(struct date d) {
  int64_t y = (int64_t)d.year + 400 - (d.month <= 2); /* 400 years more keep everything positive */
  int64_t era = y / 400, yoe = y % 400;
  int64_t doy = (153 * (d.month > 2 ? d.month - 3 : d.month + 9) + 2) / 5 + d.day - 1;
  return (era - 1) * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static char *put_digits(char *at, unsigned n, unsigned width) {
  for (unsigned i = width; i-- > 0; n /= 10)
    at[i] = (char)('0' + n % 10);
  return at + width;
}

static char *put_text(char *at, const char *text, size_t len) {
  memcpy(at, text, len);
  return at + len;
}

size_t http_date(char out[32], uint64_t wall_ms) {
  if (wall_ms > LAST_WALL_MS) wall_ms = LAST_WALL_MS;
  uint64_t day = wall_ms / DAY_MS;
  unsigned second = (unsigned)(wall_ms % DAY_MS / 1000);
  struct date date = date_of_day(day);
  char *at = put_text(out, WEEKDAYS + (day + 4) % 7 * 3, 3);
  at = put_text(at, ", ", 2);
  at = put_digits(at, date.day, 2);
  *at++ = ' ';
  at = put_text(at, MONTHS + (date.month - 1) * 3, 3);
  *at++ = ' ';
  at = put_digits(at, date.year, 4);
  *at++ = ' ';
  at = put_digits(at, second / 3600, 2);
  *at++ = ':';
  at = put_digits(at, second / 60 % 60, 2);
  *at++ = ':';
  at = put_digits(at, second % 60, 2);
  at = put_text(at, " GMT", 5);
  return (size_t)(at - out) - 1;
}

/* Reads a date from front to back; once something does not fit, `is_bad` stays. */
struct reader {
  struct span rest;
  bool is_bad;
};

static void read_text(struct reader *r, struct span text) {
  r->is_bad = r->is_bad || !span_starts(r->rest, text);
  if (!r->is_bad) r->rest = span_make(r->rest.ptr + text.len, r->rest.len - text.len);
}

static unsigned read_digits(struct reader *r, unsigned width) {
  r->is_bad = r->is_bad || r->rest.len < width;
  unsigned n = 0;
  for (unsigned i = 0; i < width && !r->is_bad; i++) {
    r->is_bad = !is_digit(r->rest.ptr[i]);
    n = n * 10 + (unsigned)(r->rest.ptr[i] - '0');
  }
  if (!r->is_bad) r->rest = span_make(r->rest.ptr + width, r->rest.len - width);
  return r->is_bad ? 0 : n;
}

/* One of the three-letter names in `names`; returns its number. */
static unsigned read_name(struct reader *r, const char *names) {
  unsigned n = 0;
  for (; names[n * 3]; n++) {
    struct span name = span_make(names + n * 3, 3);
    if (r->is_bad || !span_starts(r->rest, name)) continue;
    read_text(r, name);
    return n;
  }
  r->is_bad = true;
  return 0;
}

static unsigned read_time(struct reader *r) {
  unsigned hour = read_digits(r, 2);
  read_text(r, SPAN(":"));
  unsigned minute = read_digits(r, 2);
  read_text(r, SPAN(":"));
  unsigned second = read_digits(r, 2); /* 60 is a leap second */
  r->is_bad = r->is_bad || hour > 23 || minute > 59 || second > 60;
  return hour * 3600 + minute * 60 + second;
}

static unsigned read_imf_fixdate(struct reader *r, struct date *d) {
  read_text(r, SPAN(", "));
  d->day = read_digits(r, 2);
  read_text(r, SPAN(" "));
  d->month = read_name(r, MONTHS) + 1;
  read_text(r, SPAN(" "));
  d->year = read_digits(r, 4);
  read_text(r, SPAN(" "));
  unsigned second = read_time(r);
  read_text(r, SPAN(" GMT"));
  return second;
}

static unsigned read_asctime(struct reader *r, struct date *d) {
  read_text(r, SPAN(" "));
  d->month = read_name(r, MONTHS) + 1;
  read_text(r, SPAN(" "));
  if (span_starts(r->rest, SPAN(" "))) {
    read_text(r, SPAN(" "));
    d->day = read_digits(r, 1);
  } else {
    d->day = read_digits(r, 2);
  }
  read_text(r, SPAN(" "));
  unsigned second = read_time(r);
  read_text(r, SPAN(" "));
  d->year = read_digits(r, 4);
  return second;
}

static unsigned read_rfc850(struct reader *r, struct date *d, unsigned weekday, unsigned year_now) {
  static const char *const TAILS[] = {"day", "day", "sday", "nesday", "rsday", "day", "urday"};
  read_text(r, span_str(TAILS[weekday]));
  read_text(r, SPAN(", "));
  d->day = read_digits(r, 2);
  read_text(r, SPAN("-"));
  d->month = read_name(r, MONTHS) + 1;
  read_text(r, SPAN("-"));
  d->year = year_now / 100 * 100 + read_digits(r, 2);
  /* RFC 9110, 5.6.7: more than 50 years ahead means the century before. */
  if (d->year > year_now + 50) d->year -= 100;
  read_text(r, SPAN(" "));
  unsigned second = read_time(r);
  read_text(r, SPAN(" GMT"));
  return second;
}

static bool is_real_date(struct date d) {
  static const uint8_t DAYS[] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool is_leap = d.year % 4 == 0 && (d.year % 100 != 0 || d.year % 400 == 0);
  return d.day >= 1 && d.day <= DAYS[d.month - 1] && (d.month != 2 || d.day <= 28 || is_leap);
}

/* Seconds since 1970, negative before it. */
static bool read_date(int64_t *out, struct span s, uint64_t wall_now_ms) {
  struct reader r = {s, false};
  struct date date = {0, 1, 0};
  unsigned weekday = read_name(&r, WEEKDAYS), second;
  if (span_starts(r.rest, SPAN(",")))
    second = read_imf_fixdate(&r, &date);
  else if (span_starts(r.rest, SPAN(" ")))
    second = read_asctime(&r, &date);
  else
    second = read_rfc850(&r, &date, weekday, date_of_day(wall_now_ms / DAY_MS).year);
  if (r.is_bad || r.rest.len || !is_real_date(date)) return false;
  *out = day_of_date(date) * 86400 + second;
  return true;
}

bool http_retry_after_ms(struct span value, uint64_t wall_now_ms, uint64_t *out_ms) {
  if (wall_now_ms > LAST_WALL_MS) wall_now_ms = LAST_WALL_MS;
  value = span_trim(value);
  uint64_t ms = 0;
  if (value.len && is_digit(value.ptr[0])) {
    for (size_t i = 0; i < value.len; i++) {
      if (!is_digit(value.ptr[i])) return false;
      if (ms <= DAY_MS) ms = ms * 10 + (uint64_t)(value.ptr[i] - '0') * 1000;
    }
  } else {
    int64_t second;
    if (!read_date(&second, value, wall_now_ms)) return false;
    int64_t ahead_ms = second * 1000 - (int64_t)wall_now_ms;
    ms = ahead_ms > 0 ? (uint64_t)ahead_ms : 0;
  }
  *out_ms = ms < DAY_MS ? ms : DAY_MS;
  return true;
}

/* ---- status ---- */

const char *http_reason(int status) {
  switch (status) {
  case 100: return "Continue";
  case 101: return "Switching Protocols";
  case 102: return "Processing";
  case 103: return "Early Hints";
  case 200: return "OK";
  case 201: return "Created";
  case 202: return "Accepted";
  case 203: return "Non-Authoritative Information";
  case 204: return "No Content";
  case 205: return "Reset Content";
  case 206: return "Partial Content";
  case 207: return "Multi-Status";
  case 208: return "Already Reported";
  case 226: return "IM Used";
  case 300: return "Multiple Choices";
  case 301: return "Moved Permanently";
  case 302: return "Found";
  case 303: return "See Other";
  case 304: return "Not Modified";
  case 305: return "Use Proxy";
  case 307: return "Temporary Redirect";
  case 308: return "Permanent Redirect";
  case 400: return "Bad Request";
  case 401: return "Unauthorized";
  case 402: return "Payment Required";
  case 403: return "Forbidden";
  case 404: return "Not Found";
  case 405: return "Method Not Allowed";
  case 406: return "Not Acceptable";
  case 407: return "Proxy Authentication Required";
  case 408: return "Request Timeout";
  case 409: return "Conflict";
  case 410: return "Gone";
  case 411: return "Length Required";
  case 412: return "Precondition Failed";
  case 413: return "Content Too Large";
  case 414: return "URI Too Long";
  case 415: return "Unsupported Media Type";
  case 416: return "Range Not Satisfiable";
  case 417: return "Expectation Failed";
  case 421: return "Misdirected Request";
  case 422: return "Unprocessable Content";
  case 423: return "Locked";
  case 424: return "Failed Dependency";
  case 425: return "Too Early";
  case 426: return "Upgrade Required";
  case 428: return "Precondition Required";
  case 429: return "Too Many Requests";
  case 431: return "Request Header Fields Too Large";
  case 451: return "Unavailable For Legal Reasons";
  case 499: return "Client Closed Request";
  case 500: return "Internal Server Error";
  case 501: return "Not Implemented";
  case 502: return "Bad Gateway";
  case 503: return "Service Unavailable";
  case 504: return "Gateway Timeout";
  case 505: return "HTTP Version Not Supported";
  case 506: return "Variant Also Negotiates";
  case 507: return "Insufficient Storage";
  case 508: return "Loop Detected";
  case 511: return "Network Authentication Required";
  default: return "";
  }
}

/* ---- field lines ---- */

const struct http_fault HTTP_FAULT_LINE_END = {400, "bad_line_end",
                                               "a line of the head does not end in CRLF"};
const struct http_fault HTTP_FAULT_FOLDED = {400, "folded_field", "a line of the head starts with a blank"};
const struct http_fault HTTP_FAULT_TOO_MANY_FIELDS = {431, "too_many_fields",
                                                      "the head has more than 100 fields"};
const struct http_fault HTTP_FAULT_UNKNOWN_METHOD = {501, "unknown_method", "the method is not known here"};

static const struct http_fault FIELD_NAME = {400, "bad_field_name", "a field name is not a token"};
static const struct http_fault FIELD_BLANK = {400, "blank_before_colon",
                                              "a field name is followed by a blank"};
static const struct http_fault FIELD_COLON = {400, "missing_colon", "a line of the head has no colon"};
static const struct http_fault FIELD_VALUE = {400, "bad_field_value", "a field value holds a control byte"};

static const struct http_fault *name_fault(const char *name, const char *at, const char *end) {
  const char *colon = memchr(name, ':', (size_t)(end - name)), *cr = memchr(name, '\r', (size_t)(end - name));
  if (!colon || (cr && cr < colon)) return &FIELD_COLON;
  return at > name && (*at == ' ' || *at == '\t') ? &FIELD_BLANK : &FIELD_NAME;
}

static inline const char *skip_name(const char *at, const char *end) {
#if HTTP_SSE2
  if (end - at >= 16) {
    unsigned n = name_run16(at);
    at += n;
    if (n < 16 && *at == ':') return at;
  }
#endif
  while (at < end && is(*at, IS_TOKEN))
    at++;
  return at;
}

/* Whether a field of that kind could mean something about framing or the connection. */
static bool bears_on_framing(const struct http_field *f) {
  switch (f->id) {
  case HTTP_FIELD_TRANSFER_ENCODING:
  case HTTP_FIELD_UPGRADE:
  case HTTP_FIELD_EXPECT:
  case HTTP_FIELD_TE:
  case HTTP_FIELD_TRAILER:
  case HTTP_FIELD_PROXY_CONNECTION: return true;
  case HTTP_FIELD_CONNECTION:
    return !span_eq_nocase(f->value, SPAN("keep-alive")) && !span_eq_nocase(f->value, SPAN("close"));
  default: return false;
  }
}

/* One line at *at, which is not the empty one; *at moves behind it. */
static inline const struct http_fault *split_line(struct http_split *out, struct http_field *f,
                                                  const char **at, const char *end) {
  const char *name = *at;
  if (*name == ' ' || *name == '\t') return &HTTP_FAULT_FOLDED;
  if (out->n == HTTP_FIELDS_MAX) return &HTTP_FAULT_TOO_MANY_FIELDS;
  const char *colon = skip_name(name, end);
  if (colon == name || colon == end || *colon != ':') return name_fault(name, colon, end);
  unsigned odd = 0;
  const char *value = colon + 1, *stop = skip_value(value, end, &odd);
  if (stop < end && *stop != '\r' && *stop != '\n') return &FIELD_VALUE;
  if (end - stop < 2 || stop[0] != '\r' || stop[1] != '\n') return &HTTP_FAULT_LINE_END;
  f->name = span_make(name, (size_t)(colon - name));
  f->value = span_trim(span_make(value, (size_t)(stop - value)));
  f->id = http_field_id(f->name);
  if (UNLIKELY(odd || bears_on_framing(f))) out->is_plain = false;
  out->n++;
  *at = stop + 2;
  return NULL;
}

const struct http_fault *http_split_fields(struct http_split *out, struct http_field *fields,
                                           struct span lines) {
  const char *at = lines.ptr, *end = at + lines.len;
  const struct http_fault *fault = NULL;
  *out = (struct http_split){.is_plain = true};
  while (!fault && at < end)
    fault = split_line(out, &fields[out->n], &at, end);
  return fault;
}

size_t http_split_head(struct http_split *out, struct http_field *fields, struct span text) {
  const char *at = text.ptr, *end = at + text.len;
  *out = (struct http_split){.is_plain = true};
  while (end - at >= 2) {
    if (at[0] == '\r') return at[1] == '\n' ? (size_t)(at + 2 - text.ptr) : 0;
    if (out->n == HTTP_FIELDS_MAX || split_line(out, &fields[out->n], &at, end)) return 0;
  }
  return 0;
}

/* ---- how long the message is ---- */

static const struct http_fault LENGTH_TWICE = {400, "repeated_content_length",
                                               "there are two Content-Length fields"};
static const struct http_fault LENGTH_BAD = {400, "bad_content_length",
                                             "Content-Length is not a number of at most 18 digits"};
static const struct http_fault CODING_TWICE = {400, "repeated_transfer_encoding",
                                               "there are two Transfer-Encoding fields"};
static const struct http_fault CODING_BAD = {400, "bad_transfer_encoding",
                                             "Transfer-Encoding is not exactly \"chunked\""};
static const struct http_fault CODING_UNKNOWN = {501, "unknown_transfer_coding",
                                                 "the only transfer coding known here is \"chunked\""};
static const struct http_fault CODING_IN_1_0 = {400, "transfer_encoding_in_http_1_0",
                                                "HTTP/1.0 has no Transfer-Encoding"};
static const struct http_fault CODING_AND_LENGTH = {400, "conflicting_length",
                                                    "there are both Transfer-Encoding and Content-Length"};
static const struct http_fault DISAGREEMENT = {400, "bad_request", "the head is malformed"};

const struct http_fault *http_read_lengths(struct http_reading *r, const struct http_field *fields) {
  struct span length = SPAN_NONE, coding = SPAN_NONE;
  r->has_length = r->is_chunked = false;
  r->length = 0;
  for (unsigned i = 0; i < r->n_fields; i++) {
    if (fields[i].id == HTTP_FIELD_CONTENT_LENGTH) {
      if (r->has_length) return &LENGTH_TWICE;
      r->has_length = true;
      length = fields[i].value;
    } else if (fields[i].id == HTTP_FIELD_TRANSFER_ENCODING) {
      if (r->is_chunked) return &CODING_TWICE;
      r->is_chunked = true;
      coding = fields[i].value;
    }
  }
  if (r->has_length && r->is_chunked) return &CODING_AND_LENGTH;
  if (r->has_length && (length.len > 18 || !span_to_u64(length, UINT64_MAX, &r->length))) return &LENGTH_BAD;
  if (!r->is_chunked) return NULL;
  if (r->minor == 0) return &CODING_IN_1_0;
  if (span_eq_nocase(coding, SPAN("chunked"))) return NULL;
  return http_is_token(coding) ? &CODING_UNKNOWN : &CODING_BAD;
}

static const struct http_fault CONNECTION_LONG = {400, "bad_connection",
                                                  "Connection names more fields than a head may have"};

const struct http_fault *http_check_connection(const struct http_field *fields, unsigned n) {
  unsigned commas = 0;
  for (unsigned i = 0; i < n; i++) {
    struct span left = fields[i].value;
    const char *comma;
    while (fields[i].id == HTTP_FIELD_CONNECTION && left.len && (comma = memchr(left.ptr, ',', left.len))) {
      if (++commas >= HTTP_FIELDS_MAX) return &CONNECTION_LONG;
      left = span_make(comma + 1, (size_t)(left.ptr + left.len - comma) - 1);
    }
  }
  return NULL;
}

bool http_is_persistent(unsigned minor, const struct http_field *fields, unsigned n) {
  bool closes = false, keeps = false;
  for (unsigned i = 0; i < n; i++) {
    if (fields[i].id != HTTP_FIELD_CONNECTION) continue;
    closes = closes || http_list_has(fields[i].value, SPAN("close"));
    keeps = keeps || http_list_has(fields[i].value, SPAN("keep-alive"));
  }
  return !closes && (minor >= 1 || keeps);
}

/* ---- the second reader ---- */

/*
 * What two readers could take differently: other versions, methods and targets than the usual ones, and whatever
 * makes split.is_plain false. In what is left there is nothing to disagree about; the fuzz targets make sure that
 * llhttp never does.
 */
static bool is_plain(const struct http_reading *ours, struct span start) {
  if (!ours->is_plain || ours->minor != 1 || ours->is_chunked) return false;
  if (ours->status)
    return ours->status >= 200 && ours->status != 204 && ours->status != 304 && ours->has_length;
  if (!span_eq(ours->method, SPAN("POST")) && !span_eq(ours->method, SPAN("GET"))) return false;
  const char *at = start.ptr + ours->method.len + 1;
  if (*at != '/') return false;
  while (is(*at, IS_PLAIN_PATH))
    at++;
  return *at == ' ';
}

static int on_field(llhttp_t *parser) {
  unsigned *n = parser->data;
  ++*n;
  return 0;
}

/* Bodies are none of llhttp's business: it stops here, with the state of the complete head. */
static int on_head(llhttp_t *parser) {
  (void)parser;
  return HPE_PAUSED;
}

static const llhttp_settings_t SETTINGS = {.on_header_field_complete = on_field,
                                           .on_headers_complete = on_head};

const struct http_fault *http_read_twice(const struct http_reading *ours, struct span start,
                                         struct span lines) {
  return is_plain(ours, start) ? NULL : http_read_again(ours, start, lines);
}

const struct http_fault *http_read_again(const struct http_reading *ours, struct span start,
                                         struct span lines) {
  llhttp_t theirs;
  unsigned n_fields = 0;
  llhttp_init(&theirs, ours->status ? HTTP_RESPONSE : HTTP_REQUEST, &SETTINGS);
  theirs.data = &n_fields;
  llhttp_errno_t err = llhttp_execute(&theirs, start.ptr, start.len);
  if (err == HPE_OK) err = llhttp_execute(&theirs, lines.ptr, lines.len);
  if (!ours->status && (err == HPE_INVALID_METHOD || err == HPE_INVALID_CONSTANT))
    return &HTTP_FAULT_UNKNOWN_METHOD;
  if (err != HPE_PAUSED || n_fields != ours->n_fields) return &DISAGREEMENT;
  if (theirs.http_major != 1 || theirs.http_minor != ours->minor) return &DISAGREEMENT;
  if (ours->status ? theirs.status_code != ours->status
                   : !span_eq(span_str(llhttp_method_name(theirs.method)), ours->method))
    return &DISAGREEMENT;
  bool is_coded = theirs.flags & F_TRANSFER_ENCODING, is_chunked = theirs.flags & F_CHUNKED;
  if (is_coded != ours->is_chunked || is_chunked != ours->is_chunked) return &DISAGREEMENT;
  bool has_length = theirs.flags & F_CONTENT_LENGTH;
  if (has_length != ours->has_length || (has_length && theirs.content_length != ours->length))
    return &DISAGREEMENT;
  return NULL;
}
