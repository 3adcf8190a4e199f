#include "wire/json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#if defined(__SSE2__) && !defined(WIRE_WITHOUT_SSE2)
#  include <immintrin.h>
#  define JSON_SSE2 1
#else
#  define JSON_SSE2 0
#endif

#define JSON_MEMBERS_MAX 16

/* One bit per open container says what it is; the depth limit is what makes a fixed array enough. */
struct scan {
  const char *start, *at, *end;
  uint64_t is_object[JSON_MAX_DEPTH / 64];
  unsigned depth;
  int error;
  struct json_fault fault;
};

static bool fail(struct scan *s, const char *at, const char *message) {
  s->error = ERR_SYNTAX;
  s->fault = (struct json_fault){.offset = (size_t)(at - s->start), .message = message};
  return false;
}

static bool fail_here(struct scan *s, const char *message) {
  return fail(s, s->at, s->at == s->end ? "unexpected end of the text" : message);
}

/* ---- strings ---- */

static bool is_plain(char c) {
  return (unsigned char)c >= 0x20 && (unsigned char)c < 0x80 && c != '"' && c != '\\';
}

#if JSON_SSE2
/* One bit per byte that is not plain. */
static inline unsigned not_plain16(const char *at) {
  __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
  __m128i quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('"'));
  __m128i backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\'));
  /* Signed: bytes from 0x80 on are negative, so one comparison finds them and the control characters. */
  __m128i low = _mm_cmplt_epi8(bytes, _mm_set1_epi8(' '));
  return (unsigned)_mm_movemask_epi8(_mm_or_si128(low, _mm_or_si128(quote, backslash)));
}

/* Most bytes of a body are those of a few long strings. Steps of 64 plain bytes; up to 63 more may follow. */
static const char *plain_blocks(const char *at, const char *end) {
  const __m128i quotes = _mm_set1_epi8('"'), backslashes = _mm_set1_epi8('\\'), blanks = _mm_set1_epi8(' ');
  for (; end - at >= 64; at += 64) {
    __m128i found = _mm_setzero_si128();
#  pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(at + 16 * i));
      __m128i either = _mm_or_si128(_mm_cmpeq_epi8(bytes, quotes), _mm_cmpeq_epi8(bytes, backslashes));
      found = _mm_or_si128(found, _mm_or_si128(either, _mm_cmplt_epi8(bytes, blanks)));
    }
    if (_mm_movemask_epi8(found)) break;
  }
  return at;
}

/* The same in steps of 128, where the processor can. */
__attribute__((target("avx2"))) static const char *plain_blocks_avx2(const char *at, const char *end) {
  const __m256i quotes = _mm256_set1_epi8('"'), backslashes = _mm256_set1_epi8('\\');
  const __m256i blanks = _mm256_set1_epi8(' ');
  for (; end - at >= 128; at += 128) {
    __m256i found = _mm256_setzero_si256();
#  pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
      __m256i bytes = _mm256_loadu_si256((const __m256i *)(const void *)(at + 32 * i));
      __m256i either =
          _mm256_or_si256(_mm256_cmpeq_epi8(bytes, quotes), _mm256_cmpeq_epi8(bytes, backslashes));
      found = _mm256_or_si256(found, _mm256_or_si256(either, _mm256_cmpgt_epi8(blanks, bytes)));
    }
    if (_mm256_movemask_epi8(found)) break;
  }
  return at;
}

__attribute__((noinline)) static const char *pass_plain_blocks(const char *at, const char *end) {
  return __builtin_cpu_supports("avx2") ? plain_blocks_avx2(at, end) : plain_blocks(at, end);
}
#endif

/* The first byte that is a quote, a backslash, a control character or not ASCII; `end` when there is none. */
static inline const char *plain_end(const char *at, const char *end) {
#if JSON_SSE2
  unsigned mask;
  for (unsigned i = 0; end - at >= 32; i++, at += 32) {
    if (i == 2 && end - at >= 256) at = pass_plain_blocks(at, end);
    if (end - at < 32) break;
    if ((mask = not_plain16(at))) return at + __builtin_ctz(mask);
    if ((mask = not_plain16(at + 16))) return at + 16 + __builtin_ctz(mask);
  }
  if (end - at >= 16) {
    if ((mask = not_plain16(at))) return at + __builtin_ctz(mask);
    at += 16;
  }
#else
  const uint64_t ones = 0x0101010101010101u, highs = 0x8080808080808080u;
  for (; end - at >= 8; at += 8) {
    uint64_t word;
    memcpy(&word, at, 8);
    uint64_t quote = word ^ (ones * '"'), backslash = word ^ (ones * '\\');
    /* May flag a byte above the first true one, never miss one; the bytes are looked at singly below. */
    if (((word - ones * 0x20) | (quote - ones) | (backslash - ones) | word) & highs) break;
  }
#endif
  while (at < end && is_plain(*at))
    at++;
  return at;
}

static bool is_continuation(char c) {
  return ((unsigned char)c & 0xC0) == 0x80;
}

/* The length of the well-formed sequence (Unicode table 3-7) that starts with this byte >= 0x80; 0: none. */
static inline size_t utf8_len(const char *at, const char *end) {
  unsigned char lead = (unsigned char)at[0];
  size_t left = (size_t)(end - at);
  if (lead < 0xC2 || lead > 0xF4 || left < 2 || !is_continuation(at[1])) return 0;
  if (lead < 0xE0) return 2;
  unsigned char second = (unsigned char)at[1];
  if (left < 3 || !is_continuation(at[2])) return 0;
  if (lead < 0xF0) {
    bool is_overlong = lead == 0xE0 && second < 0xA0, is_surrogate = lead == 0xED && second >= 0xA0;
    return is_overlong || is_surrogate ? 0 : 3;
  }
  if (left < 4 || !is_continuation(at[3])) return 0;
  bool is_overlong = lead == 0xF0 && second < 0x90, is_beyond = lead == 0xF4 && second >= 0x90;
  return is_overlong || is_beyond ? 0 : 4;
}

/* Behind a run of characters beyond ASCII; at the bad byte when the run is not UTF-8. */
static inline const char *beyond_ascii_end(const char *at, const char *end) {
  while (at < end && (unsigned char)*at >= 0x80) {
    /* Most of the world's three-byte characters need no more than this. */
    unsigned char lead = (unsigned char)*at;
    if (lead > 0xE0 && lead < 0xED && end - at >= 3 && is_continuation(at[1]) && is_continuation(at[2])) {
      at += 3;
      continue;
    }
    size_t len = utf8_len(at, end);
    if (!len) break;
    at += len;
  }
  return at;
}

static int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = ascii_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_escape_letter(char c) {
  switch (c) {
  case '"':
  case '\\':
  case '/':
  case 'b':
  case 'f':
  case 'n':
  case 'r':
  case 't': return true;
  default: return false;
  }
}

/* From a backslash to behind the escape; NULL when it is none. */
static inline const char *pass_escape(struct scan *s, const char *at) {
  size_t left = (size_t)(s->end - at);
  if (LIKELY(left >= 2 && is_escape_letter(at[1]))) return at + 2;
  if (left >= 2 && at[1] == 'u') {
    size_t digits = 0;
    while (digits < 4 && 2 + digits < left && hex_digit(at[2 + digits]) >= 0)
      digits++;
    if (digits == 4) return at + 6;
    left = 2 + digits < left ? left : 0;
  }
  if (left < 2)
    (void)fail(s, s->end, "unexpected end of the text");
  else
    (void)fail(s, at, "invalid escape");
  return NULL;
}

/* From the opening quote to behind the closing one. */
static inline bool pass_string(struct scan *s, bool *has_escape) {
  const char *at = s->at + 1, *end = s->end;
  *has_escape = false;
  for (;;) {
    at = plain_end(at, end);
    if (at == end) return fail(s, at, "unexpected end of the text");
    if (LIKELY(*at == '"')) {
      s->at = at + 1;
      return true;
    }
    if (*at == '\\') {
      *has_escape = true;
      if (!(at = pass_escape(s, at))) return false;
    } else if ((unsigned char)*at < 0x20) {
      return fail(s, at, "control character in a string");
    } else {
      at = beyond_ascii_end(at, end);
      if (at < end && (unsigned char)*at >= 0x80) return fail(s, at, "invalid UTF-8");
    }
  }
}

/* ---- values ---- */

static inline void pass_blanks(struct scan *s) {
  const char *at = s->at, *end = s->end;
  if (LIKELY(at < end && (unsigned char)*at > ' ')) return;
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\r' || *at == '\t'))
    at++;
  s->at = at;
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

static bool pass_digits(struct scan *s) {
  if (s->at == s->end || !is_digit(*s->at)) return fail_here(s, "invalid number");
  while (s->at < s->end && is_digit(*s->at))
    s->at++;
  return true;
}

static bool pass_number(struct scan *s) {
  if (*s->at == '-') s->at++;
  if (s->at < s->end && *s->at == '0') {
    s->at++;
  } else if (!pass_digits(s)) {
    return false;
  }
  if (s->at < s->end && *s->at == '.') {
    s->at++;
    if (!pass_digits(s)) return false;
  }
  if (s->at < s->end && (*s->at == 'e' || *s->at == 'E')) {
    s->at++;
    if (s->at < s->end && (*s->at == '+' || *s->at == '-')) s->at++;
    if (!pass_digits(s)) return false;
  }
  return true;
}

static bool pass_word(struct scan *s, struct span word) {
  struct span rest = span_make(s->at, (size_t)(s->end - s->at));
  if (!span_starts(rest, word)) return fail_here(s, "expected a value");
  s->at += word.len;
  return true;
}

static bool enter(struct scan *s, bool is_object) {
  if (s->depth == JSON_MAX_DEPTH) {
    (void)fail(s, s->at, "nested too deep");
    s->error = ERR_TOO_LARGE;
    return false;
  }
  uint64_t bit = (uint64_t)1 << (s->depth % 64), *bits = &s->is_object[s->depth / 64];
  *bits = is_object ? *bits | bit : *bits & ~bit;
  s->depth++;
  s->at++;
  pass_blanks(s);
  return true;
}

static bool is_in_object(const struct scan *s) {
  unsigned top = s->depth - 1;
  return s->is_object[top / 64] >> (top % 64) & 1;
}

/* A member's name, unquoted in *name, and the colon. */
static inline bool pass_name(struct scan *s, struct span *name, bool *has_escape) {
  pass_blanks(s);
  if (s->at == s->end || *s->at != '"') return fail_here(s, "expected a member name");
  const char *start = s->at + 1;
  if (!pass_string(s, has_escape)) return false;
  *name = span_make(start, (size_t)(s->at - start) - 1);
  pass_blanks(s);
  if (s->at == s->end || *s->at != ':') return fail_here(s, "expected ':'");
  s->at++;
  return true;
}

/* After a value: closes what ends here. *is_next: another value follows in a container above `base`. */
static inline bool pass_closings(struct scan *s, unsigned base, bool *is_next) {
  struct span name;
  bool has_escape;
  *is_next = false;
  while (s->depth > base) {
    bool in_object = is_in_object(s);
    pass_blanks(s);
    char c = s->at < s->end ? *s->at : '\0';
    if (c == ',') {
      s->at++;
      *is_next = true;
      return !in_object || pass_name(s, &name, &has_escape);
    }
    if (c != (in_object ? '}' : ']'))
      return fail_here(s, in_object ? "expected ',' or '}'" : "expected ',' or ']'");
    s->at++;
    s->depth--;
  }
  return true;
}

/* What a value that starts with this byte is. */
static enum json_type type_of(char first) {
  switch (first) {
  case '{': return JSON_OBJECT;
  case '[': return JSON_ARRAY;
  case '"': return JSON_STRING;
  case 't': return JSON_TRUE;
  case 'f': return JSON_FALSE;
  case 'n': return JSON_NULL;
  default: return first == '-' || is_digit(first) ? JSON_NUMBER : JSON_ABSENT;
  }
}

/* '{' or '[', and an object's first name. *is_open: a value follows. */
static bool pass_opening(struct scan *s, bool is_object, bool *is_open) {
  struct span name;
  bool has_escape;
  if (!enter(s, is_object)) return false;
  *is_open = s->at == s->end || *s->at != (is_object ? '}' : ']');
  if (*is_open) return !is_object || pass_name(s, &name, &has_escape);
  s->at++;
  s->depth--;
  return true;
}

/* One value with all that is in it, blanks before it included. */
static bool pass_value(struct scan *s) {
  unsigned base = s->depth;
  bool is_open, has_escape, is_next = true;
  while (is_next) {
    bool is_good = false;
    pass_blanks(s);
    enum json_type type = s->at < s->end ? type_of(*s->at) : JSON_ABSENT;
    switch (type) {
    case JSON_STRING: is_good = pass_string(s, &has_escape); break;
    case JSON_NUMBER: is_good = pass_number(s); break;
    case JSON_TRUE: is_good = pass_word(s, SPAN("true")); break;
    case JSON_FALSE: is_good = pass_word(s, SPAN("false")); break;
    case JSON_NULL: is_good = pass_word(s, SPAN("null")); break;
    case JSON_OBJECT:
    case JSON_ARRAY:
      is_good = pass_opening(s, type == JSON_OBJECT, &is_open);
      if (is_good && is_open) continue;
      break;
    case JSON_ABSENT: return fail_here(s, "expected a value");
    }
    if (!is_good || !pass_closings(s, base, &is_next)) return false;
  }
  return true;
}

/* ---- escapes, decoded ---- */

static uint32_t hex4(const char *at) {
  uint32_t n = 0;
  for (int i = 0; i < 4; i++)
    n = n << 4 | (uint32_t)hex_digit(at[i]);
  return n;
}

static bool is_surrogate(uint32_t code) {
  return code >= 0xD800 && code < 0xE000;
}

/* Decodes the escape at a backslash of an accepted string; a pair of surrogates is one code point. */
static const char *decode_escape(uint32_t *code, const char *at, const char *end) {
  static const char letters[] = "bfnrt", meanings[] = "\b\f\n\r\t";
  if (at[1] != 'u') {
    const char *letter = strchr(letters, at[1]);
    *code = (unsigned char)(letter ? meanings[letter - letters] : at[1]);
    return at + 2;
  }
  *code = hex4(at + 2);
  at += 6;
  if (*code >= 0xD800 && *code < 0xDC00 && end - at >= 6 && at[0] == '\\' && at[1] == 'u') {
    uint32_t low = hex4(at + 2);
    if (low >= 0xDC00 && low < 0xE000) {
      *code = 0x10000 + ((*code - 0xD800) << 10) + (low - 0xDC00);
      at += 6;
    }
  }
  return at;
}

static size_t utf8_encode(char out[4], uint32_t code) {
  if (code < 0x80) {
    out[0] = (char)code;
    return 1;
  }
  size_t len = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  for (size_t i = len - 1; i > 0; i--, code >>= 6)
    out[i] = (char)(0x80 | (code & 0x3F));
  out[0] = (char)((0xF00u >> len & 0xFF) | code);
  return len;
}

int json_unescape(char *out, size_t out_cap, size_t *out_len, struct span raw) {
  REQUIRE(raw.len >= 2 && raw.ptr[0] == '"' && raw.ptr[raw.len - 1] == '"');
  const char *at = raw.ptr + 1, *end = raw.ptr + raw.len - 1;
  size_t n = 0;
  while (at < end) {
    const char *escape = memchr(at, '\\', (size_t)(end - at));
    size_t run = (size_t)((escape ? escape : end) - at);
    if (run > out_cap - n) return ERR_TOO_LARGE;
    if (run) memcpy(out + n, at, run);
    n += run;
    at += run;
    if (!escape) break;
    uint32_t code;
    char bytes[4];
    at = decode_escape(&code, at, end);
    if (is_surrogate(code)) return ERR_SYNTAX;
    size_t len = utf8_encode(bytes, code);
    if (len > out_cap - n) return ERR_TOO_LARGE;
    memcpy(out + n, bytes, len);
    n += len;
  }
  *out_len = n;
  return 0;
}

/* Whether a name written with escapes (no quotes around it) means `name`. */
static bool escaped_is(struct span escaped, struct span name) {
  const char *at = escaped.ptr, *end = escaped.ptr + escaped.len;
  while (at < end) {
    char bytes[4] = {*at};
    size_t len = 1;
    if (*at == '\\') {
      uint32_t code;
      at = decode_escape(&code, at, end);
      if (is_surrogate(code)) return false;
      len = utf8_encode(bytes, code);
    } else {
      at++;
    }
    if (!span_starts(name, span_make(bytes, len))) return false;
    name.ptr += len;
    name.len -= len;
  }
  return name.len == 0;
}

/* ---- documents ---- */

static bool is_empty_container(struct span value) {
  size_t i = 1;
  while (strchr(" \n\r\t", value.ptr[i]))
    i++;
  return i + 1 == value.len;
}

static bool pass_members(struct scan *s, struct json_member *members, size_t n, struct json_object *object) {
  object->open = (size_t)(s->at - s->start);
  if (!enter(s, true)) return false;
  object->is_empty = s->at < s->end && *s->at == '}';
  for (bool is_next = !object->is_empty; is_next;) {
    struct span name;
    bool has_escape;
    if (!pass_name(s, &name, &has_escape)) return false;
    pass_blanks(s);
    const char *start = s->at;
    if (!pass_value(s)) return false;
    enum json_type type = type_of(*start);
    struct span value = span_make(start, (size_t)(s->at - start));
    for (size_t i = 0; i < n; i++) {
      struct json_member *m = &members[i];
      if (!(has_escape ? escaped_is(name, m->name) : span_eq(name, m->name))) continue;
      m->type = type;
      m->value = value;
      m->count++;
      m->is_empty = (type == JSON_ARRAY || type == JSON_OBJECT) && is_empty_container(value);
    }
    pass_blanks(s);
    if (s->at == s->end || (*s->at != ',' && *s->at != '}')) return fail_here(s, "expected ',' or '}'");
    is_next = *s->at == ',';
    if (is_next) s->at++;
  }
  object->close = (size_t)(s->at - s->start);
  s->at++;
  return true;
}

static void scan_begin(struct scan *s, struct span text) {
  s->start = s->at = text.ptr ? text.ptr : "";
  s->end = s->start + text.len;
  s->depth = 0;
  s->error = 0;
  pass_blanks(s);
}

static bool scan_end(struct scan *s) {
  pass_blanks(s);
  return s->at == s->end || fail(s, s->at, "expected the end of the text");
}

int json_scan_object(struct json_member *members, size_t n, struct json_object *object,
                     struct json_fault *fault, struct span text) {
  REQUIRE(n <= JSON_MEMBERS_MAX);
  for (size_t i = 0; i < n; i++)
    members[i] = (struct json_member){.name = members[i].name, .type = JSON_ABSENT};
  *object = (struct json_object){.is_empty = true};

  struct scan s;
  scan_begin(&s, text);
  if (s.at < s.end && *s.at == '{') {
    if (!pass_members(&s, members, n, object) || !scan_end(&s)) *fault = s.fault;
    return s.error;
  }
  size_t value_offset = (size_t)(s.at - s.start);
  if (pass_value(&s) && scan_end(&s)) {
    *fault = (struct json_fault){.offset = value_offset, .message = "expected an object"};
    return ERR_UNSUPPORTED;
  }
  *fault = s.fault;
  return s.error;
}

int json_validate(struct json_fault *fault, struct span text) {
  struct scan s;
  scan_begin(&s, text);
  if (!pass_value(&s) || !scan_end(&s)) *fault = s.fault;
  return s.error;
}

bool json_array_next(struct span *element, size_t *at, struct span array) {
  size_t from = *at ? *at : 1; /* behind '[' */
  if (from >= array.len) return false;
  struct scan s;
  scan_begin(&s, span_make(array.ptr + from, array.len - from));
  if (s.at < s.end && *s.at == ',') s.at++;
  pass_blanks(&s);
  const char *first = s.at;
  if (s.at == s.end || *s.at == ']' || !pass_value(&s)) return false;
  *element = span_make(first, (size_t)(s.at - first));
  *at = (size_t)(s.at - array.ptr);
  return true;
}

void json_locate(unsigned *line, unsigned *column, struct span text, size_t offset) {
  if (offset > text.len) offset = text.len;
  size_t line_start = 0;
  *line = 1;
  for (size_t i = 0; i < offset; i++) {
    if (text.ptr[i] != '\n') continue;
    ++*line;
    line_start = i + 1;
  }
  *column = (unsigned)(offset - line_start) + 1;
}

/* ---- writer ---- */

void json_begin(struct json_writer *w, struct buf *out) {
  *w = (struct json_writer){.out = out};
}

static void put_comma(struct json_writer *w) {
  if (w->needs_comma) buf_put(w->out, ",", 1);
  w->needs_comma = true;
}

static void put_text(struct json_writer *w, const char *text) {
  put_comma(w);
  buf_put_str(w->out, text);
}

void json_open(struct json_writer *w, char bracket) {
  put_comma(w);
  buf_put(w->out, &bracket, 1);
  w->needs_comma = false;
}

void json_close(struct json_writer *w, char bracket) {
  buf_put(w->out, &bracket, 1);
  w->needs_comma = true;
}

void json_key(struct json_writer *w, const char *key) {
  json_cstring(w, key);
  buf_put(w->out, ":", 1);
  w->needs_comma = false;
}

static void put_escaped(struct buf *out, unsigned char c) {
  static const char named[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
  const char *at = c ? strchr(named, c) : NULL;
  if (at) {
    buf_put(out, (const char[]){'\\', letters[at - named]}, 2);
  } else {
    buf_putf(out, "\\u%04x", c);
  }
}

void json_string(struct json_writer *w, struct span s) {
  const char *at = s.ptr ? s.ptr : "", *end = at + s.len;
  put_comma(w);
  buf_put(w->out, "\"", 1);
  while (at < end) {
    const char *run = at, *before;
    do {
      before = at;
      at = beyond_ascii_end(plain_end(at, end), end);
    } while (at > before);
    if (at > run) buf_put(w->out, run, (size_t)(at - run));
    if (at == end) break;
    if ((unsigned char)*at >= 0x80) {
      buf_put_str(w->out, "\xEF\xBF\xBD");
    } else {
      put_escaped(w->out, (unsigned char)*at);
    }
    at++;
  }
  buf_put(w->out, "\"", 1);
}

void json_cstring(struct json_writer *w, const char *s) {
  if (s) {
    json_string(w, span_str(s));
  } else {
    json_null(w);
  }
}

void json_int(struct json_writer *w, int64_t n) {
  put_comma(w);
  buf_putf(w->out, "%lld", (long long)n);
}

void json_double(struct json_writer *w, double x) {
  char text[40];
  if (!isfinite(x)) {
    json_null(w);
    return;
  }
  /* The fewest digits that read back as the same number; 17 always do. */
  for (int digits = 15; digits <= 17; digits++) {
    (void)snprintf(text, sizeof text, "%.*g", digits, x);
    if (strtod(text, NULL) == x) break;
  }
  put_text(w, text);
}

void json_bool(struct json_writer *w, bool b) {
  put_text(w, b ? "true" : "false");
}

void json_null(struct json_writer *w) {
  put_text(w, "null");
}
