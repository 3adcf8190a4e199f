#include "daemon/worker.h"
#include "base/thread.h"
#include "flow/audit.h"

#include <stdlib.h>
#include <unistd.h>

#define DRAIN_CHECK_MS 16
#define TICK_MS        1000
#define KEPT_AT_REST   ((size_t)128 * 1024) /* of free blocks, after a wave of requests */

struct order {
  struct loop_message message;
  struct worker *worker;
  struct generation *generation;
  uint32_t drain_ms;
  bool is_retiring; /* another process serves: no hurry with idle connections */
};

static struct conn_limits limits_of(const struct settings *s) {
  return (struct conn_limits){
      .head_ms = s->timeouts.client_header,
      .idle_ms = s->timeouts.client_idle,
      .write_ms = s->timeouts.idle,
      .body_rate_bytes = (uint32_t)((uint64_t)s->body_rate_bytes * s->body_rate_window_ms / 1000),
      .body_window_ms = s->body_rate_window_ms,
      .body_ms = s->timeouts.total,
  };
}

static void on_tick(struct wheel_timer *t) {
  struct worker *w = container_of(t, struct worker, tick_timer);
  decide_tick(w->flow.generation);
  loop_timer_start(&w->loop, t, on_tick, TICK_MS);
}

static void start_tick(struct worker *w) {
  if (generation_implements(w->flow.generation, CALLBACK_TICK))
    loop_timer_start(&w->loop, &w->tick_timer, on_tick, TICK_MS);
  else
    loop_timer_stop(&w->loop, &w->tick_timer);
}

static void start_warming(struct worker *w) {
  warm_adopt(&w->flow.warmer, &w->loop, w->flow.upstream, generation_plan(w->flow.generation));
}

static void close_listeners(struct worker *w) {
  for (unsigned i = 0; i < w->n_listeners; i++)
    listener_close(&w->listeners[i]);
}

/* All or none; takes the descriptors over in any case. */
static int open_listeners(struct worker *w, const int *fds, unsigned n) {
  int err = 0;
  w->listeners = x_calloc(n, sizeof *w->listeners);
  for (unsigned i = 0; i < n; i++) {
    if (err)
      (void)close(fds[i]);
    else
      err = listener_open(&w->listeners[w->n_listeners++], &w->flow.server, fds[i]);
  }
  if (err) close_listeners(w);
  return err;
}

/* Whatever is left is cut off. */
static void wind_up(struct worker *w) {
  conn_server_abort(&w->flow.server);
  close_listeners(w);
  loop_timer_stop(&w->loop, &w->drain_timer);
  loop_timer_stop(&w->loop, &w->tick_timer);
  loop_timer_stop(&w->loop, &w->flow.queue_timer);
  audit_stop(&w->flow);
  warm_stop(&w->flow.warmer);
  upstream_free(w->flow.upstream);
  loop_close(&w->loop);
  REQUIRE(list_is_empty(&w->flow.exchanges));
  generation_free(w->flow.generation);
  buf_release(&w->flow.head);
  buf_release(&w->flow.text);
  free(w->listeners);
}

static void *run(void *arg) {
  struct worker *w = arg;
  char name[16];
  (void)snprintf(name, sizeof name, "worker %u", w->flow.worker + 1);
  thread_name(name);
  generation_bind(w->flow.generation);
  start_tick(w);
  start_warming(w);
  (void)uv_run(&w->loop.uv, UV_RUN_DEFAULT);
  wind_up(w);
  return NULL;
}

/* An idle client makes room for a connection to a provider. */
static bool spare_descriptor(void *context) {
  return conn_server_reclaim(context);
}

int worker_start(struct worker *w, unsigned index, struct shared *shared, struct generation *g,
                 const int *fds, unsigned n_fds, char err[SCRIPT_ERROR_MAX]) {
  const struct plan *plan = generation_plan(g);
  *w = (struct worker){0};
  struct flow *f = &w->flow;
  f->worker = index;
  f->loop = &w->loop;
  f->shared = shared;
  f->generation = g;
  int code = loop_init(&w->loop);
  if (code) {
    (void)snprintf(err, SCRIPT_ERROR_MAX, "cannot make an event loop: %s", err_text(code));
    for (unsigned i = 0; i < n_fds; i++)
      (void)close(fds[i]);
    generation_free(g);
    return code;
  }
  w->loop.turns = &shared->traffic[index].turns;
  list_init(&f->exchanges);
  list_init(&f->queue);
  audit_init(f);
  rng_seed_os(&f->rng);
  buf_init(&f->head, HTTP_RESPONSE_HEAD_MAX * 2);
  buf_init(&f->text, FLOW_TEXT_MAX);
  struct conn_limits limits = limits_of(&plan->settings);
  conn_server_init(&f->server, &w->loop, &API_CONN_OPS, f, &limits);
  f->server.admission = shared->admission;
  w->loop.spare_descriptor = spare_descriptor;
  w->loop.spare_context = &f->server;
  struct upstream_options options = {.ca_file = plan->settings.tls_ca,
                                     .idle_ms = 55000,
                                     .is_curl_only = strcmp(plan->settings.upstream, "curl") == 0};
  f->upstream = upstream_new(&w->loop, &options);
  code = open_listeners(w, fds, n_fds);
  if (code) {
    (void)snprintf(err, SCRIPT_ERROR_MAX, "cannot listen: %s", err_text(code));
  } else {
    code = thread_start(&w->thread, run, w);
    if (code) (void)snprintf(err, SCRIPT_ERROR_MAX, "the system gives no thread for it: %s", err_text(code));
  }
  w->is_started = code == 0;
  if (code) wind_up(w);
  return code;
}

/* ---- orders from control ---- */

/* One pointer: what control has built and tried is taken up between two requests. */
static void adopt(struct loop_message *m) {
  struct order *o = container_of(m, struct order, message);
  struct flow *f = &o->worker->flow;
  if (o->worker->loop.is_closing) {
    f->shared->return_generation(f->shared, o->generation);
  } else {
    struct generation *old = f->generation;
    generation_enter(old); /* held while it is swapped out */
    generation_bind(o->generation);
    f->generation = o->generation;
    served_forget(&f->served);
    f->server.limits = limits_of(&generation_plan(f->generation)->settings);
    start_tick(o->worker);
    start_warming(o->worker);
    if (generation_leave(old)) f->shared->return_generation(f->shared, old);
  }
  free(o);
}

void worker_adopt(struct worker *w, struct generation *g) {
  struct order *o = x_calloc(1, sizeof *o);
  o->worker = w;
  o->generation = g;
  o->message.on_loop = adopt;
  loop_post(&w->loop, &o->message);
}

static void ease(struct loop_message *m) {
  struct order *o = container_of(m, struct order, message);
  blocks_shrink(&o->worker->loop.blocks, KEPT_AT_REST);
  free(o);
}

void worker_ease(struct worker *w) {
  if (!w->is_started) return;
  struct order *o = x_calloc(1, sizeof *o);
  o->worker = w;
  o->message.on_loop = ease;
  loop_post(&w->loop, &o->message);
}

static void on_export_wanted(struct loop_message *m) {
  struct worker_export *e = container_of(m, struct worker_export, message);
  buf_init(&e->text, SCRIPT_EXPORT_MAX + 1);
  if (!e->worker->loop.is_closing) (void)generation_export(e->worker->flow.generation, &e->text);
  e->message.on_loop = e->on_answer;
  loop_post(e->worker->flow.shared->control, &e->message);
}

void worker_ask_export(struct worker *w, void (*on_answer)(struct loop_message *), void *context) {
  struct worker_export *e = x_calloc(1, sizeof *e);
  e->worker = w;
  e->on_answer = on_answer;
  e->context = context;
  e->message.on_loop = on_export_wanted;
  loop_post(&w->loop, &e->message);
}

static void check_drained(struct wheel_timer *t) {
  struct worker *w = container_of(t, struct worker, drain_timer);
  if (w->flow.server.n_conns == 0 || loop_now_ms(&w->loop) >= w->drain_until_ms) {
    if (w->flow.server.n_conns)
      log_warn("worker %u: %u connections were still busy and are cut off", w->flow.worker,
               w->flow.server.n_conns);
    uv_stop(&w->loop.uv);
    return;
  }
  loop_timer_start(&w->loop, t, check_drained, DRAIN_CHECK_MS);
}

static void stop(struct loop_message *m) {
  struct order *o = container_of(m, struct order, message);
  struct worker *w = o->worker;
  if (!w->loop.is_closing) {
    for (unsigned i = 0; i < w->n_listeners && o->drain_ms && !o->is_retiring; i++)
      listener_empty(&w->listeners[i]);
    close_listeners(w);
    if (o->drain_ms) {
      if (o->is_retiring)
        conn_server_retire(&w->flow.server, o->drain_ms / 2);
      else
        conn_server_stop(&w->flow.server);
      w->drain_until_ms = loop_now_ms(&w->loop) + o->drain_ms;
      loop_timer_start(&w->loop, &w->drain_timer, check_drained, 0);
    } else {
      uv_stop(&w->loop.uv);
    }
  }
  free(o);
}

static void order_stop(struct worker *w, uint32_t drain_ms, bool is_retiring) {
  if (!w->is_started) return;
  struct order *o = x_calloc(1, sizeof *o);
  o->worker = w;
  o->drain_ms = drain_ms;
  o->is_retiring = is_retiring;
  o->message.on_loop = stop;
  loop_post(&w->loop, &o->message);
}

void worker_stop(struct worker *w, uint32_t drain_ms) {
  order_stop(w, drain_ms, false);
}

void worker_retire(struct worker *w, uint32_t drain_ms) {
  order_stop(w, drain_ms, true);
}

static void answer_ping(struct loop_message *m) {
  struct order *o = container_of(m, struct order, message);
  __atomic_fetch_add(&o->worker->pongs, 1, __ATOMIC_RELAXED);
  free(o);
}

void worker_ping(struct worker *w) {
  struct order *o = x_calloc(1, sizeof *o);
  o->worker = w;
  o->message.on_loop = answer_ping;
  loop_post(&w->loop, &o->message);
}

void worker_join(struct worker *w) {
  if (w->is_started) (void)pthread_join(w->thread, NULL);
}
