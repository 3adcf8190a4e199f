/*
 * member: one provider that is on chain: what the contract says of its service and of our sub-account there, what is
 * owed by the provider's own word, and the verdict that follows.
 *
 *   due ─► getService ─► getAccount (with a wallet) ─► GET …/unsettledfee (with a token) ─► judged, due again
 *
 * A question without a usable answer leaves what was known before in force.
 */
#include "chain/chain_private.h"

#include "base/clock.h"
#include "eth/fee.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void read_account(struct member *m);
static void read_owed(struct member *m);
static void on_due(struct wheel_timer *t);

/* ---- life ---- */

struct member *member_new(struct chain *c, struct provider *p) {
  struct member *m = x_calloc(1, sizeof *m);
  m->chain = c;
  m->provider = provider_ref(p);
  bool is_address = provider_id_address(&m->address, span_str(p->id));
  REQUIRE(is_address);
  list_init(&m->wishes);
  buf_init(&m->fee_answer, FEE_ANSWER_MAX);
  m->standing = STANDING_WAITING;
  return m;
}

static void stop_fee(struct member *m) {
  loop_timer_stop(m->chain->loop, &m->fee_clock);
  struct upstream_call *call = m->fee_call;
  m->fee_call = NULL;
  if (call) upstream_cancel(call);
  if (m->fee_fields) wipe(m->fee_fields, strlen(m->fee_fields));
  free(m->fee_fields);
  free(m->fee_path);
  m->fee_fields = m->fee_path = NULL;
  buf_release(&m->fee_answer);
}

void member_stop(struct member *m) {
  loop_timer_stop(m->chain->loop, &m->timer);
  if (m->call) rpc_cancel(m->call);
  m->call = NULL;
  m->is_reading = m->is_again = false;
  m->seen_at = 0;
  stop_fee(m);
}

void member_free(struct member *m) {
  member_stop(m);
  member_drop_tokens(m);
  funder_forget(&m->chain->funder, m);
  provider_unref(&m->provider);
  free(m);
}

bool member_has_wallet(const struct member *m) {
  return m->chain->key && !m->entry->api_key;
}

/* ---- what is known ---- */

static struct u256 u256_of_double(double x) {
  if (!(x > 0)) return U256_ZERO;
  return x < 9.2e18 ? u256_of((uint64_t)x) : u256_of(UINT64_C(9200000000000000000));
}

struct u256 member_owed(const struct member *m) {
  struct u256 owed;
  if (u256_add(&owed, m->unsettled, u256_of_double(m->spending.since_read))) owed = U256_MAX;
  return owed;
}

struct funding_account member_account(const struct member *m) {
  return (struct funding_account){
      .is_there = m->account == READING_THERE,
      .is_acknowledged = m->is_acknowledged,
      .locked = fee_locked(m->balance, m->pending_refund),
      .unsettled = member_owed(m),
  };
}

static void look_at_spending(struct member *m) {
  struct provider *p = m->provider;
  const struct plan_entry *e = m->entry;
  spending_look(&m->spending, __atomic_load_n(&p->counters.tokens_in, __ATOMIC_RELAXED),
                __atomic_load_n(&p->counters.tokens_out, __ATOMIC_RELAXED), e->has_price ? e->price_in : NAN,
                e->has_price ? e->price_out : NAN, loop_now_ms(m->chain->loop));
}

static void store_double(double *to, double x) {
  __atomic_store(to, &x, __ATOMIC_RELAXED);
}

/* What scripts see of the account. */
static void show_account(struct member *m) {
  double balance = NAN, runway = NAN;
  if (m->account != READING_NOT) {
    struct u256 locked = fee_locked(m->balance, m->pending_refund);
    balance = u256_to_double(u256_sub_or_zero(locked, member_owed(m)));
    runway = spending_runway_s(&m->spending, balance);
  }
  store_double(&m->provider->balance, balance);
  store_double(&m->provider->runway_s, runway);
}

void member_judge(struct member *m) {
  const struct chain *c = m->chain;
  struct standing_facts f = {
      .entry = m->entry,
      .has_nodes = c->nodes && c->nodes[0],
      .network_trouble = c->network_state == NETWORK_UNKNOWN ? c->network_trouble : NULL,
      .is_connected = c->is_connected,
      .contract = c->inference_text,
      .service = m->service,
      .trouble = m->trouble[0] ? m->trouble : NULL,
      .wallet = c->key ? c->wallet : NULL,
      .account = m->account,
      .is_acknowledged = m->is_acknowledged,
      .locked = fee_locked(m->balance, m->pending_refund),
      .owed = member_owed(m),
      .is_funding = c->plan->settings.chain.funding.is_on,
      .per_provider = c->plan->settings.chain.funding.per_provider,
      .funding = funder_blocked(&c->funder),
  };
  char why[PROVIDER_REASON_MAX];
  enum standing was = m->standing;
  m->standing = standing_judge(why, &f);
  bool is_ready = m->standing == STANDING_READY;
  bool was_ready = __atomic_load_n(&m->provider->is_initialised, __ATOMIC_RELAXED);
  show_account(m);
  if (is_ready && was_ready) return;
  provider_set_init(m->provider, is_ready ? NULL : why);
  bool is_told = strcmp(m->told, why) == 0 || m->standing == STANDING_WAITING;
  if (m->standing != STANDING_WAITING) memcpy(m->told, why, sizeof m->told);
  if (is_ready) {
    log_info("provider %s is ready: %s at %s", m->provider->id,
             m->entry->model ? m->entry->model : "any model",
             m->entry->has_endpoint ? m->entry->endpoint.text : "no endpoint");
    chain_note(m->chain, false);
  } else if (!is_told && (was != m->standing || was_ready)) {
    log_warn("%s", why);
  } else if (!is_told) {
    log_info("%s", why);
  }
}

/* ---- a reading ---- */

static void schedule(struct member *m, uint64_t ms) {
  m->next_ms = loop_now_ms(m->chain->loop) + ms;
  loop_timer_start(m->chain->loop, &m->timer, on_due, ms);
}

static void end_reading(struct member *m) {
  struct chain *c = m->chain;
  bool is_fine = !m->trouble[0];
  m->is_reading = false;
  m->read_ms = loop_now_ms(c->loop);
  m->failures = is_fine ? 0 : m->failures + 1;
  if (is_fine) c->read_wall_ms = clock_wall_ms();
  member_judge(m);
  uint64_t ms = chain_jitter_ms(c, c->plan->settings.chain.refresh_ms);
  if (!is_fine) {
    uint64_t soon = CHAIN_RETRY_MS;
    for (unsigned i = 1; i < m->failures && soon < CHAIN_RETRY_MAX_MS; i++)
      soon *= 2;
    if (soon < ms) ms = chain_jitter_ms(c, soon);
  }
  if (m->is_again) ms = CHAIN_HURRY_LEAST_MS;
  m->is_again = false;
  schedule(m, ms);
  funder_look(&c->funder);
  chain_note(c, false);
  if (m->has_ended_once) return;
  m->has_ended_once = true;
  chain_round_progress(c);
}

static void note_trouble(struct member *m, const struct rpc_outcome *o) {
  rpc_why(o, m->trouble, sizeof m->trouble);
  m->chain->is_connected = o->was_answered;
}

/* The bytes of a view's result. False: there are none, and why is noted. */
static bool take_bytes(struct member *m, struct buf *bytes, const struct rpc_outcome *o) {
  buf_init(bytes, RPC_ANSWER_MAX / 2);
  m->chain->is_connected |= o->was_answered;
  if (rpc_result_bytes(bytes, o) && bytes->len) return true;
  if (o->was_answered && o->answer.end == RPC_RESULT)
    (void)snprintf(m->trouble, sizeof m->trouble,
                   "there is no contract at %s on chain %llu: set contracts = { ledger = …, inference = … }",
                   m->chain->inference_text, (unsigned long long)m->chain->network.chain_id);
  else
    note_trouble(m, o);
  buf_release(bytes);
  return false;
}

static void take_service(struct member *m, struct span data) {
  struct service s;
  if (contract_read_service(&s, data) || !address_eq(&s.provider, &m->address)) {
    (void)snprintf(m->trouble, sizeof m->trouble, "its record in the contract cannot be read");
    return;
  }
  struct record *r = record_new(&s);
  if (!r) {
    (void)snprintf(m->trouble, sizeof m->trouble, "its record in the contract is too large");
    return;
  }
  m->service = READING_THERE;
  if (registry_put_record(m->chain->registry, r)) chain_note(m->chain, true);
}

static void ask_service(struct member *m);

/* A node that has moved to another chain knows no service either: first it is asked where it is. */
static bool is_doubtful(struct member *m, const struct rpc_outcome *o) {
  bool is_gone = rpc_is_revert(o, REVERT_SERVICE_NOT_EXIST) ||
                 (o->was_answered && o->answer.end == RPC_RESULT && o->answer.result.len <= 4);
  bool was_there = m->service == READING_THERE;
  bool is_first = is_gone && was_there && !m->is_in_doubt;
  m->is_in_doubt = is_first;
  return is_first;
}

static void on_service(void *user, const struct rpc_outcome *o) {
  struct member *m = user;
  struct buf bytes;
  m->call = NULL;
  if (is_doubtful(m, o)) {
    rpc_nodes_doubt(&m->chain->rpc->nodes);
    ask_service(m);
    return;
  }
  m->trouble[0] = '\0';
  if (rpc_is_revert(o, REVERT_SERVICE_NOT_EXIST)) {
    m->chain->is_connected = true;
    m->service = READING_MISSING;
    if (registry_drop_record(m->chain->registry, &m->address)) chain_note(m->chain, true);
  } else if (take_bytes(m, &bytes, o)) {
    take_service(m, buf_span(&bytes));
    buf_release(&bytes);
  }
  if (member_has_wallet(m) && !m->trouble[0])
    read_account(m);
  else
    end_reading(m);
}

void member_note_account(struct member *m, const struct account *a) {
  m->is_stale = false;
  if (!a) {
    m->account = READING_MISSING;
    m->balance = m->pending_refund = m->unsettled = U256_ZERO;
    m->is_acknowledged = false;
    return;
  }
  bool is_settled = m->account == READING_THERE && !u256_eq(a->balance, m->balance);
  m->account = READING_THERE;
  m->balance = a->balance;
  m->pending_refund = a->pending_refund;
  m->is_acknowledged = a->acknowledged;
  m->generation = u256_to_u64(a->generation);
  /* Without the provider's word: what was spent is in the balance when that has changed. */
  if (is_settled) spending_read(&m->spending);
}

static void take_account(struct member *m, struct span data) {
  struct account a;
  if (contract_read_account(&a, data) || !address_eq(&a.provider, &m->address))
    (void)snprintf(m->trouble, sizeof m->trouble, "its sub-account in the contract cannot be read");
  else
    member_note_account(m, &a);
}

static void on_account(void *user, const struct rpc_outcome *o) {
  struct member *m = user;
  struct buf bytes;
  m->call = NULL;
  if (rpc_is_revert(o, REVERT_ACCOUNT_NOT_EXISTS)) {
    member_note_account(m, NULL);
  } else if (take_bytes(m, &bytes, o)) {
    look_at_spending(m);
    take_account(m, buf_span(&bytes));
    buf_release(&bytes);
  }
  member_keep_token(m);
  read_owed(m);
}

static void read_account(struct member *m) {
  struct buf calldata;
  buf_init(&calldata, 256);
  int err = contract_get_account(&calldata, key_address(m->chain->key), &m->address);
  REQUIRE(!err);
  m->call = rpc_view(m->chain->rpc, &m->chain->network.inference, buf_span(&calldata), on_account, m);
  buf_release(&calldata);
}

static void ask_service(struct member *m) {
  struct chain *c = m->chain;
  struct buf calldata;
  buf_init(&calldata, 256);
  int err = contract_get_service(&calldata, &m->address);
  REQUIRE(!err);
  m->call = rpc_view(c->rpc, &c->network.inference, buf_span(&calldata), on_service, m);
  buf_release(&calldata);
}

static void begin_reading(struct member *m) {
  struct chain *c = m->chain;
  if (!c->rpc || c->network_state != NETWORK_READY) return;
  loop_timer_stop(c->loop, &m->timer);
  m->is_reading = true;
  m->is_in_doubt = false;
  ask_service(m);
}

static void on_due(struct wheel_timer *t) {
  struct member *m = container_of(t, struct member, timer);
  if (!m->is_reading) begin_reading(m);
}

void member_hurry(struct member *m) {
  struct chain *c = m->chain;
  if (m->is_reading) {
    m->is_again = true;
    return;
  }
  if (!m->read_ms) {
    begin_reading(m);
    return;
  }
  uint64_t now = loop_now_ms(c->loop), passed = now - m->read_ms;
  uint64_t ms = passed >= CHAIN_HURRY_LEAST_MS ? CHAIN_HURRY_MS : CHAIN_HURRY_LEAST_MS - passed;
  /* Never later than it was: who is asked all the time would not begin at all. */
  if (!wheel_is_armed(&m->timer) || now + ms < m->next_ms) schedule(m, ms);
}

void member_read_now(struct member *m) {
  if (m->is_reading)
    m->is_again = true;
  else
    begin_reading(m);
}

/* ---- what is owed, by the provider's word ---- */

static void on_fee_head(void *user, const struct http_response *head) {
  ((struct member *)user)->fee_status = head->status;
}

static void end_fee(struct member *m) {
  stop_fee(m);
  end_reading(m);
}

static void on_fee_data(void *user, const char *bytes, size_t len) {
  struct member *m = user;
  if (m->fee_call && buf_append(&m->fee_answer, bytes, len)) end_fee(m);
}

/* {"unsettledFee":"<neuron>",…} */
static void take_fee(struct member *m) {
  struct json_member fee = {.name = SPAN("unsettledFee")};
  struct json_object object;
  struct json_fault fault;
  struct span text;
  struct u256 neuron;
  if (m->fee_status != 200 || json_scan_object(&fee, 1, &object, &fault, buf_span(&m->fee_answer))) return;
  if (fee.type != JSON_STRING || !rpc_result_text(&text, fee.value) || u256_parse(&neuron, text)) return;
  m->unsettled = neuron;
  spending_read(&m->spending);
}

static void on_fee_done(void *user, enum upstream_end end, const char *detail) {
  struct member *m = user;
  (void)detail;
  m->fee_call = NULL;
  if (end == UPSTREAM_OK) take_fee(m);
  end_fee(m);
}

static const struct upstream_events FEE_EVENTS = {
    .on_head = on_fee_head, .on_data = on_fee_data, .on_done = on_fee_done};

static void on_fee_clock(struct wheel_timer *t) {
  end_fee(container_of(t, struct member, fee_clock));
}

static void read_owed(struct member *m) {
  struct chain *c = m->chain;
  const char *base = m->entry->service_url;
  char token[PROVIDER_TOKEN_MAX];
  uint64_t serial;
  size_t len = base && m->account == READING_THERE ? provider_copy_token(m->provider, token, &serial) : 0;
  if (!len) {
    end_reading(m);
    return;
  }
  size_t size = len + 256;
  m->fee_fields = x_malloc(size);
  (void)snprintf(m->fee_fields, size,
                 "Accept: application/json\r\nUser-Agent: moongate/" MOONGATE_VERSION
                 "\r\nAuthorization: Bearer %.*s\r\n",
                 (int)len, token);
  wipe(token, sizeof token);
  m->fee_path = x_malloc(128);
  (void)snprintf(m->fee_path, 128, "/v1/user/%s/unsettledfee", c->wallet);
  m->fee_status = 0;
  struct upstream_request req = {
      .is_public_only = m->entry->is_public_only,
      .base = span_str(base),
      .path = span_str(m->fee_path),
      .fields = {span_str(m->fee_fields)},
      .connect_ms = FEE_TIMEOUT_MS,
      .events = &FEE_EVENTS,
      .user = m,
  };
  loop_timer_start(c->loop, &m->fee_clock, on_fee_clock, FEE_TIMEOUT_MS);
  upstream_start(c->upstream, &req, &m->fee_call);
}

/* ---- once a second ---- */

void member_tick(struct member *m) {
  member_keep_token(m);
  if (!member_has_wallet(m) || m->account != READING_THERE) return;
  look_at_spending(m);
  show_account(m);
  if (m->standing != STANDING_READY) return;
  const struct funding_rules *rules = &m->chain->plan->settings.chain.funding;
  struct funding_account a = member_account(m);
  bool is_used_up = u256_cmp(a.locked, a.unsettled) <= 0;
  bool is_low = rules->is_on && !u256_is_zero(funding_need(rules, &a));
  /* By our own count alone nobody is taken out or paid: the chain and the provider are asked first. */
  bool is_new = !m->is_reading && loop_now_ms(m->chain->loop) - m->read_ms > 15000;
  if ((is_used_up || is_low) && is_new && m->spending.since_read > 0) member_hurry(m);
}
