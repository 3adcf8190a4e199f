#include "flow/onchain.h"

#include <stdlib.h>

#define SLICE_BYTES (256u * 1024) /* a fraction of a millisecond */

void onchain_init(struct onchain *o, struct flow *f, struct provider *p) {
  *o = (struct onchain){.flow = f, .provider = p};
}

/* ---- hashes ---- */

/* Up to `max` bytes; false when there is no more. */
static bool hash_some(struct onchain *o, size_t max) {
  while (o->segment < o->n_body && max) {
    struct span s = o->body[o->segment];
    size_t n = s.len - o->at < max ? s.len - o->at : max;
    sha256_update(&o->request, n, (const uint8_t *)s.ptr + o->at);
    max -= n;
    o->at += n;
    if (o->at < s.len) break;
    o->segment++;
    o->at = 0;
  }
  return o->segment < o->n_body;
}

static void on_hash_turn(struct wheel_timer *t) {
  struct onchain *o = container_of(t, struct onchain, hash_timer);
  if (hash_some(o, SLICE_BYTES)) loop_timer_start(o->flow->loop, t, on_hash_turn, 0);
}

void onchain_begin(struct onchain *o) {
  o->segment = 0;
  o->at = 0;
  sha256_init(&o->request);
  sha256_init(&o->response);
  o->images = NULL;
  on_hash_turn(&o->hash_timer);
}

void onchain_read_images(struct onchain *o, struct arena *arena) {
  o->images = arena_alloc(arena, sizeof *o->images);
  if (o->images) images_init(o->images);
}

void onchain_digests(struct onchain *o, struct session *s) {
  loop_timer_stop(o->flow->loop, &o->hash_timer);
  (void)hash_some(o, SIZE_MAX);
  sha256_digest(&o->request, sizeof s->request_sha256, s->request_sha256);
  sha256_digest(&o->response, sizeof s->response_sha256, s->response_sha256);
  s->has_images = o->images && images_digest(o->images, s->images_sha256);
}

/* ---- tokens ---- */

size_t onchain_token(struct onchain *o, char out[PROVIDER_TOKEN_MAX]) {
  return provider_copy_token(o->provider, out, &o->token_serial);
}

static void ticket_free(struct token_ticket *t) {
  provider_unref(&t->provider);
  free(t);
}

static void on_answer(struct loop_message *m) {
  struct token_ticket *t = container_of(m, struct token_ticket, message);
  struct onchain *o = t->reply_to->is_closing ? NULL : t->owner;
  bool has_fresh = t->has_fresh;
  ticket_free(t);
  if (!o) return;
  o->ticket = NULL;
  o->on_token(o->user, has_fresh);
}

void token_ticket_answer(struct token_ticket *t, bool has_fresh) {
  t->has_fresh = has_fresh;
  t->message.on_loop = on_answer;
  loop_post(t->reply_to, &t->message);
}

bool onchain_ask_token(struct onchain *o, void (*on_token)(void *user, bool has_fresh), void *user) {
  struct shared *s = o->flow->shared;
  if (o->has_renewed || !s->ask_token) return false;
  struct token_ticket *t = x_calloc(1, sizeof *t);
  t->provider = provider_ref(o->provider);
  t->serial = o->token_serial;
  t->reply_to = o->flow->loop;
  t->owner = o;
  o->has_renewed = true;
  o->ticket = t;
  o->on_token = on_token;
  o->user = user;
  s->ask_token(s, t);
  return true;
}

void onchain_stop(struct onchain *o) {
  loop_timer_stop(o->flow->loop, &o->hash_timer);
  if (o->ticket) o->ticket->owner = NULL;
  o->ticket = NULL;
  wipe(o->own_fields, o->own_len);
  o->own_len = 0;
}
