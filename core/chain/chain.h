/*
 * chain: everything that the process knows of the chain and does there: it reads the services and accounts of the
 * providers of the serving plan, judges who may be used, keeps a session token ready for each, and moves money when it
 * has been allowed to.
 *
 *   adopt(plan) ─► chain id, contracts ─► each provider: service, account, what is owed ─► judged; again every few
 *   minutes, sooner after a failure. A record that has changed is put into the registry, and on_records asks the
 *   daemon to derive a new plan. Tokens are made from the key alone: they go on while every node is dead.
 *
 * Thread: control's loop.   Owner: control.   Owns: the wallet's key, the nodes' client.
 * Invariant: money moves only by funder.c, only with autoFunding, never beyond its max, never twice.
 */
#ifndef MOONGATE_CHAIN_CHAIN_H
#define MOONGATE_CHAIN_CHAIN_H

#include "eth/key.h"
#include "model/chain_status.h"
#include "net/upstream.h"

#include "model/plan.h"

struct chain;

/* News; on the loop, never from inside a call into chain. */
struct chain_ops {
  /* plan_is_outdated() is true: a derived plan is to be taken. */
  void (*on_records)(void *context);
  /* Each provider of the first plan has been read, or could not be. */
  void (*on_first_round)(void *context);
  /* The status has changed. */
  void (*on_status)(void *context, const struct chain_status *status);
};

/* `tally`: what the service has moved, as the process before this one handed it on (chain/tally.h); -1: there was none. */
struct chain *chain_new(struct loop *loop, struct upstream *upstream, struct registry *registry, int tally,
                        const struct chain_ops *ops, void *context);
/* To be handed on to the next process; -1: there is nothing. */
int chain_tally_fd(const struct chain *c);
/* Another process serves: tokens are made on for what runs here, and money is its business. */
void chain_retire(struct chain *c);
/* Cancels what is under way; a transaction that was sent is left to the chain. */
void chain_free(struct chain *c);

/* Takes over the wallet's key. False, and the key freed, when there is another one already (a restart changes it). */
bool chain_take_key(struct chain *c, struct key **key);
/* The plan that serves from now on. Providers are judged before this returns. */
void chain_adopt(struct chain *c, struct plan *plan);
/* Whether there is anything to wait for before serving. */
bool chain_has_first_round(const struct chain *c);

/* Something is wrong with that provider, or with our account there: it is read again soon. */
void chain_hurry(struct chain *c, const struct provider *p);
/* An operator has looked after things: providers that are not ready are read again at once. */
void chain_hurry_all(struct chain *c);

typedef void chain_token_done(void *user, bool has_fresh);
/*
 * The provider refused the token with that serial: reads the account's generation, when a node answers in time, and
 * makes another. `done` comes once, perhaps before this returns; false: there is none, or it would be the same again.
 */
void chain_ask_token(struct chain *c, const struct provider *p, uint64_t serial, chain_token_done *done,
                     void *user);

#endif
