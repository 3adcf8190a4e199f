/*
 * list: an intrusive doubly linked list; the node lives inside its element. A head is a node that points at
 * itself when empty. Removing a node that is in no list is allowed when it was initialised.
 */
#ifndef MOONGATE_BASE_LIST_H
#define MOONGATE_BASE_LIST_H

#include "base/base.h"

struct list {
  struct list *next, *prev;
};

static inline void list_init(struct list *l) {
  l->next = l->prev = l;
}

static inline bool list_is_empty(const struct list *l) {
  return l->next == l;
}

static inline void list_insert_before_(struct list *at, struct list *node) {
  node->prev = at->prev;
  node->next = at;
  at->prev->next = node;
  at->prev = node;
}

static inline void list_push_back(struct list *head, struct list *node) {
  list_insert_before_(head, node);
}

static inline void list_push_front(struct list *head, struct list *node) {
  list_insert_before_(head->next, node);
}

/* Takes the node out and leaves it initialised. */
static inline void list_remove(struct list *node) {
  node->prev->next = node->next;
  node->next->prev = node->prev;
  list_init(node);
}

static inline struct list *list_pop_front(struct list *head) {
  if (list_is_empty(head)) return NULL;
  struct list *node = head->next;
  list_remove(node);
  return node;
}

/* Safe against removal of the current element. */
#define list_each(pos, tmp, head)                                                                            \
  for (struct list *pos = (head)->next, *tmp = pos->next; pos != (head); pos = tmp, tmp = pos->next)

#endif
