#include "flow/traffic.h"

#include <string.h>

#define TRAFFIC_NAME_(text) text,
const char *const TRAFFIC_KIND_NAMES[TRAFFIC_KIND_N] = {TRAFFIC_KINDS(TRAFFIC_NAME_)};
#undef TRAFFIC_NAME_
const char *const TRAFFIC_DENIAL_NAMES[DENIED_N] = {"budget", "max_retries", "no_provider", "strategy"};

void traffic_note(struct traffic *t, const char *kind, int status, bool is_stream, uint64_t us) {
  unsigned k = 0;
  while (k < TRAFFIC_KIND_N && strcmp(TRAFFIC_KIND_NAMES[k], kind) != 0)
    k++;
  REQUIRE(k < TRAFFIC_KIND_N); /* routes have no other kinds */
  if (status < TRAFFIC_STATUS_MIN || status > TRAFFIC_STATUS_MAX) status = 500;
  histogram_add_own(&t->kinds[k].duration, us, TRAFFIC_FIRST_US);
  (void)__atomic_add_fetch(&t->kinds[k].by_status[status - TRAFFIC_STATUS_MIN][is_stream], 1,
                           __ATOMIC_RELAXED);
}

void traffic_note_overhead(struct traffic *t, uint64_t us) {
  histogram_add_own(&t->overhead, us, TRAFFIC_OVERHEAD_FIRST_US);
}

void traffic_note_denied(struct traffic *t, enum traffic_denial why) {
  (void)__atomic_add_fetch(&t->denied[why], 1, __ATOMIC_RELAXED);
}

void traffic_note_pinned(struct traffic *t, bool is_answered) {
  (void)__atomic_add_fetch(&t->pinned[is_answered], 1, __ATOMIC_RELAXED);
}
