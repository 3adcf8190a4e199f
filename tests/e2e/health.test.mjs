import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, chat, eventually, health, openChat, setup } from './harness.mjs';

test('/health has the shape that scripts rely on', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', model: 'm-a' }, { id: 'b', model: 'm-b' }] });
  const r = await ask(moon, { path: '/health' });
  assert.equal(r.status, 200);
  assert.match(r.header('content-type'), /^application\/json/);
  const { status, loadBalancer } = r.json();
  assert.equal(status, 'healthy');
  assert.equal(loadBalancer.totalProviders, 2);
  assert.equal(loadBalancer.healthyProviders, 2);
  assert.equal(loadBalancer.totalConnections, 0);
  assert.equal(loadBalancer.activeSessions, 0);
  assert.deepEqual(loadBalancer.providers.map((p) => p.address), ['a', 'b']);
  for (const [i, p] of loadBalancer.providers.entries()) {
    assert.equal(p.endpoint, `${providers[i].origin}/v1`);
    assert.equal(p.model, `m-${p.address}`);
    assert.equal(p.isHealthy, true);
    assert.equal(p.connections, 0);
    assert.ok('lastHealthCheck' in p);
  }
  const checked = await eventually(async () => (await health(moon)).loadBalancer.providers.every((p) => p.lastHealthCheck) && (await health(moon)));
  for (const p of checked.loadBalancer.providers) {
    const at = new Date(p.lastHealthCheck).getTime();
    assert.ok(Math.abs(Date.now() - at) < 60000, `lastHealthCheck is ${p.lastHealthCheck}`);
  }
});

test('running chats are counted while they run', async (t) => {
  const { moon, providers } = await setup(t);
  const next = providers[0].manual();
  const client = await openChat(moon);
  const call = await next;
  const during = await health(moon);
  assert.equal(during.loadBalancer.totalConnections, 1);
  assert.equal(during.loadBalancer.providers[0].connections, 1);
  call.respond(200, { id: 'x' });
  await client.response();
  await eventually(async () => (await health(moon)).loadBalancer.totalConnections === 0);
  client.destroy();
});

test('a provider dies, the service is degraded and serves on; it returns, all is healthy', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, healthCheckInterval: 200 });
  await providers[0].refuse();
  const degraded = await eventually(async () => {
    const h = await health(moon);
    return h.status === 'degraded' && h;
  });
  assert.equal(degraded.loadBalancer.healthyProviders, 1);
  assert.deepEqual(degraded.loadBalancer.providers.map((p) => p.isHealthy), [false, true]);
  assert.equal((await ask(moon, { path: '/health' })).status, 200);
  for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).header('x-provider-address'), 'b');
  await providers[0].resume();
  await eventually(async () => (await health(moon)).status === 'healthy');
  const served = new Set();
  for (let i = 0; i < 4; i++) served.add((await chat(moon)).header('x-provider-address'));
  assert.deepEqual([...served].sort(), ['a', 'b']);
});

test('with nobody healthy /health is a 503 that says so', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, healthCheckInterval: 200 });
  for (const p of providers) await p.refuse();
  const sick = await eventually(async () => {
    const r = await ask(moon, { path: '/health' });
    return r.status === 503 && r;
  });
  assert.equal(sick.json().status, 'unhealthy');
  assert.equal(sick.json().loadBalancer.healthyProviders, 0);
  for (const p of providers) await p.resume();
  await eventually(async () => (await health(moon)).status === 'healthy');
});

test('a provider that cannot be reached at the start does not stop the start', async (t) => {
  const { moon } = await setup(t, { providers: [{ id: 'gone', endpoint: 'http://127.0.0.1:1/v1' }, { id: 'b' }], waitProbed: false });
  await eventually(async () => (await health(moon)).status === 'degraded');
  for (let i = 0; i < 3; i++) assert.equal((await chat(moon)).status, 200);
});

test('a change of health is logged once, not at each probe', async (t) => {
  const { moon, providers } = await setup(t, { healthCheckInterval: 100 });
  providers[0].onModels = (call) => call.respond(500, 'down');
  await eventually(async () => (await health(moon)).status === 'unhealthy');
  const seen = providers[0].probes;
  await providers[0].until((p) => p.probes >= seen + 4, 'further probes');
  assert.equal(moon.countLogged(/Health check failed for provider/), 1, moon.stderr);
});

test('one failed probe among good ones is no illness', async (t) => {
  const { moon, providers } = await setup(t, { healthCheckInterval: 100 });
  let n = 0;
  const good = (call) => call.respond(200, { object: 'list', data: [] });
  providers[0].onModels = (call) => (++n % 2 ? call.respond(500, 'hiccup') : good(call));
  await eventually(() => n >= 6);
  assert.equal(moon.countLogged(/Health check failed for provider/), 0, moon.stderr);
  assert.equal((await health(moon)).status, 'healthy');
});

test('a provider that never answers its probe is unhealthy after the probe\'s own time', async (t) => {
  const { moon, providers } = await setup(t, { healthCheckInterval: 200, healthCheckTimeout: 300, providers: [{ id: 'a' }, { id: 'b' }] });
  providers[0].onModels = () => {};
  await eventually(async () => (await health(moon)).loadBalancer.healthyProviders === 1);
  assert.equal((await health(moon)).loadBalancer.providers[1].isHealthy, true);
});

test('healthPath is what is probed, with the provider\'s own key', async (t) => {
  const { providers } = await setup(t, { providers: [{ id: 'a', healthPath: '/up/models', apiKey: 'sk-probe-key' }] });
  assert.equal(providers[0].requests[0].target, '/v1/up/models');
  assert.equal(providers[0].requests[0].header('authorization'), 'Bearer sk-probe-key');
});

test('without healthPath a 404 of the model list is no failure', async (t) => {
  const { moon, providers } = await setup(t, { healthCheckInterval: 100 });
  providers[0].onModels = (call) => call.respond(404, 'no list here');
  const seen = providers[0].probes;
  await providers[0].until((p) => p.probes >= seen + 4, 'further probes');
  assert.equal((await health(moon)).status, 'healthy');
});
