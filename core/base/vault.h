/*
 * vault: the one place of one secret of 32 bytes (a wallet's private key): a page of its own that is locked in memory,
 * left out of core dumps, wiped in children, and fenced by pages that cannot be read.
 *
 * Thread: one at a time; the owner's. Owner: whoever holds the struct; vault_move() hands it on and empties the source.
 */
#ifndef MOONGATE_BASE_VAULT_H
#define MOONGATE_BASE_VAULT_H

#include "base/base.h"
#include "base/span.h"

#define VAULT_BYTES 32

/* Zero is empty. */
struct vault {
  uint8_t *key;   /* VAULT_BYTES; NULL: empty */
  bool is_locked; /* the system allowed the page to be locked; if not, it may be swapped out */
};

/* Copies the bytes in (what was there before is wiped). False when the system gives no page. */
bool vault_put(struct vault *v, const uint8_t key[VAULT_BYTES]) MUST_CHECK;
/* From 64 hexadecimal digits, with or without 0x, blanks around them; false when it is none. */
bool vault_put_hex(struct vault *v, struct span text) MUST_CHECK;
static inline bool vault_is_empty(const struct vault *v) {
  return !v->key;
}
bool vault_eq(const struct vault *a, const struct vault *b);
void vault_move(struct vault *to, struct vault *from);
void vault_wipe(struct vault *v);

/*
 * No core dump and no debugger of the same user from now on (RLIMIT_CORE 0, PR_SET_DUMPABLE 0): called when a key has
 * been loaded. vault_open_process() undoes the second when the last key is gone, so that tools can look at the exit.
 */
void vault_close_process(void);
void vault_open_process(void);

/*
 * Overwrites with '*' every run of digits in the process's environment block (what /proc/PID/environ shows) that is
 * this key, whatever the variable is called. getenv() then gives the asterisks. Before threads start.
 */
void vault_mask_environment(const struct vault *v);
/* What vault_mask_environment() leaves of a key: asterisks, perhaps behind 0x. */
bool vault_is_mask(struct span text);

#endif
