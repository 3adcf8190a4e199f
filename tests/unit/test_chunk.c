#include "wire/chunk.h"

#include "check.h"

#include <stdlib.h>

struct outcome {
  enum chunk_result result;
  size_t used, body_len;
  char body[256];
  const char *fault;
};

/* Decodes the pieces text[0 … a), text[a … b), text[b … len), each in memory of its own size. */
static struct outcome decode(const char *text, size_t len, size_t a, size_t b) {
  struct outcome o = {.result = CHUNK_MORE};
  struct chunk_decoder d;
  const size_t ends[] = {a, b, len};
  chunk_decoder_init(&d);
  size_t start = 0;
  for (int i = 0; i < 3 && o.result == CHUNK_MORE; start = ends[i++]) {
    size_t n = ends[i] - start, at = 0;
    char *piece = malloc(n ? n : 1);
    CHECK(piece != NULL);
    memcpy(piece, text + start, n);
    do {
      size_t used = SIZE_MAX;
      struct span body;
      o.result = chunk_decode(&d, &used, &body, piece + at, n - at);
      CHECK(used <= n - at);
      if (o.result == CHUNK_DATA) {
        CHECK(body.len > 0 && o.body_len + body.len <= sizeof o.body);
        memcpy(o.body + o.body_len, body.ptr, body.len);
        o.body_len += body.len;
      } else {
        CHECK(body.len == 0);
      }
      if (o.result == CHUNK_MORE) CHECK_INT(used, n - at);
      at += used;
      o.used += used;
    } while (o.result == CHUNK_DATA);
    free(piece);
  }
  o.fault = chunk_fault(&d);
  return o;
}

/* Every way to cut the text into three pieces says the same. */
static struct outcome decode_all_splits(const char *text, size_t len) {
  struct outcome whole = decode(text, len, len, len);
  for (size_t a = 0; a <= len; a++)
    for (size_t b = a; b <= len; b++) {
      struct outcome o = decode(text, len, a, b);
      CHECK_INT(o.result, whole.result);
      CHECK_INT(o.used, whole.used);
      CHECK_INT(o.body_len, whole.body_len);
      CHECK(memcmp(o.body, whole.body, o.body_len) == 0);
      CHECK(o.fault == whole.fault);
    }
  return whole;
}

#define BODY(text, body, used)                                                                               \
  { text, sizeof text - 1, body, used }

static void bodies_come_out_however_they_are_split(void) {
  static const struct {
    const char *text;
    size_t len;
    const char *body;
    size_t used;
  } GOOD[] = {
      BODY("0\r\n\r\n", "", 5),
      BODY("00000000\r\n\r\n", "", 12),
      BODY("5\r\nhello\r\n0\r\n\r\n", "hello", 15),
      BODY("5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n", "hello", 15),
      BODY("1\r\na\r\n0000000a\r\nbcdefghijk\r\n0\r\n\r\n", "abcdefghijk", 33),
      BODY("A\r\n0123456789\r\n00\r\n\r\n", "0123456789", 21),
      BODY("4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", 14),
      BODY("1;\r\na\r\n0;x=\"y\tz\"\r\n\r\n", "a", 20),
      BODY("1;a;b=c ; d\r\na\r\n0\r\n\r\n", "a", 21),
      BODY("0\r\nX: y\r\nEmpty:\r\nZ:\xff\t\r\n\r\n", "", 25),
  };
  for (size_t i = 0; i < ARRAY_LEN(GOOD); i++) {
    struct outcome o = decode_all_splits(GOOD[i].text, GOOD[i].len);
    CHECK_STR(o.fault, strlen(o.fault), "");
    CHECK_INT(o.result, CHUNK_END);
    CHECK_STR(o.body, o.body_len, GOOD[i].body);
    CHECK_INT(o.used, GOOD[i].used);
  }
}

#define BAD(text, at)                                                                                        \
  { text, sizeof text - 1, at }

static void broken_framing_is_refused_at_the_byte_that_proves_it(void) {
  static const struct {
    const char *text;
    size_t len, at;
  } BROKEN[] = {
      /* sizes */
      BAD("\r\n", 0),
      BAD(";x\r\n", 0),
      BAD("\n", 0),
      BAD("g\r\n", 0),
      BAD("-1\r\n", 0),
      BAD("+1\r\n", 0),
      BAD(" 1\r\n", 0),
      BAD("\t1\r\n", 0),
      BAD("\0", 0),
      BAD("\x80", 0),
      BAD("0x1\r\n", 1),
      BAD("0X1\r\n", 1),
      BAD("1 \r\n", 1),
      BAD("1\t\r\n", 1),
      BAD("1 ;x\r\n", 1),
      BAD("1_0\r\n", 1),
      BAD("1,1\r\n", 1),
      BAD("1.0\r\n", 1),
      BAD("1h\r\n", 1),
      BAD("1\0\r\n", 1),
      BAD("000000000\r\n", 8),
      BAD("123456789\r\n", 8),
      BAD("fffffffff\r\n", 8),
      /* line ends of the size line */
      BAD("1\na\r\n", 1),
      BAD("1\ra\r\n", 2),
      BAD("1\r\ra\r\n", 2),
      BAD("1;x\na\r\n", 3),
      BAD("1;x\ra\r\n", 4),
      /* extensions */
      BAD("1;\0\r\n", 2),
      BAD("1;\x01\r\n", 2),
      BAD("1;\x0b\r\n", 2),
      BAD("1;\x7f\r\n", 2),
      BAD("1;\x80\r\n", 2),
      /* behind the data */
      BAD("1\r\nab\r\n", 4),
      BAD("1\r\na\n", 4),
      BAD("1\r\na0\r\n\r\n", 4),
      BAD("1\r\na\r0\r\n", 5),
      BAD("1\r\na\r\r\n", 5),
      BAD("1\r\na\r\n\r\n", 6),
      BAD("1\r\na\r\n 0\r\n\r\n", 6),
      /* trailers */
      BAD("0\r\n\n", 3),
      BAD("0\r\n\rX", 4),
      BAD("0\r\n x: y\r\n\r\n", 3),
      BAD("0\r\n\tx: y\r\n\r\n", 3),
      BAD("0\r\n: y\r\n\r\n", 3),
      BAD("0\r\nx\r\n\r\n", 4),
      BAD("0\r\nx y\r\n\r\n", 4),
      BAD("0\r\nx : y\r\n\r\n", 4),
      BAD("0\r\nx(: y\r\n\r\n", 4),
      BAD("0\r\nx\n", 4),
      BAD("0\r\nx: y\n", 7),
      BAD("0\r\nx: y\rz", 8),
      BAD("0\r\nx: y\r\n z\r\n\r\n", 9),
      BAD("0\r\nx: \0\r\n\r\n", 6),
      BAD("0\r\nx: \x7f\r\n\r\n", 6),
      BAD("0\r\n\x80: y\r\n\r\n", 3),
  };
  for (size_t i = 0; i < ARRAY_LEN(BROKEN); i++) {
    struct outcome o = decode_all_splits(BROKEN[i].text, BROKEN[i].len);
    if (o.result != CHUNK_BAD || o.used != BROKEN[i].at) printf("# row %zu: %s\n", i, BROKEN[i].text);
    CHECK_INT(o.result, CHUNK_BAD);
    CHECK_INT(o.used, BROKEN[i].at);
    CHECK(*o.fault);
  }
}

static char big[20000];

static size_t put(size_t at, const char *text) {
  memcpy(big + at, text, strlen(text));
  return at + strlen(text);
}

static size_t fill(size_t at, char c, size_t n) {
  memset(big + at, c, n);
  return at + n;
}

static enum chunk_result whole(size_t len) {
  return decode(big, len, len / 2, len).result;
}

static void extension_of_256_bytes_passes_and_one_more_does_not(void) {
  size_t n = fill(put(0, "0;"), 'x', 255);
  CHECK_INT(whole(put(n, "\r\n\r\n")), CHUNK_END);
  n = fill(n, 'x', 1);
  CHECK_INT(whole(n), CHUNK_BAD);
}

static void each_chunk_has_an_extension_budget_of_its_own(void) {
  size_t n = 0;
  for (int i = 0; i < 10; i++)
    n = put(fill(put(n, "1;"), 'x', 255), "\r\na\r\n");
  CHECK_INT(whole(put(n, "0\r\n\r\n")), CHUNK_END);
}

static void trailers_of_8_kib_pass_and_one_byte_more_does_not(void) {
  size_t n = fill(put(0, "0\r\nx:"), 'y', 8192 - 2 - 4);
  CHECK_INT(whole(put(n, "\r\n\r\n")), CHUNK_END);
  n = fill(n, 'y', 1);
  CHECK_INT(whole(put(n, "\r\n\r\n")), CHUNK_BAD);
  n = fill(put(0, "0\r\n"), 'x', 10000);
  CHECK_INT(whole(n), CHUNK_BAD);
}

static void hundred_trailers_pass_and_one_more_does_not(void) {
  size_t n = put(0, "0\r\n");
  for (int i = 0; i < 100; i++)
    n = put(n, "x:\r\n");
  CHECK_INT(whole(put(n, "\r\n")), CHUNK_END);
  CHECK_INT(whole(put(n, "x")), CHUNK_BAD);
}

static void announced_size_is_known_before_its_data(void) {
  struct chunk_decoder d;
  size_t used;
  struct span body;
  chunk_decoder_init(&d);
  CHECK_INT(chunk_decode(&d, &used, &body, "ffffffff\r\n", 10), CHUNK_MORE);
  CHECK(chunk_bytes_left(&d) == UINT64_C(0xffffffff));
  CHECK_INT(chunk_decode(&d, &used, &body, "abc", 3), CHUNK_DATA);
  CHECK(chunk_bytes_left(&d) == UINT64_C(0xfffffffc));
}

static void ended_and_broken_decoders_stay_so(void) {
  struct chunk_decoder d;
  size_t used;
  struct span body;
  chunk_decoder_init(&d);
  CHECK_INT(chunk_decode(&d, &used, &body, "0\r\n\r\n0\r\n\r\n", 10), CHUNK_END);
  CHECK_INT(used, 5);
  CHECK_INT(chunk_decode(&d, &used, &body, "0\r\n\r\n", 5), CHUNK_END);
  CHECK_INT(used, 0);
  chunk_decoder_init(&d);
  CHECK_INT(chunk_decode(&d, &used, &body, "x", 1), CHUNK_BAD);
  CHECK_INT(chunk_decode(&d, &used, &body, "0\r\n\r\n", 5), CHUNK_BAD);
  CHECK_INT(used, 0);
}

static void heads_are_hex_without_leading_zeros(void) {
  char out[CHUNK_HEAD_MAX];
  CHECK_STR(out, chunk_head(out, 0), "0\r\n");
  CHECK_STR(out, chunk_head(out, 9), "9\r\n");
  CHECK_STR(out, chunk_head(out, 15), "f\r\n");
  CHECK_STR(out, chunk_head(out, 16), "10\r\n");
  CHECK_STR(out, chunk_head(out, 0x1a0), "1a0\r\n");
  CHECK_STR(out, chunk_head(out, SIZE_MAX), "ffffffffffffffff\r\n");
}

int main(void) {
  RUN(bodies_come_out_however_they_are_split);
  RUN(broken_framing_is_refused_at_the_byte_that_proves_it);
  RUN(extension_of_256_bytes_passes_and_one_more_does_not);
  RUN(each_chunk_has_an_extension_budget_of_its_own);
  RUN(trailers_of_8_kib_pass_and_one_byte_more_does_not);
  RUN(hundred_trailers_pass_and_one_more_does_not);
  RUN(announced_size_is_known_before_its_data);
  RUN(ended_and_broken_decoders_stay_so);
  RUN(heads_are_hex_without_leading_zeros);
  return CHECK_END();
}
