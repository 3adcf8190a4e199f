#include "daemon/notify.h"

#include "base/clock.h"
#include "base/span.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

void notify_send(const char *format, ...) {
  const char *path = getenv("NOTIFY_SOCKET");
  struct sockaddr_un to = {.sun_family = AF_UNIX};
  size_t len = path ? strlen(path) : 0;
  /* "@name" is an abstract socket: its name begins with a zero byte. */
  if (len < 2 || len >= sizeof to.sun_path || (path[0] != '/' && path[0] != '@')) return;
  memcpy(to.sun_path, path, len);
  if (path[0] == '@') to.sun_path[0] = '\0';
  char text[512];
  va_list args;
  va_start(args, format);
  int n = vsnprintf(text, sizeof text, format, args);
  va_end(args);
  int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) return;
  size_t text_len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
  ssize_t sent = sendto(fd, text, text_len, MSG_NOSIGNAL, (struct sockaddr *)&to,
                        (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len));
  (void)sent;
  (void)close(fd);
}

void notify_reloading(void) {
  notify_send("RELOADING=1\nMONOTONIC_USEC=%llu", (unsigned long long)clock_mono_us());
}

uint64_t notify_watchdog_ms(void) {
  const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
  uint64_t us, wanted;
  if (!usec || !span_to_u64(span_str(usec), UINT64_MAX / 2, &us)) return 0;
  if (pid && (!span_to_u64(span_str(pid), UINT32_MAX, &wanted) || wanted != (uint64_t)getpid())) return 0;
  return us / 2000;
}
