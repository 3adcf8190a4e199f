/*
 * service: how a made-up provider works off what it was given. Up to `parallel` answers run at full speed; more of them
 * share the speed of so many (processor sharing, which is how a batching model server behaves). Work is measured in
 * ms at full speed, so that a change of the load changes nothing but how fast the common clock of the work goes.
 *
 * Thread: one owner. Time is the caller's, in us, and never goes back.
 */
#ifndef MOONGATE_DAEMON_SERVICE_H
#define MOONGATE_DAEMON_SERVICE_H

#include "daemon/event_queue.h"

struct service {
  double parallel;
  unsigned busy;
  double done_ms;   /* the clock of the work */
  uint64_t seen_us; /* when it was read */
  struct event_queue marks;
};

void service_init(struct service *s, double parallel);
void service_release(struct service *s);
/* One more answer runs, or one less. */
void service_begin(struct service *s, uint64_t now_us);
void service_end(struct service *s, uint64_t now_us);
/* Tells when an answer that runs now has got so much further. */
void service_mark(struct service *s, double work_ms, uint32_t kind, uint32_t who, uint32_t version);
/* A mark that has been reached; false when there is none. */
bool service_take_due(struct service *s, struct event *out, uint64_t now_us);
/* When the next mark is reached if nothing changes; false when there is none. */
bool service_next_us(const struct service *s, uint64_t *out);

#endif
