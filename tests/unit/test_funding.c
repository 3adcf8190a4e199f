/* What is done next with the wallet's money, and what counts against max, also when nodes lie. */
#include "base/rand.h"
#include "chain/funding.h"
#include "check.h"

static struct u256 og(uint64_t tenths) {
  struct u256 out;
  CHECK(!u256_mul(&out, u256_of(100000000000000000u), u256_of(tenths)));
  return out;
}

static bool is(struct u256 a, struct u256 b) {
  return u256_eq(a, b);
}

static struct funding_rules rules(uint64_t ledger_min, uint64_t per_provider, uint64_t max) {
  return (struct funding_rules){
      .is_on = true, .ledger_min = og(ledger_min), .per_provider = og(per_provider), .max = og(max)};
}

static struct funding_account wanted(uint64_t locked) {
  return (struct funding_account){
      .is_there = locked > 0, .is_acknowledged = locked > 0, .is_wanted = true, .locked = og(locked)};
}

static struct funding_facts facts(struct funding_account *a, unsigned n, uint64_t nonce) {
  return (struct funding_facts){
      .chain_id = 16602, .nonce = nonce, .wallet = og(100000), .accounts = a, .n_accounts = n};
}

static void an_empty_wallet_account_becomes_a_ledger_then_a_sub_account(void) {
  struct funding_account a = wanted(0);
  struct funding_rules r = rules(30, 20, 100);
  struct funding_facts f = facts(&a, 1, 0);
  struct funding_spent spent = {0};
  struct funding_action next;
  funding_next(&next, &r, &spent, &f);
  CHECK_INT(next.kind, FUNDING_ADD_LEDGER);
  CHECK(is(next.amount, og(30)));
  CHECK(next.has_account);
  funding_note(&spent, &next, 16602, 0);
  f.has_ledger = true;
  f.available = og(30);
  f.nonce = 1;
  funding_next(&next, &r, &spent, &f);
  CHECK_INT(next.kind, FUNDING_TRANSFER);
  CHECK(is(next.amount, og(20)));
  funding_note(&spent, &next, 16602, 1);
  CHECK(is(funding_moved(&spent), og(30)));
  CHECK_INT(spent.n_nonces, 2);
}

static void an_account_that_is_there_needs_an_acknowledgement_alone(void) {
  struct funding_account a = wanted(20);
  a.is_acknowledged = false;
  struct funding_rules r = rules(0, 20, 100);
  struct funding_facts f = facts(&a, 1, 0);
  struct funding_spent spent = {0};
  struct funding_action next;
  funding_next(&next, &r, &spent, &f);
  CHECK_INT(next.kind, FUNDING_ACKNOWLEDGE);
  CHECK(u256_is_zero(next.amount));
}

static void transactions_with_one_nonce_count_as_their_largest(void) {
  struct funding_spent spent = {0};
  struct funding_action a = {.kind = FUNDING_TRANSFER, .amount = og(20)};
  funding_note(&spent, &a, 16602, 7);
  funding_note(&spent, &a, 16602, 7);
  CHECK(is(funding_moved(&spent), og(20)));
  a.amount = og(25);
  funding_note(&spent, &a, 16602, 7);
  CHECK(is(funding_moved(&spent), og(25)));
  a.amount = og(10);
  funding_note(&spent, &a, 16602, 7);
  CHECK(is(funding_moved(&spent), og(25)));
  /* Another nonce, an earlier one, the same one of another chain: each may be executed as well. */
  funding_note(&spent, &a, 16602, 8);
  CHECK(is(funding_moved(&spent), og(35)));
  funding_note(&spent, &a, 16602, 7);
  CHECK(is(funding_moved(&spent), og(45)));
  funding_note(&spent, &a, 16661, 7);
  CHECK(is(funding_moved(&spent), og(55)));
  CHECK_INT(spent.n_nonces, 4);
}

static void one_that_takes_anothers_place_is_not_counted_beside_it(void) {
  struct funding_account a = wanted(0);
  struct funding_rules r = rules(0, 20, 30);
  struct funding_facts f = facts(&a, 1, 4);
  f.has_ledger = true;
  f.available = og(100);
  struct funding_spent spent = {0};
  struct funding_action next;
  for (unsigned i = 0; i < 5; i++) {
    funding_next(&next, &r, &spent, &f);
    CHECK_INT(next.kind, FUNDING_TRANSFER);
    funding_note(&spent, &next, 16602, 4);
  }
  CHECK(is(funding_moved(&spent), og(20)));
  f.nonce = 5;
  funding_next(&next, &r, &spent, &f);
  CHECK_INT(next.kind, FUNDING_NOTHING);
  CHECK(strstr(next.blocked, "autoFunding.max = 3 0G") != NULL);
}

static void a_providers_claim_pulls_no_more_than_twice_its_share(void) {
  struct funding_rules r = rules(0, 20, 100000);
  struct funding_account a = wanted(20);
  a.unsettled = U256_MAX;
  CHECK(is(funding_need(&r, &a), og(20)));
  a.locked = og(40);
  CHECK(u256_is_zero(funding_need(&r, &a)));
}

static void it_is_filled_up_before_providers_refuse(void) {
  struct funding_rules r = rules(0, 30, 1000);
  struct funding_account a = wanted(30);
  CHECK(u256_is_zero(funding_need(&r, &a)));
  a.unsettled = og(10);
  CHECK(u256_is_zero(funding_need(&r, &a)));
  a.unsettled = u256_of(1);
  (void)u256_add(&a.unsettled, a.unsettled, og(10));
  CHECK(!u256_is_zero(funding_need(&r, &a)));
}

static void a_poor_wallet_is_told_what_it_needs(void) {
  struct funding_account a = wanted(0);
  struct funding_rules r = rules(30, 20, 100);
  struct funding_facts f = facts(&a, 1, 0);
  f.wallet = og(30);
  struct funding_spent spent = {0};
  struct funding_action next;
  funding_next(&next, &r, &spent, &f);
  CHECK_INT(next.kind, FUNDING_NOTHING);
  CHECK(strstr(next.blocked, "the wallet holds 3 0G, and 3.02 0G are needed") != NULL);
}

/*
 * A chain that executes or drops what it is sent as it likes, and nodes that tell whatever they like of it. What was
 * really executed (at most one transaction of each nonce) never passes max.
 */
static void no_lie_moves_more_than_max(void) {
  struct rng rng;
  rng_seed(&rng, 5);
  for (unsigned round = 0; round < 3000; round++) {
    struct funding_account a[3] = {wanted(0), wanted(0), wanted(0)};
    struct funding_rules r = rules(rng_below(&rng, 60), 10 + rng_below(&rng, 40), rng_below(&rng, 200));
    struct funding_facts f = facts(a, 3, 0);
    struct funding_spent spent = {0};
    struct u256 best_deposit[64], best_transfer[64]; /* the largest that was signed under each nonce */
    for (unsigned i = 0; i < 64; i++)
      best_deposit[i] = best_transfer[i] = U256_ZERO;
    for (unsigned turn = 0; turn < 60; turn++) {
      f.nonce = rng_below(&rng, 4) ? f.nonce : rng_below(&rng, 64);
      f.has_ledger = rng_below(&rng, 3) > 0;
      f.available = og(rng_below(&rng, 50));
      for (unsigned i = 0; i < 3; i++) {
        a[i] = wanted(rng_below(&rng, 30));
        a[i].unsettled = rng_below(&rng, 4) ? og(rng_below(&rng, 30)) : U256_MAX;
      }
      struct funding_action next;
      funding_next(&next, &r, &spent, &f);
      if (next.kind == FUNDING_NOTHING) continue;
      funding_note(&spent, &next, f.chain_id, f.nonce);
      if (next.kind == FUNDING_ACKNOWLEDGE) continue;
      struct u256 *best = next.kind == FUNDING_TRANSFER ? &best_transfer[f.nonce] : &best_deposit[f.nonce];
      if (u256_cmp(next.amount, *best) > 0) *best = next.amount;
    }
    struct u256 deposits = U256_ZERO, transfers = U256_ZERO;
    for (unsigned i = 0; i < 64; i++) {
      CHECK(!u256_add(&deposits, deposits, best_deposit[i]));
      CHECK(!u256_add(&transfers, transfers, best_transfer[i]));
    }
    CHECK(u256_cmp(deposits, r.max) <= 0);
    CHECK(u256_cmp(transfers, r.max) <= 0);
  }
}

int main(void) {
  RUN(an_empty_wallet_account_becomes_a_ledger_then_a_sub_account);
  RUN(an_account_that_is_there_needs_an_acknowledgement_alone);
  RUN(transactions_with_one_nonce_count_as_their_largest);
  RUN(one_that_takes_anothers_place_is_not_counted_beside_it);
  RUN(a_providers_claim_pulls_no_more_than_twice_its_share);
  RUN(it_is_filled_up_before_providers_refuse);
  RUN(a_poor_wallet_is_told_what_it_needs);
  RUN(no_lie_moves_more_than_max);
  return CHECK_END();
}
