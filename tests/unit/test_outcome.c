#include "check.h"

#include "model/outcome.h"

static enum outcome_class of(int status, const char *body) {
  return outcome_of_status(status, span_str(body));
}

static void every_class_has_its_name(void) {
  CHECK_STR(outcome_name(OUTCOME_OK), 2, "ok");
  CHECK_STR(outcome_name(OUTCOME_TIMEOUT_TTFT), 12, "timeout_ttft");
  CHECK_STR(outcome_name(OUTCOME_CLIENT_CLOSED), 13, "client_closed");
  CHECK_STR(outcome_name(OUTCOME_N), 7, "unknown");
  for (int c = 0; c < OUTCOME_N; c++)
    CHECK(outcome_name((enum outcome_class)c)[0]);
}

static void what_follows_is_as_the_contract_says(void) {
  for (int c = OUTCOME_CONNECT; c <= OUTCOME_TIMEOUT_TOTAL; c++) {
    CHECK(outcome_is_retryable((enum outcome_class)c));
    CHECK(outcome_harms_health((enum outcome_class)c));
  }
  static const enum outcome_class paused[] = {OUTCOME_RATE_LIMITED, OUTCOME_EXHAUSTED, OUTCOME_AUTH};
  for (size_t i = 0; i < ARRAY_LEN(paused); i++) {
    CHECK(outcome_is_retryable(paused[i]));
    CHECK(!outcome_harms_health(paused[i]));
  }
  static const enum outcome_class callers[] = {OUTCOME_CLIENT_ERROR, OUTCOME_CONTENT_POLICY,
                                               OUTCOME_CLIENT_CLOSED};
  for (size_t i = 0; i < ARRAY_LEN(callers); i++) {
    CHECK(!outcome_is_retryable(callers[i]));
    CHECK(!outcome_harms_health(callers[i]));
  }
  CHECK(outcome_harms_health(OUTCOME_SERVER) && outcome_harms_health(OUTCOME_OVERLOADED));
  CHECK(outcome_harms_health(OUTCOME_BAD_RESPONSE) && outcome_harms_health(OUTCOME_STREAM_TRUNCATED));
  CHECK(!outcome_is_retryable(OUTCOME_OK) && !outcome_harms_health(OUTCOME_OK));
  CHECK(!outcome_is_retryable(OUTCOME_N) && !outcome_harms_health(OUTCOME_N));
}

static void a_status_alone_decides_most(void) {
  CHECK_INT(of(200, ""), OUTCOME_OK);
  CHECK_INT(of(204, ""), OUTCOME_OK);
  CHECK_INT(of(299, ""), OUTCOME_OK);
  CHECK_INT(of(400, ""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(401, ""), OUTCOME_AUTH);
  CHECK_INT(of(402, ""), OUTCOME_EXHAUSTED);
  CHECK_INT(of(403, ""), OUTCOME_AUTH);
  CHECK_INT(of(404, ""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(408, ""), OUTCOME_OVERLOADED);
  CHECK_INT(of(409, ""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(413, ""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(422, ""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(429, ""), OUTCOME_RATE_LIMITED);
  CHECK_INT(of(499, ""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(500, ""), OUTCOME_SERVER);
  CHECK_INT(of(502, ""), OUTCOME_SERVER);
  CHECK_INT(of(503, ""), OUTCOME_OVERLOADED);
  CHECK_INT(of(504, ""), OUTCOME_SERVER);
  CHECK_INT(of(529, ""), OUTCOME_OVERLOADED);
  CHECK_INT(of(599, ""), OUTCOME_SERVER);
}

static void no_answer_at_all_and_redirects_are_bad_responses(void) {
  static const int odd[] = {-1, 0, 99, 100, 101, 199, 300, 301, 307, 399, 600, 999};
  for (size_t i = 0; i < ARRAY_LEN(odd); i++)
    CHECK_INT(of(odd[i], ""), OUTCOME_BAD_RESPONSE);
}

static void account_texts_of_a_400_are_our_trouble(void) {
  CHECK_INT(of(400, "{\"error\":\"validate session: session token expired\"}"), OUTCOME_AUTH);
  CHECK_INT(of(400,
               "{\"error\":\"Provider proxy: handle proxied service, validate session: invalid signature "
               "length\"}"),
            OUTCOME_AUTH);
  CHECK_INT(of(400, "{\"error\":\"validate request: get account from contract, account not exist: 0x\"}"),
            OUTCOME_EXHAUSTED);
  CHECK_INT(of(400, "{\"error\":\"validate request: user not acknowledge the provider, please use\"}"),
            OUTCOME_EXHAUSTED);
  CHECK_INT(of(400, "{ \"error\" : \"validate request: service not acknowledge the tee signer\" }"),
            OUTCOME_EXHAUSTED);
  CHECK_INT(of(400,
               "{\"error\":\"Provider proxy: handle proxied service, validate request: insufficient balance: "
               "your locked balance is 1 0G\"}"),
            OUTCOME_EXHAUSTED);
  CHECK_INT(of(400, "{\"error\":\"insufficient balance: add funds\"}"), OUTCOME_EXHAUSTED);
  CHECK_INT(of(400, "{\"error\":{\"message\":\"insufficient balance: add funds\",\"code\":null}}"),
            OUTCOME_EXHAUSTED);
  /* The first bytes are enough. */
  CHECK_INT(of(400, "{\"error\":\"validate session: signature verif"), OUTCOME_AUTH);
}

static void other_texts_of_a_400_are_the_callers(void) {
  CHECK_INT(of(400, "{\"error\":\"unsupported endpoint: endpoint not supported\"}"), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "{\"error\":\"validate request: bad parameter\"}"), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "insufficient balance"), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "\"validate session\""), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "[]]]}}{\"error\":\"validate session\"}"), OUTCOME_CLIENT_ERROR);
}

static void a_quoted_text_pauses_nobody(void) {
  CHECK_INT(of(400, "{\"error\":\"bad value 'validate session: x'\"}"), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "{\"error\":{\"message\":\"no such role: insufficient balance\"}}"),
            OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "{\"input\":{\"error\":\"validate session: x\"},\"error\":\"bad\"}"),
            OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "{\"error\":{\"message\":\"bad\",\"seen\":{\"code\":\"insufficient_quota\"}}}"),
            OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "{\"error\":[{\"message\":\"validate session: x\"}]}"), OUTCOME_CLIENT_ERROR);
  CHECK_INT(of(400, "{\"error\":\"quote \\\",\\\"code\\\":\\\"insufficient_quota\\\"\"}"),
            OUTCOME_CLIENT_ERROR);
}

static void codes_of_openai_are_known(void) {
  CHECK_INT(
      of(429,
         "{\"error\":{\"message\":\"m\",\"type\":\"insufficient_quota\",\"code\":\"insufficient_quota\"}}"),
      OUTCOME_EXHAUSTED);
  CHECK_INT(of(429, "{\"error\":{\"type\":\"tokens\",\"param\":null,\"code\":\"rate_limit_exceeded\"}}"),
            OUTCOME_RATE_LIMITED);
  CHECK_INT(of(429, "{\"error\":{\"message\":\"insufficient_quota\"}}"), OUTCOME_RATE_LIMITED);
  CHECK_INT(of(400, "{\"error\":{\"message\":\"m\",\"param\":null,\"code\":\"content_policy_violation\"}}"),
            OUTCOME_CONTENT_POLICY);
  CHECK_INT(of(400, "{\"error\":{\"inner\":[1,{\"code\":\"x\"}],\"code\":\"content_filter\"}}"),
            OUTCOME_CONTENT_POLICY);
  CHECK_INT(of(400, "{\"code\":\"content_filter\",\"message\":\"m\"}"), OUTCOME_CONTENT_POLICY);
}

static void a_body_that_ends_anywhere_is_read_safely(void) {
  static const char body[] =
      "{\"a\":[\"\\\\\\\"\",{}],\"error\":{\"message\":\"validate session\",\"code\":\"content_filter\"}}";
  for (size_t n = 0; n < sizeof body; n++) {
    enum outcome_class c = outcome_of_status(400, span_make(body, n));
    CHECK(c == OUTCOME_CLIENT_ERROR || c == OUTCOME_AUTH || c == OUTCOME_CONTENT_POLICY);
  }
  CHECK_INT(of(400, "{\"error\":\"x\\"), OUTCOME_CLIENT_ERROR);
  CHECK_INT(outcome_of_status(400, SPAN_NONE), OUTCOME_CLIENT_ERROR);
}

int main(void) {
  RUN(every_class_has_its_name);
  RUN(what_follows_is_as_the_contract_says);
  RUN(a_status_alone_decides_most);
  RUN(no_answer_at_all_and_redirects_are_bad_responses);
  RUN(account_texts_of_a_400_are_our_trouble);
  RUN(other_texts_of_a_400_are_the_callers);
  RUN(a_quoted_text_pauses_nobody);
  RUN(codes_of_openai_are_known);
  RUN(a_body_that_ends_anywhere_is_read_safely);
  return CHECK_END();
}
