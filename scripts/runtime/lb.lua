--[[
lb: what strategies find under that name: constants, log, clock, numbers common to all workers, chance, and ready
parts (filters, scores, picks) to build a choice from. Plain Lua over a host table, so that the same parts run in
the program (scripts/runtime/runtime.lua) and under plain luajit (scripts/dev/stub.lua).

Hot paths keep to what LuaJIT compiles: no closures, no strings, no tables made per call.

---@class lb.Provider
---@field index integer        place in this call's pool, 1 to #pool
---@field slot integer         place in the configuration; stable within a generation
---@field id string
---@field address string       "" for direct endpoints
---@field kind "direct"|"onchain"
---@field model string         "" when the request's model is passed on
---@field tags table<string, string|true>
---@field weight number        configured, 0 and up
---@field priority number      configured, lower is preferred
---@field in_flight integer    attempts running now, all workers
---@field dispatched integer   attempts begun
---@field samples integer      successful attempts measured
---@field latency_ms number    averages; NaN while samples is 0
---@field ttft_ms number
---@field tpot_ms number
---@field peak_ttft_ms number
---@field error_rate number    0 to 1
---@field throttle_rate number 0 to 1
---@field consecutive_failures integer
---@field last_class lb.Class
---@field state "up"|"degraded"|"down"
---@field state_since_ms number
---@field cooldown_ms number
---@field rl_requests_left number NaN when the provider said nothing, as the next two
---@field rl_tokens_left number
---@field rl_reset_ms number
---@field price_in number      NaN until the chain is known, as the next four
---@field price_out number
---@field balance number
---@field runway_s number
---@field token_expires_s number
---@field verifiable boolean
---@field verify_ok integer
---@field verify_fail integer

---@class lb.Pool: { [integer]: lb.Provider }
---@field key integer the same candidates have the same key

---@class lb.Request
---@field id string
---@field kind "chat"|"completions"|"embeddings"|"images"|"audio"|"responses"|"messages"
---@field model string
---@field stream boolean
---@field body_bytes number
---@field est_input_tokens number
---@field max_tokens number    NaN when the client set none
---@field attempt integer      1 for the first
---@field elapsed_ms number
---@field deadline_ms number
---@field session_key string
---@field prefix_hash number
---@field client string
---@field header fun(self: lb.Request, name: string): string?
---@field rand fun(self: lb.Request): number
---@field hash fun(self: lb.Request, text: string): integer

---@alias lb.Class
---| "ok" | "connect" | "tls" | "dns" | "timeout_connect" | "timeout_ttft" | "timeout_idle" | "timeout_total"
---| "rate_limited" | "exhausted" | "auth" | "overloaded" | "server" | "bad_response" | "stream_truncated"
---| "client_error" | "content_policy" | "client_closed"

---@class lb.Outcome
---@field class lb.Class
---@field status integer       0 when no answer came
---@field retry_after_ms number
---@field connect_ms number    NaN when that point was not reached, as the next two
---@field ttft_ms number
---@field total_ms number
---@field tokens_in number     NaN when unknown
---@field tokens_out number
---@field committed boolean
]]

local error, floor, format, huge, setmetatable, tostring, type =
  error, math.floor, string.format, math.huge, setmetatable, tostring, type

-- In the order of OUTCOME_MAP in core/model/outcome.h; the runtime checks that.
local CLASSES = {
  "ok", "connect", "tls", "dns", "timeout_connect", "timeout_ttft", "timeout_idle", "timeout_total", "rate_limited",
  "exhausted", "auth", "overloaded", "server", "bad_response", "stream_truncated", "client_error", "content_policy",
  "client_closed",
}

local LEVELS = { debug = 0, info = 1, warn = 2, error = 3 }

-- A table of names that says so when somebody asks for one that is not there.
local function closed(what, names)
  return setmetatable(names, {
    __index = function(_, name) error(format("%s has no %s", what, tostring(name)), 2) end,
  })
end

---host: now_ms, random, hash, turn, log, counter_find, counter_add. readonly: sandbox.readonly.
local function new(host, readonly)
  local random, counter_add, turn = host.random, host.counter_add, host.turn
  local lb = { DEFAULT = 0, NEXT = 1, SAME = 2, STOP = 3, UP = 1, DEGRADED = 2, DOWN = 3 }

  local class = {}
  for _, name in ipairs(CLASSES) do class[name] = name end
  lb.class = readonly("lb.class", closed("lb.class", class))

  function lb.now_ms() return host.now_ms() end

  function lb.log(level, text)
    local number = LEVELS[level]
    if not number then error('lb.log: the level is "debug", "info", "warn" or "error"', 2) end
    host.log(number, tostring(text))
  end

  ---A number 0 <= x < 1; with `n`, a whole number 1 to n.
  function lb.random(n)
    if n == nil then return random() end
    return floor(random() * n) + 1
  end

  ---A whole number that depends on `text` (and `seed`) alone, the same in every process.
  function lb.hash(text, seed)
    return host.hash(text, seed or 0)
  end

  ---How often these very candidates have been offered, this time included, over all workers: 1, 2, 3, …
  function lb.turn(pool)
    return turn(pool.key)
  end

  ---A whole number under a name, common to all workers and generations. There are 1024; names have up to 48 bytes.
  function lb.counter(name)
    if type(name) ~= "string" or #name == 0 or #name > 48 then
      error("lb.counter: a name of 1 to 48 bytes is expected", 2)
    end
    local id = host.counter_find(name)
    if id < 0 then error("lb.counter: there are too many counters already", 2) end
    local methods = {}
    function methods.add(_, n)
      if n == nil then n = 1 end
      if type(n) ~= "number" or n % 1 ~= 0 then error("counter:add: a whole number is expected", 2) end
      return counter_add(id, n)
    end
    function methods.get() return counter_add(id, 0) end
    return readonly("a counter", methods)
  end

  -- ---- scores: lower is better ---------------------------------------------------------------------------------

  local score = {}

  ---In flight divided by weight. Weight 0: only when nobody else is there.
  local function in_flight(p)
    local weight = p.weight
    if weight > 0 then return p.in_flight / weight end
    return 1e12 + p.in_flight
  end
  score.in_flight = in_flight

  function score.priority(p) return p.priority end

  ---Time to the first byte; a provider never measured comes first, to be measured.
  function score.ttft(p) return p.samples > 0 and p.ttft_ms or 0 end

  function score.latency(p) return p.samples > 0 and p.latency_ms or 0 end

  lb.score = readonly("lb.score", closed("lb.score", score))

  -- ---- picks: from a pool or a filtered list to an index; nil when it is empty ----------------------------------

  local pick = {}

  ---The lowest score(p, arg), ties at random; a nil or NaN score excludes. Default: lb.score.in_flight.
  function pick.least(pool, score_of, arg)
    score_of = score_of or in_flight
    local best, lowest, ties = nil, huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local s = score_of(p, arg)
      if s then
        if s < lowest then
          best, lowest, ties = p.index, s, 1
        elseif s == lowest then
          ties = ties + 1
          if random() * ties < 1 then best = p.index end
        end
      end
    end
    return best
  end

  ---The better of two at random (Mitzenmacher 2001). Default score: lb.score.in_flight.
  function pick.p2c(pool, score_of, arg)
    local n = #pool
    if n < 2 then return n == 1 and pool[1].index or nil end
    score_of = score_of or in_flight
    local i = floor(random() * n) + 1
    local j = floor(random() * (n - 1)) + 1
    if j >= i then j = j + 1 end
    local a, b = pool[i], pool[j]
    local score_a, score_b = score_of(a, arg), score_of(b, arg)
    if score_b and not (score_a and score_a <= score_b) then return b.index end
    return a.index
  end

  ---At random in proportion to the weight.
  function pick.weighted(pool)
    local n, total = #pool, 0
    if n == 0 then return nil end
    for i = 1, n do total = total + pool[i].weight end
    if total <= 0 then return pool[floor(random() * n) + 1].index end
    local left = random() * total
    for i = 1, n do
      local p = pool[i]
      left = left - p.weight
      if left < 0 then return p.index end
    end
    return pool[n].index
  end

  ---Smooth weighted round robin (nginx): in proportion to the weight, interleaved. `current` is a table that the
  ---strategy keeps for it between calls.
  function pick.smooth(pool, current)
    local best, best_slot, highest, total = nil, 0, -huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local weight, slot = p.weight, p.slot
      if weight > 0 then
        local value = (current[slot] or 0) + weight
        current[slot] = value
        total = total + weight
        if value > highest then best, best_slot, highest = p.index, slot, value end
      end
    end
    if best then
      current[best_slot] = highest - total
      return best
    end
    return pick.least(pool)
  end

  lb.pick = readonly("lb.pick", closed("lb.pick", pick))

  -- ---- filters: from a pool or list to a new list of providers (one table per call) -----------------------------

  local filter = {}

  ---Those for which keep(p, arg) is true.
  function filter.where(pool, keep, arg)
    local out, n = {}, 0
    for i = 1, #pool do
      local p = pool[i]
      if keep(p, arg) then
        n = n + 1
        out[n] = p
      end
    end
    return out
  end

  ---Those with the tag, or with the tag of that value.
  function filter.tag(pool, name, value)
    local out, n = {}, 0
    for i = 1, #pool do
      local p = pool[i]
      local has = p.tags[name]
      if has ~= nil and (value == nil or has == value) then
        n = n + 1
        out[n] = p
      end
    end
    return out
  end

  ---Those that share the lowest score(p, arg).
  function filter.lowest(pool, score_of, arg)
    local out, n, lowest = {}, 0, huge
    for i = 1, #pool do
      local p = pool[i]
      local s = score_of(p, arg)
      if s and s < lowest then
        out, n, lowest = { p }, 1, s
      elseif s == lowest then
        n = n + 1
        out[n] = p
      end
    end
    return out
  end

  lb.filter = readonly("lb.filter", closed("lb.filter", filter))

  return readonly("lb", closed("lb", lb))
end

return { new = new, CLASSES = CLASSES }
