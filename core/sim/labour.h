/*
 * labour: how a made-up provider works off what it was given. Up to `parallel` answers run at full speed; more of them
 * share the speed of so many (processor sharing, which is how a batching model server behaves). Work is measured in
 * ms at full speed, so that a change of the load changes nothing but how fast the common clock of the work goes.
 *
 * Thread: one owner. Time is the caller's, in us, and never goes back.
 */
#ifndef MOONGATE_SIM_LABOUR_H
#define MOONGATE_SIM_LABOUR_H

#include "sim/event_queue.h"

struct labour {
  double parallel;
  unsigned busy;
  double done_ms;   /* the clock of the work */
  uint64_t seen_us; /* when it was read */
  struct event_queue marks;
};

void labour_init(struct labour *s, double parallel);
void labour_release(struct labour *s);
/* One more answer runs, or one less. */
void labour_begin(struct labour *s, uint64_t now_us);
void labour_end(struct labour *s, uint64_t now_us);
/* Tells when an answer that runs now has got so much further. */
void labour_mark(struct labour *s, double work_ms, uint32_t kind, uint32_t who, uint32_t version);
/* A mark that has been reached; false when there is none. */
bool labour_take_due(struct labour *s, struct event *out, uint64_t now_us);
/* When the next mark is reached if nothing changes; false when there is none. */
bool labour_next_us(const struct labour *s, uint64_t *out);

#endif
