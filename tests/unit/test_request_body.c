#include "wire/request_body.h"
#include "check.h"

#include <math.h>
#include <stdlib.h>

static struct arena_pool pool;
static struct arena arena;
static struct request_body body;
static struct request_fault fault;

static bool read_body(const char *text, bool is_chat) {
  arena_reset(&arena);
  return request_body_read(&body, &fault, span_str(text), is_chat, &arena);
}

/* What goes up, in one piece. */
static const char *spliced(const char *text, const char *model, bool with_usage) {
  static char out[1024];
  struct span segments[REQUEST_SEGMENTS_MAX];
  unsigned n = request_body_splice(&body, segments, span_str(text), span_str(model), with_usage, &arena);
  size_t at = 0;
  for (unsigned i = 0; i < n; i++) {
    memcpy(out + at, segments[i].ptr, segments[i].len);
    at += segments[i].len;
  }
  out[at] = '\0';
  return out;
}

#define CHECK_SPLICE(text, model, usage, expected)                                                           \
  do {                                                                                                       \
    CHECK(read_body(text, true));                                                                            \
    const char *got = spliced(text, model, usage);                                                           \
    CHECK_STR(got, strlen(got), expected);                                                                   \
  } while (0)

#define CHECK_REFUSED(text, is_chat, expected)                                                               \
  do {                                                                                                       \
    CHECK(!read_body(text, is_chat));                                                                        \
    CHECK_STR(fault.code, strlen(fault.code), expected);                                                     \
  } while (0)

static void the_model_is_replaced_where_it_stands(void) {
  CHECK_SPLICE("{\"model\":\"a\",\"messages\":[1e400]}", "b", false,
               "{\"model\":\"b\",\"messages\":[1e400]}");
  CHECK_SPLICE("{ \"messages\" : [1] , \"mod\\u0065l\" : \"a\\u0041\" }", "b", false,
               "{ \"messages\" : [1] , \"mod\\u0065l\" : \"b\" }");
  CHECK_STR(body.model.ptr, body.model.len, "aA");
}

static void the_same_model_changes_no_byte(void) {
  struct span segments[REQUEST_SEGMENTS_MAX];
  const char *text = "{\"model\":\"b\",\"messages\":[1]}";
  CHECK(read_body(text, true));
  CHECK_INT(request_body_splice(&body, segments, span_str(text), SPAN("b"), false, &arena), 1);
  CHECK(segments[0].ptr == text);
}

static void a_missing_model_is_put_in_front(void) {
  CHECK_SPLICE("{\"messages\":[1]}", "b", false, "{\"model\":\"b\",\"messages\":[1]}");
  CHECK(read_body("{}", false));
  const char *got = spliced("{}", "b", false);
  CHECK_STR(got, strlen(got), "{\"model\":\"b\"}");
}

static void a_models_name_is_escaped(void) {
  CHECK_SPLICE("{\"model\":\"a\",\"messages\":[1]}", "b\"\\", false,
               "{\"model\":\"b\\\"\\\\\",\"messages\":[1]}");
}

static void without_a_name_nothing_is_replaced(void) {
  CHECK_SPLICE("{\"model\":\"a\",\"messages\":[1]}", NULL, false, "{\"model\":\"a\",\"messages\":[1]}");
}

static void include_usage_is_added_where_it_is_missing(void) {
  CHECK_SPLICE("{\"messages\":[1],\"stream\":true}", NULL, true,
               "{\"stream_options\":{\"include_usage\":true},\"messages\":[1],\"stream\":true}");
  CHECK_SPLICE("{\"messages\":[1],\"stream\":true,\"stream_options\":null}", NULL, true,
               "{\"messages\":[1],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
  CHECK_SPLICE("{\"messages\":[1],\"stream\":true,\"stream_options\":{}}", NULL, true,
               "{\"messages\":[1],\"stream\":true,\"stream_options\":{\"include_usage\":true}}");
  CHECK_SPLICE("{\"messages\":[1],\"stream\":true,\"stream_options\":{ \"x\":1}}", NULL, true,
               "{\"messages\":[1],\"stream\":true,\"stream_options\":{\"include_usage\":true, \"x\":1}}");
}

static void include_usage_that_is_there_is_left_alone(void) {
  const char *text = "{\"messages\":[1],\"stream\":true,\"stream_options\":{\"include_usage\":false}}";
  CHECK_SPLICE(text, NULL, true, text);
  text = "{\"messages\":[1],\"stream\":false}";
  CHECK_SPLICE(text, NULL, true, text);
}

static void both_changes_come_in_the_order_of_the_text(void) {
  CHECK_SPLICE(
      "{\"model\":\"a\",\"messages\":[1],\"stream\":true}", "b", true,
      "{\"stream_options\":{\"include_usage\":true},\"model\":\"b\",\"messages\":[1],\"stream\":true}");
  CHECK_SPLICE(
      "{\"model\":\"a\",\"stream_options\":{},\"messages\":[1],\"stream\":true}", "b", true,
      "{\"model\":\"b\",\"stream_options\":{\"include_usage\":true},\"messages\":[1],\"stream\":true}");
  CHECK_SPLICE(
      "{\"messages\":[1],\"stream\":true}", "b", true,
      "{\"model\":\"b\",\"stream_options\":{\"include_usage\":true},\"messages\":[1],\"stream\":true}");
}

static void what_is_not_acceptable_is_refused_by_name(void) {
  CHECK_REFUSED("", true, "invalid_json");
  CHECK_REFUSED("{", true, "invalid_json");
  CHECK_REFUSED("[]", true, "invalid_body");
  CHECK_REFUSED("{}", true, "invalid_messages");
  CHECK_REFUSED("{\"messages\":[]}", true, "invalid_messages");
  CHECK_REFUSED("{\"messages\":{}}", true, "invalid_messages");
  CHECK_REFUSED("{\"messages\":[1],\"model\":1}", true, "invalid_model");
  CHECK_REFUSED("{\"messages\":[1],\"model\":\"\"}", true, "invalid_model");
  CHECK_REFUSED("{\"messages\":[1],\"model\":\"\\ud800\"}", true, "invalid_model");
  CHECK_REFUSED("{\"messages\":[1],\"model\":\"a\\n\"}", true, "invalid_model");
  CHECK_REFUSED("{\"messages\":[1],\"stream\":1}", true, "invalid_stream");
  CHECK_REFUSED("{\"messages\":[1],\"stream\":true,\"stream_options\":1}", true, "invalid_stream_options");
  CHECK_REFUSED("{\"messages\":[1],\"model\":\"a\",\"mod\\u0065l\":\"a\"}", true, "repeated_member");
}

static void the_place_of_an_error_is_told(void) {
  CHECK(!read_body("{\"messages\":[1],\n  \"x\": tru }", true));
  CHECK(strstr(fault.message, "line 2, column") != NULL);
}

static void limits_of_an_answer_are_read(void) {
  CHECK(read_body("{\"messages\":[1],\"max_tokens\":5}", true));
  CHECK(body.max_tokens == 5);
  CHECK(read_body("{\"messages\":[1],\"max_tokens\":5,\"max_completion_tokens\":7}", true));
  CHECK(body.max_tokens == 7);
  CHECK(read_body("{\"messages\":[1],\"max_tokens\":1e400}", true));
  CHECK(isnan(body.max_tokens));
  CHECK(read_body("{\"messages\":[1],\"prompt_cache_key\":\"k\"}", true));
  CHECK_STR(body.cache_key.ptr, body.cache_key.len, "k");
}

int main(void) {
  arena_pool_init(&pool, 4);
  arena_init(&arena, &pool, 1 << 16);
  RUN(the_model_is_replaced_where_it_stands);
  RUN(the_same_model_changes_no_byte);
  RUN(a_missing_model_is_put_in_front);
  RUN(a_models_name_is_escaped);
  RUN(without_a_name_nothing_is_replaced);
  RUN(include_usage_is_added_where_it_is_missing);
  RUN(include_usage_that_is_there_is_left_alone);
  RUN(both_changes_come_in_the_order_of_the_text);
  RUN(what_is_not_acceptable_is_refused_by_name);
  RUN(the_place_of_an_error_is_told);
  RUN(limits_of_an_answer_are_read);
  arena_reset(&arena);
  arena_pool_release(&pool);
  return CHECK_END();
}
