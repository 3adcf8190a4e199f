/*
 * demo: `moongate demo`: three simulated providers inside the same program behind a balancer that is
 * configured by examples/demo.lua, so that the first request needs nothing else.
 */
#ifndef MOONGATE_DAEMON_DEMO_H
#define MOONGATE_DAEMON_DEMO_H

#include "daemon/options.h"

/* Returns the exit code. */
int demo_main(const struct options *o);

#endif
