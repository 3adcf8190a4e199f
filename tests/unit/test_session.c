#include "model/session.h"
#include "base/rand.h"
#include "check.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#  define SCALE 1
#else
#  define SCALE 4
#endif

static struct session session_of(const char *res_key, const char *id, const char *provider) {
  struct session s = {
      .created_wall_ms = 1700000000000u, .tokens_in = 12, .tokens_out = -1, .has_digests = true};
  (void)snprintf(s.res_key, sizeof s.res_key, "%s", res_key);
  (void)snprintf(s.id, sizeof s.id, "%s", id);
  (void)snprintf(s.provider, sizeof s.provider, "%s", provider);
  (void)snprintf(s.model, sizeof s.model, "model-of-%s", provider);
  for (int i = 0; i < 32; i++) {
    s.request_sha256[i] = (unsigned char)i;
    s.response_sha256[i] = (unsigned char)(0xff - i);
  }
  return s;
}

static void put(struct session_table *t, const char *res_key, const char *id, const char *provider,
                uint64_t now) {
  struct session s = session_of(res_key, id, provider);
  session_put(t, &s, now);
}

/* The provider found under the key, or "". */
static const char *who(struct session_table *t, const char *key, uint64_t now) {
  static struct session s;
  return session_get(t, &s, span_str(key), now) ? s.provider : "";
}

#define CHECK_WHO(t, key, now, expected)                                                                     \
  do {                                                                                                       \
    const char *check_who = who(t, key, now);                                                                \
    CHECK_STR(check_who, strlen(check_who), expected);                                                       \
  } while (0)

static void both_keys_find_all_that_was_put(void) {
  struct session_table *t = session_table_new(100, 1000, 8);
  struct session in = session_of("res-1", "chatcmpl-1", "0xabc"), out;
  memset(&out, 0x5a, sizeof out);
  session_put(t, &in, 5);
  const char *const keys[] = {"res-1", "chatcmpl-1"};
  for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
    CHECK(session_get(t, &out, span_str(keys[i]), 6));
    CHECK_STR(out.provider, strlen(out.provider), "0xabc");
    CHECK_STR(out.model, strlen(out.model), "model-of-0xabc");
    CHECK_STR(out.res_key, strlen(out.res_key), "res-1");
    CHECK_STR(out.id, strlen(out.id), "chatcmpl-1");
    CHECK(out.has_digests && !out.has_images && memcmp(out.request_sha256, in.request_sha256, 32) == 0);
    CHECK(memcmp(out.response_sha256, in.response_sha256, 32) == 0);
    CHECK_INT(out.created_wall_ms, 1700000000000u);
    CHECK_INT(out.tokens_in, 12);
    CHECK_INT(out.tokens_out, -1);
  }
  CHECK_INT(session_count(t), 1);
  session_table_free(t);
}

static void a_session_with_one_key_or_two_equal_ones(void) {
  struct session_table *t = session_table_new(100, 1000, 8);
  put(t, "", "only-id", "p1", 1);
  put(t, "only-res", "", "p2", 1);
  put(t, "same", "same", "p3", 1);
  CHECK_WHO(t, "only-id", 2, "p1");
  CHECK_WHO(t, "only-res", 2, "p2");
  struct session out;
  CHECK(session_get(t, &out, SPAN("same"), 2));
  CHECK_STR(out.id, strlen(out.id), "same");
  CHECK_STR(out.res_key, strlen(out.res_key), "same");
  CHECK_INT(session_count(t), 3);
  session_table_free(t);
}

static void a_session_without_keys_is_not_filed(void) {
  struct session_table *t = session_table_new(100, 1000, 8);
  put(t, "", "", "p", 1);
  CHECK_INT(session_count(t), 0);
  CHECK_WHO(t, "", 1, "");
  session_table_free(t);
}

static void the_longest_values_fit(void) {
  struct session_table *t = session_table_new(100, 1000, 1);
  struct session s = {.tokens_in = INT64_MAX, .has_digests = true, .has_images = true}, out;
  memset(s.images_sha256, 7, sizeof s.images_sha256);
  memset(s.provider, 'p', SESSION_PROVIDER_MAX);
  memset(s.model, 'm', SESSION_MODEL_MAX);
  memset(s.res_key, 'r', SESSION_KEY_MAX);
  memset(s.id, 'i', SESSION_KEY_MAX);
  session_put(t, &s, 1);
  CHECK(session_get(t, &out, span_make(s.id, SESSION_KEY_MAX), 1));
  CHECK(!strcmp(out.provider, s.provider) && !strcmp(out.model, s.model));
  CHECK(!strcmp(out.res_key, s.res_key) && !strcmp(out.id, s.id));
  CHECK_INT(out.tokens_in, INT64_MAX);
  CHECK(out.has_digests && out.has_images);
  CHECK(memcmp(out.images_sha256, s.images_sha256, sizeof s.images_sha256) == 0);
  char longer[SESSION_KEY_MAX + 1];
  memset(longer, 'i', sizeof longer);
  CHECK(!session_get(t, &out, span_make(longer, sizeof longer), 1));
  CHECK(!session_get(t, &out, span_make(longer, SESSION_KEY_MAX - 1), 1));
  session_table_free(t);
}

static void a_put_replaces_whoever_has_one_of_its_keys(void) {
  struct session_table *t = session_table_new(100, 1000, 16);
  put(t, "a", "b", "p1", 1);
  put(t, "a", "b", "p2", 1);
  CHECK_INT(session_count(t), 1);
  CHECK_WHO(t, "a", 1, "p2");
  CHECK_WHO(t, "b", 1, "p2");
  put(t, "a", "c", "p3", 1);
  CHECK_WHO(t, "b", 1, "");
  CHECK_WHO(t, "a", 1, "p3");
  CHECK_WHO(t, "c", 1, "p3");
  put(t, "d", "a", "p4", 1);
  CHECK_WHO(t, "c", 1, "");
  CHECK_WHO(t, "a", 1, "p4");
  CHECK_INT(session_count(t), 1);
  put(t, "e", "f", "p5", 1);
  put(t, "d", "e", "p6", 1);
  CHECK_INT(session_count(t), 1);
  CHECK_WHO(t, "f", 1, "");
  CHECK_WHO(t, "a", 1, "");
  CHECK_WHO(t, "e", 1, "p6");
  session_table_free(t);
}

static void a_session_expires_after_its_last_use(void) {
  struct session_table *t = session_table_new(100, 1000, 4);
  put(t, "a", "b", "p", 100);
  CHECK_WHO(t, "a", 1099, "p");
  CHECK_WHO(t, "b", 2098, "p");
  CHECK_WHO(t, "a", 3098, "");
  CHECK_WHO(t, "b", 3098, "");
  CHECK_INT(session_count(t), 0);
  session_table_free(t);
}

static void a_clock_read_a_moment_earlier_expires_nothing(void) {
  struct session_table *t = session_table_new(100, 1000, 4);
  put(t, "a", "b", "p", 5000);
  CHECK_WHO(t, "a", 4000, "p");
  CHECK_WHO(t, "a", 5999, "p");
  session_table_free(t);
}

static void a_sweep_drops_what_has_expired_and_nothing_else(void) {
  struct session_table *t = session_table_new(10000, 1000, 16);
  char res[32], id[32];
  for (int i = 0; i < 2000; i++) {
    (void)snprintf(res, sizeof res, "res-%d", i);
    (void)snprintf(id, sizeof id, "id-%d", i);
    put(t, res, id, "p", i < 1500 ? 100 : 900);
  }
  session_sweep(t, 16, 1099);
  CHECK_INT(session_count(t), 2000);
  session_sweep(t, 4, 1100);
  CHECK(session_count(t) > 500 && session_count(t) < 2000);
  for (int i = 0; i < 3; i++)
    session_sweep(t, 4, 1100);
  CHECK_INT(session_count(t), 500);
  CHECK_WHO(t, "id-1499", 1100, "");
  CHECK_WHO(t, "id-1500", 1100, "p");
  session_sweep(t, 1000, 10000);
  CHECK_INT(session_count(t), 0);
  session_table_free(t);
}

static void the_least_recently_used_goes_first(void) {
  const unsigned shards[] = {1, 64};
  for (size_t i = 0; i < ARRAY_LEN(shards); i++) {
    struct session_table *t = session_table_new(3, 1000, shards[i]);
    put(t, "r1", "i1", "p1", 1);
    put(t, "r2", "i2", "p2", 1);
    put(t, "r3", "i3", "p3", 1);
    CHECK_WHO(t, "i1", 1, "p1");
    put(t, "r4", "i4", "p4", 1);
    CHECK_INT(session_count(t), 3);
    CHECK_WHO(t, "r2", 1, "");
    CHECK_WHO(t, "i2", 1, "");
    CHECK_WHO(t, "r1", 1, "p1");
    put(t, "r5", "i5", "p5", 2);
    CHECK_WHO(t, "r3", 2, "");
    CHECK_WHO(t, "r4", 2, "p4");
    CHECK_WHO(t, "r5", 2, "p5");
    session_table_free(t);
  }
}

static void a_table_of_one_holds_the_last(void) {
  struct session_table *t = session_table_new(1, 1000, 32);
  char id[32];
  for (int i = 0; i < 200; i++) {
    (void)snprintf(id, sizeof id, "id-%d", i);
    put(t, "", id, "p", 1);
    CHECK_WHO(t, id, 1, "p");
    CHECK_INT(session_count(t), 1);
  }
  session_table_free(t);
}

static void the_maximum_is_never_passed(void) {
  struct session_table *t = session_table_new(5000, 1000, 64);
  char res[32], id[32];
  for (int i = 0; i < 30000; i++) {
    (void)snprintf(res, sizeof res, "res-%d", i);
    (void)snprintf(id, sizeof id, "id-%d", i);
    put(t, res, id, "p", (uint64_t)i / 100);
    CHECK(session_count(t) <= 5000);
  }
  CHECK_INT(session_count(t), 5000);
  int found = 0;
  for (int i = 30000 - 4000; i < 30000; i++) {
    (void)snprintf(id, sizeof id, "id-%d", i);
    found += *who(t, id, 300) != '\0';
  }
  CHECK(found > 3600);
  session_table_free(t);
}

static void new_limits_hold_from_the_next_puts_on(void) {
  struct session_table *t = session_table_new(4000, 100000, 16);
  char id[32];
  for (int i = 0; i < 4000; i++) {
    (void)snprintf(id, sizeof id, "id-%d", i);
    put(t, "", id, "p", 1);
  }
  session_table_limit(t, 10, 500);
  for (int i = 0; i < 2000; i++) {
    (void)snprintf(id, sizeof id, "new-%d", i);
    put(t, "", id, "p", 2);
  }
  CHECK_INT(session_count(t), 10);
  CHECK_WHO(t, "new-1999", 2, "p");
  CHECK_WHO(t, "new-1999", 502, "");
  session_table_free(t);
}

/* Against a plain array that follows the header word by word. */
#define MODEL_N 64
static struct {
  char keys[2][8];
  int provider;
  uint64_t used;
} model[MODEL_N];

static int model_find(const char *key, uint64_t now) {
  for (int i = 0; i < MODEL_N; i++) {
    if (!model[i].provider || now - model[i].used >= 300) continue;
    if (!strcmp(model[i].keys[0], key) || !strcmp(model[i].keys[1], key)) return i;
  }
  return -1;
}

static void agrees_with_a_simple_table(void) {
  struct session_table *t = session_table_new(1000, 300, 8);
  struct rng r;
  rng_seed(&r, 7);
  memset(model, 0, sizeof model);
  uint64_t now = 1000;
  for (int step = 1; step < 50000; step++) {
    now += rng_below(&r, 4);
    char a[8], b[8];
    (void)snprintf(a, sizeof a, "k%u", (unsigned)rng_below(&r, 60));
    (void)snprintf(b, sizeof b, "k%u", (unsigned)rng_below(&r, 60));
    if (rng_below(&r, 10) == 0) b[0] = '\0';
    uint32_t what = rng_below(&r, 20);
    if (what < 8) {
      char name[16];
      (void)snprintf(name, sizeof name, "%d", step);
      put(t, b, a, name, now);
      for (int i = 0; i < MODEL_N; i++)
        if (model[i].provider && (!strcmp(model[i].keys[0], a) || !strcmp(model[i].keys[1], a) ||
                                  (*b && (!strcmp(model[i].keys[0], b) || !strcmp(model[i].keys[1], b)))))
          model[i].provider = 0;
      int free_at = 0;
      while (model[free_at].provider)
        free_at++;
      memcpy(model[free_at].keys[0], a, sizeof a);
      memcpy(model[free_at].keys[1], *b ? b : a, sizeof b);
      model[free_at].provider = step;
      model[free_at].used = now;
    } else if (what < 19) {
      int at = model_find(a, now);
      CHECK_INT(atoi(who(t, a, now)), at < 0 ? 0 : model[at].provider);
      if (at >= 0) model[at].used = now;
    } else {
      session_sweep(t, 8, now);
      int n = 0;
      for (int i = 0; i < MODEL_N; i++) {
        if (now - model[i].used >= 300) model[i].provider = 0;
        n += model[i].provider != 0;
      }
      CHECK_INT(session_count(t), n);
    }
  }
  session_table_free(t);
}

/* ---- threads ---- */

#define THREADS 4
#define ROUNDS  (20000 * SCALE)

static struct session_table *shared;
static unsigned wrong;

static void *hammer(void *arg) {
  struct rng r;
  rng_seed(&r, (uint64_t)(uintptr_t)arg);
  for (int i = 0; i < ROUNDS; i++) {
    char res[32], id[32], name[32];
    unsigned n = rng_below(&r, 3000);
    (void)snprintf(res, sizeof res, "res-%u", n);
    (void)snprintf(id, sizeof id, "id-%u", n);
    (void)snprintf(name, sizeof name, "p-%u", n);
    uint64_t now = 1000 + (uint64_t)i / 50;
    struct session out;
    switch (rng_below(&r, 8)) {
    case 0:
    case 1:
    case 2: put(shared, res, id, name, now); break;
    case 3: session_sweep(shared, 2, now); break;
    case 4: session_table_limit(shared, 500 + rng_below(&r, 2000), 40 + rng_below(&r, 100)); break;
    default:
      if (!session_get(shared, &out, span_str(n % 2 ? res : id), now)) break;
      if (strcmp(out.provider, name) != 0 || strcmp(out.id, id) != 0 || strcmp(out.res_key, res) != 0)
        __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
    }
  }
  return NULL;
}

static void many_threads_see_whole_sessions(void) {
  shared = session_table_new(2000, 100, 16);
  wrong = 0;
  pthread_t threads[THREADS];
  for (size_t i = 0; i < THREADS; i++)
    CHECK(pthread_create(&threads[i], NULL, hammer, (void *)(uintptr_t)(i + 1)) == 0);
  for (size_t i = 0; i < THREADS; i++)
    pthread_join(threads[i], NULL);
  CHECK_INT(wrong, 0);
  uint64_t later = 1000 + ROUNDS;
  session_table_limit(shared, 5000, 100);
  session_sweep(shared, 16, later);
  CHECK_INT(session_count(shared), 0);
  char res[32], id[32];
  for (int i = 0; i < 3000; i++) {
    (void)snprintf(res, sizeof res, "res-%d", i);
    (void)snprintf(id, sizeof id, "id-%d", i);
    put(shared, res, id, "p", later);
    CHECK(*who(shared, res, later) && *who(shared, id, later));
  }
  CHECK_INT(session_count(shared), 3000);
  session_table_free(shared);
}

static unsigned n_answers; /* that have left */

static void *file_late(void *arg) {
  struct session_table *t = arg;
  for (unsigned i = 0; i < 200; i++) {
    char key[32];
    (void)snprintf(key, sizeof key, "late-%u", i);
    session_follows(t, 1);
    __atomic_store_n(&n_answers, i + 1, __ATOMIC_RELEASE);
    if (i % 50 == 0)
      usleep(2000);
    else
      (void)sched_yield();
    put(t, key, "", "p", 1);
    session_is_there(t, 1);
  }
  return NULL;
}

/* Whoever has seen an answer finds its session, however late that is filed. */
static void sessions_that_follow_are_waited_for(void) {
  struct session_table *t = session_table_new(1000, 1000, 8);
  session_table_expect_filers(t, 3);
  n_answers = 0;
  pthread_t filer;
  CHECK(pthread_create(&filer, NULL, file_late, t) == 0);
  bool all_found = true, all_counted = true;
  for (unsigned seen = 0; seen < 200;) {
    char key[32];
    seen = __atomic_load_n(&n_answers, __ATOMIC_ACQUIRE);
    if (!seen) continue;
    (void)snprintf(key, sizeof key, "late-%u", seen - 1);
    all_found = all_found && *who(t, key, 1);
    all_counted = all_counted && session_count(t) >= seen;
  }
  pthread_join(filer, NULL);
  CHECK(all_found);
  CHECK(all_counted);
  CHECK_INT(session_count(t), 200);
  session_table_free(t);
}

static double cpu_s(void) {
  struct timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Prints a figure; too much depends on the machine for a limit. */
static void put_and_get_speed_is_printed(void) {
  const size_t sizes[] = {10000, 200000u * SCALE};
  for (size_t k = 0; k < ARRAY_LEN(sizes); k++) {
    struct session_table *t = session_table_new(sizes[k], 1800000, 256);
    struct session s = session_of("", "", "0x1234567890123456789012345678901234567890"), out;
    size_t n = 250000u * SCALE;
    (void)snprintf(s.res_key, sizeof s.res_key, "00000000-7b1c-4d2e-9f3a-1c2d3e4f5a6b");
    (void)snprintf(s.id, sizeof s.id, "chatcmpl-00000000b5e94d21a1b2c3d4e5f60718");
    double start = cpu_s();
    for (size_t i = 0; i < n; i++) {
      for (unsigned d = 0; d < 8; d++)
        s.res_key[d] = s.id[9 + d] = "0123456789abcdef"[(i >> (4 * d)) & 15];
      session_put(t, &s, i / 1000);
      CHECK(session_get(t, &out, span_make(s.id, 41), i / 1000));
    }
    printf("# %zu sessions at most: %.0f ns for a put and a get\n", sizes[k],
           (cpu_s() - start) / (double)n * 1e9);
    session_table_free(t);
  }
}

int main(void) {
  RUN(both_keys_find_all_that_was_put);
  RUN(a_session_with_one_key_or_two_equal_ones);
  RUN(a_session_without_keys_is_not_filed);
  RUN(the_longest_values_fit);
  RUN(a_put_replaces_whoever_has_one_of_its_keys);
  RUN(a_session_expires_after_its_last_use);
  RUN(a_clock_read_a_moment_earlier_expires_nothing);
  RUN(a_sweep_drops_what_has_expired_and_nothing_else);
  RUN(the_least_recently_used_goes_first);
  RUN(a_table_of_one_holds_the_last);
  RUN(the_maximum_is_never_passed);
  RUN(new_limits_hold_from_the_next_puts_on);
  RUN(agrees_with_a_simple_table);
  RUN(many_threads_see_whole_sessions);
  RUN(sessions_that_follow_are_waited_for);
  RUN(put_and_get_speed_is_printed);
  return CHECK_END();
}
