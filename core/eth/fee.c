#include "eth/fee.h"
#include "wire/json.h"

#include <math.h>
#include <stdlib.h>

typedef unsigned __int128 wide;

/* Above this many digits a number is no double any more. */
#define DIGITS_MAX 309

/* ---- counts ---- */

/* How many bytes of the start of a text are one blank of JavaScript's; 0: none. */
static size_t blank_len(struct span s) {
  /* Of more than one byte: U+00A0, 1680, 2000 … 200A, 2028, 2029, 202F, 205F, 3000, FEFF. */
  static const char *const others[] = {"\xc2\xa0",     "\xe1\x9a\x80", "\xe2\x80\xa8", "\xe2\x80\xa9",
                                       "\xe2\x80\xaf", "\xe2\x81\x9f", "\xe3\x80\x80", "\xef\xbb\xbf"};
  if (s.len == 0) return 0;
  if (s.ptr[0] && strchr(" \t\n\v\f\r", s.ptr[0])) return 1;
  for (size_t i = 0; i < ARRAY_LEN(others); i++)
    if (span_starts(s, span_str(others[i]))) return strlen(others[i]);
  bool is_space = span_starts(s, SPAN("\xe2\x80")) && s.len > 2 && (uint8_t)s.ptr[2] <= 0x8a;
  return is_space ? 3 : 0;
}

/* The integer at the start of a text, as JavaScript's parseInt reads it; NaN when there is none. */
static double read_integer(struct span s) {
  char digits[DIGITS_MAX + 2];
  size_t n = 0, blank;
  while ((blank = blank_len(s)))
    s = span_make(s.ptr + blank, s.len - blank);
  bool is_negative = s.len && s.ptr[0] == '-';
  if (s.len && (s.ptr[0] == '-' || s.ptr[0] == '+')) {
    s.ptr++;
    s.len--;
  }
  if (s.len == 0 || s.ptr[0] < '0' || s.ptr[0] > '9') return NAN;
  for (size_t i = 0; i < s.len && s.ptr[i] >= '0' && s.ptr[i] <= '9'; i++) {
    if (n == 0 && s.ptr[i] == '0') continue;
    if (n > DIGITS_MAX) return is_negative ? -INFINITY : INFINITY;
    digits[n++] = s.ptr[i];
  }
  digits[n] = '\0';
  double value = n ? strtod(digits, NULL) : 0;
  return is_negative ? -value : value;
}

/* A number of the scanner's: the text goes on behind it, with what ends it. */
static double read_number(struct span raw) {
  return strtod(raw.ptr, NULL);
}

static double read_string(struct span raw) {
  char *text = x_malloc(raw.len);
  size_t len;
  double value = json_unescape(text, raw.len, &len, raw) ? NAN : read_integer(span_make(text, len));
  free(text);
  return value;
}

static double get_count(struct span usage, const char *name, double absent) {
  struct json_member m = {.name = span_str(name)};
  struct json_object object;
  struct json_fault fault;
  if (usage.len == 0 || json_scan_object(&m, 1, &object, &fault, usage)) return absent;
  double value = m.type == JSON_NUMBER   ? read_number(m.value)
                 : m.type == JSON_STRING ? read_string(m.value)
                                         : NAN;
  return isnan(value) ? absent : value;
}

/* ---- sums ---- */

static int compare(const struct fee *a, const struct fee *b) {
  for (size_t i = FEE_WORDS; i-- > 0;)
    if (a->w[i] != b->w[i]) return a->w[i] < b->w[i] ? -1 : 1;
  return 0;
}

/* The exact product of a price and a double that is an integer. */
static void multiply(struct fee *out, struct u256 price, double count) {
  int exponent;
  double fraction = frexp(fabs(count), &exponent);
  uint64_t digits = (uint64_t)ldexp(fraction, 53);
  int shift = exponent - 53;
  if (shift < 0) {
    digits >>= -shift < 64 ? -shift : 63;
    shift = 0;
  }
  *out = (struct fee){.is_negative = count < 0};
  size_t first = (size_t)shift / 64, bits = (size_t)shift % 64;
  wide carry = 0;
  uint64_t product[5];
  for (size_t i = 0; i < 5; i++) {
    carry += i < 4 ? (wide)price.w[i] * digits : 0;
    product[i] = (uint64_t)carry;
    carry >>= 64;
  }
  for (size_t i = 0; i < 5; i++) {
    if (first + i < FEE_WORDS) out->w[first + i] |= product[i] << bits;
    if (bits && first + i + 1 < FEE_WORDS) out->w[first + i + 1] |= product[i] >> (64 - bits);
  }
}

static void add_magnitude(struct fee *a, const struct fee *b) {
  wide carry = 0;
  for (size_t i = 0; i < FEE_WORDS; i++) {
    carry += (wide)a->w[i] + b->w[i];
    a->w[i] = (uint64_t)carry;
    carry >>= 64;
  }
  REQUIRE(carry == 0);
}

/* a must not be below b. */
static void subtract_magnitude(struct fee *a, const struct fee *b) {
  unsigned borrow = 0;
  for (size_t i = 0; i < FEE_WORDS; i++) {
    wide difference = (wide)a->w[i] - b->w[i] - borrow;
    a->w[i] = (uint64_t)difference;
    borrow = (difference >> 64) != 0;
  }
  REQUIRE(borrow == 0);
}

static bool is_zero(const struct fee *f) {
  for (size_t i = 0; i < FEE_WORDS; i++)
    if (f->w[i]) return false;
  return true;
}

static void add(struct fee *out, const struct fee *a, const struct fee *b) {
  bool a_leads = compare(a, b) >= 0;
  const struct fee *larger = a_leads ? a : b, *smaller = a_leads ? b : a;
  *out = *larger;
  if (a->is_negative == b->is_negative)
    add_magnitude(out, smaller);
  else
    subtract_magnitude(out, smaller);
  if (is_zero(out)) out->is_negative = false;
}

static bool is_integer(double x) {
  return isfinite(x) && x == trunc(x);
}

bool fee_is_by_image(struct span service_type) {
  return span_eq(service_type, SPAN("text-to-image")) || span_eq(service_type, SPAN("image-editing"));
}

struct u256 fee_for_people(struct span service_type, struct u256 price) {
  struct u256 million;
  if (fee_is_by_image(service_type)) return price;
  return u256_mul(&million, price, u256_of(1000000)) ? U256_MAX : million;
}

int fee_estimate(struct fee *out, struct span service_type, struct u256 input_price, struct u256 output_price,
                 struct span usage) {
  double in = 0, produced = 0;
  if (span_eq(service_type, SPAN("chatbot"))) {
    in = get_count(usage, "prompt_tokens", 0);
    produced = get_count(usage, "completion_tokens", 0);
  } else if (fee_is_by_image(service_type)) {
    in = get_count(usage, "n", 1);
  } else if (span_eq(service_type, SPAN("speech-to-text"))) {
    produced = get_count(usage, "output_tokens", 0);
  } else {
    return ERR_UNSUPPORTED;
  }
  if (!is_integer(in) || !is_integer(produced)) return ERR_RANGE;
  struct fee input, output;
  multiply(&input, input_price, in);
  multiply(&output, output_price, produced);
  add(out, &input, &output);
  return 0;
}

int fee_text(struct buf *out, const struct fee *f) {
  char digits[FEE_WORDS * 20 + 2];
  size_t at = sizeof digits;
  struct fee left = *f;
  do {
    wide rest = 0;
    for (size_t i = FEE_WORDS; i-- > 0;) {
      rest = rest << 64 | left.w[i];
      left.w[i] = (uint64_t)(rest / 10);
      rest %= 10;
    }
    digits[--at] = (char)('0' + (int)rest);
  } while (!is_zero(&left));
  if (f->is_negative) digits[--at] = '-';
  return buf_append(out, digits + at, sizeof digits - at);
}

struct u256 fee_to_u256(const struct fee *f) {
  struct u256 out;
  if (f->is_negative) return U256_ZERO;
  for (size_t i = 4; i < FEE_WORDS; i++)
    if (f->w[i]) return U256_MAX;
  memcpy(out.w, f->w, sizeof out.w);
  return out;
}

/* ---- what a sub-account needs ---- */

static struct u256 add_capped(struct u256 a, struct u256 b) {
  struct u256 out;
  return u256_add(&out, a, b) ? U256_MAX : out;
}

struct u256 fee_locked(struct u256 balance, struct u256 pending_refund) {
  return u256_sub_or_zero(balance, pending_refund);
}

bool fee_passes_gate(struct u256 locked, struct u256 unsettled, struct u256 reserve) {
  return u256_cmp(locked, add_capped(unsettled, reserve)) >= 0;
}

struct u256 fee_top_up(struct u256 locked, struct u256 unsettled, struct u256 target) {
  struct u256 deficit = u256_sub_or_zero(add_capped(unsettled, target), locked);
  if (u256_is_zero(deficit)) return deficit;
  return u256_cmp(deficit, U256_0G) < 0 ? U256_0G : deficit;
}
