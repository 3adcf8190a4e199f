#include "wire/multipart.h"

#include "wire/http.h"

#define HEAD_MAX 4096 /* of one part; behind a longer one nothing is looked for */

/* ---- parameters ---- */

/* Takes `c` off the front, with the blanks before and behind it. */
static bool take_byte(struct span *s, char c) {
  struct span rest = span_trim(*s);
  if (!rest.len || rest.ptr[0] != c) return false;
  *s = span_trim(span_make(rest.ptr + 1, rest.len - 1));
  return true;
}

static struct span take_token(struct span *s) {
  size_t n = 0;
  while (n < s->len && http_is_token(span_make(s->ptr + n, 1)))
    n++;
  struct span token = span_make(s->ptr, n);
  *s = span_make(s->ptr + n, s->len - n);
  return token;
}

/* Between its quotes, as it is written; false when it does not end. */
static bool take_quoted(struct span *s, struct span *out) {
  size_t end = 1;
  while (end < s->len && s->ptr[end] != '"')
    end += s->ptr[end] == '\\' ? 2 : 1;
  if (end >= s->len) return false;
  *out = span_make(s->ptr + 1, end - 1);
  *s = span_make(s->ptr + end + 1, s->len - end - 1);
  return true;
}

/* The next `; name=value`; false at the end, and where it is something else. */
static bool take_parameter(struct span *s, struct span *name, struct span *value) {
  if (!take_byte(s, ';')) return false;
  *name = take_token(s);
  if (!name->len || !take_byte(s, '=')) return false;
  if (s->len && s->ptr[0] == '"') return take_quoted(s, value);
  *value = take_token(s);
  return value->len > 0;
}

struct span multipart_boundary(struct span content_type) {
  struct span type = SPAN("multipart/form-data"), name, value, found = SPAN_NONE;
  if (!span_starts_nocase(content_type, type)) return SPAN_NONE;
  struct span rest = span_make(content_type.ptr + type.len, content_type.len - type.len);
  while (take_parameter(&rest, &name, &value)) {
    if (!span_eq_nocase(name, SPAN("boundary"))) continue;
    if (found.len || value.len > MULTIPART_BOUNDARY_MAX) return SPAN_NONE;
    found = value;
  }
  return found;
}

/* ---- parts ---- */

struct reading {
  struct span rest;     /* what has not been read */
  struct span boundary; /* without the dashes */
};

/* Whether `at`, which stands behind a line's end, begins a delimiter; *after is what follows it. */
static bool is_delimiter(const struct reading *r, const char *at, struct span *after) {
  struct span s = span_make(at, (size_t)(r->rest.ptr + r->rest.len - at));
  if (!span_starts(s, SPAN("--"))) return false;
  s = span_make(s.ptr + 2, s.len - 2);
  if (!span_starts(s, r->boundary)) return false;
  *after = span_make(s.ptr + r->boundary.len, s.len - r->boundary.len);
  return true;
}

/* Goes on behind the delimiter's line; false at the last one, and when the line goes on as something else. */
static bool pass_delimiter(struct reading *r, struct span after) {
  while (after.len && (after.ptr[0] == ' ' || after.ptr[0] == '\t'))
    after = span_make(after.ptr + 1, after.len - 1);
  if (!span_starts(after, SPAN("\r\n"))) return false;
  r->rest = span_make(after.ptr + 2, after.len - 2);
  return true;
}

/* What stands before the next delimiter, and goes on behind its line. False when there is none: the form is over. */
static bool take_part(struct reading *r, struct span *part, bool *is_last) {
  const char *at = r->rest.ptr, *end = at + r->rest.len;
  struct span after;
  while (at < end && (at = memchr(at, '\r', (size_t)(end - at)))) {
    if (end - at >= 4 && at[1] == '\n' && at[2] == '-' && at[3] == '-' && is_delimiter(r, at + 2, &after)) {
      *part = span_make(r->rest.ptr, (size_t)(at - r->rest.ptr));
      *is_last = span_starts(after, SPAN("--"));
      if (*is_last || pass_delimiter(r, after)) return true;
    }
    at++;
  }
  return false;
}

/* The field's name by one line of a part's head; empty: it says none, or a file's. */
static struct span name_by_line(struct span line) {
  struct span field = SPAN("content-disposition:"), name, value, found = SPAN_NONE;
  if (!span_starts_nocase(line, field)) return SPAN_NONE;
  struct span rest = span_trim(span_make(line.ptr + field.len, line.len - field.len));
  if (!span_eq_nocase(take_token(&rest), SPAN("form-data"))) return SPAN_NONE;
  while (take_parameter(&rest, &name, &value)) {
    if (span_starts_nocase(name, SPAN("filename"))) return SPAN_NONE;
    if (span_eq_nocase(name, SPAN("name"))) found = value;
  }
  return found;
}

static bool take_line(struct span *s, struct span *line) {
  const char *end = span_find(span_make(s->ptr, s->len < HEAD_MAX ? s->len : HEAD_MAX), SPAN("\r\n"));
  if (!end) return false;
  *line = span_make(s->ptr, (size_t)(end - s->ptr));
  *s = span_make(end + 2, s->len - line->len - 2);
  return true;
}

/* Takes the head off a part; its field's name. */
static struct span take_head(struct span *part) {
  size_t whole = part->len;
  struct span line, name = SPAN_NONE;
  while (whole - part->len <= HEAD_MAX && take_line(part, &line)) {
    if (!line.len) return name;
    struct span said = name_by_line(line);
    if (said.len) name = said;
  }
  return SPAN_NONE;
}

void multipart_find(struct multipart_field *fields, size_t n, struct span body, struct span boundary) {
  struct reading r = {body, boundary};
  struct span part, after;
  for (size_t i = 0; i < n; i++) {
    fields[i].value = SPAN_NONE;
    fields[i].count = 0;
  }
  if (!boundary.len) return;
  /* The first delimiter may stand at the very front; what stands before it otherwise is nobody's. */
  bool is_at_front = is_delimiter(&r, body.ptr, &after),
       is_last = is_at_front && span_starts(after, SPAN("--"));
  bool has_begun = is_at_front && (is_last || pass_delimiter(&r, after));
  if (!has_begun && !take_part(&r, &part, &is_last)) return;
  while (!is_last && take_part(&r, &part, &is_last)) {
    struct span name = take_head(&part);
    for (size_t i = 0; name.len && i < n; i++) {
      if (!span_eq(fields[i].name, name)) continue;
      fields[i].value = part;
      fields[i].count++;
    }
  }
}
