/*
 * abi: the byte form of arguments and of what contracts return (Solidity, "Contract ABI Specification"):
 * words of 32 bytes; a sequence of values has a head with one slot (or more, for static structs) each; the
 * slot of a dynamic value holds where its content starts, counted from the start of the sequence.
 *
 * Return data is written by strangers. The reader checks every offset and length against the bytes that are
 * there before it uses them. All reads of one answer together have a budget of twice its length: real data
 * reads each word once, while data whose offsets all point at one place runs out of it. So time follows the
 * length of the data, whatever it says.
 * Stricter than some libraries: a bool is 0 or 1, an address has twelve zero bytes before it. Trailing
 * bytes and padding are not looked at.
 *
 * Nothing is allocated: strings are spans into the data. Thread: any.
 */
#ifndef MOONGATE_ETH_ABI_H
#define MOONGATE_ETH_ABI_H

#include "base/buf.h"
#include "eth/address.h"
#include "eth/u256.h"

#define ABI_WORD           32
#define ABI_SELECTOR_BYTES 4

/* ---- reading ---- */

/* What all readers of one answer share. */
struct abi_data {
  const uint8_t *bytes;
  size_t len;
  size_t budget; /* words that may still be read */
};

/* A cursor over one sequence: the values of an answer, the members of a struct, the elements of an array. */
struct abi_reader {
  struct abi_data *data;
  size_t start; /* where the sequence starts; offsets count from here */
  size_t at;    /* the next slot */
};

/*
 * Starts at the values of an answer (or behind an error's selector). ERR_SYNTAX when the length is no whole
 * number of words or 0, ERR_TOO_LARGE above 2^31 bytes.
 */
int abi_open(struct abi_reader *r, struct abi_data *data, const void *bytes, size_t len) MUST_CHECK;

/*
 * Each reads one value and moves on. ERR_SYNTAX when the bytes are not there or say nothing that the type
 * can say; ERR_TOO_LARGE when the budget is spent. After an error the reader must not be used again.
 */
int abi_u256(struct u256 *out, struct abi_reader *r) MUST_CHECK;
int abi_bool(bool *out, struct abi_reader *r) MUST_CHECK;
int abi_address(struct address *out, struct abi_reader *r) MUST_CHECK;
/* Bytes of any content. */
int abi_bytes(struct span *out, struct abi_reader *r) MUST_CHECK;
/* Valid UTF-8. */
int abi_string(struct span *out, struct abi_reader *r) MUST_CHECK;
/* A struct with a dynamic member: `inner` reads its members. (One without is read in place.) */
int abi_struct(struct abi_reader *inner, struct abi_reader *r) MUST_CHECK;
/*
 * An array: `inner` reads its elements, of which there are *n. Each takes `words` slots (1 for dynamic ones);
 * n * words slots are there, so a loop over n is bounded by the data.
 */
int abi_array(struct abi_reader *inner, size_t *n, struct abi_reader *r, size_t words) MUST_CHECK;

/* ---- writing ---- */

/* A sequence that is being written; `out` is the caller's. Errors are the buffer's and stay in `error`. */
struct abi_writer {
  struct buf *out;
  size_t start; /* of the sequence, in out */
  size_t at;    /* the next slot */
  int error;
};

/* Appends the selector and starts the arguments, `words` slots. */
void abi_call(struct abi_writer *w, struct buf *out, uint32_t selector, size_t words);
/* Starts a sequence of its own at the end of the buffer. */
void abi_begin(struct abi_writer *w, struct buf *out, size_t words);
void abi_put_u256(struct abi_writer *w, struct u256 n);
void abi_put_u64(struct abi_writer *w, uint64_t n);
void abi_put_bool(struct abi_writer *w, bool b);
void abi_put_address(struct abi_writer *w, const struct address *a);
/* Bytes or text, with their length before and zeros behind. */
void abi_put_bytes(struct abi_writer *w, struct span bytes);
/* A struct with a dynamic member: `inner` writes `words` slots of members. It is done before `w` goes on. */
void abi_put_struct(struct abi_writer *inner, struct abi_writer *w, size_t words);
/* An array of n elements of `words` slots each; as above. */
void abi_put_array(struct abi_writer *inner, struct abi_writer *w, size_t n, size_t words);
/* 0, or the first error. A caller with inner writers asks those too: their errors do not come up by themselves. */
int abi_end(struct abi_writer *w);

/* The first four bytes of a function's, or an error's, hashed signature: "getService(address)". */
uint32_t abi_selector(const char *signature);

#endif
