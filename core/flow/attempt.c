#include "flow/attempt.h"
#include "flow/reply.h"
#include "base/clock.h"
#include "eth/proof.h"
#include "model/refusal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define RENEW_MS      10000 /* for a fresh session token, before the next provider is tried */
#define ARENA_RESERVE (64u * 1024)
#define DETAIL_MAX    320

static const struct upstream_events EVENTS;

static void send_request(struct attempt *a, struct span path, struct span fields, const struct span *body,
                         unsigned n_body);

/* ---- settlement ---- */

static void log_health(const struct attempt *a, enum health_event event) {
  struct provider *p = a->entry->provider;
  switch (event) {
  case HEALTH_EJECTED:
    log_warn("provider %s is taken out after failures in a row (last: %s%s%s)", p->id,
             outcome_name(a->outcome.class), a->detail[0] ? ": " : "", a->detail);
    break;
  case HEALTH_COOLING:
    log_write(a->outcome.reason ? LOG_WARN : LOG_INFO, "provider %s pauses for %llu ms (%s%s%s)", p->id,
              (unsigned long long)provider_free_in_ms(p, clock_mono_ms()), outcome_name(a->outcome.class),
              a->detail[0] ? ": " : "", a->detail);
    break;
  case HEALTH_CAME_UP: log_info("provider %s is back", p->id); break;
  default: break;
  }
}

static void settle(struct attempt *a, enum outcome_class class) {
  REQUIRE(a->phase != ATTEMPT_NONE);
  a->outcome.class = class;
  a->outcome.status = a->status;
  a->outcome.committed = a->phase == ATTEMPT_RELAYING;
  a->ended_us = loop_now_us(a->flow->loop);
  a->outcome.total_ms = (double)(a->ended_us - a->began_us) / 1000;
  a->outcome.tokens_in = a->answer.tokens_in;
  a->outcome.tokens_out = a->answer.tokens_out;
  a->phase = ATTEMPT_NONE;
  loop_timer_stop(a->flow->loop, &a->clock);
  struct upstream_call *call = a->call;
  a->call = NULL;
  if (call) {
    if (isnan(a->outcome.connect_ms)) a->outcome.connect_ms = upstream_connect_ms(call);
    upstream_cancel(call);
  }
  if (a->onchain) onchain_stop(a->onchain);
  enum health_event event =
      provider_settle(a->entry->provider, &a->outcome, &a->settings->health, a->ended_us / 1000);
  log_health(a, event);
  if (class == OUTCOME_OK && a->answer.form == ANSWER_SSE)
    provider_note_stream(a->entry->provider, &a->outcome);
  bool is_account = a->onchain && (class == OUTCOME_AUTH || class == OUTCOME_EXHAUSTED);
  if (event == HEALTH_EJECTED || (event == HEALTH_COOLING && is_account))
    a->flow->shared->ask_probe(a->flow->shared, a->entry->provider);
}

static void end(struct attempt *a, enum outcome_class class) {
  settle(a, class);
  a->events->on_end(a);
}

void attempt_abort(struct attempt *a, enum outcome_class class) {
  if (attempt_is_running(a)) settle(a, class);
}

bool attempt_is_whole(const struct attempt *a) {
  return a->phase == ATTEMPT_RELAYING && a->answer.is_done && answer_is_at_event_end(&a->answer);
}

bool attempt_has_sent(const struct attempt *a) {
  if (a->onchain) return false; /* its digest may still be at work */
  return !a->call || upstream_has_sent(a->call);
}

PRINTF_LIKE(2, 3) static void explain(struct attempt *a, const char *fmt, ...) {
  char text[DETAIL_MAX];
  va_list args;
  va_start(args, fmt);
  int n = vsnprintf(text, sizeof text, fmt, args);
  va_end(args);
  size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  struct span copy = arena_copy(a->arena, span_make(text, len));
  a->detail = copy.ptr ? copy.ptr : "";
}

/* ---- clocks ---- */

static void on_clock(struct wheel_timer *t) {
  struct attempt *a = container_of(t, struct attempt, clock);
  bool is_first = a->first_byte_us == 0;
  explain(a, is_first ? "no byte within %u ms" : "no further byte within %u ms",
          is_first ? a->settings->timeouts.first_byte : a->settings->timeouts.idle);
  end(a, is_first ? OUTCOME_TIMEOUT_TTFT : OUTCOME_TIMEOUT_IDLE);
}

void attempt_pause(struct attempt *a) {
  if (!a->call || a->is_paused) return;
  a->is_paused = true;
  loop_timer_stop(a->flow->loop, &a->clock);
  upstream_pause(a->call);
}

void attempt_resume(struct attempt *a) {
  if (!a->call || !a->is_paused) return;
  a->is_paused = false;
  loop_timer_start(a->flow->loop, &a->clock, on_clock, a->settings->timeouts.idle);
  upstream_resume(a->call);
}

/* ---- the answer ---- */

static bool is_relayed(enum http_field_id id, int status) {
  switch (id) {
  case HTTP_FIELD_SERVER:
  case HTTP_FIELD_SET_COOKIE:
  case HTTP_FIELD_CONTENT_LENGTH:
  case HTTP_FIELD_WWW_AUTHENTICATE:
  case HTTP_FIELD_LOCATION:
  /* about the provider's own site: said by us, a browser would take them to be about this one */
  case HTTP_FIELD_ALT_SVC:
  case HTTP_FIELD_CLEAR_SITE_DATA:
  case HTTP_FIELD_NEL:
  case HTTP_FIELD_REFRESH:
  case HTTP_FIELD_REPORT_TO:
  case HTTP_FIELD_REPORTING_ENDPOINTS:
  case HTTP_FIELD_STRICT_TRANSPORT_SECURITY:
  /* set by us: */
  case HTTP_FIELD_X_PROVIDER_ADDRESS:
  case HTTP_FIELD_X_REQUEST_ID: return false;
  /* A refusal for a limit gets one of ours: see flow/failure. */
  case HTTP_FIELD_RETRY_AFTER: return status != 429 && status != 503;
  default: return !http_is_hop_by_hop(id);
  }
}

/* CORS is ours to decide, and so is what a browser may read. */
static bool is_ours(struct span name) {
  return span_starts_nocase(name, SPAN("access-control-"));
}

#define LINE_EXTRA 4 /* colon, blank and line end */

static char *put_line(char *p, struct span name, struct span value) {
  memcpy(p, name.ptr, name.len);
  p += name.len;
  memcpy(p, ": ", 2);
  p += 2;
  if (value.len) memcpy(p, value.ptr, value.len);
  p += value.len;
  memcpy(p, "\r\n", 2);
  return p + 2;
}

/* The fields to relay; with a Date, which whoever passes on an answer without one has to add. */
static bool keep_fields(struct attempt *a, const struct http_response *head) {
  bool has_date = http_find(head->fields, head->n_fields, HTTP_FIELD_DATE) != NULL;
  struct span date = has_date ? SPAN_NONE : reply_date(a->flow), date_name = SPAN("Date");
  size_t len = date.len ? date_name.len + date.len + LINE_EXTRA : 0;
  bool keep[HTTP_FIELDS_MAX], has_connection = http_find(head->fields, head->n_fields, HTTP_FIELD_CONNECTION);
  for (unsigned i = 0; i < head->n_fields; i++) {
    const struct http_field *f = &head->fields[i];
    a->says_should_retry |= f->id == HTTP_FIELD_X_SHOULD_RETRY;
    keep[i] = is_relayed(f->id, head->status) && !is_ours(f->name) &&
              !(has_connection && http_is_named_by_connection(head->fields, head->n_fields, f->name));
    if (keep[i]) len += f->name.len + f->value.len + LINE_EXTRA;
  }
  /* What a provider sends must not take the room that the next attempts need. */
  if (len + ARENA_RESERVE > a->arena->max - a->arena->used) return false;
  char *p = arena_alloc(a->arena, len + 1);
  if (!p) return false;
  a->fields = span_make(p, len);
  if (date.len) p = put_line(p, date_name, date);
  for (unsigned i = 0; i < head->n_fields; i++)
    if (keep[i]) p = put_line(p, head->fields[i].name, head->fields[i].value);
  return true;
}

static void fail(struct attempt *a, enum outcome_class class, const char *detail) {
  explain(a, "%s", detail);
  end(a, class);
}

/* What a wall in front of the provider answers with a status that says that all is well. */
static bool is_page(struct span content_type) {
  struct span page = SPAN("text/html");
  return span_starts_nocase(content_type, page) &&
         (content_type.len == page.len || !http_is_token(span_make(content_type.ptr + page.len, 1)));
}

static void on_head(void *user, const struct http_response *head) {
  struct attempt *a = user;
  a->status = head->status;
  a->outcome.connect_ms = upstream_connect_ms(a->call);
  struct limits limits;
  limits_read(&limits, head);
  provider_note_limits(a->entry->provider, &limits);
  a->outcome.retry_after_ms = head->status == 429 ? limits_wait_ms(&limits) : limits.retry_after_ms;
  if (!keep_fields(a, head)) {
    fail(a, OUTCOME_BAD_RESPONSE, "its fields are too large");
    return;
  }
  const struct http_field *f = http_find(head->fields, head->n_fields, HTTP_FIELD_ZG_RES_KEY);
  if (f && f->value.len <= SESSION_KEY_MAX) a->res_key = arena_copy(a->arena, f->value);
  a->length = head->framing == HTTP_LENGTH ? head->content_length : REPLY_LENGTH_UNKNOWN;
  f = http_find(head->fields, head->n_fields, HTTP_FIELD_CONTENT_ENCODING);
  a->is_coded = f && !span_eq_nocase(f->value, SPAN("identity"));
  if (head->status < 200 || head->status > 299) {
    a->phase = ATTEMPT_COLLECTING;
    return;
  }
  f = http_find(head->fields, head->n_fields, HTTP_FIELD_CONTENT_TYPE);
  if (f && a->expects_json && is_page(f->value)) {
    fail(a, OUTCOME_BAD_RESPONSE, "its answer is a page for people");
    return;
  }
  a->is_unnamed = !f && !a->is_coded && a->expects_json;
  answer_init(&a->answer, f && !a->is_coded ? answer_form_of(f->value) : ANSWER_OPAQUE);
  bool signs_images = a->onchain && a->entry->service && proof_signs_images(a->entry->service->service_type);
  if (signs_images && a->answer.form == ANSWER_JSON) onchain_read_images(a->onchain, a->arena);
  a->phase = ATTEMPT_HOLDING;
}

/* What a body without a Content-Type looks like (RFC 9110, 8.3 lets us look). */
static enum answer_form form_of_bytes(struct span bytes) {
  static const char *const starts[] = {"data:", "event:", "id:", "retry:", ":"};
  struct span rest = bytes;
  while (rest.len && strchr(" \t\r\n", rest.ptr[0]))
    rest = span_make(rest.ptr + 1, rest.len - 1);
  if (rest.len && rest.ptr[0] == '{') return ANSWER_JSON;
  for (size_t i = 0; i < ARRAY_LEN(starts); i++)
    if (span_starts(bytes, span_str(starts[i]))) return ANSWER_SSE;
  return ANSWER_OPAQUE;
}

static void commit(struct attempt *a) {
  a->phase = ATTEMPT_RELAYING;
  a->events->on_commit(a);
}

/* Whether what is held shows that the answer is a real one. */
static bool may_commit(const struct attempt *a) {
  if (a->held.len >= ATTEMPT_HOLD_MAX) return true;
  switch (a->answer.form) {
  case ANSWER_SSE: return a->answer.n_events > 0 || a->answer.is_done;
  case ANSWER_JSON:
    return false; /* a short document is held to its end */
  /* One that is announced as short is held to its end, too; any other may be meant to be heard as it comes. */
  default: return a->held.len > 0 && a->length > ATTEMPT_HOLD_MAX;
  }
}

/* NULL: what was held to its end is an answer. Else what is wrong with it, and *class. */
static const char *wrong_whole(const struct attempt *a, enum outcome_class *class) {
  if (!a->expects_json || a->answer.form != ANSWER_JSON || a->phase != ATTEMPT_HOLDING) return NULL;
  if (a->status == 204 || a->status == 205) return NULL;
  *class = OUTCOME_BAD_RESPONSE;
  if (!a->answer.is_done) return "its answer is no complete JSON document";
  *class = OUTCOME_SERVER;
  return a->answer.has_error && !a->answer.id_len ? "its answer is an error, whatever its status says" : NULL;
}

static void take_answer_bytes(struct attempt *a, const char *bytes, size_t len) {
  answer_feed(&a->answer, bytes, len);
  if (a->onchain) onchain_feed(a->onchain, bytes, len);
}

static void on_held_bytes(struct attempt *a, const char *bytes, size_t len) {
  if (a->is_unnamed && a->held.len == 0) answer_init(&a->answer, form_of_bytes(span_make(bytes, len)));
  take_answer_bytes(a, bytes, len);
  if (buf_append(&a->held, bytes, len)) {
    fail(a, OUTCOME_BAD_RESPONSE, "more bytes at once than a transport may deliver");
    return;
  }
  if (a->answer.form == ANSWER_SSE && a->answer.has_error && a->answer.n_events <= 1) {
    fail(a, OUTCOME_SERVER, "its stream begins with an error");
    return;
  }
  if (may_commit(a)) commit(a);
}

static void on_data(void *user, const char *bytes, size_t len) {
  struct attempt *a = user;
  if (a->first_byte_us == 0) {
    a->first_byte_us = loop_now_us(a->flow->loop);
    a->outcome.ttft_ms = (double)(a->first_byte_us - a->began_us) / 1000;
  }
  if (!a->is_paused) loop_timer_start(a->flow->loop, &a->clock, on_clock, a->settings->timeouts.idle);
  switch (a->phase) {
  case ATTEMPT_HOLDING: on_held_bytes(a, bytes, len); break;
  case ATTEMPT_RELAYING:
    take_answer_bytes(a, bytes, len);
    a->events->on_bytes(a, span_make(bytes, len));
    break;
  case ATTEMPT_COLLECTING:
    if (buf_append(&a->held, bytes, len)) fail(a, OUTCOME_BAD_RESPONSE, "its error is too large");
    break;
  default: break;
  }
}

static enum outcome_class class_of_end(enum upstream_end how) {
  switch (how) {
  case UPSTREAM_DNS: return OUTCOME_DNS;
  case UPSTREAM_CONNECT: return OUTCOME_CONNECT;
  case UPSTREAM_CONNECT_TIMEOUT: return OUTCOME_TIMEOUT_CONNECT;
  case UPSTREAM_TLS: return OUTCOME_TLS;
  case UPSTREAM_CUT: return OUTCOME_STREAM_TRUNCATED;
  default: return OUTCOME_BAD_RESPONSE;
  }
}

/* ---- refusals ---- */

static void end_refused(struct attempt *a, enum outcome_class class, const char *reason) {
  if (reason[0]) {
    explain(a, "%s", reason);
    a->outcome.reason = a->detail;
  } else {
    explain(a, "status %d", a->status);
  }
  end(a, class);
}

static void on_token(void *user, bool has_fresh) {
  struct attempt *a = user;
  struct onchain *o = a->onchain;
  if (has_fresh)
    send_request(a, o->path, o->fields, o->body, o->n_body);
  else
    end_refused(a, OUTCOME_AUTH, "it refuses our session token, and there is no other one");
}

static void on_no_token(struct wheel_timer *t) {
  struct attempt *a = container_of(t, struct attempt, clock);
  end_refused(a, OUTCOME_AUTH, "it refuses our session token, and a fresh one did not come in time");
}

static void judge_refusal(struct attempt *a) {
  if (!a->onchain) {
    end_refused(a, outcome_of_status(a->status, buf_span(&a->held)), "");
    return;
  }
  struct refusal r;
  char text[DETAIL_MAX];
  refusal_read(&r, a->status, buf_span(&a->held), a->is_model_ours);
  refusal_text(text, sizeof text, &r, a->entry->provider->id);
  bool is_token = r.kind == REFUSAL_TOKEN || r.kind == REFUSAL_TOKEN_EXPIRED;
  if (is_token && !a->entry->api_key && onchain_ask_token(a->onchain, on_token, a)) {
    a->phase = ATTEMPT_RENEWING;
    loop_timer_start(a->flow->loop, &a->clock, on_no_token, RENEW_MS);
    return;
  }
  end_refused(a, r.class, text);
}

static void on_done(void *user, enum upstream_end how, const char *detail) {
  struct attempt *a = user;
  a->call = NULL;
  if (how == UPSTREAM_NO_DESCRIPTOR) {
    a->is_ours = true;
    fail(a, OUTCOME_CLIENT_CLOSED, detail); /* the class that tells nothing about the provider */
    return;
  }
  if (how != UPSTREAM_OK) {
    fail(a, class_of_end(how), detail);
    return;
  }
  if (a->phase == ATTEMPT_COLLECTING) {
    judge_refusal(a);
    return;
  }
  bool tells_end = a->answer.form == ANSWER_SSE && a->wants_done_marker;
  if (tells_end && a->answer.has_error) {
    fail(a, OUTCOME_SERVER, "its stream reports an error");
    return;
  }
  if (tells_end && !a->answer.is_done && !a->answer.has_finish) {
    fail(a, OUTCOME_STREAM_TRUNCATED, "the stream ended without finish_reason and [DONE]");
    return;
  }
  enum outcome_class class;
  const char *wrong = wrong_whole(a, &class);
  if (wrong)
    fail(a, class, wrong);
  else
    end(a, OUTCOME_OK);
}

static const struct upstream_events EVENTS = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

/* ---- the beginning ---- */

#define AGENT "User-Agent: moongate/" MOONGATE_VERSION "\r\n"

static size_t put(char *out, size_t at, const void *bytes, size_t len) {
  memcpy(out + at, bytes, len);
  return at + len;
}

static size_t put_credential(char *out, size_t at, const char *key, size_t len) {
  static const char name[] = "Authorization: Bearer ";
  at = put(out, at, name, sizeof name - 1);
  at = put(out, at, key, len);
  return put(out, at, "\r\n", 2);
}

#define CREDENTIAL_EXTRA 32 /* name and line end around a key */

/* The provider's credentials, attached after the choice and for this attempt alone. */
static struct span own_fields(struct attempt *a) {
  const char *key = a->entry->api_key;
  if (!key) return SPAN(AGENT);
  size_t key_len = strlen(key);
  char *p = arena_alloc(a->arena, sizeof AGENT - 1 + key_len + CREDENTIAL_EXTRA);
  if (!p) return SPAN_NONE;
  size_t len = put(p, 0, AGENT, sizeof AGENT - 1);
  len = put_credential(p, len, key, key_len);
  return span_make(p, len);
}

/* The same with the session token as it is now. */
static struct span token_fields(struct onchain *o) {
  _Static_assert(sizeof o->own_fields >= sizeof AGENT + CREDENTIAL_EXTRA + PROVIDER_TOKEN_MAX, "too small");
  char token[PROVIDER_TOKEN_MAX];
  size_t token_len = onchain_token(o, token);
  o->own_len = put(o->own_fields, 0, AGENT, sizeof AGENT - 1);
  if (token_len) o->own_len = put_credential(o->own_fields, o->own_len, token, token_len);
  wipe(token, sizeof token);
  return span_make(o->own_fields, o->own_len);
}

static void send_request(struct attempt *a, struct span path, struct span fields, const struct span *body,
                         unsigned n_body) {
  bool has_token = a->onchain && !a->entry->api_key;
  a->phase = ATTEMPT_WAITING;
  a->status = 0;
  a->fields = a->res_key = SPAN_NONE; /* of the answer before, when a token was refused */
  a->outcome.retry_after_ms = 0;
  a->says_should_retry = false;
  a->began_us = loop_now_us(a->flow->loop);
  a->first_byte_us = 0;
  buf_clear(&a->held);
  if (a->onchain) onchain_begin(a->onchain);
  struct upstream_request up = {
      .is_post = true,
      .is_public_only = a->entry->is_public_only,
      .base = span_str(a->entry->endpoint.text),
      .path = path,
      .fields = {fields, has_token ? token_fields(a->onchain) : own_fields(a)},
      .body = body,
      .n_body = n_body,
      .connect_ms = a->settings->timeouts.connect,
      .events = &EVENTS,
      .user = a,
  };
  loop_timer_start(a->flow->loop, &a->clock, on_clock, a->settings->timeouts.first_byte);
  upstream_start(a->flow->upstream, &up, &a->call);
}

/* One for all attempts of an exchange, which come one after the other. */
static struct onchain *make_onchain(struct attempt *a, const struct attempt_request *req,
                                    struct onchain *before) {
  struct onchain *o = before ? before : arena_alloc(a->arena, sizeof *o);
  REQUIRE(o); /* small beside the arena's cap */
  onchain_init(o, a->flow, a->entry->provider);
  o->path = req->path;
  o->fields = req->fields;
  o->n_body = req->n_body;
  memcpy(o->body, req->body, req->n_body * sizeof *req->body);
  return o;
}

void attempt_start(struct attempt *a, const struct attempt_request *req) {
  struct onchain *before = a->onchain;
  attempt_release(a);
  *a = (struct attempt){
      .flow = req->flow,
      .events = req->events,
      .entry = &req->plan->entries[req->slot],
      .settings = &req->plan->settings,
      .slot = req->slot,
      .wants_done_marker = req->wants_done_marker,
      .is_model_ours = req->is_model_ours,
      .expects_json = req->expects_json,
      .outcome = {.connect_ms = NAN,
                  .ttft_ms = NAN,
                  .total_ms = NAN,
                  .tokens_in = -1,
                  .tokens_out = -1,
                  .is_retry = req->is_retry},
      .arena = req->arena,
      .detail = "",
  };
  answer_init(&a->answer, ANSWER_OPAQUE);
  buf_init_in(&a->held, ATTEMPT_ERROR_MAX, &a->flow->loop->blocks);
  provider_begin(a->entry->provider);
  if (a->entry->provider->kind == PROVIDER_ONCHAIN) a->onchain = make_onchain(a, req, before);
  send_request(a, req->path, req->fields, req->body, req->n_body);
}

void attempt_release(struct attempt *a) {
  if (!a->flow) return;
  REQUIRE(a->phase == ATTEMPT_NONE);
  buf_release(&a->held);
  answer_release(&a->answer);
  a->flow = NULL;
}
