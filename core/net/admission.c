#include "net/admission.h"

#include "base/rand.h"
#include "base/siphash.h"
#include "wire/http_response.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SHARDS   64
#define OVER_MIN 4
#define OVER_MAX 128

struct address_count {
  struct address_count *next;
  uint64_t hash;
  unsigned char bytes[17]; /* family, then the address or network */
  unsigned n;              /* under the shard's lock */
};

struct shard {
  pthread_mutex_t lock;
  struct address_count **buckets;
  size_t n_buckets, n;
};

struct admission {
  /* Atomics, relaxed. */
  _Alignas(CACHE_LINE) uint32_t count;
  uint32_t over;
  _Alignas(CACHE_LINE) uint32_t max;
  uint32_t max_per_address;
  uint32_t max_over;
  uint64_t budget; /* descriptors for clients and providers together */
  admission_active_fn *active;
  const void *context;
  struct siphash_key key;
  struct shard shards[SHARDS];
};

struct admission *admission_new(admission_active_fn *active, const void *context) {
  struct admission *a = aligned_alloc(CACHE_LINE, sizeof *a);
  REQUIRE(a);
  memset(a, 0, sizeof *a);
  a->active = active;
  a->context = context;
  a->max = UINT32_MAX;
  a->budget = UINT64_MAX;
  rand_os(&a->key, sizeof a->key);
  for (size_t i = 0; i < SHARDS; i++) {
    int err = pthread_mutex_init(&a->shards[i].lock, NULL);
    REQUIRE(err == 0);
  }
  return a;
}

void admission_free(struct admission *a) {
  if (!a) return;
  for (size_t i = 0; i < SHARDS; i++) {
    REQUIRE(a->shards[i].n == 0);
    free(a->shards[i].buckets);
    pthread_mutex_destroy(&a->shards[i].lock);
  }
  free(a);
}

void admission_limit(struct admission *a, unsigned connections, unsigned per_address, uint64_t descriptors,
                     unsigned own) {
  uint64_t budget = descriptors > own + 16 ? descriptors - own : 16;
  /* An eighth at least is for providers; idle clients make room for more when it is needed. */
  uint64_t most = budget - budget / 8;
  uint64_t max = connections && connections < most ? connections : most;
  uint64_t over = budget / 16 < OVER_MIN ? OVER_MIN : budget / 16 > OVER_MAX ? OVER_MAX : budget / 16;
  __atomic_store_n(&a->budget, budget, __ATOMIC_RELAXED);
  __atomic_store_n(&a->max_over, (uint32_t)over, __ATOMIC_RELAXED);
  __atomic_store_n(&a->max, max < UINT32_MAX ? (uint32_t)max : UINT32_MAX, __ATOMIC_RELAXED);
  __atomic_store_n(&a->max_per_address, per_address, __ATOMIC_RELAXED);
}

unsigned admission_count(const struct admission *a) {
  return __atomic_load_n(&a->count, __ATOMIC_RELAXED);
}

unsigned admission_max(const struct admission *a) {
  return __atomic_load_n(&a->max, __ATOMIC_RELAXED);
}

/* Whether clients and the requests at providers take more than so many descriptors. */
static bool takes_more(const struct admission *a, uint32_t clients, uint64_t descriptors) {
  if (2 * (uint64_t)clients <= descriptors) return false;
  return clients + (uint64_t)a->active(a->context) > descriptors;
}

static uint64_t budget_of(const struct admission *a) {
  return __atomic_load_n(&a->budget, __ATOMIC_RELAXED);
}

/* What is over the budget is for those over the bound. */
static bool is_full(const struct admission *a, uint32_t count) {
  uint64_t rest = budget_of(a) - __atomic_load_n(&a->max_over, __ATOMIC_RELAXED);
  return count >= admission_max(a) || takes_more(a, count, rest - 1);
}

bool admission_is_full(const struct admission *a) {
  return is_full(a, admission_count(a));
}

bool admission_has_room(const struct admission *a) {
  return !takes_more(a, admission_count(a), budget_of(a));
}

/* ---- addresses ---- */

static void key_of(unsigned char out[17], const struct sockaddr *address) {
  memset(out, 0, 17);
  if (address->sa_family == AF_INET) {
    out[0] = 4;
    memcpy(out + 1, &((const struct sockaddr_in *)address)->sin_addr, 4);
    return;
  }
  if (address->sa_family != AF_INET6) return;
  const struct in6_addr *in6 = &((const struct sockaddr_in6 *)address)->sin6_addr;
  if (IN6_IS_ADDR_V4MAPPED(in6)) {
    out[0] = 4;
    memcpy(out + 1, in6->s6_addr + 12, 4);
    return;
  }
  out[0] = 6;
  memcpy(out + 1, in6->s6_addr, IN6_IS_ADDR_LOOPBACK(in6) ? 16 : 8); /* one subscriber has a /64 */
}

static struct shard *shard_of(struct admission *a, uint64_t hash) {
  return &a->shards[hash % SHARDS];
}

static size_t bucket_of(const struct shard *s, uint64_t hash) {
  return (size_t)(hash / SHARDS) & (s->n_buckets - 1);
}

static void resize_locked(struct shard *s, size_t n_buckets) {
  struct address_count **old = s->buckets;
  size_t n_old = s->n_buckets;
  s->buckets = x_calloc(n_buckets, sizeof(struct address_count *));
  s->n_buckets = n_buckets;
  for (size_t i = 0; i < n_old; i++) {
    for (struct address_count *c = old[i], *next; c; c = next) {
      next = c->next;
      struct address_count **bucket = &s->buckets[bucket_of(s, c->hash)];
      c->next = *bucket;
      *bucket = c;
    }
  }
  free(old);
}

static struct address_count *find_locked(struct shard *s, uint64_t hash, const unsigned char bytes[17]) {
  if (s->n >= s->n_buckets) resize_locked(s, s->n_buckets ? s->n_buckets * 2 : 16);
  struct address_count **bucket = &s->buckets[bucket_of(s, hash)];
  for (struct address_count *c = *bucket; c; c = c->next)
    if (c->hash == hash && memcmp(c->bytes, bytes, 17) == 0) return c;
  struct address_count *c = x_calloc(1, sizeof *c);
  c->hash = hash;
  memcpy(c->bytes, bytes, 17);
  c->next = *bucket;
  *bucket = c;
  s->n++;
  return c;
}

static void drop_locked(struct shard *s, struct address_count *c) {
  struct address_count **at = &s->buckets[bucket_of(s, c->hash)];
  while (*at != c)
    at = &(*at)->next;
  *at = c->next;
  s->n--;
  free(c);
}

/* False: this address has its share. */
static bool count_address(struct admission *a, const struct sockaddr *address, struct address_count **count) {
  uint32_t max = __atomic_load_n(&a->max_per_address, __ATOMIC_RELAXED);
  *count = NULL;
  if (max == 0) return true;
  unsigned char bytes[17];
  key_of(bytes, address);
  uint64_t hash = siphash(&a->key, bytes, sizeof bytes);
  struct shard *s = shard_of(a, hash);
  pthread_mutex_lock(&s->lock);
  struct address_count *c = find_locked(s, hash, bytes);
  bool fits = c->n < max;
  if (fits) c->n++;
  pthread_mutex_unlock(&s->lock);
  if (fits) *count = c;
  return fits;
}

static void uncount_address(struct admission *a, struct address_count *c) {
  struct shard *s = shard_of(a, c->hash);
  pthread_mutex_lock(&s->lock);
  if (--c->n == 0) drop_locked(s, c);
  pthread_mutex_unlock(&s->lock);
}

/* ---- in and out ---- */

enum admission_verdict admission_enter(struct admission *a, const struct sockaddr *address,
                                       struct address_count **count) {
  if (!count_address(a, address, count)) return REFUSED_ADDRESS;
  if (!is_full(a, __atomic_fetch_add(&a->count, 1, __ATOMIC_RELAXED))) return ADMITTED;
  uint32_t max_over = __atomic_load_n(&a->max_over, __ATOMIC_RELAXED);
  if (__atomic_fetch_add(&a->over, 1, __ATOMIC_RELAXED) < max_over) return ADMITTED_OVER;
  admission_leave(a, true, *count);
  *count = NULL;
  return REFUSED_FULL;
}

void admission_leave(struct admission *a, bool is_over, struct address_count *count) {
  __atomic_fetch_sub(&a->count, 1, __ATOMIC_RELAXED);
  if (is_over) __atomic_fetch_sub(&a->over, 1, __ATOMIC_RELAXED);
  if (count) uncount_address(a, count);
}

/* ---- sending away ---- */

/* What has come in is read first: closing over unread bytes would destroy the answer on its way. */
static void drop_input(int fd) {
  char bytes[2048];
  for (int i = 0; i < 8 && recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0; i++) {
  }
}

void admission_refuse(int fd, enum admission_verdict why) {
  bool is_address = why == REFUSED_ADDRESS;
  uint64_t random[2];
  char id[48];
  rand_os(random, sizeof random);
  int id_len = snprintf(id, sizeof id, "req_%016llx%08llx", (unsigned long long)random[0],
                        (unsigned long long)(random[1] >> 32));
  struct http_error e = {.status = is_address ? 429 : 503,
                         .code = is_address ? "too_many_connections" : "overloaded",
                         .message = is_address ? SPAN("Too many connections from this address")
                                               : SPAN("Too many connections; try again shortly"),
                         .request_id = span_make(id, (size_t)id_len)};
  struct buf body, text;
  buf_init(&body, 1024);
  buf_init(&text, 2048);
  http_put_error_body(&body, &e);
  http_put_status(&text, e.status);
  http_put_field(&text, "Content-Type", SPAN("application/json"));
  http_put_field_u64(&text, "Content-Length", body.len);
  http_put_field_u64(&text, "Retry-After", 1);
  http_put_field(&text, "X-Request-Id", e.request_id);
  http_put_field(&text, "Connection", SPAN("close"));
  buf_put_str(&text, "\r\n");
  buf_put_span(&text, buf_span(&body));
  drop_input(fd);
  (void)send(fd, text.data, text.len, MSG_DONTWAIT | MSG_NOSIGNAL);
  (void)shutdown(fd, SHUT_WR);
  drop_input(fd);
  (void)close(fd);
  buf_release(&body);
  buf_release(&text);
}
