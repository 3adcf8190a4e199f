#include "flow/failure.h"
#include "base/clock.h"
#include "base/redact.h"

#define TEXT_MAX 256

/*
 * OpenAI's clients ask again by themselves when they are told nothing else. Where other providers were tried already, that
 * would multiply our attempts by theirs.
 */
#define NO_RETRY SPAN("x-should-retry: false\r\n")

static bool is_exhausted(const struct exchange *x) {
  return x->n_attempts > 1 && outcome_is_retryable(x->attempt.outcome.class);
}

static void say(struct exchange *x, int status, const char *code, const char *text) {
  struct reply_extra extra = {.fields = is_exhausted(x) ? NO_RETRY : SPAN_NONE};
  exchange_error_with(x, status, code, span_str(text), &extra);
}

/*
 * Whole seconds until somebody who serves the request is free again, or until `asked_ms` have passed, when the provider
 * asked for that: whatever comes first. At least 1.
 */
static uint32_t wait_s(const struct exchange *x, uint64_t asked_ms) {
  uint64_t now = clock_mono_ms(), least = asked_ms ? asked_ms : UINT64_MAX;
  for (unsigned i = 0; i < x->plan->n_entries; i++) {
    if (!slot_has(&x->serves, i)) continue;
    uint64_t ms = provider_free_in_ms(x->plan->entries[i].provider, now);
    if (ms && ms < least) least = ms;
  }
  return least == UINT64_MAX ? 1 : (uint32_t)((least + 999) / 1000);
}

void failure_nobody(struct exchange *x, const char *reason) {
  char text[TEXT_MAX];
  struct span model = x->facts.model;
  (void)snprintf(text, sizeof text, "No available provider%s%.*s%s%s", model.len ? " for model " : "",
                 (int)(model.len < 100 ? model.len : 100), model.len ? model.ptr : "", reason[0] ? ": " : "",
                 reason);
  struct reply_extra extra = {.retry_after_s = wait_s(x, 0)};
  exchange_error_with(x, 503, "no_available_provider", span_str(text), &extra);
}

void failure_late(struct exchange *x) {
  char text[TEXT_MAX];
  (void)snprintf(text, sizeof text, "No answer within %u ms", x->plan->settings.timeouts.total);
  say(x, 504, "provider_timeout", text);
}

/* A refusal for a limit says how long to wait in whole seconds, however the provider said it, or did not. */
static void put_advice(const struct exchange *x, struct buf *fields) {
  const struct attempt *a = &x->attempt;
  if (a->status == 429 || a->status == 503)
    http_put_field_u64(fields, "Retry-After", wait_s(x, a->outcome.retry_after_ms));
  else if (is_exhausted(x) && !a->says_should_retry)
    buf_put_span(fields, NO_RETRY);
}

/* The provider's own error, as it came but for loaded secrets. */
static void relay_error(struct exchange *x) {
  struct attempt *a = &x->attempt;
  struct buf fields;
  (void)redact_apply(&a->held);
  buf_init(&fields, HTTP_RESPONSE_HEAD_MAX + 1024);
  put_advice(x, &fields); /* first: redaction may need what room there is */
  buf_put_span(&fields, a->fields);
  (void)redact_apply(&fields);
  exchange_relay_error(x, buf_span(&fields));
  buf_release(&fields);
}

/* A compressed error may quote the credentials that it was sent, and nobody here can look. */
static bool may_hide_secrets(const struct attempt *a) {
  return a->is_coded && (a->entry->api_key || a->onchain);
}

void failure_relay(struct exchange *x) {
  const struct attempt *a = &x->attempt;
  char text[TEXT_MAX];
  const char *id = a->entry->provider->id;
  switch (a->outcome.class) {
  case OUTCOME_CLIENT_ERROR:
  case OUTCOME_CONTENT_POLICY:
  case OUTCOME_RATE_LIMITED:
  case OUTCOME_OVERLOADED:
  case OUTCOME_SERVER:
    if (a->status >= 400 && may_hide_secrets(a)) {
      (void)snprintf(text, sizeof text, "Provider %s answered %d; its text is compressed and not passed on",
                     id, a->status);
      say(x, a->status, "provider_error", text);
      return;
    }
    if (a->status >= 400) {
      relay_error(x);
      return;
    }
    break;
  case OUTCOME_AUTH: say(x, 502, "provider_error", "provider refused our credentials"); return;
  case OUTCOME_EXHAUSTED:
    (void)snprintf(text, sizeof text, "The account at provider %s is exhausted", id);
    say(x, 502, "provider_error", text);
    return;
  case OUTCOME_TIMEOUT_CONNECT:
  case OUTCOME_TIMEOUT_TTFT:
  case OUTCOME_TIMEOUT_IDLE:
  case OUTCOME_TIMEOUT_TOTAL:
    (void)snprintf(text, sizeof text, "Provider %s did not answer in time (%s)", id,
                   outcome_name(a->outcome.class));
    say(x, 504, "provider_timeout", text);
    return;
  default: break;
  }
  (void)snprintf(text, sizeof text, "Provider %s failed (%s%s%s)", id, outcome_name(a->outcome.class),
                 a->detail[0] ? ": " : "", a->detail);
  say(x, 502, "provider_error", text);
}
