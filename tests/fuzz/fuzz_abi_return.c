/*
 * Input: one byte for the function, then what a node gave back. Whatever a reader accepts must lie inside the data,
 * be as long as the data at most, and be read again when it is written out anew. Refusals come out in words.
 */
#include "base/rand.h"
#include "eth/contract.h"
#include "eth/revert.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed);
/* libFuzzer's own; the program that replays a corpus has mutations of its own. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max) __attribute__((weak));

#define OUT_MAX ((size_t)1 << 22)

/* What the texts of one answer have in common. */
struct bounds {
  struct span data;
  size_t total; /* bytes of all texts together */
};

static void require_inside(struct bounds *b, struct span s) {
  REQUIRE(s.len <= b->data.len && s.ptr >= b->data.ptr && s.ptr + s.len <= b->data.ptr + b->data.len);
  b->total += s.len;
  /* Twice the data and a little: see the reader's budget. */
  REQUIRE(b->total <= 2 * b->data.len + 64 * ABI_WORD);
}

/* ---- services ---- */

static void put_service(struct abi_writer *w, const struct service *s) {
  struct abi_writer m;
  abi_put_struct(&m, w, 11);
  abi_put_address(&m, &s->provider);
  abi_put_bytes(&m, s->service_type);
  abi_put_bytes(&m, s->url);
  abi_put_u256(&m, s->input_price);
  abi_put_u256(&m, s->output_price);
  abi_put_u256(&m, s->updated_at);
  abi_put_bytes(&m, s->model);
  abi_put_bytes(&m, s->verifiability);
  abi_put_bytes(&m, s->additional_info);
  abi_put_address(&m, &s->tee_signer);
  abi_put_bool(&m, s->tee_signer_acknowledged);
  REQUIRE(abi_end(&m) == 0);
}

static void require_service_inside(struct bounds *b, const struct service *s) {
  require_inside(b, s->service_type);
  require_inside(b, s->url);
  require_inside(b, s->model);
  require_inside(b, s->verifiability);
  require_inside(b, s->additional_info);
}

static void require_same_service(const struct service *a, const struct service *b) {
  REQUIRE(address_eq(&a->provider, &b->provider) && address_eq(&a->tee_signer, &b->tee_signer));
  REQUIRE(span_eq(a->service_type, b->service_type) && span_eq(a->url, b->url) &&
          span_eq(a->model, b->model));
  REQUIRE(span_eq(a->verifiability, b->verifiability) && span_eq(a->additional_info, b->additional_info));
  REQUIRE(u256_eq(a->input_price, b->input_price) && u256_eq(a->output_price, b->output_price));
  REQUIRE(u256_eq(a->updated_at, b->updated_at) && a->tee_signer_acknowledged == b->tee_signer_acknowledged);
}

static void read_service(struct span data) {
  struct service s, again;
  struct bounds bounds = {.data = data};
  struct abi_writer w;
  struct buf out;
  if (contract_read_service(&s, data)) return;
  require_service_inside(&bounds, &s);
  buf_init(&out, OUT_MAX);
  abi_begin(&w, &out, 1);
  put_service(&w, &s);
  REQUIRE(contract_read_service(&again, buf_span(&out)) == 0);
  require_same_service(&s, &again);
  buf_release(&out);
}

static void read_services(struct span data) {
  struct service s[CONTRACT_PAGE_MAX], again[CONTRACT_PAGE_MAX];
  struct bounds bounds = {.data = data};
  struct u256 total, total_again;
  struct abi_writer w, list;
  struct buf out;
  size_t n, n_again;
  if (contract_read_services(s, ARRAY_LEN(s), &n, &total, data)) return;
  REQUIRE(n <= ARRAY_LEN(s));
  for (size_t i = 0; i < n; i++)
    require_service_inside(&bounds, &s[i]);
  buf_init(&out, OUT_MAX);
  abi_begin(&w, &out, 2);
  abi_put_array(&list, &w, n, 1);
  for (size_t i = 0; i < n; i++)
    put_service(&list, &s[i]);
  abi_put_u256(&w, total);
  REQUIRE(contract_read_services(again, ARRAY_LEN(again), &n_again, &total_again, buf_span(&out)) == 0);
  REQUIRE(n == n_again && u256_eq(total, total_again));
  for (size_t i = 0; i < n; i++)
    require_same_service(&s[i], &again[i]);
  buf_release(&out);
}

/* ---- accounts ---- */

static void require_account(struct bounds *b, const struct account *a) {
  require_inside(b, a->additional_info);
  REQUIRE(a->n_refunds <= b->data.len / (4 * ABI_WORD));
  for (size_t i = 0; i < a->n_refunds; i++)
    (void)account_refund(a, i);
}

static void read_account(struct span data) {
  struct account a;
  struct bounds bounds = {.data = data};
  if (contract_read_account(&a, data) == 0) require_account(&bounds, &a);
}

static void read_accounts(struct span data) {
  struct account a[CONTRACT_PAGE_MAX];
  struct bounds bounds = {.data = data};
  struct u256 total;
  size_t n;
  if (contract_read_accounts(a, ARRAY_LEN(a), &n, &total, data)) return;
  REQUIRE(n <= ARRAY_LEN(a));
  for (size_t i = 0; i < n; i++)
    require_account(&bounds, &a[i]);
}

/* ---- the rest ---- */

static void read_ledger(struct span data) {
  struct ledger l;
  struct bounds bounds = {.data = data};
  if (contract_read_ledger(&l, data) == 0) require_inside(&bounds, l.additional_info);
}

static void read_info(struct span data) {
  struct service_info i;
  struct bounds bounds = {.data = data};
  if (contract_read_service_info(&i, data)) return;
  require_inside(&bounds, i.service_type);
  require_inside(&bounds, i.version);
  require_inside(&bounds, i.full_name);
  require_inside(&bounds, i.description);
}

static void read_small(struct span data) {
  struct address a[8];
  struct bounds bounds = {.data = data};
  struct span version;
  struct u256 number;
  bool is_true;
  size_t n;
  if (contract_read_addresses(a, ARRAY_LEN(a), &n, data) == 0) REQUIRE(n <= ARRAY_LEN(a));
  if (contract_read_version(&version, a, data) == 0) require_inside(&bounds, version);
  int err = contract_read_u256(&number, data);
  /* A bool and an address are numbers, too. */
  if (contract_read_bool(&is_true, data) == 0) REQUIRE(!err && u256_eq(number, u256_of(is_true)));
  if (contract_read_address(a, data) == 0) REQUIRE(!err && u256_bytes(number) <= ADDRESS_BYTES);
}

static void read_refusal(struct span data) {
  struct revert r;
  char text[REVERT_TEXT_MAX + 1];
  revert_read(&r, data);
  size_t len = revert_text(text, &r);
  REQUIRE(len > 0 && len <= REVERT_TEXT_MAX && text[len] == '\0');
  for (size_t i = 0; i < len; i++) {
    uint8_t c = (uint8_t)text[i];
    REQUIRE(c >= 0x20 && c != 0x7f);
    REQUIRE(c != 0xc2 || (uint8_t)text[i + 1] >= 0xa0);
  }
  REQUIRE((r.id <= REVERT_UNKNOWN) == (r.signature == NULL));
}

/*
 * Half of the mutations are of whole words, for the format is made of them: a number that may be an offset or a length,
 * a word from elsewhere, a word more or less.
 */
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max, unsigned seed) {
  struct rng rng;
  rng_seed(&rng, seed);
  size_t n = size ? (size - 1) / ABI_WORD : 0;
  if (n < 2 || rng_below(&rng, 2)) return LLVMFuzzerMutate(data, size, max);
  uint8_t *at = data + 1 + (size_t)rng_below(&rng, (uint32_t)n) * ABI_WORD;
  const uint8_t *from = data + 1 + (size_t)rng_below(&rng, (uint32_t)n) * ABI_WORD;
  size_t behind = (size_t)(data + size - at);
  switch (rng_below(&rng, 5)) {
  case 0: u256_to_be(at, u256_of((uint64_t)ABI_WORD * rng_below(&rng, (uint32_t)n + 3))); break;
  case 1: u256_to_be(at, u256_of(rng_below(&rng, 70))); break;
  case 2: memmove(at, from, ABI_WORD); break;
  case 3: memmove(at, at + ABI_WORD, behind - ABI_WORD); return size - ABI_WORD;
  default:
    if (size + ABI_WORD > max) break;
    memmove(at + ABI_WORD, at, behind);
    return size + ABI_WORD;
  }
  return size;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static void (*const readers[])(struct span data) = {read_service,  read_services, read_account,
                                                      read_accounts, read_ledger,   read_info,
                                                      read_small,    read_refusal};
  if (size < 1) return 0;
  readers[data[0] % ARRAY_LEN(readers)](span_make((const char *)data + 1, size - 1));
  return 0;
}
