--[[
sandbox: what a strategy sees instead of Lua's globals. No I/O, no code from text, no way to the runtime's own
tables, nothing to write that another callback would find by a global name. Library tables stand behind empty
read-only ones, so that even raw writes leave them as they are.

Runs in: each generation's Lua state, and under plain luajit (scripts/dev/stub.lua). Files of operators
(config_environment.lua) have its functions on strings and tables, whose single calls end soon.
]]

local error, getmetatable, ipairs, next, pairs, pcall, rawget, rawset, select, setmetatable, tonumber, tostring, type =
  error, getmetatable, ipairs, next, pairs, pcall, rawget, rawset, select, setmetatable, tonumber, tostring, type
local byte, find, format, gmatch, gsub, match, rep =
  string.byte, string.find, string.format, string.gmatch, string.gsub, string.match, string.rep
local concat, insert, remove, sort, unpack = table.concat, table.insert, table.remove, table.sort, unpack
local create, resume = coroutine.create, coroutine.resume

-- Work of one call into C that nothing can interrupt: matching steps, bytes made, elements sorted or moved.
local STEPS_MAX, BYTES_MAX, ELEMENTS_MAX = 4e6, 2 ^ 20, 2 ^ 13

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

---A table whose fields the engine writes, "pool" or another `kind`: functions that would write to it refuse.
local function protect(t, kind) protected[t] = kind end
---The kind, or nil.
local function kind_of_protected(t) return protected[t] end

-- ---- calls within calls --------------------------------------------------------------------------------------

-- Lua called by C, which Lua called, takes of the thread's own stack, which no error protects. Coroutines do, too.
local NESTED_MAX = 32
local nested = 0

local function enter(what)
  if nested >= NESTED_MAX then error(format("%s is called from within itself too often", what), 3) end
  nested = nested + 1
end

local function leave(...)
  nested = nested - 1
  return ...
end

-- What pcall or resume returned.
local function leave_or_raise(ok, ...)
  nested = nested - 1
  if not ok then error((...), 0) end
  return ...
end

---After a call that was cut off, perhaps between enter() and leave().
local function recover() nested = 0 end

-- LuaJIT's own tostring calls a __tostring in its own place: as a metamethod of what it is called with it would go on
-- for ever without an instruction to be stopped at. A function of Lua's in between has one. Configurations get pcall in
-- the same way; strategies have LuaJIT's own, because loops around one of Lua's were not always stopped.
local function safe_pcall(...) return pcall(...) end
local function safe_tostring(...) return (tostring(...)) end

local function is_text(x) return type(x) == "string" or type(x) == "number" end

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
  byte = byte, char = string.char, len = string.len, lower = string.lower, reverse = string.reverse,
  sub = string.sub, upper = string.upper,
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
  if type(replacement) == "string" then
    if type(subject) == "string" and (#subject + 1) * #replacement > STEPS_MAX then
      error("the replacements may be too long", 2)
    end
  elseif is_text(subject) and is_text(pattern) and not is_text(replacement) and replacement ~= nil then
    enter("string.gsub")
    return leave_or_raise(pcall(gsub, subject, pattern, replacement, n))
  end
  return gsub(subject, pattern, replacement, n)
end

function safe_string.rep(text, n, separator)
  local size = (is_text(text) and #tostring(text) or 0) + (is_text(separator) and #tostring(separator) or 0)
  local count = tonumber(n)
  if count and size * count > BYTES_MAX then error("the repeated text would be too long", 2) end
  return rep(text, n, separator)
end

local function as_texts(...)
  local out, n = { ... }, select("#", ...)
  for i = 1, n do
    if not is_text(out[i]) and out[i] ~= nil then out[i] = tostring(out[i]) end
  end
  return unpack(out, 1, n)
end

-- Who has a __tostring is made a text before: format would call it from C.
function safe_string.format(pattern, ...)
  for i = 1, select("#", ...) do
    local kind = type((select(i, ...)))
    if kind == "table" or kind == "cdata" then return format(pattern, as_texts(...)) end
  end
  return format(pattern, ...)
end

-- ---- tables --------------------------------------------------------------------------------------------------

local function check_elements(t, level)
  if type(t) == "table" and #t > ELEMENTS_MAX then
    error(format("the table is too long: %d elements", #t), level + 1)
  end
end

local function is_view(t) return type(t) == "cdata" or (t ~= nil and protected[t] ~= nil) end

local function check_write(t, level)
  if is_view(t) then error("views are read-only: copy what you want to change", level + 1) end
end

local safe_table = { maxn = table.maxn }

-- From a place below 1 everything would be moved up to there.
local function check_place(t, place, level)
  check_elements(t, level + 1)
  if type(place) ~= "number" or not (place >= 1 and place < 2 ^ 31) then
    error(format("there is no place %s in a table", tostring(place)), level + 1)
  end
end

function safe_table.insert(t, ...)
  check_write(t, 2)
  if select("#", ...) > 1 then check_place(t, (...), 2) end
  return insert(t, ...)
end

function safe_table.remove(t, ...)
  check_write(t, 2)
  if select("#", ...) > 0 then check_elements(t, 2) end
  return remove(t, ...)
end

function safe_table.concat(t, separator, from, to)
  if is_view(t) then error("table.concat is not for views", 2) end
  if type(t) == "table" then
    check_elements(t, 2)
    local size = type(separator) == "string" and #separator * #t or 0
    for i = 1, #t do
      local text = rawget(t, i)
      if type(text) == "string" then size = size + #text end
    end
    if size > BYTES_MAX then error("the text would be too long", 2) end
  end
  return concat(t, separator, from, to)
end

-- LuaJIT's own order compares long texts in C, one pair after the other, and nothing can interrupt that.
local function is_less(a, b) return a < b end

function safe_table.sort(t, comparator)
  check_elements(t, 2)
  check_write(t, 2)
  if type(t) ~= "table" or (comparator ~= nil and type(comparator) ~= "function") then return sort(t, comparator) end
  enter("table.sort")
  local ok, wrong = leave(pcall(sort, t, comparator or is_less))
  if ok then return end
  if type(wrong) == "string" then
    local what, n = gsub(wrong, "^sandbox[.a-z]*:%d+: ", "")
    if n > 0 then error(what, 2) end
  end
  error(wrong, 0)
end

-- ---- coroutines ----------------------------------------------------------------------------------------------

local safe_coroutine = {
  create = create, running = coroutine.running, status = coroutine.status, yield = coroutine.yield,
}

function safe_coroutine.resume(co, ...)
  if type(co) ~= "thread" then return resume(co, ...) end
  enter("coroutine.resume")
  return leave(resume(co, ...))
end

function safe_coroutine.wrap(body)
  local co = create(body)
  return function(...)
    enter("a coroutine")
    return leave_or_raise(resume(co, ...))
  end
end

-- ---- views ---------------------------------------------------------------------------------------------------

local function next_provider(pool, i)
  i = i + 1
  local p = pool[i]
  if p ~= nil then return i, p end
end

-- Functions that tell views from tables, or tables from cdata: with these a script cannot. kind_of(x) is "pool" or
-- another true value for a view.
local function view_functions(kind_of)
  local functions = {}

  functions.type = type
  if kind_of ~= kind_of_protected then
    function functions.type(...)
      local kind = type(...)
      return kind == "cdata" and "table" or kind
    end
  end

  function functions.ipairs(t)
    if type(t) == "cdata" then return next_provider, t, 0 end
    return ipairs(t)
  end

  function functions.pairs(t)
    local kind = kind_of(t)
    if kind == "pool" then return next_provider, t, 0 end
    if kind then error("the fields of a view cannot be listed", 2) end
    local contents = contents_of[t]
    if not contents then return pairs(t) end
    return function(_, key) return next(contents, key) end, t, nil
  end

  function functions.next(t, key)
    if kind_of(t) then error("next() is not for views: a pool has #pool places", 2) end
    return next(t, key)
  end

  function functions.rawget(t, key)
    if kind_of(t) then error("rawget() is not for views", 2) end
    return rawget(t, key)
  end

  function functions.rawset(t, key, value)
    if kind_of(t) or contents_of[t] then error("this table is read-only", 2) end
    return rawset(t, key, value)
  end

  function functions.setmetatable(t, meta)
    if kind_of(t) or kind_of(meta) then error("setmetatable() is not for views", 2) end
    return setmetatable(t, meta)
  end

  function functions.unpack(t, from, to)
    if kind_of(t) ~= "pool" then return unpack(t, from, to) end
    local list = {}
    for i = 1, #t do list[i] = t[i] end
    return unpack(list, from, to)
  end

  return functions
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

---The globals of a strategy; `lb` is its engine, kind_of_view(x) tells what it is shown from what it has made: "pool",
---another true value for the others. Reading them is quick once the second result was called, which is
---only for chunks that assign to no global: those would not be refused any more.
local function environment(lb, kind_of_view)
  local globals = pick(_G, "assert", "error", "getmetatable", "rawequal", "select", "tonumber", "_VERSION")
  globals.pcall, globals.tostring = pcall, safe_tostring
  for name, value in pairs(view_functions(kind_of_view)) do globals[name] = value end
  globals.string = readonly("string", safe_string)
  globals.table = readonly("table", safe_table)
  globals.math = readonly("math", pick(math, "abs", "acos", "asin", "atan", "atan2", "ceil", "cos", "cosh", "deg",
                                       "exp", "floor", "fmod", "frexp", "huge", "ldexp", "log", "log10", "max", "min",
                                       "modf", "pi", "pow", "rad", "random", "sin", "sinh", "sqrt", "tan", "tanh"))
  globals.bit = readonly("bit", pick(require("bit"), "arshift", "band", "bnot", "bor", "bswap", "bxor", "lshift",
                                     "rol", "ror", "rshift", "tobit", "tohex"))
  globals.coroutine = readonly("coroutine", safe_coroutine)
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

return { environment = environment, guard_strings = guard_strings, kind_of_protected = kind_of_protected,
         pcall = safe_pcall, protect = protect, readonly = readonly, recover = recover, string = safe_string,
         table = safe_table, tostring = safe_tostring }
