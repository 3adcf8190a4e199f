-- config: what a configuration file may say: the schema, and the normalised result that settings.c turns into a plan.
-- config_report.lua tells the problems, config_checks.lua checks single values, config_environment.lua is what the
-- file sees, locate.lua finds lines.
--
-- Trusted Lua, in the same throw-away state in which the file ran. `host` is a table of C functions and limits:
--   env(name)              value or nil
--   endpoint(url)          host, port; or nil, text
--   presets()              list of preset strategies
--   preset(name)           the preset that a name means, or nil
--   read(path, max_bytes)  text; or nil, text
--   mode(path)             permission bits of a regular file; or nil, text
--   secret(text)           remembers it for the redactor
--   key(text)              takes over the wallet's private key; true, or nil and a text
--   amount(text)           whether it is an amount in 0G; or nil and a text
--   checksum(address)      false when the case of its letters is a wrong checksum
--   part(name)             another file of this folder, as a function
--   limits                 numbers that C arrays and defaults fix
-- Every check returns the normalised value, or reports at its place and returns nil: all problems of a file are
-- found in one go.

local host = ...

local report = host.part("config_report")(host.part("locate")())
local quote, describe, number_text = report.quote, report.describe, report.number_text
local did_you_mean, sorted_keys = report.did_you_mean, report.sorted_keys
local place_in_file, place_of = report.place_in_file, report.place_of

local checks = host.part("config_checks")(host, report)
local number, boolean, text, choice, secret = checks.number, checks.boolean, checks.text, checks.choice, checks.secret
local is_address, address, endpoint = checks.is_address, checks.address, checks.endpoint
local list, members, money = checks.list, checks.members, checks.money

-- ---- strategy ---------------------------------------------------------------------------------------------

-- { name, path = nil for a preset, source = text of the file }.
local function strategy(value, place)
  local name = text { what = "the name of a preset or the path of a .lua file" }(value, place)
  if not name then return nil end
  local is_path = name:find("/", 1, true) or name:find("%.lua$")
  local preset = not is_path and host.preset(name)
  if preset then return { name = preset } end
  local presets = host.presets()
  local path = place:resolve(name)
  local source, wrong = host.read(path, 1024 * 1024)
  if not source and not is_path then
    place:problem("%s is no preset%s (presets: %s; a file of your own is written as a path, \"./%s.lua\")", quote(name),
                  did_you_mean(name, presets), #presets > 0 and table.concat(presets, ", ") or "none",
                  name:sub(1, report.shown_max))
  elseif not source then
    place:problem("%s: %s", quote(path), wrong)
  elseif source:find("^%s*$") then
    place:problem("%s is empty", quote(path))
  elseif source:byte() == 27 then
    place:problem("%s is compiled Lua; only source text is accepted", quote(path))
  else
    return { name = name, path = path, source = source }
  end
end

local OPTIONS_MAX = 64 * 1024

local function quote_bytes(value)
  return '"' .. value:gsub('[%c"\\\128-\255]', function(c) return ("\\%03d"):format(c:byte()) end) .. '"'
end

-- Plain data as Lua text; members in a fixed order, so that equal options give equal texts.
local function serialise(value, place, parents, depth)
  local kind = type(value)
  if kind == "string" then return quote_bytes(value) end
  if kind == "boolean" then return tostring(value) end
  if kind == "number" and value == value then
    if math.abs(value) == math.huge then return value > 0 and "1/0" or "-1/0" end
    return ("%.17g"):format(value)
  end
  if kind ~= "table" then
    place:problem("must be plain data (numbers, texts, true, false, tables), not %s", describe(value))
    return "nil"
  end
  if parents[value] or depth > 16 then
    place:problem(parents[value] and "contains itself" or "is nested too deeply: at most 16 tables")
    return "nil"
  end
  parents[value] = true
  local out = {}
  for i, key in ipairs(sorted_keys(value)) do
    if i > OPTIONS_MAX / 4 then break end
    local child = place:child(key)
    if type(key) == "string" or type(key) == "number" then
      out[i] = "[" .. serialise(key, child, parents, depth + 1) .. "]=" ..
                 serialise(value[key], child, parents, depth + 1)
    else
      child:problem("has a key that is neither a text nor a number")
    end
  end
  parents[value] = nil
  return "{" .. table.concat(out, ",") .. "}"
end

local function strategy_options(value, place)
  if type(value) ~= "table" then
    place:problem("must be a table of options for the strategy, not %s", describe(value))
    return nil
  end
  local before = report.count()
  local out = "return " .. serialise(value, place, {}, 1)
  if report.count() > before then return nil end
  if #out <= OPTIONS_MAX then return out end
  place:problem("is too large: %d bytes as text, at most %d", #out, OPTIONS_MAX)
end

-- ---- providers --------------------------------------------------------------------------------------------

local limits = host.limits

local function provider_id(value, place)
  value = text { what = 'a name such as "local"' }(value, place)
  if not value then return nil end
  if is_address(value) then
    place:problem("is an address: write address = %s", quote(value))
  elseif #value > limits.id or value:find("[^%w._:-]") then
    place:problem("must be at most %d letters, digits and . _ : -, not %s", limits.id, quote(value))
  else
    return value
  end
end

local function health_path(value, place)
  value = text { what = 'a path such as "/models"', max = 1024 }(value, place)
  if not value then return nil end
  if value:find("^/[%w%-._~%%!$&'()*+,;=:@/?]*$") then return value end
  place:problem('must be a path that begins with "/" and is free of blanks, such as "/models", not %s', quote(value))
end

local function tags(value, place)
  if type(value) ~= "table" then
    place:problem('must be a table such as { region = "eu" }, not %s', describe(value))
    return nil
  end
  local out = {}
  for _, key in ipairs(sorted_keys(value)) do
    local tag, child = value[key], place:child(key)
    local kind = type(tag)
    if type(key) ~= "string" or not key:find("^[%w._-]+$") or #key > 64 then
      child:say('%s: a tag is written as name = value (letters, digits and . _ - in the name)', place:text())
    elseif kind == "number" or kind == "boolean" then
      out[#out + 1] = key .. "=" .. (kind == "number" and number_text(tag) or tostring(tag))
    elseif text { max = 256 }(tag, child) then
      out[#out + 1] = key .. "=" .. tag
    end
  end
  if #out > 32 then place:problem("has %d tags; at most 32 are possible", #out) end
  return out
end

local model_name = text { what = "the name of a model", max = limits.model }

local function whole_endpoint(value, place)
  local url, name, port = endpoint(value, place)
  return url and { url = url, host = name, port = port }
end

local provider_members = members({
  { "address", address },
  { "id", provider_id },
  { "endpoint", whole_endpoint },
  { "model", model_name },
  { "apiKey", secret() },
  { "weight", number { min = 0, max = 1e6, is_real = true }, 1 },
  { "priority", number { min = -1e6, max = 1e6, is_real = true }, 50 },
  { "healthPath", health_path },
  { "tags", tags, {} },
  { "unverified", boolean, false },
}, { example = '{ endpoint = "http://127.0.0.1:8000/v1" }' })

local function check_checksum(value, place)
  if not value or host.checksum(value) then return end
  place:warn("has letters whose case is no right checksum: it may be mistyped")
end

-- One entry as { place, id = nil until it is made up, address, endpoint, … }; nil when nothing can be made of it.
local function provider(value, place)
  if type(value) == "string" then
    local out = { weight = 1, priority = 50, tags = {}, place = place, written = value }
    if value:find("^0[xX]%x*$") then
      out.address = address(value, place)
      check_checksum(out.address, place)
    elseif value == "" then
      place:problem("must be an address (0x…) or a URL (http://…), not an empty text")
    else
      out.endpoint = whole_endpoint(value, place)
    end
    return (out.address or out.endpoint) and out or nil
  end
  if type(value) ~= "table" then
    place:problem("must be an address, a URL, or a table such as { endpoint = \"http://127.0.0.1:8000/v1\" }, not %s",
                  describe(value))
    return nil
  end
  local out = provider_members(value, place)
  if not out then return nil end
  out.place = place
  check_checksum(out.address, place:child("address"))
  if out.unverified and value.address == nil then
    place:child("unverified"):problem("is for providers on chain: a direct endpoint proves nothing anyway")
  end
  if value.address == nil and value.endpoint == nil then
    local node = place:child("endpoint"):node() or place:child("address"):node()
    if not node then place:problem("needs an endpoint (direct) or an address (on chain)") end
  end
  if value.address ~= nil and value.id ~= nil then
    place:child("id"):problem("cannot be set beside address: a provider on chain is known by its address")
  end
  return out
end

local function key_of(id) return is_address(id) and id:lower() or id end

-- Gives every provider its id: the address, the one written, or host:port of the endpoint.
local function name_providers(entries)
  local first = {} -- id -> place of its first use
  for _, entry in ipairs(entries) do
    local id = entry.address or entry.id
    local where = entry.written and entry.place or entry.place:child(entry.address and "address" or "id")
    local other = id and first[key_of(id)]
    if other then
      where:problem("%s is already used by %s%s", quote(id), other:text(),
                    other:line() and " in line " .. other:line() or "")
    elseif id then
      first[key_of(id)] = entry.place
    end
    entry.id = id
  end
  for _, entry in ipairs(entries) do
    if not entry.id and entry.endpoint then
      local base = entry.endpoint.host .. ":" .. entry.endpoint.port
      local id, n = base, 1
      while first[id] do
        n = n + 1
        id = base .. "-" .. n
      end
      if #id > limits.id or id:find("[^%w._:-]") then
        entry.place:problem("has an endpoint whose host makes no good id: add id = \"…\"")
      else
        first[id], entry.id = entry.place, id
      end
    end
  end
end

local found_members = members({
  { "model", model_name },
  { "type", text { what = 'a type of service such as "chatbot", or "any"', max = 64 }, "chatbot" },
  { "verifiable", boolean, true },
  { "maxPriceIn", money { unit = "0G per million tokens, or per image" } },
  { "maxPriceOut", money { unit = "0G per million tokens, or per image" } },
  { "limit", number { min = 1, max = limits.providers }, limits.providers },
  { "weight", number { min = 0, max = 1e6, is_real = true }, 1 },
  { "priority", number { min = -1e6, max = 1e6, is_real = true }, 50 },
  { "tags", tags, {} },
}, { example = '{ model = "…", maxPriceIn = 1 }' })

local function discover(value, place)
  local out = found_members(value, place)
  if out and out.type == "any" then out.type = nil end
  return out
end

-- The configured ones; `discovers` beside them says which services of the contract are meant, too.
local function providers(value, place)
  local example = '{ "http://127.0.0.1:8000/v1" }'
  if type(value) == "table" and (value.endpoint ~= nil or value.address ~= nil) then
    place:problem("must be a list of providers: put another pair of { } around this one")
    return nil
  end
  if report.discovers[value] then return { discovers = { discover(value, place) } } end
  local size = checks.list_size(value, place, { example = example, max = limits.providers })
  if not size then return nil end
  local out = { discovers = {} }
  for i = 1, size do
    local child = place:child(i)
    if value[i] == nil then
      checks.hole(child)
    elseif report.discovers[value[i]] then
      out.discovers[#out.discovers + 1] = discover(value[i], child)
    else
      out[#out + 1] = provider(value[i], child)
    end
  end
  if size == 0 then place:problem("is empty: name at least one, such as %s", example) end
  name_providers(out)
  return out
end

-- ---- models -----------------------------------------------------------------------------------------------

-- A list of { name, slots }; `is_replaced`: the providers came from elsewhere, so that names of the file may be gone.
local function models(value, place, entries, is_replaced)
  if type(value) ~= "table" then
    place:problem('must be a table such as { ["gpt-4o"] = { "local" } }, not %s', describe(value))
    return nil
  end
  local slot_of, known, out = {}, {}, {}
  local found -- of the entry that is being looked at: addresses that discover() may find
  for i, entry in ipairs(entries) do
    if entry.written and not slot_of[entry.written] then slot_of[entry.written] = i end
    if entry.id then
      slot_of[key_of(entry.id)] = i
      known[#known + 1] = entry.id
    end
  end
  local function slot(id, where)
    local at = type(id) == "string" and slot_of[key_of(id)]
    if at then return at end
    if is_address(id) and #(entries.discovers or {}) > 0 then
      found[#found + 1] = id
    elseif type(id) ~= "string" then
      where:problem("must be the id or address of a provider, not %s", describe(id))
    elseif is_replaced then
      where:warn("names %s, which is no provider now that --provider replaces the list", quote(id))
    else
      where:problem("names %s, which is no provider of this configuration%s", quote(id), did_you_mean(id, known))
    end
  end
  for _, name in ipairs(sorted_keys(value)) do
    local child = place:child(name)
    if type(name) ~= "string" or name == "" or #name > limits.model or name:find("%c") then
      child:say("%s: the name of a model (a text of 1 to %d bytes) is needed, not %s", place:text(), limits.model,
                describe(name))
    else
      local check = list(slot, { example = '{ "local" }', max = limits.providers, is_needed = true })
      found = {}
      local slots = check(value[name], child)
      if slots and #slots + #found > 0 then out[#out + 1] = { name = name, slots = slots, found = found } end
    end
  end
  return out
end

-- ---- the whole --------------------------------------------------------------------------------------------

local DAY = 24 * 3600 * 1000
local function duration(min, max) return number { min = min, max = max or DAY, unit = "ms" } end
local function amount(min, max) return number { min = min, max = max } end
local function bytes(min, max) return number { min = min, max = max, unit = "bytes" } end
local GIB = 1024 * 1024 * 1024

local timeouts, timeouts_default, timeouts_names = members({
  { "connect", duration(1), 5000 },
  { "firstByte", duration(1), 120000 },
  { "idle", duration(1), 60000 },
  { "total", duration(1), 600000 },
  { "clientHeader", duration(1), 10000 },
  { "clientIdle", duration(1), 75000 },
  { "queue", duration(1), 5000 },
  { "drain", duration(1), 30000 },
}, { example = "{ connect = 5000 }" })

local health, health_default, health_names = members({
  { "fall", amount(1, 100), limits.fall },
  { "rise", amount(1, 100), limits.rise },
  { "ejectAfter", amount(0, 1000), limits.ejectAfter },
  { "ejectBase", duration(1), limits.ejectBase },
  { "ejectMax", duration(1), limits.ejectMax },
  { "rateLimitCooldown", duration(0), limits.rateLimitCooldown },
  { "accountCooldown", duration(0), limits.accountCooldown },
}, {
  example = "{ fall = 3 }",
  finish = function(out, place)
    if out.ejectMax >= out.ejectBase then return end
    place:child("ejectMax"):problem("(%s) must not be below ejectBase (%s)", number_text(out.ejectMax),
                                    number_text(out.ejectBase))
  end,
})

local retry_budget, retry_budget_default, retry_budget_names = members({
  { "ratio", number { min = 0, max = 1, is_real = true, hint = " (0.2 is 20 % of the active requests)" }, 0.2 },
  { "min", amount(0, 1e6), 3 },
}, { example = "{ ratio = 0.2, min = 3 }" })

local reload, reload_default, reload_names = members({
  { "watch", boolean, true },
  { "canary", boolean, true },
}, { example = "{ watch = true, canary = true }" })

local tls, _, tls_names = members({ { "ca", checks.certificates } }, { example = '{ ca = "ca.pem" }' })

-- Money goes there: a wrong checksum is no matter for a warning.
local function contract_address(value, place)
  value = address(value, place)
  if not value or host.checksum(value) then return value end
  place:problem("is mistyped: the case of its letters is no right checksum")
end

local contracts, _, contracts_names = members({
  { "ledger", contract_address, nil, may_be_unset = true },
  { "inference", contract_address, nil, may_be_unset = true },
}, { example = '{ ledger = "0x…" }' })

local funding, funding_default, funding_names = members({
  { "ledgerMin", money {}, "3" },
  { "perProvider", money { min = 1, why = ": providers refuse accounts with less" }, "2" },
  { "max", money {}, "10" },
}, { example = "{ ledgerMin = 3, perProvider = 2, max = 10 }" })

-- False, or what may be moved.
local function auto_funding(value, place)
  if type(value) == "table" then return funding(value, place) end
  return boolean(value, place) and funding_default() or false
end

-- One URL, or a list of them.
local nodes_list = list(checks.url_of_node, { example = '{ "https://evmrpc.0g.ai" }', max = 8, is_needed = true })
local function nodes(value, place)
  if type(value) == "table" then return nodes_list(value, place) end
  value = checks.url_of_node(value, place)
  return value and { value }
end

for name, names in pairs { timeouts = timeouts_names, health = health_names, retryBudget = retry_budget_names,
                           reload = reload_names, tls = tls_names, contracts = contracts_names,
                           autoFunding = funding_names } do
  for _, member in ipairs(names) do checks.nested[member] = name end
end

-- A path, or "" for nowhere.
local function session_store(value, place)
  if value == false or value == "false" then return "" end
  local path = text { what = "the path of a file, or false" }(value, place)
  return path and place:resolve(path)
end

-- name, check, default; env: variables that count when neither flag nor file says anything.
local OPTIONS = {
  { "host", checks.listen_host, "0.0.0.0", env = { "MOONGATE_HOST" }, flag = "--host" },
  { "port", number { min = 0, max = 65535 }, 3000, env = { "MOONGATE_PORT" }, flag = "--port" },
  { "workers", amount(0, 256), 0, env = { "MOONGATE_WORKERS" }, flag = "--workers" },
  { "strategy", strategy, nil, env = { "MOONGATE_STRATEGY" }, flag = "--strategy" },
  { "strategyOptions", strategy_options, "return {}" },
  { "maxRetries", amount(0, 255), 3, env = { "MOONGATE_MAX_RETRIES" }, flag = "--max-retries" },
  { "healthCheckInterval", duration(10), 30000, env = { "MOONGATE_HEALTH_CHECK_INTERVAL" },
    flag = "--health-check-interval" },
  { "healthCheckTimeout", duration(1), 5000, env = { "MOONGATE_HEALTH_CHECK_TIMEOUT" } },
  { "sessionTimeout", duration(1, 30 * DAY), 30 * 60 * 1000, env = { "MOONGATE_SESSION_TIMEOUT" },
    flag = "--session-timeout" },
  { "maxSessions", amount(1, 1e8), 1000000, env = { "MOONGATE_MAX_SESSIONS" } },
  { "sessionStore", session_store, nil, env = { "MOONGATE_SESSION_STORE" } },
  { "maxSessionStoreBytes", bytes(1024 * 1024, 1024 * GIB), 256 * 1024 * 1024 },
  { "maxBodyBytes", bytes(1, GIB), 32 * 1024 * 1024, env = { "MOONGATE_MAX_BODY_BYTES" } },
  { "maxBufferedBytes", bytes(1, 1024 * GIB), GIB, env = { "MOONGATE_MAX_BUFFERED_BYTES" } },
  { "maxConnections", amount(0, 1e6), 0, env = { "MOONGATE_MAX_CONNECTIONS" } },
  { "maxConnectionsPerAddress", amount(0, 1e6), 0 },
  { "maxActiveRequests", amount(0, 1e6), 0, env = { "MOONGATE_MAX_ACTIVE_REQUESTS" } },
  { "maxQueuedRequests", amount(0, 1e6), 1000 },
  { "minBodyRate", number { min = 0, max = 1e9, unit = "bytes per second" }, 240 },
  { "forwardHeaders", list(checks.header_name, { example = '{ "X-Tenant" }', max = 64 }), {} },
  { "timeouts", timeouts, timeouts_default() },
  { "models" },
  { "strictModels", boolean, false },
  { "panic", choice("offer", "refuse"), "offer" },
  { "verifyAnswers", choice("on-demand", "sample", "all"), "on-demand", env = { "MOONGATE_VERIFY_ANSWERS" } },
  { "verifySampleRate", number { min = 0, max = 1, is_real = true, unit = "of the answers" }, 0.1 },
  { "retryBudget", retry_budget, retry_budget_default() },
  { "health", health, health_default() },
  { "clientKeys", list(secret { should_be_long = true }, { example = '{ env("CLIENT_KEY") }', max = 4096 }), {} },
  { "adminToken", secret { should_be_long = true }, nil, env = { "MOONGATE_ADMIN_TOKEN" } },
  { "cors", checks.cors, { origins = {} } },
  { "tls", tls, {} },
  { "reload", reload, reload_default() },
  { "guard", choice("strict", "fast"), "strict", env = { "MOONGATE_GUARD" } },
  { "callBudget", number { min = 0.1, max = 1000, is_real = true, unit = "ms" }, 2 },
  { "logLevel", choice("debug", "info", "warn", "error", "off"), "info", env = { "MOONGATE_LOG_LEVEL" },
    flag = "--log-level" },
  { "logFormat", choice("text", "json"), "text", env = { "MOONGATE_LOG_FORMAT" }, flag = "--log-format" },
  { "upstream", choice("native", "curl"), "native", env = { "MOONGATE_UPSTREAM" } },
  { "rpc", nodes, nil, env = { "ZG_RPC_ENDPOINT", "RPC_ENDPOINT" }, flag = "--rpc", may_be_unset = true },
  { "key", checks.private_key, nil, env = { "ZG_PRIVATE_KEY" }, may_be_unset = true },
  { "keyFile", checks.key_file, nil, may_be_unset = true },
  { "contracts", contracts, {} },
  { "autoFunding", auto_funding, false },
  { "allowPrivateProviders", boolean, nil, may_be_unset = true },
  { "tokenLifetime", duration(1000), DAY },
  { "chainRefreshInterval", duration(100), 180000 },
  { "providers", providers },
}

-- Flags win over the file, the file over the environment, the environment over defaults. What the file says is
-- checked in any case.
local function effective(spec, written, flags)
  local name, check = spec[1], spec[2]
  local value
  if written[name] ~= nil then
    value = check(written[name], place_in_file { name })
  elseif report.tree() then
    checks.absent(place_in_file { name }, spec.may_be_unset)
  end
  if flags[name] ~= nil then return check(flags[name], place_of(flags[name .. "From"] or spec.flag)), true end
  if written[name] ~= nil then return value end
  for _, variable in ipairs(spec.env or {}) do
    local from_env = host.env(variable)
    if from_env and from_env ~= "" then return check(from_env, place_of("environment variable " .. variable)) end
  end
  return spec[3]
end

local function providers_from_env()
  local listed = host.env("MOONGATE_PROVIDERS")
  local out = {}
  for item in (listed or ""):gmatch("[^%s,]+") do out[#out + 1] = item end
  return #out > 0 and out or nil
end

local function all_providers(written, flags)
  local place, got = place_in_file { "providers" }, nil
  if written.providers ~= nil then
    got = providers(written.providers, place)
  elseif report.tree() then
    checks.absent(place)
  end
  if flags.providers then return providers(flags.providers, place_of("--provider")), true end
  if written.providers ~= nil then return got or {} end
  local from_env = providers_from_env()
  if from_env then return providers(from_env, place_of("environment variable MOONGATE_PROVIDERS")) end
  if report.tree() then
    place:say('no providers: write providers = { "http://127.0.0.1:8000/v1" }, or name them with --provider')
  else
    report.add_problem("no providers: name one with --provider URL or --provider 0x…, or give a configuration " ..
                         "file (moongate demo runs without any)")
  end
  return {}
end

local LOOPBACK = { ["localhost"] = true, ["::1"] = true }

-- What providers on chain lack; they are listed as not healthy until it is there.
local function check_chain(out, place)
  local is_found = #(out.providers.discovers or {}) > 0
  local needs_node, needs_key = is_found, is_found
  for _, entry in ipairs(out.providers) do
    if entry.address and not entry.endpoint then needs_node = true end
    if entry.address and not entry.endpoint and not entry.apiKey then needs_key = true end
  end
  if report.count() > 0 then return end
  if needs_node and not out.rpc then
    report.add_warning('providers on chain need a node: set rpc = "https://evmrpc.0g.ai" (or the testnet\'s)')
  end
  if needs_key and not out.key and not out.keyFile then
    report.add_warning("providers on chain need a wallet: set the environment variable ZG_PRIVATE_KEY, or keyFile")
  end
  if out.autoFunding and not out.key and not out.keyFile then
    place("autoFunding"):warn("moves nothing: there is no wallet (ZG_PRIVATE_KEY or keyFile)")
  end
end

-- Contract addresses that only the environment names.
local function contracts_from_env(out)
  for name, variable in pairs({ ledger = "LEDGER_CA", inference = "INFERENCE_CA" }) do
    local from_env = host.env(variable)
    if out.contracts and not out.contracts[name] and from_env and from_env ~= "" then
      out.contracts[name] = contract_address(from_env, place_of("environment variable " .. variable))
    end
  end
  local mode = host.env("ZG_DEV_MODE")
  if out.contracts then out.contracts.isDev = mode == "true" or mode == "1" end
end

local function check_together(out, written)
  local function place(name) return place_in_file { written[name] ~= nil and name or nil } end
  if out.maxBodyBytes and out.maxBufferedBytes and out.maxBodyBytes > out.maxBufferedBytes then
    place(written.maxBufferedBytes ~= nil and "maxBufferedBytes" or "maxBodyBytes")
      :say("maxBodyBytes (%s) must not be above maxBufferedBytes (%s)", number_text(out.maxBodyBytes),
           number_text(out.maxBufferedBytes))
  end
  if written.key ~= nil and written.keyFile ~= nil then
    place_in_file { "keyFile" }:say("key and keyFile are both set: leave one out")
  end
  check_chain(out, place)
  if report.count() == 0 and #out.clientKeys == 0 and not LOOPBACK[out.host] and not out.host:find("^127%.") then
    report.add_warning(("whoever reaches %s:%s may spend on the providers: set clientKeys, or host = \"127.0.0.1\"")
                         :format(out.host, number_text(out.port)))
  end
end

local function warn_about_repeated(root)
  for _, r in ipairs(root.repeated or {}) do
    local text_of_warning = ("%s is set twice, first in line %d: this one counts"):format(tostring(r.key), r.first_line)
    report.add_warning(text_of_warning, r.line)
  end
  for _, child in pairs(root.fields or {}) do warn_about_repeated(child) end
end

-- The rest has problems; the strategy can be tried all the same, over a provider that is made up, so that all is told
-- at once. Nil when it has some itself.
local function trial(out)
  if not out.strategy or not out.strategyOptions then return nil end
  local alone = { isTrial = true }
  for _, spec in ipairs(OPTIONS) do alone[spec[1]] = spec[3] end
  for _, name in ipairs { "strategy", "strategyOptions", "strategyOptionsAt", "guard", "callBudget", "reload" } do
    if out[name] ~= nil then alone[name] = out[name] end
  end
  alone.providers = providers({ "http://127.0.0.1:9/v1" }, place_of("a trial"))
  return alone
end

local environment, leave = host.part("config_environment")(host, report)

local config = {
  environment = environment,
  leave = leave,
  open = report.open,
  failed = report.failed,
  problems = report.problems,
  warnings = report.warnings,
  count = report.count,
}

-- `returned`: what the file returned (nil without one). Gives the settings, or nil when there are problems.
function config.check(returned, flags)
  local written = {}
  if report.has_failed() then return nil end
  if report.tree() then
    if type(returned) ~= "table" then
      place_in_file {}:say("the file must return a table of options, return { … }, not %s", describe(returned))
      return nil
    end
    written = returned
    local names = {}
    for i, spec in ipairs(OPTIONS) do names[i] = spec[1] end
    checks.unknown(written, place_in_file {}, names)
    warn_about_repeated(report.tree().root)
  end
  local out = {}
  for _, spec in ipairs(OPTIONS) do
    if spec[1] ~= "providers" and spec[1] ~= "models" then out[spec[1]] = effective(spec, written, flags) end
  end
  contracts_from_env(out)
  out.strategy = out.strategy or strategy("round-robin", place_of("the default strategy"))
  local entries, is_replaced = all_providers(written, flags)
  out.providers = entries or {}
  if written.models ~= nil then
    out.models = models(written.models, place_in_file { "models" }, out.providers, is_replaced)
  end
  check_together(out, written)
  if written.strategyOptions ~= nil then out.strategyOptionsAt = place_in_file({ "strategyOptions" }):where() end
  if report.count() > 0 then return trial(out) end
  out.discovers = out.providers.discovers
  return out
end

return config
