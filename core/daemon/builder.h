/*
 * builder: tries a plan's strategy and makes its generations, on a thread of its own, so that health checks and admin
 * routes need not wait for scripts, and at a lower priority than those who serve.
 *
 * Thread: the caller's loop, but for what the header of builder.c says. One build at a time per struct.
 * Owner: the caller; the struct stays where it is from builder_start() until on_built.
 */
#ifndef MOONGATE_DAEMON_BUILDER_H
#define MOONGATE_DAEMON_BUILDER_H

#include "net/loop.h"
#include "script/generation.h"
#include "script/settings.h"

struct builder {
  struct loop_message message;
  struct loop *loop;
  struct plan *plan; /* borrowed */
  char **exports;    /* borrowed, by worker; NULL: nothing was exported; so may entries be */
  unsigned n_workers;
  void (*on_built)(struct builder *); /* on the loop; the results are its own then */
  void *context;
  pthread_t thread;
  bool is_running;
  /* Results: generations by worker and, behind them, control's own; or NULL, and the report says why. */
  struct generation **all;
  struct settings_report report;
};

/* The fields from loop to context are set by the caller. */
void builder_start(struct builder *b);
/* Waits until the build has ended; its message is in the mail then. Before the loop is closed. */
void builder_join(struct builder *b);

/* Generations that nobody wants any more, with the array. */
void builder_drop(struct generation **all, unsigned n);
/* The strategy alone, on the calling thread: canary, or a load when the settings say so. False: the report says why. */
bool builder_try(struct settings_report *report, struct plan *plan, const char *previous);

#endif
