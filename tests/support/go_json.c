#include "support/go_json.h"

#include <stdio.h>

enum state {
  BEGIN_VALUE,
  BEGIN_VALUE_OR_EMPTY,
  BEGIN_NAME_OR_EMPTY,
  BEGIN_NAME,
  END_VALUE,
  END_TOP,
  IN_STRING,
  IN_ESCAPE,
  IN_HEX,
  NEGATIVE,
  ZERO,
  DIGITS,
  DOT,
  FRACTION,
  EXPONENT,
  EXPONENT_SIGN,
  EXPONENT_DIGITS,
  LITERAL
};

struct scan {
  enum state state;
  bool is_name;        /* the string or object member at hand is a name */
  const char *literal; /* "true", "false", "null" */
  unsigned n;          /* of the literal, or of hex digits, that were seen */
  unsigned depth;
  uint8_t open[GO_JSON_DEPTH_MAX / 8 + 1]; /* one bit each: is it an object */
  char *error;
};

/* A character as Go quotes it; bytes are taken for Latin-1. */
static void quote(char out[16], uint8_t c) {
  static const char letters[] = "abtnvfr";
  if (c == '\'')
    memcpy(out, "'\\''", 5);
  else if (c == '\\')
    memcpy(out, "'\\\\'", 5);
  else if (c >= 7 && c <= 13)
    (void)snprintf(out, 16, "'\\%c'", letters[c - 7]);
  else if (c < 0x20 || c == 0x7f)
    (void)snprintf(out, 16, "'\\x%02x'", c);
  else if (c < 0x7f)
    (void)snprintf(out, 16, "'%c'", c);
  else if (c <= 0xa0 || c == 0xad)
    (void)snprintf(out, 16, "'\\u%04x'", c);
  else
    (void)snprintf(out, 16, "'%c%c'", 0xc0 | c >> 6, 0x80 | (c & 0x3f));
}

static bool fail(struct scan *s, uint8_t c, const char *context) {
  char quoted[16];
  quote(quoted, c);
  (void)snprintf(s->error, GO_JSON_ERROR_MAX + 1, "invalid character %s %s", quoted, context);
  return false;
}

static bool go_to(struct scan *s, enum state state) {
  s->state = state;
  return true;
}

static bool is_blank(uint8_t c) {
  return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static bool in_object(const struct scan *s) {
  return s->open[(s->depth - 1) / 8] >> ((s->depth - 1) % 8) & 1;
}

static bool enter(struct scan *s, uint8_t c) {
  if (s->depth == GO_JSON_DEPTH_MAX) return fail(s, c, "exceeded max depth");
  uint8_t bit = (uint8_t)(1u << (s->depth % 8));
  uint8_t *place = &s->open[s->depth / 8];
  *place = (uint8_t)(c == '{' ? *place | bit : *place & ~bit);
  s->depth++;
  return go_to(s, c == '{' ? BEGIN_NAME_OR_EMPTY : BEGIN_VALUE_OR_EMPTY);
}

static bool leave(struct scan *s) {
  s->depth--;
  s->is_name = false;
  return go_to(s, s->depth ? END_VALUE : END_TOP);
}

static bool end_value(struct scan *s, uint8_t c);

static bool begin_value(struct scan *s, uint8_t c) {
  s->is_name = false;
  s->n = 1;
  if (is_blank(c)) return true;
  switch (c) {
  case '{':
  case '[': return enter(s, c);
  case '"': return go_to(s, IN_STRING);
  case '-': return go_to(s, NEGATIVE);
  case '0': return go_to(s, ZERO);
  case 't': s->literal = "true"; return go_to(s, LITERAL);
  case 'f': s->literal = "false"; return go_to(s, LITERAL);
  case 'n': s->literal = "null"; return go_to(s, LITERAL);
  default: break;
  }
  if (c >= '1' && c <= '9') return go_to(s, DIGITS);
  return fail(s, c, "looking for beginning of value");
}

static bool begin_name(struct scan *s, uint8_t c) {
  if (is_blank(c)) return true;
  if (c != '"') return fail(s, c, "looking for beginning of object key string");
  s->is_name = true;
  return go_to(s, IN_STRING);
}

/* Behind a value; numbers end with the first character that is not theirs. */
static bool end_value(struct scan *s, uint8_t c) {
  if (s->depth == 0) {
    s->state = END_TOP;
    return is_blank(c) || fail(s, c, "after top-level value");
  }
  s->state = END_VALUE;
  if (is_blank(c)) return true;
  if (!in_object(s)) {
    if (c == ',') return go_to(s, BEGIN_VALUE);
    return c == ']' ? leave(s) : fail(s, c, "after array element");
  }
  if (s->is_name) return c == ':' ? go_to(s, BEGIN_VALUE) : fail(s, c, "after object key");
  if (c == ',') return go_to(s, BEGIN_NAME);
  return c == '}' ? leave(s) : fail(s, c, "after object key:value pair");
}

static bool in_string(struct scan *s, uint8_t c) {
  if (c == '"') return go_to(s, s->depth ? END_VALUE : END_TOP);
  if (c == '\\') return go_to(s, IN_ESCAPE);
  return c >= 0x20 || fail(s, c, "in string literal");
}

static bool in_escape(struct scan *s, uint8_t c) {
  if (c != 0 && strchr("bfnrt\\/\"", c)) return go_to(s, IN_STRING);
  if (c != 'u') return fail(s, c, "in string escape code");
  s->n = 0;
  return go_to(s, IN_HEX);
}

static bool is_hex(uint8_t c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

static bool in_literal(struct scan *s, uint8_t c) {
  char context[64];
  if (c != (uint8_t)s->literal[s->n]) {
    (void)snprintf(context, sizeof context, "in literal %s (expecting '%c')", s->literal, s->literal[s->n]);
    return fail(s, c, context);
  }
  s->n++;
  return s->literal[s->n] || go_to(s, s->depth ? END_VALUE : END_TOP);
}

static bool in_number(struct scan *s, uint8_t c) {
  bool is_digit = c >= '0' && c <= '9';
  switch (s->state) {
  case NEGATIVE:
    if (c == '0') return go_to(s, ZERO);
    return is_digit ? go_to(s, DIGITS) : fail(s, c, "in numeric literal");
  case DIGITS:
    if (is_digit) return true;
    /* fall through */
  case ZERO:
    if (c == '.') return go_to(s, DOT);
    /* fall through */
  case FRACTION:
    if (s->state == FRACTION && is_digit) return true;
    return c == 'e' || c == 'E' ? go_to(s, EXPONENT) : end_value(s, c);
  case DOT: return is_digit ? go_to(s, FRACTION) : fail(s, c, "after decimal point in numeric literal");
  case EXPONENT:
    if (c == '+' || c == '-') return go_to(s, EXPONENT_SIGN);
    /* fall through */
  case EXPONENT_SIGN:
    return is_digit ? go_to(s, EXPONENT_DIGITS) : fail(s, c, "in exponent of numeric literal");
  default: return is_digit || end_value(s, c);
  }
}

static bool step(struct scan *s, uint8_t c) {
  switch (s->state) {
  case BEGIN_VALUE: return begin_value(s, c);
  case BEGIN_VALUE_OR_EMPTY: return c == ']' ? leave(s) : begin_value(s, c);
  case BEGIN_NAME_OR_EMPTY: return c == '}' ? leave(s) : begin_name(s, c);
  case BEGIN_NAME: return begin_name(s, c);
  case END_VALUE:
  case END_TOP: return end_value(s, c);
  case IN_STRING: return in_string(s, c);
  case IN_ESCAPE: return in_escape(s, c);
  case IN_HEX:
    if (!is_hex(c)) return fail(s, c, "in \\u hexadecimal character escape");
    return ++s->n < 4 || go_to(s, IN_STRING);
  case LITERAL: return in_literal(s, c);
  default: return in_number(s, c);
  }
}

static enum go_json_type type_of(char c) {
  switch (c) {
  case '{': return GO_JSON_OBJECT;
  case '[': return GO_JSON_ARRAY;
  case '"': return GO_JSON_STRING;
  case 't':
  case 'f': return GO_JSON_BOOL;
  case 'n': return GO_JSON_NULL;
  default: return GO_JSON_NUMBER;
  }
}

bool go_json_read(struct go_json *out, char error[GO_JSON_ERROR_MAX + 1], struct span text) {
  struct scan s = {.state = BEGIN_VALUE, .error = error};
  error[0] = '\0';
  for (size_t i = 0; i < text.len; i++)
    if (!step(&s, (uint8_t)text.ptr[i])) return false;
  /* A blank ends what can end. */
  if (s.state != END_TOP && !step(&s, ' ')) return false;
  if (s.state != END_TOP) {
    (void)snprintf(error, GO_JSON_ERROR_MAX + 1, "unexpected end of JSON input");
    return false;
  }
  while (is_blank((uint8_t)text.ptr[0])) {
    text.ptr++;
    text.len--;
  }
  while (is_blank((uint8_t)text.ptr[text.len - 1]))
    text.len--;
  *out = (struct go_json){.type = type_of(text.ptr[0]), .raw = text};
  return true;
}

/* ---- members ---- */

static void skip_blanks(size_t *at, struct span s) {
  while (*at < s.len && (is_blank((uint8_t)s.ptr[*at]) || s.ptr[*at] == ',' || s.ptr[*at] == ':'))
    ++*at;
}

/* Behind the value at `at`. The text was accepted, so brackets and quotes are enough. */
static size_t value_end(size_t at, struct span s) {
  unsigned depth = 0;
  bool is_in_string = false;
  size_t start = at;
  for (; at < s.len; at++) {
    char c = s.ptr[at];
    if (is_in_string) {
      at += c == '\\';
      is_in_string = c != '"';
      if (!is_in_string && depth == 0) return at + 1;
    } else if (c == '"') {
      is_in_string = true;
    } else if (c == '{' || c == '[') {
      depth++;
    } else if (c == '}' || c == ']') {
      if (depth == 0) return at;
      if (--depth == 0) return at + 1;
    } else if (depth == 0 && at > start && (c == ',' || c == ':' || is_blank((uint8_t)c))) {
      return at;
    }
  }
  return at;
}

bool go_json_next(struct span *name, struct go_json *value, size_t *at, struct span object) {
  if (*at == 0) *at = 1;
  skip_blanks(at, object);
  if (*at >= object.len || object.ptr[*at] == '}') return false;
  size_t end = value_end(*at, object);
  *name = span_make(object.ptr + *at, end - *at);
  *at = end;
  skip_blanks(at, object);
  end = value_end(*at, object);
  value->raw = span_make(object.ptr + *at, end - *at);
  value->type = type_of(object.ptr[*at]);
  *at = end;
  return true;
}

/* ---- strings ---- */

static unsigned read_hex4(const char *s) {
  unsigned code = 0;
  for (size_t i = 0; i < 4; i++) {
    unsigned char c = (unsigned char)s[i];
    code = code << 4 | (c <= '9' ? c - 48u : (c | 32u) - 87u);
  }
  return code;
}

struct output {
  char *out;
  size_t cap, len;
};

static void put(struct output *o, const char *bytes, size_t len) {
  for (size_t i = 0; i < len; i++, o->len++)
    if (o->len < o->cap) o->out[o->len] = bytes[i];
}

static void put_code(struct output *o, unsigned code) {
  char b[4];
  size_t n = code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
  static const unsigned char lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
  for (size_t i = n; i-- > 1; code >>= 6)
    b[i] = (char)(0x80 | (code & 0x3f));
  b[0] = (char)(lead[n] | code);
  put(o, b, n);
}

static size_t utf8_len(const uint8_t *s, size_t left) {
  uint8_t c = s[0];
  if (c < 0x80) return 1;
  size_t len = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
  if (len == 0 || len > left) return 0;
  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f)) return 0;
  if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f)) return 0;
  return len;
}

/* A surrogate without its half is U+FFFD. Returns how many bytes behind the backslash belong to it. */
static size_t put_escape(struct output *o, const char *at, size_t left) {
  static const char from[] = "bfnrt", to[] = "\b\f\n\r\t";
  const char *known = strchr(from, at[0]);
  if (at[0] != 'u') {
    put(o, known ? &to[known - from] : at, 1);
    return 1;
  }
  unsigned code = read_hex4(at + 1);
  if (code >= 0xd800 && code < 0xdc00 && left >= 11 && at[5] == '\\' && at[6] == 'u') {
    unsigned low = read_hex4(at + 7);
    if (low >= 0xdc00 && low < 0xe000) {
      put_code(o, 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00));
      return 11;
    }
  }
  put_code(o, code >= 0xd800 && code < 0xe000 ? 0xfffd : code);
  return 5;
}

size_t go_json_unquote(char *out, size_t cap, struct span raw) {
  struct output o = {.out = out, .cap = cap};
  const char *at = raw.ptr + 1, *end = raw.ptr + raw.len - 1;
  while (at < end) {
    if (*at == '\\') {
      at++;
      at += put_escape(&o, at, (size_t)(end - at));
      continue;
    }
    size_t n = utf8_len((const uint8_t *)at, (size_t)(end - at));
    if (n)
      put(&o, at, n);
    else
      put_code(&o, 0xfffd);
    at += n ? n : 1;
  }
  return o.len;
}
