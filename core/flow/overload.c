#include "flow/overload.h"

#define RETRY_AFTER_S  1
#define QUEUE_CHECK_MS 8 /* how soon a turn that came free at another worker is noticed */

void overload_refuse(struct exchange *x, const char *message) {
  struct reply_extra extra = {.retry_after_s = RETRY_AFTER_S};
  exchange_error_with(x, 503, "overloaded", span_str(message), &extra);
}

static bool is_limited(const struct exchange *x) {
  return x->plan->settings.max_active_requests > 0;
}

static bool is_queue_full(const struct exchange *x) {
  const struct settings *s = &x->plan->settings;
  const struct shared *shared = x->flow->shared;
  return shared_get_u32(&shared->running_exchanges) >= s->max_active_requests &&
         shared_get_u32(&shared->queued_exchanges) >= s->max_queued_requests;
}

bool overload_admit(struct exchange *x) {
  struct flow *f = x->flow;
  if (!admission_has_room(f->shared->admission) && !conn_server_reclaim(&f->server)) {
    x->reply.keep = false;
    overload_refuse(x, "Too many connections and requests at once; try again shortly");
    return false;
  }
  if (is_limited(x) && is_queue_full(x)) {
    overload_refuse(x, "Too many requests at once; try again shortly");
    return false;
  }
  return true;
}

/* ---- turns ---- */

static bool take_turn(struct exchange *x) {
  uint32_t *running = &x->flow->shared->running_exchanges;
  uint32_t max = x->plan->settings.max_active_requests;
  if (shared_add_u32(running, 1) > max && max > 0) {
    (void)shared_add_u32(running, -1);
    return false;
  }
  x->is_running = true;
  return true;
}

/* What it waits is not ours: its moment becomes the time spent so far, and that a moment again. */
static void turn_clock(struct exchange *x) {
  x->ready_us = loop_read_clock(x->flow->loop) - x->ready_us;
}

static void leave_queue(struct exchange *x) {
  if (!x->is_queued) return;
  x->is_queued = false;
  list_remove(&x->queue_node);
  loop_timer_stop(x->flow->loop, &x->delay);
  (void)shared_add_u32(&x->flow->shared->queued_exchanges, -1);
}

static void serve_queue(struct wheel_timer *t) {
  struct flow *f = container_of(t, struct flow, queue_timer);
  while (!list_is_empty(&f->queue)) {
    struct exchange *x = container_of(f->queue.next, struct exchange, queue_node);
    if (!take_turn(x)) {
      loop_timer_start(f->loop, &f->queue_timer, serve_queue, QUEUE_CHECK_MS);
      return;
    }
    leave_queue(x);
    turn_clock(x);
    exchange_begin(x);
  }
}

static void on_waited(struct wheel_timer *t) {
  struct exchange *x = container_of(t, struct exchange, delay);
  overload_refuse(x, "Too many requests at once, and no turn came in time; try again shortly");
}

static void enter_queue(struct exchange *x) {
  struct flow *f = x->flow;
  const struct settings *s = &x->plan->settings;
  if (shared_add_u32(&f->shared->queued_exchanges, 1) > s->max_queued_requests) {
    (void)shared_add_u32(&f->shared->queued_exchanges, -1);
    overload_refuse(x, "Too many requests at once; try again shortly");
    return;
  }
  x->is_queued = true;
  turn_clock(x);
  x->state = EXCHANGE_QUEUED;
  list_push_back(&f->queue, &x->queue_node);
  loop_timer_start(f->loop, &x->delay, on_waited, s->timeouts.queue);
  if (!wheel_is_armed(&f->queue_timer))
    loop_timer_start(f->loop, &f->queue_timer, serve_queue, QUEUE_CHECK_MS);
}

void overload_enter(struct exchange *x) {
  bool is_next = list_is_empty(&x->flow->queue);
  if (!is_limited(x) || (is_next && take_turn(x)))
    exchange_begin(x);
  else
    enter_queue(x);
}

void overload_leave(struct exchange *x) {
  struct flow *f = x->flow;
  leave_queue(x);
  if (!x->is_running) return;
  x->is_running = false;
  (void)shared_add_u32(&f->shared->running_exchanges, -1);
  if (!list_is_empty(&f->queue)) loop_timer_start(f->loop, &f->queue_timer, serve_queue, 0);
}
