#include "abi_types.h"
#include "eth/hex.h"

#include <stdio.h>
#include <stdlib.h>

#define DEPTH_MAX 16

enum kind { UINT, INT, ADDRESS, BOOL, FIXED_BYTES, BYTES, STRING, TUPLE, ARRAY };

struct type {
  enum kind kind;
  size_t size;        /* bits of a number, bytes of bytesN, length of T[n]; 0: T[] */
  char name[64];      /* of a component or of a value; may be empty */
  struct type *parts; /* of a tuple; the element of an array */
  size_t n_parts;
};

static void type_free(struct type *t) {
  for (size_t i = 0; i < t->n_parts; i++)
    type_free(&t->parts[i]);
  free(t->parts);
}

/* ---- the text ---- */

struct text {
  const char *at, *end;
  unsigned depth;
};

static bool take(struct text *t, char c) {
  if (t->at == t->end || *t->at != c) return false;
  t->at++;
  return true;
}

static void skip_blanks(struct text *t) {
  while (take(t, ' ')) {
  }
}

static struct span take_word(struct text *t) {
  const char *start = t->at;
  while (t->at < t->end && (*t->at == '_' || (*t->at >= '0' && *t->at <= '9') ||
                            (ascii_lower(*t->at) >= 'a' && ascii_lower(*t->at) <= 'z')))
    t->at++;
  return span_make(start, (size_t)(t->at - start));
}

static bool parse_list(struct failure *why, struct type *out, struct text *t);

static bool take_number(size_t *out, struct span word, struct span prefix, size_t max) {
  uint64_t n;
  if (!span_starts(word, prefix) ||
      !span_to_u64(span_make(word.ptr + prefix.len, word.len - prefix.len), max, &n))
    return false;
  *out = (size_t)n;
  return n > 0;
}

static bool parse_word(struct failure *why, struct type *out, struct span word) {
  static const struct {
    const char *name;
    enum kind kind;
    size_t size;
  } plain[] = {{"address", ADDRESS, 0}, {"bool", BOOL, 0},   {"bytes", BYTES, 0},
               {"string", STRING, 0},   {"uint", UINT, 256}, {"int", INT, 256}};
  for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
    if (!span_eq(word, span_str(plain[i].name))) continue;
    out->kind = plain[i].kind;
    out->size = plain[i].size;
    return true;
  }
  out->kind = UINT;
  if (take_number(&out->size, word, SPAN("uint"), 256)) return true;
  out->kind = INT;
  if (take_number(&out->size, word, SPAN("int"), 256)) return true;
  out->kind = FIXED_BYTES;
  return take_number(&out->size, word, SPAN("bytes"), 32) || fail(why, "unknown type %.*s", SPAN_FMT(word));
}

/* What was parsed becomes the element of an array. */
static void wrap(struct type *out, size_t size) {
  struct type *element = x_malloc(sizeof *element);
  *element = *out;
  *out = (struct type){.kind = ARRAY, .size = size, .parts = element, .n_parts = 1};
}

static bool parse_type(struct failure *why, struct type *out, struct text *t) {
  *out = (struct type){.kind = TUPLE};
  skip_blanks(t);
  bool is_good = take(t, '(') ? parse_list(why, out, t) && (take(t, ')') || fail(why, "a ) is missing"))
                              : parse_word(why, out, take_word(t));
  while (is_good && take(t, '[')) {
    uint64_t size = 0;
    struct span digits = take_word(t);
    if (!take(t, ']') || (digits.len && !span_to_u64(digits, 4096, &size)))
      is_good = fail(why, "the length of an array is not understood");
    else
      wrap(out, (size_t)size);
  }
  skip_blanks(t);
  struct span name = take_word(t);
  if (name.len >= sizeof out->name) is_good = fail(why, "a name is too long");
  if (is_good && name.len) memcpy(out->name, name.ptr, name.len);
  if (!is_good) {
    type_free(out);
    *out = (struct type){.kind = TUPLE};
  }
  return is_good;
}

/* Types with commas between, up to the end or a ')'. */
static bool parse_list(struct failure *why, struct type *out, struct text *t) {
  bool is_good = ++t->depth <= DEPTH_MAX || fail(why, "types are nested too deep");
  skip_blanks(t);
  bool has_next = is_good && t->at < t->end && *t->at != ')';
  while (has_next) {
    out->parts = x_realloc(out->parts, (out->n_parts + 1) * sizeof *out->parts);
    is_good = parse_type(why, &out->parts[out->n_parts++], t);
    skip_blanks(t);
    has_next = is_good && take(t, ',');
  }
  t->depth--;
  return is_good;
}

static bool parse(struct failure *why, struct type *out, struct span types) {
  struct text t = {.at = types.ptr, .end = types.ptr + types.len};
  *out = (struct type){.kind = TUPLE};
  if (parse_list(why, out, &t) && (t.at == t.end || fail(why, "the types are not understood"))) return true;
  type_free(out);
  return false;
}

/* ---- sizes ---- */

static bool is_dynamic(const struct type *t) {
  if (t->kind == BYTES || t->kind == STRING || (t->kind == ARRAY && t->size == 0)) return true;
  for (size_t i = 0; i < t->n_parts; i++)
    if (is_dynamic(&t->parts[i])) return true;
  return false;
}

static size_t slots(const struct type *t) {
  if (is_dynamic(t)) return 1;
  if (t->kind == ARRAY) return t->size * slots(t->parts);
  if (t->kind != TUPLE) return 1;
  size_t n = 0;
  for (size_t i = 0; i < t->n_parts; i++)
    n += slots(&t->parts[i]);
  return n;
}

static size_t slots_of_parts(const struct type *t) {
  size_t n = 0;
  if (t->kind == ARRAY) return t->size * slots(t->parts);
  for (size_t i = 0; i < t->n_parts; i++)
    n += slots(&t->parts[i]);
  return n;
}

/* ---- writing ---- */

static bool put(struct failure *why, struct abi_writer *w, const struct type *t, json_t *value);

static bool put_number(struct failure *why, struct abi_writer *w, json_t *value) {
  struct u256 n;
  const char *text = json_string_value(value);
  char digits[32];
  if (json_is_integer(value) && json_integer_value(value) < 0) {
    (void)snprintf(digits, sizeof digits, "%lld", (long long)json_integer_value(value));
    text = digits;
  }
  if (text && text[0] == '-') {
    if (u256_parse(&n, span_str(text + 1))) return fail(why, "an argument is no number");
    (void)u256_sub(&n, U256_ZERO, n);
  } else if (!get_u256(why, &n, value)) {
    return false;
  }
  abi_put_u256(w, n);
  return true;
}

static bool put_fixed_bytes(struct failure *why, struct abi_writer *w, const struct type *t, json_t *value) {
  uint8_t word[32] = {0};
  struct span digits, text = span_str(json_string_value(value));
  if (!text.ptr || !hex_cut_prefix(&digits, text) || !hex_read(word, t->size, digits))
    return fail(why, "an argument is not %zu bytes", t->size);
  abi_put_u256(w, u256_from_be(word));
  return true;
}

static bool put_bytes(struct failure *why, struct abi_writer *w, const struct type *t, json_t *value) {
  if (!json_is_string(value)) return fail(why, "an argument is no text");
  struct span text = span_make(json_string_value(value), json_string_length(value));
  struct buf bytes;
  buf_init(&bytes, text.len + 1);
  bool is_good = t->kind == STRING || hex_decode(&bytes, text) == 0 || fail(why, "an argument is no bytes");
  if (is_good) abi_put_bytes(w, t->kind == STRING ? text : buf_span(&bytes));
  buf_release(&bytes);
  return is_good;
}

/* Members are found by name where the types tell names, else by their order in the file. */
static bool put_parts(struct failure *why, struct abi_writer *w, const struct type *t, json_t *value,
                      size_t n) {
  void *member = json_is_object(value) ? json_object_iter(value) : NULL;
  for (size_t i = 0; i < n; i++) {
    const struct type *part = t->kind == ARRAY ? t->parts : &t->parts[i];
    json_t *each = json_array_get(value, i);
    if (json_is_object(value) && part->name[0])
      each = json_object_get(value, part->name);
    else if (member)
      each = json_object_iter_value(member);
    if (member) member = json_object_iter_next(value, member);
    if (!put(why, w, part, each)) return false;
  }
  return true;
}

static bool put_many(struct failure *why, struct abi_writer *w, const struct type *t, json_t *value) {
  struct abi_writer inner;
  bool is_list = t->kind == ARRAY && t->size == 0;
  size_t n = is_list ? json_array_size(value) : t->kind == ARRAY ? t->size : t->n_parts;
  if ((json_is_object(value) ? json_object_size(value) : json_array_size(value)) != n)
    return fail(why, "the number of values is not the types'");
  if (!is_dynamic(t)) return put_parts(why, w, t, value, n);
  if (is_list)
    abi_put_array(&inner, w, n, slots(t->parts));
  else
    abi_put_struct(&inner, w, slots_of_parts(t));
  return put_parts(why, &inner, t, value, n) && (abi_end(&inner) == 0 || fail(why, "it cannot be encoded"));
}

static bool put(struct failure *why, struct abi_writer *w, const struct type *t, json_t *value) {
  struct address a;
  switch (t->kind) {
  case UINT:
  case INT: return put_number(why, w, value);
  case ADDRESS:
    if (!get_address(why, &a, value)) return false;
    abi_put_address(w, &a);
    return true;
  case BOOL:
    if (!json_is_boolean(value)) return fail(why, "an argument is no bool");
    abi_put_bool(w, json_is_true(value));
    return true;
  case FIXED_BYTES: return put_fixed_bytes(why, w, t, value);
  case BYTES:
  case STRING: return put_bytes(why, w, t, value);
  default: return put_many(why, w, t, value);
  }
}

bool abi_types_call(struct failure *why, struct buf *out, const char *signature, json_t *args) {
  struct type t;
  struct abi_writer w;
  size_t len = strlen(signature), n_name = strcspn(signature, "(");
  if (n_name == len || signature[len - 1] != ')') return fail(why, "the signature is not understood");
  if (!parse(why, &t, span_make(signature + n_name + 1, len - n_name - 2))) return false;
  abi_call(&w, out, abi_selector(signature), slots_of_parts(&t));
  bool is_good =
      (json_is_array(args) && json_array_size(args) == t.n_parts) || fail(why, "the arguments do not fit");
  if (is_good) is_good = put_parts(why, &w, &t, args, t.n_parts);
  if (is_good) is_good = abi_end(&w) == 0 || fail(why, "it cannot be encoded");
  type_free(&t);
  return is_good;
}

/* ---- reading ---- */

static json_t *get(struct abi_reader *r, const struct type *t);

static json_t *get_number(struct abi_reader *r, const struct type *t) {
  struct u256 n;
  char text[U256_TEXT_MAX + 1] = "-";
  if (abi_u256(&n, r)) return NULL;
  bool is_negative = t->kind == INT && u256_bit(n, 255);
  if (is_negative) (void)u256_sub(&n, U256_ZERO, n);
  if (t->kind == UINT && u256_bytes(n) > (t->size + 7) / 8) return NULL;
  size_t len = u256_text(text + is_negative, n);
  return json_stringn(text, len + is_negative);
}

static json_t *get_text(struct abi_reader *r, const struct type *t) {
  struct span s;
  if (t->kind == STRING) return abi_string(&s, r) ? NULL : json_stringn(s.len ? s.ptr : "", s.len);
  if (abi_bytes(&s, r)) return NULL;
  struct buf hex;
  buf_init(&hex, 2 * s.len + 2);
  json_t *out = hex_append(&hex, s.ptr, s.len) ? NULL : json_stringn(hex.data, hex.len);
  buf_release(&hex);
  return out;
}

static json_t *get_fixed_bytes(struct abi_reader *r, const struct type *t) {
  struct u256 n;
  uint8_t word[32];
  char text[67] = "0x";
  if (abi_u256(&n, r)) return NULL;
  u256_to_be(word, n);
  hex_write(text + 2, word, t->size);
  return json_stringn(text, 2 + 2 * t->size);
}

static bool has_names(const struct type *t) {
  if (t->kind != TUPLE || t->n_parts == 0) return false;
  for (size_t i = 0; i < t->n_parts; i++)
    if (!t->parts[i].name[0]) return false;
  return true;
}

static json_t *get_parts(struct abi_reader *r, const struct type *t, size_t n) {
  bool is_named = has_names(t);
  json_t *out = is_named ? json_object() : json_array();
  for (size_t i = 0; i < n; i++) {
    const struct type *part = t->kind == ARRAY ? t->parts : &t->parts[i];
    json_t *value = get(r, part);
    if (!value) {
      json_decref(out);
      return NULL;
    }
    if (is_named)
      (void)json_object_set_new(out, part->name, value);
    else
      (void)json_array_append_new(out, value);
  }
  return out;
}

static json_t *get_many(struct abi_reader *r, const struct type *t) {
  struct abi_reader inner;
  size_t n = t->kind == ARRAY ? t->size : t->n_parts;
  if (!is_dynamic(t)) return get_parts(r, t, n);
  bool is_list = t->kind == ARRAY && t->size == 0;
  int err = is_list ? abi_array(&inner, &n, r, slots(t->parts)) : abi_struct(&inner, r);
  return err ? NULL : get_parts(&inner, t, n);
}

static json_t *get(struct abi_reader *r, const struct type *t) {
  struct address a;
  char text[ADDRESS_TEXT_LEN + 1];
  bool b;
  switch (t->kind) {
  case UINT:
  case INT: return get_number(r, t);
  case ADDRESS:
    if (abi_address(&a, r)) return NULL;
    address_text(text, &a);
    return json_stringn(text, ADDRESS_TEXT_LEN);
  case BOOL: return abi_bool(&b, r) ? NULL : json_boolean(b);
  case FIXED_BYTES: return get_fixed_bytes(r, t);
  case BYTES:
  case STRING: return get_text(r, t);
  default: return get_many(r, t);
  }
}

json_t *abi_types_read(struct failure *why, bool *is_refused, struct span types, struct span data) {
  struct type t;
  struct abi_data d;
  struct abi_reader r;
  *is_refused = false;
  if (!parse(why, &t, types)) return NULL;
  json_t *out = abi_open(&r, &d, data.ptr, data.len) ? NULL : get_parts(&r, &t, t.n_parts);
  type_free(&t);
  *is_refused = !out;
  if (!out) (void)fail(why, "the data is refused");
  return out;
}

/* ---- comparing ---- */

static bool is_empty(json_t *a) {
  return (json_is_array(a) && json_array_size(a) == 0) || (json_is_object(a) && json_object_size(a) == 0);
}

static bool equal_objects(json_t *a, json_t *b) {
  const char *key;
  json_t *value;
  if (json_object_size(a) != json_object_size(b)) return false;
  json_object_foreach(a, key, value) {
    if (!abi_types_equal(value, json_object_get(b, key))) return false;
  }
  return true;
}

bool abi_types_equal(json_t *a, json_t *b) {
  struct failure why;
  struct u256 x, y;
  if (!a || !b) return false;
  if (json_equal(a, b) || (is_empty(a) && is_empty(b))) return true;
  if (json_is_object(a) && json_is_object(b)) return equal_objects(a, b);
  if (json_is_array(a) && json_is_array(b)) {
    if (json_array_size(a) != json_array_size(b)) return false;
    for (size_t i = 0; i < json_array_size(a); i++)
      if (!abi_types_equal(json_array_get(a, i), json_array_get(b, i))) return false;
    return true;
  }
  return (json_is_integer(a) || json_is_integer(b)) && get_u256(&why, &x, a) && get_u256(&why, &y, b) &&
         u256_eq(x, y);
}
