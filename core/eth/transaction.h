/*
 * transaction: what a wallet sends to the chain, in two forms: legacy with the chain id in its signature
 * (EIP-155) and type 2 with a base fee (EIP-1559, EIP-2718).
 *
 * The struct borrows everything it points to. Thread: any.
 */
#ifndef MOONGATE_ETH_TRANSACTION_H
#define MOONGATE_ETH_TRANSACTION_H

#include "base/buf.h"
#include "eth/key.h"
#include "eth/u256.h"

enum transaction_type { TRANSACTION_LEGACY = 0, TRANSACTION_EIP1559 = 2 };

/* One contract of an access list (EIP-2930) and the storage keys of it that will be touched. */
struct transaction_access {
  struct address address;
  const uint8_t (*keys)[32];
  size_t n_keys;
};

struct transaction {
  enum transaction_type type;
  uint64_t chain_id;
  uint64_t nonce;
  const struct address *to; /* NULL creates a contract */
  struct u256 value;        /* neuron */
  uint64_t gas_limit;
  struct u256 gas_price;                 /* legacy alone, neuron per gas */
  struct u256 max_fee, max_priority_fee; /* type 2 alone, neuron per gas */
  struct span data;
  const struct transaction_access *access; /* type 2 alone; NULL when n_access is 0 */
  size_t n_access;
};

struct transaction_signed {
  struct signature signature;
  uint8_t digest[DIGEST_BYTES]; /* what was signed */
  uint8_t hash[DIGEST_BYTES];   /* the transaction's name on the chain: hash of the raw bytes */
};

/* Appends the bytes whose hash is signed. ERR_TOO_LARGE when the buffer's maximum does not do. */
int transaction_unsigned(struct buf *out, const struct transaction *t) MUST_CHECK;

/* Appends the raw bytes for eth_sendRawTransaction. On an error nothing is appended. */
int transaction_sign(struct buf *raw, struct transaction_signed *out, const struct transaction *t,
                     const struct key *key) MUST_CHECK;

#endif
