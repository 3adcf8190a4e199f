/*
 * chunk: the chunked transfer coding, both ways (RFC 9112, 7.1), stricter than the RFC where that costs
 * nobody: a size is 1 to 8 hex digits, extensions are at most 256 bytes a chunk, trailers at most 8 KiB and
 * 100 fields, all line ends are CRLF, no blank or tab before CRLF of a plain size line, no control bytes but tab in
 * extensions and trailer values, no bytes >= 0x80 in extensions.
 *
 * Thread: one. No allocation.
 */
#ifndef MOONGATE_WIRE_CHUNK_H
#define MOONGATE_WIRE_CHUNK_H

#include "base/span.h"

enum chunk_result {
  CHUNK_MORE, /* everything given was used; more input is needed */
  CHUNK_DATA, /* *body holds body bytes (borrowed from the input); call again with the rest */
  CHUNK_END,  /* the last chunk and the trailers have ended; *used tells where the next message begins */
  CHUNK_BAD,  /* framing is broken: the connection cannot go on; chunk_fault() says why */
};

struct chunk_decoder {
  uint64_t left; /* of the current chunk's data */
  uint16_t extension_bytes, trailer_bytes;
  uint8_t state, digits, trailer_fields;
  const char *fault;
};

void chunk_decoder_init(struct chunk_decoder *d);
/* Size of the chunk being announced or read; lets a caller refuse a body over its limit before the data comes. */
static inline uint64_t chunk_bytes_left(const struct chunk_decoder *d) {
  return d->left;
}
enum chunk_result chunk_decode(struct chunk_decoder *d, size_t *used, struct span *body, const char *data,
                               size_t len) MUST_CHECK;
/* A static text for a decoder that returned CHUNK_BAD. */
const char *chunk_fault(const struct chunk_decoder *d);

/* Writing: the line in front of `len` bytes of data, e.g. "1a0\r\n"; returns its length. */
#define CHUNK_HEAD_MAX 18
size_t chunk_head(char out[CHUNK_HEAD_MAX], size_t len);

#endif
