#include "wire/http_request.h"

#include "wire/http_head.h"

#define METHOD_MAX 32

const struct http_fault HTTP_FAULT_HEAD_TIMEOUT = {408, "head_timeout", "the request head took too long"};
const struct http_fault HTTP_FAULT_BODY_TIMEOUT = {408, "body_timeout", "the request body took too long"};
const struct http_fault HTTP_FAULT_BODY_TOO_LARGE = {413, "body_too_large", "the request body is too large"};
const struct http_fault HTTP_FAULT_BAD_CHUNK = {400, "bad_chunk", "the chunked request body is malformed"};

static const struct http_fault REQUEST_LINE = {
    400, "bad_request_line", "the request line is not \"METHOD target HTTP/1.1\" with single spaces"};
static const struct http_fault VERSION = {505, "unsupported_version",
                                          "only versions 1.0 and 1.1 of HTTP are spoken here"};
static const struct http_fault TARGET = {400, "bad_target", "the request target is malformed"};
static const struct http_fault TARGET_LONG = {414, "target_too_long", "the request target is over 8 KiB"};
static const struct http_fault METHOD = {405, "method_not_allowed", "CONNECT and TRACE are not allowed"};
static const struct http_fault HEAD_LONG = {431, "head_too_large", "the request head is over 16 KiB"};
static const struct http_fault HOST_MISSING = {400, "missing_host", "the request has no Host"};
static const struct http_fault HOST_TWICE = {400, "repeated_host", "there are two Host fields"};
static const struct http_fault HOST_BAD = {400, "bad_host", "Host is not a host with an optional port"};
static const struct http_fault HOST_OTHER = {400, "host_mismatch",
                                             "the request target and Host name different hosts"};
static const struct http_fault EXPECTATION = {417, "unknown_expectation",
                                              "the only expectation known here is 100-continue"};

/* ---- the request line ---- */

struct request_line {
  enum http_method method;
  struct span method_text, target, path, query;
  struct span authority; /* of an absolute-form target */
  unsigned minor;
};

static inline bool is_target_byte(char c) {
  return c > 0x20 && c < 0x7f && c != '#';
}

static const struct http_fault *parse_method(struct request_line *out) {
  static const struct {
    struct span name;
    enum http_method method;
  } METHODS[] = {
      {{"GET", 3}, HTTP_GET},         {{"HEAD", 4}, HTTP_HEAD},   {{"POST", 4}, HTTP_POST},
      {{"PUT", 3}, HTTP_PUT},         {{"PATCH", 5}, HTTP_PATCH}, {{"DELETE", 6}, HTTP_DELETE},
      {{"OPTIONS", 7}, HTTP_OPTIONS},
  };
  if (!http_is_token(out->method_text)) return &REQUEST_LINE;
  if (out->method_text.len > METHOD_MAX) return &HTTP_FAULT_UNKNOWN_METHOD;
  out->method = HTTP_OTHER;
  for (size_t i = 0; i < ARRAY_LEN(METHODS) && out->method == HTTP_OTHER; i++)
    if (span_eq(out->method_text, METHODS[i].name)) out->method = METHODS[i].method;
  return NULL;
}

static const struct http_fault *parse_version(struct request_line *out, struct span version) {
  if (span_eq(version, SPAN("HTTP/1.1")) || span_eq(version, SPAN("HTTP/1.0"))) {
    out->minor = (unsigned)(version.ptr[7] - '0');
    return NULL;
  }
  const char *p = version.ptr;
  bool is_http = span_starts(version, SPAN("HTTP/")) && version.len >= 6 && p[5] >= '0' && p[5] <= '9';
  bool is_short = version.len == 6, is_full = version.len == 8 && p[6] == '.' && p[7] >= '0' && p[7] <= '9';
  return is_http && (is_short || is_full) ? &VERSION : &REQUEST_LINE;
}

static const struct http_fault *split_target(struct request_line *out) {
  struct span rest = out->target;
  for (size_t i = 0; i < rest.len; i++)
    if (!is_target_byte(rest.ptr[i])) return &TARGET;
  if (span_eq(rest, SPAN("*"))) {
    out->path = rest;
    return out->method == HTTP_OPTIONS ? NULL : &TARGET;
  }
  if (rest.ptr[0] != '/') {
    size_t scheme = span_starts_nocase(rest, SPAN("http://"))    ? sizeof "http://" - 1
                    : span_starts_nocase(rest, SPAN("https://")) ? sizeof "https://" - 1
                                                                 : 0;
    if (!scheme) return &TARGET;
    rest = span_make(rest.ptr + scheme, rest.len - scheme);
    size_t n = 0;
    while (n < rest.len && rest.ptr[n] != '/' && rest.ptr[n] != '?')
      n++;
    out->authority = span_make(rest.ptr, n);
    if (!http_is_host(out->authority)) return &TARGET;
    rest = span_make(rest.ptr + n, rest.len - n);
  }
  const char *mark = rest.len ? memchr(rest.ptr, '?', rest.len) : NULL;
  out->path = span_make(rest.ptr, mark ? (size_t)(mark - rest.ptr) : rest.len);
  if (mark) out->query = span_make(mark + 1, rest.len - out->path.len - 1);
  if (out->path.len == 0) out->path = SPAN("/");
  return NULL;
}

/* `line` is without its CRLF. */
static const struct http_fault *parse_request_line(struct request_line *out, struct span line) {
  *out = (struct request_line){0};
  const char *end = line.ptr + line.len, *first = line.len ? memchr(line.ptr, ' ', line.len) : NULL;
  const char *second = first ? memchr(first + 1, ' ', (size_t)(end - first - 1)) : NULL;
  if (!second) return &REQUEST_LINE;
  out->method_text = span_make(line.ptr, (size_t)(first - line.ptr));
  out->target = span_make(first + 1, (size_t)(second - first - 1));
  const struct http_fault *fault = parse_method(out);
  if (fault) return fault;
  if (out->target.len == 0) return &REQUEST_LINE;
  if (out->target.len > HTTP_TARGET_MAX) return &TARGET_LONG;
  /* Before the target: the HTTP/2 preface has one that HTTP/1.1 does not know. */
  fault = parse_version(out, span_make(second + 1, (size_t)(end - second - 1)));
  if (fault) return fault;
  if (span_eq(out->method_text, SPAN("CONNECT")) || span_eq(out->method_text, SPAN("TRACE"))) return &METHOD;
  return split_target(out);
}

/*
 * Looks at the bytes from `from` to `stop` of a request line that may be incomplete, so that what speaks
 * another protocol is answered at once and not when its time is over.
 */
static const struct http_fault *watch_request_line(const char *line, const char *from, const char *stop) {
  size_t len = (size_t)(stop - line), window = len < METHOD_MAX + 1 ? len : METHOD_MAX + 1;
  if (len == 0) return NULL;
  const char *space = memchr(line, ' ', window);
  if (space == line) return &REQUEST_LINE;
  for (const char *p = line; p < line + window && p != space; p++) {
    if (*p == '\n') return &HTTP_FAULT_LINE_END;
    if (!http_is_token(span_make(p, 1))) return &REQUEST_LINE;
  }
  if (!space) return len > METHOD_MAX ? &HTTP_FAULT_UNKNOWN_METHOD : NULL;

  const char *target = space + 1;
  if (from < target) from = target;
  bool is_behind = from > target && memchr(target, ' ', (size_t)(from - target));
  for (const char *p = from; p < stop; p++) {
    if (*p == '\n') return &HTTP_FAULT_LINE_END;
    if (*p == ' ')
      is_behind = true;
    else if (!is_target_byte(*p))
      return is_behind ? &REQUEST_LINE : &TARGET;
    if (!is_behind && p - target >= HTTP_TARGET_MAX) return &TARGET_LONG;
  }
  return NULL;
}

/* ---- the end of the head ---- */

static const struct http_fault *watch_line_start(const struct http_head_scan *scan, char first) {
  if (scan->lines == 0 || first == '\r') return NULL;
  if (first == ' ' || first == '\t') return &HTTP_FAULT_FOLDED;
  return scan->lines > HTTP_FIELDS_MAX ? &HTTP_FAULT_TOO_MANY_FIELDS : NULL;
}

const struct http_fault *http_request_find_end(struct http_head_scan *scan, size_t *head_len,
                                               const char *data, size_t len) {
  const struct http_fault *fault;
  size_t limit = len < HTTP_HEAD_MAX ? len : HTTP_HEAD_MAX;
  *head_len = 0;
  while (scan->checked < limit) {
    const char *line = data + scan->line_start, *from = data + scan->checked, *end = data + limit;
    if (from == line && (fault = watch_line_start(scan, *line))) return fault;
    const char *cr = memchr(from, '\r', (size_t)(end - from)), *stop = cr ? cr : end;
    if (scan->lines == 0 && (fault = watch_request_line(line, from, stop))) return fault;
    if (memchr(from, '\n', (size_t)(stop - from))) return &HTTP_FAULT_LINE_END;
    scan->checked = (uint32_t)(stop - data);
    if (!cr || cr + 1 == end) break; /* what the CR means is known with the next byte */
    if (cr[1] != '\n') return &HTTP_FAULT_LINE_END;

    if (cr > line) {
      struct request_line ignored;
      if (scan->lines == 0 && (fault = parse_request_line(&ignored, span_make(line, (size_t)(cr - line)))))
        return fault;
      scan->lines++;
    } else if (scan->lines) {
      *head_len = (size_t)(cr + 2 - data);
      return NULL;
    } else if (scan->line_start >= 4) {
      return &REQUEST_LINE;
    }
    scan->checked = scan->line_start = (uint32_t)(cr + 2 - data);
  }
  return len >= HTTP_HEAD_MAX ? &HEAD_LONG : NULL;
}

/* ---- the fields ---- */

static const struct http_fault *check_host(struct http_request *out, struct span authority) {
  bool has_host = false;
  out->host = SPAN_NONE;
  for (unsigned i = 0; i < out->n_fields; i++) {
    if (out->fields[i].id != HTTP_FIELD_HOST) continue;
    if (has_host) return &HOST_TWICE;
    has_host = true;
    out->host = out->fields[i].value;
  }
  if (!has_host) return out->minor == 0 ? NULL : &HOST_MISSING;
  if (!http_is_host(out->host)) return &HOST_BAD;
  return authority.len && !span_eq_nocase(authority, out->host) ? &HOST_OTHER : NULL;
}

static const struct http_fault *check_expect(struct http_request *out) {
  out->expect_continue = false;
  for (unsigned i = 0; i < out->n_fields; i++) {
    if (out->fields[i].id != HTTP_FIELD_EXPECT) continue;
    if (!span_eq_nocase(out->fields[i].value, SPAN("100-continue"))) return &EXPECTATION;
    /* RFC 9110, 10.1.1: HTTP/1.0 knows no interim answers, and without a body nothing waits for one. */
    out->expect_continue = out->minor == 1 && (out->framing == HTTP_CHUNKED || out->content_length > 0);
  }
  return NULL;
}

static const struct http_fault *check_framing(struct http_request *out, struct http_reading *reading) {
  const struct http_fault *fault = http_read_lengths(reading, out->fields);
  out->framing = reading->is_chunked ? HTTP_CHUNKED : reading->has_length ? HTTP_LENGTH : HTTP_NO_BODY;
  out->content_length = reading->length;
  return fault;
}

static void take_line(struct http_request *out, const struct request_line *line) {
  out->method = line->method;
  out->method_text = line->method_text;
  out->target = line->target;
  out->path = line->path;
  out->query = line->query;
  out->minor = line->minor;
}

/* What the fields mean, and what llhttp says of it. `lines` has the empty one at its end. */
static const struct http_fault *check_fields(struct http_request *out, const struct request_line *line,
                                             const struct http_split *split, struct span start,
                                             struct span lines) {
  const struct http_fault *fault;
  out->n_fields = split->n;
  struct http_reading reading = {
      .method = line->method_text, .minor = line->minor, .n_fields = split->n, .is_plain = split->is_plain};
  if ((fault = check_framing(out, &reading))) return fault;
  if ((fault = check_host(out, line->authority))) return fault;
  if ((fault = check_expect(out))) return fault;
  if (!split->is_plain && (fault = http_check_connection(out->fields, out->n_fields))) return fault;
  out->keep_alive = http_is_persistent(out->minor, out->fields, out->n_fields);
  return http_read_twice(&reading, start, lines);
}

const struct http_fault *http_request_parse(struct http_request *out, const char *head, size_t head_len) {
  const struct http_fault *fault;
  if (head_len > HTTP_HEAD_MAX) return &HEAD_LONG;
  for (int i = 0; i < 2 && head_len >= 2 && head[0] == '\r' && head[1] == '\n'; i++) {
    head += 2;
    head_len -= 2;
  }
  const char *end = head + head_len, *cr = head_len ? memchr(head, '\r', head_len) : NULL;
  if (!cr || end - cr < 4 || cr[1] != '\n' || end[-2] != '\r' || end[-1] != '\n') return &HTTP_FAULT_LINE_END;

  struct request_line line;
  fault = parse_request_line(&line, span_make(head, (size_t)(cr - head)));
  if (fault) return fault;
  take_line(out, &line);
  struct http_split split;
  fault = http_split_fields(&split, out->fields, span_make(cr + 2, (size_t)(end - cr - 4)));
  if (fault) return fault;
  return check_fields(out, &line, &split, span_make(head, (size_t)(cr + 2 - head)),
                      span_make(cr + 2, (size_t)(end - cr - 2)));
}

/* 0: it is incomplete, or something is wrong or unusual. */
static size_t read_at_once(struct http_request *out, const char *data, size_t len) {
  if (len > HTTP_HEAD_MAX) len = HTTP_HEAD_MAX;
  const char *end = data + len, *cr = len ? memchr(data, '\r', len) : NULL;
  if (!cr || cr == data || end - cr < 4 || cr[1] != '\n') return 0;
  struct request_line line;
  if (parse_request_line(&line, span_make(data, (size_t)(cr - data)))) return 0;
  take_line(out, &line);
  const char *lines = cr + 2;
  struct http_split split;
  size_t used = http_split_head(&split, out->fields, span_make(lines, (size_t)(end - lines)));
  if (!used) return 0;
  if (check_fields(out, &line, &split, span_make(data, (size_t)(lines - data)), span_make(lines, used)))
    return 0;
  return (size_t)(lines - data) + used;
}

const struct http_fault *http_request_read(struct http_request *out, struct http_head_scan *scan,
                                           size_t *head_len, const char *data, size_t len) {
  *head_len = scan->checked ? 0 : read_at_once(out, data, len);
  if (*head_len) return NULL;
  const struct http_fault *fault = http_request_find_end(scan, head_len, data, len);
  if (fault || *head_len == 0) return fault;
  return http_request_parse(out, data, *head_len);
}
