/*
 * h1_private: what the files of the native transport share: upstream_h1.c (the transport), h1_origin.c (where a base URL
 * leads), h1_socket.c (connections), h1_connect.c (until one stands), h1_call.c (a call's life), h1_request.c and
 * h1_answer.c (what is sent and read). Private to them.
 *
 *   call:   RESOLVING ─► CONNECTING ─► SENDING ─► HEAD ─► BODY ─► done     (an idle connection starts at SENDING)
 *
 * Thread: the loop's.   Who owns: the transport its origins and sockets. An origin lives as long as calls, sockets or a
 * look-up use it. A socket is lent to one call at a time; between calls it is its origin's, and idle. A call is its
 * caller's to cancel until on_done; whatever ends it goes through h1_call.c.
 */
#ifndef MOONGATE_NET_H1_PRIVATE_H
#define MOONGATE_NET_H1_PRIVATE_H

#include "net/tls.h"
#include "net/transport.h"
#include "wire/chunk.h"

#define H1_ADDRESSES_MAX 8
#define H1_PLAIN_BYTES   16384 /* of a TLS record */

enum h1_phase { PHASE_RESOLVING, PHASE_CONNECTING, PHASE_SENDING, PHASE_HEAD, PHASE_BODY };

struct h1 {
  struct transport base;
  struct upstream *upstream;
  struct loop *loop;
  char *ca_file;
  struct tls_context *tls; /* once an https:// URL was asked for */
  char *plain;             /* scratch: what was deciphered last */
  char tls_error[TLS_ERROR_MAX];
  struct list origins;
  struct list sockets;
  struct wheel_timer sweep;
  unsigned n_live; /* calls */
  uint32_t idle_ms;
  struct http_response scratch;
  struct buf head; /* scratch: of the request being sent */
  bool is_released;
};

struct h1_origin { /* one scheme://host:port */
  struct list node;
  struct h1 *h1;
  char *base; /* as in requests: "http://host:port/path" */
  bool is_tls, is_h2, is_public_only;
  struct tls_ticket *ticket;
  size_t base_len;
  char *host, *authority, *path;
  uint16_t port;
  struct sockaddr_storage addresses[H1_ADDRESSES_MAX];
  unsigned n_addresses;
  uint64_t resolved_at_ms; /* 0: not yet */
  bool is_literal, is_resolving;
  uv_getaddrinfo_t request;
  struct list waiting;      /* calls, for the resolver */
  struct list idle;         /* sockets, the one used last comes first */
  unsigned n_idle, n_users; /* calls, sockets and a running look-up keep an origin alive */
};

struct h1_socket {
  uv_tcp_t tcp;
  struct list node; /* in h1.sockets */
  struct list idle; /* in h1_origin.idle */
  struct h1 *h1;
  struct h1_origin *origin;
  struct h1_call *call;
  struct tls *tls; /* NULL: plain */
  uint64_t idle_since_ms;
  unsigned n_writing;
  bool is_reused, is_secure, is_reading, is_closing;
};

struct h1_call {
  struct upstream_call base;
  struct list node; /* h1_origin.waiting */
  struct h1 *h1;
  struct h1_origin *origin;
  struct h1_socket *socket;
  struct upstream_request req;
  struct upstream_call *inner; /* handed over: the other transport's */
  size_t body_at;              /* over TLS: how much of the body is on its way */
  struct buf answer_head;      /* one that came in pieces */
  enum h1_phase phase;
  unsigned next_address, interim;
  uint64_t began_ms;
  double connect_ms;
  bool is_replayed, got_byte;
  enum http_framing framing;
  uint64_t left;
  struct chunk_decoder chunk;
  bool keep_alive;
  struct wheel_timer clock; /* connecting; also carries failures out of upstream_start() */
  enum upstream_end end;
  const char *detail;
};

/* ---- upstream_h1.c ---- */

/* Whoever ends last takes the transport along, once it was released. */
void h1_free_when_unused(struct h1 *h);
/* The provider prefers HTTP/2. The call has no connection, and nothing of it was sent. */
void h1_hand_over(struct h1_call *call);

/* ---- h1_origin.c ---- */

struct h1_origin *h1_origin_find(struct h1 *h, struct span base, bool is_public_only);
/* One user less. */
void h1_origin_forget(struct h1_origin *o);
/* Whether its addresses may be used at that time. */
bool h1_origin_is_known(const struct h1_origin *o, uint64_t now_ms);
/* Looks for the addresses; then the call connects, or ends. */
void h1_origin_resolve(struct h1_call *call);
/* The idle connection that was used last; NULL: there is none. */
struct h1_socket *h1_origin_take_idle(struct h1_origin *o);
bool h1_origin_has_room(const struct h1_origin *o);
/* Of a call that is over. */
void h1_origin_keep_idle(struct h1_origin *o, struct h1_socket *s);
/* Closes what was idle for too long. */
void h1_origin_sweep(struct h1_origin *o);
/* Closes the connection that was idle longest, of some origin. */
bool h1_origin_close_one(struct h1 *h);

/* ---- h1_socket.c ---- */

/* For a call, not connected yet. NULL: there are not the means. */
struct h1_socket *h1_socket_new(struct h1_call *call);
/* Its call, if any, has no connection from here on. */
void h1_socket_close(struct h1_socket *s);
bool h1_socket_read_on(struct h1_socket *s);
void h1_socket_read_no_more(struct h1_socket *s);
/*
 * All pieces, now or later; of the first one a copy is made where it has to wait, the others stay as they are until the
 * answer has begun. False: the connection is of no use.
 */
bool h1_socket_write(struct h1_socket *s, uv_buf_t *bufs, unsigned n);
/* Sends what TLS has to say. False: the connection is of no use. */
bool h1_socket_flush(struct h1_socket *s);
/* Nothing more will come; n says why. */
void h1_socket_ended(struct h1_socket *s, ssize_t n);

/* ---- h1_connect.c ---- */

/* The next address that is left, or the end of the call. */
void h1_connect(struct h1_call *call);
/* Goes on with the handshake, on what TLS was fed. */
void h1_connect_shake(struct h1_socket *s);

/* ---- h1_call.c ---- */

/* From its start, over an idle connection unless a fresh one is asked for. */
void h1_call_begin(struct h1_call *call, bool is_fresh);
/* Over this connection. */
void h1_call_use(struct h1_call *call, struct h1_socket *s);
/* Frees it, without a word to its caller. */
void h1_call_free(struct h1_call *call);
/* Ends it; the connection was dealt with before. */
void h1_call_finish(struct h1_call *call, enum upstream_end end, const char *detail);
/* Ends it and its connection. */
void h1_call_fail(struct h1_call *call, enum upstream_end end, const char *detail);
/* The same from inside upstream_start(), where no event may come yet. */
void h1_call_fail_later(struct h1_call *call, enum upstream_end end, const char *detail);
/* The answer is complete: the connection is kept when nothing speaks against it, such as bytes behind the answer. */
void h1_call_complete(struct h1_call *call, bool is_clean);
/* The connection ended before the answer did. */
void h1_call_lost(struct h1_call *call, const char *why);

/* ---- h1_request.c ---- */

/* False, of both: the connection is of no use. */
bool h1_request_send(struct h1_call *call, struct h1_socket *s);
/* Over TLS: more of the body, the socket has taken what it was given. */
bool h1_request_send_on(struct h1_call *call, struct h1_socket *s);

/* ---- h1_answer.c ---- */

/* Heads (interim ones included) and what follows them. The call may be over afterwards. */
void h1_answer_take(struct h1_call *call, struct h1_socket *s, const char *data, size_t len);
/* The connection ended: so may the answer. */
void h1_answer_ended(struct h1_call *call, ssize_t n);

#endif
