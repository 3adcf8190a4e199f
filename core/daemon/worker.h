/*
 * worker: one thread with its loop, listening socket, transport, generation and connections.
 *
 * Thread: worker_start/stop/join and the post functions are control's; everything else is the worker's own.
 */
#ifndef MOONGATE_DAEMON_WORKER_H
#define MOONGATE_DAEMON_WORKER_H

#include "flow/api.h"
#include "net/listener.h"

struct worker {
  struct flow flow;
  struct loop loop;
  struct listener *listeners;
  unsigned n_listeners;
  pthread_t thread;
  struct wheel_timer drain_timer, tick_timer;
  uint64_t drain_until_ms;
  bool is_started;
  uint32_t pongs; /* atomic: pings it has answered */
};

/*
 * Builds everything and starts the thread, which accepts from the `n_fds` sockets and decides with `g` (all taken over,
 * whatever happens). 0, or an error, no thread and a text in err.
 */
int worker_start(struct worker *w, unsigned index, struct shared *shared, struct generation *g,
                 const int *fds, unsigned n_fds, char err[SCRIPT_ERROR_MAX]) MUST_CHECK;
/* The next requests are decided by `g`, which is taken over. */
void worker_adopt(struct worker *w, struct generation *g);
/* A wave of requests is over: frees what was kept for it. */
void worker_ease(struct worker *w);

/* The answer to worker_ask_export(): posted to control's loop, whose function frees it (text included). */
struct worker_export {
  struct loop_message message;
  struct worker *worker;
  void (*on_answer)(struct loop_message *);
  void *context;
  struct buf text; /* what the strategy's export gave, as Lua text; empty: nothing */
};
void worker_ask_export(struct worker *w, void (*on_answer)(struct loop_message *), void *context);
/* Stops accepting, finishes what runs within drain_ms (0: ends at once). The thread then ends. */
void worker_stop(struct worker *w, uint32_t drain_ms);
/*
 * Another process accepts from the same sockets now: lets go of them, finishes what runs and answers one more request
 * on each idle connection, within drain_ms. The thread then ends.
 */
void worker_retire(struct worker *w, uint32_t drain_ms);
/* `pongs` rises when the worker's loop comes round. */
void worker_ping(struct worker *w);
void worker_join(struct worker *w);

#endif
