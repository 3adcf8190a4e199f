// Chaos: providers that fail in every way, come, go and move; clients that ask, stream, pipeline, dawdle, leave and talk
// nonsense; operators that reload, drain, break the configuration, change the strategy for a hostile one, and replace the
// program; all at once. Some things are looked at all the time. In between everybody pauses, and what must hold then is
// checked: every attempt was settled once, nothing is in flight, nothing has grown.
//
// MOONGATE_CHAOS_SECONDS: how long (5 by default; `make test` takes 60 under a sanitizer). MOONGATE_CHAOS_SEED: the seed of
// a failing run makes every actor do the same things in the same order.
import assert from 'node:assert/strict';
import http from 'node:http';
import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { BEHAVIOURS, dice, expectContinue, halfClose, pipeline, request, talkNonsense } from './chaos-actors.mjs';
import { FakeProvider } from './fake-provider.mjs';
import { IS_SANITIZED, SLOW, ask, eventually, lua, sleep, startDaemon, toLua } from './harness.mjs';

const SECONDS = Number(process.env.MOONGATE_CHAOS_SECONDS ?? 5);
const SEED = Number(process.env.MOONGATE_CHAOS_SEED ?? Date.now() % 2 ** 31);
const CLIENTS = 32;
const ROUND_MS = Math.min(6000, (SECONDS * 1000) / 3); // between two pauses
const MAX_RETRIES = 2;
const VERIFIABLE_MS = 2000 * SLOW; // what was answered so long ago is found in any process

// What strategies may do to everybody; the last ones are fine.
const STRATEGIES = {
  throws: 'select = function(s, req, pool) if req:rand() < 0.3 then error("now and then") end return 1 end',
  loops: 'select = function(s, req, pool) if req:rand() < 0.02 then while true do end end return 1 end',
  grows: 'select = function(s, req, pool) if req:rand() < 0.1 then local t = {} for i = 1, 1e7 do t[i] = i end end return 1 end',
  nonsense: 'select = function(s, req, pool) return ({ 0, 99, "x", {}, 1.5, -1 })[math.floor(req:rand() * 6) + 1] end',
  retries: 'select = function(s, req, pool) return 1 end, retry = function(s, req, outcome) return lb.SAME, 5 end',
  plans: 'select = function(s, req, pool) local t = {} for i = #pool, 1, -1 do t[#t + 1] = i end return t end, export = function(s) return { n = 1 } end',
};

test(`${SECONDS} s of chaos break no promise`, async (t) => {
  t.diagnostic(`seed ${SEED}`);
  const ends = {};
  const note = (how) => { ends[how] = (ends[how] ?? 0) + 1; };
  const count = (what) => { operations[what] = (operations[what] ?? 0) + 1; };
  const operations = {};

  // ---- providers ----
  const attempts = new Map(); // request id -> times it was seen by providers
  const providers = [];
  for (let i = 0; i < 4; i++) {
    const p = await FakeProvider.start({ id: 'abcd'[i] });
    const own = dice(SEED, 1000 + i);
    p.always((call) => {
      const id = call.request.header('x-request-id');
      attempts.set(id, (attempts.get(id) ?? 0) + 1);
      p.calls.length = p.requests.length = 0; // nobody looks at them
      own.weighted(BEHAVIOURS)(call);
    });
    providers.push(p);
  }
  t.after(() => Promise.all(providers.map((p) => p.stop())));
  const configuration = (list, strategy = 'least-connections') => ({
    host: '127.0.0.1', port: 0, workers: 2, strategy, healthCheckInterval: 200, logLevel: 'warn', maxRetries: MAX_RETRIES,
    timeouts: { firstByte: 400 * SLOW, idle: 400 * SLOW, total: 4000 * SLOW, clientHeader: 1000, connect: 1000 * SLOW, drain: 5000 * SLOW },
    health: { ejectBase: 200, ejectMax: 500, rateLimitCooldown: 200, accountCooldown: 200 }, reload: { watch: lua('false') },
    providers: list.map((p) => p.config()),
  });
  const moon = await startDaemon(t, configuration(providers));
  const script = path.join(moon.folder, 'hostile.lua');
  const configure = (list, strategy) => writeFileSync(moon.file, `return ${toLua(configuration(list, strategy))}`);
  const until = Date.now() + SECONDS * 1000;

  // ---- clients ----
  let pauseAt = 0; // when the round ends
  let nextId = 0;
  const fresh = () => `r-${nextId++}`;
  const known = []; // answers that can be verified: { id, at }
  const remember = (status, text) => {
    const id = status < 400 && /"id":"(chatcmpl-[^"]+)"/.exec(text)?.[1];
    if (id && known.push({ id, at: Date.now() }) > 2000) known.shift();
  };
  const chatBody = (d, stream, size = 3000) =>
    JSON.stringify({ model: 'm', stream, messages: [{ role: 'user', content: 'x'.repeat(10 + d.below(size)) }] });
  const verify = async (d, agent) => {
    const old = known.filter((k) => k.at < Date.now() - VERIFIABLE_MS);
    if (!old.length) return 'ok';
    const { id } = d.pick(old);
    let found;
    const how = await request(agent, moon.port, { id: fresh(), path: '/v1/verify', body: JSON.stringify({ id }), onAnswer: (status, text) => { found = { status, text }; } });
    return found && /No cached content/.test(found.text) ? `the session of ${id} is gone` : how;
  };
  const { port } = moon;
  const actions = [
    [40, (d, agent) => request(agent, port, { id: fresh(), body: chatBody(d, false), onAnswer: remember })],
    [26, (d, agent) => request(agent, port, { id: fresh(), body: chatBody(d, true) })],
    [8, (d, agent) => request(agent, port, { id: fresh(), body: chatBody(d, true), leaveAfterMs: d.random() * 60 })],
    [3, (d, agent) => request(agent, port, { id: fresh(), body: chatBody(d, false, 300000), leaveAfterMs: d.random() * 10 })],
    [3, (d, agent) => request(agent, port, { id: fresh(), body: chatBody(d, true), pauseMs: 100 + d.below(200) })],
    [2, (d, agent) => request(agent, port, { id: fresh(), body: chatBody(d, false, 300000), pieces: 2 + d.below(10) })],
    [6, (d, agent) => request(agent, port, { id: fresh(), body: d.pick(['{', '[]', '{"messages":[]}', '{"messages":[1],"stream":"x"}']) })],
    [3, (d, agent) => request(agent, port, { id: fresh(), path: d.pick(['/health', '/v1/models', '/metrics', '/admin/strategy']), method: 'GET' })],
    [3, (d) => { const n = 2 + d.below(5); return pipeline(port, Array.from({ length: n }, fresh), Array.from({ length: n }, () => chatBody(d, d.random() < 0.3))); }],
    [2, (d) => expectContinue(port, fresh(), chatBody(d, false))],
    [1, (d) => halfClose(port, fresh(), chatBody(d, false))],
    [2, verify],
    [5, (d) => talkNonsense(port, d)],
  ];
  const clients = Array.from({ length: CLIENTS }, (_, i) => ({ d: dice(SEED, i), agent: new http.Agent({ keepAlive: i % 4 !== 0, maxSockets: 1 }) }));
  t.after(() => clients.forEach((c) => c.agent.destroy()));

  // ---- operators ----
  const operator = dice(SEED, 5000);
  const post = (target) => ask(moon, { method: 'POST', path: target, ms: 30000 });
  const reload = async (status) => {
    const r = await post('/admin/reload');
    assert.equal(r.status, status, r.text());
  };
  const some = () => {
    const list = providers.filter(() => operator.random() < 0.8);
    return list.length ? list : providers;
  };
  const ORDERS = {
    async switch() {
      // 404: the list has changed in the meantime
      const r = await post(`/admin/providers/${operator.pick('abcd')}/${operator.pick(['drain', 'disable', 'enable', 'enable', 'enable', 'enable', 'enable', 'enable'])}`);
      assert.ok([200, 404].includes(r.status), `switch: ${r.status}`);
    },
    async list() {
      configure(some(), operator.pick(['least-connections', 'round-robin', 'p2c', 'random', 'peak-ewma', 'rendezvous-hash']));
      await reload(200);
    },
    reload: () => reload(200),
    hup: () => moon.signal('SIGHUP'),
    async broken() {
      const text = readFileSync(moon.file);
      writeFileSync(moon.file, operator.pick(['return { prot = 1 }', 'return {', '', 'while true do end', text.subarray(0, text.length >> 1)]));
      await reload(422);
      writeFileSync(moon.file, text);
    },
    async script() {
      writeFileSync(script, `return { abi = 1, ${operator.pick(Object.values(STRATEGIES))} }`);
      configure(some(), script);
      // What fails on trial does not serve; what fails now and then may pass it.
      const r = await post('/admin/reload');
      assert.ok([200, 422].includes(r.status), r.text());
      if (r.status === 422) configure(providers);
    },
    async outage() {
      const p = operator.pick(providers);
      await p.refuse();
      await sleep(50 + operator.random() * 300);
      await p.resume();
    },
    // The same provider somewhere else.
    async move() {
      const p = operator.pick(providers);
      await p.refuse();
      await p.listen(0);
      configure(some());
      await reload(200);
    },
    async upgrade() {
      const before = moon.countLogged(/serves now/);
      const level = readFileSync(moon.file, 'utf8');
      writeFileSync(moon.file, level.replace('"warn"', '"info"')); // the line that names the new process
      moon.signal('SIGHUP');
      await sleep(50 * SLOW);
      await reload(200);
      moon.signal('SIGUSR2');
      await eventually(() => moon.countLogged(/serves now/) > before, 30000, 'the new process');
      moon.pid = Number([...moon.stderr.matchAll(/process (\d+) serves now/g)].at(-1)[1]);
    },
  };
  let upgradeAt = Date.now() + ROUND_MS / 2;
  const operate = async () => {
    const isDue = Date.now() > upgradeAt;
    if (isDue) upgradeAt = Date.now() + 8000;
    const what = isDue ? 'upgrade' : operator.weighted([[4, 'switch'], [3, 'reload'], [3, 'list'], [2, 'outage'], [1, 'hup'], [1, 'broken'], [2, 'script'], [1, 'move']]);
    await ORDERS[what]();
    count(what);
  };

  // ---- what is looked at all the time ----
  let isOver = false;
  let looks = 0;
  const watch = async () => {
    while (!isOver) {
      const began = Date.now();
      const r = await ask(moon, { path: '/health', ms: 20000 });
      const took = Date.now() - began;
      assert.ok([200, 503].includes(r.status), `health: ${r.status}`);
      assert.ok(took < 2000 * SLOW, `/health took ${took} ms`);
      const h = r.json();
      const inFlight = h.loadBalancer.providers.reduce((sum, p) => sum + p.connections, 0);
      // A request has one attempt at a time; each client has one request, but for who pipelines and who has just left.
      assert.ok(inFlight >= 0 && inFlight <= 2 * CLIENTS, `${inFlight} attempts in flight`);
      assert.ok(h.load.activeRequests >= 0 && h.load.activeRequests <= 2 * CLIENTS, `${h.load.activeRequests} active requests`);
      looks++;
      await sleep(50);
    }
  };

  // ---- what must hold while nobody asks ----
  const samples = [];
  const settle = async () => {
    configure(providers);
    await reload(200);
    for (const id of 'abcd') await post(`/admin/providers/${id}/enable`);
    let state;
    await eventually(async () => {
      const h = (await ask(moon, { path: '/health' })).json();
      state = (await ask(moon, { path: '/admin/providers' })).json();
      return h.load.activeRequests <= 1 && h.load.queuedRequests === 0 && state.totalConnections === 0;
    }, 10000, 'nothing in flight');
    for (const p of state.providers) {
      const settled = Object.values(p.outcomes).reduce((a, b) => a + b, 0);
      assert.equal(settled, p.dispatched, `${p.address}: every attempt is settled once`);
      assert.equal(p.connections, 0);
    }
    // A dead kept connection is tried anew; a strategy may ask for the same provider again.
    const tooOften = [...attempts].filter(([id, n]) => id && n > 2 * (1 + MAX_RETRIES));
    assert.deepEqual(tooOften, [], 'attempts of one request');
    attempts.clear();
    samples.push({ pid: moon.pid, files: moon.openFiles(), bytes: moon.residentBytes() });
  };

  // ---- rounds ----
  const watching = watch();
  watching.catch(() => { pauseAt = 0; });
  while (Date.now() < until) {
    pauseAt = Math.min(until, Date.now() + ROUND_MS);
    const work = clients.map(async ({ d, agent }) => {
      while (Date.now() < pauseAt) {
        const how = await d.weighted(actions)(d, agent);
        note(how);
        if (how === 'error') await sleep(d.random() * 50); // or refusals, which are quick, would be most of it
      }
    });
    work.push((async () => {
      while (Date.now() < pauseAt) {
        await operate();
        await sleep(20 + operator.random() * 100);
      }
    })());
    await Promise.all(work);
    await settle();
  }
  isOver = true;
  await watching;
  t.diagnostic(JSON.stringify(ends));
  t.diagnostic(JSON.stringify(operations));
  const last = samples.at(-1);
  const first = samples.find((s) => s.pid === last.pid);
  t.diagnostic(`${samples.length} checks and ${looks} looks; descriptors ${first.files} → ${last.files}, resident MiB ` +
    `${(first.bytes / 2 ** 20).toFixed(1)} → ${(last.bytes / 2 ** 20).toFixed(1)} of the last process`);
  const fine = ['ok', 'error', 'broken', 'left', 'nonsense'];
  assert.deepEqual(Object.keys(ends).filter((k) => !fine.includes(k)), []);
  assert.ok(ends.ok > 5 * SECONDS, 'work was done');
  // Pools of kept connections vary from check to check; growth would not stop there, nor from process to process.
  // Sanitizers keep freed memory for a while, up to what they are given for it.
  const slack = (IS_SANITIZED ? 1024 : 96) * 2 ** 20;
  for (const s of samples) {
    assert.ok(s.files <= samples[0].files + 150, JSON.stringify(samples));
    assert.ok(s.bytes <= samples[0].bytes * 1.5 + slack, JSON.stringify(samples));
  }
});
