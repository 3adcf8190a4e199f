--[[
round-robin: each provider in turn.

The oldest way to share work (time-sharing systems handed out the processor like this in the 1960s): no weights, no
measurements, nothing to get wrong. Right when providers are alike and requests cost about the same.

All workers take their turns from one counter, so that the turns go round exactly however the connections are spread
over the workers. Requests that may go to different providers (another model, a retry without those tried) have a
turn of their own: with a common one, two kinds of request in strict alternation would each meet the same provider
for ever.
]]

local turn = lb.turn

return {
  abi = 1,
  name = "round-robin",

  ---@param pool lb.Pool
  select = function(_, _, pool)
    if #pool == 0 then return nil end
    return (turn(pool) - 1) % #pool + 1
  end,
}
