/*
 * token_check: the other side of eth/token.h: what a provider says to an Authorization header, check by check
 * in its order and with its texts, down to those of its JSON and base64 readers. It is for stand-in providers
 * and for tests of what we make. Facts: the provider's session
 * checks (Go, encoding/json, encoding/base64, go-ethereum's hexutil and crypto).
 *
 * Thread: any. Nothing is kept; memory follows the header's length.
 */
#ifndef MOONGATE_TESTS_TOKEN_CHECK_H
#define MOONGATE_TESTS_TOKEN_CHECK_H

#include "eth/signature.h"
#include "eth/u256.h"

#define TOKEN_CHECK_HEADER_MAX 65536
#define TOKEN_CHECK_ERROR_MAX  255

/* What the provider knows: itself, its clock, and the user's account with it. */
struct token_check_world {
  struct span provider; /* the address in any letter case */
  int64_t now_ms;
  uint64_t generation;
  struct u256 revoked;
};

struct token_check {
  bool is_good;
  struct address user;                   /* who signed; of good ones */
  char user_text[ADDRESS_TEXT_LEN + 1];  /* as the message spells it */
  char error[TOKEN_CHECK_ERROR_MAX + 1]; /* of bad ones, cut where it is longer; a provider puts
                                            "validate session: " before it */
};

/* `header` is the value of Authorization; ptr NULL when the request had none. */
void token_check(struct token_check *out, struct span header, const struct token_check_world *world);

#endif
