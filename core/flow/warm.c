#include "flow/warm.h"
#include "flow/probe.h"

#include <stdlib.h>

#define LOOK_EACH_MS 1000
#define ANSWER_MAX   (4u * 1024 * 1024)

struct warm_place {
  struct warmer *warmer;
  const struct plan_entry *entry;
  uint32_t comebacks; /* of the provider, when it was warmed last */
  struct upstream_call *call;
  struct wheel_timer timeout;
  size_t bytes;
  char *fields;
};

static void end(struct warm_place *p) {
  struct upstream_call *call = p->call;
  p->call = NULL;
  loop_timer_stop(p->warmer->loop, &p->timeout);
  if (p->fields) wipe(p->fields, strlen(p->fields));
  free(p->fields);
  p->fields = NULL;
  if (call) upstream_cancel(call);
}

static void on_head(void *user, const struct http_response *head) {
  (void)user;
  (void)head;
}

static void on_data(void *user, const char *bytes, size_t len) {
  struct warm_place *p = user;
  (void)bytes;
  p->bytes += len;
  if (p->bytes > ANSWER_MAX) end(p);
}

static void on_done(void *user, enum upstream_end how, const char *detail) {
  struct warm_place *p = user;
  (void)how;
  (void)detail;
  p->call = NULL;
  end(p);
}

static const struct upstream_events EVENTS = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_timeout(struct wheel_timer *t) {
  end(container_of(t, struct warm_place, timeout));
}

static uint32_t comebacks_of(const struct warm_place *p) {
  return __atomic_load_n(&p->entry->provider->comebacks, __ATOMIC_RELAXED);
}

static void ask(struct warm_place *p) {
  struct warmer *w = p->warmer;
  uint32_t patience_ms = w->plan->settings.health_timeout_ms;
  end(p);
  p->comebacks = comebacks_of(p);
  p->bytes = 0;
  p->fields = probe_make_fields(p->entry);
  struct upstream_request req;
  probe_fill_request(&req, p->entry, p->fields, patience_ms);
  req.events = &EVENTS;
  req.user = p;
  loop_timer_start(w->loop, &p->timeout, on_timeout, patience_ms);
  upstream_start(w->upstream, &req, &p->call);
}

static void on_look(struct wheel_timer *t) {
  struct warmer *w = container_of(t, struct warmer, timer);
  for (unsigned i = 0; i < w->n_places; i++)
    if (w->places[i].comebacks != comebacks_of(&w->places[i])) ask(&w->places[i]);
  loop_timer_start(w->loop, &w->timer, on_look, LOOK_EACH_MS);
}

static bool is_https(const struct plan_entry *e) {
  return e->has_endpoint && span_starts_nocase(span_str(e->endpoint.text), SPAN("https:"));
}

/* Warmed before, and at the same address. */
static const struct warm_place *find(const struct warmer *before, const struct plan_entry *e) {
  for (unsigned i = 0; i < before->n_places; i++) {
    const struct plan_entry *old = before->places[i].entry;
    if (old->provider == e->provider && strcmp(old->endpoint.text, e->endpoint.text) == 0)
      return &before->places[i];
  }
  return NULL;
}

void warm_adopt(struct warmer *w, struct loop *loop, struct upstream *upstream, const struct plan *plan) {
  struct warmer before = *w;
  loop_timer_stop(loop, &w->timer);
  for (unsigned i = 0; i < w->n_places; i++)
    end(&w->places[i]);
  *w = (struct warmer){.loop = loop, .upstream = upstream, .plan = plan};
  w->places = x_calloc(plan->n_entries, sizeof *w->places);
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    if (!is_https(e)) continue;
    struct warm_place *p = &w->places[w->n_places++];
    const struct warm_place *old = find(&before, e);
    p->warmer = w;
    p->entry = e;
    p->comebacks = old ? old->comebacks : comebacks_of(p) - 1;
  }
  free(before.places);
  if (w->n_places) loop_timer_start(loop, &w->timer, on_look, 0);
}

void warm_stop(struct warmer *w) {
  for (unsigned i = 0; i < w->n_places; i++)
    end(&w->places[i]);
  if (w->loop) loop_timer_stop(w->loop, &w->timer);
  free(w->places);
  *w = (struct warmer){0};
}
