#!/bin/sh
# Runs the unit tests of a build folder.
# usage: run-unit.sh DIR [NAME]...    NAME: test_session, …; without names all that have a source
set -eu
# shellcheck source=scripts/dev/tap.sh
. "$(dirname "$0")/tap.sh"

dir=$1
shift
if [ $# = 0 ]; then
  for source in tests/unit/test_*.c; do set -- "$@" "$(basename "$source" .c)"; done
fi
for name in "$@"; do
  if [ -x "$dir/$name" ]; then
    tap_run "$name" 120 "$dir/$name"
  else
    echo "$dir/$name was not built" >"$tap_dir/out"
    tap_say "$name" 0 1 "$tap_dir/out" 'no binary'
  fi
done
tap_end
