/*
 * check: the smallest test frame. A test file lists its cases with RUN(case) in main(); each prints one TAP
 * line; a failed CHECK names its place and ends the case.
 */
#ifndef MOONGATE_TESTS_CHECK_H
#define MOONGATE_TESTS_CHECK_H

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

static int check_n, check_failed;
static jmp_buf check_out;

#define CHECK(x)                                                                                             \
  do {                                                                                                       \
    if (!(x)) {                                                                                              \
      printf("# %s:%d: %s\n", __FILE__, __LINE__, #x);                                                       \
      longjmp(check_out, 1);                                                                                 \
    }                                                                                                        \
  } while (0)

#define CHECK_INT(a, b)                                                                                      \
  do {                                                                                                       \
    long long check_a = (long long)(a), check_b = (long long)(b);                                            \
    if (check_a != check_b) {                                                                                \
      printf("# %s:%d: %s is %lld, not %lld\n", __FILE__, __LINE__, #a, check_a, check_b);                   \
      longjmp(check_out, 1);                                                                                 \
    }                                                                                                        \
  } while (0)

#define CHECK_STR(a, len, b)                                                                                 \
  do {                                                                                                       \
    if ((size_t)(len) != strlen(b) || memcmp((a), (b), strlen(b)) != 0) {                                    \
      printf("# %s:%d: %s is \"%.*s\", not \"%s\"\n", __FILE__, __LINE__, #a, (int)(len), (const char *)(a), \
             b);                                                                                             \
      longjmp(check_out, 1);                                                                                 \
    }                                                                                                        \
  } while (0)

#define RUN(test)                                                                                            \
  do {                                                                                                       \
    check_n++;                                                                                               \
    if (setjmp(check_out) == 0) {                                                                            \
      test();                                                                                                \
      printf("ok %d %s\n", check_n, #test);                                                                  \
    } else {                                                                                                 \
      check_failed++;                                                                                        \
      printf("not ok %d %s\n", check_n, #test);                                                              \
    }                                                                                                        \
    (void)fflush(stdout);                                                                                    \
  } while (0)

#define CHECK_END() (printf("1..%d\n", check_n), check_failed != 0)

#endif
