#include "eth/transaction.h"
#include "eth/keccak.h"
#include "eth/rlp.h"

static int put_to(struct buf *out, const struct address *to) {
  return rlp_bytes(out, to ? to->bytes : NULL, to ? ADDRESS_BYTES : 0);
}

/* The members that both forms have at their end. */
static int put_call(struct buf *out, const struct transaction *t) {
  int err = rlp_number(out, u256_of(t->gas_limit));
  if (!err) err = put_to(out, t->to);
  if (!err) err = rlp_number(out, t->value);
  if (!err) err = rlp_bytes(out, t->data.ptr, t->data.len);
  return err;
}

static int put_access_entry(struct buf *out, const struct transaction_access *entry) {
  size_t start = out->len;
  int err = rlp_bytes(out, entry->address.bytes, ADDRESS_BYTES);
  size_t keys = out->len;
  for (size_t i = 0; !err && i < entry->n_keys; i++)
    err = rlp_bytes(out, entry->keys[i], sizeof entry->keys[i]);
  if (!err) err = rlp_close_list(out, keys);
  return err ? err : rlp_close_list(out, start);
}

static int put_access(struct buf *out, const struct transaction *t) {
  size_t start = out->len;
  int err = 0;
  for (size_t i = 0; !err && i < t->n_access; i++)
    err = put_access_entry(out, &t->access[i]);
  return err ? err : rlp_close_list(out, start);
}

/* r and s are numbers: their leading zeros go. */
static int put_scalar(struct buf *out, const uint8_t bytes[32]) {
  return rlp_number(out, u256_from_be(bytes));
}

static int put_eip1559(struct buf *out, const struct transaction *t, const struct signature *s) {
  static const uint8_t type = TRANSACTION_EIP1559;
  int err = buf_append(out, &type, 1);
  size_t start = out->len;
  if (!err) err = rlp_number(out, u256_of(t->chain_id));
  if (!err) err = rlp_number(out, u256_of(t->nonce));
  if (!err) err = rlp_number(out, t->max_priority_fee);
  if (!err) err = rlp_number(out, t->max_fee);
  if (!err) err = put_call(out, t);
  if (!err) err = put_access(out, t);
  if (s) {
    if (!err) err = rlp_number(out, u256_of(s->parity));
    if (!err) err = put_scalar(out, s->r);
    if (!err) err = put_scalar(out, s->s);
  }
  return err ? err : rlp_close_list(out, start);
}

/* EIP-155: v is 2 * chain id + 35 + parity; unsigned, the chain id and two empty strings are in its place. */
static int put_legacy(struct buf *out, const struct transaction *t, const struct signature *s) {
  size_t start = out->len;
  int err = rlp_number(out, u256_of(t->nonce));
  if (!err) err = rlp_number(out, t->gas_price);
  if (!err) err = put_call(out, t);
  struct u256 v = u256_of(t->chain_id);
  if (s) {
    (void)u256_add(&v, v, v);
    (void)u256_add(&v, v, u256_of(35 + (uint64_t)s->parity));
  }
  if (!err) err = rlp_number(out, v);
  if (!err) err = s ? put_scalar(out, s->r) : rlp_bytes(out, NULL, 0);
  if (!err) err = s ? put_scalar(out, s->s) : rlp_bytes(out, NULL, 0);
  return err ? err : rlp_close_list(out, start);
}

static int put(struct buf *out, const struct transaction *t, const struct signature *s) {
  size_t start = out->len;
  int err = t->type == TRANSACTION_EIP1559 ? put_eip1559(out, t, s) : put_legacy(out, t, s);
  if (err) out->len = start;
  return err;
}

int transaction_unsigned(struct buf *out, const struct transaction *t) {
  return put(out, t, NULL);
}

int transaction_sign(struct buf *raw, struct transaction_signed *out, const struct transaction *t,
                     const struct key *key) {
  size_t start = raw->len;
  int err = put(raw, t, NULL);
  if (err) return err;
  keccak256(out->digest, raw->data + start, raw->len - start);
  raw->len = start;
  key_sign(&out->signature, key, out->digest);
  if ((err = put(raw, t, &out->signature))) return err;
  keccak256(out->hash, raw->data + start, raw->len - start);
  return 0;
}
