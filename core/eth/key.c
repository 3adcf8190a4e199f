#include "eth/key.h"
#include "base/rand.h"
#include "eth/hex.h"

#include <secp256k1.h>
#include <secp256k1_preallocated.h>
#include <secp256k1_recovery.h>
#include <sys/mman.h>
#include <unistd.h>

struct key {
  uint8_t secret[32];
  secp256k1_context *context; /* in the same pages, behind this struct */
  struct address address;
  uint8_t public_bytes[65];
  size_t mapped_bytes;
  bool is_locked;
};

/* More than the library's functions take from the stack. */
#define BURNT_BYTES 16384

/*
 * Copies of the key and of nonces may be left on the stack where the library means to clear them and its
 * compiler knew better. Called from where the library was called, so that this frame lies over those.
 */
static __attribute__((noinline, no_sanitize("address"))) void burn_stack(void) {
  uint8_t burnt[BURNT_BYTES];
  wipe(burnt, sizeof burnt);
}

static size_t context_offset(void) {
  return (sizeof(struct key) + 63) & ~(size_t)63;
}

static struct key *map_pages(void) {
  size_t page = (size_t)sysconf(_SC_PAGESIZE);
  size_t bytes = context_offset() + secp256k1_context_preallocated_size(SECP256K1_CONTEXT_NONE);
  bytes = (bytes + page - 1) / page * page;
  /* cppcheck-suppress invalidFunctionArg ; -1 is what an anonymous mapping takes */
  void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (at == MAP_FAILED) return NULL;
  struct key *k = at;
  k->mapped_bytes = bytes;
  k->is_locked = mlock(at, bytes) == 0;
  /* Kernels without these keep the page in what they make; nothing else depends on it. */
  (void)madvise(at, bytes, MADV_DONTDUMP);
  (void)madvise(at, bytes, MADV_WIPEONFORK);
  return k;
}

/* The blinding is drawn anew for each key; the context has no other state. */
static secp256k1_context *new_context(void *memory) {
  uint8_t seed[32];
  secp256k1_context *context = secp256k1_context_preallocated_create(memory, SECP256K1_CONTEXT_NONE);
  rand_os(seed, sizeof seed);
  int is_blinded = secp256k1_context_randomize(context, seed);
  wipe(seed, sizeof seed);
  REQUIRE(is_blinded);
  return context;
}

static bool fill(struct key *k) {
  secp256k1_pubkey key;
  size_t len = sizeof k->public_bytes;
  if (!secp256k1_ec_seckey_verify(k->context, k->secret)) return false;
  REQUIRE(secp256k1_ec_pubkey_create(k->context, &key, k->secret));
  REQUIRE(secp256k1_ec_pubkey_serialize(k->context, k->public_bytes, &len, &key, SECP256K1_EC_UNCOMPRESSED));
  k->address = address_of_public_key(k->public_bytes);
  return true;
}

int key_new(struct key **out, struct span hex) {
  struct span digits = hex;
  (void)!hex_cut_prefix(&digits, hex);
  struct key *k = map_pages();
  if (!k) return ERR_NOT_NOW;
  int err = hex_read(k->secret, sizeof k->secret, digits) ? 0 : ERR_SYNTAX;
  if (!err) {
    k->context = new_context((char *)k + context_offset());
    err = fill(k) ? 0 : ERR_RANGE;
    burn_stack();
  }
  if (err) {
    key_free(k);
    return err;
  }
  *out = k;
  return 0;
}

void key_free(struct key *k) {
  if (!k) return;
  if (k->context) secp256k1_context_preallocated_destroy(k->context);
  size_t bytes = k->mapped_bytes;
  wipe(k, bytes);
  (void)munmap(k, bytes);
}

bool key_is_locked(const struct key *k) {
  return k->is_locked;
}

const struct address *key_address(const struct key *k) {
  return &k->address;
}

void key_public(uint8_t out[65], const struct key *k) {
  memcpy(out, k->public_bytes, sizeof k->public_bytes);
}

void key_sign(struct signature *out, const struct key *k, const uint8_t digest[DIGEST_BYTES]) {
  secp256k1_ecdsa_recoverable_signature made;
  uint8_t compact[64];
  int parity = 0;
  /* Fails for a key out of range only, and there is none of those. */
  int is_signed = secp256k1_ecdsa_sign_recoverable(k->context, &made, digest, k->secret, NULL, NULL);
  burn_stack();
  REQUIRE(is_signed);
  REQUIRE(secp256k1_ecdsa_recoverable_signature_serialize_compact(k->context, compact, &parity, &made));
  /* 2 and 3 need an x above the group's order: 1 in 2^127, and no v of Ethereum can say them. */
  REQUIRE(parity == 0 || parity == 1);
  memcpy(out->r, compact, 32);
  memcpy(out->s, compact + 32, 32);
  out->parity = (uint8_t)parity;
}

void key_sign_personal(struct signature *out, const struct key *k, const void *bytes, size_t len) {
  uint8_t digest[DIGEST_BYTES];
  personal_digest(digest, bytes, len);
  key_sign(out, k, digest);
}
