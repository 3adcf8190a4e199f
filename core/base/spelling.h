/*
 * spelling: how far a word is from another, for "did you mean". Pure functions.
 *
 * Source: the optimal string alignment distance, letter case aside (Boytsov, "Indexing methods for approximate
 * dictionary searching", 2011, section 2.1).
 */
#ifndef MOONGATE_BASE_SPELLING_H
#define MOONGATE_BASE_SPELLING_H

#include "base/base.h"

/* The distance to anything of a word longer than this. */
#define SPELLING_FAR 64

/* Letters that were put in, left out or changed; two neighbours that changed places count once. */
unsigned spelling_distance(const char *a, const char *b);
/* Whether so small a distance is likely to be a slip in `name`. */
bool spelling_is_near(const char *name, unsigned distance);

#endif
