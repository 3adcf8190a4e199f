/*
 * rand: fast numbers for ties, jitter and identifiers that only have to be unlike each other (xoshiro256++,
 * Blackman and Vigna 2019), seeded from the kernel. Never for keys. Thread: one owner per struct.
 */
#ifndef MOONGATE_BASE_RAND_H
#define MOONGATE_BASE_RAND_H

#include "base/base.h"

struct rng {
  uint64_t s[4];
};

/* Fills from the kernel's generator; ends the process when there is none. */
void rand_os(void *out, size_t len);
void rng_seed_os(struct rng *r);
/* The same seed gives the same sequence. */
void rng_seed(struct rng *r, uint64_t seed);
static inline uint64_t rng_u64(struct rng *r) {
  uint64_t *s = r->s, sum = s[0] + s[3], result = (sum << 23 | sum >> 41) + s[0], t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = s[3] << 45 | s[3] >> 19;
  return result;
}
/* 0 … n-1; n must not be 0. */
static inline uint32_t rng_below(struct rng *r, uint32_t n) {
  return (uint32_t)(((rng_u64(r) >> 32) * (uint64_t)n) >> 32);
}
/* 0 <= x < 1. */
static inline double rng_double(struct rng *r) {
  return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}

#endif
