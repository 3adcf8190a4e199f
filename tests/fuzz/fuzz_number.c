/*
 * Input: a text that is read as a number, a quantity, an amount, an address, a signature, a key and a usage. What is
 * accepted must be written as a text that reads as the same again.
 */
#include "eth/fee.h"
#include "eth/hex.h"
#include "eth/key.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Decimal digits without the zeros that say nothing, and without a point that nothing follows. */
static struct span plain(struct span s) {
  const char *point = s.len ? memchr(s.ptr, '.', s.len) : NULL;
  while (s.len > 1 && s.ptr[0] == '0' && s.ptr[1] != '.')
    s = span_make(s.ptr + 1, s.len - 1);
  while (point && (s.ptr[s.len - 1] == '0' || s.ptr + s.len - 1 == point))
    if (s.ptr + --s.len == point) break;
  return s;
}

static void check_numbers(struct span s) {
  char text[U256_0G_MAX];
  struct u256 a, b, product, rest_of;
  uint64_t rest;
  if (u256_parse(&a, s) == 0) {
    REQUIRE(u256_parse(&b, span_make(text, u256_text(text, a))) == 0 && u256_eq(a, b));
    REQUIRE(span_eq(plain(s), span_str(text)));
    b = u256_div_u64(a, 1000003, &rest);
    REQUIRE(!u256_mul(&product, b, u256_of(1000003)) && !u256_add(&rest_of, product, u256_of(rest)));
    REQUIRE(u256_eq(rest_of, a));
    double d = u256_to_double(a);
    REQUIRE(d >= 0 && d <= 0x1p256);
  }
  if (u256_parse_0g(&a, s) == 0) {
    size_t len = u256_0g_text(text, a);
    struct span amount = span_make(text, len - (sizeof " 0G" - 1));
    REQUIRE(u256_parse_0g(&b, amount) == 0 && u256_eq(a, b));
    REQUIRE(span_eq(plain(s), plain(amount)));
  }
  (void)!u256_parse_quantity(&a, s);
}

static void check_names(struct span s) {
  struct address a, b;
  struct signature x, y;
  char text[SIGNATURE_TEXT_LEN + 1];
  if (address_parse(&a, s) == 0) {
    address_text(text, &a);
    REQUIRE(address_parse(&b, span_str(text)) == 0 && address_eq(&a, &b));
  }
  if (signature_parse(&x, s) == SIGNATURE_OK) {
    static const uint8_t digest[DIGEST_BYTES] = {1};
    signature_text(text, &x);
    REQUIRE(signature_parse(&y, span_str(text)) == SIGNATURE_OK && memcmp(&x, &y, sizeof x) == 0);
    enum signature_fault fault = signature_recover(&a, digest, &x);
    REQUIRE(fault == SIGNATURE_OK || fault > SIGNATURE_V);
  }
}

static void check_usage(struct span s) {
  static const char *const types[] = {"chatbot", "text-to-image", "speech-to-text"};
  for (size_t i = 0; i < ARRAY_LEN(types); i++) {
    struct fee f;
    struct buf text;
    buf_init(&text, 512);
    if (fee_estimate(&f, span_str(types[i]), U256_MAX, U256_0G, s) == 0) {
      struct u256 a = fee_to_u256(&f), b;
      REQUIRE(fee_text(&text, &f) == 0);
      if (!f.is_negative && !u256_eq(a, U256_MAX))
        REQUIRE(u256_parse(&b, buf_span(&text)) == 0 && u256_eq(a, b));
    }
    buf_release(&text);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct span s = span_make((const char *)data, size);
  struct buf bytes;
  check_numbers(s);
  check_names(s);
  check_usage(s);
  buf_init(&bytes, 4096);
  if (hex_decode(&bytes, s) == 0) REQUIRE(bytes.len == (size - 2) / 2);
  buf_release(&bytes);
  return 0;
}
