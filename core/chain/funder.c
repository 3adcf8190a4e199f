/*
 * funder: carries out what funding.c says, one action at a time, and reads the chain again between two of them.
 *
 *   look ─► (once: the service's name) ─► ledger ─► wallet ─► funding_next() ─► nothing: idle
 *    ▲                                                             │ an action: noted as moved, sent
 *    └── the account it was for is read again ◄── taken ◄──────────┘ refused: taken back; wait, look again
 *
 * With autoFunding off it never begins.
 */
#include "chain/chain_private.h"

#include "base/clock.h"
#include "eth/contract.h"
#include "eth/hex.h"

#include <stdio.h>
#include <stdlib.h>

#define AGAIN_FIRST_MS 10000 /* after a failure; doubles */
#define AGAIN_MAX_MS   300000
#define BLOCKED_MS     60000 /* somebody may have sent the wallet some money */

static void read_ledger(struct funder *f);
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

static const struct wallet_ops WALLET_OPS = {.call = wallet_call, .wait = wallet_wait};

/* ---- life ---- */

void funder_init(struct funder *f, struct chain *c) {
  *f = (struct funder){.chain = c};
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
    if (wallet_is_busy(&f->wallet))
      log_warn("a transaction of the wallet was under way; what becomes of it is the chain's");
    wallet_release(&f->wallet);
  }
  f->has_wallet = false;
  f->step = FUNDER_IDLE;
  f->of = NULL;
}

void funder_release(struct funder *f) {
  stop(f);
  wallet_order_release(&f->order);
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
  if (f->step != FUNDER_SENDS) f->step = FUNDER_IDLE;
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

static void set_blocked(struct funder *f, const char *why) {
  if (strcmp(f->blocked, why) == 0) return;
  (void)snprintf(f->blocked, sizeof f->blocked, "%s", why);
  if (why[0]) log_warn("autoFunding: %s", why);
  judge_all(f);
}

static void rest(struct funder *f, uint64_t ms) {
  f->step = FUNDER_IDLE;
  if (ms) loop_timer_start(f->chain->loop, &f->timer, on_due, chain_jitter_ms(f->chain, ms));
}

static void fail(struct funder *f, const char *why) {
  uint64_t ms = AGAIN_FIRST_MS;
  for (unsigned i = 0; i < f->failures && ms < AGAIN_MAX_MS; i++)
    ms *= 2;
  f->failures++;
  set_blocked(f, why);
  rest(f, ms);
}

/* ---- carrying out ---- */

static void log_action(const struct funder *f, const struct funding_action *a, const char *how) {
  char amount[U256_0G_MAX], moved[U256_0G_MAX], max[U256_0G_MAX];
  const struct funding_rules *rules = &f->chain->plan->settings.chain.funding;
  (void)u256_0g_text(amount, a->amount);
  (void)u256_0g_text(moved, funding_moved(&f->spent));
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

static void on_order_done(struct wallet_order *order, const struct wallet_result *r) {
  struct funder *f = container_of(order, struct funder, order);
  struct funding_action done = f->action;
  struct u256 fees;
  char why[CHAIN_TROUBLE_MAX];
  if (!u256_add(&fees, f->spent.fees, r->fee)) f->spent.fees = fees;
  bool is_sent = r->end == WALLET_DONE || r->end == WALLET_REVERTED || r->end == WALLET_LOST;
  if (is_sent) note_hash(f, r);
  if (r->end == WALLET_DONE) {
    f->failures = 0;
    log_action(f, &done, "done");
    set_blocked(f, "");
    struct member *of = f->of;
    f->of = NULL;
    f->wants_look = true;
    rest(f, 0);
    chain_note(f->chain, false);
    if (of) {
      /* Nothing more is decided about it before it has been read again. */
      of->is_stale = true;
      provider_end_account_pause(of->provider, clock_mono_ms());
      member_read_now(of);
    } else {
      begin(f);
    }
    return;
  }
  if (f->of && r->end == WALLET_LOST) f->of->is_stale = true;
  /* One that nobody knows the end of counts as moved. */
  if (r->end != WALLET_LOST) funding_take_back(&f->spent, &done);
  (void)snprintf(why, sizeof why, "%s: %.240s", wallet_end_name(r->end), r->message);
  log_action(f, &done, why);
  f->of = NULL;
  fail(f, why);
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

static void carry_out(struct funder *f, const struct funding_action *a) {
  const struct chain *c = f->chain;
  f->action = *a;
  f->step = FUNDER_SENDS;
  wallet_order_release(&f->order);
  bool is_to_ledger = a->kind != FUNDING_ACKNOWLEDGE;
  wallet_order_init(&f->order, is_to_ledger ? &c->network.ledger : &c->network.inference);
  bool has_value = a->kind == FUNDING_ADD_LEDGER || a->kind == FUNDING_DEPOSIT;
  f->order.value = has_value ? a->amount : U256_ZERO;
  f->order.on_done = on_order_done;
  int err = put_calldata(&f->order.data, f, a);
  REQUIRE(!err);
  funding_note(&f->spent, a);
  log_action(f, a, "begins");
  if (f->has_wallet && f->wallet.chain_id != c->network.chain_id) {
    wallet_release(&f->wallet);
    f->has_wallet = false;
  }
  if (!f->has_wallet) wallet_init(&f->wallet, c->key, c->network.chain_id, &WALLET_OPS, f);
  f->has_wallet = true;
  wallet_send(&f->wallet, &f->order);
}

/* ---- looking ---- */

/* Only where nothing but money is missing, and only to a provider that answers its health check. */
static bool is_wanted(const struct member *m) {
  bool is_standing = m->standing == STANDING_READY || m->standing == STANDING_UNFUNDED ||
                     m->standing == STANDING_UNACKNOWLEDGED;
  bool is_up = __atomic_load_n(&m->provider->state, __ATOMIC_RELAXED) != PROVIDER_DOWN &&
               __atomic_load_n(&m->provider->last_probe_wall_ms, __ATOMIC_RELAXED) != 0;
  bool is_enabled = __atomic_load_n(&m->provider->admin, __ATOMIC_RELAXED) == PROVIDER_ENABLED;
  return is_standing && is_up && is_enabled && member_has_wallet(m) && m->account != READING_NOT &&
         !m->is_stale && !m->is_reading;
}

static void decide(struct funder *f) {
  struct chain *c = f->chain;
  struct funding_account *accounts = x_calloc(c->n_members, sizeof *accounts);
  for (unsigned i = 0; i < c->n_members; i++) {
    const struct member *m = c->members[i];
    accounts[i] = member_account(m);
    accounts[i].is_wanted = is_wanted(m);
  }
  struct funding_facts facts = {.has_ledger = f->has_ledger,
                                .available = f->available,
                                .wallet = f->wallet_balance,
                                .accounts = accounts,
                                .n_accounts = c->n_members};
  struct funding_action a;
  funding_next(&a, &c->plan->settings.chain.funding, &f->spent, &facts);
  free(accounts);
  bool has_account = a.kind == FUNDING_TRANSFER || a.kind == FUNDING_ACKNOWLEDGE;
  f->of = has_account ? c->members[a.account] : NULL;
  f->looked_ms = loop_now_ms(c->loop);
  f->wants_look = false;
  set_blocked(f, a.blocked);
  if (a.kind != FUNDING_NOTHING)
    carry_out(f, &a);
  else
    rest(f, a.blocked[0] ? BLOCKED_MS : 0);
}

static bool take_result(struct funder *f, struct buf *bytes, const struct rpc_outcome *o) {
  char why[CHAIN_TROUBLE_MAX];
  buf_init(bytes, RPC_ANSWER_MAX / 2);
  if (rpc_result_bytes(bytes, o) && bytes->len) return true;
  if (o->was_answered && o->answer.end == RPC_RESULT)
    (void)snprintf(why, sizeof why, "there is no ledger contract: set contracts = { ledger = … }");
  else
    rpc_why(o, why, sizeof why);
  buf_release(bytes);
  fail(f, why);
  return false;
}

static void on_wallet_balance(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct span text;
  f->call = NULL;
  bool is_read = o->was_answered && o->answer.end == RPC_RESULT && rpc_result_text(&text, o->answer.result) &&
                 u256_parse_quantity(&f->wallet_balance, text) == 0;
  if (is_read) {
    decide(f);
    return;
  }
  char why[CHAIN_TROUBLE_MAX];
  rpc_why(o, why, sizeof why);
  fail(f, why);
}

static void read_wallet(struct funder *f) {
  char params[80];
  f->step = FUNDER_READS_WALLET;
  int n = snprintf(params, sizeof params, "[\"%s\",\"latest\"]", f->chain->wallet);
  f->call = rpc_start(f->chain->rpc, "eth_getBalance", span_make(params, (size_t)n), on_wallet_balance, f);
}

static void on_ledger(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct buf bytes;
  struct ledger l;
  f->call = NULL;
  f->has_ledger = false;
  if (rpc_is_revert(o, REVERT_LEDGER_NOT_EXISTS)) {
    read_wallet(f);
    return;
  }
  if (!take_result(f, &bytes, o)) return;
  int err = contract_read_ledger(&l, buf_span(&bytes));
  if (!err) f->available = l.available_balance;
  buf_release(&bytes);
  f->has_ledger = !err;
  chain_note(f->chain, false);
  if (err)
    fail(f, "the ledger's record cannot be read");
  else
    read_wallet(f);
}

static void view_ledger(struct funder *f, struct buf *calldata, rpc_done *done) {
  f->call = rpc_view(f->chain->rpc, &f->chain->network.ledger, buf_span(calldata), done, f);
  buf_release(calldata);
}

static void on_name(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct buf bytes;
  struct service_info info;
  f->call = NULL;
  if (!take_result(f, &bytes, o)) return;
  int err = contract_read_service_info(&info, buf_span(&bytes));
  bool is_fine = !err && info.full_name.len > 0 && info.full_name.len < sizeof f->service_name;
  if (is_fine) (void)snprintf(f->service_name, sizeof f->service_name, "%.*s", SPAN_FMT(info.full_name));
  buf_release(&bytes);
  if (is_fine)
    read_ledger(f);
  else
    fail(f, "the ledger does not know the inference contract: the two do not belong together");
}

static void read_name(struct funder *f) {
  struct buf calldata;
  f->step = FUNDER_READS_NAME;
  buf_init(&calldata, 256);
  int err = contract_get_service_info(&calldata, &f->chain->network.inference);
  REQUIRE(!err);
  view_ledger(f, &calldata, on_name);
}

static void read_ledger(struct funder *f) {
  struct buf calldata;
  if (!f->service_name[0]) {
    read_name(f);
    return;
  }
  f->step = FUNDER_READS_LEDGER;
  buf_init(&calldata, 256);
  int err = contract_get_ledger(&calldata, key_address(f->chain->key));
  REQUIRE(!err);
  view_ledger(f, &calldata, on_ledger);
}

static bool is_in_need(const struct funder *f) {
  const struct chain *c = f->chain;
  const struct funding_rules *rules = &c->plan->settings.chain.funding;
  for (unsigned i = 0; i < c->n_members; i++) {
    const struct member *m = c->members[i];
    if (!is_wanted(m)) continue;
    struct funding_account a = member_account(m);
    if (!u256_is_zero(funding_need(rules, &a)) || m->standing == STANDING_UNACKNOWLEDGED) return true;
  }
  return false;
}

static void begin(struct funder *f) {
  struct chain *c = f->chain;
  bool may = c->plan && c->plan->settings.chain.funding.is_on && c->key && c->rpc &&
             c->network_state == NETWORK_READY;
  if (!may || f->step != FUNDER_IDLE) return;
  loop_timer_stop(c->loop, &f->timer);
  read_ledger(f);
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
