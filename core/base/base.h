/*
 * base: the few things every file needs.
 *
 * Thread: any.   Knows: nothing of the product.
 * Two kinds of check exist and no third: REQUIRE for our own bugs (always on, aborts), and ordinary error
 * returns for whatever a peer, a file, a script or an operator can cause.
 */
#ifndef MOONGATE_BASE_BASE_H
#define MOONGATE_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MUST_CHECK        __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))
#define SELDOM            __attribute__((noinline, cold)) /* costs its callers nothing while it is not called */
#define LIKELY(x)         __builtin_expect(!!(x), 1)
#define UNLIKELY(x)       __builtin_expect(!!(x), 0)
#define ARRAY_LEN(a)      (sizeof(a) / sizeof((a)[0]))
#define CACHE_LINE        64

/* Whether ThreadSanitizer looks on. */
#if defined(__SANITIZE_THREAD__)
#  define UNDER_TSAN 1
#elif defined(__has_feature)
#  if __has_feature(thread_sanitizer)
#    define UNDER_TSAN 1
#  endif
#endif
#ifndef UNDER_TSAN
#  define UNDER_TSAN 0
#endif

/* The struct that holds `ptr` as its `member`. */
#define container_of(ptr, type, member) ((type *)((char *)(ptr)-offsetof(type, member)))

/* Aborts with file, line and expression: the program's own invariant is broken. */
#define REQUIRE(x)                                                                                           \
  do {                                                                                                       \
    if (UNLIKELY(!(x))) require_failed(__FILE__, __LINE__, #x);                                              \
  } while (0)

NORETURN void require_failed(const char *file, int line, const char *expr);

/*
 * Allocators that stop the process when memory is gone. For objects whose size no peer controls, or whose
 * size was bounded first. Freed with free().
 */
void *x_malloc(size_t size) __attribute__((malloc, returns_nonnull));
void *x_calloc(size_t n, size_t size) __attribute__((malloc, returns_nonnull));
void *x_realloc(void *p, size_t size) __attribute__((returns_nonnull));
char *x_strdup(const char *s) __attribute__((malloc, returns_nonnull));
char *x_strndup(const char *s, size_t n) __attribute__((malloc, returns_nonnull));

/*
 * Tells ThreadSanitizer of memory that one thread writes atomically and another reads by a plain aligned load, which the
 * machine cannot tear, through code that is not compiled here. Does nothing in other builds.
 */
void race_is_meant(const volatile void *at, size_t len, const char *why);

/* Overwrites memory that held a secret; the compiler cannot drop it. */
void wipe(void *p, size_t len);

/* Compares without telling by its duration where the difference is. Lengths are not secret. */
bool equal_constant_time(const void *a, size_t a_len, const void *b, size_t b_len);

#endif
