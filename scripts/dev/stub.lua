--[[
stub: a runtime without the program, so that a strategy can be tested under plain luajit. The sandbox and lb.* are
the real ones; views are plain tables with the contract's fields, for the test to set; counters, turns, log, clock
and chance belong to the stub.

  local stub = dofile("scripts/dev/stub.lua")
  local engine = stub.new({ seed = 1 })
  local pool = engine:pool({ { id = "a", weight = 2 }, { id = "b", in_flight = 3 } })
  local strategy = engine:load("strategies/least-connections.lua", pool)
  local index, reason = strategy:select(engine:request({ attempt = 1 }), pool)

The other callbacks are called alike: strategy:retry(req, engine:outcome({ class = "server" })), observe, health (with
engine:evidence({ ok = false })), tick and export; load takes options and `previous` after the pool.
Run from the repository's root. engine.now_ms is the clock, engine.lines what was logged.
]]

local NAN = 0 / 0

local sandbox = dofile("scripts/runtime/sandbox.lua")
local new_lb = dofile("scripts/runtime/lb.lua").new
local bit = require("bit")

local PROVIDER = {
  address = "", kind = "direct", model = "", weight = 1, priority = 50, in_flight = 0, dispatched = 0,
  latency_ms = NAN, ttft_ms = NAN, tpot_ms = NAN, peak_ttft_ms = NAN, samples = 0, error_rate = 0, throttle_rate = 0,
  consecutive_failures = 0, last_class = "ok", state = "up", state_since_ms = 0, cooldown_ms = 0,
  rl_requests_left = NAN, rl_tokens_left = NAN, rl_reset_ms = NAN, price_in = NAN, price_out = NAN, balance = NAN,
  runway_s = NAN, token_expires_s = NAN, verifiable = false, verify_ok = 0, verify_fail = 0,
}
local REQUEST = {
  id = "request-1", kind = "chat", model = "", stream = false, body_bytes = 1000, est_input_tokens = 250,
  max_tokens = NAN, attempt = 1, elapsed_ms = 0, deadline_ms = 600000, session_key = "", prefix_hash = 0,
  client = "127.0.0.1",
}
local OUTCOME = {
  class = "ok", status = 200, retry_after_ms = 0, connect_ms = NAN, ttft_ms = NAN, total_ms = NAN, tokens_in = NAN,
  tokens_out = NAN, committed = false,
}
local EVIDENCE = {
  is_probe = true, ok = true, status = 200, latency_ms = NAN, attempts = 1, failures = 0,
}

-- A table with the fields of `defaults`, where a field that nobody has is an error as in the program.
local function record(what, defaults, given)
  local out = {}
  for name, value in pairs(defaults) do out[name] = value end
  for name, value in pairs(given or {}) do out[name] = value end
  return setmetatable(out, {
    __index = function(_, name) error(("%s has no field %s"):format(what, tostring(name)), 2) end,
  })
end

-- FNV-1a, to 32 bits.
local function hash(text, seed)
  local h = bit.bxor(2166136261, math.floor((seed or 0) * 2 ^ 20))
  for i = 1, #text do
    h = bit.bxor(h, text:byte(i))
    h = bit.tobit(bit.lshift(h, 24) + bit.lshift(h, 8) + h * 0x93)
  end
  return h % 2 ^ 32
end

-- Park and Miller's minimal standard: enough for tests, and the same everywhere.
local function generator(seed)
  local x = seed % 2147483646 + 1
  return function()
    x = x * 16807 % 2147483647
    return (x - 1) / 2147483646
  end
end

-- lb.shared in memory, with the program's bounds.
local function store()
  local contents, n = {}, 0
  local function set(key, value)
    local before = contents[key]
    if before == nil and value ~= nil then
      if n >= 1024 then return false end
      n = n + 1
    elseif before ~= nil and value == nil then
      n = n - 1
    end
    contents[key] = value
    return true
  end
  return {
    get = function(key) return contents[key] end,
    set = set,
    incr = function(key, by)
      local before = contents[key]
      if before == nil then before = 0 end
      if type(before) ~= "number" then return nil end
      return set(key, before + by) and before + by
    end,
  }
end

local Engine = {}
Engine.__index = Engine

---A pool of providers, given as tables of the fields that differ from the defaults. `slot` is the place in the list
---unless it is given. Fields may be set between calls, except slot, id and weight, which are a configuration's.
function Engine:pool(list)
  local pool = {}
  for i, given in ipairs(list) do
    local p = record("a provider", PROVIDER, given)
    p.index, p.slot = i, rawget(p, "slot") or i
    p.id = rawget(p, "id") or ("p" .. p.slot)
    p.tags = rawget(p, "tags") or {}
    pool[i] = p
  end
  return self:among(pool)
end

---A pool of providers that are there already, in that order: the candidates of one call.
function Engine.among(_, providers)
  local key = #providers
  local pool = {}
  for i, p in ipairs(providers) do
    p.index = i
    pool[i] = p
    key = (key * 257 + p.slot + math.floor(p.weight * 4096)) % 2 ^ 31
  end
  -- Out of the way of pairs() and #.
  return setmetatable(pool, { __index = { key = key } })
end

function Engine.request(_, given)
  local req = record("a request", REQUEST, given)
  local seed = hash(req.id, 0)
  local rand = generator(seed + req.attempt)
  local headers = {}
  for name, value in pairs(given and given.headers or {}) do headers[name:lower()] = value end
  rawset(req, "header", function(_, name) return headers[name:lower()] end)
  rawset(req, "rand", function() return rand() end)
  rawset(req, "hash", function(_, text) return hash(text, seed) end)
  return req
end

function Engine.outcome(_, given)
  return record("an outcome", OUTCOME, given)
end

function Engine.evidence(_, given)
  local evidence = record("evidence", EVIDENCE, given)
  return setmetatable(evidence, { __index = function(_, name)
    if name ~= "reason" then error("evidence has no field " .. tostring(name), 2) end
    return nil
  end })
end

local Strategy = {}
Strategy.__index = Strategy

---The strategy's file in its sandbox, with its state from init(pool, options, previous). Options that the file has
---defaults for and that are not given have those.
function Engine:load(path, pool, options, previous)
  local file = assert(io.open(path, "rb"))
  local source = file:read("*a")
  file:close()
  return self:load_text(source, path, pool, options, previous)
end

function Engine:load_text(source, name, pool, options, previous)
  local chunk = assert(load(source, "@" .. name, "t", (sandbox.environment(self.lb, sandbox.kind_of_protected))))
  local strategy = setmetatable({ table = chunk() }, Strategy)
  local all = {}
  for option, rule in pairs(strategy.table.options or {}) do all[option] = rule.default end
  for option, value in pairs(options or {}) do all[option] = value end
  strategy.lb = self.lb
  if strategy.table.init then strategy.state = strategy.table.init(pool, all, previous) end
  if strategy.state == nil then strategy.state = {} end
  return strategy
end

---What select returns; of a strategy with score, the index with the lowest.
function Strategy:select(req, pool)
  for i = 1, #pool do pool[i].index = i end
  if self.table.select then return self.table.select(self.state, req, pool) end
  local score, state = self.table.score, self.state
  return self.lb.pick.least(pool, function(p) return score(state, req, p) end)
end

function Strategy:retry(req, outcome)
  if self.table.retry then return self.table.retry(self.state, req, outcome) end
  return self.lb.DEFAULT
end

function Strategy:observe(req, provider, outcome)
  if self.table.observe then self.table.observe(self.state, req, provider, outcome) end
end

---lb.UP, lb.DEGRADED, lb.DOWN or nil, and a reason.
function Strategy:health(provider, evidence)
  if self.table.health then return self.table.health(self.state, provider, evidence) end
end

---What the program does once a second.
function Strategy:tick(pool)
  if self.table.tick then self.table.tick(self.state, pool) end
end

---What the next version gets as `previous`.
function Strategy:export()
  if self.table.export then return self.table.export(self.state) end
end

local function new(settings)
  settings = settings or {}
  local engine = setmetatable({ now_ms = 1000, lines = {} }, Engine)
  local ids, values, turns = {}, {}, {}
  engine.lb = new_lb({
    now_ms = function() return engine.now_ms end,
    random = generator(settings.seed or 1),
    hash = hash,
    turn = function(key)
      turns[key] = (turns[key] or 0) + 1
      return turns[key]
    end,
    log = function(level, text) engine.lines[#engine.lines + 1] = { level = level, text = text } end,
    counter_find = function(name)
      if not ids[name] then
        if #values >= 1024 then return -1 end
        values[#values + 1] = 0
        ids[name] = #values
      end
      return ids[name]
    end,
    counter_add = function(id, n)
      values[id] = values[id] + n
      return values[id]
    end,
    store = store(),
  }, sandbox.readonly)
  return engine
end

-- ---- tests -----------------------------------------------------------------------------------------------------

local n_tests, n_failed = 0, 0

local tap = {}

---One TAP line; an error in `test` fails it.
function tap.test(name, test)
  n_tests = n_tests + 1
  local ok, wrong = pcall(test)
  if ok then
    print(("ok %d %s"):format(n_tests, name))
  else
    n_failed = n_failed + 1
    print(("not ok %d %s"):format(n_tests, name))
    print("# " .. tostring(wrong):gsub("\n", "\n# "))
  end
end

function tap.equal(got, want, what)
  if got ~= want then
    error(("%s is %s, not %s"):format(what or "it", tostring(got), tostring(want)), 2)
  end
end

---`got` is within `by` of `want`.
function tap.near(got, want, by, what)
  if got ~= got or math.abs(got - want) > by then
    error(("%s is %s, not within %s of %s"):format(what or "it", tostring(got), tostring(by), tostring(want)), 2)
  end
end

function tap.finish()
  print("1.." .. n_tests)
  os.exit(n_failed == 0 and 0 or 1)
end

return { new = new, tap = tap }
