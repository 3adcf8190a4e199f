#include "base/secrecy.h"

#include <strings.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define DIGITS     64
#define HIDDEN_MAX 40

extern char **environ;

static bool has_begun;

/* What was overwritten, and where. In pages of their own: locked, in no core dump, empty in a child. */
struct hidden {
  const char *entry;
  size_t at;
  char digits[DIGITS];
};

static struct vault {
  unsigned n;
  struct hidden list[HIDDEN_MAX];
} * vault;

void secrecy_begin(void) {
  has_begun = true;
  struct rlimit none = {0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  (void)prctl(PR_SET_DUMPABLE, 0);
}

void secrecy_end(void) {
  if (!has_begun) return;
  has_begun = false;
  (void)prctl(PR_SET_DUMPABLE, 1);
}

static struct span without_prefix(struct span text) {
  bool has_prefix = text.len >= 2 && text.ptr[0] == '0' && ascii_lower(text.ptr[1]) == 'x';
  return has_prefix ? span_make(text.ptr + 2, text.len - 2) : text;
}

static struct vault *open_vault(void) {
  if (vault) return vault;
  void *at = mmap(NULL, sizeof *vault, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  (void)mlock(at, sizeof *vault);
  (void)madvise(at, sizeof *vault, MADV_DONTDUMP);
  (void)madvise(at, sizeof *vault, MADV_WIPEONFORK);
  vault = at;
  return vault;
}

/* Without room for it the next process has no key; that is told there. */
static void hide(char *entry, size_t at) {
  struct vault *v = open_vault();
  if (v && v->n < HIDDEN_MAX) {
    struct hidden *h = &v->list[v->n++];
    h->entry = entry;
    h->at = at;
    memcpy(h->digits, entry + at, DIGITS);
  }
  memset(entry + at, '*', DIGITS);
}

void secrecy_mask_environment(struct span key) {
  struct span digits = without_prefix(key);
  if (digits.len != DIGITS || secrecy_is_mask(key)) return;
  for (char **entry = environ; entry && *entry; entry++) {
    size_t len = strlen(*entry);
    for (size_t at = 0; at + DIGITS <= len; at++)
      if (strncasecmp(*entry + at, digits.ptr, DIGITS) == 0) hide(*entry, at);
  }
}

static size_t count_digits(const char *s) {
  size_t n = 0;
  while ((s[n] >= '0' && s[n] <= '9') || (ascii_lower(s[n]) >= 'a' && ascii_lower(s[n]) <= 'f'))
    n++;
  return n;
}

bool secrecy_mask_all(void) {
  bool found = false;
  for (char **entry = environ; entry && *entry; entry++) {
    const char *value = strchr(*entry, '=');
    for (size_t at = value ? (size_t)(value - *entry) : 0, n; value && (*entry)[at]; at += n ? n : 1) {
      n = count_digits(*entry + at);
      if (n != DIGITS) continue;
      hide(*entry, at);
      found = true;
    }
  }
  return found;
}

char *secrecy_unmasked(const char *entry) {
  char *out = NULL;
  for (unsigned i = 0; vault && i < vault->n; i++) {
    const struct hidden *h = &vault->list[i];
    if (h->entry != entry) continue;
    if (!out) out = x_strdup(entry);
    memcpy(out + h->at, h->digits, DIGITS);
  }
  return out;
}

bool secrecy_is_mask(struct span text) {
  text = without_prefix(text);
  if (text.len != DIGITS) return false;
  for (size_t i = 0; i < text.len; i++)
    if (text.ptr[i] != '*') return false;
  return true;
}
