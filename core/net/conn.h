/*
 * conn: one client connection. Turns bytes into requests, one at a time and in order, and carries the
 * answer's bytes back with backpressure. It knows HTTP framing of requests; answers are bytes that the layer
 * above framed.
 *
 * Thread: its loop's.   Owner: itself (in its server's list), freed when its socket has closed.
 * Invariant: between on_request and conn_finish exactly one request is active; on_gone is called at most once
 * for it, and never after conn_finish.
 *
 *   IDLE ──bytes──► HEAD ──on_request──► BODY ──on_body_end──► WAITING ──conn_finish──► IDLE (next request)
 *     ▲                                    │ conn_finish before the body has ended: DRAINING (small) or
 * LINGER └────────────────────────────────────┘
 *
 * The peer leaving (end of file, reset, a deadline) while a request is active → on_gone, then the socket
 * closes.
 */
#ifndef MOONGATE_NET_CONN_H
#define MOONGATE_NET_CONN_H

#include "net/admission.h"
#include "net/loop.h"
#include "wire/chunk.h"
#include "wire/http_request.h"

#define CONN_HIGH_WATER 65536 /* pending output from which the producer should pause */
#define CONN_DRAIN_MAX  65536 /* unread body that is read and dropped to keep a connection */

struct conn;

struct conn_ops {
  /* A checked head. The request and its spans are valid during the call only. */
  void (*on_request)(struct conn *c, const struct http_request *req);
  /*
   * Body bytes without framing, then the end. Not called after conn_finish. `is_all`: nothing that was read lies behind
   * them, so that loop_keep_read() may have the memory.
   */
  void (*on_body)(struct conn *c, const char *bytes, size_t len, bool is_all);
  /*
   * Where the next body bytes may be read to, at most `want` of them, or NULL; on_body is then called with that very
   * address. Saves a copy of large bodies. NULL: never.
   */
  char *(*on_body_room)(struct conn *c, size_t want, size_t *room);
  /* A chunk announces at least so many bytes that have not come yet; a body that would be too long can end here.
   * NULL: never. */
  void (*on_body_ahead)(struct conn *c, uint64_t bytes);
  void (*on_body_end)(struct conn *c);
  /* Bytes that are no request, or came too slowly. Answer with conn_send and conn_finish; the connection
   * closes. */
  void (*on_fault)(struct conn *c, const struct http_fault *fault);
  /* All pending output has left. */
  void (*on_drained)(struct conn *c);
  /* The client left, or the connection failed, while a request was active: forget `c`. */
  void (*on_gone)(struct conn *c);
};

struct conn_limits {
  uint32_t head_ms, idle_ms, write_ms;      /* whole head; between requests; no progress while writing */
  uint32_t body_rate_bytes, body_window_ms; /* at least so many in each window */
  uint32_t body_ms;                         /* whole body */
};

/* What a group of connections shares; outlives them. */
struct conn_server {
  struct loop *loop;
  const struct conn_ops *ops;
  void *context;
  struct admission *admission; /* borrowed; NULL: no bounds */
  struct conn_limits limits;   /* read when a deadline starts */
  struct list conns;
  unsigned n_conns;
  bool is_stopping;            /* finish what runs, accept no further requests */
  bool is_retiring;            /* but one more on each connection whose client may count on it */
  struct http_request scratch; /* the head being handled */
};

enum conn_state { CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_WAITING, CONN_DRAINING, CONN_LINGER, CONN_CLOSING };

struct backlog;

/* As small as it can be: there may be many thousands that wait. */
struct conn {
  uv_tcp_t tcp;
  struct conn_server *server;
  struct list node;
  void *user; /* of the layer above; NULL when no request is active there */
  enum conn_state state;
  enum http_framing framing;
  struct http_head_scan scan;
  uint8_t minor; /* HTTP/1.minor of the active request */
  bool peer_is_loopback : 1;
  bool is_over : 1; /* admitted beyond the bound: one short request, then it closes */
  bool is_reading : 1, is_writing : 1, is_parsing : 1, has_faulted : 1;
  bool is_active : 1;   /* on_request was called, conn_finish was not */
  bool is_finished : 1; /* conn_finish was called, pending output may remain */
  bool keep_alive : 1;  /* what the client and we agreed on */
  bool body_ended : 1, saw_eof : 1;
  bool is_head_request : 1;
  bool is_bulky : 1;        /* the last body was long */
  bool awaits_continue : 1; /* the client may send its body, or may not after a final answer */
  struct chunk_decoder chunk;
  uint64_t body_left, body_until_ms;
  union {
    uint64_t window_bytes; /* while a body is read */
    uint64_t drained;      /* while one is dropped */
  };
  struct backlog *backlog; /* bytes that wait, either way; NULL most of the time */
  struct wheel_timer timer;
  struct address_count *address; /* in server.admission */
  char peer[48];                 /* address without port */
};

void conn_server_init(struct conn_server *s, struct loop *loop, const struct conn_ops *ops, void *context,
                      const struct conn_limits *limits);
/* Idle connections close now, the others after their answer. */
void conn_server_stop(struct conn_server *s);
/*
 * Answers say that the connection ends with them; idle connections may bring one more request, and close after at
 * most idle_ms. Nobody who is about to ask finds a closed door.
 */
void conn_server_retire(struct conn_server *s, uint32_t idle_ms);
/* Closes all at once (on_gone is called for the active ones). */
void conn_server_abort(struct conn_server *s);

/* Takes over an accepted socket, or sends it away with a short answer when there are too many. */
void conn_accept(struct conn_server *s, int fd, const struct sockaddr *peer);
/* Closes the client that has waited longest for its next request, of a few that are looked at. False: none did. */
bool conn_server_reclaim(struct conn_server *s);

/* Queues bytes (copied when the socket does not take them at once). 0, or an error after which the connection
 * is closing. */
int conn_send(struct conn *c, const uv_buf_t *bufs, unsigned n);
/* Bytes that wait for the client. */
size_t conn_pending(const struct conn *c);
/*
 * Whether the connection can go on behind the answer: the client wants it to, and what is left of the body is small and
 * will come.
 */
bool conn_may_keep(const struct conn *c);
/* The answer is complete; `keep` false closes the connection once it has been sent. `c` may be handling the
 * next request on return. */
void conn_finish(struct conn *c, bool keep);
/* Ends the connection now, without waiting for output: the client sees that the answer broke off. No on_gone.
 */
void conn_abort(struct conn *c);
/* The head was accepted and the body is wanted: the answer to Expect: 100-continue. */
void conn_continue(struct conn *c);

#endif
