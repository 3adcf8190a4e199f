--[[
peak-ewma: of two providers at random, the one with the lower product of recent times to the first byte and load.

Finagle's "Peak EWMA" (Twitter, 2015), with the power of two choices. The average follows a slow answer upwards at once
and forgets it over ten seconds: a provider that begins to stall loses traffic with its first late answer, long before
it fails. Multiplied by what it would have in flight with one more, it estimates how long a request would wait there.

Two additions keep newcomers and the shunned in the picture. A provider that was never measured counts as fast as its
peers (Kong does this; here: the mean of those drawn lately), so that nobody storms it and nobody avoids it. A provider
that got no answers for a while is forgiven as time passes, as in Finagle, where reading the average decays it; `tick`
does it here, once a second. Times are divided by the weight; draws are in proportion to it.
]]

local p2c = lb.pick.p2c
local now_ms = lb.now_ms

local TAU_MS = 10000 -- as in the engine's own average
local LEAST_MS = 0.01 -- below that, times tell nothing

local function cost(p, state)
  local peak = p.peak_ttft_ms
  if peak == peak then
    peak = peak * state.faded[p.slot]
    if peak < LEAST_MS then peak = LEAST_MS end
    state.mean = state.mean and state.mean + (peak - state.mean) / 8 or peak
  else
    peak = state.mean or 1
  end
  local weight = p.weight
  return (p.in_flight + 1) * peak / (weight > 0 and weight or 1)
end

return {
  abi = 1,
  name = "peak-ewma",

  ---@param pool lb.Pool
  init = function(pool)
    local state = { mean = false, faded = {}, samples = {}, at_ms = now_ms() }
    for i = 1, #pool do
      local p = pool[i]
      state.faded[p.slot], state.samples[p.slot] = 1, p.samples
    end
    return state
  end,

  ---@param pool lb.Pool
  select = function(state, _, pool)
    return p2c(pool, cost, state)
  end,

  ---@param pool lb.Pool
  tick = function(state, pool)
    local now = now_ms()
    local keep = math.exp((state.at_ms - now) / TAU_MS)
    state.at_ms = now
    for i = 1, #pool do
      local p = pool[i]
      local slot, samples = p.slot, p.samples
      if samples ~= state.samples[slot] then
        state.samples[slot], state.faded[slot] = samples, 1
      else
        state.faded[slot] = state.faded[slot] * keep
      end
    end
  end,
}
