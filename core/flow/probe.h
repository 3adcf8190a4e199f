/*
 * probe: active health checks. Asks each provider of the current plan at its interval (with jitter), soon
 * again after a failure, and at once when attempts fail in a row; verdicts are model/provider's.
 *
 * Thread: control's loop.   Owner: control.
 */
#ifndef MOONGATE_FLOW_PROBE_H
#define MOONGATE_FLOW_PROBE_H

#include "base/rand.h"
#include "model/plan.h"
#include "net/upstream.h"

struct probe;

struct prober {
  struct loop *loop;
  struct upstream *upstream;
  struct plan *plan; /* counted */
  struct probe *probes;
  unsigned n_probes;
  unsigned n_first_left; /* probes that have not ended once yet */
  void (*on_first_round)(struct prober *p);
  /*
   * When set, asked first about every probe (script/decide.h says what evidence is): true when it has given its verdict
   * by provider_judged(), with what that changed in *event; false leaves it to the engine's rules.
   */
  bool (*judge)(struct prober *p, unsigned slot, bool ok, int status, double latency_ms, const char *reason,
                enum health_event *event);
  void *context;
  struct rng rng;
};

void prober_init(struct prober *p, struct loop *loop, struct upstream *upstream);
/* Takes up a plan; providers known from the one before keep their rhythm, new ones are asked at once. */
void prober_adopt(struct prober *p, struct plan *plan);
/* Asks soon, unless a question is under way. */
void prober_hurry(struct prober *p, const struct provider *provider);
/* Cancels all questions. */
void prober_stop(struct prober *p);

/* What a check asks of a provider with an endpoint: the "Name: value" lines, which hold its key (the caller wipes and frees
 * them), and the call without events, which borrows them and the entry. */
char *probe_make_fields(const struct plan_entry *e);
void probe_fill_request(struct upstream_request *out, const struct plan_entry *e, const char *fields,
                        uint32_t connect_ms);

#endif
