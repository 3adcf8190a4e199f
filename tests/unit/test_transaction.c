/*
 * Transactions and the byte form below them, for what no vector shows: limits and refusals.
 */
#include "check.h"
#include "eth/keccak.h"
#include "eth/rlp.h"
#include "eth/transaction.h"

static struct key *new_key(void) {
  struct key *k = NULL;
  REQUIRE(key_new(&k, SPAN("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef")) == 0);
  return k;
}

static void rlp_past_the_limit_is_refused(void) {
  struct buf b;
  buf_init(&b, 8);
  CHECK_INT(rlp_bytes(&b, "12345678", 8), ERR_TOO_LARGE);
  CHECK_INT(b.len, 0);
  CHECK_INT(rlp_bytes(&b, "1234567", 7), 0);
  CHECK_INT(b.len, 8);
  CHECK_INT(rlp_close_list(&b, 0), ERR_TOO_LARGE);
  CHECK_INT(b.len, 8);
  buf_release(&b);
}

static void rlp_numbers_have_no_leading_zeros(void) {
  struct buf b;
  buf_init(&b, 64);
  CHECK_INT(rlp_number(&b, U256_ZERO), 0);
  CHECK_INT(rlp_number(&b, u256_of(127)), 0);
  CHECK_INT(rlp_number(&b, u256_of(128)), 0);
  CHECK_INT(rlp_number(&b, u256_of(256)), 0);
  CHECK_INT(b.len, 1 + 1 + 2 + 3);
  CHECK(memcmp(b.data, "\x80\x7f\x81\x80\x82\x01\x00", 7) == 0);
  CHECK_INT(rlp_number(&b, U256_MAX), 0);
  CHECK_INT(b.len, 7 + 33);
  buf_release(&b);
}

static void rlp_lists_nest(void) {
  struct buf b;
  buf_init(&b, 64);
  CHECK_INT(rlp_bytes(&b, "dog", 3), 0);
  CHECK_INT(rlp_close_list(&b, b.len), 0);
  CHECK_INT(rlp_close_list(&b, 4), 0);
  CHECK_INT(rlp_close_list(&b, 0), 0);
  CHECK(memcmp(b.data,
               "\xc6\x83"
               "dog\xc1\xc0",
               7) == 0);
  CHECK_INT(b.len, 7);
  buf_release(&b);
}

/* At every maximum that is too small, nothing is left behind. */
static void a_transaction_that_does_not_fit_appends_nothing(void) {
  struct key *key = new_key();
  struct address to = *key_address(key);
  static const uint8_t storage[2][32] = {{1}, {2}};
  struct transaction_access access = {.address = to, .keys = storage, .n_keys = 2};
  struct transaction t = {.type = TRANSACTION_EIP1559,
                          .chain_id = 16661,
                          .nonce = 3,
                          .to = &to,
                          .value = U256_0G,
                          .gas_limit = 90000,
                          .max_fee = u256_of(5000000000),
                          .max_priority_fee = u256_of(1000000000),
                          .data =
                              SPAN("0123456789012345678901234567890123456789012345678901234567890123456789"),
                          .access = &access,
                          .n_access = 1};
  struct transaction_signed made;
  for (int type = 0; type <= 2; type += 2) {
    struct buf whole;
    t.type = (enum transaction_type)type;
    buf_init(&whole, 4096);
    CHECK_INT(transaction_sign(&whole, &made, &t, key), 0);
    for (size_t max = 0; max < whole.len; max++) {
      struct buf b;
      buf_init(&b, max);
      CHECK_INT(transaction_sign(&b, &made, &t, key), ERR_TOO_LARGE);
      CHECK_INT(b.len, 0);
      buf_release(&b);
    }
    buf_release(&whole);
  }
  key_free(key);
}

static void what_is_in_the_buffer_before_stays(void) {
  struct key *key = new_key();
  struct transaction t = {.chain_id = 1, .gas_limit = 21000, .gas_price = u256_of(1)};
  struct transaction_signed made, again;
  uint8_t hash[KECCAK_BYTES];
  struct buf b, c;
  buf_init(&b, 512);
  buf_init(&c, 512);
  buf_put_str(&b, "before");
  CHECK_INT(transaction_sign(&b, &made, &t, key), 0);
  CHECK_INT(transaction_sign(&c, &again, &t, key), 0);
  CHECK(memcmp(b.data, "before", 6) == 0 && span_eq(span_make(b.data + 6, b.len - 6), buf_span(&c)));
  keccak256(hash, c.data, c.len);
  CHECK(memcmp(hash, made.hash, sizeof hash) == 0 && memcmp(&made, &again, sizeof made) == 0);
  buf_release(&b);
  buf_release(&c);
  key_free(key);
}

/* Without a receiver a contract is made; the longest chain id still has a v. */
static void edges_are_encoded(void) {
  struct key *key = new_key();
  struct transaction t = {.chain_id = UINT64_MAX, .gas_limit = UINT64_MAX, .nonce = UINT64_MAX};
  struct transaction_signed made;
  struct buf b;
  buf_init(&b, 512);
  CHECK_INT(transaction_sign(&b, &made, &t, key), 0);
  /* v = 2 * (2^64 - 1) + 35 + parity = 0x2 00000000 00000021 (or 22), 9 bytes */
  uint8_t v[] = {0x89, 2, 0, 0, 0, 0, 0, 0, 0, (uint8_t)(0x21 + made.signature.parity)};
  CHECK(span_find(buf_span(&b), span_make((const char *)v, sizeof v)));
  buf_release(&b);
  key_free(key);
}

int main(void) {
  RUN(rlp_past_the_limit_is_refused);
  RUN(rlp_numbers_have_no_leading_zeros);
  RUN(rlp_lists_nest);
  RUN(a_transaction_that_does_not_fit_appends_nothing);
  RUN(what_is_in_the_buffer_before_stays);
  RUN(edges_are_encoded);
  return CHECK_END();
}
