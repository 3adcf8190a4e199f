/*
 * h1_call: a call from its start to one of its ends. A connection may die at the moment it is used again: when it ends
 * before any byte of the answer, the call is carried over to a fresh connection, once.
 *
 * Thread: the loop's.   Owner: the transport; on_done, or h1_call_free() without one, is the last that is heard of it.
 */
#include "net/h1_private.h"

#include <math.h>

/* ---- ends ---- */

void h1_call_free(struct h1_call *call) {
  struct h1 *h = call->h1;
  loop_timer_stop(h->loop, &call->clock);
  list_remove(&call->node);
  h1_origin_forget(call->origin);
  h->n_live--;
  buf_release(&call->answer_head);
  blocks_give(&h->loop->blocks, call, sizeof *call);
}

void h1_call_finish(struct h1_call *call, enum upstream_end end, const char *detail) {
  const struct upstream_events *ev = call->req.events;
  void *user = call->req.user;
  h1_call_free(call);
  ev->on_done(user, end, detail);
}

void h1_call_fail(struct h1_call *call, enum upstream_end end, const char *detail) {
  if (call->socket) h1_socket_close(call->socket);
  h1_call_finish(call, end, detail);
}

static void on_late_failure(struct wheel_timer *t) {
  struct h1_call *call = container_of(t, struct h1_call, clock);
  h1_call_fail(call, call->end, call->detail);
}

void h1_call_fail_later(struct h1_call *call, enum upstream_end end, const char *detail) {
  call->end = end;
  call->detail = detail;
  loop_timer_start(call->h1->loop, &call->clock, on_late_failure, 0);
}

void h1_call_complete(struct h1_call *call, bool is_clean) {
  struct h1_socket *s = call->socket;
  is_clean = is_clean && !(s->tls && tls_has_more(s->tls));
  bool keep = is_clean && call->keep_alive && s->n_writing == 0 && h1_origin_has_room(s->origin) &&
              h1_socket_read_on(s);
  if (keep) {
    s->call = NULL;
    call->socket = NULL;
    h1_origin_keep_idle(s->origin, s);
  } else {
    h1_socket_close(s);
  }
  h1_call_finish(call, UPSTREAM_OK, "");
}

/* ---- beginnings ---- */

/* Closes its connection, and takes a fresh one when that may help. */
static bool begins_again(struct h1_call *call) {
  bool may_replay = call->socket->is_reused && !call->got_byte && !call->is_replayed;
  h1_socket_close(call->socket);
  if (!may_replay) return false;
  call->is_replayed = true;
  h1_call_begin(call, true);
  return true;
}

void h1_call_lost(struct h1_call *call, const char *why) {
  bool is_cut = call->phase == PHASE_BODY;
  if (!begins_again(call)) h1_call_finish(call, is_cut ? UPSTREAM_CUT : UPSTREAM_NO_ANSWER, why);
}

void h1_call_use(struct h1_call *call, struct h1_socket *s) {
  s->call = call;
  call->socket = s;
  if (h1_socket_read_on(s) && h1_request_send(call, s)) return;
  if (!begins_again(call)) h1_call_fail_later(call, UPSTREAM_NO_ANSWER, "the request could not be written");
}

void h1_call_begin(struct h1_call *call, bool is_fresh) {
  struct h1_origin *o = call->origin;
  call->got_byte = false;
  call->interim = 0;
  call->next_address = 0;
  call->began_ms = loop_now_ms(call->h1->loop);
  call->end = UPSTREAM_CONNECT;
  call->detail = "no address";
  struct h1_socket *s = is_fresh ? NULL : h1_origin_take_idle(o);
  call->connect_ms = s ? 0 : NAN;
  if (s)
    h1_call_use(call, s);
  else if (h1_origin_is_known(o, call->began_ms))
    h1_connect(call);
  else
    h1_origin_resolve(call);
}
