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
