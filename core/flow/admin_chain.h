/*
 * admin_chain: what /health and /admin/providers tell about the chain. Balances, prices and the wallet are for the
 * operator; everyone may see that the chain cannot be read.
 *
 * Thread: the worker that answers.
 */
#ifndef MOONGATE_FLOW_ADMIN_CHAIN_H
#define MOONGATE_FLOW_ADMIN_CHAIN_H

#include "flow/flow.h"
#include "wire/json.h"

/* "chain": what the contract says of a provider and how our account there stands; nothing for a direct one. */
void admin_put_service(struct json_writer *w, const struct plan_entry *e);
/* "chain": nodes, contracts, and, for the operator (`all`), wallet and funding; nothing without a node. */
void admin_put_chain(struct json_writer *w, struct shared *s, bool all);

#endif
