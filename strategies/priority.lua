--[[
priority: the preferred providers first, the next tier when they are full.

A provider's `priority` names its tier, lower is preferred. Within a tier the fewest requests in flight for the weight
win. A provider that has `maxInFlight` requests per unit of weight in flight is full; when all of a tier are, requests
overflow to the next one, and come back as soon as there is room. When everybody is full, the least loaded of the most
preferred tier takes it: refusing is not this strategy's to decide.

Tiers with overflow are Envoy's priority levels; there they spill by health, here by load.
]]

local huge, random = math.huge, lb.random
local load_of = lb.score.in_flight

return {
  abi = 1,
  name = "priority",

  options = {
    maxInFlight = { default = 32, min = 1, type = "number" },
  },

  init = function(_, options)
    return { full = options.maxInFlight }
  end,

  ---@param pool lb.Pool
  select = function(state, _, pool)
    local full = state.full
    local best, best_is_full, best_tier, lowest, ties = 0, true, huge, 0, 0
    for i = 1, #pool do
      local p = pool[i]
      local load, tier = load_of(p), p.priority
      local is_full = load >= full
      local is_better
      local is_equal = false
      if is_full ~= best_is_full then
        is_better = best_is_full
      elseif tier ~= best_tier then
        is_better = tier < best_tier
      else
        is_better, is_equal = load < lowest, load == lowest
      end
      if is_better then
        best, best_is_full, best_tier, lowest, ties = i, is_full, tier, load, 1
      elseif is_equal then
        ties = ties + 1
        if random() * ties < 1 then best = i end
      end
    end
    return best > 0 and best or nil
  end,
}
