--[[
cheapest: the lowest expected price of the request; the fewest in flight among equals.

The cost-based routing of OpenRouter and LiteLLM: price of the input x estimated input tokens, plus price of the output
x the tokens that the answer may have. That is `max_tokens` when the request sets it, else `expectedTokens`. A long
prompt and a long answer may so go to different providers.

Prices come from the chain. For a provider without one, or in place of it, the option `prices` names them by id:
{ own = { 0, 0 }, hosted = { 2.5, 10 } }, input and output, all in one unit. Who has no price at all comes last, as
does weight 0. A provider with `maxInFlight` requests per unit of weight in flight is full: then the next cheapest has
its turn, and when all are full the cheapest again.
]]

local tiered, cheapest = lb.pick.tiered, lb.pick.cheapest

-- Prices by slot, those of the options first. Unknown is NaN.
local function read_prices(state, pool)
  for i = 1, #pool do
    local p = pool[i]
    local own = state.own[p.id]
    state.price_in[p.slot] = own and own[1] or p.price_in
    state.price_out[p.slot] = own and own[2] or p.price_out
  end
end

---@param p lb.Provider
local function cost(p, state)
  local slot = p.slot
  return state.price_in[slot] * state.tokens_in + state.price_out[slot] * state.tokens_out
end

local function check_prices(prices, pool)
  local known = {}
  for i = 1, #pool do known[pool[i].id] = true end
  for id, price in pairs(prices) do
    if type(price) ~= "table" or type(price[1]) ~= "number" or type(price[2]) ~= "number" then
      error(("prices: %s needs two numbers, { input, output }"):format(tostring(id)), 0)
    end
    if not known[id] then lb.log("warn", ("prices: there is no provider %s"):format(tostring(id))) end
  end
end

return {
  abi = 1,
  name = "cheapest",

  options = {
    expectedTokens = { default = 500, min = 0 },
    maxInFlight = { default = 256, min = 1 },
    prices = { default = {} },
  },

  ---@param pool lb.Pool
  init = function(pool, options)
    check_prices(options.prices, pool)
    local state = {
      own = next(options.prices) and options.prices, price_in = {}, price_out = {},
      full = options.maxInFlight, tokens = options.expectedTokens, tokens_in = 0, tokens_out = 0,
    }
    if state.own then read_prices(state, pool) end
    return state
  end,

  ---@param req lb.Request
  ---@param pool lb.Pool
  select = function(state, req, pool)
    if not state.own then return cheapest(pool, req, state.full, state.tokens) end
    local tokens_out = req.max_tokens
    state.tokens_in = req.est_input_tokens
    state.tokens_out = tokens_out == tokens_out and tokens_out or state.tokens
    return tiered(pool, state.full, cost, state)
  end,
}
