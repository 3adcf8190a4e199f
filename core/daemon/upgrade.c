#include "daemon/upgrade.h"

#include "daemon/control_private.h"
#include "daemon/notify.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define READY_MS 60000

/* ---- the next program ---- */

static void on_handle_closed(uv_handle_t *h) {
  free(h);
}

static void forget_successor(struct control *c) {
  struct successor *s = &c->successor;
  loop_timer_stop(&c->loop, &s->timer);
  (void)uv_poll_stop(s->poll);
  uv_close((uv_handle_t *)s->poll, on_handle_closed);
  (void)close(s->channel);
  *s = (struct successor){0};
}

static void give_up(struct control *c, const char *why) {
  struct successor *s = &c->successor;
  int status = 0;
  (void)kill(s->pid, SIGKILL);
  (void)waitpid(s->pid, &status, 0);
  char how[64];
  if (WIFEXITED(status))
    (void)snprintf(how, sizeof how, "exit code %d", WEXITSTATUS(status));
  else
    (void)snprintf(how, sizeof how, "signal %d", WIFSIGNALED(status) ? WTERMSIG(status) : 0);
  log_error("the new program %s (%s); this one goes on", why, how);
  forget_successor(c);
}

static void on_ready_timeout(struct wheel_timer *t) {
  give_up(container_of(t, struct control, successor.timer), "did not serve within a minute");
}

static void on_successor(uv_poll_t *p, int status, int events) {
  struct control *c = p->data;
  struct successor *s = &c->successor;
  (void)events;
  struct sockets copies = {0}; /* of what we have ourselves */
  int letter = status < 0 ? -1 : handover_hear(s->channel, &copies);
  sockets_release(&copies);
  if (letter == 0 || letter == HANDOVER_ALIVE) return;
  if (letter != HANDOVER_READY) {
    give_up(c, "ended before it served");
    return;
  }
  log_info("process %d serves now", (int)s->pid);
  notify_send("MAINPID=%d\nREADY=1", (int)s->pid);
  forget_successor(c);
  control_retire(c);
}

void upgrade_start(struct control *c) {
  struct successor *s = &c->successor;
  if (s->pid) {
    log_warn("SIGUSR2: a new program is being started already");
    return;
  }
  if (c->inherited.is_supervised) {
    log_warn("SIGUSR2: this process has a supervisor; send it there");
    return;
  }
  pid_t pid =
      handover_spawn(c->options->argv, &c->sockets, chain_tally_fd(c->chain), HANDOVER_NEXT, &s->channel);
  if (pid < 0) {
    log_error("the new program cannot be started (%s); this one goes on", err_text((int)pid));
    return;
  }
  s->pid = pid;
  s->poll = x_calloc(1, sizeof *s->poll);
  int err = uv_poll_init(&c->loop.uv, s->poll, s->channel);
  REQUIRE(err == 0);
  s->poll->data = c;
  (void)uv_poll_start(s->poll, UV_READABLE, on_successor);
  loop_timer_start(&c->loop, &s->timer, on_ready_timeout, READY_MS);
  log_info("SIGUSR2: %s is started again as process %d", c->options->argv[0], (int)pid);
}

/* ---- who started this one ---- */

static void close_parent(struct control *c) {
  if (c->parent_channel < 0) return;
  if (c->parent_poll) {
    (void)uv_poll_stop(c->parent_poll);
    uv_close((uv_handle_t *)c->parent_poll, on_handle_closed);
    c->parent_poll = NULL;
  }
  (void)close(c->parent_channel);
  c->parent_channel = -1;
}

static void on_parent(uv_poll_t *p, int status, int events) {
  struct control *c = p->data;
  (void)events;
  struct sockets none = {0};
  int letter = status < 0 ? -1 : handover_hear(c->parent_channel, &none);
  sockets_release(&none);
  if (letter == HANDOVER_RETIRE) {
    log_info("another process serves now");
    control_retire(c);
  }
  if (letter != 0) close_parent(c);
}

void upgrade_say_ready(struct control *c) {
  if (c->parent_channel < 0) return;
  handover_say(c->parent_channel, HANDOVER_READY, &c->sockets);
  c->parent_poll = x_calloc(1, sizeof *c->parent_poll);
  int err = uv_poll_init(&c->loop.uv, c->parent_poll, c->parent_channel);
  REQUIRE(err == 0);
  c->parent_poll->data = c;
  (void)uv_poll_start(c->parent_poll, UV_READABLE, on_parent);
}

void upgrade_say_alive(struct control *c) {
  bool is_alive = true;
  for (unsigned i = 0; i < c->n_workers; i++)
    is_alive = is_alive && __atomic_load_n(&c->workers[i].pongs, __ATOMIC_RELAXED) >= c->pings;
  uint64_t now = loop_now_ms(&c->loop);
  if (!is_alive) return;
  c->pings++;
  for (unsigned i = 0; i < c->n_workers; i++)
    worker_ping(&c->workers[i]);
  if (c->parent_channel >= 0) handover_say(c->parent_channel, HANDOVER_ALIVE, NULL);
  uint64_t every_ms = notify_watchdog_ms();
  if (every_ms == 0 || now < c->watchdog_due_ms) return;
  notify_send("WATCHDOG=1");
  c->watchdog_due_ms = now + (every_ms > 1000 ? every_ms - 1000 : 0);
}

void upgrade_stop(struct control *c) {
  if (c->successor.pid) {
    (void)kill(c->successor.pid, SIGKILL);
    (void)waitpid(c->successor.pid, NULL, 0);
    forget_successor(c);
  }
  close_parent(c);
}
