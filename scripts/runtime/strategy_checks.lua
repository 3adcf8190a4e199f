--[[
strategy_checks: what an author may write into a strategy's table and its options, and what strategyOptions of a
configuration may hold then. Findings go to `fail(path, text, ...)`, which does not return: the path names the place in
the table.
]]

local format, ipairs, min, pairs, tostring, type = string.format, ipairs, math.min, pairs, tostring, type

-- Changed, added or dropped characters between two names (Levenshtein).
local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal = row[0]
    row[0] = i
    for j = 1, #b do
      local above = row[j]
      local change = a:byte(i) == b:byte(j) and diagonal or diagonal + 1
      row[j] = min(change, above + 1, row[j - 1] + 1)
      diagonal = above
    end
  end
  return row[#b]
end

-- ` (did you mean "x"?)`, or nothing.
local function suggestion(name, known)
  local best, least = nil, 3
  name = tostring(name):sub(1, 64)
  for other in pairs(known) do
    local d = distance(name:lower(), other:lower())
    if d < least or (d == least and best and other < best) then best, least = other, d end
  end
  return best and least < #best and format(' (did you mean "%s"?)', best) or ""
end

-- As it is written, if that is short.
local function in_source(value)
  if type(value) == "string" then return format("%q", value:sub(1, 40)) end
  return tostring(value)
end

local NAME_MAX = 64

local CALLBACKS = { init = true, select = true, score = true, retry = true, observe = true, health = true,
                    tick = true, export = true }
local FIELDS = { abi = "number", name = "string", options = "table" }
local OPTION_FIELDS = { default = true, min = true, max = true, type = true }
local OPTION_TYPES = { number = true, string = true, boolean = true, table = true }

local function check_strategy(strategy, version, fail)
  if type(strategy) ~= "table" then
    fail({}, "a strategy returns one table, this file returned %s", strategy == nil and "nothing" or type(strategy))
  end
  local abi = strategy.abi
  if abi == nil and type(strategy.providers) == "table" then
    fail({}, "this is a configuration, which `moongate check` is for: a strategy has abi = %d and select", version)
  end
  if abi == nil then fail({}, "the field abi is missing: abi = %d", version) end
  if abi ~= version then
    fail({ "abi" }, "abi = %s is not known, this program speaks abi = %d", in_source(abi), version)
  end
  for name, value in pairs(strategy) do
    if CALLBACKS[name] then
      if type(value) ~= "function" then fail({ name }, "%s must be a function, not a %s", name, type(value)) end
    elseif FIELDS[name] then
      if type(value) ~= FIELDS[name] then
        fail({ name }, "%s must be a %s, not a %s", name, FIELDS[name], type(value))
      end
    else
      local known = {}
      for k in pairs(CALLBACKS) do known[k] = true end
      for k in pairs(FIELDS) do known[k] = true end
      fail({ name }, "a strategy has no field %s%s", tostring(name), suggestion(name, known))
    end
  end
  local own_name = strategy.name
  if own_name and (own_name == "" or #own_name > NAME_MAX or own_name:find("%c")) then
    fail({ "name" }, "name must be 1 to %d characters, none of them a control character", NAME_MAX)
  end
  if not strategy.select and not strategy.score then fail({}, "select (or score) is missing") end
  if strategy.select and strategy.score then fail({ "score" }, "select and score exclude each other") end
end

-- What the strategy says of one of its options.
local function check_rule(name, rule, fail)
  local path = { "options", name }
  if type(name) ~= "string" then fail(path, "options are named: the entry %s has no name", tostring(name)) end
  if type(rule) ~= "table" then fail(path, "the option %s needs a table, such as { default = 5 }", name) end
  for key in pairs(rule) do
    if not OPTION_FIELDS[key] then
      fail({ "options", name, key }, "the option %s has no %s%s", name, tostring(key), suggestion(key, OPTION_FIELDS))
    end
  end
  local kind, default = rule.type, rule.default
  if kind ~= nil and not OPTION_TYPES[kind] then
    fail({ "options", name, "type" }, "the type of the option %s is number, string, boolean or table", name)
  end
  if default ~= nil and not OPTION_TYPES[type(default)] then
    fail({ "options", name, "default" },
         "the default of the option %s is a %s: number, string, boolean and table are possible", name, type(default))
  end
  if kind and default ~= nil and type(default) ~= kind then
    fail({ "options", name, "default" }, "the default of the option %s is a %s, and its type is %s", name,
         type(default), kind)
  end
  for _, bound in ipairs({ "min", "max" }) do
    if rule[bound] ~= nil and type(rule[bound]) ~= "number" then
      fail({ "options", name, bound }, "%s of the option %s must be a number, not a %s", bound, name, type(rule[bound]))
    end
  end
  return kind or (default ~= nil and type(default)) or nil
end

local function list(schema)
  local names = {}
  for name in pairs(schema) do names[#names + 1] = name end
  table.sort(names)
  return #names > 0 and table.concat(names, ", ") or "none"
end

local function is_in_bounds(value, rule)
  return value == value and not (rule.min and value < rule.min) and not (rule.max and value > rule.max)
end

-- What strategyOptions says, after the strategy's own schema. What is wrong there goes to fail_given().
local function check_options(schema, given, fail, fail_given)
  local out = {}
  for name, rule in pairs(schema) do
    local path, wanted = { "options", name }, check_rule(name, rule, fail)
    local value, whose, refuse = given[name], "strategyOptions." .. name, fail_given
    if value == nil then value, whose, refuse = rule.default, "the default of the option " .. name, fail end
    if value ~= nil and wanted and type(value) ~= wanted then
      refuse(path, "%s must be a %s, not a %s", whose, wanted, type(value))
    end
    if type(value) == "number" and not is_in_bounds(value, rule) then
      refuse(path, "%s is %s, allowed is %s to %s", whose, tostring(value), tostring(rule.min or "any"),
             tostring(rule.max or "any"))
    end
    out[name] = value
  end
  for name in pairs(given) do
    if not schema[name] then
      fail_given({ "options" }, "this strategy has no option %s (strategyOptions)%s; it has %s", tostring(name),
                 suggestion(name, schema), list(schema))
    end
  end
  return out
end

return { CALLBACKS = CALLBACKS, suggestion = suggestion, check_strategy = check_strategy,
         check_options = check_options }
