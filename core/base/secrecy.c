#include "base/secrecy.h"

#include "base/base.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

extern char **environ;

static bool is_sealed;

static char **copy_environment(size_t n, size_t text_bytes) {
  size_t bytes = (n + 1) * sizeof *environ + text_bytes;
  /* cppcheck-suppress invalidFunctionArg ; -1 is what an anonymous mapping takes */
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  (void)mlock(at, bytes);
  (void)madvise(at, bytes, MADV_DONTDUMP);
  char **copy = at, *text = (char *)(copy + n + 1);
  for (size_t i = 0; i < n; i++) {
    size_t len = strlen(environ[i]) + 1;
    copy[i] = memcpy(text, environ[i], len);
    text += len;
  }
  copy[n] = NULL;
  return copy;
}

void secrecy_hide_environment(void) {
  size_t n = 0, bytes = 0;
  while (environ && environ[n])
    bytes += strlen(environ[n++]) + 1;
  char **copy = n ? copy_environment(n, bytes) : NULL;
  if (!copy) return;
  for (size_t i = 0; i < n; i++) {
    char *value = strchr(environ[i], '=');
    if (value) wipe(value + 1, strlen(value + 1));
  }
  environ = copy;
}

void secrecy_forbid_core(void) {
  struct rlimit none = {0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
}

void secrecy_seal(void) {
  is_sealed = prctl(PR_SET_DUMPABLE, 0) == 0;
}

void secrecy_unseal(void) {
  if (is_sealed) (void)prctl(PR_SET_DUMPABLE, 1);
  is_sealed = false;
}
