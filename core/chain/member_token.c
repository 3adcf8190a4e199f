/*
 * member_token: a provider's session token, made ahead of its need. A new one comes when there is none, when three
 * quarters of its life (and a little chance) have passed, when the account's generation has changed, and when the provider
 * refused the one before. The wall clock decides, looked at once a second, so that a clock that jumps or a machine
 * that slept changes nothing.
 */
#include "chain/chain_private.h"

#include "base/clock.h"
#include "eth/token.h"

#include <stdlib.h>

#define BEARER "Bearer "

struct token_wish_of {
  struct list node;
  chain_token_done *done;
  void *user;
};

static bool make_token(struct member *m) {
  struct chain *c = m->chain;
  uint64_t now = clock_wall_ms(), life = c->plan->settings.chain.token_lifetime_ms;
  struct token t;
  struct token_wish wish = {
      .provider = span_str(m->provider->id),
      .mode = TOKEN_EPHEMERAL,
      .duration_ms = (int64_t)life,
      .now_ms = (int64_t)now,
      .generation = m->generation,
  };
  enum token_fault fault = token_make(&t, &wish, c->key);
  if (fault) {
    log_error("no session token for provider %s can be made: %s", m->provider->id, token_fault_text(fault));
    return false;
  }
  struct span text = span_make(t.text, t.len);
  REQUIRE(span_starts(text, SPAN(BEARER)));
  provider_set_token(m->provider, span_make(text.ptr + sizeof BEARER - 1, text.len - (sizeof BEARER - 1)),
                     (uint64_t)t.expires_at_ms);
  token_wipe(&t);
  m->token_generation = m->generation;
  m->renew_wall_ms = now + life / 4 * 3 + rng_u64(&c->rng) % (life / 7 + 1);
  log_debug("provider %s has a new session token", m->provider->id);
  return true;
}

void member_keep_token(struct member *m) {
  if (!member_has_wallet(m)) {
    if (m->renew_wall_ms) provider_set_token(m->provider, SPAN_NONE, 0);
    m->renew_wall_ms = 0;
    return;
  }
  uint64_t now = clock_wall_ms(), life = m->chain->plan->settings.chain.token_lifetime_ms;
  bool is_due = m->renew_wall_ms == 0 || now >= m->renew_wall_ms || m->token_generation != m->generation;
  /* A clock that was set back, or a shorter life that is configured now. */
  if (m->renew_wall_ms > now + life) is_due = true;
  if (is_due) (void)make_token(m);
}

/* ---- refused tokens ---- */

static void answer_wishes(struct member *m, bool has_fresh) {
  struct list *node;
  loop_timer_stop(m->chain->loop, &m->token_clock);
  if (m->token_call) rpc_cancel(m->token_call);
  m->token_call = NULL;
  while ((node = list_pop_front(&m->wishes))) {
    struct token_wish_of *w = container_of(node, struct token_wish_of, node);
    w->done(w->user, has_fresh);
    free(w);
  }
}

void member_drop_tokens(struct member *m) {
  answer_wishes(m, false);
  if (m->renew_wall_ms) provider_set_token(m->provider, SPAN_NONE, 0);
  m->renew_wall_ms = 0;
}

/* With the generation as it is now known. */
static void renew(struct member *m) {
  bool is_made = make_token(m);
  m->renewed_ms = loop_now_ms(m->chain->loop);
  if (is_made) {
    log_info("provider %s refused the session token: it has a new one (generation %llu)", m->provider->id,
             (unsigned long long)m->generation);
    provider_end_account_pause(m->provider, clock_mono_ms());
  }
  answer_wishes(m, is_made);
}

static void on_account(void *user, const struct rpc_outcome *o) {
  struct member *m = user;
  struct buf bytes;
  struct account a;
  m->token_call = NULL;
  buf_init(&bytes, RPC_ANSWER_MAX / 2);
  if (rpc_result_bytes(&bytes, o) && contract_read_account(&a, buf_span(&bytes)) == 0)
    m->generation = u256_to_u64(a.generation);
  buf_release(&bytes);
  renew(m);
}

static void on_late(struct wheel_timer *t) {
  renew(container_of(t, struct member, token_clock));
}

void member_ask_token(struct member *m, uint64_t serial, chain_token_done *done, void *user) {
  struct chain *c = m->chain;
  char token[PROVIDER_TOKEN_MAX];
  uint64_t is_serial;
  size_t len = provider_copy_token(m->provider, token, &is_serial);
  wipe(token, sizeof token);
  if (len && is_serial != serial) {
    done(user, true);
    return;
  }
  bool is_too_soon = m->renewed_ms && loop_now_ms(c->loop) - m->renewed_ms < TOKEN_AGAIN_MS && len;
  if (!member_has_wallet(m) || (is_too_soon && list_is_empty(&m->wishes))) {
    done(user, false);
    return;
  }
  bool is_first = list_is_empty(&m->wishes);
  struct token_wish_of *w = x_calloc(1, sizeof *w);
  w->done = done;
  w->user = user;
  list_push_back(&m->wishes, &w->node);
  if (!is_first) return;
  if (!c->rpc || c->network_state != NETWORK_READY) {
    renew(m);
    return;
  }
  struct buf calldata;
  buf_init(&calldata, 256);
  int err = contract_get_account(&calldata, key_address(c->key), &m->address);
  REQUIRE(!err);
  m->token_call = rpc_view(c->rpc, &c->network.inference, buf_span(&calldata), on_account, m);
  buf_release(&calldata);
  loop_timer_start(c->loop, &m->token_clock, on_late, TOKEN_WAIT_MS);
}
