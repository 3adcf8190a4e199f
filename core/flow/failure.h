/*
 * failure: what a client is told whose request nobody answered: the last provider's own words where they say something
 * to the caller, else ours; and how long to wait.
 *
 * Thread: the worker's.
 */
#ifndef MOONGATE_FLOW_FAILURE_H
#define MOONGATE_FLOW_FAILURE_H

#include "flow/exchange.h"

/* Each answers and frees the exchange. */

/* Nobody could be asked; `reason` is the strategy's, or empty. */
void failure_nobody(struct exchange *x, const char *reason);
/* The last attempt failed, no byte of it has gone to the client, and there will be no other one. */
void failure_relay(struct exchange *x);
/* The time of the whole request is over. */
void failure_late(struct exchange *x);

#endif
