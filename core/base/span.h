/*
 * span: a borrowed run of bytes (pointer, length), never NUL-terminated, never owned.
 * Thread: any. A span is valid as long as the memory it points into.
 */
#ifndef MOONGATE_BASE_SPAN_H
#define MOONGATE_BASE_SPAN_H

#include "base/base.h"

#include <string.h>

struct span {
  const char *ptr;
  size_t len;
};

#define SPAN(literal) ((struct span){"" literal, sizeof(literal) - 1})
#define SPAN_NONE     ((struct span){NULL, 0})
/* For "%.*s". */
#define SPAN_FMT(s) (int)(s).len, (s).ptr

static inline struct span span_make(const char *ptr, size_t len) {
  return (struct span){ptr, len};
}

static inline struct span span_str(const char *s) {
  return (struct span){s, s ? strlen(s) : 0};
}

static inline bool span_eq(struct span a, struct span b) {
  return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool span_starts(struct span s, struct span prefix) {
  return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool span_ends(struct span s, struct span tail) {
  return s.len >= tail.len && (tail.len == 0 || memcmp(s.ptr + s.len - tail.len, tail.ptr, tail.len) == 0);
}

static inline char ascii_lower(char c) {
  return (c >= 'A' && c <= 'Z') ? (char)(c + 32) : c;
}

/* The value of a hexadecimal digit of either case, -1 when it is none. */
static inline int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = ascii_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Equal without regard to ASCII case. */
static inline bool span_eq_nocase(struct span a, struct span b) {
  if (a.len != b.len) return false;
  for (size_t i = 0; i < a.len; i++)
    if (ascii_lower(a.ptr[i]) != ascii_lower(b.ptr[i])) return false;
  return true;
}

static inline bool span_starts_nocase(struct span s, struct span prefix) {
  return s.len >= prefix.len && span_eq_nocase(span_make(s.ptr, prefix.len), prefix);
}

/* Without blanks and tabs at both ends. */
static inline struct span span_trim(struct span s) {
  while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
    s.ptr++;
    s.len--;
  }
  while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
    s.len--;
  return s;
}

/* A copy with a NUL behind it, cut to what fits into `size` bytes. */
static inline void span_to_text(char *out, size_t size, struct span s) {
  size_t len = s.len < size ? s.len : size - 1;
  if (len) memcpy(out, s.ptr, len);
  out[len] = '\0';
}

/* Where `needle` starts in `hay`, or NULL. */
static inline const char *span_find(struct span hay, struct span needle) {
  if (needle.len == 0 || hay.len < needle.len) return NULL;
  const char *at = hay.ptr, *end = hay.ptr + hay.len - needle.len + 1;
  while (at < end && (at = memchr(at, needle.ptr[0], (size_t)(end - at)))) {
    if (memcmp(at, needle.ptr, needle.len) == 0) return at;
    at++;
  }
  return NULL;
}

/* A plain decimal number without sign, blanks or leading '+'. False when empty, malformed or above `max`. */
static inline bool span_to_u64(struct span s, uint64_t max, uint64_t *out) {
  if (s.len == 0) return false;
  uint64_t n = 0;
  for (size_t i = 0; i < s.len; i++) {
    if (s.ptr[i] < '0' || s.ptr[i] > '9') return false;
    uint64_t digit = (uint64_t)(s.ptr[i] - '0');
    if (digit > max || n > (max - digit) / 10) return false;
    n = n * 10 + digit;
  }
  *out = n;
  return true;
}

#endif
