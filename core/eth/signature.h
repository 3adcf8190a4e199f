/*
 * signature: recoverable ECDSA signatures over secp256k1, their texts, the digest of a personal message
 * (EIP-191), and who signed.
 *
 * Accepted are the texts that ethers 6 accepts, because a provider's answers are judged by people with it:
 * 65 bytes r s v with v 0, 1, 27, 28 or above 34 (parity), or 64 bytes with the parity in the first bit of s
 * (EIP-2098). r and s must be in 1 … n-1 and s below 2^255, so that of the two forms of a signature only one
 * passes but for the narrow band between n/2 and 2^255. Thread: any.
 */
#ifndef MOONGATE_ETH_SIGNATURE_H
#define MOONGATE_ETH_SIGNATURE_H

#include "eth/address.h"

#define SIGNATURE_BYTES    65
#define SIGNATURE_TEXT_LEN 132
#define DIGEST_BYTES       32

struct signature {
  uint8_t r[32], s[32];
  uint8_t parity; /* 0 or 1: whether the point's y is odd */
};

/* Why a text is no signature; 0 is none. The text of each is what signature_fault_text() gives. */
enum signature_fault {
  SIGNATURE_OK,
  SIGNATURE_NOT_HEX,
  SIGNATURE_LENGTH,
  SIGNATURE_V,
  SIGNATURE_R_RANGE,
  SIGNATURE_S_RANGE,
  SIGNATURE_S_HIGH,
  SIGNATURE_NO_POINT, /* well-formed, but no key could have made it */
};
const char *signature_fault_text(enum signature_fault fault);

/* From "0x…" (or "0X…") text. The ranges of r and s are looked at by signature_recover(). */
enum signature_fault signature_parse(struct signature *out, struct span text) MUST_CHECK;
/* "0x", r, s, and 1b or 1c, with a NUL. */
void signature_text(char out[SIGNATURE_TEXT_LEN + 1], const struct signature *s);

/* Whose key made it over this digest. */
enum signature_fault signature_recover(struct address *out, const uint8_t digest[DIGEST_BYTES],
                                       const struct signature *s) MUST_CHECK;

/* keccak256(0x19 "Ethereum Signed Message:" LF, the length in decimal, the bytes). */
void personal_digest(uint8_t out[DIGEST_BYTES], const void *bytes, size_t len);

#endif
