# Of a TAP report: the failed cases with what they say, and lines that no TAP producer writes (crashes, sanitizers).
# usage: awk -f tap_failures.awk [-v most=N] FILE     most: lines at most (default 150)
BEGIN { if (!most) most = 150 }

function say(line) {
  if (++said <= most) print line
}

/^ *not ok / { inside = 1; say($0); next }
/^ *(ok |# Subtest)/ { inside = 0; next }
/^ *# (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) / { next }
/^ *(TAP version|1\.\.)/ { next }
/^ *(---|\.\.\.)$/ { next }
/^ *(duration_ms|type|location|failureType|code|name|operator):/ && !/Error/ { next }
inside || /^# [^ ]+:[0-9]+: / || !/^( *#| )/ { say($0) }

END { if (said > most) printf "(%d more lines)\n", said - most }
