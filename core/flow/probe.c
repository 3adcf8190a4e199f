#include "flow/probe.h"
#include "base/clock.h"
#include "wire/json.h"

#include <stdlib.h>

#define HURRY_MS       100
#define FAST_MAX_MS    1000
#define PROBE_BODY_MAX (4u * 1024 * 1024)

struct probe {
  struct prober *prober;
  const struct plan_entry *entry;
  struct upstream_call *call;
  struct wheel_timer timer, timeout;
  int status;
  uint64_t asked_us;
  size_t body_bytes;
  struct buf body; /* kept when the provider's own list of models is wanted */
  bool has_ended_once;
  char *fields;
};

static void on_due(struct wheel_timer *t);

static void schedule(struct probe *b, bool ok) {
  const struct settings *s = &b->prober->plan->settings;
  uint64_t ms = s->health_interval_ms;
  if (!ok) {
    uint64_t fast = ms / 10 < 50 ? 50 : ms / 10 > FAST_MAX_MS ? FAST_MAX_MS : ms / 10;
    /* Only until the verdict stands: a provider known to be down is asked at the usual pace. */
    bool is_down = __atomic_load_n(&b->entry->provider->state, __ATOMIC_RELAXED) == PROVIDER_DOWN;
    if (!is_down && fast < ms) ms = fast;
  }
  ms += rng_below(&b->prober->rng, (uint32_t)(ms / 10) + 1);
  loop_timer_start(b->prober->loop, &b->timer, on_due, ms);
}

static void end_round(struct probe *b, bool ok) {
  schedule(b, ok);
  if (b->has_ended_once) return;
  b->has_ended_once = true;
  if (--b->prober->n_first_left == 0 && b->prober->on_first_round) b->prober->on_first_round(b->prober);
}

/* It could not be asked, for a want of ours. */
static void no_verdict(struct probe *b) {
  b->call = NULL;
  loop_timer_stop(b->prober->loop, &b->timeout);
  end_round(b, false);
}

static void verdict(struct probe *b, bool ok, const char *reason) {
  struct provider *p = b->entry->provider;
  b->call = NULL;
  loop_timer_stop(b->prober->loop, &b->timeout);
  double latency_ms = b->asked_us ? (double)(clock_mono_us() - b->asked_us) / 1000 : 0;
  if (b->asked_us) provider_note_probe(p, ok, latency_ms);
  unsigned slot = (unsigned)(b->entry - b->prober->plan->entries);
  enum health_event event = HEALTH_SAME;
  bool is_judged =
      b->prober->judge && b->prober->judge(b->prober, slot, ok, b->status, latency_ms, reason, &event);
  if (!is_judged)
    event =
        provider_probed(p, ok, reason, &b->prober->plan->settings.health, clock_mono_ms(), clock_wall_ms());
  if (event == HEALTH_WENT_DOWN) log_warn("Health check failed for provider %s: %s", p->id, reason);
  if (event == HEALTH_CAME_UP) log_info("provider %s is healthy again", p->id);
  end_round(b, ok);
}

/* Whether the guessed path may simply not exist there. */
static bool is_fine(const struct probe *b) {
  if (b->status >= 200 && b->status <= 299) return true;
  bool is_guess = b->entry->health_path == NULL;
  /* A limit by address says that somebody is there. */
  if (b->entry->service_url && is_guess && b->status == 429) return true;
  return is_guess && (b->status == 404 || b->status == 405 || b->status == 501);
}

static void on_head(void *user, const struct http_response *head) {
  ((struct probe *)user)->status = head->status;
}

/* The ids of an OpenAI model list: {"data":[{"id":…},…]}. */
static void take_models(struct probe *b) {
  struct json_member data = {.name = SPAN("data")};
  struct json_object object;
  struct json_fault fault;
  if (json_scan_object(&data, 1, &object, &fault, buf_span(&b->body)) || data.type != JSON_ARRAY) return;
  struct buf names;
  buf_init(&names, PROVIDER_MODELS_MAX);
  struct span element;
  bool is_whole = true;
  for (size_t at = 0; is_whole && json_array_next(&element, &at, data.value);) {
    struct json_member id = {.name = SPAN("id")};
    char name[MODEL_NAME_MAX];
    size_t len;
    if (json_scan_object(&id, 1, &object, &fault, element) || id.type != JSON_STRING) continue;
    if (json_unescape(name, sizeof name, &len, id.value) || len == 0) continue;
    bool is_clean = true;
    for (size_t i = 0; i < len; i++)
      is_clean = is_clean && (unsigned char)name[i] >= 0x20 && name[i] != 0x7f;
    if (!is_clean) continue;
    is_whole = buf_appendf(&names, "%.*s\n", (int)len, name) == 0;
  }
  provider_set_models(b->entry->provider, buf_span(&names), is_whole);
  buf_release(&names);
}

static void judge(struct probe *b) {
  if (b->status == 200 && b->body.len) take_models(b);
  buf_release(&b->body);
  char reason[64];
  (void)snprintf(reason, sizeof reason, "status %d", b->status);
  verdict(b, is_fine(b), reason);
}

static void on_data(void *user, const char *bytes, size_t len) {
  struct probe *b = user;
  b->body_bytes += len;
  if (!b->entry->model && b->body_bytes <= PROBE_BODY_MAX && buf_append(&b->body, bytes, len))
    buf_release(&b->body);
  if (b->body_bytes <= PROBE_BODY_MAX || !b->call) return;
  buf_release(&b->body);
  struct upstream_call *call = b->call;
  b->call = NULL;
  upstream_cancel(call); /* the status has said it all */
  judge(b);
}

static void on_done(void *user, enum upstream_end end, const char *detail) {
  struct probe *b = user;
  if (end == UPSTREAM_OK)
    judge(b);
  else if (end == UPSTREAM_NO_DESCRIPTOR)
    no_verdict(b);
  else
    verdict(b, false, detail);
}

static const struct upstream_events EVENTS = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_timeout(struct wheel_timer *t) {
  struct probe *b = container_of(t, struct probe, timeout);
  struct upstream_call *call = b->call;
  b->call = NULL;
  if (call) upstream_cancel(call);
  char reason[64];
  (void)snprintf(reason, sizeof reason, "no answer within %u ms",
                 b->prober->plan->settings.health_timeout_ms);
  verdict(b, false, reason);
}

void probe_fill_request(struct upstream_request *out, const struct plan_entry *e, const char *fields,
                        uint32_t connect_ms) {
  /* Newer providers on chain refuse /v1/proxy/models; their own list is unbilled and wants no token. */
  bool is_service = e->service_url && !e->health_path;
  *out = (struct upstream_request){
      .base = span_str(is_service ? e->service_url : e->endpoint.text),
      .path = span_str(is_service       ? "/v1/models"
                       : e->health_path ? e->health_path
                                        : "/models"),
      .fields = {span_str(fields)},
      .is_public_only = e->is_public_only,
      .connect_ms = connect_ms,
  };
}

static void ask(struct probe *b) {
  const struct settings *s = &b->prober->plan->settings;
  b->status = 0;
  b->asked_us = clock_mono_us();
  b->body_bytes = 0;
  buf_release(&b->body);
  struct upstream_request req;
  probe_fill_request(&req, b->entry, b->fields, s->health_timeout_ms);
  req.events = &EVENTS;
  req.user = b;
  loop_timer_start(b->prober->loop, &b->timeout, on_timeout, s->health_timeout_ms);
  upstream_start(b->prober->upstream, &req, &b->call);
}

static void on_due(struct wheel_timer *t) {
  struct probe *b = container_of(t, struct probe, timer);
  if (!b->call) ask(b);
}

void prober_init(struct prober *p, struct loop *loop, struct upstream *upstream) {
  *p = (struct prober){.loop = loop, .upstream = upstream};
  rng_seed_os(&p->rng);
}

void prober_stop(struct prober *p) {
  for (unsigned i = 0; i < p->n_probes; i++) {
    struct probe *b = &p->probes[i];
    loop_timer_stop(p->loop, &b->timer);
    loop_timer_stop(p->loop, &b->timeout);
    if (b->call) upstream_cancel(b->call);
    if (b->fields) wipe(b->fields, strlen(b->fields));
    free(b->fields);
    buf_release(&b->body);
  }
  free(p->probes);
  p->probes = NULL;
  p->n_probes = 0;
  if (p->plan) plan_unref(&p->plan);
}

char *probe_make_fields(const struct plan_entry *e) {
  struct buf b;
  buf_init(&b, 65536);
  buf_put_str(&b, "Accept: application/json\r\nUser-Agent: moongate/" MOONGATE_VERSION "\r\n");
  if (e->api_key && !e->service_url) buf_putf(&b, "Authorization: Bearer %s\r\n", e->api_key);
  char *text = x_strdup(buf_cstr(&b));
  wipe(b.data, b.len);
  buf_release(&b);
  return text;
}

static bool is_known(const struct plan *before, const struct plan_entry *e) {
  for (unsigned i = 0; before && i < before->n_entries; i++) {
    const struct plan_entry *old = &before->entries[i];
    if (old->provider == e->provider && old->has_endpoint &&
        strcmp(old->endpoint.text, e->endpoint.text) == 0)
      return true;
  }
  return false;
}

void prober_adopt(struct prober *p, struct plan *plan) {
  struct plan *before = p->plan ? plan_ref(p->plan) : NULL;
  prober_stop(p);
  p->plan = plan_ref(plan);
  p->probes = x_calloc(plan->n_entries, sizeof *p->probes);
  p->n_first_left = 0;
  for (unsigned i = 0; i < plan->n_entries; i++) {
    if (!plan->entries[i].has_endpoint) continue;
    struct probe *b = &p->probes[p->n_probes++];
    b->prober = p;
    b->entry = &plan->entries[i];
    b->fields = probe_make_fields(b->entry);
    buf_init(&b->body, PROBE_BODY_MAX);
    b->has_ended_once = is_known(before, b->entry);
    p->n_first_left += !b->has_ended_once;
  }
  for (unsigned i = 0; i < p->n_probes; i++) {
    if (p->probes[i].has_ended_once)
      schedule(&p->probes[i], true);
    else
      loop_timer_start(p->loop, &p->probes[i].timer, on_due, 0);
  }
  if (before) plan_unref(&before);
  if (p->n_first_left == 0 && p->on_first_round) p->on_first_round(p);
}

void prober_hurry(struct prober *p, const struct provider *provider) {
  for (unsigned i = 0; i < p->n_probes; i++)
    if (p->probes[i].entry->provider == provider && !p->probes[i].call)
      loop_timer_start(p->loop, &p->probes[i].timer, on_due, HURRY_MS);
}
