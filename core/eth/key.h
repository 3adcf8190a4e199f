/*
 * key: the wallet's private key, in pages of its own that are kept out of swap and of core dumps, and not
 * handed to a child process; wiped when it goes. Its 32 bytes never leave this file.
 *
 * Signatures are deterministic (RFC 6979, the library's default nonce) with low s; the library's context is
 * blinded with fresh randomness, so that what an observer of power or time sees does not follow the key.
 * Thread: any, for signing; making and freeing are the owner's.
 */
#ifndef MOONGATE_ETH_KEY_H
#define MOONGATE_ETH_KEY_H

#include "eth/signature.h"

struct key;

/*
 * From 64 hex digits of either case, with or without "0x". ERR_SYNTAX when it is something else, ERR_RANGE
 * when the number is 0 or not below the order of the group, ERR_NOT_NOW when the system has no memory for it.
 * The caller wipes its own text.
 */
int key_new(struct key **out, struct span hex) MUST_CHECK;
/* Wipes. NULL is fine. */
void key_free(struct key *k);

/* False when the system refused to keep the pages out of swap (RLIMIT_MEMLOCK). */
bool key_is_locked(const struct key *k);
/* Valid as long as the key. */
const struct address *key_address(const struct key *k);
/* 0x04, x, y. */
void key_public(uint8_t out[65], const struct key *k);

void key_sign(struct signature *out, const struct key *k, const uint8_t digest[DIGEST_BYTES]);
/* Signs the digest of a personal message (EIP-191). */
void key_sign_personal(struct signature *out, const struct key *k, const void *bytes, size_t len);

#endif
