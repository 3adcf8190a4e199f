#include "base/secrecy.h"

#include <strings.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define DIGITS 64

extern char **environ;

static bool has_begun;

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

void secrecy_mask_environment(struct span key) {
  struct span digits = without_prefix(key);
  if (digits.len != DIGITS) return;
  for (char **entry = environ; entry && *entry; entry++) {
    size_t len = strlen(*entry);
    for (size_t at = 0; at + DIGITS <= len; at++)
      if (strncasecmp(*entry + at, digits.ptr, DIGITS) == 0) memset(*entry + at, '*', DIGITS);
  }
}

bool secrecy_is_mask(struct span text) {
  text = without_prefix(text);
  if (text.len != DIGITS) return false;
  for (size_t i = 0; i < text.len; i++)
    if (text.ptr[i] != '*') return false;
  return true;
}
