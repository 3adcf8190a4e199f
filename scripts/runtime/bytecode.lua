--[[
bytecode: what a loaded chunk assigns to, read from its instructions: whether to any global, and to which fields that
stand in its text, as in `p.weight = 0`. Fields of a table that is surely the script's own do not count: one that the
same function has just made, or the state that a callback is given. What is assigned under a computed name, as in
`t[name] = x`, cannot be told.

Pure Lua over LuaJIT's own jit.util; the numbers of the instructions are found out by reading chunks that are known.
]]

local util = require("jit.util")
local bit = require("bit")

local funcbc, funcinfo, funck = util.funcbc, util.funcinfo, util.funck
local band, rshift = bit.band, bit.rshift

local function parts_of(ins)
  return band(ins, 0xff), band(rshift(ins, 8), 0xff), band(rshift(ins, 16), 0xff), rshift(ins, 24)
end

-- The instruction at that place of a chunk, and how it uses its first operand.
local function probe(text, at)
  local ins, modes = funcbc(load(text), at)
  return (parts_of(ins)), band(modes, 7)
end

local NEW_TABLE, IS_WRITTEN = probe("local t = {}", 1)
local COPY_TABLE = probe("local t = { x = 1 }", 1)
local SET_FIELD = probe("local t = {} t.x = 1", 3)
local SET_GLOBAL = probe("x = 1", 2)
local _, IS_BASE = probe("local f f()", 3) -- this register, and those above

local function each_function(proto, visit)
  visit(proto)
  for i = 1, math.huge do
    local constant = funck(proto, -i)
    if constant == nil then return end
    if type(constant) == "proto" then each_function(constant, visit) end
  end
end

---Whether the chunk, or a function in it, assigns to a global.
local function assigns_globals(chunk)
  local found = false
  each_function(chunk, function(proto)
    for at = 1, math.huge do
      local ins = funcbc(proto, at)
      if not ins then return end
      found = found or (parts_of(ins)) == SET_GLOBAL
    end
  end)
  return found
end

-- `own`: registers that hold a table of the script's own.
local function scan_fields(proto, own, lines)
  for at = 1, math.huge do
    local ins, modes = funcbc(proto, at)
    if not ins then return end
    local op, a, c, b = parts_of(ins)
    if op == SET_FIELD and not own[b] then
      local name = funck(proto, -c - 1)
      lines[name] = lines[name] or funcinfo(proto, at).currentline
    end
    local mode = band(modes, 7)
    if mode == IS_WRITTEN then
      own[a] = op == NEW_TABLE or op == COPY_TABLE or nil
    elseif mode == IS_BASE then
      for register in pairs(own) do
        if register >= a then own[register] = nil end
      end
    end
  end
end

---The fields that the chunk and the functions in it assign to: name to first line. `callbacks` are functions made by it
---that get the state as their first argument.
local function assigned_fields(chunk, callbacks)
  local lines, takes_state = {}, {}
  for _, callback in pairs(callbacks) do
    local proto = funcinfo(callback).proto
    if proto then takes_state[proto] = true end
  end
  each_function(funcinfo(chunk).proto, function(proto)
    scan_fields(proto, { [0] = takes_state[proto] }, lines)
  end)
  return lines
end

-- Whoever loads this finds out whether this LuaJIT is understood.
local function check()
  local known = load("local t = ... t.one = 1\nt.two = { three = t }\nreturn function(s) s.four, t.five = 4, 5 end")
  local lines = assigned_fields(known, { known({}) })
  if lines.one ~= 1 or lines.two ~= 2 or lines.three or lines.four or lines.five ~= 3 or assigns_globals(known) or
      not assigns_globals(load("return function() x = 1 end")) then
    error("the instructions of this LuaJIT are not known", 0)
  end
end
check()

return { assigns_globals = assigns_globals, assigned_fields = assigned_fields }
