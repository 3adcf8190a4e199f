/*
 * event_queue: what is to happen at which time, the earliest first; a binary heap. Events of one time come out in the
 * order in which they were put in, so that a simulation repeats.
 *
 * Thread: one owner.
 */
#ifndef MOONGATE_SIM_EVENT_QUEUE_H
#define MOONGATE_SIM_EVENT_QUEUE_H

#include "base/base.h"

struct event {
  double at;
  uint64_t order; /* set by the queue */
  uint32_t kind;  /* the rest is the owner's */
  uint32_t who;
  uint32_t version; /* to tell what has become void since */
};

struct event_queue {
  struct event *events;
  size_t n, cap;
  uint64_t n_pushed;
};

/* A zeroed struct is an empty queue. */
void event_queue_release(struct event_queue *q);
void event_queue_push(struct event_queue *q, double at, uint32_t kind, uint32_t who, uint32_t version);
/* The earliest, or NULL; valid until the next change. */
static inline const struct event *event_queue_first(const struct event_queue *q) {
  return q->n ? q->events : NULL;
}
/* False when there is none. */
bool event_queue_pop(struct event_queue *q, struct event *out);

#endif
