#include "chain/wallet.h"
#include "base/clock.h"
#include "eth/hex.h"
#include "eth/revert.h"

#include <stdio.h>

#define RAW_MAX    (WALLET_CALLDATA_MAX + 512)
#define PARAMS_MAX (2 * RAW_MAX + 512)
/* After a node said that the nonce is used, so many looks for ours in a block; more when it may well be there. */
#define DISPLACED_ROUNDS        3
#define DISPLACED_ROUNDS_IF_OUT 30

static void begin(struct wallet *w);

const char *wallet_end_name(enum wallet_end end) {
  static const char *const names[] = {
      [WALLET_DONE] = "done",
      [WALLET_REVERTED] = "reverted",
      [WALLET_REFUSED] = "refused",
      [WALLET_NO_NODE] = "no node answers",
      [WALLET_BUSY] = "not sent yet",
      [WALLET_STALE] = "overtaken",
      [WALLET_LOST] = "not seen in a block",
  };
  return names[end];
}

void wallet_order_init(struct wallet_order *order, const struct address *to) {
  memset(order, 0, sizeof *order);
  order->to = *to;
  buf_init(&order->data, WALLET_CALLDATA_MAX);
}

void wallet_order_release(struct wallet_order *order) {
  buf_release(&order->data);
}

void wallet_init(struct wallet *w, const struct key *key, uint64_t chain_id, const struct wallet_ops *ops,
                 void *context) {
  memset(w, 0, sizeof *w);
  w->key = key;
  w->chain_id = chain_id;
  w->ops = ops;
  w->context = context;
  list_init(&w->orders);
  buf_init(&w->params, PARAMS_MAX);
  buf_init(&w->raw, RAW_MAX);
}

void wallet_release(struct wallet *w) {
  list_init(&w->orders);
  w->step = WALLET_IDLE;
  buf_release(&w->params);
  buf_release(&w->raw);
}

static struct wallet_order *first(const struct wallet *w) {
  return container_of(w->orders.next, struct wallet_order, node);
}

/* ---- ends ---- */

static void finish(struct wallet *w, enum wallet_end end, const char *message) {
  struct wallet_order *order = first(w);
  struct wallet_result r = {.end = end, .is_signed = w->is_signed, .fee = w->fee};
  (void)snprintf(r.message, sizeof r.message, "%s", message);
  if (end == WALLET_DONE || end == WALLET_REVERTED)
    memcpy(r.hash, w->sent[w->n_asked], DIGEST_BYTES);
  else if (w->n_sent)
    memcpy(r.hash, w->sent[w->n_sent - 1], DIGEST_BYTES);
  list_remove(&order->node);
  w->step = WALLET_IDLE;
  order->on_done(order, &r);
  if (w->step == WALLET_IDLE && !list_is_empty(&w->orders)) begin(w);
}

/* A contract's refusal in words, or else the node's own message. */
static void refuse(struct wallet *w, const struct rpc_answer *a) {
  char text[REVERT_TEXT_MAX + 1];
  struct buf data;
  buf_init(&data, 4096);
  bool is_revert = a->data.len && hex_decode(&data, a->data) == 0;
  if (is_revert) {
    struct revert why;
    revert_read(&why, buf_span(&data));
    (void)revert_text(text, &why);
  }
  buf_release(&data);
  finish(w, WALLET_REFUSED, is_revert ? text : a->message);
}

/* ---- asking ---- */

static void on_answer(void *user, const struct rpc_answer *a);

static void ask(struct wallet *w, enum wallet_step step, const char *method) {
  w->step = step;
  w->ops->call(w->context, method, buf_span(&w->params), on_answer, w);
}

static void put_quantity(struct buf *out, struct u256 n) {
  uint8_t bytes[32];
  char digits[64];
  u256_to_be(bytes, n);
  hex_write(digits, bytes, sizeof bytes);
  size_t at = 0;
  while (at < sizeof digits - 1 && digits[at] == '0')
    at++;
  buf_put_str(out, "\"0x");
  buf_put(out, digits + at, sizeof digits - at);
  buf_put_str(out, "\"");
}

static void put_hex(struct buf *out, const void *bytes, size_t len) {
  buf_put_str(out, "\"");
  int err = hex_append(out, bytes, len);
  REQUIRE(err == 0); /* PARAMS_MAX has room for the longest */
  buf_put_str(out, "\"");
}

static void ask_pending(struct wallet *w) {
  buf_clear(&w->params);
  buf_put_str(&w->params, "[");
  put_hex(&w->params, key_address(w->key)->bytes, ADDRESS_BYTES);
  buf_put_str(&w->params, ",\"pending\"]");
  ask(w, WALLET_ASKS_PENDING, "eth_getTransactionCount");
}

static void ask_block(struct wallet *w) {
  buf_clear(&w->params);
  buf_put_str(&w->params, "[\"latest\",false]");
  ask(w, WALLET_ASKS_BLOCK, "eth_getBlockByNumber");
}

static void ask_price(struct wallet *w) {
  buf_clear(&w->params);
  buf_put_str(&w->params, "[]");
  ask(w, WALLET_ASKS_PRICE, "eth_gasPrice");
}

static void ask_gas(struct wallet *w) {
  const struct wallet_order *order = first(w);
  buf_clear(&w->params);
  buf_put_str(&w->params, "[{\"from\":");
  put_hex(&w->params, key_address(w->key)->bytes, ADDRESS_BYTES);
  buf_put_str(&w->params, ",\"to\":");
  put_hex(&w->params, order->to.bytes, ADDRESS_BYTES);
  buf_put_str(&w->params, ",\"value\":");
  put_quantity(&w->params, order->value);
  buf_put_str(&w->params, ",\"data\":");
  put_hex(&w->params, order->data.data, order->data.len);
  buf_put_str(&w->params, "}]");
  ask(w, WALLET_ASKS_GAS, "eth_estimateGas");
}

static void ask_receipt(struct wallet *w) {
  buf_clear(&w->params);
  buf_put_str(&w->params, "[");
  put_hex(&w->params, w->sent[w->n_asked], DIGEST_BYTES);
  buf_put_str(&w->params, "]");
  ask(w, WALLET_ASKS_RECEIPT, "eth_getTransactionReceipt");
}

/* ---- sending ---- */

static void begin(struct wallet *w) {
  w->n_sent = w->bumps = 0;
  w->is_signed = false;
  w->fee = U256_ZERO;
  ask_pending(w);
}

static bool may_send(const struct wallet *w) {
  return !w->ops->may_send || w->ops->may_send(w->context);
}

static void send_raw(struct wallet *w, bool is_fresh) {
  w->is_fresh = is_fresh;
  buf_clear(&w->params);
  buf_put_str(&w->params, "[");
  put_hex(&w->params, w->raw.data, w->raw.len);
  buf_put_str(&w->params, "]");
  w->last_sent_ms = clock_mono_ms();
  ask(w, WALLET_SENDS, "eth_sendRawTransaction");
}

/* Signs at the present price and sends; from here on a node may have it. */
static void sign_and_send(struct wallet *w) {
  const struct wallet_order *order = first(w);
  struct transaction t = {
      .type = w->has_base_fee ? TRANSACTION_EIP1559 : TRANSACTION_LEGACY,
      .chain_id = w->chain_id,
      .nonce = order->nonce,
      .to = &order->to,
      .value = order->value,
      .gas_limit = w->gas,
      .gas_price = w->price,
      .max_fee = w->price,
      .max_priority_fee = w->price,
      .data = buf_span(&order->data),
  };
  struct transaction_signed s;
  buf_clear(&w->raw);
  if (transaction_sign(&w->raw, &s, &t, w->key)) {
    finish(w, w->n_sent ? WALLET_LOST : WALLET_REFUSED, "the call data is too long");
    return;
  }
  if (w->n_sent == 0) {
    w->first_sent_ms = clock_mono_ms();
    w->is_displaced = w->is_in_doubt = w->may_be_out = false;
    w->rounds = 0;
  }
  w->is_signed = true;
  memcpy(w->sent[w->n_sent++], s.hash, DIGEST_BYTES);
  send_raw(w, true);
}

static bool is_too_dear(const struct wallet *w, struct u256 price) {
  struct u256 cost;
  return u256_mul(&cost, price, u256_of(w->gas)) || u256_cmp(cost, WALLET_COST_MAX) > 0;
}

/* A replacement has to offer a tenth more. False: that was done often enough, or would be too dear. */
static bool raise_price(struct wallet *w) {
  if (w->bumps == WALLET_BUMPS_MAX) return false;
  uint64_t rest;
  struct u256 more = u256_div_u64(w->price, 10, &rest), next;
  if (rest && u256_add(&more, more, u256_of(1))) return false;
  if (u256_is_zero(more)) more = u256_of(1);
  if (u256_add(&next, w->price, more) || is_too_dear(w, next)) return false;
  w->price = next;
  w->bumps++;
  return true;
}

static void wait_for_block(struct wallet *w) {
  w->step = WALLET_WAITS;
  uint32_t ms = w->rounds == 0 ? WALLET_POLL_MS / 5 : w->rounds == 1 ? WALLET_POLL_MS / 2 : WALLET_POLL_MS;
  w->ops->wait(w->context, ms);
}

/* ---- answers ---- */

/* A node that counts less than we know of is behind; one that counts more knows of another one under way. */
static void take_pending(struct wallet *w, const struct rpc_answer *a) {
  uint64_t count;
  char why[WALLET_MESSAGE_MAX];
  if (!rpc_result_u64(&count, a->result)) {
    finish(w, WALLET_NO_NODE, "the node's count of transactions is no number");
  } else if (count > first(w)->nonce) {
    (void)snprintf(why, sizeof why, "a transaction of this wallet with nonce %llu is under way already",
                   (unsigned long long)count - 1);
    finish(w, WALLET_BUSY, why);
  } else {
    ask_block(w);
  }
}

static void take_block(struct wallet *w, const struct rpc_answer *a) {
  struct json_member fee = {.name = SPAN("baseFeePerGas")};
  struct json_object object;
  struct json_fault fault;
  if (json_scan_object(&fee, 1, &object, &fault, a->result)) {
    finish(w, WALLET_NO_NODE, "the node does not tell its latest block");
    return;
  }
  w->has_base_fee = fee.type == JSON_STRING;
  ask_price(w);
}

static void take_price(struct wallet *w, const struct rpc_answer *a) {
  struct span text;
  if (!rpc_result_text(&text, a->result) || u256_parse_quantity(&w->price, text)) {
    finish(w, WALLET_NO_NODE, "the node's gas price is no number");
    return;
  }
  ask_gas(w);
}

static void take_gas(struct wallet *w, const struct rpc_answer *a) {
  if (!rpc_result_u64(&w->gas, a->result) || w->gas > UINT64_MAX / 2) {
    finish(w, WALLET_NO_NODE, "the node's estimate of gas is no number");
    return;
  }
  /* The state may have changed a little when a block takes it. */
  w->gas += w->gas / 5;
  if (is_too_dear(w, w->price)) {
    finish(w, WALLET_REFUSED, "its gas could cost more than 0.1 0G at the price that the node names");
    return;
  }
  if (!may_send(w)) {
    finish(w, WALLET_REFUSED, "it was called off before it was signed");
    return;
  }
  sign_and_send(w);
}

static bool says(const struct rpc_answer *a, const char *words) {
  struct span text = span_str(a->message), w = span_str(words);
  for (size_t i = 0; i + w.len <= text.len; i++)
    if (span_eq_nocase(span_make(text.ptr + i, w.len), w)) return true;
  return false;
}

static bool says_any(const struct rpc_answer *a, const char *const *list) {
  for (; *list; list++)
    if (says(a, *list)) return true;
  return false;
}

/* The words of geth, reth, erigon and anvil; other nodes follow geth. */
static const char *const KNOWN[] = {"already known", "already imported", "known transaction",
                                    "already in mempool", NULL};
static const char *const USED[] = {"nonce too low", "nonce is too low", "nonce has already been used", NULL};
static const char *const CHEAP[] = {
    "underpriced", "fee too low", "mempool is full", "mempool full", "less than block base fee", NULL};
static const char *const TAKEN[] = {"replacement transaction underpriced", NULL};

/* The node did not take the version that was sent just now. */
static void take_refusal(struct wallet *w, const struct rpc_answer *a) {
  bool may_be_known = !w->is_fresh;
  if (w->is_fresh) w->n_sent--;
  if (w->n_sent == 0 && w->bumps == 0 && says_any(a, TAKEN)) {
    finish(w, WALLET_BUSY, "another transaction of this wallet with its nonce is under way");
  } else if (says_any(a, CHEAP) && may_send(w) && raise_price(w)) {
    sign_and_send(w);
  } else if (may_be_known || w->n_sent) {
    w->is_in_doubt = false;
    wait_for_block(w);
  } else {
    refuse(w, a);
  }
}

static void take_sent(struct wallet *w, const struct rpc_answer *a) {
  w->is_in_doubt = a->end == RPC_NODE_FAILED;
  w->may_be_out |= a->end != RPC_ERROR || says_any(a, KNOWN);
  if (a->end == RPC_ERROR && says_any(a, USED)) {
    w->is_displaced = true;
    w->displaced_at = w->rounds;
    wait_for_block(w);
  } else if (a->end == RPC_ERROR && !says_any(a, KNOWN)) {
    take_refusal(w, a);
  } else {
    wait_for_block(w);
  }
}

/* No version of it is in a block yet. */
static void after_round(struct wallet *w) {
  unsigned patience = w->may_be_out ? DISPLACED_ROUNDS_IF_OUT : DISPLACED_ROUNDS;
  w->rounds++;
  if (w->is_displaced && w->rounds >= w->displaced_at + patience) {
    finish(w, WALLET_STALE, "its nonce was used, and no node says by which transaction");
  } else if (w->is_displaced || !may_send(w)) {
    wait_for_block(w);
  } else if (w->is_in_doubt) {
    send_raw(w, false);
  } else if (clock_mono_ms() - w->last_sent_ms < WALLET_STUCK_MS) {
    wait_for_block(w);
  } else if (raise_price(w)) {
    sign_and_send(w);
  } else {
    send_raw(w, false);
  }
}

/* gasUsed at effectiveGasPrice. */
static struct u256 fee_of(const struct json_member *used, const struct json_member *price) {
  uint64_t gas;
  struct span text;
  struct u256 each, fee;
  bool is_told = used->type == JSON_STRING && rpc_result_u64(&gas, used->value) &&
                 price->type == JSON_STRING && rpc_result_text(&text, price->value) &&
                 u256_parse_quantity(&each, text) == 0;
  return is_told && !u256_mul(&fee, each, u256_of(gas)) ? fee : U256_ZERO;
}

/* Some proxies answer with what somebody else asked for. */
static bool is_about(const struct json_member *hash, const uint8_t expected[DIGEST_BYTES]) {
  uint8_t bytes[DIGEST_BYTES];
  struct span text, digits;
  if (hash->type == JSON_ABSENT) return true;
  return hash->type == JSON_STRING && rpc_result_text(&text, hash->value) && hex_cut_prefix(&digits, text) &&
         hex_read(bytes, sizeof bytes, digits) && memcmp(bytes, expected, sizeof bytes) == 0;
}

static void take_receipt(struct wallet *w, const struct rpc_answer *a) {
  enum { HASH, STATUS, USED_GAS, GAS_PRICE, MEMBERS };
  struct json_member m[MEMBERS] = {[HASH] = {.name = SPAN("transactionHash")},
                                   [STATUS] = {.name = SPAN("status")},
                                   [USED_GAS] = {.name = SPAN("gasUsed")},
                                   [GAS_PRICE] = {.name = SPAN("effectiveGasPrice")}};
  struct json_object object;
  struct json_fault fault;
  if (a->end == RPC_RESULT && json_scan_object(m, MEMBERS, &object, &fault, a->result) == 0 &&
      is_about(&m[HASH], w->sent[w->n_asked])) {
    uint64_t n;
    bool is_fine = m[STATUS].type != JSON_STRING || (rpc_result_u64(&n, m[STATUS].value) && n == 1);
    w->fee = fee_of(&m[USED_GAS], &m[GAS_PRICE]);
    finish(w, is_fine ? WALLET_DONE : WALLET_REVERTED,
           is_fine ? ""
                   : "the contract undid it when it was executed; its state had changed since the estimate");
    return;
  }
  if (a->end != RPC_RESULT)
    wait_for_block(w);
  else if (++w->n_asked < w->n_sent)
    ask_receipt(w);
  else
    after_round(w);
}

static void on_answer(void *user, const struct rpc_answer *a) {
  struct wallet *w = user;
  bool is_asking = w->step != WALLET_SENDS && w->step != WALLET_ASKS_RECEIPT;
  if (is_asking && a->end == RPC_NODE_FAILED) {
    finish(w, WALLET_NO_NODE, a->message);
    return;
  }
  if (is_asking && a->end == RPC_ERROR) {
    refuse(w, a);
    return;
  }
  switch (w->step) {
  case WALLET_ASKS_PENDING: take_pending(w, a); return;
  case WALLET_ASKS_BLOCK: take_block(w, a); return;
  case WALLET_ASKS_PRICE: take_price(w, a); return;
  case WALLET_ASKS_GAS: take_gas(w, a); return;
  case WALLET_SENDS: take_sent(w, a); return;
  case WALLET_ASKS_RECEIPT: take_receipt(w, a); return;
  case WALLET_IDLE:
  case WALLET_WAITS: break;
  }
  REQUIRE(false); /* an answer that nobody asked for */
}

void wallet_wake(struct wallet *w) {
  if (w->step != WALLET_WAITS) return;
  if (clock_mono_ms() - w->first_sent_ms >= WALLET_GIVE_UP_MS) {
    finish(w, WALLET_LOST, "no block took it within five minutes; it may still come");
    return;
  }
  w->n_asked = 0;
  ask_receipt(w);
}

void wallet_send(struct wallet *w, struct wallet_order *order) {
  list_push_back(&w->orders, &order->node);
  if (w->step == WALLET_IDLE && first(w) == order) begin(w);
}
