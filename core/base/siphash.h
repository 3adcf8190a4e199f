/*
 * siphash: SipHash-2-4 (Aumasson and Bernstein 2012), the keyed hash of every table whose keys a peer
 * chooses.
 */
#ifndef MOONGATE_BASE_SIPHASH_H
#define MOONGATE_BASE_SIPHASH_H

#include "base/base.h"

struct siphash_key {
  uint64_t k0, k1;
};

uint64_t siphash(const struct siphash_key *key, const void *data, size_t len);

#endif
