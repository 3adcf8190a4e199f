-- round-robin: run from the repository's root with `luajit tests/lua/round-robin_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal = stub.tap.test, stub.tap.equal

local PATH = "strategies/round-robin.lua"

test("each in turn", function()
  local engine = stub.new()
  local pool = engine:pool({ {}, {}, {} })
  local strategy = engine:load(PATH, pool)
  for i = 0, 299 do equal(strategy:select(engine:request(), pool), i % 3 + 1) end
end)

test("two workers share the turns", function()
  local engine = stub.new()
  local pool = engine:pool({ {}, {}, {} })
  local one, two = engine:load(PATH, pool), engine:load(PATH, pool)
  equal(one:select(engine:request(), pool), 1)
  equal(two:select(engine:request(), pool), 2)
  equal(two:select(engine:request(), pool), 3)
  equal(one:select(engine:request(), pool), 1)
end)

test("other candidates have a turn of their own", function()
  local engine = stub.new()
  local all = engine:pool({ {}, {}, {} })
  local left, right = engine:among({ all[1], all[2] }), engine:among({ all[1], all[3] })
  local strategy = engine:load(PATH, all)
  local seen = { 0, 0, 0 }
  for i = 1, 400 do
    local pool = i % 2 == 0 and left or right
    local slot = pool[strategy:select(engine:request(), pool)].slot
    seen[slot] = seen[slot] + 1
  end
  equal(seen[1], 200)
  equal(seen[2], 100)
  equal(seen[3], 100)
end)

test("one candidate", function()
  local engine = stub.new()
  local pool = engine:pool({ {} })
  local strategy = engine:load(PATH, pool)
  for _ = 1, 3 do equal(strategy:select(engine:request(), pool), 1) end
end)

stub.tap.finish()
