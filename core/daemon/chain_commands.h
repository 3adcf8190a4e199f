/*
 * chain_commands: `moongate providers` and `moongate token`: what a node says, on standard output; what went wrong, on
 * standard error. Exit codes as everywhere: 0 fine, 1 a problem that the text names.
 *
 * Thread: main, with a loop of its own for as long as the command runs.
 */
#ifndef MOONGATE_DAEMON_CHAIN_COMMANDS_H
#define MOONGATE_DAEMON_CHAIN_COMMANDS_H

#include "daemon/options.h"

int chain_providers_main(const struct options *o);
int chain_token_main(const struct options *o);

#endif
