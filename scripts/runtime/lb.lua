--[[
lb: what strategies find under that name: constants, log, clock, numbers and values common to all workers, chance, and
ready parts (filters, scores, picks) to build a choice from. Plain Lua over a host table, so that the same parts run in
the program (scripts/runtime/runtime.lua) and under plain luajit (scripts/dev/stub.lua).

Hot paths keep to what LuaJIT compiles: no closures, no strings, no tables made per call. What each part is for stands
in strategies/README.md, its types in strategies/types/moongate.lua.
]]

local bit = require("bit")
local band, bxor, lshift, rshift, tobit = bit.band, bit.bxor, bit.lshift, bit.rshift, bit.tobit
local abs, floor, huge, log = math.abs, math.floor, math.huge, math.log
local error, format, setmetatable, tostring, type = error, string.format, setmetatable, tostring, type

-- In the order of OUTCOME_MAP in core/model/outcome.h; the runtime checks that.
local CLASSES = {
  "ok", "connect", "tls", "dns", "timeout_connect", "timeout_ttft", "timeout_idle", "timeout_total", "rate_limited",
  "exhausted", "auth", "overloaded", "server", "bad_response", "stream_truncated", "client_error", "content_policy",
  "client_closed",
}

local LEVELS = { debug = 0, info = 1, warn = 2, error = 3 }

-- A mistake in a call of lb.*: `wanted` is what is expected in place of `got`.
local function refuse(what, wanted, got)
  local shown = (got == nil or type(got) == "number") and tostring(got) or "a " .. type(got)
  error(format("%s: %s is expected, not %s", what, wanted, shown), 3)
end

-- A table may have a __call.
local function is_callable(x) return type(x) == "function" or type(x) == "table" end

-- A table of names that says so when somebody asks for one that is not there.
local function closed(what, names)
  return setmetatable(names, {
    __index = function(_, name) error(format("%s has no %s", what, tostring(name)), 2) end,
  })
end

-- As many as a pool has candidates at most, PLAN_PROVIDERS_MAX in core/model/plan.h.
local SCORES_MAX = 256

-- The bounds of lb.shared, see core/script/store.h.
local KEY_MAX, TEXT_MAX = 64, 1024

-- The program's store: get(key), set(key, value or nil) and incr(key, by) over what all workers share. The last two
-- return false when it is full; incr returns nil when what is there is no number.
local function program_store()
  local ffi = require("ffi")
  local C, to_string = ffi.C, ffi.string
  local NOTHING, NUMBER, BOOLEAN, TEXT, FULL = 0, 1, 2, 3, -2
  local out = ffi.new("struct lb_value")
  local store = {}

  function store.get(key)
    local kind = C.lb_abi_store_get(key, #key, out)
    if kind == NUMBER then return out.number end
    if kind == BOOLEAN then return out.number ~= 0 end
    if kind == TEXT then return to_string(out.text, out.len) end
    return nil
  end

  function store.set(key, value)
    local kind
    if type(value) == "string" then
      kind = C.lb_abi_store_set(key, #key, TEXT, 0, value, #value)
    elseif type(value) == "number" then
      kind = C.lb_abi_store_set(key, #key, NUMBER, value, nil, 0)
    elseif value == nil then
      kind = C.lb_abi_store_set(key, #key, NOTHING, 0, nil, 0)
    else
      kind = C.lb_abi_store_set(key, #key, BOOLEAN, value and 1 or 0, nil, 0)
    end
    return kind ~= FULL
  end

  function store.incr(key, by)
    local kind = C.lb_abi_store_incr(key, #key, by, out)
    if kind == NUMBER then return out.number end
    if kind == FULL then return false end
    return nil
  end

  return store
end

-- The product's low 32 bits.
local function multiply(x, y)
  return tobit(lshift(tobit(rshift(x, 16) * y), 16) + band(x, 0xffff) * y)
end

-- The last steps of MurmurHash3: a change of one bit changes each bit of the result in half of all cases.
local function mix(x)
  x = multiply(bxor(x, rshift(x, 16)), 0x85ebca6b)
  x = multiply(bxor(x, rshift(x, 13)), 0xc2b2ae35)
  return bxor(x, rshift(x, 16))
end

---host: now_ms, random, hash, turn, log, counter_find, counter_add; if there are faster ones for the call's candidates:
---least, tiered, cheapest, draw, draw_two, p2c, smooth and rendezvous (all of them or none), scores with lowest and
---better; and a store in place of the program's own.
---readonly: sandbox.readonly. The second result puts it right after a call that was cut off.
local function new(host, readonly)
  local random, counter_add, turn, hash = host.random, host.counter_add, host.turn, host.hash
  local native = host.least and host or nil
  local lb = { DEFAULT = 0, NEXT = 1, SAME = 2, STOP = 3, UP = 1, DEGRADED = 2, DOWN = 3 }

  local class = {}
  for _, name in ipairs(CLASSES) do class[name] = name end
  lb.class = readonly("lb.class", closed("lb.class", class))

  function lb.now_ms() return host.now_ms() end

  function lb.log(level, text)
    local number = LEVELS[level]
    if not number then error('lb.log: the level is "debug", "info", "warn" or "error"', 2) end
    text = tostring(text)
    host.log(number, type(text) == "string" and text or "")
  end

  ---A number 0 <= x < 1; with `n`, a whole number 1 to n.
  function lb.random(n)
    if n == nil then return random() end
    if type(n) ~= "number" or n < 1 or n ~= n then refuse("lb.random", "a number of 1 or more", n) end
    return floor(random() * n) + 1
  end

  ---A whole number that depends on `text` (and `seed`) alone, the same in every process.
  function lb.hash(text, seed)
    if type(text) ~= "string" then refuse("lb.hash", "a text", text) end
    if seed == nil then seed = 0 end
    if type(seed) ~= "number" then refuse("lb.hash", "a number for the seed", seed) end
    return host.hash(text, seed)
  end

  ---How often these very candidates have been offered, this time included, over all workers: 1, 2, 3, …
  function lb.turn(pool)
    local key = pool.key
    if type(key) ~= "number" then error("lb.turn: the pool is expected, a list has no turns", 2) end
    return turn(key)
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

  -- ---- values common to all workers and generations -------------------------------------------------------------

  local store = host.store or program_store()
  local shared = {}

  local function check_key(what, key)
    if type(key) ~= "string" or #key == 0 or #key > KEY_MAX then
      error(format("lb.shared.%s: a key is a text of 1 to %d bytes", what, KEY_MAX), 3)
    end
  end

  ---The value, or nil.
  function shared.get(key)
    check_key("get", key)
    return store.get(key)
  end

  ---Puts a number, boolean or text in place of what was there. False when there are 1024 other keys already.
  function shared.set(key, value)
    check_key("set", key)
    local kind = type(value)
    if kind == "string" then
      if #value > TEXT_MAX then error(format("lb.shared.set: a text has at most %d bytes", TEXT_MAX), 2) end
    elseif kind ~= "number" and kind ~= "boolean" then
      error(format("lb.shared.set: a number, boolean or text is expected, not a %s", kind), 2)
    end
    return store.set(key, value)
  end

  ---Adds `by` (default 1) to a number, 0 when there is none, and returns the sum; nil when the store is full.
  function shared.incr(key, by)
    check_key("incr", key)
    if by == nil then by = 1 end
    if type(by) ~= "number" or by - by ~= 0 then error("lb.shared.incr: a finite number is expected", 2) end
    local sum = store.incr(key, by)
    if sum then return sum end
    if sum == nil then error("lb.shared.incr: what is there is no number", 2) end
    return nil
  end

  function shared.delete(key)
    check_key("delete", key)
    store.set(key, nil)
  end

  lb.shared = readonly("lb.shared", closed("lb.shared", shared))

  -- ---- slow start ------------------------------------------------------------------------------------------------

  ---How much of its weight a provider should count while it warms up: 0.1 when its state has just changed, rising
  ---evenly to 1 over the window (Envoy's slow start, with the same floor).
  function lb.slow_start(p, window_ms)
    if type(window_ms) ~= "number" then refuse("lb.slow_start", "a number of milliseconds", window_ms) end
    local age = p.state_since_ms
    if age < window_ms then
      local share = age / window_ms
      return share > 0.1 and share or 0.1
    end
    return 1
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

  function score.error_rate(p) return p.error_rate end

  ---What the request may cost at most, in the unit of the prices; 500 tokens of answer when it sets no limit. Nil
  ---while a price is unknown.
  function score.cost(p, req)
    if req == nil then refuse("lb.score.cost", "the request, as in lb.pick.least(pool, lb.score.cost, req),", req) end
    local max_tokens = req.max_tokens
    if max_tokens ~= max_tokens then max_tokens = 500 end
    local cost = p.price_in * req.est_input_tokens + p.price_out * max_tokens
    if cost == cost then return cost end
    return nil
  end

  lb.score = readonly("lb.score", closed("lb.score", score))

  -- ---- picks: from a pool or a filtered list to an index; nil when it is empty ----------------------------------

  local pick = {}

  -- The fewest in flight for the weight, ties at random in proportion to the weight.
  local function least_loaded(pool)
    local best, lowest, tied = nil, huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local load = in_flight(p)
      if load <= lowest then
        local weight = p.weight > 0 and p.weight or 1
        tied = load < lowest and weight or tied + weight
        if load < lowest or random() * tied < weight then best = p.index end
        lowest = load
      end
    end
    return best
  end

  local scores, lowest_score, NAN = host.scores, host.lowest, 0 / 0

  -- A score may itself ask for a pick: that one then keeps off the scores.
  local is_scoring = false

  -- There is a place for each candidate; what only looks like a pool may be longer.
  local function has_scores_for(n) return scores and not is_scoring and n <= SCORES_MAX end

  local function fill_scores(pool, score_of, arg)
    is_scoring = true
    for i = 1, #pool do scores[i - 1] = score_of(pool[i], arg) or NAN end
    is_scoring = false
  end

  local function lowest_of(pool, score_of, arg)
    local best, least, ties = nil, huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local s = score_of(p, arg)
      if s then
        if s < least then
          best, least, ties = p.index, s, 1
        elseif s == least and best then
          ties = ties + 1
          if random() * ties < 1 then best = p.index end
        end
      end
    end
    return best
  end

  ---The lowest score(p, arg), ties at random; a nil, NaN or infinite score excludes. Default: lb.score.in_flight, with
  ---ties in proportion to the weight.
  function pick.least(pool, score_of, arg)
    if not score_of then
      -- A list has no key; what the host has is for the call's own candidates.
      if not native or not pool.key then return least_loaded(pool) end
      local best = native.least()
      return best > 0 and best or nil
    end
    if not is_callable(score_of) then refuse("lb.pick.least", "a function for the score", score_of) end
    local n = #pool
    if not has_scores_for(n) then return lowest_of(pool, score_of, arg) end
    fill_scores(pool, score_of, arg)
    local best = lowest_score(n)
    if best > 0 then return pool[best].index end
    return nil
  end

  ---The lowest tier that has room, and in it the fewest in flight for the weight, ties in proportion to the weight.
  ---The tier is tier(p, arg), default p.priority; nil and NaN are behind all tiers. Who has `full` requests per unit of
  ---weight in flight has no room: taken only when all are full, again the lowest tier first. Weight 0 comes last.
  function pick.tiered(pool, full, tier_of, arg)
    if type(full) ~= "number" then refuse("lb.pick.tiered", "the number in flight that makes a provider full", full) end
    if native and pool.key and (not tier_of or has_scores_for(#pool)) then
      if tier_of then fill_scores(pool, tier_of, arg) end
      local best = native.tiered(full, tier_of ~= nil)
      return best > 0 and best or nil
    end
    local best, best_rank, first, least, tied = nil, 3, huge, huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local load, weight = in_flight(p), p.weight
      local tier = p.priority
      if tier_of then tier = tier_of(p, arg) or huge end
      if tier ~= tier or tier == huge then tier = 1.7976931348623157e308 end
      local rank = weight <= 0 and 2 or load >= full and 1 or 0
      local is_better, is_same = rank < best_rank, false
      if rank == best_rank then
        is_better = tier < first or (tier == first and load < least)
        is_same = tier == first and load == least
      end
      if is_better or is_same then
        local share = weight > 0 and weight or 1
        tied = is_better and share or tied + share
        if is_better or random() * tied < share then best = p.index end
        best_rank, first, least = rank, tier, load
      end
    end
    return best
  end

  local wanted = { tokens_in = 0, tokens_out = 0 }
  local function price_of(p, tokens) return p.price_in * tokens.tokens_in + p.price_out * tokens.tokens_out end

  ---The provider with room for which the request is the cheapest (see pick.tiered); who has no price is the last. An
  ---answer without a limit is taken for `tokens` long, default 500.
  function pick.cheapest(pool, req, full, tokens)
    if req == nil then refuse("lb.pick.cheapest", "the request", req) end
    if type(full) ~= "number" then
      refuse("lb.pick.cheapest", "the number in flight that makes a provider full", full)
    end
    local tokens_in, tokens_out = req.est_input_tokens, req.max_tokens
    if tokens_out ~= tokens_out then tokens_out = tokens or 500 end
    if native and pool.key then
      local best = native.cheapest(tokens_in, tokens_out, full)
      return best > 0 and best or nil
    end
    wanted.tokens_in, wanted.tokens_out = tokens_in, tokens_out
    return pick.tiered(pool, full, price_of, wanted)
  end

  -- The place of one drawn in proportion to the weights, not that of `skipped`; `total` is the sum of the others.
  -- 0 when none of them has a weight.
  local function draw(pool, total, skipped)
    local left, drawn = random() * total, 0
    -- To the end in any case: loops of which one cannot tell how often they run do not compile well.
    for i = 1, #pool do
      local weight = pool[i].weight
      if left >= 0 and weight > 0 and i ~= skipped then
        left, drawn = left - weight, i
      end
    end
    return drawn
  end

  -- The sum of the weights, and whether they are all alike. The same key means the same candidates, so that the sums of
  -- the pool seen last are still those.
  local last_key, last_total, last_even = nil, 0, false

  local function weights_of(pool)
    local key = pool.key
    if key and key == last_key then return last_total, last_even end
    local first, total, is_even = pool[1].weight, 0, true
    for i = 1, #pool do
      local weight = pool[i].weight
      total = total + weight
      is_even = is_even and weight == first
    end
    last_key, last_total, last_even = key, total, is_even
    return total, is_even
  end

  local function better(pool, i, j, score_of, arg)
    local a, b = pool[i], pool[j]
    local first, second = score_of(a, arg) or NAN, score_of(b, arg) or NAN
    if second < first or first ~= first then return b.index end
    return a.index
  end

  ---The better of two drawn in proportion to the weights (Mitzenmacher 2001). Default score: lb.score.in_flight.
  function pick.p2c(pool, score_of, arg)
    if native and pool.key then
      if not score_of then
        local best = native.p2c()
        return best > 0 and best or nil
      end
      local both = native.draw_two()
      local i, j = band(both, 0xffff), rshift(both, 16)
      if j == 0 then return i > 0 and i or nil end
      if not native.better then return better(pool, i, j, score_of, arg) end
      return native.better(both, score_of(pool[i], arg) or NAN, score_of(pool[j], arg) or NAN)
    end
    local n = #pool
    if n < 2 then return n == 1 and pool[1].index or nil end
    local total, is_even = weights_of(pool)
    local i, j
    if is_even then
      i = floor(random() * n) + 1
      j = floor(random() * (n - 1)) + 1
      if j >= i then j = j + 1 end
    else
      i = draw(pool, total, 0)
      j = draw(pool, total - pool[i].weight, i)
      if j == 0 then return pool[i].index end
    end
    return better(pool, i, j, score_of or in_flight, arg)
  end

  ---At random in proportion to the weight.
  function pick.weighted(pool)
    if native and pool.key then
      local drawn = native.draw()
      return drawn > 0 and drawn or nil
    end
    local n = #pool
    if n == 0 then return nil end
    local total, is_even = weights_of(pool)
    return pool[is_even and floor(random() * n) + 1 or draw(pool, total, 0)].index
  end

  local own_current = {}

  ---Smooth weighted round robin (nginx): in proportion to the weight, interleaved. Each turn adds to the running value
  ---of each its weight, takes the highest, and subtracts the sum of the weights from that one. `current` is a table
  ---that a strategy keeps for it when it has more than one such round; default: one common to all calls.
  function pick.smooth(pool, current)
    if not current then
      if native and pool.key then
        local best = native.smooth()
        return best > 0 and best or nil
      end
      current = own_current
    end
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

  local seeds = {} -- id -> 32 bits that are its own, the same in every process

  ---The provider that the key belongs to: weighted rendezvous hashing (Thaler and Ravishankar 1998), among those with
  ---less than `factor` (default 1.25) times their fair share in flight (Mirrokni, Thorup and Zadimoghaddam 2018).
  ---Who joins or leaves moves only the keys that it gains or had.
  function pick.rendezvous(pool, key, factor)
    if type(key) ~= "number" then
      if type(key) ~= "string" then refuse("lb.pick.rendezvous", "a text or a number for the key", key) end
      key = hash(key, 0)
    end
    if native and pool.key then
      local best = native.rendezvous(key, factor or 1.25)
      return best > 0 and best or nil
    end
    local n = #pool
    if n == 0 then return nil end
    local total, is_even = weights_of(pool)
    local running = 0
    for i = 1, n do running = running + pool[i].in_flight end
    local plus = 0
    if total <= 0 then plus, total = 1, n end -- all of weight 0: they count alike
    local bound = (factor or 1.25) * (running + 1) * (1 / total)
    local from = abs(key) <= 2 ^ 53 and tobit(floor(key) % 2 ^ 32) or 0
    local best, highest = 0, -huge
    for i = 1, n do
      local p = pool[i]
      local weight = p.weight + plus
      if weight > 0 and p.in_flight < bound * weight then
        local seed = seeds[p.id]
        if not seed then
          seed = tobit(hash(p.id, 0) % 2 ^ 32)
          seeds[p.id] = seed
        end
        local u = (mix(bxor(from, seed)) % 2 ^ 32 + 0.5) * 2 ^ -32
        if not is_even then u = log(u) / weight end
        if u > highest then best, highest = p.index, u end
      end
    end
    if best == 0 then return pick.least(pool) end
    return best
  end

  lb.pick = readonly("lb.pick", closed("lb.pick", pick))

  -- ---- filters: from a pool or list to a new list of providers (one table per call) -----------------------------

  local filter = {}

  ---Those for which keep(p, arg) is true.
  function filter.where(pool, keep, arg)
    if not is_callable(keep) then refuse("lb.filter.where", "a function", keep) end
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
    if type(name) ~= "string" then refuse("lb.filter.tag", "the name of a tag", name) end
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

  ---Those that are up: not degraded, not down.
  function filter.healthy(pool)
    local out, n = {}, 0
    for i = 1, #pool do
      local p = pool[i]
      if p.state == "up" then
        n = n + 1
        out[n] = p
      end
    end
    return out
  end

  ---Those with fewer than `max` requests in flight per unit of weight.
  function filter.below(pool, max)
    if type(max) ~= "number" then refuse("lb.filter.below", "a number", max) end
    local out, n = {}, 0
    for i = 1, #pool do
      local p = pool[i]
      if in_flight(p) < max then
        n = n + 1
        out[n] = p
      end
    end
    return out
  end

  ---Those that do not refuse for their rate limits: less than `rate` (default 0.1) of their attempts lately, and no
  ---word of theirs that nothing is left.
  function filter.not_throttled(pool, rate)
    rate = rate or 0.1
    local out, n = {}, 0
    for i = 1, #pool do
      local p = pool[i]
      if p.throttle_rate < rate and not (p.rl_requests_left < 1 or p.rl_tokens_left < 1) then
        n = n + 1
        out[n] = p
      end
    end
    return out
  end

  ---Those that share the lowest score(p, arg).
  function filter.lowest(pool, score_of, arg)
    if not is_callable(score_of) then refuse("lb.filter.lowest", "a function for the score", score_of) end
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

  return readonly("lb", closed("lb", lb)), function() is_scoring = false end
end

return { new = new, CLASSES = CLASSES }
