#include "eth/u256.h"
#include "eth/hex.h"

#include <math.h>

typedef unsigned __int128 wide;

#define PLACES 18

int u256_cmp(struct u256 a, struct u256 b) {
  for (size_t i = 4; i-- > 0;)
    if (a.w[i] != b.w[i]) return a.w[i] < b.w[i] ? -1 : 1;
  return 0;
}

struct u256 u256_from_be(const uint8_t bytes[32]) {
  struct u256 a = U256_ZERO;
  for (size_t i = 0; i < 32; i++)
    a.w[3 - i / 8] = a.w[3 - i / 8] << 8 | bytes[i];
  return a;
}

void u256_to_be(uint8_t bytes[32], struct u256 a) {
  for (size_t i = 0; i < 32; i++)
    bytes[31 - i] = (uint8_t)(a.w[i / 8] >> (8 * (i % 8)));
}

unsigned u256_bytes(struct u256 a) {
  for (unsigned i = 32; i-- > 0;)
    if ((a.w[i / 8] >> (8 * (i % 8))) & 0xff) return i + 1;
  return 0;
}

bool u256_add(struct u256 *out, struct u256 a, struct u256 b) {
  wide carry = 0;
  for (size_t i = 0; i < 4; i++) {
    carry += (wide)a.w[i] + b.w[i];
    out->w[i] = (uint64_t)carry;
    carry >>= 64;
  }
  return carry != 0;
}

bool u256_sub(struct u256 *out, struct u256 a, struct u256 b) {
  unsigned borrow = 0;
  for (size_t i = 0; i < 4; i++) {
    wide difference = (wide)a.w[i] - b.w[i] - borrow;
    out->w[i] = (uint64_t)difference;
    borrow = (difference >> 64) != 0;
  }
  return borrow != 0;
}

struct u256 u256_sub_or_zero(struct u256 a, struct u256 b) {
  struct u256 out;
  return u256_sub(&out, a, b) ? U256_ZERO : out;
}

bool u256_mul(struct u256 *out, struct u256 a, struct u256 b) {
  uint64_t product[8] = {0};
  for (size_t i = 0; i < 4; i++) {
    uint64_t carry = 0;
    for (size_t j = 0; j < 4; j++) {
      wide sum = (wide)a.w[i] * b.w[j] + product[i + j] + carry;
      product[i + j] = (uint64_t)sum;
      carry = (uint64_t)(sum >> 64);
    }
    product[i + 4] = carry;
  }
  memcpy(out->w, product, sizeof out->w);
  return (product[4] | product[5] | product[6] | product[7]) != 0;
}

struct u256 u256_div_u64(struct u256 a, uint64_t d, uint64_t *rest) {
  REQUIRE(d != 0);
  wide left = 0;
  for (size_t i = 4; i-- > 0;) {
    left = left << 64 | a.w[i];
    a.w[i] = (uint64_t)(left / d);
    left %= d;
  }
  if (rest) *rest = (uint64_t)left;
  return a;
}

size_t u256_text(char out[U256_TEXT_MAX], struct u256 a) {
  char digits[U256_TEXT_MAX];
  size_t at = sizeof digits;
  digits[--at] = '\0';
  do {
    uint64_t part;
    a = u256_div_u64(a, UINT64_C(10000000000000000000), &part);
    bool is_last = u256_is_zero(a);
    for (size_t i = 0; i < 19 && (!is_last || part || i == 0); i++, part /= 10)
      digits[--at] = (char)('0' + part % 10);
  } while (!u256_is_zero(a));
  memcpy(out, digits + at, sizeof digits - at);
  return sizeof digits - at - 1;
}

size_t u256_0g_text(char out[U256_0G_MAX], struct u256 neuron) {
  uint64_t part;
  size_t len = u256_text(out, u256_div_u64(neuron, U256_0G.w[0], &part));
  if (part) {
    out[len++] = '.';
    for (uint64_t unit = U256_0G.w[0] / 10; part; unit /= 10) {
      out[len++] = (char)('0' + part / unit);
      part %= unit;
    }
  }
  memcpy(out + len, " 0G", 4);
  return len + 3;
}

/* *out = *out * base + digit; false when it does not fit. */
static bool push_digit(struct u256 *out, uint64_t base, uint64_t digit) {
  struct u256 product;
  if (u256_mul(&product, *out, u256_of(base))) return false;
  return !u256_add(out, product, u256_of(digit));
}

int u256_parse(struct u256 *out, struct span text) {
  struct u256 a = U256_ZERO;
  if (text.len == 0) return ERR_SYNTAX;
  bool fits = true;
  for (size_t i = 0; i < text.len; i++) {
    if (text.ptr[i] < '0' || text.ptr[i] > '9') return ERR_SYNTAX;
    fits = fits && push_digit(&a, 10, (uint64_t)(text.ptr[i] - '0'));
  }
  if (!fits) return ERR_RANGE;
  *out = a;
  return 0;
}

int u256_parse_quantity(struct u256 *out, struct span text) {
  struct u256 a = U256_ZERO;
  struct span digits;
  if (!hex_cut_prefix(&digits, text) || digits.len == 0) return ERR_SYNTAX;
  bool fits = true;
  for (size_t i = 0; i < digits.len; i++) {
    int digit = hex_digit(digits.ptr[i]);
    if (digit < 0) return ERR_SYNTAX;
    fits = fits && push_digit(&a, 16, (uint64_t)digit);
  }
  if (!fits) return ERR_RANGE;
  *out = a;
  return 0;
}

int u256_parse_0g(struct u256 *neuron, struct span text) {
  const char *point = text.len ? memchr(text.ptr, '.', text.len) : NULL;
  size_t n_whole = point ? (size_t)(point - text.ptr) : text.len;
  struct u256 whole, places = U256_ZERO, a;
  int err = u256_parse(&whole, span_make(text.ptr, n_whole));
  if (err) return err;
  if (point) {
    struct span rest = span_make(point + 1, text.len - n_whole - 1);
    if (rest.len > PLACES) {
      err = u256_parse(&places, rest);
      return err == ERR_SYNTAX ? err : ERR_RANGE;
    }
    if ((err = u256_parse(&places, rest))) return err;
    for (size_t i = rest.len; i < PLACES; i++)
      places.w[0] *= 10;
  }
  if (u256_mul(&a, whole, U256_0G) || u256_add(&a, a, places)) return ERR_RANGE;
  *neuron = a;
  return 0;
}

double u256_to_double(struct u256 a) {
  unsigned n = u256_bytes(a);
  if (n <= 8) return (double)a.w[0];
  /* The highest 64 bits, with a bit that stands for all that were dropped: rounded once, to nearest. */
  unsigned top = n * 8;
  while (!u256_bit(a, top - 1))
    top--;
  unsigned drop = top - 64;
  uint64_t high = 0, rest = 0;
  for (unsigned i = 0; i < 64; i++)
    high |= (uint64_t)u256_bit(a, drop + i) << i;
  for (unsigned i = 0; i < drop; i++)
    rest |= u256_bit(a, i);
  return ldexp((double)(high | rest), (int)drop);
}

double u256_to_0g(struct u256 neuron) {
  return u256_to_double(neuron) / 1e18;
}
