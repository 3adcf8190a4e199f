/*
 * Input: one byte that seeds the pieces, one with what the caller does, then all that a provider sends before it closes.
 * The native transport asks twice, over a connection that never leaves this process; the provider sends in one piece,
 * and in pieces. Both times the caller must hear the same: a head at most, the body's bytes, and one end, or nothing
 * behind a cancel.
 */
#include "net/transport.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
__attribute__((visibility("default"))) int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len);

#define STORY_MAX ((size_t)1 << 20)

enum { CANCEL_IN_HEAD = 1, CANCEL_IN_DATA = 2, PAUSE = 4 };

static struct loop loop;
static int provider = -1; /* the other end of the connection that was made last */

/* What the caller hears. */
struct story {
  struct buf text;
  struct upstream_call *call;
  unsigned what;
  bool has_head, is_over, is_paused;
};

/* Stands before the C library's: each connection is one half of a pair. */
int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t len) {
  int pair[2];
  (void)address;
  (void)len;
  REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair) == 0);
  REQUIRE(dup3(pair[0], fd, O_CLOEXEC) == fd && close(pair[0]) == 0);
  if (provider >= 0) (void)close(provider);
  provider = pair[1];
  return 0;
}

static void leave(struct story *s) {
  s->is_over = true;
  s->call->ops->cancel(s->call);
  buf_put_str(&s->text, "\ncancelled");
}

static void on_head(void *user, const struct http_response *head) {
  struct story *s = user;
  REQUIRE(!s->is_over && !s->has_head && head->status >= 200);
  s->has_head = true;
  buf_putf(&s->text, "%d %d %u:", head->status, (int)head->framing, head->n_fields);
  if (s->what & CANCEL_IN_HEAD) leave(s);
}

static void on_data(void *user, const char *bytes, size_t len) {
  struct story *s = user;
  REQUIRE(!s->is_over && s->has_head && len > 0);
  if (s->what & CANCEL_IN_DATA) {
    leave(s);
    return;
  }
  buf_put(&s->text, bytes, len);
  if (s->what & PAUSE) {
    s->call->ops->pause(s->call);
    s->is_paused = true;
  }
}

static void on_done(void *user, enum upstream_end end, const char *detail) {
  struct story *s = user;
  REQUIRE(!s->is_over && (end != UPSTREAM_OK || s->has_head) && detail);
  s->is_over = true;
  buf_putf(&s->text, "\n%d %s", (int)end, detail);
}

static void turn(struct story *s) {
  char sink[4096];
  if (s->is_paused && !s->is_over) s->call->ops->resume(s->call);
  s->is_paused = false;
  (void)uv_run(&loop.uv, UV_RUN_NOWAIT);
  while (provider >= 0 && recv(provider, sink, sizeof sink, MSG_DONTWAIT) > 0)
    continue;
}

static void send_all(struct story *s, const char *bytes, size_t len) {
  for (size_t at = 0; at < len && !s->is_over;) {
    ssize_t n = send(provider, bytes + at, len - at, MSG_DONTWAIT | MSG_NOSIGNAL);
    at += n > 0 ? (size_t)n : 0;
    turn(s);
  }
}

/* `seed` 0: in one piece. */
static void tell(struct story *s, const char *bytes, size_t len, uint32_t seed, unsigned what) {
  static const struct upstream_events events = {.on_head = on_head, .on_data = on_data, .on_done = on_done};
  static const struct upstream_options options = {.idle_ms = 60000};
  struct upstream_request req = {.base = SPAN("http://127.0.0.1:9/v1"),
                                 .path = SPAN("/models"),
                                 .connect_ms = 60000,
                                 .events = &events,
                                 .user = s};
  *s = (struct story){.what = what};
  buf_init(&s->text, STORY_MAX);
  struct transport *t = transport_h1_new(NULL, &loop, &options);
  t->ops->start(t, &req, &s->call);
  turn(s);
  for (size_t at = 0, n; at < len && !s->is_over; at += n) {
    seed = seed * 1664525 + (seed ? 1013904223 : 0);
    n = seed ? 1 + (seed >> 24) % 40 : len;
    if (n > len - at) n = len - at;
    send_all(s, bytes + at, n);
  }
  REQUIRE(provider >= 0);
  (void)close(provider);
  provider = -1;
  for (unsigned i = 0; i < 1000 && !s->is_over; i++)
    turn(s);
  REQUIRE(s->is_over);
  t->ops->release(t);
  turn(s);
  turn(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static bool has_begun;
  if (size < 2 || size > 40000) return 0;
  if (!has_begun) {
    int err = loop_init(&loop);
    REQUIRE(err == 0);
  }
  has_begun = true;
  struct story whole, pieces;
  const char *bytes = (const char *)data + 2;
  tell(&whole, bytes, size - 2, 0, data[1]);
  tell(&pieces, bytes, size - 2, 1u + data[0], data[1]);
  REQUIRE(span_eq(buf_span(&whole.text), buf_span(&pieces.text)));
  buf_release(&whole.text);
  buf_release(&pieces.text);
  return 0;
}
