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

static bool replace_all(struct buf *text, struct span secret) {
  bool found = false;
  size_t from = 0;
  for (;;) {
    struct span rest = span_make(text->data + from, text->len - from);
    const char *hit = span_find(rest, secret);
    if (!hit) return found;
    found = true;
    size_t at = (size_t)(hit - text->data), tail = text->len - at - secret.len;
    size_t mask = sizeof MASK - 1;
    /* When the mask would not fit, the secret shrinks to what there is room for: never the other way round. */
    if (mask > secret.len && buf_reserve(text, mask - secret.len)) mask = secret.len;
    memmove(text->data + at + mask, text->data + at + secret.len, tail);
    memcpy(text->data + at, MASK, mask < sizeof MASK - 1 ? mask : sizeof MASK - 1);
    text->len = at + mask + tail;
    from = at + mask;
  }
}

bool redact_apply(struct buf *text) {
  bool found = false;
  pthread_rwlock_rdlock(&known.lock);
  for (size_t i = 0; i < known.n; i++)
    if (replace_all(text, known.secrets[i])) found = true;
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
