/*
 * Proofs of answers and fees, for what no vector shows.
 */
#include "check.h"

#include <nettle/sha2.h>
#include "base/buf.h"
#include "eth/fee.h"
#include "eth/hex.h"
#include "eth/key.h"
#include "eth/proof.h"

static struct key *key;
static const uint8_t REQUEST[32] = {1, 2, 3}, RESPONSE[32] = {4, 5, 6}, OTHER[32] = {7};
static const uint8_t IMAGES[2][32] = {{8}, {9}};

/* ---- a provider ---- */

static struct service service(void) {
  return (struct service){.service_type = SPAN("chatbot"),
                          .url = SPAN("https://provider.example"),
                          .model = SPAN("m"),
                          .verifiability = SPAN("TeeML"),
                          .additional_info = SPAN("{}"),
                          .tee_signer = *key_address(key),
                          .tee_signer_acknowledged = true};
}

/* The answer of a signature endpoint over `text`; `out` is the caller's. */
static struct span sign(struct buf *out, const char *text) {
  char signed_text[SIGNATURE_TEXT_LEN + 1];
  struct signature s;
  key_sign_personal(&s, key, text, strlen(text));
  signature_text(signed_text, &s);
  buf_init(out, 4096);
  buf_putf(out, "{\"text\":\"%s\",\"signature\":\"%s\"}", text, signed_text);
  return buf_span(out);
}

static const char *hash_text(const uint8_t hash[32]) {
  static char texts[8][65];
  static unsigned next;
  char *out = texts[next++ % 8];
  hex_write(out, hash, 32);
  out[64] = '\0';
  return out;
}

static struct proof judge_with(const struct service *s, const char *text, const struct proof_evidence *base) {
  struct proof_expectation expected;
  struct proof p;
  struct buf body;
  struct proof_evidence e = *base;
  e.body = sign(&body, text);
  proof_expect(&expected, s);
  proof_judge(&p, &expected, &e);
  buf_release(&body);
  return p;
}

static const struct proof_evidence KNOWN = {
    .has_chat_id = true, .status = 200, .request_sha256 = REQUEST, .response_sha256 = RESPONSE};

static struct proof judge(const char *text, const struct proof_evidence *base) {
  struct service s = service();
  return judge_with(&s, text, base);
}

static const char *pair(const uint8_t a[32], const uint8_t b[32]) {
  static char out[160];
  (void)snprintf(out, sizeof out, "%s:%s", hash_text(a), hash_text(b));
  return out;
}

/* ---- the text ---- */

static void an_answer_is_valid_when_signature_and_response_pass(void) {
  struct proof p = judge(pair(REQUEST, RESPONSE), &KNOWN);
  CHECK(proof_is_valid(&p));
  CHECK(p.signature == PROOF_PASS && p.response == PROOF_PASS && p.request == PROOF_PASS);
  CHECK(!p.signature_reason && !p.response_reason && !p.request_reason);
  CHECK(p.has_signer && address_eq(&p.signer, key_address(key)));
}

static void an_altered_response_is_not_valid_though_the_sdk_says_so(void) {
  struct proof p = judge(pair(REQUEST, OTHER), &KNOWN);
  CHECK_INT(p.verdict, PROOF_TRUE);
  CHECK(!proof_is_valid(&p));
  CHECK(p.signature == PROOF_PASS && p.response == PROOF_FAIL && p.response_reason);
}

static void another_request_counts_only_when_it_cannot_have_been_rewritten(void) {
  struct proof_evidence e = KNOWN;
  struct proof p = judge(pair(OTHER, RESPONSE), &e);
  CHECK_INT(p.request, PROOF_FAIL);
  e.is_request_rewritable = true;
  p = judge(pair(OTHER, RESPONSE), &e);
  CHECK_INT(p.request, PROOF_UNKNOWN);
  CHECK(p.request_reason && proof_is_valid(&p));
}

static void what_was_not_kept_is_unknown(void) {
  struct proof_evidence e = {.has_chat_id = true, .status = 200};
  struct proof p = judge(pair(REQUEST, RESPONSE), &e);
  CHECK(p.signature == PROOF_PASS && p.response == PROOF_UNKNOWN && p.request == PROOF_UNKNOWN);
  CHECK(!proof_is_valid(&p) && p.response_reason && p.request_reason);
}

static void hashes_are_compared_to_the_last_digit(void) {
  char text[160];
  (void)snprintf(text, sizeof text, "%s", pair(REQUEST, RESPONSE));
  size_t len = strlen(text);
  text[len - 1] ^= 1;
  CHECK_INT(judge(text, &KNOWN).response, PROOF_FAIL);
  text[len - 1] = '\0';
  CHECK_INT(judge(text, &KNOWN).response, PROOF_FAIL);
  CHECK_INT(judge(":", &KNOWN).response, PROOF_FAIL);
}

static void a_text_of_an_unknown_form_proves_nothing(void) {
  static const char *const texts[] = {"", "x", "a:b:c", "a:b:c:d", "a:b:c:d:e:f"};
  for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
    struct proof p = judge(texts[i], &KNOWN);
    CHECK(p.signature == PROOF_PASS && p.response == PROOF_UNKNOWN && p.request == PROOF_UNKNOWN);
    CHECK(!proof_is_valid(&p) && p.response_reason);
  }
}

static void five_parts_tell_the_route(void) {
  char text[400];
  struct service s = service();
  s.additional_info = SPAN("{\"ProviderType\":\"centralized\",\"ProviderIdentity\":\"open\\u0061i\"}");
  (void)snprintf(text, sizeof text, "%s:centralized:openai:%s", pair(REQUEST, RESPONSE), hash_text(OTHER));
  struct proof p = judge_with(&s, text, &KNOWN);
  CHECK(proof_is_valid(&p));
  CHECK_INT(p.routing, PROOF_PASS);
  (void)snprintf(text, sizeof text, "%s:centralized:other:%s", pair(REQUEST, RESPONSE), hash_text(OTHER));
  CHECK_INT(judge_with(&s, text, &KNOWN).routing, PROOF_FAIL);
  s.additional_info = SPAN("{}");
  CHECK_INT(judge_with(&s, text, &KNOWN).routing, PROOF_FAIL);
  CHECK_INT(judge(pair(REQUEST, RESPONSE), &KNOWN).routing, PROOF_UNKNOWN);
}

static void images_are_compared_by_the_list_of_their_digests(void) {
  char text[400];
  uint8_t list[32];
  struct sha256_ctx sha;
  struct service s = service();
  struct proof_evidence e = KNOWN;
  s.service_type = SPAN("text-to-image");
  (void)snprintf(text, sizeof text, "%s,%s", pair(REQUEST, IMAGES[0]), hash_text(IMAGES[1]));
  CHECK_INT(judge_with(&s, text, &e).response, PROOF_UNKNOWN);
  sha256_init(&sha);
  sha256_update(&sha, 129, (const uint8_t *)text + 65);
  sha256_digest(&sha, sizeof list, list);
  e.images_sha256 = list;
  struct proof p = judge_with(&s, text, &e);
  CHECK(proof_is_valid(&p) && p.request == PROOF_PASS);
  CHECK_INT(judge_with(&s, pair(REQUEST, IMAGES[0]), &e).response, PROOF_FAIL);
  text[129] = ';';
  CHECK_INT(judge_with(&s, text, &e).response, PROOF_FAIL);
  /* Some sign the answer's bytes. */
  CHECK_INT(judge_with(&s, pair(REQUEST, RESPONSE), &e).response, PROOF_PASS);
}

/* ---- the signature ---- */

static void another_signer_is_named(void) {
  struct service s = service();
  s.tee_signer.bytes[0] ^= 1;
  struct proof p = judge_with(&s, pair(REQUEST, RESPONSE), &KNOWN);
  CHECK(p.verdict == PROOF_FALSE && p.signature == PROOF_FAIL && p.signature_reason);
  CHECK(p.has_signer && address_eq(&p.signer, key_address(key)) && !proof_is_valid(&p));
}

static void a_signature_that_is_not_there_yet_is_worth_a_retry(void) {
  struct service s = service();
  struct proof_expectation expected;
  struct proof p;
  struct proof_evidence e = KNOWN;
  proof_expect(&expected, &s);
  e.status = 400;
  e.body = SPAN("{\"error\":\"prepare HTTP request: Chat id not found or expired, chat_id_not_found\"}");
  proof_judge(&p, &expected, &e);
  CHECK(p.is_not_found && p.signature == PROOF_UNKNOWN && p.verdict == PROOF_THROWS);
  e.body = SPAN("{\"error\":\"other\"}");
  proof_judge(&p, &expected, &e);
  CHECK(!p.is_not_found);
  e.status = 0;
  e.body = SPAN_NONE;
  proof_judge(&p, &expected, &e);
  CHECK(!p.is_not_found && p.signature == PROOF_UNKNOWN && p.signature_reason && p.response_reason);
}

static void nothing_is_promised_for_services_that_cannot_be_verified(void) {
  struct service s = service();
  struct proof p;
  s.tee_signer_acknowledged = false;
  p = judge_with(&s, pair(REQUEST, RESPONSE), &KNOWN);
  CHECK(p.verdict == PROOF_FALSE && p.signature == PROOF_UNKNOWN && !proof_is_valid(&p));
  s = service();
  s.verifiability = SPAN("TeeML ");
  CHECK_INT(judge_with(&s, pair(REQUEST, RESPONSE), &KNOWN).verdict, PROOF_FALSE);
  s = service();
  s.service_type = SPAN("embedding");
  CHECK_INT(judge_with(&s, pair(REQUEST, RESPONSE), &KNOWN).verdict, PROOF_THROWS);
}

static void bodies_of_another_form_are_refused(void) {
  static const char *const bodies[] = {"",
                                       "[]",
                                       "null",
                                       "{",
                                       "{\"text\":\"\\ud800\",\"signature\":\"0x\"}",
                                       "{\"text\":\"a\",\"signature\":{}}",
                                       "{\"signature\":\"0x00\"}"};
  struct service s = service();
  struct proof_expectation expected;
  proof_expect(&expected, &s);
  for (size_t i = 0; i < ARRAY_LEN(bodies); i++) {
    struct proof p;
    struct proof_evidence e = KNOWN;
    e.body = span_str(bodies[i]);
    proof_judge(&p, &expected, &e);
    CHECK(p.verdict == PROOF_THROWS && p.signature == PROOF_FAIL && !proof_is_valid(&p) &&
          p.signature_reason);
  }
}

static void the_expected_signer_follows_the_record(void) {
  static const struct {
    const char *info;
    enum proof_verdict verdict;
    enum proof_signer source;
  } cases[] = {
      {"", PROOF_FALSE, PROOF_SIGNER_BROKER},
      {" null ", PROOF_FALSE, PROOF_SIGNER_BROKER},
      {"nul", PROOF_FALSE, PROOF_SIGNER_BROKER},
      {" [1] ", PROOF_TRUE, PROOF_SIGNER_BROKER},
      {"{\"TargetSeparated\":true}", PROOF_TRUE, PROOF_SIGNER_BROKER},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":0.0e5}", PROOF_TRUE, PROOF_SIGNER_BROKER},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":1e5}", PROOF_TRUE, PROOF_SIGNER_NO_TEXT},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":[]}", PROOF_TRUE, PROOF_SIGNER_NO_TEXT},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":false}", PROOF_TRUE, PROOF_SIGNER_BROKER},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":\"0x12\"}", PROOF_TRUE, PROOF_SIGNER_INVALID},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":\"5e80925E54a6adb17ee92FAc7752Cb02d95ae379ab\"}",
       PROOF_TRUE, PROOF_SIGNER_INVALID},
      {"{\"TargetSeparated\":true,\"TargetTeeAddress\":\"0X5E80925e54a6adb17ee92FAc7752Cb02d95ae379\"}",
       PROOF_TRUE, PROOF_SIGNER_TARGET},
      {"{\"TargetSeparated\":1,\"TargetTeeAddress\":\"0x5e80925E54a6adb17ee92FAc7752Cb02d95ae379\"}",
       PROOF_TRUE, PROOF_SIGNER_BROKER},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    struct service s = service();
    struct proof_expectation x;
    s.additional_info = span_str(cases[i].info);
    proof_expect(&x, &s);
    CHECK_INT(x.verdict, cases[i].verdict);
    CHECK_INT(x.source, cases[i].source);
    CHECK((x.reason == NULL) == (x.verdict == PROOF_TRUE));
    if (x.source == PROOF_SIGNER_TARGET) CHECK(x.signer.bytes[0] == 0x5e);
  }
}

/* ---- the URL ---- */

static void ids_and_models_cannot_leave_their_place_in_the_url(void) {
  struct buf b;
  buf_init(&b, 256);
  CHECK_INT(proof_signature_url(&b, SPAN("https://p.example///"), SPAN("../a b\r\n?x#%2f"),
                                SPAN("org/m:1&x=\xc3\xa9")),
            0);
  CHECK_STR(b.data, b.len,
            "https://p.example/v1/proxy/signature/..%2Fa%20b%0D%0A%3Fx%23%252f?model=org/m:1%26x%3D%C3%A9");
  buf_clear(&b);
  char id[200];
  memset(id, ' ', sizeof id);
  buf_put_str(&b, "x");
  CHECK_INT(proof_signature_url(&b, SPAN("https://p"), span_make(id, sizeof id), SPAN("m")), ERR_TOO_LARGE);
  CHECK_INT(b.len, 1);
  buf_release(&b);
}

/* ---- fees ---- */

static void check_fee(const char *type, uint64_t in, uint64_t out, const char *usage, const char *expected) {
  struct fee f;
  struct buf b;
  buf_init(&b, 1024);
  CHECK_INT(fee_estimate(&f, span_str(type), u256_of(in), u256_of(out), span_str(usage)), 0);
  CHECK_INT(fee_text(&b, &f), 0);
  CHECK_STR(b.data, b.len, expected);
  buf_release(&b);
}

static void counts_of_any_size_are_exact(void) {
  check_fee("chatbot", 3, 0, "{\"prompt_tokens\":9007199254740993}", "27021597764222976");
  check_fee("chatbot", 7, 0, "{\"prompt_tokens\":1e21}", "7000000000000000000000");
  check_fee("chatbot", 1, 1, "{\"prompt_tokens\":1e300,\"completion_tokens\":-1e300}", "0");
  check_fee("chatbot", 2, 5, "{\"prompt_tokens\":\" -12abc\",\"completion_tokens\":\"+4\"}", "-4");
  check_fee("chatbot", 2, 5, "{\"prompt_tokens\":-0,\"completion_tokens\":\"007\"}", "35");
  check_fee("chatbot", 2, 5, "{\"prompt_tokens\":true,\"completion_tokens\":\"\"}", "0");
  check_fee("chatbot", 2, 5, "{\"prompt_tokens\":5,\"prompt_tokens\":6}", "12");
  check_fee("text-to-image", 2, 5, "{\"n\":0}", "0");
  check_fee("image-editing", 2, 5, "", "2");
}

static void counts_that_are_no_integers_are_refused(void) {
  static const char *const bad[] = {"{\"prompt_tokens\":0.5}", "{\"prompt_tokens\":1e999}",
                                    "{\"completion_tokens\":-1e-5}"};
  struct fee f;
  for (size_t i = 0; i < ARRAY_LEN(bad); i++)
    CHECK_INT(fee_estimate(&f, SPAN("chatbot"), u256_of(1), u256_of(1), span_str(bad[i])), ERR_RANGE);
  char many[400] = "{\"prompt_tokens\":\"";
  size_t len = strlen(many);
  memset(many + len, '9', 320);
  (void)snprintf(many + len + 320, 8, "\"}");
  CHECK_INT(fee_estimate(&f, SPAN("chatbot"), u256_of(1), u256_of(1), span_str(many)), ERR_RANGE);
  CHECK_INT(fee_estimate(&f, SPAN("embedding"), u256_of(1), u256_of(1), SPAN("{}")), ERR_UNSUPPORTED);
}

static void prices_are_compared_by_what_they_buy(void) {
  CHECK(u256_eq(fee_for_people(SPAN("chatbot"), u256_of(90)), u256_of(90000000)));
  CHECK(u256_eq(fee_for_people(SPAN("speech-to-text"), u256_of(1)), u256_of(1000000)));
  CHECK(u256_eq(fee_for_people(SPAN("text-to-image"), u256_of(90)), u256_of(90)));
  CHECK(u256_eq(fee_for_people(SPAN("image-editing"), U256_MAX), U256_MAX));
  CHECK(u256_eq(fee_for_people(SPAN("chatbot"), U256_MAX), U256_MAX));
}

static void the_largest_fee_has_room(void) {
  struct fee f;
  struct buf b;
  buf_init(&b, 1024);
  static const char usage[] =
      "{\"prompt_tokens\":1.7976931348623157e308,\"completion_tokens\":1.7976931348623157e308}";
  CHECK_INT(fee_estimate(&f, SPAN("chatbot"), U256_MAX, U256_MAX, span_str(usage)), 0);
  CHECK_INT(fee_text(&b, &f), 0);
  CHECK_INT(b.len, 386);
  CHECK(u256_eq(fee_to_u256(&f), U256_MAX));
  f.is_negative = true;
  CHECK(u256_is_zero(fee_to_u256(&f)));
  buf_release(&b);
}

static void a_sub_account_is_topped_up_to_what_it_needs(void) {
  struct u256 half = u256_of(U256_0G.w[0] / 2), two = u256_of(2 * U256_0G.w[0]);
  CHECK(u256_eq(fee_locked(two, half), u256_of(U256_0G.w[0] * 3 / 2)));
  CHECK(u256_is_zero(fee_locked(half, two)));
  CHECK(fee_passes_gate(two, U256_0G, U256_0G));
  CHECK(!fee_passes_gate(two, U256_0G, u256_of(U256_0G.w[0] + 1)));
  CHECK(!fee_passes_gate(two, U256_MAX, U256_MAX));
  CHECK(u256_is_zero(fee_top_up(two, U256_ZERO, two)));
  CHECK(u256_eq(fee_top_up(two, half, two), U256_0G));
  CHECK(u256_eq(fee_top_up(U256_ZERO, half, two), u256_of(U256_0G.w[0] * 5 / 2)));
}

int main(void) {
  REQUIRE(key_new(&key, SPAN("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")) == 0);
  RUN(an_answer_is_valid_when_signature_and_response_pass);
  RUN(an_altered_response_is_not_valid_though_the_sdk_says_so);
  RUN(another_request_counts_only_when_it_cannot_have_been_rewritten);
  RUN(what_was_not_kept_is_unknown);
  RUN(hashes_are_compared_to_the_last_digit);
  RUN(a_text_of_an_unknown_form_proves_nothing);
  RUN(five_parts_tell_the_route);
  RUN(images_are_compared_by_the_list_of_their_digests);
  RUN(another_signer_is_named);
  RUN(a_signature_that_is_not_there_yet_is_worth_a_retry);
  RUN(nothing_is_promised_for_services_that_cannot_be_verified);
  RUN(bodies_of_another_form_are_refused);
  RUN(the_expected_signer_follows_the_record);
  RUN(ids_and_models_cannot_leave_their_place_in_the_url);
  RUN(counts_of_any_size_are_exact);
  RUN(counts_that_are_no_integers_are_refused);
  RUN(the_largest_fee_has_room);
  RUN(prices_are_compared_by_what_they_buy);
  RUN(a_sub_account_is_topped_up_to_what_it_needs);
  key_free(key);
  return CHECK_END();
}
