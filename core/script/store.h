/*
 * store: what scripts find under lb.shared: small values by name, common to all workers and generations of the
 * process, gone when it ends. Bounded: STORE_KEYS_MAX keys of 1 to STORE_KEY_MAX bytes; a value is a number, a boolean
 * or a text of at most STORE_TEXT_MAX bytes. What is full stays full: nothing is pushed out, deleting makes room.
 *
 * Thread: any. Each call is one step under one lock, held for a look-up and a copy.
 * Owner: the process. Scripts reach it through lb_abi_store_*(), declared in abi_decl.h. On a thread whose script is on
 * trial (abi_begin_trial()) these work on a table of the trial's own, which begins empty and is forgotten.
 */
#ifndef MOONGATE_SCRIPT_STORE_H
#define MOONGATE_SCRIPT_STORE_H

#include "script/abi.h"

#define STORE_KEYS_MAX 1024
#define STORE_KEY_MAX  64
#define STORE_TEXT_MAX 1024

/* Keys in use. */
unsigned store_count(void);
/* Forgets everything: for tests, and for simulations, which must repeat. */
void store_clear(void);

/* For abi_begin_trial() and abi_end_trial(). */
void store_begin_trial(void);
void store_end_trial(void);

#endif
