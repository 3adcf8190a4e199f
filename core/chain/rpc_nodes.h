/*
 * rpc_nodes: which of several nodes is asked next, and for how long one that failed is left alone. The first of the
 * list is preferred whenever it may be asked; a node that fails waits 1 s, 2 s, 4 s … up to a minute (with jitter), one
 * on another chain than the rest five minutes.
 *
 * Thread: one.   Owner: rpc.
 */
#ifndef MOONGATE_CHAIN_RPC_NODES_H
#define MOONGATE_CHAIN_RPC_NODES_H

#include "base/rand.h"
#include "base/span.h"

#define RPC_NODES_MAX     8
#define RPC_WAIT_FIRST_MS 1000
#define RPC_WAIT_MAX_MS   60000
#define RPC_WAIT_OTHER_MS 300000
#define RPC_CHECK_MS      60000 /* so long a node is believed to be on the chain that it named */
#define RPC_NODE_TROUBLE  160

struct rpc_node {
  char *origin; /* "https://host:port": the part of the URL that may be shown */
  char *target; /* path and query, at least "/"; may hold a key */
  uint64_t not_before_ms;
  unsigned failures;              /* in a row */
  bool is_checked;                /* its chain id has been read since it last failed */
  uint64_t checked_ms;            /* and when */
  char trouble[RPC_NODE_TROUBLE]; /* why it failed last; empty: it works or was not asked yet */
};

struct rpc_nodes {
  struct rpc_node list[RPC_NODES_MAX];
  unsigned n;
  uint64_t chain_id; /* what the first node that answered is on; 0: none has */
  struct rng rng;
};

/*
 * Takes an http(s) URL apart and adds it. NULL when it is fine, else a static text. What follows the host may be a
 * key, so path and query are given to the redactor when they are long enough to be one.
 */
const char *rpc_nodes_add(struct rpc_nodes *nodes, struct span url) MUST_CHECK;
void rpc_nodes_init(struct rpc_nodes *nodes);
void rpc_nodes_release(struct rpc_nodes *nodes);

/* The next one for a call that has tried the nodes of the bit set already; -1: nobody can be asked now. */
int rpc_nodes_pick(const struct rpc_nodes *nodes, unsigned tried, uint64_t now_ms);
/* `wait_ms`: what the node asked for (Retry-After); 0: nothing. */
void rpc_nodes_failed(struct rpc_nodes *nodes, int i, const char *why, uint64_t wait_ms, uint64_t now_ms);
void rpc_nodes_worked(struct rpc_nodes *nodes, int i);
/* The node says on which chain it is. False: on another one than the others; it is then left alone. */
bool rpc_nodes_check(struct rpc_nodes *nodes, int i, uint64_t chain_id, uint64_t now_ms);
/* Whether it is to be asked for its chain before its next call. */
bool rpc_nodes_needs_check(const struct rpc_nodes *nodes, int i, uint64_t now_ms);
/* Something that was there is not any more: each is to be asked. */
void rpc_nodes_doubt(struct rpc_nodes *nodes);
/* Milliseconds until one may be asked again; 0: now. */
uint64_t rpc_nodes_wait_ms(const struct rpc_nodes *nodes, uint64_t now_ms);
/* What keeps them from being asked, for people: "https://a: status 503; https://b: …". */
void rpc_nodes_trouble(const struct rpc_nodes *nodes, char *out, size_t cap);

#endif
