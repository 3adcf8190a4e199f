/*
 * wheel: many deadlines behind one loop timer. Starting, moving and stopping a timer is O(1); a timer fires
 * within WHEEL_TICK_MS after its time, never before.
 *
 * Thread: one. The caller embeds `struct wheel_timer` (zero is "not started") and owns it; a callback may
 * start or stop any timer, its own included. After wheel_stop() a timer does not fire.
 * A hashed wheel with rounds (Varghese and Lauck 1987, scheme 6).
 */
#ifndef MOONGATE_BASE_WHEEL_H
#define MOONGATE_BASE_WHEEL_H

#include "base/list.h"

#define WHEEL_TICK_MS 8
#define WHEEL_SLOTS   1024

struct wheel_timer;
typedef void wheel_fn(struct wheel_timer *);

struct wheel_timer {
  struct list node;
  uint64_t due_tick;
  wheel_fn *on_due;
};

struct wheel {
  struct list slots[WHEEL_SLOTS];
  struct list firing;
  uint64_t tick; /* all ticks up to this one have fired */
  unsigned n_armed;
};

void wheel_init(struct wheel *w, uint64_t now_ms);
/* (Re)starts `t` so that it fires once, `after_ms` from `now_ms`. */
void wheel_start(struct wheel *w, struct wheel_timer *t, wheel_fn *on_due, uint64_t now_ms,
                 uint64_t after_ms);
void wheel_stop(struct wheel *w, struct wheel_timer *t);
static inline bool wheel_is_armed(const struct wheel_timer *t) {
  return t->on_due != NULL;
}
/* Fires everything due by `now_ms`, in order of time unless the last call is more than a turn (8 s) ago. */
void wheel_advance(struct wheel *w, uint64_t now_ms);

#endif
