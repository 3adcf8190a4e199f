--[[
p2c: the less loaded of two providers drawn at random ("the power of two choices").

Michael Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001: the second draw takes the longest
queue from about log n to log log n, and unlike "the least loaded of all" it does not send everybody to the same place
when what is known about load is a little old. Nearly as even as least-connections, at a cost that does not
grow with the number of providers.
]]

local p2c = lb.pick.p2c

return {
  abi = 1,
  name = "p2c",

  ---@param pool lb.Pool
  select = function(_, _, pool)
    return p2c(pool) -- by in-flight requests divided by weight
  end,
}
