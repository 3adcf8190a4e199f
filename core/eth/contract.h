/*
 * contract: the calls of the network's two contracts, typed. Builders append calldata to the caller's buffer;
 * readers turn return data into structs that borrow their texts from it and hold no memory of their own: the
 * data must outlive them. Facts: contracts InferenceServing and LedgerManager, v1.0.
 *
 * Builders return 0 or ERR_TOO_LARGE and append nothing on an error. Readers return 0, or ERR_SYNTAX /
 * ERR_TOO_LARGE (see eth/abi.h) for data that no contract returns; out is then not to be used. Thread: any.
 */
#ifndef MOONGATE_ETH_CONTRACT_H
#define MOONGATE_ETH_CONTRACT_H

#include "base/buf.h"
#include "eth/abi.h"

/* getAllServices and the like revert above this; 0 means this. */
#define CONTRACT_PAGE_MAX 50
/* tokenId is a uint8; this one is the ephemeral tokens', which cannot be revoked one by one. */
#define CONTRACT_TOKEN_EPHEMERAL 255

/* ---- functions: name, selector, signature ---- */

#define CONTRACT_FUNCTIONS(X)                                                                                \
  X(GET_SERVICE, 0x15a52302, "getService(address)")                                                          \
  X(GET_ALL_SERVICES, 0xa09cfca9, "getAllServices(uint256,uint256)")                                         \
  X(GET_ACCOUNT, 0xfd590847, "getAccount(address,address)")                                                  \
  X(GET_ACCOUNTS_BY_USER, 0x4fe63f4d, "getAccountsByUser(address,uint256,uint256)")                          \
  X(ACCOUNT_EXISTS, 0x147500e3, "accountExists(address,address)")                                            \
  X(SERVICE_EXISTS, 0x0a2a8f88, "serviceExists(address)")                                                    \
  X(GET_PENDING_REFUND, 0x264173d6, "getPendingRefund(address,address)")                                     \
  X(IS_TOKEN_REVOKED, 0x405a85e8, "isTokenRevoked(address,address,uint8)")                                   \
  X(LOCK_TIME, 0x0d668087, "lockTime()")                                                                     \
  X(LEDGER_ADDRESS, 0xd1d20056, "ledgerAddress()")                                                           \
  X(ACKNOWLEDGE_TEE_SIGNER, 0x7ff6fc1c, "acknowledgeTEESigner(address,bool)")                                \
  X(REVOKE_TOKEN, 0x1d07cb97, "revokeToken(address,uint8)")                                                  \
  X(REVOKE_TOKENS, 0x17c30a03, "revokeTokens(address,uint8[])")                                              \
  X(REVOKE_ALL_TOKENS, 0xcab33d8f, "revokeAllTokens(address)")                                               \
  X(GET_LEDGER, 0xf7cd6af9, "getLedger(address)")                                                            \
  X(GET_SERVICE_INFO, 0xe032f732, "getServiceInfo(address)")                                                 \
  X(GET_SERVICE_ADDRESS_BY_NAME, 0xb8d5e581, "getServiceAddressByName(string)")                              \
  X(GET_RECOMMENDED_SERVICE, 0x0e864174, "getRecommendedService(string)")                                    \
  X(GET_LEDGER_PROVIDERS, 0xaef42173, "getLedgerProviders(address,string)")                                  \
  X(ADD_LEDGER, 0xc5e53f7e, "addLedger(string)")                                                             \
  X(DEPOSIT_FUND, 0x8d0d8cb6, "depositFund()")                                                               \
  X(DEPOSIT_FUND_FOR, 0xf585f3ea, "depositFundFor(address)")                                                 \
  X(TRANSFER_FUND, 0x2ba43b82, "transferFund(address,string,uint256)")                                       \
  X(RETRIEVE_FUND, 0x31404a19, "retrieveFund(address[],string)")                                             \
  X(REFUND, 0x278ecde1, "refund(uint256)")                                                                   \
  X(DELETE_LEDGER, 0x410b3815, "deleteLedger()")

#define CONTRACT_SELECTOR_(name, selector, signature) CONTRACT_##name = (int32_t)(uint32_t)(selector),
enum contract_selector { CONTRACT_FUNCTIONS(CONTRACT_SELECTOR_) };
#undef CONTRACT_SELECTOR_

/* ---- calls of the inference contract ---- */

int contract_get_service(struct buf *out, const struct address *provider) MUST_CHECK;
int contract_get_all_services(struct buf *out, uint64_t offset, uint64_t limit) MUST_CHECK;
int contract_get_account(struct buf *out, const struct address *user,
                         const struct address *provider) MUST_CHECK;
int contract_get_accounts_by_user(struct buf *out, const struct address *user, uint64_t offset,
                                  uint64_t limit) MUST_CHECK;
int contract_account_exists(struct buf *out, const struct address *user,
                            const struct address *provider) MUST_CHECK;
int contract_service_exists(struct buf *out, const struct address *provider) MUST_CHECK;
int contract_get_pending_refund(struct buf *out, const struct address *user,
                                const struct address *provider) MUST_CHECK;
int contract_is_token_revoked(struct buf *out, const struct address *user, const struct address *provider,
                              uint8_t token_id) MUST_CHECK;
int contract_lock_time(struct buf *out) MUST_CHECK;
int contract_ledger_address(struct buf *out) MUST_CHECK;
int contract_acknowledge_tee_signer(struct buf *out, const struct address *provider,
                                    bool acknowledged) MUST_CHECK;
int contract_revoke_token(struct buf *out, const struct address *provider, uint8_t token_id) MUST_CHECK;
int contract_revoke_tokens(struct buf *out, const struct address *provider, const uint8_t *token_ids,
                           size_t n) MUST_CHECK;
int contract_revoke_all_tokens(struct buf *out, const struct address *provider) MUST_CHECK;

/* ---- calls of the ledger contract ---- */

int contract_get_ledger(struct buf *out, const struct address *user) MUST_CHECK;
int contract_get_service_info(struct buf *out, const struct address *service_contract) MUST_CHECK;
int contract_get_service_address_by_name(struct buf *out, struct span name) MUST_CHECK;
int contract_get_recommended_service(struct buf *out, struct span service_type) MUST_CHECK;
int contract_get_ledger_providers(struct buf *out, const struct address *user,
                                  struct span service_name) MUST_CHECK;
/* Payable: value at least 3 0G for a new ledger. */
int contract_add_ledger(struct buf *out, struct span additional_info) MUST_CHECK;
int contract_deposit_fund(struct buf *out) MUST_CHECK;
int contract_deposit_fund_for(struct buf *out, const struct address *recipient) MUST_CHECK;
/*
 * To a sub-account, at least 1 0G the first time. `service_name` is service_info.full_name of the inference
 * contract ("inference-v1.0"). Sets the account's `acknowledged` as well.
 */
int contract_transfer_fund(struct buf *out, const struct address *provider, struct span service_name,
                           struct u256 amount) MUST_CHECK;
int contract_retrieve_fund(struct buf *out, const struct address *providers, size_t n,
                           struct span service_name) MUST_CHECK;
int contract_refund(struct buf *out, struct u256 amount) MUST_CHECK;
int contract_delete_ledger(struct buf *out) MUST_CHECK;

/* ---- what they return ---- */

/* A provider's entry in the inference contract. Prices are neuron per token, or per image. */
struct service {
  struct address provider;
  struct span service_type; /* "chatbot", "text-to-image", "image-editing", "speech-to-text", … */
  struct span url;          /* without "/v1/proxy"; may end in a slash, or be anything */
  struct u256 input_price, output_price;
  struct u256 updated_at; /* unix seconds */
  struct span model;
  struct span verifiability;   /* "TeeML", "OpML" and "ZKML" can be verified */
  struct span additional_info; /* JSON, at most 4096 bytes by the contract's rule */
  struct address tee_signer;
  bool tee_signer_acknowledged; /* by the contract's owner */
};

/* Money on its way back to the ledger. */
struct refund {
  struct u256 index, amount;
  struct u256 created_at; /* unix seconds */
  bool processed;
};

/* A user's sub-account with one provider. Amounts are neuron. */
struct account {
  struct address user, provider;
  struct u256 nonce, balance, pending_refund;
  struct span refunds; /* of checked words; see account_refund() */
  size_t n_refunds;    /* slots; only the first valid_refunds count */
  struct span additional_info;
  bool acknowledged; /* the user trusts the provider's signer */
  struct u256 valid_refunds, generation, revoked_bitmap;
};

struct ledger {
  struct address user;
  struct u256 available_balance, total_balance;
  struct span additional_info;
};

/* The registry's entry of a serving contract; all zero and empty when it is not registered. */
struct service_info {
  struct address service_address, service_contract;
  struct span service_type, version, full_name, description;
  bool is_recommended;
  struct u256 registered_at;
};

int contract_read_service(struct service *out, struct span data) MUST_CHECK;
/*
 * One page. At most `max` entries are written (ERR_TOO_LARGE when there are more: a page never has more than
 * CONTRACT_PAGE_MAX); *n is how many, *total how many the contract has.
 */
int contract_read_services(struct service *out, size_t max, size_t *n, struct u256 *total,
                           struct span data) MUST_CHECK;
int contract_read_account(struct account *out, struct span data) MUST_CHECK;
int contract_read_accounts(struct account *out, size_t max, size_t *n, struct u256 *total,
                           struct span data) MUST_CHECK;
/* Slot i, below n_refunds. */
struct refund account_refund(const struct account *a, size_t i);
int contract_read_ledger(struct ledger *out, struct span data) MUST_CHECK;
int contract_read_service_info(struct service_info *out, struct span data) MUST_CHECK;
/* address[]: getLedgerProviders. */
int contract_read_addresses(struct address *out, size_t max, size_t *n, struct span data) MUST_CHECK;
/* getRecommendedService. */
int contract_read_version(struct span *version, struct address *service, struct span data) MUST_CHECK;
int contract_read_bool(bool *out, struct span data) MUST_CHECK;
int contract_read_u256(struct u256 *out, struct span data) MUST_CHECK;
int contract_read_address(struct address *out, struct span data) MUST_CHECK;

#endif
