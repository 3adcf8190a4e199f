--[[
priority: the preferred providers first, the next tier when they are full.

A provider's `priority` names its tier, lower is preferred. Within a tier the fewest requests in flight for the weight
win. A provider that has `maxInFlight` requests per unit of weight in flight is full; when all of a tier are, requests
overflow to the next one, and come back as soon as there is room. When everybody is full, the least loaded of the most
preferred tier takes it: refusing is not this strategy's to decide.

Tiers with overflow are Envoy's priority levels; there they spill by health, here by load.
]]

local tiered = lb.pick.tiered

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
    return tiered(pool, state.full)
  end,
}
