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
  struct listener listener;
  pthread_t thread;
  struct wheel_timer drain_timer;
  uint64_t drain_until_ms;
  bool is_started;
};

/* Builds everything and starts the thread, which accepts from `fd` (taken over). 0, or an error text in err.
 */
int worker_start(struct worker *w, unsigned index, struct shared *shared, struct plan *plan, int fd,
                 char err[SCRIPT_ERROR_MAX]) MUST_CHECK;
/* The next requests are served by the new plan; takes its own reference. */
void worker_adopt(struct worker *w, struct plan *plan);
/* Stops accepting, finishes what runs within drain_ms (0: ends at once). The thread then ends. */
void worker_stop(struct worker *w, uint32_t drain_ms);
void worker_join(struct worker *w);

#endif
