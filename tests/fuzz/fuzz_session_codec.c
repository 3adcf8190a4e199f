/*
 * Finds that no bytes upset the reader of stored sessions, and that what it accepts is written back as it came.
 * The checksum is made to fit, or the fuzzer would never get past it; the bytes as they are go in as well.
 */
#include "model/session_codec.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct span batch) {
  struct span records;
  if (session_batch_open(&records, batch)) {
    REQUIRE(records.len == 0);
    return;
  }
  struct buf again;
  buf_init(&again, batch.len + SESSION_RECORD_MAX);
  REQUIRE(session_batch_begin(&again) == 0);
  struct session s;
  uint64_t used;
  struct span before = records;
  size_t left = records.len;
  while (session_batch_next(&records, &s, &used)) {
    REQUIRE(strlen(s.provider) <= SESSION_PROVIDER_MAX && strlen(s.model) <= SESSION_MODEL_MAX);
    REQUIRE(strlen(s.res_key) <= SESSION_KEY_MAX && strlen(s.id) <= SESSION_KEY_MAX);
    REQUIRE(records.len < left);
    left = records.len;
    REQUIRE(session_batch_add(&again, &s, used) == 0);
  }
  size_t taken = again.len - SESSION_BATCH_HEAD;
  REQUIRE(taken <= before.len && memcmp(again.data + SESSION_BATCH_HEAD, before.ptr, taken) == 0);
  buf_release(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  check(span_make((const char *)data, size));
  struct buf b;
  buf_init(&b, size + SESSION_BATCH_HEAD);
  REQUIRE(session_batch_begin(&b) == 0);
  size_t skip = size < SESSION_BATCH_HEAD ? size : SESSION_BATCH_HEAD;
  buf_put(&b, data + skip, size - skip);
  session_batch_end(&b);
  check(buf_span(&b));
  buf_release(&b);
  return 0;
}
