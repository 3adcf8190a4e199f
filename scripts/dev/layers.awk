# Fails where an #include of core/ rises to a higher floor or goes sideways.
# usage: awk -f layers.awk core/*/*.[ch]
#
#   5 daemon
#   4 flow  chain          (neighbours: only daemon knows both), and sim on top of flow
#   3 script  sign  net    (never each other; sign and net see floors 0 and 1 only)
#   2 model
#   1 wire, and eth on top of it
#   0 base

BEGIN {
  floor["base"] = 0
  floor["wire"] = 1
  floor["eth"] = 1.5
  floor["model"] = 2
  floor["script"] = floor["sign"] = floor["net"] = 3
  floor["flow"] = floor["chain"] = 4
  floor["sim"] = 4.5
  floor["daemon"] = 5
  highest["sign"] = highest["net"] = 1
}

function fail(text) {
  printf "%s:%d: %s\n", FILENAME, FNR, text
  failed++
}

FNR == 1 {
  n_files++
  n = split(FILENAME, part, "/")
  room = part[n - 1]
  if (!(room in floor)) fail("the room " room " is on no floor")
}

/^[ \t]*#[ \t]*include[ \t]*"/ {
  split($0, quoted, "\"")
  name = quoted[2]
  if (split(name, part, "/") != 2) {
    fail("\"" name "\" is not named as \"room/file.h\"")
    next
  }
  other = part[1]
  if (!(other in floor)) {
    fail("\"" name "\" is in no room of core/")
  } else if (!(room in floor) || other == room) {
    next
  } else if (floor[other] > floor[room]) {
    fail(room " (floor " floor[room] ") must not include \"" name "\" (floor " floor[other] ")")
  } else if (floor[other] == floor[room]) {
    fail(room " and " other " are neighbours and must not include each other: \"" name "\"")
  } else if (room in highest && floor[other] > highest[room]) {
    fail(room " may only include floors 0 to " highest[room] ", not \"" name "\" (floor " floor[other] ")")
  }
}

END {
  if (n_files == 0) fail("no files were given")
  exit (failed > 0)
}
