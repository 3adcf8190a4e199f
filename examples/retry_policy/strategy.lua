--[[
A retry policy that believes Retry-After. By default a provider that says 429 is paused and the next one is asked at
once, which is right while there is a next one. This policy also handles the end of the list:

  * others are left: go on to the next at once;
  * nobody is left, and the provider named a short time: wait that long, and ask the same one again;
  * overload (503, 529, 408): back off, doubling, with some chance in it, so that callers do not return all together;
  * a broken connection before anything was sent: the same provider once more, since a keep-alive connection that was
    just closed says nothing about health;
  * everything else: as the engine does.

It never waits longer than `maxWait`, nor longer than half of what is left until the deadline: an answer that comes too
late is a failure as well. The engine's own limits (maxRetries, the retry budget, one provider at a time) hold in any
case.
]]

local class = lb.class

-- Waits at most half of the time that is left; what does not fit is for the engine to decide.
local function wait(verdict, req, delay_ms, longest)
  if delay_ms > longest or delay_ms > req.deadline_ms / 2 then return lb.DEFAULT end
  return verdict, delay_ms
end

return {
  abi = 1,
  name = "retry-policy",

  options = {
    base = { default = 200, min = 1 }, -- ms, first back-off
    maxWait = { default = 10000, min = 0 }, -- ms
  },

  ---@param pool lb.Pool
  init = function(pool, options)
    return { base = options.base, longest = options.maxWait, n = #pool }
  end,

  ---@param pool lb.Pool
  select = function(state, _, pool)
    state.left = #pool -- candidates of this worker's latest choice, for retry
    return lb.pick.least(pool)
  end,

  ---@param req lb.Request
  ---@param outcome lb.Outcome
  retry = function(state, req, outcome)
    local is_last = (state.left or 1) <= 1
    if outcome.class == class.rate_limited then
      if not is_last then return lb.NEXT end
      if outcome.retry_after_ms <= 0 then return lb.DEFAULT end
      return wait(lb.SAME, req, outcome.retry_after_ms, state.longest)
    elseif outcome.class == class.overloaded then
      local delay = math.max(state.base * 2 ^ (req.attempt - 1) * (0.5 + req:rand()), outcome.retry_after_ms)
      return wait(is_last and lb.SAME or lb.NEXT, req, delay, state.longest)
    elseif outcome.class == class.connect and req.attempt == 1 then
      return lb.SAME
    end
    return lb.DEFAULT
  end,
}
