/*
 * An answer as a whole, and event streams line by line: their data lines go to the machine of answer_json.c.
 *
 * Thread: one.   Owner: the caller; all state is in its struct answer.
 */
#include "wire/answer_private.h"

enum line_state {
  LINE_BOM, /* only before the first byte of a stream */
  LINE_START,
  LINE_FIELD,
  LINE_DATA_BLANK,
  LINE_DATA,
  LINE_EVENT_BLANK,
  LINE_EVENT,
  LINE_IGNORED,
};

static const char bom[] = "\xEF\xBB\xBF";

/* ---- event streams ---- */

bool answer_is_done_name(struct span name) {
  return span_eq(name, SPAN("message_stop")) || span_eq(name, SPAN("response.completed")) ||
         span_eq(name, SPAN("response.incomplete")) || span_eq(name, SPAN("response.failed"));
}

static void event_ended(struct answer *a) {
  struct answer_sse *s = &a->sse;
  if (s->has_data) a->n_events++;
  if (s->is_done_event) a->is_done = true;
  if (s->is_error_event) a->has_error = true;
  s->is_event_started = s->has_data = s->is_done_event = s->is_error_event = false;
  answer_json_reset(a);
}

static void begin_data(struct answer *a) {
  struct answer_sse *s = &a->sse;
  static const char newline = '\n';
  if (s->has_data) answer_json_feed(a, &newline, &newline + 1);
  s->has_data = true;
  s->state = LINE_DATA_BLANK;
}

/* The field's name is complete: with its colon, or with the line. */
static void begin_field(struct answer *a) {
  struct answer_sse *s = &a->sse;
  struct span name = span_make(s->field, s->field_len);
  s->field_len = 0;
  if (span_eq(name, SPAN("data"))) {
    begin_data(a);
  } else if (span_eq(name, SPAN("event"))) {
    s->is_done_event = s->is_error_event = false;
    s->state = LINE_EVENT_BLANK;
  } else {
    s->state = LINE_IGNORED;
  }
}

/* At a CR or LF. */
static void end_line(struct answer *a, char c) {
  struct answer_sse *s = &a->sse;
  if (s->state == LINE_START) event_ended(a);
  if (s->state == LINE_FIELD) begin_field(a);
  if (s->state == LINE_EVENT_BLANK || s->state == LINE_EVENT) {
    struct span name = span_make(s->field, s->field_len);
    s->is_done_event = answer_is_done_name(name);
    s->is_error_event = span_eq(name, SPAN("error"));
  }
  s->is_after_cr = c == '\r';
  s->state = LINE_START;
}

static void keep_field(struct answer_sse *s, char c) {
  if (s->field_len == sizeof s->field) {
    s->state = LINE_IGNORED;
  } else {
    s->field[s->field_len++] = c;
  }
}

static void feed_bom(struct answer_sse *s, char c) {
  s->is_event_started = true;
  if (c != bom[s->field_len]) {
    s->state = LINE_IGNORED;
  } else if (++s->field_len == sizeof bom - 1) {
    s->state = LINE_START;
    s->is_event_started = false;
  }
}

static const char *begin_line(struct answer *a, const char *at, const char *end) {
  struct answer_sse *s = &a->sse;
  s->field_len = 0;
  s->is_event_started |= *at != ':';
  s->state = *at == ':' ? LINE_IGNORED : LINE_FIELD;
  if (!span_starts(span_make(at, (size_t)(end - at)), SPAN("data:"))) return at;
  begin_data(a);
  return at + 5;
}

/* Inside a line, at a byte that does not end it. */
static const char *feed_line(struct answer *a, const char *at, const char *end) {
  struct answer_sse *s = &a->sse;
  switch ((enum line_state)s->state) {
  case LINE_BOM: feed_bom(s, *at); return at + 1;
  case LINE_START: return begin_line(a, at, end);
  case LINE_FIELD:
    if (*at == ':') {
      begin_field(a);
    } else {
      keep_field(s, *at);
    }
    return at + 1;
  case LINE_DATA_BLANK: s->state = LINE_DATA; return at + (*at == ' ');
  case LINE_EVENT_BLANK: s->state = LINE_EVENT; return at + (*at == ' ');
  case LINE_EVENT: keep_field(s, *at); return at + 1;
  case LINE_DATA:
  case LINE_IGNORED: break;
  }
  const char *stop = answer_find(at, end, '\n', '\r');
  if (s->state == LINE_DATA) answer_json_feed(a, at, stop);
  return stop;
}

static void feed_sse(struct answer *a, const char *at, const char *end) {
  struct answer_sse *s = &a->sse;
  while (at < end) {
    if (s->state == LINE_BOM && s->field_len == 0 && *at != bom[0]) s->state = LINE_START;
    if (*at == '\n' && s->is_after_cr) {
      at++;
      s->is_after_cr = false;
      continue;
    }
    s->is_after_cr = false;
    if (*at == '\n' || *at == '\r') {
      end_line(a, *at++);
    } else {
      at = feed_line(a, at, end);
    }
  }
}

/* ---- the whole ---- */

void answer_init(struct answer *a, enum answer_form form) {
  *a = (struct answer){.form = form, .tokens_in = -1, .tokens_out = -1};
}

void answer_feed(struct answer *a, const char *bytes, size_t len) {
  if (len == 0) return;
  switch (a->form) {
  case ANSWER_OPAQUE: break;
  case ANSWER_JSON: answer_json_feed(a, bytes, bytes + len); break;
  case ANSWER_SSE: feed_sse(a, bytes, bytes + len); break;
  }
}

bool answer_is_at_event_end(const struct answer *a) {
  const struct answer_sse *s = &a->sse;
  bool is_at_line_start = s->state == LINE_START || (s->state == LINE_BOM && s->field_len == 0);
  return a->form == ANSWER_SSE && is_at_line_start && !s->is_event_started;
}

void answer_release(struct answer *a) {
  a->form = ANSWER_OPAQUE;
}

enum answer_form answer_form_of(struct span content_type) {
  const char *semicolon = content_type.len ? memchr(content_type.ptr, ';', content_type.len) : NULL;
  if (semicolon) content_type.len = (size_t)(semicolon - content_type.ptr);
  struct span type = span_trim(content_type), json = SPAN("+json");
  if (span_eq_nocase(type, SPAN("text/event-stream"))) return ANSWER_SSE;
  if (span_eq_nocase(type, SPAN("application/json")) || span_eq_nocase(type, SPAN("text/json")))
    return ANSWER_JSON;
  bool has_json_suffix =
      type.len > json.len && span_eq_nocase(span_make(type.ptr + type.len - json.len, json.len), json);
  return has_json_suffix ? ANSWER_JSON : ANSWER_OPAQUE;
}
