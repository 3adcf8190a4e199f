#include "sim/samples.h"

#include <math.h>
#include <stdlib.h>

void samples_add(struct samples *s, double ms) {
  if (s->n == s->cap) {
    s->cap = s->cap ? s->cap * 2 : 1024;
    s->ms = x_realloc(s->ms, s->cap * sizeof *s->ms);
  }
  s->ms[s->n++] = (float)ms;
}

static int compare(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static double percentile(const struct samples *s, double share) {
  size_t k = (size_t)ceil(share * (double)s->n);
  return (double)s->ms[k ? k - 1 : 0];
}

struct times samples_sum_up(struct samples *s) {
  if (s->n == 0) return (struct times){NAN, NAN, NAN, NAN};
  qsort(s->ms, s->n, sizeof *s->ms, compare);
  double sum = 0;
  for (size_t i = 0; i < s->n; i++)
    sum += (double)s->ms[i];
  return (struct times){sum / (double)s->n, percentile(s, 0.5), percentile(s, 0.9), percentile(s, 0.99)};
}

void samples_release(struct samples *s) {
  free(s->ms);
  *s = (struct samples){0};
}
