#include "sim/dice.h"

#include <math.h>

#define TWO_PI 6.283185307179586

struct rng dice_of(uint64_t seed, uint64_t use, uint64_t a, uint64_t b) {
  struct rng r;
  rng_seed(&r, seed + use * 0x9e3779b97f4a7c15u);
  uint64_t key = rng_u64(&r) ^ (a * 0xd1342543de82ef95u + b * 0x2545f4914f6cdd1du);
  rng_seed(&r, key);
  return r;
}

double dice_exponential(struct rng *r, double mean) {
  return -log(1 - rng_double(r)) * mean;
}

void dice_log_normal(struct log_normal *out, double mean, double deviation) {
  double variance = log(1 + deviation * deviation);
  *out = (struct log_normal){.mu = log(mean) - variance / 2, .sigma = sqrt(variance)};
}

/* Box and Muller. */
double dice_from_log_normal(struct rng *r, const struct log_normal *d) {
  double radius = sqrt(-2 * log(1 - rng_double(r))), angle = TWO_PI * rng_double(r);
  return exp(d->mu + d->sigma * radius * cos(angle));
}

unsigned dice_share(struct rng *r, const double *up_to, unsigned n) {
  double x = rng_double(r);
  unsigned low = 0, high = n - 1;
  while (low < high) {
    unsigned mid = low + (high - low) / 2;
    if (x < up_to[mid])
      high = mid;
    else
      low = mid + 1;
  }
  return low;
}

double dice_hash53(uint64_t x) {
  struct rng r;
  rng_seed(&r, x);
  return (double)(rng_u64(&r) >> 11);
}
