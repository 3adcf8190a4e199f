#!/bin/sh
# The Debian packages that building and testing need.
# usage: deps.sh check|install build|test|vectors|bench|fuzz...
#   check    exits 1 and prints the one line to run when something is missing
#   install  installs what is missing when root; otherwise as check
set -eu

# pkg-config name or file that proves a package is there, then the package
build_needs='
cmd:cc|gcc:gcc
pc:libuv:libuv1-dev
pc:luajit:libluajit-5.1-dev
pc:libcurl:libcurl4-openssl-dev
pc:libssl:libssl-dev
pc:nettle:nettle-dev
pc:sqlite3:libsqlite3-dev
pc:libsecp256k1:libsecp256k1-dev
file:/usr/share/llhttp/llhttp.c:node-llhttp
file:/usr/include/stdlib.h:libc6-dev
cmd:pkg-config:pkg-config
'
test_needs='
cmd:node:nodejs
cmd:npm:npm
cmd:luajit:luajit
cmd:luacheck:lua-check
cmd:openssl:openssl
cmd:curl:curl
cmd:valgrind:valgrind
file:/etc/ssl/certs/ca-certificates.crt:ca-certificates
file:/usr/lib/gcc/x86_64-linux-gnu:gcc
'

vectors_needs='
pc:jansson:libjansson-dev
'
test_needs="$test_needs$vectors_needs"

bench_needs='
cmd:nginx:nginx-core
cmd:haproxy:haproxy
cmd:wrk:wrk
cmd:taskset:util-linux
cmd:luajit:luajit
lua:cjson:lua-cjson
'

fuzz_needs='
cmd:clang:clang
cmd:llvm-cov:llvm
file:/usr/lib/llvm-14/lib/clang/14.0.6/lib/linux/libclang_rt.fuzzer-x86_64.a:libclang-rt-14-dev
'

mode=$1
shift

# A custom place for llhttp is the builder's own business.
if [ -n "${LLHTTP_SRC:-}" ]; then build_needs=$(printf '%s\n' "$build_needs" | grep -v node-llhttp); fi

present() {
  kind=${1%%:*}
  what=${1#*:}
  case $kind in
    cmd)
      for c in $(printf '%s' "$what" | tr '|' ' '); do
        if command -v "$c" >/dev/null 2>&1; then return 0; fi
      done
      return 1 ;;
    pc) command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "$what" ;;
    file) [ -e "$what" ] ;;
    lua) command -v luajit >/dev/null 2>&1 && luajit -e "require('$what')" >/dev/null 2>&1 ;;
  esac
}

missing=
for set in "$@"; do
  case $set in
    build) needs=$build_needs ;;
    test) needs=$test_needs ;;
    vectors) needs=$vectors_needs ;;
    bench) needs=$bench_needs ;;
    fuzz) needs=$fuzz_needs ;;
    *) echo "deps.sh: unknown set $set" >&2; exit 2 ;;
  esac
  for row in $needs; do
    package=${row##*:}
    probe=${row%:*}
    if ! present "$probe"; then missing="$missing $package"; fi
  done
done
[ -z "$missing" ] && exit 0
missing=$(printf '%s\n' $missing | sort -u | tr '\n' ' ')

if [ "$mode" = install ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "installing: $missing"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086
  apt-get install -y --no-install-recommends $missing >/tmp/moongate-apt.$$ 2>&1 ||
    { apt-get update >/tmp/moongate-apt.$$ 2>&1 && apt-get install -y --no-install-recommends $missing >>/tmp/moongate-apt.$$ 2>&1; } ||
    { tail -n 20 /tmp/moongate-apt.$$ >&2; rm -f /tmp/moongate-apt.$$; exit 1; }
  rm -f /tmp/moongate-apt.$$
  exit 0
fi
echo "missing Debian packages: $missing" >&2
echo "install them with:  apt-get install --no-install-recommends $missing" >&2
exit 1
