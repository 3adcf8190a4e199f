/*
 * arena: everything one exchange allocates, freed in one go. A bump allocator over chunks that come from and
 * return to a per-worker pool; a byte cap bounds what a peer can make it hold.
 *
 * Thread: one (that of its pool). Pointers are valid until arena_reset/arena_release.
 */
#ifndef MOONGATE_BASE_ARENA_H
#define MOONGATE_BASE_ARENA_H

#include "base/base.h"
#include "base/span.h"

#define ARENA_CHUNK_BYTES 2048

struct arena_chunk;

/* Free chunks of one worker, at most `max_free` kept. */
struct arena_pool {
  struct arena_chunk *free;
  unsigned n_free, max_free;
};

struct arena {
  struct arena_pool *pool;
  struct arena_chunk *chunks;
  char *at, *end;
  size_t used, max;
};

void arena_pool_init(struct arena_pool *p, unsigned max_free);
void arena_pool_release(struct arena_pool *p);

void arena_init(struct arena *a, struct arena_pool *pool, size_t max_bytes);
/* The same, with memory of the caller's to begin with, which must outlive the arena. */
void arena_init_at(struct arena *a, struct arena_pool *pool, size_t max_bytes, void *memory, size_t size);
/* Returns all chunks to the pool; the arena is empty and usable again. */
void arena_reset(struct arena *a);

/* Aligned to 8 bytes; NULL when the cap would be passed. */
void *arena_alloc(struct arena *a, size_t size) MUST_CHECK;
/* A copy with a NUL behind it; ptr is NULL when the cap would be passed. */
struct span arena_copy(struct arena *a, struct span s) MUST_CHECK;

#endif
