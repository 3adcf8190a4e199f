#include "sim/labour.h"

#include <math.h>

/* What rounding to whole us may leave undone. */
#define SLACK_MS 1e-6

void labour_init(struct labour *s, double parallel) {
  *s = (struct labour){.parallel = parallel};
}

void labour_release(struct labour *s) {
  event_queue_release(&s->marks);
}

static double speed_of(const struct labour *s) {
  return s->busy > s->parallel ? s->parallel / s->busy : 1;
}

static void advance(struct labour *s, uint64_t now_us) {
  REQUIRE(now_us >= s->seen_us);
  s->done_ms += (double)(now_us - s->seen_us) / 1000 * speed_of(s);
  s->seen_us = now_us;
}

void labour_begin(struct labour *s, uint64_t now_us) {
  advance(s, now_us);
  s->busy++;
}

void labour_end(struct labour *s, uint64_t now_us) {
  REQUIRE(s->busy > 0);
  advance(s, now_us);
  s->busy--;
  if (s->busy) return;
  /* What is left was marked for answers that were broken off. */
  s->marks.n = 0;
  s->done_ms = 0;
}

void labour_mark(struct labour *s, double work_ms, uint32_t kind, uint32_t who, uint32_t version) {
  event_queue_push(&s->marks, s->done_ms + work_ms, kind, who, version);
}

bool labour_take_due(struct labour *s, struct event *out, uint64_t now_us) {
  advance(s, now_us);
  const struct event *first = event_queue_first(&s->marks);
  return first && first->at <= s->done_ms + SLACK_MS && event_queue_pop(&s->marks, out);
}

bool labour_next_us(const struct labour *s, uint64_t *out) {
  const struct event *first = event_queue_first(&s->marks);
  if (!first) return false;
  double left_us = (first->at - s->done_ms) * 1000 / speed_of(s);
  *out = s->seen_us + (left_us > 0 ? (uint64_t)ceil(left_us) : 0);
  return true;
}
