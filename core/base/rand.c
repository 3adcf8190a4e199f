#include "base/rand.h"

#include <errno.h>
#include <sys/random.h>

void rand_os(void *out, size_t len) {
  char *p = out;
  while (len) {
    ssize_t n = getrandom(p, len, 0);
    if (n < 0 && errno == EINTR) continue;
    REQUIRE(n > 0);
    p += n;
    len -= (size_t)n;
  }
}

void rng_seed_os(struct rng *r) {
  uint64_t seed;
  rand_os(&seed, sizeof seed);
  rng_seed(r, seed);
}

/* splitmix64 spreads one word over the state, as the authors of xoshiro advise. */
void rng_seed(struct rng *r, uint64_t seed) {
  for (int i = 0; i < 4; i++) {
    uint64_t z = (seed += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    r->s[i] = z ^ (z >> 31);
  }
}

static uint64_t rotl(uint64_t x, int k) {
  return (x << k) | (x >> (64 - k));
}

uint64_t rng_u64(struct rng *r) {
  uint64_t *s = r->s, result = rotl(s[0] + s[3], 23) + s[0], t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotl(s[3], 45);
  return result;
}

uint32_t rng_below(struct rng *r, uint32_t n) {
  return (uint32_t)(((rng_u64(r) >> 32) * (uint64_t)n) >> 32);
}

double rng_double(struct rng *r) {
  return (double)(rng_u64(r) >> 11) * 0x1.0p-53;
}
