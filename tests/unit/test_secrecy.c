#include "base/secrecy.h"
#include "check.h"

#include <stdlib.h>

#define KEY   "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"
#define UPPER "01B48D570BB0AC0DC689580888CE1A3FF613E846BA33098620B03BA1C1856F8D"
#define OTHER "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8e"
#define MASK  "****************************************************************"

static const char *env(const char *name) {
  return getenv(name);
}

static void the_environment_keeps_nothing_of_a_key(void) {
  CHECK(setenv("A_KEY", "0x" KEY, 1) == 0);
  CHECK(setenv("ANOTHER", "x" UPPER "y", 1) == 0);
  CHECK(setenv("OTHERS", OTHER, 1) == 0);
  secrecy_mask_environment(SPAN("0x" KEY));
  CHECK_STR(env("A_KEY"), strlen(env("A_KEY")), "0x" MASK);
  CHECK_STR(env("ANOTHER"), strlen(env("ANOTHER")), "x" MASK "y");
  CHECK_STR(env("OTHERS"), strlen(env("OTHERS")), OTHER);
  secrecy_mask_environment(SPAN(OTHER));
  CHECK_STR(env("OTHERS"), strlen(env("OTHERS")), MASK);
}

static void what_is_no_key_masks_nothing(void) {
  CHECK(setenv("SHORT", "01b48d", 1) == 0);
  secrecy_mask_environment(SPAN("01b48d"));
  secrecy_mask_environment(SPAN(""));
  secrecy_mask_environment(SPAN_NONE);
  CHECK_STR(env("SHORT"), strlen(env("SHORT")), "01b48d");
}

/* The entry of the environment itself. */
static const char *entry_of(const char *name) {
  return env(name) - strlen(name) - 1;
}

static void the_next_process_gets_what_was_masked(void) {
  CHECK(setenv("A_KEY", "0x" KEY " and x" UPPER, 1) == 0);
  CHECK(setenv("PLAIN", "no key", 1) == 0);
  secrecy_mask_environment(SPAN(KEY));
  secrecy_mask_environment(SPAN("0x" MASK)); /* what is there now is no key */
  char *whole = secrecy_unmasked(entry_of("A_KEY"));
  CHECK(whole != NULL);
  CHECK_STR(whole, strlen(whole), "A_KEY=0x" KEY " and x" UPPER);
  free(whole);
  CHECK(secrecy_unmasked(entry_of("PLAIN")) == NULL);
}

static void whatever_looks_like_a_key_can_be_masked(void) {
  CHECK(setenv("WALLET", "0x" OTHER, 1) == 0);
  CHECK(setenv("LONGER", OTHER "0", 1) == 0);
  CHECK(setenv("TWO", OTHER "," UPPER, 1) == 0);
  CHECK(secrecy_mask_all());
  CHECK(!secrecy_mask_all());
  CHECK_STR(env("WALLET"), strlen(env("WALLET")), "0x" MASK);
  CHECK_STR(env("LONGER"), strlen(env("LONGER")), OTHER "0");
  CHECK_STR(env("TWO"), strlen(env("TWO")), MASK "," MASK);
  char *whole = secrecy_unmasked(entry_of("TWO"));
  CHECK_STR(whole, strlen(whole), "TWO=" OTHER "," UPPER);
  free(whole);
}

static void a_mask_is_asterisks_alone(void) {
  CHECK(secrecy_is_mask(SPAN(MASK)) && secrecy_is_mask(SPAN("0x" MASK)));
  CHECK(!secrecy_is_mask(SPAN("***")) && !secrecy_is_mask(SPAN("")) && !secrecy_is_mask(SPAN(KEY)));
}

int main(void) {
  RUN(the_environment_keeps_nothing_of_a_key);
  RUN(what_is_no_key_masks_nothing);
  RUN(the_next_process_gets_what_was_masked);
  RUN(whatever_looks_like_a_key_can_be_masked);
  RUN(a_mask_is_asterisks_alone);
  return CHECK_END();
}
