/*
 * listener: listening sockets. Several may share one port (SO_REUSEPORT); the kernel spreads connections over
 * them.
 *
 * Thread: listener_bind() any; the rest its loop's.
 *
 * When the process has no descriptor left, idle clients make room; failing that, a descriptor held in reserve
 * is used to take a waiting client and to tell it so; failing that, the listener rests for a moment. It never
 * spins.
 */
#ifndef MOONGATE_NET_LISTENER_H
#define MOONGATE_NET_LISTENER_H

#include "net/conn.h"

struct listener {
  uv_poll_t poll;
  struct conn_server *server;
  int fd, reserve;
  bool is_open;
  struct wheel_timer rest;
};

/*
 * Binds and listens. *port 0 picks a free one, which is stored. Returns the descriptor, or a negative error;
 * `why` then says more ("address in use" …). `host` is an address or a name.
 */
int listener_bind(const char *host, uint16_t *port, bool share, const char **why) MUST_CHECK;
/* Accepts from `fd` into the server from now on; takes the descriptor over. */
int listener_open(struct listener *l, struct conn_server *s, int fd) MUST_CHECK;
/* Takes who waits already: closing the socket would send them away. */
void listener_empty(struct listener *l);
void listener_close(struct listener *l);

#endif
