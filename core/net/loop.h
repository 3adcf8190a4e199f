/*
 * loop: one event loop with what everything on it shares: the timer wheel, a read buffer for
 * whichever socket has bytes, arena chunks, blocks of memory, and a mailbox other threads may drop work into.
 *
 * Thread: one (its own), but for loop_post(). Owner: a worker or control.
 */
#ifndef MOONGATE_NET_LOOP_H
#define MOONGATE_NET_LOOP_H

#include "base/arena.h"
#include "base/blocks.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/histogram.h"
#include "base/wheel.h"

#include <pthread.h>
#include <uv.h>

#define LOOP_READ_BYTES    65536      /* of an answer, at once */
#define LOOP_ROOM_BYTES    131072     /* of a request */
#define LOOP_KEPT_BYTES    (8u << 20) /* of blocks that are free */
#define LOOP_TRIM_MS       5000       /* those that are not needed for so long go back */
#define LOOP_TURN_FIRST_US 1000       /* first bound of `turns` */

/* Work for the loop's thread. The poster allocates it; the function frees it. */
struct loop_message {
  struct loop_message *next;
  void (*on_loop)(struct loop_message *);
};

struct loop {
  uv_loop_t uv;
  struct wheel wheel;
  uv_timer_t wheel_timer;
  uint64_t wheel_due_ms; /* when wheel_timer fires; 0: not running */
  uv_prepare_t turn;
  uint64_t now_us;         /* 0: to be read */
  uint64_t turn_ms;        /* when the first news of this turn was looked at; 0: there was none */
  struct histogram *turns; /* how long they take, written by this loop alone; NULL: nobody asks */
  struct arena_pool arenas;
  struct blocks blocks;
  struct wheel_timer trim_timer;
  char *read_buf; /* see loop_read_buf(); NULL: the next read takes one */
  uv_async_t mail;
  pthread_mutex_t mail_lock;
  struct loop_message *mail_first, **mail_last;
  bool is_mail_closed; /* under mail_lock */
  bool is_closing;     /* the loop's thread only, until that has ended */
  /* Gives back a descriptor that is not needed badly; false: there is none. NULL: nobody can. */
  bool (*spare_descriptor)(void *context);
  void *spare_context;
};

int loop_init(struct loop *l) MUST_CHECK;
/* Closes the loop's own handles; then runs the loop until nothing is left and frees it. All others must be
 * closing. */
void loop_close(struct loop *l);

/* Monotonic milliseconds, as of this turn of the loop. */
static inline uint64_t loop_now_ms(struct loop *l) {
  return uv_now(&l->uv);
}
/*
 * The same in microseconds. It is read once for what happens together: since the loop last waited, or since it was said
 * that time has passed, as each socket with news does.
 */
static inline uint64_t loop_now_us(struct loop *l) {
  if (!l->now_us) l->now_us = clock_mono_us();
  return l->now_us;
}
/* Reads the clock for what comes now, whoever asked for the time before. */
static inline uint64_t loop_read_clock(struct loop *l) {
  return l->now_us = clock_mono_us();
}
/* Said by whatever begins with news; the first one of a turn also tells that the loop waits no longer. */
static inline void loop_time_passes(struct loop *l) {
  l->now_us = 0;
  if (!l->turn_ms) l->turn_ms = loop_now_ms(l);
}
void loop_timer_start(struct loop *l, struct wheel_timer *t, wheel_fn *on_due, uint64_t after_ms);
static inline void loop_timer_stop(struct loop *l, struct wheel_timer *t) {
  wheel_stop(&l->wheel, t);
}

/* LOOP_ROOM_BYTES for what comes next: a block, the one that was in use last. */
static inline char *loop_read_buf(struct loop *l) {
  if (UNLIKELY(!l->read_buf)) l->read_buf = blocks_take(&l->blocks, LOOP_ROOM_BYTES, NULL);
  return l->read_buf;
}
/*
 * Makes the read buffer the memory of `b`, when these bytes lie in it and `whole` of them would fit where they begin; the
 * next read meets another one. `b` is empty, takes its memory from the loop's blocks, and nobody else looks at what was
 * read. False: they have to be copied.
 */
bool loop_keep_read(struct loop *l, struct buf *b, const char *bytes, size_t len, size_t whole);

/* After EMFILE or ENFILE: true when it is worth trying again. */
static inline bool loop_spare_descriptor(struct loop *l) {
  return l->spare_descriptor && l->spare_descriptor(l->spare_context);
}

/*
 * From any thread: `m->on_loop(m)` runs on the loop's thread, in order of posting. Once the loop is closed it runs on the
 * poster's, with is_closing set, only to free the message; so a closed struct loop must stay in memory while others may post.
 */
void loop_post(struct loop *l, struct loop_message *m);

#endif
