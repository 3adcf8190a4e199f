/* simulate_chat: one request with all its attempts; choice, retry and settlement are those of flow/exchange. */
#include "sim/simulate_private.h"

#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* As in flow/exchange and flow/probe. */
#define BUDGET_WAIT_MS  10000
#define BUDGET_CHECK_MS 16
#define HURRY_MS        100

#define REFUSED_MS     1 /* by a provider that is down */
#define PAUSE_LEAST_MS 1 /* of a client between two requests, so that time passes */

#define TOKENS_DEVIATION 0.5

static void select_provider(struct simulation *sim, struct chat *x);
static void retry_or_give_up(struct simulation *sim, struct chat *x);

/* ---- the beginning ---- */

static struct chat *take_chat(struct simulation *sim) {
  if (sim->n_free) return sim->chats[sim->free_chats[--sim->n_free]];
  uint32_t n = sim->n_chats++;
  sim->chats = x_realloc(sim->chats, sim->n_chats * sizeof(struct chat *));
  sim->free_chats = x_realloc(sim->free_chats, sim->n_chats * sizeof *sim->free_chats);
  struct chat *x = sim->chats[n] = x_calloc(1, sizeof *x);
  x->index = n;
  return x;
}

static double tokens_of(struct rng *r, double mean) {
  if (mean <= 0) return 0;
  struct log_normal d;
  dice_log_normal(&d, mean, TOKENS_DEVIATION);
  double n = floor(dice_from_log_normal(r, &d) + 0.5);
  return n < 1 ? 1 : n;
}

/* What is asked, by whom, of which worker: the same for one number and seed, whoever is to answer. */
static void make_request(struct simulation *sim, struct chat *x) {
  const struct scenario *s = sim->scenario;
  struct rng r = dice_of(sim->seed, DRAW_REQUEST, x->number, 0);
  x->kind = &s->kinds[dice_share(&r, sim->kinds_up_to, s->n_kinds)];
  x->is_stream = rng_double(&r) < x->kind->stream;
  x->tokens_in = tokens_of(&r, x->kind->tokens_in);
  x->tokens_out = tokens_of(&r, x->kind->tokens_out);
  x->seed = dice_hash53(rng_u64(&r));
  uint64_t prompt = rng_u64(&r);
  uint32_t caller = rng_below(&r, 1000), worker = rng_below(&r, s->workers);
  if (s->clients) {
    struct rng of_client = dice_of(sim->seed, DRAW_CLIENT, x->client, 0);
    caller = x->client;
    worker = rng_below(&of_client, s->workers); /* a connection stays with its worker */
  }
  x->worker = &sim->workers[worker];
  if (s->sessions) {
    unsigned k = dice_share(&r, sim->sessions_up_to, s->sessions) + 1;
    (void)snprintf(x->session, sizeof x->session, "session-%u", k);
    prompt = sim->seed + k;
  }
  x->prefix_hash = x->tokens_in > 0 ? dice_hash53(prompt) : 0;
  (void)snprintf(x->id, sizeof x->id, "sim-%u", x->number);
  (void)snprintf(x->peer, sizeof x->peer, "10.%u.%u.%u", caller >> 16, caller >> 8 & 255, caller & 255);
}

static struct lb_text text_of(const char *s) {
  return (struct lb_text){s, (uint32_t)strlen(s), 0};
}

static void fill_request(const struct simulation *sim, const struct chat *x, struct lb_request *r,
                         unsigned attempt) {
  double elapsed = (double)(sim->now_us - x->started_us) / 1000;
  double left = (double)sim->plan->settings.timeouts.total - elapsed;
  *r = (struct lb_request){
      .id = text_of(x->id),
      .kind = text_of("chat"),
      .model = text_of(x->kind->model ? x->kind->model : ""),
      .session_key = text_of(x->session),
      .client = text_of(x->peer),
      .head = text_of(x->kind->head),
      .body_bytes = 4 * x->tokens_in,
      .est_input_tokens = x->tokens_in,
      .max_tokens = x->kind->max_tokens,
      .elapsed_ms = elapsed,
      .deadline_ms = left > 0 ? left : 0,
      .seed = x->seed,
      .prefix_hash = x->prefix_hash,
      .attempt = attempt,
      .stream = x->is_stream,
  };
}

static void release_retry(struct simulation *sim, struct chat *x) {
  if (x->holds_retry) sim->active_retries--;
  x->holds_retry = false;
}

/* A client of a closed load comes back when it has thought. */
static void add_next_of(struct simulation *sim, const struct chat *x) {
  if (!sim->scenario->clients) return;
  struct rng r = dice_of(sim->seed, DRAW_CLIENT, x->client, x->number);
  double think = sim->scenario->think_ms > 0 ? dice_exponential(&r, sim->scenario->think_ms) : 0;
  simulate_add_arrival(sim, x->client, think > PAUSE_LEAST_MS ? think : PAUSE_LEAST_MS);
}

static void leave(struct simulation *sim, struct chat *x) {
  release_retry(sim, x);
  add_next_of(sim, x);
  x->state = CHAT_FREE;
  x->version++;
  sim->free_chats[sim->n_free++] = x->index;
  sim->n_active--;
}

static void finish(struct simulation *sim, struct chat *x) {
  struct simulate_result *out = sim->out;
  const struct scenario_provider *spec = sim->providers[x->slot].spec;
  out->answered++;
  samples_add(&sim->answers, (double)(sim->now_us - x->started_us) / 1000);
  double cost = spec->price_in * x->tokens_in + spec->price_out * x->tokens_out;
  if (!isnan(cost)) out->cost = (isnan(out->cost) ? 0 : out->cost) + cost;
  leave(sim, x);
}

static void fail(struct simulation *sim, struct chat *x, unsigned cause) {
  sim->out->failed++;
  sim->out->failed_by[cause]++;
  leave(sim, x);
}

/* ---- attempts ---- */

static void plan_service(struct simulation *sim, struct made_up *p) {
  uint64_t at;
  p->service_version++;
  if (labour_next_us(&p->labour, &at))
    event_queue_push(&sim->queue, (double)at, ON_SERVICE, (uint32_t)(p - sim->providers), p->service_version);
}

static void leave_service(struct simulation *sim, struct chat *x) {
  struct made_up *p = &sim->providers[x->slot];
  if (!x->is_served) return;
  x->is_served = false;
  list_remove(&x->node);
  labour_end(&p->labour, sim->now_us);
  plan_service(sim, p);
}

static void settle(struct simulation *sim, struct chat *x, enum outcome_class class) {
  struct made_up *p = &sim->providers[x->slot];
  leave_service(sim, x);
  x->version++;
  x->outcome.class = class;
  x->outcome.total_ms = (double)(sim->now_us - x->began_us) / 1000;
  if (class == OUTCOME_OK) {
    x->outcome.status = 200;
    x->outcome.tokens_in = (int64_t)x->tokens_in;
    x->outcome.tokens_out = (int64_t)x->tokens_out;
    samples_add(&p->answers, x->outcome.total_ms);
  } else {
    p->failures++;
  }
  if (provider_settle(p->provider, &x->outcome, &sim->plan->settings.health, clock_mono_ms()) ==
      HEALTH_EJECTED)
    simulate_probe_in(sim, p, HURRY_MS);
  struct lb_request r;
  fill_request(sim, x, &r, x->n_attempts);
  decide_observe(x->worker->generation, &r, x->slot, &x->outcome);
}

static void end_attempt(struct simulation *sim, struct chat *x, enum outcome_class class) {
  settle(sim, x, class);
  if (class == OUTCOME_OK)
    finish(sim, x);
  else if (x->outcome.committed)
    fail(sim, x, class); /* the client has seen a part of it */
  else
    retry_or_give_up(sim, x);
}

static int status_of(enum outcome_class class) {
  switch (class) {
  case OUTCOME_RATE_LIMITED: return 429;
  case OUTCOME_EXHAUSTED: return 402;
  case OUTCOME_AUTH: return 401;
  case OUTCOME_OVERLOADED: return 503;
  case OUTCOME_SERVER: return 500;
  case OUTCOME_CLIENT_ERROR:
  case OUTCOME_CONTENT_POLICY: return 400;
  default: return 0;
  }
}

static void fault_in(struct simulation *sim, struct chat *x, double ms) {
  simulate_in_ms(sim, ms, ON_FAULT, x->index, x->version);
}

/* The answer takes its share of the provider's speed, `work_ms` of it until the first byte. */
static void be_served(struct simulation *sim, struct chat *x, struct made_up *p, double work_ms,
                      double left_ms) {
  x->is_served = true;
  x->left_ms = left_ms;
  list_push_back(&p->served, &x->node);
  labour_begin(&p->labour, sim->now_us);
  labour_mark(&p->labour, work_ms, ON_FIRST_BYTE, x->index, x->version);
  plan_service(sim, p);
}

/* How this attempt goes, by the dice. */
static void roll(struct simulation *sim, struct chat *x, struct made_up *p) {
  const struct scenario_provider *spec = p->spec;
  struct rng r = dice_of(sim->seed, DRAW_ATTEMPT, (uint64_t)x->number << 8 | (x->n_attempts & 255), x->slot);
  bool has_fault = rng_double(&r) < spec->error_rate;
  double work_ms = dice_from_log_normal(&r, &p->times) * x->kind->size;
  double first_ms = work_ms * spec->first_byte;
  x->fault = has_fault ? spec->error_class : OUTCOME_OK;
  switch (x->fault) {
  case OUTCOME_OK: be_served(sim, x, p, first_ms, work_ms - first_ms); break;
  case OUTCOME_STREAM_TRUNCATED: be_served(sim, x, p, first_ms, (work_ms - first_ms) / 2); break;
  case OUTCOME_TIMEOUT_IDLE:
  case OUTCOME_TIMEOUT_TOTAL: be_served(sim, x, p, first_ms, 0); break;
  case OUTCOME_TIMEOUT_TTFT: break; /* its limit ends it */
  case OUTCOME_TIMEOUT_CONNECT: fault_in(sim, x, sim->plan->settings.timeouts.connect); break;
  default: fault_in(sim, x, spec->error_ms); break;
  }
}

static void try_provider(struct simulation *sim, struct chat *x, unsigned slot) {
  struct made_up *p = &sim->providers[slot];
  slot_add(&x->tried, slot);
  x->n_attempts++;
  x->state = CHAT_TRYING;
  x->slot = slot;
  x->began_us = sim->now_us;
  x->version++;
  x->outcome =
      (struct outcome){.connect_ms = NAN, .ttft_ms = NAN, .total_ms = NAN, .tokens_in = -1, .tokens_out = -1};
  provider_begin(p->provider);
  sim->out->attempts++;
  if (x->n_attempts > 1) sim->out->retries++;
  p->requests++;
  if (p->provider->in_flight > p->max_in_flight) p->max_in_flight = p->provider->in_flight;
  if (p->is_down) {
    x->fault = OUTCOME_CONNECT;
    fault_in(sim, x, REFUSED_MS);
    return;
  }
  simulate_in_ms(sim, sim->plan->settings.timeouts.first_byte, ON_FIRST_BYTE_LIMIT, x->index, x->version);
  roll(sim, x, p);
}

static void on_first_byte(struct simulation *sim, struct chat *x) {
  struct made_up *p = &sim->providers[x->slot];
  x->outcome.connect_ms = 0;
  x->outcome.status = 200;
  x->outcome.ttft_ms = (double)(sim->now_us - x->began_us) / 1000;
  /* A document is held to its end, a stream goes on at once. */
  x->outcome.committed = x->is_stream;
  if (x->is_stream) release_retry(sim, x);
  if (x->fault != OUTCOME_TIMEOUT_IDLE && x->fault != OUTCOME_TIMEOUT_TOTAL) {
    labour_mark(&p->labour, x->left_ms, ON_LAST_BYTE, x->index, x->version);
    return;
  }
  leave_service(sim, x);
  if (x->fault == OUTCOME_TIMEOUT_IDLE) fault_in(sim, x, sim->plan->settings.timeouts.idle);
}

static void on_fault(struct simulation *sim, struct chat *x) {
  int status = status_of(x->fault);
  if (status) {
    x->outcome.status = status;
    x->outcome.connect_ms = 0;
    x->outcome.retry_after_ms = (uint32_t)sim->providers[x->slot].spec->retry_after_ms;
  }
  end_attempt(sim, x, x->fault);
}

void simulate_service_event(struct simulation *sim, struct made_up *p) {
  struct event e;
  while (labour_take_due(&p->labour, &e, sim->now_us)) {
    struct chat *x = sim->chats[e.who];
    if (x->version != e.version) continue;
    if (e.kind == ON_FIRST_BYTE)
      on_first_byte(sim, x);
    else
      end_attempt(sim, x, x->fault);
  }
  plan_service(sim, p);
}

/* ---- choice and retry, as in flow/exchange ---- */

static void give_up(struct simulation *sim, struct chat *x) {
  fail(sim, x, x->n_attempts ? (unsigned)x->outcome.class : SIMULATE_NOBODY);
}

/* The next entry of a strategy's ordered list that may still be tried, or -1. */
static int next_planned(struct chat *x, const uint16_t *candidates, unsigned n) {
  while (x->next_planned < x->n_planned) {
    unsigned slot = x->planned[x->next_planned++];
    for (unsigned i = 0; i < n; i++)
      if (candidates[i] == slot) return (int)slot;
  }
  return -1;
}

static void keep_plan(struct chat *x, const struct decision *d) {
  if (!d->is_plan || d->n < 2) return;
  x->next_planned = 0;
  x->n_planned = d->n - 1;
  memcpy(x->planned, d->slots + 1, x->n_planned * sizeof *x->planned);
}

static void select_provider(struct simulation *sim, struct chat *x) {
  uint16_t candidates[PLAN_PROVIDERS_MAX];
  unsigned n = plan_candidates(sim->plan, candidates, &x->serves, &x->tried, clock_mono_ms());
  if (n == 0) {
    give_up(sim, x);
    return;
  }
  int planned = next_planned(x, candidates, n);
  if (planned >= 0) {
    try_provider(sim, x, (unsigned)planned);
    return;
  }
  struct lb_request r;
  fill_request(sim, x, &r, x->n_attempts + 1);
  struct decision *d = &sim->decision;
  decide_select(x->worker->generation, d, &r, candidates, n, &x->worker->rng);
  if (d->n == 0) {
    if (!sim->out->reason[0]) memcpy(sim->out->reason, d->reason, sizeof d->reason);
    give_up(sim, x);
    return;
  }
  keep_plan(x, d);
  try_provider(sim, x, d->slots[0]);
}

static bool take_retry(struct simulation *sim, struct chat *x) {
  if (x->holds_retry) return true;
  if (sim->active_retries + 1 > settings_retry_limit(&sim->plan->settings, sim->n_active)) return false;
  sim->active_retries++;
  x->holds_retry = true;
  return true;
}

static void retry_in(struct simulation *sim, struct chat *x, double ms) {
  simulate_in_ms(sim, ms, ON_RETRY, x->index, x->version);
}

static void on_retry(struct simulation *sim, struct chat *x) {
  if (take_retry(sim, x)) {
    select_provider(sim, x);
    return;
  }
  uint64_t now = clock_mono_ms();
  if (x->budget_wait_until_ms == 0) x->budget_wait_until_ms = now + BUDGET_WAIT_MS;
  if (now >= x->budget_wait_until_ms)
    give_up(sim, x);
  else
    retry_in(sim, x, BUDGET_CHECK_MS + rng_below(&x->worker->rng, BUDGET_CHECK_MS));
}

static void retry_or_give_up(struct simulation *sim, struct chat *x) {
  struct lb_request r;
  fill_request(sim, x, &r, x->n_attempts);
  uint32_t delay_ms = 0;
  enum decide_verdict v = decide_retry(x->worker->generation, &delay_ms, &r, x->slot, &x->outcome);
  if (v == DECIDE_STOP || x->n_attempts > sim->plan->settings.max_retries) {
    give_up(sim, x);
    return;
  }
  if (v == DECIDE_SAME) {
    x->tried.w[x->slot / 64] &= ~((uint64_t)1 << (x->slot % 64));
    x->planned[0] = (uint16_t)x->slot;
    x->next_planned = 0;
    x->n_planned = 1;
  }
  release_retry(sim, x);
  x->state = CHAT_DELAYED;
  if (delay_ms == 0 && take_retry(sim, x))
    select_provider(sim, x);
  else
    retry_in(sim, x, delay_ms ? delay_ms : BUDGET_CHECK_MS);
}

static void on_deadline(struct simulation *sim, struct chat *x) {
  if (x->state == CHAT_TRYING) settle(sim, x, OUTCOME_TIMEOUT_TOTAL);
  fail(sim, x, OUTCOME_TIMEOUT_TOTAL);
}

/* ---- events ---- */

void simulate_begin_chat(struct simulation *sim, uint32_t client) {
  struct chat *x = take_chat(sim);
  *x =
      (struct chat){.index = x->index, .version = x->version + 1, .client = client, .number = ++sim->n_begun};
  list_init(&x->node);
  x->started_us = sim->now_us;
  make_request(sim, x);
  sim->n_active++;
  sim->out->requests++;
  (void)plan_who_serves(sim->plan, &x->serves, span_str(x->kind->model ? x->kind->model : ""));
  simulate_in_ms(sim, sim->plan->settings.timeouts.total, ON_DEADLINE, x->index, x->number);
  select_provider(sim, x);
}

void simulate_chat_event(struct simulation *sim, const struct event *e) {
  struct chat *x = sim->chats[e->who];
  if (e->kind == ON_DEADLINE) {
    if (x->state != CHAT_FREE && x->number == e->version) on_deadline(sim, x);
    return;
  }
  if (x->version != e->version) return;
  switch (e->kind) {
  case ON_FAULT: on_fault(sim, x); break;
  case ON_RETRY: on_retry(sim, x); break;
  default:
    if (isnan(x->outcome.ttft_ms)) end_attempt(sim, x, OUTCOME_TIMEOUT_TTFT);
    break;
  }
}

void simulate_break_chats(struct simulation *sim, struct made_up *p) {
  p->is_down = true;
  list_each(node, next, &p->served) {
    struct chat *x = container_of(node, struct chat, node);
    end_attempt(sim, x, isnan(x->outcome.ttft_ms) ? OUTCOME_BAD_RESPONSE : OUTCOME_STREAM_TRUNCATED);
  }
}
