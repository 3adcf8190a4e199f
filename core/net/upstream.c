#include "net/transport.h"

#include <stdlib.h>

struct upstream {
  struct transport *plain, *tls; /* may be the same */
};

struct upstream *upstream_new(struct loop *loop, const struct upstream_options *options) {
  struct upstream *u = x_calloc(1, sizeof *u);
  u->tls = transport_curl_new(loop, options);
  u->plain = options->is_curl_only ? u->tls : transport_h1_new(loop, options);
  return u;
}

void upstream_free(struct upstream *u) {
  if (u->plain != u->tls) u->plain->ops->release(u->plain);
  u->tls->ops->release(u->tls);
  free(u);
}

void upstream_start(struct upstream *u, const struct upstream_request *req, struct upstream_call **out) {
  struct transport *t = span_starts(req->base, SPAN("https:")) ? u->tls : u->plain;
  t->ops->start(t, req, out);
}

void upstream_cancel(struct upstream_call *call) {
  call->ops->cancel(call);
}

void upstream_pause(struct upstream_call *call) {
  call->ops->pause(call);
}

void upstream_resume(struct upstream_call *call) {
  call->ops->resume(call);
}

bool upstream_has_sent(struct upstream_call *call) {
  return call->ops->has_sent(call);
}

double upstream_connect_ms(struct upstream_call *call) {
  return call->ops->connect_ms(call);
}
