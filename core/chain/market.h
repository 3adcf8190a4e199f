/*
 * market: reads all services of the inference contract, page after page (the contract gives 50 at most). A page that
 * cannot be read, because one of its records is absurd or the page too large, is read in smaller pieces until the one
 * record is left out that is to blame.
 *
 * Thread: its loop's.   Owner: the caller; market_free() cancels.
 */
#ifndef MOONGATE_CHAIN_MARKET_H
#define MOONGATE_CHAIN_MARKET_H

#include "chain/rpc.h"
#include "eth/contract.h"

#define MARKET_SERVICES_MAX 10000 /* of a contract; more are not read */

struct market_ops {
  /* Each service once; its texts are borrowed during the call. */
  void (*on_service)(void *context, const struct service *s);
  /* Once, at the end. `trouble`: NULL, or why not all could be read; `skipped`: records that cannot be read. The market may be freed. */
  void (*on_end)(void *context, const char *trouble, unsigned skipped);
};

struct market;
struct market *market_start(struct rpc *rpc, const struct address *inference, const struct market_ops *ops,
                            void *context);
void market_free(struct market *m);

#endif
