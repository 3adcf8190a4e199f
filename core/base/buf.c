#include "base/buf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* From here on what is wanted is somebody's body: without memory for that the process can still do all else. */
#define LARGE ((size_t)256 * 1024)

void buf_init(struct buf *b, size_t max_bytes) {
  *b = (struct buf){.max = max_bytes};
}

void buf_init_in(struct buf *b, size_t max_bytes, struct blocks *blocks) {
  *b = (struct buf){.max = max_bytes, .blocks = blocks};
}

static void give_back(struct buf *b) {
  if (!b->blocks)
    free(b->data);
  else if (b->data)
    blocks_give(b->blocks, b->data - b->skip, b->skip + b->cap + 1);
}

void buf_release(struct buf *b) {
  give_back(b);
  *b = (struct buf){.max = b->max, .blocks = b->blocks};
}

/* Room for `cap` bytes and one more: the NUL of a full buffer, for buf_cstr() and vsnprintf(). */
static int resize(struct buf *b, size_t cap) {
  /* What blocks do not keep need not be copied by hand. */
  bool is_malloc = !b->blocks || (cap >= BLOCK_MAX && (!b->data || b->cap >= BLOCK_MAX));
  if (is_malloc) {
    char *data = cap < LARGE ? x_realloc(b->data, cap + 1) : realloc(b->data, cap + 1);
    if (!data) return -ENOMEM;
    b->data = data;
    b->cap = cap;
    return 0;
  }
  size_t size;
  char *data = blocks_take(b->blocks, cap + 1, &size);
  if (b->len) memcpy(data, b->data, b->len);
  give_back(b);
  b->data = data;
  b->skip = 0;
  b->cap = size - 1 < b->max ? size - 1 : b->max;
  return 0;
}

void buf_adopt(struct buf *b, char *block, size_t size, size_t skip, size_t len) {
  REQUIRE(b->blocks && !b->data && skip + len < size && size - skip - 1 <= b->max);
  b->data = block + skip;
  b->skip = skip;
  b->len = len;
  b->cap = size - skip - 1;
}

int buf_reserve(struct buf *b, size_t extra) {
  if (LIKELY(extra <= b->cap - b->len)) return 0;
  if (extra > b->max - b->len) return ERR_TOO_LARGE;
  size_t need = b->len + extra, cap = b->cap ? b->cap : 255;
  while (cap < need)
    cap = cap > SIZE_MAX / 4 ? need : cap * 2 + 1;
  return resize(b, cap < b->max ? cap : b->max);
}

int buf_append(struct buf *b, const void *bytes, size_t len) {
  int err = buf_reserve(b, len);
  if (err) return err;
  if (len) memcpy(b->data + b->len, bytes, len);
  b->len += len;
  return 0;
}

int buf_append_span(struct buf *b, struct span s) {
  return buf_append(b, s.ptr, s.len);
}

int buf_append_va(struct buf *b, const char *fmt, va_list args) {
  va_list again;
  va_copy(again, args);
  char small[256];
  int n = vsnprintf(small, sizeof small, fmt, args);
  int err = n < 0 ? ERR_TOO_LARGE : 0;
  if (!err && (size_t)n < sizeof small) {
    err = buf_append(b, small, (size_t)n);
  } else if (!err && !(err = buf_reserve(b, (size_t)n))) {
    (void)vsnprintf(b->data + b->len, (size_t)n + 1, fmt, again);
    b->len += (size_t)n;
  }
  va_end(again);
  return err;
}

int buf_appendf(struct buf *b, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int err = buf_append_va(b, fmt, args);
  va_end(args);
  return err;
}

void buf_must_reserve_(struct buf *b, size_t extra) {
  int err = buf_reserve(b, extra);
  REQUIRE(err == 0);
}

void buf_putf(struct buf *b, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  int err = buf_append_va(b, fmt, args);
  va_end(args);
  REQUIRE(err == 0);
}

void buf_consume(struct buf *b, size_t len) {
  REQUIRE(len <= b->len);
  b->len -= len;
  if (b->len && len) memmove(b->data, b->data + len, b->len);
}

const char *buf_cstr(struct buf *b) {
  if (!b->data) return "";
  b->data[b->len] = '\0';
  return b->data;
}
