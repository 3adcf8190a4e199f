#include "eth/address.h"
#include "eth/hex.h"
#include "eth/keccak.h"

void address_text(char out[ADDRESS_TEXT_LEN + 1], const struct address *a) {
  uint8_t hash[KECCAK_BYTES];
  memcpy(out, "0x", 2);
  hex_write(out + 2, a->bytes, ADDRESS_BYTES);
  keccak256(hash, out + 2, (size_t)2 * ADDRESS_BYTES);
  for (size_t i = 0; i < (size_t)2 * ADDRESS_BYTES; i++) {
    unsigned nibble = hash[i / 2] >> (i % 2 ? 0 : 4) & 15;
    if (nibble >= 8 && out[2 + i] >= 'a') out[2 + i] = (char)(out[2 + i] - 32);
  }
  out[ADDRESS_TEXT_LEN] = '\0';
}

int address_parse(struct address *out, struct span text) {
  struct span digits = text;
  if (hex_cut_prefix(&digits, text) && digits.len == 0) return ERR_SYNTAX;
  struct address a;
  if (!hex_read(a.bytes, ADDRESS_BYTES, digits)) return ERR_SYNTAX;
  bool has_lower = false, has_upper = false;
  for (size_t i = 0; i < digits.len; i++) {
    has_lower |= digits.ptr[i] >= 'a';
    has_upper |= digits.ptr[i] >= 'A' && digits.ptr[i] <= 'F';
  }
  if (has_lower && has_upper) {
    char right[ADDRESS_TEXT_LEN + 1];
    address_text(right, &a);
    if (memcmp(right + 2, digits.ptr, digits.len) != 0) return ERR_RANGE;
  }
  *out = a;
  return 0;
}

struct address address_of_public_key(const uint8_t key[65]) {
  uint8_t hash[KECCAK_BYTES];
  struct address a;
  keccak256(hash, key + 1, 64);
  memcpy(a.bytes, hash + KECCAK_BYTES - ADDRESS_BYTES, ADDRESS_BYTES);
  return a;
}
