/*
 * funder: carries out what funding.c says, one action at a time; between two of them the chain is read again
 * (funder_look.c).
 *
 *   idle ─► looks ─► nothing to do: idle
 *    ▲         │ an action: counted, given to the wallet under the nonce that was read with it
 *    │         ▼
 *    └────── sends ─► done: the account it was for is read again
 *                 └─► not done: wait, look again. What was never signed is not counted any more.
 *
 * With autoFunding off it never begins, and what is under way is neither signed nor sent again.
 */
#include "chain/chain_private.h"

#include "base/clock.h"
#include "eth/contract.h"
#include "eth/hex.h"

#include <stdio.h>

#define AGAIN_FIRST_MS 10000 /* after a failure; doubles */
#define AGAIN_MAX_MS   300000
#define BUSY_MS        1500 /* another transaction of the wallet is under way */
#define BUSY_LONG_MS   10000
#define BUSY_PATIENCE  15000 /* until that is told */
#define NO_TURN_MS     2000  /* another process of the service pays */

static void begin(struct funder *f);
static void on_due(struct wheel_timer *t);

/* ---- what the wallet needs of the world ---- */

static void on_wallet_answer(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  f->wallet_call = NULL;
  struct rpc_answer a = o->answer;
  if (!o->was_answered) {
    a = (struct rpc_answer){.end = RPC_NODE_FAILED};
    rpc_why(o, a.message, sizeof a.message);
  }
  f->wallet_answer(f->wallet_user, &a);
}

static void wallet_call(void *context, const char *method, struct span params, wallet_answer_fn *on_answer,
                        void *user) {
  struct funder *f = context;
  f->wallet_answer = on_answer;
  f->wallet_user = user;
  f->wallet_call = rpc_start(f->chain->rpc, method, params, on_wallet_answer, f);
}

static void on_wallet_clock(struct wheel_timer *t) {
  wallet_wake(&container_of(t, struct funder, wallet_clock)->wallet);
}

static void wallet_wait(void *context, uint32_t ms) {
  struct funder *f = context;
  loop_timer_start(f->chain->loop, &f->wallet_clock, on_wallet_clock, ms);
}

static bool wallet_may_send(void *context) {
  const struct funder *f = context;
  const struct chain *c = f->chain;
  const struct funding_rules *rules = &c->plan->settings.chain.funding;
  struct funding_spent spent;
  tally_read(f->tally, &spent);
  return rules->is_on && !f->is_retired && tally_take_turn(f->tally) && c->network_state == NETWORK_READY &&
         c->network.chain_id == f->wallet.chain_id && u256_cmp(funding_moved(&spent), rules->max) <= 0;
}

static const struct wallet_ops WALLET_OPS = {
    .call = wallet_call, .wait = wallet_wait, .may_send = wallet_may_send};

/* ---- life ---- */

void funder_init(struct funder *f, struct chain *c, int tally_fd) {
  *f = (struct funder){.chain = c, .tally = tally_open(tally_fd)};
  wallet_order_init(&f->order, &ADDRESS_ZERO);
}

static void stop(struct funder *f) {
  struct loop *loop = f->chain->loop;
  loop_timer_stop(loop, &f->timer);
  loop_timer_stop(loop, &f->wallet_clock);
  if (f->call) rpc_cancel(f->call);
  if (f->wallet_call) rpc_cancel(f->wallet_call);
  f->call = f->wallet_call = NULL;
  if (f->has_wallet) {
    if (wallet_is_busy(&f->wallet) && f->wallet.is_signed)
      log_warn("a transaction of the wallet was under way; what becomes of it is the chain's");
    else if (wallet_is_busy(&f->wallet) && tally_take_turn(f->tally))
      tally_write(f->tally, &f->before);
    wallet_release(&f->wallet);
  }
  f->has_wallet = false;
  f->step = FUNDER_IDLE;
  f->of = NULL;
}

void funder_release(struct funder *f) {
  stop(f);
  wallet_order_release(&f->order);
  tally_close(f->tally);
}

void funder_retire(struct funder *f) {
  stop(f);
  f->is_retired = true;
  tally_give_turn(f->tally);
}

void funder_check_chain(struct funder *f) {
  if (f->has_wallet && f->wallet.chain_id != f->chain->network.chain_id) stop(f);
}

void funder_pause(struct funder *f) {
  struct loop *loop = f->chain->loop;
  loop_timer_stop(loop, &f->timer);
  loop_timer_stop(loop, &f->wallet_clock);
  if (f->call) rpc_cancel(f->call);
  if (f->wallet_call) rpc_cancel(f->wallet_call);
  f->is_call_lost = f->wallet_call != NULL;
  f->call = f->wallet_call = NULL;
  f->service_name[0] = f->blocked[0] = '\0';
  f->failures = 0;
  f->busy_ms = 0;
  f->has_seen_ledger = false;
  if (f->step == FUNDER_SENDS) return;
  f->step = FUNDER_IDLE;
  f->of = NULL;
}

/* A transaction that is under way goes on with the new nodes: what became of it is known sooner, and nothing is sent twice. */
void funder_resume(struct funder *f) {
  struct rpc_answer lost = {.end = RPC_NODE_FAILED, .message = "the nodes were changed meanwhile"};
  if (f->step != FUNDER_SENDS) return;
  if (!f->chain->rpc) {
    stop(f);
  } else if (f->is_call_lost) {
    f->wallet_answer(f->wallet_user, &lost);
  } else {
    wallet_wait(f, CHAIN_HURRY_MS);
  }
}

void funder_rules_changed(struct funder *f) {
  f->blocked[0] = '\0';
  f->wants_look = true;
  if (f->step == FUNDER_IDLE) loop_timer_stop(f->chain->loop, &f->timer);
}

void funder_forget(struct funder *f, const struct member *m) {
  if (f->of == m) f->of = NULL;
}

const char *funder_blocked(const struct funder *f) {
  return f->blocked[0] ? f->blocked : NULL;
}

/* ---- ends of a look ---- */

static void judge_all(struct funder *f) {
  for (unsigned i = 0; i < f->chain->n_members; i++)
    if (f->chain->members[i]->standing == STANDING_UNFUNDED) member_judge(f->chain->members[i]);
  chain_note(f->chain, false);
}

void funder_set_blocked(struct funder *f, const char *why) {
  if (strcmp(f->blocked, why) == 0) return;
  (void)snprintf(f->blocked, sizeof f->blocked, "%s", why);
  if (why[0]) log_warn("autoFunding: %s", why);
  judge_all(f);
}

void funder_rest(struct funder *f, uint64_t ms) {
  f->step = FUNDER_IDLE;
  if (ms) loop_timer_start(f->chain->loop, &f->timer, on_due, chain_jitter_ms(f->chain, ms));
}

void funder_fail(struct funder *f, const char *why) {
  uint64_t ms = AGAIN_FIRST_MS;
  for (unsigned i = 0; i < f->failures && ms < AGAIN_MAX_MS; i++)
    ms *= 2;
  f->failures++;
  f->of = NULL;
  funder_set_blocked(f, why);
  funder_rest(f, ms);
}

/* Somebody else's transaction, or one of a process before this one: it ends sooner or later, and is not disturbed. */
static void wait_for_other(struct funder *f, const char *why) {
  uint64_t now = loop_now_ms(f->chain->loop);
  if (!f->busy_ms) f->busy_ms = now;
  f->wants_look = true;
  bool is_long = now - f->busy_ms >= BUSY_PATIENCE;
  if (is_long) funder_set_blocked(f, why);
  funder_rest(f, is_long ? BUSY_LONG_MS : BUSY_MS);
}

/* ---- carrying out ---- */

static void log_action(const struct funder *f, const struct funding_action *a, const char *how) {
  char amount[U256_0G_MAX], moved[U256_0G_MAX], max[U256_0G_MAX];
  const struct funding_rules *rules = &f->chain->plan->settings.chain.funding;
  struct funding_spent spent;
  tally_read(f->tally, &spent);
  (void)u256_0g_text(amount, a->amount);
  (void)u256_0g_text(moved, funding_moved(&spent));
  (void)u256_0g_text(max, rules->max);
  const char *id = f->of ? f->of->provider->id : "?";
  switch (a->kind) {
  case FUNDING_ADD_LEDGER:
  case FUNDING_DEPOSIT:
    log_info("autoFunding: %s from wallet %s into its ledger %s (moved %s of %s)", amount, f->chain->wallet,
             how, moved, max);
    break;
  case FUNDING_TRANSFER:
    log_info("autoFunding: %s from the ledger to provider %s %s (moved %s of %s)", amount, id, how, moved,
             max);
    break;
  case FUNDING_ACKNOWLEDGE:
    log_info("autoFunding: acknowledgement of provider %s's signer %s", id, how);
    break;
  case FUNDING_NOTHING: break;
  }
}

static void note_hash(struct funder *f, const struct wallet_result *r) {
  memcpy(f->last_transaction, "0x", 2);
  hex_write(f->last_transaction + 2, r->hash, DIGEST_BYTES);
  f->last_transaction[66] = '\0';
}

/* Counts what is known now: without the action when it was never signed, and the gas that it took. */
static void settle(struct funder *f, const struct wallet_result *r) {
  struct funding_spent spent;
  if (!tally_take_turn(f->tally)) return;
  tally_read(f->tally, &spent);
  if (!r->is_signed) spent = f->before;
  if (u256_add(&spent.fees, spent.fees, r->fee)) spent.fees = U256_MAX;
  tally_write(f->tally, &spent);
}

static void on_order_done(struct wallet_order *order, const struct wallet_result *r) {
  struct funder *f = container_of(order, struct funder, order);
  struct funding_action done = f->action;
  struct member *of = f->of;
  char why[CHAIN_TROUBLE_MAX];
  settle(f, r);
  if (r->is_signed) {
    note_hash(f, r);
    /* Nothing more is decided about it before it has been read again. */
    if (of) of->is_stale = true;
  }
  if (r->end == WALLET_DONE) {
    f->failures = 0;
    f->busy_ms = 0;
    log_action(f, &done, "done");
    funder_set_blocked(f, "");
    f->of = NULL;
    f->wants_look = true;
    funder_rest(f, 0);
    chain_note(f->chain, false);
    if (of) {
      provider_end_account_pause(of->provider, clock_mono_ms());
      member_read_now(of);
    } else {
      begin(f);
    }
    return;
  }
  if (r->end == WALLET_BUSY || r->end == WALLET_STALE) {
    (void)snprintf(why, sizeof why, "%.240s: that is waited for", r->message);
    if (r->is_signed || !f->busy_ms) log_action(f, &done, r->message);
    f->of = NULL;
    if (of && r->is_signed) member_read_now(of);
    wait_for_other(f, why);
    return;
  }
  f->busy_ms = 0;
  (void)snprintf(why, sizeof why, "%s: %.240s", wallet_end_name(r->end), r->message);
  log_action(f, &done, why);
  f->of = NULL;
  if (of && r->is_signed) member_read_now(of);
  funder_fail(f, why);
}

static int put_calldata(struct buf *out, const struct funder *f, const struct funding_action *a) {
  switch (a->kind) {
  case FUNDING_ADD_LEDGER: return contract_add_ledger(out, SPAN(""));
  case FUNDING_DEPOSIT: return contract_deposit_fund(out);
  case FUNDING_TRANSFER:
    return contract_transfer_fund(out, &f->of->address, span_str(f->service_name), a->amount);
  default: return contract_acknowledge_tee_signer(out, &f->of->address, true);
  }
}

void funder_carry_out(struct funder *f, const struct funding_action *a) {
  const struct chain *c = f->chain;
  struct funding_spent spent;
  if (!tally_take_turn(f->tally)) {
    wait_for_other(f, "another process of this service is paying");
    return;
  }
  f->action = *a;
  f->step = FUNDER_SENDS;
  wallet_order_release(&f->order);
  bool is_to_ledger = a->kind != FUNDING_ACKNOWLEDGE;
  wallet_order_init(&f->order, is_to_ledger ? &c->network.ledger : &c->network.inference);
  bool has_value = a->kind == FUNDING_ADD_LEDGER || a->kind == FUNDING_DEPOSIT;
  f->order.value = has_value ? a->amount : U256_ZERO;
  f->order.nonce = f->sight.nonce;
  f->order.on_done = on_order_done;
  int err = put_calldata(&f->order.data, f, a);
  REQUIRE(!err);
  tally_read(f->tally, &f->before);
  spent = f->before;
  funding_note(&spent, a, c->network.chain_id, f->sight.nonce);
  tally_write(f->tally, &spent);
  chain_note(f->chain, false);
  if (!f->busy_ms) log_action(f, a, "begins");
  if (!f->has_wallet) wallet_init(&f->wallet, c->key, c->network.chain_id, &WALLET_OPS, f);
  f->has_wallet = true;
  wallet_send(&f->wallet, &f->order);
}

/* ---- when ---- */

static bool is_in_need(const struct funder *f) {
  const struct chain *c = f->chain;
  const struct funding_rules *rules = &c->plan->settings.chain.funding;
  for (unsigned i = 0; i < c->n_members; i++) {
    const struct member *m = c->members[i];
    if (!funder_is_wanted(m)) continue;
    struct funding_account a = member_account(m);
    if (!u256_is_zero(funding_need(rules, &a)) || m->standing == STANDING_UNACKNOWLEDGED) return true;
  }
  return false;
}

static void begin(struct funder *f) {
  struct chain *c = f->chain;
  bool may = c->plan && c->plan->settings.chain.funding.is_on && c->key && c->rpc &&
             c->network_state == NETWORK_READY && !f->is_retired;
  if (!may || f->step != FUNDER_IDLE) return;
  loop_timer_stop(c->loop, &f->timer);
  if (tally_take_turn(f->tally))
    funder_look_begin(f);
  else
    funder_rest(f, NO_TURN_MS);
}

static void on_due(struct wheel_timer *t) {
  begin(container_of(t, struct funder, timer));
}

void funder_look(struct funder *f) {
  /* After a failure, or when it was blocked, the timer says when it is tried again. */
  if (f->step != FUNDER_IDLE || wheel_is_armed(&f->timer)) return;
  const struct chain_settings *s = &f->chain->plan->settings.chain;
  if (!s->funding.is_on) return;
  bool is_time = loop_now_ms(f->chain->loop) - f->looked_ms >= s->refresh_ms;
  if (f->wants_look || is_time || is_in_need(f)) begin(f);
}
