#include "flow/audit.h"
#include "flow/verification.h"

void audit_init(struct flow *f) {
  list_init(&f->audit.waiting);
  list_init(&f->audit.running);
}

static void start_next(struct flow *f);

static void on_done(struct verification *v) {
  struct flow *f = v->flow;
  verification_note(v);
  if (v->end == VERIFICATION_FAILED)
    log_warn("answer %s of provider %s could not be verified: %s",
             v->session.res_key[0] ? v->session.res_key : v->session.id, v->entry->provider->id, v->detail);
  list_remove(&v->node);
  f->audit.n_running--;
  verification_free(v);
  start_next(f);
}

static void start_next(struct flow *f) {
  while (f->audit.n_running < AUDIT_RUNNING_MAX) {
    struct list *node = list_pop_front(&f->audit.waiting);
    if (!node) return;
    f->audit.n_waiting--;
    f->audit.n_running++;
    list_push_back(&f->audit.running, node);
    struct verification *v = container_of(node, struct verification, node);
    verification_start(v, on_done, NULL);
  }
}

static bool is_wanted(struct flow *f, const struct settings *s) {
  switch (s->verify_answers) {
  case VERIFY_ALL: return true;
  case VERIFY_SAMPLE: return (double)(rng_u64(&f->rng) >> 11) * 0x1p-53 < s->verify_sample_rate;
  default: return false;
  }
}

void audit_offer(struct flow *f, const struct plan *plan, unsigned slot, const struct session *s) {
  const struct plan_entry *e = &plan->entries[slot];
  if (e->provider->kind != PROVIDER_ONCHAIN || !e->record || !record_is_verifiable(e->record)) return;
  if (!is_wanted(f, &plan->settings)) return;
  if (f->audit.n_waiting >= AUDIT_WAITING_MAX) {
    static struct log_limit limit;
    unsigned suppressed = 0;
    if (log_limit_pass(&limit, 1, 60000, &suppressed))
      log_warn("answers come faster than they can be verified: some are left out (%u since the last warning)",
               suppressed + 1);
    return;
  }
  struct verification *v = verification_new(f, plan, slot, s);
  list_push_back(&f->audit.waiting, &v->node);
  f->audit.n_waiting++;
  start_next(f);
}

static void free_all(struct list *from) {
  struct list *node;
  while ((node = list_pop_front(from)))
    verification_free(container_of(node, struct verification, node));
}

void audit_stop(struct flow *f) {
  free_all(&f->audit.waiting);
  free_all(&f->audit.running);
  f->audit.n_waiting = f->audit.n_running = 0;
}
