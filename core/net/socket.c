#include "net/socket.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* Shorter messages leave in one piece: to copy them costs less than to tell the kernel of their pieces. */
#define GATHER_MAX 4096

static int fd_of(const uv_tcp_t *tcp) {
  uv_os_fd_t fd = -1;
  return uv_fileno((const uv_handle_t *)tcp, &fd) ? -1 : fd;
}

void socket_lend_nothing(uv_handle_t *h, size_t suggested, uv_buf_t *out) {
  (void)h;
  (void)suggested;
  *out = uv_buf_init(NULL, 0);
}

ssize_t socket_read(uv_tcp_t *tcp, char *out, size_t room) {
  ssize_t n;
  do
    n = recv(fd_of(tcp), out, room, MSG_DONTWAIT);
  while (n < 0 && errno == EINTR);
  if (n > 0) return n;
  if (n == 0) return UV_EOF;
  return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : uv_translate_sys_error(errno);
}

static ssize_t send_gathered(int fd, const uv_buf_t *bufs, unsigned n) {
  char bytes[GATHER_MAX];
  size_t len = 0;
  for (unsigned i = 0; i < n; i++) {
    if (bufs[i].len) memcpy(bytes + len, bufs[i].base, bufs[i].len);
    len += bufs[i].len;
  }
  return send(fd, bytes, len, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static ssize_t send_once(int fd, const uv_buf_t *bufs, unsigned n) {
  if (n == 1) return send(fd, bufs[0].base, bufs[0].len, MSG_DONTWAIT | MSG_NOSIGNAL);
  size_t len = 0;
  for (unsigned i = 0; i < n; i++)
    len += bufs[i].len;
  if (len <= GATHER_MAX) return send_gathered(fd, bufs, n);
  /* A uv_buf_t is a struct iovec, as uv_write() has it. */
  struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)bufs, .msg_iovlen = n};
  return sendmsg(fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

ssize_t socket_write(uv_tcp_t *tcp, const uv_buf_t *bufs, unsigned n) {
  _Static_assert(sizeof(uv_buf_t) == sizeof(struct iovec), "libuv's pieces are the kernel's");
  ssize_t sent;
  do
    sent = send_once(fd_of(tcp), bufs, n);
  while (sent < 0 && errno == EINTR);
  if (sent >= 0) return sent;
  bool is_full = errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS;
  return is_full ? UV_EAGAIN : uv_translate_sys_error(errno);
}
