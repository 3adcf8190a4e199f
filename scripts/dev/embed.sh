#!/bin/sh
# Prints a C file that embeds the named files byte for byte (.incbin) behind a table of (name, data, size).
# usage: embed.sh FILE...
set -eu
echo '/* made by scripts/dev/embed.sh */'
echo '#include "base/embedded.h"'
i=0
for f in "$@"; do
  echo "__asm__(\".section .rodata\\n.balign 8\\nembed_$i:\\n.incbin \\\"$f\\\"\\nembed_${i}_end:\\n.byte 0\\n.previous\\n\");"
  echo "extern const char embed_$i[] __asm__(\"embed_$i\"), embed_${i}_end[] __asm__(\"embed_${i}_end\");"
  i=$((i + 1))
done
echo 'static const struct embedded_file FILES[] = {'
i=0
for f in "$@"; do
  echo "    {\"$f\", embed_$i, embed_${i}_end},"
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
