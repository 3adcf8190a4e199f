#include "eth/token.h"
#include "base/rand.h"
#include "eth/hex.h"
#include "eth/keccak.h"

#include <nettle/base64.h>
#include <stdio.h>

#define MESSAGE_MAX 512
#define PAYLOAD_MAX (MESSAGE_MAX + 1 + SIGNATURE_TEXT_LEN)

static const char PREFIX[] = "Bearer app-sk-";

_Static_assert(sizeof PREFIX - 1 + BASE64_ENCODE_RAW_LENGTH(PAYLOAD_MAX) <= TOKEN_TEXT_MAX,
               "the longest token fits");

const char *token_fault_text(enum token_fault fault) {
  static const char *const texts[] = {
      [TOKEN_OK] = "no fault",
      [TOKEN_TOO_LONG_LIFE] = "an ephemeral token lives at most 24 hours (86400000 ms)",
      [TOKEN_ID_RANGE] = "a persistent token's id is a number from 0 to 254",
      [TOKEN_ID_REVOKED] = "this token id is revoked; use another one, or revoke all tokens to start afresh",
      [TOKEN_IDS_USED_UP] = "all 255 token ids are revoked; revoke all tokens to start afresh",
      [TOKEN_PROVIDER] = "the provider is no address",
      [TOKEN_NONCE] = "a nonce is up to 64 printable characters, without quotes, backslashes and bars",
      [TOKEN_TIME] = "the time is out of range",
  };
  return texts[fault];
}

static enum token_fault choose_id(int *id, const struct token_wish *wish) {
  if (wish->token_id != TOKEN_ID_LOWEST) {
    if (wish->token_id < 0 || wish->token_id >= TOKEN_ID_EPHEMERAL) return TOKEN_ID_RANGE;
    if (u256_bit(wish->revoked, (unsigned)wish->token_id)) return TOKEN_ID_REVOKED;
    *id = wish->token_id;
    return TOKEN_OK;
  }
  for (unsigned i = 0; i < TOKEN_ID_EPHEMERAL; i++) {
    if (u256_bit(wish->revoked, i)) continue;
    *id = (int)i;
    return TOKEN_OK;
  }
  return TOKEN_IDS_USED_UP;
}

enum token_fault token_plan(struct token *out, const struct token_wish *wish) {
  int64_t life = wish->duration_ms > 0 ? wish->duration_ms : 0;
  int id = TOKEN_ID_EPHEMERAL;
  if (wish->mode == TOKEN_EPHEMERAL) {
    if (life == 0) life = TOKEN_LIFE_MAX_MS;
    if (life > TOKEN_LIFE_MAX_MS) return TOKEN_TOO_LONG_LIFE;
  } else {
    enum token_fault fault = choose_id(&id, wish);
    if (fault) return fault;
  }
  if (wish->now_ms < 0 || life > INT64_MAX - wish->now_ms) return TOKEN_TIME;
  out->timestamp_ms = wish->now_ms;
  out->expires_at_ms = life ? wish->now_ms + life : 0;
  out->generation = wish->generation;
  out->id = id;
  out->len = 0;
  out->text[0] = '\0';
  return TOKEN_OK;
}

/* The provider cuts at the first '|', and the message is not escaped. */
static bool is_nonce(struct span nonce) {
  if (nonce.len == 0 || nonce.len > TOKEN_NONCE_MAX) return false;
  for (size_t i = 0; i < nonce.len; i++) {
    char c = nonce.ptr[i];
    if (c < ' ' || c > '~' || c == '"' || c == '\\' || c == '|') return false;
  }
  return true;
}

enum token_fault token_make(struct token *out, const struct token_wish *wish, const struct key *key) {
  char user[ADDRESS_TEXT_LEN + 1], fresh[32], payload[PAYLOAD_MAX + 1], signed_text[SIGNATURE_TEXT_LEN + 1];
  uint8_t random[16], hash[KECCAK_BYTES];
  struct address provider;
  struct signature signature;
  struct span nonce = wish->nonce;
  if (address_parse(&provider, wish->provider)) return TOKEN_PROVIDER;
  if (nonce.len == 0) {
    rand_os(random, sizeof random);
    hex_write(fresh, random, sizeof random);
    nonce = span_make(fresh, sizeof fresh);
  }
  if (!is_nonce(nonce)) return TOKEN_NONCE;
  enum token_fault fault = token_plan(out, wish);
  if (fault) return fault;

  address_text(user, key_address(key));
  int n =
      snprintf(payload, MESSAGE_MAX,
               "{\"address\":\"%s\",\"provider\":\"%.*s\",\"timestamp\":%lld,\"expiresAt\":%lld,"
               "\"nonce\":\"%.*s\",\"generation\":%llu,\"tokenId\":%d}",
               user, SPAN_FMT(wish->provider), (long long)out->timestamp_ms, (long long)out->expires_at_ms,
               SPAN_FMT(nonce), (unsigned long long)out->generation, out->id);
  REQUIRE(n > 0 && n < MESSAGE_MAX);
  size_t len = (size_t)n;
  keccak256(hash, payload, len);
  key_sign_personal(&signature, key, hash, sizeof hash);
  signature_text(signed_text, &signature);
  payload[len++] = '|';
  memcpy(payload + len, signed_text, SIGNATURE_TEXT_LEN);
  len += SIGNATURE_TEXT_LEN;

  memcpy(out->text, PREFIX, sizeof PREFIX - 1);
  base64_encode_raw(out->text + sizeof PREFIX - 1, len, (const uint8_t *)payload);
  out->len = sizeof PREFIX - 1 + BASE64_ENCODE_RAW_LENGTH(len);
  out->text[out->len] = '\0';
  wipe(payload, sizeof payload);
  wipe(signed_text, sizeof signed_text);
  wipe(&signature, sizeof signature);
  return TOKEN_OK;
}

void token_wipe(struct token *t) {
  wipe(t, sizeof *t);
}
