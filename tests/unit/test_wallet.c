/* The wallet against a scripted node: every call it makes is answered by the case's own words. */
#include "base/clock.h"
#include "chain/wallet.h"
#include "check.h"
#include "eth/hex.h"

#define KEY "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"

/* What the node says to each method; NULL: it does not answer. A text that starts with '!' is an error's message. */
struct node {
  struct wallet wallet;
  const char *pending, *block, *price, *gas, *gas_data;
  const char *sending[40];   /* one for each eth_sendRawTransaction; NULL: no answer */
  const char *receipts[400]; /* one for each look; behind the last: null */
  unsigned n_sent, n_looked, n_counts;
  bool is_off;        /* may_send() says no */
  char raw[40][2048]; /* what was sent */
  wallet_answer_fn *on_answer;
  void *user;
  const char *method;
  char params[256];
  uint32_t wait_ms;
  struct wallet_result result;
  unsigned n_done;
};

static struct key *key;

static void node_call(void *context, const char *method, struct span params, wallet_answer_fn *on_answer,
                      void *user) {
  struct node *n = context;
  n->method = method;
  (void)snprintf(n->params, sizeof n->params, "%.*s", (int)(params.len < 200 ? params.len : 200), params.ptr);
  n->on_answer = on_answer;
  n->user = user;
  if (strcmp(method, "eth_sendRawTransaction") == 0)
    (void)snprintf(n->raw[n->n_sent], sizeof n->raw[0], "%.*s", SPAN_FMT(params));
}

static void node_wait(void *context, uint32_t ms) {
  struct node *n = context;
  n->wait_ms = ms;
}

static bool node_may_send(void *context) {
  return !((struct node *)context)->is_off;
}

static const struct wallet_ops OPS = {.call = node_call, .wait = node_wait, .may_send = node_may_send};

static void answer(struct node *n, const char *text, const char *data) {
  struct rpc_answer a = {.end = RPC_RESULT};
  if (!text) {
    a.end = RPC_NODE_FAILED;
    (void)snprintf(a.message, sizeof a.message, "no node answers");
  } else if (text[0] == '!') {
    a.end = RPC_ERROR;
    (void)snprintf(a.message, sizeof a.message, "%s", text + 1);
    if (data) a.data = span_str(data);
  } else {
    a.result = span_str(text);
  }
  n->method = NULL;
  n->on_answer(n->user, &a);
}

/* One call answered, or one wait over. */
static void step(struct node *n) {
  if (!n->method) {
    clock_fake_advance_ms(n->wait_ms);
    n->wait_ms = 0;
    wallet_wake(&n->wallet);
    return;
  }
  if (strcmp(n->method, "eth_getTransactionCount") == 0) {
    n->n_counts++;
    CHECK(strstr(n->params, "\"pending\"") != NULL);
    answer(n, n->pending, NULL);
  } else if (strcmp(n->method, "eth_getBlockByNumber") == 0) {
    answer(n, n->block, NULL);
  } else if (strcmp(n->method, "eth_gasPrice") == 0) {
    answer(n, n->price, NULL);
  } else if (strcmp(n->method, "eth_estimateGas") == 0) {
    answer(n, n->gas, n->gas_data);
  } else if (strcmp(n->method, "eth_sendRawTransaction") == 0) {
    answer(n, n->sending[n->n_sent++], NULL);
  } else {
    const char *r = n->receipts[n->n_looked++];
    answer(n, r ? r : "null", NULL);
  }
}

static void run(struct node *n) {
  for (unsigned i = 0; i < 5000 && wallet_is_busy(&n->wallet); i++)
    step(n);
}

static void on_done(struct wallet_order *order, const struct wallet_result *r);

struct case_order {
  struct wallet_order order;
  struct node *node;
};

static void on_done(struct wallet_order *order, const struct wallet_result *r) {
  struct case_order *c = container_of(order, struct case_order, order);
  c->node->result = *r;
  c->node->n_done++;
}

#define HASH   "\"0x01\""
#define MINED  "{\"status\":\"0x1\",\"blockNumber\":\"0x5\"}"
#define UNDONE "{\"status\":\"0x0\",\"blockNumber\":\"0x5\"}"

static void setup(struct node *n) {
  memset(n, 0, sizeof *n);
  clock_fake_set(1000000, 1700000000000);
  n->pending = "\"0x7\"";
  n->block = "{\"number\":\"0x1\",\"baseFeePerGas\":\"0x7\"}";
  n->price = "\"0x64\"";
  n->gas = "\"0x5208\"";
  n->sending[0] = HASH;
  wallet_init(&n->wallet, key, 16602, &OPS, n);
}

static void give(struct node *n, struct case_order *c) {
  struct address to;
  CHECK(address_parse(&to, SPAN("0x1234567890123456789012345678901234567890")) == 0);
  wallet_order_init(&c->order, &to);
  c->order.value = u256_of(5);
  c->order.nonce = 7;
  c->order.on_done = on_done;
  c->node = n;
  wallet_send(&n->wallet, &c->order);
}

static void teardown(struct node *n, struct case_order *c) {
  wallet_order_release(&c->order);
  wallet_release(&n->wallet);
  clock_fake_off();
}

static void a_transaction_ends_with_its_receipt(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.receipts[2] = MINED;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.n_done, 1);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK_INT(n.n_sent, 1);
  CHECK_INT(n.n_looked, 3);
  CHECK(strncmp(n.raw[0], "[\"0x02", 6) == 0); /* a base fee: type 2 */
  teardown(&n, &c);
}

static void without_a_base_fee_it_is_a_legacy_one(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.block = "{\"number\":\"0x1\"}";
  n.receipts[0] = MINED;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK(strncmp(n.raw[0], "[\"0xf8", 6) == 0 || strncmp(n.raw[0], "[\"0xf9", 6) == 0);
  teardown(&n, &c);
}

static void already_known_is_success(void) {
  static const char *const words[] = {"!already known", "!transaction already imported", "!ALREADY KNOWN"};
  for (size_t i = 0; i < ARRAY_LEN(words); i++) {
    struct node n;
    struct case_order c;
    setup(&n);
    n.sending[0] = words[i];
    n.receipts[0] = MINED;
    give(&n, &c);
    run(&n);
    CHECK_INT(n.result.end, WALLET_DONE);
    CHECK_INT(n.n_sent, 1);
    teardown(&n, &c);
  }
}

static void a_revert_in_the_estimate_is_told_in_words_and_nothing_is_sent(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.gas = "!execution reverted";
  /* InsufficientAvailableBalance(0.4 0G, 1 0G) */
  n.gas_data = "0xadb9e043"
               "000000000000000000000000000000000000000000000000058d15e176280000"
               "0000000000000000000000000000000000000000000000000de0b6b3a7640000";
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_REFUSED);
  CHECK(strstr(n.result.message, "InsufficientAvailableBalance: 0.4 0G available, 1 0G required") != NULL);
  CHECK_INT(n.n_sent, 0);
  teardown(&n, &c);
}

static void an_undone_transaction_is_not_done(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.receipts[1] = UNDONE;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_REVERTED);
  teardown(&n, &c);
}

/* The price of a type-2 transaction of these cases is its third and fourth field: one byte each, or 0x81 and a byte. */
static int price_of(const char *raw) {
  struct buf b;
  buf_init(&b, 4096);
  struct span text = span_make(raw + 2, strlen(raw) - 4);
  CHECK(hex_decode(&b, text) == 0);
  const uint8_t *p = (const uint8_t *)b.data;
  /* 02 f8 LL 82 40da 07 tip fee … */
  size_t at = 1 + (p[1] == 0xf8 ? 2 : 1) + 3 + 1;
  int price = p[at] == 0x81 ? p[at + 1] : p[at];
  buf_release(&b);
  return price;
}

static void a_price_too_low_is_raised_by_a_tenth_under_the_same_nonce(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[0] = "!transaction underpriced";
  n.sending[1] = "!replacement transaction underpriced";
  n.sending[2] = HASH;
  n.receipts[0] = MINED;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK_INT(n.n_sent, 3);
  CHECK_INT(n.n_counts, 1);
  CHECK_INT(price_of(n.raw[0]), 100);
  CHECK_INT(price_of(n.raw[1]), 110);
  CHECK_INT(price_of(n.raw[2]), 121);
  teardown(&n, &c);
}

static void the_price_is_not_raised_without_end(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  for (unsigned i = 0; i < 40; i++)
    n.sending[i] = "!transaction underpriced";
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_REFUSED);
  CHECK_INT(n.n_sent, WALLET_BUMPS_MAX + 1);
  CHECK(strstr(n.result.message, "underpriced") != NULL);
  teardown(&n, &c);
}

static void one_that_no_block_takes_is_replaced_and_either_version_counts(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[1] = HASH;
  give(&n, &c);
  while (n.n_sent < 2)
    step(&n);
  CHECK_INT(price_of(n.raw[1]), 110);
  /* The first version is the one that a block took. */
  unsigned at = n.n_looked;
  n.receipts[at] = MINED;
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK(memcmp(n.result.hash, n.wallet.sent[0], DIGEST_BYTES) == 0);
  teardown(&n, &c);
}

static void a_lost_answer_is_looked_for_before_the_same_bytes_go_again(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[0] = NULL;
  n.sending[1] = "!already known";
  n.receipts[1] = MINED;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK_INT(n.n_sent, 2);
  CHECK_INT(n.n_counts, 1);
  CHECK_STR(n.raw[1], strlen(n.raw[1]), n.raw[0]);
  teardown(&n, &c);
}

/* Decodes the nonce: the field behind the chain id. */
static int nonce_of(const char *raw) {
  struct buf b;
  buf_init(&b, 4096);
  CHECK(hex_decode(&b, span_make(raw + 2, strlen(raw) - 4)) == 0);
  const uint8_t *p = (const uint8_t *)b.data;
  int nonce = p[1 + (p[1] == 0xf8 ? 2 : 1) + 3];
  buf_release(&b);
  return nonce;
}

static void a_used_nonce_is_never_left_for_another_one(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[0] = "!nonce too low: next nonce 8, tx nonce 7";
  give(&n, &c);
  n.pending = "\"0x7\"";
  run(&n);
  CHECK_INT(n.result.end, WALLET_STALE);
  CHECK(n.result.is_signed);
  CHECK_INT(n.n_sent, 1);
  CHECK_INT(n.n_looked, 3);
  CHECK_INT(nonce_of(n.raw[0]), 7);
  teardown(&n, &c);
}

static void nothing_is_sent_beside_another_transaction(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.pending = "\"0x8\"";
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_BUSY);
  CHECK(!n.result.is_signed);
  CHECK_INT(n.n_sent, 0);
  CHECK(strstr(n.result.message, "nonce 7") != NULL);
  teardown(&n, &c);
}

static void another_one_that_only_the_pool_knows_is_not_replaced(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[0] = "!replacement transaction underpriced";
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_BUSY);
  CHECK_INT(n.n_sent, 1);
  teardown(&n, &c);
}

static void a_node_that_is_behind_is_no_reason_for_an_older_nonce(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.pending = "\"0x3\"";
  n.receipts[0] = MINED;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK_INT(nonce_of(n.raw[0]), 7);
  teardown(&n, &c);
}

static void what_is_called_off_is_not_signed(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.is_off = true;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_REFUSED);
  CHECK(!n.result.is_signed);
  CHECK_INT(n.n_sent, 0);
  teardown(&n, &c);
}

static void what_is_called_off_later_is_neither_replaced_nor_sent_again(void) {
  static const char *const first[] = {NULL, HASH, "!transaction underpriced"};
  for (unsigned i = 0; i < ARRAY_LEN(first); i++) {
    struct node n;
    struct case_order c;
    setup(&n);
    n.sending[0] = first[i];
    give(&n, &c);
    while (!(n.method && strcmp(n.method, "eth_sendRawTransaction") == 0))
      step(&n);
    n.is_off = true;
    for (unsigned k = 0; k < 5000 && wallet_is_busy(&n.wallet); k++) {
      if (n.n_looked > 30) n.n_looked = 1;
      step(&n);
    }
    CHECK_INT(n.result.end, i == 2 ? WALLET_REFUSED : WALLET_LOST);
    CHECK(n.result.is_signed);
    CHECK_INT(n.n_sent, 1);
    teardown(&n, &c);
  }
}

static void a_receipt_of_another_transaction_is_none(void) {
  struct node n;
  struct case_order c;
  char own[300];
  setup(&n);
  n.receipts[0] =
      "{\"transactionHash\":\"0x00000000000000000000000000000000000000000000000000000000000000ff\","
      "\"status\":\"0x1\"}";
  n.receipts[1] = "{\"transactionHash\":5,\"status\":\"0x1\"}";
  give(&n, &c);
  while (n.n_looked < 2)
    step(&n);
  char hash[2 * DIGEST_BYTES + 1] = "";
  hex_write(hash, n.wallet.sent[0], DIGEST_BYTES);
  (void)snprintf(own, sizeof own, "{\"transactionHash\":\"0x%.64s\",\"status\":\"0x1\"}", hash);
  n.receipts[2] = own;
  CHECK(wallet_is_busy(&n.wallet));
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK_INT(n.n_looked, 3);
  teardown(&n, &c);
}

static void a_nonce_that_we_used_ourselves_is_no_reason_to_pay_twice(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[0] = NULL; /* taken, but the answer was lost */
  n.sending[1] = "!nonce too low";
  n.receipts[2] = MINED;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  CHECK_INT(n.n_sent, 2);
  CHECK_INT(n.n_counts, 1);
  teardown(&n, &c);
}

static void a_used_nonce_is_looked_for_longer_when_a_node_may_have_ours(void) {
  static const char *const first[] = {NULL, HASH, "!already known"};
  for (unsigned i = 0; i < ARRAY_LEN(first); i++) {
    struct node n;
    struct case_order c;
    setup(&n);
    n.sending[0] = first[i];
    n.sending[1] = "!nonce too low"; /* and no node shows it in a block */
    give(&n, &c);
    run(&n);
    CHECK_INT(n.result.end, WALLET_STALE);
    CHECK_INT(n.n_counts, 1);
    if (i == 0) CHECK_STR(n.raw[1], strlen(n.raw[1]), n.raw[0]);
    teardown(&n, &c);
  }
}

static void too_little_money_is_told_as_the_node_says_it(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[0] = "!insufficient funds for gas * price + value";
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_REFUSED);
  CHECK(strstr(n.result.message, "insufficient funds") != NULL);
  teardown(&n, &c);
}

static void a_refused_replacement_leaves_the_first_version_to_be_waited_for(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.sending[1] = "!insufficient funds for gas * price + value";
  give(&n, &c);
  while (n.n_sent < 2)
    step(&n);
  step(&n);
  n.receipts[n.n_looked + 1] = MINED;
  run(&n);
  CHECK_INT(n.result.end, WALLET_DONE);
  teardown(&n, &c);
}

static void what_no_block_takes_is_lost_after_five_minutes_and_says_so(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  for (unsigned i = 0; i < 40; i++)
    n.sending[i] = i ? "!already known" : HASH;
  n.receipts[0] = NULL;
  give(&n, &c);
  uint64_t start = clock_mono_ms();
  /* A node that answers null for ever; looks beyond the script are null as well. */
  for (unsigned i = 0; i < 5000 && wallet_is_busy(&n.wallet); i++) {
    if (n.n_looked > 30) n.n_looked = 1;
    if (n.n_sent > 30) n.n_sent = 2;
    step(&n);
  }
  CHECK_INT(n.result.end, WALLET_LOST);
  CHECK(clock_mono_ms() - start >= WALLET_GIVE_UP_MS);
  CHECK(strstr(n.result.message, "may still come") != NULL);
  teardown(&n, &c);
}

static void without_a_node_nothing_is_sent(void) {
  struct node n;
  struct case_order c;
  setup(&n);
  n.price = NULL;
  give(&n, &c);
  run(&n);
  CHECK_INT(n.result.end, WALLET_NO_NODE);
  CHECK_INT(n.n_sent, 0);
  teardown(&n, &c);
}

static void nonsense_from_a_node_ends_the_order(void) {
  static const char *const nonsense[] = {"{}", "\"0x\"", "\"7\"", "null", "[]", "\"0xffffffffffffffffff\"",
                                         "7"};
  for (size_t i = 0; i < ARRAY_LEN(nonsense); i++) {
    for (unsigned what = 0; what < 3; what++) {
      struct node n;
      struct case_order c;
      setup(&n);
      if (what == 0) n.pending = nonsense[i];
      if (what == 1) n.gas = nonsense[i];
      if (what == 2) n.block = i == 0 ? "7" : nonsense[i];
      give(&n, &c);
      run(&n);
      CHECK_INT(n.n_done, 1);
      CHECK_INT(n.result.end, WALLET_NO_NODE);
      CHECK_INT(n.n_sent, 0);
      teardown(&n, &c);
    }
  }
}

static void orders_go_one_after_the_other(void) {
  struct node n;
  struct case_order a, b;
  setup(&n);
  n.sending[1] = HASH;
  n.receipts[0] = n.receipts[1] = MINED;
  give(&n, &a);
  give(&n, &b);
  while (n.n_done < 1)
    step(&n);
  CHECK_INT(n.n_sent, 1);
  CHECK_INT(n.n_counts, 1);
  run(&n);
  CHECK_INT(n.n_done, 2);
  CHECK_INT(n.n_sent, 2);
  CHECK_INT(n.n_counts, 2);
  wallet_order_release(&a.order);
  teardown(&n, &b);
}

int main(void) {
  if (key_new(&key, SPAN(KEY))) return 1;
  RUN(a_transaction_ends_with_its_receipt);
  RUN(without_a_base_fee_it_is_a_legacy_one);
  RUN(already_known_is_success);
  RUN(a_revert_in_the_estimate_is_told_in_words_and_nothing_is_sent);
  RUN(an_undone_transaction_is_not_done);
  RUN(a_price_too_low_is_raised_by_a_tenth_under_the_same_nonce);
  RUN(the_price_is_not_raised_without_end);
  RUN(one_that_no_block_takes_is_replaced_and_either_version_counts);
  RUN(a_lost_answer_is_looked_for_before_the_same_bytes_go_again);
  RUN(a_used_nonce_is_never_left_for_another_one);
  RUN(nothing_is_sent_beside_another_transaction);
  RUN(another_one_that_only_the_pool_knows_is_not_replaced);
  RUN(a_node_that_is_behind_is_no_reason_for_an_older_nonce);
  RUN(what_is_called_off_is_not_signed);
  RUN(what_is_called_off_later_is_neither_replaced_nor_sent_again);
  RUN(a_receipt_of_another_transaction_is_none);
  RUN(a_nonce_that_we_used_ourselves_is_no_reason_to_pay_twice);
  RUN(a_used_nonce_is_looked_for_longer_when_a_node_may_have_ours);
  RUN(too_little_money_is_told_as_the_node_says_it);
  RUN(a_refused_replacement_leaves_the_first_version_to_be_waited_for);
  RUN(what_no_block_takes_is_lost_after_five_minutes_and_says_so);
  RUN(without_a_node_nothing_is_sent);
  RUN(nonsense_from_a_node_ends_the_order);
  RUN(orders_go_one_after_the_other);
  key_free(key);
  return CHECK_END();
}
