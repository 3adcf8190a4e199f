/*
 * models: GET /v1/models and /v1/models/{id}: what the providers here serve, in OpenAI's shape. Names of the
 * configuration's `models` come first, then each provider's own; a name is listed once.
 */
#include "flow/api.h"
#include "base/buf.h"
#include "wire/json.h"

struct listing {
  struct json_writer w;
  uint64_t created_s;
  struct buf seen;    /* names that are listed already, with a line end before and behind each */
  struct span wanted; /* the only one to be put; empty: all */
  bool is_found;
};

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

static bool is_listed(struct buf *seen, struct span name) {
  char line[MODEL_NAME_MAX + 3];
  int n = snprintf(line, sizeof line, "\n%.*s\n",
                   (int)(name.len < MODEL_NAME_MAX ? name.len : MODEL_NAME_MAX), name.ptr);
  if (span_find(buf_span(seen), span_make(line, (size_t)n))) return true;
  return buf_append(seen, line, (size_t)n) != 0;
}

static bool is_due(struct listing *l, struct span name) {
  if (!l->wanted.len) return !is_listed(&l->seen, name);
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
  buf_init(&l->seen, 1024 * 1024);
  buf_clear(&x->flow->text);
  json_begin(&l->w, &x->flow->text);
}

static void answer(struct exchange *x) {
  exchange_answer(x, 200, "application/json", buf_span(&x->flow->text), NULL);
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
  buf_release(&l.seen);
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
  buf_release(&l.seen);
  if (l.is_found) {
    answer(x);
    return;
  }
  char message[160];
  (void)snprintf(message, sizeof message, "The model `%.*s` does not exist",
                 (int)(text.len < 100 ? text.len : 100), text.ptr);
  exchange_error(x, 404, NULL, "model_not_found", message);
}
