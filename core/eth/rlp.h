/*
 * rlp: the byte form of transactions (Ethereum yellow paper, appendix on RLP): strings of bytes and lists.
 * Numbers are strings of their bytes, highest first, without leading zeros. Only written, never read.
 *
 * Everything is appended to the caller's buffer; errors are the buffer's. Thread: any.
 */
#ifndef MOONGATE_ETH_RLP_H
#define MOONGATE_ETH_RLP_H

#include "base/buf.h"
#include "eth/u256.h"

int rlp_bytes(struct buf *out, const void *bytes, size_t len) MUST_CHECK;
int rlp_number(struct buf *out, struct u256 n) MUST_CHECK;

/*
 * A list: what was appended since `start` (the buffer's length at that time) becomes its content. Lists nest;
 * the inner one is closed first.
 */
int rlp_close_list(struct buf *out, size_t start) MUST_CHECK;

#endif
