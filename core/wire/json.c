#include "wire/json.h"
#include "wire/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

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

/* By byte: the value of a hexadecimal digit and one more; 0: it is none. */
static const uint8_t HEX[256] = {
    ['0'] = 1,  ['1'] = 2,  ['2'] = 3,  ['3'] = 4,  ['4'] = 5,  ['5'] = 6,  ['6'] = 7,  ['7'] = 8,
    ['8'] = 9,  ['9'] = 10, ['a'] = 11, ['b'] = 12, ['c'] = 13, ['d'] = 14, ['e'] = 15, ['f'] = 16,
    ['A'] = 11, ['B'] = 12, ['C'] = 13, ['D'] = 14, ['E'] = 15, ['F'] = 16,
};

static const bool ESCAPE_LETTERS[256] = {['"'] = true, ['\\'] = true, ['/'] = true, ['b'] = true,
                                         ['f'] = true, ['n'] = true,  ['r'] = true, ['t'] = true};

static inline unsigned hex(char c) {
  return HEX[(unsigned char)c];
}

/* From a backslash to behind the escape; NULL when it is none. */
static inline const char *pass_escape(struct scan *s, const char *at) {
  size_t left = (size_t)(s->end - at);
  if (LIKELY(left >= 2 && ESCAPE_LETTERS[(unsigned char)at[1]])) return at + 2;
  if (LIKELY(left >= 6 && at[1] == 'u' && hex(at[2]) && hex(at[3]) && hex(at[4]) && hex(at[5])))
    return at + 6;
  size_t good = left < 2 ? left : at[1] == 'u' ? 2 : 0;
  while (good >= 2 && good < left && hex(at[good]))
    good++;
  if (good == left)
    (void)fail(s, s->end, "unexpected end of the text");
  else
    (void)fail(s, at, "invalid escape");
  return NULL;
}

/* From the opening quote to behind the closing one. Most bytes of a body are those of a few long strings. */
static inline bool pass_string(struct scan *s, bool *has_escape) {
  const char *at = s->at + 1, *end = s->end, *blocks_from = at + TEXT_BLOCKS_GAP;
  *has_escape = false;
  for (;;) {
    if (UNLIKELY(at >= blocks_from)) {
      if (end - at >= TEXT_BLOCKS_MIN) at = text_pass_usual(at, end, has_escape);
      blocks_from = at + TEXT_BLOCKS_GAP;
    }
    const char *enough = blocks_from < end ? blocks_from : end;
    at = text_plain_end(at, enough);
    if (at == enough) {
      if (at == end) return fail(s, at, "unexpected end of the text");
      continue;
    }
    if (LIKELY(*at == '"')) {
      s->at = at + 1;
      return true;
    }
    if (*at == '\\') {
      *has_escape = true;
      do {
        if (!(at = pass_escape(s, at))) return false;
      } while (at < enough && *at == '\\');
    } else if ((unsigned char)*at < 0x20) {
      return fail(s, at, "control character in a string");
    } else {
      at = text_beyond_ascii_end(at, end, enough);
      if (at < enough && (unsigned char)*at >= 0x80) return fail(s, at, "invalid UTF-8");
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
    n = n << 4 | (hex(at[i]) - 1);
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
      at = text_beyond_ascii_end(text_plain_end(at, end), end, end);
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
