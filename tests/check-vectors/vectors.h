/*
 * vectors: what the files of check-vectors share. A handler looks at one case; it returns false with a reason
 * when the program disagrees with the case, or when the case says something that it does not understand.
 */
#ifndef MOONGATE_CHECK_VECTORS_H
#define MOONGATE_CHECK_VECTORS_H

#include "base/buf.h"
#include "base/span.h"
#include "eth/address.h"
#include "eth/key.h"
#include "eth/u256.h"

#include <jansson.h>

/* The program has functions of these names, which the linker would take. */
#pragma GCC poison json_string json_null

struct failure {
  char text[1024];
};

/* `key` is the member's name in an object of cases, NULL in an array of them; `file` the whole file. */
typedef bool case_function(struct failure *why, json_t *value, const char *key, json_t *file);

enum case_shape {
  CASES,         /* an array of cases, or one case alone */
  CASES_BY_NAME, /* an object: contract → name → case; `key` is the inner name */
  CONTEXT        /* read by other cases */
};

struct case_kind {
  const char *file, *list; /* "abi_calls", "cases" */
  enum case_shape shape;
  case_function *run;
};

case_function keccak_case, address_case, invalid_key_case, also_accepted_case, parse_case;
case_function personal_case, raw_digest_case, recover_case;
case_function rlp_case, transaction_case;
case_function call_case, selector_case, topic_case, return_case, malformed_case;
case_function error_case, generic_error_case, error_selector_case;
case_function token_case, token_limit_case, token_verdict_case;
case_function verification_case, fee_case;

/* ---- helpers; each returns false with a reason ---- */

bool fail(struct failure *why, const char *format, ...) PRINTF_LIKE(2, 3);

/* The text of a member that must be there and a string; SPAN_NONE.ptr and a reason otherwise. */
struct span get_string(struct failure *why, json_t *object, const char *name);
/* As above, and NULL or absent is fine: ptr NULL without a reason. */
struct span get_string_or_null(json_t *object, const char *name);
/* The bytes of a "0x…" member. */
bool get_bytes(struct failure *why, struct buf *out, json_t *object, const char *name);
/* Exactly `len` of them. */
bool get_exact(struct failure *why, uint8_t *out, size_t len, json_t *object, const char *name);
/* A number, or its decimal text. */
bool get_u256(struct failure *why, struct u256 *out, json_t *value);
bool get_u64(struct failure *why, uint64_t *out, json_t *value);
bool get_address(struct failure *why, struct address *out, json_t *value);
bool get_key(struct failure *why, struct key **out, json_t *object);
/* The member "ok". */
bool get_ok(struct failure *why, bool *ok, json_t *object);

bool same_text(struct failure *why, const char *what, struct span got, struct span expected);
/* Compares bytes with a "0x…" member. */
bool same_bytes(struct failure *why, const void *got, size_t len, json_t *object, const char *name);

#endif
