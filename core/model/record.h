/*
 * record: what the contract says of one provider (its service), kept whole and immutable from the moment it was read.
 * Control makes records and puts them into the registry; plans hold those that they were built from, so that a request
 * sees one record from its beginning to its end.
 *
 * Thread: any (read-only).   Owner: reference counts (atomic).
 */
#ifndef MOONGATE_MODEL_RECORD_H
#define MOONGATE_MODEL_RECORD_H

#include "eth/contract.h"

#define RECORD_TEXT_MAX ((size_t)64 * 1024) /* all texts of a service together; more is refused */

struct record {
  uint32_t refs;
  char id[ADDRESS_TEXT_LEN + 1]; /* the provider's address with its checksum in the letters */
  struct service service;        /* its texts are in the same block of memory */
};

/* A copy with everything that the service points at; NULL when its texts are larger than RECORD_TEXT_MAX. */
struct record *record_new(const struct service *s);
struct record *record_ref(struct record *r);
void record_unref(struct record **r);
/* All that a balancer looks at is the same; updated_at alone is no change. Either may be NULL. */
bool record_eq(const struct record *a, const struct record *b);

/* Whether its answers can be verified: by its verifiability, and a signer that the contract's owner has acknowledged. */
bool record_is_verifiable(const struct record *r);

#endif
