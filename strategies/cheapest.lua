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

local random = lb.random
local load_of = lb.score.in_flight
local huge = math.huge

-- Prices by slot; those of the options stay, those of the chain are read anew. Unknown is NaN.
local function read_prices(state, pool)
  for i = 1, #pool do
    local p = pool[i]
    local own = state.own[p.id]
    state.price_in[p.slot] = own and own[1] or p.price_in
    state.price_out[p.slot] = own and own[2] or p.price_out
  end
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
      own = options.prices, price_in = {}, price_out = {}, full = options.maxInFlight, tokens = options.expectedTokens,
    }
    read_prices(state, pool)
    return state
  end,

  ---@param req lb.Request
  ---@param pool lb.Pool
  select = function(state, req, pool)
    local tokens_in, tokens_out = req.est_input_tokens, req.max_tokens
    if tokens_out ~= tokens_out then tokens_out = state.tokens end
    local best, best_rank, best_cost, lowest, ties = 0, 3, 0, 0, 0
    for i = 1, #pool do
      local p = pool[i]
      local load, slot = load_of(p), p.slot
      local cost = state.price_in[slot] * tokens_in + state.price_out[slot] * tokens_out
      if cost ~= cost then cost = huge end
      local rank = p.weight <= 0 and 2 or load >= state.full and 1 or 0
      local is_better, is_equal = rank < best_rank, false
      if rank == best_rank then
        is_better = cost < best_cost or (cost == best_cost and load < lowest)
        is_equal = cost == best_cost and load == lowest
      end
      if is_better then
        best, best_rank, best_cost, lowest, ties = i, rank, cost, load, 1
      elseif is_equal then
        ties = ties + 1
        if random() * ties < 1 then best = i end
      end
    end
    return best > 0 and best or nil
  end,

  tick = read_prices,
}
