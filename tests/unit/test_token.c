/*
 * Session tokens, for what no vector shows: what is refused, what is random, and the stand-in provider that
 * says what a provider would.
 */
#include "check.h"
#include "eth/token.h"
#include "support/go_json.h"
#include "support/token_check.h"

#include <nettle/base64.h>
#include <stdlib.h>

#define PROVIDER "0x478041c7400c6964ea8475eE8837Aff28845945B"
#define NOW      INT64_C(1767225600000)

static struct key *key;

static struct token_wish wish(void) {
  return (struct token_wish){
      .provider = SPAN(PROVIDER), .token_id = TOKEN_ID_LOWEST, .now_ms = NOW, .generation = 2};
}

static struct token_check_world world(void) {
  return (struct token_check_world){.provider = SPAN(PROVIDER), .now_ms = NOW, .generation = 2};
}

/* What a provider says to `message|signature`. */
static void check_payload(struct span payload, const char *expected) {
  char header[4096] = "Bearer app-sk-";
  struct token_check verdict;
  struct token_check_world w = world();
  size_t len = strlen(header), coded = BASE64_ENCODE_RAW_LENGTH(payload.len);
  REQUIRE(len + coded < sizeof header);
  base64_encode_raw(header + len, payload.len, (const uint8_t *)payload.ptr);
  token_check(&verdict, span_make(header, len + coded), &w);
  CHECK(!verdict.is_good);
  CHECK_STR(verdict.error, strlen(verdict.error), expected);
}

/* ---- making ---- */

static void a_fresh_token_is_accepted(void) {
  struct token t;
  struct token_check verdict;
  struct token_wish w = wish();
  struct token_check_world there = world();
  CHECK_INT(token_make(&t, &w, key), TOKEN_OK);
  CHECK_INT(t.id, TOKEN_ID_EPHEMERAL);
  CHECK(t.expires_at_ms == NOW + TOKEN_LIFE_MAX_MS && t.timestamp_ms == NOW && t.generation == 2);
  CHECK_INT(t.text[t.len], 0);
  CHECK_INT(strlen(t.text), t.len);
  token_check(&verdict, span_make(t.text, t.len), &there);
  CHECK(verdict.is_good);
  CHECK(address_eq(&verdict.user, key_address(key)));
}

static void two_tokens_of_a_moment_differ(void) {
  struct token a, b;
  struct token_wish w = wish();
  CHECK_INT(token_make(&a, &w, key), TOKEN_OK);
  CHECK_INT(token_make(&b, &w, key), TOKEN_OK);
  CHECK(strcmp(a.text, b.text) != 0);
}

static void the_longest_token_fits(void) {
  struct token t;
  struct token_check verdict;
  struct token_check_world there = world();
  struct token_wish w = wish();
  w.mode = TOKEN_PERSISTENT;
  w.now_ms = INT64_C(9000000000000000000);
  w.duration_ms = INT64_C(200000000000000000);
  w.generation = there.generation = UINT64_MAX;
  w.nonce = SPAN("nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn");
  CHECK_INT(w.nonce.len, TOKEN_NONCE_MAX);
  w.token_id = 254;
  CHECK_INT(token_make(&t, &w, key), TOKEN_OK);
  CHECK(t.len <= TOKEN_TEXT_MAX);
  token_check(&verdict, span_make(t.text, t.len), &there);
  CHECK(verdict.is_good);
}

static void wishes_that_make_no_token_are_refused(void) {
  struct token t;
  struct token_wish w = wish();
  w.provider = SPAN("0x478041c7400c6964ea8475eE8837Aff28845945");
  CHECK_INT(token_make(&t, &w, key), TOKEN_PROVIDER);
  w.provider = SPAN(PROVIDER "\"");
  CHECK_INT(token_make(&t, &w, key), TOKEN_PROVIDER);
  static const char *const nonces[] = {"a|b",
                                       "a\"b",
                                       "a\\b",
                                       "a\nb",
                                       "\xc3\xa9",
                                       "\x7f",
                                       "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"};
  for (size_t i = 0; i < ARRAY_LEN(nonces); i++) {
    w = wish();
    w.nonce = span_str(nonces[i]);
    CHECK_INT(token_make(&t, &w, key), TOKEN_NONCE);
  }
  w = wish();
  w.now_ms = -1;
  CHECK_INT(token_make(&t, &w, key), TOKEN_TIME);
  w.now_ms = INT64_MAX - 5;
  CHECK_INT(token_make(&t, &w, key), TOKEN_TIME);
  w = wish();
  w.duration_ms = TOKEN_LIFE_MAX_MS + 1;
  CHECK_INT(token_make(&t, &w, key), TOKEN_TOO_LONG_LIFE);
}

static void ids_follow_the_bitmap(void) {
  struct token t;
  struct token_wish w = wish();
  w.mode = TOKEN_PERSISTENT;
  w.revoked = u256_of(7);
  CHECK_INT(token_plan(&t, &w), TOKEN_OK);
  CHECK_INT(t.id, 3);
  CHECK(t.expires_at_ms == 0);
  w.token_id = 2;
  CHECK_INT(token_plan(&t, &w), TOKEN_ID_REVOKED);
  static const int out[] = {-1, 255, INT_MAX, INT_MIN + 1};
  for (size_t i = 0; i < ARRAY_LEN(out); i++) {
    w.token_id = out[i];
    CHECK_INT(token_plan(&t, &w), TOKEN_ID_RANGE);
  }
  w.token_id = TOKEN_ID_LOWEST;
  w.revoked = U256_MAX;
  w.revoked.w[3] ^= UINT64_C(1) << 63;
  CHECK_INT(token_plan(&t, &w), TOKEN_IDS_USED_UP);
  w.revoked.w[3] ^= UINT64_C(1) << 62;
  CHECK_INT(token_plan(&t, &w), TOKEN_OK);
  CHECK_INT(t.id, 254);
}

static void a_wiped_token_holds_nothing(void) {
  struct token t;
  struct token_wish w = wish();
  CHECK_INT(token_make(&t, &w, key), TOKEN_OK);
  token_wipe(&t);
  for (size_t i = 0; i < sizeof t; i++)
    CHECK(((const char *)&t)[i] == 0);
}

static void every_token_fault_has_words(void) {
  for (int f = TOKEN_OK; f <= TOKEN_TIME; f++)
    CHECK(strlen(token_fault_text((enum token_fault)f)) > 5);
}

/* ---- what a provider says ---- */

#define FORMAT "invalid session token format in Authorization: "

static void broken_json_is_told_in_gos_words(void) {
  static const struct {
    const char *message, *error;
  } cases[] = {
      {"", "unexpected end of JSON input"},
      {" ", "unexpected end of JSON input"},
      {"{", "unexpected end of JSON input"},
      {"{\"a", "unexpected end of JSON input"},
      {"tru", "invalid character ' ' in literal true (expecting 'e')"},
      {"-", "invalid character ' ' in numeric literal"},
      {"1.", "invalid character ' ' after decimal point in numeric literal"},
      {"1e", "invalid character ' ' in exponent of numeric literal"},
      {"01", "invalid character '1' after top-level value"},
      {"{}x", "invalid character 'x' after top-level value"},
      {"{1", "invalid character '1' looking for beginning of object key string"},
      {"{\"a\" 1}", "invalid character '1' after object key"},
      {"{\"a\":1 2}", "invalid character '2' after object key:value pair"},
      {"{\"a\":1,}", "invalid character '}' looking for beginning of object key string"},
      {"[1 2]", "invalid character '2' after array element"},
      {"[1,]", "invalid character ']' looking for beginning of value"},
      {"{\"a\":'1'}", "invalid character '\\'' looking for beginning of value"},
      {"{\"a\":\"\n\"}", "invalid character '\\n' in string literal"},
      {"{\"a\":\"\x01\"}", "invalid character '\\x01' in string literal"},
      {"{\"a\":\"\\x\"}", "invalid character 'x' in string escape code"},
      {"{\"a\":\"\\u12g4\"}", "invalid character 'g' in \\u hexadecimal character escape"},
      {"{\"a\":trux}", "invalid character 'x' in literal true (expecting 'e')"},
      {"nul1", "invalid character '1' in literal null (expecting 'l')"},
      {"\xc3\xa9", "invalid character '\xc3\x83' looking for beginning of value"},
      {"\x85", "invalid character '\\u0085' looking for beginning of value"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    char payload[128], expected[256];
    (void)snprintf(payload, sizeof payload, "%s|0x00", cases[i].message);
    (void)snprintf(expected, sizeof expected, FORMAT "%s", cases[i].error);
    check_payload(span_str(payload), expected);
  }
}

static void wrong_types_are_told_in_gos_words(void) {
  static const struct {
    const char *message, *error;
  } cases[] = {
      {"[]", "json: cannot unmarshal array into Go value of type ctrl.SessionToken"},
      {"\"x\"", "json: cannot unmarshal string into Go value of type ctrl.SessionToken"},
      {"{\"address\":1}",
       "json: cannot unmarshal number into Go struct field SessionToken.address of type string"},
      {"{\"nonce\":[1,{\"a\":\"]\"}],\"tokenId\":-1}",
       "json: cannot unmarshal array into Go struct field SessionToken.nonce of type string"},
      {"{\"timestamp\":1e3}",
       "json: cannot unmarshal number 1e3 into Go struct field SessionToken.timestamp of type int64"},
      {"{\"EXPIRESAT\":true}",
       "json: cannot unmarshal bool into Go struct field SessionToken.expiresAt of type int64"},
      {"{\"generation\":{}}",
       "json: cannot unmarshal object into Go struct field SessionToken.generation of type uint64"},
      {"{\"generation\":18446744073709551616}",
       "json: cannot unmarshal number 18446744073709551616 into Go struct "
       "field SessionToken.generation of type uint64"},
      {"{\"timestamp\":9223372036854775808}",
       "json: cannot unmarshal number 9223372036854775808 into Go struct field "
       "SessionToken.timestamp of type int64"},
  };
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    char payload[128], expected[256];
    (void)snprintf(payload, sizeof payload, "%s|0x00", cases[i].message);
    (void)snprintf(expected, sizeof expected, FORMAT "%s", cases[i].error);
    check_payload(span_str(payload), expected);
  }
}

static void what_is_absent_or_null_is_zero(void) {
  check_payload(SPAN("{}|0x"), "session token is for different provider");
  check_payload(SPAN("null|0x"), "session token is for different provider");
  check_payload(SPAN("{\"provider\":\"" PROVIDER "\",\"tokenId\":null}|0x"),
                "session token has been revoked (generation expired)");
  check_payload(SPAN("{\"provider\":\"" PROVIDER "\",\"generation\":2}|"),
                "invalid signature format: empty hex string");
  check_payload(SPAN("{\"provider\":\"" PROVIDER "\",\"generation\":2}|0x1"),
                "invalid signature format: hex string of odd length");
  check_payload(SPAN("{\"provider\":\"" PROVIDER "\",\"generation\":2}|0x1g|"),
                "invalid signature format: invalid hex string");
  check_payload(SPAN("{\"provider\":\"" PROVIDER "\",\"generation\":2}|0x"), "invalid signature length");
}

static void the_header_is_bounded(void) {
  struct token_check verdict;
  struct token_check_world w = world();
  char *header = x_malloc(TOKEN_CHECK_HEADER_MAX + 1);
  memset(header, 'A', TOKEN_CHECK_HEADER_MAX + 1);
  memcpy(header, "Bearer app-sk-", 14);
  token_check(&verdict, span_make(header, TOKEN_CHECK_HEADER_MAX + 1), &w);
  CHECK(!verdict.is_good && strncmp(verdict.error, "missing", 7) == 0);
  free(header);
}

static void nesting_is_bounded_as_in_go(void) {
  char error[GO_JSON_ERROR_MAX + 1];
  struct go_json v;
  char *deep = x_malloc(2 * (GO_JSON_DEPTH_MAX + 1));
  memset(deep, '[', GO_JSON_DEPTH_MAX + 1);
  CHECK(!go_json_read(&v, error, span_make(deep, GO_JSON_DEPTH_MAX + 1)));
  CHECK_STR(error, strlen(error), "invalid character '[' exceeded max depth");
  memset(deep + GO_JSON_DEPTH_MAX, ']', GO_JSON_DEPTH_MAX);
  CHECK(go_json_read(&v, error, span_make(deep, (size_t)2 * GO_JSON_DEPTH_MAX)));
  CHECK_INT(v.type, GO_JSON_ARRAY);
  free(deep);
}

static void strings_are_unquoted(void) {
  static const struct {
    const char *raw, *text;
  } cases[] = {{"\"\"", ""},
               {"\"a\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "a\"\\/\b\f\n\r\t"},
               {"\"\\u00e9\\u20AC\\ud83d\\ude42\"", "\xc3\xa9\xe2\x82\xac\xf0\x9f\x99\x82"},
               {"\"\\ud83dx\\ude42\"", "\xef\xbf\xbdx\xef\xbf\xbd"},
               {"\"\\ud83d\\u0041\"", "\xef\xbf\xbd"
                                      "A"},
               {"\"\xff\"", "\xef\xbf\xbd"}};
  for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
    char out[64];
    size_t len = go_json_unquote(out, sizeof out, span_str(cases[i].raw));
    CHECK_STR(out, len, cases[i].text);
    CHECK_INT(go_json_unquote(NULL, 0, span_str(cases[i].raw)), len);
  }
}

int main(void) {
  REQUIRE(key_new(&key, SPAN("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")) == 0);
  RUN(a_fresh_token_is_accepted);
  RUN(two_tokens_of_a_moment_differ);
  RUN(the_longest_token_fits);
  RUN(wishes_that_make_no_token_are_refused);
  RUN(ids_follow_the_bitmap);
  RUN(a_wiped_token_holds_nothing);
  RUN(every_token_fault_has_words);
  RUN(broken_json_is_told_in_gos_words);
  RUN(wrong_types_are_told_in_gos_words);
  RUN(what_is_absent_or_null_is_zero);
  RUN(the_header_is_bounded);
  RUN(nesting_is_bounded_as_in_go);
  RUN(strings_are_unquoted);
  key_free(key);
  return CHECK_END();
}
