#include "flow/exchange.h"
#include "flow/audit.h"
#include "flow/failure.h"
#include "flow/verification.h"
#include "flow/overload.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/redact.h"
#include "wire/multipart.h"

#include <math.h>
#include <stdlib.h>

#define BUDGET_WAIT_MS  10000 /* how long a retry waits for its turn before the request gives up */
#define BUDGET_CHECK_MS 16
#define TAKEN_AT_ONCE   (256u * 1024) /* memory for an announced body beyond what has come */
#define KEEP_MIN        32768         /* of a body that keeps the memory it was read to */
#define PIN_FIELD       SPAN("x-0g-provider-address")

static const struct attempt_events EVENTS;

static void select_provider(struct exchange *x);

/* ---- life and death ---- */

/* What of a client's head goes on to providers. Credentials never do. */
static bool is_forwarded(const struct settings *s, const struct http_field *f) {
  switch (f->id) {
  case HTTP_FIELD_CONTENT_TYPE:
  case HTTP_FIELD_ACCEPT:
  case HTTP_FIELD_IDEMPOTENCY_KEY:
  case HTTP_FIELD_TRACEPARENT:
  case HTTP_FIELD_TRACESTATE: return true;
  case HTTP_FIELD_X_REQUEST_ID: return false; /* ours is sent, which is the client's when that was sane */
  case HTTP_FIELD_OTHER:
  case HTTP_FIELD_X_SESSION_ID: break;
  default: return false;
  }
  if (span_starts_nocase(f->name, SPAN("openai-")) || span_starts_nocase(f->name, SPAN("anthropic-")) ||
      span_starts_nocase(f->name, SPAN("x-0g-")))
    return true;
  for (char **extra = s->forward_headers; extra && *extra; extra++)
    if (span_eq_nocase(f->name, span_str(*extra))) return true;
  return false;
}

static char *put(char *at, struct span s) {
  if (s.len) memcpy(at, s.ptr, s.len);
  return at + s.len;
}

/* The client's fields that go on, and behind them our own that are the same for each attempt. */
static bool keep_fields(struct exchange *x, const struct http_request *req) {
  struct span id_name = SPAN("X-Request-Id: "), line_end = SPAN("\r\n");
  struct span type = x->has_content_type ? SPAN_NONE : SPAN("Content-Type: application/json\r\n");
  bool has_connection = http_find(req->fields, req->n_fields, HTTP_FIELD_CONNECTION) != NULL;
  size_t len = 0, own = id_name.len + x->reply.request_id.len + line_end.len + type.len;
  bool keep[HTTP_FIELDS_MAX];
  for (unsigned i = 0; i < req->n_fields; i++) {
    keep[i] =
        is_forwarded(&x->plan->settings, &req->fields[i]) &&
        !(has_connection && http_is_named_by_connection(req->fields, req->n_fields, req->fields[i].name));
    if (keep[i]) len += req->fields[i].name.len + req->fields[i].value.len + 4;
  }
  char *p = arena_alloc(&x->arena, len + own);
  if (!p) return false;
  x->fields = span_make(p, len + own);
  for (unsigned i = 0; i < req->n_fields; i++) {
    if (!keep[i]) continue;
    const struct http_field *f = &req->fields[i];
    p = put(p, f->name);
    p = put(p, SPAN(": "));
    if (span_eq_nocase(f->name, PIN_FIELD)) x->pin = span_make(p, f->value.len);
    p = put(p, f->value);
    p = put(p, line_end);
  }
  p = put(p, id_name);
  p = put(p, x->reply.request_id);
  p = put(p, line_end);
  (void)put(p, type);
  return true;
}

static bool is_sane_request_id(struct span s) {
  if (s.len == 0 || s.len > 128) return false;
  for (size_t i = 0; i < s.len; i++) {
    char c = s.ptr[i];
    bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
              c == '_' || c == '.' || c == ':' || c == '/' || c == '+' || c == '=';
    if (!ok) return false;
  }
  return true;
}

/* Eight digits at once: a nibble in each byte, then its letter. */
static void put_hex8(char *out, uint32_t n) {
  const uint64_t ones = 0x0101010101010101u;
  uint64_t x = n;
  x = (x | x << 16) & 0x0000ffff0000ffffu;
  x = (x | x << 8) & 0x00ff00ff00ff00ffu;
  x = (x | x << 4) & (ones * 15);
  x += ones * '0' + ((x + ones * 6) >> 4 & ones) * ('a' - '0' - 10);
  memcpy(out, &x, 8);
}

static struct span request_id(struct exchange *x, const struct http_request *req) {
  const struct http_field *f = req ? http_find(req->fields, req->n_fields, HTTP_FIELD_X_REQUEST_ID) : NULL;
  if (f && is_sane_request_id(f->value)) return arena_copy(&x->arena, f->value);
  char text[] = "req_000000000000000000000000";
  uint64_t random = rng_u64(&x->flow->rng);
  put_hex8(text + 4, (uint32_t)random);
  put_hex8(text + 12, (uint32_t)(random >> 32));
  put_hex8(text + 20, (uint32_t)rng_u64(&x->flow->rng));
  return arena_copy(&x->arena, span_make(text, sizeof text - 1));
}

static struct span cors_origin(struct exchange *x, const struct http_request *req) {
  char **allowed = x->plan->settings.cors_origins;
  const struct http_field *f = req ? http_find(req->fields, req->n_fields, HTTP_FIELD_ORIGIN) : NULL;
  if (!allowed || !*allowed || !f) return SPAN_NONE;
  for (; *allowed; allowed++) {
    if (strcmp(*allowed, "*") == 0) return SPAN("*");
    if (span_eq_nocase(f->value, span_str(*allowed))) return arena_copy(&x->arena, f->value);
  }
  return SPAN_NONE;
}

/* A chat is always read, whatever its Content-Type says: providers read it, too. */
static bool is_read_as_json(const struct route *route, struct span type) {
  if (route->is_chat) return true;
  if (route->is_json) return !span_starts_nocase(type, SPAN("multipart/"));
  return span_starts_nocase(type, SPAN("application/json"));
}

struct exchange *exchange_new(struct flow *f, struct conn *c, const struct http_request *req,
                              const struct route *route) {
  struct exchange *x = blocks_take(&f->loop->blocks, EXCHANGE_BLOCK, NULL);
  *x = (struct exchange){.flow = f,
                         .id = ++f->last_exchange_id,
                         .generation = f->generation,
                         .plan = generation_plan(f->generation),
                         .route = route,
                         .started_us = loop_now_us(f->loop)};
  generation_enter(x->generation);
  request_body_init(&x->facts);
  arena_init_at(&x->arena, &f->loop->arenas, EXCHANGE_ARENA_MAX, x + 1, EXCHANGE_BLOCK - sizeof *x);
  size_t body_max = route && !route->kind ? route->body_max : x->plan->settings.max_body_bytes;
  buf_init_in(&x->body, body_max, &f->loop->blocks);
  x->peer = c->peer;
  list_push_back(&f->exchanges, &x->node);
  x->reply = (struct reply){.flow = f, .conn = c, .keep = true};
  x->reply.request_id = request_id(x, req);
  x->reply.cors_origin = cors_origin(x, req);
  c->user = x;
  if (req) {
    x->method = req->method;
    x->announced = req->framing == HTTP_LENGTH ? (size_t)req->content_length : 0;
    x->path = arena_copy(&x->arena, req->path);
    const struct http_field *type = http_find(req->fields, req->n_fields, HTTP_FIELD_CONTENT_TYPE);
    x->has_content_type = type != NULL;
    x->is_json = route && is_read_as_json(route, type ? type->value : SPAN_NONE);
    if (route && route->kind && !x->is_json && type)
      x->boundary = arena_copy(&x->arena, multipart_boundary(type->value));
  }
  if (req && route && route->kind) {
    const struct http_field *session = http_find(req->fields, req->n_fields, HTTP_FIELD_X_SESSION_ID);
    if (session) x->session_key = arena_copy(&x->arena, session->value);
    bool fits = keep_fields(x, req);
    REQUIRE(fits); /* a head is at most HTTP_HEAD_MAX */
    x->is_counted = true;
    flow_count_exchange(f, 1);
  }
  return x;
}

static void release_retry(struct exchange *x) {
  if (x->holds_retry) (void)shared_add_u32(&x->flow->shared->active_retries, -1);
  x->holds_retry = false;
}

static void count_buffered(struct exchange *x, size_t bytes) {
  if (bytes == x->counted_bytes) return;
  flow_count_bytes(x->flow, (int64_t)bytes - (int64_t)x->counted_bytes);
  x->counted_bytes = bytes;
}

void exchange_free(struct exchange *x) {
  struct flow *f = x->flow;
  if (attempt_is_running(&x->attempt)) attempt_abort(&x->attempt, OUTCOME_CLIENT_CLOSED);
  attempt_release(&x->attempt);
  if (x->verification) {
    f->n_verifying--;
    verification_free(x->verification);
  }
  loop_timer_stop(f->loop, &x->deadline);
  loop_timer_stop(f->loop, &x->delay);
  release_retry(x);
  overload_leave(x);
  count_buffered(x, 0);
  if (x->is_counted) flow_count_exchange(f, -1);
  buf_release(&x->body);
  arena_reset(&x->arena);
  list_remove(&x->node);
  struct generation *g = x->generation;
  blocks_give(&f->loop->blocks, x, EXCHANGE_BLOCK);
  if (generation_leave(g) && g != f->generation) f->shared->return_generation(f->shared, g);
}

static struct traffic *traffic_of(const struct exchange *x) {
  return &x->flow->shared->traffic[x->flow->worker];
}

/* It ends with this status (that of a broken stream is what was sent): counted before the client can see it. */
static void note_end_at(const struct exchange *x, int status, const char *how, uint64_t now_us) {
  if (x->is_counted)
    traffic_note(traffic_of(x), x->route->kind, status, x->facts.is_stream, now_us - x->started_us);
  if (UNLIKELY(x->pin.len > 0) && status != TRAFFIC_CLIENT_LEFT)
    traffic_note_pinned(traffic_of(x), x->n_attempts && !outcome_is_retryable(x->attempt.outcome.class));
  log_debug("%.*s %.*s %s: %s after %u attempts, %.1f ms", SPAN_FMT(x->reply.request_id), SPAN_FMT(x->path),
            x->attempt.entry ? x->attempt.entry->provider->id : "-", how, x->n_attempts,
            (double)(now_us - x->started_us) / 1000);
}

static void note_end(const struct exchange *x, int status, const char *how) {
  note_end_at(x, status, how, loop_now_us(x->flow->loop));
}

static void fill_request(struct exchange *x, struct lb_request *r, uint64_t now_us);

static void file_session(struct exchange *x);

static void observe(struct exchange *x) {
  if (!generation_implements(x->generation, CALLBACK_OBSERVE)) return;
  struct lb_request r;
  fill_request(x, &r, x->attempt.ended_us);
  r.attempt = x->n_attempts;
  decide_observe(x->generation, &r, x->attempt.slot, &x->attempt.outcome);
}

void exchange_client_gone(struct exchange *x) {
  x->reply.conn = NULL;
  note_end(x, TRAFFIC_CLIENT_LEFT, "the client left");
  if (attempt_is_running(&x->attempt)) {
    /* Many leave at [DONE]: they have their answer, and may ask for its verification. */
    bool is_whole = attempt_is_whole(&x->attempt);
    attempt_abort(&x->attempt, is_whole ? OUTCOME_OK : OUTCOME_CLIENT_CLOSED);
    observe(x);
    if (is_whole) file_session(x);
  }
  exchange_free(x);
}

void exchange_answer(struct exchange *x, int status, const char *content_type, struct span body,
                     const struct reply_extra *extra) {
  reply_text(&x->reply, status, content_type, body, extra);
  exchange_free(x);
}

static void answer_error(struct exchange *x, int status, const char *type, const char *code,
                         struct span message, const struct reply_extra *extra) {
  note_end(x, status, code);
  reply_error(&x->reply, status, type, code, message, extra);
  exchange_free(x);
}

void exchange_error(struct exchange *x, int status, const char *type, const char *code, const char *message) {
  answer_error(x, status, type, code, span_str(message), NULL);
}

void exchange_error_with(struct exchange *x, int status, const char *code, struct span message,
                         const struct reply_extra *extra) {
  answer_error(x, status, NULL, code, message, extra);
}

void exchange_fault(struct exchange *x, const struct http_fault *fault) {
  note_end(x, fault->status, fault->code);
  reply_fault(&x->reply, fault);
  exchange_free(x);
}

/* ---- reading the body ---- */

static int reserve_body(struct exchange *x, size_t want) {
  return buf_reserve(&x->body, want < TAKEN_AT_ONCE ? want : TAKEN_AT_ONCE);
}

char *exchange_body_room(struct exchange *x, size_t want, size_t *room) {
  if (reserve_body(x, want)) return NULL;
  *room = x->body.cap - x->body.len < want ? x->body.cap - x->body.len : want;
  return x->body.data + x->body.len;
}

static void refuse_body(struct exchange *x) {
  x->reply.keep = false;
  struct reply_extra extra = {.retry_after_s = 1};
  answer_error(x, 503, NULL, "overloaded", SPAN("Too many large requests at once; try again shortly"),
               &extra);
}

/* Takes the bytes: where they are already, with the memory that they were read to, or as a copy. */
static int keep_body(struct exchange *x, const char *bytes, size_t len, bool is_all) {
  struct buf *body = &x->body;
  if (body->cap - body->len >= len && bytes == body->data + body->len) {
    body->len += len;
    return 0;
  }
  if (!body->data) {
    bool is_long = is_all && x->announced >= KEEP_MIN;
    if (is_long && loop_keep_read(x->flow->loop, body, bytes, len, x->announced)) return 0;
    int err = reserve_body(x, x->announced);
    if (err) return err;
  }
  return buf_append(body, bytes, len);
}

bool exchange_add_body(struct exchange *x, const char *bytes, size_t len, bool is_all) {
  int err = keep_body(x, bytes, len, is_all);
  if (err == UV_ENOMEM) {
    refuse_body(x);
    return false;
  }
  if (err) {
    exchange_fault(x, &HTTP_FAULT_BODY_TOO_LARGE);
    return false;
  }
  if (x->body.cap != x->counted_bytes && x->body.cap >= 65536) {
    count_buffered(x, x->body.cap);
    if (shared_buffered_bytes(x->flow->shared) > x->plan->settings.max_buffered_bytes) {
      refuse_body(x);
      return false;
    }
  }
  return true;
}

void exchange_expect_body(struct exchange *x, uint64_t bytes) {
  if (bytes > x->body.max - x->body.len) exchange_fault(x, &HTTP_FAULT_BODY_TOO_LARGE);
}

/* ---- choice ---- */

static struct lb_text text_of(struct span s) {
  return (struct lb_text){s.ptr, (uint32_t)s.len, 0};
}

static double hash53(struct span s) {
  return (double)(hash_bytes(s, 0) >> 11);
}

static void fill_request(struct exchange *x, struct lb_request *r, uint64_t now_us) {
  double elapsed = (double)(now_us - x->started_us) / 1000;
  double left = (double)x->plan->settings.timeouts.total - elapsed;
  *r = (struct lb_request){
      .id = text_of(x->reply.request_id),
      .kind = text_of(span_str(x->route->kind)),
      .model = text_of(x->facts.model),
      .session_key = text_of(x->session_key),
      .client = text_of(span_str(x->peer)),
      .head = text_of(x->fields),
      .body_bytes = (double)x->body_bytes,
      .est_input_tokens = floor((double)x->body_bytes / 4),
      .max_tokens = x->facts.max_tokens,
      .elapsed_ms = elapsed,
      .deadline_ms = left > 0 ? left : 0,
      .seed = hash53(x->reply.request_id),
      .prefix_hash = x->prefix_hash,
      .attempt = x->n_attempts + 1,
      .stream = x->facts.is_stream,
  };
}

static void try_provider(struct exchange *x, unsigned slot) {
  const struct plan_entry *e = &x->plan->entries[slot];
  slot_add(&x->tried, slot);
  x->n_attempts++;
  x->state = EXCHANGE_TRYING;
  x->reply.provider = span_str(e->provider->id);
  unsigned n = request_body_splice(&x->facts, x->segments, buf_span(&x->body),
                                   x->is_json ? span_str(e->model) : SPAN_NONE,
                                   e->provider->kind == PROVIDER_ONCHAIN, &x->arena);
  struct attempt_request req = {
      .flow = x->flow,
      .plan = x->plan,
      .slot = slot,
      .arena = &x->arena,
      .path = span_str(x->route->upstream_path),
      .fields = x->fields,
      .body = x->segments,
      .n_body = n,
      .wants_done_marker = x->route->ends_streams && x->facts.is_stream,
      .is_retry = x->n_attempts > 1,
      .is_model_ours = x->is_json && e->model != NULL,
      .expects_json = x->route->answers_json,
      .events = &EVENTS,
  };
  /* From here on it is the provider's time, and the attempt's. */
  if (x->n_attempts == 1) traffic_note_overhead(traffic_of(x), loop_read_clock(x->flow->loop) - x->ready_us);
  attempt_start(&x->attempt, &req);
}

/* The next entry of a strategy's ordered list that may still be tried, or -1. */
static int next_planned(struct exchange *x, const uint16_t *candidates, unsigned n) {
  while (x->n_planned) {
    unsigned slot = *x->planned++;
    x->n_planned--;
    for (unsigned i = 0; i < n; i++)
      if (candidates[i] == slot) return (int)slot;
  }
  return -1;
}

/* What is left of the list is kept when there is more than one entry. */
static void keep_plan(struct exchange *x, const struct decision *d) {
  if (!d->is_plan || d->n < 2) return;
  uint16_t *rest = arena_alloc(&x->arena, (d->n - 1) * sizeof *rest);
  if (!rest) return;
  memcpy(rest, d->slots + 1, (d->n - 1) * sizeof *rest);
  x->planned = rest;
  x->n_planned = d->n - 1;
}

/* There will be no further attempt. */
static void give_up(struct exchange *x, enum traffic_denial why) {
  if (outcome_is_retryable(x->attempt.outcome.class)) traffic_note_denied(traffic_of(x), why);
  failure_relay(x);
}

static void select_provider(struct exchange *x) {
  x->state = EXCHANGE_SELECTING;
  uint16_t candidates[PLAN_PROVIDERS_MAX];
  uint64_t now_us = loop_now_us(x->flow->loop);
  unsigned n = plan_candidates(x->plan, candidates, &x->serves, &x->tried, now_us / 1000);
  if (n == 0) {
    if (x->n_attempts)
      give_up(x, DENIED_NOBODY);
    else
      failure_nobody(x, "");
    return;
  }
  int planned = next_planned(x, candidates, n);
  if (planned >= 0) {
    try_provider(x, (unsigned)planned);
    return;
  }
  struct lb_request r;
  fill_request(x, &r, now_us);
  struct decision d;
  decide_select(x->generation, &d, &r, candidates, n, &x->flow->rng);
  if (!generation_is_ours(x->generation)) loop_time_passes(x->flow->loop);
  if (d.n == 0) {
    if (x->n_attempts)
      give_up(x, DENIED_STRATEGY);
    else
      failure_nobody(x, d.reason);
    return;
  }
  keep_plan(x, &d);
  try_provider(x, d.slots[0]);
}

/* ---- retry ---- */

/* Whether a further attempt could find somebody, now or after a pause. */
static bool has_untried(const struct exchange *x) {
  for (size_t i = 0; i < ARRAY_LEN(x->serves.w); i++)
    if (x->serves.w[i] & ~x->tried.w[i]) return true;
  return false;
}

/* Retries running at once are a share of the active requests, so that a failing provider cannot start a
 * storm. */
static bool take_retry(struct exchange *x) {
  if (x->holds_retry) return true;
  struct shared *s = x->flow->shared;
  double limit = settings_retry_limit(&x->plan->settings, shared_active_exchanges(s));
  if (shared_add_u32(&s->active_retries, 1) > limit) {
    (void)shared_add_u32(&s->active_retries, -1);
    return false;
  }
  x->holds_retry = true;
  return true;
}

static void on_delay_over(struct wheel_timer *t) {
  struct exchange *x = container_of(t, struct exchange, delay);
  if (take_retry(x)) {
    select_provider(x);
    return;
  }
  uint64_t now = clock_mono_ms();
  if (x->budget_wait_until_ms == 0) x->budget_wait_until_ms = now + BUDGET_WAIT_MS;
  if (now >= x->budget_wait_until_ms) {
    give_up(x, DENIED_BUDGET);
    return;
  }
  loop_timer_start(x->flow->loop, &x->delay, on_delay_over,
                   BUDGET_CHECK_MS + rng_below(&x->flow->rng, BUDGET_CHECK_MS));
}

static void retry_or_give_up(struct exchange *x) {
  const struct attempt *a = &x->attempt;
  struct lb_request r;
  fill_request(x, &r, a->ended_us);
  r.attempt = x->n_attempts;
  uint32_t delay_ms = 0;
  enum decide_verdict v = decide_retry(x->generation, &delay_ms, &r, a->slot, &a->outcome);
  bool is_over = x->n_attempts > x->plan->settings.max_retries;
  if (v == DECIDE_STOP || is_over || (v == DECIDE_NEXT && !has_untried(x))) {
    give_up(x, v == DECIDE_STOP ? DENIED_STRATEGY : is_over ? DENIED_LIMIT : DENIED_NOBODY);
    return;
  }
  static struct log_limit limit;
  unsigned suppressed = 0;
  if (log_limit_pass(&limit, 10, 1000, &suppressed))
    log_warn("%.*s: attempt %u at %s failed: %s%s%s%s", SPAN_FMT(x->reply.request_id), x->n_attempts,
             a->entry->provider->id, outcome_name(a->outcome.class), a->detail[0] ? " (" : "", a->detail,
             a->detail[0] ? ")" : "");
  if (v == DECIDE_SAME) {
    x->tried.w[a->slot / 64] &= ~((uint64_t)1 << (a->slot % 64));
    x->n_planned = 0;
    uint16_t *again = arena_alloc(&x->arena, sizeof *again);
    if (again) {
      *again = (uint16_t)a->slot;
      x->planned = again;
      x->n_planned = 1;
    }
  }
  release_retry(x);
  x->state = EXCHANGE_DELAYED;
  if (delay_ms == 0 && take_retry(x)) {
    select_provider(x);
    return;
  }
  loop_timer_start(x->flow->loop, &x->delay, on_delay_over, delay_ms ? delay_ms : BUDGET_CHECK_MS);
}

/* ---- how it ends ---- */

void exchange_relay_error(struct exchange *x, struct span fields) {
  const struct attempt *a = &x->attempt;
  note_end(x, a->status, outcome_name(a->outcome.class));
  (void)reply_begin(&x->reply, a->status, fields, a->held.len, buf_span(&a->held));
  reply_complete(&x->reply);
  reply_end(&x->reply);
  exchange_free(x);
}

static void file_session(struct exchange *x) {
  const struct attempt *a = &x->attempt;
  if (!a->answer.id_len && !a->res_key.len) return;
  struct session s; /* large, and texts have an end: what is not set is not read */
  span_to_text(s.provider, sizeof s.provider, span_str(a->entry->provider->id));
  span_to_text(s.model, sizeof s.model, a->entry->model ? span_str(a->entry->model) : x->facts.model);
  span_to_text(s.res_key, sizeof s.res_key, a->res_key);
  span_to_text(s.id, sizeof s.id, span_make(a->answer.id, a->answer.id_len));
  s.created_wall_ms = clock_wall_ms();
  s.tokens_in = a->answer.tokens_in;
  s.tokens_out = a->answer.tokens_out;
  s.has_digests = a->onchain != NULL;
  s.has_images = false;
  if (s.has_digests) onchain_digests(a->onchain, &s);
  /* Brokers add include_usage to any stream that lacks it; a chat's stream has it from us. */
  s.is_rewritable = s.has_digests && x->facts.is_stream && !x->route->is_chat;
  session_put(x->flow->shared->sessions, &s, a->ended_us / 1000);
  if (s.has_digests) audit_offer(x->flow, x->plan, a->slot, &s);
}

/* Nobody else will be asked: what has been sent is not needed any more. */
static void drop_body(struct exchange *x) {
  if (!x->body.data || !attempt_has_sent(&x->attempt)) return;
  const char *key = x->session_key.ptr;
  if (key >= x->body.data && key < x->body.data + x->body.len) {
    struct span copy = arena_copy(&x->arena, x->session_key);
    if (!copy.ptr) return;
    x->session_key = copy;
  }
  buf_release(&x->body);
  count_buffered(x, 0);
}

static void on_commit(struct attempt *a) {
  struct exchange *x = container_of(a, struct exchange, attempt);
  x->state = EXCHANGE_RELAYING;
  release_retry(x);
  (void)reply_begin(&x->reply, a->status, a->fields, a->length, buf_span(&a->held));
  buf_release(&a->held);
  drop_body(x);
  if (x->reply.conn && conn_pending(x->reply.conn) >= CONN_HIGH_WATER) attempt_pause(a);
}

static void on_bytes(struct attempt *a, struct span bytes) {
  struct exchange *x = container_of(a, struct exchange, attempt);
  (void)reply_bytes(&x->reply, bytes);
  if (x->reply.conn && conn_pending(x->reply.conn) >= CONN_HIGH_WATER) attempt_pause(a);
}

void exchange_drained(struct exchange *x) {
  if (attempt_is_running(&x->attempt)) attempt_resume(&x->attempt);
}

/* The stream broke behind the commit point: say so inside it, unless it did, and never let it look complete. */
static void break_stream(struct exchange *x) {
  const struct attempt *a = &x->attempt;
  struct buf *t = &x->flow->text;
  buf_clear(t);
  if (a->answer.form == ANSWER_SSE && !a->answer.has_error) {
    char text[256];
    (void)snprintf(text, sizeof text, "Provider %s broke off its answer (%s)", a->entry->provider->id,
                   outcome_name(a->outcome.class));
    struct http_error e = {.status = 502,
                           .code = "provider_error",
                           .message = span_str(text),
                           .request_id = x->reply.request_id};
    buf_put_str(t, answer_is_at_event_end(&a->answer) ? "" : "\n\n");
    buf_put_str(t, x->route->upstream_path && strcmp(x->route->kind, "messages") == 0 ? "event: error\ndata: "
                                                                                      : "data: ");
    http_put_error_body(t, &e);
    buf_put_str(t, "\n\n");
  }
  note_end(x, a->status, outcome_name(a->outcome.class));
  reply_break(&x->reply, buf_span(t));
  exchange_free(x);
}

/* The client comes first; before its next request is looked at, all is in order. */
static void end_well(struct exchange *x) {
  const struct attempt *a = &x->attempt;
  struct session_table *sessions = x->flow->shared->sessions;
  note_end_at(x, a->status, "ok", a->ended_us);
  session_follows(sessions, x->flow->worker);
  if (!a->outcome.committed)
    (void)reply_begin(&x->reply, a->status, a->fields, a->held.len, buf_span(&a->held));
  reply_complete(&x->reply);
  file_session(x);
  session_is_there(sessions, x->flow->worker);
  observe(x);
  reply_end(&x->reply);
  exchange_free(x);
}

static void on_end(struct attempt *a) {
  struct exchange *x = container_of(a, struct exchange, attempt);
  if (a->outcome.class == OUTCOME_OK) {
    end_well(x);
    return;
  }
  observe(x);
  if (a->is_ours) {
    overload_refuse(x, "Too many connections at once; try again shortly");
  } else if (a->outcome.committed) {
    break_stream(x);
  } else {
    retry_or_give_up(x);
  }
}

static const struct attempt_events EVENTS = {.on_commit = on_commit, .on_bytes = on_bytes, .on_end = on_end};

static void on_deadline(struct wheel_timer *t) {
  struct exchange *x = container_of(t, struct exchange, deadline);
  bool was_committed = x->state == EXCHANGE_RELAYING;
  if (attempt_is_running(&x->attempt)) {
    attempt_abort(&x->attempt, OUTCOME_TIMEOUT_TOTAL);
    observe(x);
  }
  if (was_committed) {
    break_stream(x);
    return;
  }
  failure_late(x);
}

/* A client may insist on one provider; then nobody else is asked. False: the error has been answered. */
static bool hold_to_pin(struct exchange *x) {
  if (!x->pin.len) return true;
  char text[PROVIDER_ID_MAX + MODEL_NAME_MAX + 96];
  int id_len = (int)(x->pin.len < PROVIDER_ID_MAX ? x->pin.len : PROVIDER_ID_MAX);
  int slot = plan_find(x->plan, x->pin);
  if (slot < 0) {
    (void)snprintf(text, sizeof text,
                   "X-0G-Provider-Address names `%.*s`, which is not among the providers here", id_len,
                   x->pin.ptr);
    exchange_error(x, 404, NULL, "provider_not_found", text);
    return false;
  }
  if (!slot_has(&x->serves, (unsigned)slot)) {
    (void)snprintf(text, sizeof text, "Provider `%.*s` does not serve the model `%.*s`", id_len, x->pin.ptr,
                   SPAN_FMT(x->facts.model));
    exchange_error(x, 404, NULL, "model_not_found", text);
    return false;
  }
  memset(&x->serves, 0, sizeof x->serves);
  slot_add(&x->serves, (unsigned)slot);
  return true;
}

void exchange_balance(struct exchange *x) {
  struct request_fault fault;
  x->ready_us = loop_now_us(x->flow->loop);
  x->body_bytes = x->body.len;
  if (x->body.len && generation_has_prefix_hash(x->generation))
    x->prefix_hash = hash53(span_make(x->body.data, x->body.len < 1024 ? x->body.len : 1024));
  bool is_read = true;
  if (x->is_json)
    is_read = request_body_read(&x->facts, &fault, buf_span(&x->body), x->route->is_chat, &x->arena);
  else if (x->boundary.len)
    is_read = request_body_read_form(&x->facts, &fault, buf_span(&x->body), x->boundary, &x->arena);
  if (!is_read) {
    exchange_error(x, 400, "invalid_request_error", fault.code, fault.message);
    return;
  }
  if (!x->session_key.len) x->session_key = x->facts.cache_key;
  if (x->plan->n_entries == 0) {
    failure_nobody(x, "none of the contract's services fits the configuration, or they were not read yet");
    return;
  }
  if (!served_by(&x->flow->served, x->plan, &x->serves, x->facts.model)) {
    char text[MODEL_NAME_MAX + 64];
    (void)snprintf(text, sizeof text, "The model `%.*s` does not exist", SPAN_FMT(x->facts.model));
    exchange_error(x, 404, NULL, "model_not_found", text);
    return;
  }
  if (!plan_keep_who_does(x->plan, &x->serves, x->route->work)) {
    char text[MODEL_NAME_MAX + 96];
    (void)snprintf(text, sizeof text, "No provider of the model `%.*s` serves %s", SPAN_FMT(x->facts.model),
                   x->route->path);
    exchange_error(x, 404, NULL, "model_not_found", text);
    return;
  }
  if (!hold_to_pin(x)) return;
  uint64_t now_ms = loop_now_ms(x->flow->loop),
           due_ms = x->started_us / 1000 + x->plan->settings.timeouts.total;
  loop_timer_start(x->flow->loop, &x->deadline, on_deadline, due_ms > now_ms ? due_ms - now_ms : 0);
  overload_enter(x);
}

void exchange_begin(struct exchange *x) {
  select_provider(x);
}
