/* The digest of what a provider signs about images, whatever way the answer's bytes come. */
#include "wire/images.h"
#include "check.h"

#include <stdio.h>

static struct span digest_text(struct images *m, char out[2 * IMAGES_DIGEST_BYTES + 1]) {
  uint8_t digest[IMAGES_DIGEST_BYTES];
  if (!images_digest(m, digest)) return SPAN("none");
  for (size_t i = 0; i < sizeof digest; i++)
    (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
  return span_str(out);
}

/* Whole, and in pieces of each length. */
static void check(const char *answer, const char *expected) {
  char text[2 * IMAGES_DIGEST_BYTES + 1];
  size_t len = strlen(answer);
  for (size_t piece = 1; piece <= len; piece++) {
    struct images m;
    images_init(&m);
    for (size_t at = 0; at < len; at += piece)
      images_feed(&m, answer + at, len - at < piece ? len - at : piece);
    struct span got = digest_text(&m, text);
    CHECK_STR(got.ptr, got.len, expected);
  }
}

/* The digest of a list, as text. */
static const char *list_of(const char *list) {
  static char text[2][65];
  static unsigned n;
  uint8_t digest[32];
  struct sha256_ctx sha;
  char *out = text[n++ % 2];
  sha256_init(&sha);
  sha256_update(&sha, strlen(list), (const uint8_t *)list);
  sha256_digest(&sha, 32, digest);
  for (size_t i = 0; i < 32; i++)
    (void)snprintf(out + 2 * i, 3, "%02x", digest[i]);
  return out;
}

#define SHA_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define SHA_DEF "cb8379ac2098aa165029e3938a51da0bcecfc008fd6795f401178647f96c5b34"

static void images_are_hashed_in_their_order(void) {
  check("{\"created\":1,\"data\":[{\"b64_json\":\"YWJj\"}]}", list_of(SHA_ABC));
  check("{\"created\":1,\"data\":[{\"b64_json\":\"YWJj\"},{\"b64_json\":\"ZGVm\"}]}",
        list_of(SHA_ABC "," SHA_DEF));
  check(" { \"data\" : [ { \"revised_prompt\":\"[{\\\"b64_json\\\":\\\"x\\\"}]\", \"b64_json\" : \"YWJj\" , "
        "\"url\":null } ] , \"usage\":{\"data\":[{\"b64_json\":\"ZGVm\"}],\"n\":[[1],{}]}}\n",
        list_of(SHA_ABC));
}

static void escapes_are_read(void) {
  check("{\"d\\u0061ta\":[{\"b64\\u005fjson\":\"YW\\u004aj\"}]}", list_of(SHA_ABC));
  /* "?>?" is "Pz4/". */
  struct images a, b;
  uint8_t x[32], y[32];
  static const char plain[] = "{\"data\":[{\"b64_json\":\"Pz4/\"}]}",
                    escaped[] = "{\"data\":[{\"b64_json\":\"Pz4\\/\"}]}";
  images_init(&a);
  images_init(&b);
  images_feed(&a, plain, sizeof plain - 1);
  images_feed(&b, escaped, sizeof escaped - 1);
  CHECK(images_digest(&a, x) && images_digest(&b, y));
  CHECK(memcmp(x, y, sizeof x) == 0);
}

static void what_is_not_all_there_has_no_digest(void) {
  static const char *const answers[] = {
      "",
      "{}",
      "null",
      "\"data\"",
      "[{\"data\":[{\"b64_json\":\"YWJj\"}]}]",
      "{\"data\":[]}",
      "{\"data\":{\"b64_json\":\"YWJj\"}}",
      "{\"data\":[{\"b64_json\":\"YWJj\"}",
      "{\"data\":[{\"b64_json\":\"YWJj\"}]",
      "{\"data\":[{\"url\":\"https://x\"}]}",
      "{\"data\":[{\"b64_json\":\"YWJj\"},{\"url\":\"https://x\"}]}",
      "{\"data\":[{\"b64_json\":\"YWJj\"},5]}",
      "{\"data\":[{\"b64_json\":\"YWJj\"},\"ZGVm\"]}",
      "{\"data\":[[{\"b64_json\":\"YWJj\"}]]}",
      "{\"data\":[{\"b64_json\":null}]}",
      "{\"data\":[{\"b64_json\":[\"YWJj\"]}]}",
      "{\"data\":[{\"b64_json\":\"YWJ\"}]}",
      "{\"data\":[{\"b64_json\":\"YW Jj\"}]}",
      "{\"data\":[{\"b64_json\":\"YWJj\\n\"}]}",
      "{\"data\":[{\"b64_json\":\"data:image/png;base64,YWJj\"}]}",
      "{\"data\":[{\"b64_json\":\"YW\\uJj\"}]}",
      "{\"data\":[{\"b64_json\":\"YWJj\",\"b64_json\":\"ZGVm\"}]}",
      "{\"data\":[{\"b64_json\":\"YWJj\"}],\"data\":[{\"b64_json\":\"ZGVm\"}]}",
      "{\"data\":[{\"b64_json\":\"YWJj\"}]}}",
      "{\"data\":[{\"b64_json\":\"YWJj\"}]}{\"data\":[]}",
  };
  for (size_t i = 0; i < ARRAY_LEN(answers); i++)
    check(answers[i], "none");
}

static void a_large_image_is_hashed_to_its_last_byte(void) {
  static char answer[1 << 20];
  size_t len = (size_t)snprintf(answer, sizeof answer, "{\"data\":[{\"b64_json\":\"");
  memset(answer + len, 'A', 800000);
  len += 800000;
  len += (size_t)snprintf(answer + len, sizeof answer - len, "\"}]}");
  struct images m;
  char text[65];
  uint8_t zeros[1] = {0}, digest[32];
  struct sha256_ctx sha;
  sha256_init(&sha);
  for (size_t i = 0; i < 600000; i++)
    sha256_update(&sha, 1, zeros);
  sha256_digest(&sha, 32, digest);
  for (size_t i = 0; i < 32; i++)
    (void)snprintf(text + 2 * i, 3, "%02x", digest[i]);
  sha256_init(&sha);
  sha256_update(&sha, 64, (const uint8_t *)text);
  sha256_digest(&sha, 32, digest);
  for (size_t piece = 1000; piece < len; piece *= 7) {
    uint8_t got[32];
    images_init(&m);
    for (size_t at = 0; at < len; at += piece)
      images_feed(&m, answer + at, len - at < piece ? len - at : piece);
    CHECK(images_digest(&m, got) && memcmp(got, digest, 32) == 0);
  }
}

int main(void) {
  RUN(images_are_hashed_in_their_order);
  RUN(escapes_are_read);
  RUN(what_is_not_all_there_has_no_digest);
  RUN(a_large_image_is_hashed_to_its_last_byte);
  return CHECK_END();
}
