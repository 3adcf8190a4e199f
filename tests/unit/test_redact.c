#include "base/redact.h"
#include "base/rand.h"
#include "check.h"

#include <pthread.h>
#include <time.h>

static struct buf text;

/* What becomes of `in` in a buffer of at most `max` bytes. */
static const char *redacted(const char *in, size_t max) {
  buf_release(&text);
  buf_init(&text, max);
  buf_put_str(&text, in);
  (void)redact_apply(&text);
  return buf_cstr(&text);
}

#define CHECK_REDACTED(in, expected)                                                                         \
  do {                                                                                                       \
    const char *check_out_text = redacted(in, 10000);                                                        \
    CHECK_STR(check_out_text, strlen(check_out_text), expected);                                             \
  } while (0)

static void a_secret_is_replaced_wherever_it_occurs(void) {
  redact_forget_all();
  redact_add(SPAN("sk-secret-1"));
  CHECK_REDACTED("sk-secret-1", "[redacted]");
  CHECK_REDACTED("key=sk-secret-1, again sk-secret-1sk-secret-1.",
                 "key=[redacted], again [redacted][redacted].");
  CHECK_REDACTED("sk-secret-2 sk-secret-", "sk-secret-2 sk-secret-");
  CHECK_REDACTED("", "");
}

static void the_answer_tells_whether_something_was_found(void) {
  redact_forget_all();
  redact_add(SPAN("hunter22"));
  CHECK(redact_finds(SPAN("xxhunter22xx")) && !redact_finds(SPAN("hunter2")) && !redact_finds(SPAN_NONE));
  buf_release(&text);
  buf_init(&text, 100);
  CHECK(!redact_apply(&text));
  buf_put_str(&text, "nothing here");
  CHECK(!redact_apply(&text));
  CHECK_STR(text.data, text.len, "nothing here");
  buf_put_str(&text, " hunter22");
  CHECK(redact_apply(&text));
}

static void short_secrets_are_not_taken(void) {
  redact_forget_all();
  redact_add(SPAN("abc"));
  redact_add(SPAN_NONE);
  CHECK_REDACTED("abc", "abc");
  redact_add(SPAN("abcd"));
  CHECK_REDACTED("abc abcd", "abc [redacted]");
}

static void secrets_in_each_other_leave_no_rest(void) {
  redact_forget_all();
  redact_add(SPAN("token"));
  redact_add(SPAN("token-with-a-tail"));
  redact_add(SPAN("my-token"));
  CHECK_REDACTED("<token-with-a-tail>", "<[redacted]>");
  CHECK_REDACTED("<my-token-with-a-tail>", "<[redacted]>");
  CHECK_REDACTED("<my-token>", "<[redacted]>");
}

static void overlapping_secrets_leave_no_rest(void) {
  redact_forget_all();
  redact_add(SPAN("abcdef"));
  redact_add(SPAN("efghij"));
  redact_add(SPAN("ijklmn"));
  redact_add(SPAN("aaaa"));
  CHECK_REDACTED("-abcdefghijklmn-", "-[redacted]-");
  CHECK_REDACTED("-efghijklmn-abcdef-", "-[redacted]-[redacted]-");
  CHECK_REDACTED("-aaaaaaaaaa-", "-[redacted]-");
}

static void a_full_buffer_gets_a_shorter_mask(void) {
  redact_forget_all();
  redact_add(SPAN("abcd"));
  const char *out = redacted("xabcdyabcdz", 11);
  CHECK(strstr(out, "abcd") == NULL);
  CHECK_STR(out, strlen(out), "x[redy[redz");
}

static void binary_secrets_are_secrets(void) {
  redact_forget_all();
  redact_add(SPAN("\0\1\2\3\xff"));
  buf_release(&text);
  buf_init(&text, 100);
  buf_put_span(&text, SPAN("<\0\1\2\3\xff>"));
  CHECK(redact_apply(&text));
  CHECK_STR(text.data, text.len, "<[redacted]>");
}

static void nothing_is_known_after_forgetting(void) {
  redact_add(SPAN("remembered"));
  redact_add(SPAN("remembered"));
  redact_forget_all();
  CHECK_REDACTED("remembered", "remembered");
  redact_forget_all();
}

static void no_byte_of_any_secret_remains(void) {
  struct rng r;
  rng_seed(&r, 3);
  for (int round = 0; round < 3000; round++) {
    redact_forget_all();
    char secrets[4][12];
    for (int i = 0; i < 4; i++) {
      size_t n = 4 + rng_below(&r, 6);
      for (size_t k = 0; k < n; k++)
        secrets[i][k] = (char)('a' + rng_below(&r, 2));
      secrets[i][n] = '\0';
      redact_add(span_str(secrets[i]));
    }
    char in[41];
    bool covered[40] = {false};
    for (int i = 0; i < 40; i++)
      in[i] = (char)('a' + rng_below(&r, 3));
    in[40] = '\0';
    for (int i = 0; i < 4; i++)
      for (const char *hit = in; (hit = strstr(hit, secrets[i])); hit++)
        memset(covered + (hit - in), 1, strlen(secrets[i]));
    /* Runs that touch without overlapping may be one mask or two. */
    const char *out = redacted(in, 10000);
    for (int i = 0; i < 40; i++) {
      if (covered[i]) {
        if (i > 0 && covered[i - 1]) continue;
        CHECK(strncmp(out, "[redacted]", 10) == 0);
        while (strncmp(out, "[redacted]", 10) == 0)
          out += 10;
      } else {
        CHECK(*out++ == in[i]);
      }
    }
    CHECK(*out == '\0');
  }
  redact_forget_all();
}

static void *read_in_thread(void *arg) {
  (void)arg;
  for (int i = 0; i < 2000; i++)
    (void)redact_finds(SPAN("some text with a secret-in-it and more"));
  return NULL;
}

static void adding_while_others_read(void) {
  redact_forget_all();
  pthread_t threads[2];
  for (int i = 0; i < 2; i++)
    CHECK(pthread_create(&threads[i], NULL, read_in_thread, NULL) == 0);
  char name[32];
  for (int i = 0; i < 100; i++) {
    (void)snprintf(name, sizeof name, "secret-%d", i);
    redact_add(span_str(name));
  }
  for (int i = 0; i < 2; i++)
    pthread_join(threads[i], NULL);
  CHECK(redact_finds(SPAN("secret-99")));
  redact_forget_all();
}

#define KEY "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"

static void a_private_key_is_found_without_being_kept(void) {
  redact_forget_all();
  redact_add_key(SPAN(KEY));
  CHECK_REDACTED("0x" KEY, "0x[redacted]");
  CHECK_REDACTED("a" KEY "b", "a[redacted]b");
  CHECK_REDACTED("key: 01B48D570BB0AC0DC689580888CE1A3FF613E846BA33098620B03BA1C1856F8D.",
                 "key: [redacted].");
  CHECK_REDACTED(KEY KEY " and " KEY, "[redacted][redacted] and [redacted]");
  CHECK_REDACTED("01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8",
                 "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8");
  redact_add(SPAN("8d, more"));
  CHECK_REDACTED(KEY ", more", "[redacted]");
  redact_add_key(SPAN("0x01"));
  CHECK_REDACTED("0x01", "0x01");
  redact_forget_all();
  CHECK_REDACTED(KEY, KEY);
}

static void a_private_key_is_found_at_every_place_of_a_run(void) {
  redact_forget_all();
  redact_add_key(SPAN(KEY));
  struct rng r;
  rng_seed(&r, 11);
  char in[400];
  for (int round = 0; round < 300; round++) {
    memset(in, 0, sizeof in);
    for (int i = 0; i < 300; i++)
      in[i] = "0123456789abcdefABCDEF"[rng_below(&r, 22)];
    CHECK(!redact_finds(span_str(in)));
    memcpy(in + rng_below(&r, 300 - 64), KEY, 64);
    CHECK(redact_finds(span_str(in)));
    const char *out = redacted(in, 10000);
    CHECK_INT(strlen(out), 300 - 64 + 10);
    CHECK(!strstr(out, KEY));
  }
  redact_forget_all();
}

/* A provider may answer with nothing but the key that it was sent. */
static void a_text_of_nothing_but_secrets_takes_little_time(void) {
  char other[] = "app-sk-other-00";
  redact_forget_all();
  redact_add(SPAN("app-sk-its-own "));
  redact_add_key(SPAN("01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"));
  for (int i = 0; i < 100; i++) {
    other[13] = (char)('0' + i / 10);
    other[14] = (char)('0' + i % 10);
    redact_add(span_str(other));
  }
  struct buf b;
  buf_init(&b, (size_t)1 << 20);
  for (int i = 0; i < 60000; i++)
    buf_put_str(&b, "app-sk-its-own ");
  clock_t began = clock();
  CHECK(redact_apply(&b));
  CHECK((clock() - began) / CLOCKS_PER_SEC < 5);
  CHECK(b.len == (size_t)60000 * strlen("[redacted]"));
  buf_release(&b);
  redact_forget_all();
}

static void what_was_removed_is_no_secret_any_more(void) {
  redact_forget_all();
  redact_add(SPAN("app-sk-first"));
  redact_add(SPAN("app-sk-second"));
  redact_remove(SPAN("app-sk-first"));
  redact_remove(SPAN("never added"));
  redact_remove(SPAN_NONE);
  CHECK_REDACTED("app-sk-first app-sk-second", "app-sk-first [redacted]");
  redact_forget_all();
}

static const char *cut(struct buf *b, const char *from) {
  buf_clear(b);
  CHECK(buf_append(b, from, strlen(from)) == 0);
  (void)redact_digits(b);
  return buf_cstr(b);
}

static void digits_that_may_be_a_key_are_cut_and_addresses_are_not(void) {
#define ADDRESS "0x1234567890123456789012345678901234567890"
#define DIGITS  "01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1c1856f8d"
  static const char *const cases[][2] = {
      {"", ""},
      {ADDRESS, ADDRESS},
      {"\"" DIGITS "\" is none", "\"01b48d57...\" is none"},
      {"0x" DIGITS, "0x01b48d57..."},
      {ADDRESS "1", "0x12345678..."},
      {DIGITS " " ADDRESS " " DIGITS, "01b48d57... " ADDRESS " 01b48d57..."},
      {"0x01b48d570bb0ac0dc689580888ce1a3ff613e846ba33098620b03ba1\xe2\x80\xa6", "0x01b48d57...\xe2\x80\xa6"},
      {"/tmp/0x01b48d570bb0ac0dc689580888ce1a\xe2\x80\xa6", "/tmp/0x01b48d57...\xe2\x80\xa6"},
      {ADDRESS "\xe2\x80\xa6", "0x12345678...\xe2\x80\xa6"},
      {"no digits: xyz, deadbeef", "no digits: xyz, deadbeef"},
  };
  struct buf b;
  buf_init(&b, 4096);
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    const char *got = cut(&b, cases[i][0]);
    CHECK_STR(got, strlen(got), cases[i][1]);
  }
  buf_release(&b);
}

int main(void) {
  RUN(digits_that_may_be_a_key_are_cut_and_addresses_are_not);
  RUN(a_private_key_is_found_without_being_kept);
  RUN(a_private_key_is_found_at_every_place_of_a_run);
  RUN(what_was_removed_is_no_secret_any_more);
  RUN(a_text_of_nothing_but_secrets_takes_little_time);
  RUN(a_secret_is_replaced_wherever_it_occurs);
  RUN(the_answer_tells_whether_something_was_found);
  RUN(short_secrets_are_not_taken);
  RUN(secrets_in_each_other_leave_no_rest);
  RUN(overlapping_secrets_leave_no_rest);
  RUN(a_full_buffer_gets_a_shorter_mask);
  RUN(binary_secrets_are_secrets);
  RUN(nothing_is_known_after_forgetting);
  RUN(no_byte_of_any_secret_remains);
  RUN(adding_while_others_read);
  buf_release(&text);
  return CHECK_END();
}
