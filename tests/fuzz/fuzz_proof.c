/*
 * Input: one byte with the status and what is known, a service's additionalInfo, a NUL, an answer of the signature
 * endpoint. The checks must agree with each other, and a URL must be one whatever its parts are. The bytes behind the
 * NUL are also signed as they are and judged again: then the signature must count.
 */
#include "eth/key.h"
#include "eth/proof.h"
#include "wire/json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t REQUEST[32] = {0xae, 0xab, 0x1e, 0x87}, RESPONSE[32] = {0x78, 0x88, 0xd3, 0xdc};

static struct service service_with(struct span info) {
  return (struct service){.service_type = SPAN("chatbot"),
                          .url = SPAN("https://p.example"),
                          .verifiability = SPAN("TeeML"),
                          .additional_info = info,
                          .tee_signer_acknowledged = true};
}

static void require_agreement(const struct proof *p, const struct proof_evidence *e) {
  REQUIRE((p->signature == PROOF_PASS) == (p->verdict == PROOF_TRUE));
  REQUIRE((p->signature == PROOF_PASS) == (p->signature_reason == NULL));
  REQUIRE((p->response == PROOF_PASS) == (p->response_reason == NULL));
  REQUIRE((p->request == PROOF_PASS) == (p->request_reason == NULL));
  REQUIRE(!p->request_matches || e->request_sha256);
  REQUIRE(!p->response_matches || e->response_sha256);
  REQUIRE(p->response != PROOF_PASS || p->response_matches || e->images_sha256);
  REQUIRE(p->verdict != PROOF_TRUE || (p->has_signer && e->status / 100 == 2));
}

static void require_url(struct span id, struct span model) {
  struct buf url;
  buf_init(&url, 3 * (id.len + model.len) + 256);
  REQUIRE(proof_signature_url(&url, SPAN("https://p.example/"), id, model) == 0);
  unsigned n_slashes = 0;
  for (size_t i = 0; i < url.len; i++) {
    uint8_t c = (uint8_t)url.data[i];
    REQUIRE(c > ' ' && c < 0x7f && !strchr("\"#<>\\^`{|}", c));
    if (c == '?') break;
    n_slashes += c == '/';
  }
  /* The id stays one part of the path. */
  REQUIRE(n_slashes == 6);
  buf_release(&url);
}

/* The writer replaces what is not UTF-8, so the text is what the scanner reads back. */
static void sign_and_judge(struct span text, struct proof_evidence e) {
  static struct key *key;
  if (!key)
    REQUIRE(key_new(&key, SPAN("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")) == 0);
  char signed_text[SIGNATURE_TEXT_LEN + 1];
  struct signature s;
  struct service service = service_with(SPAN("{}"));
  struct proof_expectation expected;
  struct proof p;
  struct json_writer w;
  struct buf body, plain;
  struct json_member m = {.name = SPAN("text")};
  struct json_object object;
  struct json_fault fault;
  service.tee_signer = *key_address(key);
  buf_init(&body, 6 * text.len + 512);
  buf_init(&plain, 6 * text.len + 16);
  json_begin(&w, &body);
  json_open(&w, '{');
  json_key(&w, "text");
  json_string(&w, text);
  size_t open_len = body.len;
  json_close(&w, '}');
  REQUIRE(json_scan_object(&m, 1, &object, &fault, buf_span(&body)) == 0 &&
          buf_reserve(&plain, m.value.len) == 0);
  REQUIRE(json_unescape(plain.data, plain.cap, &plain.len, m.value) == 0);
  key_sign_personal(&s, key, plain.data, plain.len);
  signature_text(signed_text, &s);
  body.len = open_len;
  json_key(&w, "signature");
  json_cstring(&w, signed_text);
  json_close(&w, '}');
  e.status = 200;
  e.has_chat_id = true;
  e.body = buf_span(&body);
  proof_expect(&expected, &service);
  proof_judge(&p, &expected, &e);
  require_agreement(&p, &e);
  REQUIRE(p.signature == PROOF_PASS && address_eq(&p.signer, key_address(key)) && p.n_parts > 0);
  buf_release(&body);
  buf_release(&plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (size < 2) return 0;
  static const int statuses[] = {200, 204, 400, 0};
  const uint8_t *bar = memchr(data + 1, 0, size - 1);
  size_t n_info = bar ? (size_t)(bar - data) - 1 : size - 1;
  struct span info = span_make((const char *)data + 1, n_info);
  struct span rest = bar ? span_make((const char *)bar + 1, size - n_info - 2) : SPAN_NONE;
  struct service service = service_with(info);
  struct proof_expectation expected;
  struct proof p;
  struct proof_evidence e = {.has_chat_id = data[0] & 4,
                             .status = statuses[data[0] & 3],
                             .body = rest,
                             .request_sha256 = data[0] & 8 ? REQUEST : NULL,
                             .response_sha256 = data[0] & 16 ? RESPONSE : NULL,
                             .is_request_rewritable = data[0] & 32};
  proof_expect(&expected, &service);
  REQUIRE((expected.verdict == PROOF_TRUE) == (expected.reason == NULL));
  proof_judge(&p, &expected, &e);
  require_agreement(&p, &e);
  require_url(info, rest);
  if (data[0] & 64) sign_and_judge(rest, e);
  return 0;
}
