--[[
Prequal: balance by estimated latency, unless a provider is hot.

Wydrowski, Kleinberg, Rumble and Archer, "Load is not what you should balance: Introducing Prequal" (NSDI 2024). Their
clients keep a small pool of recent probe answers; each holds a server's requests in flight (RIF) and a latency
estimate. A server whose RIF lies above a quantile of what was seen is "hot". The choice is the lowest latency among the
cold, and the lowest RIF when all are hot ("hot-cold lexicographic rule").

What differs here. LLM providers answer no probes, so RIF is what this process has in flight there, and the latency is
that of our own requests: the time to the first byte, expected to grow with what is in flight. The pool becomes two
candidates drawn at random, plus the best of the draws before: `reuse` times at most and for `maxAge`, as the paper
reuses and ages out probes. A provider that fails fast looks quick; errors therefore multiply its latency.
]]

local huge = math.huge
local in_flight = lb.score.in_flight

local function latency_of(p)
  if p.samples == 0 then return 0 end -- never measured: worth a try
  return p.ttft_ms * (1 + p.in_flight) * (1 + 20 * p.error_rate)
end

-- The RIF at the quantile among the candidates.
local function hot_limit(state, pool)
  local seen = state.seen
  for i = 1, #pool do seen[i] = in_flight(pool[i]) end
  for i = #pool + 1, #seen do seen[i] = nil end
  table.sort(seen)
  return seen[math.max(1, math.ceil(state.quantile * #pool))]
end

-- Whether a goes before b.
local function is_better(a, b, limit)
  local load_a, load_b = in_flight(a), in_flight(b)
  local is_hot_a, is_hot_b = load_a > limit, load_b > limit
  if is_hot_a ~= is_hot_b then return is_hot_b end
  if is_hot_a then return load_a < load_b end
  return latency_of(a) < latency_of(b)
end

local function kept(state, pool)
  if state.uses_left <= 0 or lb.now_ms() > state.until_ms then return nil end
  for i = 1, #pool do
    if pool[i].slot == state.best_slot then return pool[i] end
  end
end

return {
  abi = 1,
  name = "prequal",

  options = {
    quantile = { default = 0.84, min = 0, max = 1 }, -- the paper's 2^(-1/4)
    draws = { default = 2, min = 1, max = 16 },
    reuse = { default = 2, min = 0 },
    maxAge = { default = 1000, min = 0 }, -- ms
  },

  init = function(_, options)
    return {
      quantile = options.quantile, draws = options.draws, reuse = options.reuse, max_age = options.maxAge,
      seen = {}, best_slot = 0, uses_left = 0, until_ms = -huge,
    }
  end,

  ---@param pool lb.Pool
  select = function(state, _, pool)
    if #pool == 0 then return nil end
    local limit = hot_limit(state, pool)
    local best = kept(state, pool)
    state.uses_left = state.uses_left - 1
    for _ = 1, state.draws do
      local p = pool[lb.random(#pool)]
      if p.weight > 0 and (not best or is_better(p, best, limit)) then best = p end
    end
    if not best then return lb.pick.least(pool) end
    if best.slot ~= state.best_slot or state.uses_left <= 0 then
      state.best_slot, state.uses_left, state.until_ms = best.slot, state.reuse, lb.now_ms() + state.max_age
    end
    return best.index
  end,
}
