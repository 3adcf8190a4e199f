/*
 * heap: small blocks by size class from chunks, each large block a mapping of its own. Lua tells the size of what it
 * gives back, so blocks have no heads.
 */
#include "script/heap.h"

#include <string.h>
#include <sys/mman.h>

#define SMALL_MAX   ((size_t)32 << 10)
#define CHUNK_BYTES ((size_t)256 << 10)
/* Blocks that are free count too: a script that frees one size and asks for another must not grow without end. */
#define MAPPED_FACTOR 2

struct mapping {
  struct list node;
  size_t bytes;
  size_t pad; /* what follows is aligned to 16 */
};

static void *map(struct heap *h, struct list *into, size_t bytes) {
  if (h->mapped + bytes > h->max * MAPPED_FACTOR) return NULL;
  /* cppcheck-suppress invalidFunctionArg ; -1 is what an anonymous mapping takes */
  struct mapping *m = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return NULL;
  h->mapped += bytes;
  m->bytes = bytes;
  list_push_back(into, &m->node);
  return m + 1;
}

static void unmap(struct heap *h, struct mapping *m) {
  h->mapped -= m->bytes;
  list_remove(&m->node);
  (void)munmap(m, m->bytes);
}

/* 16, 32 … 512, then four steps between each two powers of two. */
static unsigned class_of(size_t size, size_t *class_size) {
  if (size <= 512) {
    unsigned c = (unsigned)((size + 15) / 16 - 1);
    *class_size = (size_t)(c + 1) * 16;
    return c;
  }
  size_t s = size - 1;
  unsigned top = 63 - (unsigned)__builtin_clzll(s), shift = top - 2;
  *class_size = ((s >> shift) + 1) << shift;
  return 32 + (top - 9) * 4 + ((s >> shift) & 3);
}

static void *take_small(struct heap *h, size_t size) {
  size_t bytes;
  unsigned c = class_of(size, &bytes);
  void *block = h->free[c];
  if (block) {
    memcpy(&h->free[c], block, sizeof(void *));
    return block;
  }
  if ((size_t)(h->fresh_end - h->fresh) < bytes) {
    char *chunk = map(h, &h->chunks, CHUNK_BYTES);
    if (!chunk) return NULL;
    h->fresh = chunk;
    h->fresh_end = chunk + CHUNK_BYTES - sizeof(struct mapping);
  }
  block = h->fresh;
  h->fresh += bytes;
  return block;
}

static size_t mapping_bytes(size_t size) {
  return (size + sizeof(struct mapping) + 4095) & ~(size_t)4095;
}

static void *take(struct heap *h, size_t size) {
  return size <= SMALL_MAX ? take_small(h, size) : map(h, &h->large, mapping_bytes(size));
}

static void give_back(struct heap *h, void *ptr, size_t size) {
  if (size > SMALL_MAX) {
    unmap(h, (struct mapping *)ptr - 1);
    return;
  }
  size_t bytes;
  unsigned c = class_of(size, &bytes);
  memcpy(ptr, &h->free[c], sizeof(void *));
  h->free[c] = ptr;
}

static void *resize_large(struct heap *h, void *ptr, size_t new_size) {
  struct mapping *m = (struct mapping *)ptr - 1;
  size_t bytes = mapping_bytes(new_size);
  if (bytes == m->bytes) return ptr;
  if (bytes > m->bytes && h->mapped + (bytes - m->bytes) > h->max * MAPPED_FACTOR) return NULL;
  struct mapping *moved = mremap(m, m->bytes, bytes, MREMAP_MAYMOVE);
  if (moved == MAP_FAILED) return NULL;
  h->mapped = h->mapped - moved->bytes + bytes;
  moved->bytes = bytes;
  moved->node.prev->next = moved->node.next->prev = &moved->node;
  return moved + 1;
}

static void *resize(struct heap *h, void *ptr, size_t old_size, size_t new_size) {
  /* ThreadSanitizer does not see mremap(): what was written there before would be taken for another thread's. */
  if (old_size > SMALL_MAX && new_size > SMALL_MAX && !UNDER_TSAN) return resize_large(h, ptr, new_size);
  if (old_size <= SMALL_MAX && new_size <= SMALL_MAX) {
    size_t old_bytes, new_bytes;
    if (class_of(old_size, &old_bytes) == class_of(new_size, &new_bytes)) return ptr;
  }
  void *block = take(h, new_size);
  if (!block) return NULL;
  memcpy(block, ptr, old_size < new_size ? old_size : new_size);
  give_back(h, ptr, old_size);
  return block;
}

void *heap_realloc(void *ud, void *ptr, size_t old_size, size_t new_size) {
  struct heap *h = ud;
  if (!ptr) old_size = 0;
  if (new_size == 0) {
    if (old_size) give_back(h, ptr, old_size);
    h->used -= old_size;
    return NULL;
  }
  void *block = NULL;
  if (new_size <= old_size || h->used + (new_size - old_size) <= h->max)
    block = old_size ? resize(h, ptr, old_size, new_size) : take(h, new_size);
  if (block)
    h->used += new_size - old_size;
  else if (h->on_full)
    h->on_full(h);
  return block;
}

void heap_init(struct heap *h, size_t max_bytes) {
  *h = (struct heap){.max = max_bytes};
  list_init(&h->chunks);
  list_init(&h->large);
}

static void unmap_all(struct heap *h, struct list *from) {
  list_each(node, next, from) unmap(h, container_of(node, struct mapping, node));
}

void heap_release(struct heap *h) {
  unmap_all(h, &h->large);
  unmap_all(h, &h->chunks);
  struct heap was = *h;
  heap_init(h, h->max);
  h->slot = was.slot;
  h->on_full = was.on_full;
}
