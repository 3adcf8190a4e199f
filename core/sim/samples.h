/*
 * samples: measured times, kept one by one, for exact percentiles.
 *
 * Thread: one owner.
 */
#ifndef MOONGATE_SIM_SAMPLES_H
#define MOONGATE_SIM_SAMPLES_H

#include "base/base.h"

/* A zeroed struct is empty. */
struct samples {
  float *ms;
  size_t n, cap;
};

struct times {
  double mean_ms, p50_ms, p90_ms, p99_ms; /* NaN when there was none */
};

void samples_add(struct samples *s, double ms);
/* Sorts them. A percentile is the least of them that so many do not exceed. */
struct times samples_sum_up(struct samples *s);
void samples_release(struct samples *s);

#endif
