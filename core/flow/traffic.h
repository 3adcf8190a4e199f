/*
 * traffic: how many balanced requests there were, how they ended, and how long they took; and what a worker itself
 * takes. Each worker counts its own.
 *
 * Thread: traffic_note is its worker's; readers use relaxed loads.   Owner: daemon/control, one per worker.
 */
#ifndef MOONGATE_FLOW_TRAFFIC_H
#define MOONGATE_FLOW_TRAFFIC_H

#include "base/base.h"
#include "base/histogram.h"

#include <stdbool.h>

/* The kinds of requests, as routes and scripts name them. */
#define TRAFFIC_KINDS(X)                                                                                     \
  X("chat") X("completions") X("embeddings") X("images") X("audio") X("responses") X("messages")
#define TRAFFIC_ONE_(text) +1
enum { TRAFFIC_KIND_N = TRAFFIC_KINDS(TRAFFIC_ONE_) };
#undef TRAFFIC_ONE_
extern const char *const TRAFFIC_KIND_NAMES[TRAFFIC_KIND_N];

#define TRAFFIC_STATUS_MIN  200
#define TRAFFIC_STATUS_MAX  599
#define TRAFFIC_CLIENT_LEFT 499 /* what nginx logs for it; never sent */
#define TRAFFIC_FIRST_US                                                                                     \
  10000 /* first bound of durations: the buckets of OpenTelemetry's GenAI conventions */

#define TRAFFIC_OVERHEAD_FIRST_US 2

/* Why a failed attempt was the last one, although the default would have been another. */
enum traffic_denial { DENIED_BUDGET, DENIED_LIMIT, DENIED_NOBODY, DENIED_STRATEGY, DENIED_N };
extern const char *const TRAFFIC_DENIAL_NAMES[DENIED_N];

struct traffic {
  struct {
    struct histogram duration;
    uint64_t by_status[TRAFFIC_STATUS_MAX - TRAFFIC_STATUS_MIN + 1][2]; /* [1]: streamed */
  } kinds[TRAFFIC_KIND_N];
  struct histogram overhead; /* what we add to a request before its first attempt */
  struct histogram turns;    /* of the worker's loop, which writes it */
  uint64_t denied[DENIED_N];
  uint64_t pinned[2]; /* requests held to one provider by their client; [1]: that it answered */
};

/* A request of that kind has ended with this status after so long. */
void traffic_note(struct traffic *t, const char *kind, int status, bool is_stream, uint64_t us);
/* Its first attempt begins so long after all of it had arrived. */
void traffic_note_overhead(struct traffic *t, uint64_t us);
void traffic_note_denied(struct traffic *t, enum traffic_denial why);
void traffic_note_pinned(struct traffic *t, bool is_answered);

#endif
