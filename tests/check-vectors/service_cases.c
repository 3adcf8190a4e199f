/*
 * service_cases: session tokens on both sides, verification of answers, fees.
 */
#include "vectors.h"
#include "eth/fee.h"
#include "eth/keccak.h"
#include "eth/proof.h"
#include "eth/token.h"
#include "support/token_check.h"

#include <nettle/base64.h>
#include <nettle/sha2.h>
#include <stdlib.h>

/* ---- tokens ---- */

static bool get_i64(struct failure *why, int64_t *out, json_t *value) {
  *out = json_integer_value(value);
  return json_is_integer(value) || fail(why, "a number of the case is no integer");
}

static bool get_options(struct failure *why, struct token_wish *wish, json_t *options) {
  const char *key;
  json_t *value;
  int64_t id;
  wish->token_id = TOKEN_ID_LOWEST;
  json_object_foreach(options, key, value) {
    if (strcmp(key, "mode") == 0 && json_is_string(value)) {
      bool is_persistent = strcmp(json_string_value(value), "persistent") == 0;
      if (!is_persistent && strcmp(json_string_value(value), "ephemeral") != 0)
        return fail(why, "unknown mode %s", json_string_value(value));
      wish->mode = is_persistent ? TOKEN_PERSISTENT : TOKEN_EPHEMERAL;
    } else if (strcmp(key, "duration") == 0) {
      if (!get_i64(why, &wish->duration_ms, value)) return false;
    } else if (strcmp(key, "tokenId") == 0) {
      if (!get_i64(why, &id, value)) return false;
      wish->token_id = id < INT_MIN + 1 ? INT_MIN + 1 : id > INT_MAX ? INT_MAX : (int)id;
    } else {
      return fail(why, "unknown option %s", key);
    }
  }
  return true;
}

/* What is in the header's text, hash by hash. */
static bool check_payload(struct failure *why, const struct token *t, json_t *value) {
  struct base64_decode_ctx base64;
  uint8_t payload[TOKEN_TEXT_MAX], hash[32], digest[32];
  size_t len, prefix = sizeof "Bearer app-sk-" - 1;
  base64_decode_init(&base64);
  if (!base64_decode_update(&base64, &len, payload, t->len - prefix, t->text + prefix))
    return fail(why, "the token is no base64");
  struct span text = span_make((const char *)payload, len), expected = get_string(why, value, "payload");
  const char *bar = memchr(payload, '|', len);
  if (!expected.ptr || !bar || !same_text(why, "the payload", text, expected)) return false;
  struct span message = span_make(text.ptr, (size_t)(bar - text.ptr));
  expected = get_string(why, value, "message");
  if (!expected.ptr || !same_text(why, "the message", message, expected)) return false;
  expected = get_string(why, value, "signature");
  if (!expected.ptr || !same_text(why, "the signature", span_make(bar + 1, len - message.len - 1), expected))
    return false;
  keccak256(hash, message.ptr, message.len);
  personal_digest(digest, hash, sizeof hash);
  return same_bytes(why, hash, sizeof hash, value, "message_keccak256") &&
         same_bytes(why, digest, sizeof digest, value, "digest_signed");
}

/* The provider would take it, too. */
static bool is_accepted(struct failure *why, const struct token *t, const struct token_wish *wish) {
  struct token_check verdict;
  struct token_check_world world = {.provider = wish->provider,
                                    .now_ms = wish->now_ms,
                                    .generation = wish->generation,
                                    .revoked = wish->revoked};
  token_check(&verdict, span_make(t->text, t->len), &world);
  return verdict.is_good || fail(why, "a provider would say: %s", verdict.error);
}

bool token_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct token token;
  struct key *key;
  struct address user;
  json_t *account = json_object_get(value, "account"), *expected = json_object_get(value, "token");
  struct token_wish wish = {.provider = get_string(why, value, "provider")};
  struct span text = get_string(why, value, "authorization");
  if (!wish.provider.ptr || !text.ptr) return false;
  wish.nonce = get_string(why, expected, "nonce");
  if (!wish.nonce.ptr || !get_i64(why, &wish.now_ms, json_object_get(value, "now_ms")) ||
      !get_options(why, &wish, json_object_get(value, "options")) ||
      !get_u64(why, &wish.generation, json_object_get(account, "generation")) ||
      !get_u256(why, &wish.revoked, json_object_get(account, "revoked_bitmap")) ||
      !get_address(why, &user, json_object_get(value, "user")) || !get_key(why, &key, value))
    return false;
  enum token_fault fault = token_make(&token, &wish, key);
  bool is_good = !fault || fail(why, "no token: %s", token_fault_text(fault));
  if (is_good)
    is_good = (address_eq(&user, key_address(key)) || fail(why, "the key is another user's")) &&
              check_payload(why, &token, value) &&
              same_text(why, "the header", span_make(token.text, token.len), text) &&
              (token.id == json_integer_value(json_object_get(expected, "tokenId")) ||
               fail(why, "the id differs")) &&
              (token.expires_at_ms == json_integer_value(json_object_get(expected, "expiresAt")) ||
               fail(why, "the expiry differs")) &&
              is_accepted(why, &token, &wish);
  key_free(key);
  return is_good;
}

bool token_limit_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct token token;
  struct token_wish wish = {.now_ms = 1767225600000};
  json_t *expected = json_object_get(value, "value");
  bool is_ok;
  if (!get_ok(why, &is_ok, value) || !get_options(why, &wish, json_object_get(value, "options")) ||
      !get_u256(why, &wish.revoked, json_object_get(value, "revoked_bitmap")))
    return false;
  enum token_fault fault = token_plan(&token, &wish);
  if (!fault != is_ok) return fail(why, "it is %s", fault ? token_fault_text(fault) : "accepted");
  if (fault) return true;
  int64_t life = token.expires_at_ms ? token.expires_at_ms - token.timestamp_ms : 0;
  if (life != json_integer_value(json_object_get(expected, "duration")))
    return fail(why, "the duration is %lld", (long long)life);
  return token.id == json_integer_value(json_object_get(expected, "tokenId")) ||
         fail(why, "the id is %d", token.id);
}

bool token_verdict_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name;
  struct token_check verdict;
  struct token_check_world world = {0};
  json_t *account = json_object_get(file, "broker_account");
  if (json_object_get(value, "account")) account = json_object_get(value, "account");
  bool is_ok;
  world.provider = get_string(why, account, "provider");
  if (!world.provider.ptr || !get_ok(why, &is_ok, value) ||
      !get_i64(why, &world.now_ms, json_object_get(value, "now_ms")) ||
      !get_u64(why, &world.generation, json_object_get(account, "generation")) ||
      !get_u256(why, &world.revoked, json_object_get(account, "revoked_bitmap")))
    return false;
  token_check(&verdict, get_string_or_null(value, "authorization"), &world);
  if (verdict.is_good != is_ok) return fail(why, "it is %s", verdict.is_good ? "accepted" : verdict.error);
  struct span expected = get_string(why, value, is_ok ? "value" : "error");
  return expected.ptr && same_text(why, is_ok ? "the user" : "the error",
                                   span_str(is_ok ? verdict.user_text : verdict.error), expected);
}

/* ---- verification ---- */

static bool get_service(struct failure *why, struct service *s, json_t *value) {
  json_t *acknowledged = json_object_get(value, "teeSignerAcknowledged");
  *s = (struct service){.service_type = get_string(why, value, "serviceType"),
                        .url = get_string(why, value, "url"),
                        .model = get_string(why, value, "model"),
                        .verifiability = get_string(why, value, "verifiability"),
                        .additional_info = get_string(why, value, "additionalInfo"),
                        .tee_signer_acknowledged = json_is_true(acknowledged)};
  if (!s->service_type.ptr || !s->url.ptr || !s->model.ptr || !s->verifiability.ptr ||
      !s->additional_info.ptr)
    return false;
  if (!json_is_boolean(acknowledged)) return fail(why, "the service's signer has no state");
  return get_address(why, &s->tee_signer, json_object_get(value, "teeSignerAddress"));
}

/* The SDK's URL is not encoded; ours means the same. */
static bool same_url(struct failure *why, const struct service *s, struct span chat_id,
                     struct span expected) {
  struct buf url;
  buf_init(&url, 1 << 16);
  bool is_good =
      proof_signature_url(&url, s->url, chat_id, s->model) == 0 || fail(why, "the URL is too long");
  size_t n = 0;
  for (size_t i = 0; is_good && i < url.len; i++, n++) {
    char c = url.data[i];
    if ((uint8_t)c <= ' ' || (uint8_t)c >= 0x7f || strchr("\"<>#\\^`{|}", c))
      is_good = fail(why, "the URL is not encoded");
    if (c == '%' && i + 2 < url.len) {
      char digits[3] = {url.data[i + 1], url.data[i + 2]};
      c = (char)strtol(digits, NULL, 16);
      i += 2;
    }
    url.data[n] = c;
  }
  is_good = is_good && same_text(why, "the URL", span_make(url.data, n), expected);
  buf_release(&url);
  return is_good;
}

static const char *verdict_name(enum proof_verdict verdict) {
  static const char *const names[] = {
      [PROOF_NULL] = "null", [PROOF_FALSE] = "false", [PROOF_TRUE] = "true", [PROOF_THROWS] = "an exception"};
  return names[verdict];
}

static bool same_verdict(struct failure *why, const struct proof *p, json_t *sdk) {
  json_t *verdict = json_object_get(sdk, "verdict");
  enum proof_verdict expected = json_object_get(sdk, "throws") ? PROOF_THROWS
                                : json_is_true(verdict)        ? PROOF_TRUE
                                : json_is_false(verdict)       ? PROOF_FALSE
                                                               : PROOF_NULL;
  if (!json_object_get(sdk, "throws") && !verdict) return fail(why, "the case has no verdict");
  if (p->verdict != expected)
    return fail(why, "the SDK's verdict is taken for %s, not %s", verdict_name(p->verdict),
                verdict_name(expected));
  return (p->signature == PROOF_PASS) == (expected == PROOF_TRUE) ||
         fail(why, "the signature check is %s", proof_check_text(p->signature));
}

/* Our own answer: valid exactly when the signature counts and the response is the one that was signed. */
static bool same_binding(struct failure *why, const struct proof *p, json_t *binding) {
  bool request = json_is_true(json_object_get(binding, "request_hash_matches"));
  bool response = json_is_true(json_object_get(binding, "response_hash_matches"));
  int64_t parts = json_integer_value(json_object_get(binding, "parts"));
  if (proof_is_valid(p) && !response) return fail(why, "an answer that was not signed is valid");
  if (json_is_null(binding) || !binding)
    return (!p->request_matches && !p->response_matches) ||
           fail(why, "a hash matches though there is no text");
  if (p->request_matches != request) return fail(why, "the request's hash matches: %d", p->request_matches);
  if (p->response_matches != response)
    return fail(why, "the response's hash matches: %d", p->response_matches);
  if ((p->n_parts ? p->n_parts : 1) != parts) return fail(why, "the signed text has %u parts", p->n_parts);
  bool is_valid = p->verdict == PROOF_TRUE && response && (parts == 2 || parts == 5);
  return proof_is_valid(p) == is_valid || fail(why, "the answer is %svalid", is_valid ? "not " : "");
}

static void hash(uint8_t out[32], const struct buf *bytes) {
  struct sha256_ctx sha;
  sha256_init(&sha);
  sha256_update(&sha, bytes->len, (const uint8_t *)bytes->data);
  sha256_digest(&sha, 32, out);
}

static bool check_proof(struct failure *why, json_t *value, const struct service *service,
                        const uint8_t request[32], const uint8_t response[32]) {
  struct proof_expectation expected;
  struct proof proof;
  struct span id = get_string_or_null(value, "chat_id"), url = get_string_or_null(value, "signature_url");
  struct proof_evidence e = {.has_chat_id = id.len > 0,
                             .status = (int)json_integer_value(json_object_get(value, "signature_status")),
                             .body = get_string_or_null(value, "signature_body"),
                             .request_sha256 = request,
                             .response_sha256 = response};
  proof_expect(&expected, service);
  bool asks = e.has_chat_id && expected.verdict == PROOF_TRUE;
  if (asks != (url.ptr != NULL)) return fail(why, "the signature is %sasked for", asks ? "" : "not ");
  if (asks && !same_url(why, service, id, url)) return false;
  proof_judge(&proof, &expected, &e);
  return same_verdict(why, &proof, json_object_get(value, "sdk")) &&
         same_binding(why, &proof, json_object_get(value, "binding"));
}

bool verification_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct service service;
  struct buf request, response;
  uint8_t request_hash[32], response_hash[32];
  if (!get_service(why, &service, json_object_get(value, "service")) ||
      !get_bytes(why, &request, value, "request_bytes"))
    return false;
  bool is_good = get_bytes(why, &response, value, "response_bytes");
  if (is_good) {
    hash(request_hash, &request);
    hash(response_hash, &response);
    is_good = check_proof(why, value, &service, request_hash, response_hash);
    buf_release(&response);
  }
  buf_release(&request);
  return is_good;
}

/* ---- fees ---- */

bool fee_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct fee fee;
  struct u256 in, out;
  bool is_ok;
  struct span type = get_string(why, value, "service_type"), content = get_string(why, value, "content");
  if (!type.ptr || !content.ptr || !get_ok(why, &is_ok, value) ||
      !get_u256(why, &in, json_object_get(value, "input_price")) ||
      !get_u256(why, &out, json_object_get(value, "output_price")))
    return false;
  int err = fee_estimate(&fee, type, in, out, content);
  if (!err != is_ok) return fail(why, "it is %s", err ? err_text(err) : "accepted");
  if (err) return true;
  struct buf text;
  struct span expected = get_string(why, value, "value");
  buf_init(&text, 1024);
  bool is_good = expected.ptr && (fee_text(&text, &fee) == 0 || fail(why, "it has no text")) &&
                 same_text(why, "the fee", buf_span(&text), expected);
  buf_release(&text);
  return is_good;
}
