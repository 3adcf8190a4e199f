/*
 * redact: the one list of loaded secrets, and the filter that every log line and every outgoing error text
 * passes. A secret of at least REDACT_MIN bytes is replaced by "[redacted]" wherever it occurs, as it is and
 * in its base64 form's place when that was registered too.
 *
 * Thread: any (a read-write lock; adding happens at configuration load only).
 */
#ifndef MOONGATE_BASE_REDACT_H
#define MOONGATE_BASE_REDACT_H

#include "base/buf.h"

#define REDACT_MIN 4

/* Remembers a secret for the process's life; the copy is wiped by redact_forget_all(). Duplicates are one. */
void redact_add(struct span secret);
/* Rewrites the content of `text` in place; false when nothing was found. */
bool redact_apply(struct buf *text);
/* True when `text` contains a loaded secret. */
bool redact_finds(struct span text);
void redact_forget_all(void);

#endif
