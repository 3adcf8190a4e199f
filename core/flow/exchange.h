/*
 * exchange: one client request from head to last byte, with all its attempts.
 *
 * Thread: its worker's.   Owner: the flow's list; freed in exchange_free() when the answer is complete or the
 * client has left.   Borrows: conn (until conn_finish or on_gone), generation (counted). Invariant: once
 * committed, neither select nor retry is called again.
 *
 *   READING ──body complete──► SELECTING ──► TRYING ──commit──► RELAYING ──► done
 *      │ │ too many run: QUEUED ──► ▲             │ failed, uncommitted
 *      │ local routes answer        └── DELAYED ◄─┘ (strategy's delay, or the retry budget is spent)
 *      ▼
 *     done
 */
#ifndef MOONGATE_FLOW_EXCHANGE_H
#define MOONGATE_FLOW_EXCHANGE_H

#include "flow/attempt.h"
#include "flow/reply.h"
#include "script/decide.h"
#include "wire/request_body.h"

#define EXCHANGE_ARENA_MAX (192u * 1024)
/* Bytes of an exchange with the first part of its arena: texts of a chat with few fields fit, and need no chunk. */
#define EXCHANGE_BLOCK 1664

struct exchange;
struct verification;

/* What a path is for. */
struct route {
  const char *path;
  bool is_prefix; /* /admin/providers/… */
  bool is_get, is_post;
  enum route_guard { GUARD_NONE, GUARD_CLIENT, GUARD_ADMIN } guard;
  size_t body_max; /* of local routes; balanced ones take the configured maximum */
  /* The whole request has arrived; must lead to an answer. */
  void (*handle)(struct exchange *x);
  /* Balanced routes: */
  const char *kind;          /* as strategies see it */
  const char *upstream_path; /* joined to the provider's endpoint */
  enum plan_work work;
  bool is_chat, is_json;
  bool ends_streams; /* its event streams tell that they are complete */
  bool answers_json; /* or an event stream */
};

enum exchange_state {
  EXCHANGE_READING,
  EXCHANGE_QUEUED,
  EXCHANGE_SELECTING,
  EXCHANGE_TRYING,
  EXCHANGE_DELAYED,
  EXCHANGE_RELAYING,
  EXCHANGE_WAITING_FOR_CONTROL,
  EXCHANGE_VERIFYING
};

struct exchange {
  struct list node;
  uint64_t id;
  struct flow *flow;
  struct generation *generation;
  const struct plan *plan;
  const struct route *route;
  enum exchange_state state;
  enum http_method method;
  bool is_json, has_content_type; /* the body is read, and not only passed on */
  bool is_counted, holds_retry;   /* in the worker's exchanges, in shared.active_retries */
  bool is_running, is_queued;     /* in shared.running_exchanges, shared.queued_exchanges */
  struct reply reply;
  struct arena arena;
  struct span path; /* of the request, without query */
  const char *peer; /* the client's address, in conn, which outlives the exchange */

  struct buf body;
  size_t announced;     /* the body's length, as its head says; 0: unknown */
  size_t counted_bytes; /* of body, in the worker's buffered_bytes */
  size_t body_bytes;    /* its length; the body itself may be gone once an answer has begun */
  double prefix_hash;   /* of its beginning, for scripts */
  struct span fields;   /* as lines: the client's allow-listed ones, and ours that each attempt has */
  struct span session_key;
  struct span pin;           /* the provider that the client insists on; empty: any */
  struct span boundary;      /* of the form that the body is; empty: it is none */
  struct request_body facts; /* found in the body */

  uint64_t started_us;
  uint64_t ready_us; /* when all of it had arrived, moved on by what it waited for its turn */
  uint64_t budget_wait_until_ms;
  struct wheel_timer deadline, delay;
  struct span segments[REQUEST_SEGMENTS_MAX]; /* of the body, as it goes to the provider that is tried */
  struct slot_set serves, tried;
  uint16_t *planned; /* what is left of a strategy's ordered list, in the arena */
  unsigned n_planned;
  unsigned n_attempts;
  struct list queue_node; /* in flow.queue */
  struct attempt attempt;
  struct verification *verification; /* of a verify that waits for the provider; NULL: none */
};

/* A new exchange on a connection whose head has just been parsed. */
struct exchange *exchange_new(struct flow *f, struct conn *c, const struct http_request *req,
                              const struct route *route);
/* Frees it; a running attempt is aborted as client_closed. */
void exchange_free(struct exchange *x);
/* The client left. */
void exchange_client_gone(struct exchange *x);
void exchange_drained(struct exchange *x);
/* Adds body bytes; false: too much was sent, and the error has been answered (the exchange is gone). */
bool exchange_add_body(struct exchange *x, const char *bytes, size_t len, bool is_all);
/* So many bytes more are announced: too many are answered at once, and the exchange is gone. */
void exchange_expect_body(struct exchange *x, uint64_t bytes);
/* Where more of the body may be put before it is added from there; NULL: nowhere. */
char *exchange_body_room(struct exchange *x, size_t want, size_t *room);

/* Balanced routes: everything from the check of the body to the last byte. */
void exchange_balance(struct exchange *x);
/* Its turn has come (see overload.h): a provider is chosen. */
void exchange_begin(struct exchange *x);

/* Answers and frees. */
void exchange_answer(struct exchange *x, int status, const char *content_type, struct span body,
                     const struct reply_extra *extra);
void exchange_error(struct exchange *x, int status, const char *type, const char *code, const char *message);
void exchange_error_with(struct exchange *x, int status, const char *code, struct span message,
                         const struct reply_extra *extra);
/* With the status and body of its attempt, under these fields. */
void exchange_relay_error(struct exchange *x, struct span fields);
/* The request cannot go on: answers and closes the connection. */
void exchange_fault(struct exchange *x, const struct http_fault *fault);

#endif
