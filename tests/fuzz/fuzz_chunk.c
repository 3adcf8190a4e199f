/*
 * Finds that a chunked body split in any way gives the bytes and the verdict of the whole, and that what the
 * decoder gives, encoded by us, decodes to the same.
 */
#include "base/buf.h"
#include "wire/chunk.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
  enum chunk_result result;
  size_t used;
  struct buf body;
  const char *fault;
};

static void decode(struct outcome *o, const char *bytes, size_t len, size_t step) {
  struct chunk_decoder d;
  chunk_decoder_init(&d);
  *o = (struct outcome){.result = CHUNK_MORE};
  buf_init(&o->body, len + 1);
  for (size_t start = 0; start < len && o->result == CHUNK_MORE; start += step) {
    size_t n = len - start < step ? len - start : step, at = 0;
    char *piece = x_malloc(n);
    memcpy(piece, bytes + start, n);
    do {
      size_t used;
      struct span body;
      o->result = chunk_decode(&d, &used, &body, piece + at, n - at);
      REQUIRE(used <= n - at && (o->result == CHUNK_DATA) == (body.len > 0));
      REQUIRE(body.len == 0 || (body.ptr >= piece + at && body.ptr + body.len <= piece + n));
      buf_put_span(&o->body, body);
      at += used;
      o->used += used;
    } while (o->result == CHUNK_DATA);
    free(piece);
  }
  o->fault = chunk_fault(&d);
  REQUIRE((o->result == CHUNK_BAD) == (*o->fault != 0));
}

static void check_round_trip(const struct buf *body, size_t step) {
  struct buf out;
  char head[CHUNK_HEAD_MAX];
  buf_init(&out, body->len * 16 + 64);
  for (size_t at = 0; at < body->len; at += step) {
    size_t n = body->len - at < step ? body->len - at : step;
    buf_put(&out, head, chunk_head(head, n));
    buf_put(&out, body->data + at, n);
    buf_put(&out, "\r\n", 2);
  }
  buf_put(&out, head, chunk_head(head, 0));
  buf_put(&out, "\r\n", 2);
  struct outcome again;
  decode(&again, out.data, out.len, out.len);
  REQUIRE(again.result == CHUNK_END && again.used == out.len);
  REQUIRE(span_eq(buf_span(&again.body), buf_span(body)));
  buf_release(&again.body);
  buf_release(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  const char *bytes = (const char *)data + 1;
  size_t len = size - 1, step = (size_t)data[0] + 1;
  struct outcome whole, split;
  decode(&whole, bytes, len, len + 1);
  decode(&split, bytes, len, step);
  REQUIRE(split.result == whole.result && split.used == whole.used && split.fault == whole.fault);
  REQUIRE(span_eq(buf_span(&split.body), buf_span(&whole.body)));
  if (whole.result == CHUNK_END) check_round_trip(&whole.body, step);
  buf_release(&whole.body);
  buf_release(&split.body);
  return 0;
}
