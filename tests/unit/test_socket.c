/* Reading and writing past libuv, over a pair of sockets. */
#include "check.h"
#include "net/socket.h"

#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static uv_loop_t loop;
static uv_tcp_t tcp;
static int peer;

static void open_pair(void) {
  int pair[2];
  CHECK_INT(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
  CHECK_INT(uv_loop_init(&loop), 0);
  CHECK_INT(uv_tcp_init(&loop, &tcp), 0);
  CHECK_INT(uv_tcp_open(&tcp, pair[0]), 0);
  peer = pair[1];
}

static void close_pair(void) {
  if (peer >= 0) (void)close(peer);
  uv_close((uv_handle_t *)&tcp, NULL);
  (void)uv_run(&loop, UV_RUN_DEFAULT);
  CHECK_INT(uv_loop_close(&loop), 0);
}

/* In pieces of these sizes; the peer must see them in order. */
static void write_pieces(const size_t *sizes, unsigned n) {
  static char bytes[65536], seen[65536];
  uv_buf_t bufs[4];
  size_t len = 0;
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (char)(i * 7 + i / 251);
  for (unsigned i = 0; i < n; i++) {
    bufs[i] = uv_buf_init(bytes + len, (unsigned)sizes[i]);
    len += sizes[i];
  }
  CHECK_INT(socket_write(&tcp, bufs, n), (long)len);
  CHECK_INT(recv(peer, seen, sizeof seen, MSG_WAITALL | MSG_DONTWAIT), (long)len);
  CHECK(memcmp(seen, bytes, len) == 0);
}

static void pieces_arrive_in_order_whether_copied_or_not(void) {
  open_pair();
  write_pieces((const size_t[]){5}, 1);
  write_pieces((const size_t[]){100, 0, 30, 1}, 4);
  write_pieces((const size_t[]){4000, 96}, 2);
  write_pieces((const size_t[]){4000, 97}, 2);
  write_pieces((const size_t[]){200, 0, 30000, 2}, 4);
  close_pair();
}

static void a_full_socket_says_so_and_a_closed_one_is_an_error(void) {
  static char bytes[1 << 16];
  uv_buf_t bufs[2] = {uv_buf_init(bytes, sizeof bytes), uv_buf_init(bytes, 10)};
  uv_buf_t small[2] = {uv_buf_init(bytes, 10), uv_buf_init(bytes, 10)};
  open_pair();
  ssize_t n = 1;
  for (int i = 0; i < 1000 && n > 0; i++)
    n = socket_write(&tcp, bufs, 2);
  CHECK_INT(n, UV_EAGAIN);
  (void)close(peer);
  peer = -1;
  CHECK_INT(socket_write(&tcp, bufs, 2), UV_EPIPE); /* and no SIGPIPE */
  CHECK_INT(socket_write(&tcp, small, 2), UV_EPIPE);
  CHECK_INT(socket_write(&tcp, small, 1), UV_EPIPE);
  close_pair();
}

static void reading_tells_bytes_from_none_and_the_end(void) {
  char out[16];
  open_pair();
  CHECK_INT(socket_read(&tcp, out, sizeof out), 0);
  CHECK_INT(write(peer, "hello", 5), 5);
  CHECK_INT(socket_read(&tcp, out, 3), 3);
  CHECK_INT(socket_read(&tcp, out, sizeof out), 2);
  CHECK(memcmp(out, "lo", 2) == 0);
  (void)close(peer);
  peer = -1;
  CHECK_INT(socket_read(&tcp, out, sizeof out), UV_EOF);
  close_pair();
}

int main(void) {
  RUN(pieces_arrive_in_order_whether_copied_or_not);
  RUN(a_full_socket_says_so_and_a_closed_one_is_an_error);
  RUN(reading_tells_bytes_from_none_and_the_end);
  return CHECK_END();
}
