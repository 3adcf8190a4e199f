/*
 * session_codec: sessions as bytes that outlive the process. A batch is a head with a version and a checksum,
 * then records one after the other:
 *
 *   batch   "MGSB" · version 1 · 3 zero bytes · siphash of what follows (8)
 *   record  flags (1: digests, 2: rewritable, 4: images) · lengths of provider, model, res_key, id (1 each) · created, last use, tokens in
 *           and out (8 each) · digests (64 and 32, by flag) · the four texts
 *
 * Numbers are little-endian. A batch that was damaged is refused as a whole; one of another version as well.
 * Thread: any; no state.
 */
#ifndef MOONGATE_MODEL_SESSION_CODEC_H
#define MOONGATE_MODEL_SESSION_CODEC_H

#include "base/buf.h"
#include "model/session.h"

#define SESSION_BATCH_HEAD 16
/* The longest record. */
#define SESSION_RECORD_MAX (5 + 32 + 96 + SESSION_PROVIDER_MAX + SESSION_MODEL_MAX + 2 * SESSION_KEY_MAX)

/* Makes room for the head of a batch in an empty buffer. */
int session_batch_begin(struct buf *b) MUST_CHECK;
/* Appends a record; `used_wall_ms` is the time of its last use. ERR_TOO_LARGE changes nothing. */
int session_batch_add(struct buf *b, const struct session *s, uint64_t used_wall_ms) MUST_CHECK;
/* Fills in the head. */
void session_batch_end(struct buf *b);

/* The records of a whole batch; ERR_SYNTAX when it is none, was damaged, or has another version. */
int session_batch_open(struct span *records, struct span batch) MUST_CHECK;
/* Takes the next record; false at the end. A record that is malformed ends the batch. */
bool session_batch_next(struct span *records, struct session *out, uint64_t *used_wall_ms) MUST_CHECK;

#endif
