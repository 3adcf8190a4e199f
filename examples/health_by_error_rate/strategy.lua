--[[
Health by error rate, with hysteresis. The engine takes a provider out after some failures in a row, which a provider
that fails every third request never has. This one looks at the share of failures instead, as Envoy's outlier detection
by success rate does:

  * up, while the moving error rate stays below `degradeAt`;
  * degraded above it: it is still asked, but only when no provider is up;
  * down above `downAt`, or when a health check fails twice running;
  * back up after `passes` health checks in a row: a provider that gets no requests cannot recover by its error rate.

The gap between the ways in and out keeps it from flapping. Nothing is judged by fewer than `least` attempts.
]]

return {
  abi = 1,
  name = "health-by-error-rate",

  options = {
    degradeAt = { default = 0.1, min = 0, max = 1 },
    downAt = { default = 0.5, min = 0, max = 1 },
    least = { default = 10, min = 1 },
    passes = { default = 2, min = 1 },
  },

  init = function(_, options)
    return { options = options, passed = {}, failed = {} }
  end,

  ---@param pool lb.Pool
  select = function(_, _, pool)
    local up = lb.filter.healthy(pool)
    return lb.pick.least(#up > 0 and up or pool)
  end,

  ---@param provider lb.Provider
  ---@param evidence lb.Evidence
  health = function(state, provider, evidence)
    local options, slot = state.options, provider.slot
    if evidence.is_probe then
      state.passed[slot] = evidence.ok and (state.passed[slot] or 0) + 1 or 0
      state.failed[slot] = evidence.ok and 0 or (state.failed[slot] or 0) + 1
      if state.failed[slot] >= 2 then return lb.DOWN, evidence.reason or "two health checks failed" end
      if provider.state ~= "up" and state.passed[slot] >= options.passes then return lb.UP end
      return nil
    end
    state.passed[slot] = 0
    if provider.dispatched < options.least then return nil end
    local rate = provider.error_rate
    if rate >= options.downAt then return lb.DOWN, ("error rate %.2f"):format(rate) end
    if rate >= options.degradeAt and provider.state == "up" then
      return lb.DEGRADED, ("error rate %.2f"):format(rate)
    end
    return nil
  end,
}
