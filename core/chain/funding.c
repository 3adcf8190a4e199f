#include "chain/funding.h"

#include <stdio.h>

/* What a wallet keeps for the fees of what follows: 0.02 0G. */
#define FEE_ROOM u256_of(20000000000000000u)

static struct u256 greater(struct u256 a, struct u256 b) {
  return u256_cmp(a, b) > 0 ? a : b;
}

static struct u256 sum(struct u256 a, struct u256 b) {
  struct u256 out;
  return u256_add(&out, a, b) ? U256_MAX : out;
}

static struct u256 ledger_least(void) {
  return u256_of(3000000000000000000u);
}

/* ---- what counts ---- */

struct u256 funding_deposits(const struct funding_spent *spent) {
  return sum(spent->deposits, spent->open.deposit);
}

struct u256 funding_transfers(const struct funding_spent *spent) {
  return sum(spent->transfers, spent->open.transfer);
}

struct u256 funding_moved(const struct funding_spent *spent) {
  return greater(funding_deposits(spent), funding_transfers(spent));
}

static bool is_open(const struct funding_spent *spent, uint64_t chain_id, uint64_t nonce) {
  const struct funding_open *o = &spent->open;
  return o->is_there && o->chain_id == chain_id && o->nonce == nonce;
}

void funding_note(struct funding_spent *spent, const struct funding_action *a, uint64_t chain_id,
                  uint64_t nonce) {
  if (a->kind == FUNDING_NOTHING) return;
  if (!is_open(spent, chain_id, nonce)) {
    spent->deposits = funding_deposits(spent);
    spent->transfers = funding_transfers(spent);
    spent->open = (struct funding_open){.is_there = true, .chain_id = chain_id, .nonce = nonce};
    spent->n_nonces++;
  }
  struct funding_open *o = &spent->open;
  if (a->kind == FUNDING_TRANSFER)
    o->transfer = greater(o->transfer, a->amount);
  else if (a->kind != FUNDING_ACKNOWLEDGE)
    o->deposit = greater(o->deposit, a->amount);
}

/* What max leaves for another transaction: one that takes another's place is not counted beside it. */
static struct u256 left_of(const struct funding_rules *rules, const struct funding_spent *spent,
                           const struct funding_facts *facts, bool is_transfer) {
  bool replaces = is_open(spent, facts->chain_id, facts->nonce);
  struct u256 counted = is_transfer ? (replaces ? spent->transfers : funding_transfers(spent))
                                    : (replaces ? spent->deposits : funding_deposits(spent));
  return u256_sub_or_zero(rules->max, counted);
}

/* ---- what is needed ---- */

static struct u256 half(struct u256 a) {
  uint64_t rest;
  return u256_div_u64(a, 2, &rest);
}

static struct u256 lesser(struct u256 a, struct u256 b) {
  return u256_cmp(a, b) < 0 ? a : b;
}

struct u256 funding_need(const struct funding_rules *rules, const struct funding_account *a) {
  struct u256 target = rules->per_provider, owed = lesser(a->unsettled, target);
  struct u256 spendable = u256_sub_or_zero(a->locked, owed);
  struct u256 low = sum(U256_0G, half(u256_sub_or_zero(target, U256_0G)));
  if (a->is_there && u256_cmp(spendable, low) >= 0) return U256_ZERO;
  struct u256 lack = u256_sub_or_zero(sum(target, owed), a->locked);
  return greater(lack, a->is_there ? half(target) : U256_0G);
}

PRINTF_LIKE(2, 3) static void block(struct funding_action *out, const char *fmt, ...) {
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(out->blocked, sizeof out->blocked, fmt, args);
  va_end(args);
}

static void block_by_max(struct funding_action *out, const struct funding_rules *rules,
                         const struct funding_spent *spent, struct u256 wanted) {
  char max[U256_0G_MAX], moved[U256_0G_MAX], more[U256_0G_MAX];
  (void)u256_0g_text(max, rules->max);
  (void)u256_0g_text(moved, funding_moved(spent));
  (void)u256_0g_text(more, wanted);
  block(out,
        "%s more would be needed, and %s of autoFunding.max = %s have moved: raise it (a reload is enough)",
        more, moved, max);
}

/* Money into the ledger so that it has at least `need` at hand: up to ledger_min when max allows that, else as little as does. */
static void plan_deposit(struct funding_action *out, const struct funding_rules *rules,
                         const struct funding_spent *spent, const struct funding_facts *facts,
                         struct u256 need) {
  struct u256 left = left_of(rules, spent, facts, false);
  struct u256 available = facts->has_ledger ? facts->available : U256_ZERO;
  struct u256 least = u256_sub_or_zero(need, available);
  if (!facts->has_ledger) least = greater(least, ledger_least());
  struct u256 wish = greater(least, u256_sub_or_zero(rules->ledger_min, available));
  struct u256 amount = u256_cmp(wish, left) <= 0 ? wish : left;
  if (u256_cmp(least, left) > 0) {
    block_by_max(out, rules, spent, least);
    return;
  }
  if (u256_cmp(facts->wallet, sum(amount, FEE_ROOM)) < 0) amount = least;
  if (u256_cmp(facts->wallet, sum(amount, FEE_ROOM)) < 0) {
    char has[U256_0G_MAX], needs[U256_0G_MAX];
    (void)u256_0g_text(has, facts->wallet);
    (void)u256_0g_text(needs, sum(amount, FEE_ROOM));
    block(out, "the wallet holds %s, and %s are needed: send it some", has, needs);
    return;
  }
  out->kind = facts->has_ledger ? FUNDING_DEPOSIT : FUNDING_ADD_LEDGER;
  out->amount = amount;
}

/* True when the action (or what blocks it) stands in *out. */
static bool help_account(struct funding_action *out, const struct funding_rules *rules,
                         const struct funding_spent *spent, const struct funding_facts *facts, unsigned i) {
  const struct funding_account *a = &facts->accounts[i];
  if (!a->is_wanted) return false;
  struct u256 need = funding_need(rules, a);
  if (u256_is_zero(need) && (!a->is_there || a->is_acknowledged)) return false;
  out->has_account = true;
  out->account = i;
  if (u256_is_zero(need)) {
    out->kind = FUNDING_ACKNOWLEDGE;
    return true;
  }
  struct u256 left = left_of(rules, spent, facts, true);
  if (u256_cmp(need, left) > 0) {
    /* A sub-account that is there takes any amount; a new one needs 1 0G, which is the least that is ever needed. */
    if (!a->is_there || u256_is_zero(left)) {
      block_by_max(out, rules, spent, need);
      return true;
    }
    need = left;
  }
  if (!facts->has_ledger || u256_cmp(facts->available, need) < 0) {
    plan_deposit(out, rules, spent, facts, need);
    return true;
  }
  out->kind = FUNDING_TRANSFER;
  out->amount = need;
  return true;
}

static void keep_ledger(struct funding_action *out, const struct funding_rules *rules,
                        const struct funding_spent *spent, const struct funding_facts *facts) {
  bool is_used = false;
  for (unsigned i = 0; i < facts->n_accounts; i++)
    is_used = is_used || facts->accounts[i].is_wanted;
  if (!facts->has_ledger || !is_used) return;
  struct u256 lack = u256_sub_or_zero(rules->ledger_min, facts->available);
  struct u256 left = left_of(rules, spent, facts, false);
  if (u256_cmp(lack, left) > 0) lack = left;
  if (u256_is_zero(lack) || u256_cmp(facts->wallet, sum(lack, FEE_ROOM)) < 0) return;
  out->kind = FUNDING_DEPOSIT;
  out->amount = lack;
}

void funding_next(struct funding_action *out, const struct funding_rules *rules,
                  const struct funding_spent *spent, const struct funding_facts *facts) {
  *out = (struct funding_action){.kind = FUNDING_NOTHING};
  if (!rules->is_on) return;
  for (unsigned i = 0; i < facts->n_accounts; i++) {
    if (!help_account(out, rules, spent, facts, i)) continue;
    if (out->kind != FUNDING_NOTHING) return;
  }
  out->has_account = false;
  if (!out->blocked[0]) keep_ledger(out, rules, spent, facts);
}
