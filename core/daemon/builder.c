/*
 * Thread: build() and what it calls run on the build's own thread; the plan is not in service yet and nobody else looks at it.
 */
#include "daemon/builder.h"

#include "base/redact.h"
#include "base/thread.h"
#include "script/abi.h"
#include "script/canary.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

/* A third of a worker's share of a busy processor. */
#define BUILD_NICE 5

bool builder_try(struct settings_report *report, struct plan *plan, const char *previous) {
  struct buf findings;
  buf_init(&findings, CANARY_REPORT_MAX);
  unsigned n = 0;
  if (plan->settings.reload_canary) {
    n = canary_run(plan, previous, &findings);
  } else {
    char err[SCRIPT_ERROR_MAX];
    abi_begin_trial();
    struct generation *g = generation_new(plan, 0, previous, err);
    abi_end_trial();
    if (g)
      generation_free(g);
    else
      buf_putf(&findings, "%s\n", err);
    n = g ? 0 : 1;
  }
  report->n_problems += n;
  (void)redact_apply(&findings);
  int err = buf_append_span(&report->problems, buf_span(&findings));
  buf_release(&findings);
  return n == 0 && err == 0;
}

void builder_drop(struct generation **all, unsigned n) {
  for (unsigned i = 0; i < n; i++)
    generation_free(all[i]);
  free(all);
}

/* All or none. */
static struct generation **make_all(struct builder *b) {
  unsigned n = b->n_workers + 1;
  struct generation **all = x_calloc(n, sizeof(struct generation *));
  char err[SCRIPT_ERROR_MAX];
  for (unsigned i = 0; i < n; i++) {
    const char *previous = b->exports && i < b->n_workers ? b->exports[i] : NULL;
    all[i] = generation_new(b->plan, i, previous, err);
    if (all[i]) continue;
    b->report.n_problems++;
    buf_putf(&b->report.problems, "%s\n", err);
    builder_drop(all, i);
    return NULL;
  }
  return all;
}

static void on_message(struct loop_message *m) {
  struct builder *b = container_of(m, struct builder, message);
  builder_join(b);
  b->on_built(b);
}

static void *build(void *arg) {
  struct builder *b = arg;
  thread_name("builder");
  (void)setpriority(PRIO_PROCESS, (id_t)gettid(), BUILD_NICE);
  if (builder_try(&b->report, b->plan, b->exports ? b->exports[0] : NULL)) b->all = make_all(b);
  loop_post(b->loop, &b->message);
  return NULL;
}

void builder_start(struct builder *b) {
  b->all = NULL;
  settings_report_init(&b->report);
  b->message.on_loop = on_message;
  int err = thread_start(&b->thread, build, b);
  b->is_running = err == 0;
  if (!err) return;
  b->report.n_problems = 1;
  buf_putf(&b->report.problems, "the system gives no thread for it: %s\n", err_text(err));
  loop_post(b->loop, &b->message);
}

void builder_join(struct builder *b) {
  if (!b->is_running) return;
  REQUIRE(pthread_join(b->thread, NULL) == 0);
  b->is_running = false;
}
