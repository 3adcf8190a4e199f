-- lb: run from the repository's root with `luajit tests/lua/lb_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local function start(list)
  local engine = stub.new({ seed = 19 })
  return engine.lb, engine:pool(list or { {}, {}, {} }), engine
end

local function refuses(text, fn, ...)
  local ok, wrong = pcall(fn, ...)
  assert(not ok, "it was accepted")
  assert(tostring(wrong):find(text, 1, true), tostring(wrong))
end

local function slots(list)
  local out = {}
  for i, p in ipairs(list) do out[i] = p.slot end
  return table.concat(out, " ")
end

-- ---- values ------------------------------------------------------------------------------------------------------

test("constants and classes are closed", function()
  local lb = start()
  equal(lb.NEXT, 1)
  equal(lb.class.rate_limited, "rate_limited")
  refuses("lb.class has no oops", function() return lb.class.oops end)
  refuses("lb has no pik", function() return lb.pik end)
  refuses("read-only", function() lb.NEXT = 3 end)
end)

test("arguments that cannot be are told with what is expected", function()
  local lb, pool, engine = start()
  refuses("lb.pick.least: a function for the score is expected, not a string", lb.pick.least, pool, "x")
  refuses("lb.pick.tiered: the number in flight that makes a provider full is expected, not nil", lb.pick.tiered, pool)
  refuses("lb.pick.cheapest: the request is expected, not nil", lb.pick.cheapest, pool)
  refuses("lb.pick.rendezvous: a text or a number for the key is expected, not a table", lb.pick.rendezvous, pool, {})
  refuses("lb.filter.where: a function is expected, not nil", lb.filter.where, pool)
  refuses("lb.filter.tag: the name of a tag is expected, not nil", lb.filter.tag, pool)
  refuses("lb.filter.below: a number is expected, not a string", lb.filter.below, pool, "5")
  refuses("lb.filter.lowest: a function for the score is expected, not nil", lb.filter.lowest, pool)
  refuses("lb.score.cost: the request, as in", lb.score.cost, pool[1])
  refuses("lb.slow_start: a number of milliseconds is expected, not nil", lb.slow_start, pool[1])
  refuses("lb.random: a number of 1 or more is expected, not 0", lb.random, 0)
  refuses("lb.hash: a text is expected, not nil", lb.hash)
  refuses("lb.turn: the pool is expected, a list has no turns", lb.turn, {})
  local callable = setmetatable({}, { __call = function(_, p) return -p.slot end })
  equal(lb.pick.least(pool, callable), 3)
  equal(lb.pick.cheapest(pool, engine:request(), 9) ~= nil, true)
end)

test("counters are common and whole", function()
  local lb = start()
  equal(lb.counter("a"):add(), 1)
  equal(lb.counter("a"):add(5), 6)
  equal(lb.counter("a"):get(), 6)
  equal(lb.counter("b"):get(), 0)
  refuses("whole number", lb.counter("a").add, nil, 0.5)
end)

test("shared keeps numbers, texts and booleans", function()
  local shared = start().shared
  equal(shared.get("a"), nil)
  equal(shared.set("a", 1.5), true)
  equal(shared.get("a"), 1.5)
  shared.set("a", "text")
  equal(shared.get("a"), "text")
  shared.set("a", false)
  equal(shared.get("a"), false)
  shared.delete("a")
  equal(shared.get("a"), nil)
end)

test("shared adds in one step", function()
  local shared = start().shared
  equal(shared.incr("n"), 1)
  equal(shared.incr("n", -3.5), -2.5)
  shared.set("t", "x")
  refuses("no number", shared.incr, "t")
  refuses("finite", shared.incr, "n", 1 / 0)
end)

test("shared is bounded", function()
  local shared = start().shared
  for i = 1, 1024 do equal(shared.set("k" .. i, i), true) end
  equal(shared.set("one more", 1), false)
  equal(shared.incr("one more"), nil)
  equal(shared.set("k7", 0), true)
  shared.delete("k7")
  equal(shared.incr("one more"), 1)
  refuses("1 to 64 bytes", shared.set, ("k"):rep(65), 1)
  refuses("1 to 64 bytes", shared.get, "")
  refuses("at most 1024 bytes", shared.set, "k1", ("v"):rep(1025))
  refuses("not a table", shared.set, "k1", {})
  refuses("not a nil", shared.set, "k1", nil)
end)

test("hash depends on text and seed alone", function()
  local lb = start()
  equal(lb.hash("a"), lb.hash("a", 0))
  assert(lb.hash("a") ~= lb.hash("b") and lb.hash("a", 1) ~= lb.hash("a", 2))
end)

test("random(n) gives 1 to n", function()
  local lb = start()
  local seen = { 0, 0, 0 }
  for _ = 1, 3000 do
    local n = lb.random(3)
    seen[n] = seen[n] + 1
  end
  for i = 1, 3 do near(seen[i], 1000, 120) end
end)

test("turns belong to a pool", function()
  local lb, pool = start()
  equal(lb.turn(pool), 1)
  equal(lb.turn(pool), 2)
  refuses("a list has no turns", lb.turn, lb.filter.healthy(pool))
end)

test("slow start rises from a tenth to one", function()
  local lb, pool = start({ { state_since_ms = 0 }, { state_since_ms = 15000 }, { state_since_ms = 90000 } })
  equal(lb.slow_start(pool[1], 30000), 0.1)
  equal(lb.slow_start(pool[2], 30000), 0.5)
  equal(lb.slow_start(pool[3], 30000), 1)
  equal(lb.slow_start(pool[1], 0), 1)
end)

-- ---- scores ------------------------------------------------------------------------------------------------------

test("scores", function()
  local lb, pool, engine = start({
    { in_flight = 6, weight = 3, ttft_ms = 10, latency_ms = 90, samples = 2, error_rate = 0.5, priority = 7,
      price_in = 2, price_out = 3 },
    { in_flight = 1, weight = 0 },
  })
  local score, p, q = lb.score, pool[1], pool[2]
  equal(score.in_flight(p), 2)
  assert(score.in_flight(q) > 1e11)
  equal(score.ttft(p), 10)
  equal(score.ttft(q), 0)
  equal(score.latency(p), 90)
  equal(score.latency(q), 0)
  equal(score.error_rate(p), 0.5)
  equal(score.priority(p), 7)
  equal(score.cost(p, engine:request({ est_input_tokens = 100, max_tokens = 10 })), 230)
  equal(score.cost(p, engine:request({ est_input_tokens = 100 })), 1700)
  equal(score.cost(q, engine:request()), nil)
end)

-- ---- filters -----------------------------------------------------------------------------------------------------

test("filters", function()
  local lb, pool = start({
    { state = "up", in_flight = 5, weight = 1, tags = { region = "eu" } },
    { state = "degraded", in_flight = 5, weight = 2, tags = { region = "us" }, throttle_rate = 0.3 },
    { state = "up", in_flight = 0, tags = { gpu = true }, rl_requests_left = 0 },
    { state = "down", in_flight = 1, rl_tokens_left = 500 },
  })
  local filter = lb.filter
  equal(slots(filter.healthy(pool)), "1 3")
  equal(slots(filter.below(pool, 3)), "2 3 4")
  equal(slots(filter.tag(pool, "region")), "1 2")
  equal(slots(filter.tag(pool, "region", "us")), "2")
  equal(slots(filter.tag(pool, "gpu")), "3")
  equal(slots(filter.not_throttled(pool)), "1 4")
  equal(slots(filter.not_throttled(pool, 0.5)), "1 2 4")
  equal(slots(filter.lowest(pool, lb.score.in_flight)), "3")
  equal(slots(filter.where(pool, function(p, n) return p.in_flight == n end, 5)), "1 2")
  equal(slots(filter.healthy(filter.below(pool, 3))), "3")
  equal(#filter.healthy({}), 0)
end)

test("a pick from a filtered list is a place in the pool", function()
  local lb, pool = start({ { in_flight = 9 }, { state = "down" }, { in_flight = 3 }, { in_flight = 4 } })
  local list = lb.filter.healthy(pool)
  equal(lb.pick.least(list), 3)
  for _ = 1, 50 do
    assert(lb.pick.p2c(list) ~= 2 and lb.pick.p2c(list) ~= 1)
    assert(lb.pick.weighted(list) ~= 2)
    assert(lb.pick.rendezvous(list, "key") ~= 2)
    assert(lb.pick.smooth(list, {}) ~= 2)
  end
end)

-- ---- picks -------------------------------------------------------------------------------------------------------

test("every pick knows what to do with nobody and with one", function()
  local lb, pool = start({ { weight = 0 } })
  for _, name in ipairs({ "least", "p2c", "weighted", "rendezvous" }) do
    equal(lb.pick[name]({}, name == "rendezvous" and "key" or nil), nil, name)
    equal(lb.pick[name](pool, name == "rendezvous" and "key" or nil), 1, name)
  end
  equal(lb.pick.smooth({}, {}), nil)
  equal(lb.pick.smooth(pool, {}), 1)
end)

test("least leaves out nil and NaN", function()
  local lb, pool = start()
  equal(lb.pick.least(pool, function(p) return p.slot == 2 and 5 or p.slot == 1 and 0 / 0 or nil end), 2)
  equal(lb.pick.least(pool, function() return nil end), nil)
end)

test("p2c and weighted draw by weight, never weight 0", function()
  local lb, pool = start({ { weight = 1 }, { weight = 0 }, { weight = 3 } })
  for _, name in ipairs({ "p2c", "weighted" }) do
    local seen = { 0, 0, 0 }
    for _ = 1, 8000 do
      local i = lb.pick[name](pool)
      seen[i] = seen[i] + 1
    end
    equal(seen[2], 0, name)
    near(seen[3], 6000, 200, name)
  end
end)

test("p2c of two takes the better, a missing score loses", function()
  local lb, pool = start({ { in_flight = 3 }, { in_flight = 2 } })
  for _ = 1, 20 do equal(lb.pick.p2c(pool), 2) end
  for _ = 1, 20 do equal(lb.pick.p2c(pool, function(p) return p.slot == 1 and 1 or nil end), 1) end
end)

test("smooth interleaves", function()
  local lb, pool = start({ { weight = 2 }, { weight = 1 } })
  local current, order = {}, {}
  for i = 1, 6 do order[i] = lb.pick.smooth(pool, current) end
  equal(table.concat(order), "121121")
end)

test("rendezvous takes texts and numbers, and goes by id, not by place", function()
  local lb, pool, engine = start({ { id = "a" }, { id = "b" }, { id = "c" } })
  local home = pool[lb.pick.rendezvous(pool, "key")].id
  local turned = engine:among({ pool[3], pool[1], pool[2] })
  equal(turned[lb.pick.rendezvous(turned, "key")].id, home)
  assert(lb.pick.rendezvous(pool, 12345) and lb.pick.rendezvous(pool, 0 / 0) and lb.pick.rendezvous(pool, 1 / 0))
end)

test("rendezvous without a bound never spills", function()
  local lb, pool = start()
  local home = lb.pick.rendezvous(pool, "key", math.huge)
  pool[home].in_flight = 1e6
  equal(lb.pick.rendezvous(pool, "key", math.huge), home)
  assert(lb.pick.rendezvous(pool, "key") ~= home)
end)

stub.tap.finish()
