-- least-connections: run from the repository's root with `luajit tests/lua/least-connections_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local PATH = "strategies/least-connections.lua"

local function start(list)
  local engine = stub.new({ seed = 3 })
  local pool = engine:pool(list)
  local strategy, req = engine:load(PATH, pool), engine:request()
  return function() return strategy:select(req, pool) end, pool
end

test("the fewest in flight for the weight", function()
  local select, pool = start({ { in_flight = 4 }, { in_flight = 6, weight = 2 }, { in_flight = 5 } })
  equal(select(), 2)
  pool[1].in_flight = 2
  equal(select(), 1)
end)

test("ties are broken by the weights", function()
  local select = start({ { weight = 1 }, { weight = 2 }, { weight = 1 } })
  local seen = { 0, 0, 0 }
  for _ = 1, 8000 do
    local i = select()
    seen[i] = seen[i] + 1
  end
  near(seen[1], 2000, 200)
  near(seen[2], 4000, 200)
  near(seen[3], 2000, 200)
end)

test("requests that stay spread by weight", function()
  local select, pool = start({ { weight = 1 }, { weight = 3 } })
  for _ = 1, 400 do
    local p = pool[select()]
    p.in_flight = p.in_flight + 1
  end
  near(pool[1].in_flight, 100, 1)
  near(pool[2].in_flight, 300, 1)
end)

test("weight 0 only when nobody else is there", function()
  local select = start({ { weight = 0 }, { in_flight = 1000 } })
  equal(select(), 2)
  local zeros = start({ { weight = 0, in_flight = 2 }, { weight = 0, in_flight = 1 } })
  equal(zeros(), 2)
end)

test("all of weight 0: ties at random", function()
  local select = start({ { weight = 0 }, { weight = 0 } })
  local seen = { 0, 0 }
  for _ = 1, 1000 do
    local i = select()
    seen[i] = seen[i] + 1
  end
  near(seen[1], 500, 80)
end)

stub.tap.finish()
