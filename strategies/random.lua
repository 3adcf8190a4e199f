--[[
random: by chance, in proportion to the weights.

No state and no agreement between workers, and still an even share over many requests (HAProxy's `balance random`).
Over few requests the shares are uneven: when 300 requests go to three providers, one of them gets 120 or more in one
case of forty; round-robin gives each 100. For even load rather than even shares, see p2c.
]]

local weighted = lb.pick.weighted

return {
  abi = 1,
  name = "random",

  ---@param pool lb.Pool
  select = function(_, _, pool)
    return weighted(pool)
  end,
}
