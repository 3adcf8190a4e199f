--[[
A strategy from scratch. A chat counts as one request however long it is; but a prompt of 50,000 tokens keeps a provider
busy for longer than ten short ones. So this strategy counts tokens: each request goes where the fewest estimated input
tokens are being worked on, for the weight.

The engine counts requests in flight, not tokens. `select` must not count them either: it may be called for a preview,
and what it chooses may fail before anything is sent. So tokens in flight are estimated, as requests in flight times the
size of a usual request at that provider; `observe` learns that size from each answer. Each worker learns for itself.
]]

-- How far the usual size moves towards that of the latest request.
local ALPHA = 0.05

local function load_of(p, state)
  local weight = p.weight > 0 and p.weight or 1e-6
  return (p.in_flight * (state.usual[p.slot] or state.start) + state.tokens) / weight
end

return {
  abi = 1,
  name = "fewest-tokens",

  options = {
    -- Tokens of a request before anything was measured.
    start = { default = 500, min = 1 },
  },

  init = function(_, options)
    return { start = options.start, usual = {}, tokens = 0 }
  end,

  ---@param req lb.Request
  ---@param pool lb.Pool
  select = function(state, req, pool)
    state.tokens = req.est_input_tokens
    return lb.pick.least(pool, load_of, state)
  end,

  ---@param req lb.Request
  ---@param provider lb.Provider
  ---@param outcome lb.Outcome
  observe = function(state, req, provider, outcome)
    if outcome.class ~= lb.class.ok then return end
    local tokens = outcome.tokens_in
    if tokens ~= tokens then tokens = req.est_input_tokens end -- NaN: the provider did not tell
    local slot = provider.slot
    local usual = state.usual[slot] or state.start
    state.usual[slot] = usual + ALPHA * (tokens - usual)
  end,
}
