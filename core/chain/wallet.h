/*
 * wallet: one account's transactions, one after the other, each from its price to its receipt. Serial on purpose: two
 * transactions made at once would take the same nonce, and the chain would drop one of them.
 *
 * Money never moves twice. Whoever gives an order has read the chain at some block, the account's nonce with it, and
 * the order is sent under that nonce or not at all: if anything of this account has been executed since (by us, by
 * another program, by a process before this one), the nonce is used up and the chain itself refuses the order, whatever
 * nodes say or forget. Versions of one order share its nonce. While the node knows of another transaction that no block
 * has taken, nothing is sent: it would only be replaced.
 *
 * Fees are those that the network's own client is known to work with: the price that the node names (eth_gasPrice),
 * as fee and as tip where blocks have a base fee (EIP-1559), as the plain price elsewhere. A transaction that the node
 * calls underpriced, or that no block takes within WALLET_STUCK_MS, is replaced under the same nonce at 11/10 of its
 * price, at most WALLET_BUMPS_MAX times. "Already known" is success: another node passed it on. One whose answer was
 * lost is looked for by its hash before the same bytes go again. The node's price and estimate are a stranger's word:
 * what could cost more than WALLET_COST_MAX is not sent, and no price is raised above that.
 *
 * Thread: one.   Owner: the wallet borrows key, functions and orders; an order belongs to who gave it until its on_done.
 */
#ifndef MOONGATE_CHAIN_WALLET_H
#define MOONGATE_CHAIN_WALLET_H

#include "base/list.h"
#include "chain/rpc_answer.h"
#include "eth/transaction.h"

#define WALLET_CALLDATA_MAX 4096
#define WALLET_MESSAGE_MAX  320
#define WALLET_POLL_MS      1000   /* between two looks for a receipt; the first ones come sooner */
#define WALLET_STUCK_MS     30000  /* without a receipt: a higher price */
#define WALLET_GIVE_UP_MS   300000 /* without a receipt: nobody knows */
#define WALLET_BUMPS_MAX    10
/* 0.1 0G for the gas of one transaction: twenty times what a transfer costs at the public deployments' prices. */
#define WALLET_COST_MAX u256_of(100000000000000000u)

typedef void wallet_answer_fn(void *user, const struct rpc_answer *answer);

/* What a wallet needs of the world. */
struct wallet_ops {
  /*
   * Calls a node's method with `params` ("[…]", borrowed during the call). Leads to one answer, later. Another node may be
   * asked when one fails, but not for eth_sendRawTransaction once a node may have the request: RPC_NODE_FAILED then.
   */
  void (*call)(void *context, const char *method, struct span params, wallet_answer_fn *on_answer,
               void *user);
  /* Leads to wallet_wake() after that time; at most one is under way. */
  void (*wait)(void *context, uint32_t ms);
  /* Before each signature, and before bytes go once more: whether that is still wanted. NULL: it is. */
  bool (*may_send)(void *context);
};

enum wallet_end {
  WALLET_DONE,     /* in a block, and it did what it was for */
  WALLET_REVERTED, /* in a block, and undone by the contract: gas was spent, the value was not */
  WALLET_REFUSED,  /* the contract or the node will not have it */
  WALLET_NO_NODE,  /* not sent: no node answers */
  WALLET_BUSY,     /* not sent: another transaction of this account is under way */
  WALLET_STALE,    /* its nonce is used up, and no node shows it in a block: the chain is to be read again */
  WALLET_LOST,     /* sent, but in no block when time was over: it may still come */
};
const char *wallet_end_name(enum wallet_end end);

struct wallet_result {
  enum wallet_end end;
  bool is_signed;                   /* some version of it was given to a node, whatever that made of it */
  struct u256 fee;                  /* neuron paid for gas, as the receipt tells; 0 when it does not */
  uint8_t hash[DIGEST_BYTES];       /* of the transaction that came into a block, or of the last one sent */
  char message[WALLET_MESSAGE_MAX]; /* why it failed, in words; empty when it is done */
};

/* One transaction that somebody wants. */
struct wallet_order {
  struct list node;
  struct address to;
  uint64_t nonce;    /* of the account at the block at which the order was decided */
  struct u256 value; /* neuron */
  struct buf data;   /* calldata */
  /* Once; the order may be freed or given again from here. */
  void (*on_done)(struct wallet_order *order, const struct wallet_result *result);
};
/* `data` is then to be filled by the builders of eth/contract.h. */
void wallet_order_init(struct wallet_order *order, const struct address *to);
void wallet_order_release(struct wallet_order *order);

enum wallet_step {
  WALLET_IDLE,
  WALLET_ASKS_PENDING,
  WALLET_ASKS_BLOCK,
  WALLET_ASKS_PRICE,
  WALLET_ASKS_GAS,
  WALLET_SENDS,
  WALLET_WAITS,
  WALLET_ASKS_RECEIPT,
};

struct wallet {
  const struct key *key;
  uint64_t chain_id;
  const struct wallet_ops *ops;
  void *context;
  struct list orders; /* the first is under way */
  enum wallet_step step;
  struct buf params, raw;

  /* The first order's transaction. */
  uint64_t gas;
  bool has_base_fee;
  struct u256 price;                                /* neuron per gas */
  struct u256 fee;                                  /* paid, by the receipt */
  uint8_t sent[WALLET_BUMPS_MAX + 1][DIGEST_BYTES]; /* each version that a node may have */
  unsigned n_sent, n_asked;                         /* n_asked: receipts looked for in this round */
  unsigned bumps, rounds;                           /* rounds: looks without a find */
  uint64_t first_sent_ms, last_sent_ms;
  bool is_displaced;     /* a node said that the nonce is used */
  bool may_be_out;       /* some node has taken a version, or may have */
  unsigned displaced_at; /* rounds at that time */
  bool is_fresh;         /* the version under way was not sent before */
  bool is_in_doubt;      /* the answer to the last sending was lost */
  bool is_signed;
};

void wallet_init(struct wallet *w, const struct key *key, uint64_t chain_id, const struct wallet_ops *ops,
                 void *context);
/* No answer may come in any more. Orders that are left are dropped without on_done. */
void wallet_release(struct wallet *w);

/* Behind the orders that wait already. */
void wallet_send(struct wallet *w, struct wallet_order *order);
/* The time given to ops.wait is over. */
void wallet_wake(struct wallet *w);
static inline bool wallet_is_busy(const struct wallet *w) {
  return w->step != WALLET_IDLE;
}

#endif
