#include "flow/admin_chain.h"
#include "eth/fee.h"

#include <math.h>

static double load_double(const double *at) {
  double x;
  __atomic_load(at, &x, __ATOMIC_RELAXED);
  return x;
}

static void put_span(struct json_writer *w, const char *key, struct span text) {
  json_key(w, key);
  json_string(w, text);
}

static void put_price(struct json_writer *w, const char *key, const struct service *s, struct u256 each) {
  char text[U256_0G_MAX];
  size_t len = u256_0g_text(text, fee_for_people(s->service_type, each));
  put_span(w, key, span_make(text, len - strlen(" 0G")));
}

void admin_put_service(struct json_writer *w, const struct plan_entry *e) {
  struct provider *p = e->provider;
  if (p->kind != PROVIDER_ONCHAIN) return;
  json_key(w, "chain");
  json_open(w, '{');
  if (e->service) {
    const struct service *s = e->service;
    char signer[ADDRESS_TEXT_LEN + 1];
    address_text(signer, &s->tee_signer);
    put_span(w, "serviceType", s->service_type);
    put_span(w, "model", s->model);
    put_span(w, "url", s->url);
    put_span(w, "verifiability", s->verifiability);
    json_key(w, "verifiable");
    json_bool(w, record_is_verifiable(e->record));
    put_price(w, "priceIn", s, s->input_price);
    put_price(w, "priceOut", s, s->output_price);
    put_span(w, "priceUnit", fee_is_by_image(s->service_type) ? SPAN("image") : SPAN("1M tokens"));
    put_span(w, "signer", span_str(signer));
    json_key(w, "signerAcknowledged");
    json_bool(w, s->tee_signer_acknowledged);
  }
  json_key(w, "balance");
  json_double(w, load_double(&p->balance) / 1e18);
  json_key(w, "runwayS");
  json_double(w, load_double(&p->runway_s));
  json_key(w, "tokenExpires");
  uint64_t expires = __atomic_load_n(&p->token_expires_wall_ms, __ATOMIC_RELAXED);
  if (expires)
    json_int(w, (int64_t)expires);
  else
    json_null(w);
  json_close(w, '}');
}

/* ---- the whole ---- */

/* An empty text is null. */
static void put_text(struct json_writer *w, const char *key, const char *text) {
  json_key(w, key);
  json_cstring(w, text[0] ? text : NULL);
}

static void put_funding(struct json_writer *w, const struct chain_status *c) {
  json_key(w, "funding");
  json_open(w, '{');
  json_key(w, "isOn");
  json_bool(w, c->is_funding);
  put_text(w, "max", c->is_funding ? c->max : "");
  put_text(w, "moved", c->moved);
  put_text(w, "deposits", c->deposits);
  put_text(w, "transfers", c->transfers);
  put_text(w, "fees", c->fees);
  put_text(w, "ledger", c->available);
  json_key(w, "transactions");
  json_int(w, c->n_transactions);
  put_text(w, "lastTransaction", c->last_transaction);
  put_text(w, "blocked", c->blocked);
  json_close(w, '}');
}

void admin_put_chain(struct json_writer *w, struct shared *s, bool all) {
  struct chain_status c;
  pthread_mutex_lock(&s->status_lock);
  c = s->chain;
  pthread_mutex_unlock(&s->status_lock);
  if (!c.is_on) return;
  json_key(w, "chain");
  json_open(w, '{');
  json_key(w, "chainId");
  if (c.chain_id)
    json_int(w, (int64_t)c.chain_id);
  else
    json_null(w);
  put_text(w, "network", c.network);
  put_text(w, "trouble", c.trouble);
  json_key(w, "lastRead");
  if (c.read_wall_ms)
    json_int(w, (int64_t)c.read_wall_ms);
  else
    json_null(w);
  if (all) {
    put_text(w, "ledger", c.ledger);
    put_text(w, "inference", c.inference);
    put_text(w, "wallet", c.wallet);
    json_key(w, "services");
    if (c.n_services)
      json_int(w, c.n_services);
    else
      json_null(w);
    json_key(w, "calls");
    json_int(w, (int64_t)c.calls);
    json_key(w, "failedCalls");
    json_int(w, (int64_t)c.failures);
    put_funding(w, &c);
  }
  json_close(w, '}');
}
