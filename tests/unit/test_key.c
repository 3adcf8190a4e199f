/*
 * Keys, signatures, addresses and the hash below them, for what no vector shows: memory, bounds, pieces.
 */
#include "check.h"
#include "base/rand.h"
#include "eth/hex.h"
#include "eth/keccak.h"
#include "eth/key.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECRET "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static struct key *new_key(const char *text) {
  struct key *k = NULL;
  REQUIRE(key_new(&k, span_str(text)) == 0);
  return k;
}

/* ---- the hash ---- */

static void keccak_in_pieces_is_keccak_at_once(void) {
  uint8_t bytes[1000], whole[KECCAK_BYTES], pieces[KECCAK_BYTES];
  struct rng rng;
  rng_seed(&rng, 1);
  for (size_t i = 0; i < sizeof bytes; i++)
    bytes[i] = (uint8_t)rng_u64(&rng);
  for (size_t len = 0; len <= sizeof bytes; len += 7) {
    struct keccak k;
    keccak256(whole, bytes, len);
    keccak_init(&k);
    for (size_t at = 0, n; at < len; at += n) {
      n = 1 + rng_below(&rng, 300);
      if (n > len - at) n = len - at;
      keccak_update(&k, bytes + at, n);
    }
    keccak_final(&k, pieces);
    CHECK(memcmp(whole, pieces, sizeof whole) == 0);
  }
}

static void keccak_leaves_nothing_behind(void) {
  struct keccak k, zero = {.n = 0};
  uint8_t hash[KECCAK_BYTES];
  memset(&zero, 0, sizeof zero);
  keccak_init(&k);
  keccak_update(&k, SECRET, 64);
  keccak_final(&k, hash);
  CHECK(memcmp(&k, &zero, sizeof k) == 0);
}

/* ---- keys ---- */

static void key_texts_of_another_form_are_refused(void) {
  struct key *k = NULL;
  static const char *const bad[] = {
      "", "0x", "0X" SECRET, SECRET "\n", " " SECRET, "0x0x", "0x" SECRET "0", SECRET "00", "0x" SECRET " "};
  for (size_t i = 0; i < ARRAY_LEN(bad); i++)
    CHECK_INT(key_new(&k, span_str(bad[i])), ERR_SYNTAX);
  CHECK_INT(key_new(&k, SPAN("0000000000000000000000000000000000000000000000000000000000000000")), ERR_RANGE);
  CHECK_INT(key_new(&k, SPAN("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")), ERR_RANGE);
  CHECK(k == NULL);
  CHECK_INT(key_new(&k, SPAN("FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364140")), 0);
  key_free(k);
  key_free(NULL);
}

/* A field of /proc/self/smaps for the mapping that holds `at`. */
static bool find_in_smaps(char out[256], const void *at, const char *field) {
  char line[512];
  bool is_inside = false, is_found = false;
  FILE *f = fopen("/proc/self/smaps", "r");
  if (!f) return false;
  while (!is_found && fgets(line, sizeof line, f)) {
    unsigned long start, end;
    if (sscanf(line, "%lx-%lx ", &start, &end) == 2)
      is_inside = (uintptr_t)at >= start && (uintptr_t)at < end;
    is_found = is_inside && strncmp(line, field, strlen(field)) == 0;
  }
  (void)fclose(f);
  (void)snprintf(out, 256, "%.255s", is_found ? line : "");
  return is_found;
}

static void pages_of_a_key_are_not_dumped_and_not_inherited(void) {
  char flags[256];
  struct key *k = new_key(SECRET);
  if (find_in_smaps(flags, k, "VmFlags:")) {
    CHECK(strstr(flags, " dd"));
    CHECK(strstr(flags, " wf"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    /* The sanitizers make mlock do nothing. */
    if (key_is_locked(k)) CHECK(strstr(flags, " lo"));
#endif
  }
  key_free(k);
}

/* Looks for the key's bytes in all memory of the process that can be read and written. */
static unsigned count_in_memory(const uint8_t *bytes, size_t len) {
  char line[512];
  unsigned n = 0;
  FILE *maps = fopen("/proc/self/maps", "r"), *memory = fopen("/proc/self/mem", "r");
  REQUIRE(maps && memory);
  size_t cap = (size_t)1 << 20;
  uint8_t *copy = malloc(cap + len);
  REQUIRE(copy);
  while (fgets(line, sizeof line, maps)) {
    unsigned long start, end;
    char mode[8];
    if (sscanf(line, "%lx-%lx %7s", &start, &end, mode) != 3 || strncmp(mode, "rw", 2) != 0) continue;
    if (end - start > (256ul << 20)) continue; /* a sanitizer's shadow */
    for (unsigned long at = start; at < end; at += cap) {
      size_t want = end - at < cap + len ? end - at : cap + len;
      if ((uintptr_t)copy >= at && (uintptr_t)copy < at + want) continue;
      if (pread(fileno(memory), copy, want, (off_t)at) != (ssize_t)want) continue;
      for (size_t i = 0; i + len <= want && i < cap; i++)
        n += copy[i] == bytes[0] && memcmp(copy + i, bytes, len) == 0;
    }
  }
  wipe(copy, cap + len);
  free(copy);
  (void)fclose(maps);
  (void)fclose(memory);
  return n;
}

/* What is looked for, in our order and in the library's; each is in memory itself, once. */
static uint8_t half[16], turned[16];

/* Byte by byte and through static memory, so that the test leaves no copies of its own on the stack. */
static struct key *new_random_key(void) {
  static volatile uint8_t secret[32];
  static char text[64];
  for (size_t i = 0; i < sizeof secret; i++) {
    uint8_t byte;
    rand_os(&byte, 1);
    secret[i] = i ? byte : byte & 0x7f;
    hex_write(text + 2 * i, &byte, 1);
    if (i == 0) text[0] = "01234567"[secret[0] >> 4];
  }
  for (size_t i = 0; i < sizeof half; i++) {
    half[i] = secret[16 + i];
    turned[sizeof turned - 1 - i] = secret[16 + i];
  }
  struct key *k = NULL;
  REQUIRE(key_new(&k, span_make(text, sizeof text)) == 0);
  wipe((void *)(uintptr_t)secret, sizeof secret);
  wipe(text, sizeof text);
  return k;
}

static void a_key_is_in_memory_once_and_then_not_at_all(void) {
  uint8_t digest[32] = {1};
  struct signature s;
  struct key *k = new_random_key();
  key_sign(&s, k, digest);
  unsigned with_key = count_in_memory(half, sizeof half);
  CHECK_INT(count_in_memory(turned, sizeof turned), 1);
  key_free(k);
  CHECK_INT(with_key, 2);
  CHECK_INT(count_in_memory(half, sizeof half), 1);
}

static void a_child_does_not_get_the_key(void) {
  struct key *k = new_key(SECRET);
  uint8_t expected[1] = {0x01};
  CHECK(memcmp(k, expected, 1) == 0);
  pid_t child = fork();
  REQUIRE(child >= 0);
  if (child == 0) {
    const uint8_t *bytes = (const uint8_t *)k;
    int sum = 0;
    for (size_t i = 0; i < 32; i++)
      sum |= bytes[i];
    _exit(sum ? 1 : 0);
  }
  int status = 0;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  key_free(k);
}

/* ---- signatures ---- */

static void what_is_signed_is_recovered(void) {
  struct rng rng;
  struct key *k = new_key(SECRET);
  rng_seed(&rng, 3);
  for (size_t i = 0; i < 200; i++) {
    uint8_t digest[DIGEST_BYTES];
    struct signature s, again;
    struct address found;
    char text[SIGNATURE_TEXT_LEN + 1];
    for (size_t j = 0; j < sizeof digest; j++)
      digest[j] = (uint8_t)rng_u64(&rng);
    key_sign(&s, k, digest);
    CHECK(s.s[0] < 0x80);
    signature_text(text, &s);
    CHECK_INT(strlen(text), SIGNATURE_TEXT_LEN);
    CHECK_INT(signature_parse(&again, span_str(text)), SIGNATURE_OK);
    CHECK_INT(signature_recover(&found, digest, &again), SIGNATURE_OK);
    CHECK(address_eq(&found, key_address(k)));
    digest[7] ^= 1;
    CHECK(signature_recover(&found, digest, &again) || !address_eq(&found, key_address(k)));
  }
  key_free(k);
}

static void signatures_repeat(void) {
  struct key *a = new_key(SECRET), *b = new_key("0x" SECRET);
  struct signature x, y;
  key_sign_personal(&x, a, "text", 4);
  key_sign_personal(&y, b, "text", 4);
  CHECK(memcmp(&x, &y, sizeof x) == 0);
  key_free(a);
  key_free(b);
}

static void every_signature_fault_has_words(void) {
  for (int f = SIGNATURE_OK; f <= SIGNATURE_NO_POINT; f++)
    CHECK(strlen(signature_fault_text((enum signature_fault)f)) > 5);
}

/* ---- addresses ---- */

static void addresses_with_a_wrong_letter_case_are_told_apart(void) {
  struct address a = ADDRESS_ZERO;
  CHECK_INT(address_parse(&a, SPAN("0xbcb8461ADED647bACb86b0C5Fe4b395cd13ad2cE")), 0);
  CHECK_INT(a.bytes[0], 0xbc);
  CHECK_INT(address_parse(&a, SPAN("0xbcb8461aDED647bACb86b0C5Fe4b395cd13ad2cE")), ERR_RANGE);
  CHECK_INT(address_parse(&a, SPAN("0x")), ERR_SYNTAX);
  CHECK_INT(address_parse(&a, SPAN("0x0xb8461ADED647bACb86b0C5Fe4b395cd13ad2cE")), ERR_SYNTAX);
  CHECK_INT(address_parse(&a, SPAN("0xbcb8461ADED647bACb86b0C5Fe4b395cd13ad2c\xc3")), ERR_SYNTAX);
  CHECK_INT(address_parse(&a, SPAN_NONE), ERR_SYNTAX);
  CHECK_INT(a.bytes[0], 0xbc);
  CHECK(address_is_zero(&ADDRESS_ZERO) && !address_is_zero(&a));
}

int main(void) {
  RUN(keccak_in_pieces_is_keccak_at_once);
  RUN(keccak_leaves_nothing_behind);
  RUN(key_texts_of_another_form_are_refused);
  RUN(pages_of_a_key_are_not_dumped_and_not_inherited);
  RUN(a_key_is_in_memory_once_and_then_not_at_all);
  RUN(a_child_does_not_get_the_key);
  RUN(what_is_signed_is_recovered);
  RUN(signatures_repeat);
  RUN(every_signature_fault_has_words);
  RUN(addresses_with_a_wrong_letter_case_are_told_apart);
  return CHECK_END();
}
