/*
 * crypto: hashes, keys, addresses, personal messages and signatures.
 */
#include "vectors.h"
#include "eth/keccak.h"

#include <nettle/sha2.h>

bool keccak_case(struct failure *why, json_t *value, const char *key, json_t *file) {
  (void)key, (void)file;
  struct buf input;
  uint8_t hash[32];
  struct span text = get_string_or_null(value, "text");
  if (!get_bytes(why, &input, value, "input")) return false;
  bool is_good = !text.ptr || same_text(why, "the text", buf_span(&input), text);
  if (is_good) {
    keccak256(hash, input.data, input.len);
    is_good = same_bytes(why, hash, sizeof hash, value, "keccak256");
  }
  if (is_good && json_object_get(value, "sha256")) {
    struct sha256_ctx sha;
    sha256_init(&sha);
    sha256_update(&sha, input.len, (const uint8_t *)input.data);
    sha256_digest(&sha, sizeof hash, hash);
    is_good = same_bytes(why, hash, sizeof hash, value, "sha256");
  }
  buf_release(&input);
  return is_good;
}

/* ---- keys and addresses ---- */

static bool same_address(struct failure *why, const struct address *a, json_t *value, const char *name) {
  char text[ADDRESS_TEXT_LEN + 1];
  struct span expected = get_string(why, value, name);
  address_text(text, a);
  return expected.ptr && same_text(why, "the address", span_str(text), expected);
}

static bool same_compressed(struct failure *why, const uint8_t bytes[65], json_t *value) {
  uint8_t compressed[33];
  compressed[0] = 2 | (bytes[64] & 1);
  memcpy(compressed + 1, bytes + 1, 32);
  return same_bytes(why, compressed, sizeof compressed, value, "compressed");
}

bool address_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct key *key;
  uint8_t bytes[65];
  if (!get_key(why, &key, value)) return false;
  key_public(bytes, key);
  bool is_good = same_address(why, key_address(key), value, "address") &&
                 same_bytes(why, bytes, sizeof bytes, value, "public_key") &&
                 same_compressed(why, bytes, value);
  key_free(key);
  return is_good;
}

/* Both ways: a verdict of the file is the one we must come to. */
static bool check_key(struct failure *why, json_t *value) {
  struct key *key = NULL;
  bool expected;
  struct span text = get_string(why, value, "private_key");
  if (!text.ptr || !get_ok(why, &expected, value)) return false;
  bool is_accepted = key_new(&key, text) == 0;
  bool is_good = is_accepted == expected || fail(why, "the key is %s", is_accepted ? "accepted" : "refused");
  if (is_good && is_accepted) is_good = same_address(why, key_address(key), value, "value");
  key_free(key);
  return is_good;
}

bool invalid_key_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  return check_key(why, value);
}

bool also_accepted_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  return check_key(why, value);
}

bool parse_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct address a;
  bool expected;
  struct span text = get_string(why, value, "input");
  if (!text.ptr || !get_ok(why, &expected, value)) return false;
  bool is_accepted = address_parse(&a, text) == 0;
  if (is_accepted != expected) return fail(why, "the address is %s", is_accepted ? "accepted" : "refused");
  return !is_accepted || same_address(why, &a, value, "value");
}

/* ---- signatures ---- */

static bool same_signature(struct failure *why, const struct signature *s, json_t *value) {
  char text[SIGNATURE_TEXT_LEN + 1];
  uint8_t compact[64];
  struct span expected = get_string(why, value, "signature");
  signature_text(text, s);
  if (!expected.ptr || !same_text(why, "the signature", span_str(text), expected)) return false;
  if (!json_object_get(value, "compact_2098")) return true;
  memcpy(compact, s->r, 32);
  memcpy(compact + 32, s->s, 32);
  compact[32] |= (uint8_t)(s->parity << 7);
  return same_bytes(why, compact, sizeof compact, value, "compact_2098");
}

/* What was signed is found to be signed by the signer, from both forms of the text. */
static bool finds_signer(struct failure *why, const uint8_t digest[DIGEST_BYTES], json_t *value,
                         const char *form, const struct address *signer) {
  struct signature s;
  struct address found;
  struct span text = get_string_or_null(value, form);
  if (!text.ptr) return true;
  if (signature_parse(&s, text) || signature_recover(&found, digest, &s))
    return fail(why, "the own signature (%s) is refused", form);
  return address_eq(&found, signer) || fail(why, "the own signature (%s) is another signer's", form);
}

static bool check_signing(struct failure *why, const uint8_t digest[DIGEST_BYTES], json_t *value) {
  struct key *key;
  struct signature s;
  if (!get_key(why, &key, value)) return false;
  key_sign(&s, key, digest);
  bool is_good = same_signature(why, &s, value) &&
                 finds_signer(why, digest, value, "signature", key_address(key)) &&
                 finds_signer(why, digest, value, "compact_2098", key_address(key));
  if (is_good && json_object_get(value, "address"))
    is_good = same_address(why, key_address(key), value, "address");
  key_free(key);
  return is_good;
}

bool personal_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct buf bytes;
  uint8_t digest[DIGEST_BYTES];
  struct span text = get_string_or_null(value, "text");
  if (!get_bytes(why, &bytes, value, "bytes")) return false;
  personal_digest(digest, bytes.data, bytes.len);
  bool is_good = (!text.ptr || same_text(why, "the text", buf_span(&bytes), text)) &&
                 same_bytes(why, digest, sizeof digest, value, "digest") && check_signing(why, digest, value);
  buf_release(&bytes);
  return is_good;
}

bool raw_digest_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  uint8_t digest[DIGEST_BYTES];
  return get_exact(why, digest, sizeof digest, value, "digest") && check_signing(why, digest, value);
}

bool recover_case(struct failure *why, json_t *value, const char *name, json_t *file) {
  (void)name, (void)file;
  struct signature s;
  struct address found;
  uint8_t digest[DIGEST_BYTES];
  bool expected;
  struct span text = get_string(why, value, "signature");
  if (!text.ptr || !get_ok(why, &expected, value) || !get_exact(why, digest, sizeof digest, value, "digest"))
    return false;
  enum signature_fault fault = signature_parse(&s, text);
  if (!fault) fault = signature_recover(&found, digest, &s);
  if (!fault != expected)
    return fail(why, "the signature is %s", fault ? signature_fault_text(fault) : "accepted");
  return fault || same_address(why, &found, value, "value");
}
