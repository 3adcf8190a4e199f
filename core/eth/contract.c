#include "eth/contract.h"

/* What was appended to a buffer goes again when a call did not fit. */
static int finish(struct abi_writer *w, size_t before) {
  int err = abi_end(w);
  if (err) w->out->len = before;
  return err;
}

static int call_0(struct buf *out, enum contract_selector f) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)f, 0);
  return finish(&w, before);
}

static int call_address(struct buf *out, enum contract_selector f, const struct address *a) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)f, 1);
  abi_put_address(&w, a);
  return finish(&w, before);
}

static int call_addresses(struct buf *out, enum contract_selector f, const struct address *a,
                          const struct address *b) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)f, 2);
  abi_put_address(&w, a);
  abi_put_address(&w, b);
  return finish(&w, before);
}

static int call_address_number(struct buf *out, enum contract_selector f, const struct address *a,
                               uint64_t n) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)f, 2);
  abi_put_address(&w, a);
  abi_put_u64(&w, n);
  return finish(&w, before);
}

static int call_text(struct buf *out, enum contract_selector f, struct span text) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)f, 1);
  abi_put_bytes(&w, text);
  return finish(&w, before);
}

/* ---- inference ---- */

int contract_get_service(struct buf *out, const struct address *provider) {
  return call_address(out, CONTRACT_GET_SERVICE, provider);
}

int contract_get_all_services(struct buf *out, uint64_t offset, uint64_t limit) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_GET_ALL_SERVICES, 2);
  abi_put_u64(&w, offset);
  abi_put_u64(&w, limit);
  return finish(&w, before);
}

int contract_get_account(struct buf *out, const struct address *user, const struct address *provider) {
  return call_addresses(out, CONTRACT_GET_ACCOUNT, user, provider);
}

int contract_get_accounts_by_user(struct buf *out, const struct address *user, uint64_t offset,
                                  uint64_t limit) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_GET_ACCOUNTS_BY_USER, 3);
  abi_put_address(&w, user);
  abi_put_u64(&w, offset);
  abi_put_u64(&w, limit);
  return finish(&w, before);
}

int contract_account_exists(struct buf *out, const struct address *user, const struct address *provider) {
  return call_addresses(out, CONTRACT_ACCOUNT_EXISTS, user, provider);
}

int contract_service_exists(struct buf *out, const struct address *provider) {
  return call_address(out, CONTRACT_SERVICE_EXISTS, provider);
}

int contract_get_pending_refund(struct buf *out, const struct address *user, const struct address *provider) {
  return call_addresses(out, CONTRACT_GET_PENDING_REFUND, user, provider);
}

int contract_is_token_revoked(struct buf *out, const struct address *user, const struct address *provider,
                              uint8_t token_id) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_IS_TOKEN_REVOKED, 3);
  abi_put_address(&w, user);
  abi_put_address(&w, provider);
  abi_put_u64(&w, token_id);
  return finish(&w, before);
}

int contract_lock_time(struct buf *out) {
  return call_0(out, CONTRACT_LOCK_TIME);
}

int contract_ledger_address(struct buf *out) {
  return call_0(out, CONTRACT_LEDGER_ADDRESS);
}

int contract_acknowledge_tee_signer(struct buf *out, const struct address *provider, bool acknowledged) {
  return call_address_number(out, CONTRACT_ACKNOWLEDGE_TEE_SIGNER, provider, acknowledged);
}

int contract_revoke_token(struct buf *out, const struct address *provider, uint8_t token_id) {
  return call_address_number(out, CONTRACT_REVOKE_TOKEN, provider, token_id);
}

int contract_revoke_tokens(struct buf *out, const struct address *provider, const uint8_t *token_ids,
                           size_t n) {
  struct abi_writer w, ids;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_REVOKE_TOKENS, 2);
  abi_put_address(&w, provider);
  abi_put_array(&ids, &w, n, 1);
  for (size_t i = 0; i < n; i++)
    abi_put_u64(&ids, token_ids[i]);
  return finish(&w, before);
}

int contract_revoke_all_tokens(struct buf *out, const struct address *provider) {
  return call_address(out, CONTRACT_REVOKE_ALL_TOKENS, provider);
}

/* ---- ledger ---- */

int contract_get_ledger(struct buf *out, const struct address *user) {
  return call_address(out, CONTRACT_GET_LEDGER, user);
}

int contract_get_service_info(struct buf *out, const struct address *service_contract) {
  return call_address(out, CONTRACT_GET_SERVICE_INFO, service_contract);
}

int contract_get_service_address_by_name(struct buf *out, struct span name) {
  return call_text(out, CONTRACT_GET_SERVICE_ADDRESS_BY_NAME, name);
}

int contract_get_recommended_service(struct buf *out, struct span service_type) {
  return call_text(out, CONTRACT_GET_RECOMMENDED_SERVICE, service_type);
}

int contract_get_ledger_providers(struct buf *out, const struct address *user, struct span service_name) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_GET_LEDGER_PROVIDERS, 2);
  abi_put_address(&w, user);
  abi_put_bytes(&w, service_name);
  return finish(&w, before);
}

int contract_add_ledger(struct buf *out, struct span additional_info) {
  return call_text(out, CONTRACT_ADD_LEDGER, additional_info);
}

int contract_deposit_fund(struct buf *out) {
  return call_0(out, CONTRACT_DEPOSIT_FUND);
}

int contract_deposit_fund_for(struct buf *out, const struct address *recipient) {
  return call_address(out, CONTRACT_DEPOSIT_FUND_FOR, recipient);
}

int contract_transfer_fund(struct buf *out, const struct address *provider, struct span service_name,
                           struct u256 amount) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_TRANSFER_FUND, 3);
  abi_put_address(&w, provider);
  abi_put_bytes(&w, service_name);
  abi_put_u256(&w, amount);
  return finish(&w, before);
}

int contract_retrieve_fund(struct buf *out, const struct address *providers, size_t n,
                           struct span service_name) {
  struct abi_writer w, list;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_RETRIEVE_FUND, 2);
  abi_put_array(&list, &w, n, 1);
  for (size_t i = 0; i < n; i++)
    abi_put_address(&list, &providers[i]);
  abi_put_bytes(&w, service_name);
  return finish(&w, before);
}

int contract_refund(struct buf *out, struct u256 amount) {
  struct abi_writer w;
  size_t before = out->len;
  abi_call(&w, out, (uint32_t)CONTRACT_REFUND, 1);
  abi_put_u256(&w, amount);
  return finish(&w, before);
}

int contract_delete_ledger(struct buf *out) {
  return call_0(out, CONTRACT_DELETE_LEDGER);
}
