#include "vectors.h"
#include "eth/hex.h"

#include <stdarg.h>
#include <stdio.h>

#define BYTES_MAX ((size_t)16 << 20)

bool fail(struct failure *why, const char *format, ...) {
  va_list args;
  va_start(args, format);
  (void)vsnprintf(why->text, sizeof why->text, format, args);
  va_end(args);
  return false;
}

struct span get_string_or_null(json_t *object, const char *name) {
  json_t *value = json_object_get(object, name);
  if (!json_is_string(value)) return SPAN_NONE;
  return span_make(json_string_value(value), json_string_length(value));
}

struct span get_string(struct failure *why, json_t *object, const char *name) {
  struct span s = get_string_or_null(object, name);
  if (!s.ptr) (void)fail(why, "the case has no text \"%s\"", name);
  return s;
}

bool get_bytes(struct failure *why, struct buf *out, json_t *object, const char *name) {
  struct span s = get_string(why, object, name);
  if (!s.ptr) return false;
  buf_init(out, BYTES_MAX);
  if (hex_decode(out, s) == 0) return true;
  buf_release(out);
  return fail(why, "\"%s\" of the case is no 0x text", name);
}

bool get_exact(struct failure *why, uint8_t *out, size_t len, json_t *object, const char *name) {
  struct span digits, s = get_string(why, object, name);
  if (!s.ptr) return false;
  return (hex_cut_prefix(&digits, s) && hex_read(out, len, digits)) ||
         fail(why, "\"%s\" of the case is not %zu bytes", name, len);
}

bool get_u256(struct failure *why, struct u256 *out, json_t *value) {
  if (json_is_integer(value) && json_integer_value(value) >= 0) {
    *out = u256_of((uint64_t)json_integer_value(value));
    return true;
  }
  if (json_is_string(value) &&
      u256_parse(out, span_make(json_string_value(value), json_string_length(value))) == 0)
    return true;
  return fail(why, "a number of the case is no unsigned integer of 256 bits");
}

bool get_u64(struct failure *why, uint64_t *out, json_t *value) {
  struct u256 n;
  if (!get_u256(why, &n, value)) return false;
  *out = n.w[0];
  return u256_fits_u64(n) || fail(why, "a number of the case is above 2^64");
}

bool get_address(struct failure *why, struct address *out, json_t *value) {
  if (json_is_string(value) && address_parse(out, span_str(json_string_value(value))) == 0) return true;
  return fail(why, "an address of the case is refused");
}

bool get_key(struct failure *why, struct key **out, json_t *object) {
  struct span s = get_string(why, object, "private_key");
  if (!s.ptr) return false;
  return key_new(out, s) == 0 || fail(why, "the key is refused");
}

bool get_ok(struct failure *why, bool *ok, json_t *object) {
  json_t *value = json_object_get(object, "ok");
  *ok = json_is_true(value);
  return json_is_boolean(value) || fail(why, "the case has no verdict \"ok\"");
}

bool same_text(struct failure *why, const char *what, struct span got, struct span expected) {
  return span_eq(got, expected) ||
         fail(why, "%s is %.*s, expected %.*s", what, (int)(got.len < 300 ? got.len : 300), got.ptr,
              (int)(expected.len < 300 ? expected.len : 300), expected.ptr);
}

bool same_bytes(struct failure *why, const void *got, size_t len, json_t *object, const char *name) {
  struct span expected = get_string(why, object, name);
  if (!expected.ptr) return false;
  struct buf text;
  buf_init(&text, 2 * len + 2);
  bool is_good = hex_append(&text, got, len) == 0 && same_text(why, name, buf_span(&text), expected);
  buf_release(&text);
  return is_good;
}
