/*
 * Input: the length of a boundary, the boundary, then a form. What is found lies in the form and is what a second, slow
 * reader finds that looks at every offset; and a form that is written around any bytes is read as they are.
 */
#include "wire/multipart.h"

#include "base/buf.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MODEL, FILE_FIELD, N };
enum mark { NOTHING, DELIMITER, LAST };

static void find(struct multipart_field found[N], struct span body, struct span boundary) {
  found[MODEL].name = SPAN("model");
  found[FILE_FIELD].name = SPAN("file");
  multipart_find(found, N, body, boundary);
}

/* What stands at offset `at`, whose line began there; *next: behind the line. */
static enum mark mark_at(struct span body, struct span boundary, size_t at, size_t *next) {
  size_t len = 2 + boundary.len;
  if (body.len - at < len || memcmp(body.ptr + at, "--", 2) != 0) return NOTHING;
  if (memcmp(body.ptr + at + 2, boundary.ptr, boundary.len) != 0) return NOTHING;
  at += len;
  *next = at;
  if (body.len - at >= 2 && memcmp(body.ptr + at, "--", 2) == 0) return LAST;
  while (at < body.len && (body.ptr[at] == ' ' || body.ptr[at] == '\t'))
    at++;
  if (body.len - at < 2 || memcmp(body.ptr + at, "\r\n", 2) != 0) return NOTHING;
  *next = at + 2;
  return DELIMITER;
}

/* Whether the form has this part, by the slow reader. */
static bool has_part(struct span body, struct span boundary, struct span value) {
  size_t from = SIZE_MAX, next = 0;
  for (size_t at = 0; at < body.len; at++) {
    bool is_line = at == 0 || (at >= 2 && memcmp(body.ptr + at - 2, "\r\n", 2) == 0);
    /* A line's end belongs to one delimiter. */
    if (!is_line || (at && at < next + 2)) continue;
    size_t behind = next;
    enum mark mark = mark_at(body, boundary, at, &behind);
    if (mark == NOTHING) continue;
    size_t end = at >= 2 ? at - 2 : 0;
    if (from != SIZE_MAX && value.ptr >= body.ptr + from && value.ptr + value.len == body.ptr + end)
      return true;
    if (mark == LAST) return false;
    from = next = behind;
  }
  return false;
}

static void check_written(struct span value, struct span boundary) {
  struct buf out;
  struct multipart_field found[N];
  buf_init(&out, value.len + 4 * boundary.len + 512);
  buf_put_str(&out, "--");
  buf_put_span(&out, boundary);
  buf_put_str(&out, "\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\n");
  buf_put_span(&out, value);
  buf_put_str(&out, "\r\n--");
  buf_put_span(&out, boundary);
  buf_put_str(&out, "--\r\n");
  find(found, buf_span(&out), boundary);
  REQUIRE(found[MODEL].count == 1 && span_eq(found[MODEL].value, value));
  buf_release(&out);
}

static bool is_boundary(struct span s) {
  if (!s.len || s.len > MULTIPART_BOUNDARY_MAX) return false;
  for (size_t i = 0; i < s.len; i++)
    if (s.ptr[i] < ' ' || s.ptr[i] == 0x7f) return false;
  return s.ptr[s.len - 1] != ' ';
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1 || size - 1 < data[0]) return 0;
  struct span boundary = span_make((const char *)data + 1, data[0]);
  struct span body = span_make((const char *)data + 1 + data[0], size - 1 - data[0]);
  struct span read = multipart_boundary(body); /* a Content-Type, for once */
  REQUIRE(!read.len || (read.ptr > body.ptr && read.ptr + read.len <= body.ptr + body.len));
  if (!is_boundary(boundary)) return 0;
  struct multipart_field found[N];
  find(found, body, boundary);
  for (int i = 0; i < N; i++) {
    REQUIRE((found[i].count == 0) == (found[i].value.ptr == NULL));
    if (found[i].count) REQUIRE(has_part(body, boundary, found[i].value));
  }
  bool is_plain = !span_find(body, boundary) && !span_find(body, SPAN("\r"));
  if (is_plain) check_written(body, boundary);
  return 0;
}
