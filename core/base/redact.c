#include "base/redact.h"

#include <pthread.h>
#include <stdlib.h>

static struct {
  pthread_rwlock_t lock;
  struct span *secrets;
  size_t n;
} known = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static const char MASK[] = "[redacted]";

void redact_add(struct span secret) {
  if (secret.len < REDACT_MIN) return;
  pthread_rwlock_wrlock(&known.lock);
  bool is_known = false;
  for (size_t i = 0; i < known.n; i++)
    is_known = is_known || span_eq(known.secrets[i], secret);
  if (!is_known) {
    known.secrets = x_realloc(known.secrets, (known.n + 1) * sizeof *known.secrets);
    known.secrets[known.n++] = span_make(x_strndup(secret.ptr, secret.len), secret.len);
  }
  pthread_rwlock_unlock(&known.lock);
}

bool redact_finds(struct span text) {
  bool found = false;
  pthread_rwlock_rdlock(&known.lock);
  for (size_t i = 0; i < known.n && !found; i++)
    found = span_find(text, known.secrets[i]) != NULL;
  pthread_rwlock_unlock(&known.lock);
  return found;
}

/*
 * The first run of bytes from `from` on that one or several secrets cover: secrets that lie in each other or
 * overlap are one run, so that no rest of one remains when the other goes.
 */
static bool find_run_locked(struct span text, size_t from, size_t *start, size_t *end) {
  const char *first = NULL;
  size_t len = 0;
  for (size_t i = 0; i < known.n; i++) {
    const char *hit = span_find(span_make(text.ptr + from, text.len - from), known.secrets[i]);
    if (!hit || (first && hit > first) || (hit == first && known.secrets[i].len < len)) continue;
    first = hit;
    len = known.secrets[i].len;
  }
  if (!first) return false;
  *start = (size_t)(first - text.ptr);
  *end = *start + len;
  bool has_grown;
  do {
    has_grown = false;
    for (size_t i = 0; i < known.n; i++) {
      /* Only a hit that starts inside the run and ends behind it fits this window. */
      size_t n = known.secrets[i].len, at = *end + 1 > *start + n ? *end + 1 - n : *start;
      size_t stop = *end + n - 1 < text.len ? *end + n - 1 : text.len;
      const char *hit = span_find(span_make(text.ptr + at, stop - at), known.secrets[i]);
      if (!hit) continue;
      *end = (size_t)(hit - text.ptr) + n;
      has_grown = true;
    }
  } while (has_grown);
  return true;
}

bool redact_apply(struct buf *text) {
  if (text->len == 0) return false;
  bool found = false;
  size_t from = 0, start, end;
  pthread_rwlock_rdlock(&known.lock);
  while (find_run_locked(buf_span(text), from, &start, &end)) {
    found = true;
    size_t run = end - start, tail = text->len - end, mask = sizeof MASK - 1;
    /* When the mask would not fit, it is cut to what there is room for: never the other way round. */
    if (mask > run && buf_reserve(text, mask - run)) mask = run;
    memmove(text->data + start + mask, text->data + end, tail);
    memcpy(text->data + start, MASK, mask);
    text->len = start + mask + tail;
    from = start + mask;
  }
  pthread_rwlock_unlock(&known.lock);
  return found;
}

void redact_forget_all(void) {
  pthread_rwlock_wrlock(&known.lock);
  for (size_t i = 0; i < known.n; i++) {
    char *copy = (char *)known.secrets[i].ptr;
    wipe(copy, known.secrets[i].len);
    free(copy);
  }
  free(known.secrets);
  known.secrets = NULL;
  known.n = 0;
  pthread_rwlock_unlock(&known.lock);
}
