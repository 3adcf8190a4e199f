/*
 * embedded: the files that travel inside the binary (Lua runtime, preset strategies, the FFI header). The
 * table is made at build time; names are paths from the repository's root, e.g. "strategies/random.lua".
 * Thread: any; the bytes are read-only and NUL-terminated.
 */
#ifndef MOONGATE_BASE_EMBEDDED_H
#define MOONGATE_BASE_EMBEDDED_H

#include "base/span.h"

struct embedded_file {
  const char *name;
  const char *start, *end;
};

/* ptr is NULL when there is no such file. */
struct span embedded_get(const char *name);
const struct embedded_file *embedded_list(size_t *n);

#endif
