#include "base/blocks.h"

#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#  define KEEPS 0
#elif defined(__has_feature)
#  if __has_feature(address_sanitizer)
#    define KEEPS 0
#  endif
#endif
#ifndef KEEPS
#  define KEEPS 1
#endif

struct block {
  struct block *next;
};

/* The class of a size and its own size; BLOCK_CLASSES: it is too large to be kept. */
static inline unsigned class_of(size_t need, size_t *size) {
  if (LIKELY(need <= BLOCK_FINE)) {
    unsigned class = need ? (unsigned)((need - 1) / BLOCK_STEP) : 0;
    *size = (class + 1) * BLOCK_STEP;
    return class;
  }
  *size = need;
  if (need > BLOCK_MAX) return BLOCK_CLASSES;
  unsigned bits = 64 - (unsigned)__builtin_clzll(need - 1); /* 12 … 20 */
  *size = (size_t)1 << bits;
  return (unsigned)(BLOCK_FINE / BLOCK_STEP) + bits - 12;
}

void blocks_init(struct blocks *b, size_t max_kept) {
  *b = (struct blocks){.max_kept = KEEPS ? max_kept : 0};
}

static size_t size_of_class(unsigned class) {
  unsigned fine = (unsigned)(BLOCK_FINE / BLOCK_STEP);
  return class < fine ? (class + 1) * (size_t)BLOCK_STEP : (size_t)1 << (class - fine + 12);
}

static struct block *pop(struct blocks *b, unsigned class, size_t size) {
  struct block *first = b->free[class];
  b->free[class] = first->next;
  b->kept -= size;
  if (--b->n[class] < b->spare[class]) b->spare[class] = b->n[class];
  return first;
}

void blocks_shrink(struct blocks *b, size_t keep) {
  for (unsigned i = BLOCK_CLASSES; i-- > 0;)
    while (b->free[i] && b->kept > keep)
      free(pop(b, i, size_of_class(i)));
}

void blocks_trim(struct blocks *b) {
  for (unsigned i = 0; i < BLOCK_CLASSES; i++) {
    for (uint32_t n = b->spare[i]; n; n--)
      free(pop(b, i, size_of_class(i)));
    b->spare[i] = b->n[i];
  }
}

void blocks_release(struct blocks *b) {
  blocks_shrink(b, 0);
}

void *blocks_take(struct blocks *b, size_t need, size_t *size) {
  size_t whole;
  unsigned class = class_of(need, &whole);
  if (size) *size = whole;
  if (UNLIKELY(class == BLOCK_CLASSES || !b->free[class])) return x_malloc(whole);
  return pop(b, class, whole);
}

void blocks_give(struct blocks *b, void *p, size_t size) {
  size_t whole;
  unsigned class = class_of(size, &whole);
  if (!p) return;
  if (UNLIKELY(class == BLOCK_CLASSES || whole > b->max_kept - b->kept)) {
    free(p);
    return;
  }
  struct block *block = p;
  block->next = b->free[class];
  b->free[class] = block;
  b->n[class]++;
  b->kept += whole;
}
