--[[
least-connections: the provider with the fewest requests in flight for its weight; ties at random, in proportion to
the weight.

Known as leastconn in HAProxy, least_conn in nginx, leastOutstanding in dnsdist. It follows the load without measuring
times: a slow provider keeps its requests longer, and so gets fewer new ones. The counts are those of the whole
process, exact over all workers.

A provider of weight 2 takes twice as many at once as one of weight 1; weight 0 takes requests only when nobody else
may.
]]

local huge, random = math.huge, lb.random
local load_of = lb.score.in_flight -- in flight / weight

local function weight_of(p)
  return p.weight > 0 and p.weight or 1
end

return {
  abi = 1,
  name = "least-connections",

  ---@param pool lb.Pool
  select = function(_, _, pool)
    local best, lowest, tied = 0, huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local load = load_of(p)
      if load < lowest then
        best, lowest, tied = i, load, weight_of(p)
      elseif load == lowest then
        -- The newcomer replaces the best of those before it with a chance of its share of their weight.
        tied = tied + weight_of(p)
        if random() * tied < weight_of(p) then best = i end
      end
    end
    return best > 0 and best or nil
  end,
}
