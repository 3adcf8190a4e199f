#include "model/session.h"
#include "base/rand.h"
#include "base/siphash.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

/*
 * Each shard has an index (open addressing) from a key's hash to a handle, and slots in order of last use. A
 * session lives in the slot of one shard, that of its first key; its second key may be in the index of
 * another shard. A handle names shard, slot and the slot's turn, so that an index entry whose session has
 * gone since is recognised and never leads to another one.
 *
 * Locks: put holds the shards of both keys, the lower one taken first. Everyone else holds one at a time:
 * whoever removes a session takes its second key out of the other shard after letting go of the first.
 *
 * Memory of records that have gone waits in its shard for the next ones, by size, so that a table where as many
 * come as go asks malloc for nothing.
 */

#define SHARD_BITS 12
#define SLOT_BITS  28
#define TURN_BITS  24
#define MAX_MAX    ((size_t)200 * 1000 * 1000)
#define NIL        UINT32_MAX
#define INDEX_MIN  32
#define SLOTS_MIN  16
/* The most sessions that one put evicts, and a sweep takes per lock. */
#define BATCH 16
/* The heap of a thread grows by single pages, each by a system call. A block that is taken and given back again after so
   many new records makes it grow for all of these at once. */
#define GROWTH       256
#define GROWTH_BYTES 240
/* Records have sizes of whole steps. */
#define RECORD_STEP    32
#define RECORD_CLASSES 20
/* What a shard keeps of them: so many, and a share of those that live. */
#define SPARES_MIN   16
#define SPARES_SHARE 8

struct record {
  union {
    uint64_t hash[2];    /* of its keys; equal when there is one */
    struct record *next; /* of a spare one */
  };
  uint64_t created_wall_ms;
  int64_t tokens_in, tokens_out;
  uint8_t provider_len, model_len, res_key_len, id_len;
  uint8_t class;
  uint8_t digests_len; /* request and response; and images */
  bool is_rewritable, id_is_res_key;
  char bytes[]; /* digests, provider, model, res_key, id (unless it is the res_key) */
};

struct slot {
  struct record *record; /* NULL: free, `newer` is the next free one */
  uint64_t used_ms;
  uint32_t newer, older;
  uint32_t turn;
  uint32_t nth_use; /* orders uses within a millisecond; kept while the table is small */
};

struct index_entry {
  uint64_t hash, handle; /* handle 0: empty */
};

struct shard {
  _Alignas(CACHE_LINE) pthread_mutex_t lock;
  struct index_entry *index;
  size_t index_cap, index_n;
  struct slot *slots;
  uint32_t slots_cap, slots_n, free;
  uint32_t newest, oldest;
  uint32_t n; /* sessions that live here; read without the lock as a hint */
  uint32_t n_spares;
  struct record *spares[RECORD_CLASSES];
};

/* Odd while a session follows an answer that may have left. */
struct filer {
  _Alignas(CACHE_LINE) uint64_t turn;
};

struct session_table {
  struct siphash_key key;
  struct shard *shards;
  unsigned n_shards, n_filers;
  struct filer *filers;
  void (*on_use)(void *context, const struct session *s); /* NULL: nobody wants to know */
  void *on_use_context;
  /* Atomics, relaxed. */
  size_t max;
  uint64_t ttl_ms;
  _Alignas(CACHE_LINE) size_t count;
  uint32_t n_uses;
  unsigned sweep_at;
};

/* A session taken out of its shard, on its way out of the other one. */
struct victim {
  uint64_t hash[2], handle;
};

static uint64_t handle_make(unsigned shard, uint32_t slot, uint32_t turn) {
  return ((uint64_t)turn << (SHARD_BITS + SLOT_BITS)) | ((uint64_t)slot << SHARD_BITS) | shard;
}

static unsigned handle_shard(uint64_t handle) {
  return (unsigned)(handle & ((1u << SHARD_BITS) - 1));
}

static uint32_t handle_slot(uint64_t handle) {
  return (uint32_t)(handle >> SHARD_BITS) & ((1u << SLOT_BITS) - 1);
}

static uint32_t handle_turn(uint64_t handle) {
  return (uint32_t)(handle >> (SHARD_BITS + SLOT_BITS));
}

static unsigned shard_of(const struct session_table *t, uint64_t hash) {
  return (unsigned)hash & (t->n_shards - 1);
}

/* ---- index ---- */

static size_t index_home(const struct shard *s, uint64_t hash) {
  return (size_t)(hash >> SHARD_BITS) & (s->index_cap - 1);
}

static struct index_entry *index_find(const struct shard *s, uint64_t hash) {
  if (s->index_cap == 0) return NULL;
  for (size_t i = index_home(s, hash);; i = (i + 1) & (s->index_cap - 1)) {
    struct index_entry *e = &s->index[i];
    if (e->handle == 0) return NULL;
    if (e->hash == hash) return e;
  }
}

static void index_add(struct shard *s, uint64_t hash, uint64_t handle) {
  size_t i = index_home(s, hash);
  while (s->index[i].handle != 0)
    i = (i + 1) & (s->index_cap - 1);
  s->index[i] = (struct index_entry){hash, handle};
}

static void index_resize(struct shard *s, size_t cap) {
  struct index_entry *old = s->index;
  size_t old_cap = s->index_cap;
  s->index = x_calloc(cap, sizeof *s->index);
  s->index_cap = cap;
  for (size_t i = 0; i < old_cap; i++)
    if (old[i].handle != 0) index_add(s, old[i].hash, old[i].handle);
  free(old);
}

/* Returns the handle that was filed there before, or 0. */
static uint64_t index_set(struct shard *s, uint64_t hash, uint64_t handle) {
  struct index_entry *e = index_find(s, hash);
  if (e) {
    uint64_t before = e->handle;
    e->handle = handle;
    return before;
  }
  if ((s->index_n + 1) * 4 > s->index_cap * 3) index_resize(s, s->index_cap ? s->index_cap * 2 : INDEX_MIN);
  index_add(s, hash, handle);
  s->index_n++;
  return 0;
}

/* Entries behind the gap move up, so that no tombstones are needed. */
static void index_remove(struct shard *s, uint64_t hash, uint64_t handle) {
  struct index_entry *e = index_find(s, hash);
  if (!e || e->handle != handle) return;
  size_t mask = s->index_cap - 1, gap = (size_t)(e - s->index);
  for (size_t i = (gap + 1) & mask; s->index[i].handle != 0; i = (i + 1) & mask) {
    size_t home = index_home(s, s->index[i].hash);
    if (((i - home) & mask) < ((i - gap) & mask)) continue;
    s->index[gap] = s->index[i];
    gap = i;
  }
  s->index[gap].handle = 0;
  s->index_n--;
}

/* ---- slots in order of use ---- */

static void order_unlink(struct shard *s, uint32_t at) {
  struct slot *x = &s->slots[at];
  if (x->newer == NIL)
    s->newest = x->older;
  else
    s->slots[x->newer].older = x->older;
  if (x->older == NIL)
    s->oldest = x->newer;
  else
    s->slots[x->older].newer = x->newer;
}

static void order_push(struct shard *s, uint32_t at) {
  struct slot *x = &s->slots[at];
  x->newer = NIL;
  x->older = s->newest;
  if (s->newest == NIL)
    s->oldest = at;
  else
    s->slots[s->newest].newer = at;
  s->newest = at;
}

static uint32_t slot_take(struct shard *s) {
  if (s->free != NIL) {
    uint32_t at = s->free;
    s->free = s->slots[at].newer;
    return at;
  }
  if (s->slots_n == s->slots_cap) {
    uint32_t cap = s->slots_cap ? s->slots_cap + s->slots_cap / 2 : SLOTS_MIN;
    s->slots = x_realloc(s->slots, cap * sizeof *s->slots);
    s->slots_cap = cap;
  }
  REQUIRE(s->slots_n < (1u << SLOT_BITS));
  s->slots[s->slots_n].turn = 1;
  return s->slots_n++;
}

static struct slot *slot_get(const struct shard *s, uint64_t handle) {
  uint32_t at = handle_slot(handle);
  if (at >= s->slots_n) return NULL;
  struct slot *x = &s->slots[at];
  return x->record && x->turn == handle_turn(handle) ? x : NULL;
}

static void record_give_locked(struct shard *s, struct record *r) {
  if (s->n_spares >= SPARES_MIN + s->n / SPARES_SHARE) {
    free(r);
    return;
  }
  r->next = s->spares[r->class];
  s->spares[r->class] = r;
  s->n_spares++;
}

static struct record *record_take_locked(struct shard *s, size_t size, bool *is_made) {
  size_t class = (size - 1) / RECORD_STEP;
  REQUIRE(class < RECORD_CLASSES);
  struct record *r = s->spares[class];
  *is_made = !r;
  if (r) {
    s->spares[class] = r->next;
    s->n_spares--;
  } else {
    r = x_malloc((class + 1) * RECORD_STEP);
  }
  r->class = (uint8_t) class;
  return r;
}

/* Takes a session out of its own shard; victims_end does the rest. */
static struct victim detach_locked(struct session_table *t, struct shard *s, uint32_t at) {
  struct slot *x = &s->slots[at];
  struct record *r = x->record;
  struct victim v = {{r->hash[0], r->hash[1]}, handle_make((unsigned)(s - t->shards), at, x->turn)};
  order_unlink(s, at);
  index_remove(s, v.hash[0], v.handle);
  x->record = NULL;
  x->turn = (x->turn + 1) & ((1u << TURN_BITS) - 1);
  if (x->turn == 0) x->turn = 1;
  x->newer = s->free;
  s->free = at;
  record_give_locked(s, r);
  __atomic_store_n(&s->n, s->n - 1, __ATOMIC_RELAXED);
  __atomic_fetch_sub(&t->count, 1, __ATOMIC_RELAXED);
  return v;
}

static void victims_end(struct session_table *t, const struct victim *victims, size_t n) {
  for (size_t i = 0; i < n; i++) {
    /* cppcheck-suppress uninitvar ; only the first n are read */
    const struct victim *v = &victims[i];
    if (v->hash[1] == v->hash[0]) continue;
    struct shard *s = &t->shards[shard_of(t, v->hash[1])];
    pthread_mutex_lock(&s->lock);
    index_remove(s, v->hash[1], v->handle);
    pthread_mutex_unlock(&s->lock);
  }
}

/* ---- records ---- */

static const char *record_res_key(const struct record *r) {
  return r->bytes + r->digests_len + r->provider_len + r->model_len;
}

static const char *record_id(const struct record *r) {
  return record_res_key(r) + (r->id_is_res_key ? 0 : r->res_key_len);
}

static bool record_has_key(const struct record *r, struct span key) {
  return span_eq(span_make(record_res_key(r), r->res_key_len), key) ||
         span_eq(span_make(record_id(r), r->id_len), key);
}

static char *put_bytes(char *to, const void *from, size_t len) {
  memcpy(to, from, len);
  return to + len;
}

/* What is known of a record before it has memory. */
struct draft {
  const struct session *s;
  size_t digests, provider, model, res_key, id, size; /* lengths */
  bool same;
  uint64_t hash[2];
};

/* False when it has no key. */
static bool draft_make(struct draft *d, const struct session_table *t, const struct session *s) {
  d->s = s;
  d->provider = strnlen(s->provider, SESSION_PROVIDER_MAX);
  d->model = strnlen(s->model, SESSION_MODEL_MAX);
  d->res_key = strnlen(s->res_key, SESSION_KEY_MAX);
  d->id = strnlen(s->id, SESSION_KEY_MAX);
  if (d->res_key == 0 && d->id == 0) return false;
  d->same = d->res_key == d->id && memcmp(s->res_key, s->id, d->id) == 0;
  d->digests = !s->has_digests ? 0 : s->has_images ? 96 : 64;
  d->size = offsetof(struct record, bytes) + d->digests + d->provider + d->model + d->res_key +
            (d->same ? 0 : d->id);
  d->hash[0] = d->res_key ? siphash(&t->key, s->res_key, d->res_key) : siphash(&t->key, s->id, d->id);
  d->hash[1] = d->res_key && d->id && !d->same ? siphash(&t->key, s->id, d->id) : d->hash[0];
  return true;
}

static void record_fill(struct record *r, const struct draft *d) {
  const struct session *s = d->s;
  r->hash[0] = d->hash[0];
  r->hash[1] = d->hash[1];
  r->created_wall_ms = s->created_wall_ms;
  r->tokens_in = s->tokens_in;
  r->tokens_out = s->tokens_out;
  r->provider_len = (uint8_t)d->provider;
  r->model_len = (uint8_t)d->model;
  r->res_key_len = (uint8_t)d->res_key;
  r->id_len = (uint8_t)d->id;
  r->digests_len = (uint8_t)d->digests;
  r->is_rewritable = s->is_rewritable;
  r->id_is_res_key = d->same;
  char *at = r->bytes;
  if (d->digests) {
    at = put_bytes(at, s->request_sha256, 32);
    at = put_bytes(at, s->response_sha256, 32);
  }
  if (d->digests > 64) at = put_bytes(at, s->images_sha256, 32);
  at = put_bytes(at, s->provider, d->provider);
  at = put_bytes(at, s->model, d->model);
  at = put_bytes(at, s->res_key, d->res_key);
  if (!d->same) put_bytes(at, s->id, d->id);
}

static const char *get_text(char *out, const char *from, size_t len) {
  memcpy(out, from, len);
  out[len] = '\0';
  return from + len;
}

static void record_copy(const struct record *r, struct session *out) {
  const char *at = r->bytes;
  out->has_digests = r->digests_len > 0;
  out->has_images = r->digests_len > 64;
  out->is_rewritable = r->is_rewritable;
  unsigned char *const digests[] = {out->request_sha256, out->response_sha256, out->images_sha256};
  for (size_t i = 0; i < ARRAY_LEN(digests); i++) {
    if (32 * i < r->digests_len)
      memcpy(digests[i], at + 32 * i, 32);
    else
      memset(digests[i], 0, 32);
  }
  at += r->digests_len;
  at = get_text(out->provider, at, r->provider_len);
  (void)get_text(out->model, at, r->model_len);
  (void)get_text(out->res_key, record_res_key(r), r->res_key_len);
  (void)get_text(out->id, record_id(r), r->id_len);
  out->created_wall_ms = r->created_wall_ms;
  out->tokens_in = r->tokens_in;
  out->tokens_out = r->tokens_out;
}

/* ---- the table ---- */

struct session_table *session_table_new(size_t max, uint64_t ttl_ms, unsigned shards) {
  struct session_table *t = aligned_alloc(CACHE_LINE, sizeof *t);
  REQUIRE(t);
  *t = (struct session_table){.n_shards = 1};
  while (t->n_shards < shards && t->n_shards < 1u << SHARD_BITS)
    t->n_shards *= 2;
  rand_os(&t->key, sizeof t->key);
  t->shards = aligned_alloc(CACHE_LINE, t->n_shards * sizeof *t->shards);
  REQUIRE(t->shards);
  for (unsigned i = 0; i < t->n_shards; i++) {
    t->shards[i] = (struct shard){.free = NIL, .newest = NIL, .oldest = NIL};
    int err = pthread_mutex_init(&t->shards[i].lock, NULL);
    REQUIRE(err == 0);
  }
  session_table_limit(t, max, ttl_ms);
  return t;
}

void session_table_free(struct session_table *t) {
  if (!t) return;
  for (unsigned i = 0; i < t->n_shards; i++) {
    struct shard *s = &t->shards[i];
    for (uint32_t k = 0; k < s->slots_n; k++)
      free(s->slots[k].record);
    for (unsigned class = 0; class < RECORD_CLASSES; class ++) {
      for (struct record *r = s->spares[class], *next; r; r = next) {
        next = r->next;
        free(r);
      }
    }
    free(s->slots);
    free(s->index);
    pthread_mutex_destroy(&s->lock);
  }
  free(t->shards);
  free(t->filers);
  free(t);
}

void session_table_limit(struct session_table *t, size_t max, uint64_t ttl_ms) {
  if (max < 1) max = 1;
  __atomic_store_n(&t->max, max < MAX_MAX ? max : MAX_MAX, __ATOMIC_RELAXED);
  __atomic_store_n(&t->ttl_ms, ttl_ms, __ATOMIC_RELAXED);
}

static bool is_over(const struct session_table *t) {
  return __atomic_load_n(&t->count, __ATOMIC_RELAXED) > __atomic_load_n(&t->max, __ATOMIC_RELAXED);
}

/*
 * With fewer sessions than shards "the oldest of its shard" would be the new session itself or any other:
 * then the oldest of all shards is looked for. Not while very many are over (after a reload), for that is a
 * long search.
 */
static bool is_small(const struct session_table *t) {
  size_t max = __atomic_load_n(&t->max, __ATOMIC_RELAXED);
  return max <= t->n_shards && __atomic_load_n(&t->count, __ATOMIC_RELAXED) <= max + BATCH;
}

static void note_use(struct session_table *t, struct slot *x, uint64_t now_ms) {
  if (now_ms > x->used_ms) x->used_ms = now_ms;
  if (is_small(t)) x->nth_use = __atomic_add_fetch(&t->n_uses, 1, __ATOMIC_RELAXED);
}

/* Evicts from `s` while the table is over its maximum, never the newest session. */
static size_t evict_locked(struct session_table *t, struct shard *s, struct victim *out, size_t max) {
  size_t n = 0;
  while (n < max && s->oldest != s->newest && is_over(t))
    out[n++] = detach_locked(t, s, s->oldest);
  return n;
}

/* Another thread may use the oldest session between the look and the removal: it goes all the same. */
static void evict_oldest(struct session_table *t) {
  struct shard *from = NULL;
  struct slot oldest = {0};
  for (unsigned i = 0; i < t->n_shards; i++) {
    struct shard *s = &t->shards[i];
    if (__atomic_load_n(&s->n, __ATOMIC_RELAXED) == 0) continue;
    pthread_mutex_lock(&s->lock);
    struct slot *x = s->oldest == NIL ? NULL : &s->slots[s->oldest];
    if (x && (!from || x->used_ms < oldest.used_ms ||
              (x->used_ms == oldest.used_ms && (int32_t)(x->nth_use - oldest.nth_use) < 0))) {
      from = s;
      oldest = *x;
    }
    pthread_mutex_unlock(&s->lock);
  }
  if (!from) return;
  struct victim v;
  pthread_mutex_lock(&from->lock);
  bool found = from->oldest != NIL;
  if (found) v = detach_locked(t, from, from->oldest);
  pthread_mutex_unlock(&from->lock);
  if (found) victims_end(t, &v, 1);
}

/* Drops the session of `handle` if it is still there. */
static void drop(struct session_table *t, uint64_t handle) {
  struct shard *s = &t->shards[handle_shard(handle)];
  struct victim v;
  pthread_mutex_lock(&s->lock);
  bool found = slot_get(s, handle) != NULL;
  if (found) v = detach_locked(t, s, handle_slot(handle));
  pthread_mutex_unlock(&s->lock);
  if (found) victims_end(t, &v, 1);
}

/* A put touches a handful of far apart lines: asked for together, they are waited for once. */
static void prefetch_put(const struct shard *s, uint64_t hash) {
  if (s->index_cap) __builtin_prefetch(&s->index[index_home(s, hash)], 1);
  if (s->oldest != NIL) __builtin_prefetch(&s->slots[s->oldest], 1);
  if (s->newest != NIL) __builtin_prefetch(&s->slots[s->newest], 1);
  if (s->free != NIL) __builtin_prefetch(&s->slots[s->free], 1);
}

static void lock_both(struct shard *a, struct shard *b) {
  pthread_mutex_lock(a < b ? &a->lock : &b->lock);
  if (a != b) pthread_mutex_lock(a < b ? &b->lock : &a->lock);
}

static void unlock_both(struct shard *a, struct shard *b) {
  pthread_mutex_unlock(&a->lock);
  if (a != b) pthread_mutex_unlock(&b->lock);
}

void session_restore(struct session_table *t, const struct session *session, uint64_t used_ms) {
  struct draft d;
  if (!draft_make(&d, t, session)) return;
  unsigned home = shard_of(t, d.hash[0]);
  struct shard *s = &t->shards[home], *other = &t->shards[shard_of(t, d.hash[1])];
  struct victim victims[BATCH];
  uint64_t before[2] = {0, 0};

  lock_both(s, other);
  if (other->index_cap) __builtin_prefetch(&other->index[index_home(other, d.hash[1])], 1);
  prefetch_put(s, d.hash[0]);
  bool is_made;
  struct record *r = record_take_locked(s, d.size, &is_made);
  record_fill(r, &d);
  uint32_t at = slot_take(s);
  uint64_t handle = handle_make(home, at, s->slots[at].turn);
  s->slots[at].record = r;
  s->slots[at].used_ms = 0;
  s->slots[at].nth_use = 0;
  note_use(t, &s->slots[at], used_ms);
  order_push(s, at);
  before[0] = index_set(s, d.hash[0], handle);
  if (d.hash[1] != d.hash[0]) before[1] = index_set(other, d.hash[1], handle);
  __atomic_store_n(&s->n, s->n + 1, __ATOMIC_RELAXED);
  size_t count = __atomic_add_fetch(&t->count, 1, __ATOMIC_RELAXED);
  if (is_made && count % GROWTH == 0) free(x_malloc(GROWTH * GROWTH_BYTES));
  /* What was filed under the same key usually lives here too and need not wait for its turn. */
  size_t n = 0;
  if (before[0] && handle_shard(before[0]) == home) {
    if (slot_get(s, before[0])) victims[n++] = detach_locked(t, s, handle_slot(before[0]));
    if (before[1] == before[0]) before[1] = 0;
    before[0] = 0;
  }
  if (!before[0] && !before[1] && !is_small(t)) n += evict_locked(t, s, victims + n, BATCH - n);
  unlock_both(s, other);

  victims_end(t, victims, n);
  if (before[0]) drop(t, before[0]);
  if (before[1] && before[1] != before[0]) drop(t, before[1]);
  for (; n < BATCH && is_over(t); n++)
    evict_oldest(t);
}

void session_table_watch(struct session_table *t, void (*on_use)(void *context, const struct session *s),
                         void *context) {
  t->on_use = on_use;
  t->on_use_context = context;
}

void session_put(struct session_table *t, const struct session *session, uint64_t now_ms) {
  session_restore(t, session, now_ms);
  if (t->on_use) t->on_use(t->on_use_context, session);
}

/* ---- sessions that follow their answers ---- */

void session_table_expect_filers(struct session_table *t, unsigned n) {
  t->filers = aligned_alloc(CACHE_LINE, n * sizeof *t->filers);
  REQUIRE(t->filers);
  memset(t->filers, 0, n * sizeof *t->filers);
  t->n_filers = n;
}

static void next_turn(struct session_table *t, unsigned filer, bool is_odd) {
  REQUIRE(filer < t->n_filers);
  uint64_t turn = t->filers[filer].turn + 1;
  REQUIRE((turn % 2 == 1) == is_odd);
  __atomic_store_n(&t->filers[filer].turn, turn, __ATOMIC_SEQ_CST);
}

void session_follows(struct session_table *t, unsigned filer) {
  next_turn(t, filer, true);
}

void session_is_there(struct session_table *t, unsigned filer) {
  next_turn(t, filer, false);
}

/* The time of one write to a socket and one put, unless the thread that does it has to wait for a processor. */
static void wait_for_filers(const struct session_table *t) {
  for (unsigned i = 0; i < t->n_filers; i++) {
    uint64_t turn = __atomic_load_n(&t->filers[i].turn, __ATOMIC_SEQ_CST);
    while (turn % 2 && __atomic_load_n(&t->filers[i].turn, __ATOMIC_SEQ_CST) == turn)
      (void)sched_yield();
  }
}

static bool is_expired(uint64_t used_ms, uint64_t ttl_ms, uint64_t now_ms) {
  return now_ms > used_ms && now_ms - used_ms >= ttl_ms;
}

static bool find(struct session_table *t, struct session *out, struct span key, uint64_t now_ms) {
  uint64_t hash = siphash(&t->key, key.ptr, key.len);
  struct shard *s = &t->shards[shard_of(t, hash)];
  pthread_mutex_lock(&s->lock);
  struct index_entry *e = index_find(s, hash);
  uint64_t handle = e ? e->handle : 0;
  if (e && s != &t->shards[handle_shard(handle)]) {
    pthread_mutex_unlock(&s->lock);
    s = &t->shards[handle_shard(handle)];
    pthread_mutex_lock(&s->lock);
  }
  struct slot *x = handle ? slot_get(s, handle) : NULL;
  struct victim v = {{0, 0}, 0};
  bool found = x && record_has_key(x->record, key);
  if (found && is_expired(x->used_ms, __atomic_load_n(&t->ttl_ms, __ATOMIC_RELAXED), now_ms)) {
    v = detach_locked(t, s, handle_slot(handle));
    found = false;
  } else if (found) {
    note_use(t, x, now_ms);
    if (x->newer != NIL) {
      order_unlink(s, handle_slot(handle));
      order_push(s, handle_slot(handle));
    }
    record_copy(x->record, out);
  }
  pthread_mutex_unlock(&s->lock);
  if (v.handle) victims_end(t, &v, 1);
  return found;
}

bool session_get(struct session_table *t, struct session *out, struct span key, uint64_t now_ms) {
  if (key.len == 0 || key.len > SESSION_KEY_MAX) return false;
  bool found = find(t, out, key, now_ms);
  if (!found) {
    wait_for_filers(t);
    found = find(t, out, key, now_ms);
  }
  if (found && t->on_use) t->on_use(t->on_use_context, out);
  return found;
}

size_t session_count(const struct session_table *t) {
  wait_for_filers(t);
  return __atomic_load_n(&t->count, __ATOMIC_RELAXED);
}

void session_sweep(struct session_table *t, unsigned n_shards, uint64_t now_ms) {
  uint64_t ttl_ms = __atomic_load_n(&t->ttl_ms, __ATOMIC_RELAXED);
  if (n_shards > t->n_shards) n_shards = t->n_shards;
  for (; n_shards > 0; n_shards--) {
    unsigned at = __atomic_fetch_add(&t->sweep_at, 1, __ATOMIC_RELAXED) & (t->n_shards - 1);
    struct shard *s = &t->shards[at];
    struct victim victims[BATCH];
    size_t n;
    do {
      n = 0;
      pthread_mutex_lock(&s->lock);
      while (n < BATCH && s->oldest != NIL && is_expired(s->slots[s->oldest].used_ms, ttl_ms, now_ms))
        victims[n++] = detach_locked(t, s, s->oldest);
      if (n == 0 && s->index_cap > INDEX_MIN && s->index_n * 16 < s->index_cap)
        index_resize(s, s->index_cap / 2);
      pthread_mutex_unlock(&s->lock);
      victims_end(t, victims, n);
    } while (n > 0);
  }
}
