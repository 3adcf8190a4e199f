/*
 * handover: what passes from one process to the next: listening sockets, and word of how it goes.
 *
 * Sockets are inherited as open descriptors, so that no connection waiting in one is lost: both processes accept
 * from the same queue until the old one lets go. They come from
 *   - the process that this one replaces (SIGUSR2), or the supervisor: MOONGATE_LISTEN_FDS="4,5"
 *   - systemd's socket activation: LISTEN_PID, LISTEN_FDS, descriptors from 3 on
 * With them comes the count of what was moved (MOONGATE_TALLY_FD, see chain/tally.h).
 * The channel (MOONGATE_CHANNEL_FD, a socket pair) carries single letters: up, HANDOVER_READY with the listening
 * sockets, then HANDOVER_ALIVE every second; down, HANDOVER_RETIRE: somebody else serves now, finish what runs.
 *
 * Thread: main and control's.
 */
#ifndef MOONGATE_DAEMON_HANDOVER_H
#define MOONGATE_DAEMON_HANDOVER_H

#include "base/base.h"

#include <sys/types.h>

#define HANDOVER_READY   'R'
#define HANDOVER_ALIVE   'A'
#define HANDOVER_RETIRE  'D'
#define HANDOVER_FDS_MAX 240 /* what one message can carry (SCM_MAX_FD is 253) */
#define HANDOVER_LISTEN  "MOONGATE_LISTEN_FDS"
#define HANDOVER_CHANNEL "MOONGATE_CHANNEL_FD"
#define HANDOVER_TALLY   "MOONGATE_TALLY_FD"

/* Listening sockets; whoever holds the struct owns the descriptors. */
struct sockets {
  int *fds;
  unsigned n;
  bool is_fixed; /* given from outside: they count, whatever host and port are configured */
};
void sockets_add(struct sockets *s, int fd);
/* Closes all. */
void sockets_release(struct sockets *s);

struct inherited {
  struct sockets sockets;
  int tally;          /* -1: there is none */
  int channel;        /* to the process that started this one, -1: it does not listen */
  bool is_supervised; /* that is a supervisor, which outlives this process */
  bool takes_over;    /* another process serves until this one is ready */
};

/* How a child stands to the process that starts it, and to the one that serves. */
enum handover_role {
  HANDOVER_NEXT, /* replaces its parent */
  HANDOVER_BOUND, /* has a supervisor for its parent: SIGTERM when that ends, which talks to the service manager */
  HANDOVER_BOUND_NEXT, /* likewise, and replaces another child of it */
};

/* Whether a supervisor has started this process. */
bool handover_is_supervised(void);
/* Takes what the environment tells of, and the variables out of it. Descriptors that are no listening sockets are left. */
void handover_take(struct inherited *out);
/*
 * Sockets for `n` workers on host:port (*port 0: any, and is stored): inherited ones that fit, new ones besides, or
 * the same ones several times. Inherited ones that do not fit are closed. False: *why says what failed.
 */
bool handover_sockets(struct inherited *from, struct sockets *out, unsigned n, const char *host,
                      uint16_t *port, const char **why) MUST_CHECK;

/* One letter, with the sockets (NULL: none). */
void handover_say(int channel, char letter, const struct sockets *sockets);
/* The next letter; 0: none yet; -1: the other side is gone. Sockets that come along are added to *sockets. */
int handover_hear(int channel, struct sockets *sockets) MUST_CHECK;

/*
 * Starts argv with the sockets, the tally (-1: none) and a new channel, whose near end goes to *channel. Returns the
 * process's number, or a negative error. To be called on the thread that lives as long as the process.
 */
pid_t handover_spawn(char *const *argv, const struct sockets *sockets, int tally, enum handover_role role,
                     int *channel) MUST_CHECK;

#endif
