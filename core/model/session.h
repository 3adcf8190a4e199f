/*
 * session: which provider gave which answer. A sharded table from an answer's id to what a later verify
 * needs; an answer is found by each of its (at most two) keys: the ZG-Res-Key header and the completion id.
 *
 * Thread: any; one mutex per shard, held for a lookup and a small copy, never across a call. Values are
 * copied in and out; no pointer leaves a shard. Bounded: at most `max` sessions, the least recently used go
 * first (per shard); a session lives `ttl_ms` after its last use. Keys are hashed with a secret key
 * (siphash).
 */
#ifndef MOONGATE_MODEL_SESSION_H
#define MOONGATE_MODEL_SESSION_H

#include "base/span.h"

#define SESSION_KEY_MAX      128
#define SESSION_PROVIDER_MAX 64
#define SESSION_MODEL_MAX    128

struct session {
  char provider[SESSION_PROVIDER_MAX + 1]; /* its id, never a pointer: a reload may drop it */
  char model[SESSION_MODEL_MAX + 1];
  char res_key[SESSION_KEY_MAX + 1]; /* ZG-Res-Key, or empty */
  char id[SESSION_KEY_MAX + 1];      /* completion id, or empty */
  unsigned char request_sha256[32], response_sha256[32];
  unsigned char images_sha256[32]; /* of the text that is signed about an answer's images */
  bool has_digests, has_images;
  bool is_rewritable; /* the provider may have sent on another request than it got, and signed that */
  uint64_t created_wall_ms;
  int64_t tokens_in, tokens_out; /* -1: unknown */
};

struct session_table;

/* max >= 1; `shards` is rounded up to a power of two. */
struct session_table *session_table_new(size_t max, uint64_t ttl_ms, unsigned shards);
void session_table_free(struct session_table *t);
/* New bounds from now on (reload); sessions over the new maximum go with the next puts. */
void session_table_limit(struct session_table *t, size_t max, uint64_t ttl_ms);

/*
 * Files under s->res_key and s->id (those not empty; both empty: nothing happens). A session that has one of
 * these keys already is replaced.
 */
void session_put(struct session_table *t, const struct session *s, uint64_t now_ms);
/* As session_put() for one that was last used at `used_ms`, which may be long ago; nobody is told. */
void session_restore(struct session_table *t, const struct session *s, uint64_t used_ms);
/*
 * From now on `on_use` is told of each session that is put or found, on the thread that did it and outside of all
 * locks; for whoever keeps sessions beyond the process. Before threads start.
 */
void session_table_watch(struct session_table *t, void (*on_use)(void *context, const struct session *s),
                         void *context);
/*
 * An answer may leave before its session is filed, so that nobody waits for that: `filer` (below the number given before
 * threads start; one thread each) says before it leaves that a session follows, and after that it is there. Who looks for
 * sessions or counts them waits for those that follow.
 */
void session_table_expect_filers(struct session_table *t, unsigned n);
void session_follows(struct session_table *t, unsigned filer);
void session_is_there(struct session_table *t, unsigned filer);
/* Finds by either key, copies out, and counts as a use. False: unknown or expired. */
bool session_get(struct session_table *t, struct session *out, struct span key, uint64_t now_ms) MUST_CHECK;
/* Live sessions (not keys); expired ones that were not swept yet may be counted. */
size_t session_count(const struct session_table *t);
/* Drops what has expired in the next `n_shards` shards, round and round; cheap enough for a timer. */
void session_sweep(struct session_table *t, unsigned n_shards, uint64_t now_ms);

#endif
