--[[
least-connections: the provider with the fewest requests in flight for its weight; ties at random, in proportion to
the weight.

Known as leastconn in HAProxy, least_conn in nginx, leastOutstanding in dnsdist. It follows the load without measuring
times: a slow provider keeps its requests longer, and so gets fewer new ones. The counts are those of the whole
process, exact over all workers.

A provider of weight 2 takes twice as many at once as one of weight 1; weight 0 takes requests only when nobody else
may.
]]

return {
  abi = 1,
  name = "least-connections",

  select = function(_, _, pool)
    local best, lowest, tied = nil, math.huge, 0
    for i = 1, #pool do
      local p = pool[i]
      local weight = p.weight
      local load = lb.score.in_flight(p)
      if weight <= 0 then weight = 1 end
      if load < lowest then
        best, lowest, tied = i, load, weight
      elseif load == lowest then
        tied = tied + weight
        if lb.random() * tied < weight then best = i end
      end
    end
    return best
  end,
}
