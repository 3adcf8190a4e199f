/*
 * hash: a fast 64-bit hash without a key, for numbers that only have to spread well: what scripts see of a prompt or
 * a request. Whoever picks the bytes can make two of them meet; tables whose keys a peer chooses use base/siphash.
 *
 * Thread: any. The value of the same bytes is the same on every machine and in every version: scripts compare it
 * across restarts.
 */
#ifndef MOONGATE_BASE_HASH_H
#define MOONGATE_BASE_HASH_H

#include "base/span.h"

uint64_t hash_bytes(struct span s, uint64_t seed);

#endif
