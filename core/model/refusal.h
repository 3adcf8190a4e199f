/*
 * refusal: what a provider on chain means by refusing a request. Its broker software has hardly a status of its own for
 * trouble with the session token, the sub-account or itself: all of that comes as a 400 with a text, next to the 400s
 * that a caller deserves. The texts stand at the start of the error, behind one known prefix at most; so nobody can have
 * a provider paused by making it quote such a text.
 *
 * Facts: the tables of session tokens and of status codes in the protocol notes; both current generations of the
 * software and the texts of the ones before. Thread: any; no state.
 */
#ifndef MOONGATE_MODEL_REFUSAL_H
#define MOONGATE_MODEL_REFUSAL_H

#include "model/outcome.h"

enum refusal_kind {
  REFUSAL_OTHER,           /* nothing that is known here: as for any other provider, by outcome_of_status() */
  REFUSAL_TOKEN,           /* the session token is revoked, malformed or missing: a fresh one may help */
  REFUSAL_TOKEN_EXPIRED,   /* or expired, by its clock */
  REFUSAL_TOKEN_ELSEWHERE, /* it is another provider that answers at this url */
  REFUSAL_TOKEN_AHEAD, /* it has not noticed that all tokens were revoked, and takes new ones for forged */
  REFUSAL_NO_ACCOUNT,  /* there is no sub-account with it */
  REFUSAL_NOT_ACKNOWLEDGED, /* the sub-account has not acknowledged its signer */
  REFUSAL_SIGNER,           /* the contract's owner has not */
  REFUSAL_FUNDS,            /* the sub-account holds too little */
  REFUSAL_MODEL,            /* it no longer serves the model of its record, by a 400 or 410 */
  REFUSAL_BROKER,           /* trouble of its own */
};

struct refusal {
  enum refusal_kind kind;
  enum outcome_class class;
  /* REFUSAL_FUNDS alone, when it says so: 0G, decimal digits; they borrow from the body. */
  struct span has, needs;
};

/*
 * `body` may be cut off. `model_is_ours`: the model in the request was put there from the provider's record, so that a
 * refusal of it is no mistake of the caller's.
 */
void refusal_read(struct refusal *out, int status, struct span body, bool model_is_ours);

/* Writes what happened and what can be done about it; empty for REFUSAL_OTHER. */
void refusal_text(char *out, size_t size, const struct refusal *r, const char *provider);

#endif
