#include "net/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define BACKLOG 4096

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

static void on_connection(uv_stream_t *s, int status) {
  struct listener *l = s->data;
  if (status == 0) (void)conn_accept(l->server, s);
}

int listener_open(struct listener *l, struct conn_server *s, int fd) {
  l->server = s;
  int err = uv_tcp_init(&s->loop->uv, &l->tcp);
  if (err) return err;
  l->tcp.data = l;
  l->is_open = true;
  err = uv_tcp_open(&l->tcp, fd);
  if (!err) err = uv_listen((uv_stream_t *)&l->tcp, BACKLOG, on_connection);
  if (err) listener_close(l);
  return err;
}

void listener_close(struct listener *l) {
  if (!l->is_open) return;
  l->is_open = false;
  uv_close((uv_handle_t *)&l->tcp, NULL);
}
