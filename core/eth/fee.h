/*
 * fee: what an answer costs by the contract's prices, and how much money a sub-account needs. Counts are
 * whatever a provider wrote into its usage, also negative or absurd, so a fee has a sign and more bits than
 * any price and count can fill. Facts: the published SDK's extractors and calculateFee; the provider's
 * billing gate. Newer providers may bill less (tiers, cached tokens). Thread: any.
 */
#ifndef MOONGATE_ETH_FEE_H
#define MOONGATE_ETH_FEE_H

#include "base/buf.h"
#include "eth/u256.h"

/* 256 bits of price, 1024 of the largest double, and the sum of two. */
#define FEE_WORDS 21

struct fee {
  bool is_negative;
  uint64_t w[FEE_WORDS]; /* magnitude, lowest word first */
};

/*
 * By service type: "chatbot" counts prompt_tokens and completion_tokens, "text-to-image" and "image-editing"
 * count n of the request (default 1) at the input price, "speech-to-text" counts output_tokens. `usage` is the
 * JSON with these members; counts may be strings that start with digits. What is absent or of another type is
 * 0, and so is everything when it is no JSON (one image for images).
 * ERR_UNSUPPORTED for other service types, ERR_RANGE for a count that is no integer.
 */
int fee_estimate(struct fee *out, struct span service_type, struct u256 input_price, struct u256 output_price,
                 struct span usage) MUST_CHECK;

/* Whether services of that type ask for a price by image, and not by token. */
bool fee_is_by_image(struct span service_type);
/* A price as people compare it, in 0G: of a million tokens, or of one image. */
struct u256 fee_for_people(struct span service_type, struct u256 price);

/* Appends the decimal number, neuron, with its sign. */
int fee_text(struct buf *out, const struct fee *f) MUST_CHECK;
/* Negative is 0, and what does not fit is U256_MAX. */
struct u256 fee_to_u256(const struct fee *f);

/* What a sub-account can pay with: its balance without what is on its way back. */
struct u256 fee_locked(struct u256 balance, struct u256 pending_refund);
/* The provider's gate for a chat: locked must cover what is not settled yet and the provider's reserve. */
bool fee_passes_gate(struct u256 locked, struct u256 unsettled, struct u256 reserve);
/*
 * How much to transfer so that `locked` reaches unsettled + target; 0 when it does. Never less than 1 0G, the
 * least that a first transfer may be.
 */
struct u256 fee_top_up(struct u256 locked, struct u256 unsettled, struct u256 target);

#endif
