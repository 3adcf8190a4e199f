#include "eth/keccak.h"

#include <string.h>

void keccak_init(struct keccak *k) {
  memset(k, 0, sizeof *k);
}

/* The state's words are little endian, whatever the machine is. */
static void absorb(struct keccak *k, const uint8_t block[KECCAK_RATE]) {
  for (size_t i = 0; i < KECCAK_RATE / 8; i++) {
    uint64_t word = 0;
    for (size_t j = 8; j-- > 0;)
      word = word << 8 | block[8 * i + j];
    k->state.a[i] ^= word;
  }
  sha3_permute(&k->state);
}

void keccak_update(struct keccak *k, const void *bytes, size_t len) {
  const uint8_t *at = bytes;
  if (k->n) {
    size_t room = KECCAK_RATE - k->n, take = len < room ? len : room;
    memcpy(k->block + k->n, at, take);
    k->n += (unsigned)take;
    at += take;
    len -= take;
    if (k->n < KECCAK_RATE) return;
    absorb(k, k->block);
    k->n = 0;
  }
  for (; len >= KECCAK_RATE; at += KECCAK_RATE, len -= KECCAK_RATE)
    absorb(k, at);
  if (len) memcpy(k->block, at, len);
  k->n = (unsigned)len;
}

void keccak_final(struct keccak *k, uint8_t out[KECCAK_BYTES]) {
  memset(k->block + k->n, 0, KECCAK_RATE - k->n);
  k->block[k->n] = 0x01;
  k->block[KECCAK_RATE - 1] |= 0x80;
  absorb(k, k->block);
  for (size_t i = 0; i < KECCAK_BYTES; i++)
    out[i] = (uint8_t)(k->state.a[i / 8] >> (8 * (i % 8)));
  wipe(k, sizeof *k);
}

void keccak256(uint8_t out[KECCAK_BYTES], const void *bytes, size_t len) {
  struct keccak k;
  keccak_init(&k);
  if (len) keccak_update(&k, bytes, len);
  keccak_final(&k, out);
}
