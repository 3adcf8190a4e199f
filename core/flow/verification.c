#include "flow/verification.h"
#include "base/clock.h"

#include <stdlib.h>

#define ASK_MS    5000  /* for one answer */
#define FIRST_MS  100   /* before the second question; then twice as long each time */
#define ASKS_MAX  6     /* 3.1 s of waiting in all */
#define YOUNG_MS  60000 /* signatures come with the answer, or right behind it */
#define BODY_MAX  (64u * 1024)
#define PATH_MAX_ 4096
#define PROXY     "/v1/proxy"

static const struct upstream_events EVENTS;

struct verification *verification_new(struct flow *f, const struct plan *plan, unsigned slot,
                                      const struct session *s) {
  struct verification *v = x_calloc(1, sizeof *v);
  v->flow = f;
  v->plan = plan_ref((struct plan *)plan);
  v->entry = &v->plan->entries[slot];
  v->session = *s;
  buf_init(&v->path, PATH_MAX_);
  buf_init(&v->body, BODY_MAX);
  return v;
}

static void stop_call(struct verification *v) {
  loop_timer_stop(v->flow->loop, &v->clock);
  struct upstream_call *call = v->call;
  v->call = NULL;
  if (call) upstream_cancel(call);
}

void verification_free(struct verification *v) {
  stop_call(v);
  buf_release(&v->path);
  buf_release(&v->body);
  plan_unref(&v->plan);
  free(v);
}

static void finish(struct verification *v, enum verification_end end) {
  stop_call(v);
  v->end = end;
  v->on_done(v);
}

PRINTF_LIKE(2, 3) static void fail(struct verification *v, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(v->detail, sizeof v->detail, fmt, args);
  va_end(args);
  finish(v, VERIFICATION_FAILED);
}

/* ---- judging ---- */

static bool is_record_newer(const struct verification *v) {
  return u256_to_u64(v->entry->service->updated_at) > v->session.created_wall_ms / 1000;
}

/* A broker in front of a separate model server writes each request anew. */
static bool is_rewritable(const struct verification *v) {
  return v->session.is_rewritable || v->expected.is_centralized || v->expected.source != PROOF_SIGNER_BROKER;
}

static void on_again(struct wheel_timer *t);

static void judge(struct verification *v) {
  const struct session *s = &v->session;
  struct proof_evidence e = {
      .has_chat_id = true,
      .status = v->status,
      .body = buf_span(&v->body),
      .request_sha256 = s->has_digests ? s->request_sha256 : NULL,
      .response_sha256 = s->has_digests ? s->response_sha256 : NULL,
      .images_sha256 = s->has_images ? s->images_sha256 : NULL,
      .is_request_rewritable = is_rewritable(v),
  };
  proof_judge(&v->proof, &v->expected, &e);
  if (v->status >= 200 && v->status <= 299) {
    v->is_record_newer = is_record_newer(v);
    finish(v, VERIFICATION_JUDGED);
    return;
  }
  uint64_t now = clock_wall_ms();
  bool is_young = now < s->created_wall_ms || now - s->created_wall_ms < YOUNG_MS;
  bool is_busy = v->status == 429 || v->status == 503;
  if ((is_busy || (v->proof.is_not_found && is_young)) && v->n_asked < ASKS_MAX) {
    loop_timer_start(v->flow->loop, &v->clock, on_again, (uint64_t)FIRST_MS << (v->n_asked - 1));
    return;
  }
  if (!v->proof.is_not_found) {
    fail(v, "the provider did not give the signature (status %d)", v->status);
    return;
  }
  v->is_gone = true;
  fail(v, "the provider does not know the signature of this answer%s (chat_id_not_found)",
       is_young ? " yet" : " any more");
}

/* ---- asking ---- */

static void on_head(void *user, const struct http_response *head) {
  ((struct verification *)user)->status = head->status;
}

static void on_data(void *user, const char *bytes, size_t len) {
  struct verification *v = user;
  if (buf_append(&v->body, bytes, len) == 0) return;
  fail(v, "the provider's answer about the signature is longer than %u bytes", BODY_MAX);
}

static void on_done(void *user, enum upstream_end end, const char *detail) {
  struct verification *v = user;
  v->call = NULL;
  loop_timer_stop(v->flow->loop, &v->clock);
  if (end == UPSTREAM_OK)
    judge(v);
  else
    fail(v, "the provider could not be asked for the signature: %s", detail);
}

static const struct upstream_events EVENTS = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_late(struct wheel_timer *t) {
  struct verification *v = container_of(t, struct verification, clock);
  fail(v, "the provider did not give the signature within %u ms", ASK_MS);
}

static void ask(struct verification *v) {
  static const char fields[] = "Accept: application/json\r\nUser-Agent: moongate/" MOONGATE_VERSION "\r\n";
  v->n_asked++;
  v->status = 0;
  buf_clear(&v->body);
  struct upstream_request req = {
      .is_single = true, /* the path has the answer's key */
      .is_public_only = v->entry->is_public_only,
      .base = span_str(v->entry->endpoint.text),
      .path = buf_span(&v->path),
      .fields = {span_make(fields, sizeof fields - 1)},
      .connect_ms = v->plan->settings.timeouts.connect,
      .events = &EVENTS,
      .user = v,
  };
  loop_timer_start(v->flow->loop, &v->clock, on_late, ASK_MS);
  upstream_start(v->flow->upstream, &req, &v->call);
}

static void on_again(struct wheel_timer *t) {
  ask(container_of(t, struct verification, clock));
}

/* What stands behind the endpoint, which ends in /v1/proxy itself. */
static bool make_path(struct verification *v) {
  const struct session *s = &v->session;
  const char *key = s->res_key[0] ? s->res_key : s->id;
  bool is_cut = strlen(s->model) == SESSION_MODEL_MAX;
  const char *model = (is_cut || !s->model[0]) && v->entry->model ? v->entry->model : s->model;
  if (proof_signature_url(&v->path, SPAN_NONE, span_str(key), span_str(model))) return false;
  size_t skip = sizeof PROXY - 1;
  memmove(v->path.data, v->path.data + skip, v->path.len - skip);
  v->path.len -= skip;
  return true;
}

void verification_start(struct verification *v, void (*done)(struct verification *v), void *user) {
  v->on_done = done;
  v->user = user;
  if (!v->entry->service) {
    fail(v, "the provider's record in the contract is not known");
    return;
  }
  proof_expect(&v->expected, v->entry->service);
  if (v->expected.verdict != PROOF_TRUE) {
    finish(v, VERIFICATION_REFUSED);
    return;
  }
  if (!v->entry->has_endpoint || !make_path(v)) {
    fail(v, "the provider has no url that could be asked");
    return;
  }
  ask(v);
}

/* ---- what it means ---- */

bool verification_is_valid(const struct verification *v) {
  return v->end == VERIFICATION_JUDGED && proof_is_valid(&v->proof);
}

const char *verification_signature_reason(const struct verification *v) {
  if (v->end == VERIFICATION_REFUSED) return v->expected.reason;
  bool is_other_key = v->proof.signature == PROOF_FAIL && v->proof.has_signer;
  if (is_other_key && v->is_record_newer)
    return "signed by another key than the service's signer; its record in the contract was changed after "
           "this answer, so the signer may have been replaced";
  return v->proof.signature_reason;
}

static const char *first_reason(const struct verification *v) {
  const char *signature = verification_signature_reason(v);
  return signature ? signature : v->proof.response_reason ? v->proof.response_reason : "";
}

void verification_note(const struct verification *v) {
  if (v->end != VERIFICATION_JUDGED) return;
  struct provider *p = v->entry->provider;
  bool ok = verification_is_valid(v);
  /* What could not be compared (images, digests that are gone) is neither proved nor refuted. */
  if (!ok && v->proof.signature != PROOF_FAIL && v->proof.response != PROOF_FAIL) return;
  provider_verified(p, ok, ok ? NULL : first_reason(v), clock_mono_ms());
  if (ok) return;
  static struct log_limit limit;
  unsigned suppressed = 0;
  if (log_limit_pass(&limit, 20, 1000, &suppressed))
    log_error("answer %s of provider %s does not verify: %s%s",
              v->session.res_key[0] ? v->session.res_key : v->session.id, p->id, first_reason(v),
              suppressed ? " (and more)" : "");
  /* Its signer may be another one by now: the record is read again. */
  if (v->proof.signature == PROOF_FAIL) v->flow->shared->ask_probe(v->flow->shared, p);
}
