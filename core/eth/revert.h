/*
 * revert: why a contract refused, from the data of a JSON-RPC error, and in words for a person:
 * "InsufficientAvailableBalance: 0.4 0G available, 1 0G required". The data is a selector and arguments as in
 * a call; nodes put them beside a message that is of no use. Data is hostile: see eth/abi.h.
 *
 * A struct borrows texts from the data. Thread: any.
 */
#ifndef MOONGATE_ETH_REVERT_H
#define MOONGATE_ETH_REVERT_H

#include "eth/abi.h"

#define REVERT_ARGS_MAX 3
/* The longest text that revert_text() makes. */
#define REVERT_TEXT_MAX 512

/*
 * Name, selector, signature, and what it says in words, where $1 … $3 are the arguments: "0G" behind one means
 * an amount in neuron.
 */
#define REVERT_ERRORS(X)                                                                                     \
  X(REASON, 0x08c379a0, "Error(string)", "$1")                                                               \
  X(PANIC, 0x4e487b71, "Panic(uint256)", "code $1")                                                          \
  /* inference */                                                                                            \
  X(ACCOUNT_EXISTS, 0xb3c19d64, "AccountExists(address,address)", "$1 already has a sub-account with $2")    \
  X(ACCOUNT_NOT_EXISTS, 0x08ca03ac, "AccountNotExists(address,address)", "$1 has no sub-account with $2")    \
  X(INFO_TOO_LONG, 0xef54fd9d, "AdditionalInfoTooLong()", "the additional information is too long")          \
  X(ALREADY_INITIALIZED, 0x0dc149f0, "AlreadyInitialized()", "the contract is initialised already")          \
  X(BATCH_TOO_LARGE, 0x01df19f6, "BatchSizeTooLarge(uint256,uint256)", "$1 in a batch, $2 allowed")          \
  X(CALLER_NOT_LEDGER, 0x52446b87, "CallerNotLedger(address)", "$1 is not the ledger contract")              \
  X(CANNOT_ADD_STAKE, 0x96ab6ec5, "CannotAddStakeWhenUpdating()", "an update of a service takes no stake")   \
  X(CANNOT_REVOKE, 0xfaa23877, "CannotRevokeWithNonZeroBalance(address,address,uint256)",                    \
    "the sub-account of $1 with $2 still holds $3 0G")                                                       \
  X(DIRECT_DEPOSITS, 0x0f3342be, "DirectDepositsDisabled()", "the contract takes no plain transfers")        \
  X(INSUFFICIENT_STAKE, 0x45be0a26, "InsufficientStake(uint256,uint256)", "$1 0G staked, $2 0G required")    \
  X(INVALID_ADDRESS, 0x8e4c8aa6, "InvalidAddress(address)", "$1 cannot be used here")                        \
  X(INVALID_TEE_SIGNATURE, 0x48f72277, "InvalidTEESignature(string)", "$1")                                  \
  X(LIMIT_TOO_LARGE, 0x062ba4db, "LimitTooLarge(uint256,uint256)", "$1 asked for, at most $2 at a time")     \
  X(LOCK_TIME_RANGE, 0xa730f674, "LockTimeOutOfRange(uint256,uint256,uint256)",                              \
    "$1 s is not between $2 s and $3 s")                                                                     \
  X(NO_SETTLEMENTS, 0x192912c9, "NoSettlementsProvided()", "there is nothing to settle")                     \
  X(PROVIDER_IS_USER, 0x99ed87d8, "ProviderCannotBeUser()", "a provider cannot be its own user")             \
  X(SERVICE_NOT_EXIST, 0x098eda7e, "ServiceNotExist(address)", "$1 offers no service in this contract")      \
  X(TOO_MANY_REFUNDS, 0x9edd285f, "TooManyRefunds(address,address)",                                         \
    "$1 has too many open refunds with $2; let some end first")                                              \
  X(TOO_MANY_SETTLEMENTS, 0xf1c82a57, "TooManySettlements(uint256,uint256)", "$1 at once, $2 allowed")       \
  X(TRANSFER_FAILED, 0x90b8ec18, "TransferFailed()", "the money could not be sent")                          \
  /* ledger */                                                                                               \
  X(INFO_TOO_LONG_OF, 0x69e0a42c, "AdditionalInfoTooLong(uint256,uint256)", "$1 bytes, $2 allowed")          \
  X(CALL_FAILED, 0x3204506f, "CallFailed()",                                                                 \
    "the serving contract refused and the ledger does not tell why; a first transfer needs 1 0G and a "      \
    "registered provider other than the sender")                                                             \
  X(CALLER_NOT_SERVICE, 0x1b8815cf, "CallerNotRegisteredService(address)", "$1 is no registered service")    \
  X(INSUFFICIENT_AVAILABLE, 0xadb9e043, "InsufficientAvailableBalance(uint256,uint256)",                     \
    "$1 0G available, $2 0G required")                                                                       \
  X(INSUFFICIENT_BALANCE, 0x897f6c58, "InsufficientBalance(address)", "the ledger of $1 holds too little")   \
  X(INVALID_SERVICE_ADDRESS, 0xc9b70e7a, "InvalidServiceAddress(address)", "$1 cannot be a service")         \
  X(INVALID_SERVICE_TYPE, 0x6753c722, "InvalidServiceType(string)", "there is no service type $1")           \
  X(LEDGER_EXISTS, 0xcde58aa1, "LedgerExists(address)", "$1 already has a ledger")                           \
  X(LEDGER_LOCKED, 0x689e300a, "LedgerLocked()", "the ledger is busy with another call")                     \
  X(LEDGER_NOT_EXISTS, 0x7d2d536b, "LedgerNotExists(address)", "$1 has no ledger")                           \
  X(MINIMUM_DEPOSIT, 0x54443ec4, "MinimumDepositRequired(uint256,uint256)",                                  \
    "$1 0G given, at least $2 0G required")                                                                  \
  X(MUST_WITHDRAW, 0xf6ba0ebf, "MustWithdrawAllFundsFirst(uint256)", "$1 0G must be withdrawn first")        \
  X(NO_RECOMMENDED, 0x5beadfcc, "NoRecommendedService(string)", "no service is recommended for $1")          \
  X(SERVICE_REGISTERED, 0xa6ea5e72, "ServiceAlreadyRegistered(address)", "$1 is registered already")         \
  X(SERVICE_NOT_SERVING, 0x2c433b7e, "ServiceMustImplementIServing(address)", "$1 is no serving contract")   \
  X(SERVICE_NAME_EXISTS, 0x15fcdbac, "ServiceNameExists(string)", "the name $1 is taken")                    \
  X(SERVICE_NOT_FOUND, 0xb5365807, "ServiceNotFound(address)", "$1 is not registered")                       \
  X(SERVICE_NOT_REGISTERED, 0x7a0d2d91, "ServiceNotRegistered(address)", "$1 is not registered")             \
  X(REGISTRY_FULL, 0xf1d44a51, "ServiceRegistryLimitReached(uint256)", "all $1 places are taken")            \
  X(SERVICE_TYPE_REQUIRED, 0x8dfa0f6f, "ServiceTypeRequired()", "a service type is required")                \
  X(TOO_MANY_PROVIDERS, 0x829e4c32, "TooManyProviders(uint256,uint256)", "$1 at once, $2 allowed")           \
  X(TOO_MANY_PROVIDERS_FOR_SERVICE, 0xe9499337, "TooManyProvidersForService(uint256,uint256)",               \
    "sub-accounts with $1 providers, $2 allowed")                                                            \
  X(VERSION_REQUIRED, 0x742622a8, "VersionRequired()", "a version is required")                              \
  X(ZERO_ADDRESS, 0x8579befe, "ZeroAddressNotAllowed()", "the zero address is not allowed")                  \
  X(ZERO_AMOUNT, 0x0f43956a, "ZeroAmountNotAllowed()", "the amount is zero")

#define REVERT_ENUM_(name, selector, signature, words) REVERT_##name,
enum revert_id {
  REVERT_NO_DATA, /* refused without a reason */
  REVERT_UNKNOWN, /* a selector that is not ours, or arguments that do not fit it */
  REVERT_ERRORS(REVERT_ENUM_)
};
#undef REVERT_ENUM_

enum revert_arg_type { REVERT_ARG_ADDRESS, REVERT_ARG_NUMBER, REVERT_ARG_STRING };

struct revert_arg {
  enum revert_arg_type type;
  struct address address;
  struct u256 number;
  struct span string; /* valid UTF-8 of any content: pass it through revert_text() only */
};

struct revert {
  enum revert_id id;
  uint32_t selector; /* 0 when the data is shorter */
  struct span name;  /* "InsufficientAvailableBalance"; empty when the id is one of the first two */
  const char *signature;
  struct revert_arg args[REVERT_ARGS_MAX];
  size_t n_args;
};

void revert_read(struct revert *out, struct span data);
/*
 * One line without control characters, with its NUL, cut where it would be longer than REVERT_TEXT_MAX.
 * Returns the length.
 */
size_t revert_text(char out[REVERT_TEXT_MAX + 1], const struct revert *r);

#endif
