/*
 * blocks: memory that one thread takes and gives back all the time, kept by size so that in the steady state nothing
 * is asked of malloc. For buffers and for the structs of connections and requests.
 *
 * Thread: one (that of its loop). A block belongs to whoever took it until it is given back with the size that was
 * told. Under AddressSanitizer every block is a malloc of its own, so that a stale pointer is still found.
 * Invariant: what is kept for later is at most `max_kept` bytes; blocks over BLOCK_MAX are never kept. What was not
 * needed between two calls of blocks_trim() goes back to malloc.
 */
#ifndef MOONGATE_BASE_BLOCKS_H
#define MOONGATE_BASE_BLOCKS_H

#include "base/base.h"

#define BLOCK_STEP    64 /* sizes up to BLOCK_FINE are multiples of this … */
#define BLOCK_FINE    ((size_t)2048)
#define BLOCK_MAX     ((size_t)1 << 20) /* … and powers of two from there on */
#define BLOCK_CLASSES (2048 / BLOCK_STEP + 9)

struct block;

struct blocks {
  struct block *free[BLOCK_CLASSES];
  uint32_t n[BLOCK_CLASSES];     /* free ones */
  uint32_t spare[BLOCK_CLASSES]; /* the fewest of them since the last trim */
  size_t kept, max_kept;         /* bytes */
};

void blocks_init(struct blocks *b, size_t max_kept);
/* Frees what is kept; all blocks must have been given back. */
void blocks_release(struct blocks *b);
/* Frees of what is kept until at most `keep` bytes are left, the largest first. */
void blocks_shrink(struct blocks *b, size_t keep);
/* Frees what was not needed since the last trim. For a timer. */
void blocks_trim(struct blocks *b);

/* At least `need` bytes, not initialised; *size, when asked for, is how many. Never NULL. */
void *blocks_take(struct blocks *b, size_t need, size_t *size) __attribute__((returns_nonnull));
/* `size`: what was needed or what was told. `p` may be NULL. */
void blocks_give(struct blocks *b, void *p, size_t size);

#endif
