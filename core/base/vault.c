#include "base/vault.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define DIGITS ((size_t)VAULT_BYTES * 2)

extern char **environ;

static size_t page_bytes(void) {
  return (size_t)sysconf(_SC_PAGESIZE);
}

/* Three pages: a fence, the key's, a fence. The key ends where the second fence begins. */
static uint8_t *map_page(bool *is_locked) {
  size_t page = page_bytes();
  uint8_t *all = mmap(NULL, 3 * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (all == MAP_FAILED) return NULL;
  if (mprotect(all + page, page, PROT_READ | PROT_WRITE)) {
    (void)munmap(all, 3 * page);
    return NULL;
  }
  *is_locked = mlock(all + page, page) == 0;
  (void)madvise(all + page, page, MADV_DONTDUMP);
  (void)madvise(all + page, page, MADV_WIPEONFORK);
  return all + 2 * page - VAULT_BYTES;
}

void vault_wipe(struct vault *v) {
  if (v->key) {
    size_t page = page_bytes();
    wipe(v->key, VAULT_BYTES);
    (void)munmap(v->key + VAULT_BYTES - 2 * page, 3 * page);
  }
  *v = (struct vault){0};
}

bool vault_put(struct vault *v, const uint8_t key[VAULT_BYTES]) {
  vault_wipe(v);
  v->key = map_page(&v->is_locked);
  if (!v->key) return false;
  memcpy(v->key, key, VAULT_BYTES);
  return true;
}

static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  c = ascii_lower(c);
  return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool is_blank(char c) {
  return c == ' ' || (c >= '\t' && c <= '\r');
}

bool vault_put_hex(struct vault *v, struct span text) {
  while (text.len && is_blank(text.ptr[0])) {
    text.ptr++;
    text.len--;
  }
  while (text.len && is_blank(text.ptr[text.len - 1]))
    text.len--;
  if (text.len == DIGITS + 2 && text.ptr[0] == '0' && ascii_lower(text.ptr[1]) == 'x') {
    text.ptr += 2;
    text.len -= 2;
  }
  if (text.len != DIGITS) return false;
  uint8_t key[VAULT_BYTES];
  bool ok = true;
  for (size_t i = 0; i < VAULT_BYTES; i++) {
    int high = hex_value(text.ptr[2 * i]), low = hex_value(text.ptr[2 * i + 1]);
    ok = ok && high >= 0 && low >= 0;
    key[i] = (uint8_t)((unsigned)high << 4 | (unsigned)low);
  }
  ok = ok && vault_put(v, key);
  wipe(key, sizeof key);
  return ok;
}

bool vault_eq(const struct vault *a, const struct vault *b) {
  if (!a->key || !b->key) return !a->key && !b->key;
  return equal_constant_time(a->key, VAULT_BYTES, b->key, VAULT_BYTES);
}

void vault_move(struct vault *to, struct vault *from) {
  vault_wipe(to);
  *to = *from;
  *from = (struct vault){0};
}

/* ---- the process ---- */

void vault_close_process(void) {
  struct rlimit none = {0, 0};
  (void)setrlimit(RLIMIT_CORE, &none);
  (void)prctl(PR_SET_DUMPABLE, 0);
}

void vault_open_process(void) {
  (void)prctl(PR_SET_DUMPABLE, 1);
}

static bool is_key_at(const char *at, const uint8_t *key) {
  for (size_t i = 0; i < DIGITS; i++) {
    int digit = hex_value(at[i]);
    if (digit < 0 || (uint8_t)digit != (i % 2 ? key[i / 2] & 15 : key[i / 2] >> 4)) return false;
  }
  return true;
}

void vault_mask_environment(const struct vault *v) {
  if (!v->key) return;
  for (char **entry = environ; entry && *entry; entry++) {
    size_t len = strlen(*entry);
    for (size_t at = 0; at + DIGITS <= len; at++) {
      if (!is_key_at(*entry + at, v->key)) continue;
      memset(*entry + at, '*', DIGITS);
    }
  }
}

bool vault_is_mask(struct span text) {
  if (text.len >= 2 && text.ptr[0] == '0' && ascii_lower(text.ptr[1]) == 'x') {
    text.ptr += 2;
    text.len -= 2;
  }
  if (text.len != DIGITS) return false;
  for (size_t i = 0; i < text.len; i++)
    if (text.ptr[i] != '*') return false;
  return true;
}
