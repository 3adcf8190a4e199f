/*
 * served: who serves a model, remembered. Where providers serve what they list themselves, the answer takes a look into
 * their lists, each under its lock; it holds until a list has changed.
 *
 * Thread: its worker's.   Owner: embedded in struct flow.
 */
#ifndef MOONGATE_FLOW_SERVED_H
#define MOONGATE_FLOW_SERVED_H

#include "model/plan.h"

#define SERVED_KEPT 16 /* models */

struct served {
  const struct plan *plan; /* that the entries are about; borrowed, and never looked into */
  uint64_t version;        /* of the lists */
  struct served_model {
    char name[MODEL_NAME_MAX];
    size_t len; /* 0: none */
    struct slot_set slots;
    bool is_served;
  } models[SERVED_KEPT];
};

/* Plans come and go: what is kept about one is forgotten before the next can stand at its place. */
void served_forget(struct served *s);
/* As plan_who_serves(). */
bool served_by(struct served *s, const struct plan *p, struct slot_set *out, struct span model);

#endif
