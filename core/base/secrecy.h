/*
 * secrecy: what the process does so that others on the machine do not read a wallet's key out of it: no core dump, no
 * debugger of the same user, and an environment block without the key.
 *
 * Thread: the main one; the environment before others start.
 */
#ifndef MOONGATE_BASE_SECRECY_H
#define MOONGATE_BASE_SECRECY_H

#include "base/span.h"

/*
 * No core dump (RLIMIT_CORE 0) and no ptrace or /proc/PID/mem of the same user (PR_SET_DUMPABLE 0) from now on: called
 * when a key has been loaded. secrecy_end() undoes the second when the key is gone.
 */
void secrecy_begin(void);
void secrecy_end(void);

/*
 * Overwrites with '*' each place of the process's environment block (what /proc/PID/environ shows) that holds this key
 * (64 hexadecimal digits, perhaps behind 0x; in any case of the letters), whatever the variable is called. getenv()
 * then gives the asterisks. The digits are kept in locked memory for the process that comes after this one.
 */
void secrecy_mask_environment(struct span key);
/* The same for whatever looks like a key. True: there was one. For a process that reads no configuration. */
bool secrecy_mask_all(void);
/*
 * An entry of the environment as it was before; NULL: nothing of it was masked. The caller's to wipe and free, as soon as
 * it has been given to the next process.
 */
char *secrecy_unmasked(const char *entry);
/* What that leaves of a key: asterisks, perhaps behind 0x. */
bool secrecy_is_mask(struct span text);

#endif
