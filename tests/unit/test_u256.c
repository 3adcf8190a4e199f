#include "check.h"
#include "eth/hex.h"
#include "eth/u256.h"

#include <math.h>

static struct u256 of(const char *decimal) {
  struct u256 a;
  REQUIRE(u256_parse(&a, span_str(decimal)) == 0);
  return a;
}

static void check_text(struct u256 a, const char *expected) {
  char text[U256_TEXT_MAX];
  size_t len = u256_text(text, a);
  CHECK_STR(text, len, expected);
  CHECK_INT(text[len], 0);
}

static void check_0g(const char *neuron, const char *expected) {
  char text[U256_0G_MAX];
  size_t len = u256_0g_text(text, of(neuron));
  CHECK_STR(text, len, expected);
  CHECK_INT(text[len], 0);
}

#define MAX_TEXT "115792089237316195423570985008687907853269984665640564039457584007913129639935"

static void decimal_text_round_trips(void) {
  static const char *const numbers[] = {
      "0",
      "1",
      "9999999999999999999",
      "10000000000000000000",
      "10000000000000000001",
      "18446744073709551615",
      "18446744073709551616",
      "340282366920938463463374607431768211456",
      "100000000000000000000000000000000000000000000000000000000000000000000000000000",
      MAX_TEXT};
  for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
    check_text(of(numbers[i]), numbers[i]);
  CHECK(u256_eq(of(MAX_TEXT), U256_MAX));
}

static void decimal_text_of_another_form_is_refused(void) {
  struct u256 a = u256_of(7);
  static const char *const bad[] = {"", "-1", "+1", " 1", "1 ", "1.0", "1e3", "0x1", "a"};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++)
    CHECK_INT(u256_parse(&a, span_str(bad[i])), ERR_SYNTAX);
  CHECK_INT(
      u256_parse(&a, SPAN("115792089237316195423570985008687907853269984665640564039457584007913129639936")),
      ERR_RANGE);
  CHECK_INT(
      u256_parse(&a,
                 SPAN("999999999999999999999999999999999999999999999999999999999999999999999999999999999")),
      ERR_RANGE);
  CHECK(u256_eq(a, u256_of(7)));
}

static void quantities_need_a_prefix_and_a_digit(void) {
  struct u256 a;
  CHECK_INT(u256_parse_quantity(&a, SPAN("0x0")), 0);
  CHECK(u256_is_zero(a));
  CHECK_INT(u256_parse_quantity(&a, SPAN("0x4115")), 0);
  CHECK(u256_eq(a, u256_of(16661)));
  CHECK_INT(u256_parse_quantity(
                &a, SPAN("0x00000000000000000000000000000000000000000000000000000000000000000000Ff")),
            0);
  CHECK(u256_eq(a, u256_of(255)));
  CHECK_INT(
      u256_parse_quantity(&a, SPAN("0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff")), 0);
  CHECK(u256_eq(a, U256_MAX));
  CHECK_INT(
      u256_parse_quantity(&a, SPAN("0x10000000000000000000000000000000000000000000000000000000000000000")),
      ERR_RANGE);
  CHECK_INT(u256_parse_quantity(&a, SPAN("0x")), ERR_SYNTAX);
  CHECK_INT(u256_parse_quantity(&a, SPAN("")), ERR_SYNTAX);
  CHECK_INT(u256_parse_quantity(&a, SPAN("12")), ERR_SYNTAX);
  CHECK_INT(u256_parse_quantity(&a, SPAN("0X12")), ERR_SYNTAX);
  CHECK_INT(u256_parse_quantity(&a, SPAN("0xg")), ERR_SYNTAX);
}

static void amounts_are_written_exactly(void) {
  check_0g("0", "0 0G");
  check_0g("1", "0.000000000000000001 0G");
  check_0g("400000000000000000", "0.4 0G");
  check_0g("1000000000000000000", "1 0G");
  check_0g("12050000000000000000", "12.05 0G");
  check_0g("1000000000000000001", "1.000000000000000001 0G");
  check_0g(MAX_TEXT, "115792089237316195423570985008687907853269984665640564039457.584007913129639935 0G");
}

static void amounts_are_read_as_people_write_them(void) {
  struct u256 a;
  CHECK_INT(u256_parse_0g(&a, SPAN("0.05")), 0);
  check_text(a, "50000000000000000");
  CHECK_INT(u256_parse_0g(&a, SPAN("3")), 0);
  check_text(a, "3000000000000000000");
  CHECK_INT(u256_parse_0g(&a, SPAN("0.000000000000000001")), 0);
  check_text(a, "1");
  CHECK_INT(u256_parse_0g(
                &a, SPAN("115792089237316195423570985008687907853269984665640564039457.584007913129639935")),
            0);
  CHECK(u256_eq(a, U256_MAX));
  CHECK_INT(u256_parse_0g(
                &a, SPAN("115792089237316195423570985008687907853269984665640564039457.584007913129639936")),
            ERR_RANGE);
  CHECK_INT(u256_parse_0g(&a, SPAN("0.0000000000000000001")), ERR_RANGE);
  static const char *const bad[] = {"", ".", ".5", "5.", "1.2.3", "-1", "1e18", "1,5", " 1", "0x1", "1 0G"};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++)
    CHECK_INT(u256_parse_0g(&a, span_str(bad[i])), ERR_SYNTAX);
}

static void sums_say_when_they_do_not_fit(void) {
  struct u256 a;
  CHECK(!u256_add(&a, u256_of(UINT64_MAX), u256_of(1)));
  check_text(a, "18446744073709551616");
  CHECK(u256_add(&a, U256_MAX, u256_of(1)));
  CHECK(u256_is_zero(a));
  CHECK(!u256_sub(&a, a, U256_ZERO));
  CHECK(u256_sub(&a, U256_ZERO, u256_of(1)));
  CHECK(u256_eq(a, U256_MAX));
  CHECK(!u256_sub(&a, of("18446744073709551616"), u256_of(1)));
  CHECK(u256_eq(a, u256_of(UINT64_MAX)));
  CHECK(u256_is_zero(u256_sub_or_zero(u256_of(4), u256_of(5))));
  CHECK(u256_eq(u256_sub_or_zero(u256_of(5), u256_of(4)), u256_of(1)));
}

static void products_say_when_they_do_not_fit(void) {
  struct u256 a;
  CHECK(!u256_mul(&a, of("340282366920938463463374607431768211455"),
                  of("340282366920938463463374607431768211457")));
  CHECK(u256_eq(a, U256_MAX));
  CHECK(u256_mul(&a, of("340282366920938463463374607431768211456"),
                 of("340282366920938463463374607431768211456")));
  CHECK(u256_is_zero(a));
  CHECK(u256_mul(&a, U256_MAX, U256_MAX));
  CHECK(u256_eq(a, u256_of(1)));
  CHECK(!u256_mul(&a, U256_MAX, u256_of(1)));
  CHECK(u256_eq(a, U256_MAX));
}

static void quotient_and_rest_make_the_number_again(void) {
  uint64_t rest;
  struct u256 a = u256_div_u64(U256_MAX, 1000000007, &rest);
  CHECK(!u256_mul(&a, a, u256_of(1000000007)));
  CHECK(!u256_add(&a, a, u256_of(rest)));
  CHECK(u256_eq(a, U256_MAX));
  CHECK(u256_eq(u256_div_u64(u256_of(9), 3, NULL), u256_of(3)));
}

static void numbers_are_ordered(void) {
  CHECK(u256_cmp(u256_of(1), u256_of(2)) < 0);
  CHECK(u256_cmp(of("18446744073709551616"), u256_of(UINT64_MAX)) > 0);
  CHECK_INT(u256_cmp(U256_MAX, U256_MAX), 0);
  CHECK_INT(u256_to_u64(of("18446744073709551616")) == UINT64_MAX, 1);
}

static void words_of_the_chain_are_highest_byte_first(void) {
  uint8_t word[32] = {[0] = 0x80, [31] = 5};
  struct u256 a = u256_from_be(word);
  CHECK(u256_bit(a, 255) && u256_bit(a, 0) && u256_bit(a, 2) && !u256_bit(a, 1));
  uint8_t again[32];
  u256_to_be(again, a);
  CHECK(memcmp(word, again, 32) == 0);
  CHECK_INT(u256_bytes(a), 32);
  CHECK_INT(u256_bytes(U256_ZERO), 0);
  CHECK_INT(u256_bytes(u256_of(255)), 1);
  CHECK_INT(u256_bytes(u256_of(256)), 2);
}

/* Half way between two doubles goes to the even one; one more bit, however low, goes up. */
static void doubles_are_the_nearest(void) {
  CHECK(u256_to_double(U256_ZERO) == 0);
  CHECK(u256_to_double(u256_of(UINT64_C(9007199254740993))) == 9007199254740992.0);
  CHECK(u256_to_double(of("340282366920938463463374607431768211456")) == 0x1p128);
  struct u256 half = u256_of((UINT64_C(1) << 53) + 1), up;
  CHECK(!u256_mul(&half, half, of("1267650600228229401496703205376")));
  CHECK(u256_to_double(half) == 0x1p153);
  CHECK(!u256_add(&up, half, u256_of(1)));
  CHECK(u256_to_double(up) == nextafter(0x1p153, INFINITY));
  CHECK(u256_to_double(U256_MAX) == 0x1p256);
  CHECK(u256_to_0g(of("400000000000000000")) == 0.4);
}

static void hex_is_read_strictly(void) {
  struct buf b;
  buf_init(&b, 4);
  CHECK_INT(hex_decode(&b, SPAN("0x")), 0);
  CHECK_INT(hex_decode(&b, SPAN("0xABcd")), 0);
  CHECK_INT(b.len, 2);
  CHECK_INT(hex_decode(&b, SPAN("abcd")), ERR_SYNTAX);
  CHECK_INT(hex_decode(&b, SPAN("0Xabcd")), ERR_SYNTAX);
  CHECK_INT(hex_decode(&b, SPAN("0xabc")), ERR_SYNTAX);
  CHECK_INT(hex_decode(&b, SPAN("0xag")), ERR_SYNTAX);
  CHECK_INT(hex_decode(&b, SPAN("0xaaaaaa")), ERR_TOO_LARGE);
  CHECK_INT(hex_decode(&b, SPAN("")), ERR_SYNTAX);
  CHECK_INT(b.len, 2);
  CHECK_INT((uint8_t)b.data[0], 0xab);
  CHECK_INT(hex_append(&b, "x", 1), ERR_TOO_LARGE);
  CHECK_INT(b.len, 2);
  buf_release(&b);
}

int main(void) {
  RUN(decimal_text_round_trips);
  RUN(decimal_text_of_another_form_is_refused);
  RUN(quantities_need_a_prefix_and_a_digit);
  RUN(amounts_are_written_exactly);
  RUN(amounts_are_read_as_people_write_them);
  RUN(sums_say_when_they_do_not_fit);
  RUN(products_say_when_they_do_not_fit);
  RUN(quotient_and_rest_make_the_number_again);
  RUN(numbers_are_ordered);
  RUN(words_of_the_chain_are_highest_byte_first);
  RUN(doubles_are_the_nearest);
  RUN(hex_is_read_strictly);
  return CHECK_END();
}
