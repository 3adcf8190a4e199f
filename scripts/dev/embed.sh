#!/bin/sh
# Prints a C file that embeds the named files byte for byte (.incbin) behind a table of (name, data, size).
# usage: embed.sh FILE...
set -eu
printf '%s\n' '/* made by scripts/dev/embed.sh */' '#include "base/embedded.h"'
i=0
for f in "$@"; do
  printf '__asm__(".section .rodata\\n.balign 8\\nembed_%d:\\n.incbin \\"%s\\"\\nembed_%d_end:\\n.byte 0\\n.previous\\n");\n' \
    "$i" "$f" "$i"
  printf 'extern const char embed_%d[] __asm__("embed_%d"), embed_%d_end[] __asm__("embed_%d_end");\n' "$i" "$i" "$i" "$i"
  i=$((i + 1))
done
echo 'static const struct embedded_file FILES[] = {'
i=0
for f in "$@"; do
  printf '    {"%s", embed_%d, embed_%d_end},\n' "$f" "$i" "$i"
  i=$((i + 1))
done
echo '};'
cat <<'C'

struct span embedded_get(const char *name) {
  for (size_t i = 0; i < sizeof FILES / sizeof FILES[0]; i++)
    if (strcmp(FILES[i].name, name) == 0)
      return span_make(FILES[i].start, (size_t)(FILES[i].end - FILES[i].start));
  return SPAN_NONE;
}

const struct embedded_file *embedded_list(size_t *n) {
  *n = sizeof FILES / sizeof FILES[0];
  return FILES;
}
C
