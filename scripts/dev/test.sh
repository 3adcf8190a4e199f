#!/bin/sh
# The heart of `make test`: runs the steps one after the other and adds up what they count.
# usage: test.sh
#   TEST_STEPS   the steps to run, e.g. "unit lua" (default: all, in the order of the list below)
#   CC           compiler of the builds (default: gcc)
#   JOBS         compilations at a time (default: the number of cores)
set -eu

all='build layers headers format luacheck unit unit-asan unit-tsan vectors vectors-asan lua fuzz cost e2e e2e-curl e2e-tls e2e-asan e2e-tsan chaos'
steps=${TEST_STEPS:-$all}
cc=${CC:-gcc}
jobs=${JOBS:-$(nproc 2>/dev/null || echo 1)}
make=${MAKE:-make}
# Nothing of an outer make's flags (variants, jobs) may reach the builds below.
unset MAKEFLAGS MFLAGS MAKELEVEL CC

case $cc in *clang*) cc_name=clang ;; *) cc_name=gcc ;; esac
plain=build/plain
[ "$cc_name" = gcc ] || plain=build/plain-$cc_name
asan=build/address-undefined-$cc_name
tsan=build/thread-$cc_name
export ASAN_OPTIONS="${ASAN_OPTIONS:-detect_leaks=1:strict_string_checks=1}"
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"
export TSAN_OPTIONS="${TSAN_OPTIONS:-second_deadlock_stack=1}"

build() { "$make" --no-print-directory -j "$jobs" CC="$cc" DEVELOPER=1 "$@"; }
# These print that they do nothing and why; the step then counts nothing.
skip() { echo "skipped: $1"; }

threaded() {
  for source in tests/unit/test_*.c; do
    if grep -q pthread_create "$source"; then basename "$source" .c; fi
  done
}

step() {
  case $1 in
    build) build all ;;
    layers) build -s check-layers ;;
    headers) build -s check-headers ;;
    format)
      if command -v clang-format >/dev/null 2>&1; then build -s format-check; else skip 'clang-format is not installed'; fi ;;
    luacheck)
      if command -v luacheck >/dev/null 2>&1; then build -s luacheck; else skip 'luacheck is not installed'; fi ;;
    unit) build unit-binaries && sh scripts/dev/run-unit.sh "$plain/tests" ;;
    unit-asan) build SANITIZE=address,undefined unit-binaries && sh scripts/dev/run-unit.sh "$asan/tests" ;;
    unit-tsan)
      names=$(threaded | tr '\n' ' ')
      if [ -z "$names" ]; then skip 'no unit test uses threads'; return; fi
      # shellcheck disable=SC2086
      build SANITIZE=thread UNIT="$names" unit-binaries && sh scripts/dev/run-unit.sh "$tsan/tests" $names ;;
    vectors) build vectors-binary && "$plain/check_vectors" --all tests/vectors ;;
    vectors-asan) build SANITIZE=address,undefined vectors-binary && "$asan/check_vectors" --all tests/vectors ;;
    lua) sh scripts/dev/run-lua.sh ;;
    fuzz) sh scripts/dev/run-fuzz.sh replay ;;
    cost)
      # The figures are of gcc's code for this machine's kind.
      if [ "$cc_name" != gcc ]; then skip "the figures are gcc's"; return; fi
      if ! command -v valgrind >/dev/null 2>&1; then skip 'valgrind is not installed'; return; fi
      build -s check-cost ;;
    e2e) build "$plain/moongate" && MOONGATE=$plain/moongate MOONGATE_TEST_SLOW=${MOONGATE_TEST_SLOW:-2} sh scripts/dev/run-e2e.sh ;;
    e2e-curl)
      # The same story over the other transport, where it has a part in it.
      build "$plain/moongate" && MOONGATE=$plain/moongate MOONGATE_TEST_SLOW=${MOONGATE_TEST_SLOW:-2} MOONGATE_UPSTREAM=curl sh scripts/dev/run-e2e.sh \
        body-bytes chat clients-that-leave connections distribution errors-that-reach-the-caller \
        chaos failover-before-the-first-byte headers health load no-failover-after-the-first-byte secrets slow-clients \
        stopping strategy-callbacks ;;
    e2e-tls)
      # And over TLS, with the program's own transport.
      build "$plain/moongate" && MOONGATE=$plain/moongate MOONGATE_TEST_SLOW=${MOONGATE_TEST_SLOW:-2} MOONGATE_TEST_TLS=1 sh scripts/dev/run-e2e.sh \
        body-bytes chat clients-that-leave connections errors-that-reach-the-caller chaos \
        failover-before-the-first-byte headers health no-failover-after-the-first-byte slow-clients stopping ;;
    chaos)
      build SANITIZE=address,undefined "$asan/moongate" &&
        MOONGATE=$asan/moongate MOONGATE_TEST_SLOW=4 MOONGATE_CHAOS_SECONDS=60 sh scripts/dev/run-e2e.sh chaos ;;
    e2e-asan)
      build SANITIZE=address,undefined "$asan/moongate" &&
        MOONGATE=$asan/moongate MOONGATE_TEST_SLOW=4 sh scripts/dev/run-e2e.sh ;;
    e2e-tsan)
      build SANITIZE=thread "$tsan/moongate" &&
        MOONGATE=$tsan/moongate MOONGATE_TEST_SLOW=6 sh scripts/dev/run-e2e.sh ;;
    *) echo "test.sh: there is no step $1; there are: $all" && return 2 ;;
  esac
}

out=$(mktemp)
trap 'rm -f "$out"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
passed=0
failed=0
summary=
for name in $steps; do
  start=$(date +%s)
  code=0
  # `set -e` does not hold inside a condition; each step chains its commands.
  step "$name" >"$out" 2>&1 || code=$?
  took=$(($(date +%s) - start))
  last=$(tail -n 1 "$out")
  # A step that counts says so in a line of its own near the end; another one is a single check.
  counts=$(tail -n 3 "$out" | sed -n 's/^\([0-9][0-9]*\) passed, \([0-9][0-9]*\) failed$/\1 \2/p' | tail -n 1)
  case $last in
    'skipped: '*)
      if [ "$code" = 0 ]; then
        printf '%-12s %s\n' "$name" "$last"
        continue
      fi ;;
  esac
  if [ -z "$counts" ]; then
    if [ "$code" = 0 ]; then counts='1 0'; else counts='0 1'; fi
  fi
  ok=${counts% *} bad=${counts#* }
  if [ "$code" != 0 ] && [ "$bad" = 0 ]; then bad=1; fi
  passed=$((passed + ok)) failed=$((failed + bad))
  printf '%-12s %5d passed %5d failed %5d s\n' "$name" "$ok" "$bad" "$took"
  if [ "$bad" != 0 ]; then
    grep -v '^  ok  ' "$out" | sed 's/^/  /'
    summary="$summary$(sed -n "s/^  FAIL  \([^ ]*\).*/$name: \1/p" "$out" | sort -u | sed 's/^/failed: /')
"
  fi
done
printf '%s' "$summary" | sed '/^$/d'
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
