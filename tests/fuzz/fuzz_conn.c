/*
 * Input: one byte that seeds the pieces, then all that one client sends. A connection of the daemon's own kind reads it
 * twice, from a socket: in one piece, and in pieces. Both times the layer above must hear the same (requests with their
 * bodies, a fault at most), and the client, too; each request must end exactly once, and nothing is read behind a fault.
 */
#include "net/conn.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define STORY_MAX ((size_t)1 << 20)

static struct loop loop;
static struct conn_server server;

/* What the layer above hears, and what the client does. */
struct story {
  struct buf text, heard;
  bool is_active, has_fault, body_ended;
  unsigned n_requests;
};

static struct story *story(struct conn *c) {
  return c->server->context;
}

static void answer(struct conn *c, bool keep) {
  static char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
  uv_buf_t b = uv_buf_init(text, sizeof text - 1);
  story(c)->is_active = false;
  (void)conn_send(c, &b, 1);
  conn_finish(c, keep);
}

static void on_request(struct conn *c, const struct http_request *req) {
  struct story *s = story(c);
  REQUIRE(!s->is_active && !s->has_fault);
  s->is_active = true;
  s->body_ended = false;
  s->n_requests++;
  c->user = s;
  buf_put_str(&s->text, "\n>");
  buf_put_span(&s->text, req->method_text);
  buf_put_span(&s->text, req->target);
  buf_putf(&s->text, " %u fields %d %d:", req->n_fields, (int)req->framing, (int)req->keep_alive);
  if (req->expect_continue) conn_continue(c);
}

static void on_body(struct conn *c, const char *bytes, size_t len, bool is_all) {
  (void)is_all;
  struct story *s = story(c);
  REQUIRE(s->is_active && !s->body_ended && len > 0);
  buf_put(&s->text, bytes, len);
}

static void on_body_end(struct conn *c) {
  struct story *s = story(c);
  REQUIRE(s->is_active && !s->body_ended);
  s->body_ended = true;
  buf_put_str(&s->text, "<end");
  answer(c, true);
}

static void on_fault(struct conn *c, const struct http_fault *fault) {
  struct story *s = story(c);
  REQUIRE(!s->has_fault && fault->status >= 400);
  s->has_fault = true;
  s->is_active = true;
  buf_putf(&s->text, "\n!%s", fault->code);
  answer(c, false);
}

static void on_drained(struct conn *c) {
  (void)c;
}

static void on_gone(struct conn *c) {
  struct story *s = story(c);
  REQUIRE(s->is_active);
  s->is_active = false;
  c->user = NULL;
  buf_put_str(&s->text, "\n gone");
}

static void turn(void) {
  (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
}

static void take_answers(int fd) {
  struct story *s = server.context;
  char bytes[4096];
  ssize_t n;
  while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) > 0)
    buf_put(&s->heard, bytes, (size_t)n);
}

static void send_all(int fd, const char *bytes, size_t len) {
  for (size_t at = 0; at < len;) {
    ssize_t n = send(fd, bytes + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    at += n > 0 ? (size_t)n : 0;
    turn();
    take_answers(fd);
    if (n <= 0 && server.n_conns == 0) return; /* nobody wants the rest */
  }
}

/* `seed` 0: in one piece. */
static void tell(struct story *s, const char *bytes, size_t len, uint32_t seed) {
  static const struct sockaddr_in peer = {.sin_family = AF_INET};
  int fd[2];
  *s = (struct story){0};
  buf_init(&s->text, STORY_MAX);
  buf_init(&s->heard, STORY_MAX);
  server.context = s;
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fd) == 0);
  conn_accept(&server, fd[0], (const struct sockaddr *)&peer);
  for (size_t at = 0, n; at < len; at += n) {
    seed = seed * 1664525 + (seed ? 1013904223 : 0);
    n = seed ? 1 + (seed >> 24) % 40 : len;
    if (n > len - at) n = len - at;
    send_all(fd[1], bytes + at, n);
  }
  turn();
  (void)shutdown(fd[1], SHUT_WR);
  for (unsigned i = 0; i < 100 && server.n_conns; i++) {
    take_answers(fd[1]);
    turn();
  }
  (void)close(fd[1]);
  for (unsigned i = 0; i < 100 && server.n_conns; i++)
    turn();
  REQUIRE(server.n_conns == 0 && !s->is_active);
}

static void begin(void) {
  static const struct conn_ops ops = {.on_request = on_request,
                                      .on_body = on_body,
                                      .on_body_end = on_body_end,
                                      .on_fault = on_fault,
                                      .on_drained = on_drained,
                                      .on_gone = on_gone};
  static const struct conn_limits limits = {.head_ms = 60000,
                                            .idle_ms = 60000,
                                            .write_ms = 60000,
                                            .body_rate_bytes = 1,
                                            .body_window_ms = 60000,
                                            .body_ms = 60000};
  int err = loop_init(&loop);
  REQUIRE(err == 0);
  conn_server_init(&server, &loop, &ops, NULL, &limits);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool has_begun;
  if (size < 1 || size > 40000) return 0;
  if (!has_begun) begin();
  has_begun = true;
  struct story whole, pieces;
  const char *bytes = (const char *)data + 1;
  tell(&whole, bytes, size - 1, 0);
  tell(&pieces, bytes, size - 1, 1u + data[0]);
  REQUIRE(span_eq(buf_span(&whole.text), buf_span(&pieces.text)));
  REQUIRE(span_eq(buf_span(&whole.heard), buf_span(&pieces.heard)));
  buf_release(&whole.text);
  buf_release(&pieces.text);
  buf_release(&whole.heard);
  buf_release(&pieces.heard);
  return 0;
}
