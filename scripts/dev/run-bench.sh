#!/bin/sh
# Builds and runs the small C benchmarks of tests/bench. usage: run-bench.sh BUILD_DIR
set -eu
dir=$1
for source in tests/bench/bench_*.c; do
  name=$(basename "$source" .c)
  ${MAKE:-make} -s --no-print-directory "$dir/bench/$name" >&2
  printf '\n### %s\n\n```\n' "$name"
  "$dir/bench/$name"
  printf '```\n'
done
