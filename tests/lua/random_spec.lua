-- random: run from the repository's root with `luajit tests/lua/random_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local function shares(weights, n)
  local engine = stub.new({ seed = 5 })
  local list, seen = {}, {}
  for i, weight in ipairs(weights) do
    list[i], seen[i] = { weight = weight }, 0
  end
  local pool = engine:pool(list)
  local strategy, req = engine:load("strategies/random.lua", pool), engine:request()
  for _ = 1, n do
    local i = strategy:select(req, pool)
    seen[i] = seen[i] + 1
  end
  return seen
end

test("in proportion to the weights", function()
  local seen = shares({ 1, 3, 0, 0.5 }, 9000)
  near(seen[1], 2000, 200)
  near(seen[2], 6000, 200)
  equal(seen[3], 0)
  near(seen[4], 1000, 150)
end)

test("all of weight 0: evenly", function()
  local seen = shares({ 0, 0 }, 2000)
  near(seen[1], 1000, 120)
end)

test("one candidate", function()
  equal(shares({ 2 }, 10)[1], 10)
end)

stub.tap.finish()
