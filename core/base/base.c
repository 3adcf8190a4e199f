#include "base/base.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Said when it can be at once: a pipe that nobody empties must not keep a broken process alive. */
static void say(const char *text) {
  struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
  if (poll(&out, 1, 0) != 1 || !(out.revents & POLLOUT)) return;
  ssize_t written = write(STDERR_FILENO, text, strlen(text));
  (void)written;
}

void require_failed(const char *file, int line, const char *expr) {
  char text[512];
  (void)snprintf(text, sizeof text, "moongate: internal error at %s:%d: %.300s does not hold\n", file, line,
                 expr);
  say(text);
  abort();
}

NORETURN static void out_of_memory(size_t size) {
  char text[64];
  (void)snprintf(text, sizeof text, "moongate: out of memory (%zu bytes)\n", size);
  say(text);
  abort();
}

void *x_malloc(size_t size) {
  void *p = malloc(size ? size : 1);
  if (!p) out_of_memory(size);
  return p;
}

void *x_calloc(size_t n, size_t size) {
  void *p = calloc(n ? n : 1, size ? size : 1);
  if (!p) out_of_memory(n * size);
  return p;
}

void *x_realloc(void *old, size_t size) {
  void *p = realloc(old, size ? size : 1);
  if (!p) out_of_memory(size);
  return p;
}

char *x_strndup(const char *s, size_t n) {
  char *p = x_malloc(n + 1);
  if (n) memcpy(p, s, n);
  p[n] = '\0';
  return p;
}

char *x_strdup(const char *s) {
  return x_strndup(s, strlen(s));
}

#if UNDER_TSAN
/* Of the sanitizer's runtime; those that no longer have it count as not asked. */
__attribute__((weak)) void AnnotateBenignRaceSized(const char *file, int line, const volatile void *at,
                                                   size_t len, const char *why);

void race_is_meant(const volatile void *at, size_t len, const char *why) {
  if (AnnotateBenignRaceSized) AnnotateBenignRaceSized(__FILE__, __LINE__, at, len, why);
}
#else
void race_is_meant(const volatile void *at, size_t len, const char *why) {
  (void)at;
  (void)len;
  (void)why;
}
#endif

void wipe(void *p, size_t len) {
  if (!p || !len) return;
  memset(p, 0, len);
  __asm__ __volatile__("" : : "r"(p) : "memory");
}

bool equal_constant_time(const void *a, size_t a_len, const void *b, size_t b_len) {
  if (a_len != b_len) return false;
  const volatile unsigned char *x = a, *y = b;
  unsigned char diff = 0;
  for (size_t i = 0; i < a_len; i++)
    diff |= (unsigned char)(x[i] ^ y[i]);
  return diff == 0;
}
