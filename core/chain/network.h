/*
 * network: which contracts serve on which chain. Facts: the published deployments of the 0G compute network.
 * An id that is not in the list has no contracts unless the configuration names them: guessing would send money
 * to an address of another chain.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_CHAIN_NETWORK_H
#define MOONGATE_CHAIN_NETWORK_H

#include "model/plan.h"

#define NETWORK_TROUBLE_MAX 200

struct network {
  uint64_t chain_id;
  const char *name; /* "mainnet" …; NULL when the id is not known */
  struct address ledger, inference;
};

/*
 * The contracts for a chain: those that the configuration names, the others by the chain's id. False, with what to do
 * in *trouble, when one of the two is missing.
 */
bool network_find(struct network *out, char trouble[NETWORK_TROUBLE_MAX], uint64_t chain_id,
                  const struct chain_settings *settings);

#endif
