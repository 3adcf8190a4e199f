#include "sim/simulate_private.h"

#include "base/clock.h"
#include "script/store.h"

#include <math.h>
#include <stdlib.h>

#define TICK_MS       1000 /* as in daemon/worker */
#define START_US      1000000000u
#define START_WALL_MS 1767225600000u

/* ---- time ---- */

static void set_now(struct simulation *sim, uint64_t us) {
  sim->now_us = us;
  clock_fake_set(START_US + us, START_WALL_MS + us / 1000);
}

static uint64_t us_of(double ms) {
  return (uint64_t)(ms * 1000 + 0.5);
}

void simulate_in_ms(struct simulation *sim, double ms, uint32_t kind, uint32_t who, uint32_t version) {
  event_queue_push(&sim->queue, (double)(sim->now_us + us_of(ms)), kind, who, version);
}

void simulate_add_arrival(struct simulation *sim, uint32_t client, double ms) {
  simulate_in_ms(sim, ms, ON_ARRIVAL, client, 0);
  sim->n_arrivals++;
}

/* ---- arrivals ---- */

static void on_arrival(struct simulation *sim, uint32_t client) {
  sim->n_arrivals--;
  if (sim->n_begun >= sim->n_max || sim->now_us > sim->end_us) return;
  if (!sim->scenario->clients)
    simulate_add_arrival(sim, 0, dice_exponential(&sim->arrivals, 1000 / sim->scenario->rate));
  simulate_begin_chat(sim, client);
}

/* ---- the run ---- */

static void on_tick(struct simulation *sim) {
  for (unsigned i = 0; i < sim->scenario->workers; i++)
    decide_tick(sim->workers[i].generation);
  simulate_in_ms(sim, TICK_MS, ON_TICK, 0, 0);
}

static void on_event(struct simulation *sim, const struct event *e) {
  struct made_up *p = sim->providers + (e->who < sim->scenario->n_providers ? e->who : 0);
  switch (e->kind) {
  case ON_ARRIVAL: on_arrival(sim, e->who); break;
  case ON_SERVICE:
    if (e->version == p->service_version) simulate_service_event(sim, p);
    break;
  case ON_PROBE:
    if (e->version == p->probe_version) simulate_probe(sim, p);
    break;
  case ON_DOWN: simulate_break_chats(sim, p); break;
  case ON_UP: p->is_down = false; break;
  case ON_TICK: on_tick(sim); break;
  case ON_WINDOW: simulate_close_windows(sim); break;
  default: simulate_chat_event(sim, e); break;
  }
}

static void run(struct simulation *sim) {
  struct event e;
  while ((sim->n_active || sim->n_arrivals) && event_queue_pop(&sim->queue, &e)) {
    set_now(sim, (uint64_t)e.at);
    on_event(sim, &e);
  }
}

/* ---- before ---- */

static bool make_workers(struct simulation *sim, char err[SCRIPT_ERROR_MAX]) {
  unsigned n = sim->scenario->workers;
  sim->workers = x_calloc(n, sizeof *sim->workers);
  for (unsigned i = 0; i < n; i++) {
    sim->workers[i].rng = dice_of(sim->seed, DRAW_WORKER, i, 0);
    sim->workers[i].generation = generation_new(sim->plan, i, NULL, err);
    if (!sim->workers[i].generation) return false;
  }
  sim->judge = generation_new(sim->plan, n, NULL, err);
  return sim->judge != NULL;
}

static void make_providers(struct simulation *sim) {
  const struct scenario *s = sim->scenario;
  sim->providers = x_calloc(s->n_providers, sizeof *sim->providers);
  for (unsigned i = 0; i < s->n_providers; i++) {
    struct made_up *p = &sim->providers[i];
    p->spec = &s->providers[i];
    p->provider = sim->plan->entries[i].provider;
    labour_init(&p->labour, p->spec->parallel);
    list_init(&p->served);
    dice_log_normal(&p->times, p->spec->latency_ms, p->spec->jitter);
    for (unsigned k = 0; k < p->spec->n_down; k++) {
      simulate_in_ms(sim, p->spec->down[k].from * 1000, ON_DOWN, i, k);
      simulate_in_ms(sim, p->spec->down[k].to * 1000, ON_UP, i, k);
    }
  }
}

static void make_shares(struct simulation *sim) {
  const struct scenario *s = sim->scenario;
  double sum = 0, total = 0;
  sim->kinds_up_to = x_calloc(s->n_kinds, sizeof *sim->kinds_up_to);
  for (unsigned i = 0; i < s->n_kinds; i++)
    total += s->kinds[i].share;
  for (unsigned i = 0; i < s->n_kinds; i++)
    sim->kinds_up_to[i] = (sum += s->kinds[i].share) / total;
  if (!s->sessions) return;
  sum = total = 0;
  sim->sessions_up_to = x_calloc(s->sessions, sizeof *sim->sessions_up_to);
  for (unsigned k = 0; k < s->sessions; k++)
    total += pow(k + 1, -s->skew);
  for (unsigned k = 0; k < s->sessions; k++)
    sim->sessions_up_to[k] = (sum += pow(k + 1, -s->skew)) / total;
}

static void make_load(struct simulation *sim) {
  const struct scenario *s = sim->scenario;
  sim->n_max = s->requests ? s->requests : SCENARIO_REQUESTS_MAX;
  sim->end_us = s->duration_s > 0 ? us_of(s->duration_s * 1000) : UINT64_MAX;
  sim->arrivals = dice_of(sim->seed, DRAW_ARRIVALS, 0, 0);
  simulate_in_ms(sim, TICK_MS, ON_TICK, 0, 0);
  if (!s->clients) simulate_add_arrival(sim, 0, dice_exponential(&sim->arrivals, 1000 / s->rate));
  /* Not all at the same instant. */
  for (unsigned i = 0; i < s->clients; i++)
    simulate_add_arrival(sim, i, rng_double(&sim->arrivals) * (s->think_ms > 100 ? s->think_ms : 100));
}

/* ---- behind ---- */

/* Jain, Chiu and Hawe 1984. */
static double fairness_of(const struct simulation *sim) {
  double sum = 0, squares = 0;
  unsigned n = 0;
  for (unsigned i = 0; i < sim->scenario->n_providers; i++) {
    const struct made_up *p = &sim->providers[i];
    if (p->spec->weight <= 0) continue;
    double x = (double)p->requests / p->spec->weight;
    sum += x;
    squares += x * x;
    n++;
  }
  return squares > 0 ? sum * sum / (n * squares) : NAN;
}

static void count_errors(struct simulate_result *out, const struct generation *g) {
  uint64_t errors = generation_errors(g);
  out->script_errors += errors;
  if (errors && !out->last_error[0]) generation_last_error(g, out->last_error);
}

static void count_scripts(struct simulation *sim) {
  for (unsigned i = 0; i < sim->scenario->workers; i++) {
    count_errors(sim->out, sim->workers[i].generation);
    sim->out->benched += generation_is_benched(sim->workers[i].generation);
  }
  count_errors(sim->out, sim->judge);
}

static void sum_up(struct simulation *sim) {
  struct simulate_result *out = sim->out;
  out->n_rows = sim->scenario->n_providers;
  out->rows = x_calloc(out->n_rows, sizeof *out->rows);
  for (unsigned i = 0; i < out->n_rows; i++) {
    struct made_up *p = &sim->providers[i];
    out->rows[i] = (struct simulate_row){
        .id = p->spec->id,
        .weight = p->spec->weight,
        .requests = p->requests,
        .failures = p->failures,
        .share = out->attempts ? (double)p->requests / (double)out->attempts : 0,
        .answers = samples_sum_up(&p->answers),
        .max_in_flight = p->max_in_flight,
        .in_flight = p->provider->in_flight,
        .ejections = provider_sum(p->provider->counters.ejections),
    };
  }
  out->answers = samples_sum_up(&sim->answers);
  out->fairness = fairness_of(sim);
  out->seconds = (double)sim->now_us / 1e6;
  count_scripts(sim);
}

static void release(struct simulation *sim) {
  for (unsigned i = 0; sim->workers && i < sim->scenario->workers; i++)
    generation_free(sim->workers[i].generation);
  generation_free(sim->judge);
  for (unsigned i = 0; sim->providers && i < sim->scenario->n_providers; i++) {
    labour_release(&sim->providers[i].labour);
    samples_release(&sim->providers[i].answers);
  }
  for (unsigned i = 0; i < sim->n_chats; i++)
    free(sim->chats[i]);
  free(sim->chats);
  free(sim->free_chats);
  free(sim->workers);
  free(sim->providers);
  free(sim->kinds_up_to);
  free(sim->sessions_up_to);
  samples_release(&sim->answers);
  event_queue_release(&sim->queue);
  plan_unref(&sim->plan);
}

bool simulate_run(struct simulate_result *out, const struct scenario *s, const char *strategy, uint64_t seed,
                  char err[SCRIPT_ERROR_MAX]) {
  struct simulation *sim = x_calloc(1, sizeof *sim);
  *out = (struct simulate_result){.strategy = strategy, .cost = NAN};
  sim->out = out;
  sim->scenario = s;
  sim->seed = seed;
  set_now(sim, 0);
  abi_restart(seed);
  store_clear();
  sim->plan = simulate_plan(s, strategy, err);
  bool ok = sim->plan && make_workers(sim, err);
  if (ok) {
    make_shares(sim);
    make_providers(sim);
    simulate_begin_health(sim);
    make_load(sim);
    run(sim);
    sum_up(sim);
  }
  release(sim);
  free(sim);
  clock_fake_off();
  return ok;
}

void simulate_release(struct simulate_result *r) {
  free(r->rows);
  *r = (struct simulate_result){0};
}
