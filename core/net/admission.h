/*
 * admission: how many client connections the process holds, in all and from one address. One per process,
 * shared by its workers.
 *
 * Thread: any; counts are atomic, the table of addresses has a lock per shard. Owner: control.
 * Invariant: every admission_enter() that admitted is followed by exactly one admission_leave().
 *
 * The bound comes from the configuration or, without one, from the descriptor limit: each request that runs
 * needs a second descriptor, for its provider, so the clients never get all of them. Beyond the bound a few
 * connections are admitted as *over*: they carry one short request each, so that /health and the operator's
 * routes answer while the service is full.
 */
#ifndef MOONGATE_NET_ADMISSION_H
#define MOONGATE_NET_ADMISSION_H

#include "base/base.h"

#include <sys/socket.h>

struct admission;
struct address_count; /* one address with the number of its connections */

enum admission_verdict { ADMITTED, ADMITTED_OVER, REFUSED_FULL, REFUSED_ADDRESS };

/*
 * `active`: how many requests run at providers, each for one of the clients that are counted here. Asked only when there
 * are so many clients that it matters.
 */
typedef uint32_t admission_active_fn(const void *context);
struct admission *admission_new(admission_active_fn *active, const void *context);
void admission_free(struct admission *a);

/*
 * New bounds from now on; nobody is sent away for them. `connections` 0: as many as descriptors allow;
 * `per_address` 0: none. `descriptors` is the process's limit, `own` what it needs besides connections.
 */
void admission_limit(struct admission *a, unsigned connections, unsigned per_address, uint64_t descriptors,
                     unsigned own);

/*
 * Counts a connection from `address` (IPv6: its /64 network). *count (NULL when addresses are not counted) goes
 * back with admission_leave().
 */
enum admission_verdict admission_enter(struct admission *a, const struct sockaddr *address,
                                       struct address_count **count) MUST_CHECK;
void admission_leave(struct admission *a, bool is_over, struct address_count *count);

/* Answers 503 or 429 on a socket that nobody will read from, and closes it. */
void admission_refuse(int fd, enum admission_verdict why);

/* Whether one more client would be too many. */
bool admission_is_full(const struct admission *a);
/* Whether descriptors are left for the requests that run, beside all clients. */
bool admission_has_room(const struct admission *a);
/* Client connections now, those over the bound included. */
unsigned admission_count(const struct admission *a);
unsigned admission_max(const struct admission *a);

#endif
