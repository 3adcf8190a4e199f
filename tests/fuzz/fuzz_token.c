/*
 * Input: one byte for the form, then a whole Authorization header or the payload below its base64. The stand-in
 * provider must come to one verdict with one reason, and what it takes for JSON must be what our own scanner takes
 * for JSON, where both can.
 */
#include "support/go_json.h"
#include "support/token_check.h"
#include "wire/json.h"

#include <nettle/base64.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_header(struct span header) {
  struct token_check verdict;
  struct token_check_world world = {.provider = SPAN("0x478041c7400c6964ea8475eE8837Aff28845945B"),
                                    .now_ms = 1767229200000,
                                    .generation = 2,
                                    .revoked = {{64}}};
  token_check(&verdict, header, &world);
  REQUIRE(verdict.is_good == (verdict.error[0] == '\0'));
  REQUIRE(memchr(verdict.error, 0, sizeof verdict.error) &&
          memchr(verdict.user_text, 0, sizeof verdict.user_text));
  if (verdict.is_good) REQUIRE(strlen(verdict.user_text) == ADDRESS_TEXT_LEN);
}

/* Names and values lie one behind the other inside the object. */
static void walk(struct span object) {
  struct span name;
  struct go_json value;
  const char *before = object.ptr;
  for (size_t at = 0; go_json_next(&name, &value, &at, object);) {
    REQUIRE(name.ptr > before && name.len >= 2 && name.ptr[0] == '"' && name.ptr[name.len - 1] == '"');
    REQUIRE(value.raw.ptr > name.ptr && value.raw.len > 0);
    before = value.raw.ptr;
    REQUIRE(before + value.raw.len < object.ptr + object.len);
    struct json_fault fault;
    int err = json_validate(&fault, value.raw);
    REQUIRE(!err || err == ERR_TOO_LARGE || err == ERR_SYNTAX);
    (void)go_json_unquote(NULL, 0, name);
  }
}

static void check_json(struct span text) {
  struct go_json v;
  struct json_fault fault = {0};
  char error[GO_JSON_ERROR_MAX + 1];
  bool is_json = go_json_read(&v, error, text);
  int err = json_validate(&fault, text);
  REQUIRE(is_json == (error[0] == '\0'));
  if (err == 0) REQUIRE(is_json);
  /* Ours refuses what is not UTF-8, and deep nesting. */
  if (is_json && err) REQUIRE(err == ERR_TOO_LARGE || strstr(fault.message, "UTF-8"));
  if (is_json && v.type == GO_JSON_OBJECT) walk(v.raw);
  if (is_json && v.type == GO_JSON_STRING) (void)go_json_unquote(NULL, 0, v.raw);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 1) return 0;
  struct span text = span_make((const char *)data + 1, size - 1);
  if (data[0] % 3 == 0) {
    check_header(text);
  } else if (data[0] % 3 == 1) {
    static const char prefix[] = "Bearer app-sk-";
    size_t len = sizeof prefix - 1 + BASE64_ENCODE_RAW_LENGTH(text.len);
    char *header = x_malloc(len);
    memcpy(header, prefix, sizeof prefix - 1);
    base64_encode_raw(header + sizeof prefix - 1, text.len, (const uint8_t *)text.ptr);
    check_header(span_make(header, len));
    free(header);
  } else {
    check_json(text);
  }
  return 0;
}
