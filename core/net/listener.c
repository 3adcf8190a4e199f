#include "net/listener.h"

#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG          4096
#define ACCEPTS_AT_ONCE  64
#define REFUSALS_AT_ONCE 16
#define REST_MS          50

static int bind_one(const struct addrinfo *a, bool share) {
  int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return -errno;
  int on = 1;
  (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (share) (void)setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
  if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
  int err = -errno;
  (void)close(fd);
  return err;
}

static uint16_t port_of(int fd) {
  struct sockaddr_storage a;
  socklen_t len = sizeof a;
  if (getsockname(fd, (struct sockaddr *)&a, &len)) return 0;
  return ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                       : ((struct sockaddr_in *)&a)->sin_port);
}

int listener_bind(const char *host, uint16_t *port, bool share, const char **why) {
  char service[8];
  (void)snprintf(service, sizeof service, "%u", *port);
  struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
  int err = getaddrinfo(host, service, &hints, &list);
  if (err) {
    *why = gai_strerror(err);
    return ERR_NOT_FOUND;
  }
  int fd = -EADDRNOTAVAIL;
  for (const struct addrinfo *a = list; a && fd < 0; a = a->ai_next)
    fd = bind_one(a, share);
  freeaddrinfo(list);
  if (fd < 0) {
    *why = strerror(-fd);
    return fd;
  }
  *port = port_of(fd);
  return fd;
}

static void on_readable(uv_poll_t *p, int status, int events);

static void on_rested(struct wheel_timer *t) {
  struct listener *l = container_of(t, struct listener, rest);
  if (l->is_open) (void)uv_poll_start(&l->poll, UV_READABLE, on_readable);
}

static void rest(struct listener *l) {
  (void)uv_poll_stop(&l->poll);
  loop_timer_start(l->server->loop, &l->rest, on_rested, REST_MS);
}

static void hold_reserve(struct listener *l) {
  if (l->reserve < 0) l->reserve = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

static int take(struct listener *l, struct sockaddr_storage *peer) {
  socklen_t len = sizeof *peer;
  return accept4(l->fd, (struct sockaddr *)peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
}

/* No descriptor is left. False: nothing can be done now. */
static bool make_room(struct listener *l) {
  if (conn_server_reclaim(l->server)) return true;
  if (l->reserve < 0) return false;
  (void)close(l->reserve);
  l->reserve = -1;
  struct sockaddr_storage peer;
  int fd = take(l, &peer);
  if (fd >= 0) admission_refuse(fd, REFUSED_FULL);
  hold_reserve(l);
  return fd >= 0;
}

static bool is_shortage(int error) {
  return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void note_shortage(int error) {
  static struct log_limit limit;
  unsigned suppressed;
  if (!log_limit_pass(&limit, 1, 10000, &suppressed)) return;
  log_warn("no descriptor is left for a client (%s): raise the limit of open files (now and %u times before)",
           strerror(error), suppressed);
}

static void on_readable(uv_poll_t *p, int status, int events) {
  struct listener *l = p->data;
  (void)events;
  loop_time_passes(l->server->loop);
  if (status < 0) {
    rest(l);
    return;
  }
  hold_reserve(l);
  for (unsigned i = 0, n_short = 0; i < ACCEPTS_AT_ONCE && l->is_open; i++) {
    struct sockaddr_storage peer = {0};
    int fd = take(l, &peer);
    if (fd >= 0) {
      conn_accept(l->server, fd, (struct sockaddr *)&peer);
      continue;
    }
    int error = errno;
    if (error == EAGAIN || error == EWOULDBLOCK) return;
    if (!is_shortage(error)) continue; /* that one client has gone */
    note_shortage(error);
    if (++n_short <= REFUSALS_AT_ONCE && make_room(l)) continue;
    rest(l);
    return;
  }
}

void listener_empty(struct listener *l) {
  if (l->is_open) on_readable(&l->poll, 0, UV_READABLE);
}

int listener_open(struct listener *l, struct conn_server *s, int fd) {
  *l = (struct listener){.server = s, .fd = fd, .reserve = -1};
  int err = uv_poll_init_socket(&s->loop->uv, &l->poll, fd);
  if (err) {
    (void)close(fd);
    return err;
  }
  l->poll.data = l;
  l->is_open = true;
  hold_reserve(l);
  err = uv_poll_start(&l->poll, UV_READABLE, on_readable);
  if (err) listener_close(l);
  return err;
}

void listener_close(struct listener *l) {
  if (!l->is_open) return;
  l->is_open = false;
  loop_timer_stop(l->server->loop, &l->rest);
  uv_close((uv_handle_t *)&l->poll, NULL);
  (void)close(l->fd);
  if (l->reserve >= 0) (void)close(l->reserve);
}
