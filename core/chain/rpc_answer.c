#include "chain/rpc_answer.h"

#include <stdio.h>

#define CODE_LIMIT     (-32005)
#define CODE_NO_METHOD (-32601)
#define CODE_INTERNAL  (-32603)

/* A foreign text as it may stand in a log line: printable ASCII, one line. */
static void take_message(struct rpc_answer *out, struct span raw) {
  char text[4 * RPC_MESSAGE_MAX];
  size_t len = 0;
  /* One that is too long for the copy, or no UTF-8, is shown as it is written. */
  if (json_unescape(text, sizeof text, &len, raw)) {
    len = raw.len - 2 < sizeof text ? raw.len - 2 : sizeof text;
    memcpy(text, raw.ptr + 1, len);
  }
  size_t n = 0;
  bool was_blank = true;
  for (size_t i = 0; i < len && n + 1 < sizeof out->message; i++) {
    bool is_shown = text[i] > ' ' && text[i] < 0x7f;
    if (is_shown || !was_blank) out->message[n++] = is_shown ? text[i] : ' ';
    was_blank = !is_shown;
  }
  out->message[n] = '\0';
}

static bool is_hex_text(struct span s) {
  if (s.len < 2 || s.ptr[0] != '0' || s.ptr[1] != 'x') return false;
  for (size_t i = 2; i < s.len; i++) {
    char c = ascii_lower(s.ptr[i]);
    if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
  }
  return true;
}

bool rpc_result_text(struct span *out, struct span result) {
  if (result.len < 2 || result.ptr[0] != '"') return false;
  *out = span_make(result.ptr + 1, result.len - 2);
  return out->len == 0 || !memchr(out->ptr, '\\', out->len);
}

bool rpc_result_u64(uint64_t *out, struct span result) {
  struct span s;
  if (!rpc_result_text(&s, result) || s.len < 3 || s.len > 18 || !is_hex_text(s)) return false;
  uint64_t n = 0;
  for (size_t i = 2; i < s.len; i++) {
    char c = ascii_lower(s.ptr[i]);
    n = n << 4 | (uint64_t)(c <= '9' ? c - '0' : c - 'a' + 10);
  }
  *out = n;
  return true;
}

/* An error's data is the hex text itself, or (older nodes) an object that has it as its "data". */
static void take_data(struct rpc_answer *out, const struct json_member *data) {
  struct span text = SPAN_NONE;
  if (data->type == JSON_OBJECT) {
    struct json_member inner = {.name = SPAN("data")};
    struct json_object object;
    struct json_fault fault;
    if (json_scan_object(&inner, 1, &object, &fault, data->value) || inner.type != JSON_STRING) return;
    if (!rpc_result_text(&text, inner.value)) return;
  } else if (data->type != JSON_STRING || !rpc_result_text(&text, data->value)) {
    return;
  }
  if (is_hex_text(text)) out->data = text;
}

static int64_t small_number(const struct json_member *m) {
  if (m->type != JSON_NUMBER || m->value.len > 10) return 0;
  bool is_negative = m->value.ptr[0] == '-';
  struct span digits = span_make(m->value.ptr + is_negative, m->value.len - is_negative);
  uint64_t n;
  if (!span_to_u64(digits, INT32_MAX, &n)) return 0;
  return is_negative ? -(int64_t)n : (int64_t)n;
}

bool rpc_answer_turns_away(const struct rpc_answer *a) {
  return a->code == CODE_LIMIT || a->code == CODE_NO_METHOD;
}

/* The words of geth, erigon, reth and anvil for a block that they do not have (yet, or no more). */
static bool has_not_the_block(const char *message) {
  static const char *const words[] = {"header not found",    "block not found",   "unknown block",
                                      "BlockOutOfRange",     "missing trie node", "block is out of range",
                                      "state not available", "historical state"};
  for (size_t i = 0; i < ARRAY_LEN(words); i++)
    if (strstr(message, words[i])) return true;
  return false;
}

/* What another node may do better: limits, methods that are switched off, a block that it lacks, its own trouble. */
static bool is_of_the_node(const struct rpc_answer *a) {
  if (rpc_answer_turns_away(a)) return true;
  return a->data.len == 0 && (a->code == CODE_INTERNAL || has_not_the_block(a->message));
}

static void read_error(struct rpc_answer *out, struct span error) {
  enum { CODE, MESSAGE, DATA, N };
  struct json_member m[N] = {[CODE] = {.name = SPAN("code")},
                             [MESSAGE] = {.name = SPAN("message")},
                             [DATA] = {.name = SPAN("data")}};
  struct json_object object;
  struct json_fault fault;
  if (json_scan_object(m, N, &object, &fault, error)) return;
  out->end = RPC_ERROR;
  out->code = small_number(&m[CODE]);
  if (m[MESSAGE].type == JSON_STRING) take_message(out, m[MESSAGE].value);
  if (!out->message[0]) (void)snprintf(out->message, sizeof out->message, "error %lld", (long long)out->code);
  take_data(out, &m[DATA]);
  if (is_of_the_node(out)) out->end = RPC_NODE_FAILED;
}

static bool is_id(const struct json_member *m, uint64_t id) {
  uint64_t n;
  if (m->type == JSON_NUMBER) return span_to_u64(m->value, UINT64_MAX, &n) && n == id;
  return false;
}

void rpc_answer_read(struct rpc_answer *out, int status, struct span body, uint64_t id) {
  enum { ID, RESULT, ERROR, N };
  *out = (struct rpc_answer){.end = RPC_NODE_FAILED};
  struct json_member m[N] = {
      [ID] = {.name = SPAN("id")}, [RESULT] = {.name = SPAN("result")}, [ERROR] = {.name = SPAN("error")}};
  struct json_object object;
  struct json_fault fault;
  bool is_fine = status >= 200 && status <= 299;
  (void)snprintf(out->message, sizeof out->message, "status %d", status);
  bool is_busy = status == 429 || status >= 500;
  if (json_scan_object(m, N, &object, &fault, body)) {
    if (is_fine) (void)snprintf(out->message, sizeof out->message, "its answer is no JSON object");
    return;
  }
  if (m[ERROR].type == JSON_OBJECT) {
    /* An error before the id was read is answered with null. */
    if (m[ID].type != JSON_NULL && !is_id(&m[ID], id)) {
      (void)snprintf(out->message, sizeof out->message, "its answer is to another call");
      return;
    }
    read_error(out, m[ERROR].value);
    if (is_busy && out->data.len == 0) out->end = RPC_NODE_FAILED;
    return;
  }
  if (!is_fine) return;
  if (!is_id(&m[ID], id)) {
    (void)snprintf(out->message, sizeof out->message, "its answer is to another call");
  } else if (m[RESULT].type == JSON_ABSENT) {
    (void)snprintf(out->message, sizeof out->message, "its answer has neither result nor error");
  } else {
    out->end = RPC_RESULT;
    out->result = m[RESULT].value;
    out->message[0] = '\0';
  }
}
