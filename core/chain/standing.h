/*
 * standing: whether a provider on chain may be used, and if not, why, in words that name what to do about it. One pure
 * decision over everything that is known of it, so that the text in /health, the log and the funding agree.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_CHAIN_STANDING_H
#define MOONGATE_CHAIN_STANDING_H

#include "model/plan.h"

/* What a question to the chain has given. */
enum reading {
  READING_NOT, /* not asked, or no usable answer yet */
  READING_THERE,
  READING_MISSING, /* the contract says that there is no such thing */
};

enum standing {
  STANDING_READY,
  STANDING_WAITING,    /* for answers that are on their way */
  STANDING_NO_NODE,    /* no node is configured, or none answers */
  STANDING_NO_NETWORK, /* the chain's contracts are not known */
  STANDING_NO_SERVICE, /* the contract does not know it, or its record cannot be used */
  STANDING_UNVERIFIABLE,
  STANDING_UNACKNOWLEDGED_SIGNER, /* by the contract's owner */
  STANDING_NO_WALLET,
  STANDING_UNFUNDED,       /* no sub-account, or nothing left in it */
  STANDING_UNACKNOWLEDGED, /* by the user */
};

struct standing_facts {
  const struct plan_entry *entry;
  bool has_nodes;
  const char *network_trouble; /* NULL: the contracts are known */
  bool is_connected;           /* some node has answered */
  const char *contract;        /* address of the inference contract, for people */
  enum reading service;
  const char *trouble; /* why the last question got no usable answer; NULL: it did, or is on its way */
  const char *wallet;  /* address; NULL: there is no key */
  enum reading account;
  bool is_acknowledged;
  struct u256 locked, owed; /* of the sub-account */
  bool is_funding;
  struct u256 per_provider;
  const char *funding; /* why funding does not help; NULL: it will */
};

/* `out`: why it is not ready, as the text that the log and /health show; empty when it is. */
enum standing standing_judge(char out[PROVIDER_REASON_MAX], const struct standing_facts *f);

#endif
