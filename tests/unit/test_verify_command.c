#include "check.h"

#include "daemon/verify_command.h"

static char said[8192];

static int tell(int status, const char *body) {
  struct buf out;
  buf_init(&out, sizeof said - 1);
  int code = verify_tell(&out, status, span_str(body));
  (void)snprintf(said, sizeof said, "%s", buf_cstr(&out));
  buf_release(&out);
  return code;
}

static void a_valid_answer_is_exit_code_0(void) {
  CHECK_INT(tell(200,
                 "{\"isValid\":true,\"provider\":\"0xP\",\"type\":\"onchain\",\"signer\":\"0xS\",\"checks\":"
                 "{\"signature\":\"pass\",\"response\":\"pass\",\"request\":\"unknown\",\"reason\":\"r\","
                 "\"reasons\":{\"request\":\"it may have been rewritten\"}}}"),
            0);
  CHECK(strstr(said, "valid: provider 0xP signed this answer\n"));
  CHECK(strstr(said, "request    unknown: it may have been rewritten\n"));
}

static void anything_else_is_1_and_says_why(void) {
  CHECK_INT(
      tell(200,
           "{\"isValid\":false,\"provider\":\"0xP\",\"signer\":\"0xS\",\"expectedSigner\":\"0xE\",\"checks\":"
           "{\"signature\":\"fail\",\"reasons\":{\"signature\":\"another key\"}}}"),
      1);
  CHECK(strstr(said, "NOT VALID") && strstr(said, "0xS") && strstr(said, "0xE") &&
        strstr(said, "fail: another key"));
  CHECK_INT(tell(200, "{\"isValid\":null,\"provider\":\"local\",\"note\":\"no proof\"}"), 1);
  CHECK(strstr(said, "cannot be verified: no proof (provider local)"));
  CHECK_INT(tell(404, "{\"error\":{\"message\":\"No cached content for this id\"}}"), 1);
  CHECK(strstr(said, "not verified: No cached content for this id (status 404)"));
  static const char *const odd[] = {"",    "nope", "[]", "{}", "{\"isValid\":\"true\"}", "{\"error\":5}",
                                    "null"};
  for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
    CHECK_INT(tell(200, odd[i]), 1);
    CHECK_INT(tell(502, odd[i]), 1);
    CHECK(said[0]);
  }
}

static void what_a_server_says_steers_no_terminal(void) {
  CHECK_INT(tell(500, "{\"error\":{\"message\":\"a\\u001b[31mb\"}}"), 1);
  CHECK(!strchr(said, 0x1b));
}

int main(void) {
  RUN(a_valid_answer_is_exit_code_0);
  RUN(anything_else_is_1_and_says_why);
  RUN(what_a_server_says_steers_no_terminal);
  return CHECK_END();
}
