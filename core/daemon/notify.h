/*
 * notify: tells a service manager how the program is (systemd's sd_notify(3): datagrams on the socket named by
 * NOTIFY_SOCKET). Without that variable nothing happens.
 *
 * Thread: control's.
 */
#ifndef MOONGATE_DAEMON_NOTIFY_H
#define MOONGATE_DAEMON_NOTIFY_H

#include "base/base.h"

/* One datagram of "NAME=value" lines; what cannot be sent is lost. */
void notify_send(const char *format, ...) PRINTF_LIKE(1, 2);
/* "RELOADING=1" with the time that it wants. */
void notify_reloading(void);
/* How often the manager wants to hear WATCHDOG=1 from this process, halved; 0: not at all. */
uint64_t notify_watchdog_ms(void);

#endif
