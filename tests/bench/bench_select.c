/*
 * bench_select: what one decision costs, in ns: filling the views, entering Lua, choosing, checking.
 * usage: bench_select [STRATEGY | FILE.lua]...   (default: every preset, and the smallest script)
 * One line per strategy; columns are 3, 8, 64 and 128 candidates. Prints, never judges.
 */
#include "base/base.h"
#include "base/clock.h"
#include "base/embedded.h"
#include "script/decide.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define ROUNDS 7

static const unsigned SIZES[] = {3, 8, 64, 128};

static char *read_file(const char *path, size_t *len) {
  FILE *f = fopen(path, "rb");
  if (!f) return NULL;
  char *text = x_malloc(1 << 16);
  *len = fread(text, 1, 1 << 16, f);
  (void)fclose(f);
  return text;
}

static struct plan *make_plan(const char *strategy, unsigned n) {
  struct plan *plan = plan_new();
  plan->n_entries = n;
  plan->entries = x_calloc(n, sizeof *plan->entries);
  for (unsigned i = 0; i < n; i++) {
    char id[16];
    (void)snprintf(id, sizeof id, "p%u", i + 1);
    plan->entries[i].provider = provider_new(id, PROVIDER_DIRECT, 0);
    plan->entries[i].weight = 1 + i % 4;
    plan->entries[i].priority = 1 + i % 2;
  }
  plan->strategy_name = x_strdup(strategy);
  if (strchr(strategy, '.')) {
    size_t len;
    char *text = read_file(strategy, &len);
    if (!text) {
      (void)fprintf(stderr, "%s cannot be read\n", strategy);
      exit(1);
    }
    plan->strategy_path = x_strdup(strategy);
    plan->strategy_source = span_make(text, len);
  }
  plan_seal(plan);
  return plan;
}

/* The median of some rounds. As in service, what is chosen is begun, and requests end in the order they came.
 */
static double measure(const char *strategy, unsigned n) {
  struct plan *plan = make_plan(strategy, n);
  char err[SCRIPT_ERROR_MAX];
  struct generation *g = generation_new(plan, 0, NULL, err);
  if (!g) {
    (void)fprintf(stderr, "%s\n", err);
    exit(1);
  }
  struct lb_request req = {.id = {"r", 1, 0}, .kind = {"chat", 4, 0}, .attempt = 1, .max_tokens = NAN};
  uint16_t candidates[PLAN_PROVIDERS_MAX];
  for (unsigned i = 0; i < n; i++)
    candidates[i] = (uint16_t)i;
  struct rng rng;
  rng_seed(&rng, 1);
  enum { RUNNING = 16 };
  struct provider *running[RUNNING] = {NULL};
  struct decision d;
  unsigned calls = n > 8 ? 200000 : 1000000;
  double rounds[ROUNDS];
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint64_t start = clock_mono_us();
    for (unsigned i = 0; i < calls; i++) {
      decide_select(g, &d, &req, candidates, n, &rng);
      struct provider *old = running[i % RUNNING], *p = plan->entries[d.slots[0]].provider;
      if (old) old->in_flight--;
      p->in_flight++;
      running[i % RUNNING] = p;
    }
    rounds[round] = (double)(clock_mono_us() - start) * 1000 / calls;
  }
  for (unsigned i = 1; i < ROUNDS; i++)
    for (unsigned j = i; j > 0 && rounds[j] < rounds[j - 1]; j--) {
      double x = rounds[j];
      rounds[j] = rounds[j - 1];
      rounds[j - 1] = x;
    }
  if (generation_errors(g))
    (void)fprintf(stderr, "%s: %llu errors\n", strategy, (unsigned long long)generation_errors(g));
  generation_free(g);
  plan_unref(&plan);
  return rounds[ROUNDS / 2];
}

static void print_line(const char *strategy) {
  printf("%-24s", strategy);
  for (unsigned i = 0; i < ARRAY_LEN(SIZES); i++)
    printf(" %8.1f", measure(strategy, SIZES[i]));
  printf("\n");
  (void)fflush(stdout);
}

int main(int argc, char **argv) {
  printf("%-24s %8u %8u %8u %8u  ns per select\n", "candidates", SIZES[0], SIZES[1], SIZES[2], SIZES[3]);
  for (int i = 1; i < argc; i++)
    print_line(argv[i]);
  if (argc > 1) return 0;
  size_t n;
  const struct embedded_file *files = embedded_list(&n);
  for (size_t i = 0; i < n; i++) {
    char name[64];
    if (sscanf(files[i].name, "strategies/%63[^.].lua", name) == 1) print_line(name);
  }
  return 0;
}
