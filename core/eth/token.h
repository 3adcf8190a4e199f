/*
 * token: session tokens, the only thing that authenticates a request to an on-chain provider. One is
 *
 *   message    {"address":…,"provider":…,"timestamp":…,"expiresAt":…,"nonce":…,"generation":…,"tokenId":…}
 *   signature  of the EIP-191 digest over the 32 bytes of the message's Keccak hash
 *   header     Authorization: Bearer app-sk- base64( message "|" signature )
 *
 * with the members in this order and without white space. Ephemeral tokens (id 255) live at most 24 hours and
 * can only be revoked all together, by the account's generation; persistent ones (id 0 … 254) may live for
 * ever and have a bit of their own in the account's bitmap.
 *
 * The text is a credential: its owner wipes it. Nothing is allocated. Thread: any.
 */
#ifndef MOONGATE_ETH_TOKEN_H
#define MOONGATE_ETH_TOKEN_H

#include "eth/key.h"
#include "eth/u256.h"

#include <limits.h>

#define TOKEN_LIFE_MAX_MS  INT64_C(86400000)
#define TOKEN_ID_EPHEMERAL 255
/* The lowest id whose bit is clear: not revoked, though perhaps in use. */
#define TOKEN_ID_LOWEST INT_MIN
#define TOKEN_NONCE_MAX 64
/* Of the header's value. */
#define TOKEN_TEXT_MAX 1023

enum token_mode { TOKEN_EPHEMERAL, TOKEN_PERSISTENT };

struct token_wish {
  struct span provider; /* the address as it was configured: its spelling goes into the message */
  enum token_mode mode;
  /* Ephemeral: 0 and below mean 24 h, more is refused. Persistent: 0 and below mean for ever. */
  int64_t duration_ms;
  int token_id;        /* persistent alone: 0 … 254, or TOKEN_ID_LOWEST */
  int64_t now_ms;      /* since the epoch */
  uint64_t generation; /* of the account; 0 and no bits when there is none yet */
  struct u256 revoked;
  struct span nonce; /* printable ASCII without '"', '\' and '|'; empty: 128 fresh random bits in hex */
};

struct token {
  int64_t timestamp_ms, expires_at_ms; /* expires_at_ms 0: never */
  uint64_t generation;
  int id;
  char text[TOKEN_TEXT_MAX + 1]; /* the header's value, with a NUL */
  size_t len;
};

enum token_fault {
  TOKEN_OK,
  TOKEN_TOO_LONG_LIFE,
  TOKEN_ID_RANGE,
  TOKEN_ID_REVOKED,
  TOKEN_IDS_USED_UP,
  TOKEN_PROVIDER,
  TOKEN_NONCE,
  TOKEN_TIME /* a clock before 1970 or a life past what the form can say */
};
const char *token_fault_text(enum token_fault fault);

/* Fills id, generation and times, and no text: what a wish would give. */
enum token_fault token_plan(struct token *out, const struct token_wish *wish) MUST_CHECK;
enum token_fault token_make(struct token *out, const struct token_wish *wish,
                            const struct key *key) MUST_CHECK;
void token_wipe(struct token *t);

#endif
