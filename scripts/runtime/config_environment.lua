-- config_environment: what a configuration file sees: plain Lua without I/O, env(), and discover(). One call of a
-- function of its libraries ends soon, so that the budget of steps and time has its say.
--
-- Trusted Lua; part of config.lua, made once per load. Returns the function that makes the globals, and one for when
-- the file has ended.

local host, report = ...
local sandbox = host.part("sandbox")()

local ALLOWED = { "assert", "error", "ipairs", "next", "pairs", "select", "tonumber", "type", "unpack" }
local REFUSED = {}
for name in ("os io require load loadstring loadfile dofile debug ffi jit package coroutine print collectgarbage _G " ..
             "getmetatable setmetatable rawget rawset rawequal getfenv setfenv xpcall module newproxy " ..
             "bit"):gmatch("%S+") do
  REFUSED[name] = true
end

local function copy(t)
  local out = {}
  for key, value in pairs(t) do out[key] = value end
  return out
end

local function line_of_caller()
  local info = debug.getinfo(3, "Sl")
  return info and info.short_src == "config" and info.currentline or nil
end

local function env(name, default)
  if type(name) ~= "string" or not name:find("^[%a_][%w_]*$") then
    error("env() wants the name of an environment variable in quotes, not " .. report.describe(name), 2)
  end
  local value = host.env(name)
  if value and value ~= "" then return value end
  if default == nil then
    local line = line_of_caller()
    if line then report.unset[line] = name end
  end
  return default
end

-- discover{ … } stands among the providers; config.lua checks what is in it.
local function discover(filter)
  if filter == nil then filter = {} end
  if type(filter) ~= "table" then
    error("discover() wants a table such as { model = \"…\" }, not " .. report.describe(filter), 2)
  end
  report.discovers[filter] = true
  return filter
end

-- The globals of the file: copies, so that nothing it does reaches this state's own.
local function environment()
  getmetatable("").__index = sandbox.string
  local globals = {
    env = env, discover = discover, math = copy(math), pcall = sandbox.pcall,
    string = copy(sandbox.string), table = copy(sandbox.table), tostring = sandbox.tostring,
  }
  for _, name in ipairs(ALLOWED) do globals[name] = _G[name] end
  return setmetatable(globals, {
    __index = function(_, name)
      local line = line_of_caller() or 1
      local seen = report.undefined[line] or {}
      report.undefined[line] = seen
      if seen[name] then return nil end
      seen[name] = true
      local hint = "; a text needs quotes" .. report.did_you_mean(name, report.sorted_keys(globals))
      if REFUSED[name] then
        hint = ' in a configuration file (plain Lua without I/O, and env("NAME"))'
      end
      if name == "lb" then hint = ": it is for strategies, which `moongate strategy check` is for" end
      local what = REFUSED[name] and "is not available" or "is not defined"
      report.add_problem(("%s %s%s"):format(tostring(name), what, hint), line)
      return nil
    end,
    __metatable = false,
  })
end

-- What checks the file is trusted with patterns, and has long texts to look through.
local function leave() getmetatable("").__index = string end

return environment, leave
