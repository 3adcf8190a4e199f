/*
 * Input: how many secrets and how long each is, the secrets, then a text, all of a few letters so that they meet; some
 * bytes of the text stand for a wallet's key or most of it. What comes out must be what a slow reader marks: each run of
 * overlapping secrets is one mask, and no other byte changes. With little room, too, no secret is left.
 */
#include "base/redact.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define SECRETS_MAX 5
#define SECRET_MAX  24
#define MASK        "[redacted]"

static const char LETTERS[] = "0123456789ABCFxyz ,:\n"; /* none of the mask's */

struct secrets {
  struct span list[SECRETS_MAX];
  size_t n;
};

static const char KEY[] = "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d";

static bool is_at(struct span text, size_t at, struct span secret) {
  return secret.len <= text.len - at && memcmp(text.ptr + at, secret.ptr, secret.len) == 0;
}

static bool is_key_at(struct span text, size_t at) {
  struct span key = span_str(KEY);
  return key.len <= text.len - at && span_eq_nocase(span_make(text.ptr + at, key.len), key);
}

/* The end of the longest secret that begins there, or `at`. */
static size_t hit_end(const struct secrets *s, struct span text, size_t at) {
  size_t end = at;
  for (size_t i = 0; i < s->n; i++)
    if (is_at(text, at, s->list[i]) && at + s->list[i].len > end) end = at + s->list[i].len;
  if (is_key_at(text, at) && at + REDACT_KEY_DIGITS > end) end = at + REDACT_KEY_DIGITS;
  return end;
}

static void expect(struct buf *out, const struct secrets *s, struct span text) {
  for (size_t at = 0; at < text.len;) {
    size_t end = hit_end(s, text, at);
    if (end == at) {
      buf_put(out, text.ptr + at++, 1);
      continue;
    }
    for (size_t k = at + 1; k < end; k++) {
      size_t further = hit_end(s, text, k);
      if (further > end) end = further;
    }
    buf_put_str(out, MASK);
    at = end;
  }
}

static void check(const struct secrets *s, struct span text) {
  struct buf got, wanted, tight;
  buf_init(&got, text.len * sizeof MASK + 64);
  buf_init(&wanted, text.len * sizeof MASK + 64);
  buf_init(&tight, text.len);
  buf_put_span(&got, text);
  buf_put_span(&tight, text);
  expect(&wanted, s, text);
  bool is_there = !span_eq(buf_span(&wanted), text);
  REQUIRE(redact_finds(text) == is_there);
  REQUIRE(redact_apply(&got) == is_there);
  REQUIRE(span_eq(buf_span(&got), buf_span(&wanted)));
  REQUIRE(!redact_finds(buf_span(&got)));
  REQUIRE(redact_apply(&tight) == is_there && tight.len <= text.len);
  REQUIRE(!redact_finds(buf_span(&tight)));
  buf_release(&got);
  buf_release(&wanted);
  buf_release(&tight);
}

/* A letter, or the key in one of three forms. */
static size_t put(char *out, uint8_t byte) {
  if (byte < 0xfd) {
    *out = LETTERS[byte % (sizeof LETTERS - 1)];
    return 1;
  }
  size_t len = byte == 0xff ? REDACT_KEY_DIGITS - 1 : REDACT_KEY_DIGITS;
  for (size_t i = 0; i < len; i++)
    out[i] = (char)(byte == 0xfd && KEY[i] >= 'a' ? KEY[i] - 32 : KEY[i]);
  return len;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 + SECRETS_MAX || size > 600) return 0;
  struct secrets s = {.n = data[0] % (SECRETS_MAX + 1)};
  char *text = malloc(size * REDACT_KEY_DIGITS);
  REQUIRE(text);
  size_t len = 0, at = 0;
  for (size_t i = 1 + s.n; i < size; i++)
    len += put(text + len, data[i]);
  redact_add_key(span_str(KEY));
  for (size_t i = 0; i < s.n; i++) {
    size_t n = REDACT_MIN + data[1 + i] % (SECRET_MAX - REDACT_MIN);
    if (n > len - at) n = len - at;
    s.list[i] = span_make(text + at, n);
    at += n;
    redact_add(s.list[i]);
    if (n < REDACT_MIN) s.n = i; /* too short to be one */
  }
  check(&s, span_make(text + at, len - at));
  redact_forget_all();
  free(text);
  return 0;
}
