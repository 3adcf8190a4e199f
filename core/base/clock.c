#include "base/clock.h"

#include <time.h>

static bool fake;
static uint64_t fake_mono_us, fake_wall_ms;

static uint64_t read_us(clockid_t id) {
  struct timespec t;
  int err = clock_gettime(id, &t);
  REQUIRE(err == 0);
  return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

uint64_t clock_mono_us(void) {
  return UNLIKELY(fake) ? fake_mono_us : read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ms(void) {
  return UNLIKELY(fake) ? fake_wall_ms : read_us(CLOCK_REALTIME) / 1000;
}

void clock_fake_set(uint64_t mono_us, uint64_t wall_ms) {
  fake = true;
  fake_mono_us = mono_us;
  fake_wall_ms = wall_ms;
}

void clock_fake_advance_ms(uint64_t ms) {
  fake_mono_us += ms * 1000;
  fake_wall_ms += ms;
}

void clock_fake_off(void) {
  fake = false;
}
