#include "wire/http_response.h"

#include "base/redact.h"
#include "wire/http_head.h"
#include "wire/json.h"

/* ---- reading ---- */

struct status_line {
  int status;
  unsigned minor;
  bool is_http2;
};

static bool parse_status_line(struct status_line *out, struct span line, bool from_curl) {
  size_t version = sizeof "HTTP/1.1" - 1;
  *out = (struct status_line){.minor = 1};
  if (span_starts(line, SPAN("HTTP/1.0 "))) {
    out->minor = 0;
  } else if (from_curl && span_starts(line, SPAN("HTTP/2 "))) {
    out->is_http2 = true;
    version = sizeof "HTTP/2" - 1;
  } else if (!span_starts(line, SPAN("HTTP/1.1 "))) {
    return false;
  }
  const char *code = line.ptr + version + 1, *end = line.ptr + line.len;
  uint64_t status;
  if (end - code < 3 || !span_to_u64(span_make(code, 3), 599, &status) || status < 100) return false;
  out->status = (int)status;
  const char *reason = code + 3;
  return reason == end || (*reason == ' ' && http_is_field_value(span_make(reason, (size_t)(end - reason))));
}

static bool is_bodyless(int status) {
  return status < 200 || status == 204 || status == 304;
}

static const char *check_framing(struct http_response *out, struct http_reading *reading) {
  const struct http_fault *fault = http_read_lengths(reading, out->fields);
  if (fault) return fault->message;
  if (out->is_http2 && reading->is_chunked) return "HTTP/2 has no Transfer-Encoding";
  if (out->status < 200 || out->status == 204) {
    if (reading->has_length) return "Content-Length in an answer that has no body";
    if (reading->is_chunked) return "Transfer-Encoding in an answer that has no body";
  }
  out->content_length = 0;
  if (is_bodyless(out->status)) {
    out->framing = HTTP_NO_BODY;
  } else if (reading->is_chunked) {
    out->framing = HTTP_CHUNKED;
  } else if (reading->has_length) {
    out->framing = HTTP_LENGTH;
    out->content_length = reading->length;
  } else {
    out->framing = HTTP_UNTIL_CLOSE;
  }
  return NULL;
}

const char *http_response_parse(struct http_response *out, const char *head, size_t head_len,
                                bool from_curl) {
  if (head_len > HTTP_RESPONSE_HEAD_MAX) return "the head is over 64 KiB";
  const char *end = head + head_len, *cr = head_len ? memchr(head, '\r', head_len) : NULL;
  if (!cr || end - cr < 4 || cr[1] != '\n' || end[-2] != '\r' || end[-1] != '\n')
    return HTTP_FAULT_LINE_END.message;

  struct status_line line;
  if (!parse_status_line(&line, span_make(head, (size_t)(cr - head)), from_curl))
    return "the status line is malformed";
  /* We never ask for another protocol, so the bytes behind this would be anybody's. */
  if (line.status == 101) return "101 Switching Protocols without an Upgrade";
  out->status = line.status;
  out->minor = line.minor;
  out->is_http2 = line.is_http2;

  struct http_split split;
  const struct http_fault *fault =
      http_split_fields(&split, out->fields, span_make(cr + 2, (size_t)(end - cr - 4)));
  out->n_fields = split.n;
  if (fault) return fault->message;
  struct http_reading reading = {
      .status = line.status, .minor = line.minor, .n_fields = split.n, .is_plain = split.is_plain};
  const char *message = check_framing(out, &reading);
  if (message) return message;
  if (!split.is_plain && (fault = http_check_connection(out->fields, out->n_fields))) return fault->message;
  out->keep_alive = line.is_http2 || (out->framing != HTTP_UNTIL_CLOSE &&
                                      http_is_persistent(out->minor, out->fields, out->n_fields));

  /* llhttp knows no HTTP/2; the same fields below an HTTP/1.1 status line say the same. */
  char stand_in[] = "HTTP/1.1 000\r\n";
  struct span start = span_make(head, (size_t)(cr + 2 - head));
  if (line.is_http2) {
    memcpy(stand_in + sizeof "HTTP/1.1", head + sizeof "HTTP/2", 3);
    start = span_make(stand_in, sizeof stand_in - 1);
  }
  fault = http_read_twice(&reading, start, span_make(cr + 2, (size_t)(end - cr - 2)));
  return fault ? fault->message : NULL;
}

/* ---- writing ---- */

void http_put_status(struct buf *out, int status) {
  REQUIRE(status >= 100 && status <= 599);
  char line[] = "HTTP/1.1 000 ";
  line[9] = (char)('0' + status / 100);
  line[10] = (char)('0' + status / 10 % 10);
  line[11] = (char)('0' + status % 10);
  buf_put(out, line, sizeof line - 1);
  buf_put_str(out, http_reason(status));
  buf_put(out, "\r\n", 2);
}

void http_put_line(struct buf *out, struct span name, struct span value) {
  size_t len = name.len + value.len + 4;
  if (UNLIKELY(len > out->cap - out->len)) buf_must_reserve_(out, len);
  char *at = out->data + out->len;
  memcpy(at, name.ptr, name.len);
  at += name.len;
  *at++ = ':';
  *at++ = ' ';
  if (value.len) memcpy(at, value.ptr, value.len);
  at += value.len;
  *at++ = '\r';
  *at = '\n';
  out->len += len;
}

void http_put_field_u64(struct buf *out, const char *name, uint64_t value) {
  char digits[20];
  size_t at = sizeof digits;
  do {
    digits[--at] = (char)('0' + value % 10);
  } while (value /= 10);
  http_put_field(out, name, span_make(digits + at, sizeof digits - at));
}

const char *http_error_type(int status) {
  switch (status) {
  case 401: return "authentication_error";
  case 402: return "payment_error";
  case 403: return "permission_error";
  case 404: return "not_found_error";
  case 429: return "rate_limit_error";
  default: return status >= 400 && status < 500 ? "invalid_request_error" : "server_error";
  }
}

/* The mask may be longer than the shortest secret it replaces. */
static size_t redacted_max(size_t len) {
  return len + (len / REDACT_MIN + 1) * sizeof "[redacted]";
}

static void put_redacted(struct json_writer *w, struct span message) {
  if (!redact_finds(message)) {
    json_string(w, message);
    return;
  }
  struct buf copy;
  buf_init(&copy, redacted_max(message.len));
  buf_put_span(&copy, message);
  (void)redact_apply(&copy);
  json_string(w, buf_span(&copy));
  if (copy.data) wipe(copy.data, copy.cap);
  buf_release(&copy);
}

void http_put_error_body(struct buf *out, const struct http_error *e) {
  struct json_writer w;
  json_begin(&w, out);
  json_open(&w, '{');
  json_key(&w, "error");
  json_open(&w, '{');
  json_key(&w, "message");
  put_redacted(&w, e->message);
  json_key(&w, "type");
  json_cstring(&w, e->type ? e->type : http_error_type(e->status));
  json_key(&w, "param");
  json_null(&w);
  json_key(&w, "code");
  json_cstring(&w, e->code);
  json_close(&w, '}');
  json_key(&w, "request_id");
  if (e->request_id.len)
    json_string(&w, e->request_id);
  else
    json_null(&w);
  json_close(&w, '}');
}
