#!/bin/sh
# Runs the end-to-end tests, two files at a time. A file that fails beside another one gets a second run alone, and the
# line says so; one with a sanitizer's report does not.
# usage: run-e2e.sh [NAME]...    NAME: chat for tests/e2e/chat.test.mjs
#   MOONGATE            the binary (default: build/moongate)
#   MOONGATE_TEST_SLOW  factor on all deadlines, for sanitizers and slow machines (default: 1)
#   E2E_JOBS            files at a time (default: 2)
#   E2E_TIMEOUT         seconds for all of them (default: 900)
set -eu

# Called again by xargs below for each file: run-e2e.sh --one OUTPUT_DIR NAME
if [ "${1:-}" = --one ]; then
  flags=
  help=$(node --help)
  # node 18.13 prints TAP and knows neither flag
  case $help in *--test-reporter*) flags=--test-reporter=tap ;; esac
  code=0
  # shellcheck disable=SC2086
  timeout -k 10 "$((180 * ${MOONGATE_TEST_SLOW:-1}))" node --test $flags "tests/e2e/$3.test.mjs" >"$2/$3.out" 2>&1 || code=$?
  echo "$code" >"$2/$3.code"
  exit 0
fi

# shellcheck source=scripts/dev/tap.sh
. "$(dirname "$0")/tap.sh"
# Installed again when the lock has changed. No package's own scripts run; --force, for the one native program (anvil) is
# for amd64 and asks for a newer node than it needs.
if ! cmp -s tests/e2e/package-lock.json tests/e2e/node_modules/.installed-lock; then
  {
    npm ci --prefix tests/e2e --ignore-scripts --force --no-audit --no-fund --loglevel=error &&
      cp tests/e2e/package-lock.json tests/e2e/node_modules/.installed-lock
  } >"$tap_dir/npm" 2>&1 || {
    cat "$tap_dir/npm"
    echo '0 passed, 1 failed'
    exit 1
  }
fi
if [ ! -x "${MOONGATE:-build/moongate}" ]; then
  echo "${MOONGATE:-build/moongate} was not built"
  echo '0 passed, 1 failed'
  exit 1
fi

if [ $# = 0 ]; then
  for source in tests/e2e/*.test.mjs; do set -- "$@" "$(basename "$source" .test.mjs)"; done
fi
limit=${E2E_TIMEOUT:-900}
printf '%s\n' "$@" | timeout -k 10 "$limit" xargs -P "${E2E_JOBS:-2}" -n 1 sh "$0" --one "$tap_dir" || :

# look NAME: sets out, passed, failed and why
look() {
  out=$tap_dir/$1.out code=124 why=
  [ ! -e "$tap_dir/$1.code" ] || code=$(cat "$tap_dir/$1.code")
  [ -e "$out" ] || : >"$out"
  passed=$(tap_number pass "$out") failed=$(tap_number fail "$out") cancelled=$(tap_number cancelled "$out")
  failed=$((${failed:-0} + ${cancelled:-0}))
  if [ -z "$passed" ] || { [ "$code" != 0 ] && [ "$failed" = 0 ]; }; then
    why=$(tap_why "$code" "$limit")
    why=${why:-ended without a summary} failed=$((failed + 1))
  fi
}

for name in "$@"; do
  look "$name"
  if [ "$failed" != 0 ] && ! grep -qE 'Sanitizer|runtime error:|internal error at' "$out"; then
    first=$(sed -n 's/^ *not ok [0-9]* - //p' "$out" | tr '\n' ';')
    rm -f "$tap_dir/$name.code"
    sh "$0" --one "$tap_dir" "$name"
    look "$name"
    [ "$failed" != 0 ] || name="$name (on the second run, alone; the first: ${first:-${why:-no summary}})"
  fi
  tap_say "$name" "${passed:-0}" "$failed" "$out" "$why"
done
tap_end
