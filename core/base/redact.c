#include "base/redact.h"

#include "base/rand.h"
#include "base/siphash.h"

#include <pthread.h>
#include <stdlib.h>

#define ADDRESS_DIGITS 40
#define DIGITS_FINE    24 /* so few are no danger */
#define DIGITS_KEPT    8

/* One that is told by its bytes, or (bytes NULL) by the print of REDACT_KEY_DIGITS hexadecimal digits. */
struct secret {
  char *bytes;
  size_t len;
  uint64_t print[2];
  uint16_t tag;
};

static struct {
  pthread_rwlock_t lock;
  struct secret *secrets;
  size_t n;
  struct siphash_key salt[2]; /* drawn before the first print, as the next two */
  uint64_t step, step_all;    /* step_all: step to the power of REDACT_KEY_DIGITS */
} known = {.lock = PTHREAD_RWLOCK_INITIALIZER};

static const char MASK[] = "[redacted]";

/* ---- keys that are not kept ---- */

static bool is_hex_digit(char lower) {
  return (lower >= '0' && lower <= '9') || (lower >= 'a' && lower <= 'f');
}

static void print_of(uint64_t print[2], const char *digits) {
  char lower[REDACT_KEY_DIGITS];
  for (size_t i = 0; i < sizeof lower; i++)
    lower[i] = ascii_lower(digits[i]);
  for (size_t i = 0; i < 2; i++)
    print[i] = siphash(&known.salt[i], lower, sizeof lower);
  wipe(lower, sizeof lower);
}

/* A sum that can be moved along a text digit by digit; few bits of it are kept, so that it tells little of the key. */
static uint64_t sum_add(uint64_t sum, char lower) {
  return sum * known.step + (unsigned char)lower;
}

static uint16_t tag_of(uint64_t sum) {
  return (uint16_t)((sum * 0x9e3779b97f4a7c15u) >> 48);
}

static const char *find_print(struct span hay, const struct secret *s) {
  uint64_t sum = 0;
  size_t run = 0;
  for (size_t i = 0; i < hay.len; i++) {
    char c = ascii_lower(hay.ptr[i]);
    if (LIKELY(!is_hex_digit(c))) {
      sum = run = 0;
      continue;
    }
    sum = sum_add(sum, c);
    if (run == REDACT_KEY_DIGITS)
      sum -= (unsigned char)ascii_lower(hay.ptr[i - REDACT_KEY_DIGITS]) * known.step_all;
    else if (++run < REDACT_KEY_DIGITS)
      continue;
    if (LIKELY(tag_of(sum) != s->tag)) continue;
    const char *at = hay.ptr + i + 1 - REDACT_KEY_DIGITS;
    uint64_t print[2];
    print_of(print, at);
    if (print[0] == s->print[0] && print[1] == s->print[1]) return at;
  }
  return NULL;
}

static void draw_salt_locked(void) {
  if (known.step) return;
  rand_os(known.salt, sizeof known.salt);
  rand_os(&known.step, sizeof known.step);
  known.step |= 1;
  known.step_all = 1;
  for (int i = 0; i < REDACT_KEY_DIGITS; i++)
    known.step_all *= known.step;
}

/* ---- the list ---- */

static const char *find_secret(struct span hay, const struct secret *s) {
  return s->bytes ? span_find(hay, span_make(s->bytes, s->len)) : find_print(hay, s);
}

static bool is_same(const struct secret *a, const struct secret *b) {
  if (!a->bytes || !b->bytes)
    return !a->bytes && !b->bytes && a->print[0] == b->print[0] && a->print[1] == b->print[1];
  return a->len == b->len && memcmp(a->bytes, b->bytes, a->len) == 0;
}

static void add_locked(const struct secret *s) {
  for (size_t i = 0; i < known.n; i++)
    if (is_same(&known.secrets[i], s)) return;
  known.secrets = x_realloc(known.secrets, (known.n + 1) * sizeof *known.secrets);
  struct secret *added = &known.secrets[known.n++];
  *added = *s;
  if (s->bytes) added->bytes = x_strndup(s->bytes, s->len);
}

void redact_add(struct span secret) {
  if (secret.len < REDACT_MIN) return;
  struct secret s = {.bytes = (char *)secret.ptr, .len = secret.len};
  pthread_rwlock_wrlock(&known.lock);
  add_locked(&s);
  pthread_rwlock_unlock(&known.lock);
}

void redact_add_key(struct span digits) {
  if (digits.len != REDACT_KEY_DIGITS) return;
  struct secret s = {.len = REDACT_KEY_DIGITS};
  pthread_rwlock_wrlock(&known.lock);
  draw_salt_locked();
  print_of(s.print, digits.ptr);
  uint64_t sum = 0;
  for (size_t i = 0; i < digits.len; i++)
    sum = sum_add(sum, ascii_lower(digits.ptr[i]));
  s.tag = tag_of(sum);
  add_locked(&s);
  pthread_rwlock_unlock(&known.lock);
}

static void free_secret(struct secret *s) {
  if (s->bytes) wipe(s->bytes, s->len);
  free(s->bytes);
}

void redact_remove(struct span secret) {
  struct secret s = {.bytes = (char *)secret.ptr, .len = secret.len};
  if (!secret.len) return;
  pthread_rwlock_wrlock(&known.lock);
  for (size_t i = known.n; i-- > 0;) {
    if (!is_same(&known.secrets[i], &s)) continue;
    free_secret(&known.secrets[i]);
    known.secrets[i] = known.secrets[--known.n];
  }
  pthread_rwlock_unlock(&known.lock);
}

bool redact_knows_any(void) {
  pthread_rwlock_rdlock(&known.lock);
  bool knows = known.n > 0;
  pthread_rwlock_unlock(&known.lock);
  return knows;
}

bool redact_finds(struct span text) {
  bool found = false;
  pthread_rwlock_rdlock(&known.lock);
  for (size_t i = 0; i < known.n && !found; i++)
    found = find_secret(text, &known.secrets[i]) != NULL;
  pthread_rwlock_unlock(&known.lock);
  return found;
}

/* ---- the filter ---- */

/*
 * One walk over the text, whatever it holds: a provider may send nothing but its own key. Each secret's next place is
 * looked for once it lies behind what has been dealt with, never from the start again.
 */
struct walk {
  struct span text;
  size_t *next; /* by secret: where it begins next; NOWHERE: not any more */
};

#define NOWHERE SIZE_MAX

static void look_locked(struct walk *w, size_t i, size_t from) {
  size_t len = known.secrets[i].len;
  const char *hit = NULL;
  if (from <= w->text.len && w->text.len - from >= len)
    hit = find_secret(span_make(w->text.ptr + from, w->text.len - from), &known.secrets[i]);
  w->next[i] = hit ? (size_t)(hit - w->text.ptr) : NOWHERE;
}

/* The walk over a text that holds a secret; false when it holds none. */
static bool begin_locked(struct walk *w, struct span text) {
  bool found = false;
  *w = (struct walk){.text = text, .next = x_malloc(known.n * sizeof *w->next)};
  for (size_t i = 0; i < known.n; i++) {
    look_locked(w, i, 0);
    found = found || w->next[i] != NOWHERE;
  }
  if (!found) free(w->next);
  return found;
}

/*
 * The next run of bytes that one or several secrets cover: secrets that lie in each other or overlap are one run, so
 * that no rest of one remains when the other goes.
 */
static bool take_run_locked(struct walk *w, size_t *start, size_t *end) {
  *start = NOWHERE;
  for (size_t i = 0; i < known.n; i++)
    if (w->next[i] < *start) *start = w->next[i];
  if (*start == NOWHERE) return false;
  *end = *start + 1;
  bool has_grown;
  do {
    has_grown = false;
    for (size_t i = 0; i < known.n; i++) {
      while (w->next[i] < *end) {
        size_t stop = w->next[i] + known.secrets[i].len;
        has_grown = has_grown || stop > *end;
        *end = stop > *end ? stop : *end;
        look_locked(w, i, w->next[i] + 1);
      }
    }
  } while (has_grown);
  return true;
}

bool redact_apply(struct buf *text) {
  if (text->len == 0) return false;
  struct walk w;
  pthread_rwlock_rdlock(&known.lock);
  bool found = begin_locked(&w, buf_span(text));
  if (found) {
    struct buf clean;
    buf_init(&clean, text->max);
    size_t from = 0, start, end, left = text->max - text->len; /* what the whole may still grow by */
    while (take_run_locked(&w, &start, &end)) {
      size_t run = end - start, mask = sizeof MASK - 1;
      /* When the mask would not fit, it is cut to what there is room for: never the other way round. */
      if (mask > run && mask - run > left) mask = run;
      left = left + run - mask;
      buf_put(&clean, text->data + from, start - from);
      buf_put(&clean, MASK, mask);
      from = end;
    }
    buf_put(&clean, text->data + from, text->len - from);
    wipe(text->data, text->len);
    buf_clear(text);
    buf_put_span(text, buf_span(&clean));
    buf_release(&clean);
    free(w.next);
  }
  pthread_rwlock_unlock(&known.lock);
  return found;
}

void redact_forget_all(void) {
  pthread_rwlock_wrlock(&known.lock);
  for (size_t i = 0; i < known.n; i++)
    free_secret(&known.secrets[i]);
  free(known.secrets);
  known.secrets = NULL;
  known.n = 0;
  pthread_rwlock_unlock(&known.lock);
}

/* An address, and not the front of something longer that was cut off already. */
static bool is_address(struct span rest, size_t n) {
  return n == ADDRESS_DIGITS && !span_starts(span_make(rest.ptr + n, rest.len - n), SPAN("\xe2\x80\xa6"));
}

bool redact_digits(struct buf *text) {
  size_t to = 0;
  for (size_t at = 0; at < text->len;) {
    struct span rest = span_make(text->data + at, text->len - at);
    size_t n = 0;
    while (n < rest.len && hex_digit(rest.ptr[n]) >= 0)
      n++;
    bool is_cut = n > DIGITS_FINE && !is_address(rest, n);
    size_t kept = is_cut ? DIGITS_KEPT : n ? n : 1;
    memmove(text->data + to, rest.ptr, kept);
    to += kept;
    if (is_cut) {
      memcpy(text->data + to, "...", 3);
      to += 3;
    }
    at += n ? n : 1;
  }
  bool has_cut = to < text->len;
  text->len = to;
  return has_cut;
}
