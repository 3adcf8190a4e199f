/* Finds that whatever a provider sends as its head is refused, or is unambiguous and can be written again. */
#include "wire/http_head.h"
#include "wire/limits.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_response(const struct http_response *r, const char *head, size_t len) {
  unsigned lengths = 0, codings = 0;
  REQUIRE(r->status >= 100 && r->status <= 599 && r->minor <= 1 && r->n_fields <= HTTP_FIELDS_MAX);
  for (unsigned i = 0; i < r->n_fields; i++) {
    const struct http_field *f = &r->fields[i];
    REQUIRE(f->name.ptr >= head && f->value.ptr + f->value.len <= head + len);
    REQUIRE(http_is_token(f->name) && http_is_field_value(f->value));
    lengths += span_eq_nocase(f->name, SPAN("content-length"));
    codings += span_eq_nocase(f->name, SPAN("transfer-encoding"));
  }
  REQUIRE(lengths + codings <= 1);
  bool has_no_body = r->status < 200 || r->status == 204 || r->status == 304;
  enum http_framing expected = codings ? HTTP_CHUNKED : lengths ? HTTP_LENGTH : HTTP_UNTIL_CLOSE;
  REQUIRE(r->framing == (has_no_body ? HTTP_NO_BODY : expected));
  REQUIRE(r->framing == HTTP_LENGTH || r->content_length == 0);
}

/* Also where the program does not ask it: what is accepted is read in the same way by llhttp. */
static void check_against_llhttp(const struct http_response *r, const char *head, size_t len) {
  const char *lines = (const char *)memchr(head, '\n', len) + 1;
  unsigned has_length = 0;
  for (unsigned i = 0; i < r->n_fields; i++)
    has_length += r->fields[i].id == HTTP_FIELD_CONTENT_LENGTH;
  struct http_reading reading = {.status = r->status,
                                 .minor = r->minor,
                                 .n_fields = r->n_fields,
                                 .has_length = has_length,
                                 .is_chunked = r->framing == HTTP_CHUNKED,
                                 .length = r->content_length};
  if (r->framing != HTTP_LENGTH && !reading.is_chunked) return;
  REQUIRE(!http_read_again(&reading, span_make(head, (size_t)(lines - head)),
                           span_make(lines, (size_t)(head + len - lines))));
}

/* The same fields under a status line of ours must mean the same. */
static void check_round_trip(const struct http_response *r) {
  static struct http_response again;
  struct buf out;
  buf_init(&out, 2 * HTTP_RESPONSE_HEAD_MAX);
  http_put_status(&out, r->status);
  for (unsigned i = 0; i < r->n_fields; i++) {
    char name[HTTP_RESPONSE_HEAD_MAX + 1];
    memcpy(name, r->fields[i].name.ptr, r->fields[i].name.len);
    name[r->fields[i].name.len] = 0;
    http_put_field(&out, name, r->fields[i].value);
  }
  buf_put(&out, "\r\n", 2);
  const char *message = http_response_parse(&again, out.data, out.len, false);
  REQUIRE(!message || out.len > HTTP_RESPONSE_HEAD_MAX);
  if (!message) {
    REQUIRE(again.status == r->status && again.framing == r->framing && again.n_fields == r->n_fields);
    REQUIRE(again.content_length == r->content_length);
  }
  buf_release(&out);
}

static bool is_sane(const struct limit *l) {
  return (isnan(l->left) || (l->left >= 0 && l->left < 1e15)) &&
         (isnan(l->reset_ms) || (l->reset_ms >= 0 && l->reset_ms <= 86400000));
}

static void check_limits(const struct http_response *r) {
  struct limits l;
  limits_read(&l, r);
  REQUIRE(is_sane(&l.requests) && is_sane(&l.tokens));
  REQUIRE(l.retry_after_ms <= 86400000 && limits_wait_ms(&l) <= 86400000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  static struct http_response response;
  bool from_curl = data[0] & 1;
  size_t len = size - 1;
  char *bytes = x_malloc(len + 1);
  memcpy(bytes, data + 1, len);
  if (!http_response_parse(&response, bytes, len, from_curl)) {
    check_response(&response, bytes, len);
    if (!response.is_http2) check_against_llhttp(&response, bytes, len);
    check_round_trip(&response);
    check_limits(&response);
  }
  uint64_t ms;
  if (http_retry_after_ms(span_make(bytes, len), UINT64_C(1795400220000), &ms)) REQUIRE(ms <= 86400000);
  free(bytes);
  return 0;
}
