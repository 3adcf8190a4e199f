/*
 * bench_parts: what the parts of a request cost on their own, in CPU time of one thread; and how structures that workers
 * share behave when two use them at once. Prints, never judges.
 *
 * JSON: the scan that finds model, stream and messages, beside a whole decode by lua-cjson (skipped where that is not
 * installed). Sessions: filed, and found again. Tokens: the copy of a provider's session token that goes into a request;
 * making one (hashing, signing) happens elsewhere, and its cost is printed beside it. Shared: begin and settle of an
 * attempt at one common provider, at one provider each, and sessions in one table.
 */
#include "base/base.h"
#include "base/clock.h"
#include "base/rand.h"
#include "eth/key.h"
#include "eth/token.h"
#include "model/provider.h"
#include "model/session.h"
#include "wire/request_body.h"

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define ROUNDS   7
#define SESSIONS 100000u

static uint64_t ns_of(clockid_t clock) {
  struct timespec t;
  (void)clock_gettime(clock, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Processor time of this thread, so that other programs do not count. */
static uint64_t cpu_ns(void) {
  return ns_of(CLOCK_THREAD_CPUTIME_ID);
}

static double median(double rounds[ROUNDS]) {
  for (unsigned i = 1; i < ROUNDS; i++)
    for (unsigned j = i; j > 0 && rounds[j] < rounds[j - 1]; j--) {
      double x = rounds[j];
      rounds[j] = rounds[j - 1];
      rounds[j - 1] = x;
    }
  return rounds[ROUNDS / 2];
}

/* The median of some rounds, in ns per call. */
static double per_call(void (*fn)(void *), void *arg, unsigned calls) {
  double rounds[ROUNDS];
  for (unsigned round = 0; round < ROUNDS; round++) {
    uint64_t start = cpu_ns();
    for (unsigned i = 0; i < calls; i++)
      fn(arg);
    rounds[round] = (double)(cpu_ns() - start) / calls;
  }
  return median(rounds);
}

/* ---- JSON ---- */

/* What people and programs write, as it stands in a body: an escape about every 60, 20, 60 bytes. */
static const struct prose {
  const char *name, *text;
} PROSE[] = {
    {"prose", "The moon is a harsh mistress, said the man in the boat, and \\n"},
    {"code", "  if (moon == \\\"full\\\") {\\n    sail(boat, 3);\\n  }\\n"},
    {"Chinese",
     "\u6708\u7403\u662f\u4e2a\u65e0\u60c5\u7684\u60c5\u5987\uff0c\u8239\u4e0a\u7684\u4eba\u8bf4\uff0c\\n"},
};

static struct span chat_of(const struct prose *prose, size_t size) {
  static const char HEAD[] =
      "{\"model\":\"moon\",\"stream\":true,\"temperature\":0.7,\"messages\":[{\"role\":"
      "\"user\",\"content\":\"";
  static const char TAIL[] = "\"}]}";
  size_t piece = strlen(prose->text);
  char *text = x_malloc(size + sizeof HEAD + piece + sizeof TAIL);
  size_t len = sizeof HEAD - 1;
  memcpy(text, HEAD, len);
  while (len + piece + sizeof TAIL - 1 <= size) {
    memcpy(text + len, prose->text, piece);
    len += piece;
  }
  memcpy(text + len, TAIL, sizeof TAIL - 1);
  return span_make(text, len + sizeof TAIL - 1);
}

struct scan {
  struct span text;
  struct arena_pool *pool;
};

static void scan_body(void *arg) {
  struct scan *s = arg;
  struct arena arena;
  struct request_body body;
  struct request_fault fault;
  arena_init(&arena, s->pool, 1 << 20);
  request_body_init(&body);
  bool is_read = request_body_read(&body, &fault, s->text, true, &arena);
  REQUIRE(is_read);
  arena_reset(&arena);
}

struct decode {
  lua_State *L;
  int text;
};

static void decode_body(void *arg) {
  struct decode *d = arg;
  lua_pushvalue(d->L, 1);
  lua_pushvalue(d->L, d->text);
  lua_call(d->L, 1, 0);
}

/* NULL without lua-cjson. Leaves its decode() at 1. */
static lua_State *open_cjson(void) {
  lua_State *L = luaL_newstate();
  luaL_openlibs(L);
  if (luaL_dostring(L, "return require('cjson').decode") == 0) return L;
  lua_close(L);
  return NULL;
}

static void bench_json(void) {
  static const struct {
    unsigned prose;
    size_t size;
  } BODIES[] = {{0, 1024}, {0, 16384}, {0, 102400}, {0, 1048576}, {1, 102400}, {2, 102400}};
  static struct arena_pool pool;
  lua_State *L = open_cjson();
  arena_pool_init(&pool, 4);
  printf("%-24s %12s %12s %12s %12s\n", "chat body, bytes", "scan, ns", "scan, GB/s", "lua-cjson, ns",
         "ratio");
  for (size_t i = 0; i < ARRAY_LEN(BODIES); i++) {
    const struct prose *prose = &PROSE[BODIES[i].prose];
    struct scan s = {chat_of(prose, BODIES[i].size), &pool};
    unsigned calls = (unsigned)(50000000 / BODIES[i].size) + 1;
    double ours = per_call(scan_body, &s, calls), theirs = NAN;
    if (L) {
      lua_pushlstring(L, s.text.ptr, s.text.len);
      struct decode d = {L, lua_gettop(L)};
      theirs = per_call(decode_body, &d, calls / 20 + 1);
      lua_pop(L, 1);
    }
    printf("%-10s %13zu %12.0f %12.2f %12.0f %12.1f\n", prose->name, s.text.len, ours,
           (double)s.text.len / ours, theirs, theirs / ours);
    free((char *)s.text.ptr);
  }
  arena_pool_release(&pool);
  if (L) lua_close(L);
}

/* ---- sessions ---- */

struct sessions {
  struct session_table *table;
  unsigned next; /* counts up; two keys each */
};

static struct session session_of(unsigned i) {
  struct session s = {.tokens_in = 17, .tokens_out = 24};
  (void)snprintf(s.provider, sizeof s.provider, "provider-%u", i % 8);
  (void)snprintf(s.model, sizeof s.model, "moon");
  (void)snprintf(s.id, sizeof s.id, "chatcmpl-%024u", i);
  (void)snprintf(s.res_key, sizeof s.res_key, "%08x-0000-4000-8000-%012x", i, i);
  return s;
}

static void put_session(void *arg) {
  struct sessions *s = arg;
  struct session one = session_of(s->next++);
  session_put(s->table, &one, s->next);
}

static void get_session(void *arg) {
  struct sessions *s = arg;
  struct session want = session_of(s->next), got;
  s->next = (s->next + 7919) % SESSIONS;
  bool is_found = session_get(s->table, &got, span_str(want.id), 1);
  REQUIRE(is_found);
}

static void make_session(void *arg) {
  struct sessions *s = arg;
  struct session one = session_of(s->next++);
  __asm__ volatile("" : : "r"(&one) : "memory");
}

static void bench_sessions(void) {
  struct sessions s = {session_table_new(SESSIONS, 3600000, 64), 0};
  double making = per_call(make_session, &s, 200000);
  s.next = 0;
  double putting = per_call(put_session, &s, SESSIONS) - making;
  s.next = 0;
  session_table_free(s.table);
  s.table = session_table_new(2 * SESSIONS, 3600000, 64);
  for (unsigned i = 0; i < SESSIONS; i++)
    put_session(&s);
  s.next = 0;
  double getting = per_call(get_session, &s, SESSIONS) - making;
  printf("%-24s %12s %12s\n", "100,000 sessions", "ns", "per second");
  printf("%-24s %12.0f %12.0f\n", "put (two keys)", putting, 1e9 / putting);
  printf("%-24s %12.0f %12.0f\n", "get", getting, 1e9 / getting);
  session_table_free(s.table);
}

/* ---- tokens ---- */

static void copy_token(void *arg) {
  char token[PROVIDER_TOKEN_MAX];
  uint64_t serial;
  size_t len = provider_copy_token(arg, token, &serial);
  REQUIRE(len);
  __asm__ volatile("" : : "r"(token) : "memory");
}

static void make_token(void *arg) {
  struct token t;
  struct token_wish wish = {.provider = SPAN("0xb1463b3e3e3f9b9fc5a8c4c3ee2cd1a1bbd7b0d1"),
                            .mode = TOKEN_EPHEMERAL,
                            .duration_ms = 86400000,
                            .now_ms = 1795413600000,
                            .generation = 0};
  enum token_fault fault = token_make(&t, &wish, arg);
  REQUIRE(!fault);
  token_wipe(&t);
}

static void bench_tokens(void) {
  struct key *key;
  struct provider *p = provider_new("0xb1463b3e3e3f9b9fc5a8c4c3ee2cd1a1bbd7b0d1", PROVIDER_ONCHAIN, 0);
  int err = key_new(&key, SPAN("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"));
  REQUIRE(!err);
  char text[500];
  memset(text, 'x', sizeof text);
  provider_set_token(p, span_make(text, sizeof text), UINT64_MAX);
  printf("%-24s %12s\n", "session token", "ns");
  printf("%-24s %12.0f\n", "copied for a request", per_call(copy_token, p, 1000000));
  printf("%-24s %12.0f\n", "made, ahead of need", per_call(make_token, key, 500));
  provider_unref(&p);
  key_free(key);
}

/* ---- shared by two threads ---- */

struct shared {
  struct provider *provider;
  struct sessions sessions;
  pthread_barrier_t *start;
  double ns; /* processor time per turn */
};

static void attempt(struct provider *p) {
  static const struct outcome OK = {.class = OUTCOME_OK, .status = 200, .total_ms = 400, .ttft_ms = 100};
  provider_begin(p);
  (void)provider_settle(p, &OK, &HEALTH_RULES_DEFAULT, 1000);
}

#define TURNS 1000000u

static void *attempts(void *arg) {
  struct shared *s = arg;
  (void)pthread_barrier_wait(s->start);
  uint64_t start = cpu_ns();
  for (unsigned i = 0; i < TURNS; i++)
    attempt(s->provider);
  s->ns = (double)(cpu_ns() - start) / TURNS;
  return NULL;
}

static void *puts_and_gets(void *arg) {
  struct shared *s = arg;
  (void)pthread_barrier_wait(s->start);
  uint64_t start = cpu_ns();
  for (unsigned i = 0; i < SESSIONS; i++)
    put_session(&s->sessions);
  s->ns = (double)(cpu_ns() - start) / SESSIONS;
  return NULL;
}

/* The mean of the threads' costs. */
static double run(void *(*fn)(void *), unsigned n_threads, struct provider *const providers[2],
                  struct session_table *table) {
  pthread_barrier_t start;
  struct shared each[2] = {{0}};
  pthread_t threads[2];
  double sum = 0;
  (void)pthread_barrier_init(&start, NULL, n_threads);
  for (unsigned i = 0; i < n_threads; i++) {
    each[i] = (struct shared){providers[i], {table, i * 10000000}, &start, 0};
    int err = pthread_create(&threads[i], NULL, fn, &each[i]);
    REQUIRE(!err);
  }
  for (unsigned i = 0; i < n_threads; i++) {
    (void)pthread_join(threads[i], NULL);
    sum += each[i].ns;
  }
  (void)pthread_barrier_destroy(&start);
  return sum / n_threads;
}

static double runs(void *(*fn)(void *), unsigned n_threads, struct provider *a, struct provider *b,
                   unsigned shards) {
  double rounds[ROUNDS];
  for (unsigned round = 0; round < ROUNDS; round++) {
    struct session_table *table = shards ? session_table_new(4 * SESSIONS, 3600000, shards) : NULL;
    rounds[round] = run(fn, n_threads, (struct provider *const[2]){a, b}, table);
    if (table) session_table_free(table);
  }
  return median(rounds);
}

static void print_shared(const char *name, double one, double two) {
  printf("%-40s %12.0f %12.0f %12.2f\n", name, one, two, two / one);
}

static void bench_shared(void) {
  struct provider *a = provider_new("a", PROVIDER_DIRECT, 0), *b = provider_new("b", PROVIDER_DIRECT, 0);
  printf("%-40s %12s %12s %12s\n", "processor time, ns", "one thread", "two threads", "ratio");
  print_shared("attempt begun and settled, same provider", runs(attempts, 1, a, a, 0),
               runs(attempts, 2, a, a, 0));
  print_shared("the same, a provider each", runs(attempts, 1, a, b, 0), runs(attempts, 2, a, b, 0));
  print_shared("session made and put, 1 shard", runs(puts_and_gets, 1, a, a, 1),
               runs(puts_and_gets, 2, a, a, 1));
  print_shared("the same, 64 shards", runs(puts_and_gets, 1, a, a, 64), runs(puts_and_gets, 2, a, a, 64));
  provider_unref(&a);
  provider_unref(&b);
}

int main(void) {
  bench_json();
  printf("\n");
  bench_sessions();
  printf("\n");
  bench_tokens();
  printf("\n");
  bench_shared();
  return 0;
}
