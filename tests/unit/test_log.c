#include "base/log.h"
#include "base/clock.h"
#include "base/redact.h"
#include "check.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static char got[400000];
static size_t got_len;
static int ends[2], saved;

/* Standard error goes into a pipe from here to capture_end(). */
static void capture(void) {
  saved = dup(STDERR_FILENO);
  if (pipe(ends) != 0 || dup2(ends[1], STDERR_FILENO) < 0) abort();
  (void)fcntl(ends[0], F_SETPIPE_SZ, 1 << 20);
  close(ends[1]);
}

static void capture_end(void) {
  if (dup2(saved, STDERR_FILENO) < 0) abort();
  close(saved);
  ssize_t n;
  got_len = 0;
  while ((n = read(ends[0], got + got_len, sizeof got - 1 - got_len)) > 0)
    got_len += (size_t)n;
  got[got_len] = '\0';
  close(ends[0]);
}

#define CAPTURE(statement)                                                                                   \
  do {                                                                                                       \
    capture();                                                                                               \
    statement;                                                                                               \
    capture_end();                                                                                           \
  } while (0)

#define CHECK_GOT(expected) CHECK_STR(got, got_len, expected)

static void a_text_line(void) {
  log_setup(LOG_INFO, LOG_TEXT);
  CAPTURE(log_warn("provider %s is %d", "p1", 7));
  CHECK_GOT("2023-11-14T22:13:20.045Z warn  provider p1 is 7\n");
}

static void a_json_line(void) {
  log_setup(LOG_INFO, LOG_JSON);
  CAPTURE(log_error("say \"%s\"", "a\\b"));
  CHECK_GOT(
      "{\"time\":\"2023-11-14T22:13:20.045Z\",\"level\":\"error\",\"message\":\"say \\\"a\\\\b\\\"\"}\n");
}

static void the_level_decides(void) {
  log_setup(LOG_WARN, LOG_TEXT);
  CHECK(!log_is_on(LOG_DEBUG) && !log_is_on(LOG_INFO) && log_is_on(LOG_WARN) && log_is_on(LOG_ERROR));
  CAPTURE({
    log_debug("d");
    log_info("i");
  });
  CHECK_GOT("");
  log_setup(LOG_OFF, LOG_TEXT);
  CAPTURE({
    log_error("e");
    log_write(LOG_OFF, "o");
  });
  CHECK_GOT("");
  log_setup(LOG_DEBUG, LOG_TEXT);
  CAPTURE(log_debug("d"));
  CHECK(strstr(got, " debug d\n") != NULL);
}

static void levels_have_names(void) {
  enum log_level level = LOG_OFF;
  CHECK(log_level_parse("debug", &level) && level == LOG_DEBUG);
  CHECK(log_level_parse("warning", &level) && level == LOG_WARN);
  CHECK(log_level_parse("off", &level) && level == LOG_OFF);
  CHECK(!log_level_parse("", &level) && !log_level_parse("INFO", &level) &&
        !log_level_parse("infos", &level));
  CHECK(level == LOG_OFF);
}

static void control_characters_become_visible(void) {
  log_setup(LOG_INFO, LOG_TEXT);
  CAPTURE(log_info("%s", "a\nb\r\tc\x1b[31md\x7f"));
  CHECK(strstr(got, "info  a\\x0ab\\x0d\\x09c\\x1b[31md\\x7f\n") != NULL);
  CAPTURE(log_info("%s", "x\xc2\x9b"
                         "31my"));
  CHECK(strstr(got, "info  x\\x9b31my\n") != NULL);
  log_setup(LOG_INFO, LOG_JSON);
  CAPTURE(log_info("%s", "a\nb\x1b\x7f\xc2\x85z"));
  CHECK(strstr(got, "\"a\\u000ab\\u001b\\u007f\\u0085z\"}\n") != NULL);
}

static void characters_that_are_not_seen_become_visible(void) {
  const char *in = "a\xe2\x80\xae"
                   "b\xe2\x80\xa8"
                   "c\xef\xbb\xbf"
                   "d\xe2\x81\xa6"
                   "e\xd8\x9c"
                   "f\xe2\x80\x8b"
                   "g\xef\xbf\xb9";
  log_setup(LOG_INFO, LOG_TEXT);
  CAPTURE(log_info("%s", in));
  CHECK(strstr(got, "a\\u202eb\\u2028c\\ufeffd\\u2066e\\u061cf\\u200bg\\ufff9\n") != NULL);
  log_setup(LOG_INFO, LOG_JSON);
  CAPTURE(log_info("%s", in));
  CHECK(strstr(got, "\"a\\u202eb\\u2028c\\ufeffd\\u2066e\\u061cf\\u200bg\\ufff9\"}\n") != NULL);
}

static void other_characters_stay_and_broken_ones_are_shown(void) {
  const char *in = "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x99 \xff \xc3( \xe2\x82 \xc0\xaf \xed\xa0\x80 "
                   "\xf4\x90\x80\x80 \xc3";
  log_setup(LOG_INFO, LOG_TEXT);
  CAPTURE(log_info("%s", in));
  CHECK(strstr(got,
               "\xc3\xa9 \xe2\x82\xac \xf0\x9f\x8c\x99 \\xff \\xc3( \\xe2\\x82 \\xc0\\xaf \\xed\\xa0\\x80 "
               "\\xf4\\x90\\x80\\x80 \\xc3\n") != NULL);
  log_setup(LOG_INFO, LOG_JSON);
  CAPTURE(log_info("%s", in));
  CHECK(strstr(got, "\xf0\x9f\x8c\x99 \\\\xff \\\\xc3( ") != NULL);
}

static void secrets_never_reach_the_line(void) {
  redact_add(SPAN("sk-live-0123456789"));
  log_setup(LOG_INFO, LOG_TEXT);
  CAPTURE(log_info("Authorization: Bearer %s.", "sk-live-0123456789"));
  CHECK(strstr(got, "Bearer [redacted].\n") != NULL);
  redact_forget_all();
}

static void no_part_of_a_secret_shows_at_the_cut(void) {
  redact_add(SPAN("sk-live-0123456789"));
  static char filler[LOG_LINE_MAX + 100];
  const enum log_format formats[] = {LOG_TEXT, LOG_JSON};
  for (size_t f = 0; f < ARRAY_LEN(formats); f++) {
    log_setup(LOG_INFO, formats[f]);
    for (size_t n = 1990; n<LOG_LINE_MAX + 20; n += n> 2060 && n < 3950 ? 100 : 1) {
      memset(filler, 'x', n);
      filler[n] = '\0';
      CAPTURE(log_info("%s%s", filler, "sk-live-0123456789"));
      CHECK(got_len <= LOG_LINE_MAX && got[got_len - 1] == '\n');
      CHECK(strstr(got, "sk-") == NULL);
    }
  }
  redact_forget_all();
}

static void lines_are_cut_at_the_maximum_and_stay_whole(void) {
  static char filler[3 * LOG_LINE_MAX];
  memset(filler, 'x', sizeof filler - 1);
  log_setup(LOG_INFO, LOG_TEXT);
  CAPTURE(log_info("%s", filler));
  CHECK(got_len <= LOG_LINE_MAX && got_len > LOG_LINE_MAX - 64 && got[got_len - 1] == '\n');
  memset(filler, '\n', sizeof filler - 1);
  log_setup(LOG_INFO, LOG_JSON);
  CAPTURE(log_info("%s", filler));
  CHECK(got_len <= LOG_LINE_MAX && strcmp(got + got_len - 3, "\"}\n") == 0);
  CHECK(strncmp(got + got_len - 9, "\\u000a", 6) == 0);
  for (size_t i = 0; i + 4 < sizeof filler; i += 3)
    memcpy(filler + i, "\xe2\x82\xac", 3);
  CAPTURE(log_info("%s", filler));
  CHECK(got_len <= LOG_LINE_MAX && strcmp(got + got_len - 3, "\"}\n") == 0);
  CHECK(strncmp(got + got_len - 6, "\xe2\x82\xac", 3) == 0);
}

static void a_closed_pipe_loses_the_line_and_nothing_else(void) {
  (void)signal(SIGPIPE, SIG_IGN);
  log_setup(LOG_INFO, LOG_TEXT);
  capture();
  close(ends[0]);
  log_info("into nothing");
  ends[0] = open("/dev/null", O_RDONLY);
  capture_end();
  CAPTURE(log_info("still there"));
  CHECK(strstr(got, "still there\n") != NULL);
}

static void a_pipe_that_nobody_empties_loses_lines_and_tells_how_many(void) {
  log_setup(LOG_INFO, LOG_TEXT);
  capture();
  (void)fcntl(ends[0], F_SETPIPE_SZ, 8192);
  for (int i = 0; i < 300; i++)
    log_info("line %d of many, which are more than the pipe can hold", i);
  ssize_t n = read(ends[0], got, sizeof got - 1);
  log_info("one more");
  capture_end();
  CHECK(n > 0 && n <= 8192);
  int lost = 0;
  char *at = strstr(got, "warn  ");
  CHECK(at && sscanf(at, "warn  %d lines before this one were lost: standard error took none\n", &lost) == 1);
  CHECK(lost > 200 && lost < 300);
  CHECK(strstr(got, "info  one more\n") != NULL);
}

static void *write_many(void *arg) {
  for (int i = 0; i < 500; i++)
    log_info("thread %s line %d end", (const char *)arg, i);
  return NULL;
}

static void lines_of_threads_do_not_mix(void) {
  log_setup(LOG_INFO, LOG_TEXT);
  pthread_t threads[2];
  capture();
  int errors = pthread_create(&threads[0], NULL, write_many, "one");
  errors += pthread_create(&threads[1], NULL, write_many, "two");
  for (int i = 0; i < 2 && errors == 0; i++)
    pthread_join(threads[i], NULL);
  capture_end();
  CHECK_INT(errors, 0);
  int lines = 0;
  for (char *at = got, *end; (end = strchr(at, '\n')); at = end + 1, lines++)
    CHECK(strncmp(at, "2023-11-14T", 11) == 0 && strncmp(end - 4, " end", 4) == 0);
  CHECK_INT(lines, 1000);
}

static void the_limit_counts_what_it_held_back(void) {
  struct log_limit limit = {0};
  unsigned suppressed = 99, passed = 0;
  for (int i = 0; i < 10; i++)
    passed += log_limit_pass(&limit, 3, 1000, &suppressed);
  CHECK(passed == 3 && suppressed == 0);
  clock_fake_advance_ms(999);
  CHECK(!log_limit_pass(&limit, 3, 1000, &suppressed));
  clock_fake_advance_ms(1);
  CHECK(log_limit_pass(&limit, 3, 1000, &suppressed));
  CHECK_INT(suppressed, 8);
  CHECK(log_limit_pass(&limit, 3, 1000, &suppressed));
  CHECK_INT(suppressed, 0);
}

int main(void) {
  clock_fake_set(5000000, 1700000000045u);
  RUN(a_text_line);
  RUN(a_json_line);
  RUN(the_level_decides);
  RUN(levels_have_names);
  RUN(control_characters_become_visible);
  RUN(characters_that_are_not_seen_become_visible);
  RUN(other_characters_stay_and_broken_ones_are_shown);
  RUN(secrets_never_reach_the_line);
  RUN(no_part_of_a_secret_shows_at_the_cut);
  RUN(lines_are_cut_at_the_maximum_and_stay_whole);
  RUN(a_closed_pipe_loses_the_line_and_nothing_else);
  RUN(a_pipe_that_nobody_empties_loses_lines_and_tells_how_many);
  RUN(lines_of_threads_do_not_mix);
  RUN(the_limit_counts_what_it_held_back);
  return CHECK_END();
}
