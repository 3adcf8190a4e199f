/*
 * keccak: Keccak-256 with its original padding (first byte 0x01, rate 136), the hash of Ethereum. SHA3-256
 * differs in the padding alone; nettle has the permutation and the other padding. Facts: Keccak reference 3.0,
 * section 1.1; Ethereum yellow paper, appendix on KEC.
 *
 * Thread: any, one owner per struct.
 */
#ifndef MOONGATE_ETH_KECCAK_H
#define MOONGATE_ETH_KECCAK_H

#include "base/base.h"

#include <nettle/sha3.h>

#define KECCAK_BYTES 32
#define KECCAK_RATE  136

struct keccak {
  struct sha3_state state;
  uint8_t block[KECCAK_RATE];
  unsigned n; /* bytes in block, always below the rate */
};

void keccak_init(struct keccak *k);
void keccak_update(struct keccak *k, const void *bytes, size_t len);
/* Writes the hash and wipes the struct; keccak_init starts the next one. */
void keccak_final(struct keccak *k, uint8_t out[KECCAK_BYTES]);

/* The hash of one run of bytes. */
void keccak256(uint8_t out[KECCAK_BYTES], const void *bytes, size_t len);

#endif
