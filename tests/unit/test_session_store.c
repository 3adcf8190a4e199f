/* The store has a thread of its own (pthread_create): this runs under the thread sanitizer, too. */
#include "daemon/session_store.h"
#include "base/clock.h"
#include "base/log.h"
#include "check.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define TTL_MS 600000

static char folder[64], path[96];

static void in_new_folder(void) {
  (void)snprintf(folder, sizeof folder, "/tmp/moongate-store-XXXXXX");
  CHECK(mkdtemp(folder));
  (void)snprintf(path, sizeof path, "%s/deep/er/sessions", folder);
}

static void remove_folder(void) {
  char command[128];
  (void)snprintf(command, sizeof command, "rm -rf %s", folder);
  CHECK_INT(system(command), 0);
}

struct place {
  struct session_table *table;
  struct session_store *store;
};

static struct place open_bounded(uint64_t ttl_ms, uint64_t max_bytes) {
  struct place p = {.table = session_table_new(100000, TTL_MS, 8)};
  struct session_store_options o = {.path = path, .max_bytes = max_bytes, .ttl_ms = ttl_ms};
  p.store = session_store_open(p.table, &o);
  while (!session_store_is_loaded(p.store))
    (void)usleep(1000);
  return p;
}

static struct place open_place(void) {
  return open_bounded(TTL_MS, 64 << 20);
}

static void close_place(struct place *p) {
  session_store_close(p->store);
  session_table_free(p->table);
}

static void put(struct place *p, const char *id, unsigned n) {
  struct session s = {.created_wall_ms = clock_wall_ms(), .tokens_in = (int64_t)n, .has_digests = true};
  (void)snprintf(s.provider, sizeof s.provider, "provider-%u", n % 7);
  (void)snprintf(s.id, sizeof s.id, "%s-%u", id, n);
  memset(s.request_sha256, (int)n, 32);
  session_put(p->table, &s, clock_mono_ms());
}

static bool has(struct place *p, const char *id, unsigned n) {
  struct session s;
  char key[64];
  (void)snprintf(key, sizeof key, "%s-%u", id, n);
  if (!session_get(p->table, &s, span_str(key), clock_mono_ms())) return false;
  CHECK_INT(s.tokens_in, n);
  CHECK_INT(s.request_sha256[31], (unsigned char)n);
  return true;
}

static void write_file(const char *bytes, size_t len, off_t at) {
  int fd = open(path, O_WRONLY | O_CREAT, 0600);
  CHECK(fd >= 0);
  CHECK_INT(pwrite(fd, bytes, len, at), len);
  (void)close(fd);
}

static void what_was_filed_is_there_after_a_restart(void) {
  in_new_folder();
  for (unsigned run = 0; run < 3; run++) {
    struct place p = open_place();
    for (unsigned i = 0; i < run * 100; i++)
      CHECK(has(&p, "a", i));
    for (unsigned i = run * 100; i < run * 100 + 100; i++)
      put(&p, "a", i);
    close_place(&p);
  }
  struct stat st;
  CHECK_INT(stat(path, &st), 0);
  CHECK_INT(st.st_mode & 0777, 0600);
  remove_folder();
}

static void sessions_that_are_over_stay_away(void) {
  in_new_folder();
  struct place p = open_place();
  put(&p, "a", 1);
  close_place(&p);
  (void)usleep(5000);
  p = open_bounded(1, 64 << 20);
  CHECK(!has(&p, "a", 1));
  close_place(&p);
  remove_folder();
}

static void two_processes_see_what_the_other_files(void) {
  in_new_folder();
  struct place a = open_place(), b = open_place();
  put(&a, "a", 1);
  put(&b, "b", 2);
  for (int i = 0; i < 20000 && !(has(&b, "a", 1) && has(&a, "b", 2)); i++)
    (void)usleep(1000);
  CHECK(has(&b, "a", 1));
  CHECK(has(&a, "b", 2));
  close_place(&a);
  close_place(&b);
  remove_folder();
}

static off_t size_of(const char *tail) {
  char name[128];
  struct stat st;
  (void)snprintf(name, sizeof name, "%s%s", path, tail);
  return stat(name, &st) ? 0 : st.st_size;
}

static void the_file_is_bounded_and_the_newest_stay(void) {
  in_new_folder();
  const off_t max = 1 << 20;
  unsigned n = 0;
  for (int run = 0; run < 12; run++) {
    struct place p = open_bounded(TTL_MS, (uint64_t)max);
    for (int i = 0; i < 1500; i++)
      put(&p, "a", n++);
    close_place(&p);
    CHECK(size_of("") <= max);
  }
  struct place p = open_bounded(TTL_MS, (uint64_t)max);
  for (unsigned i = n - 1500; i < n; i++)
    CHECK(has(&p, "a", i));
  CHECK(!has(&p, "a", 0));
  close_place(&p);
  remove_folder();
}

static void what_is_filed_while_another_program_holds_the_file_is_written_later(void) {
  in_new_folder();
  struct place p = open_place();
  put(&p, "a", 0);
  sqlite3 *holder = NULL;
  CHECK_INT(sqlite3_open(path, &holder), SQLITE_OK);
  CHECK_INT(sqlite3_busy_timeout(holder, 5000), SQLITE_OK);
  CHECK_INT(sqlite3_exec(holder, "BEGIN IMMEDIATE", NULL, NULL, NULL), SQLITE_OK);
  for (unsigned i = 1; i < 40; i++) { /* longer than one try takes */
    put(&p, "a", i);
    (void)usleep(70000);
  }
  CHECK_INT(sqlite3_exec(holder, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
  (void)sqlite3_close(holder);
  put(&p, "a", 40);
  close_place(&p);
  p = open_place();
  for (unsigned i = 0; i <= 40; i++)
    CHECK(has(&p, "a", i));
  close_place(&p);
  remove_folder();
}

static void a_foreign_file_is_left_alone(void) {
  in_new_folder();
  (void)snprintf(path, sizeof path, "%s/sessions", folder);
  static const char text[] =
      "dear diary, this is not yours, and it is long enough for a head of a database or two";
  write_file(text, sizeof text, 0);
  struct place p = open_place();
  put(&p, "a", 1);
  CHECK(has(&p, "a", 1));
  close_place(&p);
  CHECK_INT(size_of(""), sizeof text);
  CHECK_INT(unlink(path), 0);
  sqlite3 *db;
  CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
  CHECK_INT(sqlite3_exec(db, "CREATE TABLE diary(day TEXT)", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  off_t before = size_of("");
  p = open_place();
  put(&p, "a", 1);
  close_place(&p);
  CHECK_INT(size_of(""), before);
  remove_folder();
}

static void a_newer_version_is_left_alone(void) {
  in_new_folder();
  struct place p = open_place();
  close_place(&p);
  sqlite3 *db;
  CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
  CHECK_INT(sqlite3_exec(db, "PRAGMA user_version = 2", NULL, NULL, NULL), SQLITE_OK);
  sqlite3_close(db);
  p = open_place();
  put(&p, "a", 1);
  close_place(&p);
  CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
  sqlite3_stmt *q;
  CHECK_INT(sqlite3_prepare_v2(db, "SELECT count(*) FROM batches", -1, &q, NULL), SQLITE_OK);
  CHECK_INT(sqlite3_step(q), SQLITE_ROW);
  CHECK_INT(sqlite3_column_int(q, 0), 0);
  sqlite3_finalize(q);
  sqlite3_close(db);
  remove_folder();
}

/* Wherever it is damaged, the service goes on; what cannot be read is not made up. */
static void damage_anywhere_ends_nothing(void) {
  in_new_folder();
  struct place p = open_place();
  for (unsigned i = 0; i < 3000; i++)
    put(&p, "a", i);
  close_place(&p);
  off_t size = size_of("");
  char command[512];
  (void)snprintf(command, sizeof command, "cp %s %s/whole", path, folder);
  CHECK_INT(system(command), 0);
  char noise[512];
  for (size_t i = 0; i < sizeof noise; i++)
    noise[i] = (char)(i * 37 + 11);
  for (off_t at = 100; at < size; at += size / 40) {
    (void)snprintf(command, sizeof command, "rm -f %s*; cp %s/whole %s", path, folder, path);
    CHECK_INT(system(command), 0);
    write_file(noise, sizeof noise, at);
    if ((at / 100) % 3 == 0) CHECK_INT(truncate(path, at + 700), 0);
    for (int run = 0; run < 2; run++) {
      p = open_place();
      put(&p, "b", (unsigned)run);
      for (unsigned i = 0; i < 3000; i += 100)
        (void)has(&p, "a", i); /* checks that what is there is right */
      CHECK(has(&p, "b", (unsigned)run));
      close_place(&p);
    }
  }
  remove_folder();
}

static void a_locked_file_holds_nobody_up(void) {
  in_new_folder();
  struct place p = open_place();
  close_place(&p);
  sqlite3 *db;
  CHECK_INT(sqlite3_open(path, &db), SQLITE_OK);
  CHECK_INT(sqlite3_exec(db, "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE", NULL, NULL, NULL),
            SQLITE_OK);
  p = open_place();
  put(&p, "a", 1);
  CHECK(has(&p, "a", 1));
  close_place(&p);
  sqlite3_close(db);
  remove_folder();
}

static void a_disk_that_takes_no_more_ends_nothing(void) {
  in_new_folder();
  struct place p = open_place();
  put(&p, "a", 1);
  close_place(&p);
  (void)signal(SIGXFSZ, SIG_IGN);
  struct rlimit before, small;
  CHECK_INT(getrlimit(RLIMIT_FSIZE, &before), 0);
  small = before;
  small.rlim_cur = 16384;
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &small), 0);
  p = open_place();
  for (unsigned i = 2; i < 2000; i++)
    put(&p, "a", i);
  CHECK(has(&p, "a", 1999));
  close_place(&p);
  CHECK_INT(setrlimit(RLIMIT_FSIZE, &before), 0);
  p = open_place();
  CHECK(has(&p, "a", 1));
  close_place(&p);
  remove_folder();
}

static void a_place_that_cannot_be_is_only_a_message(void) {
  in_new_folder();
  (void)snprintf(path, sizeof path, "/proc/nowhere/sessions");
  struct place p = open_place();
  put(&p, "a", 1);
  CHECK(has(&p, "a", 1));
  close_place(&p);
  (void)snprintf(path, sizeof path, "%s", folder); /* a folder */
  p = open_place();
  put(&p, "a", 1);
  close_place(&p);
  remove_folder();
}

static void the_usual_place_follows_the_environment(void) {
  in_new_folder();
  char config[96], other[96];
  (void)snprintf(config, sizeof config, "%s/gate.lua", folder);
  (void)snprintf(other, sizeof other, "%s/other.lua", folder);
  (void)snprintf(path, sizeof path, "%s", config);
  write_file("x", 1, 0);
  (void)snprintf(path, sizeof path, "%s", other);
  write_file("x", 1, 0);
  (void)setenv("STATE_DIRECTORY", "/var/lib/moongate:/var/lib/other", 1);
  char *place = session_store_default_path(config);
  CHECK_STR(place, strlen(place), "/var/lib/moongate/sessions.db");
  free(place);
  (void)unsetenv("STATE_DIRECTORY");
  (void)setenv("XDG_STATE_HOME", "/state", 1);
  place = session_store_default_path(config);
  CHECK(strncmp(place, "/state/moongate/gate-", 21) == 0);
  char *second = session_store_default_path(other), *again = session_store_default_path(config);
  CHECK(strcmp(place, again) == 0 && strcmp(place, second) != 0);
  free(place);
  free(second);
  free(again);
  (void)unsetenv("XDG_STATE_HOME");
  (void)setenv("HOME", "/home/x", 1);
  place = session_store_default_path(config);
  CHECK(strncmp(place, "/home/x/.local/state/moongate/gate-", 35) == 0);
  free(place);
  CHECK(!session_store_default_path(NULL));
  (void)unsetenv("HOME");
  CHECK(!session_store_default_path(config));
  remove_folder();
}

int main(void) {
  log_setup(LOG_OFF, LOG_TEXT);
  RUN(what_was_filed_is_there_after_a_restart);
  RUN(sessions_that_are_over_stay_away);
  RUN(two_processes_see_what_the_other_files);
  RUN(the_file_is_bounded_and_the_newest_stay);
  RUN(what_is_filed_while_another_program_holds_the_file_is_written_later);
  RUN(a_foreign_file_is_left_alone);
  RUN(a_newer_version_is_left_alone);
  RUN(damage_anywhere_ends_nothing);
  RUN(a_locked_file_holds_nobody_up);
  RUN(a_disk_that_takes_no_more_ends_nothing);
  RUN(a_place_that_cannot_be_is_only_a_message);
  RUN(the_usual_place_follows_the_environment);
  return CHECK_END();
}
