/*
 * rpc_answer: what a node's answer says: a result, an error of the call (a revert, a refused transaction), or that
 * this node cannot help and another one should be asked.
 *
 * JSON-RPC 2.0 (jsonrpc.org/specification); error codes of Ethereum nodes as in EIP-1474 and as geth, reth and anvil use
 * them: 3 is a revert whose `data` holds the contract's error, -32005 is a limit. Messages are for people only: nodes
 * word them as they like, and some put raw revert bytes in.
 *
 * Thread: any; no state. The answer points into the body.
 */
#ifndef MOONGATE_CHAIN_RPC_ANSWER_H
#define MOONGATE_CHAIN_RPC_ANSWER_H

#include "wire/json.h"

#define RPC_MESSAGE_MAX 200

enum rpc_end {
  RPC_RESULT,      /* `result` holds the raw value */
  RPC_ERROR,       /* the node answered that this call fails; another node would say the same */
  RPC_NODE_FAILED, /* the answer is none, or says that this node cannot help; `message` says why */
};

struct rpc_answer {
  enum rpc_end end;
  struct span result;            /* a JSON value; a string with its quotes */
  int64_t code;                  /* of an error; 0 when it had none */
  struct span data;              /* the error's data: "0x…" without quotes; empty when there is none */
  char message[RPC_MESSAGE_MAX]; /* printable ASCII */
};

/* Reads the body of an answer to the call `id` that came with this HTTP status. */
void rpc_answer_read(struct rpc_answer *out, int status, struct span body, uint64_t id);

/* Whether the node did not even look at the call: a limit (-32005), or a method that it does not have (-32601). */
bool rpc_answer_turns_away(const struct rpc_answer *a);

/* The inside of a result that is a string without escapes ("0x…"); false when it is something else. */
bool rpc_result_text(struct span *out, struct span result);
/* A result that is a quantity: "0x" and 1 to 16 hexadecimal digits (EIP-1474). */
bool rpc_result_u64(uint64_t *out, struct span result);

#endif
