--[[
weighted-round-robin: in proportion to the weights, evenly interleaved: weights 5, 1, 1 give a a b a c a a, never
a a a a a b c.

The smooth algorithm of nginx (upstream round robin, 2012). Each candidate has a running value, 0 at first. A turn adds
to each its weight, takes the highest, and subtracts the sum of the weights from it: over time each is taken as
often as its weight says, and the values never leave the range of plus or minus that sum.

Weights are real numbers; weight 0 takes requests only when nobody else may. The values belong to providers, not to
places in the pool, so candidates may come and go. Each worker keeps its own; proportions hold in each, so they hold
in all.

The turn is lb.pick.smooth, written in Lua in scripts/runtime/lb.lua; the program carries the same in C.
]]

local smooth = lb.pick.smooth

return {
  abi = 1,
  name = "weighted-round-robin",

  ---@param pool lb.Pool
  select = function(_, _, pool)
    return smooth(pool)
  end,
}
