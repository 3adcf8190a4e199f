#include "script/canary.h"

#include "script/generation.h"

unsigned canary_run(struct plan *plan, const char *previous, struct buf *report) {
  char err[SCRIPT_ERROR_MAX];
  struct generation *g = generation_new(plan, 0, previous, err);
  if (!g) buf_putf(report, "%s\n", err);
  bool is_fine = g != NULL;
  generation_free(g);
  return is_fine ? 0 : 1;
}
