/*
 * watch: notices that files have changed and settled. Looks at size, time, inode and device of each file at a fixed
 * pace, which also catches editors that write a new file and rename it, and asks no kernel interface that a network file
 * system lacks. A file counts as changed when it has looked the same for two looks and its content differs from what was
 * last read.
 *
 * Thread: its loop's.   Owner: control.
 */
#ifndef MOONGATE_DAEMON_WATCH_H
#define MOONGATE_DAEMON_WATCH_H

#include "net/loop.h"

#define WATCH_FILES_MAX 2
#define WATCH_LOOK_MS   200

struct watched_file {
  char path[512];
  uint64_t look[6]; /* what stat() said last */
  uint64_t content; /* hash of what was read last */
  bool is_settling;
};

struct watch {
  struct loop *loop;
  struct wheel_timer timer;
  struct watched_file files[WATCH_FILES_MAX];
  unsigned n_files;
  void (*on_change)(struct watch *w);
  void *context;
};

void watch_init(struct watch *w, struct loop *loop, void (*on_change)(struct watch *w), void *context);
/* Watches these from now on (NULL entries are left out); their present content is what later looks are compared with. */
void watch_files(struct watch *w, const char *const *paths, unsigned n);
void watch_stop(struct watch *w);

#endif
