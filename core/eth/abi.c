#include "eth/abi.h"
#include "eth/keccak.h"

#define DATA_MAX     ((size_t)1 << 31)
#define BUDGET_EXTRA 64

/* ---- reading ---- */

int abi_open(struct abi_reader *r, struct abi_data *data, const void *bytes, size_t len) {
  if (len == 0 || len % ABI_WORD != 0) return ERR_SYNTAX;
  if (len > DATA_MAX) return ERR_TOO_LARGE;
  *data = (struct abi_data){.bytes = bytes, .len = len, .budget = 2 * (len / ABI_WORD) + BUDGET_EXTRA};
  *r = (struct abi_reader){.data = data};
  return 0;
}

static int spend(struct abi_data *d, size_t words) {
  if (words > d->budget) return ERR_TOO_LARGE;
  d->budget -= words;
  return 0;
}

/* The word at `at`, which must be inside. */
static int word_at(const uint8_t **word, struct abi_data *d, size_t at) {
  if (at > d->len || d->len - at < ABI_WORD) return ERR_SYNTAX;
  *word = d->bytes + at;
  return spend(d, 1);
}

static int next_word(const uint8_t **word, struct abi_reader *r) {
  int err = word_at(word, r->data, r->at);
  if (!err) r->at += ABI_WORD;
  return err;
}

/* A number that can be an offset or a length here: at most the data's length. */
static bool to_size(size_t *out, const uint8_t word[ABI_WORD], const struct abi_data *d) {
  struct u256 n = u256_from_be(word);
  if (!u256_fits_u64(n) || n.w[0] > d->len) return false;
  *out = (size_t)n.w[0];
  return true;
}

int abi_u256(struct u256 *out, struct abi_reader *r) {
  const uint8_t *word;
  int err = next_word(&word, r);
  if (!err) *out = u256_from_be(word);
  return err;
}

int abi_bool(bool *out, struct abi_reader *r) {
  struct u256 n;
  int err = abi_u256(&n, r);
  if (err) return err;
  if (!u256_fits_u64(n) || n.w[0] > 1) return ERR_SYNTAX;
  *out = n.w[0] == 1;
  return 0;
}

int abi_address(struct address *out, struct abi_reader *r) {
  static const uint8_t zeros[ABI_WORD - ADDRESS_BYTES];
  const uint8_t *word;
  int err = next_word(&word, r);
  if (err) return err;
  if (memcmp(word, zeros, sizeof zeros) != 0) return ERR_SYNTAX;
  memcpy(out->bytes, word + sizeof zeros, ADDRESS_BYTES);
  return 0;
}

/* Follows the offset in the next slot. */
static int follow(size_t *at, struct abi_reader *r) {
  const uint8_t *word;
  size_t offset;
  int err = next_word(&word, r);
  if (err) return err;
  if (!to_size(&offset, word, r->data) || offset > r->data->len - r->start) return ERR_SYNTAX;
  *at = r->start + offset;
  return 0;
}

/* Follows the offset in the next slot to a length and what lies behind it. */
static int follow_length(size_t *n, size_t *at, struct abi_reader *r) {
  const uint8_t *word;
  int err = follow(at, r);
  if (!err) err = word_at(&word, r->data, *at);
  if (err) return err;
  *at += ABI_WORD;
  return to_size(n, word, r->data) ? 0 : ERR_SYNTAX;
}

int abi_bytes(struct span *out, struct abi_reader *r) {
  size_t len, at;
  int err = follow_length(&len, &at, r);
  if (err) return err;
  size_t words = (len + ABI_WORD - 1) / ABI_WORD;
  if (words > (r->data->len - at) / ABI_WORD) return ERR_SYNTAX;
  *out = span_make((const char *)r->data->bytes + at, len);
  return spend(r->data, words);
}

/* The length of the character at `s`, 0 when it is none (RFC 3629: no overlong forms, no surrogates). */
static size_t utf8_len(const uint8_t *s, size_t left) {
  uint8_t c = s[0];
  if (c < 0x80) return 1;
  size_t len = c >= 0xc2 && c <= 0xdf ? 2 : (c & 0xf0) == 0xe0 ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
  if (len == 0 || len > left) return 0;
  for (size_t i = 1; i < len; i++)
    if ((s[i] & 0xc0) != 0x80) return 0;
  if ((c == 0xe0 && s[1] < 0xa0) || (c == 0xed && s[1] > 0x9f)) return 0;
  if ((c == 0xf0 && s[1] < 0x90) || (c == 0xf4 && s[1] > 0x8f)) return 0;
  return len;
}

int abi_string(struct span *out, struct abi_reader *r) {
  int err = abi_bytes(out, r);
  if (err) return err;
  for (size_t at = 0, n; at < out->len; at += n)
    if (!(n = utf8_len((const uint8_t *)out->ptr + at, out->len - at))) return ERR_SYNTAX;
  return 0;
}

int abi_struct(struct abi_reader *inner, struct abi_reader *r) {
  size_t at;
  int err = follow(&at, r);
  if (!err) *inner = (struct abi_reader){.data = r->data, .start = at, .at = at};
  return err;
}

int abi_array(struct abi_reader *inner, size_t *n, struct abi_reader *r, size_t words) {
  REQUIRE(words != 0);
  size_t at;
  int err = follow_length(n, &at, r);
  if (err) return err;
  if (*n > (r->data->len - at) / ABI_WORD / words) return ERR_SYNTAX;
  *inner = (struct abi_reader){.data = r->data, .start = at, .at = at};
  return 0;
}

/* ---- writing ---- */

static void reserve_slots(struct abi_writer *w, size_t words) {
  w->start = w->at = w->out->len;
  if (w->error) return;
  if (words > SIZE_MAX / ABI_WORD) {
    w->error = ERR_TOO_LARGE;
    return;
  }
  w->error = buf_reserve(w->out, words * ABI_WORD);
  if (w->error || words == 0) return;
  memset(w->out->data + w->out->len, 0, words * ABI_WORD);
  w->out->len += words * ABI_WORD;
}

void abi_begin(struct abi_writer *w, struct buf *out, size_t words) {
  *w = (struct abi_writer){.out = out};
  reserve_slots(w, words);
}

void abi_call(struct abi_writer *w, struct buf *out, uint32_t selector, size_t words) {
  uint8_t bytes[ABI_SELECTOR_BYTES] = {(uint8_t)(selector >> 24), (uint8_t)(selector >> 16),
                                       (uint8_t)(selector >> 8), (uint8_t)selector};
  *w = (struct abi_writer){.out = out};
  w->error = buf_append(out, bytes, sizeof bytes);
  reserve_slots(w, words);
}

void abi_put_u256(struct abi_writer *w, struct u256 n) {
  if (w->error) return;
  REQUIRE(w->at + ABI_WORD <= w->out->len);
  u256_to_be((uint8_t *)w->out->data + w->at, n);
  w->at += ABI_WORD;
}

void abi_put_u64(struct abi_writer *w, uint64_t n) {
  abi_put_u256(w, u256_of(n));
}

void abi_put_bool(struct abi_writer *w, bool b) {
  abi_put_u64(w, b);
}

void abi_put_address(struct abi_writer *w, const struct address *a) {
  if (w->error) return;
  REQUIRE(w->at + ABI_WORD <= w->out->len);
  memcpy(w->out->data + w->at + ABI_WORD - ADDRESS_BYTES, a->bytes, ADDRESS_BYTES);
  w->at += ABI_WORD;
}

/* The next content goes to the end of the buffer; its offset into the next slot. */
static void put_offset(struct abi_writer *w) {
  abi_put_u64(w, w->out->len - w->start);
}

static void put_length(struct abi_writer *w, size_t n) {
  if (w->error) return;
  struct abi_writer length;
  abi_begin(&length, w->out, 1);
  abi_put_u64(&length, n);
  w->error = length.error;
}

void abi_put_bytes(struct abi_writer *w, struct span bytes) {
  static const uint8_t zeros[ABI_WORD];
  put_offset(w);
  put_length(w, bytes.len);
  if (!w->error) w->error = buf_append_span(w->out, bytes);
  if (!w->error) w->error = buf_append(w->out, zeros, (ABI_WORD - bytes.len % ABI_WORD) % ABI_WORD);
}

void abi_put_struct(struct abi_writer *inner, struct abi_writer *w, size_t words) {
  put_offset(w);
  *inner = (struct abi_writer){.out = w->out, .error = w->error};
  reserve_slots(inner, words);
  if (inner->error) w->error = inner->error;
}

void abi_put_array(struct abi_writer *inner, struct abi_writer *w, size_t n, size_t words) {
  put_offset(w);
  put_length(w, n);
  *inner = (struct abi_writer){.out = w->out, .error = w->error};
  if (words && n > SIZE_MAX / ABI_WORD / words) inner->error = ERR_TOO_LARGE;
  reserve_slots(inner, n * words);
  if (inner->error) w->error = inner->error;
}

int abi_end(struct abi_writer *w) {
  return w->error;
}

uint32_t abi_selector(const char *signature) {
  uint8_t hash[KECCAK_BYTES];
  keccak256(hash, signature, strlen(signature));
  return (uint32_t)hash[0] << 24 | (uint32_t)hash[1] << 16 | (uint32_t)hash[2] << 8 | hash[3];
}
