#include "daemon/session_store.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/rand.h"
#include "base/siphash.h"
#include "base/thread.h"
#include "model/session_codec.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#define FLUSH_MS       250
#define IDLE_MS        500 /* how often others' batches are looked for */
#define TRY_AGAIN_MS   5000
#define EXPIRE_MS      10000
#define BUSY_MS        2000
#define LAST_TRIES     2 /* of what is left at the end, while another process holds the file */
#define BATCH_MAX      ((size_t)16 << 20) /* filed while the disk stands still; what is beyond is not kept */
#define PAGE_BYTES     4096
#define APPLICATION_ID 1296515923 /* "MGCS" */
#define SCHEMA_VERSION 1

enum statement { INSERT, READ_NEW, LAST_ID, EXPIRE, DROP_OLDEST, STATEMENT_N };

static const char *const SQL[STATEMENT_N] = {
    [INSERT] = "INSERT INTO batches(writer, used_ms, data) VALUES(?1, ?2, ?3)",
    [READ_NEW] = "SELECT id, writer, data FROM batches WHERE id > ?1 ORDER BY id LIMIT 16",
    [LAST_ID] = "SELECT coalesce(max(id), 0) FROM batches",
    [EXPIRE] = "DELETE FROM batches WHERE used_ms < ?1",
    [DROP_OLDEST] = "DELETE FROM batches WHERE id <= (SELECT min(id) + (max(id) - min(id)) / 4 FROM batches)",
};

struct session_store {
  struct session_table *table;
  char *path;
  uint64_t max_bytes;
  bool is_default;
  int64_t writer; /* tells our batches from those of other processes */

  pthread_t thread;
  pthread_mutex_t lock;
  pthread_cond_t wake;
  /* Under the lock: */
  struct buf filed;
  uint64_t n_lost;
  bool is_stopping;

  /* The thread's own: */
  sqlite3 *db;
  sqlite3_stmt *statements[STATEMENT_N];
  struct buf writing; /* filed and not written yet: another process may hold the file for a while */
  int64_t last_id;    /* of the batches that were read */
  bool has_complained, was_locked;

  /* Atomics, relaxed. */
  uint64_t ttl_ms;
  bool is_loaded;
};

/* ---- what workers do ---- */

static void on_use(void *context, const struct session *session) {
  struct session_store *s = context;
  pthread_mutex_lock(&s->lock);
  bool is_first = s->filed.len == 0;
  int err = is_first ? session_batch_begin(&s->filed) : 0;
  if (!err) err = session_batch_add(&s->filed, session, clock_wall_ms());
  if (err) s->n_lost++;
  if (is_first) (void)pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
}

/* ---- messages ---- */

/* Once until it works again; every further failure would say the same. */
static void complain(struct session_store *s, const char *what, const char *why) {
  if (s->has_complained) return;
  s->has_complained = true;
  const char *end = "sessions are kept in memory only and end with this process";
  if (s->is_default)
    log_info("sessions cannot be kept in %s (%s: %s): %s; sessionStore names another place", s->path, what,
             why, end);
  else
    log_warn("sessionStore %s: %s: %s; %s", s->path, what, why, end);
}

static void complain_db(struct session_store *s, const char *what) {
  complain(s, what, s->db ? sqlite3_errmsg(s->db) : "out of memory");
}

/* ---- the database ---- */

static void close_db(struct session_store *s) {
  for (int i = 0; i < STATEMENT_N; i++) {
    (void)sqlite3_finalize(s->statements[i]);
    s->statements[i] = NULL;
  }
  (void)sqlite3_close(s->db);
  s->db = NULL;
}

static bool is_locked(int code) {
  return code == SQLITE_BUSY || code == SQLITE_LOCKED;
}

static bool run_sql(struct session_store *s, const char *sql) {
  return sqlite3_exec(s->db, sql, NULL, NULL, NULL) == SQLITE_OK;
}

static bool get_number(struct session_store *s, const char *sql, int64_t *out) {
  sqlite3_stmt *q = NULL;
  bool ok = sqlite3_prepare_v2(s->db, sql, -1, &q, NULL) == SQLITE_OK && sqlite3_step(q) == SQLITE_ROW;
  if (ok) *out = sqlite3_column_int64(q, 0);
  (void)sqlite3_finalize(q);
  return ok;
}

static void make_folder(const char *path) {
  char folder[PATH_MAX];
  if (snprintf(folder, sizeof folder, "%s", path) >= (int)sizeof folder) return;
  for (char *at = folder + 1; *at; at++) {
    if (*at != '/') continue;
    *at = '\0';
    (void)mkdir(folder, 0700);
    *at = '/';
  }
}

enum opened { OPENED, OPEN_LATER, OPEN_NEVER, OPEN_DAMAGED };

/* Whose file it is, and whether this version knows it. An empty one is ours. */
static enum opened look_inside(struct session_store *s) {
  int64_t application = 0, version = 0, n_tables = 0;
  if (!get_number(s, "PRAGMA application_id", &application) ||
      !get_number(s, "PRAGMA user_version", &version) ||
      !get_number(s, "SELECT count(*) FROM sqlite_master", &n_tables)) {
    int code = sqlite3_errcode(s->db);
    if (is_locked(code)) return OPEN_LATER;
    complain_db(s, "it cannot be read");
    return code == SQLITE_CORRUPT ? OPEN_DAMAGED : OPEN_NEVER;
  }
  if (n_tables && application != APPLICATION_ID) {
    complain(s, "it is left alone", "it is a database of another program");
    return OPEN_NEVER;
  }
  if (version > SCHEMA_VERSION) {
    complain(s, "it is left alone", "it was written by a newer version");
    return OPEN_NEVER;
  }
  return OPENED;
}

static bool prepare(struct session_store *s) {
  char pragma[64];
  (void)snprintf(pragma, sizeof pragma, "PRAGMA max_page_count = %llu",
                 (unsigned long long)(s->max_bytes / PAGE_BYTES < 64 ? 64 : s->max_bytes / PAGE_BYTES));
  bool ok = run_sql(s, "PRAGMA journal_mode = WAL") && run_sql(s, "PRAGMA synchronous = NORMAL") &&
            run_sql(s, "PRAGMA cache_size = -256") && run_sql(s, "PRAGMA journal_size_limit = 8388608") &&
            run_sql(s, "PRAGMA user_version = 1") && run_sql(s, "PRAGMA application_id = 1296515923") &&
            run_sql(s, "CREATE TABLE IF NOT EXISTS batches(id INTEGER PRIMARY KEY AUTOINCREMENT,"
                       " writer INTEGER, used_ms INTEGER, data BLOB)") &&
            run_sql(s, pragma);
  for (int i = 0; ok && i < STATEMENT_N; i++)
    ok = sqlite3_prepare_v2(s->db, SQL[i], -1, &s->statements[i], NULL) == SQLITE_OK;
  return ok;
}

static enum opened open_db(struct session_store *s) {
  make_folder(s->path);
  /* Made here, so that nobody else may read it; SQLite gives its other files the same mode. */
  int fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0600);
  if (fd < 0) {
    complain(s, "it cannot be opened", strerror(errno));
    return OPEN_NEVER;
  }
  (void)close(fd);
  int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
  int code = sqlite3_open_v2(s->path, &s->db, flags, NULL);
  enum opened result = OPENED;
  if (code == SQLITE_OK) {
    (void)sqlite3_busy_timeout(s->db, BUSY_MS);
    result = look_inside(s);
    if (result == OPENED && !prepare(s)) code = sqlite3_errcode(s->db);
  }
  if (result == OPENED && code != SQLITE_OK) {
    result = is_locked(code) ? OPEN_LATER : code == SQLITE_CORRUPT ? OPEN_DAMAGED : OPEN_NEVER;
    if (result == OPEN_NEVER) complain_db(s, "it cannot be opened");
  }
  if (result == OPENED) return result;
  close_db(s);
  return result;
}

/* The file is ours and of no use: it makes room for a new one. */
static void put_aside(struct session_store *s) {
  char aside[PATH_MAX], name[PATH_MAX];
  if (snprintf(aside, sizeof aside, "%s.damaged", s->path) >= (int)sizeof aside) return;
  close_db(s);
  log_warn("sessionStore %s is damaged: it is kept as %s, and a new one begins", s->path, aside);
  (void)rename(s->path, aside);
  static const char *const tails[] = {"-wal", "-shm"};
  for (size_t i = 0; i < ARRAY_LEN(tails); i++)
    if (snprintf(name, sizeof name, "%s%s", s->path, tails[i]) < (int)sizeof name) (void)unlink(name);
}

/* Whether the statement ran; rows are left to the caller. */
static bool did_run(struct session_store *s, enum statement which, int *code) {
  sqlite3_stmt *q = s->statements[which];
  *code = sqlite3_step(q);
  (void)sqlite3_reset(q);
  return *code == SQLITE_DONE || *code == SQLITE_ROW;
}

/* ---- reading ---- */

static void restore(struct session_store *s, struct span batch) {
  struct span records;
  if (session_batch_open(&records, batch)) {
    complain(s, "a part of it is left out", "its checksum or version does not fit");
    return;
  }
  uint64_t wall = clock_wall_ms(), mono = clock_mono_ms();
  uint64_t ttl_ms = __atomic_load_n(&s->ttl_ms, __ATOMIC_RELAXED);
  struct session session;
  uint64_t used;
  while (session_batch_next(&records, &session, &used)) {
    /* A wall clock that was set back must not make sessions immortal, nor end them. */
    uint64_t age = wall > used ? wall - used : 0;
    if (age < ttl_ms) session_restore(s->table, &session, mono > age ? mono - age : 0);
  }
}

/* Takes up what is new, our own batches excepted. */
static void read_new(struct session_store *s) {
  sqlite3_stmt *q = s->statements[READ_NEW];
  unsigned n;
  do {
    n = 0;
    int code;
    (void)sqlite3_bind_int64(q, 1, s->last_id);
    while ((code = sqlite3_step(q)) == SQLITE_ROW) {
      n++;
      s->last_id = sqlite3_column_int64(q, 0);
      if (sqlite3_column_int64(q, 1) == s->writer) continue;
      const void *data = sqlite3_column_blob(q, 2);
      restore(s, span_make(data, (size_t)sqlite3_column_bytes(q, 2)));
    }
    (void)sqlite3_reset(q);
    if (code != SQLITE_DONE && code != SQLITE_BUSY) complain_db(s, "it cannot be read");
    if (code == SQLITE_CORRUPT) put_aside(s);
  } while (n && s->db);
}

/* ---- writing ---- */

static bool insert(struct session_store *s, int *code) {
  sqlite3_stmt *q = s->statements[INSERT];
  (void)sqlite3_bind_int64(q, 1, s->writer);
  (void)sqlite3_bind_int64(q, 2, (int64_t)clock_wall_ms());
  (void)sqlite3_bind_blob64(q, 3, s->writing.data, s->writing.len, SQLITE_STATIC);
  bool ok = did_run(s, INSERT, code);
  (void)sqlite3_clear_bindings(q);
  return ok;
}

/* False: later. Room inside the bound is made by the oldest; a disk that is full stays so. */
static bool write_batch(struct session_store *s) {
  int code = SQLITE_OK, ignored;
  bool ok = insert(s, &code);
  for (int i = 0; !ok && code == SQLITE_FULL && i < 8; i++)
    ok = did_run(s, DROP_OLDEST, &ignored) && insert(s, &code);
  if (ok) {
    if (s->has_complained) log_info("sessionStore %s: sessions are kept again", s->path);
    s->has_complained = false;
    return true;
  }
  if (code == SQLITE_CORRUPT)
    put_aside(s);
  else
    complain(s, "it cannot be written", code == SQLITE_FULL ? "the disk is full" : sqlite3_errmsg(s->db));
  return !is_locked(code);
}

static void expire(struct session_store *s) {
  uint64_t wall = clock_wall_ms(), ttl_ms = __atomic_load_n(&s->ttl_ms, __ATOMIC_RELAXED);
  int code;
  (void)sqlite3_bind_int64(s->statements[EXPIRE], 1, wall > ttl_ms ? (int64_t)(wall - ttl_ms) : 0);
  (void)did_run(s, EXPIRE, &code);
}

/* ---- the thread ---- */

/* True when it may be used. */
static bool is_open(struct session_store *s, uint64_t now_ms, uint64_t *next_try_ms) {
  if (s->db) return true;
  if (now_ms < *next_try_ms) return false;
  enum opened result = open_db(s);
  if (result == OPEN_DAMAGED) {
    put_aside(s);
    result = open_db(s);
  }
  if (result == OPENED) {
    s->last_id = 0;
    read_new(s);
  } else {
    if (result == OPEN_LATER) complain(s, "it is locked", "another program holds it");
    *next_try_ms = result == OPEN_NEVER ? UINT64_MAX : now_ms + TRY_AGAIN_MS;
  }
  __atomic_store_n(&s->is_loaded, true, __ATOMIC_RELEASE);
  return s->db != NULL;
}

static struct timespec in_ms(unsigned ms) {
  struct timespec t;
  (void)clock_gettime(CLOCK_MONOTONIC, &t);
  uint64_t ns = (uint64_t)t.tv_nsec + (uint64_t)ms * 1000000;
  t.tv_sec += (time_t)(ns / 1000000000);
  t.tv_nsec = (long)(ns % 1000000000);
  return t;
}

/*
 * Waits for something to do; true when the store closes. What was filed is in s->writing afterwards, unless something from
 * before is still there.
 */
static bool take_filed(struct session_store *s) {
  int err = 0;
  bool is_left = s->writing.len > 0;
  struct timespec until = in_ms(IDLE_MS);
  pthread_mutex_lock(&s->lock);
  while ((s->filed.len == 0 || is_left) && !s->is_stopping && err == 0)
    err = pthread_cond_timedwait(&s->wake, &s->lock, &until);
  err = 0;
  until = in_ms(FLUSH_MS);
  while (s->filed.len && !is_left && !s->is_stopping && err == 0)
    err = pthread_cond_timedwait(&s->wake, &s->lock, &until);
  if (!is_left) {
    struct buf filed = s->filed;
    s->filed = s->writing;
    s->writing = filed;
  }
  uint64_t n_lost = s->n_lost;
  s->n_lost = 0;
  bool is_stopping = s->is_stopping;
  pthread_mutex_unlock(&s->lock);
  if (n_lost)
    log_warn("sessionStore %s: %llu sessions came faster than they could be written", s->path,
             (unsigned long long)n_lost);
  if (s->writing.len && !is_left) session_batch_end(&s->writing);
  return is_stopping;
}

static void forget_written(struct session_store *s) {
  if (s->writing.cap > 1024 * 1024)
    buf_release(&s->writing);
  else
    buf_clear(&s->writing);
}

/* False: another process holds the file, and what is in s->writing stays there. */
static bool work(struct session_store *s, uint64_t *next_try_ms, uint64_t *next_expire_ms) {
  uint64_t now = clock_mono_ms();
  if (!is_open(s, now, next_try_ms)) return *next_try_ms == UINT64_MAX;
  bool is_done = !s->writing.len || write_batch(s);
  if (s->db) read_new(s);
  if (s->db && now >= *next_expire_ms) {
    *next_expire_ms = now + EXPIRE_MS;
    expire(s);
  }
  return is_done;
}

static void *run(void *arg) {
  struct session_store *s = arg;
  thread_name("sessions");
  uint64_t next_try_ms = 0, next_expire_ms = 0;
  (void)is_open(s, clock_mono_ms(), &next_try_ms);
  unsigned n_last = 0;
  for (bool is_over = false; !is_over;) {
    bool was_left = s->writing.len > 0, is_stopping = take_filed(s);
    if (work(s, &next_try_ms, &next_expire_ms)) forget_written(s);
    /* What was filed behind a batch that had to wait is taken in a turn of its own. */
    n_last += is_stopping;
    is_over = is_stopping && ((!was_left && s->writing.len == 0) || n_last > LAST_TRIES);
  }
  close_db(s);
  return NULL;
}

static void release(struct session_store *s) {
  buf_release(&s->filed);
  buf_release(&s->writing);
  (void)pthread_cond_destroy(&s->wake);
  (void)pthread_mutex_destroy(&s->lock);
  free(s->path);
  free(s);
}

struct session_store *session_store_open(struct session_table *t, const struct session_store_options *o) {
  struct session_store *s = x_calloc(1, sizeof *s);
  s->table = t;
  s->path = x_strdup(o->path);
  s->max_bytes = o->max_bytes;
  s->is_default = o->is_default;
  s->ttl_ms = o->ttl_ms;
  rand_os(&s->writer, sizeof s->writer);
  buf_init(&s->filed, BATCH_MAX);
  buf_init(&s->writing, BATCH_MAX);
  pthread_mutex_init(&s->lock, NULL);
  pthread_condattr_t attributes;
  (void)pthread_condattr_init(&attributes);
  (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
  (void)pthread_cond_init(&s->wake, &attributes);
  (void)pthread_condattr_destroy(&attributes);
  session_table_watch(t, on_use, s);
  int err = thread_start(&s->thread, run, s);
  if (!err) return s;
  log_warn("sessionStore %s: the system gives no thread for it: %s; sessions are kept in memory only",
           s->path, err_text(err));
  session_table_watch(t, NULL, NULL);
  release(s);
  return NULL;
}

bool session_store_is_loaded(const struct session_store *s) {
  return __atomic_load_n(&s->is_loaded, __ATOMIC_ACQUIRE);
}

void session_store_limit(struct session_store *s, uint64_t ttl_ms) {
  __atomic_store_n(&s->ttl_ms, ttl_ms, __ATOMIC_RELAXED);
}

void session_store_close(struct session_store *s) {
  if (!s) return;
  session_table_watch(s->table, NULL, NULL);
  pthread_mutex_lock(&s->lock);
  s->is_stopping = true;
  (void)pthread_cond_signal(&s->wake);
  pthread_mutex_unlock(&s->lock);
  (void)pthread_join(s->thread, NULL);
  release(s);
}

/* ---- the usual place ---- */

static const char *state_home(char out[PATH_MAX]) {
  const char *xdg = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
  if (xdg && xdg[0] == '/') return xdg;
  if (!home || home[0] != '/') return NULL;
  int n = snprintf(out, PATH_MAX, "%s/.local/state", home);
  return n < PATH_MAX ? out : NULL;
}

char *session_store_default_path(const char *config_path) {
  char path[PATH_MAX], folder[PATH_MAX], real[PATH_MAX];
  const char *service = getenv("STATE_DIRECTORY"); /* of systemd; several are separated by colons */
  if (service && service[0] == '/') {
    int n = snprintf(path, sizeof path, "%.*s/sessions.db", (int)strcspn(service, ":"), service);
    return n < (int)sizeof path ? x_strdup(path) : NULL;
  }
  const char *home = config_path ? state_home(folder) : NULL;
  if (!home || !realpath(config_path, real)) return NULL;
  /* By name for people, by number because many configurations have the same name. */
  static const struct siphash_key key = {0x77686f7365207365u, 0x7373696f6e733f3fu};
  const char *slash = strrchr(real, '/');
  struct span name = span_str(slash ? slash + 1 : real);
  if (span_ends(name, SPAN(".lua"))) name.len -= 4;
  int n = snprintf(path, sizeof path, "%s/moongate/%.*s-%08llx.sessions", home,
                   (int)(name.len < 64 ? name.len : 64), name.ptr,
                   (unsigned long long)siphash(&key, real, strlen(real)) & 0xffffffff);
  return n < (int)sizeof path ? x_strdup(path) : NULL;
}
