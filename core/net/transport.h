/*
 * transport: what a transport is to upstream.c. Private to the upstream_*.c files of this room.
 *
 * A transport's call struct begins with struct upstream_call, its own struct with struct transport.
 */
#ifndef MOONGATE_NET_TRANSPORT_H
#define MOONGATE_NET_TRANSPORT_H

#include "net/upstream.h"

/* The detail of a call whose addresses were all refused, see is_public_only. */
#define TRANSPORT_IS_PRIVATE "its name leads into a private network (allowPrivateProviders)"

struct transport;

struct transport_ops {
  void (*start)(struct transport *t, const struct upstream_request *req, struct upstream_call **out);
  void (*cancel)(struct upstream_call *call);
  void (*pause)(struct upstream_call *call);
  void (*resume)(struct upstream_call *call);
  bool (*has_sent)(struct upstream_call *call);
  double (*connect_ms)(struct upstream_call *call);
  void (*release)(struct transport *t); /* all calls have ended */
};

struct transport {
  const struct transport_ops *ops;
};

struct upstream_call {
  const struct transport_ops *ops;
};

struct transport *transport_curl_new(struct loop *loop, const struct upstream_options *options);
struct transport *transport_h1_new(struct upstream *u, struct loop *loop,
                                   const struct upstream_options *options);

/* upstream.c: the transport that speaks HTTP/2. */
struct transport *upstream_h2(struct upstream *u);

#endif
