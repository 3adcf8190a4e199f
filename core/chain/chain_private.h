/*
 * chain_private: what the files of the chain share: chain.c (adoption, rounds, status), member.c (one provider's
 * readings), member_token.c (its session tokens), market.c (all services), funder.c (money). Private to them.
 */
#ifndef MOONGATE_CHAIN_CHAIN_PRIVATE_H
#define MOONGATE_CHAIN_CHAIN_PRIVATE_H

#include "chain/chain.h"
#include "chain/funding.h"
#include "chain/market.h"
#include "chain/network.h"
#include "chain/rpc.h"
#include "chain/spending.h"
#include "chain/standing.h"
#include "chain/tally.h"
#include "chain/wallet.h"

#define CHAIN_HURRY_MS       200  /* until a reading that was asked for begins */
#define CHAIN_HURRY_LEAST_MS 3000 /* between two readings of one provider */
#define CHAIN_RETRY_MS       2000 /* after a reading that failed; doubles */
#define CHAIN_RETRY_MAX_MS   60000
#define CHAIN_TROUBLE_MAX    300
#define TOKEN_WAIT_MS        2000 /* a refused request waits no longer for the account's generation */
#define TOKEN_AGAIN_MS       2000 /* between two renewals that refusals ask for */
#define FEE_ANSWER_MAX       4096
#define FEE_TIMEOUT_MS       5000

/* A provider of the plan that is on chain. */
struct member {
  struct chain *chain;
  struct provider *provider; /* counted */
  struct address address;
  const struct plan_entry *entry; /* in chain.plan */

  /* Readings. */
  enum reading service, account;
  char trouble[CHAIN_TROUBLE_MAX]; /* of the last reading; empty: none */
  struct u256 balance, pending_refund, unsettled;
  uint64_t generation;
  uint64_t seen_at; /* one more than the block at which the account was read for a decision; 0: it was not */
  bool is_acknowledged;
  bool is_stale; /* our own transaction has changed the account since it was read */
  struct spending spending;

  uint64_t next_ms; /* when the next reading begins, unless one is asked for */
  struct wheel_timer timer, fee_clock;
  struct rpc_call *call;
  struct upstream_call *fee_call;
  struct buf fee_answer;
  char *fee_fields; /* with the token; wiped */
  char *fee_path;
  int fee_status;
  bool is_reading, is_again; /* is_again: wanted once more while one was under way */
  bool is_in_doubt; /* what was there is gone by the last answer: it is asked once more before that counts */
  bool has_ended_once;
  uint64_t read_ms; /* when the last reading ended; 0: never */
  unsigned failures;

  /* Tokens. */
  uint64_t token_generation, renew_wall_ms, renewed_ms;
  struct list wishes; /* of struct token_wish_of */
  struct rpc_call *token_call;
  struct wheel_timer token_clock;

  enum standing standing;
  char told[PROVIDER_REASON_MAX]; /* the reason that the log has */
};

enum network_state { NETWORK_UNREAD, NETWORK_READY, NETWORK_UNKNOWN };

enum funder_step {
  FUNDER_IDLE,
  FUNDER_LOOKS, /* funder_look.c: at one block of the chain */
  FUNDER_SENDS
};

/* What was read for one decision, all of it at one block. */
struct funder_sight {
  uint64_t block;
  uint64_t nonce; /* of the wallet: what is decided here can be sent under this one only */
  bool has_ledger;
  struct u256 available, wallet;
};

struct funder {
  struct chain *chain;
  enum funder_step step;
  struct rpc_call *call;
  struct wheel_timer timer;
  struct funder_sight sight;
  struct tally *tally;
  bool is_retired; /* another process of the service pays from now on */

  /* Carrying out. */
  bool has_wallet;
  struct wallet wallet;
  struct wallet_order order;
  struct wheel_timer wallet_clock;
  struct rpc_call *wallet_call;
  bool is_call_lost; /* the wallet waits for the answer of a node that is not asked any more */
  wallet_answer_fn *wallet_answer;
  void *wallet_user;
  struct funding_action action; /* that is being carried out */
  struct funding_spent before;  /* the count without it */
  struct member *of;            /* whose account the action is for; NULL: none, or it has gone */

  char service_name[64]; /* "inference-v1.0"; empty: not read yet */
  bool has_seen_ledger;  /* sight holds what was read last, for people */
  char blocked[CHAIN_TROUBLE_MAX];
  char last_transaction[67];
  unsigned failures;
  uint64_t looked_ms; /* when it was last decided what to do */
  uint64_t busy_ms;   /* since when another transaction has been in the way; 0: none is */
  bool wants_look;    /* something was done: what remains to be done? */
};

struct chain {
  struct loop *loop;
  struct upstream *upstream;
  struct registry *registry;
  const struct chain_ops *ops;
  void *context;
  struct rng rng;
  struct plan *plan; /* counted; NULL before the first */
  struct key *key;   /* NULL: no wallet */
  char wallet[ADDRESS_TEXT_LEN + 1];
  char **nodes; /* those that rpc was made for */
  struct rpc *rpc;
  enum network_state network_state;
  struct network network;
  char network_trouble[NETWORK_TROUBLE_MAX], inference_text[ADDRESS_TEXT_LEN + 1];
  struct rpc_call *network_call;
  struct wheel_timer network_timer, tick_timer, news_timer, round_timer;
  unsigned network_failures;
  bool is_connected; /* a node has answered since the last failure of all */
  bool is_first_round_over, has_news;
  uint64_t read_wall_ms;
  struct member **members;
  unsigned n_members;
  struct market *market;
  struct wheel_timer market_timer;
  bool has_market_ended;
  struct address *seen; /* services of the reading of the market that is under way */
  size_t n_seen;
  unsigned n_services;   /* of the last one that was complete; 0: there was none */
  bool has_told_nothing; /* that discover{} finds none of them */
  struct funder funder;
};

/* ---- chain.c ---- */
struct member *chain_member(const struct chain *c, const struct provider *p);
/* Something that /health shows, or a record, has changed; told on the loop's next turn. */
void chain_note(struct chain *c, bool has_records);
/* A reading of a member or of the market has ended for the first time. */
void chain_round_progress(struct chain *c);
/* Every ms milliseconds, give or take a tenth. */
uint64_t chain_jitter_ms(struct chain *c, uint64_t ms);

/* ---- member.c ---- */
struct member *member_new(struct chain *c, struct provider *p);
void member_free(struct member *m);
/* Reads soon; at once when that has not been done yet. */
void member_hurry(struct member *m);
/* As soon as that can be. */
void member_read_now(struct member *m);
/* Forgets what was read from nodes that are no longer asked. */
void member_stop(struct member *m);
/* Decides whether it may be used, from what is known now, and tells the provider and the log. */
void member_judge(struct member *m);
/* Once a second. */
void member_tick(struct member *m);
/* What is owed beyond what the chain knows, by the provider's word and our own count. */
struct u256 member_owed(const struct member *m);
/* The same as funding sees it; is_wanted is the funder's to say. */
struct funding_account member_account(const struct member *m);
/* The account as it was just read; NULL: the contract knows none. */
void member_note_account(struct member *m, const struct account *a);
/* Whether our wallet pays and signs there (and not a key of the provider's). */
bool member_has_wallet(const struct member *m);

/* ---- member_token.c ---- */
/* Makes a token when there is none, when its time has come, or when the account's generation is another. */
void member_keep_token(struct member *m);
void member_drop_tokens(struct member *m);
void member_ask_token(struct member *m, uint64_t serial, chain_token_done *done, void *user);

/* ---- funder.c ---- */
void funder_init(struct funder *f, struct chain *c, int tally_fd);
void funder_release(struct funder *f);
/* Before the nodes or the contracts change, and when others are there. */
void funder_pause(struct funder *f);
void funder_resume(struct funder *f);
/* Other limits hold now: what was blocked may not be any more. */
void funder_rules_changed(struct funder *f);
/* Looks whether somebody is in need; does nothing while something is under way. */
void funder_look(struct funder *f);
/* The chain is another one than the wallet's transaction is for. */
void funder_check_chain(struct funder *f);
/* Nothing is sent from here on: another process of this service does that. */
void funder_retire(struct funder *f);
/* Why funding does not help; NULL: nothing is in its way. */
const char *funder_blocked(const struct funder *f);
void funder_forget(struct funder *f, const struct member *m);
/* Of a look: nothing was decided, and why; it is done again, later each time. */
void funder_fail(struct funder *f, const char *why);
void funder_set_blocked(struct funder *f, const char *why);
/* Ends a look; the next one after ms, 0: when somebody asks. */
void funder_rest(struct funder *f, uint64_t ms);
/* What a look has led to; it ends here. */
void funder_carry_out(struct funder *f, const struct funding_action *a);

/* ---- funder_look.c ---- */
void funder_look_begin(struct funder *f);
/* Only where nothing but money is missing, and only to a provider that answers its health check. */
bool funder_is_wanted(const struct member *m);

#endif
