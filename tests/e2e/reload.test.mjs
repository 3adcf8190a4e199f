// Strategies and configurations that change while the balancer runs: what comes into service, what does not, and that
// nobody who asks meanwhile notices.
import assert from 'node:assert/strict';
import { appendFileSync, renameSync, unlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { test } from 'node:test';
import { CHAT, IS_SANITIZED, SLOW, ask, assertError, chat, eventually, health, openChat, setup, sleep, startDaemon, temporaryFolder, toLua } from './harness.mjs';
import { FakeProvider, act } from './fake-provider.mjs';

const always = (index, extra = '') => `return { abi = 1, name = "always-${index}", ${extra}
  select = function() return ${index} end }\n`;

async function withStrategy(t, text, config = {}) {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'strategy.lua');
  writeFileSync(file, text);
  const made = await setup(t, { providers: 3, strategy: file, ...config });
  return { ...made, file };
}

const reload = (moon) => ask(moon, { method: 'POST', path: '/admin/reload' });
const strategy = async (moon) => (await ask(moon, { path: '/admin/strategy' })).json();
const served = async (moon) => (await chat(moon)).header('x-provider-address');
const servedBy = (moon, id, what) => eventually(async () => (await served(moon)) === id, 5000, what);

test('a changed strategy file comes into service by itself', async (t) => {
  const { moon, file } = await withStrategy(t, always(1));
  assert.equal(await served(moon), 'a');
  writeFileSync(file, always(2));
  await servedBy(moon, 'b', 'the new strategy');
  assert.equal((await strategy(moon)).generation, 2);
});

test('an editor that writes beside and renames is noticed, and so is a file that was gone for a while', async (t) => {
  const { moon, file } = await withStrategy(t, always(1));
  writeFileSync(`${file}.new`, always(2));
  renameSync(`${file}.new`, file);
  await servedBy(moon, 'b', 'the renamed file');
  unlinkSync(file);
  await sleep(500);
  assert.equal(await served(moon), 'b');
  writeFileSync(file, always(3));
  await servedBy(moon, 'c', 'the file that came back');
});

test('a half-written file is not loaded', async (t) => {
  const { moon, file } = await withStrategy(t, always(1));
  const text = always(2, `-- ${'x'.repeat(400)}\n`);
  writeFileSync(file, '');
  for (let at = 0; at < text.length; at += 40) {
    appendFileSync(file, text.slice(at, at + 40));
    await sleep(20);
  }
  await servedBy(moon, 'b', 'the whole file');
  const { failedReloads, generation } = await strategy(moon);
  assert.deepEqual({ failedReloads, generation }, { failedReloads: 0, generation: 2 });
});

test('a file written again with the same content changes nothing', async (t) => {
  const { moon, file } = await withStrategy(t, always(1));
  writeFileSync(file, always(1));
  await sleep(900);
  assert.equal((await strategy(moon)).generation, 1);
});

test('reload.watch = false leaves files alone until somebody asks', async (t) => {
  const { moon, file } = await withStrategy(t, always(1), { reload: { watch: false } });
  writeFileSync(file, always(2));
  await sleep(900);
  assert.equal(await served(moon), 'a');
  assert.deepEqual((await reload(moon)).json(), { generation: 2 });
  await servedBy(moon, 'b', 'the new strategy');
});

test('SIGHUP reloads', async (t) => {
  const { moon, file } = await withStrategy(t, always(1), { reload: { watch: false } });
  writeFileSync(file, always(3));
  moon.signal('SIGHUP');
  await servedBy(moon, 'c', 'the new strategy');
});

for (const [what, text, error] of [
  ['broken syntax', 'return { abi = 1, select = function( }\n', /strategy\.lua:1/],
  ['an error in init', always(2, 'init = function() error("no luck") end,'), /strategy\.lua:\d+.*no luck/],
  ['a loop at the top', 'while true do end\n', /strategy\.lua:1/],
  ['a loop in init', always(2, 'init = function() while true do end end,'), /strategy\.lua:\d+/],
  ['a select that reads what is not there', 'return { abi = 1, select = function(_, _, pool) return pool[1].no_such_field end }\n', /strategy\.lua:1.*no_such_field/],
  ['a select that gives nonsense', 'return { abi = 1, select = function() return "best" end }\n', /strategy\.lua.*select/],
  ['an unknown callback', 'return { abi = 1, select = function() return 1 end, selekt = 1 }\n', /selekt/],
]) {
  test(`a version with ${what} never serves: 422 names the place, the old one goes on`, async (t) => {
    const { moon, file } = await withStrategy(t, always(1), { reload: { watch: false } });
    writeFileSync(file, text);
    const r = await reload(moon);
    assertError(r, 422, { code: 'reload_failed' });
    assert.match(r.json().error.message, error);
    assert.equal(await served(moon), 'a');
    const { lastReloadError, generation } = await strategy(moon);
    assert.match(lastReloadError, error);
    assert.equal(generation, 1);
    assert.match((await health(moon)).strategy.lastReloadError, error);
    writeFileSync(file, always(2));
    assert.equal((await reload(moon)).status, 200);
    assert.equal((await strategy(moon)).lastReloadError, null);
  });
}

test('a refused configuration leaves the providers as they were', async (t) => {
  const address = `0x${'ab'.repeat(20)}`;
  const { moon, providers } = await setup(t, { providers: 1, reload: { watch: false } });
  const config = { host: '127.0.0.1', port: 0, workers: 2, healthCheckInterval: 60000, reload: { watch: false } };
  const { id: _, ...rest } = providers[0].config();
  const write = (provider, more) => writeFileSync(moon.file, `return ${toLua({ ...config, providers: [provider], ...more })}\n`);
  write({ address, ...rest });
  assert.equal((await reload(moon)).status, 200);
  assert.equal(await served(moon), address);
  // Without its endpoint the provider could not serve, but this version never comes into service.
  const bad = path.join(temporaryFolder(t), 'bad.lua');
  writeFileSync(bad, 'return {');
  write({ address }, { strategy: bad });
  assertError(await reload(moon), 422, { code: 'reload_failed' });
  assert.equal(await served(moon), address);
  assert.equal((await health(moon)).loadBalancer.healthyProviders, 1);
});

// A load that loops is given ten times callBudget; forty times that in a build with sanitizers.
const endless = (seconds) => ({ callBudget: seconds * 100 / (IS_SANITIZED ? 40 : 1) });

test('a stop in the midst of a reload ends cleanly, and who asked is answered', async (t) => {
  const { moon, file } = await withStrategy(t, always(1), { reload: { watch: false }, ...endless(1) });
  writeFileSync(file, 'while true do end');
  const asked = reload(moon);
  await sleep(100);
  moon.signal('SIGTERM');
  assertError(await asked, 422, { code: 'reload_failed' });
  assert.deepEqual(await moon.exited, { code: 0, signal: null });
});

test('health checks go on while a reload is tried', async (t) => {
  const { moon, file, providers } = await withStrategy(t, always(1), { reload: { watch: false }, ...endless(3), healthCheckInterval: 100 });
  writeFileSync(file, 'while true do end');
  let isOver = false;
  const asked = reload(moon).finally(() => (isOver = true));
  const before = providers[0].probes;
  await eventually(() => providers[0].probes >= before + 3, 5000, 'three checks');
  assert.equal(isOver, false, 'the reload is still being tried');
  assert.equal((await asked).status, 422);
});

test('a running stream finishes on the generation that it began with', async (t) => {
  const { moon, file, providers } = await withStrategy(t, always(1), { reload: { watch: false } });
  let call;
  providers[0].always((c) => { call = c; });
  const client = await openChat(moon);
  await providers[0].until(() => providers[0].calls.length === 1, 'the call');
  writeFileSync(file, always(2));
  assert.equal((await reload(moon)).status, 200);
  await servedBy(moon, 'b', 'the new strategy');
  call.respond(200, { id: 'late', choices: [] });
  const answer = await client.response();
  assert.equal(answer.status, 200);
  assert.equal(answer.json().id, 'late');
});

test('what export returns is handed to the next generation as previous', async (t) => {
  const text = (version) => `return { abi = 1,
    init = function(_, _, previous) return { seen = previous and previous.seen or 0, version = ${version} } end,
    select = function(state) state.seen = state.seen + 1 return state.seen % 3 + 1 end,
    export = function(state) return { seen = state.seen } end }\n`;
  const { moon, file } = await withStrategy(t, text(1), { workers: 1, reload: { watch: false } });
  const order = [];
  for (let i = 0; i < 4; i++) order.push(await served(moon));
  writeFileSync(file, text(2));
  assert.equal((await reload(moon)).status, 200);
  for (let i = 0; i < 5; i++) order.push(await served(moon));
  assert.deepEqual(order, ['b', 'c', 'a', 'b', 'c', 'a', 'b', 'c', 'a']);
});

test('a strategy that keeps failing is benched in favour of the last good one, and /health says degraded', async (t) => {
  const { moon, file } = await withStrategy(t, always(3), { reload: { watch: false } });
  assert.equal(await served(moon), 'c');
  // Fine on trial, broken in service: the canary's requests have no such session.
  writeFileSync(file, `return { abi = 1, select = function(_, req)
    if req.session_key == "live" then error("only in service") end return 1 end }\n`);
  assert.equal((await reload(moon)).status, 200);
  await servedBy(moon, 'a', 'the new version');
  for (let i = 0; i < 40; i++) {
    const r = await chat(moon, {}, { 'X-Session-Id': 'live' });
    assert.equal(r.status, 200, 'a request never fails because a script did');
  }
  await servedBy(moon, 'c', 'the last good version');
  const { status, strategy: about } = await health(moon);
  assert.equal(status, 'degraded');
  assert.match(about.benched, /strategy\.lua:2.*only in service/);
  writeFileSync(file, always(2));
  assert.equal((await reload(moon)).status, 200);
  await servedBy(moon, 'b', 'the repaired version');
  assert.equal((await health(moon)).status, 'healthy');
});

test('a strategy that loops in service costs nobody an answer, is named, and is benched', async (t) => {
  const { moon } = await withStrategy(t, `return { abi = 1, select = function(_, req)
    if req.session_key == "live" then while true do end end return 1 end }\n`);
  for (let i = 0; i < 30; i++) {
    const began = Date.now();
    assert.equal((await chat(moon, {}, { 'X-Session-Id': 'live' })).status, 200);
    assert.ok(Date.now() - began < 1000 * SLOW, 'cut off by the budget');
  }
  const about = await strategy(moon);
  assert.equal(about.phase, 'benched');
  assert.match(about.lastError, /strategy\.lua:2/);
  assert.ok(about.errors > 0);
});

test('the health callback decides: its verdict takes a provider out and brings it back', async (t) => {
  const { moon, file } = await withStrategy(t, `return { abi = 1, select = function() return 1 end,
    health = function(_, provider, evidence)
      if provider.id == "a" then return lb.DOWN, "not today" end
      return lb.UP
    end }\n`, { healthCheckInterval: 100 });
  await eventually(async () => (await health(moon)).loadBalancer.providers[0].isHealthy === false, 5000, 'the verdict');
  const a = (await health(moon)).loadBalancer.providers[0];
  assert.deepEqual({ state: a.state, reason: a.reason }, { state: 'down', reason: 'not today' });
  assert.equal(await served(moon), 'b');
  writeFileSync(file, always(1, 'health = function() return lb.UP end,'));
  await servedBy(moon, 'a', 'the provider that is up again');
});

test('tick is called every second, and its time shows', async (t) => {
  const { moon } = await withStrategy(t, always(1, 'tick = function() end,'));
  await eventually(async () => (await strategy(moon)).callbacks.tick.calls >= 2, 6000, 'two ticks');
});

test('a reload keeps counters of known providers, drains removed ones, and takes up new ones', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, reload: { watch: false } });
  for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).status, 200);
  let call;
  providers[1].always((c) => { call = c; });
  const held = [await openChat(moon), await openChat(moon)];
  await providers[1].until(() => providers[1].calls.length === 3, 'the held call');
  const fresh = await FakeProvider.start({ id: 'c' });
  t.after(() => fresh.stop());
  const list = [providers[0].config(), fresh.config()];
  writeFileSync(moon.file, `return ${toLua({ host: '127.0.0.1', port: 0, workers: 2, healthCheckInterval: 60000, reload: { watch: false }, providers: list })}\n`);
  assert.equal((await reload(moon)).status, 200);
  const r = (await ask(moon, { path: '/admin/providers' })).json();
  assert.deepEqual(r.providers.map((p) => p.address), ['a', 'c']);
  assert.ok(r.providers[0].dispatched >= 2, 'the counters of a are kept');
  call.respond(200, { id: 'from-b' });
  const answers = [await held[0].response(), await held[1].response()];
  assert.ok(answers.some((x) => x.json().id === 'from-b'), 'the removed provider finishes what it had');
  for (let i = 0; i < 6; i++) assert.ok(['a', 'c'].includes(await served(moon)));
});

// Tells apart which version each callback of a request ran in: the first choice leaves its number, the others compare.
// The first provider fails, so that a request lives through a retry, and 5 ms of reloads in between.
const tracking = (version) => `
  local seen, mixed = lb.counter("seen"), lb.counter("mixed")
  local function compare(req)
    if lb.shared.get(req.id) ~= ${version} then mixed:add(1) end
  end
  return { abi = 1, name = "tracking-${version}",
    select = function(_, req)
      if req.session_key == "report" then return nil, seen:get() .. " seen, " .. mixed:get() .. " mixed" end
      if req.attempt > 1 then compare(req) else
        lb.shared.set(req.id, ${version})
        seen:add(1)
      end
      return 1
    end,
    retry = function(_, req)
      compare(req)
      return lb.NEXT, 5
    end,
    observe = function(_, req, _, outcome)
      compare(req)
      if outcome.class == "ok" then lb.shared.delete(req.id) end
    end }\n`;

test('reloads under load cost nobody anything, and each request keeps the version it began with', async (t) => {
  const seconds = Number(process.env.MOONGATE_STORM_SECONDS ?? 5);
  const { moon, file, byId } = await withStrategy(t, tracking(1), {
    reload: { watch: false }, logLevel: 'off', maxSessions: 1000, health: { ejectAfter: 0 }, retryBudget: { ratio: 1, min: 1000 },
  });
  byId.a.always(act.status(500));
  const versions = [
    [tracking(1), 200], [tracking(2), 200], ['return {', 422], [always(3, 'init = function() error("x") end,'), 422],
    ['while true do end', 422],
  ];
  const agent = new http.Agent({ keepAlive: true, maxSockets: 200 });
  t.after(() => agent.destroy());
  const body = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'hello' }] });
  const post = () => new Promise((resolve) => {
    const req = http.request({ agent, port: moon.port, host: '127.0.0.1', path: CHAT, method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': body.length } }, (res) => {
      res.resume();
      res.on('end', () => resolve(`${res.statusCode} by ${res.headers['x-provider-address']}`));
    });
    req.on('error', (e) => resolve(e.code));
    req.end(body);
  });
  const until = Date.now() + seconds * 1000;
  const answers = {};
  let reloads = 0;
  let isBroken = false;
  let warm;
  const isOver = () => isBroken || (Date.now() >= until && reloads >= 4 * versions.length);
  const clients = Array.from({ length: 200 / SLOW }, async () => {
    while (!isOver()) {
      const answer = await post();
      answers[answer] = (answers[answer] ?? 0) + 1;
    }
  });
  const operator = (async () => {
    while (!isOver()) {
      const [text, verdict] = versions[reloads % versions.length];
      writeFileSync(file, text);
      const r = await reload(moon);
      assert.equal(r.status, verdict, r.text());
      reloads++;
      if (reloads === 2 * versions.length) warm = moon.residentBytes();
      await sleep(5);
    }
  })();
  operator.catch(() => (isBroken = true));
  await Promise.all([...clients, operator]);
  const grown = (moon.residentBytes() - warm) / 2 ** 20;
  t.diagnostic(`${answers['200 by b']} chats, ${reloads} reloads, grown by ${grown.toFixed(1)} MiB`);
  assert.deepEqual(Object.keys(answers), ['200 by b']);
  const report = await chat(moon, {}, { 'X-Session-Id': 'report' });
  const [, seen, mixed] = /(\d+) seen, (\d+) mixed/.exec(report.text());
  assert.deepEqual({ seen: Number(seen), mixed: Number(mixed) }, { seen: answers['200 by b'], mixed: 0 });
  if (!IS_SANITIZED) assert.ok(grown < 24, `memory has grown by ${grown.toFixed(1)} MiB`);
});
