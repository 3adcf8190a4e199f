/*
 * funder_look: everything that one decision about money needs, read at one block.
 *
 *   chain id ─► (once: the service's name) ─► block ─► nonce ─► ledger ─► wallet ─► funding_next() ─► nothing: rest
 *                                                                     ▲                 │ somebody is in need
 *                                                 account at the block┘◄── not read at this block
 *                                                                                       │ read: funder_carry_out()
 *
 * What is decided is sent under the nonce that was read with it. Whatever the wallet has done since has used that nonce
 * up, so a decision over a state that is gone cannot be executed: nodes that are behind, disagree or forget can delay
 * money, and never move it twice.
 */
#include "chain/chain_private.h"

#include "base/clock.h"
#include "eth/contract.h"

#include <stdio.h>
#include <stdlib.h>

#define BLOCKED_MS 60000 /* somebody may have sent the wallet some money */

static void read_block(struct funder *f);
static void decide(struct funder *f);

/* A quantity that somebody has to answer with. */
static bool take_u64(struct funder *f, uint64_t *out, const struct rpc_outcome *o) {
  char why[CHAIN_TROUBLE_MAX];
  f->call = NULL;
  bool is_result = o->was_answered && o->answer.end == RPC_RESULT;
  if (is_result && rpc_result_u64(out, o->answer.result)) return true;
  rpc_why(o, why, sizeof why);
  funder_fail(f, why);
  return false;
}

static bool take_bytes(struct funder *f, struct buf *bytes, const struct rpc_outcome *o) {
  char why[CHAIN_TROUBLE_MAX];
  buf_init(bytes, RPC_ANSWER_MAX / 2);
  if (rpc_result_bytes(bytes, o) && bytes->len) return true;
  if (o->was_answered && o->answer.end == RPC_RESULT)
    (void)snprintf(why, sizeof why, "there is no ledger contract: set contracts = { ledger = … }");
  else
    rpc_why(o, why, sizeof why);
  buf_release(bytes);
  funder_fail(f, why);
  return false;
}

static void view(struct funder *f, const struct address *to, struct buf *calldata, rpc_done *done) {
  f->call = rpc_view_at(f->chain->rpc, to, buf_span(calldata), f->sight.block, done, f);
  buf_release(calldata);
}

/* ---- the account of who is in need ---- */

static void on_account(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct buf bytes;
  struct account a;
  f->call = NULL;
  struct member *m = f->of;
  f->of = NULL;
  if (!m) {
    funder_rest(f, CHAIN_HURRY_MS);
    return;
  }
  if (rpc_is_revert(o, REVERT_ACCOUNT_NOT_EXISTS)) {
    member_note_account(m, NULL);
  } else {
    if (!take_bytes(f, &bytes, o)) return;
    int err = contract_read_account(&a, buf_span(&bytes));
    bool is_it = !err && address_eq(&a.provider, &m->address);
    if (is_it) member_note_account(m, &a);
    buf_release(&bytes);
    if (!is_it) {
      funder_fail(f, "a sub-account's record cannot be read");
      return;
    }
  }
  m->seen_at = f->sight.block + 1;
  decide(f);
}

static void read_account(struct funder *f, struct member *m) {
  struct buf calldata;
  f->of = m;
  buf_init(&calldata, 256);
  int err = contract_get_account(&calldata, key_address(f->chain->key), &m->address);
  REQUIRE(!err);
  view(f, &f->chain->network.inference, &calldata, on_account);
}

/* ---- the decision ---- */

bool funder_is_wanted(const struct member *m) {
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
  struct funding_account *accounts = x_calloc(c->n_members ? c->n_members : 1, sizeof *accounts);
  for (unsigned i = 0; i < c->n_members; i++) {
    accounts[i] = member_account(c->members[i]);
    accounts[i].is_wanted = funder_is_wanted(c->members[i]);
  }
  const struct funder_sight *s = &f->sight;
  struct funding_facts facts = {.chain_id = c->network.chain_id,
                                .nonce = s->nonce,
                                .has_ledger = s->has_ledger,
                                .available = s->available,
                                .wallet = s->wallet,
                                .accounts = accounts,
                                .n_accounts = c->n_members};
  struct funding_action a;
  struct funding_spent spent;
  tally_read(f->tally, &spent);
  funding_next(&a, &c->plan->settings.chain.funding, &spent, &facts);
  free(accounts);
  struct member *m = a.kind != FUNDING_NOTHING && a.has_account ? c->members[a.account] : NULL;
  if (m && m->seen_at != s->block + 1) {
    read_account(f, m);
    return;
  }
  f->of = m;
  f->looked_ms = loop_now_ms(c->loop);
  f->wants_look = false;
  if (a.kind == FUNDING_NOTHING || a.blocked[0]) funder_set_blocked(f, a.blocked);
  if (a.kind != FUNDING_NOTHING)
    funder_carry_out(f, &a);
  else
    funder_rest(f, a.blocked[0] ? BLOCKED_MS : 0);
}

/* ---- ledger and wallet ---- */

static void on_wallet_balance(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct span text;
  char why[CHAIN_TROUBLE_MAX];
  f->call = NULL;
  bool is_read = o->was_answered && o->answer.end == RPC_RESULT && rpc_result_text(&text, o->answer.result) &&
                 u256_parse_quantity(&f->sight.wallet, text) == 0;
  if (is_read) {
    decide(f);
    return;
  }
  rpc_why(o, why, sizeof why);
  funder_fail(f, why);
}

static void ask_of_wallet(struct funder *f, const char *method, rpc_done *done) {
  char params[96];
  int n = snprintf(params, sizeof params, "[\"%s\",\"0x%llx\"]", f->chain->wallet,
                   (unsigned long long)f->sight.block);
  f->call = rpc_start(f->chain->rpc, method, span_make(params, (size_t)n), done, f);
}

static void on_ledger(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct buf bytes;
  struct ledger l;
  f->call = NULL;
  f->sight.has_ledger = false;
  f->sight.available = U256_ZERO;
  if (!rpc_is_revert(o, REVERT_LEDGER_NOT_EXISTS)) {
    if (!take_bytes(f, &bytes, o)) return;
    int err = contract_read_ledger(&l, buf_span(&bytes));
    if (!err) f->sight.available = l.available_balance;
    buf_release(&bytes);
    if (err) {
      funder_fail(f, "the ledger's record cannot be read");
      return;
    }
    f->sight.has_ledger = true;
  }
  f->has_seen_ledger = f->sight.has_ledger;
  chain_note(f->chain, false);
  ask_of_wallet(f, "eth_getBalance", on_wallet_balance);
}

static void on_nonce(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct buf calldata;
  if (!take_u64(f, &f->sight.nonce, o)) return;
  buf_init(&calldata, 256);
  int err = contract_get_ledger(&calldata, key_address(f->chain->key));
  REQUIRE(!err);
  view(f, &f->chain->network.ledger, &calldata, on_ledger);
}

static void on_block(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  if (take_u64(f, &f->sight.block, o)) ask_of_wallet(f, "eth_getTransactionCount", on_nonce);
}

static void read_block(struct funder *f) {
  f->call = rpc_start(f->chain->rpc, "eth_blockNumber", SPAN("[]"), on_block, f);
}

/* ---- chain and name ---- */

static void on_name(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  struct buf bytes;
  struct service_info info;
  f->call = NULL;
  if (!take_bytes(f, &bytes, o)) return;
  int err = contract_read_service_info(&info, buf_span(&bytes));
  bool is_fine = !err && info.full_name.len > 0 && info.full_name.len < sizeof f->service_name;
  if (is_fine) (void)snprintf(f->service_name, sizeof f->service_name, "%.*s", SPAN_FMT(info.full_name));
  buf_release(&bytes);
  if (is_fine)
    read_block(f);
  else
    funder_fail(f, "the ledger does not know the inference contract: the two do not belong together");
}

static void read_name(struct funder *f) {
  struct buf calldata;
  buf_init(&calldata, 256);
  int err = contract_get_service_info(&calldata, &f->chain->network.inference);
  REQUIRE(!err);
  f->call = rpc_view(f->chain->rpc, &f->chain->network.ledger, buf_span(&calldata), on_name, f);
  buf_release(&calldata);
}

static void on_chain_id(void *user, const struct rpc_outcome *o) {
  struct funder *f = user;
  uint64_t id;
  if (!take_u64(f, &id, o)) return;
  if (id != f->chain->network.chain_id) {
    char why[CHAIN_TROUBLE_MAX];
    (void)snprintf(why, sizeof why, "the node is on chain %llu now, and was on %llu", (unsigned long long)id,
                   (unsigned long long)f->chain->network.chain_id);
    funder_fail(f, why);
  } else if (f->service_name[0]) {
    read_block(f);
  } else {
    read_name(f);
  }
}

void funder_look_begin(struct funder *f) {
  f->step = FUNDER_LOOKS;
  f->call = rpc_start(f->chain->rpc, "eth_chainId", SPAN("[]"), on_chain_id, f);
}
