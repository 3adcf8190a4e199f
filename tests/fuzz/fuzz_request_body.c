/*
 * Input: one byte of choices, the provider's name for the model behind its length, then a request's body. What is
 * spliced must be a body again that says the same, but for the model and the usage that were put in; every byte of the
 * client's outside those places is still there, in order.
 */
#include "wire/json.h"
#include "wire/request_body.h"

#include <math.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct arena_pool pool;

static void join(struct buf *out, const struct span *segments, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    buf_put_span(out, segments[i]);
}

/* Segments that lie in the text are in order, and what they leave out is no more than the two places. */
static void require_kept(const struct request_body *b, struct span text, const struct span *segments,
                         unsigned n) {
  size_t at = 0, kept = 0;
  for (unsigned i = 0; i < n; i++) {
    if (segments[i].ptr < text.ptr || segments[i].ptr >= text.ptr + text.len) continue;
    size_t from = (size_t)(segments[i].ptr - text.ptr);
    REQUIRE(from >= at && from + segments[i].len <= text.len);
    at = from + segments[i].len;
    kept += segments[i].len;
  }
  REQUIRE(kept + b->model_len + b->usage.len >= text.len);
}

static void require_member(const struct request_body *b, struct span text) {
  REQUIRE(text.ptr[b->object_open] == '{');
  REQUIRE(b->model_at + b->model_len <= text.len && b->usage.at + b->usage.len <= text.len);
  REQUIRE((b->model_len == 0) == (b->model.len == 0) && b->model.len <= REQUEST_MODEL_MAX);
  REQUIRE(isnan(b->max_tokens) || (b->max_tokens >= 0 && b->max_tokens <= 9007199254740992.0));
  REQUIRE(b->cache_key.len <= 1024);
}

static void check_spliced(const struct request_body *b, struct span text, struct span model, bool is_chat,
                          bool with_usage, struct arena *arena) {
  struct span segments[REQUEST_SEGMENTS_MAX];
  unsigned n = request_body_splice(b, segments, text, model, with_usage, arena);
  REQUIRE(n >= 1 && n <= REQUEST_SEGMENTS_MAX);
  require_kept(b, text, segments, n);
  struct buf out;
  buf_init(&out, text.len + 8 * REQUEST_MODEL_MAX + 256);
  join(&out, segments, n);

  struct request_body again;
  struct request_fault fault;
  REQUIRE(request_body_read(&again, &fault, buf_span(&out), is_chat, arena));
  REQUIRE(span_eq(again.model, model.ptr ? model : b->model));
  REQUIRE(again.is_stream == b->is_stream && span_eq(again.cache_key, b->cache_key));
  REQUIRE(again.max_tokens == b->max_tokens || (isnan(again.max_tokens) && isnan(b->max_tokens)));
  if (with_usage || !b->usage.text.len) REQUIRE(!again.usage.text.len);

  /* What was spliced once stays as it is. */
  unsigned n_again = request_body_splice(&again, segments, buf_span(&out), model, with_usage, arena);
  REQUIRE(n_again == 1 && span_eq(segments[0], buf_span(&out)));
  buf_release(&out);
}

/* A name that could be a configured one: UTF-8 without control bytes. */
static bool is_name(struct span name) {
  struct buf quoted;
  struct json_fault fault;
  if (!name.len || name.len > REQUEST_MODEL_MAX) return false;
  for (size_t i = 0; i < name.len; i++)
    if ((unsigned char)name.ptr[i] < 0x20 || name.ptr[i] == 0x7f || name.ptr[i] == '"' || name.ptr[i] == '\\')
      return false;
  buf_init(&quoted, name.len + 2);
  buf_put(&quoted, "\"", 1);
  buf_put_span(&quoted, name);
  buf_put(&quoted, "\"", 1);
  int err = json_validate(&fault, buf_span(&quoted));
  buf_release(&quoted);
  return err == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2 || size - 2 < data[1]) return 0;
  bool is_chat = data[0] & 1, with_usage = data[0] & 2;
  struct span model = span_make((const char *)data + 2, data[1]);
  struct span text = span_make((const char *)data + 2 + data[1], size - 2 - data[1]);
  if (!is_name(model)) model = SPAN_NONE;
  static bool has_pool;
  if (!has_pool) arena_pool_init(&pool, 64);
  has_pool = true;

  struct arena arena;
  struct request_body b;
  struct request_fault fault = {0};
  arena_init(&arena, &pool, 192 * 1024);
  if (request_body_read(&b, &fault, text, is_chat, &arena)) {
    require_member(&b, text);
    check_spliced(&b, text, model, is_chat, with_usage, &arena);
  } else {
    struct buf message;
    REQUIRE(fault.code && strnlen(fault.message, sizeof fault.message) < sizeof fault.message);
    buf_init(&message, 4 * sizeof fault.message);
    struct json_writer w;
    struct json_fault wrong;
    json_begin(&w, &message);
    json_cstring(&w, fault.message);
    REQUIRE(json_validate(&wrong, buf_span(&message)) == 0);
    buf_release(&message);
  }
  arena_reset(&arena);
  return 0;
}
