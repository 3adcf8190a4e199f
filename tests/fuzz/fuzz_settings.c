/*
 * Input: a configuration file. Whatever stands in it ends in time, and either gives a plan within the ranges that the
 * manual promises, or problems in words, each with its place; never both.
 */
#include "base/log.h"
#include "base/redact.h"
#include "lua_mutator.h"
#include "script/settings.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

int LLVMFuzzerInitialize(int *argc, char ***argv) {
  (void)argc;
  (void)argv;
  (void)setenv("A", "value-of-a-variable", 1);
  return 0;
}

static void require_lines(struct buf *list, unsigned n) {
  unsigned lines = 0;
  for (size_t i = 0; i < list->len; i++) {
    lines += list->data[i] == '\n';
    REQUIRE(list->data[i] != '\0');
  }
  REQUIRE((n == 0) == (lines == 0) && (n == 0 || lines >= 1));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size > 8192) return 0;
  struct registry *registry = registry_new();
  struct settings_report report;
  settings_report_init(&report);
  /* A pointer that is not NULL even for an empty text: NULL stands for "no text". */
  char *text = x_malloc(size + 1);
  if (size) memcpy(text, data, size);
  struct plan *plan = settings_load(&report, "c.lua", span_make(text, size), NULL, registry);
  REQUIRE((plan == NULL) == (report.n_problems > 0));
  require_lines(&report.problems, report.n_problems);
  require_lines(&report.warnings, report.n_warnings);
  if (plan) plan_unref(&plan);
  settings_report_release(&report);
  registry_free(registry);
  redact_forget_all();
  free(text);
  return 0;
}
