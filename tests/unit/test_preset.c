#include "check.h"

#include "script/preset.h"

#include <stdlib.h>

static void means(const char *name, const char *preset) {
  struct span found = preset_find(name);
  if (preset)
    CHECK_STR(found.ptr ? found.ptr : "", found.len, preset);
  else
    CHECK(!found.ptr);
}

static void a_preset_is_found_by_its_name(void) {
  struct span name;
  size_t n = 0;
  for (; (name = preset_name(n)).ptr; n++) {
    char text[PRESET_NAME_MAX];
    span_to_text(text, sizeof text, name);
    means(text, text);
  }
  CHECK_INT(n, 9);
}

static void underscores_and_other_balancers_names_are_understood(void) {
  means("round_robin", "round-robin");
  means("weighted_round_robin", "weighted-round-robin");
  means("least_connections", "least-connections");
  means("least_outstanding", "least-connections");
  means("least-outstanding", "least-connections");
  means("hash", "rendezvous-hash");
  means("tiered", "priority");
}

static void everything_else_is_none(void) {
  static const char *const names[] = {"",
                                      "-",
                                      "round",
                                      "round-robin.lua",
                                      "Round-Robin",
                                      "types/moongate",
                                      "round robin",
                                      "../strategies/random",
                                      "random-random-random-random-random-random-random-random-ran"};
  for (size_t i = 0; i < ARRAY_LEN(names); i++)
    means(names[i], NULL);
}

int main(void) {
  RUN(a_preset_is_found_by_its_name);
  RUN(underscores_and_other_balancers_names_are_understood);
  RUN(everything_else_is_none);
  return CHECK_END();
}
