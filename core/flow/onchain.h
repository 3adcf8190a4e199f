/*
 * onchain: what an attempt at a provider on chain needs beside the rest: the session token that authenticates it, a
 * fresh one when the provider refuses it, and the SHA-256 of the bytes that went out and came back, which the provider
 * signs. Attempts at direct endpoints have none of this.
 *
 * The request is hashed while its answer is waited for, a slice at each turn of the loop, so that a large body holds
 * up nobody.
 *
 * Thread: the worker's; a ticket crosses to control and comes back by mail.   Owner: the exchange's arena; onchain_stop()
 * before that goes. Borrows the request's body until then.
 */
#ifndef MOONGATE_FLOW_ONCHAIN_H
#define MOONGATE_FLOW_ONCHAIN_H

#include "flow/flow.h"
#include "wire/images.h"

#include <nettle/sha2.h>

/* A wish for a token other than the one with that serial; control answers. */
struct token_ticket {
  struct loop_message message;
  struct provider *provider; /* counted */
  uint64_t serial;
  bool has_fresh; /* the answer: another token is there */
  struct loop *reply_to;
  struct onchain *owner; /* of reply_to's thread alone; NULL: it no longer waits */
};

struct onchain {
  struct flow *flow;
  struct provider *provider;
  uint64_t token_serial; /* of the token that was sent */
  bool has_renewed;      /* a fresh one was asked for: once in an attempt */
  struct token_ticket *ticket;
  void (*on_token)(void *user, bool has_fresh);
  void *user;
  /* What was sent, and would be sent again: */
  struct span path, fields, body[UPSTREAM_SEGMENTS_MAX];
  unsigned n_body;
  char own_fields[PROVIDER_TOKEN_MAX + 128]; /* lines with the token; wiped by onchain_stop() */
  size_t own_len;
  /* Hashes; of the request `at` bytes of that segment, and the segments before it, are done. */
  struct sha256_ctx request, response;
  struct images *images; /* of services whose images are signed; NULL: it reads none */
  unsigned segment;
  size_t at;
  struct wheel_timer hash_timer;
};

void onchain_init(struct onchain *o, struct flow *f, struct provider *p);
/* A request goes out (path, fields and body are set): all digests begin anew. */
void onchain_begin(struct onchain *o);
/* Its answer is a plain JSON document, and the service's images are signed: they are read along. */
void onchain_read_images(struct onchain *o, struct arena *arena);
/* Bytes of the answer's body, as they came. */
static inline void onchain_feed(struct onchain *o, const char *bytes, size_t len) {
  sha256_update(&o->response, len, (const uint8_t *)bytes);
  if (o->images) images_feed(o->images, bytes, len);
}
/* The answer is complete: fills in the digests of its session; once per try. */
void onchain_digests(struct onchain *o, struct session *s);
void onchain_stop(struct onchain *o);

/* "app-sk-…" into `out`; the length, 0 when there is none. The caller wipes it. */
size_t onchain_token(struct onchain *o, char out[PROVIDER_TOKEN_MAX]);
/*
 * Asks control for a token other than the one that onchain_token() gave last. False: that was done before, or nobody makes
 * tokens. Otherwise on_token comes once, later, unless onchain_stop() comes first.
 */
bool onchain_ask_token(struct onchain *o, void (*on_token)(void *user, bool has_fresh), void *user);
/* Control, when it knows the answer; any thread. Gives up the ticket. */
void token_ticket_answer(struct token_ticket *t, bool has_fresh);

#endif
