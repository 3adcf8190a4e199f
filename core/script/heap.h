/*
 * heap: the memory of one Lua state, straight from the kernel: it has an upper bound, shares no lock with malloc, and
 * can be dropped as a whole, also when the state in it is in no condition to be closed.
 *
 * Thread: its owner's. Owner: generation.
 */
#ifndef MOONGATE_SCRIPT_HEAP_H
#define MOONGATE_SCRIPT_HEAP_H

#include "base/list.h"

#define HEAP_CLASSES 56

struct guard_slot;

struct heap {
  struct guard_slot *slot;        /* whose state lives in it: what a hook can find from any coroutine */
  void (*on_full)(struct heap *); /* called before a request is refused; may be NULL, and need not return */
  size_t used, max;
  size_t mapped;
  char *fresh, *fresh_end;
  void *free[HEAP_CLASSES];
  struct list chunks, large;
};

void heap_init(struct heap *h, size_t max_bytes);
/* Everything at once. */
void heap_release(struct heap *h);
/* As lua_Alloc wants it; `ud` is the heap. */
void *heap_realloc(void *ud, void *ptr, size_t old_size, size_t new_size);

#endif
