-- p2c: run from the repository's root with `luajit tests/lua/p2c_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local function start(list)
  local engine = stub.new({ seed = 7 })
  local pool = engine:pool(list)
  local strategy, req = engine:load("strategies/p2c.lua", pool), engine:request()
  return function() return strategy:select(req, pool) end, pool
end

test("the most loaded is never taken", function()
  local select = start({ {}, { in_flight = 9 }, {} })
  local seen = { 0, 0, 0 }
  for _ = 1, 3000 do
    local i = select()
    seen[i] = seen[i] + 1
  end
  equal(seen[2], 0)
  near(seen[1], 1500, 150)
end)

test("loads stay close together", function()
  local list = {}
  for i = 1, 10 do list[i] = {} end
  local select, pool = start(list)
  for _ = 1, 10000 do
    local p = pool[select()]
    p.in_flight = p.in_flight + 1
  end
  for i = 1, 10 do near(pool[i].in_flight, 1000, 6) end
end)

test("one and two candidates", function()
  equal((start({ {} }))(), 1)
  equal((start({ { in_flight = 1 }, {} }))(), 2)
end)

stub.tap.finish()
