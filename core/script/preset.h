/*
 * preset: the strategies inside the binary, by name.
 *
 * Thread: any. Nothing allocates.
 */
#ifndef MOONGATE_SCRIPT_PRESET_H
#define MOONGATE_SCRIPT_PRESET_H

#include "base/span.h"

#include <stddef.h>

#define PRESET_NAME_MAX 64

/* The name of the i-th preset, in the order of the alphabet; SPAN_NONE behind the last. It stays for good. */
struct span preset_name(size_t i);

/*
 * The preset that `name` means, SPAN_NONE when it is none: its own name, with `_` for `-` as well, or one that other
 * balancers use (least-outstanding: least-connections; hash: rendezvous-hash; tiered: priority).
 */
struct span preset_find(const char *name);

#endif
