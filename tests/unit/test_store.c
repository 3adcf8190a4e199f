#include "check.h"

#include "script/store.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static struct lb_value value;

static int32_t get(const char *key) {
  return lb_abi_store_get(key, (uint32_t)strlen(key), &value);
}

static int32_t set_number(const char *key, double x) {
  return lb_abi_store_set(key, (uint32_t)strlen(key), LB_STORE_NUMBER, x, NULL, 0);
}

static int32_t set_text(const char *key, const char *text, size_t len) {
  return lb_abi_store_set(key, (uint32_t)strlen(key), LB_STORE_TEXT, 0, text, (uint32_t)len);
}

static int32_t forget(const char *key) {
  return lb_abi_store_set(key, (uint32_t)strlen(key), LB_STORE_NOTHING, 0, NULL, 0);
}

static int32_t incr(const char *key, double by) {
  return lb_abi_store_incr(key, (uint32_t)strlen(key), by, &value);
}

static void values_of_each_kind_come_back(void) {
  store_clear();
  CHECK_INT(get("a"), LB_STORE_NOTHING);
  CHECK_INT(set_number("a", -2.5), LB_STORE_NUMBER);
  CHECK_INT(get("a"), LB_STORE_NUMBER);
  CHECK(value.number == -2.5);
  CHECK_INT(lb_abi_store_set("b", 1, LB_STORE_BOOLEAN, 1, NULL, 0), LB_STORE_BOOLEAN);
  CHECK_INT(get("b"), LB_STORE_BOOLEAN);
  CHECK(value.number == 1);
  CHECK_INT(set_text("c", "x\0y", 3), LB_STORE_TEXT);
  CHECK_INT(get("c"), LB_STORE_TEXT);
  CHECK_INT(value.len, 3);
  CHECK(memcmp(value.text, "x\0y", 3) == 0);
  CHECK_INT(set_text("c", "", 0), LB_STORE_TEXT);
  CHECK_INT(get("c"), LB_STORE_TEXT);
  CHECK_INT(value.len, 0);
  CHECK_INT(store_count(), 3);
}

static void a_value_may_change_its_kind(void) {
  store_clear();
  CHECK_INT(set_text("a", "text", 4), LB_STORE_TEXT);
  CHECK_INT(set_number("a", 7), LB_STORE_NUMBER);
  CHECK_INT(get("a"), LB_STORE_NUMBER);
  CHECK_INT(value.len, 0);
  CHECK_INT(store_count(), 1);
}

static void keys_of_other_lengths_and_long_values_are_refused(void) {
  store_clear();
  char text[STORE_TEXT_MAX + 1];
  memset(text, 'k', sizeof text);
  CHECK_INT(lb_abi_store_get(text, 0, &value), LB_STORE_BAD_KEY);
  CHECK_INT(lb_abi_store_get(text, STORE_KEY_MAX + 1, &value), LB_STORE_BAD_KEY);
  CHECK_INT(lb_abi_store_incr(text, STORE_KEY_MAX + 1, 1, &value), LB_STORE_BAD_KEY);
  CHECK_INT(lb_abi_store_set(text, STORE_KEY_MAX, LB_STORE_TEXT, 0, text, STORE_TEXT_MAX), LB_STORE_TEXT);
  CHECK_INT(lb_abi_store_set(text, STORE_KEY_MAX, LB_STORE_TEXT, 0, text, STORE_TEXT_MAX + 1),
            LB_STORE_BAD_VALUE);
  CHECK_INT(lb_abi_store_set("a", 1, 4, 0, NULL, 0), LB_STORE_BAD_VALUE);
  CHECK_INT(lb_abi_store_set("a", 1, -1, 0, NULL, 0), LB_STORE_BAD_VALUE);
  CHECK_INT(lb_abi_store_get(text, STORE_KEY_MAX, &value), LB_STORE_TEXT);
  CHECK_INT(value.len, STORE_TEXT_MAX);
}

static void incr_begins_at_zero_and_refuses_what_is_no_number(void) {
  store_clear();
  CHECK_INT(incr("n", 1.5), LB_STORE_NUMBER);
  CHECK_INT(incr("n", -4), LB_STORE_NUMBER);
  CHECK(value.number == -2.5);
  CHECK_INT(incr("n", (double)NAN), LB_STORE_BAD_VALUE);
  CHECK_INT(incr("n", (double)INFINITY), LB_STORE_BAD_VALUE);
  CHECK_INT(set_text("t", "1", 1), LB_STORE_TEXT);
  CHECK_INT(incr("t", 1), LB_STORE_BAD_VALUE);
  CHECK_INT(get("t"), LB_STORE_TEXT);
}

static void a_full_store_takes_no_new_key_until_one_is_deleted(void) {
  store_clear();
  char key[16];
  for (int i = 0; i < STORE_KEYS_MAX; i++) {
    (void)snprintf(key, sizeof key, "key-%d", i);
    CHECK_INT(set_number(key, i), LB_STORE_NUMBER);
  }
  CHECK_INT(store_count(), STORE_KEYS_MAX);
  CHECK_INT(set_number("one more", 1), LB_STORE_FULL);
  CHECK_INT(incr("one more", 1), LB_STORE_FULL);
  CHECK_INT(set_number("key-17", -1), LB_STORE_NUMBER);
  CHECK_INT(forget("one more"), LB_STORE_NOTHING);
  CHECK_INT(forget("key-5"), LB_STORE_NOTHING);
  CHECK_INT(get("key-5"), LB_STORE_NOTHING);
  CHECK_INT(set_number("one more", 1), LB_STORE_NUMBER);
  CHECK_INT(set_number("and another", 1), LB_STORE_FULL);
  for (int i = 0; i < STORE_KEYS_MAX; i++) {
    if (i == 5) continue;
    (void)snprintf(key, sizeof key, "key-%d", i);
    CHECK_INT(get(key), LB_STORE_NUMBER);
    CHECK(value.number == (i == 17 ? -1 : i));
  }
}

static void keys_that_come_and_go_leave_nothing(void) {
  store_clear();
  char key[16];
  for (int i = 0; i < 20000; i++) {
    (void)snprintf(key, sizeof key, "k%d", i % 3000);
    if (i % 3) {
      CHECK_INT(forget(key), LB_STORE_NOTHING);
    } else {
      int32_t got = incr(key, 1);
      CHECK(got == LB_STORE_NUMBER || got == LB_STORE_FULL);
    }
  }
  for (int i = 0; i < 3000; i++) {
    (void)snprintf(key, sizeof key, "k%d", i);
    CHECK_INT(forget(key), LB_STORE_NOTHING);
  }
  CHECK_INT(store_count(), 0);
}

#define THREADS 4
#define STEPS   20000

static void *add_many(void *unused) {
  struct lb_value mine;
  (void)unused;
  for (int i = 0; i < STEPS; i++)
    (void)lb_abi_store_incr("sum", 3, 1, &mine);
  return NULL;
}

static void additions_of_many_threads_are_all_there(void) {
  store_clear();
  pthread_t threads[THREADS];
  for (int i = 0; i < THREADS; i++)
    CHECK_INT(pthread_create(&threads[i], NULL, add_many, NULL), 0);
  for (int i = 0; i < THREADS; i++)
    CHECK_INT(pthread_join(threads[i], NULL), 0);
  CHECK_INT(get("sum"), LB_STORE_NUMBER);
  CHECK(value.number == THREADS * STEPS);
}

int main(void) {
  RUN(values_of_each_kind_come_back);
  RUN(a_value_may_change_its_kind);
  RUN(keys_of_other_lengths_and_long_values_are_refused);
  RUN(incr_begins_at_zero_and_refuses_what_is_no_number);
  RUN(a_full_store_takes_no_new_key_until_one_is_deleted);
  RUN(keys_that_come_and_go_leave_nothing);
  RUN(additions_of_many_threads_are_all_there);
  return CHECK_END();
}
