/*
 * Input: a scenario file of a simulation. Whatever stands in it ends in time, and gives a world whose numbers are usable
 * or problems in words; never both.
 */
#include "lua_mutator.h"
#include "sim/scenario.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require_provider(const struct scenario_provider *p) {
  REQUIRE(p->id && p->id[0]);
  REQUIRE(p->weight >= 0 && isfinite(p->weight) && isfinite(p->priority));
  REQUIRE(p->latency_ms >= 0 && isfinite(p->latency_ms) && p->jitter >= 0 && isfinite(p->jitter));
  REQUIRE(p->first_byte >= 0 && p->first_byte <= 1 && p->parallel > 0);
  REQUIRE(p->error_rate >= 0 && p->error_rate <= 1 && p->error_ms >= 0 && p->retry_after_ms >= 0);
  for (unsigned i = 0; i < p->n_down; i++) {
    REQUIRE(p->down[i].from >= 0 && p->down[i].from < p->down[i].to);
    REQUIRE(i == 0 || p->down[i - 1].to <= p->down[i].from);
  }
}

static void require_usable(const struct scenario *s) {
  REQUIRE(s->n_providers > 0 && s->n_kinds > 0);
  for (unsigned i = 0; i < s->n_providers; i++)
    require_provider(&s->providers[i]);
  for (unsigned i = 0; i < s->n_kinds; i++) {
    const struct scenario_kind *k = &s->kinds[i];
    REQUIRE(k->share >= 0 && k->stream >= 0 && k->stream <= 1 && k->tokens_in >= 0 && k->tokens_out >= 0);
    REQUIRE(k->size > 0 && isfinite(k->size));
  }
  REQUIRE(s->rate > 0 || s->clients > 0);
  REQUIRE((s->requests > 0 || s->duration_s > 0) && s->requests <= SCENARIO_REQUESTS_MAX && s->workers > 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static int file = -1;
  static char path[64];
  if (size > 8192) return 0;
  if (file < 0) {
    file = memfd_create("scenario", 0);
    REQUIRE(file >= 0);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  }
  REQUIRE(ftruncate(file, 0) == 0 && pwrite(file, data, size, 0) == (ssize_t)size);
  struct buf problems;
  buf_init(&problems, SCENARIO_REPORT_MAX);
  struct scenario *s = scenario_load(path, &problems);
  REQUIRE((s == NULL) == (problems.len > 0));
  if (s) {
    scenario_seal(s);
    require_usable(s);
  }
  scenario_free(s);
  buf_release(&problems);
  return 0;
}
