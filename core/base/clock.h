/*
 * clock: the two clocks, both replaceable by tests.
 * Monotonic time drives every deadline and duration; wall time appears only in what people and other programs
 * read. Thread: any; faking is for single-threaded tests.
 */
#ifndef MOONGATE_BASE_CLOCK_H
#define MOONGATE_BASE_CLOCK_H

#include "base/base.h"

uint64_t clock_mono_us(void);
static inline uint64_t clock_mono_ms(void) {
  return clock_mono_us() / 1000;
}
/* Milliseconds since 1970. */
uint64_t clock_wall_ms(void);

/* From now on both clocks stand still at these values; fake_advance moves both. */
void clock_fake_set(uint64_t mono_us, uint64_t wall_ms);
void clock_fake_advance_ms(uint64_t ms);
void clock_fake_off(void);

#endif
