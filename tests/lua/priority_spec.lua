-- priority: run from the repository's root with `luajit tests/lua/priority_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local function start(list, options)
  local engine = stub.new({ seed = 9 })
  local pool = engine:pool(list)
  local strategy, req = engine:load("strategies/priority.lua", pool, options), engine:request()
  return function() return strategy:select(req, pool) end, pool
end

test("the preferred tier first, the least loaded within it", function()
  local select = start({ { priority = 2 }, { priority = 1, in_flight = 3 }, { priority = 1, in_flight = 2 } })
  equal(select(), 3)
end)

test("overflow when the tier is full, and back", function()
  local select, pool = start({ { priority = 1 }, { priority = 2 }, { priority = 3 } }, { maxInFlight = 2 })
  local order = {}
  for i = 1, 7 do
    local p = pool[select()]
    p.in_flight = p.in_flight + 1
    order[i] = p.slot
  end
  equal(table.concat(order), "1122331")
  pool[2].in_flight = 1
  equal(select(), 2)
end)

test("a full provider's share grows with its weight", function()
  local select = start({ { priority = 1, weight = 3, in_flight = 5 }, { priority = 2 } }, { maxInFlight = 2 })
  equal(select(), 1)
end)

test("ties at random", function()
  local select = start({ {}, {}, { priority = 200 } })
  local seen = { 0, 0, 0 }
  for _ = 1, 2000 do
    local i = select()
    seen[i] = seen[i] + 1
  end
  near(seen[1], 1000, 120)
  equal(seen[3], 0)
end)

stub.tap.finish()
