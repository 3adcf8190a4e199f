/*
 * control: the main thread's side of `run`: builds plans, starts workers, probes, reloads, shuts down.
 */
#ifndef MOONGATE_DAEMON_CONTROL_H
#define MOONGATE_DAEMON_CONTROL_H

#include "daemon/options.h"

/*
 * Serves until a signal ends it. `text` (may be empty) is used in place of the file o->config; on_listening (may be NULL)
 * is called once, when it accepts. Returns the exit code.
 */
int control_run(const struct options *o, struct span text, void (*on_listening)(uint16_t port));
/* `check`: everything a start would do short of listening; prints every problem. Returns the exit code. */
int control_check(const struct options *o);
/* `strategy check`. */
int control_check_strategy(const char *file);

#endif
