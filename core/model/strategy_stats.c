#include "model/strategy_stats.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

struct strategy_stats {
  pthread_mutex_t lock;
  struct list blocks;
  unsigned n_blocks;
  struct strategy_totals gone; /* what blocks that have left had counted, and the last error */
};

const char *callback_name(enum callback c) {
  static const char *const names[] = {
#define CALLBACK_NAME_(name, text) text,
      CALLBACK_MAP(CALLBACK_NAME_)
#undef CALLBACK_NAME_
  };
  return names[c];
}

const char *script_fault_name(enum script_fault f) {
  static const char *const names[] = {
#define FAULT_NAME_(name, text) text,
      FAULT_MAP(FAULT_NAME_)
#undef FAULT_NAME_
  };
  return names[f];
}

struct strategy_stats *strategy_stats_new(void) {
  struct strategy_stats *s = x_calloc(1, sizeof *s);
  REQUIRE(pthread_mutex_init(&s->lock, NULL) == 0);
  list_init(&s->blocks);
  return s;
}

void strategy_stats_free(struct strategy_stats *s) {
  if (!s) return;
  REQUIRE(list_is_empty(&s->blocks));
  pthread_mutex_destroy(&s->lock);
  free(s);
}

#define READ(x) __atomic_load_n(&(x), __ATOMIC_RELAXED)

static void add_callback(struct callback_stats *to, const struct callback_stats *from) {
  to->calls += READ(from->calls);
  for (unsigned i = 0; i < FAULT_N; i++)
    to->faults[i] += READ(from->faults[i]);
  to->timed += READ(from->timed);
  to->total_ns += READ(from->total_ns);
  for (unsigned i = 0; i <= HISTOGRAM_BOUNDS; i++)
    to->by_time[i] += READ(from->by_time[i]);
  uint64_t max = READ(from->max_ns);
  if (max > to->max_ns) to->max_ns = max;
}

static void add_block(struct strategy_totals *to, const struct strategy_block *b) {
  for (unsigned i = 0; i < CALLBACK_N; i++)
    add_callback(&to->callbacks[i], &b->callbacks[i]);
  to->skipped += READ(b->skipped);
  to->benched_ever += READ(b->is_benched);
  to->dead_ever += READ(b->is_dead);
}

void strategy_stats_join(struct strategy_stats *s, struct strategy_block *b) {
  REQUIRE(pthread_mutex_lock(&s->lock) == 0);
  list_push_back(&s->blocks, &b->node);
  s->n_blocks++;
  REQUIRE(pthread_mutex_unlock(&s->lock) == 0);
}

void strategy_stats_leave(struct strategy_stats *s, struct strategy_block *b) {
  REQUIRE(pthread_mutex_lock(&s->lock) == 0);
  add_block(&s->gone, b);
  list_remove(&b->node);
  s->n_blocks--;
  REQUIRE(pthread_mutex_unlock(&s->lock) == 0);
}

void strategy_stats_note_error(struct strategy_stats *s, const char *text) {
  uint64_t now = clock_wall_ms();
  REQUIRE(pthread_mutex_lock(&s->lock) == 0);
  (void)snprintf(s->gone.last_error, sizeof s->gone.last_error, "%s", text);
  s->gone.last_error_wall_ms = now;
  REQUIRE(pthread_mutex_unlock(&s->lock) == 0);
}

void strategy_stats_read(struct strategy_stats *s, struct strategy_totals *out) {
  REQUIRE(pthread_mutex_lock(&s->lock) == 0);
  *out = s->gone;
  out->generations = s->n_blocks;
  list_each(node, next, &s->blocks) {
    const struct strategy_block *b = container_of(node, struct strategy_block, node);
    add_block(out, b);
    out->n_benched += READ(b->is_benched);
    out->n_dead += READ(b->is_dead);
  }
  REQUIRE(pthread_mutex_unlock(&s->lock) == 0);
  out->errors = 0;
  for (unsigned i = 0; i < CALLBACK_N; i++)
    for (unsigned k = 0; k < FAULT_N; k++)
      out->errors += out->callbacks[i].faults[k];
}
