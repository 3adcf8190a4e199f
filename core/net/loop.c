#include "net/loop.h"

#include <stdlib.h>

static void arm(struct loop *l);

static void on_wheel_timer(uv_timer_t *t) {
  struct loop *l = t->data;
  loop_time_passes(l);
  l->wheel_due_ms = 0;
  wheel_advance(&l->wheel, loop_now_ms(l));
  uv_update_time(&l->uv); /* libuv has looked before the timers, and on_turn() comes behind them */
  arm(l);
}

static void run_at(struct loop *l, uint64_t due_ms) {
  if (l->is_closing) return;
  uint64_t now = loop_now_ms(l);
  l->wheel_due_ms = due_ms > now ? due_ms : now + 1;
  int err = uv_timer_start(&l->wheel_timer, on_wheel_timer, l->wheel_due_ms - now, 0);
  REQUIRE(err == 0);
}

/* Sleeps until the next slot that holds a timer, at most one turn of the wheel. */
static void arm(struct loop *l) {
  if (l->wheel.n_armed == 0) return;
  for (uint64_t i = 1; i <= WHEEL_SLOTS; i++) {
    if (list_is_empty(&l->wheel.slots[(l->wheel.tick + i) % WHEEL_SLOTS])) continue;
    run_at(l, (l->wheel.tick + i) * WHEEL_TICK_MS);
    return;
  }
}

void loop_timer_start(struct loop *l, struct wheel_timer *t, wheel_fn *on_due, uint64_t after_ms) {
  wheel_start(&l->wheel, t, on_due, loop_now_ms(l), after_ms);
  uint64_t due_ms = t->due_tick * WHEEL_TICK_MS;
  if (l->wheel_due_ms == 0 || due_ms < l->wheel_due_ms) run_at(l, due_ms);
}

static void on_mail(uv_async_t *a) {
  struct loop *l = a->data;
  loop_time_passes(l);
  pthread_mutex_lock(&l->mail_lock);
  struct loop_message *m = l->mail_first;
  l->mail_first = NULL;
  l->mail_last = &l->mail_first;
  pthread_mutex_unlock(&l->mail_lock);
  while (m) {
    struct loop_message *next = m->next;
    m->on_loop(m);
    m = next;
  }
}

void loop_post(struct loop *l, struct loop_message *m) {
  m->next = NULL;
  pthread_mutex_lock(&l->mail_lock);
  bool is_closed = l->is_mail_closed;
  if (!is_closed) {
    *l->mail_last = m;
    l->mail_last = &m->next;
    (void)uv_async_send(&l->mail);
  }
  pthread_mutex_unlock(&l->mail_lock);
  if (is_closed) m->on_loop(m);
}

bool loop_keep_read(struct loop *l, struct buf *b, const char *bytes, size_t len, size_t whole) {
  if (!l->read_buf || bytes < l->read_buf || bytes >= l->read_buf + LOOP_ROOM_BYTES) return false;
  size_t skip = (size_t)(bytes - l->read_buf);
  if (whole >= LOOP_ROOM_BYTES - skip || b->max < LOOP_ROOM_BYTES) return false;
  buf_adopt(b, l->read_buf, LOOP_ROOM_BYTES, skip, len);
  l->read_buf = NULL;
  return true;
}

static void on_trim(struct wheel_timer *t) {
  struct loop *l = container_of(t, struct loop, trim_timer);
  blocks_trim(&l->blocks);
  loop_timer_start(l, t, on_trim, LOOP_TRIM_MS);
}

/*
 * All that came has been served, and what comes next is waited for. How long that took libuv knows without a look at the
 * clock of ours: it reads one behind the wait, whose milliseconds turn_ms is, and one before this.
 */
static void on_turn(uv_prepare_t *p) {
  struct loop *l = p->data;
  if (l->turns && l->turn_ms)
    histogram_add_own(l->turns, (loop_now_ms(l) - l->turn_ms) * 1000, LOOP_TURN_FIRST_US);
  l->turn_ms = l->now_us = 0;
}

int loop_init(struct loop *l) {
  *l = (struct loop){0};
  int err = uv_loop_init(&l->uv);
  if (err) return err;
  err = uv_async_init(&l->uv, &l->mail, on_mail);
  if (err) {
    (void)uv_loop_close(&l->uv);
    return err;
  }
  l->mail.data = l;
  l->mail_last = &l->mail_first;
  pthread_mutex_init(&l->mail_lock, NULL);
  (void)uv_timer_init(&l->uv, &l->wheel_timer);
  l->wheel_timer.data = l;
  (void)uv_prepare_init(&l->uv, &l->turn);
  l->turn.data = l;
  (void)uv_prepare_start(&l->turn, on_turn);
  wheel_init(&l->wheel, loop_now_ms(l));
  arena_pool_init(&l->arenas, 256);
  blocks_init(&l->blocks, LOOP_KEPT_BYTES);
  loop_timer_start(l, &l->trim_timer, on_trim, LOOP_TRIM_MS);
  return 0;
}

void loop_close(struct loop *l) {
  l->is_closing = true;
  loop_timer_stop(l, &l->trim_timer);
  pthread_mutex_lock(&l->mail_lock);
  l->is_mail_closed = true;
  pthread_mutex_unlock(&l->mail_lock);
  uv_close((uv_handle_t *)&l->mail, NULL);
  uv_close((uv_handle_t *)&l->wheel_timer, NULL);
  uv_close((uv_handle_t *)&l->turn, NULL);
  (void)uv_run(&l->uv, UV_RUN_DEFAULT);
  on_mail(&l->mail); /* what was posted too late is still freed by its function */
  int err = uv_loop_close(&l->uv);
  REQUIRE(err == 0);
  arena_pool_release(&l->arenas);
  blocks_give(&l->blocks, l->read_buf, LOOP_ROOM_BYTES);
  blocks_release(&l->blocks);
}
