#include "eth/rlp.h"

#define HEAD_MAX 9

/* `base` is 0x80 for strings, 0xc0 for lists. Returns the length of the head. */
static size_t make_head(uint8_t head[HEAD_MAX], uint8_t base, size_t len) {
  if (len < 56) {
    head[0] = (uint8_t)(base + len);
    return 1;
  }
  unsigned n = u256_bytes(u256_of(len));
  head[0] = (uint8_t)(base + 55 + n);
  for (unsigned i = 0; i < n; i++)
    head[n - i] = (uint8_t)(len >> (8 * i));
  return 1 + n;
}

int rlp_bytes(struct buf *out, const void *bytes, size_t len) {
  uint8_t head[HEAD_MAX];
  const uint8_t *b = bytes;
  size_t n = len == 1 && b[0] < 0x80 ? 0 : make_head(head, 0x80, len);
  if (len > SIZE_MAX - n) return ERR_TOO_LARGE;
  int err = buf_reserve(out, n + len);
  if (!err && n) err = buf_append(out, head, n);
  if (!err && len) err = buf_append(out, bytes, len);
  return err;
}

int rlp_number(struct buf *out, struct u256 n) {
  uint8_t bytes[32];
  unsigned len = u256_bytes(n);
  u256_to_be(bytes, n);
  return rlp_bytes(out, bytes + 32 - len, len);
}

int rlp_close_list(struct buf *out, size_t start) {
  REQUIRE(start <= out->len);
  uint8_t head[HEAD_MAX];
  size_t len = out->len - start, n = make_head(head, 0xc0, len);
  int err = buf_append(out, head, n);
  if (err) return err;
  memmove(out->data + start + n, out->data + start, len);
  memcpy(out->data + start, head, n);
  return 0;
}
