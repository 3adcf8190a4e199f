/*
 * verify: POST /v1/verify. Finds the provider that gave an answer and says whether the answer can be proved. A direct
 * endpoint signs nothing, so nothing can be proved about it: null, never true.
 */
#include "flow/api.h"
#include "flow/overload.h"
#include "flow/verification.h"
#include "base/clock.h"
#include "wire/json.h"

#define RUNNING_MAX 64 /* of a worker: each asks a provider, some of them several times */

static bool take_id(struct exchange *x, char out[SESSION_KEY_MAX + 1], size_t *len) {
  struct json_member id = {.name = SPAN("id")};
  struct json_object object;
  struct json_fault fault = {0};
  int err = json_scan_object(&id, 1, &object, &fault, buf_span(&x->body));
  if (err == ERR_SYNTAX) {
    exchange_error(x, 400, NULL, "invalid_json", "Request body is not valid JSON");
    return false;
  }
  if (err || id.type != JSON_STRING || id.value.len <= 2) {
    exchange_error(x, 400, NULL, "missing_id", "Missing id in request body");
    return false;
  }
  if (json_unescape(out, SESSION_KEY_MAX, len, id.value)) {
    exchange_error(x, 404, NULL, "session_not_found", "No cached content for this id");
    return false;
  }
  return true;
}

static void begin_verdict(struct exchange *x, struct json_writer *w) {
  buf_clear(&x->flow->text);
  json_begin(w, &x->flow->text);
  json_open(w, '{');
  json_key(w, "isValid");
}

static void put_parties(struct json_writer *w, const struct provider *p, const char *signer) {
  json_key(w, "provider");
  json_cstring(w, p->id);
  json_key(w, "type");
  json_cstring(w, p->kind == PROVIDER_ONCHAIN ? "onchain" : "direct");
  json_key(w, "signer");
  json_cstring(w, signer);
}

static void put_check(struct json_writer *w, const char *name, enum proof_check check) {
  json_key(w, name);
  json_cstring(w, proof_check_text(check));
}

static void send_verdict(struct exchange *x, struct json_writer *w) {
  json_close(w, '}');
  exchange_answer(x, 200, "application/json", buf_span(&x->flow->text), NULL);
}

static void answer_direct(struct exchange *x, const struct provider *p) {
  struct json_writer w;
  begin_verdict(x, &w);
  json_null(&w);
  put_parties(&w, p, NULL);
  json_key(&w, "checks");
  json_open(&w, '{');
  put_check(&w, "signature", PROOF_UNKNOWN);
  put_check(&w, "response", PROOF_UNKNOWN);
  put_check(&w, "request", PROOF_UNKNOWN);
  json_key(&w, "reason");
  json_cstring(&w, "a direct endpoint signs nothing");
  json_close(&w, '}');
  json_key(&w, "note");
  json_cstring(&w, "Answers of direct endpoints cannot be verified");
  send_verdict(x, &w);
}

/* Reasons of the checks that did not pass, and the first of them once more. */
static void put_reasons(struct json_writer *w, const struct verification *v) {
  static const char *const names[] = {"signature", "response", "request"};
  const struct proof *p = &v->proof;
  const char *reasons[] = {verification_signature_reason(v), p->response_reason, p->request_reason};
  if (v->end == VERIFICATION_REFUSED) reasons[1] = reasons[2] = NULL;
  const char *first = NULL;
  for (size_t i = 0; i < ARRAY_LEN(reasons) && !first; i++)
    first = reasons[i];
  json_key(w, "reason");
  json_cstring(w, first);
  json_key(w, "reasons");
  json_open(w, '{');
  for (size_t i = 0; i < ARRAY_LEN(reasons); i++) {
    if (!reasons[i]) continue;
    json_key(w, names[i]);
    json_cstring(w, reasons[i]);
  }
  json_close(w, '}');
}

static void answer_onchain(struct exchange *x, const struct verification *v) {
  const struct proof *p = &v->proof;
  char signer[ADDRESS_TEXT_LEN + 1], expected[ADDRESS_TEXT_LEN + 1];
  address_text(signer, &p->signer);
  address_text(expected, &v->expected.signer);
  bool has_expected = v->expected.source == PROOF_SIGNER_BROKER || v->expected.source == PROOF_SIGNER_TARGET;
  struct json_writer w;
  begin_verdict(x, &w);
  json_bool(&w, verification_is_valid(v));
  put_parties(&w, v->entry->provider, p->has_signer ? signer : NULL);
  json_key(&w, "expectedSigner");
  json_cstring(&w, has_expected ? expected : NULL);
  json_key(&w, "checks");
  json_open(&w, '{');
  put_check(&w, "signature", p->signature);
  put_check(&w, "response", p->response);
  put_check(&w, "request", p->request);
  if (p->n_parts == 5) put_check(&w, "routing", p->routing);
  put_reasons(&w, v);
  json_close(&w, '}');
  send_verdict(x, &w);
}

static void on_verified(struct verification *v) {
  struct exchange *x = v->user;
  x->verification = NULL;
  x->flow->n_verifying--;
  verification_note(v);
  if (v->end == VERIFICATION_FAILED)
    exchange_error(x, 502, NULL, v->is_gone ? "signature_not_found" : "provider_error", v->detail);
  else
    answer_onchain(x, v);
  verification_free(v);
}

void verify_answer(struct exchange *x) {
  char id[SESSION_KEY_MAX + 1];
  size_t len = 0;
  if (!take_id(x, id, &len)) return;
  struct session s;
  if (!session_get(x->flow->shared->sessions, &s, span_make(id, len), clock_mono_ms())) {
    exchange_error(x, 404, NULL, "session_not_found", "No cached content for this id");
    return;
  }
  int slot = plan_find(x->plan, span_str(s.provider));
  if (slot < 0) {
    exchange_error(x, 502, NULL, "provider_gone", "The provider of this answer is no longer configured");
    return;
  }
  const struct provider *p = x->plan->entries[slot].provider;
  x->reply.provider = span_str(p->id);
  if (p->kind == PROVIDER_DIRECT) {
    answer_direct(x, p);
    return;
  }
  if (x->flow->n_verifying >= RUNNING_MAX) {
    overload_refuse(x, "Too many verifications at once; try again shortly");
    return;
  }
  x->flow->n_verifying++;
  x->state = EXCHANGE_VERIFYING;
  x->verification = verification_new(x->flow, x->plan, (unsigned)slot, &s);
  verification_start(x->verification, on_verified, x);
}
