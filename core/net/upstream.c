#include "net/transport.h"
#include "net/curl_library.h"
#include "net/trust.h"

#include <stdlib.h>

struct upstream {
  struct loop *loop;
  struct upstream_options options;
  char *ca_file;
  struct transport *first, *curl; /* the same with is_curl_only; curl is NULL until it is needed */
};

const char *upstream_prepare_tls(const char *ca_file) {
  static _Thread_local char trouble[TRUST_ERROR_MAX];
  if (!trust_prepare(ca_file, trouble)) return trouble;
  return curl_library_load();
}

void upstream_global_release(void) {
  trust_release();
  curl_library_release();
}

struct transport *upstream_h2(struct upstream *u) {
  if (!u->curl) {
    REQUIRE(curl_library_load() == NULL); /* done before, by whoever read the URL */
    u->curl = transport_curl_new(u->loop, &u->options);
  }
  return u->curl;
}

struct upstream *upstream_new(struct loop *loop, const struct upstream_options *options) {
  struct upstream *u = x_calloc(1, sizeof *u);
  u->loop = loop;
  u->options = *options;
  u->options.ca_file = u->ca_file = options->ca_file ? x_strdup(options->ca_file) : NULL;
  u->first = options->is_curl_only ? upstream_h2(u) : transport_h1_new(u, loop, &u->options);
  return u;
}

void upstream_free(struct upstream *u) {
  if (u->first != u->curl) u->first->ops->release(u->first);
  if (u->curl) u->curl->ops->release(u->curl);
  free(u->ca_file);
  free(u);
}

void upstream_start(struct upstream *u, const struct upstream_request *req, struct upstream_call **out) {
  u->first->ops->start(u->first, req, out);
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
