-- weighted-round-robin: run from the root with `luajit tests/lua/weighted-round-robin_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local PATH = "strategies/weighted-round-robin.lua"

local function start(weights)
  local engine = stub.new()
  local list = {}
  for i, weight in ipairs(weights) do list[i] = { weight = weight } end
  local pool = engine:pool(list)
  local strategy, req = engine:load(PATH, pool), engine:request()
  return function(among) return strategy:select(req, among or pool) end, pool, engine
end

test("interleaved as nginx does", function()
  local select = start({ 5, 1, 1 })
  local order = {}
  for i = 1, 14 do order[i] = ("abc"):sub(select(), -1):sub(1, 1) end
  equal(table.concat(order), "aabacaaaabacaa")
end)

test("real weights are met exactly over a round", function()
  local select = start({ 0.5, 1.25, 0.25 })
  local seen = { 0, 0, 0 }
  for _ = 1, 8000 do
    local i = select()
    seen[i] = seen[i] + 1
  end
  equal(seen[1], 2000)
  equal(seen[2], 5000)
  equal(seen[3], 1000)
end)

test("never more than one turn off", function()
  local select = start({ 3, 2, 1 })
  local seen = { 0, 0, 0 }
  for n = 1, 600 do
    local i = select()
    seen[i] = seen[i] + 1
    near(seen[1], n / 2, 1)
    near(seen[2], n / 3, 1)
    near(seen[3], n / 6, 1)
  end
end)

test("candidates come and go", function()
  local select, pool, engine = start({ 3, 1, 2 })
  local all = { pool[1], pool[2], pool[3] }
  local seen = { 0, 0, 0 }
  for i = 1, 12000 do
    local among = engine:among(math.floor(i / 50) % 2 == 0 and all or { all[1], all[3] })
    local p = among[select(among)]
    seen[p.slot] = seen[p.slot] + 1
  end
  near(seen[1], 3000 + 3600, 10)
  near(seen[2], 1000, 10)
  near(seen[3], 2000 + 2400, 10)
end)

test("weight 0 only when nobody else is there", function()
  local select = start({ 0, 1 })
  for _ = 1, 10 do equal(select(), 2) end
  equal(start({ 0 })(), 1)
end)

stub.tap.finish()
