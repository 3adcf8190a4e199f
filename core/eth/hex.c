#include "eth/hex.h"

void hex_write(char *out, const void *bytes, size_t len) {
  const uint8_t *b = bytes;
  for (size_t i = 0; i < len; i++) {
    out[2 * i] = "0123456789abcdef"[b[i] >> 4];
    out[2 * i + 1] = "0123456789abcdef"[b[i] & 15];
  }
}

int hex_append(struct buf *out, const void *bytes, size_t len) {
  if (len > SIZE_MAX / 4) return ERR_TOO_LARGE;
  int err = buf_reserve(out, 2 + 2 * len);
  if (err) return err;
  memcpy(out->data + out->len, "0x", 2);
  hex_write(out->data + out->len + 2, bytes, len);
  out->len += 2 + 2 * len;
  return 0;
}

bool hex_read(uint8_t *out, size_t len, struct span digits) {
  if (digits.len % 2 != 0 || digits.len / 2 != len) return false;
  for (size_t i = 0; i < len; i++) {
    int high = hex_digit(digits.ptr[2 * i]), low = hex_digit(digits.ptr[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = (uint8_t)(high << 4 | low);
  }
  return true;
}

bool hex_cut_prefix(struct span *digits, struct span text) {
  if (!span_starts(text, SPAN("0x"))) return false;
  *digits = span_make(text.ptr + 2, text.len - 2);
  return true;
}

int hex_decode(struct buf *out, struct span text) {
  struct span digits;
  if (!hex_cut_prefix(&digits, text) || digits.len % 2 != 0) return ERR_SYNTAX;
  int err = buf_reserve(out, digits.len / 2);
  if (err) return err;
  if (digits.len && !hex_read((uint8_t *)out->data + out->len, digits.len / 2, digits)) return ERR_SYNTAX;
  out->len += digits.len / 2;
  return 0;
}
