// Each preset against its promise in service: four workers, scripted providers, shares within 2 %.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import {
  IS_SANITIZED, RawClient, chat, chatRequest, eventually, openChat, requestBytes, setup, within,
} from './harness.mjs';

const WORKERS = 4;
const shares = (providers) => providers.map((p) => p.calls.length);

// Counts as shares of their sum, each within `by` of what is wanted (in proportion to `wanted`).
function assertShares(counts, wanted, by = 0.02) {
  const total = counts.reduce((a, b) => a + b, 0);
  const sum = wanted.reduce((a, b) => a + b, 0);
  counts.forEach((n, i) => {
    const share = n / total;
    assert.ok(Math.abs(share - wanted[i] / sum) <= by, `${counts.join(' ')}: ${share.toFixed(4)}, not ${(wanted[i] / sum).toFixed(4)}`);
  });
}

// `n` chats from `clients` callers at once; each keeps its connection for a while, so that all workers get some.
async function drive(moon, n, { clients = 16, request = () => [{}, {}], perConnection = 25 } = {}) {
  let next = 0;
  await Promise.all(Array.from({ length: clients }, async () => {
    while (next < n) {
      const client = await RawClient.connect(moon.port);
      for (let k = 0; k < perConnection && next < n; k++) {
        client.send(requestBytes(chatRequest(...request(next++))));
        const r = await client.response();
        assert.equal(r.status, 200, r.text());
      }
      client.destroy();
    }
  }));
}

// The smallest answer: what is measured is the choice.
const brief = (call) => call.respond(200, { id: 'x' });

async function start(t, list, strategy, config = {}) {
  const started = await setup(t, { providers: list, strategy, workers: WORKERS, ...config });
  for (const p of started.providers) p.always(brief);
  return started;
}

test('round-robin: 3,000 chats over four workers differ by at most one', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'a' }, { id: 'b' }, { id: 'c' }], 'round-robin');
  await drive(moon, 3000);
  const counts = shares(providers);
  assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join(' '));
});

test('weighted-round-robin: shares follow the weights', async (t) => {
  const { moon, providers } = await start(t,
    [{ id: 'a', weight: 5 }, { id: 'b', weight: 3 }, { id: 'c', weight: 2 }, { id: 'd', weight: 0 }], 'weighted-round-robin');
  await drive(moon, 2000);
  assertShares(shares(providers), [5, 3, 2, 0]);
});

test('random: shares follow the weights', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'a', weight: 1 }, { id: 'b', weight: 6 }, { id: 'c', weight: 0 }], 'random');
  await drive(moon, 8000);
  assertShares(shares(providers), [1, 6, 0]);
});

test('p2c: shares follow the weights', async (t) => {
  const { moon, providers } = await start(t,
    [{ id: 'a', weight: 1 }, { id: 'b', weight: 1 }, { id: 'c', weight: 2 }, { id: 'd', weight: 0 }], 'p2c');
  for (const p of providers) p.always(act.slow(20, brief));
  await drive(moon, 4000, { clients: 64 });
  assertShares(shares(providers), [1, 1, 2, 0]);
});

// Callers that ask again as soon as they are answered, over providers whose answers take as long as `times` says, by a
// clock of the test's own: the next to end is answered, and nothing moves on until the caller's next chat has arrived.
// How fast this machine is makes no difference.
async function inVirtualTime(t, { times, strategy, chats, steps }) {
  const { moon, providers } = await start(t, Object.keys(times).map((id) => ({ id })), strategy);
  const running = new Map(providers.map((p) => [p.id, 0]));
  const ended = new Map(running);
  const held = []; // what runs, with the time at which it is to end
  let now = 0;
  let onArrival = null;
  for (const p of providers) {
    p.always((call) => {
      running.set(p.id, running.get(p.id) + 1);
      held.push({ call, id: p.id, at: now + times[p.id] * (0.5 + Math.random()) });
      onArrival?.();
    });
  }
  const arrival = () => within(new Promise((resolve) => (onArrival = resolve)), 10000, 'the next call');
  const clients = new Set();
  const caller = async () => {
    for (let isOver = false; !isOver;) {
      const client = await RawClient.connect(moon.port);
      clients.add(client);
      client.send(requestBytes(chatRequest()));
      isOver = await client.response({ ms: 120000 }).then(() => false, () => true); // cut off at the test's end
      client.destroy();
      clients.delete(client);
    }
  };
  for (let n = 0; n < chats; n++) {
    const arrived = arrival();
    caller();
    await arrived;
  }
  let widest = 0;
  for (let step = 0; step < steps; step++) {
    held.sort((x, y) => x.at - y.at);
    const { call, id, at } = held.shift();
    now = at;
    running.set(id, running.get(id) - 1);
    ended.set(id, ended.get(id) + 1);
    const arrived = arrival();
    brief(call);
    await arrived;
    const counts = [...running.values()];
    widest = Math.max(widest, Math.max(...counts) - Math.min(...counts));
  }
  for (const c of clients) c.destroy();
  return { widest, ended: [...ended.values()] };
}

test('least-connections: four workers, skewed times: never more than 2 apart; shares inverse to the times', async (t) => {
  const { widest, ended } = await inVirtualTime(t,
    { times: { fast: 1, middle: 2, slow: 4 }, strategy: 'least-connections', chats: 30, steps: 3000 });
  assert.ok(widest <= 2, `${widest} apart`);
  assertShares(ended, [4, 2, 1]);
});

test('least-connections: weights, under chats that come all at once', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'a', weight: 1 }, { id: 'b', weight: 3 }], 'least-connections');
  const held = [];
  for (const p of providers) p.always((call) => held.push(call));
  const clients = await Promise.all(Array.from({ length: 200 }, () => openChat(moon)));
  await eventually(() => held.length === 200, 10000, 'the calls');
  assertShares(shares(providers), [1, 3]);
  for (const c of clients) c.destroy();
});

// A machine that stalls for a moment makes one slow answer, which the strategy remembers for ten seconds, as it should.
// So each of the two has some rounds to come true, and sanitizers are left out.
const MEASURED = IS_SANITIZED && 'times are not those of a plain build';

test('peak-ewma: alike providers get alike shares, a slow one less than its slowness alone would take', { skip: MEASURED }, async (t) => {
  const { moon, providers, byId } = await start(t, [{ id: 'a' }, { id: 'b' }], 'peak-ewma');
  const round = async (isTrue) => {
    for (let left = 6; ; left--) {
      const before = shares(providers);
      await drive(moon, 500, { clients: 40 });
      const counts = shares(providers).map((n, i) => n - before[i]);
      if (isTrue(counts)) return;
      assert.ok(left > 1, counts.join(' '));
    }
  };
  for (const p of providers) p.always(act.slow(150, brief));
  await round(([a, b]) => Math.abs(a - b) / (a + b) <= 0.04); // each within 2 % of a half
  byId.b.always(act.slow(450, brief));
  // The same number in flight would give it a quarter. In flight inverse to the times, as here, makes it a tenth.
  await round(([a, b]) => b / (a + b) < 0.16);
});

test('priority: the first tier alone while it has room, then exactly the overflow', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'first', priority: 1 }, { id: 'second', priority: 2 }], 'priority',
    { strategyOptions: { maxInFlight: 10 } });
  await drive(moon, 500, { clients: 8 });
  assert.deepEqual(shares(providers), [500, 0]);
  const held = [];
  for (const p of providers) p.always((call) => held.push(call));
  const clients = [];
  for (let n = 1; n <= 16; n++) {
    clients.push(await openChat(moon));
    await eventually(() => held.length === n, 5000, 'the call');
  }
  assert.deepEqual(shares(providers), [510, 6]);
  for (const c of clients) c.destroy();
});

test('rendezvous-hash: sessions stay, and spread by weight', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'a', weight: 1 }, { id: 'b', weight: 2 }, { id: 'c', weight: 1 }], 'rendezvous-hash',
    { strategyOptions: { loadFactor: 1000 } });
  await drive(moon, 4000, { request: (i) => [{}, { 'X-Session-Id': `session ${i}` }] });
  assertShares(shares(providers), [1, 2, 1]);
  const homes = new Map();
  for (let i = 0; i < 60; i++) {
    const key = `session ${i % 12}`;
    const at = (await chat(moon, {}, { 'X-Session-Id': key })).header('x-provider-address');
    assert.equal(homes.get(key) ?? at, at, key);
    homes.set(key, at);
  }
  assert.ok(new Set(homes.values()).size > 1);
});

test('rendezvous-hash: a popular session never holds more than 1.25 times the fair share', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'a' }, { id: 'b' }, { id: 'c' }, { id: 'd' }], 'rendezvous-hash');
  const held = [];
  for (const p of providers) p.always((call) => held.push(call));
  const clients = [];
  for (let n = 1; n <= 80; n++) {
    clients.push(await openChat(moon, {}, { 'X-Session-Id': 'everybody' }));
    await eventually(() => held.length === n, 5000, 'the call');
  }
  assert.ok(Math.max(...shares(providers)) <= 25, shares(providers).join(' '));
  for (const c of clients) c.destroy();
});

test('cheapest: every chat goes where its own length is cheapest', async (t) => {
  const { moon, providers } = await start(t, [{ id: 'in' }, { id: 'out' }, { id: 'unknown' }], 'cheapest',
    { strategyOptions: { prices: { in: [1, 10], out: [4, 2] } } });
  await drive(moon, 300, { request: () => [{ max_tokens: 1, pad: 'x'.repeat(2000) }, {}] });
  assert.deepEqual(shares(providers), [300, 0, 0]);
  await drive(moon, 300, { request: () => [{ max_tokens: 4000 }, {}] });
  assert.deepEqual(shares(providers), [300, 300, 0]);
});
