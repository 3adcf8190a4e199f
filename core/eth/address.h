/*
 * address: the 20 bytes that name an account or a contract, and their text with the checksum in its letter
 * case (EIP-55). Thread: any.
 */
#ifndef MOONGATE_ETH_ADDRESS_H
#define MOONGATE_ETH_ADDRESS_H

#include "base/err.h"
#include "base/span.h"

#define ADDRESS_BYTES    20
#define ADDRESS_TEXT_LEN 42

struct address {
  uint8_t bytes[ADDRESS_BYTES];
};

#define ADDRESS_ZERO ((struct address){{0}})

/*
 * 40 hex digits, with or without "0x". Digits of one case carry no checksum; mixed ones must have the right
 * case. ERR_SYNTAX when it is no address, ERR_RANGE when its checksum is wrong (a mistyped one).
 */
int address_parse(struct address *out, struct span text) MUST_CHECK;

/* "0x" and digits in checksum case, with a NUL. */
void address_text(char out[ADDRESS_TEXT_LEN + 1], const struct address *a);

/* The last 20 bytes of the hash of an uncompressed public key: 0x04, x, y. */
struct address address_of_public_key(const uint8_t key[65]);

static inline bool address_eq(const struct address *a, const struct address *b) {
  return memcmp(a->bytes, b->bytes, ADDRESS_BYTES) == 0;
}

static inline bool address_is_zero(const struct address *a) {
  return address_eq(a, &ADDRESS_ZERO);
}

#endif
