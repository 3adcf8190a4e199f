#include "chain/spending.h"

#include <math.h>

void spending_look(struct spending *s, uint64_t tokens_in, uint64_t tokens_out, double price_in,
                   double price_out, uint64_t now_ms) {
  bool is_first = s->looked_ms == 0;
  double cost =
      (double)(tokens_in - s->tokens_in) * price_in + (double)(tokens_out - s->tokens_out) * price_out;
  double seconds = (double)(now_ms - s->looked_ms) / 1000;
  s->tokens_in = tokens_in;
  s->tokens_out = tokens_out;
  if (!is_first && seconds <= 0) {
    if (cost > 0) s->since_read += cost;
    return;
  }
  s->looked_ms = now_ms ? now_ms : 1;
  if (is_first || !(cost >= 0) || !isfinite(cost)) return;
  s->since_read += cost;
  s->rate += (cost / seconds - s->rate) * (1 - exp(-seconds / SPENDING_TAU_S));
}

double spending_runway_s(const struct spending *s, double neuron) {
  if (!(neuron > 0)) return 0;
  /* Less than a neuron a day is nothing. */
  return s->rate > 1e-5 ? neuron / s->rate : INFINITY;
}
