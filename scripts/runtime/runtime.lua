--[[
runtime: the trusted half of a generation. Checks that C and Lua mean the same bytes, dresses the views as the
contract describes them, loads one strategy into the sandbox, and hands C the functions that it calls.

Called once, by core/script/generation.c, with one table: cdef, sizes, call (pointer), entries, source, file, options,
previous, is_tables, api (C functions, for interpreted code), and the modules bytecode, handover, lb, locate, sandbox,
strategy_checks.

Views come in two kinds with the same fields. Compiled code reads C's structs in place, through references that refuse
every write; the compiler makes single loads of that. For an interpreter plain tables are six times as fast: C keeps
them up to date (core/script/views.c).
]]

local host = ...
local ffi = require("ffi")

local C, cast, to_string = ffi.C, ffi.cast, ffi.string
local error, format, load, pairs, pcall, rawset, setmetatable, tostring, type =
  error, string.format, load, pairs, pcall, rawset, setmetatable, tostring, type

-- ---- the boundary --------------------------------------------------------------------------------------------

ffi.cdef(host.cdef)

for name, size in pairs(host.sizes) do
  local here = ffi.sizeof("struct " .. name)
  if here ~= size then error(format("struct %s has %d bytes in Lua and %d in C", name, here, size), 0) end
end
if C.LB_ABI_MAJOR ~= host.abi_major or C.LB_ABI_MINOR ~= host.abi_minor then
  error("the script boundary has two versions", 0)
end

local CLASSES = {}
for i, name in ipairs(host.lb.CLASSES) do
  if C["LB_CLASS_" .. name:upper()] ~= i - 1 then error("the class " .. name .. " has two numbers", 0) end
  CLASSES[i - 1] = name
end
if #host.lb.CLASSES ~= C.LB_CLASS_N then error("a class has no name", 0) end

local STATES = { [tonumber(C.LB_UP)] = "up", [tonumber(C.LB_DEGRADED)] = "degraded", [tonumber(C.LB_DOWN)] = "down" }

-- ---- views ---------------------------------------------------------------------------------------------------

local sandbox, api = host.sandbox, host.api
local checks, suggestion = host.strategy_checks, host.strategy_checks.suggestion
local call = cast("struct lb_call *", host.call)
local order = call.order
local stats = cast("const struct lb_stats *", call.stats)
local pool, req, outcome

local texts = { id = {}, address = {}, kind = {}, model = {}, tags = {} }
local refs = {}
for slot, entry in ipairs(host.entries) do
  for name, column in pairs(texts) do column[slot] = entry[name] end
  texts.tags[slot] = sandbox.readonly("tags", entry.tags)
end

local IS_STAT = {}
for name in ([[consecutive_failures samples verify_ok verify_fail verifiable dispatched latency_ms ttft_ms tpot_ms
  peak_ttft_ms error_rate throttle_rate rl_requests_left rl_tokens_left rl_reset_ms price_in price_out balance runway_s
  token_expires_s]]):gmatch("%S+") do
  IS_STAT[name] = true
end

-- Fields that have to be computed.
local COMPUTED = {
  state = function(s) return STATES[s.state_id] end,
  last_class = function(s) return CLASSES[s.last_class_id] end,
  state_since_ms = function(s) return C.lb_abi_now_ms() - s.state_since_at_ms end,
  cooldown_ms = function(s)
    local left = s.cooldown_until_ms - C.lb_abi_now_ms()
    return left > 0 and left or 0
  end,
}

local function unknown(what, key, ...)
  local known = {}
  for _, names in ipairs({ ... }) do
    for name in pairs(names) do known[name] = true end
  end
  error(format("%s has no field %s%s", what, tostring(key), suggestion(key, known)), 3)
end

local PROVIDER_DIRECT = { index = true, slot = true, in_flight = true, weight = true, priority = true }

-- Averages are read where the engine keeps them; the rest of what is known is copied when a script first asks for any.
local AVERAGES = {
  latency_ms = tonumber(C.LB_LATENCY_MS), ttft_ms = tonumber(C.LB_TTFT_MS), tpot_ms = tonumber(C.LB_TPOT_MS),
  peak_ttft_ms = tonumber(C.LB_PEAK_TTFT_MS), error_rate = tonumber(C.LB_ERROR_RATE),
  throttle_rate = tonumber(C.LB_THROTTLE_RATE),
}
local averages = call.averages

local function provider_field(p, key)
  local average = AVERAGES[key]
  if average then return averages[p.slot - 1][average] end
  local column = texts[key]
  if column then return column[p.slot] end
  local compute = COMPUTED[key]
  if compute or IS_STAT[key] then
    local slot = p.slot
    local s = stats[slot - 1]
    if s.serial ~= call.serial then C.lb_abi_stats_fill(call, slot) end
    if compute then return compute(s) end
    return s[key]
  end
  return unknown("a provider", key, texts, COMPUTED, IS_STAT, PROVIDER_DIRECT)
end

local function refuse_write(_, key)
  error(format("views are read-only, what is yours belongs into the state (%s)", tostring(key)), 2)
end

-- ---- views as references --------------------------------------------------------------------------------------

ffi.metatype("struct lb_provider", {
  __index = provider_field,
  __newindex = refuse_write,
  __tostring = function(p) return "provider " .. texts.id[p.slot] end,
})

ffi.metatype("struct lb_pool", {
  __len = function(self) return self.n end,
  __index = function(self, i)
    if type(i) == "number" then
      if i >= 1 and i <= self.n then return refs[order[i - 1]] end
      return nil
    end
    error("a pool is indexed by 1 to #pool, not by " .. tostring(i), 2)
  end,
  __newindex = refuse_write,
  __tostring = function(self) return format("pool of %d", self.n) end,
})

-- A text of the request, made when it is asked for.
local function text_of(t)
  if t.len == 0 then return "" end
  return to_string(t.ptr, t.len)
end

local REQUEST = {
  id = function(r) return text_of(r.id) end,
  kind = function(r) return text_of(r.kind) end,
  model = function(r) return text_of(r.model) end,
  session_key = function(r) return text_of(r.session_key) end,
  client = function(r) return text_of(r.client) end,
  body_bytes = function(r) return r.body_bytes end,
  est_input_tokens = function(r) return r.est_input_tokens end,
  max_tokens = function(r) return r.max_tokens end,
  elapsed_ms = function(r) return r.elapsed_ms end,
  deadline_ms = function(r) return r.deadline_ms end,
  prefix_hash = function(r) return r.prefix_hash end,
  stream = function(r) return r.stream ~= 0 end,
}

local text_len = ffi.new("uint32_t[1]")

local REQUEST_METHODS = {
  header = function(_, name)
    if type(name) ~= "string" then error("req:header: a name is expected, as in req:header(\"x-team\")", 2) end
    local value = C.lb_abi_request_header(call.request, name, #name, text_len)
    if value == nil then return nil end
    return to_string(value, text_len[0])
  end,
  rand = function() return C.lb_abi_request_random(call) end,
  hash = function(_, text)
    if type(text) ~= "string" then error("req:hash: a text is expected", 2) end
    return C.lb_abi_hash(text, #text, call.request.seed)
  end,
}

ffi.metatype("struct lb_request_view", {
  __index = function(_, key)
    local method = REQUEST_METHODS[key]
    if method then return method end
    local get = REQUEST[key]
    if get then return get(call.request) end
    return unknown("a request", key, REQUEST, REQUEST_METHODS, { attempt = true })
  end,
  __newindex = refuse_write,
  __tostring = function() return "request " .. text_of(call.request.id) end,
})

local OUTCOME_DIRECT = { status = true, retry_after_ms = true, connect_ms = true, ttft_ms = true, total_ms = true,
                         tokens_in = true, tokens_out = true, committed = true, class = true }

ffi.metatype("struct lb_outcome", {
  __index = function(self, key)
    if key == "class" then return CLASSES[self.class_id] end
    return unknown("an outcome", key, OUTCOME_DIRECT)
  end,
  __newindex = refuse_write,
  __tostring = function(self) return "outcome " .. tostring(CLASSES[self.class_id]) end,
})

local function make_references()
  pool = cast("const struct lb_pool *", call.pool)[0]
  req = cast("const struct lb_request_view *", call.view)[0]
  outcome = cast("const struct lb_outcome *", call.outcome)[0]
  for slot in ipairs(host.entries) do refs[slot] = cast("const struct lb_provider *", call.providers)[slot - 1] end
end

-- ---- views as tables -----------------------------------------------------------------------------------------

local new_table = require("table.new")
local NO_ROOM = { list = 0, fields = 0 }

local function show_pool(self) return format("pool of %d", #self) end

-- Missing fields only: what is there can be overwritten, which C looks for (core/script/views.c). Room for all fields
-- from the start, and those that are read most put in first: they are found at the first look.
local function table_view(room, index, show)
  -- The name that references answer with.
  local view = setmetatable(new_table(room.list, room.fields),
                            { __index = index, __newindex = refuse_write, __tostring = show, __metatable = "ffi" })
  sandbox.protect(view, show == show_pool and "pool" or "view")
  return view
end

local function write_fixed_fields(p, slot)
  local c = call.providers[slot - 1]
  rawset(p, "weight", c.weight)
  rawset(p, "priority", c.priority)
  rawset(p, "slot", slot)
  for name, column in pairs(texts) do rawset(p, name, column[slot]) end
end

local function make_tables()
  local field = api.fields("provider", function(_, key)
    unknown("a provider", key, texts, COMPUTED, IS_STAT, PROVIDER_DIRECT)
  end, STATES, CLASSES, refs)
  local function show(p) return "provider " .. tostring(p.id) end
  local n = #host.entries
  pool = table_view({ list = n + 1, fields = 2 }, function(_, i)
    if type(i) == "number" then return nil end
    error("a pool is indexed by 1 to #pool, not by " .. tostring(i), 2)
  end, show_pool)
  for slot in ipairs(host.entries) do
    local p = table_view({ list = 0, fields = 32 }, field, show)
    rawset(p, "in_flight", 0)
    rawset(p, "index", slot)
    write_fixed_fields(p, slot)
    refs[slot] = p
    rawset(pool, slot, p)
  end
  rawset(pool, "key", 0)
  req = table_view(NO_ROOM, api.fields("request", function(_, key)
    unknown("a request", key, REQUEST, REQUEST_METHODS, { attempt = true })
  end, api.request_header, api.request_rand, api.request_hash), function(self) return "request " .. self.id end)
  outcome = table_view(NO_ROOM, api.fields("outcome", function(_, key)
    unknown("an outcome", key, OUTCOME_DIRECT)
  end, CLASSES), function(self) return "outcome " .. tostring(self.class) end)
end

if host.is_tables then make_tables() else make_references() end

local istype, POOL = ffi.istype, ffi.typeof("struct lb_pool")

local kind_of_view = sandbox.kind_of_protected
if not host.is_tables then
  function kind_of_view(x)
    if type(x) ~= "cdata" then return nil end
    return istype(POOL, x) and "pool" or "view"
  end
end

-- ---- evidence ------------------------------------------------------------------------------------------------

local EVIDENCE = { is_probe = true, ok = true, status = true, latency_ms = true, attempts = true, failures = true,
                   reason = true }

local EVIDENCE_META = {
  __index = function(_, key)
    if key == "reason" then return nil end
    unknown("an evidence", key, EVIDENCE)
  end,
  __newindex = refuse_write,
  __metatable = false,
}

-- ---- the script ----------------------------------------------------------------------------------------------

local lb, recover_lb = host.lb.new(api or {
  now_ms = function() return C.lb_abi_now_ms() end,
  random = function() return C.lb_abi_random() end,
  least = function() return C.lb_abi_least(call) end,
  tiered = function(full, has_scores) return C.lb_abi_tiered(call, full, has_scores) end,
  draw = function() return C.lb_abi_draw(call) end,
  draw_two = function() return C.lb_abi_draw_two(call) end,
  p2c = function() return C.lb_abi_p2c(call) end,
  better = function(both, first, second) return C.lb_abi_better(both, first, second) end,
  smooth = function() return C.lb_abi_smooth(call) end,
  rendezvous = function(key, factor) return C.lb_abi_rendezvous(call, key, factor) end,
  cheapest = function(tokens_in, tokens_out, full) return C.lb_abi_cheapest(call, tokens_in, tokens_out, full) end,
  scores = call.scores,
  lowest = function(n) return C.lb_abi_lowest(call, n) end,
  hash = function(text, seed) return C.lb_abi_hash(text, #text, seed) end,
  turn = function(key) return C.lb_abi_turn(key) end,
  log = function(level, text) C.lb_abi_log(level, text, #text) end,
  counter_find = function(name) return C.lb_abi_counter_find(name, #name) end,
  counter_add = function(id, n) return C.lb_abi_counter_add(id, n) end,
}, sandbox.readonly)

-- Each state would draw the same numbers otherwise.
math.randomseed(C.lb_abi_random() * 2 ^ 53)

local file, source = host.file, host.source
local tree

-- Where `path` is written in the strategy's table.
local function line_of(path)
  if not tree then
    local ok, parsed = pcall(host.locate.parse, source)
    tree = ok and parsed or { line = function() return 1 end }
  end
  return tree:line(path)
end

-- Ends the load with a text that names that line.
local function fail(path, text, ...)
  error(format("%s:%d: %s", file, line_of(path), format(text, ...)), 0)
end

-- The same for what the configuration says: there is the line to change, when it is known.
local function fail_given(path, text, ...)
  if host.options_at then error(format("%s: %s", host.options_at, format(text, ...)), 0) end
  fail(path, text, ...)
end

local function read_options(text)
  local chunk, wrong = load(text, "=strategyOptions", "t", {})
  if not chunk then fail({}, "%s", wrong) end
  local given = chunk()
  if given == nil then return {} end
  if type(given) ~= "table" then fail({}, "strategyOptions must be a table, not a %s", type(given)) end
  return given
end

local function kind_in_words(value) return kind_of_view(value) and "view" or type(value) end

-- ---- what C calls --------------------------------------------------------------------------------------------

-- Made by functions, so that what they use are constants for the compiler.
-- A number is left in the call, where C finds it sooner than on Lua's stack.
local function make_select(select, state)
  local asked, offered = req, pool
  return function()
    local first, second = select(state, asked, offered)
    if type(first) == "number" then
      call.chosen, call.has_chosen = first, 1
      return
    end
    return first, second
  end
end

local function make_score(score, state, line)
  local random, asked, offered = lb.random, req, pool
  return function()
    local best, lowest, ties = nil, math.huge, 0
    for i = 1, #offered do
      local s = score(state, asked, offered[i])
      if s ~= nil then
        if type(s) ~= "number" then
          error(format("%s:%d: must return a number or nil, not a %s", file, line, kind_in_words(s)), 0)
        end
        if s < lowest then
          best, lowest, ties = i, s, 1
        elseif s == lowest then
          ties = ties + 1
          if random() * ties < 1 then best = i end
        end
      end
    end
    return best
  end
end

local function make_retry(retry, state)
  local asked, ended = req, outcome
  return function() return retry(state, asked, ended) end
end

local function make_observe(observe, state)
  local asked, ended = req, outcome
  return function(slot) observe(state, asked, refs[slot], ended) end
end

local function make_health(health, state)
  return function(slot, is_probe, ok, status, latency_ms, attempts, failures)
    return health(state, refs[slot], setmetatable({
      is_probe = is_probe, ok = ok, status = status, latency_ms = latency_ms, attempts = attempts,
      failures = failures, reason = call.reason.ptr ~= nil and to_string(call.reason.ptr, call.reason.len) or nil,
    }, EVIDENCE_META))
  end
end

local function make_tick(tick, state)
  return function() tick(state, pool) end
end

local function make_export(export, state, line)
  local write = host.handover.write
  return function()
    local data = export(state)
    if data == nil then return nil end
    local ok, text = pcall(write, data, kind_of_view)
    if not ok then error(format("%s:%d: %s", file, line, text), 0) end
    return text
  end
end

sandbox.guard_strings()
local environment, open_environment = sandbox.environment(lb, kind_of_view)
local chunk, wrong = load(source, "@" .. file, "t", environment)
if not chunk then error(wrong, 0) end
if not host.bytecode.assigns_globals(chunk) then open_environment() end
local strategy = chunk()
checks.check_strategy(strategy, tonumber(C.LB_ABI_MAJOR), fail)
local options = checks.check_options(strategy.options or {}, read_options(host.options), fail, fail_given)

-- Where a callback begins; of one that was not written in this file, where the table has it.
local lines = {}
for name in pairs(checks.CALLBACKS) do
  local callback = strategy[name]
  local info = type(callback) == "function" and debug.getinfo(callback, "S")
  lines[name] = info and (info.source == "@" .. file and info.linedefined or line_of({ name })) or 0
end

local state
if strategy.init then state = strategy.init(pool, options, host.handover.read(host.previous)) end
if state == nil then state = {} end

-- Where the script's text assigns to which fields, for what an interpreter lets it overwrite.
local assigned = {}
if host.is_tables then
  local takers = {}
  for name in pairs(checks.CALLBACKS) do
    if name ~= "init" and not kind_of_view(state) then takers[#takers + 1] = strategy[name] end
  end
  assigned = host.bytecode.assigned_fields(chunk, takers)
end

local choose = strategy.select and "select" or "score"
lines.select = lines[choose]
local callbacks = {
  retry = strategy.retry and make_retry(strategy.retry, state),
  observe = strategy.observe and make_observe(strategy.observe, state),
  health = strategy.health and make_health(strategy.health, state),
  tick = strategy.tick and make_tick(strategy.tick, state),
  export = strategy.export and make_export(strategy.export, state, lines.export),
  init = strategy.init,
}
-- An interpreter calls through a function of ours as slowly as through any other: C brings the arguments itself.
local is_direct = host.is_tables and strategy.select ~= nil
if is_direct then
  callbacks.select = strategy.select
elseif strategy.select then
  callbacks.select = make_select(strategy.select, state)
else
  callbacks.select = make_score(strategy.score, state, lines.score)
end

-- After a call that was cut off anywhere.
local function recover()
  sandbox.recover()
  recover_lb()
end

return {
  name = strategy.name, is_score = strategy.score ~= nil, is_direct = is_direct, callbacks = callbacks, lines = lines,
  state = state, request = req, pool = pool, providers = refs, texts = texts, states = STATES, classes = CLASSES,
  assigned = assigned, recover = recover,
}
