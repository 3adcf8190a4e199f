-- `luacheck .` from the repository's root.
std = "luajit"
max_line_length = 120
cache = false
exclude_files = { "build", "**/node_modules", "strategies/types" }

-- What the sandbox of a strategy has, and nothing else (scripts/runtime/sandbox.lua).
stds.strategy = {
  read_globals = {
    "_G", "_VERSION", "assert", "error", "getmetatable", "ipairs", "next", "pairs", "pcall", "print", "rawequal",
    "rawget", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack",
    bit = { fields = { "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift", "rol", "ror", "rshift", "tobit",
                       "tohex" } },
    coroutine = { fields = { "create", "resume", "running", "status", "wrap", "yield" } },
    math = { fields = { "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg", "exp", "floor", "fmod",
                        "frexp", "huge", "ldexp", "log", "log10", "max", "min", "modf", "pi", "pow", "rad", "random",
                        "sin", "sinh", "sqrt", "tan", "tanh" } },
    string = { fields = { "byte", "char", "find", "format", "gmatch", "gsub", "len", "lower", "match", "rep",
                          "reverse", "sub", "upper" } },
    table = { fields = { "concat", "insert", "maxn", "remove", "sort" } },
    lb = {
      fields = {
        "DEFAULT", "NEXT", "SAME", "STOP", "UP", "DEGRADED", "DOWN",
        "log", "now_ms", "random", "hash", "turn", "counter", "slow_start",
        shared = { fields = { "get", "set", "incr", "delete" } },
        class = { other_fields = true },
        pick = { fields = { "cheapest", "least", "p2c", "rendezvous", "smooth", "tiered", "weighted" } },
        score = { fields = { "cost", "error_rate", "in_flight", "latency", "priority", "ttft" } },
        filter = { fields = { "below", "healthy", "lowest", "not_throttled", "tag", "where" } },
      },
    },
  },
}

-- A configuration sees plain Lua without I/O, and env().
stds.config = { read_globals = { "env" } }

files["strategies"] = { std = "strategy" }
files["examples"] = { std = "strategy+config" }
files["scripts/runtime"] = { std = "luajit" }
files["tests/lua"] = { std = "luajit" }
