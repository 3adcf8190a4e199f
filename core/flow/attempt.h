/*
 * attempt: one try at one provider: the call, its clocks, what its answer is, and its settlement, once, on
 * every path.
 *
 * Thread: the worker's.   Owner: embedded in the exchange, one at a time.   Borrows: the upstream call (until
 * it ended). Invariant: provider_begin() and provider_settle() are called exactly once each.
 *
 *   WAITING ──head 2xx──► HOLDING ──first event / enough bytes──► RELAYING ──► settled
 *      │                     │ complete before that: on_end alone tells      │
 *      │                                                                       │
 *      ├──head, no 2xx──► COLLECTING (the error's body) ──────────────────────┘
 *      │                     │ it refuses our session token, for the first time
 *      └◄── a fresh one ── RENEWING
 *
 * Bytes are held back until the answer has shown that it is one: the first complete event of a stream, or the
 * whole of a short document. Until then nothing has reached the client and another provider may still be
 * tried.
 */
#ifndef MOONGATE_FLOW_ATTEMPT_H
#define MOONGATE_FLOW_ATTEMPT_H

#include "flow/onchain.h"
#include "wire/answer.h"

#define ATTEMPT_HOLD_MAX  16384
#define ATTEMPT_ERROR_MAX (1024u * 1024)

struct attempt;

struct attempt_events {
  /* The answer is good so far: send its head and a->held; more follows by on_bytes. */
  void (*on_commit)(struct attempt *a);
  void (*on_bytes)(struct attempt *a, struct span bytes);
  /* Settled: a->outcome tells how. When nothing was committed, a->held holds the whole answer or error body.
   */
  void (*on_end)(struct attempt *a);
};

enum attempt_phase {
  ATTEMPT_NONE,
  ATTEMPT_WAITING,
  ATTEMPT_HOLDING,
  ATTEMPT_RELAYING,
  ATTEMPT_COLLECTING,
  ATTEMPT_RENEWING
};

struct attempt {
  struct flow *flow;
  const struct attempt_events *events;
  const struct plan_entry *entry;
  const struct settings *settings;
  unsigned slot;
  enum attempt_phase phase;
  struct upstream_call *call;
  struct onchain *onchain; /* NULL for direct endpoints */
  bool wants_done_marker;  /* an event stream without finish and without [DONE] or its like is not complete */
  bool is_paused;
  bool is_model_ours;
  bool expects_json; /* an answer is JSON or an event stream */
  bool is_ours;      /* it failed for a want of ours (descriptors), which says nothing about the provider */
  /* The answer's head says: */
  bool is_coded;          /* the body is compressed: nobody here can read it */
  bool is_unnamed;        /* nothing about what the body is */
  bool says_should_retry; /* x-should-retry is among the fields */
  int status;
  uint64_t began_us, first_byte_us, ended_us;
  struct wheel_timer clock; /* to the first byte, then between bytes */
  struct outcome outcome;
  const char *detail; /* why it failed, for log and error texts; never NULL */
  /* The answer: */
  struct span fields;  /* end-to-end fields to relay, in `arena` */
  uint64_t length;     /* of the body, or REPLY_LENGTH_UNKNOWN */
  struct span res_key; /* ZG-Res-Key, in `arena`; empty: none */
  struct answer answer;
  struct buf held;
  struct arena *arena;
};

/* Everything in *a but the arguments is set here. `a->events`, `arena` come from the exchange. */
struct attempt_request {
  struct flow *flow;
  const struct plan *plan;
  unsigned slot;
  struct arena *arena;
  struct span path;   /* "/chat/completions" */
  struct span fields; /* "Name: value\r\n" lines, without credentials */
  const struct span *body;
  unsigned n_body;
  bool wants_done_marker;
  bool is_retry;
  bool is_model_ours; /* the body names the model that is configured or recorded for the provider */
  bool expects_json;  /* the route's answers are JSON or event streams */
  const struct attempt_events *events;
};

/* Begins; events may come before it returns. Call it last. */
void attempt_start(struct attempt *a, const struct attempt_request *req);
/* Ends it with that class; no event follows. Does nothing when it has ended. */
void attempt_abort(struct attempt *a, enum outcome_class class);
static inline bool attempt_is_running(const struct attempt *a) {
  return a->phase != ATTEMPT_NONE;
}
/* An event stream has come to its [DONE], or whatever ends its kind; only the framing's end may be missing. */
bool attempt_is_whole(const struct attempt *a);
/* The request has left whole: its body is not needed any more unless the attempt fails and another one follows. */
bool attempt_has_sent(const struct attempt *a);
/* Backpressure; while paused the clock between bytes stands still. */
void attempt_pause(struct attempt *a);
void attempt_resume(struct attempt *a);
/* Frees what the last attempt left for the exchange to read (held bytes, scanner). */
void attempt_release(struct attempt *a);

#endif
