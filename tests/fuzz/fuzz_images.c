/*
 * Input: one byte that says how long the pieces are, then an answer. Pieces of any length give the same digest; and what
 * has one is a JSON document (or begins with one) of which the strict scanner finds the same images.
 */
#include "wire/images.h"
#include "wire/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool digest_of(uint8_t out[IMAGES_DIGEST_BYTES], const char *bytes, size_t len, size_t piece) {
  struct images m;
  images_init(&m);
  for (size_t at = 0; at < len; at += piece)
    images_feed(&m, bytes + at, len - at < piece ? len - at : piece);
  return images_digest(&m, out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  const char *bytes = (const char *)data + 1;
  uint8_t whole[IMAGES_DIGEST_BYTES], parts[IMAGES_DIGEST_BYTES];
  bool has = digest_of(whole, bytes, size - 1, size);
  bool has_parts = digest_of(parts, bytes, size - 1, data[0] % 37 + 1);
  REQUIRE(has == has_parts && (!has || memcmp(whole, parts, sizeof whole) == 0));
  struct json_member m = {.name = SPAN("data")};
  struct json_object object;
  struct json_fault fault;
  bool is_json = json_scan_object(&m, 1, &object, &fault, span_make(bytes, size - 1)) == 0;
  if (is_json && has) REQUIRE(m.type == JSON_ARRAY && m.value.len > 14);
  if (is_json && m.type != JSON_ARRAY) REQUIRE(!has);
  return 0;
}
