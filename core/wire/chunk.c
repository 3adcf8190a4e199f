#include "wire/chunk.h"

#include "wire/http.h"

/*
 *   SIZE -> EXTENSION -> SIZE_LF -> DATA -> DATA_CR -> DATA_LF -> SIZE …
 *     |__________________^   |
 *                            | size 0
 *                            v
 *        TRAILER_START -> NAME -> VALUE -> VALUE_LF -> TRAILER_START …
 *            |
 *            v
 *          END_LF -> ENDED                       any -> BROKEN
 */
enum {
  SIZE,
  EXTENSION,
  SIZE_LF,
  DATA,
  DATA_CR,
  DATA_LF,
  TRAILER_START,
  NAME,
  VALUE,
  VALUE_LF,
  END_LF,
  ENDED,
  BROKEN,
};

#define SIZE_DIGITS     8
#define EXTENSION_BYTES 256
#define TRAILER_BYTES   8192

void chunk_decoder_init(struct chunk_decoder *d) {
  *d = (struct chunk_decoder){.state = SIZE};
}

static bool fail(struct chunk_decoder *d, const char *fault) {
  d->state = BROKEN;
  d->fault = fault;
  return false;
}

/* -1 when `c` is no hex digit. */
static int hex_value(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  char lower = ascii_lower(c);
  return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static bool take_size(struct chunk_decoder *d, char c) {
  int digit = hex_value(c);
  if (digit >= 0) {
    if (d->digits == SIZE_DIGITS) return fail(d, "a chunk size has more than 8 digits");
    d->digits++;
    d->left = d->left * 16 + (unsigned)digit;
    return true;
  }
  if (d->digits == 0) return fail(d, "a chunk size does not start with a hex digit");
  if (c != ';' && c != '\r') return fail(d, "a chunk size is not followed by ';' or CRLF");
  d->extension_bytes = c == ';';
  d->state = c == ';' ? EXTENSION : SIZE_LF;
  return true;
}

static bool take_extension(struct chunk_decoder *d, char c) {
  if (c == '\r') {
    d->state = SIZE_LF;
    return true;
  }
  if (c != '\t' && (c < 0x20 || c >= 0x7f))
    return fail(d, "a chunk extension holds a byte that is not allowed");
  if (++d->extension_bytes > EXTENSION_BYTES) return fail(d, "a chunk extension is over 256 bytes");
  return true;
}

/* The LF behind a CR; `next` follows. */
static bool take_lf(struct chunk_decoder *d, char c, uint8_t next) {
  if (c != '\n') return fail(d, "a CR is not followed by LF");
  d->state = next;
  return true;
}

static bool take_trailer(struct chunk_decoder *d, char c) {
  struct span byte = span_make(&c, 1);
  switch (d->state) {
  case TRAILER_START:
    if (c == '\r') {
      d->state = END_LF;
      return true;
    }
    if (!http_is_token(byte)) return fail(d, "a trailer line does not start with a name");
    if (++d->trailer_fields > HTTP_FIELDS_MAX) return fail(d, "there are more than 100 trailer fields");
    d->state = NAME;
    return true;
  case NAME:
    if (c == ':')
      d->state = VALUE;
    else if (!http_is_token(byte))
      return fail(d, "a trailer line is not a name and a colon");
    return true;
  default:
    if (c == '\r')
      d->state = VALUE_LF;
    else if (!http_is_field_value(byte))
      return fail(d, "a trailer value holds a control byte");
    return true;
  }
}

static bool take(struct chunk_decoder *d, char c) {
  if (d->state >= TRAILER_START && ++d->trailer_bytes > TRAILER_BYTES)
    return fail(d, "the trailers are over 8 KiB");
  switch (d->state) {
  case SIZE: return take_size(d, c);
  case EXTENSION: return take_extension(d, c);
  case SIZE_LF: return take_lf(d, c, d->left ? DATA : TRAILER_START);
  case DATA_CR:
    if (c != '\r') return fail(d, "chunk data is not followed by CRLF");
    d->state = DATA_LF;
    return true;
  case DATA_LF: d->digits = 0; return take_lf(d, c, SIZE);
  case VALUE_LF: return take_lf(d, c, TRAILER_START);
  case END_LF: return take_lf(d, c, ENDED);
  default: return take_trailer(d, c);
  }
}

enum chunk_result chunk_decode(struct chunk_decoder *d, size_t *used, struct span *body, const char *data,
                               size_t len) {
  size_t at = 0;
  *body = SPAN_NONE;
  while (at < len && d->state < ENDED) {
    if (d->state == DATA) {
      size_t n = len - at < d->left ? len - at : (size_t)d->left;
      *body = span_make(data + at, n);
      *used = at + n;
      d->left -= n;
      if (d->left == 0) d->state = DATA_CR;
      return CHUNK_DATA;
    }
    if (!take(d, data[at])) break;
    at++;
  }
  *used = at;
  return d->state == BROKEN ? CHUNK_BAD : d->state == ENDED ? CHUNK_END : CHUNK_MORE;
}

const char *chunk_fault(const struct chunk_decoder *d) {
  return d->fault ? d->fault : "";
}

size_t chunk_head(char out[CHUNK_HEAD_MAX], size_t len) {
  static const char HEX[] = "0123456789abcdef";
  unsigned n = 1;
  for (size_t rest = len >> 4; rest; rest >>= 4)
    n++;
  for (unsigned i = n; i-- > 0; len >>= 4)
    out[i] = HEX[len & 15];
  out[n] = '\r';
  out[n + 1] = '\n';
  return n + 2;
}
