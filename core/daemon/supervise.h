/*
 * supervise: `run --supervise`: a small parent process that keeps the listening sockets and starts the serving
 * program again when it dies. While it is down, clients wait in the sockets' queues; they are not refused.
 *
 *   parent   holds sockets, knows no configuration and no key, has no threads
 *     └─ child   serves; hands the sockets up when it is ready; gets SIGTERM when the parent dies
 *
 * SIGTERM and SIGINT end the child, then the parent; SIGHUP goes to the child; SIGUSR2 starts a second child from the
 * program on disk, which takes over when it serves. A child that fails before it ever served ends the parent as well,
 * with its exit code: a wrong configuration is told once and not forever. Later failures are tried again, after
 * 100 ms first, twice as long each time up to 5 s.
 *
 * Thread: main, instead of control.
 */
#ifndef MOONGATE_DAEMON_SUPERVISE_H
#define MOONGATE_DAEMON_SUPERVISE_H

/* Runs `argv` as the child until a signal ends it. Returns the exit code. */
int supervise_main(char **argv);

#endif
