#include "eth/signature.h"
#include "eth/hex.h"
#include "eth/keccak.h"

#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdio.h>

const char *signature_fault_text(enum signature_fault fault) {
  static const char *const texts[] = {
      [SIGNATURE_OK] = "no fault",
      [SIGNATURE_NOT_HEX] = "the signature is not 0x and pairs of hex digits",
      [SIGNATURE_LENGTH] = "the signature is not 64 or 65 bytes long",
      [SIGNATURE_V] = "the signature's last byte (v) is none that exists",
      [SIGNATURE_R_RANGE] = "the signature's r is out of range",
      [SIGNATURE_S_RANGE] = "the signature's s is out of range",
      [SIGNATURE_S_HIGH] = "the signature's s is not the canonical one",
      [SIGNATURE_NO_POINT] = "no key can have made the signature",
  };
  return texts[fault];
}

enum signature_fault signature_parse(struct signature *out, struct span text) {
  uint8_t bytes[SIGNATURE_BYTES];
  if (!span_starts_nocase(text, SPAN("0x")) || text.len % 2 != 0) return SIGNATURE_NOT_HEX;
  struct span digits = span_make(text.ptr + 2, text.len - 2);
  for (size_t i = 0; i < digits.len; i++)
    if (hex_digit(digits.ptr[i]) < 0) return SIGNATURE_NOT_HEX;
  size_t len = digits.len / 2;
  if (len != 64 && len != 65) return SIGNATURE_LENGTH;
  if (!hex_read(bytes, len, digits)) return SIGNATURE_NOT_HEX;
  struct signature s;
  memcpy(s.r, bytes, 32);
  memcpy(s.s, bytes + 32, 32);
  if (len == 64) {
    s.parity = bytes[32] >> 7;
    s.s[0] &= 0x7f;
  } else {
    if (s.s[0] & 0x80) return SIGNATURE_S_HIGH;
    uint8_t v = bytes[64];
    if (v <= 1)
      s.parity = v;
    else if (v == 27 || v == 28)
      s.parity = v - 27;
    else if (v >= 35)
      s.parity = !(v & 1);
    else
      return SIGNATURE_V;
  }
  *out = s;
  return SIGNATURE_OK;
}

void signature_text(char out[SIGNATURE_TEXT_LEN + 1], const struct signature *s) {
  memcpy(out, "0x", 2);
  hex_write(out + 2, s->r, 32);
  hex_write(out + 66, s->s, 32);
  out[130] = '1';
  out[131] = s->parity ? 'c' : 'b';
  out[132] = '\0';
}

/* Whether a number of 32 bytes is in 1 … n-1, n being the order of the group. */
static bool is_scalar(const uint8_t bytes[32]) {
  return secp256k1_ec_seckey_verify(secp256k1_context_static, bytes) == 1;
}

enum signature_fault signature_recover(struct address *out, const uint8_t digest[DIGEST_BYTES],
                                       const struct signature *s) {
  const secp256k1_context *context = secp256k1_context_static;
  secp256k1_ecdsa_recoverable_signature parsed;
  secp256k1_pubkey key;
  uint8_t compact[64], bytes[65];
  size_t len = sizeof bytes;
  if (!is_scalar(s->r)) return SIGNATURE_R_RANGE;
  if (!is_scalar(s->s)) return SIGNATURE_S_RANGE;
  memcpy(compact, s->r, 32);
  memcpy(compact + 32, s->s, 32);
  if (!secp256k1_ecdsa_recoverable_signature_parse_compact(context, &parsed, compact, s->parity) ||
      !secp256k1_ecdsa_recover(context, &key, &parsed, digest))
    return SIGNATURE_NO_POINT;
  REQUIRE(secp256k1_ec_pubkey_serialize(context, bytes, &len, &key, SECP256K1_EC_UNCOMPRESSED));
  *out = address_of_public_key(bytes);
  return SIGNATURE_OK;
}

void personal_digest(uint8_t out[DIGEST_BYTES], const void *bytes, size_t len) {
  char head[64];
  int n = snprintf(head, sizeof head,
                   "\x19"
                   "Ethereum Signed Message:\n%zu",
                   len);
  struct keccak k;
  keccak_init(&k);
  keccak_update(&k, head, (size_t)n);
  if (len) keccak_update(&k, bytes, len);
  keccak_final(&k, out);
}
