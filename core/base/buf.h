/*
 * buf: a growable byte buffer that never exceeds the maximum given at init.
 *
 * Invariants: len <= cap <= max (cap may be 0, then data is NULL). The bytes are not NUL-terminated, except
 * right after buf_cstr(). The caller owns the struct, buf owns the bytes. A buffer that was given blocks takes its
 * memory from them and belongs to their thread.
 * Errors: appends return 0, ERR_TOO_LARGE, or -ENOMEM where a large amount was wanted, and change nothing then.
 */
#ifndef MOONGATE_BASE_BUF_H
#define MOONGATE_BASE_BUF_H

#include "base/base.h"
#include "base/blocks.h"
#include "base/err.h"
#include "base/span.h"

#include <stdarg.h>

struct buf {
  char *data;
  size_t len, cap, max;
  size_t skip;           /* what the memory has in front of data; 0 without blocks */
  struct blocks *blocks; /* NULL: memory is malloc's */
};

void buf_init(struct buf *b, size_t max_bytes);
void buf_init_in(struct buf *b, size_t max_bytes, struct blocks *blocks);
/*
 * Takes over a block of its blocks, with the `len` bytes behind the first `skip` for content. The buffer has no memory
 * yet; what is behind `skip`, but for a last byte, is within its maximum.
 */
void buf_adopt(struct buf *b, char *block, size_t size, size_t skip, size_t len);
/* Frees the bytes; the buffer may be used again with the same maximum. */
void buf_release(struct buf *b);
/* Forgets the content, keeps the memory. */
static inline void buf_clear(struct buf *b) {
  b->len = 0;
}

/* Makes room for `extra` more bytes. */
int buf_reserve(struct buf *b, size_t extra) MUST_CHECK;
int buf_append(struct buf *b, const void *bytes, size_t len) MUST_CHECK;
int buf_append_span(struct buf *b, struct span s) MUST_CHECK;
int buf_appendf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3) MUST_CHECK;
int buf_append_va(struct buf *b, const char *fmt, va_list args) PRINTF_LIKE(2, 0) MUST_CHECK;

/*
 * For texts that the program itself bounds (heads, admin answers): as the above, but a buffer that is too
 * small is our own bug and ends the process.
 */
void buf_putf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
void buf_must_reserve_(struct buf *b, size_t extra);
static inline void buf_put(struct buf *b, const void *bytes, size_t len) {
  if (UNLIKELY(len > b->cap - b->len)) buf_must_reserve_(b, len);
  if (len) memcpy(b->data + b->len, bytes, len);
  b->len += len;
}
static inline void buf_put_span(struct buf *b, struct span s) {
  buf_put(b, s.ptr, s.len);
}
static inline void buf_put_str(struct buf *b, const char *s) {
  buf_put(b, s, strlen(s));
}

/* Drops `len` bytes from the front (moves the rest). */
void buf_consume(struct buf *b, size_t len);
/* The content as a C string, also of a full buffer; valid until the next change. */
const char *buf_cstr(struct buf *b);

static inline struct span buf_span(const struct buf *b) {
  return span_make(b->data, b->len);
}

#endif
