#include "base/vault.h"
#include "check.h"

#include <stdlib.h>

#define KEY "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"

static struct vault v, w;

static void a_key_is_taken_from_hex_digits(void) {
  CHECK(vault_is_empty(&v));
  CHECK(vault_put_hex(&v, SPAN(KEY)));
  CHECK_INT(v.key[0], 1);
  CHECK_INT(v.key[1], 0xb4);
  CHECK_INT(v.key[31], 0x8d);
  CHECK(vault_put_hex(&w, SPAN(" 0X01B48D570BB0AC0DC689580888CE1A3FF613E846BA33098620B03BA1C1856F8D\n")));
  CHECK(vault_eq(&v, &w));
  w.key[31] ^= 1;
  CHECK(!vault_eq(&v, &w));
  vault_wipe(&v);
  vault_wipe(&w);
  CHECK(vault_is_empty(&v) && vault_eq(&v, &w));
}

static void what_is_no_key_is_refused(void) {
  static const char *const bad[] = {"",
                                    "0x",
                                    "0x01",
                                    "01b48d",
                                    KEY "0",
                                    "0x" KEY "00",
                                    "zz" KEY,
                                    "g1b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d",
                                    "0x 01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
    CHECK(!vault_put_hex(&v, span_str(bad[i])));
    CHECK(vault_is_empty(&v));
  }
}

static void moving_leaves_nothing_behind(void) {
  CHECK(vault_put_hex(&v, SPAN(KEY)));
  vault_move(&w, &v);
  CHECK(vault_is_empty(&v) && !vault_is_empty(&w));
  CHECK_INT(w.key[0], 1);
  vault_wipe(&w);
}

static void the_environment_keeps_nothing_of_it(void) {
  CHECK(setenv("A_KEY", "0x" KEY, 1) == 0);
  CHECK(setenv("ANOTHER", "x01B48D570BB0AC0DC689580888CE1A3FF613E846BA33098620B03BA1C1856F8Dy", 1) == 0);
  CHECK(setenv("OTHERS", "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8e", 1) == 0);
  CHECK(vault_put_hex(&v, SPAN(KEY)));
  vault_mask_environment(&v);
  CHECK(!strstr(getenv("A_KEY"), "01b48d") && vault_is_mask(span_str(getenv("A_KEY"))));
  CHECK(getenv("ANOTHER")[0] == 'x' && getenv("ANOTHER")[1] == '*' && getenv("ANOTHER")[65] == 'y');
  CHECK(strncmp(getenv("OTHERS"), "01b48d", 6) == 0);
  vault_wipe(&v);
  vault_mask_environment(&v);
}

static void a_mask_is_asterisks_alone(void) {
  CHECK(vault_is_mask(SPAN("****************************************************************")));
  CHECK(vault_is_mask(SPAN("0x****************************************************************")));
  CHECK(!vault_is_mask(SPAN("***")) && !vault_is_mask(SPAN("")) && !vault_is_mask(SPAN(KEY)));
}

int main(void) {
  RUN(a_key_is_taken_from_hex_digits);
  RUN(what_is_no_key_is_refused);
  RUN(moving_leaves_nothing_behind);
  RUN(the_environment_keeps_nothing_of_it);
  RUN(a_mask_is_asterisks_alone);
  return CHECK_END();
}
