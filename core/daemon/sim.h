/*
 * sim: a simulated OpenAI-compatible provider, for the demo, for trying things, and for tests and load:
 * plausible answers, streamed or not, with delays and faults by option. It speaks through the same connection
 * code as the balancer's front.
 *
 * Thread: its loop's.   Owner: the caller of sim_open().
 */
#ifndef MOONGATE_DAEMON_SIM_H
#define MOONGATE_DAEMON_SIM_H

#include "daemon/options.h"
#include "net/loop.h"

struct sim;

/* Listens on o->host:o->port (0: a free one) and serves on `loop`. NULL with a text in err when it cannot. */
struct sim *sim_open(struct loop *loop, const struct sim_options *o, char err[256]);
uint16_t sim_port(const struct sim *s);
/* Ends all connections; its memory goes with sim_free(), after the loop has run on. */
void sim_close(struct sim *s);
void sim_free(struct sim *s);

/* The sim-provider command: serves until SIGINT or SIGTERM. Returns the exit code. */
int sim_main(const struct sim_options *o);
/* Sensible values for everything. */
struct sim_options sim_defaults(void);

#endif
