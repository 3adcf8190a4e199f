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

struct u256 funding_moved(const struct funding_spent *spent) {
  return greater(spent->deposits, spent->transfers);
}

static struct u256 half(struct u256 a) {
  uint64_t rest;
  return u256_div_u64(a, 2, &rest);
}

struct u256 funding_need(const struct funding_rules *rules, const struct funding_account *a) {
  struct u256 target = rules->per_provider, spendable = u256_sub_or_zero(a->locked, a->unsettled);
  struct u256 low = sum(U256_0G, half(u256_sub_or_zero(target, U256_0G)));
  if (a->is_there && u256_cmp(spendable, low) >= 0) return U256_ZERO;
  struct u256 lack = u256_sub_or_zero(sum(target, a->unsettled), a->locked);
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
  struct u256 left = u256_sub_or_zero(rules->max, spent->deposits);
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
  if (u256_is_zero(need)) {
    if (!a->is_there || a->is_acknowledged) return false;
    out->kind = FUNDING_ACKNOWLEDGE;
    out->account = i;
    return true;
  }
  struct u256 left = u256_sub_or_zero(rules->max, spent->transfers);
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
  out->account = i;
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
  struct u256 left = u256_sub_or_zero(rules->max, spent->deposits);
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
  if (!out->blocked[0]) keep_ledger(out, rules, spent, facts);
}

static void change(struct funding_spent *spent, const struct funding_action *a,
                   bool (*by)(struct u256 *, struct u256, struct u256)) {
  struct u256 *to = a->kind == FUNDING_TRANSFER ? &spent->transfers : &spent->deposits;
  if (a->kind == FUNDING_NOTHING || a->kind == FUNDING_ACKNOWLEDGE) return;
  bool is_out_of_range = by(to, *to, a->amount);
  REQUIRE(!is_out_of_range);
}

void funding_note(struct funding_spent *spent, const struct funding_action *a) {
  change(spent, a, u256_add);
  spent->n_transactions++;
}

void funding_take_back(struct funding_spent *spent, const struct funding_action *a) {
  change(spent, a, u256_sub);
}
