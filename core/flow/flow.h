/*
 * flow: what the story of a request needs from its surroundings. `struct flow` is one worker's side (its
 * loop, transport, generation, connections); `struct shared` is what all workers and control have in common.
 *
 * Thread: a flow belongs to its worker; shared is for any thread (atomics, or objects with locks of their
 * own). Owner: daemon/worker and daemon/control.
 */
#ifndef MOONGATE_FLOW_FLOW_H
#define MOONGATE_FLOW_FLOW_H

#include "base/rand.h"
#include "flow/served.h"
#include "flow/traffic.h"
#include "flow/warm.h"
#include "model/chain_status.h"
#include "model/plan.h"
#include "model/session.h"
#include "net/conn.h"
#include "net/upstream.h"
#include "script/generation.h"

/* One reload asked for by a request or a signal; control answers on `reply_to`, when that is set. */
struct reload_ticket {
  struct loop_message message;
  struct loop *reply_to;
  void (*on_answer)(struct reload_ticket *); /* on reply_to's thread; frees the ticket */
  void *flow;
  uint64_t exchange_id;
  bool ok;
  uint64_t generation;
  char error[2048]; /* when not ok: the problems, one a line */
};

struct token_ticket; /* flow/onchain.h */

/* What the strategy's page and /health tell; written by control. */
struct strategy_status {
  uint64_t generation;
  uint64_t since_wall_ms;
  uint64_t reloads_ok, reloads_failed;
  char name[128], file[512], digest[65];
  char last_error[1024]; /* of the last failed reload; empty after a good one */
  char benched[768];     /* why a strategy was taken out of service; empty: none is */
  char guard[160];       /* what the start-up test found out about stopping scripts; empty: it still runs */
};

/* What a worker has in hand; readers add up. Atomics, relaxed, written by it alone. */
struct in_hand {
  _Alignas(CACHE_LINE) uint32_t exchanges; /* balanced ones */
  uint64_t buffered_bytes;                 /* of request bodies that are long */
};

struct shared {
  struct session_table *sessions;
  struct admission *admission;
  struct loop *control; /* for messages */
  void *control_context;
  /* Posts to control; any thread. */
  void (*ask_reload)(struct shared *s, struct reload_ticket *t);
  void (*ask_probe)(struct shared *s, struct provider *p);
  /* A provider on chain refused its session token; control answers with token_ticket_answer(). */
  void (*ask_token)(struct shared *s, struct token_ticket *t);
  /* A generation that was replaced and has no exchange left: control frees it. */
  void (*return_generation)(struct shared *s, struct generation *g);
  uint64_t started_wall_ms;
  struct traffic *traffic; /* by worker */
  struct in_hand *in_hand; /* by worker */
  unsigned n_workers;
  /* Atomics: */
  _Alignas(CACHE_LINE) uint32_t active_retries;
  uint32_t running_exchanges; /* those that count against maxActiveRequests */
  uint32_t queued_exchanges;
  uint32_t is_stopping;
  pthread_mutex_t status_lock;
  struct strategy_status status;
  struct chain_status chain;
};

/* Verifications in the background: flow/audit.h. */
struct audit {
  struct list waiting, running; /* of struct verification */
  unsigned n_waiting, n_running;
};

struct flow {
  unsigned worker;
  struct loop *loop;
  struct shared *shared;
  struct upstream *upstream;
  struct generation *generation;
  struct served served;
  struct conn_server server;
  struct list exchanges;
  struct list queue; /* of exchanges that wait for their turn, the first come first */
  struct wheel_timer queue_timer;
  struct audit audit;
  struct warmer warmer;
  unsigned n_verifying; /* requests for a verification that are under way */
  uint64_t last_exchange_id;
  struct rng rng;
  struct buf head; /* scratch: the head being written */
  struct buf text; /* scratch: bodies of local answers */
  char date[32];   /* value of Date, made once a second */
  uint64_t date_s;
};

#define FLOW_TEXT_MAX (8u * 1024 * 1024)

static inline uint32_t shared_add_u32(uint32_t *counter, int n) {
  return __atomic_add_fetch(counter, (uint32_t)n, __ATOMIC_RELAXED);
}
static inline uint32_t shared_get_u32(const uint32_t *counter) {
  return __atomic_load_n(counter, __ATOMIC_RELAXED);
}
static inline uint32_t shared_active_exchanges(const struct shared *s) {
  uint32_t sum = 0;
  for (unsigned i = 0; i < s->n_workers; i++)
    sum += shared_get_u32(&s->in_hand[i].exchanges);
  return sum;
}
static inline uint64_t shared_buffered_bytes(const struct shared *s) {
  uint64_t sum = 0;
  for (unsigned i = 0; i < s->n_workers; i++)
    sum += __atomic_load_n(&s->in_hand[i].buffered_bytes, __ATOMIC_RELAXED);
  return sum;
}
/* The worker's own: nobody else writes there. */
static inline void flow_count_exchange(struct flow *f, int n) {
  uint32_t *at = &f->shared->in_hand[f->worker].exchanges;
  __atomic_store_n(at, *at + (uint32_t)n, __ATOMIC_RELAXED);
}
static inline void flow_count_bytes(struct flow *f, int64_t n) {
  uint64_t *at = &f->shared->in_hand[f->worker].buffered_bytes;
  __atomic_store_n(at, *at + (uint64_t)n, __ATOMIC_RELAXED);
}
static inline void shared_copy_status(struct shared *s, struct strategy_status *out) {
  pthread_mutex_lock(&s->status_lock);
  *out = s->status;
  pthread_mutex_unlock(&s->status_lock);
}

#endif
