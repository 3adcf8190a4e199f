/*
 * session_store: sessions that outlive the process, so that an answer can still be verified after a crash, a
 * kill -9 or an upgrade.
 *
 * Workers drop what they file into a buffer (a lock, a copy); a thread of its own writes it as one row of an
 * SQLite database, FLUSH_MS after the first of a batch came. So a process that dies loses at most what was filed
 * in its last quarter of a second, and no request ever waits for the disk. Several processes may share one
 * database: each reads what the others have added, which is what an upgrade needs. The file is bounded; the
 * oldest batches go first, and those in which every session is over.
 *
 * Why SQLite, for bytes that one thread appends: a store must never take the service down. A damaged, foreign,
 * locked or full file is an ordinary error there, while LMDB (measured, version 0.9.24) ends the process with
 * SIGBUS in each of these: file cut short, pages with flipped bits. A batch per row makes what SQLite costs per
 * session too small to matter.
 *
 * Whatever goes wrong with the file is logged once, and the service goes on without it.
 *
 * Thread: session_store_open/close control's; the table calls from any. Owner: control.
 */
#ifndef MOONGATE_DAEMON_SESSION_STORE_H
#define MOONGATE_DAEMON_SESSION_STORE_H

#include "model/session.h"

struct session_store;

struct session_store_options {
  const char *path;
  uint64_t max_bytes; /* of the file */
  uint64_t ttl_ms;    /* how long after its last use a session is of interest */
  bool is_default;    /* nobody asked for it: that it cannot be made is no warning */
};

/*
 * Begins to read `path` into the table, and to keep there what the table files, on a thread of its own. Never fails:
 * what is wrong is logged. The folder is made when it is missing. The table must outlive the store.
 */
struct session_store *session_store_open(struct session_table *t, const struct session_store_options *o);
/* Whether what the file held at the start is in the table (or never will be). Any thread. */
bool session_store_is_loaded(const struct session_store *s);
/* New bound of age, after a reload. */
void session_store_limit(struct session_store *s, uint64_t ttl_ms);
/* Writes what is left and ends the thread. NULL is allowed. */
void session_store_close(struct session_store *s);

/* Where sessions are kept when nobody says so: a path to be freed, or NULL when there is no good place. */
char *session_store_default_path(const char *config_path);

#endif
