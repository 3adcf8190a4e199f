import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import {
  SLOW, RawClient, ask, assertError, chat, chatRequest, counters, eventually, health, openChat, requestBytes, setup, sleep,
} from './harness.mjs';

const connectMany = (port, n) => Promise.all(Array.from({ length: n }, () => RawClient.connect(port)));
const destroyAll = (clients) => clients.forEach((c) => c.destroy());

// Streams that begin and then hang until the client leaves.
function hold(provider) {
  provider.always((call) => {
    if (!call.wantsStream) return act.ok()(call);
    call.streamHead();
    return call.delta('first');
  });
}

// The start-up test of the script guard takes processor time of its own.
const settled = (moon) => eventually(async () => (await health(moon)).strategy.guard !== null, 10000, 'the end of the start');

// How much of one processor the daemon takes while nothing new happens.
async function processorShare(moon, ms) {
  const before = moon.processorMs();
  const from = Date.now();
  await sleep(ms);
  return (moon.processorMs() - before) / (Date.now() - from);
}

test('far more idle clients than descriptors: requests are served, and nothing spins', async (t) => {
  const { moon } = await setup(t, { daemon: { files: 160 } });
  await settled(moon);
  const idle = [];
  t.after(() => destroyAll(idle));
  for (let i = 0; i < 8; i++) {
    idle.push(...(await connectMany(moon.port, 40)));
    await sleep(120 * SLOW); // who came just now is spared
  }
  const { load } = await health(moon);
  assert.ok(load.maxClients > 50 && load.clients <= load.maxClients + 1, JSON.stringify(load));
  for (let i = 0; i < 20; i++) assert.equal((await chat(moon)).status, 200);
  assert.ok((await processorShare(moon, 1000)) < 0.1, 'processor time at the limit');
});

test('clients that all wait for answers fill the house: the next are told, health and admin answer, and it passes', async (t) => {
  const { moon, providers } = await setup(t, { daemon: { files: 160 } });
  await settled(moon);
  hold(providers[0]);
  const busy = [];
  t.after(() => destroyAll(busy));
  let refused;
  while (!refused && busy.length < 200) {
    const client = await openChat(moon, { stream: true });
    busy.push(client);
    await client.until('\r\n\r\n');
    if (!client.bytes.toString('latin1').startsWith('HTTP/1.1 200 ')) refused = await client.response();
  }
  assertError(refused, 503, { code: 'overloaded', type: 'server_error' });
  assert.equal(refused.header('retry-after'), '1');
  assert.ok(busy.length > 20, `${busy.length} at a time`);
  const idle = await connectMany(moon.port, 150); // takes what is left, and more
  busy.push(...idle);
  for (let i = 0; i < 5; i++) {
    await sleep(30 * SLOW); // who came just now is spared, and would be in the way
    assert.equal((await health(moon)).status, 'healthy', 'no provider is blamed');
    assert.equal((await counters(moon, 'a')).isHealthy, true);
  }
  assert.ok((await processorShare(moon, 1000)) < 0.1, 'processor time at the limit');
  destroyAll(busy);
  await eventually(async () => (await chat(moon)).status === 200, 2000, 'service after the release');
});

test('with no descriptor left at all clients are told so, and providers are not blamed', async (t) => {
  const { moon, providers } = await setup(t, { workers: 1, healthCheckInterval: 50 });
  await settled(moon);
  hold(providers[0]);
  const busy = [];
  t.after(() => destroyAll(busy));
  for (let i = 0; i < 20; i++) busy.push(await openChat(moon, { stream: true }));
  for (const client of busy) await client.until('first');
  const before = moon.openFiles();
  moon.limitFiles(before - 10);
  const client = await RawClient.connect(moon.port);
  busy.push(client);
  client.send(requestBytes(chatRequest({ stream: true })));
  assertError(await client.response(), 503, { code: 'overloaded' });
  assert.ok((await processorShare(moon, 1000)) < 0.1, 'processor time without descriptors');
  moon.limitFiles(before + 100);
  await eventually(async () => (await chat(moon)).status === 200, 2000, 'service after the release');
  const a = await counters(moon, 'a');
  assert.deepEqual([a.isHealthy, a.probesFailed, a.outcomes.connect], [true, 0, 0]);
});

test('maxConnectionsPerAddress bounds each address, and gives back what it counted', async (t) => {
  const { moon } = await setup(t, { maxConnectionsPerAddress: 3 });
  const clients = await connectMany(moon.port, 3);
  t.after(() => destroyAll(clients));
  for (const client of clients) {
    client.send(requestBytes({ path: '/health' }));
    await client.response();
  }
  const fourth = await RawClient.connect(moon.port);
  const r = await fourth.response();
  assertError(r, 429, { code: 'too_many_connections', type: 'rate_limit_error' });
  assert.equal(r.header('retry-after'), '1');
  await fourth.waitClosed();
  const elsewhere = await RawClient.connect(moon.port, { localAddress: '127.0.0.2' });
  clients.push(elsewhere);
  elsewhere.send(requestBytes(chatRequest()));
  assert.equal((await elsewhere.response()).status, 200);
  for (let i = 0; i < 3; i++) {
    clients.shift().destroy();
    await eventually(async () => {
      const next = await RawClient.connect(moon.port);
      next.send(requestBytes(chatRequest()));
      const answer = await next.response();
      if (answer.status !== 200) return next.destroy();
      clients.push(next);
      return true;
    }, 5000, 'a place that came free');
  }
});

test('beyond maxActiveRequests requests wait in order, then they are refused; local routes never wait', async (t) => {
  const { moon, providers } = await setup(t, { maxActiveRequests: 1, maxQueuedRequests: 2, workers: 1 });
  const first = providers[0].manual();
  const running = await openChat(moon);
  const call = await first;
  const order = [];
  const waiting = [];
  for (const name of ['second', 'third']) {
    const client = await openChat(moon, {}, { 'X-Request-Id': name });
    waiting.push(client.response().then((r) => {
      order.push(r.header('x-request-id'));
      return r;
    }));
    await eventually(async () => (await health(moon)).load.queuedRequests === order.length + waiting.length, 5000, name);
  }
  const refused = await chat(moon);
  assertError(refused, 503, { code: 'overloaded' });
  assert.equal(refused.header('retry-after'), '1');
  assert.equal((await ask(moon, { path: '/admin/providers' })).status, 200);
  act.ok()(call);
  assert.equal((await running.response()).status, 200);
  for (const r of await Promise.all(waiting)) assert.equal(r.status, 200);
  assert.deepEqual(order, ['second', 'third']);
  assert.deepEqual((await health(moon)).load.queuedRequests, 0);
  running.destroy();
});

test('who has waited for timeouts.queue is refused, and who leaves the queue leaves nothing behind', async (t) => {
  const { moon, providers } = await setup(t, { maxActiveRequests: 1, timeouts: { queue: 100 } });
  const first = providers[0].manual();
  const running = await openChat(moon);
  const call = await first;
  assertError(await chat(moon), 503, { code: 'overloaded', message: /no turn came/ });
  const leaver = await openChat(moon);
  await eventually(async () => (await health(moon)).load.queuedRequests === 1, 5000, 'the queue');
  leaver.destroy();
  await eventually(async () => (await health(moon)).load.queuedRequests === 0, 5000, 'an empty queue');
  act.ok()(call);
  assert.equal((await running.response()).status, 200);
  assert.equal((await chat(moon)).status, 200);
  assert.equal(providers[0].calls.length, 2, 'those that waited in vain were never sent');
  running.destroy();
});
