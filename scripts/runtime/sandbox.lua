--[[
sandbox: what a strategy sees instead of Lua's globals. No I/O, no code from text, no way to the runtime's own
tables, nothing to write that another callback would find by a global name. Library tables stand behind empty
read-only ones, so that even raw writes leave them as they are.

Runs in: each generation's Lua state, and under plain luajit (scripts/dev/stub.lua). Files of operators
(config_environment.lua) have its functions on strings and tables, whose single calls end soon.
]]

local error, getmetatable, ipairs, next, pairs, rawget, rawset, select, setmetatable, tostring, type =
  error, getmetatable, ipairs, next, pairs, rawget, rawset, select, setmetatable, tostring, type
local byte, find, format, gmatch, gsub, match, rep =
  string.byte, string.find, string.format, string.gmatch, string.gsub, string.match, string.rep
local concat, sort = table.concat, table.sort

-- Work of one call into C that nothing can interrupt: matching steps, bytes made, elements sorted.
local STEPS_MAX, BYTES_MAX, ELEMENTS_MAX = 4e6, 2 ^ 20, 2 ^ 16

local contents_of = setmetatable({}, { __mode = "k" })

---An empty table through which `contents` can be read and nothing can be written.
local function readonly(what, contents)
  local proxy = setmetatable({}, {
    __index = contents,
    __newindex = function(_, key)
      error(format("%s is read-only: %s cannot be assigned", what, tostring(key)), 2)
    end,
    __metatable = false,
  })
  contents_of[proxy] = contents
  return proxy
end

local protected = setmetatable({}, { __mode = "k" })

---A table whose fields the engine writes: functions that would write to it refuse.
local function protect(t) protected[t] = true end
local function is_protected(t) return protected[t] == true end

-- ---- patterns ------------------------------------------------------------------------------------------------

-- What a pattern costs at most: factors of the subject's length, factors of two.
local function weigh(pattern)
  local lengths, doubles = byte(pattern, 1) == 94 and 0 or 1, 0
  local i, n = 1, #pattern
  while i <= n do
    local c = byte(pattern, i)
    if c == 37 then -- %
      i = i + 1
      local escaped = byte(pattern, i)
      if escaped == 98 then i = i + 2 end -- %bxy
      if escaped == 98 or (escaped and escaped >= 48 and escaped <= 57) then lengths = lengths + 1 end
    elseif c == 91 then -- [set]
      i = i + 1
      if byte(pattern, i) == 94 then i = i + 1 end
      repeat
        if byte(pattern, i) == 37 then i = i + 1 end
        i = i + 1
      until i > n or byte(pattern, i) == 93
    elseif c == 42 or c == 43 or c == 45 then -- * + -
      lengths = lengths + 1
    elseif c == 63 then -- ?
      doubles = doubles + 1
    end
    i = i + 1
  end
  return lengths, doubles
end

local weights, n_weights = {}, 0

local function check_cost(subject, pattern, level)
  if type(subject) == "number" then subject = tostring(subject) end
  if type(pattern) == "number" then pattern = tostring(pattern) end
  if type(subject) ~= "string" or type(pattern) ~= "string" then return end -- the function itself complains
  local weight = weights[pattern]
  if not weight then
    local lengths, doubles = weigh(pattern)
    if n_weights >= 256 then weights, n_weights = {}, 0 end
    weight = { lengths = lengths, factor = 2 ^ doubles * (lengths <= 1 and #pattern + 1 or 1) }
    weights[pattern] = weight
    n_weights = n_weights + 1
  end
  local size = #subject
  if size ^ weight.lengths * weight.factor > STEPS_MAX then
    error(format("the pattern %q may take too long on a text of %d bytes", pattern, size), level + 1)
  end
end

local safe_string = {
  byte = byte, char = string.char, format = format, len = string.len, lower = string.lower,
  reverse = string.reverse, sub = string.sub, upper = string.upper,
}

function safe_string.find(subject, pattern, init, plain)
  if plain then
    if type(subject) == "string" and type(pattern) == "string" and #subject * #pattern > STEPS_MAX then
      error("the texts are too long to search", 2)
    end
  else
    check_cost(subject, pattern, 2)
  end
  return find(subject, pattern, init, plain)
end

function safe_string.match(subject, pattern, init)
  check_cost(subject, pattern, 2)
  return match(subject, pattern, init)
end

function safe_string.gmatch(subject, pattern)
  check_cost(subject, pattern, 2)
  return gmatch(subject, pattern)
end

function safe_string.gsub(subject, pattern, replacement, n)
  check_cost(subject, pattern, 2)
  return gsub(subject, pattern, replacement, n)
end

function safe_string.rep(text, n, separator)
  local size = type(text) == "string" and #text or 0
  if type(separator) == "string" then size = size + #separator end
  if type(n) == "number" and size * n > BYTES_MAX then error("the repeated text would be too long", 2) end
  return rep(text, n, separator)
end

-- ---- tables --------------------------------------------------------------------------------------------------

local function check_elements(t, level)
  if type(t) == "table" and #t > ELEMENTS_MAX then
    error(format("the table is too long: %d elements", #t), level + 1)
  end
end

local insert, remove = table.insert, table.remove

local function check_write(t, level)
  if protected[t] then error("views are read-only: copy what you want to change", level + 1) end
end

local safe_table = { maxn = table.maxn }

function safe_table.insert(t, ...)
  if t ~= nil then check_write(t, 2) end
  return insert(t, ...)
end

function safe_table.remove(t, ...)
  if t ~= nil then check_write(t, 2) end
  return remove(t, ...)
end

function safe_table.concat(t, separator, from, to)
  check_elements(t, 2)
  return concat(t, separator, from, to)
end

function safe_table.sort(t, comparator)
  check_elements(t, 2)
  if t ~= nil then check_write(t, 2) end
  return sort(t, comparator)
end

local function next_provider(pool, i)
  i = i + 1
  local p = pool[i]
  if p ~= nil then return i, p end
end

local function safe_ipairs(t)
  -- A pool is cdata, which the original refuses.
  if type(t) == "cdata" then return next_provider, t, 0 end
  return ipairs(t)
end

local function safe_pairs(t)
  local contents = contents_of[t]
  if not contents then return pairs(t) end
  return function(_, key) return next(contents, key) end, t, nil
end

local function safe_rawset(t, key, value)
  if contents_of[t] or protected[t] then error("this table is read-only", 2) end
  return rawset(t, key, value)
end

-- ---- the environment -----------------------------------------------------------------------------------------

local function pick(from, ...)
  local out = {}
  for i = 1, select("#", ...) do
    local name = select(i, ...)
    out[name] = from[name]
  end
  return out
end

---The globals of a strategy; `lb` is its engine. Reading them is quick once the second result was called, which is
---only for chunks that assign to no global: those would not be refused any more.
local function environment(lb)
  local globals = pick(_G, "assert", "error", "getmetatable", "next", "pcall", "rawequal", "rawget", "select",
                       "setmetatable", "tonumber", "tostring", "type", "unpack", "_VERSION")
  globals.ipairs, globals.pairs, globals.rawset = safe_ipairs, safe_pairs, safe_rawset
  globals.string = readonly("string", safe_string)
  globals.table = readonly("table", safe_table)
  globals.math = readonly("math", pick(math, "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg",
                                       "exp", "floor", "fmod", "frexp", "huge", "ldexp", "log", "log10", "max", "min",
                                       "modf", "pi", "pow", "rad", "random", "sin", "sinh", "sqrt", "tan", "tanh"))
  globals.bit = readonly("bit", pick(require("bit"), "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift",
                                     "rol", "ror", "rshift", "tobit", "tohex"))
  globals.coroutine = readonly("coroutine", pick(coroutine, "create", "resume", "running", "status", "wrap", "yield"))
  globals.lb = lb
  globals.print = function(...)
    local words = {}
    for i = 1, select("#", ...) do words[i] = tostring((select(i, ...))) end
    lb.log("info", concat(words, " "))
  end

  local meta = {
    __index = globals,
    __newindex = function(_, key)
      error(format("a strategy has no globals to write: use `local %s`", tostring(key)), 2)
    end,
    __metatable = false,
  }
  -- What a script can hold is never the environment itself.
  local env, shown = setmetatable({}, meta), setmetatable({}, meta)
  contents_of[shown] = globals
  globals._G = shown
  return env, function()
    for name, value in pairs(globals) do rawset(env, name, value) end
  end
end

---From here on `("x"):method()` reaches only what the sandbox allows. For a whole Lua state, once.
local function guard_strings()
  local meta = getmetatable("")
  meta.__index = safe_string
  meta.__metatable = false
end

return { environment = environment, guard_strings = guard_strings, is_protected = is_protected, protect = protect,
         readonly = readonly, rawget = rawget, string = safe_string, table = safe_table }
