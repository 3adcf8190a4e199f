/*
 * store: a table of fixed size, chained by index. Texts are kept inside the entries, so nothing is ever allocated; pages of
 * entries that were never used cost no memory.
 *
 * Thread: any.   Owns: the table.
 * Invariant: every entry is either in the chain of its key's bucket or in the list of free ones.
 */
#include "script/store.h"

#include "base/base.h"
#include "base/rand.h"
#include "base/siphash.h"

#include <math.h>
#include <pthread.h>
#include <string.h>

#define BUCKETS 1024
#define NOBODY  UINT16_MAX

_Static_assert(sizeof(struct lb_value) == 8 + 2 * 4 + STORE_TEXT_MAX, "lb_value has no hidden padding");
_Static_assert(STORE_KEYS_MAX < NOBODY, "an index fits");

struct entry {
  uint16_t next; /* in the chain, or among the free ones */
  uint8_t key_len;
  uint8_t kind;
  uint32_t text_len;
  double number;
  char key[STORE_KEY_MAX];
  char text[STORE_TEXT_MAX];
};

static struct {
  pthread_mutex_t lock;
  bool is_ready;
  struct siphash_key hash_key; /* keys may come from clients, by way of a script */
  unsigned n;                  /* keys in use */
  unsigned n_touched;          /* entries that were ever used: the first ones */
  uint16_t free_first;
  uint16_t buckets[BUCKETS];
  struct entry entries[STORE_KEYS_MAX];
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void clear_locked(void) {
  if (!store.is_ready) rand_os(&store.hash_key, sizeof store.hash_key);
  store.is_ready = true;
  store.n = store.n_touched = 0;
  store.free_first = NOBODY;
  for (unsigned i = 0; i < BUCKETS; i++)
    store.buckets[i] = NOBODY;
}

static void lock(void) {
  REQUIRE(pthread_mutex_lock(&store.lock) == 0);
  if (UNLIKELY(!store.is_ready)) clear_locked();
}

static void unlock(void) {
  REQUIRE(pthread_mutex_unlock(&store.lock) == 0);
}

static bool is_key(const char *key, uint32_t len) {
  return key && len >= 1 && len <= STORE_KEY_MAX;
}

/* The link that names the entry of this key, or the end of its chain. */
static uint16_t *find_locked(const char *key, uint32_t len) {
  uint16_t *link = &store.buckets[siphash(&store.hash_key, key, len) % BUCKETS];
  while (*link != NOBODY) {
    struct entry *e = &store.entries[*link];
    if (e->key_len == len && memcmp(e->key, key, len) == 0) break;
    link = &e->next;
  }
  return link;
}

/* The entry of this key, added as a number 0 when there is none; NULL when the store is full. */
static struct entry *open_locked(const char *key, uint32_t len) {
  uint16_t *link = find_locked(key, len);
  if (*link != NOBODY) return &store.entries[*link];
  uint16_t index = store.free_first;
  if (index != NOBODY)
    store.free_first = store.entries[index].next;
  else if (store.n_touched < STORE_KEYS_MAX)
    index = (uint16_t)store.n_touched++;
  else
    return NULL;
  struct entry *e = &store.entries[index];
  e->next = NOBODY;
  e->kind = LB_STORE_NUMBER;
  e->number = 0;
  e->key_len = (uint8_t)len;
  memcpy(e->key, key, len);
  *link = index;
  store.n++;
  return e;
}

static void delete_locked(const char *key, uint32_t len) {
  uint16_t *link = find_locked(key, len);
  uint16_t index = *link;
  if (index == NOBODY) return;
  *link = store.entries[index].next;
  store.entries[index].next = store.free_first;
  store.free_first = index;
  store.n--;
}

unsigned store_count(void) {
  lock();
  unsigned n = store.n;
  unlock();
  return n;
}

void store_clear(void) {
  lock();
  clear_locked();
  unlock();
}

/* ---- for scripts ---- */

/* The kind of the value, copied into *out; LB_STORE_NOTHING when there is none. */
int32_t lb_abi_store_get(const char *key, uint32_t len, struct lb_value *out) {
  if (!is_key(key, len)) return LB_STORE_BAD_KEY;
  int32_t kind = LB_STORE_NOTHING;
  lock();
  uint16_t index = *find_locked(key, len);
  if (index != NOBODY) {
    const struct entry *e = &store.entries[index];
    kind = e->kind;
    out->number = e->number;
    out->len = kind == LB_STORE_TEXT ? e->text_len : 0;
    if (out->len) memcpy(out->text, e->text, out->len);
  }
  unlock();
  return kind;
}

/* LB_STORE_NOTHING as the kind deletes. Returns the kind, or what is wrong. */
int32_t lb_abi_store_set(const char *key, uint32_t len, int32_t kind, double number, const char *text,
                         uint32_t text_len) {
  if (!is_key(key, len)) return LB_STORE_BAD_KEY;
  if (kind < LB_STORE_NOTHING || kind > LB_STORE_TEXT) return LB_STORE_BAD_VALUE;
  if (kind == LB_STORE_TEXT && (!text || text_len > STORE_TEXT_MAX)) return LB_STORE_BAD_VALUE;
  lock();
  if (kind == LB_STORE_NOTHING) {
    delete_locked(key, len);
  } else {
    struct entry *e = open_locked(key, len);
    if (e) {
      e->kind = (uint8_t)kind;
      e->number = kind == LB_STORE_BOOLEAN ? number != 0 : number;
      e->text_len = kind == LB_STORE_TEXT ? text_len : 0;
      if (e->text_len) memcpy(e->text, text, text_len);
    } else {
      kind = LB_STORE_FULL;
    }
  }
  unlock();
  return kind;
}

/* Adds to a number, 0 when there is none yet, in one step; the sum is in out->number. */
int32_t lb_abi_store_incr(const char *key, uint32_t len, double by, struct lb_value *out) {
  if (!is_key(key, len)) return LB_STORE_BAD_KEY;
  if (!isfinite(by)) return LB_STORE_BAD_VALUE;
  int32_t result = LB_STORE_FULL;
  lock();
  struct entry *e = open_locked(key, len);
  if (e) {
    result = e->kind == LB_STORE_NUMBER ? LB_STORE_NUMBER : LB_STORE_BAD_VALUE;
    if (result == LB_STORE_NUMBER) out->number = e->number += by;
  }
  unlock();
  return result;
}
