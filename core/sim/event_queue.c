#include "sim/event_queue.h"

#include <stdlib.h>

void event_queue_release(struct event_queue *q) {
  free(q->events);
  *q = (struct event_queue){0};
}

static bool is_before(const struct event *a, const struct event *b) {
  if (a->at < b->at) return true;
  return a->at == b->at && a->order < b->order;
}

void event_queue_push(struct event_queue *q, double at, uint32_t kind, uint32_t who, uint32_t version) {
  if (q->n == q->cap) {
    q->cap = q->cap ? q->cap * 2 : 64;
    q->events = x_realloc(q->events, q->cap * sizeof *q->events);
  }
  struct event e = {.at = at, .order = q->n_pushed++, .kind = kind, .who = who, .version = version};
  size_t i = q->n++;
  while (i > 0) {
    size_t parent = (i - 1) / 2;
    if (!is_before(&e, &q->events[parent])) break;
    q->events[i] = q->events[parent];
    i = parent;
  }
  q->events[i] = e;
}

bool event_queue_pop(struct event_queue *q, struct event *out) {
  if (q->n == 0) return false;
  *out = q->events[0];
  struct event last = q->events[--q->n];
  size_t i = 0;
  while (2 * i + 1 < q->n) {
    size_t child = 2 * i + 1;
    if (child + 1 < q->n && is_before(&q->events[child + 1], &q->events[child])) child++;
    if (!is_before(&q->events[child], &last)) break;
    q->events[i] = q->events[child];
    i = child;
  }
  q->events[i] = last;
  return true;
}
