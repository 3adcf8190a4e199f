# Sourced by the runners: counts what programs that print TAP report. Names of the functions start with tap_.
# shellcheck shell=sh
tap_passed=0
tap_failed=0
tap_dir=$(mktemp -d)
trap 'rm -rf "$tap_dir"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# tap_count PATTERN FILE: lines that match
tap_count() { grep -c -e "$1" "$2" || :; }

# tap_number NAME FILE: N of the last line "# NAME N", as node prints them; empty when there is none
tap_number() { sed -n "s/^# $1 \\([0-9][0-9]*\\)\$/\\1/p" "$2" | tail -n 1; }

# tap_say NAME PASSED FAILED FILE WHY: adds to the sums and prints one line; what failed with its words when something did
tap_say() {
  tap_passed=$((tap_passed + $2))
  tap_failed=$((tap_failed + $3))
  if [ "$3" = 0 ]; then
    printf '  ok    %-44s %s passed\n' "$1" "$2"
  else
    printf '  FAIL  %-44s %s passed, %s failed%s\n' "$1" "$2" "$3" "${5:+: $5}"
    awk -f "$(dirname "$0")/tap_failures.awk" "$4" | sed 's/^/    | /'
  fi
}

# tap_why CODE SECONDS: what an exit code of `timeout` says, nothing for 0 and 1
tap_why() {
  case $1 in
    0 | 1) ;;
    124) echo "took more than $2 s" ;;
    137) echo "killed (signal 9)" ;;
    12[89] | 1[3-9]?) echo "crashed (signal $(($1 - 128)))" ;;
    *) echo "exit code $1" ;;
  esac
}

# tap_run NAME SECONDS COMMAND...: runs one program. A crash, a time-out, an exit code without a failed case and an
# output that does not keep its plan ("1..N") count as one failure more.
tap_run() {
  tap_name=$1 tap_limit=$2
  shift 2
  tap_out=$tap_dir/out tap_code=0
  timeout -k 5 "$tap_limit" "$@" >"$tap_out" 2>&1 || tap_code=$?
  tap_ok=$(tap_count '^ok ' "$tap_out") tap_bad=$(tap_count '^not ok ' "$tap_out")
  tap_plan=$(sed -n 's/^1\.\.\([0-9][0-9]*\).*/\1/p' "$tap_out" | tail -n 1)
  tap_reason=$(tap_why "$tap_code" "$tap_limit")
  if [ -z "$tap_reason" ]; then
    if [ -z "$tap_plan" ]; then
      tap_reason='ended before its last case'
    elif [ "$tap_plan" -ne $((tap_ok + tap_bad)) ]; then
      tap_reason="$tap_plan cases were planned, $((tap_ok + tap_bad)) ran"
    elif [ "$tap_code" != 0 ] && [ "$tap_bad" = 0 ]; then
      tap_reason="exit code $tap_code"
    fi
  fi
  [ -z "$tap_reason" ] || tap_bad=$((tap_bad + 1))
  tap_say "$tap_name" "$tap_ok" "$tap_bad" "$tap_out" "$tap_reason"
}

# tap_end: the last line, and the exit code of the runner
tap_end() {
  echo "$tap_passed passed, $tap_failed failed"
  [ "$tap_failed" = 0 ]
}
