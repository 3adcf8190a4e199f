/*
 * rpc: calls to the nodes of one chain (JSON-RPC over HTTP), from control's loop. A call goes to the first node that may
 * be asked; when that one fails, to the next, each once. Before a node is used, again after it has failed, and once a
 * minute it is asked for its chain id: nodes of another chain are left alone. eth_sendRawTransaction alone does not go on to another
 * node once one may have it.
 *
 *   call:  WAITING (for one of RPC_PARALLEL places) ─► CHECKING (eth_chainId) ─► ASKING ─► done
 *             ▲                                              │ the node failed       │
 *             └──────────────────────────────────────────────┴───────────────────────┘  no node left: done
 *
 * Thread: its loop's.   Owner: the caller of rpc_new(); a call is the rpc's, and the caller's to cancel until its `done`.
 * Answers are bounded (RPC_ANSWER_MAX), waiting is (RPC_CALL_MS per node). Nothing blocks.
 */
#ifndef MOONGATE_CHAIN_RPC_H
#define MOONGATE_CHAIN_RPC_H

#include "base/list.h"
#include "chain/rpc_answer.h"
#include "chain/rpc_nodes.h"
#include "eth/address.h"
#include "eth/revert.h"
#include "net/upstream.h"

#define RPC_PARALLEL   4
#define RPC_CONNECT_MS 4000
#define RPC_CALL_MS    10000
#define RPC_ANSWER_MAX ((size_t)4 * 1024 * 1024)
#define RPC_PARAMS_MAX ((size_t)64 * 1024)

/* What became of a call; texts are valid during `done`. */
struct rpc_outcome {
  bool was_answered; /* some node answered: `answer` tells (RPC_RESULT or RPC_ERROR) */
  struct rpc_answer answer;
  const char *trouble; /* not answered: why, for people */
};

typedef void rpc_done(void *user, const struct rpc_outcome *o);

struct rpc {
  struct loop *loop;
  struct upstream *upstream;
  struct rpc_nodes nodes;
  struct list waiting, running;
  unsigned n_running;
  bool is_starting;
  uint64_t last_id;
  uint64_t n_calls, n_failures; /* requests sent to nodes; those of them that failed */
  char trouble[400];
};

/* `nodes`: URLs, NULL-terminated, checked before (rpc_nodes_add); those that are none are dropped. */
struct rpc *rpc_new(struct loop *loop, struct upstream *upstream, char *const *nodes);
/* Calls that have not ended are dropped without their `done`. Not from inside a `done`. */
void rpc_free(struct rpc *r);

struct rpc_call;
/*
 * Calls `method` with `params` (a JSON array as text, copied; at most RPC_PARAMS_MAX bytes). `done` comes once, never
 * before this returns, unless the call is cancelled.
 */
struct rpc_call *rpc_start(struct rpc *r, const char *method, struct span params, rpc_done *done, void *user);
/* eth_call of a contract with this calldata, at the latest block. */
struct rpc_call *rpc_view(struct rpc *r, const struct address *to, struct span calldata, rpc_done *done,
                          void *user);
/* The same at that block: a node that has not got so far is not believed. */
struct rpc_call *rpc_view_at(struct rpc *r, const struct address *to, struct span calldata, uint64_t block,
                             rpc_done *done, void *user);
void rpc_cancel(struct rpc_call *call);

/* The bytes of a result that is "0x…"; the caller's buffer is cleared first. False when it is something else. */
bool rpc_result_bytes(struct buf *out, const struct rpc_outcome *o);
/* Whether the contract refused with that error. */
bool rpc_is_revert(const struct rpc_outcome *o, enum revert_id id);
/*
 * Why a call failed, in words: the contract's reason when there is one, else the node's message, else the nodes'
 * trouble. At most `cap` bytes with the NUL.
 */
void rpc_why(const struct rpc_outcome *o, char *out, size_t cap);

#endif
