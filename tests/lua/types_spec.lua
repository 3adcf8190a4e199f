-- types: the annotation file, the manual, the stub and the boundary name the same fields and functions, no more and no
-- less. Run from the repository's root with `luajit tests/lua/types_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test = stub.tap.test

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read("*a")
  file:close()
  return text
end

local TYPES = read("strategies/types/moongate.lua")
local MANUAL = read("strategies/README.md")
local BOUNDARY = read("core/script/abi_decl.h")
local RUNTIME = read("scripts/runtime/runtime.lua")
local CHECKS = read("scripts/runtime/strategy_checks.lua")

local function set(...)
  local out = {}
  for _, list in ipairs({ ... }) do
    for name in list:gmatch("%S+") do out[name] = true end
  end
  return out
end

local function expect_same(what, got, other, wanted)
  local wrong = {}
  for name in pairs(got) do
    if not wanted[name] then wrong[#wrong + 1] = ("%s is in %s only"):format(name, what) end
  end
  for name in pairs(wanted) do
    if not got[name] then wrong[#wrong + 1] = ("%s is in %s only"):format(name, other) end
  end
  table.sort(wrong)
  if #wrong > 0 then error(table.concat(wrong, "\n"), 0) end
  assert(next(got), "nothing was found in " .. what)
end

-- ---- readers -----------------------------------------------------------------------------------------------------

-- Fields of a class of the annotation file; methods have a colon before them.
local function annotated(class)
  local out = {}
  local name_of = class == "" and "lb" or "lb%." .. class
  local block = assert(TYPES:match("%-%-%-@class " .. name_of .. "%f[^%w_.][^\n]*\n(.-)\n\n"), class)
  for name in block:gmatch("%-%-%-@field ([%w_]+)") do out[name] = true end
  for name in TYPES:gmatch("\nfunction " .. class .. ":([%w_]+)") do out[":" .. name] = true end
  return out
end

-- First column of the table under a heading of the manual.
local function documented(heading)
  local out = {}
  local section = assert(MANUAL:match("\n## " .. heading .. "\n(.-)\n## "), heading)
  for name in section:gmatch("\n| `([^`]+)`") do out[name] = true end
  return out
end

-- Members of a struct of the boundary.
local function members(struct)
  local out = {}
  local body = assert(BOUNDARY:match("struct " .. struct .. " {(.-)\n};"), struct)
  body = body:gsub("/%*.-%*/", "")
  for declaration in body:gmatch("[^;]+;") do
    out[declaration:match("([%w_]+)%s*[%[%d%]]*%s*;")] = true
  end
  out.pad = nil
  return out
end

local function join(a, b, renamed)
  local out = {}
  for _, names in ipairs({ a, b }) do
    for name in pairs(names) do
      local other = renamed[name]
      if other == nil then out[name] = true elseif other then out[other] = true end
    end
  end
  return out
end

local function raw_fields(record)
  local out = {}
  for name, value in pairs(record) do out[(type(value) == "function" and ":" or "") .. name] = true end
  return out
end

-- ---- fields ------------------------------------------------------------------------------------------------------

local TEXTS = set("id address kind model tags") -- columns of the runtime, not of the structs

local PROVIDER = join(members("lb_provider"), members("lb_stats"), {
  serial = false, state_id = "state", last_class_id = "last_class", state_since_at_ms = "state_since_ms",
  cooldown_until_ms = "cooldown_ms",
})
for name in pairs(TEXTS) do PROVIDER[name] = true end

local REQUEST = join(members("lb_request"), set(":header :rand :hash"), { head = false, seed = false })
local OUTCOME = join(members("lb_outcome"), {}, { class_id = "class" })

test("provider: annotations, boundary, manual, stub", function()
  local engine = stub.new()
  local types = annotated("Provider")
  expect_same("the annotations", types, "the boundary", PROVIDER)
  expect_same("the annotations", types, "the manual's tables", (function()
    local out = documented("Provider")
    out.key = nil -- the pool's own
    return out
  end)())
  expect_same("the annotations", types, "the stub", raw_fields(engine:pool({ {} })[1]))
  for name in pairs(TEXTS) do assert(RUNTIME:find("%f[%w_]" .. name .. " = {}"), name .. " in the runtime") end
end)

test("pool: annotations and manual", function()
  expect_same("the annotations", annotated("Pool"), "this test", set("key"))
  assert(documented("Provider").key)
end)

test("request: annotations, boundary, manual, stub", function()
  local types = annotated("Request")
  expect_same("the annotations", types, "the boundary", REQUEST)
  local manual = {}
  for name in pairs(documented("Request")) do
    manual[name:match("^req(:%w+)%(") or name] = true
  end
  expect_same("the annotations", types, "the manual", manual)
  expect_same("the annotations", types, "the stub", raw_fields(stub.new():request()))
end)

test("outcome: annotations, boundary, manual, stub", function()
  local types = annotated("Outcome")
  expect_same("the annotations", types, "the boundary", OUTCOME)
  expect_same("the annotations", types, "the manual", documented("Outcome"))
  expect_same("the annotations", types, "the stub", raw_fields(stub.new():outcome()))
end)

test("evidence: annotations, manual, stub", function()
  local types = annotated("Evidence")
  expect_same("the annotations", types, "the manual", documented("Evidence"))
  expect_same("the annotations", types, "the stub", raw_fields(stub.new():evidence({ reason = "x" })))
  local listed = RUNTIME:match("local EVIDENCE = (%b{})")
  if listed then
    local runtime = {}
    for name in listed:gmatch("([%w_]+) = true") do runtime[name] = true end
    expect_same("the annotations", types, "the runtime", runtime)
  end
end)

test("classes: annotations, boundary, manual", function()
  local types, boundary, manual = {}, {}, {}
  for name in TYPES:match("@alias lb%.Class\n(.-)\n\n"):gmatch('"([%w_]+)"') do types[name] = true end
  for name in BOUNDARY:match("enum lb_class {(.-)}"):gmatch("LB_CLASS_([%w_]+)") do boundary[name:lower()] = true end
  boundary.n = nil
  for name in MANUAL:match("\n| `class` ([^\n]*)"):gmatch("`([%w_]+)`") do manual[name] = true end
  expect_same("the annotations", types, "the boundary", boundary)
  expect_same("the annotations", types, "the manual", manual)
end)

-- ---- the strategy's own table ------------------------------------------------------------------------------------

test("callbacks and fields: annotations, program, manual", function()
  local types, program, manual = annotated("Strategy"), {}, {}
  for _, name in ipairs({ "CALLBACKS", "FIELDS" }) do
    local listed = assert(CHECKS:match("local " .. name .. " = (%b{})"), name)
    for field in listed:gmatch("([%w_]+) = ") do program[field] = true end
  end
  for name in pairs(documented("The table")) do manual[name:match("^%w+")] = true end
  expect_same("the annotations", types, "the program", program)
  expect_same("the annotations", types, "the manual", manual)
  local options = {}
  for name in CHECKS:match("local OPTION_FIELDS = (%b{})"):gmatch("([%w_]+) = ") do options[name] = true end
  expect_same("the annotations", annotated("Option"), "the program", options)
end)

-- ---- lb ----------------------------------------------------------------------------------------------------------

-- What lb really is: its tables unwrapped.
local function real_lb()
  local nothing = function() return 0 end
  local host = setmetatable({ store = {} }, { __index = function() return nothing end })
  return dofile("scripts/runtime/lb.lua").new(host, function(_, contents) return contents end)
end

local PARTS = { "shared", "score", "pick", "filter" }

test("lb: annotations, program, manual, luacheck", function()
  local lb, real, types, manual = real_lb(), {}, {}, {}
  for name, value in pairs(lb) do
    if type(value) == "function" then real[name] = true end
  end
  for _, part in ipairs(PARTS) do
    for name in pairs(lb[part]) do real[part .. "." .. name] = true end
  end
  for name in TYPES:gmatch("\nfunction lb%.([%w_.]+)%(") do types[name] = true end
  for name in pairs(documented("lb")) do manual[assert(name:match("^lb%.([%w_.]+)"), name)] = true end
  expect_same("the annotations", types, "the program", real)
  expect_same("the annotations", types, "the manual", manual)

  local std = {}
  local listed = read(".luacheckrc"):match("    lb = {%s+fields = (%b{})")
  for _, part in ipairs(PARTS) do
    local names = listed:match(part .. " = { fields = (%b{})")
    for name in names:gmatch('"([%w_]+)"') do std[part .. "." .. name] = true end
  end
  for name in listed:match('^(.-)%w+ = {'):gmatch('"([%w_]+)"') do std[name] = true end
  for name, value in pairs(lb) do
    if type(value) == "number" then real[name] = true end
  end
  expect_same("luacheck's std", std, "the program", real)
end)

test("lb: constants", function()
  local types, real = annotated(""), {}
  for name, value in pairs(real_lb()) do
    if type(value) == "number" then
      real[name] = true
      local number = assert(TYPES:match("%-%-%-@field " .. name .. " (%d)"), name)
      assert(tonumber(number) == value, name)
      assert(BOUNDARY:find("LB_" .. name .. " = " .. value, 1, true), name)
      assert(MANUAL:find("`lb." .. name .. "`", 1, true), name)
    end
  end
  real.class = true
  expect_same("the annotations", types, "the program", real)
end)

stub.tap.finish()
