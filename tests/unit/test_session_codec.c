#include "model/session_codec.h"
#include "check.h"

#include <stdlib.h>

static struct session session_of(const char *provider, const char *res_key, const char *id, bool digests) {
  struct session s = {
      .created_wall_ms = 1700000000123u, .tokens_in = 12, .tokens_out = -1, .has_digests = digests};
  (void)snprintf(s.provider, sizeof s.provider, "%s", provider);
  (void)snprintf(s.model, sizeof s.model, "model of %s", provider);
  (void)snprintf(s.res_key, sizeof s.res_key, "%s", res_key);
  (void)snprintf(s.id, sizeof s.id, "%s", id);
  for (int i = 0; digests && i < 32; i++) {
    s.request_sha256[i] = (unsigned char)i;
    s.response_sha256[i] = (unsigned char)(200 - i);
  }
  return s;
}

static void all_that_was_put_comes_back(void) {
  struct session in[] = {session_of("0xabc", "key-1", "chatcmpl-1", true),
                         session_of("local", "", "id", false), session_of("p", "only-a-key", "", false)};
  in[0].is_rewritable = in[2].is_rewritable = in[0].has_images = true;
  memset(in[0].images_sha256, 9, sizeof in[0].images_sha256);
  struct buf b;
  buf_init(&b, 65536);
  CHECK_INT(session_batch_begin(&b), 0);
  for (size_t i = 0; i < ARRAY_LEN(in); i++)
    CHECK_INT(session_batch_add(&b, &in[i], 1800000000000u + i), 0);
  session_batch_end(&b);
  struct span records;
  CHECK_INT(session_batch_open(&records, buf_span(&b)), 0);
  for (size_t i = 0; i < ARRAY_LEN(in); i++) {
    struct session out;
    uint64_t used;
    CHECK(session_batch_next(&records, &out, &used));
    CHECK_INT(used, 1800000000000u + i);
    CHECK_INT(memcmp(&out, &in[i], sizeof out), 0);
  }
  struct session out;
  uint64_t used;
  CHECK(!session_batch_next(&records, &out, &used));
  buf_release(&b);
}

static void the_longest_texts_fit_and_full_buffers_change_nothing(void) {
  struct session s = {.has_digests = true, .has_images = true}, out;
  memset(s.images_sha256, 7, sizeof s.images_sha256);
  memset(s.provider, 'p', SESSION_PROVIDER_MAX);
  memset(s.model, 'm', SESSION_MODEL_MAX);
  memset(s.res_key, 'r', SESSION_KEY_MAX);
  memset(s.id, 'i', SESSION_KEY_MAX);
  struct buf b;
  buf_init(&b, SESSION_BATCH_HEAD + SESSION_RECORD_MAX);
  CHECK_INT(session_batch_begin(&b), 0);
  CHECK_INT(session_batch_add(&b, &s, 1), 0);
  CHECK_INT(b.len, SESSION_BATCH_HEAD + SESSION_RECORD_MAX);
  CHECK_INT(session_batch_add(&b, &s, 1), ERR_TOO_LARGE);
  session_batch_end(&b);
  struct span records;
  uint64_t used;
  CHECK_INT(session_batch_open(&records, buf_span(&b)), 0);
  CHECK(session_batch_next(&records, &out, &used));
  CHECK_INT(memcmp(&out, &s, sizeof s), 0);
  buf_release(&b);
}

static void every_damaged_byte_is_noticed(void) {
  struct session s = session_of("0xabc", "key-1", "chatcmpl-1", true);
  struct buf b;
  buf_init(&b, 65536);
  CHECK_INT(session_batch_begin(&b), 0);
  CHECK_INT(session_batch_add(&b, &s, 7), 0);
  session_batch_end(&b);
  struct span records;
  for (size_t i = 0; i < b.len; i++) {
    b.data[i] ^= 0x10;
    CHECK_INT(session_batch_open(&records, buf_span(&b)), ERR_SYNTAX);
    b.data[i] ^= 0x10;
    CHECK_INT(session_batch_open(&records, span_make(b.data, i)), ERR_SYNTAX);
  }
  CHECK_INT(session_batch_open(&records, buf_span(&b)), 0);
  buf_release(&b);
}

static void another_version_is_refused(void) {
  struct buf b;
  buf_init(&b, 64);
  CHECK_INT(session_batch_begin(&b), 0);
  session_batch_end(&b);
  struct span records;
  CHECK_INT(session_batch_open(&records, buf_span(&b)), 0);
  b.data[4] = 2;
  CHECK_INT(session_batch_open(&records, buf_span(&b)), ERR_SYNTAX);
  buf_release(&b);
}

int main(void) {
  RUN(all_that_was_put_comes_back);
  RUN(the_longest_texts_fit_and_full_buffers_change_nothing);
  RUN(every_damaged_byte_is_noticed);
  RUN(another_version_is_refused);
  return CHECK_END();
}
