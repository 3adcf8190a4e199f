#include "net/transport.h"
#include "net/curl_library.h"

#include <stdlib.h>

struct upstream {
  struct loop *loop;
  struct upstream_options options;
  char *ca_file;
  struct transport *plain, *tls; /* the same with is_curl_only; tls is NULL until it is needed */
};

const char *upstream_prepare_tls(void) {
  return curl_library_load();
}

void upstream_global_release(void) {
  curl_library_release();
}

static struct transport *tls_of(struct upstream *u) {
  if (!u->tls) {
    REQUIRE(curl_library_load() == NULL); /* done before, by whoever read the URL */
    u->tls = transport_curl_new(u->loop, &u->options);
  }
  return u->tls;
}

struct upstream *upstream_new(struct loop *loop, const struct upstream_options *options) {
  struct upstream *u = x_calloc(1, sizeof *u);
  u->loop = loop;
  u->options = *options;
  u->options.ca_file = u->ca_file = options->ca_file ? x_strdup(options->ca_file) : NULL;
  u->plain = options->is_curl_only ? tls_of(u) : transport_h1_new(loop, &u->options);
  return u;
}

void upstream_free(struct upstream *u) {
  if (u->plain != u->tls) u->plain->ops->release(u->plain);
  if (u->tls) u->tls->ops->release(u->tls);
  free(u->ca_file);
  free(u);
}

void upstream_start(struct upstream *u, const struct upstream_request *req, struct upstream_call **out) {
  struct transport *t = span_starts_nocase(req->base, SPAN("https:")) ? tls_of(u) : u->plain;
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
