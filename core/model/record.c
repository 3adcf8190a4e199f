#include "model/record.h"

#include <stdlib.h>

struct text_map {
  struct span *to;
  struct span from;
};

enum { TEXTS = 5 };

static void map_texts(struct text_map map[TEXTS], struct service *to, const struct service *from) {
  map[0] = (struct text_map){&to->service_type, from->service_type};
  map[1] = (struct text_map){&to->url, from->url};
  map[2] = (struct text_map){&to->model, from->model};
  map[3] = (struct text_map){&to->verifiability, from->verifiability};
  map[4] = (struct text_map){&to->additional_info, from->additional_info};
}

struct record *record_new(const struct service *s) {
  struct service copy = *s;
  struct text_map map[TEXTS];
  map_texts(map, &copy, s);
  size_t len = 0;
  for (int i = 0; i < TEXTS; i++) {
    if (map[i].from.len > RECORD_TEXT_MAX - len) return NULL;
    len += map[i].from.len;
  }
  struct record *r = x_malloc(sizeof *r + len + TEXTS);
  char *at = (char *)(r + 1);
  for (int i = 0; i < TEXTS; i++) {
    *map[i].to = span_make(at, map[i].from.len);
    if (map[i].from.len) memcpy(at, map[i].from.ptr, map[i].from.len);
    at[map[i].from.len] = '\0';
    at += map[i].from.len + 1;
  }
  r->refs = 1;
  r->service = copy;
  address_text(r->id, &copy.provider);
  return r;
}

struct record *record_ref(struct record *r) {
  (void)__atomic_fetch_add(&r->refs, 1, __ATOMIC_RELAXED);
  return r;
}

void record_unref(struct record **rp) {
  struct record *r = *rp;
  *rp = NULL;
  if (r && __atomic_fetch_sub(&r->refs, 1, __ATOMIC_ACQ_REL) == 1) free(r);
}

bool record_eq(const struct record *a, const struct record *b) {
  if (!a || !b) return a == b;
  struct service x = a->service;
  struct text_map map[TEXTS];
  map_texts(map, &x, &b->service);
  for (int i = 0; i < TEXTS; i++)
    if (!span_eq(*map[i].to, map[i].from)) return false;
  const struct service *s = &a->service, *t = &b->service;
  return address_eq(&s->provider, &t->provider) && u256_eq(s->input_price, t->input_price) &&
         u256_eq(s->output_price, t->output_price) && address_eq(&s->tee_signer, &t->tee_signer) &&
         s->tee_signer_acknowledged == t->tee_signer_acknowledged;
}

bool record_is_verifiable(const struct record *r) {
  if (!r || !r->service.tee_signer_acknowledged) return false;
  struct span v = r->service.verifiability;
  return span_eq(v, SPAN("TeeML")) || span_eq(v, SPAN("OpML")) || span_eq(v, SPAN("ZKML"));
}
