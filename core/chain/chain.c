#include "chain/chain_private.h"

#include "base/clock.h"

#include <stdio.h>
#include <stdlib.h>

#define TICK_MS 1000
#define NEWS_MS 30 /* what changes together is told together */

static void connect_network(struct chain *c);
static void start_market(struct chain *c);

uint64_t chain_jitter_ms(struct chain *c, uint64_t ms) {
  uint64_t tenth = ms / 10;
  return ms - tenth + rng_u64(&c->rng) % (2 * tenth + 1);
}

struct member *chain_member(const struct chain *c, const struct provider *p) {
  for (unsigned i = 0; i < c->n_members; i++)
    if (c->members[i]->provider == p) return c->members[i];
  return NULL;
}

/* ---- status ---- */

static void put_amount(char out[U256_0G_MAX], struct u256 neuron) {
  (void)u256_0g_text(out, neuron);
}

static void put_funding(const struct chain *c, struct chain_status *s) {
  const struct funder *f = &c->funder;
  const struct funding_rules *rules = &c->plan->settings.chain.funding;
  struct funding_spent spent;
  tally_read(f->tally, &spent);
  s->is_funding = rules->is_on;
  put_amount(s->max, rules->max);
  put_amount(s->moved, funding_moved(&spent));
  put_amount(s->deposits, funding_deposits(&spent));
  put_amount(s->transfers, funding_transfers(&spent));
  put_amount(s->fees, spent.fees);
  if (f->has_seen_ledger) put_amount(s->available, f->sight.available);
  s->n_transactions = spent.n_nonces;
  (void)snprintf(s->last_transaction, sizeof s->last_transaction, "%s", f->last_transaction);
  (void)snprintf(s->blocked, sizeof s->blocked, "%s", f->blocked);
}

#define NOTHING_FITS                                                                                         \
  "discover{} finds none of the %u services of the contract: `moongate providers` lists them with what "     \
  "they ask"

static bool finds_nothing(const struct chain *c) {
  return c->plan->n_entries == 0 && c->plan->n_discovers && c->n_services;
}

static void put_trouble(const struct chain *c, struct chain_status *s) {
  if (c->network_state == NETWORK_UNKNOWN)
    (void)snprintf(s->trouble, sizeof s->trouble, "%s", c->network_trouble);
  else if (c->rpc && !c->is_connected)
    rpc_nodes_trouble(&c->rpc->nodes, s->trouble, sizeof s->trouble);
  else if (finds_nothing(c))
    (void)snprintf(s->trouble, sizeof s->trouble, NOTHING_FITS, c->n_services);
}

static void tell_status(struct chain *c) {
  struct chain_status s = {.is_on = c->rpc != NULL, .read_wall_ms = c->read_wall_ms};
  if (c->network_state != NETWORK_UNREAD) s.chain_id = c->network.chain_id;
  if (c->network_state == NETWORK_READY) {
    (void)snprintf(s.network, sizeof s.network, "%s", c->network.name ? c->network.name : "");
    address_text(s.ledger, &c->network.ledger);
    address_text(s.inference, &c->network.inference);
  }
  if (c->key) memcpy(s.wallet, c->wallet, sizeof s.wallet);
  if (c->rpc) {
    s.calls = c->rpc->n_calls;
    s.failures = c->rpc->n_failures;
  }
  s.n_services = c->n_services;
  put_trouble(c, &s);
  put_funding(c, &s);
  c->ops->on_status(c->context, &s);
}

/* Once, until it has found some. */
static void tell_nothing(struct chain *c) {
  bool is_so = finds_nothing(c);
  if (is_so && !c->has_told_nothing) log_warn(NOTHING_FITS, c->n_services);
  c->has_told_nothing = is_so;
}

static void on_news(struct wheel_timer *t) {
  struct chain *c = container_of(t, struct chain, news_timer);
  bool has_records = c->has_news && c->is_first_round_over;
  tell_status(c);
  if (!has_records || !plan_is_outdated(c->plan, c->registry)) tell_nothing(c);
  if (!has_records) return;
  c->has_news = false;
  if (plan_is_outdated(c->plan, c->registry)) c->ops->on_records(c->context);
}

void chain_note(struct chain *c, bool has_records) {
  c->has_news |= has_records;
  if (!wheel_is_armed(&c->news_timer)) loop_timer_start(c->loop, &c->news_timer, on_news, NEWS_MS);
}

/* ---- the first round ---- */

static void on_first_round(struct wheel_timer *t) {
  struct chain *c = container_of(t, struct chain, round_timer);
  c->is_first_round_over = true;
  tell_status(c);
  if (c->has_news && plan_is_outdated(c->plan, c->registry)) {
    c->has_news = false;
    c->ops->on_records(c->context);
  } else {
    tell_nothing(c);
  }
  c->ops->on_first_round(c->context);
}

bool chain_has_first_round(const struct chain *c) {
  return c->rpc && !c->is_first_round_over && (c->n_members || c->plan->n_discovers);
}

void chain_round_progress(struct chain *c) {
  chain_note(c, false);
  if (c->is_first_round_over || wheel_is_armed(&c->round_timer)) return;
  if (c->plan->n_discovers && !c->has_market_ended) return;
  for (unsigned i = 0; i < c->n_members; i++)
    if (!c->members[i]->has_ended_once) return;
  loop_timer_start(c->loop, &c->round_timer, on_first_round, 0);
}

/* Nothing can be read for now: nobody waits for it. */
static void end_first_round(struct chain *c) {
  if (!c->is_first_round_over && !wheel_is_armed(&c->round_timer))
    loop_timer_start(c->loop, &c->round_timer, on_first_round, 0);
}

/* ---- the network ---- */

static void on_network_timer(struct wheel_timer *t) {
  connect_network(container_of(t, struct chain, network_timer));
}

static void judge_all(struct chain *c) {
  for (unsigned i = 0; i < c->n_members; i++)
    member_judge(c->members[i]);
  chain_note(c, false);
}

static void start_readings(struct chain *c) {
  for (unsigned i = 0; i < c->n_members; i++)
    member_read_now(c->members[i]);
  start_market(c);
}

static void no_network(struct chain *c, const struct rpc_outcome *o) {
  uint64_t ms = CHAIN_RETRY_MS / 2;
  for (unsigned i = 0; i < c->network_failures && ms < CHAIN_RETRY_MAX_MS / 2; i++)
    ms *= 2;
  if (c->network_failures++ == 0)
    log_warn("the chain cannot be read: %s", o->was_answered ? "its id is no number" : o->trouble);
  c->is_connected = false;
  for (unsigned i = 0; i < c->n_members; i++) {
    struct member *m = c->members[i];
    if (m->service == READING_NOT) rpc_why(o, m->trouble, sizeof m->trouble);
  }
  judge_all(c);
  end_first_round(c);
  loop_timer_start(c->loop, &c->network_timer, on_network_timer, chain_jitter_ms(c, ms));
}

static void on_chain_id(void *user, const struct rpc_outcome *o) {
  struct chain *c = user;
  uint64_t id;
  c->network_call = NULL;
  if (!o->was_answered || o->answer.end != RPC_RESULT || !rpc_result_u64(&id, o->answer.result)) {
    no_network(c, o);
    return;
  }
  c->network_failures = 0;
  c->is_connected = true;
  if (!network_find(&c->network, c->network_trouble, id, &c->plan->settings.chain)) {
    c->network_state = NETWORK_UNKNOWN;
    log_error("%s", c->network_trouble);
    judge_all(c);
    end_first_round(c);
    return;
  }
  c->network_state = NETWORK_READY;
  funder_check_chain(&c->funder);
  address_text(c->inference_text, &c->network.inference);
  log_info("chain %llu%s%s%s: services are read from %s", (unsigned long long)id, c->network.name ? " (" : "",
           c->network.name ? c->network.name : "", c->network.name ? ")" : "", c->inference_text);
  start_readings(c);
  chain_round_progress(c);
}

static void connect_network(struct chain *c) {
  if (!c->rpc || c->network_call || c->network_state == NETWORK_READY) return;
  if (c->n_members == 0 && c->plan->n_discovers == 0) return;
  c->network_call = rpc_start(c->rpc, "eth_chainId", SPAN("[]"), on_chain_id, c);
}

/* ---- all services ---- */

static void on_service(void *context, const struct service *s) {
  struct chain *c = context;
  struct record *r = record_new(s);
  if (!r) return;
  struct address a = s->provider;
  bool is_there;
  c->seen = x_realloc(c->seen, (c->n_seen + 1) * sizeof *c->seen);
  c->seen[c->n_seen++] = a;
  is_there = registry_put_record(c->registry, r);
  if (is_there) chain_note(c, true);
}

static int compare_addresses(const void *a, const void *b) {
  return memcmp(a, b, sizeof(struct address));
}

/* What a whole reading has not shown is gone; providers that are configured by address are asked for one by one. */
static void drop_unseen(struct chain *c) {
  size_t n;
  struct record **all = registry_records(c->registry, &n);
  if (c->n_seen) qsort(c->seen, c->n_seen, sizeof *c->seen, compare_addresses);
  for (size_t i = 0; i < n; i++) {
    struct address a = all[i]->service.provider;
    bool was_seen = c->n_seen && bsearch(&a, c->seen, c->n_seen, sizeof *c->seen, compare_addresses);
    if (!was_seen && registry_drop_record(c->registry, &a)) chain_note(c, true);
    record_unref(&all[i]);
  }
  free(all);
}

static void on_market_timer(struct wheel_timer *t) {
  start_market(container_of(t, struct chain, market_timer));
}

static void on_market_end(void *context, const char *trouble, unsigned skipped) {
  struct chain *c = context;
  if (trouble)
    log_warn("not all services of the contract could be read: %s", trouble);
  else if (skipped)
    log_warn("%u records of the contract cannot be read and are left out", skipped);
  else
    drop_unseen(c);
  if (!trouble) {
    c->read_wall_ms = clock_wall_ms();
    c->n_services = (unsigned)c->n_seen;
  }
  struct market *m = c->market;
  c->market = NULL;
  market_free(m);
  free(c->seen);
  c->seen = NULL;
  c->n_seen = 0;
  c->has_market_ended = true;
  uint64_t ms = trouble ? CHAIN_RETRY_MAX_MS / 4 : c->plan->settings.chain.refresh_ms;
  loop_timer_start(c->loop, &c->market_timer, on_market_timer, chain_jitter_ms(c, ms));
  chain_round_progress(c);
}

static const struct market_ops MARKET_OPS = {.on_service = on_service, .on_end = on_market_end};

static void start_market(struct chain *c) {
  if (c->market || c->network_state != NETWORK_READY || c->plan->n_discovers == 0) return;
  loop_timer_stop(c->loop, &c->market_timer);
  /* What a whole reading does not show counts as gone. */
  rpc_nodes_doubt(&c->rpc->nodes);
  c->market = market_start(c->rpc, &c->network.inference, &MARKET_OPS, c);
}

static void stop_market(struct chain *c) {
  loop_timer_stop(c->loop, &c->market_timer);
  market_free(c->market);
  c->market = NULL;
  free(c->seen);
  c->seen = NULL;
  c->n_seen = 0;
}

/* ---- adoption ---- */

static void free_nodes(char **nodes) {
  for (char **n = nodes; n && *n; n++) {
    wipe(*n, strlen(*n));
    free(*n);
  }
  free(nodes);
}

static bool same_nodes(char *const *a, char *const *b) {
  for (; a && b && *a && *b; a++, b++)
    if (strcmp(*a, *b) != 0) return false;
  return !(a && *a) && !(b && *b);
}

static char **copy_nodes(char *const *nodes) {
  size_t n = 0;
  while (nodes && nodes[n])
    n++;
  char **copy = x_calloc(n + 1, sizeof *copy);
  for (size_t i = 0; i < n; i++)
    copy[i] = x_strdup(nodes[i]);
  return copy;
}

static void stop_asking(struct chain *c) {
  loop_timer_stop(c->loop, &c->network_timer);
  if (c->network_call) rpc_cancel(c->network_call);
  c->network_call = NULL;
  stop_market(c);
  for (unsigned i = 0; i < c->n_members; i++)
    member_stop(c->members[i]);
  funder_pause(&c->funder);
}

static void use_nodes(struct chain *c, char *const *nodes) {
  stop_asking(c);
  rpc_free(c->rpc);
  free_nodes(c->nodes);
  c->nodes = copy_nodes(nodes);
  c->rpc = c->nodes[0] ? rpc_new(c->loop, c->upstream, c->nodes) : NULL;
  c->network_state = NETWORK_UNREAD;
  c->network_failures = 0;
  c->is_connected = false;
  funder_resume(&c->funder);
}

static bool same_contracts(const struct chain_settings *a, const struct chain_settings *b) {
  return a->has_ledger == b->has_ledger && a->has_inference == b->has_inference &&
         (!a->has_ledger || address_eq(&a->ledger, &b->ledger)) &&
         (!a->has_inference || address_eq(&a->inference, &b->inference));
}

static bool same_rules(const struct funding_rules *a, const struct funding_rules *b) {
  return a->is_on == b->is_on && u256_eq(a->ledger_min, b->ledger_min) &&
         u256_eq(a->per_provider, b->per_provider) && u256_eq(a->max, b->max);
}

/* Members of providers that go on are kept with what they know. */
static void take_members(struct chain *c) {
  const struct plan *plan = c->plan;
  struct member **before = c->members;
  unsigned n_before = c->n_members, n = 0;
  struct member **now = x_calloc(plan->n_entries ? plan->n_entries : 1, sizeof(struct member *));
  for (unsigned i = 0; i < plan->n_entries; i++) {
    const struct plan_entry *e = &plan->entries[i];
    if (e->provider->kind != PROVIDER_ONCHAIN) continue;
    struct member *m = NULL;
    for (unsigned k = 0; k < n_before && !m; k++) {
      if (!before[k] || before[k]->provider != e->provider) continue;
      m = before[k];
      before[k] = NULL;
    }
    if (!m) m = member_new(c, e->provider);
    m->entry = e;
    now[n++] = m;
  }
  c->members = now;
  c->n_members = n;
  for (unsigned k = 0; k < n_before; k++)
    if (before[k]) member_free(before[k]);
  free(before);
}

static void on_tick(struct wheel_timer *t) {
  struct chain *c = container_of(t, struct chain, tick_timer);
  for (unsigned i = 0; i < c->n_members; i++)
    member_tick(c->members[i]);
  funder_look(&c->funder);
  if (c->n_members) loop_timer_start(c->loop, t, on_tick, TICK_MS);
}

void chain_adopt(struct chain *c, struct plan *plan) {
  struct plan *before = c->plan;
  c->plan = plan_ref(plan);
  const struct chain_settings *s = &plan->settings.chain;
  bool has_other_contracts = before && !same_contracts(&before->settings.chain, s);
  take_members(c);
  if (!same_nodes(c->nodes, s->nodes) || has_other_contracts) use_nodes(c, s->nodes);
  if (before && !same_rules(&before->settings.chain.funding, &s->funding)) funder_rules_changed(&c->funder);
  for (unsigned i = 0; i < c->n_members; i++) {
    struct member *m = c->members[i];
    member_keep_token(m);
    member_judge(m);
    if (!m->read_ms && c->network_state == NETWORK_READY) member_read_now(m);
  }
  connect_network(c);
  start_market(c);
  if (c->n_members && !wheel_is_armed(&c->tick_timer))
    loop_timer_start(c->loop, &c->tick_timer, on_tick, TICK_MS);
  if (before) plan_unref(&before);
  chain_note(c, false);
}

bool chain_take_key(struct chain *c, struct key **key) {
  struct key *k = *key;
  *key = NULL;
  if (!k) return true;
  bool is_other = c->key && !address_eq(key_address(c->key), key_address(k));
  if (c->key) {
    key_free(k);
    return !is_other;
  }
  c->key = k;
  address_text(c->wallet, key_address(k));
  return true;
}

void chain_hurry(struct chain *c, const struct provider *p) {
  struct member *m = chain_member(c, p);
  if (m && c->network_state == NETWORK_READY) member_hurry(m);
}

void chain_hurry_all(struct chain *c) {
  for (unsigned i = 0; i < c->n_members && c->network_state == NETWORK_READY; i++)
    if (c->members[i]->standing != STANDING_READY) member_hurry(c->members[i]);
}

void chain_ask_token(struct chain *c, const struct provider *p, uint64_t serial, chain_token_done *done,
                     void *user) {
  struct member *m = chain_member(c, p);
  if (m)
    member_ask_token(m, serial, done, user);
  else
    done(user, false);
}

/* ---- life ---- */

int chain_tally_fd(const struct chain *c) {
  return tally_fd(c->funder.tally);
}

void chain_retire(struct chain *c) {
  funder_retire(&c->funder);
}

struct chain *chain_new(struct loop *loop, struct upstream *upstream, struct registry *registry, int tally,
                        const struct chain_ops *ops, void *context) {
  struct chain *c = x_calloc(1, sizeof *c);
  c->loop = loop;
  c->upstream = upstream;
  c->registry = registry;
  c->ops = ops;
  c->context = context;
  rng_seed_os(&c->rng);
  funder_init(&c->funder, c, tally);
  return c;
}

void chain_free(struct chain *c) {
  if (!c) return;
  loop_timer_stop(c->loop, &c->tick_timer);
  loop_timer_stop(c->loop, &c->news_timer);
  loop_timer_stop(c->loop, &c->round_timer);
  stop_asking(c);
  for (unsigned i = 0; i < c->n_members; i++)
    member_free(c->members[i]);
  free(c->members);
  funder_release(&c->funder);
  rpc_free(c->rpc);
  free_nodes(c->nodes);
  if (c->plan) plan_unref(&c->plan);
  key_free(c->key);
  free(c);
}
