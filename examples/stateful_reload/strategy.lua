--[[
State that outlives a reload. This strategy learns by trial which provider is best for which model: an epsilon-greedy
bandit with the time per answer as its cost. What it has learnt took traffic to find out, so a new version of this file
should not start from nothing: `export` hands the table over, and `init` of the new version gets it as `previous`.

Two rules make that safe. Data is exported under provider ids, since slots may mean somebody else after the reload. And
`init` takes only what it understands, because `previous` may come from an older version of this file, or from another
strategy altogether.

Each worker learns by itself, and hands what it knows to its own successor.
]]

local VERSION = 1

-- The average cost of a provider for a model, by "model\nid".
local function key_of(model, id) return model .. "\n" .. id end

-- Models are the clients' words: a bound keeps them from filling the memory.
local KEYS_MAX = 2000

local function take_over(state, previous)
  if type(previous) ~= "table" or previous.version ~= VERSION or type(previous.costs) ~= "table" then return end
  for key, cost in pairs(previous.costs) do
    if type(key) == "string" and type(cost) == "number" and state.n < KEYS_MAX then
      state.costs[key] = cost
      state.n = state.n + 1
    end
  end
end

local function cost_of(p, state)
  return state.costs[key_of(state.model, p.id)] or 0 -- unknown: try it
end

return {
  abi = 1,
  name = "bandit",

  options = {
    explore = { default = 0.05, min = 0, max = 1 },
    alpha = { default = 0.2, min = 0.01, max = 1 },
  },

  init = function(_, options, previous)
    local state = { explore = options.explore, alpha = options.alpha, costs = {}, n = 0, model = "" }
    take_over(state, previous)
    if state.n > 0 then lb.log("info", ("bandit: took over %d averages"):format(state.n)) end
    return state
  end,

  ---@param req lb.Request
  ---@param pool lb.Pool
  select = function(state, req, pool)
    if req:rand() < state.explore then return lb.pick.weighted(pool) end
    state.model = req.model
    return lb.pick.least(pool, cost_of, state)
  end,

  ---@param req lb.Request
  ---@param provider lb.Provider
  ---@param outcome lb.Outcome
  observe = function(state, req, provider, outcome)
    if outcome.class == lb.class.client_closed then return end
    local cost = outcome.class == lb.class.ok and outcome.total_ms or 60000
    local key = key_of(req.model, provider.id)
    local before = state.costs[key]
    if not before then
      if state.n >= KEYS_MAX then return end
      state.n = state.n + 1
      before = cost
    end
    state.costs[key] = before + state.alpha * (cost - before)
  end,

  export = function(state)
    return { version = VERSION, costs = state.costs }
  end,
}
