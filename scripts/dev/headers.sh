#!/bin/sh
# Compiles each header alone.
# usage: CC=… CFLAGS=… headers.sh HEADER...    (paths below core/)
set -eu
failed=0
for header in "$@"; do
  # The script boundary is pasted into ffi.cdef as it is: no guard and no #include. script/abi.h stands for it.
  [ "$header" != core/script/abi_decl.h ] || continue
  # shellcheck disable=SC2086
  if printf '#include "%s"\n' "${header#core/}" | eval "${CC:-cc} ${CFLAGS:-} -x c -fsyntax-only -"; then
    continue
  fi
  echo "$header does not compile alone"
  failed=$((failed + 1))
done
[ "$failed" = 0 ]
