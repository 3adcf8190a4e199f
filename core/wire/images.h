/*
 * images: reads along while an answer with images passes ({"data":[{"b64_json":"…"},…]}), decodes each, and keeps the
 * digest of the text that a provider signs about them: the SHA-256 of each image in lower-case hexadecimal digits, with
 * commas between. Bytes are never changed and may be split anywhere.
 *
 * Thread: one. Memory: the struct itself; images may be of any length. What is not exactly of that form (an image that
 * is given by its address, base64 that is none, two members of one name) leaves the whole answer without a digest.
 */
#ifndef MOONGATE_WIRE_IMAGES_H
#define MOONGATE_WIRE_IMAGES_H

#include "base/span.h"

#include <nettle/base64.h>
#include <nettle/sha2.h>

#define IMAGES_DIGEST_BYTES 32
#define IMAGES_NAME_MAX     16 /* longer than any name that is looked for */

struct images {
  unsigned n;    /* images that were complete so far */
  bool is_unfit; /* nothing can be said of it any more */
  /* Below is the scanner's own state. */
  uint8_t state, string_kind, level, hex_len;
  bool expects_name,
      is_hit; /* in an object of the path: what comes next; the value that comes is looked for */
  bool has_data, has_image; /* of the object at hand */
  uint16_t hex;
  uint32_t depth; /* open brackets */
  uint8_t name_len;
  char name[IMAGES_NAME_MAX];
  struct base64_decode_ctx base64;
  struct sha256_ctx image, list;
};

void images_init(struct images *m);
void images_feed(struct images *m, const char *bytes, size_t len);
/* At the end: false when there were none, or not all of them could be read. */
bool images_digest(struct images *m, uint8_t out[IMAGES_DIGEST_BYTES]);

#endif
