/*
 * transaction_cases: RLP and transactions.
 */
#include "vectors.h"
#include "eth/hex.h"
#include "eth/keccak.h"
#include "eth/rlp.h"
#include "eth/transaction.h"

#include <stdlib.h>

#define OUT_MAX ((size_t)16 << 20)

static bool put_rlp(struct failure *why, struct buf *out, json_t *value) {
  size_t start = out->len, i;
  json_t *element;
  if (json_is_string(value)) {
    struct buf bytes;
    buf_init(&bytes, OUT_MAX);
    bool is_good = hex_decode(&bytes, span_str(json_string_value(value))) == 0 &&
                   rlp_bytes(out, bytes.data, bytes.len) == 0;
    buf_release(&bytes);
    return is_good || fail(why, "a value cannot be encoded");
  }
  if (!json_is_array(value)) return fail(why, "a value is neither bytes nor a list");
  json_array_foreach(value, i, element) {
    if (!put_rlp(why, out, element)) return false;
  }
  return rlp_close_list(out, start) == 0 || fail(why, "a list cannot be encoded");
}

bool rlp_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct buf out;
  buf_init(&out, OUT_MAX);
  bool is_good =
      put_rlp(why, &out, json_object_get(value, "value")) && same_bytes(why, out.data, out.len, value, "rlp");
  buf_release(&out);
  return is_good;
}

/* ---- transactions ---- */

/* What a transaction borrows. */
struct store {
  struct address to;
  struct buf data;
  struct transaction_access *access;
  size_t n_access;
};

static void release(struct store *s) {
  for (size_t i = 0; i < s->n_access; i++)
    free((void *)(uintptr_t)s->access[i].keys);
  free(s->access);
  buf_release(&s->data);
}

static bool get_access_entry(struct failure *why, struct transaction_access *out, json_t *value) {
  json_t *keys = json_object_get(value, "storageKeys");
  size_t n = json_array_size(keys);
  if (!get_address(why, &out->address, json_object_get(value, "address")) || !json_is_array(keys))
    return fail(why, "an entry of the access list is not understood");
  uint8_t(*bytes)[32] = x_calloc(n + 1, sizeof *bytes);
  out->keys = (const uint8_t(*)[32])bytes;
  out->n_keys = n;
  for (size_t i = 0; i < n; i++) {
    struct span digits;
    const char *text = json_string_value(json_array_get(keys, i));
    if (!text || !hex_cut_prefix(&digits, span_str(text)) || !hex_read(bytes[i], 32, digits))
      return fail(why, "a storage key is not 32 bytes");
  }
  return true;
}

static bool get_access(struct failure *why, struct transaction *t, struct store *s, json_t *list) {
  if (!list || json_is_null(list)) return true;
  if (!json_is_array(list)) return fail(why, "the access list is no list");
  s->access = x_calloc(json_array_size(list) + 1, sizeof *s->access);
  for (size_t i = 0; i < json_array_size(list); i++) {
    s->n_access = i + 1;
    if (!get_access_entry(why, &s->access[i], json_array_get(list, i))) return false;
  }
  t->access = s->access;
  t->n_access = s->n_access;
  return true;
}

/* Absent and null are 0. */
static bool get_price(struct failure *why, struct u256 *out, json_t *tx, const char *name) {
  json_t *value = json_object_get(tx, name);
  *out = U256_ZERO;
  return !value || json_is_null(value) || get_u256(why, out, value);
}

static bool get_transaction(struct failure *why, struct transaction *t, struct store *s, json_t *tx) {
  json_t *to = json_object_get(tx, "to");
  uint64_t type;
  *t = (struct transaction){0};
  if (!get_bytes(why, &s->data, tx, "data") || !get_u64(why, &type, json_object_get(tx, "type")))
    return false;
  if (type != TRANSACTION_LEGACY && type != TRANSACTION_EIP1559)
    return fail(why, "unknown type of transaction: %llu", (unsigned long long)type);
  t->type = (enum transaction_type)type;
  t->data = buf_span(&s->data);
  if (to && !json_is_null(to)) {
    if (!get_address(why, &s->to, to)) return false;
    t->to = &s->to;
  }
  return get_u64(why, &t->chain_id, json_object_get(tx, "chainId")) &&
         get_u64(why, &t->nonce, json_object_get(tx, "nonce")) &&
         get_u64(why, &t->gas_limit, json_object_get(tx, "gasLimit")) &&
         get_u256(why, &t->value, json_object_get(tx, "value")) &&
         get_price(why, &t->gas_price, tx, "gasPrice") && get_price(why, &t->max_fee, tx, "maxFeePerGas") &&
         get_price(why, &t->max_priority_fee, tx, "maxPriorityFeePerGas") &&
         get_access(why, t, s, json_object_get(tx, "accessList"));
}

/* v is null for type 2, and 2 * chain id + 35 + parity for legacy. */
static bool same_v(struct failure *why, const struct transaction *t, const struct signature *s, json_t *v) {
  struct u256 got = u256_of(t->chain_id), expected;
  if (t->type != TRANSACTION_LEGACY) return !v || json_is_null(v) || fail(why, "v is not null");
  (void)u256_add(&got, got, got);
  (void)u256_add(&got, got, u256_of(35 + (uint64_t)s->parity));
  if (!get_u256(why, &expected, v)) return false;
  return u256_eq(got, expected) || fail(why, "v differs");
}

static bool same_parts(struct failure *why, const struct transaction *t, const struct signature *s,
                       json_t *expected) {
  json_t *parity = json_object_get(expected, "yParity");
  if (!json_is_integer(parity) || json_integer_value(parity) != s->parity)
    return fail(why, "the parity is %d", s->parity);
  return same_bytes(why, s->r, 32, expected, "r") && same_bytes(why, s->s, 32, expected, "s") &&
         same_v(why, t, s, json_object_get(expected, "v"));
}

static bool check_sender(struct failure *why, const struct key *key, json_t *value) {
  struct address from;
  json_t *expected = json_object_get(value, "from");
  if (!expected || json_is_null(expected)) return true;
  if (!get_address(why, &from, expected)) return false;
  return address_eq(&from, key_address(key)) || fail(why, "the key is another sender's");
}

bool transaction_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct transaction t;
  struct transaction_signed made;
  struct store store = {.n_access = 0};
  struct key *key = NULL;
  struct buf out;
  buf_init(&store.data, OUT_MAX);
  buf_init(&out, OUT_MAX);
  bool is_good = get_key(why, &key, value) && check_sender(why, key, value) &&
                 get_transaction(why, &t, &store, json_object_get(value, "tx"));
  if (is_good)
    is_good = (transaction_unsigned(&out, &t) == 0 || fail(why, "it cannot be encoded")) &&
              same_bytes(why, out.data, out.len, value, "unsigned");
  if (is_good) {
    buf_clear(&out);
    is_good = (transaction_sign(&out, &made, &t, key) == 0 || fail(why, "it cannot be signed")) &&
              same_bytes(why, made.digest, sizeof made.digest, value, "signing_hash") &&
              same_parts(why, &t, &made.signature, json_object_get(value, "signature")) &&
              same_bytes(why, out.data, out.len, value, "raw") &&
              same_bytes(why, made.hash, sizeof made.hash, value, "hash");
  }
  key_free(key);
  release(&store);
  buf_release(&out);
  return is_good;
}
