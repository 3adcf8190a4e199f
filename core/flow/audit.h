/*
 * audit: answers that are verified without anybody asking, as verifyAnswers says: each, or a share of them. Behind the
 * answer, a few at a time, with a bounded queue: when providers are slow to sign, answers are left out, never delayed.
 *
 * Thread: the worker's.   Owner: embedded in the flow.
 */
#ifndef MOONGATE_FLOW_AUDIT_H
#define MOONGATE_FLOW_AUDIT_H

#include "flow/flow.h"

#define AUDIT_RUNNING_MAX 8
#define AUDIT_WAITING_MAX 256

void audit_init(struct flow *f);
/* The session of an answer that is complete. */
void audit_offer(struct flow *f, const struct plan *plan, unsigned slot, const struct session *s);
/* Cancels all. */
void audit_stop(struct flow *f);

#endif
