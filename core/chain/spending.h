/*
 * spending: how fast a sub-account is used up, from the tokens that this process has been told of and the contract's
 * prices. An estimate between two readings of the chain: providers may bill less (cached tokens) and others may
 * spend from the same account.
 *
 * Thread: one.
 */
#ifndef MOONGATE_CHAIN_SPENDING_H
#define MOONGATE_CHAIN_SPENDING_H

#include "base/base.h"

/* The rate forgets with this time constant. */
#define SPENDING_TAU_S 300.0

/* Zero is a beginning. */
struct spending {
  uint64_t tokens_in, tokens_out; /* counted so far */
  uint64_t looked_ms;             /* 0: not yet */
  double rate;                    /* neuron per second */
  double since_read;              /* neuron since spending_read() */
};

/* A look at the provider's counters; prices in neuron per token (NaN or below 0: nothing is known). */
void spending_look(struct spending *s, uint64_t tokens_in, uint64_t tokens_out, double price_in,
                   double price_out, uint64_t now_ms);
/* What was spent until now has been read from the provider or the chain. */
static inline void spending_read(struct spending *s) {
  s->since_read = 0;
}
/* Seconds that `neuron` last at this rate; infinite when nothing is spent. */
double spending_runway_s(const struct spending *s, double neuron);

#endif
