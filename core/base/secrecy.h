/*
 * secrecy: what the process does so that others on the machine do not read its secrets: an environment block without
 * values, no core dump, and no debugger of the same user.
 *
 * Thread: the main one; the environment before others start.
 */
#ifndef MOONGATE_BASE_SECRECY_H
#define MOONGATE_BASE_SECRECY_H

/*
 * Moves the environment out of the block that /proc/PID/environ shows, where only the names stay, into memory that is
 * locked and in no core dump. getenv() and environ give it as before, for reloads and for a program that takes over.
 */
void secrecy_hide_environment(void);

/* No core dump from now on (RLIMIT_CORE 0), also of programs that are started: when any secret has been loaded. */
void secrecy_forbid_core(void);
/*
 * No ptrace and no /proc/PID/mem of the same user (PR_SET_DUMPABLE 0) either: when a wallet's key has been loaded, or may
 * stand in the environment. secrecy_unseal() undoes it when the key is gone.
 */
void secrecy_seal(void);
void secrecy_unseal(void);

#endif
