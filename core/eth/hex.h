/*
 * hex: bytes to lower-case hexadecimal text and back. Thread: any.
 */
#ifndef MOONGATE_ETH_HEX_H
#define MOONGATE_ETH_HEX_H

#include "base/buf.h"
#include "base/span.h"

/* Writes 2 * len digits, no prefix, no NUL. */
void hex_write(char *out, const void *bytes, size_t len);

/* Appends "0x" and the digits. */
int hex_append(struct buf *out, const void *bytes, size_t len) MUST_CHECK;

/*
 * Exactly `len` bytes from exactly 2 * len digits without a prefix. False when the length is another or a
 * character is no digit; `out` may have been written to in part.
 */
bool hex_read(uint8_t *out, size_t len, struct span digits) MUST_CHECK;

/* The text behind a leading "0x"; false when it is not there. "0X" is no prefix. */
bool hex_cut_prefix(struct span *digits, struct span text) MUST_CHECK;

/*
 * Appends the bytes of a "0x…" text (JSON-RPC's form of data). ERR_SYNTAX without prefix, with an odd number
 * of digits or another character; ERR_TOO_LARGE past the buffer's maximum. Nothing is appended on an error.
 */
int hex_decode(struct buf *out, struct span text) MUST_CHECK;

#endif
