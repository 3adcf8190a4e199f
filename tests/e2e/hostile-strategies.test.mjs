// Scripts that pass their trial and turn on the service when it is live: whatever they do, requests are answered, the
// culprit is named with file and line, and it is benched in favour of the version before.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import { SLOW, ask, chat, eventually, health, setup, temporaryFolder } from './harness.mjs';

const GOOD = 'return { abi = 1, name = "good", select = function() return 1 end }\n';

// On line 2, when the request is a live one.
const inSelect = (code) => `return { abi = 1, name = "hostile", select = function(state, req, pool)
  if req.session_key == "live" then ${code} end
  return 1
end }\n`;

const IN_SELECT = {
  'throws an error': 'error("no")',
  'throws an error that is no text': 'error({})',
  'calls what is nil': 'state.missing()',
  'returns NaN': 'return 0/0',
  'returns 0': 'return 0',
  'returns one more than there are': 'return #pool + 1',
  'returns a fraction': 'return 1.5',
  'returns text': 'return "1"',
  'returns a provider': 'return pool[1]',
  'returns a list of nonsense': 'return { "x", 0, -1, 99 }',
  'returns a huge table': 'local t = {} for i = 1, 1e7 do t[i] = -i end return t',
  'yields': 'coroutine.yield(1)',
  'loops': 'while true do end',
  'loops over a function of ours': 'while lb.random() do end',
  'loops over a text that takes its time': 'local s = ("x"):rep(2^20) while lb.hash(s) do end',
  'loops in pcall': 'while true do pcall(function() while true do end end) end',
  'loops in a coroutine': 'coroutine.wrap(function() while true do end end)()',
  'loops in __index': 'return setmetatable({}, { __index = function(t, k) while true do end end }).x',
  'loops in a handler of xpcall': 'xpcall(error, function() while true do end end)',
  'loops in a comparison of sort': 'local t = {} for i = 1, 64 do t[i] = i end table.sort(t, function() while true do end end)',
  'takes memory without end': 'local t = {} while true do t[#t + 1] = ("x"):rep(100000) .. #t end',
  'makes text without end': 'local t = "x" while true do t = t .. t end',
  'calls itself without end': 'local function f() return 1 + f() end return f()',
  'writes a global': 'leaked = 1',
  'writes into _G': '_G.leaked = 1',
  'writes into lb': 'lb.random = nil',
  'reaches for io': 'io.open("/etc/passwd")',
  'reaches for os': 'os.exit(1)',
  'reaches for ffi': 'require("ffi").cdef("int raise(int);")',
  'reaches for debug': 'debug.sethook()',
  'reaches for load': 'loadstring("return 1")()',
  'reaches through getmetatable': 'getmetatable("").__index.rep = nil',
  'reaches through setfenv': 'setfenv(1, {})',
  'calls itself through gsub': 'local function f() return (("x"):gsub("x", f)) end f()',
  'nests coroutines without end': 'local function f() return coroutine.wrap(f)() end f()',
  'calls what is slow again and again': 'local s = ("x"):rep(2^20) s = s .. s s = s .. s s = s .. s while true do s:upper() end',
  'throws a huge text': 'error(("x"):rep(2^20))',
  'throws what is neither text nor printable': 'error("\\255\\254\\27[31m\\n\\0")',
  'returns a table that answers for itself': 'return setmetatable({}, { __index = function() return 1 end, __len = function() return 5 end })',
  'writes to a provider': 'pool[1].weight = 0',
  'fills what is common to all': 'for i = 1, 2000 do lb.shared.set("k" .. i, ("v"):rep(1024)) end error("full")',
  'asks for counters without end': 'for i = 1, 1e6 do lb.counter("c" .. i) end',
  'floods the log': 'while true do lb.log("warn", ("x"):rep(1000)) end',
  'matches a hostile pattern': 'return (("a"):rep(100000)):find((".-"):rep(8) .. "b")',
};

const OTHERS = {
  'an error in score': 'return { abi = 1, name = "hostile", score = function(_, req)\n  if req.session_key == "live" then error("no") end return 1 end }\n',
  'an error in observe': 'return { abi = 1, name = "hostile", select = function() return 1 end, observe = function(_, req)\n  if req.session_key == "live" then error("no") end end }\n',
  'an error in retry': 'return { abi = 1, name = "hostile", select = function() return 1 end, retry = function(_, req)\n  if req.session_key == "live" then error("no") end end }\n',
  'a loop in observe': 'return { abi = 1, name = "hostile", select = function() return 1 end, observe = function(_, req)\n  if req.session_key == "live" then while true do end end end }\n',
};

const CASES = { ...Object.fromEntries(Object.entries(IN_SELECT).map(([what, code]) => [what, inSelect(code)])), ...OTHERS };

for (const guard of ['strict', 'fast']) {
  test(`guard = "${guard}": the service answers throughout, the culprit is named with file and line, and it is benched`, async (t) => {
    const file = path.join(temporaryFolder(t), 'hostile.lua');
    writeFileSync(file, GOOD);
    const { moon, byId } = await setup(t, {
      providers: 2, strategy: file, guard, workers: 1, reload: { watch: false }, health: { ejectAfter: 0 }, retryBudget: { ratio: 1, min: 100 },
    });
    const load = async (text) => {
      writeFileSync(file, text);
      const r = await ask(moon, { method: 'POST', path: '/admin/reload' });
      assert.equal(r.status, 200, r.text());
    };
    for (const [what, text] of Object.entries(CASES)) {
      await t.test(what, async () => {
        await load(GOOD);
        await eventually(async () => (await health(moon)).strategy.name === 'good', 5000, 'the good version');
        if (what.includes('retry')) byId.a.always(act.status(500));
        await load(text);
        let slowest = 0;
        for (let i = 0; i < 24; i++) {
          const began = Date.now();
          const r = await chat(moon, {}, { 'X-Session-Id': 'live' });
          slowest = Math.max(slowest, Date.now() - began);
          assert.equal(r.status, 200, `${r.status} ${r.text()}`);
        }
        byId.a.always(act.ok());
        assert.ok(slowest < 2000 * SLOW, `one waited for ${slowest} ms`);
        // What it was benched for is control's to say, which may have other work.
        const { status, strategy } = await eventually(async () => {
          const h = await health(moon);
          return h.strategy.benched && h;
        }, 5000, 'the reason');
        assert.equal(status, 'degraded');
        for (const path of ['/health', '/admin/strategy']) {
          const page = new TextDecoder('utf-8', { fatal: true }).decode((await ask(moon, { path })).body);
          // eslint-disable-next-line no-control-regex
          assert.doesNotMatch(page, /[\u0000-\u0008\u000b-\u001f\u007f]/, path);
        }
        // Where it went wrong; what came back, memory and what was cut off by force have the line where the callback begins.
        assert.match(strategy.benched, /hostile\.lua:[12]: \w+: /);
        // The version before decides again.
        await eventually(async () => (await health(moon)).strategy.name === 'good', 5000, 'the version before');
        assert.equal((await chat(moon, {}, { 'X-Session-Id': 'live' })).status, 200);
      });
    }
  });
}

// ---- between requests ----

// On line 2, once a request was a live one: each worker has a state of its own, and so has control.
const LATER = {
  'an error in tick': 'tick = function() if lb.shared.get("live") then error("no") end end',
  'a loop in tick': 'tick = function() if lb.shared.get("live") then while true do end end end',
  'a loop in health': 'health = function() if lb.shared.get("live") then while true do end end end',
  'nonsense from health': 'health = function() if lb.shared.get("live") then return "down" end end',
};
const afterLive = (member) => `return { abi = 1, name = "hostile", select = function(_, req) if req.session_key == "live" then lb.shared.set("live", true) end return 1 end,
  ${member} }\n`;

for (const [what, member] of Object.entries(LATER)) {
  test(`${what} is named with file and line, and costs nobody an answer`, async (t) => {
    const file = path.join(temporaryFolder(t), 'hostile.lua');
    writeFileSync(file, afterLive(member));
    const { moon } = await setup(t, { providers: 2, strategy: file, workers: 1, reload: { watch: false }, healthCheckInterval: 100 });
    assert.equal((await chat(moon, {}, { 'X-Session-Id': 'live' })).status, 200);
    const lastError = async () => (await ask(moon, { path: '/admin/strategy' })).json().lastError ?? '';
    await eventually(async () => /hostile\.lua:2: (tick|health): /.test(await lastError()), 8000, 'its name');
    for (let i = 0; i < 10; i++) assert.equal((await chat(moon)).status, 200);
    const { loadBalancer } = await health(moon);
    assert.ok(loadBalancer.providers.every((p) => p.isHealthy), 'the engine\'s own rules hold');
  });
}

test('what an older version hands over does not keep a newer one out for ever', async (t) => {
  const file = path.join(temporaryFolder(t), 'handed.lua');
  const version = (name, init, data) => `return { abi = 1, name = "${name}", select = function() return 1 end,
  init = function(_, _, previous) ${init} end,
  export = function() return ${data} end }\n`;
  writeFileSync(file, version('first', '', '{ costs = 5 }'));
  const { moon } = await setup(t, { providers: 1, strategy: file, reload: { watch: false } });
  const load = async (text) => {
    writeFileSync(file, text);
    return ask(moon, { method: 'POST', path: '/admin/reload' });
  };
  const careless = await load(version('careless', 'if previous then for k in pairs(previous.costs) do end end', '{ costs = {} }'));
  assert.equal(careless.status, 422);
  assert.match(careless.text(), /handed\.lua:2: .*\(with what the version before has exported\)/);
  assert.equal((await health(moon)).strategy.name, 'first');
  const careful = await load(version('careful', 'local c = previous and previous.costs if type(c) ~= "table" then c = {} end return c', '{ costs = {} }'));
  assert.equal(careful.status, 200, careful.text());
  for (const data of ['(function() local t = {} t.t = t return t end)()', '{ f = print }', 'error("no")', '("x"):rep(2^21)']) {
    assert.equal((await load(version('odd', '', data))).status, 422, 'a version is tried with its own export');
  }
  assert.equal((await health(moon)).strategy.name, 'careful');
});
