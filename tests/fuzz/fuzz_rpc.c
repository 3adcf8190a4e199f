/*
 * Input: one byte for the status, then a node's answer. It is a result of this call, an error of it, or a reason in
 * plain words to ask another node; what is taken from it lies inside it. Any JSON value that is the result of the call
 * is taken as it stands, and of no other call. The bytes are also tried as a node's URL.
 */
#include "base/redact.h"
#include "chain/rpc_answer.h"
#include "chain/rpc_nodes.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ID 7

static bool is_inside(struct span s, struct span body) {
  return s.len > 0 && s.ptr >= body.ptr && s.ptr + s.len <= body.ptr + body.len;
}

static void require_message(const struct rpc_answer *a) {
  const char *end = memchr(a->message, 0, sizeof a->message);
  REQUIRE(end && (a->end == RPC_RESULT) == (end == a->message));
  for (const char *c = a->message; c < end; c++)
    REQUIRE(*c >= ' ' && *c < 0x7f);
}

static void require_hex(struct span s) {
  REQUIRE(span_starts(s, SPAN("0x")));
  for (size_t i = 2; i < s.len; i++)
    REQUIRE(strchr("0123456789abcdefABCDEF", s.ptr[i]) && s.ptr[i]);
}

static void check_result(struct span result) {
  struct span text = SPAN_NONE;
  uint64_t n;
  bool is_text = rpc_result_text(&text, result);
  if (is_text) REQUIRE(text.len + 2 == result.len);
  if (!rpc_result_u64(&n, result)) return;
  REQUIRE(is_text);
  require_hex(text);
  uint64_t again = 0;
  for (size_t i = 2; i < text.len; i++) {
    REQUIRE(again >> 60 == 0);
    again = again * 16 + (uint64_t)strtoul((char[2]){text.ptr[i]}, NULL, 16);
  }
  REQUIRE(again == n);
}

static void check_answer(int status, struct span body) {
  struct rpc_answer a;
  struct json_fault fault;
  rpc_answer_read(&a, status, body, ID);
  require_message(&a);
  if (a.end == RPC_RESULT) {
    REQUIRE(status / 100 == 2 && is_inside(a.result, body) && a.data.len == 0);
    REQUIRE(json_validate(&fault, body) == 0 && json_validate(&fault, a.result) == 0);
    check_result(a.result);
  } else {
    REQUIRE(a.result.len == 0);
  }
  if (a.data.len) {
    REQUIRE(is_inside(a.data, body));
    require_hex(a.data);
  }
  /* A busy node's word counts only when it brings the contract's. */
  if (a.end == RPC_ERROR) REQUIRE((status != 429 && status < 500) || a.data.len);
}

/* {"jsonrpc":"2.0","id":7,"result":…} */
static void wrap(struct span value) {
  struct buf body;
  struct json_fault fault;
  struct rpc_answer a;
  if (!value.len || json_validate(&fault, value)) return;
  buf_init(&body, value.len + 64);
  buf_put_str(&body, "{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":");
  size_t at = body.len;
  buf_put_span(&body, value);
  buf_put_str(&body, "}");
  rpc_answer_read(&a, 200, buf_span(&body), ID);
  /* Two levels of nesting are the limit's: the value may be at it already. */
  if (json_validate(&fault, buf_span(&body)) == 0)
    REQUIRE(a.end == RPC_RESULT && a.result.ptr >= body.data + at && a.result.len <= value.len);
  rpc_answer_read(&a, 200, buf_span(&body), ID + 1);
  REQUIRE(a.end == RPC_NODE_FAILED);
  rpc_answer_read(&a, 503, buf_span(&body), ID);
  REQUIRE(a.end == RPC_NODE_FAILED);
  buf_release(&body);
}

static void check_url(struct span url) {
  struct rpc_nodes nodes;
  char trouble[RPC_NODES_MAX * (RPC_NODE_TROUBLE + 2048)];
  rpc_nodes_init(&nodes);
  const char *wrong = rpc_nodes_add(&nodes, url);
  REQUIRE((wrong == NULL) == (nodes.n == 1));
  if (!wrong) {
    const struct rpc_node *n = &nodes.list[0];
    REQUIRE(n->target[0] == '/' && strlen(n->origin) > strlen("http://") && !strchr(n->origin, '@'));
    REQUIRE(strlen(n->origin) + strlen(n->target) <= url.len + 1);
    REQUIRE(rpc_nodes_pick(&nodes, 0, 0) == 0 && rpc_nodes_pick(&nodes, 1, 0) == -1);
    rpc_nodes_failed(&nodes, 0, "status 503", 0, 1000);
    REQUIRE(rpc_nodes_pick(&nodes, 0, 1000) == -1 && rpc_nodes_wait_ms(&nodes, 1000) > 0);
    rpc_nodes_trouble(&nodes, trouble, sizeof trouble);
    REQUIRE(strstr(trouble, n->origin) && strstr(trouble, "503"));
  }
  rpc_nodes_release(&nodes);
  redact_forget_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const int statuses[] = {200, 204, 400, 404, 429, 500, 503, 0};
  if (size < 1) return 0;
  struct span body = span_make((const char *)data + 1, size - 1);
  check_answer(statuses[data[0] % ARRAY_LEN(statuses)], body);
  wrap(body);
  check_url(body);
  return 0;
}
