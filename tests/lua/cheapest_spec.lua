-- cheapest: run from the repository's root with `luajit tests/lua/cheapest_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local NAN = 0 / 0

local function start(list, options)
  local engine = stub.new({ seed = 17 })
  local pool = engine:pool(list)
  local strategy = engine:load("strategies/cheapest.lua", pool, options)
  local function select(request, among) return strategy:select(engine:request(request), among or pool) end
  return select, pool, strategy, engine
end

test("the lowest expected price wins, whatever the load", function()
  local select = start({ { price_in = 2, price_out = 4 }, { price_in = 1, price_out = 3, in_flight = 50 } })
  equal(select(), 2)
end)

test("it depends on the lengths of prompt and answer", function()
  local select = start({ { price_in = 1, price_out = 10 }, { price_in = 5, price_out = 5 } })
  equal(select({ est_input_tokens = 10000, max_tokens = 10 }), 1)
  equal(select({ est_input_tokens = 10, max_tokens = 4000 }), 2)
end)

test("without max_tokens expectedTokens count", function()
  local list = { { price_in = 1, price_out = 10 }, { price_in = 5, price_out = 5 } }
  equal(start(list, { expectedTokens = 1 })({ est_input_tokens = 100, max_tokens = NAN }), 1)
  equal(start(list, { expectedTokens = 1000 })({ est_input_tokens = 100, max_tokens = NAN }), 2)
end)

test("no price comes last, half a price too", function()
  local select, pool, _, engine = start({ {}, { price_in = 1 }, { price_in = 1e9, price_out = 1e9, in_flight = 9 } })
  equal(select(), 3)
  pool[1].in_flight = 1
  equal(select({}, engine:among({ pool[1], pool[2] })), 2)
end)

test("equal prices: the fewest in flight, then at random", function()
  local same = { price_in = 1, price_out = 1 }
  local select, pool = start({ same, same, { price_in = 2, price_out = 2 } })
  local seen = { 0, 0, 0 }
  for _ = 1, 2000 do
    local i = select()
    seen[i] = seen[i] + 1
  end
  near(seen[1], 1000, 120)
  equal(seen[3], 0)
  pool[1].in_flight = 1
  equal(select(), 2)
end)

test("the option prices names them by id, and goes before the chain", function()
  local list = { { id = "a", price_in = 1, price_out = 1 }, { id = "b" }, { id = "c", price_in = 0, price_out = 0 } }
  local select = start(list, { prices = { b = { 0.1, 0.2 }, c = { 5, 5 } } })
  equal(select(), 2)
end)

test("a bad price is refused, an unknown id only logged", function()
  assert(not pcall(start, { { id = "a" } }, { prices = { a = 3 } }))
  local _, _, _, engine = start({ { id = "a" } }, { prices = { x = { 1, 1 } } })
  assert(engine.lines[1].text:find("no provider x", 1, true))
end)

test("who is full lets the next have a turn", function()
  local list = { { price_in = 1, price_out = 1, in_flight = 4, weight = 2 }, { price_in = 2, price_out = 2 } }
  local select, pool = start(list, { maxInFlight = 2 })
  equal(select(), 2)
  pool[2].in_flight = 2
  equal(select(), 1)
end)

test("prices of the chain are read again every second", function()
  local select, pool, strategy = start({ { price_in = 1, price_out = 1 }, { price_in = 2, price_out = 2 } })
  equal(select(), 1)
  pool[1].price_in = 9
  strategy:tick(pool)
  equal(select(), 2)
end)

test("none, and weight 0 last", function()
  local select, _, _, engine = start({ { weight = 0, price_in = 0, price_out = 0 }, {} })
  equal(select(), 2)
  equal(select({}, engine:among({})), nil)
end)

stub.tap.finish()
