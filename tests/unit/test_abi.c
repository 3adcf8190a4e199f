/*
 * Calls, return data and refusals, for what no vector shows: bounds, hostile data, cost.
 */
#include "check.h"
#include "eth/contract.h"
#include "eth/revert.h"

#include <stdlib.h>

static const struct address ALICE = {{0xaa, 1}}, BOB = {{0xbb, 2}};

/* ---- building return data ---- */

static void put_service(struct abi_writer *w, const char *url) {
  struct abi_writer m;
  abi_put_struct(&m, w, 11);
  abi_put_address(&m, &ALICE);
  abi_put_bytes(&m, SPAN("chatbot"));
  abi_put_bytes(&m, span_str(url));
  abi_put_u64(&m, 5);
  abi_put_u64(&m, 7);
  abi_put_u64(&m, 1767225600);
  abi_put_bytes(&m, SPAN("org/model"));
  abi_put_bytes(&m, SPAN("TeeML"));
  abi_put_bytes(&m, SPAN("{}"));
  abi_put_address(&m, &BOB);
  abi_put_bool(&m, true);
  REQUIRE(abi_end(&m) == 0);
}

static void make_services(struct buf *out, size_t n) {
  struct abi_writer w, list;
  buf_init(out, (size_t)1 << 20);
  abi_begin(&w, out, 2);
  abi_put_array(&list, &w, n, 1);
  for (size_t i = 0; i < n; i++)
    put_service(&list, "https://a.example");
  abi_put_u64(&w, n + 100);
  REQUIRE(abi_end(&w) == 0);
}

static void make_account(struct buf *out, size_t n_refunds) {
  struct abi_writer w, m, refunds;
  buf_init(out, (size_t)1 << 20);
  abi_begin(&w, out, 1);
  abi_put_struct(&m, &w, 11);
  abi_put_address(&m, &ALICE);
  abi_put_address(&m, &BOB);
  abi_put_u64(&m, 17);
  abi_put_u256(&m, U256_0G);
  abi_put_u64(&m, 3);
  abi_put_array(&refunds, &m, n_refunds, 4);
  for (size_t i = 0; i < n_refunds; i++) {
    abi_put_u64(&refunds, i);
    abi_put_u64(&refunds, 1000 + i);
    abi_put_u64(&refunds, 2000 + i);
    abi_put_bool(&refunds, i % 2);
  }
  abi_put_bytes(&m, SPAN(""));
  abi_put_bool(&m, true);
  abi_put_u64(&m, n_refunds);
  abi_put_u64(&m, 4);
  abi_put_u256(&m, U256_MAX);
  REQUIRE(abi_end(&w) == 0);
}

static void put_word(struct buf *b, size_t at, struct u256 n) {
  u256_to_be((uint8_t *)b->data + at, n);
}

/* ---- reading ---- */

static void what_is_written_is_read(void) {
  struct service s[3];
  struct u256 total;
  size_t n;
  struct buf b;
  make_services(&b, 3);
  CHECK_INT(contract_read_services(s, 3, &n, &total, buf_span(&b)), 0);
  CHECK_INT(n, 3);
  CHECK_INT(total.w[0], 103);
  CHECK(address_eq(&s[2].provider, &ALICE) && address_eq(&s[2].tee_signer, &BOB) &&
        s[2].tee_signer_acknowledged);
  CHECK_STR(s[1].url.ptr, s[1].url.len, "https://a.example");
  CHECK_STR(s[2].additional_info.ptr, s[2].additional_info.len, "{}");
  buf_release(&b);
}

static void a_page_larger_than_the_callers_array_is_refused(void) {
  struct service s[3];
  struct u256 total;
  size_t n;
  struct buf b;
  make_services(&b, 4);
  CHECK_INT(contract_read_services(s, 3, &n, &total, buf_span(&b)), ERR_TOO_LARGE);
  buf_release(&b);
}

static void refunds_are_read_one_by_one(void) {
  struct account a;
  struct buf b;
  make_account(&b, 5);
  CHECK_INT(contract_read_account(&a, buf_span(&b)), 0);
  CHECK_INT(a.n_refunds, 5);
  struct refund r = account_refund(&a, 3);
  CHECK_INT(r.index.w[0], 3);
  CHECK_INT(r.amount.w[0], 1003);
  CHECK_INT(r.created_at.w[0], 2003);
  CHECK(r.processed && !account_refund(&a, 4).processed);
  CHECK(u256_eq(a.balance, U256_0G) && u256_eq(a.revoked_bitmap, U256_MAX));
  buf_release(&b);
}

/* Whatever is cut off at the end, nothing behind it is read (the sanitizers watch), and it is an error. */
static void data_that_ends_early_is_refused_at_every_length(void) {
  struct service s[3];
  struct u256 total;
  size_t n;
  struct buf b;
  make_services(&b, 3);
  for (size_t len = 0; len < b.len; len++) {
    char *cut = x_malloc(len + !len);
    memcpy(cut, b.data, len);
    int err = contract_read_services(s, 3, &n, &total, span_make(cut, len));
    free(cut);
    CHECK(err == ERR_SYNTAX || err == ERR_TOO_LARGE);
  }
  buf_release(&b);
}

/* Each word in turn becomes each of the numbers that break careless readers. */
static void a_wild_number_anywhere_is_harmless(void) {
  static const struct u256 wild[] = {{{0}},
                                     {{1}},
                                     {{31}},
                                     {{32}},
                                     {{33}},
                                     {{UINT32_MAX}},
                                     {{INT64_MAX}},
                                     {{UINT64_MAX}},
                                     {{UINT64_MAX - 31}},
                                     {{UINT64_MAX - 32}},
                                     {{0, 1}},
                                     {{32, 0, 0, 1}},
                                     {{0, 0, 0, UINT64_C(1) << 63}},
                                     {{UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX}},
                                     {{UINT64_C(1) << 63}},
                                     {{UINT64_C(1) << 59}},
                                     {{UINT64_C(0x0800000000000001)}}};
  struct service s[3];
  struct account a;
  struct u256 total;
  struct buf b, account;
  size_t n;
  make_services(&b, 2);
  make_account(&account, 2);
  for (size_t i = 0; i < ARRAY_LEN(wild); i++) {
    for (size_t at = 0; at < b.len; at += ABI_WORD) {
      uint8_t old[ABI_WORD];
      memcpy(old, b.data + at, ABI_WORD);
      put_word(&b, at, wild[i]);
      if (contract_read_services(s, 3, &n, &total, buf_span(&b)) == 0) CHECK(n <= 3);
      memcpy(b.data + at, old, ABI_WORD);
    }
    for (size_t at = 0; at < account.len; at += ABI_WORD) {
      uint8_t old[ABI_WORD];
      memcpy(old, account.data + at, ABI_WORD);
      put_word(&account, at, wild[i]);
      if (contract_read_account(&a, buf_span(&account)) == 0 && a.n_refunds)
        (void)account_refund(&a, a.n_refunds - 1);
      memcpy(account.data + at, old, ABI_WORD);
    }
  }
  buf_release(&b);
  buf_release(&account);
}

/* Many elements that all are one long text: 2000 * 64 KiB would be read without the budget. */
static void offsets_that_share_a_long_text_run_out_of_budget(void) {
  enum { ELEMENTS = 2000, TEXT = 65536 };
  struct buf b;
  struct abi_writer w, list;
  struct abi_data d;
  struct abi_reader r, elements;
  struct span s;
  size_t n, read = 0;
  buf_init(&b, (size_t)1 << 20);
  abi_begin(&w, &b, 1);
  abi_put_array(&list, &w, ELEMENTS, 1);
  for (size_t i = 0; i < ELEMENTS; i++)
    abi_put_u64(&list, ELEMENTS * ABI_WORD);
  char *text = x_calloc(TEXT, 1);
  struct abi_writer length;
  abi_begin(&length, &b, 1);
  abi_put_u64(&length, TEXT);
  CHECK_INT(buf_append(&b, text, TEXT), 0);
  free(text);
  CHECK_INT(abi_open(&r, &d, b.data, b.len), 0);
  CHECK_INT(abi_array(&elements, &n, &r, 1), 0);
  CHECK_INT(n, ELEMENTS);
  int err = 0;
  while (!err && read < n && !(err = abi_string(&s, &elements)))
    read++;
  CHECK_INT(err, ERR_TOO_LARGE);
  CHECK(read * TEXT <= 3 * b.len);
  buf_release(&b);
}

/* An array whose elements are the array again: each level costs words. */
static void data_that_points_at_itself_ends(void) {
  uint8_t words[3][ABI_WORD] = {[0] = {[31] = 0}};
  struct abi_data d;
  struct abi_reader r, inner;
  int err, levels = 0;
  CHECK_INT(abi_open(&r, &d, words, sizeof words), 0);
  while (!(err = abi_struct(&inner, &r)) && levels < 1000000) {
    r = inner;
    levels++;
  }
  CHECK_INT(err, ERR_TOO_LARGE);
  CHECK(levels < 200);
}

static void texts_must_be_utf8_and_bytes_need_not(void) {
  static const char *const bad[] = {"\xff",         "\xc0\x80",         "\xc3", "\xe2\x82",
                                    "\xed\xa0\x80", "\xf4\x90\x80\x80", "\x80", "\xf0\x80\x80\x80",
                                    "\xe0\x9f\xbf", "\xf5\x80\x80\x80"};
  static const char *const good[] = {"",
                                     "a",
                                     "\xc3\xbc",
                                     "\xe6\x9c\x8d",
                                     "\xf0\x9f\x99\x82",
                                     "\xf4\x8f\xbf\xbf",
                                     "\xed\x9f\xbf",
                                     "\xee\x80\x80"};
  for (size_t i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(good); i++) {
    bool is_bad = i < ARRAY_LEN(bad);
    struct buf b;
    struct abi_writer w;
    struct abi_data d;
    struct abi_reader r;
    struct span s;
    buf_init(&b, 1024);
    abi_begin(&w, &b, 1);
    abi_put_bytes(&w, span_str(is_bad ? bad[i] : good[i - ARRAY_LEN(bad)]));
    CHECK_INT(abi_open(&r, &d, b.data, b.len), 0);
    CHECK_INT(abi_string(&s, &r), is_bad ? ERR_SYNTAX : 0);
    CHECK_INT(abi_open(&r, &d, b.data, b.len), 0);
    CHECK_INT(abi_bytes(&s, &r), 0);
    buf_release(&b);
  }
}

static void other_bools_and_dirty_addresses_are_refused(void) {
  uint8_t word[ABI_WORD] = {[31] = 2};
  struct address a;
  bool is_true;
  struct span data = span_make((const char *)word, sizeof word);
  CHECK_INT(contract_read_bool(&is_true, data), ERR_SYNTAX);
  word[31] = 1;
  CHECK_INT(contract_read_bool(&is_true, data), 0);
  CHECK(is_true);
  word[0] = 1;
  CHECK_INT(contract_read_bool(&is_true, data), ERR_SYNTAX);
  CHECK_INT(contract_read_address(&a, data), ERR_SYNTAX);
  word[0] = 0;
  word[12] = 9;
  CHECK_INT(contract_read_address(&a, data), 0);
  CHECK_INT(a.bytes[0], 9);
  CHECK_INT(contract_read_address(&a, SPAN_NONE), ERR_SYNTAX);
}

/* ---- calls ---- */

static void a_call_that_does_not_fit_appends_nothing(void) {
  struct buf b;
  buf_init(&b, 4 + 32 * 5);
  buf_put_str(&b, "x");
  CHECK_INT(contract_transfer_fund(&b, &ALICE, SPAN("inference-v1.0"), U256_0G), ERR_TOO_LARGE);
  CHECK_INT(contract_retrieve_fund(&b, &ALICE, 1, SPAN("inference-v1.0")), ERR_TOO_LARGE);
  CHECK_INT(contract_revoke_tokens(&b, &ALICE, (const uint8_t *)"123456789", 9), ERR_TOO_LARGE);
  CHECK_INT(b.len, 1);
  CHECK_INT(contract_get_account(&b, &ALICE, &BOB), 0);
  CHECK_INT(b.len, 1 + 4 + 64);
  buf_release(&b);
}

/* The table of functions says the same twice. */
static void selectors_are_the_hashes_of_their_signatures(void) {
#define SAME_(name, selector, signature) CHECK_INT(abi_selector(signature), (uint32_t)(selector));
  CONTRACT_FUNCTIONS(SAME_)
#undef SAME_
#define SAME_(name, selector, signature, words) CHECK_INT(abi_selector(signature), (uint32_t)(selector));
  REVERT_ERRORS(SAME_)
#undef SAME_
}

/* ---- refusals ---- */

static void check_revert(struct buf *data, const char *expected) {
  struct revert r;
  char text[REVERT_TEXT_MAX + 1];
  revert_read(&r, buf_span(data));
  CHECK_STR(text, revert_text(text, &r), expected);
  buf_release(data);
}

static void refusals_come_out_in_words(void) {
  struct abi_writer w;
  struct buf b;
  buf_init(&b, 1024);
  abi_call(&w, &b, 0xadb9e043, 2);
  abi_put_u64(&w, 400000000000000000);
  abi_put_u256(&w, U256_0G);
  check_revert(&b, "InsufficientAvailableBalance: 0.4 0G available, 1 0G required");
  abi_call(&w, &b, 0x062ba4db, 2);
  abi_put_u64(&w, 51);
  abi_put_u64(&w, 50);
  check_revert(&b, "LimitTooLarge: 51 asked for, at most 50 at a time");
  abi_call(&w, &b, 0x08c379a0, 1);
  abi_put_bytes(&w, SPAN("Ownable: caller is not the owner"));
  check_revert(&b, "Ownable: caller is not the owner");
  abi_call(&w, &b, 0x08c379a0, 1);
  abi_put_bytes(&w, SPAN(""));
  check_revert(&b, "the contract refused with an empty reason");
  abi_call(&w, &b, 0x4e487b71, 1);
  abi_put_u64(&w, 0x11);
  check_revert(&b, "Panic: arithmetic overflow");
  abi_call(&w, &b, 0x4e487b71, 1);
  abi_put_u64(&w, 0x99);
  check_revert(&b, "Panic: code 153");
  check_revert(&b, "the contract refused without giving a reason");
  buf_put(&b, "\xde\xad\xbe\xef", 4);
  check_revert(&b, "the contract refused with an error that is not known (selector 0xdeadbeef)");
  buf_put(&b, "\xde\xad", 2);
  check_revert(&b, "the contract refused with an error that is not known (selector 0x00000000)");
}

static void every_known_error_has_words_for_its_arguments(void) {
#define WORDS_(name, selector, signature, words)                                                             \
  {                                                                                                          \
    uint8_t data[4 + 6 * ABI_WORD] = {(uint8_t)((selector) >> 24), (uint8_t)((selector) >> 16),              \
                                      (uint8_t)((selector) >> 8), (uint8_t)(selector)};                      \
    struct revert r;                                                                                         \
    char text[REVERT_TEXT_MAX + 1];                                                                          \
    data[4 + 31] = 32;                                                                                       \
    revert_read(&r, span_make((const char *)data, sizeof data));                                             \
    CHECK_INT(r.id, REVERT_##name);                                                                          \
    CHECK(revert_text(text, &r) > 8);                                                                        \
    CHECK(!strchr(text, '$'));                                                                               \
  }
  REVERT_ERRORS(WORDS_)
#undef WORDS_
}

/* A stranger's text can neither break a line of the log nor fill it. */
static void foreign_texts_are_cleaned_and_cut(void) {
  struct abi_writer w;
  struct buf b, long_text;
  struct revert r;
  char text[REVERT_TEXT_MAX + 1];
  buf_init(&b, 65536);
  abi_call(&w, &b, 0x08c379a0, 1);
  abi_put_bytes(&w, SPAN("a\nb\x1b[31m\xc2\x9b\x7f\xc3\xa9"));
  check_revert(&b, "a b [31m  \xc3\xa9");
  buf_init(&long_text, 65536);
  for (size_t i = 0; i < 5000; i++)
    buf_put_str(&long_text, "\xe2\x82\xac");
  abi_call(&w, &b, 0x48f72277, 1);
  abi_put_bytes(&w, buf_span(&long_text));
  revert_read(&r, buf_span(&b));
  size_t len = revert_text(text, &r);
  CHECK(len <= REVERT_TEXT_MAX && len > REVERT_TEXT_MAX - 4);
  CHECK(memcmp(text + len - 3, "\xe2\x82\xac", 3) == 0);
  CHECK_INT(text[len], 0);
  buf_release(&b);
  buf_release(&long_text);
}

int main(void) {
  RUN(what_is_written_is_read);
  RUN(a_page_larger_than_the_callers_array_is_refused);
  RUN(refunds_are_read_one_by_one);
  RUN(data_that_ends_early_is_refused_at_every_length);
  RUN(a_wild_number_anywhere_is_harmless);
  RUN(offsets_that_share_a_long_text_run_out_of_budget);
  RUN(data_that_points_at_itself_ends);
  RUN(texts_must_be_utf8_and_bytes_need_not);
  RUN(other_bools_and_dirty_addresses_are_refused);
  RUN(a_call_that_does_not_fit_appends_nothing);
  RUN(selectors_are_the_hashes_of_their_signatures);
  RUN(refusals_come_out_in_words);
  RUN(every_known_error_has_words_for_its_arguments);
  RUN(foreign_texts_are_cleaned_and_cut);
  return CHECK_END();
}
