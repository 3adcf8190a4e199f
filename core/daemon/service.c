#include "daemon/service.h"

#include <math.h>

/* What rounding to whole us may leave undone. */
#define SLACK_MS 1e-6

void service_init(struct service *s, double parallel) {
  *s = (struct service){.parallel = parallel};
}

void service_release(struct service *s) {
  event_queue_release(&s->marks);
}

static double speed_of(const struct service *s) {
  return s->busy > s->parallel ? s->parallel / s->busy : 1;
}

static void advance(struct service *s, uint64_t now_us) {
  REQUIRE(now_us >= s->seen_us);
  s->done_ms += (double)(now_us - s->seen_us) / 1000 * speed_of(s);
  s->seen_us = now_us;
}

void service_begin(struct service *s, uint64_t now_us) {
  advance(s, now_us);
  s->busy++;
}

void service_end(struct service *s, uint64_t now_us) {
  REQUIRE(s->busy > 0);
  advance(s, now_us);
  s->busy--;
  if (s->busy) return;
  /* What is left was marked for answers that were broken off. */
  s->marks.n = 0;
  s->done_ms = 0;
}

void service_mark(struct service *s, double work_ms, uint32_t kind, uint32_t who, uint32_t version) {
  event_queue_push(&s->marks, s->done_ms + work_ms, kind, who, version);
}

bool service_take_due(struct service *s, struct event *out, uint64_t now_us) {
  advance(s, now_us);
  const struct event *first = event_queue_first(&s->marks);
  return first && first->at <= s->done_ms + SLACK_MS && event_queue_pop(&s->marks, out);
}

bool service_next_us(const struct service *s, uint64_t *out) {
  const struct event *first = event_queue_first(&s->marks);
  if (!first) return false;
  double left_us = (first->at - s->done_ms) * 1000 / speed_of(s);
  *out = s->seen_us + (left_us > 0 ? (uint64_t)ceil(left_us) : 0);
  return true;
}
