#include "base/wheel.h"
#include "base/rand.h"
#include "check.h"

#define START 1000003u

static struct wheel wheel;
static uint64_t now_ms;

struct alarm {
  struct wheel_timer timer;
  uint64_t asked_ms; /* when it should fire */
  unsigned fired;
  uint64_t fired_ms;
  unsigned order;
  struct alarm *other;
};

static unsigned order;

static struct alarm *alarm_of(struct wheel_timer *t) {
  return container_of(t, struct alarm, timer);
}

static void note(struct wheel_timer *t) {
  struct alarm *a = alarm_of(t);
  a->fired++;
  a->fired_ms = now_ms;
  a->order = ++order;
}

static void reset(void) {
  now_ms = START;
  order = 0;
  wheel_init(&wheel, now_ms);
}

static void start(struct alarm *a, wheel_fn *fn, uint64_t after_ms) {
  a->asked_ms = now_ms + after_ms;
  wheel_start(&wheel, &a->timer, fn, now_ms, after_ms);
}

/* Moves the clock on by single milliseconds. */
static void pass(uint64_t ms) {
  for (uint64_t i = 0; i < ms; i++)
    wheel_advance(&wheel, ++now_ms);
}

static void a_timer_fires_once_never_early_and_at_most_a_tick_late(void) {
  for (uint64_t after = 0; after < 100; after++) {
    reset();
    now_ms += after % 13;
    wheel_advance(&wheel, now_ms);
    struct alarm a = {0};
    start(&a, note, after);
    CHECK(wheel_is_armed(&a.timer));
    pass(200);
    CHECK_INT(a.fired, 1);
    CHECK(!wheel_is_armed(&a.timer));
    CHECK(a.fired_ms >= a.asked_ms && a.fired_ms <= a.asked_ms + WHEEL_TICK_MS);
    CHECK_INT(wheel.n_armed, 0);
  }
}

static void timers_fire_in_order_of_time(void) {
  reset();
  struct alarm a[5] = {0};
  const uint64_t after[] = {500, 100, 4000, 104, 2000};
  for (int i = 0; i < 5; i++)
    start(&a[i], note, after[i]);
  now_ms += 5000;
  wheel_advance(&wheel, now_ms);
  CHECK(a[1].order == 1 && a[3].order == 2 && a[0].order == 3 && a[4].order == 4 && a[2].order == 5);
}

static void a_stopped_timer_does_not_fire(void) {
  reset();
  struct alarm a = {0}, b = {0};
  wheel_stop(&wheel, &a.timer);
  start(&a, note, 50);
  start(&b, note, 50);
  wheel_stop(&wheel, &a.timer);
  wheel_stop(&wheel, &a.timer);
  CHECK(!wheel_is_armed(&a.timer));
  CHECK_INT(wheel.n_armed, 1);
  pass(100);
  CHECK(a.fired == 0 && b.fired == 1);
}

static void a_started_timer_can_be_moved_both_ways(void) {
  reset();
  struct alarm a = {0}, b = {0};
  start(&a, note, 50);
  start(&b, note, 5000);
  pass(40);
  start(&a, note, 300);
  start(&b, note, 100);
  pass(110);
  CHECK(a.fired == 0 && b.fired == 1);
  pass(200);
  CHECK(a.fired == 1 && b.fired == 1);
  CHECK(a.fired_ms >= a.asked_ms);
}

static void times_beyond_one_turn_are_kept(void) {
  const uint64_t turn = (uint64_t)WHEEL_TICK_MS * WHEEL_SLOTS;
  const uint64_t after[] = {turn - 1, turn, turn + 1, 3 * turn, 3 * turn + 17, 10 * turn - 8};
  for (size_t i = 0; i < ARRAY_LEN(after); i++) {
    reset();
    struct alarm a = {0};
    start(&a, note, after[i]);
    while (now_ms + 5 < a.asked_ms) {
      now_ms += 5;
      wheel_advance(&wheel, now_ms);
    }
    CHECK_INT(a.fired, 0);
    pass(5 + WHEEL_TICK_MS);
    CHECK(a.fired == 1 && a.fired_ms >= a.asked_ms);
  }
}

static void a_late_advance_fires_all_that_is_due_and_no_more(void) {
  reset();
  struct alarm due[3] = {0}, later = {0};
  start(&due[0], note, 10);
  start(&due[1], note, 9000);
  start(&due[2], note, 60000);
  start(&later, note, 60100);
  now_ms += 60050;
  wheel_advance(&wheel, now_ms);
  CHECK(due[0].fired == 1 && due[1].fired == 1 && due[2].fired == 1 && later.fired == 0);
  pass(100);
  CHECK_INT(later.fired, 1);
}

static void a_clock_that_stands_or_goes_back_fires_nothing(void) {
  reset();
  struct alarm a = {0};
  start(&a, note, 100);
  wheel_advance(&wheel, now_ms);
  wheel_advance(&wheel, now_ms - 500);
  CHECK_INT(a.fired, 0);
  wheel_advance(&wheel, now_ms + 108);
  CHECK_INT(a.fired, 1);
}

static void a_time_without_end_never_comes(void) {
  reset();
  struct alarm a = {0};
  start(&a, note, UINT64_MAX);
  pass(20000);
  CHECK(a.fired == 0 && wheel_is_armed(&a.timer));
  wheel_stop(&wheel, &a.timer);
}

static void again(struct wheel_timer *t) {
  note(t);
  if (alarm_of(t)->fired < 5) start(alarm_of(t), again, alarm_of(t)->fired % 2 ? 0 : 20);
}

static void a_callback_may_start_its_own_timer(void) {
  reset();
  struct alarm a = {0};
  start(&a, again, 20);
  now_ms += 24;
  wheel_advance(&wheel, now_ms);
  CHECK_INT(a.fired, 1); /* not twice in one advance, even for 0 ms */
  pass(200);
  CHECK_INT(a.fired, 5);
}

static void stop_other(struct wheel_timer *t) {
  note(t);
  wheel_stop(&wheel, &alarm_of(t)->other->timer);
}

static void a_callback_may_stop_one_that_is_due_with_it(void) {
  reset();
  struct alarm a = {0}, b = {0};
  a.other = &b;
  b.other = &a;
  start(&a, stop_other, 20);
  start(&b, stop_other, 20);
  pass(100);
  CHECK_INT(a.fired + b.fired, 1);
  CHECK_INT(wheel.n_armed, 0);
}

static void move_other(struct wheel_timer *t) {
  note(t);
  start(alarm_of(t)->other, note, 50);
}

static void a_callback_may_move_one_that_is_due_with_it(void) {
  reset();
  struct alarm a = {0}, b = {0};
  a.other = &b;
  start(&a, move_other, 20);
  start(&b, note, 20);
  pass(40);
  CHECK(a.fired == 1 && b.fired == 0);
  pass(60);
  CHECK_INT(b.fired, 1);
}

static void gone(struct wheel_timer *t) {
  note(t);
  memset(&t->node, 0x5a, sizeof t->node);
}

static void a_callback_may_end_its_timers_life(void) {
  reset();
  struct alarm a[3] = {0};
  for (int i = 0; i < 3; i++)
    start(&a[i], gone, 20);
  pass(50);
  CHECK(a[0].fired == 1 && a[1].fired == 1 && a[2].fired == 1);
}

#define N_ALARMS 4000

static void thousands_of_random_timers_agree_with_a_model(void) {
  static struct alarm alarms[N_ALARMS];
  memset(alarms, 0, sizeof alarms);
  struct rng r;
  rng_seed(&r, 99);
  reset();
  for (int round = 0; round < 3000; round++) {
    for (int k = 0; k < 20; k++) {
      struct alarm *a = &alarms[rng_below(&r, N_ALARMS)];
      if (rng_below(&r, 4) == 0) {
        wheel_stop(&wheel, &a->timer);
        a->asked_ms = 0;
        continue;
      }
      a->fired = 0;
      start(a, note, rng_below(&r, 3) ? rng_below(&r, 2000) : rng_below(&r, 60000));
    }
    now_ms += rng_below(&r, 100) == 0 ? rng_below(&r, 20000) : rng_below(&r, 40);
    wheel_advance(&wheel, now_ms);
    unsigned armed = 0;
    for (int i = 0; i < N_ALARMS; i++) {
      struct alarm *a = &alarms[i];
      armed += wheel_is_armed(&a->timer);
      if (a->asked_ms == 0) {
        CHECK(!wheel_is_armed(&a->timer));
      } else if (a->asked_ms + WHEEL_TICK_MS <= now_ms) {
        CHECK(a->fired == 1 && !wheel_is_armed(&a->timer) && a->fired_ms >= a->asked_ms);
      } else if (a->asked_ms > now_ms) {
        CHECK(a->fired == 0 && wheel_is_armed(&a->timer));
      }
    }
    CHECK_INT(wheel.n_armed, armed);
  }
}

int main(void) {
  RUN(a_timer_fires_once_never_early_and_at_most_a_tick_late);
  RUN(timers_fire_in_order_of_time);
  RUN(a_stopped_timer_does_not_fire);
  RUN(a_started_timer_can_be_moved_both_ways);
  RUN(times_beyond_one_turn_are_kept);
  RUN(a_late_advance_fires_all_that_is_due_and_no_more);
  RUN(a_clock_that_stands_or_goes_back_fires_nothing);
  RUN(a_time_without_end_never_comes);
  RUN(a_callback_may_start_its_own_timer);
  RUN(a_callback_may_stop_one_that_is_due_with_it);
  RUN(a_callback_may_move_one_that_is_due_with_it);
  RUN(a_callback_may_end_its_timers_life);
  RUN(thousands_of_random_timers_agree_with_a_model);
  return CHECK_END();
}
