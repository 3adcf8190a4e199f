/*
 * overload: what happens when more is asked than the process may do at a time. Balanced requests beyond
 * maxActiveRequests wait in a bounded queue, the first come first within a worker; beyond that, or when they
 * have waited for timeouts.queue, they get 503 with Retry-After. Descriptors are watched in the same way:
 * a request needs one for its provider.
 *
 * Local routes (/health, /admin/…) are never held up here.
 *
 * Thread: the worker's. Counts are atomics in struct shared, common to all workers.
 */
#ifndef MOONGATE_FLOW_OVERLOAD_H
#define MOONGATE_FLOW_OVERLOAD_H

#include "flow/exchange.h"

/* A balanced request's head has come. False: it was answered with 503, and the exchange is gone. */
bool overload_admit(struct exchange *x);
/* Its body is complete: calls exchange_begin() now or when its turn comes, or answers 503. */
void overload_enter(struct exchange *x);
/* The exchange ends, wherever it was. */
void overload_leave(struct exchange *x);
/* Answers 503, overloaded, with Retry-After. */
void overload_refuse(struct exchange *x, const char *message);

#endif
