/*
 * verify: finds the provider that gave an answer and says whether the answer can be proved. A direct endpoint
 * signs nothing, so nothing can be proved about it: null, never true.
 */
#include "flow/api.h"
#include "base/clock.h"
#include "wire/json.h"

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
  bool is_direct = p->kind == PROVIDER_DIRECT;
  x->reply.provider = span_str(p->id);
  const char *why = is_direct ? "a direct endpoint signs nothing" : "the chain is not configured";
  struct json_writer w;
  buf_clear(&x->flow->text);
  json_begin(&w, &x->flow->text);
  json_open(&w, '{');
  json_key(&w, "isValid");
  json_null(&w);
  json_key(&w, "provider");
  json_cstring(&w, p->id);
  json_key(&w, "type");
  json_cstring(&w, is_direct ? "direct" : "onchain");
  json_key(&w, "signer");
  json_null(&w);
  json_key(&w, "checks");
  json_open(&w, '{');
  static const char *const checks[] = {"signature", "response", "request"};
  for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
    json_key(&w, checks[i]);
    json_cstring(&w, "unknown");
  }
  json_key(&w, "reason");
  json_cstring(&w, why);
  json_close(&w, '}');
  json_key(&w, "note");
  json_cstring(&w, is_direct ? "Answers of direct endpoints cannot be verified"
                             : "The chain is not configured, so this answer cannot be verified");
  json_close(&w, '}');
  exchange_answer(x, 200, "application/json", buf_span(&x->flow->text), NULL);
}
