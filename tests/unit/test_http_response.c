#include "wire/http_response.h"

#include "base/redact.h"

#include "check.h"

#include <stdlib.h>

static struct http_response response;

/* In memory that ends where the head ends, so that the sanitizer sees a read behind it. */
static const char *parse(const char *text, size_t len, bool from_curl) {
  char *bytes = malloc(len ? len : 1);
  CHECK(bytes != NULL);
  memcpy(bytes, text, len);
  const char *message = http_response_parse(&response, bytes, len, from_curl);
  free(bytes);
  return message ? message : "";
}

static void accept(const char *head) {
  const char *message = parse(head, strlen(head), true);
  CHECK_STR(message, strlen(message), "");
}

#define OK "HTTP/1.1 200 OK\r\n"

static const struct {
  const char *text;
  size_t len;
} REFUSED[] = {
#define REFUSE(text)                                                                                         \
  { text, sizeof text - 1 }
    /* the status line */
    REFUSE(""),
    REFUSE("\r\n\r\n"),
    REFUSE("\r\n" OK "\r\n"),
    REFUSE("HTTP/1.1 200 OK\r\n"),
    REFUSE("200 OK\r\n\r\n"),
    REFUSE("HTTP/1.1\r\n\r\n"),
    REFUSE("HTTP/1.1 \r\n\r\n"),
    REFUSE("HTTP/1.1 20\r\n\r\n"),
    REFUSE("HTTP/1.1 20 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 2000 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 099 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 000 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 600 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 999 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 -20 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 +20 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 2x0 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 200OK\r\n\r\n"),
    REFUSE("HTTP/1.1 200\tOK\r\n\r\n"),
    REFUSE("HTTP/1.1  200 OK\r\n\r\n"),
    REFUSE("HTTP/1.1\t200 OK\r\n\r\n"),
    REFUSE(" HTTP/1.1 200 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 200 O\0K\r\n\r\n"),
    REFUSE("HTTP/1.1 200 O\x1bK\r\n\r\n"),
    REFUSE("HTTP/1.1 200 O\x7fK\r\n\r\n"),
    REFUSE("HTTP/1.1 200 O\rK\r\n\r\n"),
    REFUSE("HTTP/1.1 200 O\nK\r\n\r\n"),
    REFUSE("HTTP/1.1 200 OK\n\r\n\r\n"),
    REFUSE("http/1.1 200 OK\r\n\r\n"),
    REFUSE("HTTP/0.9 200 OK\r\n\r\n"),
    REFUSE("HTTP/1.2 200 OK\r\n\r\n"),
    REFUSE("HTTP/2.0 200 OK\r\n\r\n"),
    REFUSE("HTTP/3 200\r\n\r\n"),
    REFUSE("HTTP/1.10 200 OK\r\n\r\n"),
    REFUSE("HTTP/11 200 OK\r\n\r\n"),
    REFUSE("ICY 200 OK\r\n\r\n"),
    REFUSE("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    /* line ends, folds, names, values */
    REFUSE(OK "\n"),
    REFUSE(OK "\r"),
    REFUSE(OK "\r\n\r\n"),
    REFUSE(OK "\r\nX: y\r\n\r\n"),
    REFUSE(OK "\r\nx"),
    REFUSE("HTTP/1.1 200 OK\n\n"),
    REFUSE("HTTP/1.1 200 OK\r\r\n\r\n"),
    REFUSE(OK "X: y\n\r\n"),
    REFUSE(OK "X: y\n\r\n\r\n"),
    REFUSE(OK "X: y\r\r\n\r\n"),
    REFUSE(OK "X: a\rb\r\n\r\n"),
    REFUSE(OK "X: a\nb\r\n\r\n"),
    REFUSE(OK "X: a\nSet-Cookie: b\r\n\r\n"),
    REFUSE(OK "X: a\r\n b\r\n\r\n"),
    REFUSE(OK "X: a\r\n\tb\r\n\r\n"),
    REFUSE(OK " X: a\r\n\r\n"),
    REFUSE(OK "X : a\r\n\r\n"),
    REFUSE(OK "X\t: a\r\n\r\n"),
    REFUSE(OK "Content-Length : 5\r\n\r\n"),
    REFUSE(OK "X\r\n\r\n"),
    REFUSE(OK ": a\r\n\r\n"),
    REFUSE(OK "X Y: a\r\n\r\n"),
    REFUSE(OK "X(: a\r\n\r\n"),
    REFUSE(OK "X\0: a\r\n\r\n"),
    REFUSE(OK "\xc3\xa9: a\r\n\r\n"),
    REFUSE(OK "X: \0\r\n\r\n"),
    REFUSE(OK "X: a\0b\r\n\r\n"),
    REFUSE(OK "X: \x01\r\n\r\n"),
    REFUSE(OK "X: \x7f\r\n\r\n"),
    REFUSE(OK "X: \x1b[2J\r\n\r\n"),
    /* lengths */
    REFUSE(OK "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    REFUSE(OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n"),
    REFUSE(OK "Content-Length: 5, 5\r\n\r\n"),
    REFUSE(OK "Content-Length: 1x\r\n\r\n"),
    REFUSE(OK "Content-Length: x\r\n\r\n"),
    REFUSE(OK "Content-Length:\r\n\r\n"),
    REFUSE(OK "Content-Length: -1\r\n\r\n"),
    REFUSE(OK "Content-Length: +1\r\n\r\n"),
    REFUSE(OK "Content-Length: 1 1\r\n\r\n"),
    REFUSE(OK "Content-Length: 0x10\r\n\r\n"),
    REFUSE(OK "Content-Length: 1.0\r\n\r\n"),
    REFUSE(OK "Content-Length: 9999999999999999999\r\n\r\n"),
    REFUSE(OK "Content-Length: 18446744073709551617\r\n\r\n"),
    REFUSE(OK "Content-Length: 99999999999999999999999999\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: gzip\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: identity\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding:\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: xchunked\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: chunked;q=1\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    REFUSE(OK "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    REFUSE(OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE("HTTP/1.1 100 Continue\r\nContent-Length: 0\r\n\r\n"),
    REFUSE("HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"),
    REFUSE("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"),
    /* HTTP/2 as libcurl renders it */
    REFUSE("HTTP/2 200 \r\ntransfer-encoding: chunked\r\n\r\n"),
    REFUSE("HTTP/2 200 \r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n"),
    REFUSE("HTTP/2 20 \r\n\r\n"),
    REFUSE("HTTP/2  200 \r\n\r\n"),
    REFUSE("HTTP/2\r\n\r\n"),
    REFUSE("HTTP/2 200 \r\n:status: 200\r\n\r\n"),
#undef REFUSE
};

static void malformed_heads_are_refused_with_a_reason(void) {
  for (size_t i = 0; i < ARRAY_LEN(REFUSED); i++) {
    const char *message = parse(REFUSED[i].text, REFUSED[i].len, true);
    if (!*message) printf("# row %zu: %s\n", i, REFUSED[i].text);
    CHECK(*message);
  }
}

static void no_proper_part_of_a_head_is_a_head(void) {
  static const char HEAD[] = OK "Content-Length: 5\r\nX: y\r\n\r\n";
  for (size_t n = 0; n < sizeof HEAD - 1; n++)
    CHECK(*parse(HEAD, n, false));
}

static void parts_are_found(void) {
  accept("HTTP/1.1 429 Too Many\tRequests \xc3\xa9\r\nRetry-After: 5 \r\nX-Empty:\r\ncontent-length: "
         "123\r\n\r\n");
  CHECK_INT(response.status, 429);
  CHECK_INT(response.minor, 1);
  CHECK(!response.is_http2);
  CHECK_INT(response.framing, HTTP_LENGTH);
  CHECK_INT(response.content_length, 123);
  CHECK(response.keep_alive);
  CHECK_INT(response.n_fields, 3);
  CHECK_INT(response.fields[0].id, HTTP_FIELD_RETRY_AFTER);
  CHECK_INT(response.fields[0].value.len, 1);
  CHECK_INT(response.fields[1].value.len, 0);
  CHECK_INT(response.fields[2].id, HTTP_FIELD_CONTENT_LENGTH);
}

static void reason_may_be_empty_or_missing(void) {
  accept("HTTP/1.1 200 \r\n\r\n");
  accept("HTTP/1.1 200\r\n\r\n");
  accept("HTTP/1.1 599  two  blanks \r\n\r\n");
}

static enum http_framing framing_of(const char *head) {
  accept(head);
  return response.framing;
}

static void framing_follows_status_and_fields(void) {
  CHECK_INT(framing_of(OK "\r\n"), HTTP_UNTIL_CLOSE);
  CHECK_INT(framing_of("HTTP/1.0 200 OK\r\n\r\n"), HTTP_UNTIL_CLOSE);
  CHECK_INT(framing_of(OK "Content-Length: 0\r\n\r\n"), HTTP_LENGTH);
  CHECK_INT(framing_of("HTTP/1.0 200 OK\r\nContent-Length: 7\r\n\r\n"), HTTP_LENGTH);
  CHECK_INT(framing_of(OK "Transfer-Encoding: CHUNKED\r\n\r\n"), HTTP_CHUNKED);
  CHECK_INT(framing_of("HTTP/1.1 100 Continue\r\n\r\n"), HTTP_NO_BODY);
  CHECK_INT(framing_of("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n"), HTTP_NO_BODY);
  CHECK_INT(framing_of("HTTP/1.1 204 No Content\r\n\r\n"), HTTP_NO_BODY);
  CHECK_INT(framing_of("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), HTTP_NO_BODY);
  CHECK_INT(response.content_length, 0);
  CHECK_INT(framing_of("HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"), HTTP_NO_BODY);
}

static bool keeps(const char *head) {
  accept(head);
  return response.keep_alive;
}

static void persistence_follows_version_connection_and_framing(void) {
  CHECK(keeps(OK "Content-Length: 1\r\n\r\n"));
  CHECK(keeps(OK "Transfer-Encoding: chunked\r\n\r\n"));
  CHECK(keeps("HTTP/1.1 204 No Content\r\n\r\n"));
  CHECK(!keeps(OK "\r\n"));
  CHECK(!keeps(OK "Content-Length: 1\r\nConnection: x, Close\r\n\r\n"));
  CHECK(!keeps("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"));
  CHECK(keeps("HTTP/1.0 200 OK\r\nContent-Length: 1\r\nConnection: Keep-Alive\r\n\r\n"));
}

static void http2_is_read_only_as_curl_renders_it(void) {
  static const char HEAD[] = "HTTP/2 503 \r\ncontent-length: 3\r\nx: y\r\n\r\n";
  accept(HEAD);
  CHECK(response.is_http2);
  CHECK_INT(response.status, 503);
  CHECK_INT(response.minor, 1);
  CHECK_INT(response.framing, HTTP_LENGTH);
  CHECK_INT(response.content_length, 3);
  CHECK(response.keep_alive);
  CHECK(*parse(HEAD, sizeof HEAD - 1, false));
  accept("HTTP/2 200\r\n\r\n");
  CHECK_INT(response.framing, HTTP_UNTIL_CLOSE);
  CHECK(response.keep_alive);
}

static void head_of_64_kib_and_100_fields_passes_and_more_does_not(void) {
  static char head[HTTP_RESPONSE_HEAD_MAX + 16];
  size_t n = strlen(OK);
  memcpy(head, OK "X:", n + 2);
  memset(head + n + 2, 'y', sizeof head - n - 2);
  memcpy(head + HTTP_RESPONSE_HEAD_MAX - 4, "\r\n\r\n", 4);
  CHECK(!*parse(head, HTTP_RESPONSE_HEAD_MAX, false));
  memcpy(head + HTTP_RESPONSE_HEAD_MAX - 4, "yy\r\n\r\n", 6);
  CHECK(*parse(head, HTTP_RESPONSE_HEAD_MAX + 2, false));
  for (int i = 0; i < HTTP_FIELDS_MAX; i++, n += 4)
    memcpy(head + n, "X:\r\n", 4);
  memcpy(head + n, "\r\nX:\r\n\r\n", 8);
  CHECK(!*parse(head, n + 2, false));
  CHECK_INT(response.n_fields, HTTP_FIELDS_MAX);
  memcpy(head + n, "X:\r\n\r\n", 6);
  CHECK(*parse(head, n + 6, false));
}

static struct buf out;

static void check_out_is(const char *expected) {
  CHECK_STR(out.data, out.len, expected);
  buf_release(&out);
}

static void heads_are_written(void) {
  buf_init(&out, 4096);
  http_put_status(&out, 503);
  http_put_field(&out, "Retry-After", SPAN("5"));
  http_put_field(&out, "X-Empty", SPAN_NONE);
  http_put_field_u64(&out, "Content-Length", 0);
  http_put_field_u64(&out, "X-Big", UINT64_MAX);
  http_put_status(&out, 299);
  check_out_is("HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nX-Empty: \r\nContent-Length: 0\r\n"
               "X-Big: 18446744073709551615\r\nHTTP/1.1 299 \r\n");
}

static void written_heads_are_read_again(void) {
  for (int status = 100; status < 600; status++) {
    if (status == 101) continue;
    buf_init(&out, 4096);
    http_put_status(&out, status);
    http_put_field(&out, "Date", SPAN("x"));
    buf_put_str(&out, "\r\n");
    CHECK(!*parse(out.data, out.len, false));
    CHECK_INT(response.status, status);
    buf_release(&out);
  }
}

static void error_types_follow_the_status(void) {
  static const struct {
    int status;
    const char *type;
  } TYPES[] = {{400, "invalid_request_error"}, {401, "authentication_error"},  {402, "payment_error"},
               {403, "permission_error"},      {404, "not_found_error"},       {405, "invalid_request_error"},
               {429, "rate_limit_error"},      {431, "invalid_request_error"}, {500, "server_error"},
               {503, "server_error"}};
  for (size_t i = 0; i < ARRAY_LEN(TYPES); i++)
    CHECK_STR(http_error_type(TYPES[i].status), strlen(http_error_type(TYPES[i].status)), TYPES[i].type);
}

static void error_bodies_have_one_shape(void) {
  buf_init(&out, 4096);
  struct http_error e = {503, NULL, "no_available_provider", SPAN("none \"left\"\r\n"), SPAN("r1")};
  http_put_error_body(&out, &e);
  check_out_is("{\"error\":{\"message\":\"none \\\"left\\\"\\r\\n\",\"type\":\"server_error\",\"param\":null,"
               "\"code\":\"no_available_provider\"},\"request_id\":\"r1\"}");
  e = (struct http_error){400, "payment_error", NULL, SPAN_NONE, SPAN_NONE};
  http_put_error_body(&out, &e);
  check_out_is("{\"error\":{\"message\":\"\",\"type\":\"payment_error\",\"param\":null,\"code\":null},"
               "\"request_id\":null}");
}

static void secrets_never_stand_in_error_bodies(void) {
  redact_add(SPAN("ab\"c"));
  redact_add(SPAN("sk-0123456789"));
  buf_init(&out, 4096);
  struct http_error e = {502, NULL, "provider_error", SPAN("key ab\"cab\"cab\"c or sk-0123456789!"),
                         SPAN("r")};
  http_put_error_body(&out, &e);
  redact_forget_all();
  check_out_is("{\"error\":{\"message\":\"key [redacted][redacted][redacted] or [redacted]!\","
               "\"type\":\"server_error\",\"param\":null,\"code\":\"provider_error\"},\"request_id\":\"r\"}");
}

int main(void) {
  RUN(malformed_heads_are_refused_with_a_reason);
  RUN(no_proper_part_of_a_head_is_a_head);
  RUN(parts_are_found);
  RUN(reason_may_be_empty_or_missing);
  RUN(framing_follows_status_and_fields);
  RUN(persistence_follows_version_connection_and_framing);
  RUN(http2_is_read_only_as_curl_renders_it);
  RUN(head_of_64_kib_and_100_fields_passes_and_more_does_not);
  RUN(heads_are_written);
  RUN(written_heads_are_read_again);
  RUN(error_types_follow_the_status);
  RUN(error_bodies_have_one_shape);
  RUN(secrets_never_stand_in_error_bodies);
  return CHECK_END();
}
