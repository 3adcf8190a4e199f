/*
 * outcome: how one attempt at one provider ended. The closed set of classes feeds retry, health, statistics,
 * metrics and the log line, so that they cannot disagree. The numbers are part of the script ABI
 * (script/abi_decl.h repeats them, script/abi.h asserts that they agree): append only.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_MODEL_OUTCOME_H
#define MOONGATE_MODEL_OUTCOME_H

#include "base/span.h"

/* name, text, what follows by default: R = try the next provider, H = counts against the provider's health */
#define OUTCOME_MAP(X)                                                                                       \
  X(OK, "ok", 0, 0)                                                                                          \
  X(CONNECT, "connect", 1, 1)                                                                                \
  X(TLS, "tls", 1, 1)                                                                                        \
  X(DNS, "dns", 1, 1)                                                                                        \
  X(TIMEOUT_CONNECT, "timeout_connect", 1, 1)                                                                \
  X(TIMEOUT_TTFT, "timeout_ttft", 1, 1)                                                                      \
  X(TIMEOUT_IDLE, "timeout_idle", 1, 1)                                                                      \
  X(TIMEOUT_TOTAL, "timeout_total", 1, 1)                                                                    \
  X(RATE_LIMITED, "rate_limited", 1, 0)                                                                      \
  X(EXHAUSTED, "exhausted", 1, 0)                                                                            \
  X(AUTH, "auth", 1, 0)                                                                                      \
  X(OVERLOADED, "overloaded", 1, 1)                                                                          \
  X(SERVER, "server", 1, 1)                                                                                  \
  X(BAD_RESPONSE, "bad_response", 1, 1)                                                                      \
  X(STREAM_TRUNCATED, "stream_truncated", 1, 1)                                                              \
  X(CLIENT_ERROR, "client_error", 0, 0)                                                                      \
  X(CONTENT_POLICY, "content_policy", 0, 0)                                                                  \
  X(CLIENT_CLOSED, "client_closed", 0, 0)

enum outcome_class {
#define OUTCOME_ENUM_(name, text, retry, health) OUTCOME_##name,
  OUTCOME_MAP(OUTCOME_ENUM_)
#undef OUTCOME_ENUM_
      OUTCOME_N
};

struct outcome {
  enum outcome_class class;
  int status;                           /* the provider's HTTP status, 0 when none came */
  uint32_t retry_after_ms;              /* from its Retry-After, 0 when it sent none */
  double connect_ms, ttft_ms, total_ms; /* NaN when that point was not reached */
  int64_t tokens_in, tokens_out;        /* -1: unknown */
  bool committed;                       /* bytes of this attempt have reached the client */
  bool is_retry;                        /* another attempt of the request was before it */
  const char *reason;                   /* more than the class says; borrowed; NULL: nothing */
};

const char *outcome_name(enum outcome_class c);
/* Whether, by default, another provider is tried. */
bool outcome_is_retryable(enum outcome_class c);
/* Whether it counts as a failure of the provider. */
bool outcome_harms_health(enum outcome_class c);

/*
 * The class of a complete or partial answer by its status and (for 400 and 429) the first bytes of its body:
 *   2xx OK · 401, 403 AUTH · 402 EXHAUSTED · 408, 503, 529 OVERLOADED · other 5xx SERVER
 *   429 RATE_LIMITED, with the code insufficient_quota or a billing code EXHAUSTED
 *   400 CLIENT_ERROR, but CONTENT_POLICY for content_filter and content_policy_violation, AUTH and EXHAUSTED for the
 *       account texts of 0G providers (which have no 401 and 402), read at the start of the error's message only
 *   other 4xx CLIENT_ERROR · everything else, 1xx and 3xx included, BAD_RESPONSE
 */
enum outcome_class outcome_of_status(int status, struct span body);

/*
 * The message of an error body: {"error":"message"}, {"error":{"message"}} or {"message"}, as it stands there (escapes
 * undecoded, as far as the body goes); empty when there is none.
 */
struct span outcome_error_text(struct span body);

#endif
