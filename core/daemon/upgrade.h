/*
 * upgrade: this program is replaced by a newly started one (SIGUSR2) without a request being lost.
 *
 *   start the program again, with the listening sockets ─► it says that it serves ─► let go of the sockets, finish
 *   what runs ─► exit
 *                    └─ it ends, or says nothing for a minute: it is ended, and this one goes on
 *
 * The same steps follow when a supervisor says that another process has taken over.
 *
 * Thread: control's.
 */
#ifndef MOONGATE_DAEMON_UPGRADE_H
#define MOONGATE_DAEMON_UPGRADE_H

struct control;

/* The next program is started. */
void upgrade_start(struct control *c);
/* Tells whoever started this program that it serves, and listens to it from now on. */
void upgrade_say_ready(struct control *c);
/* Once a second: tells that this process lives, when its workers do. */
void upgrade_say_alive(struct control *c);
/* Ends what was begun; this process stops. */
void upgrade_stop(struct control *c);

#endif
