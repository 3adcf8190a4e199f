#!/bin/sh
# Feeds the parsers with their corpus. tests/fuzz/targets.txt says which dictionaries a target has and what it tries.
# usage: run-fuzz.sh replay     every corpus file and about 3 s of seeded mutations a target (gcc, ASan and UBSan)
#        run-fuzz.sh search     libFuzzer (clang): FUZZ_SECONDS a target (default: 60) or FUZZ_RUNS inputs (default: as many
#                               as fit); what it finds goes to build/fuzz; ends with the coverage
#        run-fuzz.sh coverage   which part of each file the corpus and build/fuzz reach (clang, llvm-cov)
#        run-fuzz.sh minimise   takes into the corpus what build/fuzz has and the corpus does not reach
#        run-fuzz.sh planted    builds each target with the bug of tests/fuzz/planted.txt in a copy of the sources, and expects
#                               libFuzzer to find it within FUZZ_SECONDS
#   FUZZ_ONLY     names of targets, e.g. "json chunk" (default: all)
set -eu
# shellcheck source=scripts/dev/tap.sh
. "$(dirname "$0")/tap.sh"

mode=${1:-replay}
kept_max=16384 # bytes of an input that is taken into the corpus
table=tests/fuzz/targets.txt
cc=clang
sanitize=fuzzer-no-link,address,undefined
case $mode in
  replay) cc=gcc sanitize=address,undefined ;;
  search | coverage | minimise | planted) ;;
  *) echo "run-fuzz.sh: unknown mode $mode" >&2; exit 2 ;;
esac
bin=build/$(echo "$sanitize" | tr , -)-$cc/fuzz
# Nothing of an outer make's flags (variants, jobs) may reach these.
unset MAKEFLAGS MFLAGS MAKELEVEL
build() { ${MAKE:-make} --no-print-directory -s -j "$(nproc 2>/dev/null || echo 1)" CC="$cc" DEVELOPER=1 "$@" fuzz-binaries >"$tap_dir/build"; }

row() { awk -v name="$1" '$1 == name { print $'"$2"'; found = 1 } END { exit !found }' "$table"; }
files() { awk -v name="$1" '$1 == name { for (i = 3; i <= NF; i++) print ($i ~ /^tests\// ? $i : "core/" $i) }' "$table"; }

targets=
for source in tests/fuzz/fuzz_*.c; do
  name=$(basename "$source" .c)
  name=${name#fuzz_}
  row "$name" 2 >/dev/null || { echo "run-fuzz.sh: $table has no row for $name" >&2; exit 2; }
  case " ${FUZZ_ONLY:-$name} " in *" $name "*) targets="$targets $name" ;; esac
done

# libFuzzer refuses an empty file.
dictionaries() {
  echo "# for $1"
  for dict in $(row "$1" 2 | tr , ' '); do cat "tests/fuzz/dict/$dict.dict"; done
}

search() {
  dictionaries "$1" >"$tap_dir/dict"
  mkdir -p "build/fuzz/$1" "tests/fuzz/corpus/$1"
  began=$(date +%s) code=0
  "$bin/fuzz_$1" -max_total_time="${FUZZ_SECONDS:-60}" -runs="${FUZZ_RUNS:--1}" -timeout=20 -rss_limit_mb=2048 \
    -dict="$tap_dir/dict" -print_final_stats=1 -artifact_prefix="build/fuzz/$1-" "build/fuzz/$1" "tests/fuzz/corpus/$1" \
    >"$tap_dir/out" 2>&1 || code=$?
  tap_say "fuzz_$1" $((code == 0)) $((code != 0)) "$tap_dir/out" "$(tap_why "$code" "${FUZZ_SECONDS:-60}")"
  awk -v seconds=$(($(date +%s) - began)) '
    / cov: / { for (i = 1; i < NF; i++) { if ($i == "cov:") edges = $(i + 1); if ($i == "ft:") features = $(i + 1) } }
    /^stat::number_of_executed_units:/ { runs = $2 }
    END { printf "    %d inputs in %d s, %d edges, %d features\n", runs, seconds, edges, features }' "$tap_dir/out"
}

# The corpora of one target, those that exist.
corpora() { for folder in "tests/fuzz/corpus/$1" "build/fuzz/$1"; do [ ! -d "$folder" ] || echo "$folder"; done; }

coverage() {
  for tool in llvm-profdata llvm-cov; do
    command -v $tool >/dev/null || { echo "    $tool is not installed: no coverage"; return 0; }
  done
  build B=build/coverage OPT='-O1 -g' CFLAGS='-fprofile-instr-generate -fcoverage-mapping' LDFLAGS=-fprofile-instr-generate
  printf '%-14s %-30s %9s %9s %9s\n' target file lines regions branches
  for name in $targets; do
    rm -f "$tap_dir"/*.profraw
    for folder in $(corpora "$name"); do
      LLVM_PROFILE_FILE="$tap_dir/%p.profraw" "build/coverage/fuzz/fuzz_$name" "$folder" >"$tap_dir/out" 2>&1 ||
        { tail -n 3 "$tap_dir/out"; return 1; }
    done
    llvm-profdata merge -o "$tap_dir/profile" "$tap_dir"/*.profraw
    llvm-cov report -instr-profile="$tap_dir/profile" "build/coverage/fuzz/fuzz_$name" >"$tap_dir/report"
    for file in $(files "$name"); do
      # The report shortens paths by what they have in common.
      awk -v target="$name" -v file="$file" '
        { at = index(file, $1) }
        at && at == length(file) - length($1) + 1 {
          printf "%-14s %-30s %9s %9s %9s\n", target, file, $10, $4, $13
        }' "$tap_dir/report"
    done
  done
}

minimise() {
  [ -d "build/fuzz/$1" ] || return 0
  # What was written by hand stays. Of what was found, the shortest inputs that reach a new edge; how often they do does
  # not count, or there would be thousands.
  merged=$tap_dir/$1
  cp -r "tests/fuzz/corpus/$1" "$merged"
  "$bin/fuzz_$1" -merge=1 -use_counters=0 -max_len=$kept_max -timeout=20 -rss_limit_mb=2048 "$merged" "build/fuzz/$1" \
    >"$tap_dir/out" 2>&1 || { tail -n 5 "$tap_dir/out"; return 1; }
  for input in "$merged"/*; do
    # libFuzzer's names are checksums.
    [ -e "tests/fuzz/corpus/$1/$(basename "$input")" ] || cp "$input" "tests/fuzz/corpus/$1/$(sha1sum <"$input" | cut -c 1-12)"
  done
  echo "fuzz_$1: $(find "tests/fuzz/corpus/$1" -type f | wc -l) files, $(cat "tests/fuzz/corpus/$1"/* | wc -c) bytes"
}

planted() {
  copy=build/planted
  line=$(grep "^$1	" tests/fuzz/planted.txt) || { echo "run-fuzz.sh: no bug is planted for $1" >&2; return 1; }
  file=$(printf '%s' "$line" | cut -f 2)
  printf '%s' "$line" | cut -f 3 >"$tap_dir/sed"
  sed -f "$tap_dir/sed" "$file" >"$copy/$file"
  if cmp -s "$file" "$copy/$file"; then echo "run-fuzz.sh: the bug for $1 has no place in $file any more" >&2; return 1; fi
  began=$(date +%s) code=0
  dictionaries "$1" >"$tap_dir/dict"
  (cd "$copy" && ${MAKE:-make} --no-print-directory -s CC="$cc" SANITIZE="$sanitize" "$bin/fuzz_$1") >"$tap_dir/build" 2>&1
  mkdir "$tap_dir/$1"
  "$copy/$bin/fuzz_$1" -max_total_time="${FUZZ_SECONDS:-60}" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
    -dict="$tap_dir/dict" -artifact_prefix="$tap_dir/$1-" "$tap_dir/$1" "tests/fuzz/corpus/$1" >"$tap_dir/out" 2>&1 || code=$?
  cp "$file" "$copy/$file" # a copy, and so newer than what was built
  tap_say "fuzz_$1" $((code != 0)) $((code == 0)) "$tap_dir/out" 'the planted bug was not found'
  awk '/ERROR: /{ sub(/.*ERROR: /, ""); what = what ? what : $1 " " $2 $3 } / does not hold|runtime error/{ what = $0 }
    /^stat::number_of_exec/{ n = $2 } END { printf "    %s, after %d inputs\n", what, n }' "$tap_dir/out"
}

case $mode in
  planted)
    build SANITIZE="$sanitize"
    rm -rf build/planted && mkdir -p build/planted/build
    cp -a Makefile VERSION core scripts strategies examples build/planted
    (cd tests && tar cf - --exclude node_modules .) | (mkdir build/planted/tests && cd build/planted/tests && tar xf -)
    cp -a "$(dirname "$bin")" build/planted/build
    for name in $targets; do planted "$name"; done ;;
  replay)
    build SANITIZE="$sanitize"
    for name in $targets; do tap_run "fuzz_$name" 120 "$bin/fuzz_$name" "tests/fuzz/corpus/$name" 3; done ;;
  search)
    build SANITIZE="$sanitize"
    for name in $targets; do search "$name"; done
    coverage ;;
  coverage) coverage && exit 0 ;;
  minimise)
    build SANITIZE="$sanitize"
    for name in $targets; do minimise "$name"; done
    exit 0 ;;
esac
tap_end
