#include "chain/rpc.h"

#include "base/clock.h"
#include "eth/hex.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#define TOO_LARGE       "its answer is too large"
#define SEND_METHOD     "eth_sendRawTransaction"
#define CHECK_METHOD    "eth_chainId"
#define VIEW_METHOD     "eth_call"
#define RETRY_AFTER_MAX 60000

struct rpc_call {
  struct list node; /* waiting or running */
  struct rpc *rpc;
  const char *method; /* static */
  char *params;
  rpc_done *done;
  void *user;
  unsigned tried; /* bits of nodes */
  int at;         /* the node that is being asked; -1: none */
  bool is_checking;
  bool is_too_large; /* for some node's answer: perhaps another one says less */
  uint64_t id;
  struct upstream_call *call;
  struct wheel_timer clock;
  struct buf request, answer;
  struct span body; /* of the request */
  int status;
  uint64_t retry_after_ms;
};

static const struct upstream_events EVENTS;

static void go_on(struct rpc_call *c);

static uint64_t now_of(const struct rpc *r) {
  return loop_now_ms(r->loop);
}

/* ---- life ---- */

struct rpc *rpc_new(struct loop *loop, struct upstream *upstream, char *const *nodes) {
  struct rpc *r = x_calloc(1, sizeof *r);
  r->loop = loop;
  r->upstream = upstream;
  list_init(&r->waiting);
  list_init(&r->running);
  rpc_nodes_init(&r->nodes);
  for (; nodes && *nodes; nodes++) {
    const char *wrong = rpc_nodes_add(&r->nodes, span_str(*nodes));
    if (wrong) (void)snprintf(r->trouble, sizeof r->trouble, "%s", wrong);
  }
  return r;
}

static void stop_asking(struct rpc_call *c) {
  loop_timer_stop(c->rpc->loop, &c->clock);
  struct upstream_call *call = c->call;
  c->call = NULL;
  if (call) upstream_cancel(call);
}

static void free_call(struct rpc_call *c) {
  stop_asking(c);
  list_remove(&c->node);
  if (c->at >= 0) c->rpc->n_running--;
  buf_release(&c->request);
  buf_release(&c->answer);
  free(c->params);
  free(c);
}

void rpc_free(struct rpc *r) {
  if (!r) return;
  struct list *lists[] = {&r->waiting, &r->running};
  for (size_t i = 0; i < ARRAY_LEN(lists); i++)
    list_each(node, next, lists[i]) free_call(container_of(node, struct rpc_call, node));
  rpc_nodes_release(&r->nodes);
  free(r);
}

/* ---- who goes next ---- */

static void start_waiting(struct rpc *r) {
  struct list *node;
  /* A call that ends at once comes back here: the loop below goes on with the next. */
  if (r->is_starting) return;
  r->is_starting = true;
  while (r->n_running < RPC_PARALLEL && (node = list_pop_front(&r->waiting))) {
    struct rpc_call *c = container_of(node, struct rpc_call, node);
    list_push_back(&r->running, &c->node);
    go_on(c);
  }
  r->is_starting = false;
}

static void finish(struct rpc_call *c, const struct rpc_outcome *o) {
  struct rpc *r = c->rpc;
  rpc_done *done = c->done;
  void *user = c->user;
  /* What the outcome points at lives until `done` has returned. */
  struct buf answer = c->answer;
  buf_init(&c->answer, RPC_ANSWER_MAX);
  free_call(c);
  start_waiting(r);
  done(user, o);
  buf_release(&answer);
}

static void leave_node(struct rpc_call *c) {
  stop_asking(c);
  if (c->at >= 0) c->rpc->n_running--;
  c->at = -1;
}

static void node_failed(struct rpc_call *c, const char *why) {
  struct rpc *r = c->rpc;
  r->n_failures++;
  rpc_nodes_failed(&r->nodes, c->at, why, c->retry_after_ms, now_of(r));
  leave_node(c);
  go_on(c);
}

/* A transaction that a node may have is not given to the next one behind its sender's back. */
static void stay(struct rpc_call *c) {
  if (!c->is_checking && strcmp(c->method, SEND_METHOD) == 0) c->tried = UINT_MAX;
}

/* Whether that answer leaves open what became of the request: it was neither turned away for a limit nor unknown. */
static bool leaves_it_open(const struct rpc_call *c, const struct rpc_answer *a) {
  return c->status != 429 && !rpc_answer_turns_away(a);
}

/* ---- the answer ---- */

static void on_head(void *user, const struct http_response *head) {
  struct rpc_call *c = user;
  c->status = head->status;
  const struct http_field *f = http_find(head->fields, head->n_fields, HTTP_FIELD_RETRY_AFTER);
  uint64_t ms;
  if (f && http_retry_after_ms(f->value, clock_wall_ms(), &ms))
    c->retry_after_ms = ms < RETRY_AFTER_MAX ? ms : RETRY_AFTER_MAX;
}

static void on_data(void *user, const char *bytes, size_t len) {
  struct rpc_call *c = user;
  if (!c->call || buf_append(&c->answer, bytes, len) == 0) return;
  stay(c);
  /* What a contract has to say may be too much; all else is a fault of the node. */
  if (c->is_checking || strcmp(c->method, VIEW_METHOD) != 0) {
    node_failed(c, TOO_LARGE);
    return;
  }
  c->is_too_large = true;
  leave_node(c);
  go_on(c);
}

/* The node says on which chain it is; then comes the call itself. */
static void take_check(struct rpc_call *c, const struct rpc_answer *a) {
  struct rpc *r = c->rpc;
  uint64_t chain_id;
  if (a->end != RPC_RESULT || !rpc_result_u64(&chain_id, a->result) || chain_id == 0) {
    node_failed(c, a->end == RPC_RESULT ? "its answer to eth_chainId is no number" : a->message);
    return;
  }
  if (!rpc_nodes_check(&r->nodes, c->at, chain_id, now_of(r))) r->n_failures++;
  int at = c->at;
  leave_node(c);
  if (r->nodes.list[at].is_checked) c->tried &= ~(1u << at);
  go_on(c);
}

static void take_answer(struct rpc_call *c) {
  struct rpc *r = c->rpc;
  struct rpc_outcome o = {.was_answered = true};
  rpc_answer_read(&o.answer, c->status, buf_span(&c->answer), c->id);
  if (c->is_checking) {
    take_check(c, &o.answer);
  } else if (o.answer.end == RPC_NODE_FAILED) {
    if (leaves_it_open(c, &o.answer)) stay(c);
    node_failed(c, o.answer.message);
  } else {
    rpc_nodes_worked(&r->nodes, c->at);
    finish(c, &o);
  }
}

/* Whether the node may have taken the request, although it did not answer it. */
static bool may_have_it(enum upstream_end end) {
  return end == UPSTREAM_NO_ANSWER || end == UPSTREAM_BAD_ANSWER || end == UPSTREAM_CUT;
}

static void on_done(void *user, enum upstream_end end, const char *detail) {
  struct rpc_call *c = user;
  c->call = NULL;
  if (may_have_it(end)) stay(c);
  if (end == UPSTREAM_OK)
    take_answer(c);
  else
    node_failed(c, detail);
}

static const struct upstream_events EVENTS = {.on_head = on_head, .on_data = on_data, .on_done = on_done};

static void on_clock(struct wheel_timer *t) {
  struct rpc_call *c = container_of(t, struct rpc_call, clock);
  stay(c);
  node_failed(c, "no answer in time");
}

/* ---- the question ---- */

static void ask(struct rpc_call *c) {
  static const char fields[] =
      "Content-Type: application/json\r\nAccept: application/json\r\nUser-Agent: moongate/" MOONGATE_VERSION
      "\r\n";
  struct rpc *r = c->rpc;
  const struct rpc_node *node = &r->nodes.list[c->at];
  bool is_check = strcmp(c->method, CHECK_METHOD) == 0;
  c->is_checking = !is_check && rpc_nodes_needs_check(&r->nodes, c->at, now_of(r));
  c->id = ++r->last_id;
  c->status = 0;
  c->retry_after_ms = 0;
  c->tried |= 1u << c->at;
  r->n_running++;
  r->n_calls++;
  buf_clear(&c->request);
  buf_clear(&c->answer);
  buf_putf(&c->request, "{\"jsonrpc\":\"2.0\",\"id\":%llu,\"method\":\"%s\",\"params\":%s}",
           (unsigned long long)c->id, c->is_checking ? CHECK_METHOD : c->method,
           c->is_checking ? "[]" : c->params);
  c->body = buf_span(&c->request);
  struct upstream_request req = {
      .is_post = true,
      .base = span_str(node->origin),
      .path = span_str(node->target),
      .fields = {span_make(fields, sizeof fields - 1)},
      .body = &c->body,
      .n_body = 1,
      .connect_ms = RPC_CONNECT_MS,
      .events = &EVENTS,
      .user = c,
  };
  loop_timer_start(r->loop, &c->clock, on_clock, RPC_CALL_MS);
  upstream_start(r->upstream, &req, &c->call);
}

/* Asks the next node, or ends. */
static void go_on(struct rpc_call *c) {
  struct rpc *r = c->rpc;
  c->at = rpc_nodes_pick(&r->nodes, c->tried, now_of(r));
  if (c->at >= 0) {
    ask(c);
    return;
  }
  if (c->is_too_large) {
    struct rpc_outcome o = {.was_answered = true, .answer = {.end = RPC_ERROR}};
    (void)snprintf(o.answer.message, sizeof o.answer.message, TOO_LARGE);
    finish(c, &o);
    return;
  }
  char trouble[sizeof r->trouble];
  rpc_nodes_trouble(&r->nodes, trouble, sizeof trouble);
  if (!trouble[0])
    (void)snprintf(trouble, sizeof trouble, "%s", r->trouble[0] ? r->trouble : "no node is configured");
  struct rpc_outcome o = {.trouble = trouble};
  finish(c, &o);
}

/* From inside rpc_start() no answer may come yet. */
static void on_begin(struct wheel_timer *t) {
  start_waiting(container_of(t, struct rpc_call, clock)->rpc);
}

struct rpc_call *rpc_start(struct rpc *r, const char *method, struct span params, rpc_done *done,
                           void *user) {
  REQUIRE(params.len <= RPC_PARAMS_MAX);
  struct rpc_call *c = x_calloc(1, sizeof *c);
  c->rpc = r;
  c->method = method;
  c->params = x_strndup(params.ptr, params.len);
  c->done = done;
  c->user = user;
  c->at = -1;
  buf_init(&c->request, RPC_PARAMS_MAX + 256);
  buf_init(&c->answer, RPC_ANSWER_MAX);
  list_push_back(&r->waiting, &c->node);
  loop_timer_start(r->loop, &c->clock, on_begin, 0);
  return c;
}

static struct rpc_call *view(struct rpc *r, const struct address *to, struct span calldata, const char *block,
                             rpc_done *done, void *user) {
  struct buf params;
  char text[ADDRESS_TEXT_LEN + 1];
  buf_init(&params, RPC_PARAMS_MAX);
  address_text(text, to);
  buf_putf(&params, "[{\"to\":\"%s\",\"data\":\"", text);
  int err = hex_append(&params, calldata.ptr, calldata.len);
  REQUIRE(!err);
  buf_putf(&params, "\"},\"%s\"]", block);
  struct rpc_call *c = rpc_start(r, VIEW_METHOD, buf_span(&params), done, user);
  buf_release(&params);
  return c;
}

struct rpc_call *rpc_view(struct rpc *r, const struct address *to, struct span calldata, rpc_done *done,
                          void *user) {
  return view(r, to, calldata, "latest", done, user);
}

struct rpc_call *rpc_view_at(struct rpc *r, const struct address *to, struct span calldata, uint64_t block,
                             rpc_done *done, void *user) {
  char number[24];
  (void)snprintf(number, sizeof number, "0x%llx", (unsigned long long)block);
  return view(r, to, calldata, number, done, user);
}

void rpc_cancel(struct rpc_call *c) {
  struct rpc *r = c->rpc;
  free_call(c);
  start_waiting(r);
}

/* ---- reading ---- */

bool rpc_result_bytes(struct buf *out, const struct rpc_outcome *o) {
  struct span text;
  buf_clear(out);
  if (!o->was_answered || o->answer.end != RPC_RESULT) return false;
  return rpc_result_text(&text, o->answer.result) && hex_decode(out, text) == 0;
}

bool rpc_is_revert(const struct rpc_outcome *o, enum revert_id id) {
  struct buf data;
  struct revert why = {.id = REVERT_UNKNOWN};
  if (!o->was_answered || o->answer.end != RPC_ERROR || o->answer.data.len <= 2) return false;
  buf_init(&data, 4096);
  if (hex_decode(&data, o->answer.data) == 0) revert_read(&why, buf_span(&data));
  bool is_it = why.id == id;
  buf_release(&data);
  return is_it;
}

void rpc_why(const struct rpc_outcome *o, char *out, size_t cap) {
  if (!o->was_answered) {
    (void)snprintf(out, cap, "no node answers (%s)", o->trouble);
    return;
  }
  struct buf data;
  buf_init(&data, RPC_ANSWER_MAX / 2);
  bool has_data = o->answer.data.len > 2 && hex_decode(&data, o->answer.data) == 0;
  if (has_data) {
    struct revert why;
    char text[REVERT_TEXT_MAX + 1];
    revert_read(&why, buf_span(&data));
    (void)revert_text(text, &why);
    (void)snprintf(out, cap, "%s", text);
  } else {
    (void)snprintf(out, cap, "%s",
                   o->answer.end == RPC_ERROR ? o->answer.message : "its answer cannot be read");
  }
  buf_release(&data);
}
