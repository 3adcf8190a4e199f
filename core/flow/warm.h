/*
 * warm: a connection to each https:// provider before the first request needs it: when the worker starts, when a
 * provider joins by a reload, and when one has come back. Making it takes two or three round trips, for which the
 * first chats would wait; over HTTP/2 those then share it. It asks what the health check asks and drops the answer: no
 * verdict comes of it, and when it fails nothing is tried again.
 *
 * Thread: the worker's.   Owner: embedded in the flow.   Borrows: the plan, until warm_adopt() with another.
 */
#ifndef MOONGATE_FLOW_WARM_H
#define MOONGATE_FLOW_WARM_H

#include "base/wheel.h"
#include "model/plan.h"
#include "net/upstream.h"

struct warm_place;

struct warmer {
  struct loop *loop;
  struct upstream *upstream;
  const struct plan *plan;
  struct warm_place *places; /* of the https:// providers */
  unsigned n_places;
  struct wheel_timer timer;
};

/* On a zeroed warmer. Connections to providers that the plan before had, too, are there already. */
void warm_adopt(struct warmer *w, struct loop *loop, struct upstream *upstream, const struct plan *plan);
/* Cancels what is under way. */
void warm_stop(struct warmer *w);

#endif
