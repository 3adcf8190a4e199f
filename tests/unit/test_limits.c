#include "wire/limits.h"
#include "base/clock.h"
#include "check.h"

#include <math.h>
#include <stdlib.h>

/* 2024-01-01 00:00:00 */
#define NEW_YEAR_MS UINT64_C(1704067200000)

static struct limits read_fields(const char *fields) {
  static struct http_response head;
  char text[1024];
  int len = snprintf(text, sizeof text, "HTTP/1.1 429 Slow\r\n%sContent-Length: 0\r\n\r\n", fields);
  CHECK(http_response_parse(&head, text, (size_t)len, false) == NULL);
  struct limits l;
  clock_fake_set(1000, NEW_YEAR_MS);
  limits_read(&l, &head);
  clock_fake_off();
  return l;
}

#define CHECK_WAIT(fields, expected)                                                                         \
  do {                                                                                                       \
    struct limits l = read_fields(fields);                                                                   \
    CHECK_INT(limits_wait_ms(&l), expected);                                                                 \
  } while (0)

#define CHECK_RESET(value, expected)                                                                         \
  CHECK(read_fields("x-ratelimit-reset-requests: " value "\r\n").requests.reset_ms == (expected))

#define CHECK_NO_RESET(value)                                                                                \
  CHECK(isnan(read_fields("x-ratelimit-reset-requests: " value "\r\n").requests.reset_ms))

static void a_head_without_limits_says_nothing(void) {
  struct limits l = read_fields("");
  CHECK(isnan(l.requests.left) && isnan(l.requests.reset_ms));
  CHECK(isnan(l.tokens.left) && isnan(l.tokens.reset_ms));
  CHECK(!l.has_retry_after);
  CHECK_INT(limits_wait_ms(&l), 0);
}

static void what_is_left_is_read(void) {
  struct limits l =
      read_fields("X-RateLimit-Remaining-Requests: 59\r\nx-ratelimit-remaining-tokens: 149984\r\n"
                  "x-ratelimit-reset-requests: 1s\r\nx-ratelimit-reset-tokens: 6m0s\r\n");
  CHECK(l.requests.left == 59 && l.tokens.left == 149984);
  CHECK(l.requests.reset_ms == 1000 && l.tokens.reset_ms == 360000);
}

static void times_are_read_in_every_spelling(void) {
  CHECK_RESET("7", 7000);
  CHECK_RESET("120ms", 120);
  CHECK_RESET("2m59.5s", 179500);
  CHECK_RESET("1h2m3s", 3723000);
  CHECK_RESET("1d", 86400000);
  CHECK_RESET("0s", 0);
}

static void what_is_no_time_is_not_known(void) {
  CHECK_NO_RESET("");
  CHECK_NO_RESET("s");
  CHECK_NO_RESET("-1s");
  CHECK_NO_RESET("1x");
  CHECK_NO_RESET(".5s");
  CHECK_NO_RESET("1..5s");
  CHECK_NO_RESET("inf");
  CHECK_NO_RESET("1704067200"); /* a date in seconds */
  CHECK_NO_RESET("12345678901234567890");
  CHECK(isnan(read_fields("x-ratelimit-remaining-tokens: many\r\n").tokens.left));
}

static void retry_after_is_read_in_every_form(void) {
  CHECK_WAIT("Retry-After: 7\r\n", 7000);
  CHECK_WAIT("Retry-After: 0\r\n", 0);
  CHECK_WAIT("Retry-After: 1.5\r\n", 1500);
  CHECK_WAIT("Retry-After: 99999999999999999999\r\n", 86400000);
  CHECK_WAIT("Retry-After: Mon, 01 Jan 2024 00:00:30 GMT\r\n", 30000);
  CHECK_WAIT("retry-after-ms: 1500.2\r\n", 1501);
  CHECK_WAIT("Retry-After: 9\r\nretry-after-ms: 20\r\n", 20);
  CHECK_WAIT("Retry-After: 9\r\nretry-after-ms: soon\r\n", 9000);
  CHECK_WAIT("Retry-After: soon\r\n", 0);
}

static void without_retry_after_it_waits_for_what_is_used_up(void) {
  CHECK_WAIT("x-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 6s\r\n", 6000);
  CHECK_WAIT("x-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-requests: 6s\r\n"
             "x-ratelimit-remaining-tokens: 0\r\nx-ratelimit-reset-tokens: 2s\r\n",
             2000);
  CHECK_WAIT("x-ratelimit-reset-tokens: 2s\r\n", 2000);
  CHECK_WAIT("x-ratelimit-remaining-requests: 5\r\nx-ratelimit-reset-requests: 6s\r\n", 0);
  CHECK_WAIT("x-ratelimit-remaining-requests: 0\r\n", 0);
  CHECK_WAIT("Retry-After: 1\r\nx-ratelimit-remaining-requests: 0\r\nx-ratelimit-reset-requests: 6s\r\n",
             1000);
}

int main(void) {
  RUN(a_head_without_limits_says_nothing);
  RUN(what_is_left_is_read);
  RUN(times_are_read_in_every_spelling);
  RUN(what_is_no_time_is_not_known);
  RUN(retry_after_is_read_in_every_form);
  RUN(without_retry_after_it_waits_for_what_is_used_up);
  return CHECK_END();
}
