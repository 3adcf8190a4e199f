/*
 * The scanner against a second, slow reader of the same grammar, written from the RFC's productions; and what
 * the scanner accepted must survive unescaping and writing.
 */
#include "wire/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct reader {
  const uint8_t *at, *end;
  unsigned depth;
  bool is_too_deep;
};

static int peek(const struct reader *r) {
  return r->at < r->end ? *r->at : -1;
}

static bool take(struct reader *r, int c) {
  if (peek(r) != c) return false;
  r->at++;
  return true;
}

static void blanks(struct reader *r) {
  while (take(r, ' ') || take(r, '\t') || take(r, '\n') || take(r, '\r'))
    continue;
}

static bool digits(struct reader *r) {
  const uint8_t *start = r->at;
  while (peek(r) >= '0' && peek(r) <= '9')
    r->at++;
  return r->at > start;
}

static bool number(struct reader *r) {
  (void)take(r, '-');
  if (!take(r, '0') && !digits(r)) return false;
  if (take(r, '.') && !digits(r)) return false;
  if (take(r, 'e') || take(r, 'E')) {
    if (!take(r, '+')) (void)take(r, '-');
    return digits(r);
  }
  return true;
}

static bool in_range(struct reader *r, int low, int high) {
  if (peek(r) < low || peek(r) > high) return false;
  r->at++;
  return true;
}

/* RFC 3629, section 4. */
static bool utf8_char(struct reader *r) {
  int c = peek(r);
  r->at++;
  if (c >= 0xC2 && c <= 0xDF) return in_range(r, 0x80, 0xBF);
  if (c == 0xE0) return in_range(r, 0xA0, 0xBF) && in_range(r, 0x80, 0xBF);
  if (c == 0xED) return in_range(r, 0x80, 0x9F) && in_range(r, 0x80, 0xBF);
  if (c >= 0xE1 && c <= 0xEF) return in_range(r, 0x80, 0xBF) && in_range(r, 0x80, 0xBF);
  if (c < 0xF0 || c > 0xF4) return false;
  if (!in_range(r, c == 0xF0 ? 0x90 : 0x80, c == 0xF4 ? 0x8F : 0xBF)) return false;
  return in_range(r, 0x80, 0xBF) && in_range(r, 0x80, 0xBF);
}

static bool string(struct reader *r) {
  if (!take(r, '"')) return false;
  while (!take(r, '"')) {
    if (peek(r) < 0x20) return false;
    if (peek(r) >= 0x80) {
      if (!utf8_char(r)) return false;
    } else if (take(r, '\\')) {
      if (take(r, 'u')) {
        for (int i = 0; i < 4; i++)
          if (!in_range(r, '0', '9') && !in_range(r, 'a', 'f') && !in_range(r, 'A', 'F')) return false;
      } else if (peek(r) <= 0 || !strchr("\"\\/bfnrt", peek(r))) {
        return false;
      } else {
        r->at++;
      }
    } else {
      r->at++;
    }
  }
  return true;
}

static bool word(struct reader *r, const char *text) {
  while (*text)
    if (!take(r, *text++)) return false;
  return true;
}

static bool value(struct reader *r) {
  blanks(r);
  int open = peek(r);
  if (open == '{' || open == '[') {
    int close = open == '{' ? '}' : ']';
    if (++r->depth > JSON_MAX_DEPTH) {
      r->is_too_deep = true;
      return false;
    }
    r->at++;
    blanks(r);
    if (!take(r, close)) {
      do {
        blanks(r);
        if (open == '{') {
          if (!string(r)) return false;
          blanks(r);
          if (!take(r, ':')) return false;
        }
        if (!value(r)) return false;
        blanks(r);
      } while (take(r, ','));
      if (!take(r, close)) return false;
    }
    r->depth--;
    return true;
  }
  if (open == '"') return string(r);
  if (open == 't') return word(r, "true");
  if (open == 'f') return word(r, "false");
  if (open == 'n') return word(r, "null");
  return number(r);
}

static int expected(bool *is_object, const uint8_t *data, size_t size) {
  struct reader r = {.at = data, .end = data + size};
  blanks(&r);
  *is_object = peek(&r) == '{';
  bool ok = value(&r);
  if (r.is_too_deep) return ERR_TOO_LARGE;
  blanks(&r);
  return ok && r.at == r.end ? 0 : ERR_SYNTAX;
}

static void round_trip(struct span raw) {
  char *plain = x_malloc(raw.len);
  size_t len;
  int err = json_unescape(plain, raw.len, &len, raw);
  REQUIRE(err == 0 || err == ERR_SYNTAX);
  if (err == 0) {
    struct buf out;
    struct json_writer w;
    struct json_fault fault;
    buf_init(&out, 8 * raw.len + 64);
    json_begin(&w, &out);
    json_string(&w, span_make(plain, len));
    REQUIRE(json_validate(&fault, buf_span(&out)) == 0);
    char *again = x_malloc(out.len);
    size_t again_len;
    REQUIRE(json_unescape(again, out.len, &again_len, buf_span(&out)) == 0);
    REQUIRE(span_eq(span_make(plain, len), span_make(again, again_len)));
    free(again);
    buf_release(&out);
  }
  free(plain);
}

static void write_anything(struct span text) {
  struct buf out;
  struct json_writer w;
  struct json_fault fault;
  buf_init(&out, 8 * text.len + 64);
  json_begin(&w, &out);
  json_open(&w, '[');
  json_string(&w, text);
  if (text.len >= sizeof(double)) {
    double x;
    memcpy(&x, text.ptr, sizeof x);
    json_double(&w, x);
  }
  json_close(&w, ']');
  REQUIRE(json_validate(&fault, buf_span(&out)) == 0);
  buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct span text = span_make((const char *)data, size);
  struct json_member members[] = {{.name = SPAN("a")}, {.name = SPAN("model")}, {.name = SPAN("stream")}};
  struct json_object object;
  struct json_fault fault = {.offset = SIZE_MAX};
  bool is_object;
  int want = expected(&is_object, data, size);

  int err = json_validate(&fault, text);
  REQUIRE(err == want);
  if (err) REQUIRE(fault.message && fault.offset <= size);

  fault = (struct json_fault){.offset = SIZE_MAX};
  err = json_scan_object(members, ARRAY_LEN(members), &object, &fault, text);
  REQUIRE(err == (want == 0 && !is_object ? ERR_UNSUPPORTED : want));
  if (err) {
    unsigned line, column;
    REQUIRE(fault.message && fault.offset <= size);
    json_locate(&line, &column, text, fault.offset);
    REQUIRE(line >= 1 && column >= 1);
  } else {
    REQUIRE(data[object.open] == '{' && data[object.close] == '}' && object.open < object.close);
    for (size_t i = 0; i < ARRAY_LEN(members); i++) {
      struct json_member *m = &members[i];
      REQUIRE((m->count == 0) == (m->type == JSON_ABSENT));
      if (!m->count) continue;
      REQUIRE(m->value.ptr > text.ptr + object.open &&
              m->value.ptr + m->value.len <= text.ptr + object.close);
      REQUIRE(json_validate(&fault, m->value) == 0);
      if (m->type == JSON_STRING) round_trip(m->value);
    }
  }
  write_anything(text);
  return 0;
}
