#include "eth/proof.h"
#include "eth/fee.h"
#include "eth/hex.h"
#include "wire/json.h"

#include <nettle/sha2.h>

#define HASH_DIGITS (2 * PROOF_SHA256_BYTES)

const char *proof_check_text(enum proof_check check) {
  static const char *const texts[] = {
      [PROOF_UNKNOWN] = "unknown", [PROOF_PASS] = "pass", [PROOF_FAIL] = "fail"};
  return texts[check];
}

/* ---- the expected signer ---- */

static bool is_one_of(struct span s, const char *const *list, size_t n) {
  for (size_t i = 0; i < n; i++)
    if (span_eq(s, span_str(list[i]))) return true;
  return false;
}

/* An address in any letter case; the SDK compares lower-case texts. */
static enum proof_signer read_target(struct address *out, const struct json_member *m) {
  char text[ADDRESS_TEXT_LEN];
  size_t len;
  if (m->type != JSON_STRING) return PROOF_SIGNER_NO_TEXT;
  if (json_unescape(text, sizeof text, &len, m->value) || len != ADDRESS_TEXT_LEN ||
      !span_starts_nocase(span_make(text, len), SPAN("0x")) ||
      !hex_read(out->bytes, ADDRESS_BYTES, span_make(text + 2, len - 2)))
    return PROOF_SIGNER_INVALID;
  return PROOF_SIGNER_TARGET;
}

static bool is_string(const struct json_member *m, struct span value) {
  char text[64];
  size_t len;
  return m->type == JSON_STRING && json_unescape(text, sizeof text, &len, m->value) == 0 &&
         span_eq(span_make(text, len), value);
}

/* What JavaScript takes for true: not absent, null, false, "" or a zero. */
static bool is_truthy(const struct json_member *m) {
  switch (m->type) {
  case JSON_ABSENT:
  case JSON_NULL:
  case JSON_FALSE: return false;
  case JSON_STRING: return m->value.len > 2;
  case JSON_NUMBER: break;
  default: return true;
  }
  for (size_t i = 0; i < m->value.len && m->value.ptr[i] != 'e' && m->value.ptr[i] != 'E'; i++)
    if (m->value.ptr[i] >= '1' && m->value.ptr[i] <= '9') return true;
  return false;
}

enum info_member { INFO_SEPARATED, INFO_TARGET, INFO_TYPE, INFO_IDENTITY, INFO_N };

/* False: the text is not JSON, or null. Another value than an object is JSON without members. */
static bool read_info(struct json_member info[INFO_N], struct span text) {
  static const struct span names[INFO_N] = {[INFO_SEPARATED] = {"TargetSeparated", 15},
                                            [INFO_TARGET] = {"TargetTeeAddress", 16},
                                            [INFO_TYPE] = {"ProviderType", 12},
                                            [INFO_IDENTITY] = {"ProviderIdentity", 16}};
  struct json_object object;
  struct json_fault fault;
  for (size_t i = 0; i < INFO_N; i++)
    info[i] = (struct json_member){.name = names[i]};
  int err = json_scan_object(info, INFO_N, &object, &fault, text);
  if (err != ERR_UNSUPPORTED) return err == 0;
  while (text.len && strchr(" \t\r\n", text.ptr[0])) {
    text.ptr++;
    text.len--;
  }
  return !span_starts(text, SPAN("null"));
}

static void end_with(struct proof_expectation *out, enum proof_verdict verdict, const char *reason) {
  out->verdict = verdict;
  out->reason = reason;
}

bool proof_signs_images(struct span service_type) {
  return fee_is_by_image(service_type);
}

void proof_expect(struct proof_expectation *out, const struct service *service) {
  static const char *const types[] = {"chatbot", "speech-to-text", "text-to-image", "image-editing"};
  static const char *const verifiable[] = {"TeeML", "OpML", "ZKML"};
  struct json_member info[INFO_N];
  *out = (struct proof_expectation){.verdict = PROOF_TRUE, .signer = service->tee_signer};
  if (!is_one_of(service->service_type, types, ARRAY_LEN(types))) {
    end_with(out, PROOF_THROWS, "answers of this service type cannot be verified");
    return;
  }
  out->signs_images = proof_signs_images(service->service_type);
  if (!is_one_of(service->verifiability, verifiable, ARRAY_LEN(verifiable))) {
    end_with(out, PROOF_FALSE, "the service is not verifiable");
    return;
  }
  if (!service->tee_signer_acknowledged) {
    end_with(out, PROOF_FALSE, "the service's TEE signer is not acknowledged by the contract's owner");
    return;
  }
  if (service->additional_info.len == 0 || !read_info(info, service->additional_info)) {
    end_with(out, PROOF_FALSE, "the service's additional information is missing or not JSON");
    return;
  }
  out->is_centralized = is_string(&info[INFO_TYPE], SPAN("centralized"));
  if (info[INFO_IDENTITY].type == JSON_STRING) out->identity = info[INFO_IDENTITY].value;
  if (info[INFO_SEPARATED].type == JSON_TRUE && !out->is_centralized && is_truthy(&info[INFO_TARGET]))
    out->source = read_target(&out->signer, &info[INFO_TARGET]);
}

/* ---- where to ask ---- */

static int put_encoded(struct buf *out, struct span s, const char *kept) {
  int err = 0;
  for (size_t i = 0; !err && i < s.len; i++) {
    uint8_t c = (uint8_t)s.ptr[i];
    bool is_plain = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
                    (c != 0 && strchr(kept, c));
    err = is_plain ? buf_append(out, &c, 1) : buf_appendf(out, "%%%02X", c);
  }
  return err;
}

int proof_signature_url(struct buf *out, struct span url, struct span chat_id, struct span model) {
  size_t before = out->len;
  while (url.len && url.ptr[url.len - 1] == '/')
    url.len--;
  int err = buf_append_span(out, url);
  if (!err) err = buf_append_span(out, SPAN("/v1/proxy/signature/"));
  if (!err) err = put_encoded(out, chat_id, "-._~");
  if (!err) err = buf_append_span(out, SPAN("?model="));
  if (!err) err = put_encoded(out, model, "-._~/:");
  if (err) out->len = before;
  return err;
}

/* ---- the signed text ---- */

enum part { PART_REQUEST, PART_RESPONSE, PART_TYPE, PART_IDENTITY, PART_CERTIFICATE, PARTS_MAX };

/* Returns how many parts there are; the first PARTS_MAX are kept. */
static unsigned split(struct span parts[PARTS_MAX], struct span text) {
  unsigned n = 0;
  for (;;) {
    const char *colon = text.len ? memchr(text.ptr, ':', text.len) : NULL;
    size_t len = colon ? (size_t)(colon - text.ptr) : text.len;
    if (n < PARTS_MAX) parts[n] = span_make(text.ptr, len);
    n++;
    if (!colon) return n;
    text = span_make(colon + 1, text.len - len - 1);
  }
}

static bool is_hash(struct span digits, const uint8_t sha256[PROOF_SHA256_BYTES]) {
  char right[HASH_DIGITS];
  hex_write(right, sha256, PROOF_SHA256_BYTES);
  return span_eq(digits, span_make(right, sizeof right));
}

static void judge_request(struct proof *out, struct span part, const struct proof_evidence *e) {
  out->request_reason = "the request's bytes are no longer known";
  if (!e->request_sha256) return;
  out->request_matches = is_hash(part, e->request_sha256);
  out->request_reason = NULL;
  if (out->request_matches) {
    out->request = PROOF_PASS;
  } else if (e->is_request_rewritable) {
    out->request_reason = "the provider may have rewritten the request before signing it";
  } else {
    out->request = PROOF_FAIL;
    out->request_reason = "the signed text is about another request";
  }
}

/* The list of their digests is itself kept as a digest. */
static bool are_images(struct span list, const uint8_t images_sha256[PROOF_SHA256_BYTES]) {
  uint8_t hash[PROOF_SHA256_BYTES];
  struct sha256_ctx sha;
  sha256_init(&sha);
  sha256_update(&sha, list.len, (const uint8_t *)list.ptr);
  sha256_digest(&sha, sizeof hash, hash);
  return memcmp(hash, images_sha256, sizeof hash) == 0;
}

static void judge_response(struct proof *out, struct span part, const struct proof_expectation *x,
                           const struct proof_evidence *e) {
  out->response_reason = NULL;
  if (e->response_sha256) out->response_matches = is_hash(part, e->response_sha256);
  if (out->response_matches) {
    out->response = PROOF_PASS;
  } else if (x->signs_images && !e->images_sha256) {
    out->response_reason =
        "images are signed one by one, and this answer did not hold them (ask for b64_json)";
  } else if (x->signs_images) {
    out->response = are_images(part, e->images_sha256) ? PROOF_PASS : PROOF_FAIL;
    if (out->response == PROOF_FAIL) out->response_reason = "the signed text is about other images";
  } else if (e->response_sha256) {
    out->response = PROOF_FAIL;
    out->response_reason = "the signed text is about another response";
  } else {
    out->response_reason = "the response's bytes are no longer known";
  }
}

static void judge_routing(struct proof *out, const struct span parts[PARTS_MAX],
                          const struct proof_expectation *x) {
  char text[256];
  size_t len = 0;
  bool is_named = x->identity.len > 2 && json_unescape(text, sizeof text, &len, x->identity) == 0;
  bool fits = x->is_centralized && span_eq(parts[PART_TYPE], SPAN("centralized"));
  if (fits && is_named) fits = span_eq(parts[PART_IDENTITY], span_make(text, len));
  out->routing = fits ? PROOF_PASS : PROOF_FAIL;
}

static void judge_text(struct proof *out, struct span text, const struct proof_expectation *x,
                       const struct proof_evidence *e) {
  struct span parts[PARTS_MAX] = {SPAN_NONE};
  out->n_parts = split(parts, text);
  if (out->n_parts == 2 || out->n_parts == PARTS_MAX) {
    judge_request(out, parts[PART_REQUEST], e);
    judge_response(out, parts[PART_RESPONSE], x, e);
    if (out->n_parts == PARTS_MAX) judge_routing(out, parts, x);
    return;
  }
  out->request_reason = out->response_reason = "the signed text has a form that is not known";
  if (e->request_sha256) out->request_matches = is_hash(parts[PART_REQUEST], e->request_sha256);
  if (e->response_sha256 && out->n_parts > 1)
    out->response_matches = is_hash(parts[PART_RESPONSE], e->response_sha256);
}

/* ---- the signature ---- */

static void refuse(struct proof *out, enum proof_verdict verdict, enum proof_check check,
                   const char *reason) {
  out->verdict = verdict;
  out->signature = check;
  out->signature_reason = reason;
}

static void judge_signer(struct proof *out, struct span text, struct span signature,
                         const struct proof_expectation *x) {
  struct signature parsed;
  uint8_t digest[DIGEST_BYTES];
  enum signature_fault fault = signature_parse(&parsed, signature);
  personal_digest(digest, text.ptr, text.len);
  if (!fault) fault = signature_recover(&out->signer, digest, &parsed);
  if (fault) {
    refuse(out, PROOF_THROWS, PROOF_FAIL, signature_fault_text(fault));
    return;
  }
  out->has_signer = true;
  if (x->source == PROOF_SIGNER_NO_TEXT)
    refuse(out, PROOF_THROWS, PROOF_FAIL, "the service's TargetTeeAddress is no text");
  else if (x->source == PROOF_SIGNER_INVALID)
    refuse(out, PROOF_FALSE, PROOF_FAIL, "the service's TargetTeeAddress is no address");
  else if (!address_eq(&out->signer, &x->signer))
    refuse(out, PROOF_FALSE, PROOF_FAIL, "signed by another key than the service's signer");
  else
    refuse(out, PROOF_TRUE, PROOF_PASS, NULL);
}

/* A string member's value in `out`; false when it is something else, or has no UTF-8 form. */
static bool get_text(struct buf *out, const struct json_member *m) {
  size_t len;
  if (m->type != JSON_STRING || buf_reserve(out, m->value.len)) return false;
  if (json_unescape(out->data, out->cap, &len, m->value)) return false;
  out->len = len;
  return true;
}

enum body_member { BODY_TEXT, BODY_SIGNATURE, BODY_N };

static void judge_body(struct proof *out, const struct json_member body[BODY_N],
                       const struct proof_expectation *x, const struct proof_evidence *e) {
  struct buf text, signature;
  buf_init(&text, body[BODY_TEXT].value.len + 1);
  buf_init(&signature, body[BODY_SIGNATURE].value.len + 1);
  bool has_text = get_text(&text, &body[BODY_TEXT]);
  bool has_signature = get_text(&signature, &body[BODY_SIGNATURE]);
  if (has_text) judge_text(out, buf_span(&text), x, e);
  if (!has_text || !has_signature)
    refuse(out, PROOF_THROWS, PROOF_FAIL, "the provider's signature answer lacks its text or its signature");
  else
    judge_signer(out, buf_span(&text), buf_span(&signature), x);
  buf_release(&text);
  buf_release(&signature);
}

void proof_judge(struct proof *out, const struct proof_expectation *x, const struct proof_evidence *e) {
  static const char nothing[] = "there is no signed text";
  struct json_member body[BODY_N] = {
      [BODY_TEXT] = {.name = SPAN("text")}, [BODY_SIGNATURE] = {.name = SPAN("signature")}};
  struct json_object object;
  struct json_fault fault;
  *out = (struct proof){.request_reason = nothing, .response_reason = nothing};
  int err = e->body.len ? json_scan_object(body, BODY_N, &object, &fault, e->body) : ERR_SYNTAX;
  if (!err)
    judge_body(out, body, x, e);
  else
    refuse(out, PROOF_THROWS, PROOF_FAIL, "the provider's signature answer is no JSON object");

  if (e->status < 200 || e->status > 299) {
    out->is_not_found = e->status == 400 && span_find(e->body, SPAN("chat_id_not_found"));
    refuse(out, PROOF_THROWS, PROOF_UNKNOWN,
           out->is_not_found ? "the provider does not know this answer's signature (yet, or no more)"
           : e->status       ? "the provider did not give the signature"
                             : "the provider could not be asked for the signature");
  }
  if (x->verdict == PROOF_THROWS)
    refuse(out, PROOF_THROWS, PROOF_UNKNOWN, x->reason);
  else if (!e->has_chat_id)
    refuse(out, PROOF_NULL, PROOF_UNKNOWN, "the answer had no id to ask for its signature with");
  else if (x->verdict == PROOF_FALSE)
    refuse(out, PROOF_FALSE, PROOF_UNKNOWN, x->reason);
}
