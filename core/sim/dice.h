/*
 * dice: the chance of a simulation. Each use draws from a sequence of its own, found by the seed and what the draw is for,
 * so that what happens to one request does not depend on what happened to others.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_SIM_DICE_H
#define MOONGATE_SIM_DICE_H

#include "base/rand.h"

/* The same four numbers give the same sequence. */
struct rng dice_of(uint64_t seed, uint64_t use, uint64_t a, uint64_t b);

double dice_exponential(struct rng *r, double mean);

struct log_normal {
  double mu, sigma; /* of the logarithm */
};
/* `deviation`: the standard deviation as a share of the mean. */
void dice_log_normal(struct log_normal *out, double mean, double deviation);
double dice_from_log_normal(struct rng *r, const struct log_normal *d);

/* A place in a list of cumulated shares, the last of which is 1; n >= 1. */
unsigned dice_share(struct rng *r, const double *up_to, unsigned n);

/* A whole number below 2^53 that depends on x alone. */
double dice_hash53(uint64_t x);

#endif
