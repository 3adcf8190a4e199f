#include "daemon/demo.h"
#include "base/embedded.h"
#include "base/thread.h"
#include "daemon/control.h"
#include "sim/sim_provider.h"

#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

static const struct {
  const char *name, *variable;
  uint32_t latency_ms;
  double tokens_per_second;
} PROVIDERS[] = {
    {"luna", "DEMO_LUNA", 40, 60},
    {"selene", "DEMO_SELENE", 80, 40},
    {"diana", "DEMO_DIANA", 120, 30},
};

struct stage {
  struct loop loop;
  struct sim *sims[ARRAY_LEN(PROVIDERS)];
};

static void *run(void *arg) {
  struct stage *s = arg;
  (void)uv_run(&s->loop.uv, UV_RUN_DEFAULT);
  return NULL;
}

static void on_stop(struct loop_message *m) {
  struct stage *s = ((struct stage **)(m + 1))[0];
  uv_stop(&s->loop.uv);
  free(m);
}

static void stop(struct stage *s) {
  struct loop_message *m = x_malloc(sizeof *m + sizeof s);
  m->on_loop = on_stop;
  memcpy(m + 1, &s, sizeof s);
  loop_post(&s->loop, m);
}

static bool open_providers(struct stage *s) {
  for (size_t i = 0; i < ARRAY_LEN(PROVIDERS); i++) {
    struct sim_options o = sim_defaults();
    o.name = PROVIDERS[i].name;
    o.latency_ms = PROVIDERS[i].latency_ms;
    o.tokens_per_second = PROVIDERS[i].tokens_per_second;
    o.seed = i + 1;
    char err[256], url[64];
    s->sims[i] = sim_open(&s->loop, &o, err);
    if (!s->sims[i]) {
      (void)fprintf(stderr, "moongate: %s\n", err);
      return false;
    }
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", sim_port(s->sims[i]));
    (void)setenv(PROVIDERS[i].variable, url, 1);
  }
  return true;
}

static void print_hints(uint16_t port) {
  bool colour = log_may_colour(STDOUT_FILENO);
  const char *bold = colour ? "\x1b[1m" : "", *plain = colour ? "\x1b[0m" : "";
  printf("%sMoongate demo%s: three simulated providers (luna, selene, diana) behind one endpoint.\n"
         "\n"
         "Try, in another terminal:\n"
         "  curl http://127.0.0.1:%u/v1/chat/completions -H 'Content-Type: application/json' \\\n"
         "    -d '{\"model\":\"moon\",\"messages\":[{\"role\":\"user\",\"content\":\"hello\"}]}'\n"
         "  curl -N …the same with \"stream\":true in the body\n"
         "  curl http://127.0.0.1:%u/health\n"
         "  curl http://127.0.0.1:%u/admin/providers\n"
         "  curl -X POST http://127.0.0.1:%u/admin/providers/luna/drain\n"
         "\n"
         "The configuration is examples/demo.lua; the strategies are in strategies/. Ctrl-C ends the demo.\n",
         bold, plain, port, port, port, port);
  (void)fflush(stdout);
}

int demo_main(const struct options *o) {
  struct stage s = {0};
  (void)signal(SIGPIPE, SIG_IGN);
  int code = loop_init(&s.loop);
  REQUIRE(code == 0);
  bool ok = open_providers(&s);
  pthread_t thread;
  REQUIRE(thread_start(&thread, run, &s) == 0);
  code = 1;
  if (ok) {
    struct options with_name = *o;
    with_name.config = "examples/demo.lua";
    code = control_run(&with_name, embedded_get("examples/demo.lua"), print_hints);
  }
  stop(&s);
  (void)pthread_join(thread, NULL);
  for (size_t i = 0; i < ARRAY_LEN(s.sims); i++)
    if (s.sims[i]) sim_close(s.sims[i]);
  loop_close(&s.loop);
  for (size_t i = 0; i < ARRAY_LEN(s.sims); i++)
    if (s.sims[i]) sim_free(s.sims[i]);
  return code;
}
