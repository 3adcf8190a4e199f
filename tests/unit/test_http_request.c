#include "wire/http_request.h"

#include "check.h"

#include <stdlib.h>

/* What the edge says about bytes: the fault's status and code, 0 and "" when it takes them, -1 when it waits
 * for more. */
struct verdict {
  int status;
  const char *code;
};

static struct http_request request;

static struct verdict verdict_of(const struct http_fault *fault) {
  return fault ? (struct verdict){fault->status, fault->code} : (struct verdict){0, ""};
}

/* A copy that ends where the bytes end, so that the sanitizer sees a read behind them. */
static struct verdict judge(const char *text, size_t len) {
  char *bytes = malloc(len ? len : 1);
  CHECK(bytes != NULL);
  memcpy(bytes, text, len);
  struct http_head_scan whole = {0}, split = {0};
  size_t head_len = 0, split_len = 0;
  const struct http_fault *fault = http_request_find_end(&whole, &head_len, bytes, len), *split_fault = NULL;
  for (size_t n = 0; n <= len && !split_fault && !split_len; n++)
    split_fault = http_request_find_end(&split, &split_len, bytes, n);
  struct verdict v = verdict_of(fault);
  bool is_same = split_fault == fault && split_len == head_len;
  if (!fault && head_len == 0)
    v = (struct verdict){-1, ""};
  else if (!fault)
    v = verdict_of(http_request_parse(&request, bytes, head_len));
  free(bytes);
  CHECK(is_same);
  return v;
}

#define ACCEPT(text)                                                                                         \
  { 0, "", text, sizeof text - 1 }
#define WAIT(text)                                                                                           \
  { -1, "", text, sizeof text - 1 }
#define REFUSE(status, code, text)                                                                           \
  { status, code, text, sizeof text - 1 }
#define GET  "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
#define END  "\r\n"

/* clang-format off */
static const struct {
  int status;
  const char *code, *text;
  size_t len;
} HEADS[] = {
    /* plain requests */
    ACCEPT(GET END),
    ACCEPT("GET / HTTP/1.0\r\n\r\n"),
    ACCEPT("GET / HTTP/1.0\r\nHost: a\r\n\r\n"),
    ACCEPT("HEAD /health HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    ACCEPT("PUT /a/b?c=d HTTP/1.1\r\nHost: [::1]:3000\r\n\r\n"),
    ACCEPT("DELETE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("PATCH / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("PROPFIND / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("GET http://a/x?y HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("GET HTTPS://A:1/x HTTP/1.1\r\nHost: a:1\r\n\r\n"),
    ACCEPT("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("GET http://a HTTP/1.0\r\n\r\n"),
    ACCEPT("GET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("GET /%zz%00|{}\\^ HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("GET //x/../y HTTP/1.1\r\nHost: a\r\n\r\n"),
    ACCEPT("\r\n" GET END),
    ACCEPT("\r\n\r\n" GET END),
    ACCEPT("GET / HTTP/1.1\r\nhOST:a\r\n\r\n"),
    ACCEPT("GET / HTTP/1.1\r\nHost: \t a \t \r\n\r\n"),
    ACCEPT(GET "X-Empty:\r\n\r\n"),
    ACCEPT(GET "X-Blank: \t \r\n\r\n"),
    ACCEPT(GET "X: a\tb\r\n\r\n"),
    ACCEPT(GET "X: caf\xc3\xa9 \xff\r\n\r\n"),
    ACCEPT(GET "!#$%&'*+-.^_`|~09azAZ: 1\r\n\r\n"),
    ACCEPT(GET "Content_Length: 5\r\nContent-Length: 0\r\n\r\n"),
    ACCEPT(GET "Upgrade: websocket\r\nConnection: upgrade\r\n\r\n"),
    ACCEPT(GET "Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAA\r\n\r\n"),
    ACCEPT(GET "Connection: close, keep-alive, ,\r\n\r\n"),
    ACCEPT(GET "TE: trailers\r\nTrailer: X\r\n\r\n"),
    ACCEPT(POST "Content-Length: 0\r\n\r\n"),
    ACCEPT(POST "Content-Length: 000000000000000012\r\n\r\n"),
    ACCEPT(POST "Content-Length: 999999999999999999\r\n\r\n"),
    ACCEPT(POST "Content-Length:7 \r\n\r\n"),
    ACCEPT(POST "Transfer-Encoding: chunked\r\n\r\n"),
    ACCEPT(POST "tRANSFER-eNCODING:CHUNKED\r\n\r\n"),
    ACCEPT(POST "Expect: 100-Continue\r\nContent-Length: 5\r\n\r\n"),
    ACCEPT(POST END "POST /next HTTP/1.1\nbad"),

    /* not there yet */
    WAIT(""), WAIT("G"), WAIT("\r"), WAIT("\r\n\r\n"), WAIT("GET"), WAIT("GET / HTTP/1.1"), WAIT(GET), WAIT(GET "\r"),
    WAIT(GET "X-Half"), WAIT("PRI * HTTP/2.0"),

    /* other protocols */
    REFUSE(505, "unsupported_version", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    REFUSE(400, "bad_request_line", "\x16\x03\x01"),
    REFUSE(400, "bad_request_line", "\x80"),
    REFUSE(400, "bad_request_line", "\0"),
    REFUSE(400, "bad_request_line", "SSH-2.0-OpenSSH_9.2\r\n"),
    REFUSE(400, "bad_request_line", "PROXY\tTCP4"),
    REFUSE(400, "bad_request_line", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\n"),
    REFUSE(400, "bad_request_line", "{\"model\":"),
    REFUSE(400, "bad_request_line", "HTTP/1.1 200 OK\r\n"),

    /* the request line */
    REFUSE(400, "bad_request_line", "GET /\r\n"),
    REFUSE(400, "bad_request_line", "GET / \r\n"),
    REFUSE(400, "bad_request_line", "GET\r\n"),
    REFUSE(400, "bad_request_line", " GET / HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "\tGET / HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET  / HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET /  HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/1.1 \r\n"),
    REFUSE(400, "bad_request_line", "GET / a HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET\t/ HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET /\tHTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET /\x0bHTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/1.1\t\r\n"),
    REFUSE(400, "bad_request_line", "GET / http/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / Http/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/1.10\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/01.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/1.\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/1,1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/-1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP 1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTPS/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET / RTSP/1.0\r\n"),
    REFUSE(400, "bad_request_line", "GET / ICE/1.0\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP/\r\n"),
    REFUSE(400, "bad_request_line", "GET / HTTP\r\n"),
    REFUSE(505, "unsupported_version", "GET / HTTP/0.9\r\n"),
    REFUSE(505, "unsupported_version", "GET / HTTP/1.2\r\n"),
    REFUSE(505, "unsupported_version", "GET / HTTP/2.0\r\n"),
    REFUSE(505, "unsupported_version", "GET / HTTP/3.0\r\n"),
    REFUSE(505, "unsupported_version", "GET / HTTP/2\r\n"),
    REFUSE(505, "unsupported_version", "GET / HTTP/9.9\r\n"),
    REFUSE(400, "bad_request_line", "G\x01T"),
    REFUSE(400, "bad_request_line", "GET/1.1\nHost: a\n\n"),
    REFUSE(400, "bad_request_line", "G(T / HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GET: / HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "GE\xc3\x89T / HTTP/1.1\r\n"),
    REFUSE(400, "bad_request_line", "\r\n\r\n\r\n"),
    REFUSE(400, "bad_request_line", "\r\n G"),
    REFUSE(501, "unknown_method", "get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(501, "unknown_method", "Get / HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(501, "unknown_method", "GETX / HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(501, "unknown_method", "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(501, "unknown_method", "DESCRIBE / HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(400, "bad_request", "PRI / HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(501, "unknown_method", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
    REFUSE(405, "method_not_allowed", "CONNECT a:443 HTTP/1.1\r\n"),
    REFUSE(405, "method_not_allowed", "CONNECT / HTTP/1.1\r\n"),
    REFUSE(405, "method_not_allowed", "TRACE / HTTP/1.1\r\n"),

    /* the target */
    REFUSE(400, "bad_target", "GET * HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "OPTIONS ** HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET a HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET a:80 HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET ?q HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET ftp://a/ HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET file:///etc/passwd HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http:/a HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http:// HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http:///x HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http://u@a/ HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http://u:p@a/ HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http://a:99999/ HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET http://a\\b/ HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET /# HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET /a#b HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET /\0"),
    REFUSE(400, "bad_target", "GET /\x7f"),
    REFUSE(400, "bad_target", "GET /\x80"),
    REFUSE(400, "bad_target", "GET /caf\xc3\xa9 HTTP/1.1\r\n"),
    REFUSE(400, "bad_target", "GET /\x1b[2J HTTP/1.1\r\n"),

    /* line ends */
    REFUSE(400, "bad_line_end", "\n"),
    REFUSE(400, "bad_line_end", "\nGET / HTTP/1.1\r\n"),
    REFUSE(400, "bad_line_end", "\rGET / HTTP/1.1\r\n"),
    REFUSE(400, "bad_line_end", "GET / HTTP/1.1\n"),
    REFUSE(400, "bad_line_end", "GET / HTTP/1.1\nHost: a\n\n"),
    REFUSE(400, "bad_line_end", "GET / HTTP/1.1\r\r\n"),
    REFUSE(400, "bad_line_end", "GET / HTTP/1.1\rHost: a\r\r"),
    REFUSE(400, "bad_line_end", "GET /\rx HTTP/1.1\r\n"),
    REFUSE(400, "bad_line_end", "GET /\nx HTTP/1.1\r\n"),
    REFUSE(400, "bad_line_end", "GET\n"),
    REFUSE(400, "bad_line_end", GET "\n"),
    REFUSE(400, "bad_line_end", GET "X: 1\n\r\n"),
    REFUSE(400, "bad_line_end", GET "X: 1\r\r\n"),
    REFUSE(400, "bad_line_end", GET "X: a\rb\r\n"),
    REFUSE(400, "bad_line_end", GET "X: a\nContent-Length: 5\r\n"),
    REFUSE(400, "bad_line_end", GET "X: a\rTransfer-Encoding: chunked\r\n"),
    REFUSE(400, "bad_line_end", GET "\rX"),

    /* field lines */
    REFUSE(400, "folded_field", GET " folded\r\n\r\n"),
    REFUSE(400, "folded_field", GET "\tfolded\r\n\r\n"),
    REFUSE(400, "folded_field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n"),
    REFUSE(400, "folded_field", "GET / HTTP/1.1\r\nHost:\r\n a\r\n\r\n"),
    REFUSE(400, "folded_field", POST "Transfer-Encoding:\r\n chunked\r\n\r\n"),
    REFUSE(400, "folded_field", GET " \r\n"),
    REFUSE(400, "blank_before_colon", GET "X : 1\r\n\r\n"),
    REFUSE(400, "blank_before_colon", GET "X\t: 1\r\n\r\n"),
    REFUSE(400, "blank_before_colon", POST "Transfer-Encoding : chunked\r\n\r\n"),
    REFUSE(400, "blank_before_colon", POST "Content-Length : 5\r\n\r\n"),
    REFUSE(400, "blank_before_colon", GET "X Y: 1\r\n\r\n"),
    REFUSE(400, "missing_colon", GET "X\r\n\r\n"),
    REFUSE(400, "missing_colon", GET "X 1\r\nY: 2\r\n\r\n"),
    REFUSE(400, "missing_colon", GET "GET / HTTP/1.1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET ": 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET ":\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "X\0: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "X\x0b: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "X\x7f: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "\xc3\xa9: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "X(: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "\"X\": 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "X/Y: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "X@Y: 1\r\n\r\n"),
    REFUSE(400, "bad_field_name", GET "{X}: 1\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: \0\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: a\0b\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: a long value with one control byte\x01 in it\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: \x7f\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: \x1b[31m\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: a\x0b" "b\r\n\r\n"),
    REFUSE(400, "bad_field_value", GET "X: a\x0c" "b\r\n\r\n"),
    REFUSE(400, "bad_field_value", POST "Content-Length:\x0b" "5\r\n\r\n"),
    REFUSE(400, "bad_field_value", POST "Transfer-Encoding: \x0b" "chunked\r\n\r\n"),

    /* Host */
    REFUSE(400, "missing_host", "GET / HTTP/1.1\r\n\r\n"),
    REFUSE(400, "missing_host", "GET http://a/ HTTP/1.1\r\n\r\n"),
    REFUSE(400, "missing_host", "GET / HTTP/1.1\r\nX-Host: a\r\n\r\n"),
    REFUSE(400, "repeated_host", GET "Host: b\r\n\r\n"),
    REFUSE(400, "repeated_host", GET "host: a\r\n\r\n"),
    REFUSE(400, "repeated_host", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n"),
    REFUSE(400, "repeated_host", "GET / HTTP/1.1\r\nHost:\r\nHost: a\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: \r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.0\r\nHost: \r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a:b\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: a:65536\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"),
    REFUSE(400, "bad_host", "GET / HTTP/1.1\r\nHost: caf\xc3\xa9\r\n\r\n"),
    REFUSE(400, "host_mismatch", "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(400, "host_mismatch", "GET http://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n"),
    REFUSE(400, "host_mismatch", "GET http://a/ HTTP/1.1\r\nHost: a:80\r\n\r\n"),
    REFUSE(400, "host_mismatch", "GET http://b HTTP/1.0\r\nHost: a\r\n\r\n"),

    /* how long the body is */
    REFUSE(400, "bad_content_length", POST "Content-Length:\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: \r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: -1\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: +5\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 5, 5\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 5,\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 5 5\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 0x5\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 1e3\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 5.0\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: five\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 1_000\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: \xd9\xa5\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 1000000000000000000\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 0000000000000000005\r\n\r\n"),
    REFUSE(400, "bad_content_length", POST "Content-Length: 18446744073709551617\r\n\r\n"),
    REFUSE(400, "repeated_content_length", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\n"),
    REFUSE(400, "repeated_content_length", POST "Content-Length: 5\r\ncontent-length: 6\r\n\r\n"),
    REFUSE(400, "repeated_content_length", POST "Content-Length:\r\nContent-Length: 6\r\n\r\n"),
    REFUSE(400, "conflicting_length", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n"),
    REFUSE(400, "conflicting_length", POST "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE(400, "conflicting_length", POST "Content-Length: 5\r\nTransfer-Encoding: identity\r\n\r\n"),
    REFUSE(400, "conflicting_length", POST "Content-Length: 5\r\nTransfer-Encoding:\r\n\r\n"),
    REFUSE(400, "repeated_transfer_encoding", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE(400, "repeated_transfer_encoding", POST "Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding:\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: ,chunked\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: chunked,\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: chunked, chunked\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: gzip, chunked\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: chunked, gzip\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: identity, chunked\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: chunked;q=1\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: \"chunked\"\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: chunked x\r\n\r\n"),
    REFUSE(400, "bad_transfer_encoding", POST "Transfer-Encoding: chunked\xff\r\n\r\n"),
    REFUSE(501, "unknown_transfer_coding", POST "Transfer-Encoding: gzip\r\n\r\n"),
    REFUSE(501, "unknown_transfer_coding", POST "Transfer-Encoding: identity\r\n\r\n"),
    REFUSE(501, "unknown_transfer_coding", POST "Transfer-Encoding: xchunked\r\n\r\n"),
    REFUSE(501, "unknown_transfer_coding", POST "Transfer-Encoding: chunke\r\n\r\n"),
    REFUSE(400, "transfer_encoding_in_http_1_0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),

    /* Expect */
    REFUSE(417, "unknown_expectation", POST "Expect: 200-ok\r\n\r\n"),
    REFUSE(417, "unknown_expectation", POST "Expect:\r\n\r\n"),
    REFUSE(417, "unknown_expectation", POST "Expect: 100-continue, x\r\n\r\n"),
    REFUSE(417, "unknown_expectation", POST "Expect: 100-continue\r\nExpect: x\r\n\r\n"),
};
/* clang-format on */

static void each_head_has_its_verdict_in_one_piece_and_byte_by_byte(void) {
  CHECK(ARRAY_LEN(HEADS) >= 120);
  for (size_t i = 0; i < ARRAY_LEN(HEADS); i++) {
    struct verdict v = judge(HEADS[i].text, HEADS[i].len);
    if (v.status != HEADS[i].status || strcmp(v.code, HEADS[i].code) != 0)
      printf("# row %zu: %.*s\n", i, (int)HEADS[i].len, HEADS[i].text);
    CHECK_STR(v.code, strlen(v.code), HEADS[i].code);
    CHECK_INT(v.status, HEADS[i].status);
  }
}

static void parse(const char *head) {
  const struct http_fault *fault = http_request_parse(&request, head, strlen(head));
  CHECK_STR(fault ? fault->code : "", strlen(fault ? fault->code : ""), "");
}

#define CHECK_SPAN(s, text) CHECK(span_eq((s), SPAN(text)))

static void parts_point_into_the_head(void) {
  parse(
      "\r\nPOST /v1/chat/completions?a=b?c HTTP/1.1\r\nHOST:  x:1 \r\nAccept:\r\nContent-Length: 42\r\n\r\n");
  CHECK_INT(request.method, HTTP_POST);
  CHECK_SPAN(request.method_text, "POST");
  CHECK_SPAN(request.target, "/v1/chat/completions?a=b?c");
  CHECK_SPAN(request.path, "/v1/chat/completions");
  CHECK_SPAN(request.query, "a=b?c");
  CHECK_SPAN(request.host, "x:1");
  CHECK_INT(request.minor, 1);
  CHECK_INT(request.framing, HTTP_LENGTH);
  CHECK_INT(request.content_length, 42);
  CHECK(request.keep_alive);
  CHECK_INT(request.n_fields, 3);
  CHECK_SPAN(request.fields[0].name, "HOST");
  CHECK_INT(request.fields[0].id, HTTP_FIELD_HOST);
  CHECK_SPAN(request.fields[1].value, "");
  CHECK_INT(request.fields[1].id, HTTP_FIELD_ACCEPT);
}

static void absolute_form_is_stripped_to_its_path(void) {
  parse("GET HTTP://A:80/x/y?z HTTP/1.1\r\nHost: a:80\r\n\r\n");
  CHECK_SPAN(request.target, "HTTP://A:80/x/y?z");
  CHECK_SPAN(request.path, "/x/y");
  CHECK_SPAN(request.query, "z");
  parse("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_SPAN(request.path, "/");
  CHECK_SPAN(request.query, "");
  parse("GET https://a?q=/ HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_SPAN(request.path, "/");
  CHECK_SPAN(request.query, "q=/");
  parse("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_SPAN(request.path, "*");
}

static void each_method_is_told_apart(void) {
  static const char *const NAMES[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"};
  for (int i = 0; i <= HTTP_OTHER; i++) {
    char head[64];
    (void)snprintf(head, sizeof head, "%s / HTTP/1.1\r\nHost: a\r\n\r\n", NAMES[i]);
    parse(head);
    CHECK_INT(request.method, i);
  }
}

static void framing_follows_the_fields(void) {
  parse(POST END);
  CHECK_INT(request.framing, HTTP_NO_BODY);
  CHECK_INT(request.content_length, 0);
  parse(POST "Content-Length: 0\r\n\r\n");
  CHECK_INT(request.framing, HTTP_LENGTH);
  parse(POST "Content-Length: 999999999999999999\r\n\r\n");
  CHECK(request.content_length == UINT64_C(999999999999999999));
  parse(POST "Transfer-Encoding: Chunked\r\n\r\n");
  CHECK_INT(request.framing, HTTP_CHUNKED);
  CHECK_INT(request.content_length, 0);
}

static bool keeps(const char *version, const char *connection) {
  char head[256];
  (void)snprintf(head, sizeof head, "GET / HTTP/%s\r\nHost: a\r\n%s\r\n", version, connection);
  parse(head);
  return request.keep_alive;
}

static void persistence_follows_version_and_connection(void) {
  CHECK(keeps("1.1", ""));
  CHECK(keeps("1.1", "Connection: keep-alive\r\n"));
  CHECK(keeps("1.1", "Connection: closed\r\n"));
  CHECK(!keeps("1.1", "Connection: Close\r\n"));
  CHECK(!keeps("1.1", "Connection: keep-alive\r\nConnection: x , close\r\n"));
  CHECK(!keeps("1.1", "Connection: close, keep-alive\r\n"));
  CHECK(!keeps("1.0", ""));
  CHECK(keeps("1.0", "Connection: x,Keep-Alive\r\n"));
  CHECK(!keeps("1.0", "Connection: keep-alive, close\r\n"));
  CHECK(!keeps("1.0", "Keep-Alive: timeout=5\r\n"));
}

static void continue_is_expected_only_where_it_can_be_awaited(void) {
  parse(POST "Expect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  CHECK(request.expect_continue);
  parse(POST "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
  CHECK(request.expect_continue);
  parse(POST "Expect: 100-continue\r\nContent-Length: 0\r\n\r\n");
  CHECK(!request.expect_continue);
  parse(POST "Expect: 100-continue\r\n\r\n");
  CHECK(!request.expect_continue);
  parse("POST / HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n");
  CHECK(!request.expect_continue);
}

static char big[2 * HTTP_HEAD_MAX];

static size_t put(size_t at, const char *text) {
  memcpy(big + at, text, strlen(text));
  return at + strlen(text);
}

static size_t fill(size_t at, char c, size_t n) {
  memset(big + at, c, n);
  return at + n;
}

static void target_of_8_kib_passes_and_one_byte_more_is_414(void) {
  size_t n = fill(put(0, "GET /"), 'x', HTTP_TARGET_MAX - 1);
  CHECK_INT(judge(big, n).status, -1);
  size_t end = put(n, " HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_INT(judge(big, end).status, 0);
  CHECK_INT(request.path.len, HTTP_TARGET_MAX);
  n = fill(n, 'x', 1);
  CHECK_INT(judge(big, n).status, 414);
  end = put(n, " HTTP/1.1\r\nHost: a\r\n\r\n");
  CHECK_INT(http_request_parse(&request, big, end)->status, 414);
}

static void head_of_16_kib_passes_and_one_byte_more_is_431(void) {
  size_t n = put(0, GET "X: ");
  n = fill(n, 'x', HTTP_HEAD_MAX - n - 4);
  CHECK_INT(judge(big, n).status, -1);
  CHECK_INT(judge(big, put(n, "\r\n\r\n")).status, 0);
  n = fill(n, 'x', 1);
  CHECK_INT(judge(big, n).status, -1);
  CHECK_INT(judge(big, put(n, "\r\n\r")).status, 431);
  CHECK_INT(judge(big, put(n, "\r\n\r\n")).status, 431);
  CHECK_INT(http_request_parse(&request, big, put(n, "\r\n\r\n"))->status, 431);
}

static void hundred_fields_pass_and_one_more_is_431(void) {
  size_t n = put(0, GET);
  for (int i = 1; i < HTTP_FIELDS_MAX; i++)
    n = put(n, "X:\r\n");
  CHECK_INT(judge(big, put(n, "\r\n")).status, 0);
  CHECK_INT(request.n_fields, HTTP_FIELDS_MAX);
  CHECK_INT(judge(big, put(n, "X")).status, 431);
  CHECK_INT(http_request_parse(&request, big, put(n, "X:\r\n\r\n"))->status, 431);
}

static void each_part_of_a_head_alone_asks_for_more(void) {
  static const char HEAD[] = "\r\nPOST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
  for (size_t cut = 0; cut < sizeof HEAD - 1; cut++) {
    struct http_head_scan scan = {0};
    size_t head_len = 1;
    CHECK(http_request_find_end(&scan, &head_len, HEAD, cut) == NULL);
    CHECK_INT(head_len, 0);
    CHECK(http_request_find_end(&scan, &head_len, HEAD, sizeof HEAD - 1) == NULL);
    CHECK_INT(head_len, sizeof HEAD - 1);
  }
}

static void next_request_starts_behind_the_head(void) {
  static const char TWO[] = GET END "GET /second HTTP/1.1\r\nHost: b\r\n\r\n";
  struct http_head_scan scan = {0};
  size_t first, second;
  CHECK(http_request_find_end(&scan, &first, TWO, sizeof TWO - 1) == NULL);
  CHECK_INT(first, sizeof GET END - 1);
  scan = (struct http_head_scan){0};
  CHECK(http_request_find_end(&scan, &second, TWO + first, sizeof TWO - 1 - first) == NULL);
  CHECK(http_request_parse(&request, TWO + first, second) == NULL);
  CHECK_SPAN(request.path, "/second");
}

static void parse_refuses_what_is_no_complete_head(void) {
  static const char *const TEXTS[] = {
      "", "\r\n", "\r\n\r\n", GET, GET "\r", "GET / HTTP/1.1\r\n", GET END END, GET END "x"};
  for (size_t i = 0; i < ARRAY_LEN(TEXTS); i++)
    CHECK(http_request_parse(&request, TEXTS[i], strlen(TEXTS[i])) != NULL);
}

int main(void) {
  RUN(each_head_has_its_verdict_in_one_piece_and_byte_by_byte);
  RUN(parts_point_into_the_head);
  RUN(absolute_form_is_stripped_to_its_path);
  RUN(each_method_is_told_apart);
  RUN(framing_follows_the_fields);
  RUN(persistence_follows_version_and_connection);
  RUN(continue_is_expected_only_where_it_can_be_awaited);
  RUN(target_of_8_kib_passes_and_one_byte_more_is_414);
  RUN(head_of_16_kib_passes_and_one_byte_more_is_431);
  RUN(hundred_fields_pass_and_one_more_is_431);
  RUN(each_part_of_a_head_alone_asks_for_more);
  RUN(next_request_starts_behind_the_head);
  RUN(parse_refuses_what_is_no_complete_head);
  return CHECK_END();
}
