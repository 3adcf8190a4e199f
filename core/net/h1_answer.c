/*
 * h1_answer: a provider's bytes to the events of its call: heads, interim ones passed over, and bodies by their framing,
 * handed over where they were read (or deciphered). Only a head that comes in pieces is kept until it is complete.
 *
 * Thread: the loop's.   Owns nothing. Each event may end the call: h1_socket.call tells.
 */
#include "net/h1_private.h"

#define INTERIM_MAX 16

/* Length of the head at the front of data; 0: incomplete, -1: a line that does not end in CRLF. */
static long find_head_end(const char *data, size_t len, size_t from) {
  const char *at = data + from, *end = data + len;
  while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
    if (at == data || at[-1] != '\r') return -1;
    if (at - data >= 3 && at[-2] == '\n') return (long)(at - data) + 1;
    at++;
  }
  return 0;
}

/* Whether the first bytes of a head may become a status line: another protocol shows at once, not when time is over. */
static bool may_be_http(const char *text, size_t len) {
  static const char start[] = "HTTP/1.";
  return memcmp(text, start, len < sizeof start - 1 ? len : sizeof start - 1) == 0;
}

/* Takes a complete head. False: the call is over (or has a new connection). */
static bool take_head(struct h1_call *call, const char *data, size_t len) {
  struct http_response *head = &call->h1->scratch;
  const char *wrong = http_response_parse(head, data, len, false);
  if (!wrong && head->status == 101) wrong = "it switches protocols";
  if (!wrong && head->status < 200 && ++call->interim > INTERIM_MAX) wrong = "too many interim answers";
  if (wrong) {
    h1_call_fail(call, UPSTREAM_BAD_ANSWER, wrong);
    return false;
  }
  if (head->status < 200) return true;
  call->phase = PHASE_BODY;
  call->framing = head->framing;
  call->left = head->framing == HTTP_LENGTH ? head->content_length : 0;
  call->keep_alive = head->keep_alive && head->framing != HTTP_UNTIL_CLOSE;
  if (head->framing == HTTP_CHUNKED) chunk_decoder_init(&call->chunk);
  struct h1_socket *s = call->socket;
  call->req.events->on_head(call->req.user, head);
  return s->call == call;
}

/* Takes body bytes; returns how many. The call may be over afterwards: s->call tells. */
static size_t take_body(struct h1_call *call, struct h1_socket *s, const char *data, size_t len) {
  const struct upstream_events *ev = call->req.events;
  void *user = call->req.user;
  size_t used = 0;
  while (used < len) {
    struct span piece = SPAN_NONE;
    if (call->framing == HTTP_CHUNKED) {
      size_t n = 0;
      enum chunk_result r = chunk_decode(&call->chunk, &n, &piece, data + used, len - used);
      used += n;
      if (r == CHUNK_BAD) {
        h1_call_fail(call, UPSTREAM_CUT, chunk_fault(&call->chunk));
        return len;
      }
      if (r == CHUNK_END) {
        h1_call_complete(call, used == len);
        return used;
      }
      if (piece.len == 0) return used;
    } else {
      size_t take = len - used;
      if (call->framing == HTTP_LENGTH && take > call->left) take = (size_t)call->left;
      piece = span_make(data + used, take);
      used += take;
      call->left -= call->framing == HTTP_LENGTH ? take : 0;
    }
    ev->on_data(user, piece.ptr, piece.len);
    if (s->call != call) return len;
    if (call->framing == HTTP_LENGTH && call->left == 0) {
      h1_call_complete(call, used == len);
      return used;
    }
  }
  return used;
}

static bool has_no_body(const struct h1_call *call) {
  return call->framing == HTTP_NO_BODY || (call->framing == HTTP_LENGTH && call->left == 0);
}

void h1_answer_take(struct h1_call *call, struct h1_socket *s, const char *data, size_t len) {
  call->got_byte = true;
  while (len && call->phase != PHASE_BODY) {
    bool is_split = call->phase == PHASE_HEAD && call->answer_head.len;
    size_t from = 0, before = is_split ? call->answer_head.len : 0;
    if (is_split) {
      from = before > 3 ? before - 3 : 0;
      if (before + len > HTTP_RESPONSE_HEAD_MAX + LOOP_READ_BYTES ||
          buf_append(&call->answer_head, data, len)) {
        h1_call_fail(call, UPSTREAM_BAD_ANSWER, "its head is too large");
        return;
      }
    }
    const char *text = is_split ? call->answer_head.data : data;
    size_t have = is_split ? call->answer_head.len : len;
    if (!may_be_http(text, have)) {
      h1_call_fail(call, UPSTREAM_BAD_ANSWER, "it does not speak HTTP/1.1");
      return;
    }
    long end = find_head_end(text, have, from);
    if (end < 0) {
      h1_call_fail(call, UPSTREAM_BAD_ANSWER, "a line does not end in CRLF");
      return;
    }
    if ((end == 0 && have > HTTP_RESPONSE_HEAD_MAX) || end > HTTP_RESPONSE_HEAD_MAX) {
      h1_call_fail(call, UPSTREAM_BAD_ANSWER, "its head is too large");
      return;
    }
    if (end == 0) {
      if (!is_split) {
        call->phase = PHASE_HEAD;
        buf_clear(&call->answer_head);
        if (buf_append(&call->answer_head, data, len))
          h1_call_fail(call, UPSTREAM_BAD_ANSWER, "its head is too large");
      }
      return;
    }
    if (!take_head(call, text, (size_t)end)) return;
    size_t used = (size_t)end - before;
    data += used;
    len -= used;
    buf_clear(&call->answer_head);
  }
  if (call->phase != PHASE_BODY) return;
  if (has_no_body(call)) {
    h1_call_complete(call, len == 0);
    return;
  }
  (void)take_body(call, s, data, len);
}

void h1_answer_ended(struct h1_call *call, ssize_t n) {
  const struct h1_socket *s = call->socket;
  if (s->tls && !s->is_secure)
    h1_call_fail(call, UPSTREAM_TLS, "the connection was closed in the handshake");
  else if (call->phase == PHASE_BODY && call->framing == HTTP_UNTIL_CLOSE && n == UV_EOF)
    h1_call_complete(call, false);
  else
    h1_call_lost(call, n == UV_EOF ? "the connection was closed" : uv_strerror((int)n));
}
