/*
 * upstream: one call to a provider, as the layers above see it, whichever transport carries it. A call is
 * started, may be paused and resumed, and ends with exactly one on_done, or with upstream_cancel() and then
 * none.
 *
 * Thread: its loop's.   Owner: the transport; the caller holds a borrowed pointer from upstream_start() until
 * on_done returned or upstream_cancel() was called. Inside any event the caller may start and cancel calls;
 * those begin and end after the event has returned. Answers are checked (framing, fields:
 * http_response_parse) before on_head; interim answers (1xx) are swallowed, at most 16. Redirects are not
 * followed. Bodies are asked for unencoded and handed over as they come.
 */
#ifndef MOONGATE_NET_UPSTREAM_H
#define MOONGATE_NET_UPSTREAM_H

#include "net/loop.h"
#include "wire/http_response.h"

#define UPSTREAM_SEGMENTS_MAX 8

struct upstream;
struct upstream_call;

enum upstream_end {
  UPSTREAM_OK, /* the answer is complete by its own framing */
  UPSTREAM_DNS,
  UPSTREAM_CONNECT, /* refused, unreachable, reset before the request was taken */
  UPSTREAM_CONNECT_TIMEOUT,
  UPSTREAM_TLS,
  UPSTREAM_NO_ANSWER,     /* closed or reset before a head */
  UPSTREAM_BAD_ANSWER,    /* what came is no valid answer */
  UPSTREAM_CUT,           /* closed or reset inside the body */
  UPSTREAM_NO_DESCRIPTOR, /* this process has none left: says nothing about the provider */
};

struct upstream_events {
  /* A checked final head; valid during the call. */
  void (*on_head)(void *user, const struct http_response *head);
  /* Body bytes, borrowed. Not called while paused (what the transport holds already may still come). */
  void (*on_data)(void *user, const char *bytes, size_t len);
  /* `detail` is a short text for the log; valid during the call. */
  void (*on_done)(void *user, enum upstream_end end, const char *detail);
};

/* All pointers are borrowed until the call has ended; those of the body until upstream_has_sent(), when no failure
 * can lead to the call being sent again. */
struct upstream_request {
  bool is_post; /* else GET */
  bool
      is_public_only; /* a stranger chose the host: addresses that are no public ones (base/reach.h) are not connected to */
  bool is_single;   /* of this path there will hardly be another call: nothing is kept for one */
  struct span base; /* "http://host:port/v1" */
  struct span path; /* "/chat/completions" */
  struct span
      fields[2]; /* "Name: value\r\n" lines without Host, Content-Length, Connection, Accept-Encoding */
  const struct span *body; /* segments, sent one after the other */
  unsigned n_body;
  uint32_t connect_ms;
  const struct upstream_events *events;
  void *user;
};

struct upstream_options {
  const char *ca_file; /* NULL: the system's certificates */
  uint32_t idle_ms;    /* idle connections older than this are not used again */
  bool is_curl_only;   /* libcurl for http:// too */
};

/*
 * Before the first call over https://, and before upstream_new() with is_curl_only: NULL, or why there will be none
 * (static text, until this thread's next call). By the thread that reads configurations, for it blocks for milliseconds
 * the first time: net/curl_library, net/trust.
 */
const char *upstream_prepare_tls(const char *ca_file) MUST_CHECK;
/* At the end of the process. */
void upstream_global_release(void);
/* HTTP/1.1 on our own transport, with TLS for https://; HTTP/2, where the provider chooses it, on libcurl's multi
 * interface. */
struct upstream *upstream_new(struct loop *loop, const struct upstream_options *options);
/* All calls must have ended. Handles close on the loop's next turns. */
void upstream_free(struct upstream *u);

/* Sets *out, then begins: events may come before it returns, so call it last. */
void upstream_start(struct upstream *u, const struct upstream_request *req, struct upstream_call **out);
void upstream_cancel(struct upstream_call *call);
void upstream_pause(struct upstream_call *call);
void upstream_resume(struct upstream_call *call);
/* The whole request has left and, an answer having begun, will not be sent again. May stay false until the end. */
bool upstream_has_sent(struct upstream_call *call);
/* How long making the connection took (TLS included); 0 when one was used again, NaN while there is none. Until on_done. */
double upstream_connect_ms(struct upstream_call *call);

#endif
