/*
 * reply: the answer's side of one request on a connection: status line, fields and framing for answers of our
 * own (in one piece) and for relayed ones (piece by piece, chunked or with a known length). Heads are built,
 * not copied.
 *
 * An answer that is complete hands the connection back, which may begin the next request inside that very
 * call: the caller must be done with shared scratch space and must not use `conn` afterwards.
 *
 * Thread: the worker's.   Owner: embedded in the exchange; `conn` is borrowed and cleared when the client
 * leaves.
 */
#ifndef MOONGATE_FLOW_REPLY_H
#define MOONGATE_FLOW_REPLY_H

#include "flow/flow.h"

struct reply {
  struct flow *flow;
  struct conn *conn; /* NULL: the client has left */
  struct span request_id;
  struct span cors_origin; /* value of Access-Control-Allow-Origin; empty: none is sent */
  struct span provider;    /* value of X-Provider-Address; empty: none is sent */
  bool has_begun, is_chunked, is_bodyless;
  bool keep;     /* the connection may go on */
  uint64_t left; /* of a known length */
};

/* Fields of a single answer beyond the usual ones. */
struct reply_extra {
  uint32_t retry_after_s; /* 0: none */
  const char *allow;      /* value of Allow; NULL: none */
  struct span fields;     /* further "Name: value\r\n" lines */
  bool is_preflight;
  struct span asked_fields; /* of a preflight: the names that the page wants to send; empty: it did not say */
};

/* A whole answer of ours: head, body, end. */
void reply_text(struct reply *r, int status, const char *content_type, struct span body,
                const struct reply_extra *extra);
/* The OpenAI-shaped error. `message` passes the redactor. */
void reply_error(struct reply *r, int status, const char *type, const char *code, struct span message,
                 const struct reply_extra *extra);
void reply_fault(struct reply *r, const struct http_fault *fault);

/* Value of Date now; until the next call. */
struct span reply_date(struct flow *f);

#define REPLY_LENGTH_UNKNOWN UINT64_MAX
/*
 * Begins a relayed answer: `fields` are the provider's end-to-end fields, ready to send. The head leaves
 * together with the first bytes.
 */
int reply_begin(struct reply *r, int status, struct span fields, uint64_t length, struct span first_bytes);
int reply_bytes(struct reply *r, struct span bytes);
/* The relayed answer is complete, and leaves. */
void reply_complete(struct reply *r);
/* Behind that: the connection goes on, or closes. */
void reply_end(struct reply *r);
/* It is not and never will be: `last_words` (may be empty) are sent, then the connection ends so that nobody
 * takes it for whole. */
void reply_break(struct reply *r, struct span last_words);

#endif
