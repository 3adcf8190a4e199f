#include "wire/answer.h"

#include "check.h"

#include <stdlib.h>

static struct answer got;

/* Fed in pieces that end at `first` and then every `step` bytes; each piece in memory of its own size. */
static struct answer read_split(enum answer_form form, struct span text, size_t first, size_t step) {
  struct answer a;
  answer_init(&a, form);
  for (size_t at = 0, len = first; at < text.len; at += len, len = step) {
    if (len > text.len - at) len = text.len - at;
    char *piece = malloc(len + !len);
    if (len) memcpy(piece, text.ptr + at, len);
    answer_feed(&a, piece, len);
    free(piece);
  }
  return a;
}

static bool same(const struct answer *a, const struct answer *b) {
  return span_eq(span_make(a->id, a->id_len), span_make(b->id, b->id_len)) && a->tokens_in == b->tokens_in &&
         a->tokens_out == b->tokens_out && a->n_events == b->n_events && a->is_done == b->is_done &&
         a->has_finish == b->has_finish && a->has_error == b->has_error &&
         answer_is_at_event_end(a) == answer_is_at_event_end(b);
}

/* Into `got`: read whole, by single bytes, and in two parts at every place; all must find the same. */
static void read_all_ways(enum answer_form form, struct span text) {
  got = read_split(form, text, text.len, 1);
  for (size_t step = 1; step < 20; step++) {
    struct answer a = read_split(form, text, step, step);
    CHECK(same(&got, &a));
  }
  for (size_t first = 0; first <= text.len; first++) {
    struct answer a = read_split(form, text, first, text.len);
    CHECK(same(&got, &a));
  }
}

static void json_is(const char *text) {
  read_all_ways(ANSWER_JSON, span_str(text));
}

static void sse_is(const char *text) {
  read_all_ways(ANSWER_SSE, span_str(text));
}

#define CHECK_ID(text) CHECK_STR(got.id, got.id_len, text)

static void a_fresh_scanner_knows_nothing(void) {
  sse_is("");
  CHECK_INT(got.id_len, 0);
  CHECK_INT(got.tokens_in, -1);
  CHECK_INT(got.tokens_out, -1);
  CHECK(!got.is_done && !got.has_finish && !got.has_error && got.n_events == 0);
  CHECK(answer_is_at_event_end(&got));
}

static void the_struct_stays_small(void) {
  CHECK(sizeof(struct answer) <= 320);
}

static void json_chat_completion_is_read(void) {
  json_is("{\"id\":\"chatcmpl-123\",\"object\":\"chat.completion\",\"created\":1677652288,\n"
          " \"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"\\\"id\\\":\\\\\"},"
          "\"finish_reason\":\"stop\",\"id\":\"no\"}],\"error\":null,\n"
          " \"usage\":{\"prompt_tokens\":9,\"completion_tokens\":12,\"total_tokens\":21,"
          "\"prompt_tokens_details\":{\"prompt_tokens\":7},\"x\":[{\"completion_tokens\":8}]}} \n");
  CHECK_ID("chatcmpl-123");
  CHECK_INT(got.tokens_in, 9);
  CHECK_INT(got.tokens_out, 12);
  CHECK(got.is_done && !got.has_error && !got.has_finish);
  CHECK_INT(got.n_events, 0);
  CHECK(!answer_is_at_event_end(&got));
}

static void json_other_usage_names_are_read(void) {
  json_is("{\"usage\":{\"input_tokens\":3,\"output_tokens\":4},\"id\":\"msg_1\",\"type\":\"message\"}");
  CHECK_ID("msg_1");
  CHECK_INT(got.tokens_in, 3);
  CHECK_INT(got.tokens_out, 4);
}

static void the_older_usage_names_win_within_one_object(void) {
  json_is(
      "{\"usage\":{\"prompt_tokens\":11,\"input_tokens\":0,\"output_tokens\":0,\"completion_tokens\":5}}");
  CHECK_INT(got.tokens_in, 11);
  CHECK_INT(got.tokens_out, 5);
  json_is("{\"usage\":{\"prompt_tokens\":null,\"input_tokens\":6,\"output_tokens\":7}}");
  CHECK_INT(got.tokens_in, 6);
  CHECK_INT(got.tokens_out, 7);
}

static void json_only_the_top_level_counts(void) {
  json_is(
      "{\"message\":{\"id\":\"a\",\"usage\":{\"prompt_tokens\":1}},\"response\":{\"id\":\"b\",\"error\":1},"
      "\"choices\":[{\"finish_reason\":\"stop\",\"error\":{}}],\"data\":[[{\"id\":\"c\"}]]}");
  CHECK_INT(got.id_len, 0);
  CHECK_INT(got.tokens_in, -1);
  CHECK(!got.has_error && !got.has_finish && got.is_done);
}

static void json_errors_are_seen_unless_null(void) {
  static const char *const errors[] = {"{\"message\":\"x\"}", "\"x\"", "[]", "1", "false", "{}", "\"\""};
  for (size_t i = 0; i < ARRAY_LEN(errors); i++) {
    char text[64];
    (void)snprintf(text, sizeof text, "{ \"error\" : %s }", errors[i]);
    json_is(text);
    CHECK(got.has_error && got.is_done);
  }
  json_is("{\"error\": null}");
  CHECK(!got.has_error);
}

static void escaped_names_and_ids_are_understood(void) {
  json_is("{\"\\u0069d\":\"a\\u002D\\/b\\\"c\",\"us\\u0061ge\":{\"prompt\\u005ftokens\":5}}");
  CHECK_ID("a-/b\"c");
  CHECK_INT(got.tokens_in, 5);
  json_is("{\"i\\u0064\\u0000\":\"x\",\"\\u01690\":\"y\",\"error\\ud83d\\ude39\":1}");
  CHECK_INT(got.id_len, 0);
  CHECK(!got.has_error);
}

static void unfit_ids_are_left_out(void) {
  static const char *const ids[] = {
      "\"\"", "\"a\\u00e9\"",   "\"a\xC3\xA9\"", "\"a\\n\"", "\"a\\u0000\"",      "12",
      "null", "{\"id\":\"x\"}", "[\"x\"]",       "\"\x7F\"", "\"\\ud83d\\ude39\""};
  for (size_t i = 0; i < ARRAY_LEN(ids); i++) {
    char text[64];
    (void)snprintf(text, sizeof text, "{\"id\":%s,\"usage\":{\"output_tokens\":1}}", ids[i]);
    json_is(text);
    CHECK_INT(got.id_len, 0);
    CHECK_INT(got.tokens_out, 1);
    CHECK(got.is_done);
  }
}

static void ids_of_128_bytes_fit_longer_ones_do_not(void) {
  for (size_t len = 127; len <= 300; len += len < 130 ? 1 : 85) {
    char text[400], id[301];
    memset(id, 'i', len);
    id[len] = '\0';
    (void)snprintf(text, sizeof text, "{\"id\":\"%s\"}", id);
    json_is(text);
    CHECK_INT(got.id_len, len <= ANSWER_ID_MAX ? len : 0);
    CHECK(got.id_len == 0 || memcmp(got.id, id, len) == 0);
  }
}

static void odd_numbers_are_left_out(void) {
  static const struct {
    const char *text;
    int64_t tokens;
  } cases[] = {{"0", 0},
               {"-1", -1},
               {"1.5", -1},
               {"1e3", -1},
               {"9223372036854775807", INT64_MAX},
               {"true", -1},
               {"\"5\"", -1},
               {"[5]", -1},
               {"null", -1},
               {"9223372036854775808", -1},
               {"99999999999999999999", -1}};
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    char text[80];
    (void)snprintf(text, sizeof text, "{\"usage\":{\"prompt_tokens\":%s},\"id\":\"a\"}", cases[i].text);
    json_is(text);
    CHECK_INT(got.tokens_in, cases[i].tokens);
    CHECK_ID("a");
  }
}

static void malformed_documents_end_the_search(void) {
  static const char *const texts[] = {"",
                                      "x",
                                      "{",
                                      "{\"a\" 1,\"id\":\"x\"}",
                                      "{\"a\":1 \"id\":\"x\"}",
                                      "{,",
                                      "{\"a\":}",
                                      "{]",
                                      "{\"a\":[1}],\"id\":\"x\"}]",
                                      "{\"usage\":{\"prompt_tokens\":",
                                      "\"id\"",
                                      "12",
                                      "}",
                                      "{\"choices\":]",
                                      "{\"id\":\"x",
                                      "{\"id\":\"\\q\"}",
                                      "{\"id\":\"\\u00x1\"}",
                                      "{\"usage\":{\"prompt_tokens\":12"};
  for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
    json_is(texts[i]);
    CHECK_INT(got.id_len, 0);
    CHECK_INT(got.tokens_in, -1);
    CHECK(!got.is_done);
  }
}

static void a_document_is_done_at_its_last_bracket_only(void) {
  struct span text = SPAN("{\"a\":[{\"b\":\"}\"},[]],\"id\":\"x\"}");
  for (size_t n = 0; n <= text.len; n++) {
    struct answer a = read_split(ANSWER_JSON, span_make(text.ptr, n), n, 1);
    CHECK_INT(a.is_done, n == text.len);
  }
  json_is(" [ {\"id\":\"x\"}, \"]\" ] ");
  CHECK(got.is_done && got.id_len == 0);
}

static void deep_documents_are_passed_over(void) {
  size_t depth = 100000;
  char *text = malloc(2 * depth + 64);
  size_t n = (size_t)snprintf(text, 64, "{\"a\":");
  for (size_t i = 0; i < depth; i++) {
    text[n + i] = i % 2 ? '{' : '[';
    text[n + 2 * depth - 1 - i] = i % 2 ? '}' : ']';
  }
  n += 2 * depth;
  memcpy(text + n, ",\"id\":\"x\"}", 10);
  got = read_split(ANSWER_JSON, span_make(text, n + 10), 7, 4096);
  free(text);
  CHECK_ID("x");
  CHECK(got.is_done);
}

static void openai_stream_is_read(void) {
  sse_is(": hello\n\n"
         "data: {\"id\":\"\",\"choices\":[],\"prompt_filter_results\":[{\"id\":\"no\"}]}\n\n"
         "data: "
         "{\"id\":\"chatcmpl-1\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\\n\"},\"finish_"
         "reason\":null}],"
         "\"usage\":null}\n\n"
         "data: {\"id\":\"chatcmpl-2\",\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
         "data: "
         "{\"id\":\"chatcmpl-1\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7}}\n\n"
         "data: [DONE]\n\n");
  CHECK_ID("chatcmpl-1");
  CHECK_INT(got.tokens_in, 5);
  CHECK_INT(got.tokens_out, 7);
  CHECK_INT(got.n_events, 5);
  CHECK(got.is_done && got.has_finish && !got.has_error);
  CHECK(answer_is_at_event_end(&got));
}

static void finish_reason_counts_only_in_a_choice_and_not_null(void) {
  sse_is("data: "
         "{\"choices\":[{\"finish_reason\":null,\"delta\":{\"finish_reason\":\"x\"}}],\"finish_reason\":"
         "\"y\"}\n\n");
  CHECK(!got.has_finish);
  sse_is("data: {\"choices\":[1,[2],\"x\",{},{\"index\":0},{\"finish_reason\":\"length\"}]}\n\n");
  CHECK(got.has_finish);
  sse_is("data: {\"choices\":[],\"choices\":[ ]}\n\n");
  CHECK(!got.has_finish);
}

static void anthropic_stream_is_read(void) {
  sse_is(
      "event: message_start\n"
      "data: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"content\":[],"
      "\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n"
      "event: content_block_start\n"
      "data: "
      "{\"type\":\"content_block_start\",\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\"}}\n\n"
      "event: ping\ndata: {\"type\": \"ping\"}\n\n"
      "event: message_delta\n"
      "data: "
      "{\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":15}}"
      "\n\n");
  CHECK_ID("msg_1");
  CHECK_INT(got.tokens_in, 25);
  CHECK_INT(got.tokens_out, 15);
  CHECK_INT(got.n_events, 4);
  CHECK(!got.is_done && !got.has_error);
  sse_is("event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n");
  CHECK(got.is_done);
  sse_is("data: {\"type\":\"message_stop\"}\n\n");
  CHECK(got.is_done);
  sse_is("event: message_stop\n");
  CHECK(!got.is_done);
  sse_is("event: message_stop\n\n");
  CHECK(got.is_done);
  sse_is("event: message_stop\nevent: ping\n\n");
  CHECK(!got.is_done);
  sse_is("event: message_stop\nevent: a-name-that-is-longer-than-any-of-ours\n\n");
  CHECK(!got.is_done);
  sse_is("event: message_stop\nevent\n\n");
  CHECK(!got.is_done);
}

static void responses_stream_is_read(void) {
  sse_is(
      "event: response.created\n"
      "data: "
      "{\"type\":\"response.created\",\"response\":{\"id\":\"resp_1\",\"error\":null,\"usage\":null}}\n\n"
      "event: response.output_text.delta\n"
      "data: "
      "{\"type\":\"response.output_text.delta\",\"item_id\":\"msg_2\",\"delta\":\"response.completed\"}\n\n");
  CHECK_ID("resp_1");
  CHECK(!got.is_done && !got.has_error);
  sse_is("data: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp_1\",\"output\":[{\"id\":\"x\"}],"
         "\"usage\":{\"input_tokens\":3,\"input_tokens_details\":{\"cached_tokens\":1},\"output_tokens\":4}}}"
         "\n\n");
  CHECK(got.is_done);
  CHECK_INT(got.tokens_in, 3);
  CHECK_INT(got.tokens_out, 4);
  sse_is("data: {\"type\":\"response.incomplete\"}\n\n");
  CHECK(got.is_done);
  sse_is("data: {\"type\":\"response.failed\",\"response\":{\"id\":\"r\",\"error\":{\"code\":\"x\"}}}\n\n");
  CHECK(got.is_done && got.has_error);
}

static void a_done_type_counts_when_its_event_is_whole(void) {
  sse_is("data: {\"type\":\"response.completed\",\"response\":{\"id\":");
  CHECK(!got.is_done);
  sse_is("data: {\"type\":\"response.completed\",\"response\":{}\n\ndata: {}\n\n");
  CHECK(!got.is_done);
}

static void stream_errors_are_seen(void) {
  sse_is("data: {\"error\":{\"message\":\"overloaded\"}}\n\n");
  CHECK(got.has_error && !got.is_done);
  sse_is("event: error\ndata: oops\n\n");
  CHECK(got.has_error);
  sse_is("data: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\"}\n\n");
  CHECK(got.has_error);
  sse_is("data: {\"choices\":[{\"error\":1}],\"x\":{\"error\":1},\"error\":null}\n\n");
  CHECK(!got.has_error);
}

static void done_may_come_without_blank_or_line_end(void) {
  static const char *const done[] = {"data: [DONE]", "data:[DONE]\n", "data:  [DONE] \r\n\r\n",
                                     "data\ndata: [DONE]\n\n"};
  static const char *const not_done[] = {
      "data: [DONE",       "data: \"[DONE]\"\n\n", "data: x[DONE]\n\n",
      ": [DONE]\n\n",      "data: [[DONE]\n\n",    "dat: [DONE]\n\n",
      "data : [DONE]\n\n", "[DONE]\n\n",           "data: [DO\ndata: NE]\n\n",
      "data: {}[DONE]\n\n"};
  for (size_t i = 0; i < ARRAY_LEN(done); i++) {
    sse_is(done[i]);
    CHECK(got.is_done);
  }
  for (size_t i = 0; i < ARRAY_LEN(not_done); i++) {
    sse_is(not_done[i]);
    CHECK(!got.is_done);
  }
}

static void all_three_line_ends_count(void) {
  sse_is("data: {\"id\":\"a\"}\r\n\r\ndata: 1\r\rdata: 2\n\ndata: 3\r\n\ndata: 4\n\r\n");
  CHECK_ID("a");
  CHECK_INT(got.n_events, 5);
  sse_is("data: 1\r\n\r\n\r\n\n\r\r\n\n");
  CHECK_INT(got.n_events, 1);
}

static void data_lines_of_one_event_are_one_document(void) {
  sse_is("data: {\"id\":\ndata:\"a\",\nid: 5\ndata: \"usage\":{\"prompt_tokens\":1\n: note\ndata\ndata: "
         "2}}\n\n");
  CHECK_ID("a");
  CHECK_INT(got.tokens_in, 1); /* lines are not glued together to 12 */
  CHECK_INT(got.n_events, 1);
  sse_is("data: {\"usage\":\ndata: {\"prompt_tokens\":12\ndata: }}\n\n");
  CHECK_INT(got.tokens_in, 12);
}

static void a_malformed_event_spoils_no_other(void) {
  sse_is("data: {\"a\":\"\n\ndata: {\"choices\":[{\n\ndata: {\"id\":\"b\"}\n\n");
  CHECK_ID("b");
  CHECK_INT(got.n_events, 3);
}

static void a_byte_order_mark_is_skipped(void) {
  sse_is("\xEF\xBB\xBF"
         "data: {\"id\":\"a\"}\n\n");
  CHECK_ID("a");
  sse_is("\xEF\xBB"
         "data: {\"id\":\"a\"}\n\n");
  CHECK_INT(got.n_events, 0);
  sse_is("\xEF\ndata: 1\n\n");
  CHECK_INT(got.n_events, 1);
  sse_is("data: 1\n\n\xEF\xBB\xBF"
         "data: 2\n\n");
  CHECK_INT(got.n_events, 1);
}

static void the_event_end_is_exact(void) {
  static const struct {
    const char *text;
    bool is_at_end;
  } cases[] = {
      {"", true},
      {"data: 1\n\n", true},
      {"data: 1\n", false},
      {"data: 1", false},
      {"data: 1\r\n\r\n", true},
      {"data: 1\r\n\r", true},
      {"data: 1\r\n", false},
      {"data: 1\r", false},
      {"data: 1\r\r", true},
      {"d", false},
      {"\n", true},
      {"\n\r\n", true},
      {": note\n", true},
      {": note", false},
      {":", false},
      {"event: x\n", false},
      {"event: x\n: note\n", false},
      {"event: x\n\n", true},
      {"id: 7\n", false},
      {"nonsense\n", false},
      {"data: 1\n\ndata: 2\n", false},
      {"data: 1\n\n: note\n", true},
      {"data: 1\n\n: note\n\n", true},
      {"\xEF", false},
      {"\xEF\xBB\xBF", true},
      {"\xEF\xBB\n", false},
      {"\xEF\xBB\xBFx", false},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    sse_is(cases[i].text);
    if (answer_is_at_event_end(&got) != cases[i].is_at_end) printf("# case %zu\n", i);
    CHECK(answer_is_at_event_end(&got) == cases[i].is_at_end);
  }
}

static void lines_of_any_length_are_read(void) {
  size_t filler = 300000;
  char *text = malloc(filler + 256);
  size_t n =
      (size_t)snprintf(text, 128, "data: {\"type\":\"response.completed\",\"response\":{\"output\":\"");
  memset(text + n, 'x', filler);
  n += filler;
  n += (size_t)snprintf(text + n, 128, "\",\"id\":\"resp_9\",\"usage\":{\"input_tokens\":8}}}\n\n");
  static const size_t steps[] = {1, 7, 1000, 16384, 1000000};
  for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
    got = read_split(ANSWER_SSE, span_make(text, n), steps[i], steps[i]);
    CHECK_ID("resp_9");
    CHECK_INT(got.tokens_in, 8);
    CHECK(got.is_done && got.n_events == 1);
  }
  free(text);
}

static void opaque_answers_are_not_looked_at(void) {
  read_all_ways(ANSWER_OPAQUE, SPAN("{\"id\":\"a\",\"error\":1}"));
  CHECK(got.id_len == 0 && !got.has_error && !got.is_done && !answer_is_at_event_end(&got));
}

static void release_keeps_what_was_found(void) {
  sse_is("data: {\"id\":\"a\"}\n\n");
  answer_release(&got);
  answer_feed(&got, "data: [DONE]\n\n", 14);
  CHECK_ID("a");
  CHECK(!got.is_done);
}

static void forms_follow_the_content_type(void) {
  static const struct {
    const char *type;
    enum answer_form form;
  } cases[] = {{"application/json", ANSWER_JSON},
               {"Application/JSON; charset=utf-8", ANSWER_JSON},
               {" application/json\t;x=y", ANSWER_JSON},
               {"text/json", ANSWER_JSON},
               {"application/problem+JSON", ANSWER_JSON},
               {"text/event-stream", ANSWER_SSE},
               {"TEXT/Event-Stream;charset=utf-8", ANSWER_SSE},
               {"text/event-streams", ANSWER_OPAQUE},
               {"application/jsonl", ANSWER_OPAQUE},
               {"application/x-ndjson", ANSWER_OPAQUE},
               {"text/plain; a=application/json", ANSWER_OPAQUE},
               {"audio/mpeg", ANSWER_OPAQUE},
               {"+json", ANSWER_OPAQUE},
               {";", ANSWER_OPAQUE},
               {"", ANSWER_OPAQUE}};
  for (size_t i = 0; i < ARRAY_LEN(cases); i++)
    CHECK_INT(answer_form_of(span_str(cases[i].type)), cases[i].form);
  CHECK_INT(answer_form_of(SPAN_NONE), ANSWER_OPAQUE);
}

int main(void) {
  RUN(a_fresh_scanner_knows_nothing);
  RUN(the_struct_stays_small);
  RUN(json_chat_completion_is_read);
  RUN(json_other_usage_names_are_read);
  RUN(the_older_usage_names_win_within_one_object);
  RUN(json_only_the_top_level_counts);
  RUN(json_errors_are_seen_unless_null);
  RUN(escaped_names_and_ids_are_understood);
  RUN(unfit_ids_are_left_out);
  RUN(ids_of_128_bytes_fit_longer_ones_do_not);
  RUN(odd_numbers_are_left_out);
  RUN(malformed_documents_end_the_search);
  RUN(a_document_is_done_at_its_last_bracket_only);
  RUN(deep_documents_are_passed_over);
  RUN(openai_stream_is_read);
  RUN(finish_reason_counts_only_in_a_choice_and_not_null);
  RUN(anthropic_stream_is_read);
  RUN(responses_stream_is_read);
  RUN(a_done_type_counts_when_its_event_is_whole);
  RUN(stream_errors_are_seen);
  RUN(done_may_come_without_blank_or_line_end);
  RUN(all_three_line_ends_count);
  RUN(data_lines_of_one_event_are_one_document);
  RUN(a_malformed_event_spoils_no_other);
  RUN(a_byte_order_mark_is_skipped);
  RUN(the_event_end_is_exact);
  RUN(lines_of_any_length_are_read);
  RUN(opaque_answers_are_not_looked_at);
  RUN(release_keeps_what_was_found);
  RUN(forms_follow_the_content_type);
  return CHECK_END();
}
