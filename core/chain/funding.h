/*
 * funding: what to do next with the wallet's money, and how much of it may still move. Pure arithmetic over what was
 * read from the chain; whoever carries out an action reads the chain again and asks again.
 *
 * Money moves in two steps: from the wallet into the ledger (deposits), from the ledger into a provider's sub-account
 * (transfers). A coin that goes both ways counts once: what `max` bounds is the larger of the two sums.
 *
 * What counts is what was signed. A signed transaction that a node has been given counts whatever nodes say of it
 * afterwards (refused, undone, never seen): their word can be wrong, and the bytes are out. Only the chain's own rule
 * takes anything back: of all transactions with one nonce at most one is ever executed, so they count as their largest.
 *
 * Facts: a new ledger takes at least 3 0G, a first transfer at least 1 0G (contract LedgerManager).
 *
 * Thread: one; no state but the caller's.
 */
#ifndef MOONGATE_CHAIN_FUNDING_H
#define MOONGATE_CHAIN_FUNDING_H

#include "model/plan.h"

#define FUNDING_TEXT_MAX 256

/* Signed under the nonce that was used last: the largest of each kind. */
struct funding_open {
  bool is_there;
  uint64_t chain_id, nonce;
  struct u256 deposit, transfer;
};

/* What has moved in the service's life, neuron. Plain bytes: it is kept in memory that outlives the process (tally.h). */
struct funding_spent {
  struct u256 deposits, transfers; /* under all nonces before */
  struct funding_open open;
  struct u256 fees; /* of transactions that the chain has taken; not bounded by max */
  unsigned n_nonces;
};

/* A sub-account that funding looks at. */
struct funding_account {
  bool is_there;        /* the contract knows it */
  bool is_acknowledged; /* by the user */
  bool is_wanted;       /* nothing but money is missing: only then does any go there */
  struct u256 locked, unsettled;
};

struct funding_facts {
  uint64_t chain_id, nonce; /* that the next transaction will have */
  bool has_ledger;
  struct u256 available; /* in the ledger */
  struct u256 wallet;    /* what the wallet holds */
  const struct funding_account *accounts;
  unsigned n_accounts;
};

enum funding_kind {
  FUNDING_NOTHING,
  FUNDING_ADD_LEDGER,
  FUNDING_DEPOSIT,
  FUNDING_TRANSFER,
  FUNDING_ACKNOWLEDGE
};

struct funding_action {
  enum funding_kind kind;
  bool
      has_account; /* somebody is in need: of a transfer, an acknowledgement, a deposit that is to be passed on */
  unsigned account;
  struct u256 amount; /* neuron; 0 for an acknowledgement */
  /* Set with FUNDING_NOTHING when somebody is in need and cannot be helped: why, and what to do. */
  char blocked[FUNDING_TEXT_MAX];
};

/*
 * How much a sub-account lacks; 0: nothing. It is filled up to per_provider when what it can spend has come half the way
 * down to the 1 0G below which providers refuse, so that neither a request fails first nor each chat moves money. What is
 * owed beyond the chain is the provider's own word: it is believed up to per_provider, so that no claim can pull more
 * than twice that into its sub-account.
 */
struct u256 funding_need(const struct funding_rules *rules, const struct funding_account *a);
void funding_next(struct funding_action *out, const struct funding_rules *rules,
                  const struct funding_spent *spent, const struct funding_facts *facts);
/* Before the action is signed. */
void funding_note(struct funding_spent *spent, const struct funding_action *a, uint64_t chain_id,
                  uint64_t nonce);
/* What counts, by kind, and against max. */
struct u256 funding_deposits(const struct funding_spent *spent);
struct u256 funding_transfers(const struct funding_spent *spent);
struct u256 funding_moved(const struct funding_spent *spent);

#endif
