#include "daemon/supervise.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/secrecy.h"
#include "chain/tally.h"
#include "daemon/handover.h"
#include "daemon/notify.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define DELAY_MIN_MS 100
#define DELAY_MAX_MS 5000
#define STABLE_MS    10000 /* who has served so long starts at the short delay again */
#define READY_MS     60000 /* for a child that is to take over */

struct child {
  pid_t pid; /* 0: none */
  int channel;
  bool is_ready, heard_alive;
  uint64_t started_ms, ready_ms;
};

struct supervisor {
  char **argv;
  struct sockets sockets;
  int tally;             /* what its children have moved; -1: each counts for itself */
  struct child child;    /* that serves, or is to serve */
  struct child next;     /* that is to take over */
  struct child retiring; /* that finishes what runs */
  uint64_t start_at_ms;  /* of a child after a crash; 0: there is one */
  uint64_t delay_ms, watchdog_due_ms;
  bool has_served, is_stopping;
  int exit_code;
};

static void begin(struct supervisor *s, struct child *c) {
  uint64_t now = clock_mono_ms();
  *c = (struct child){.channel = -1, .started_ms = now};
  enum handover_role role = c == &s->next ? HANDOVER_BOUND_NEXT : HANDOVER_BOUND;
  pid_t pid = handover_spawn(s->argv, &s->sockets, s->tally, role, &c->channel);
  if (pid > 0) {
    c->pid = pid;
    return;
  }
  log_error("supervisor: %s cannot be started: %s", s->argv[0], strerror(-(int)pid));
}

static void forget(struct child *c) {
  if (c->channel >= 0) (void)close(c->channel);
  *c = (struct child){.channel = -1};
}

static void start_later(struct supervisor *s) {
  s->start_at_ms = clock_mono_ms() + s->delay_ms;
  s->delay_ms = s->delay_ms * 2 < DELAY_MAX_MS ? s->delay_ms * 2 : DELAY_MAX_MS;
}

static void start(struct supervisor *s) {
  s->start_at_ms = 0;
  begin(s, &s->child);
  if (!s->child.pid) start_later(s);
}

/* ---- what children say ---- */

static void take_ready(struct supervisor *s, struct child *c, struct sockets *got) {
  c->is_ready = true;
  c->ready_ms = clock_mono_ms();
  if (got->n) {
    got->is_fixed = s->sockets.is_fixed;
    sockets_release(&s->sockets);
    s->sockets = *got;
    *got = (struct sockets){0};
  }
  if (c == &s->next) {
    log_info("supervisor: process %d takes over from %d", (int)c->pid, (int)s->child.pid);
    if (s->child.pid) {
      handover_say(s->child.channel, HANDOVER_RETIRE, NULL);
      s->retiring = s->child;
    }
    s->child = s->next;
    s->next = (struct child){.channel = -1};
    s->start_at_ms = 0;
  }
  if (!s->has_served) notify_send("READY=1");
  s->has_served = true;
}

static void hear(struct supervisor *s, struct child *c) {
  struct sockets got = {0};
  int letter = handover_hear(c->channel, &got);
  if (letter == HANDOVER_READY) {
    take_ready(s, c, &got);
  } else if (letter == HANDOVER_ALIVE) {
    c->heard_alive = true;
  } else if (letter < 0) {
    (void)close(c->channel);
    c->channel = -1; /* its end is told by SIGCHLD */
  }
  sockets_release(&got);
}

/* ---- ends ---- */

static const char *how(char out[48], int status) {
  if (WIFSIGNALED(status))
    (void)snprintf(out, 48, "signal %d (%s)", WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
  else
    (void)snprintf(out, 48, "exit code %d", WEXITSTATUS(status));
  return out;
}

static void on_serving_end(struct supervisor *s, int status) {
  struct child was = s->child;
  bool is_clean = WIFEXITED(status) && WEXITSTATUS(status) == 0;
  char text[48];
  forget(&s->child);
  if (s->is_stopping || (!s->has_served && !was.is_ready)) {
    s->is_stopping = true;
    s->exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 1;
    return;
  }
  if (is_clean && was.is_ready) {
    /* Somebody has stopped it by name; that is meant for the service. */
    log_info("supervisor: process %d has ended by itself", (int)was.pid);
    s->is_stopping = true;
    return;
  }
  if (was.is_ready && clock_mono_ms() - was.ready_ms >= STABLE_MS) s->delay_ms = DELAY_MIN_MS;
  log_error("supervisor: process %d ended with %s; starting again in %llu ms", (int)was.pid,
            how(text, status), (unsigned long long)s->delay_ms);
  start_later(s);
}

static void reap(struct supervisor *s) {
  int status;
  pid_t pid;
  while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
    char text[48];
    if (pid == s->child.pid) {
      if (s->child.channel >= 0) hear(s, &s->child);
      on_serving_end(s, status);
    } else if (pid == s->next.pid) {
      log_error("supervisor: the new program ended with %s before it served; process %d goes on",
                how(text, status), (int)s->child.pid);
      forget(&s->next);
    } else if (pid == s->retiring.pid) {
      log_info("supervisor: process %d has finished", (int)pid);
      forget(&s->retiring);
    }
  }
}

/* ---- signals ---- */

static void tell(const struct child *c, int number) {
  if (c->pid) (void)kill(c->pid, number);
}

static void on_signal(struct supervisor *s, int number) {
  switch (number) {
  case SIGCHLD: reap(s); break;
  case SIGHUP: tell(&s->child, SIGHUP); break;
  case SIGUSR2:
    if (s->is_stopping || s->next.pid || s->retiring.pid)
      log_warn("supervisor: SIGUSR2: the last change is not over yet");
    else if (s->child.pid)
      begin(s, &s->next);
    break;
  default:
    if (!s->is_stopping) notify_send("STOPPING=1");
    s->is_stopping = true;
    s->start_at_ms = 0;
    tell(&s->child, number);
    tell(&s->next, SIGKILL);
    tell(&s->retiring, number);
  }
}

static int open_signals(void) {
  sigset_t set;
  sigemptyset(&set);
  static const int numbers[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR2, SIGCHLD};
  for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
    sigaddset(&set, numbers[i]);
  (void)sigprocmask(SIG_BLOCK, &set, NULL);
  return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* ---- time ---- */

/* What is due; returns how long to sleep, -1: until something happens. */
static int run_clocks(struct supervisor *s) {
  uint64_t now = clock_mono_ms(), next = UINT64_MAX;
  if (s->start_at_ms) {
    if (now >= s->start_at_ms && !s->is_stopping) start(s);
    if (s->start_at_ms) next = s->start_at_ms;
  }
  if (s->next.pid) {
    uint64_t due = s->next.started_ms + READY_MS;
    if (now >= due) {
      log_error("supervisor: the new program did not serve within a minute; process %d goes on",
                (int)s->child.pid);
      tell(&s->next, SIGKILL);
    } else if (due < next) {
      next = due;
    }
  }
  uint64_t every_ms = notify_watchdog_ms();
  if (every_ms) {
    if (now >= s->watchdog_due_ms && s->child.heard_alive) {
      s->child.heard_alive = false;
      notify_send("WATCHDOG=1");
      s->watchdog_due_ms = now + every_ms;
    }
    uint64_t look = now + 500;
    if (look < next) next = look;
  }
  if (next == UINT64_MAX) return -1;
  return next > now ? (int)(next - now) : 0;
}

static void wait_and_hear(struct supervisor *s, int signals) {
  struct child *const children[] = {&s->child, &s->next, &s->retiring};
  struct child *of[4] = {NULL};
  struct pollfd fds[4] = {{.fd = signals, .events = POLLIN}};
  nfds_t n = 1;
  for (size_t i = 0; i < ARRAY_LEN(children); i++) {
    if (children[i]->channel < 0) continue;
    of[n] = children[i];
    fds[n++] = (struct pollfd){.fd = children[i]->channel, .events = POLLIN};
  }
  if (poll(fds, n, run_clocks(s)) <= 0) return;
  for (nfds_t i = 1; i < n; i++) {
    if (!fds[i].revents) continue;
    hear(s, of[i]);
    return; /* which child is which may have changed */
  }
  struct signalfd_siginfo info;
  while (read(signals, &info, sizeof info) == sizeof info)
    on_signal(s, (int)info.ssi_signo);
}

int supervise_main(char **argv) {
  struct supervisor s = {.argv = argv, .delay_ms = DELAY_MIN_MS};
  s.child.channel = s.next.channel = s.retiring.channel = -1;
  (void)signal(SIGPIPE, SIG_IGN);
  (void)signal(SIGUSR1, SIG_IGN);
  secrecy_seal();
  struct inherited inherited;
  handover_take(&inherited);
  s.sockets = inherited.sockets;
  s.tally = inherited.tally >= 0 ? inherited.tally : tally_make();
  int signals = open_signals();
  if (signals < 0) {
    log_error("supervisor: %s", strerror(errno));
    return 1;
  }
  start(&s);
  while (!s.is_stopping || s.child.pid || s.next.pid || s.retiring.pid)
    wait_and_hear(&s, signals);
  sockets_release(&s.sockets);
  (void)close(signals);
  if (s.tally >= 0) (void)close(s.tally);
  return s.exit_code;
}
