#include "flow/served.h"

#include "base/hash.h"

void served_forget(struct served *s) {
  s->plan = NULL;
  for (size_t i = 0; i < SERVED_KEPT; i++)
    s->models[i].len = 0;
}

bool served_by(struct served *s, const struct plan *p, struct slot_set *out, struct span model) {
  if (LIKELY(!plan_has_open(p)) || !model.len || model.len > MODEL_NAME_MAX)
    return plan_who_serves(p, out, model);
  uint64_t version =
      provider_models_version(); /* read first: a list that changes meanwhile is looked at again */
  if (s->plan != p || s->version != version) served_forget(s);
  s->plan = p;
  s->version = version;
  struct served_model *m = &s->models[hash_bytes(model, 0) % SERVED_KEPT];
  if (!span_eq(span_make(m->name, m->len), model)) {
    m->is_served = plan_who_serves(p, &m->slots, model);
    m->len = model.len;
    memcpy(m->name, model.ptr, model.len);
  }
  *out = m->slots;
  return m->is_served;
}
