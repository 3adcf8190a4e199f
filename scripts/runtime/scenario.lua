-- scenario: what a file for `moongate strategy simulate` may say, and the normalised result that
-- core/sim/scenario.c copies into a struct. Values, places and messages are those of configurations.
--
-- Trusted Lua, in the same throw-away state in which the file ran. `host` is a table of C functions and limits, a part
-- of what config.lua gets: env(name), part(name), limits (providers, id, model), classes (how an attempt may fail).

local host = ...

local report = host.part("config_report")(host.part("locate")())
local checks = host.part("config_checks")(host, report)
local number, text, list, members = checks.number, checks.text, checks.list, checks.members
local describe, quote, sorted_keys = report.describe, report.quote, report.sorted_keys
local limits = host.limits

local DAY_MS, WEEK_S = 24 * 3600 * 1000, 7 * 24 * 3600

local function real(min, max, unit) return number { min = min, max = max, unit = unit, is_real = true } end
local function whole(min, max) return number { min = min, max = max } end

-- ---- providers --------------------------------------------------------------------------------------------

local function provider_id(value, place)
  value = text { what = 'a name such as "local"' }(value, place)
  if not value then return nil end
  if #value <= limits.id and not value:find("[^%w._:-]") then return value end
  place:problem("must be at most %d letters, digits and . _ : -, not %s", limits.id, quote(value))
end

local second = real(0, WEEK_S, "seconds")

local function window(value, place)
  if type(value) ~= "table" or #value ~= 2 then
    place:problem("must be two times in seconds such as { 10, 20 }, not %s", describe(value))
    return nil
  end
  local from, to = second(value[1], place:child(1)), second(value[2], place:child(2))
  if not from or not to then return nil end
  if from < to then return { from = from, to = to } end
  place:problem("must end after it begins: { %s, %s }", report.number_text(from), report.number_text(to))
end

-- "name=value" and "name", as a plan keeps them.
local function tags(value, place)
  if type(value) ~= "table" then
    place:problem('must be a table such as { region = "eu" }, not %s', describe(value))
    return nil
  end
  local out = {}
  for _, key in ipairs(sorted_keys(value)) do
    local name, tag = text { max = 64 }(key, place:child(key)), value[key]
    if type(tag) == "number" then tag = report.number_text(tag) end
    if type(tag) == "boolean" then
      if name and tag then out[#out + 1] = name end
    else
      tag = text { max = 256 }(tag, place:child(key))
      if name and tag then out[#out + 1] = name .. "=" .. tag end
    end
  end
  return out
end

local provider = members({
  { "id", provider_id },
  { "model", text { max = limits.model } },
  { "tags", tags, {} },
  { "weight", real(0, 1e6), 1 },
  { "priority", real(-1e6, 1e6), 50 },
  { "latencyMs", real(0.01, DAY_MS, "ms"), 400 },
  { "jitter", real(0, 10), 0.3 },
  { "firstByte", real(0, 1), 0.3 },
  { "parallel", whole(1, 1e6), 32 },
  { "errorRate", real(0, 1), 0 },
  { "errorClass", checks.choice(unpack(host.classes)), "server" },
  { "errorMs", real(0, DAY_MS, "ms"), 20 },
  { "retryAfterMs", whole(0, DAY_MS), 0 },
  { "price_in", real(0, 1e9) },
  { "price_out", real(0, 1e9) },
  { "down", list(window, { example = "{ { 10, 20 } }", max = 1000 }), {} },
}, {
  example = '{ id = "a", latencyMs = 300 }',
  finish = function(out, place)
    table.sort(out.down, function(a, b) return a.from < b.from end)
    for i = 2, #out.down do
      if out.down[i].from < out.down[i - 1].to then
        place:child("down"):problem("has windows that overlap")
        break
      end
    end
    if not out.id and report.count() == 0 then place:problem("needs an id") end
  end,
})

local some_providers = list(provider, { example = '{ { id = "a" }, { id = "b" } }', max = limits.providers,
                                        is_needed = true })

local function providers(value, place)
  local out, seen = some_providers(value, place), {}
  for i, p in ipairs(out or {}) do
    if p.id and seen[p.id] then place:child(i):problem("has the id %s of another provider", quote(p.id)) end
    seen[p.id or 0] = true
  end
  return out
end

-- ---- load -------------------------------------------------------------------------------------------------

-- The fields of a request as "name: value" lines.
local function headers(value, place)
  if type(value) ~= "table" then
    place:problem('must be a table such as { ["X-Team"] = "blue" }, not %s', describe(value))
    return nil
  end
  local out = {}
  for _, name in ipairs(sorted_keys(value)) do
    local field = place:child(name)
    local content = text { max = 1024 }(value[name], field)
    if checks.header_name(name, field) and content then out[#out + 1] = name .. ": " .. content .. "\r\n" end
  end
  return table.concat(out)
end

local kind = members({
  { "share", real(0, 1e6), 1 },
  { "model", text { max = limits.model } },
  { "headers", headers, "" },
  { "stream", real(0, 1), 0.5 },
  { "promptTokens", real(0, 1e7), 500 },
  { "answerTokens", real(1, 1e7), 200 },
  { "maxTokens", whole(1, 1e9) },
  { "size", real(0.001, 1000), 1 },
}, { example = '{ share = 3, model = "gpt-4o" }' })

local load_table = members({
  { "rate", real(0.01, 1e6, "requests per second") },
  { "clients", whole(1, 1e5) },
  { "thinkMs", real(0, DAY_MS, "ms"), 0 },
  { "requests", whole(1, 1e7) },
  { "sessions", whole(0, 1e6), 0 },
  { "skew", real(0, 10), 1 },
  { "mix", list(kind, { example = '{ { model = "gpt-4o" } }', max = 64, is_needed = true }) },
}, {
  example = "{ rate = 100, requests = 10000 }",
  finish = function(out, place)
    if out.rate and out.clients then place:problem("has a rate and clients: leave one out") end
    local total = 0
    for _, k in ipairs(out.mix or {}) do total = total + k.share end
    if out.mix and #out.mix > 0 and total <= 0 then place:child("mix"):problem("has no share above 0") end
  end,
})

-- ---- strategy options -------------------------------------------------------------------------------------

local function quote_bytes(value)
  return '"' .. value:gsub('[%c"\\\128-\255]', function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
end

local VALUES_MAX = 10000
local n_values = 0

-- Plain data as Lua text, members in a fixed order. Both limits end a table that contains itself.
local function serialise(value, place, depth)
  local what = type(value)
  n_values = n_values + 1
  if n_values > VALUES_MAX then
    if n_values == VALUES_MAX + 1 then place:problem("is too large, or contains itself") end
    return "nil"
  end
  if what == "string" then return quote_bytes(value) end
  if what == "boolean" then return tostring(value) end
  if what == "number" and value == value and math.abs(value) ~= math.huge then return ("%.17g"):format(value) end
  if what ~= "table" or depth > 8 then
    place:problem("must be plain data (numbers, texts, true, false, tables), not %s", describe(value))
    return "nil"
  end
  local out = {}
  for i, key in ipairs(sorted_keys(value)) do
    local child = place:child(key)
    if type(key) ~= "string" and type(key) ~= "number" then
      child:problem("has a key that is neither a text nor a number")
    else
      out[i] = "[" .. serialise(key, child, depth + 1) .. "]=" .. serialise(value[key], child, depth + 1)
    end
  end
  return "{" .. table.concat(out, ",") .. "}"
end

-- For each strategy its own, so that two can be compared: a list of { name, text }.
local function strategy_options(value, place)
  if type(value) ~= "table" then
    place:problem("must be a table such as { priority = { maxInFlight = 8 } }, not %s", describe(value))
    return nil
  end
  local out = {}
  for _, name in ipairs(sorted_keys(value)) do
    local child = place:child(name)
    if type(name) ~= "string" then
      child:say("strategyOptions are written as strategy = { … }, such as priority = { maxInFlight = 8 }")
    elseif type(value[name]) ~= "table" then
      child:problem("must be a table of options for that strategy, not %s", describe(value[name]))
    else
      out[#out + 1] = { name = name, text = "return " .. serialise(value[name], child, 1) }
    end
  end
  return out
end

-- ---- the whole --------------------------------------------------------------------------------------------

local scenario = members({
  { "providers", providers },
  { "load", load_table },
  { "duration", real(0.001, WEEK_S, "seconds") },
  { "workers", whole(1, 64) },
  { "maxRetries", whole(0, 255), 3 },
  { "healthCheckInterval", whole(10, DAY_MS), 30000 },
  { "strategyOptions", strategy_options, {} },
}, {
  example = '{ providers = { { id = "a" } }, load = { rate = 100 } }',
  finish = function(out, place)
    if not out.providers and report.count() == 0 then place:say('no providers: write providers = { { id = "a" } }') end
  end,
})

local function check(returned)
  if report.has_failed() then return nil end
  local place = report.place_in_file {}
  if type(returned) ~= "table" then
    place:say("the file must return a table, return { providers = { … }, load = { … } }, not %s", describe(returned))
    return nil
  end
  local out = scenario(returned, place)
  return report.count() == 0 and out or nil
end

local environment, leave = host.part("config_environment")(host, report)

return {
  environment = environment,
  leave = leave,
  open = report.open,
  failed = report.failed,
  problems = report.problems,
  check = check,
}
