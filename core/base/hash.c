#include "base/hash.h"

#define KEY_A UINT64_C(0x9e3779b97f4a7c15)
#define KEY_B UINT64_C(0xbf58476d1ce4e5b9)
#define KEY_C UINT64_C(0x94d049bb133111eb)

static inline uint64_t load_le64(const char *p) {
  uint64_t x;
  memcpy(&x, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
  x = __builtin_bswap64(x);
#endif
  return x;
}

/* Both halves of the product of two words, each bit of which depends on many of theirs. */
static inline uint64_t fold(uint64_t x, uint64_t y) {
#ifdef __SIZEOF_INT128__
  __extension__ typedef unsigned __int128 wide;
  wide product = (wide)x * y;
  return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
  uint64_t x0 = (uint32_t)x, x1 = x >> 32, y0 = (uint32_t)y, y1 = y >> 32;
  uint64_t middle = x1 * y0 + (x0 * y0 >> 32), more = x0 * y1 + (uint32_t)middle;
  return x * y ^ (x1 * y1 + (middle >> 32) + (more >> 32));
#endif
}

/* The finalizer of splitmix64. */
static inline uint64_t finish(uint64_t x) {
  x = (x ^ x >> 30) * KEY_B;
  x = (x ^ x >> 27) * KEY_C;
  return x ^ x >> 31;
}

/* Two lanes that do not wait for each other, joined at the end. */
uint64_t hash_bytes(struct span s, uint64_t seed) {
  const char *at = s.ptr;
  size_t left = s.len;
  uint64_t a = seed + KEY_A, b = seed ^ KEY_B;
  for (; left >= 32; at += 32, left -= 32) {
    a = fold(load_le64(at) ^ a, load_le64(at + 8) ^ KEY_B);
    b = fold(load_le64(at + 16) ^ b, load_le64(at + 24) ^ KEY_C);
  }
  for (; left >= 8; at += 8, left -= 8)
    a = fold(load_le64(at) ^ a, KEY_C);
  uint64_t rest = 0;
  for (size_t i = 0; i < left; i++)
    rest |= (uint64_t)(unsigned char)at[i] << (8 * i);
  b = fold(rest ^ b, KEY_A ^ s.len);
  return finish(finish(a) + b);
}
