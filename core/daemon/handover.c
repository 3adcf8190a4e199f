#include "daemon/handover.h"

#include "base/err.h"
#include "base/span.h"
#include "net/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define FIRST_FD 3 /* of systemd, and where a child's sockets begin */

extern char **environ;

/* ---- sockets ---- */

void sockets_add(struct sockets *s, int fd) {
  s->fds = x_realloc(s->fds, (s->n + 1) * sizeof *s->fds);
  s->fds[s->n++] = fd;
}

void sockets_release(struct sockets *s) {
  for (unsigned i = 0; i < s->n; i++)
    (void)close(s->fds[i]);
  free(s->fds);
  *s = (struct sockets){0};
}

static bool is_listening(int fd) {
  int on = 0;
  socklen_t len = sizeof on;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) == 0 && on;
}

static bool is_shared(int fd) {
  int on = 0;
  socklen_t len = sizeof on;
  return getsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, &len) == 0 && on;
}

static uint16_t port_of(int fd) {
  struct sockaddr_storage a;
  socklen_t len = sizeof a;
  if (getsockname(fd, (struct sockaddr *)&a, &len)) return 0;
  if (a.ss_family == AF_INET) return ntohs(((struct sockaddr_in *)&a)->sin_port);
  return a.ss_family == AF_INET6 ? ntohs(((struct sockaddr_in6 *)&a)->sin6_port) : 0;
}

static bool is_same_address(const struct sockaddr *a, const struct sockaddr *b) {
  if (a->sa_family != b->sa_family) return false;
  if (a->sa_family == AF_INET)
    return memcmp(&((const struct sockaddr_in *)a)->sin_addr, &((const struct sockaddr_in *)b)->sin_addr,
                  sizeof(struct in_addr)) == 0;
  return a->sa_family == AF_INET6 &&
         memcmp(&((const struct sockaddr_in6 *)a)->sin6_addr, &((const struct sockaddr_in6 *)b)->sin6_addr,
                sizeof(struct in6_addr)) == 0;
}

/* Whether it listens where the configuration wants to. */
static bool fits(int fd, const char *host, uint16_t port) {
  if (port && port_of(fd) != port) return false;
  struct sockaddr_storage own;
  socklen_t len = sizeof own;
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
  if (getsockname(fd, (struct sockaddr *)&own, &len) || getaddrinfo(host, NULL, &hints, &list)) return false;
  bool found = false;
  for (const struct addrinfo *a = list; a && !found; a = a->ai_next)
    found = is_same_address(a->ai_addr, (struct sockaddr *)&own);
  freeaddrinfo(list);
  return found;
}

/* ---- what was inherited ---- */

static void take_fd(struct inherited *h, int fd) {
  if (fd < FIRST_FD || !is_listening(fd) || h->sockets.n >= HANDOVER_FDS_MAX) return;
  (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
  (void)fcntl(fd, F_SETFL, O_NONBLOCK);
  sockets_add(&h->sockets, fd);
}

static void take_list(struct inherited *h, const char *list) {
  h->sockets.is_fixed = *list == '!';
  list += h->sockets.is_fixed;
  while (*list) {
    char *end;
    long fd = strtol(list, &end, 10);
    if (end == list || fd > INT16_MAX) return;
    take_fd(h, (int)fd);
    list = *end == ',' ? end + 1 : end;
  }
}

bool handover_is_supervised(void) {
  const char *channel = getenv(HANDOVER_CHANNEL);
  return channel && span_ends(span_str(channel), SPAN(",supervised"));
}

/* A descriptor by its number in the environment; -1: none. */
static int take_number(struct span number) {
  uint64_t n;
  bool is_open = number.len && span_to_u64(number, INT16_MAX, &n) && n >= FIRST_FD &&
                 fcntl((int)n, F_SETFD, FD_CLOEXEC) == 0;
  return is_open ? (int)n : -1;
}

void handover_take(struct inherited *out) {
  *out = (struct inherited){.channel = -1};
  const char *list = getenv(HANDOVER_LISTEN), *channel = getenv(HANDOVER_CHANNEL);
  const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
  uint64_t n;
  if (list) {
    take_list(out, list);
  } else if (pid && count && span_to_u64(span_str(pid), INT32_MAX, &n) && n == (uint64_t)getpid() &&
             span_to_u64(span_str(count), HANDOVER_FDS_MAX, &n)) {
    for (int fd = FIRST_FD; fd < FIRST_FD + (int)n; fd++)
      take_fd(out, fd);
    out->sockets.is_fixed = out->sockets.n > 0;
  }
  out->is_supervised = handover_is_supervised();
  out->takes_over = channel && strstr(channel, ",next");
  out->channel = take_number(span_make(channel, channel ? strcspn(channel, ",") : 0));
  const char *tally = getenv(HANDOVER_TALLY);
  out->tally = take_number(span_make(tally, tally ? strlen(tally) : 0));
  static const char *const names[] = {HANDOVER_LISTEN, HANDOVER_CHANNEL, HANDOVER_TALLY,
                                      "LISTEN_PID",    "LISTEN_FDS",     "LISTEN_FDNAMES"};
  for (size_t i = 0; i < ARRAY_LEN(names); i++)
    (void)unsetenv(names[i]);
}

static bool add_bound(struct sockets *out, const char *host, uint16_t *port, const char **why) {
  int fd = listener_bind(host, port, true, why);
  if (fd >= 0) sockets_add(out, fd);
  return fd >= 0;
}

static bool add_again(struct sockets *out, unsigned i, const char **why) {
  int fd = fcntl(out->fds[i], F_DUPFD_CLOEXEC, 0);
  if (fd >= 0)
    sockets_add(out, fd);
  else
    *why = strerror(errno);
  return fd >= 0;
}

bool handover_sockets(struct inherited *from, struct sockets *out, unsigned n, const char *host,
                      uint16_t *port, const char **why) {
  *out = (struct sockets){.is_fixed = from->sockets.is_fixed};
  for (unsigned i = 0; i < from->sockets.n; i++) {
    int fd = from->sockets.fds[i];
    if (!out->is_fixed && !fits(fd, host, *port)) {
      (void)close(fd);
      continue;
    }
    sockets_add(out, fd);
  }
  free(from->sockets.fds);
  from->sockets = (struct sockets){0};
  unsigned n_inherited = out->n;
  if (n_inherited) *port = port_of(out->fds[0]);
  bool may_bind = n_inherited == 0 || (!out->is_fixed && is_shared(out->fds[0]));
  while (out->n < n)
    if (!(may_bind ? add_bound(out, host, port, why) : add_again(out, out->n % n_inherited, why)))
      return false;
  return true;
}

/* ---- the channel ---- */

void handover_say(int channel, char letter, const struct sockets *sockets) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(HANDOVER_FDS_MAX * sizeof(int))];
  } control;
  struct iovec iov = {.iov_base = &letter, .iov_len = 1};
  struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
  unsigned n = sockets ? sockets->n : 0;
  if (n > HANDOVER_FDS_MAX) n = HANDOVER_FDS_MAX;
  if (n) {
    memset(&control, 0, sizeof control);
    m.msg_control = control.bytes;
    m.msg_controllen = CMSG_SPACE(n * sizeof(int));
    struct cmsghdr *c = CMSG_FIRSTHDR(&m);
    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(n * sizeof(int));
    memcpy(CMSG_DATA(c), sockets->fds, n * sizeof(int));
  }
  ssize_t sent = sendmsg(channel, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
  (void)sent;
}

int handover_hear(int channel, struct sockets *sockets) {
  union {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(HANDOVER_FDS_MAX * sizeof(int))];
  } control;
  char letter = 0;
  struct iovec iov = {.iov_base = &letter, .iov_len = 1};
  struct msghdr m = {
      .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
  ssize_t n = recvmsg(channel, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return 0;
  if (n <= 0) return -1;
  for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    unsigned n_fds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    for (unsigned i = 0; i < n_fds; i++) {
      int fd;
      memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      sockets_add(sockets, fd);
    }
  }
  return (unsigned char)letter;
}

/* ---- the next process ---- */

static bool is_left_out(const char *entry, bool is_bound) {
  static const char *const names[] = {HANDOVER_LISTEN "=", HANDOVER_CHANNEL "=", HANDOVER_TALLY "=",
                                      "LISTEN_PID=",       "LISTEN_FDS=",        "LISTEN_FDNAMES=",
                                      "WATCHDOG_PID="};
  for (size_t i = 0; i < ARRAY_LEN(names); i++)
    if (strncmp(entry, names[i], strlen(names[i])) == 0) return true;
  return is_bound && (strncmp(entry, "NOTIFY_SOCKET=", 14) == 0 || strncmp(entry, "WATCHDOG_", 9) == 0);
}

/* The environment of a child; texts of our own come last and are its only ones to be freed. */
static char **make_environment(const struct sockets *sockets, unsigned n_sockets, bool has_tally,
                               enum handover_role role, size_t *first_own) {
  bool is_bound = role != HANDOVER_NEXT;
  size_t n = 0, k = 0;
  while (environ[n])
    n++;
  char **env = x_calloc(n + 4, sizeof *env);
  for (size_t i = 0; i < n; i++)
    if (!is_left_out(environ[i], is_bound)) env[k++] = environ[i];
  *first_own = k;
  char list[HANDOVER_FDS_MAX * 4 + sizeof HANDOVER_LISTEN + 3], text[64];
  size_t len = (size_t)snprintf(list, sizeof list, "%s=%s", HANDOVER_LISTEN, sockets->is_fixed ? "!" : "");
  for (unsigned i = 0; i < n_sockets; i++)
    len += (size_t)snprintf(list + len, sizeof list - len, "%s%u", i ? "," : "", FIRST_FD + 1 + i);
  (void)snprintf(text, sizeof text, "%s=%d%s%s", HANDOVER_CHANNEL, FIRST_FD,
                 role == HANDOVER_BOUND ? "" : ",next", is_bound ? ",supervised" : "");
  env[k++] = x_strdup(text);
  if (n_sockets) env[k++] = x_strdup(list);
  (void)snprintf(text, sizeof text, "%s=%u", HANDOVER_TALLY, FIRST_FD + 1 + n_sockets);
  if (has_tally) env[k++] = x_strdup(text);
  return env;
}

/*
 * In the child: only calls that are safe after a fork of a program with threads. `high` are copies of all descriptors,
 * above those that they are to have.
 */
static void become(char *const *argv, char *const *env, const int *high, unsigned n, pid_t parent) {
  if (parent) {
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (getppid() != parent) _exit(1);
  }
  for (unsigned i = 0; i < n; i++)
    if (dup2(high[i], FIRST_FD + (int)i) < 0) _exit(127);
  /* What the program opened without a close-on-exec, and copies of its own, end here. */
  (void)close_range(FIRST_FD + n, ~0u, 0);
  sigset_t none;
  sigemptyset(&none);
  static const int numbers[] = {SIGPIPE, SIGHUP, SIGTERM, SIGINT, SIGUSR1, SIGUSR2, SIGCHLD, SIGXFSZ};
  for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
    (void)signal(numbers[i], SIG_DFL);
  (void)sigprocmask(SIG_SETMASK, &none, NULL);
  environ = (char **)env;
  (void)execvp(argv[0], argv);
  static const char text[] = "moongate: the program cannot be started again\n";
  ssize_t written = write(STDERR_FILENO, text, sizeof text - 1);
  (void)written;
  _exit(127);
}

pid_t handover_spawn(char *const *argv, const struct sockets *sockets, int tally, enum handover_role role,
                     int *channel) {
  int pair[2], high[HANDOVER_FDS_MAX + 2];
  unsigned n_sockets = sockets->n < HANDOVER_FDS_MAX ? sockets->n : HANDOVER_FDS_MAX, n = 0;
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair)) return -errno;
  const int above = FIRST_FD + HANDOVER_FDS_MAX + 2;
  int err = 0;
  for (unsigned i = 0; i <= n_sockets + (tally >= 0) && !err; i++) {
    int fd = i == 0 ? pair[1] : i <= n_sockets ? sockets->fds[i - 1] : tally;
    high[n] = fcntl(fd, F_DUPFD_CLOEXEC, above);
    if (high[n] < 0)
      err = -errno;
    else
      n++;
  }
  (void)close(pair[1]);
  pid_t parent = role == HANDOVER_NEXT ? 0 : getpid(), pid = err;
  if (!err) {
    size_t first_own;
    char **env = make_environment(sockets, n_sockets, tally >= 0, role, &first_own);
    /* A handler of ours must not run in the child before it has its own. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0) become(argv, env, high, n, parent);
    if (pid < 0) pid = -errno;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    for (size_t i = first_own; env[i]; i++)
      free(env[i]);
    free(env);
  }
  while (n)
    (void)close(high[--n]);
  if (pid < 0)
    (void)close(pair[0]);
  else
    *channel = pair[0];
  return pid;
}
