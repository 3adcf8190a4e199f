/*
 * Input: one byte for the form, one that seeds the pieces, then the answer. Three readings (whole, single
 * bytes, seeded pieces) must find the same. A JSON answer that the strict scanner accepts must give what that
 * scanner finds; a stream's events are counted a second time, by whole lines.
 */
#include "wire/answer.h"
#include "wire/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct answer read_in_pieces(enum answer_form form, struct span text, uint32_t seed) {
  struct answer a;
  answer_init(&a, form);
  for (size_t at = 0, len; at < text.len; at += len) {
    seed = seed * 1664525 + 1013904223;
    len = 1 + (seed >> 24) % 40;
    if (len > text.len - at) len = text.len - at;
    char *piece = x_malloc(len);
    memcpy(piece, text.ptr + at, len);
    answer_feed(&a, piece, len);
    free(piece);
  }
  return a;
}

static void require_same(const struct answer *a, const struct answer *b) {
  REQUIRE(span_eq(span_make(a->id, a->id_len), span_make(b->id, b->id_len)));
  REQUIRE(a->tokens_in == b->tokens_in && a->tokens_out == b->tokens_out);
  REQUIRE(a->n_events == b->n_events && a->is_done == b->is_done);
  REQUIRE(a->has_finish == b->has_finish && a->has_error == b->has_error);
  REQUIRE(answer_is_at_event_end(a) == answer_is_at_event_end(b));
}

static void require_id(const struct answer *a, struct span raw) {
  char id[ANSWER_ID_MAX];
  size_t len;
  bool is_fit = json_unescape(id, sizeof id, &len, raw) == 0;
  for (size_t i = 0; is_fit && i < len; i++)
    is_fit = id[i] >= ' ' && id[i] <= '~';
  REQUIRE(span_eq(span_make(a->id, a->id_len), span_make(id, is_fit ? len : 0)));
}

static bool get_tokens(int64_t *tokens, const struct json_member *m) {
  uint64_t n;
  if (m->type != JSON_NUMBER || !span_to_u64(m->value, INT64_MAX, &n)) return false;
  *tokens = (int64_t)n;
  return true;
}

static void require_usage(const struct answer *a, struct span usage) {
  struct json_member m[] = {{.name = SPAN("prompt_tokens")},
                            {.name = SPAN("input_tokens")},
                            {.name = SPAN("completion_tokens")},
                            {.name = SPAN("output_tokens")}};
  struct json_object object;
  struct json_fault fault;
  int64_t in = -1, out = -1;
  REQUIRE(json_scan_object(m, 4, &object, &fault, usage) == 0);
  for (size_t i = 0; i < 4; i++)
    if (m[i].count > 1) return;
  if (!get_tokens(&in, &m[0])) (void)get_tokens(&in, &m[1]);
  if (!get_tokens(&out, &m[2])) (void)get_tokens(&out, &m[3]);
  REQUIRE(a->tokens_in == in && a->tokens_out == out);
}

static void check_json(const struct answer *a, struct span text) {
  struct json_member m[] = {{.name = SPAN("id")}, {.name = SPAN("usage")}, {.name = SPAN("error")}};
  struct json_object object;
  struct json_fault fault;
  if (json_scan_object(m, 3, &object, &fault, text)) return;
  REQUIRE(a->is_done);
  if (m[0].count <= 1 && m[0].type == JSON_STRING) require_id(a, m[0].value);
  if (m[0].count <= 1 && m[0].type != JSON_STRING) REQUIRE(a->id_len == 0);
  if (m[1].count == 1 && m[1].type == JSON_OBJECT) require_usage(a, m[1].value);
  if (m[1].count == 0) REQUIRE(a->tokens_in == -1 && a->tokens_out == -1);
  if (m[2].count <= 1) REQUIRE(a->has_error == (m[2].count == 1 && m[2].type != JSON_NULL));
}

static void check_sse(const struct answer *a, struct span text) {
  uint64_t n_events = 0;
  bool has_data = false, is_started = false, is_in_line = false, has_end = false;
  if (span_starts(text, SPAN("\xEF\xBB\xBF"))) {
    text.ptr += 3;
    text.len -= 3;
  }
  for (size_t at = 0; at < text.len;) {
    size_t len = 0;
    while (at + len < text.len && text.ptr[at + len] != '\n' && text.ptr[at + len] != '\r')
      len++;
    struct span line = span_make(text.ptr + at, len);
    at += len;
    has_end = at < text.len;
    is_in_line = !has_end;
    if (has_end) at += text.ptr[at] == '\r' && at + 1 < text.len && text.ptr[at + 1] == '\n' ? 2 : 1;
    if (has_end && len == 0) {
      n_events += has_data;
      has_data = is_started = false;
    } else if (len) {
      is_started |= line.ptr[0] != ':';
      has_data |= has_end && (span_starts(line, SPAN("data:")) || span_eq(line, SPAN("data")));
    }
  }
  REQUIRE(a->n_events == n_events);
  REQUIRE(answer_is_at_event_end(a) == (!is_in_line && !is_started));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  enum answer_form form = (enum answer_form)(data[0] % 3);
  struct span text = span_make((const char *)data + 2, size - 2);

  struct answer whole, bytes, pieces;
  answer_init(&whole, form);
  answer_feed(&whole, text.ptr, text.len);
  answer_init(&bytes, form);
  for (size_t i = 0; i < text.len; i++)
    answer_feed(&bytes, text.ptr + i, 1);
  pieces = read_in_pieces(form, text, data[1]);
  require_same(&whole, &bytes);
  require_same(&whole, &pieces);

  REQUIRE(whole.id_len <= ANSWER_ID_MAX && whole.tokens_in >= -1 && whole.tokens_out >= -1);
  if (form == ANSWER_JSON) check_json(&whole, text);
  if (form == ANSWER_SSE) check_sse(&whole, text);
  answer_release(&whole);
  (void)answer_form_of(text);
  return 0;
}
