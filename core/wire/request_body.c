#include "wire/request_body.h"
#include "wire/json.h"
#include "wire/multipart.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

enum { M_MODEL, M_MESSAGES, M_STREAM, M_STREAM_OPTIONS, M_MAX_TOKENS, M_MAX_COMPLETION, M_CACHE_KEY, M_N };

struct reading {
  struct request_body *body;
  struct request_fault *fault;
  struct span text;
  struct arena *arena;
};

PRINTF_LIKE(3, 4) static bool refuse(struct reading *r, const char *code, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  r->fault->code = code;
  (void)vsnprintf(r->fault->message, sizeof r->fault->message, fmt, args);
  va_end(args);
  return false;
}

static bool refuse_json(struct reading *r, const struct json_fault *fault, int err) {
  if (err == ERR_UNSUPPORTED) return refuse(r, "invalid_body", "Request body must be a JSON object");
  unsigned line = 1, column = 1;
  json_locate(&line, &column, r->text, fault->offset);
  return refuse(r, "invalid_json", "Request body is not valid JSON: %s at line %u, column %u", fault->message,
                line, column);
}

static bool set_model(struct reading *r, struct span name) {
  if (name.len == 0) return refuse(r, "invalid_model", "model must not be empty");
  if (name.len > REQUEST_MODEL_MAX) return refuse(r, "invalid_model", "model is longer than 256 bytes");
  for (size_t i = 0; i < name.len; i++)
    if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7f)
      return refuse(r, "invalid_model", "model must not contain control characters");
  r->body->model = name;
  return true;
}

static bool take_model(struct reading *r, const struct json_member *m) {
  if (m->type != JSON_STRING) return refuse(r, "invalid_model", "model must be a string");
  if (m->value.len > 6 * REQUEST_MODEL_MAX + 2)
    return refuse(r, "invalid_model", "model is longer than 256 bytes");
  char *name = arena_alloc(r->arena, m->value.len);
  size_t len = 0;
  if (!name || json_unescape(name, m->value.len, &len, m->value))
    return refuse(r, "invalid_model", "model is not a valid Unicode string");
  if (!set_model(r, span_make(name, len))) return false;
  r->body->model_at = (size_t)(m->value.ptr - r->text.ptr);
  r->body->model_len = m->value.len;
  return true;
}

/* Where include_usage has to be written so that the provider need not rewrite the body itself. */
static bool find_usage(struct reading *r, const struct json_member *m) {
  struct request_body *b = r->body;
  if (m->type == JSON_ABSENT) { /* messages follow, hence the comma */
    b->usage = (struct splice){b->object_open + 1, 0, SPAN("\"stream_options\":{\"include_usage\":true},")};
    return true;
  }
  size_t at = (size_t)(m->value.ptr - r->text.ptr);
  if (m->type == JSON_NULL) {
    b->usage = (struct splice){at, m->value.len, SPAN("{\"include_usage\":true}")};
    return true;
  }
  if (m->type != JSON_OBJECT) return refuse(r, "invalid_stream_options", "stream_options must be an object");
  struct json_member usage = {.name = SPAN("include_usage")};
  struct json_object object;
  struct json_fault fault;
  int err = json_scan_object(&usage, 1, &object, &fault, m->value);
  REQUIRE(err == 0); /* it is part of what was scanned already */
  struct span member = object.is_empty ? SPAN("\"include_usage\":true") : SPAN("\"include_usage\":true,");
  if (usage.count == 0) b->usage = (struct splice){at + object.open + 1, 0, member};
  return true;
}

void request_body_init(struct request_body *b) {
  *b = (struct request_body){.max_tokens = NAN};
}

bool request_body_read(struct request_body *b, struct request_fault *fault, struct span text, bool is_chat,
                       struct arena *arena) {
  request_body_init(b);
  /* cppcheck-suppress ctuuninitvar ; it is written to, with a refusal */
  struct reading r = {b, fault, text, arena};
  struct json_member m[M_N] = {
      [M_MODEL] = {.name = SPAN("model")},
      [M_MESSAGES] = {.name = SPAN("messages")},
      [M_STREAM] = {.name = SPAN("stream")},
      [M_STREAM_OPTIONS] = {.name = SPAN("stream_options")},
      [M_MAX_TOKENS] = {.name = SPAN("max_tokens")},
      [M_MAX_COMPLETION] = {.name = SPAN("max_completion_tokens")},
      [M_CACHE_KEY] = {.name = SPAN("prompt_cache_key")},
  };
  struct json_object object;
  struct json_fault where = {0};
  int err = json_scan_object(m, M_N, &object, &where, text);
  if (err) return refuse_json(&r, &where, err);
  for (int i = M_MODEL; i <= M_STREAM_OPTIONS; i++)
    if (m[i].count > 1)
      return refuse(&r, "repeated_member", "Request body has more than one member \"%.*s\"",
                    SPAN_FMT(m[i].name));
  if (is_chat && (m[M_MESSAGES].type != JSON_ARRAY || m[M_MESSAGES].is_empty))
    return refuse(&r, "invalid_messages", "Missing or invalid messages in request body");
  if (m[M_STREAM].count && m[M_STREAM].type != JSON_TRUE && m[M_STREAM].type != JSON_FALSE)
    return refuse(&r, "invalid_stream", "stream must be true or false");
  b->is_stream = m[M_STREAM].type == JSON_TRUE;
  b->object_open = object.open;
  b->object_is_empty = object.is_empty;
  if (m[M_MODEL].count && !take_model(&r, &m[M_MODEL])) return false;
  if (b->is_stream && is_chat && !find_usage(&r, &m[M_STREAM_OPTIONS])) return false;
  const struct json_member *max =
      m[M_MAX_COMPLETION].type == JSON_NUMBER ? &m[M_MAX_COMPLETION] : &m[M_MAX_TOKENS];
  uint64_t n;
  if (max->type == JSON_NUMBER && span_to_u64(max->value, (uint64_t)1 << 53, &n)) b->max_tokens = (double)n;
  struct span key = m[M_CACHE_KEY].value;
  if (m[M_CACHE_KEY].type == JSON_STRING && key.len <= 1024)
    b->cache_key = span_make(key.ptr + 1, key.len - 2);
  return true;
}

bool request_body_read_form(struct request_body *b, struct request_fault *fault, struct span form,
                            struct span boundary, struct arena *arena) {
  request_body_init(b);
  struct reading r = {b, fault, form, arena};
  struct multipart_field fields[] = {{.name = SPAN("model")}, {.name = SPAN("stream")}};
  multipart_find(fields, ARRAY_LEN(fields), form, boundary);
  for (size_t i = 0; i < ARRAY_LEN(fields); i++)
    if (fields[i].count > 1)
      return refuse(&r, "repeated_field", "The form has more than one field \"%.*s\"",
                    SPAN_FMT(fields[i].name));
  b->is_stream = span_eq(fields[1].value, SPAN("true"));
  if (!fields[0].count) return true;
  if (!set_model(&r, fields[0].value)) return false;
  b->model = arena_copy(arena, b->model); /* the form may go before the exchange does */
  return b->model.ptr != NULL;
}

/* The name as JSON, in the arena. Names rarely need an escape. */
static struct span quoted(struct span name, struct arena *arena) {
  for (size_t i = 0; i < name.len; i++) {
    unsigned char c = (unsigned char)name.ptr[i];
    if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') continue;
    struct buf value;
    struct json_writer w;
    buf_init(&value, 6 * name.len + 64);
    json_begin(&w, &value);
    json_string(&w, name);
    struct span copy = arena_copy(arena, buf_span(&value));
    buf_release(&value);
    return copy;
  }
  char *p = arena_alloc(arena, name.len + 2);
  if (!p) return SPAN_NONE;
  p[0] = p[name.len + 1] = '"';
  memcpy(p + 1, name.ptr, name.len);
  return span_make(p, name.len + 2);
}

/* "model":"name", as the first member. */
static struct span member_of(struct span value, bool is_only, struct arena *arena) {
  struct span name = SPAN("\"model\":");
  char *p = arena_alloc(arena, name.len + value.len + 1);
  if (!p) return SPAN_NONE;
  memcpy(p, name.ptr, name.len);
  memcpy(p + name.len, value.ptr, value.len);
  p[name.len + value.len] = ',';
  return span_make(p, name.len + value.len + !is_only);
}

/* The provider's name for the model where the client's stands, or in front of all members. */
static bool splice_model(const struct request_body *b, struct splice *out, struct span text,
                         struct span model, struct arena *arena) {
  struct span copy = quoted(model, arena);
  if (copy.ptr && b->model_len == 0) copy = member_of(copy, b->object_is_empty, arena);
  REQUIRE(copy.ptr != NULL); /* names are short beside the arena's cap */
  if (b->model_len && span_eq(copy, span_make(text.ptr + b->model_at, b->model_len))) return false;
  size_t at = b->model_len ? b->model_at : b->object_open + 1;
  *out = (struct splice){at, b->model_len, copy};
  return true;
}

unsigned request_body_splice(const struct request_body *b, struct span out[REQUEST_SEGMENTS_MAX],
                             struct span text, struct span model, bool with_usage, struct arena *arena) {
  struct splice s[2];
  unsigned n = 0;
  if (model.ptr && splice_model(b, &s[n], text, model, arena)) n++;
  if (with_usage && b->usage.text.len) {
    bool is_first = n && b->usage.at < s[0].at;
    if (is_first) s[1] = s[0];
    s[is_first ? 0 : n] = b->usage;
    n++;
  }
  unsigned n_out = 0;
  size_t at = 0;
  for (unsigned i = 0; i < n; i++) {
    if (s[i].at > at) out[n_out++] = span_make(text.ptr + at, s[i].at - at);
    out[n_out++] = s[i].text;
    at = s[i].at + s[i].len;
  }
  if (at < text.len) out[n_out++] = span_make(text.ptr + at, text.len - at);
  return n_out;
}
