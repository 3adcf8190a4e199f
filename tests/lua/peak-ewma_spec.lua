-- peak-ewma: run from the repository's root with `luajit tests/lua/peak-ewma_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local function start(list)
  local engine = stub.new({ seed = 11 })
  local pool = engine:pool(list)
  local strategy, req = engine:load("strategies/peak-ewma.lua", pool), engine:request()
  local function shares(n)
    local seen = {}
    for i = 1, #pool do seen[i] = 0 end
    for _ = 1, n do
      local i = strategy:select(req, pool)
      seen[i] = seen[i] + 1
    end
    return seen
  end
  return shares, pool, strategy, engine
end

test("the slow one of two is never taken while both are idle", function()
  local shares = start({ { peak_ttft_ms = 900, samples = 5 }, { peak_ttft_ms = 100, samples = 5 } })
  equal(shares(500)[2], 500)
end)

test("load is weighed against time: in flight + 1, multiplied by the peak", function()
  local shares, pool = start({ { peak_ttft_ms = 100, samples = 5 }, { peak_ttft_ms = 250, samples = 5 } })
  pool[1].in_flight, pool[2].in_flight = 1, 0 -- 200 against 250
  equal(shares(200)[1], 200)
  pool[1].in_flight = 2 -- 300 against 250
  equal(shares(200)[2], 200)
end)

test("requests that stay spread inversely to the times", function()
  local _, pool, strategy, engine = start({ { peak_ttft_ms = 100, samples = 1 }, { peak_ttft_ms = 300, samples = 1 } })
  for _ = 1, 400 do
    local p = pool[strategy:select(engine:request(), pool)]
    p.in_flight = p.in_flight + 1
  end
  near(pool[1].in_flight, 300, 3)
end)

test("a newcomer counts as fast as its peers", function()
  local known = { peak_ttft_ms = 100, samples = 9 }
  local _, pool, strategy, engine = start({ known, known, {} })
  for _ = 1, 3000 do
    local p = pool[strategy:select(engine:request(), pool)]
    p.in_flight = p.in_flight + 1
  end
  near(pool[3].in_flight, 1000, 20)
end)

test("nobody measured: as even as p2c", function()
  local _, pool, strategy, engine = start({ {}, {}, {}, {} })
  for _ = 1, 2000 do
    local p = pool[strategy:select(engine:request(), pool)]
    p.in_flight = p.in_flight + 1
  end
  for i = 1, 4 do near(pool[i].in_flight, 500, 6) end
end)

test("a provider without answers is forgiven as time passes", function()
  local list = { { peak_ttft_ms = 2000, samples = 5 }, { peak_ttft_ms = 100, samples = 5 } }
  local shares, pool, strategy, engine = start(list)
  equal(shares(100)[1], 0)
  for _ = 1, 25 do
    engine.now_ms = engine.now_ms + 1000
    pool[2].samples = pool[2].samples + 1 -- it goes on answering
    strategy:tick(pool)
  end
  equal(shares(100)[1], 0) -- 2000 x e^-2.5 = 164
  for _ = 1, 6 do
    engine.now_ms = engine.now_ms + 1000
    pool[2].samples = pool[2].samples + 1
    strategy:tick(pool)
  end
  equal(shares(100)[1], 100) -- 2000 x e^-3.1 = 90
  pool[1].samples = 6 -- it answered, as slowly as before
  strategy:tick(pool)
  equal(shares(100)[1], 0)
end)

test("idle providers of other weights share by weight, and weight 0 waits", function()
  local seen = start({ { weight = 1 }, { weight = 3 }, { weight = 0 } })(4000)
  equal(seen[3], 0)
  near(seen[2], 4000, 200) -- idle, three times the weight costs a third
end)

test("none, one, all of weight 0", function()
  local _, pool, strategy, engine = start({ { weight = 0 }, { weight = 0 } })
  equal(strategy:select(engine:request(), engine:among({})), nil)
  equal(strategy:select(engine:request(), engine:among({ pool[2] })), 1)
  near(start({ { weight = 0 }, { weight = 0 } })(2000)[1], 1000, 120)
end)

stub.tap.finish()
