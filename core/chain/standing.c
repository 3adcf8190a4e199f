#include "chain/standing.h"

#include <stdio.h>

PRINTF_LIKE(3, 4)
static void say(char out[PROVIDER_REASON_MAX], const struct standing_facts *f, const char *fmt, ...) {
  int n = snprintf(out, PROVIDER_REASON_MAX, "Failed to initialize provider %s: ", f->entry->provider->id);
  va_list args;
  va_start(args, fmt);
  (void)vsnprintf(out + n, PROVIDER_REASON_MAX - (size_t)n, fmt, args);
  va_end(args);
}

/* What stands in the way of knowing the service; READY when it is known, or when the configuration knows enough. */
static enum standing judge_reading(char out[PROVIDER_REASON_MAX], const struct standing_facts *f) {
  bool is_configured = f->entry->has_endpoint && !f->entry->is_endpoint_of_record;
  if (f->service == READING_MISSING) {
    say(out, f,
        "the contract %s has no service of that address: `moongate providers` lists those that it has",
        f->contract);
    return STANDING_NO_SERVICE;
  }
  if (f->entry->record || is_configured) return STANDING_READY;
  if (!f->has_nodes) {
    say(out, f, "no node of the chain is configured: set rpc = \"https://evmrpc.0g.ai\"");
    return STANDING_NO_NODE;
  }
  if (f->network_trouble) {
    say(out, f, "%s", f->network_trouble);
    return STANDING_NO_NETWORK;
  }
  if (f->trouble) {
    say(out, f, "%s", f->trouble);
    return f->is_connected ? STANDING_NO_SERVICE : STANDING_NO_NODE;
  }
  say(out, f, "its service is being read from the chain");
  return STANDING_WAITING;
}

static enum standing judge_service(char out[PROVIDER_REASON_MAX], const struct standing_facts *f) {
  const struct service *s = f->entry->service;
  if (!s) return STANDING_READY;
  if (f->entry->is_private_url) {
    say(out, f,
        "its url in the contract leads into a private network (\"%.*s\"): set allowPrivateProviders = true "
        "if that "
        "is meant",
        (int)(s->url.len < 80 ? s->url.len : 80), s->url.ptr);
    return STANDING_NO_SERVICE;
  }
  if (!f->entry->has_endpoint) {
    say(out, f, "its url in the contract cannot be used: \"%.*s\"", (int)(s->url.len < 80 ? s->url.len : 80),
        s->url.ptr);
    return STANDING_NO_SERVICE;
  }
  if (s->verifiability.len == 0 && !f->entry->takes_unverified) {
    say(out, f,
        "its answers cannot be verified (no verifiability in the contract): set unverified = true beside its "
        "address "
        "to use it all the same");
    return STANDING_UNVERIFIABLE;
  }
  if (!s->tee_signer_acknowledged) {
    say(out, f,
        "its signer has not been acknowledged by the contract's owner, so it refuses requests: wait until it "
        "has, or "
        "take another one (`moongate providers --verifiable`)");
    return STANDING_UNACKNOWLEDGED_SIGNER;
  }
  return STANDING_READY;
}

static enum standing judge_account(char out[PROVIDER_REASON_MAX], const struct standing_facts *f) {
  const char *id = f->entry->provider->id;
  bool is_configured = f->entry->has_endpoint && !f->entry->is_endpoint_of_record;
  if (f->entry->api_key) return STANDING_READY;
  if (!f->wallet) {
    if (is_configured) return STANDING_READY;
    say(out, f, "there is no wallet: set the environment variable ZG_PRIVATE_KEY, or keyFile, or its apiKey");
    return STANDING_NO_WALLET;
  }
  if (f->account == READING_NOT) {
    /* Without any node the configuration alone decides; what the provider says of the account comes with its answers. */
    if (is_configured && (!f->has_nodes || f->trouble || f->network_trouble)) return STANDING_READY;
    if (f->trouble)
      say(out, f, "%s", f->trouble);
    else
      say(out, f, "its sub-account is being read from the chain");
    return f->trouble ? STANDING_NO_NODE : STANDING_WAITING;
  }
  bool is_empty = f->account == READING_MISSING || u256_cmp(f->locked, f->owed) <= 0;
  struct u256 enough;
  if (u256_add(&enough, f->per_provider, f->per_provider)) enough = U256_MAX;
  if (is_empty && f->is_funding && f->account == READING_THERE && u256_cmp(f->locked, enough) >= 0) {
    char owed[U256_0G_MAX], has[U256_0G_MAX];
    (void)u256_0g_text(owed, f->owed);
    (void)u256_0g_text(has, f->locked);
    say(out, f,
        "by its word %s are owed to it, of %s in its sub-account, which is twice autoFunding.perProvider: "
        "raise that, or "
        "take another provider",
        owed, has);
    return STANDING_UNFUNDED;
  }
  if (is_empty && f->is_funding) {
    say(out, f, "its sub-account is %s and %s%s", f->account == READING_MISSING ? "not there" : "used up",
        f->funding ? "autoFunding does not help: " : "is being funded", f->funding ? f->funding : "");
    return STANDING_UNFUNDED;
  }
  if (is_empty) {
    say(out, f,
        "wallet %s has %s: set autoFunding = { ledgerMin = 3, perProvider = 2, max = 10 }, or run "
        "`0g-compute-cli "
        "transfer-fund --service inference --provider %s --amount 2` (for a new wallet, before that, "
        "`0g-compute-cli add-account --amount 5`)",
        f->wallet,
        f->account == READING_MISSING ? "no sub-account with it" : "nothing left in its sub-account", id);
    return STANDING_UNFUNDED;
  }
  if (!f->is_acknowledged) {
    say(out, f,
        "wallet %s has not acknowledged its signer: run `0g-compute-cli inference acknowledge-provider "
        "--provider %s`, "
        "or set autoFunding",
        f->wallet, id);
    return STANDING_UNACKNOWLEDGED;
  }
  return STANDING_READY;
}

enum standing standing_judge(char out[PROVIDER_REASON_MAX], const struct standing_facts *f) {
  out[0] = '\0';
  enum standing s = judge_reading(out, f);
  if (s == STANDING_READY) s = judge_service(out, f);
  if (s == STANDING_READY) s = judge_account(out, f);
  return s;
}
