--[[
weighted-round-robin: in proportion to the weights, evenly interleaved: weights 5, 1, 1 give a a b a c a a, never
a a a a a b c.

The smooth algorithm of nginx (upstream round robin, 2012). Each candidate has a running value, 0 at first. A turn adds
to each its weight, takes the highest, and subtracts the sum of the weights from it: over time each is taken as
often as its weight says, and the values never leave the range of plus or minus that sum.

Weights are real numbers; weight 0 takes requests only when nobody else may. The values belong to providers, not to
places in the pool, so candidates may come and go. Each worker keeps its own; proportions hold in each, so they hold
in all.
]]

local least = lb.pick.least

return {
  abi = 1,
  name = "weighted-round-robin",

  ---@param pool lb.Pool
  init = function(pool)
    local current = {}
    for i = 1, #pool do current[pool[i].slot] = 0 end
    return current
  end,

  ---@param current table<integer, number>
  ---@param pool lb.Pool
  select = function(current, _, pool)
    local best, best_slot, highest, total = 0, 0, 0, 0
    for i = 1, #pool do
      local p = pool[i]
      local weight, slot = p.weight, p.slot
      if weight > 0 then
        local value = current[slot] + weight
        current[slot] = value
        total = total + weight
        if best == 0 or value > highest then
          best, best_slot, highest = i, slot, value
        end
      end
    end
    if best == 0 then return least(pool) end
    current[best_slot] = highest - total
    return best
  end,
}
