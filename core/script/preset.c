#include "script/preset.h"

#include "base/base.h"
#include "base/embedded.h"

#include <string.h>

#define FOLDER SPAN("strategies/")
#define TAIL   SPAN(".lua")

static const struct alias {
  const char *name, *preset;
} ALIASES[] = {
    {"hash", "rendezvous-hash"}, {"least-outstanding", "least-connections"}, {"tiered", "priority"}};

struct span preset_name(size_t i) {
  size_t n;
  const struct embedded_file *files = embedded_list(&n);
  for (size_t at = 0; at < n; at++) {
    struct span file = span_str(files[at].name);
    if (!span_starts(file, FOLDER) || !span_ends(file, TAIL) || i-- > 0) continue;
    return span_make(file.ptr + FOLDER.len, file.len - FOLDER.len - TAIL.len);
  }
  return SPAN_NONE;
}

static struct span find(struct span name) {
  struct span preset;
  for (size_t i = 0; (preset = preset_name(i)).ptr; i++)
    if (span_eq(preset, name)) return preset;
  return SPAN_NONE;
}

struct span preset_find(const char *name) {
  char text[PRESET_NAME_MAX];
  size_t len = strlen(name);
  if (len >= sizeof text) return SPAN_NONE;
  for (size_t i = 0; i <= len; i++)
    text[i] = name[i] == '_' ? '-' : name[i];
  for (size_t i = 0; i < ARRAY_LEN(ALIASES); i++)
    if (strcmp(text, ALIASES[i].name) == 0) return find(span_str(ALIASES[i].preset));
  return find(span_make(text, len));
}
