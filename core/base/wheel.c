#include "base/wheel.h"

void wheel_init(struct wheel *w, uint64_t now_ms) {
  for (size_t i = 0; i < WHEEL_SLOTS; i++)
    list_init(&w->slots[i]);
  list_init(&w->firing);
  w->tick = now_ms / WHEEL_TICK_MS;
  w->n_armed = 0;
}

void wheel_stop(struct wheel *w, struct wheel_timer *t) {
  if (!t->on_due) return;
  list_remove(&t->node);
  t->on_due = NULL;
  w->n_armed--;
}

void wheel_start(struct wheel *w, struct wheel_timer *t, wheel_fn *on_due, uint64_t now_ms,
                 uint64_t after_ms) {
  wheel_stop(w, t);
  uint64_t latest = UINT64_MAX - WHEEL_TICK_MS - now_ms;
  uint64_t due = (now_ms + (after_ms < latest ? after_ms : latest) + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS;
  t->due_tick = due > w->tick ? due : w->tick + 1;
  t->on_due = on_due;
  list_push_back(&w->slots[t->due_tick % WHEEL_SLOTS], &t->node);
  w->n_armed++;
}

static void collect_due(struct wheel *w, struct list *slot, uint64_t tick) {
  list_each(node, next, slot) {
    struct wheel_timer *t = container_of(node, struct wheel_timer, node);
    if (t->due_tick > tick) continue;
    list_remove(node);
    list_push_back(&w->firing, node);
  }
}

void wheel_advance(struct wheel *w, uint64_t now_ms) {
  uint64_t until = now_ms / WHEEL_TICK_MS;
  if (until <= w->tick) return;
  uint64_t steps = until - w->tick;
  if (steps > WHEEL_SLOTS) steps = WHEEL_SLOTS;
  uint64_t from = w->tick;
  w->tick = until;
  if (w->n_armed == 0) return;
  for (uint64_t i = 1; i <= steps; i++)
    collect_due(w, &w->slots[(from + i) % WHEEL_SLOTS], until);
  struct list *node;
  while ((node = list_pop_front(&w->firing))) {
    struct wheel_timer *t = container_of(node, struct wheel_timer, node);
    wheel_fn *on_due = t->on_due;
    t->on_due = NULL;
    w->n_armed--;
    on_due(t);
  }
}
