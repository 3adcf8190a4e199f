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
        // Where it went wrong; what came back, memory and what was cut off by force have the line where the callback begins.
        assert.match(strategy.benched, /hostile\.lua:[12]: \w+: /);
        // The version before decides again.
        await eventually(async () => (await health(moon)).strategy.name === 'good', 5000, 'the version before');
        assert.equal((await chat(moon, {}, { 'X-Session-Id': 'live' })).status, 200);
      });
    }
  });
}
