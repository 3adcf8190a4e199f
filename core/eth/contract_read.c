/*
 * contract_read: return data to structs.
 */
#include "eth/contract.h"

#define REFUND_WORDS 4

static int open_data(struct abi_reader *r, struct abi_data *d, struct span data) {
  return abi_open(r, d, data.ptr, data.len);
}

static int read_service(struct service *out, struct abi_reader *r) {
  struct abi_reader m;
  int err = abi_struct(&m, r);
  if (!err) err = abi_address(&out->provider, &m);
  if (!err) err = abi_string(&out->service_type, &m);
  if (!err) err = abi_string(&out->url, &m);
  if (!err) err = abi_u256(&out->input_price, &m);
  if (!err) err = abi_u256(&out->output_price, &m);
  if (!err) err = abi_u256(&out->updated_at, &m);
  if (!err) err = abi_string(&out->model, &m);
  if (!err) err = abi_string(&out->verifiability, &m);
  if (!err) err = abi_string(&out->additional_info, &m);
  if (!err) err = abi_address(&out->tee_signer, &m);
  if (!err) err = abi_bool(&out->tee_signer_acknowledged, &m);
  return err;
}

int contract_read_service(struct service *out, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  int err = open_data(&r, &d, data);
  return err ? err : read_service(out, &r);
}

int contract_read_services(struct service *out, size_t max, size_t *n, struct u256 *total, struct span data) {
  struct abi_data d;
  struct abi_reader r, elements;
  int err = open_data(&r, &d, data);
  if (!err) err = abi_array(&elements, n, &r, 1);
  if (!err) err = abi_u256(total, &r);
  if (!err && *n > max) err = ERR_TOO_LARGE;
  for (size_t i = 0; !err && i < *n; i++)
    err = read_service(&out[i], &elements);
  return err;
}

static int read_refund(struct refund *out, struct abi_reader *r) {
  int err = abi_u256(&out->index, r);
  if (!err) err = abi_u256(&out->amount, r);
  if (!err) err = abi_u256(&out->created_at, r);
  if (!err) err = abi_bool(&out->processed, r);
  return err;
}

static int read_refunds(struct account *out, struct abi_reader *r) {
  struct abi_reader elements;
  struct refund each;
  int err = abi_array(&elements, &out->n_refunds, r, REFUND_WORDS);
  if (err) return err;
  out->refunds =
      span_make((const char *)elements.data->bytes + elements.at, out->n_refunds * REFUND_WORDS * ABI_WORD);
  for (size_t i = 0; !err && i < out->n_refunds; i++)
    err = read_refund(&each, &elements);
  return err;
}

struct refund account_refund(const struct account *a, size_t i) {
  REQUIRE(i < a->n_refunds);
  size_t bytes = (size_t)REFUND_WORDS * ABI_WORD;
  struct abi_data d;
  struct abi_reader r;
  struct refund out;
  REQUIRE(!abi_open(&r, &d, a->refunds.ptr + i * bytes, bytes) && !read_refund(&out, &r));
  return out;
}

static int read_account(struct account *out, struct abi_reader *r) {
  struct abi_reader m;
  int err = abi_struct(&m, r);
  if (!err) err = abi_address(&out->user, &m);
  if (!err) err = abi_address(&out->provider, &m);
  if (!err) err = abi_u256(&out->nonce, &m);
  if (!err) err = abi_u256(&out->balance, &m);
  if (!err) err = abi_u256(&out->pending_refund, &m);
  if (!err) err = read_refunds(out, &m);
  if (!err) err = abi_string(&out->additional_info, &m);
  if (!err) err = abi_bool(&out->acknowledged, &m);
  if (!err) err = abi_u256(&out->valid_refunds, &m);
  if (!err) err = abi_u256(&out->generation, &m);
  if (!err) err = abi_u256(&out->revoked_bitmap, &m);
  return err;
}

int contract_read_account(struct account *out, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  int err = open_data(&r, &d, data);
  return err ? err : read_account(out, &r);
}

int contract_read_accounts(struct account *out, size_t max, size_t *n, struct u256 *total, struct span data) {
  struct abi_data d;
  struct abi_reader r, elements;
  int err = open_data(&r, &d, data);
  if (!err) err = abi_array(&elements, n, &r, 1);
  if (!err) err = abi_u256(total, &r);
  if (!err && *n > max) err = ERR_TOO_LARGE;
  for (size_t i = 0; !err && i < *n; i++)
    err = read_account(&out[i], &elements);
  return err;
}

int contract_read_ledger(struct ledger *out, struct span data) {
  struct abi_data d;
  struct abi_reader r, m;
  int err = open_data(&r, &d, data);
  if (!err) err = abi_struct(&m, &r);
  if (!err) err = abi_address(&out->user, &m);
  if (!err) err = abi_u256(&out->available_balance, &m);
  if (!err) err = abi_u256(&out->total_balance, &m);
  if (!err) err = abi_string(&out->additional_info, &m);
  return err;
}

int contract_read_service_info(struct service_info *out, struct span data) {
  struct abi_data d;
  struct abi_reader r, m;
  int err = open_data(&r, &d, data);
  if (!err) err = abi_struct(&m, &r);
  if (!err) err = abi_address(&out->service_address, &m);
  if (!err) err = abi_address(&out->service_contract, &m);
  if (!err) err = abi_string(&out->service_type, &m);
  if (!err) err = abi_string(&out->version, &m);
  if (!err) err = abi_string(&out->full_name, &m);
  if (!err) err = abi_string(&out->description, &m);
  if (!err) err = abi_bool(&out->is_recommended, &m);
  if (!err) err = abi_u256(&out->registered_at, &m);
  return err;
}

int contract_read_addresses(struct address *out, size_t max, size_t *n, struct span data) {
  struct abi_data d;
  struct abi_reader r, elements;
  int err = open_data(&r, &d, data);
  if (!err) err = abi_array(&elements, n, &r, 1);
  if (!err && *n > max) err = ERR_TOO_LARGE;
  for (size_t i = 0; !err && i < *n; i++)
    err = abi_address(&out[i], &elements);
  return err;
}

int contract_read_version(struct span *version, struct address *service, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  int err = open_data(&r, &d, data);
  if (!err) err = abi_string(version, &r);
  if (!err) err = abi_address(service, &r);
  return err;
}

int contract_read_bool(bool *out, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  int err = open_data(&r, &d, data);
  return err ? err : abi_bool(out, &r);
}

int contract_read_u256(struct u256 *out, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  int err = open_data(&r, &d, data);
  return err ? err : abi_u256(out, &r);
}

int contract_read_address(struct address *out, struct span data) {
  struct abi_data d;
  struct abi_reader r;
  int err = open_data(&r, &d, data);
  return err ? err : abi_address(out, &r);
}
