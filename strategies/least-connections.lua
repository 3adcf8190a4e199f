--[[
least-connections: the provider with the fewest requests in flight for its weight; ties at random, in proportion to
the weight.

Known as leastconn in HAProxy, least_conn in nginx, leastOutstanding in dnsdist. It follows the load without measuring
times: a slow provider keeps its requests longer, and so gets fewer new ones. The counts are those of the whole
process, exact over all workers.

A provider of weight 2 takes twice as many at once as one of weight 1; weight 0 takes requests only when nobody else
may.

The search is lb.pick.least, written in Lua in scripts/runtime/lb.lua: keep the lowest load seen; among equals the k-th
takes the place of those before it with the chance of its weight in the sum of theirs. The program carries the same in
C, since this is the strategy that the others fall back on.
]]

local least = lb.pick.least -- by in flight / weight

return {
  abi = 1,
  name = "least-connections",

  ---@param pool lb.Pool
  select = function(_, _, pool)
    return least(pool)
  end,
}
