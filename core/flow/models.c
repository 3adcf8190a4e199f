/*
 * models: GET /v1/models and /v1/models/{id}: what the providers here serve, in OpenAI's shape. Names of the
 * configuration's `models` come first, then each provider's own; a name is listed once.
 */
#include "flow/api.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "wire/json.h"

#include <stdlib.h>

#define ENTRY_MAX 4096 /* of the answer, for one model */
#define NAMES_MAX ((size_t)1 << 20)
#define KEPT_MAX  ((size_t)256 * 1024) /* of the scratch text, behind a long list */

/* Names that are listed already. Providers choose them, and may have thousands. */
struct names {
  struct buf text;      /* one a line */
  uint32_t *places;     /* where each begins, and one more; 0: free. A table by their hash */
  uint32_t n, n_places; /* a power of two */
  struct siphash_key key;
};

struct listing {
  struct json_writer w;
  uint64_t created_s;
  struct names seen;
  struct span wanted; /* the only one to be put; empty: all */
  bool is_found;
};

/* ---- names ---- */

/* Where it is, or where it belongs. */
static uint32_t *place_of(const struct names *s, struct span name) {
  uint32_t at = (uint32_t)siphash(&s->key, name.ptr, name.len);
  for (;; at++) {
    uint32_t *place = &s->places[at & (s->n_places - 1)];
    if (!*place) return place;
    const char *text = s->text.data + *place - 1;
    size_t left = s->text.len - (*place - 1);
    if (left > name.len && text[name.len] == '\n' && memcmp(text, name.ptr, name.len) == 0) return place;
  }
}

static void grow(struct names *s) {
  uint32_t *old = s->places, n_old = s->n_places;
  s->n_places = n_old ? n_old * 2 : 64;
  s->places = x_calloc(s->n_places, sizeof *s->places);
  for (uint32_t i = 0; i < n_old; i++) {
    if (!old[i]) continue;
    const char *text = s->text.data + old[i] - 1;
    const char *end = memchr(text, '\n', s->text.len - (old[i] - 1));
    *place_of(s, span_make(text, (size_t)(end - text))) = old[i];
  }
  free(old);
}

static void names_init(struct names *s) {
  *s = (struct names){0};
  buf_init(&s->text, NAMES_MAX);
  rand_os(&s->key, sizeof s->key);
}

static void names_release(struct names *s) {
  buf_release(&s->text);
  free(s->places);
}

/* False: it is there already, or there is no room. */
static bool names_add(struct names *s, struct span name) {
  if (s->n >= s->n_places / 2) grow(s);
  uint32_t *place = place_of(s, name);
  size_t at = s->text.len;
  if (*place || buf_reserve(&s->text, name.len + 1)) return false;
  buf_put_span(&s->text, name);
  buf_put(&s->text, "\n", 1);
  *place = (uint32_t)at + 1;
  s->n++;
  return true;
}

/* ---- the list ---- */

static void put_model(struct listing *l, struct span id, const char *owner) {
  struct json_writer *w = &l->w;
  json_open(w, '{');
  json_key(w, "id");
  json_string(w, id);
  json_key(w, "object");
  json_cstring(w, "model");
  json_key(w, "created");
  json_int(w, (int64_t)l->created_s);
  json_key(w, "owned_by");
  json_cstring(w, owner);
  json_close(w, '}');
}

static bool is_due(struct listing *l, struct span name) {
  bool has_room = l->w.out->max - l->w.out->len > ENTRY_MAX;
  if (!l->wanted.len) return has_room && names_add(&l->seen, name);
  bool is_first = !l->is_found && span_eq(name, l->wanted);
  l->is_found |= is_first;
  return is_first;
}

/* `names`: one a line. */
static void put_models_of(struct listing *l, struct span names, const char *owner) {
  while (names.len) {
    const char *end = memchr(names.ptr, '\n', names.len);
    size_t len = end ? (size_t)(end - names.ptr) : names.len;
    struct span name = span_make(names.ptr, len);
    if (len && is_due(l, name)) put_model(l, name, owner);
    size_t skip = end ? len + 1 : len;
    names.ptr += skip;
    names.len -= skip;
  }
}

static void put_models(struct listing *l, const struct plan *plan) {
  struct buf own;
  buf_init(&own, PROVIDER_MODELS_MAX + MODEL_NAME_MAX);
  for (unsigned i = 0; i < plan->n_routes; i++)
    put_models_of(l, span_str(plan->routes[i].name), "moongate");
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    buf_clear(&own);
    if (e->model)
      buf_put_str(&own, e->model);
    else
      provider_put_models(e->provider, &own);
    put_models_of(l, buf_span(&own), e->provider->id);
  }
  buf_release(&own);
}

static void begin(struct exchange *x, struct listing *l, struct span wanted) {
  *l = (struct listing){.created_s = x->flow->shared->started_wall_ms / 1000, .wanted = wanted};
  names_init(&l->seen);
  buf_clear(&x->flow->text);
  json_begin(&l->w, &x->flow->text);
}

static void answer(struct exchange *x) {
  struct buf *text = &x->flow->text;
  exchange_answer(x, 200, "application/json", buf_span(text), NULL);
  if (text->cap > KEPT_MAX) buf_release(text);
}

void models_list(struct exchange *x) {
  struct listing l;
  begin(x, &l, SPAN_NONE);
  json_open(&l.w, '{');
  json_key(&l.w, "object");
  json_cstring(&l.w, "list");
  json_key(&l.w, "data");
  json_open(&l.w, '[');
  put_models(&l, x->plan);
  json_close(&l.w, ']');
  json_close(&l.w, '}');
  names_release(&l.seen);
  answer(x);
}

void models_one(struct exchange *x) {
  size_t skip = strlen("/v1/models/");
  struct span text = span_make(x->path.ptr + skip, x->path.len - skip);
  char name[MODEL_NAME_MAX];
  struct span wanted = http_path_text(name, sizeof name, text);
  struct listing l;
  begin(x, &l, wanted);
  if (wanted.len) put_models(&l, x->plan);
  names_release(&l.seen);
  if (l.is_found) {
    answer(x);
    return;
  }
  char message[160];
  (void)snprintf(message, sizeof message, "The model `%.*s` does not exist",
                 (int)(text.len < 100 ? text.len : 100), text.ptr);
  exchange_error(x, 404, NULL, "model_not_found", message);
}
