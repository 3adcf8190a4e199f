-- rendezvous-hash: run from the root with `luajit tests/lua/rendezvous-hash_spec.lua`; prints TAP.

local stub = dofile("scripts/dev/stub.lua")
local test, equal, near = stub.tap.test, stub.tap.equal, stub.tap.near

local KEYS = 20000

local function start(list, options)
  local engine = stub.new({ seed = 13 })
  local pool = engine:pool(list)
  local strategy = engine:load("strategies/rendezvous-hash.lua", pool, options)
  return function(request, among) return strategy:select(engine:request(request), among or pool) end, pool, engine
end

local function owners(select, pool, among)
  local out, seen = {}, {}
  for _, p in ipairs(pool) do seen[p.id] = 0 end
  for k = 1, KEYS do
    local p = (among or pool)[select({ session_key = "session " .. k }, among)]
    out[k] = p.id
    seen[p.id] = seen[p.id] + 1
  end
  return out, seen
end

test("the same key, the same provider", function()
  local select = start({ { id = "a" }, { id = "b" }, { id = "c" } })
  for k = 1, 50 do
    local key = "k" .. k
    local first = select({ session_key = key })
    for _ = 1, 5 do equal(select({ session_key = key }), first) end
  end
end)

test("keys spread evenly over equal weights", function()
  local list = {}
  for i = 1, 8 do list[i] = { id = "p" .. i } end
  local select, pool = start(list)
  local _, seen = owners(select, pool)
  for _, p in ipairs(pool) do near(seen[p.id] / KEYS, 1 / 8, 0.01, p.id) end
end)

test("keys spread by weight, and weight 0 gets none", function()
  local select, pool = start({
    { id = "a", weight = 1 }, { id = "b", weight = 2.5 }, { id = "c", weight = 0.5 }, { id = "d", weight = 0 },
  })
  local _, seen = owners(select, pool)
  near(seen.a / KEYS, 0.25, 0.01)
  near(seen.b / KEYS, 0.625, 0.01)
  near(seen.c / KEYS, 0.125, 0.01)
  equal(seen.d, 0)
end)

test("who leaves moves only the keys that it had", function()
  local select, pool, engine = start({ { id = "a" }, { id = "b", weight = 2 }, { id = "c" }, { id = "d" } })
  local before = owners(select, pool)
  local after = owners(select, pool, engine:among({ pool[1], pool[2], pool[4] }))
  local moved = 0
  for k = 1, KEYS do
    if before[k] ~= after[k] then
      equal(before[k], "c")
      moved = moved + 1
    end
  end
  near(moved / KEYS, 0.2, 0.01)
end)

test("bounded load: nobody holds more than its share x 1.25, rounded up", function()
  local list = {}
  for i = 1, 5 do list[i] = { id = "p" .. i } end
  local select, pool = start(list)
  for n = 1, 1000 do
    local p = pool[select({ session_key = "the popular one" })]
    p.in_flight = p.in_flight + 1
    for _, q in ipairs(pool) do assert(q.in_flight <= math.ceil(1.25 * n / 5), q.id) end
  end
end)

test("a popular key spills to the same second choice, and comes back", function()
  local select, pool = start({ { id = "a" }, { id = "b" }, { id = "c" } }, { loadFactor = 2 })
  local home = select({ session_key = "hot" })
  pool[home].in_flight = 50
  local second = select({ session_key = "hot" })
  assert(second ~= home)
  for _ = 1, 10 do equal(select({ session_key = "hot" }), second) end
  pool[home].in_flight = 0
  equal(select({ session_key = "hot" }), home)
end)

test("the key: header, session, beginning of the body, client", function()
  local list = {}
  for i = 1, 64 do list[i] = { id = "p" .. i } end
  local select = start(list, { header = "X-Tenant" })
  local tenant = select({ headers = { ["x-tenant"] = "acme" }, session_key = "s", prefix_hash = 5 })
  equal(select({ headers = { ["X-Tenant"] = "acme" }, session_key = "t" }), tenant)
  local session = select({ session_key = "s", prefix_hash = 5 })
  equal(select({ session_key = "s", prefix_hash = 6 }), session)
  local prefix = select({ prefix_hash = 5, client = "10.0.0.1" })
  equal(select({ prefix_hash = 5, client = "10.0.0.2" }), prefix)
  local client = select({ client = "10.0.0.1" })
  equal(select({ client = "10.0.0.1", id = "another" }), client)
  local different = {}
  for _, i in ipairs({ tenant, session, prefix, client }) do different[i] = true end
  assert(next(different, next(different)))
end)

test("none, one, all of weight 0", function()
  local select, pool, engine = start({ { id = "a", weight = 0 }, { id = "b", weight = 0 } })
  equal(select({}, engine:among({})), nil)
  equal(select({}, engine:among({ pool[2] })), 1)
  local _, seen = owners(select, pool)
  near(seen.a / KEYS, 0.5, 0.02)
end)

stub.tap.finish()
