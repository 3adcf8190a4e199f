#include "support/token_check.h"
#include "eth/hex.h"
#include "eth/keccak.h"
#include "support/go_json.h"

#include <secp256k1.h>
#include <secp256k1_recovery.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define LIFE_MAX_MS  INT64_C(86400000)
#define ID_EPHEMERAL 255

PRINTF_LIKE(2, 3) static bool refuse(struct token_check *out, const char *format, ...) {
  va_list args;
  va_start(args, format);
  (void)vsnprintf(out->error, sizeof out->error, format, args);
  va_end(args);
  return false;
}

/* ---- base64, with the offsets that Go reports ---- */

static int base64_value(uint8_t c) {
  static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const char *at = c ? strchr(digits, c) : NULL;
  return at ? (int)(at - digits) : -1;
}

static size_t skip_line_ends(struct span s, size_t at) {
  while (at < s.len && (s.ptr[at] == '\n' || s.ptr[at] == '\r'))
    at++;
  return at;
}

/*
 * One group of four. Returns false with *at on the byte to report. *n is the bytes made; 0 at the end of the
 * text.
 */
static bool decode_group(uint8_t out[3], size_t *n, size_t *at, bool *is_last, struct span s) {
  unsigned bits = 0;
  int j = 0;
  *n = 0;
  while (j < 4) {
    if (*at == s.len) {
      if (j == 0) return true;
      *at -= (size_t)j;
      return false;
    }
    uint8_t c = (uint8_t)s.ptr[(*at)++];
    int value = base64_value(c);
    if (value >= 0) {
      bits = bits << 6 | (unsigned)value;
      j++;
      continue;
    }
    if (c == '\n' || c == '\r') continue;
    if (c != '=' || j < 2) {
      --*at;
      return false;
    }
    if (j == 2) {
      *at = skip_line_ends(s, *at);
      if (*at == s.len) return false;
      if (s.ptr[*at] != '=') {
        --*at;
        return false;
      }
      ++*at;
    }
    *at = skip_line_ends(s, *at);
    if (*at < s.len) return false;
    *is_last = true;
    break;
  }
  bits <<= 6 * (4 - j);
  *n = (size_t)j - 1;
  for (size_t i = 0; i < 3; i++)
    out[i] = (uint8_t)(bits >> (16 - 8 * i));
  return true;
}

static bool decode_base64(char *out, size_t *len, size_t *fault, struct span s) {
  size_t at = 0, n = 1;
  bool is_last = false;
  *len = 0;
  while (!is_last && n) {
    uint8_t bytes[3];
    if (!decode_group(bytes, &n, &at, &is_last, s)) {
      *fault = at;
      return false;
    }
    if (n) memcpy(out + *len, bytes, n);
    *len += n;
  }
  return true;
}

/* ---- the message ---- */

struct message {
  struct span address, provider; /* raw strings, or empty */
  int64_t timestamp, expires_at;
  uint64_t generation, id;
};

enum kind { TEXT, INT64, UINT64, UINT8 };
static const char *const KIND_NAMES[] = {
    [TEXT] = "string", [INT64] = "int64", [UINT64] = "uint64", [UINT8] = "uint8"};

struct field {
  const char *name;
  enum kind kind;
  void *to;
};

static bool parse_unsigned(uint64_t *out, struct span s, uint64_t max) {
  return span_to_u64(s, max, out);
}

static bool parse_signed(int64_t *out, struct span s) {
  bool is_negative = s.len && s.ptr[0] == '-';
  uint64_t n;
  if (is_negative) s = span_make(s.ptr + 1, s.len - 1);
  if (!span_to_u64(s, (uint64_t)INT64_MAX + is_negative, &n)) return false;
  *out = is_negative ? (int64_t)(0 - n) : (int64_t)n;
  return true;
}

static bool store(const struct field *f, const struct go_json *v) {
  if (f->kind == TEXT) {
    if (v->type != GO_JSON_STRING) return false;
    if (f->to) *(struct span *)f->to = v->raw;
    return true;
  }
  if (v->type != GO_JSON_NUMBER) return false;
  if (f->kind == INT64) return parse_signed(f->to, v->raw);
  return parse_unsigned(f->to, v->raw, f->kind == UINT8 ? 255 : UINT64_MAX);
}

static const char *type_name(enum go_json_type type) {
  static const char *const names[] = {
      [GO_JSON_NULL] = "null",     [GO_JSON_BOOL] = "bool",   [GO_JSON_NUMBER] = "number",
      [GO_JSON_STRING] = "string", [GO_JSON_ARRAY] = "array", [GO_JSON_OBJECT] = "object"};
  return names[type];
}

static const char FORMAT[] = "invalid session token format in Authorization";

/* Without regard to case, as Go folds it: the Kelvin sign is a k, the long s an s. */
static bool is_name(struct span s, const char *name) {
  for (; *name; name++) {
    size_t len = span_starts(s, SPAN("\xe2\x84\xaa")) ? 3 : span_starts(s, SPAN("\xc5\xbf")) ? 2 : 1;
    if (s.len < len) return false;
    char c = len == 3 ? 'k' : len == 2 ? 's' : ascii_lower(s.ptr[0]);
    if (c != ascii_lower(*name)) return false;
    s = span_make(s.ptr + len, s.len - len);
  }
  return s.len == 0;
}

/* Go reads on behind a wrong type and reports the first; names are compared without regard to case. */
static bool read_members(struct token_check *out, struct message *m, struct span object) {
  const struct field fields[] = {
      {"address", TEXT, &m->address},
      {"provider", TEXT, &m->provider},
      {"timestamp", INT64, &m->timestamp},
      {"expiresAt", INT64, &m->expires_at},
      {"nonce", TEXT, NULL},
      {"generation", UINT64, &m->generation},
      {"tokenId", UINT8, &m->id},
  };
  struct span name;
  struct go_json value;
  bool is_good = true;
  for (size_t at = 0; go_json_next(&name, &value, &at, object);) {
    char text[32];
    size_t len = go_json_unquote(text, sizeof text, name);
    for (size_t i = 0; len <= sizeof text && i < ARRAY_LEN(fields); i++) {
      const struct field *f = &fields[i];
      if (!is_name(span_make(text, len), f->name) || value.type == GO_JSON_NULL) continue;
      if (store(f, &value) || !is_good) continue;
      bool tells_value = value.type == GO_JSON_NUMBER && f->kind != TEXT;
      is_good =
          refuse(out, "%s: json: cannot unmarshal %s%s%.*s into Go struct field SessionToken.%s of type %s",
                 FORMAT, type_name(value.type), tells_value ? " " : "", tells_value ? (int)value.raw.len : 0,
                 value.raw.ptr, f->name, KIND_NAMES[f->kind]);
    }
  }
  return is_good;
}

static bool read_message(struct token_check *out, struct message *m, struct span text) {
  struct go_json top;
  char error[GO_JSON_ERROR_MAX + 1];
  if (!go_json_read(&top, error, text)) return refuse(out, "%s: %s", FORMAT, error);
  if (top.type == GO_JSON_NULL) return true;
  if (top.type != GO_JSON_OBJECT)
    return refuse(out, "%s: json: cannot unmarshal %s into Go value of type ctrl.SessionToken", FORMAT,
                  type_name(top.type));
  return read_members(out, m, top.raw);
}

/* ---- what it says ---- */

static bool is_same(struct span raw, struct span text) {
  char own[64];
  size_t len = raw.len ? go_json_unquote(own, sizeof own, raw) : 0;
  return len <= sizeof own && span_eq_nocase(span_make(own, len), text);
}

static bool check_life(struct token_check *out, const struct message *m,
                       const struct token_check_world *world) {
  if (m->id == ID_EPHEMERAL) {
    if (m->expires_at == 0) return refuse(out, "ephemeral token must have an expiration time");
    /* Go's integers wrap. */
    if ((int64_t)((uint64_t)m->expires_at - (uint64_t)m->timestamp) > LIFE_MAX_MS)
      return refuse(out, "ephemeral token duration cannot exceed 24 hours");
  }
  if (m->expires_at > 0 && world->now_ms / 1000 > m->expires_at / 1000)
    return refuse(out, "session token expired");
  if (m->generation < world->generation)
    return refuse(out, "session token has been revoked (generation expired)");
  if (m->generation > world->generation) return refuse(out, "invalid session token (future generation)");
  if (m->id < ID_EPHEMERAL && u256_bit(world->revoked, (unsigned)m->id))
    return refuse(out, "session token has been revoked");
  return true;
}

/* ---- the signature ---- */

static const char *hex_fault(struct span text) {
  if (text.len == 0) return "empty hex string";
  if (!span_starts_nocase(text, SPAN("0x"))) return "hex string without 0x prefix";
  for (size_t i = 2; i < text.len; i++)
    if (hex_digit(text.ptr[i]) < 0) return "invalid hex string";
  return text.len % 2 ? "hex string of odd length" : NULL;
}

/* As the provider's library: any s, and all four recovery ids. */
static const char *recover(struct address *out, const uint8_t digest[DIGEST_BYTES], const uint8_t bytes[65]) {
  const secp256k1_context *context = secp256k1_context_static;
  secp256k1_ecdsa_recoverable_signature parsed;
  secp256k1_pubkey key;
  uint8_t id = (uint8_t)(bytes[64] - 27), public_bytes[65];
  size_t len = sizeof public_bytes;
  if (id > 3) return "invalid signature recovery id";
  if (!secp256k1_ecdsa_recoverable_signature_parse_compact(context, &parsed, bytes, id) ||
      !secp256k1_ecdsa_recover(context, &key, &parsed, digest))
    return "recovery failed";
  REQUIRE(secp256k1_ec_pubkey_serialize(context, public_bytes, &len, &key, SECP256K1_EC_UNCOMPRESSED));
  *out = address_of_public_key(public_bytes);
  return NULL;
}

static bool check_signature(struct token_check *out, const struct message *m, struct span message,
                            struct span signature) {
  uint8_t bytes[65], hash[KECCAK_BYTES], digest[DIGEST_BYTES];
  char recovered[ADDRESS_TEXT_LEN + 1];
  const char *fault = hex_fault(signature);
  if (fault) return refuse(out, "invalid signature format: %s", fault);
  if (!hex_read(bytes, sizeof bytes, span_make(signature.ptr + 2, signature.len - 2)))
    return refuse(out, "invalid signature length");
  keccak256(hash, message.ptr, message.len);
  personal_digest(digest, hash, sizeof hash);
  fault = recover(&out->user, digest, bytes);
  if (fault) return refuse(out, "failed to recover public key from signature: %s", fault);
  address_text(recovered, &out->user);
  if (!is_same(m->address, span_str(recovered)))
    return refuse(out, "signature verification failed: address mismatch");
  (void)go_json_unquote(out->user_text, ADDRESS_TEXT_LEN, m->address);
  return true;
}

static bool check_payload(struct token_check *out, struct span payload,
                          const struct token_check_world *world) {
  struct message m = {0};
  const char *bar = payload.len ? memchr(payload.ptr, '|', payload.len) : NULL;
  if (!bar) return refuse(out, "invalid Authorization payload, expect base64(rawMessage:signature)");
  struct span text = span_make(payload.ptr, (size_t)(bar - payload.ptr));
  struct span signature = span_make(bar + 1, payload.len - text.len - 1);
  if (!read_message(out, &m, text)) return false;
  if (!is_same(m.provider, world->provider)) return refuse(out, "session token is for different provider");
  return check_life(out, &m, world) && check_signature(out, &m, text, signature);
}

void token_check(struct token_check *out, struct span header, const struct token_check_world *world) {
  static const struct span prefix = {"Bearer app-sk-", 14};
  *out = (struct token_check){0};
  if (header.len > TOKEN_CHECK_HEADER_MAX || !span_starts(header, prefix)) {
    (void)refuse(out, "missing or invalid Authorization header, must be Bearer "
                      "app-sk-<base64(rawMessage:signature)>");
    return;
  }
  struct span coded = span_make(header.ptr + prefix.len, header.len - prefix.len);
  char *payload = x_malloc(coded.len + 3);
  size_t len, fault;
  if (!decode_base64(payload, &len, &fault, coded))
    (void)refuse(out, "invalid base64 in Authorization header: illegal base64 data at input byte %zu", fault);
  else
    out->is_good = check_payload(out, span_make(payload, len), world);
  wipe(payload, coded.len + 3);
  free(payload);
}
