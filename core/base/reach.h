/*
 * reach: which addresses lead out into the internet, and which stay on the machine, in its networks, or at a cloud's own
 * services (RFC 6890 and the IANA registries of special-purpose addresses). For URLs that strangers chose.
 *
 * Thread: any; no state.
 */
#ifndef MOONGATE_BASE_REACH_H
#define MOONGATE_BASE_REACH_H

#include "base/base.h"

struct sockaddr;

/* IPv4 and IPv6 only; IPv4 inside of IPv6 is looked at as itself. */
bool reach_is_public(const struct sockaddr *address);
/*
 * Whether a host of a URL (without brackets) is no public one by its spelling: such an address, or "localhost". A name may
 * still lead to one.
 */
bool reach_is_private_host(const char *host);

#endif
