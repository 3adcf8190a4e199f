#include "script/guard.h"

#include <stdio.h>

void guard_start(void) {}

void guard_stop(void) {}

bool guard_self_test(char out[160]) {
  (void)snprintf(out, 160, "not measured");
  return true;
}
