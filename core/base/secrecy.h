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

/*
 * No core dump (RLIMIT_CORE 0) and no ptrace or /proc/PID/mem of the same user (PR_SET_DUMPABLE 0) from now on: called
 * when a secret has been loaded. secrecy_end() undoes the second when they are gone.
 */
void secrecy_begin(void);
void secrecy_end(void);
/* The second alone, for a process that has secrets only in its environment; programs that it starts may dump. */
void secrecy_seal(void);

#endif
