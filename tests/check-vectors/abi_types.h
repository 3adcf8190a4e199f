/*
 * abi_types: any call and any answer, from the text of its types ("(address provider, string url)[] services,
 * uint256 total"), over the primitives of eth/abi.h. The program itself only has typed calls; this drives the
 * same primitives over functions that it does not use.
 */
#ifndef MOONGATE_CHECK_ABI_TYPES_H
#define MOONGATE_CHECK_ABI_TYPES_H

#include "vectors.h"
#include "eth/abi.h"

/* Appends the selector of "name(types)" and the arguments, an array. */
bool abi_types_call(struct failure *why, struct buf *out, const char *signature, json_t *args);
/*
 * The values of an answer: an object when all types of the list have names, else an array; NULL with a reason
 * when the data is refused. Numbers are decimal text, addresses have checksums. `is_refused` tells a refusal
 * from a list of types that is not understood.
 */
json_t *abi_types_read(struct failure *why, bool *is_refused, struct span types, struct span data);
/* Equal values; an empty object stands for an empty array, and a number for its decimal text. */
bool abi_types_equal(json_t *a, json_t *b);

#endif
