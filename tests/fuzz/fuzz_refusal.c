/*
 * Input: two bytes of a status, one that says whose the model is, then a provider's error body; and the body once more as
 * the value of a Retry-After. What is read lies inside the body and has a class, a text and, where another reader of the
 * same says so, amounts; the strict scanner finds the same text; a date that is written is read as the same moment.
 */
#include "model/refusal.h"
#include "wire/http.h"
#include "wire/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define DAY_MS UINT64_C(86400000)

static bool lies_in(struct span part, struct span whole) {
  return part.len == 0 || (part.ptr >= whole.ptr && part.ptr + part.len <= whole.ptr + whole.len);
}

static void check_amount(struct span amount, struct span body) {
  REQUIRE(lies_in(amount, body));
  for (size_t i = 0; i < amount.len; i++)
    REQUIRE((amount.ptr[i] >= '0' && amount.ptr[i] <= '9') || amount.ptr[i] == '.');
}

static bool scan(struct json_member *m, size_t n, struct span text) {
  struct json_object object;
  struct json_fault fault;
  return json_scan_object(m, n, &object, &fault, text) == 0;
}

/* The strict scanner finds the same text, where the document leaves no doubt. */
static void check_text(struct span body) {
  struct json_member top[] = {{.name = SPAN("error")}, {.name = SPAN("message")}};
  struct json_member in[] = {{.name = SPAN("message")}};
  if (memchr(body.ptr, '\\', body.len) || !scan(top, 2, body) || top[0].count != 1 || top[1].count) return;
  struct json_member *m = &top[0];
  if (m->type == JSON_OBJECT) {
    if (!scan(in, 1, m->value) || in[0].count != 1) return;
    m = &in[0];
  }
  if (m->type != JSON_STRING) return;
  struct span wanted = span_make(m->value.ptr + 1, m->value.len - 2), got = outcome_error_text(body);
  REQUIRE(got.ptr == wanted.ptr && got.len == wanted.len);
}

static void check_refusal(int status, struct span body, bool is_ours) {
  struct refusal r;
  char text[400];
  refusal_read(&r, status, body, is_ours);
  REQUIRE(r.class < OUTCOME_N && outcome_name(r.class)[0]);
  REQUIRE(lies_in(outcome_error_text(body), body));
  check_text(body);
  check_amount(r.has, body);
  check_amount(r.needs, body);
  refusal_text(text, sizeof text, &r, "0x1234567890123456789012345678901234567890");
  REQUIRE((text[0] == '\0') == (r.kind == REFUSAL_OTHER) && strlen(text) < sizeof text);
  enum outcome_class plain = outcome_of_status(status, body);
  if (r.kind == REFUSAL_OTHER) REQUIRE(r.class == plain);
  /* Nobody's mistake is told by a status that says that all is well, or by one of the provider's. */
  if (status < 300) REQUIRE(plain == OUTCOME_OK);
  if (status >= 500) REQUIRE(plain == OUTCOME_SERVER || plain == OUTCOME_OVERLOADED);
  /* Blanks around a document say nothing; behind one that is cut off they are part of a text. */
  struct json_fault fault;
  if (json_validate(&fault, body)) return;
  char *padded = malloc(body.len + 2);
  REQUIRE(padded);
  padded[0] = ' ';
  if (body.len) memcpy(padded + 1, body.ptr, body.len);
  padded[body.len + 1] = '\n';
  REQUIRE(outcome_of_status(status, span_make(padded, body.len + 2)) == plain);
  free(padded);
}

static void check_retry_after(struct span value, uint64_t now_ms) {
  uint64_t ms = 0;
  if (http_retry_after_ms(value, now_ms, &ms)) REQUIRE(ms <= DAY_MS);
  char date[32];
  size_t len = http_date(date, now_ms + DAY_MS / 2);
  REQUIRE(http_retry_after_ms(span_make(date, len), now_ms, &ms));
  REQUIRE(ms <= DAY_MS / 2 && DAY_MS / 2 - ms < 1000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 3) return 0;
  /* A copy of its own, so that a byte read behind it is seen. */
  char *copy = malloc(size - 3 ? size - 3 : 1);
  REQUIRE(copy);
  if (size > 3) memcpy(copy, data + 3, size - 3);
  struct span body = span_make(copy, size - 3);
  int status = 200 + (data[0] << 8 | data[1]) % 400;
  check_refusal(status, body, data[2] & 1);
  check_retry_after(body, (uint64_t)(data[0] << 8 | data[1]) * 3800000000u);
  free(copy);
  return 0;
}
