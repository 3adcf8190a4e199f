#include "base/arena.h"

#include <stdlib.h>

struct arena_chunk {
  struct arena_chunk *next;
  size_t size; /* of bytes[] */
  _Alignas(8) char bytes[];
};

#define CHUNK_PAYLOAD (ARENA_CHUNK_BYTES - sizeof(struct arena_chunk))

void arena_pool_init(struct arena_pool *p, unsigned max_free) {
  *p = (struct arena_pool){.max_free = max_free};
}

void arena_pool_release(struct arena_pool *p) {
  while (p->free) {
    struct arena_chunk *c = p->free;
    p->free = c->next;
    free(c);
  }
  p->n_free = 0;
}

void arena_init(struct arena *a, struct arena_pool *pool, size_t max_bytes) {
  *a = (struct arena){.pool = pool, .max = max_bytes};
}

void arena_init_at(struct arena *a, struct arena_pool *pool, size_t max_bytes, void *memory, size_t size) {
  size_t gap = -(uintptr_t)memory & 7;
  arena_init(a, pool, max_bytes);
  a->at = (char *)memory + gap;
  a->end = (char *)memory + (size & ~(size_t)7);
}

void arena_reset(struct arena *a) {
  while (a->chunks) {
    struct arena_chunk *c = a->chunks;
    a->chunks = c->next;
    if (c->size == CHUNK_PAYLOAD && a->pool->n_free < a->pool->max_free) {
      c->next = a->pool->free;
      a->pool->free = c;
      a->pool->n_free++;
    } else {
      free(c);
    }
  }
  a->at = a->end = NULL;
  a->used = 0;
}

void *arena_alloc(struct arena *a, size_t size) {
  if (size > a->max - a->used) return NULL;
  size = size ? (size + 7) & ~(size_t)7 : 8;
  if (size > a->max - a->used) return NULL;
  if (size > (size_t)(a->end - a->at)) {
    struct arena_chunk *c;
    if (size <= CHUNK_PAYLOAD && a->pool->free) {
      c = a->pool->free;
      a->pool->free = c->next;
      a->pool->n_free--;
    } else {
      size_t payload = size > CHUNK_PAYLOAD ? size : CHUNK_PAYLOAD;
      c = x_malloc(sizeof *c + payload);
      c->size = payload;
    }
    c->next = a->chunks;
    a->chunks = c;
    a->at = c->bytes;
    a->end = c->bytes + c->size;
  }
  void *p = a->at;
  a->at += size;
  a->used += size;
  return p;
}

struct span arena_copy(struct arena *a, struct span s) {
  char *p = arena_alloc(a, s.len + 1);
  if (!p) return SPAN_NONE;
  if (s.len) memcpy(p, s.ptr, s.len);
  p[s.len] = '\0';
  return span_make(p, s.len);
}
