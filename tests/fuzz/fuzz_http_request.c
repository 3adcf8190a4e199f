/*
 * Finds that: a head split in any way gets the verdict of the whole; what is parsed lies inside the input;
 * what is accepted is unambiguous when it is read back field by field.
 */
#include "wire/http_head.h"
#include "wire/http_request.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct span s, const char *bytes, size_t len) {
  REQUIRE(s.len == 0 || (s.ptr >= bytes && s.ptr + s.len <= bytes + len));
}

static void check_request(const struct http_request *r, const char *head, size_t len) {
  unsigned lengths = 0, codings = 0, hosts = 0;
  check_inside(r->method_text, head, len);
  check_inside(r->target, head, len);
  check_inside(r->query, head, len);
  check_inside(r->host, head, len);
  if (!span_eq(r->path, SPAN("/"))) check_inside(r->path, head, len);
  REQUIRE(r->path.len && (r->path.ptr[0] == '/' || r->path.ptr[0] == '*'));
  REQUIRE(r->n_fields <= HTTP_FIELDS_MAX && r->minor <= 1);
  for (unsigned i = 0; i < r->n_fields; i++) {
    const struct http_field *f = &r->fields[i];
    check_inside(f->name, head, len);
    check_inside(f->value, head, len);
    REQUIRE(http_is_token(f->name) && http_is_field_value(f->value));
    REQUIRE(f->id == http_field_id(f->name) && span_eq(f->value, span_trim(f->value)));
    lengths += span_eq_nocase(f->name, SPAN("content-length"));
    codings += span_eq_nocase(f->name, SPAN("transfer-encoding"));
    hosts += span_eq_nocase(f->name, SPAN("host"));
  }
  REQUIRE(lengths + codings <= 1 && hosts <= 1 && (hosts == 1 || r->minor == 0));
  REQUIRE(r->framing == (codings ? HTTP_CHUNKED : lengths ? HTTP_LENGTH : HTTP_NO_BODY));
  REQUIRE(r->framing == HTTP_LENGTH || r->content_length == 0);
}

/* Also where the program does not ask it: what is accepted is read in the same way by llhttp. */
static void check_against_llhttp(const struct http_request *r, const char *head, size_t len) {
  const char *lines =
      (const char *)memchr(r->method_text.ptr, '\n', (size_t)(head + len - r->method_text.ptr)) + 1;
  struct http_reading reading = {.method = r->method_text,
                                 .minor = r->minor,
                                 .n_fields = r->n_fields,
                                 .has_length = r->framing == HTTP_LENGTH,
                                 .is_chunked = r->framing == HTTP_CHUNKED,
                                 .length = r->content_length};
  struct span start = span_make(r->method_text.ptr, (size_t)(lines - r->method_text.ptr));
  REQUIRE(!http_read_again(&reading, start, span_make(lines, (size_t)(head + len - lines))));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  size_t step = (size_t)data[0] + 1, len = size - 1, head_len, split_len = 0;
  char *bytes = x_malloc(len + 1);
  memcpy(bytes, data + 1, len);

  struct http_head_scan whole = {0}, split = {0};
  const struct http_fault *fault = http_request_find_end(&whole, &head_len, bytes, len), *split_fault = NULL;
  for (size_t n = 0; !split_fault && !split_len;) {
    split_fault = http_request_find_end(&split, &split_len, bytes, n);
    if (n == len) break;
    n = len - n < step ? len : n + step;
  }
  REQUIRE(split_fault == fault && split_len == head_len);

  static struct http_request request;
  if (!fault && head_len && !http_request_parse(&request, bytes, head_len))
    check_request(&request, bytes, head_len);
  /* In one go it is the same verdict. */
  static struct http_request at_once;
  struct http_head_scan fresh = {0};
  size_t read_len = 0;
  const struct http_fault *read_fault = http_request_read(&at_once, &fresh, &read_len, bytes, len);
  bool is_read = !read_fault && read_len;
  if (!fault && head_len) fault = http_request_parse(&request, bytes, head_len);
  REQUIRE(read_fault == fault && (fault || read_len == head_len));
  if (is_read) {
    check_request(&at_once, bytes, read_len);
    check_against_llhttp(&at_once, bytes, read_len);
  }
  fault = http_request_find_end(&(struct http_head_scan){0}, &head_len, bytes, len);
  /* Given anything at all, what parses must be a complete head. */
  if (!http_request_parse(&request, bytes, len)) {
    check_request(&request, bytes, len);
    REQUIRE(!fault && head_len == len);
  }
  free(bytes);
  return 0;
}
