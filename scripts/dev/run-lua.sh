#!/bin/sh
# Runs the Lua tests, each in a plain luajit from the repository's root.
# usage: run-lua.sh [NAME]...    NAME: locate for tests/lua/locate_spec.lua
set -eu
# shellcheck source=scripts/dev/tap.sh
. "$(dirname "$0")/tap.sh"

if [ $# = 0 ]; then
  for source in tests/lua/*_spec.lua; do
    [ ! -e "$source" ] || set -- "$@" "$(basename "$source" _spec.lua)"
  done
fi
for name in "$@"; do
  tap_run "$name" 120 luajit "tests/lua/${name}_spec.lua"
done
tap_end
