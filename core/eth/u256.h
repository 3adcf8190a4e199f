/*
 * u256: unsigned integers of 256 bits, as contracts keep amounts, prices and counters, and the texts that
 * people read: amounts in 0G, where 1 0G is 10^18 neuron.
 *
 * Values are passed by value. Nothing wraps silently: what can overflow says so. Thread: any.
 */
#ifndef MOONGATE_ETH_U256_H
#define MOONGATE_ETH_U256_H

#include "base/err.h"
#include "base/span.h"

/* Room for the longest texts with their NUL: 78 digits, and the same with a point and " 0G". */
#define U256_TEXT_MAX 79
#define U256_0G_MAX   96

struct u256 {
  uint64_t w[4]; /* lowest word first */
};

#define U256_ZERO ((struct u256){{0}})
#define U256_MAX  ((struct u256){{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}})
/* 1 0G in neuron. */
#define U256_0G ((struct u256){{UINT64_C(1000000000000000000)}})

static inline struct u256 u256_of(uint64_t n) {
  return (struct u256){{n}};
}

static inline bool u256_is_zero(struct u256 a) {
  return (a.w[0] | a.w[1] | a.w[2] | a.w[3]) == 0;
}

static inline bool u256_fits_u64(struct u256 a) {
  return (a.w[1] | a.w[2] | a.w[3]) == 0;
}

/* The value, or UINT64_MAX when it is larger. */
static inline uint64_t u256_to_u64(struct u256 a) {
  return u256_fits_u64(a) ? a.w[0] : UINT64_MAX;
}

/* Bit `i`, 0 … 255, counted from the lowest. */
static inline bool u256_bit(struct u256 a, unsigned i) {
  return (a.w[i / 64 % 4] >> (i % 64)) & 1;
}

static inline bool u256_eq(struct u256 a, struct u256 b) {
  return a.w[0] == b.w[0] && a.w[1] == b.w[1] && a.w[2] == b.w[2] && a.w[3] == b.w[3];
}

/* Negative, 0, positive: a below, equal to, above b. */
int u256_cmp(struct u256 a, struct u256 b);

/* The words of the ABI: 32 bytes, highest first. */
struct u256 u256_from_be(const uint8_t bytes[32]);
void u256_to_be(uint8_t bytes[32], struct u256 a);
/* How many bytes it takes without leading zeros: 0 for 0, at most 32. */
unsigned u256_bytes(struct u256 a);

/* True when the result does not fit; *out is then the result modulo 2^256. */
bool u256_add(struct u256 *out, struct u256 a, struct u256 b);
bool u256_sub(struct u256 *out, struct u256 a, struct u256 b); /* true: a was below b */
bool u256_mul(struct u256 *out, struct u256 a, struct u256 b);
/* a - b, or 0 when b is larger. */
struct u256 u256_sub_or_zero(struct u256 a, struct u256 b);
/* The quotient; *rest is what remains. d must not be 0. */
struct u256 u256_div_u64(struct u256 a, uint64_t d, uint64_t *rest);

/* Decimal text with its NUL; returns the length. */
size_t u256_text(char out[U256_TEXT_MAX], struct u256 a);
/*
 * The amount in 0G with as many places as it needs and the unit, "0.4 0G", "12 0G"; returns the length. The
 * text is exact: 1 neuron is "0.000000000000000001 0G".
 */
size_t u256_0g_text(char out[U256_0G_MAX], struct u256 neuron);

/* Decimal digits only. ERR_SYNTAX when empty or with other characters, ERR_RANGE above 2^256 - 1. */
int u256_parse(struct u256 *out, struct span text) MUST_CHECK;
/*
 * A JSON-RPC quantity, "0x0" … ; leading zeros are accepted. ERR_SYNTAX without the prefix or without a
 * digit, ERR_RANGE above 2^256 - 1.
 */
int u256_parse_quantity(struct u256 *out, struct span text) MUST_CHECK;
/*
 * An amount in 0G as people write it, "0.05" or "3", to neuron: digits with at most one point between digits.
 * ERR_SYNTAX otherwise, also with a sign or an exponent; ERR_RANGE with more than 18 places or when too large.
 */
int u256_parse_0g(struct u256 *neuron, struct span text) MUST_CHECK;

/* The nearest double. */
double u256_to_double(struct u256 a);
/* The amount in 0G, for display and for strategies: nearest double of neuron / 10^18. */
double u256_to_0g(struct u256 neuron);

#endif
