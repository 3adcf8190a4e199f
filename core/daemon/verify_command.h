/*
 * verify_command: `moongate verify ID`: asks a running balancer to verify an answer, and tells the verdict in words.
 *
 * Thread: main; blocks. No state.
 */
#ifndef MOONGATE_DAEMON_VERIFY_COMMAND_H
#define MOONGATE_DAEMON_VERIFY_COMMAND_H

#include "daemon/options.h"

/* 0: the answer is valid; 1: it is not, cannot be verified, or nobody could say. */
int verify_main(const struct verify_options *o);

/* Writes the balancer's answer in words; 0 when it says that the answer is valid, else 1. */
int verify_tell(struct buf *out, int status, struct span body);

#endif
