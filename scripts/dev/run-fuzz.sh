#!/bin/sh
# Feeds the parsers with their corpus.
# usage: run-fuzz.sh replay    every corpus file and about 3 s of seeded mutations a target (gcc, ASan and UBSan)
#        run-fuzz.sh search    libFuzzer (clang), FUZZ_SECONDS a target (default: 60); what it finds goes to build/fuzz
set -eu
# shellcheck source=scripts/dev/tap.sh
. "$(dirname "$0")/tap.sh"

mode=${1:-replay}
case $mode in
  replay) cc=gcc sanitize=address,undefined ;;
  search) cc=clang sanitize=fuzzer-no-link,address,undefined ;;
  *) echo "run-fuzz.sh: unknown mode $mode" >&2; exit 2 ;;
esac
bin=build/$(echo "$sanitize" | tr , -)-$cc/fuzz
# Nothing of an outer make's flags (variants, jobs) may reach this one.
unset MAKEFLAGS MFLAGS MAKELEVEL
${MAKE:-make} --no-print-directory -s CC="$cc" SANITIZE="$sanitize" DEVELOPER=1 fuzz-binaries

for source in tests/fuzz/fuzz_*.c; do
  [ -e "$source" ] || continue
  name=$(basename "$source" .c)
  corpus=tests/fuzz/corpus/${name#fuzz_}
  if [ "$mode" = replay ]; then
    tap_run "$name" 120 "$bin/$name" "$corpus" 3
    continue
  fi
  found=build/fuzz/$name
  mkdir -p "$found" "$corpus"
  code=0
  "$bin/$name" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="$found-" "$found" "$corpus" >"$tap_dir/out" 2>&1 || code=$?
  tap_say "$name" $((code == 0)) $((code != 0)) "$tap_dir/out" "$(tap_why "$code" "${FUZZ_SECONDS:-60}")"
  sed -n 's/^stat::number_of_executed_units: */    inputs tried: /p' "$tap_dir/out"
done
tap_end
