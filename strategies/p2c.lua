--[[
p2c: the less loaded of two providers drawn at random ("the power of two choices").

Michael Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001: the second draw takes the longest
queue from about log n to log log n, and unlike "the least loaded of all" it does not send everybody to the same place
when what is known about load is a little old. Only two providers are looked at closely, however many there are.

Providers are drawn in proportion to their weights, and load is what is in flight divided by the weight; so shares
follow the weights under light load as well as under heavy. Weight 0 is drawn only when nobody else is there.
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
