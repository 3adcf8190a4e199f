/*
 * redact: the one list of loaded secrets, and the filter that every log line and every outgoing error text
 * passes. A secret of at least REDACT_MIN bytes is replaced by "[redacted]" wherever it occurs, as it is and
 * in its base64 form's place when that was registered too. A wallet's private key is told by a keyed print of its
 * digits, so that the one copy of it stays where it is used.
 *
 * Thread: any (a read-write lock; adding happens when a configuration is loaded or a session token is made).
 */
#ifndef MOONGATE_BASE_REDACT_H
#define MOONGATE_BASE_REDACT_H

#include "base/buf.h"

#define REDACT_MIN        4
#define REDACT_KEY_DIGITS 64

/* Remembers a secret for the process's life; the copy is wiped by redact_forget_all(). Duplicates are one. */
void redact_add(struct span secret);
/*
 * Remembers a private key (64 hexadecimal digits, without 0x; other lengths are ignored) by a keyed print alone: any run
 * of digits that holds it is found, in either case of the letters.
 */
void redact_add_key(struct span digits);
/* Forgets one that redact_add() took: a session token that nobody can use any more. */
void redact_remove(struct span secret);
/* Rewrites the content of `text` in place; false when nothing was found. */
bool redact_apply(struct buf *text);
/*
 * For texts about what somebody wrote, who may have put a key there by mistake: long runs of hexadecimal digits are cut to
 * their first few, those of an address excepted. False when there was none.
 */
bool redact_digits(struct buf *text);
/* True when `text` contains a loaded secret. */
bool redact_finds(struct span text);
/* Whether there is any secret that others must not see. */
bool redact_knows_any(void);
void redact_forget_all(void);

#endif
