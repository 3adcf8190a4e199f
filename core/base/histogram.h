/*
 * histogram: how long something took, in buckets that double. Bucket i counts what took at most first_us << i; the last
 * one counts the rest.
 *
 * Thread: any; relaxed atomics.
 */
#ifndef MOONGATE_BASE_HISTOGRAM_H
#define MOONGATE_BASE_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BOUNDS 14

struct histogram {
  uint64_t counts[HISTOGRAM_BOUNDS + 1]; /* not cumulative */
  uint64_t sum_us;
};

static inline unsigned histogram_bucket(uint64_t us, uint32_t first_us) {
  uint64_t doubled = us ? (us - 1) / first_us : 0; /* below 1 << i where us is at most first_us << i */
  unsigned i = doubled ? 64 - (unsigned)__builtin_clzll(doubled) : 0;
  return i < HISTOGRAM_BOUNDS ? i : HISTOGRAM_BOUNDS;
}

static inline void histogram_add(struct histogram *h, uint64_t us, uint32_t first_us) {
  (void)__atomic_add_fetch(&h->counts[histogram_bucket(us, first_us)], 1, __ATOMIC_RELAXED);
  (void)__atomic_add_fetch(&h->sum_us, us, __ATOMIC_RELAXED);
}

/* The same by the only thread that ever adds to it: no bus is locked. */
static inline void histogram_add_own(struct histogram *h, uint64_t us, uint32_t first_us) {
  uint64_t *count = &h->counts[us > first_us ? histogram_bucket(us, first_us) : 0];
  __atomic_store_n(count, *count + 1, __ATOMIC_RELAXED);
  __atomic_store_n(&h->sum_us, h->sum_us + us, __ATOMIC_RELAXED);
}

/* Adds what `from` counts at this moment to a sum of one's own. */
static inline void histogram_read(struct histogram *sum, const struct histogram *from) {
  for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
    sum->counts[i] += __atomic_load_n(&from->counts[i], __ATOMIC_RELAXED);
  sum->sum_us += __atomic_load_n(&from->sum_us, __ATOMIC_RELAXED);
}

#endif
