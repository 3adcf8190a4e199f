/*
 * tally: what the service has moved, in memory that outlives the process. autoFunding.max is a bound for the service, not
 * for one of its processes: an upgrade (SIGUSR2) and a supervisor's restart after a crash go on with the count. The memory
 * has no name; whoever starts the next process leaves it the descriptor, and it ends with the last of them. Where the
 * system gives none, the count is the process's own.
 *
 *   the one process ──► fork, exec ──► the next one         two at once, during an upgrade: one of them has the turn,
 *        └──────── the same page ───────────┘               and only that one sends and counts
 *
 * The turn is a record lock: the kernel takes it back from a process that dies. The page holds two copies, of which one
 * counts, so that a death in the middle of a change leaves the one before.
 *
 * Thread: control's.   Owner: who opened it.
 */
#ifndef MOONGATE_CHAIN_TALLY_H
#define MOONGATE_CHAIN_TALLY_H

#include "chain/funding.h"

struct tally;

/* A descriptor with an empty tally, for a supervisor to hand on; -1 when there can be none. */
int tally_make(void);
/* `fd`: as it was handed on, and owned from here; -1: a new one. */
struct tally *tally_open(int fd);
/* Gives the turn back. */
void tally_close(struct tally *t);
/* To be handed on; -1: there is none. */
int tally_fd(const struct tally *t);

/* Whether this process has the turn, or takes it now. To be asked before each use: handing the descriptor on loses it. */
bool tally_take_turn(struct tally *t);
void tally_give_turn(struct tally *t);

void tally_read(const struct tally *t, struct funding_spent *out);
/* With the turn only. */
void tally_write(struct tally *t, const struct funding_spent *spent);

#endif
