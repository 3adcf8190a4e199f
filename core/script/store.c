/*
 * store: a table of fixed size, chained by index. Texts are kept inside the entries, so nothing is ever allocated; pages of
 * entries that were never used cost no memory.
 *
 * Thread: any.   Owns: the tables.
 * Invariant: every entry is either in the chain of its key's bucket or in the list of free ones.
 */
#include "script/store.h"

#include "base/base.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "script/guard.h"

#include <math.h>
#include <pthread.h>
#include <stdlib.h>
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

struct store {
  pthread_mutex_t lock;
  bool is_ready;
  struct siphash_key hash_key; /* keys may come from clients, by way of a script */
  unsigned n;                  /* keys in use */
  unsigned n_touched;          /* entries that were ever used: the first ones */
  uint16_t free_first;
  uint16_t buckets[BUCKETS];
  struct entry entries[STORE_KEYS_MAX];
};

static struct store common = {.lock = PTHREAD_MUTEX_INITIALIZER};
static _Thread_local struct store *of_trial;

static void clear_locked(struct store *s) {
  if (!s->is_ready) rand_os(&s->hash_key, sizeof s->hash_key);
  s->is_ready = true;
  s->n = s->n_touched = 0;
  s->free_first = NOBODY;
  for (unsigned i = 0; i < BUCKETS; i++)
    s->buckets[i] = NOBODY;
}

/* The store of this thread's scripts. */
static struct store *lock(void) {
  struct store *s = LIKELY(!of_trial) ? &common : of_trial;
  REQUIRE(pthread_mutex_lock(&s->lock) == 0);
  if (UNLIKELY(!s->is_ready)) clear_locked(s);
  return s;
}

/* The last thing that is done for a script. */
static void unlock(struct store *s) {
  REQUIRE(pthread_mutex_unlock(&s->lock) == 0);
  guard_safe_point();
}

void store_begin_trial(void) {
  REQUIRE(!of_trial);
  of_trial = x_calloc(1, sizeof *of_trial);
  REQUIRE(pthread_mutex_init(&of_trial->lock, NULL) == 0);
}

void store_end_trial(void) {
  pthread_mutex_destroy(&of_trial->lock);
  free(of_trial);
  of_trial = NULL;
}

static bool is_key(const char *key, uint32_t len) {
  return key && len >= 1 && len <= STORE_KEY_MAX;
}

/* The link that names the entry of this key, or the end of its chain. */
static uint16_t *find_locked(struct store *s, const char *key, uint32_t len) {
  uint16_t *link = &s->buckets[siphash(&s->hash_key, key, len) % BUCKETS];
  while (*link != NOBODY) {
    struct entry *e = &s->entries[*link];
    if (e->key_len == len && memcmp(e->key, key, len) == 0) break;
    link = &e->next;
  }
  return link;
}

/* The entry of this key, added as a number 0 when there is none; NULL when the store is full. */
static struct entry *open_locked(struct store *s, const char *key, uint32_t len) {
  uint16_t *link = find_locked(s, key, len);
  if (*link != NOBODY) return &s->entries[*link];
  uint16_t index = s->free_first;
  if (index != NOBODY)
    s->free_first = s->entries[index].next;
  else if (s->n_touched < STORE_KEYS_MAX)
    index = (uint16_t)s->n_touched++;
  else
    return NULL;
  struct entry *e = &s->entries[index];
  e->next = NOBODY;
  e->kind = LB_STORE_NUMBER;
  e->number = 0;
  e->key_len = (uint8_t)len;
  memcpy(e->key, key, len);
  *link = index;
  s->n++;
  return e;
}

static void delete_locked(struct store *s, const char *key, uint32_t len) {
  uint16_t *link = find_locked(s, key, len);
  uint16_t index = *link;
  if (index == NOBODY) return;
  *link = s->entries[index].next;
  s->entries[index].next = s->free_first;
  s->free_first = index;
  s->n--;
}

/* A script may overlook it. */
SELDOM static void tell_full(void) {
  static struct log_limit limit;
  unsigned suppressed;
  if (!of_trial && log_limit_pass(&limit, 1, 60000, &suppressed))
    log_warn("lb.shared is full: its %d keys stay until a strategy deletes them or the process ends",
             STORE_KEYS_MAX);
}

unsigned store_count(void) {
  struct store *s = lock();
  unsigned n = s->n;
  unlock(s);
  return n;
}

void store_clear(void) {
  struct store *s = lock();
  clear_locked(s);
  unlock(s);
}

/* ---- for scripts ---- */

/* The kind of the value, copied into *out; LB_STORE_NOTHING when there is none. */
int32_t lb_abi_store_get(const char *key, uint32_t len, struct lb_value *out) {
  if (!is_key(key, len)) return LB_STORE_BAD_KEY;
  int32_t kind = LB_STORE_NOTHING;
  struct store *s = lock();
  uint16_t index = *find_locked(s, key, len);
  if (index != NOBODY) {
    const struct entry *e = &s->entries[index];
    kind = e->kind;
    out->number = e->number;
    out->len = kind == LB_STORE_TEXT ? e->text_len : 0;
    if (out->len) memcpy(out->text, e->text, out->len);
  }
  unlock(s);
  return kind;
}

/* LB_STORE_NOTHING as the kind deletes. Returns the kind, or what is wrong. */
int32_t lb_abi_store_set(const char *key, uint32_t len, int32_t kind, double number, const char *text,
                         uint32_t text_len) {
  if (!is_key(key, len)) return LB_STORE_BAD_KEY;
  if (kind < LB_STORE_NOTHING || kind > LB_STORE_TEXT) return LB_STORE_BAD_VALUE;
  if (kind == LB_STORE_TEXT && (!text || text_len > STORE_TEXT_MAX)) return LB_STORE_BAD_VALUE;
  struct store *s = lock();
  if (kind == LB_STORE_NOTHING) {
    delete_locked(s, key, len);
  } else {
    struct entry *e = open_locked(s, key, len);
    if (e) {
      e->kind = (uint8_t)kind;
      e->number = kind == LB_STORE_BOOLEAN ? number != 0 : number;
      e->text_len = kind == LB_STORE_TEXT ? text_len : 0;
      if (e->text_len) memcpy(e->text, text, text_len);
    } else {
      kind = LB_STORE_FULL;
    }
  }
  unlock(s);
  if (UNLIKELY(kind == LB_STORE_FULL)) tell_full();
  return kind;
}

/* Adds to a number, 0 when there is none yet, in one step; the sum is in out->number. */
int32_t lb_abi_store_incr(const char *key, uint32_t len, double by, struct lb_value *out) {
  if (!is_key(key, len)) return LB_STORE_BAD_KEY;
  if (!isfinite(by)) return LB_STORE_BAD_VALUE;
  int32_t result = LB_STORE_FULL;
  struct store *s = lock();
  struct entry *e = open_locked(s, key, len);
  if (e) {
    result = e->kind == LB_STORE_NUMBER ? LB_STORE_NUMBER : LB_STORE_BAD_VALUE;
    if (result == LB_STORE_NUMBER) out->number = e->number += by;
  }
  unlock(s);
  if (UNLIKELY(result == LB_STORE_FULL)) tell_full();
  return result;
}
