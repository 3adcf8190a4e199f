/*
 * verification: asks the provider of an answer for its signature, and judges it by the provider's record in the contract
 * and by the digests of what went out and came back. The signature may not be there yet, or the provider busy: some short
 * retries; a signature that is missing long after its answer is asked for once.
 *
 *   ASKING ──200──► judged
 *     │ ▲ └─ not known there ──► WAITING ─┐
 *     │ └─────────────────────────────────┘
 *     └──no answer, another status──► ended
 *
 * Thread: its loop's.   Owner: the caller, who frees it in on_done or before.   Owns: the plan it reads from (counted).
 */
#ifndef MOONGATE_FLOW_VERIFICATION_H
#define MOONGATE_FLOW_VERIFICATION_H

#include "eth/proof.h"
#include "flow/flow.h"

enum verification_end {
  VERIFICATION_JUDGED,  /* `proof` says what each check has given */
  VERIFICATION_REFUSED, /* the record says that nothing can be verified: expected.reason */
  VERIFICATION_FAILED,  /* no signature could be had: detail */
};

struct verification {
  struct list node; /* the caller's */
  struct flow *flow;
  struct plan *plan;
  const struct plan_entry *entry;
  struct session session;
  void (*on_done)(struct verification *v);
  void *user;
  /* The result, from on_done on: */
  enum verification_end end;
  struct proof_expectation expected;
  struct proof proof;
  bool is_record_newer; /* the record was changed after the answer */
  bool is_gone;         /* VERIFICATION_FAILED: the provider does not know (any more) */
  char detail[200];
  /* While it runs: */
  struct upstream_call *call;
  struct wheel_timer clock;
  struct buf path, body;
  int status;
  unsigned n_asked;
};

/* `slot`: the provider of the session, which is on chain. */
struct verification *verification_new(struct flow *f, const struct plan *plan, unsigned slot,
                                      const struct session *s);
/* on_done comes once, perhaps before this returns; call it last. */
void verification_start(struct verification *v, void (*on_done)(struct verification *v), void *user);
/* Cancels what is under way. */
void verification_free(struct verification *v);

/* isValid: signature and response both pass. */
bool verification_is_valid(const struct verification *v);
/* What is to be said of a check that did not pass; NULL when it did. */
const char *verification_signature_reason(const struct verification *v);

/*
 * Counts a judged one at its provider; one that has failed is logged and shown in the provider's state. One of which
 * nothing failed, but something could not be compared, is neither counted nor told.
 */
void verification_note(const struct verification *v);

#endif
