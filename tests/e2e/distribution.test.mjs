import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertError, chat, eventually, health, openChat, setup } from './harness.mjs';

const shares = (providers) => providers.map((p) => p.calls.length);

test('round-robin gives each of three providers the same number of chats', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3, strategy: 'round-robin' });
  for (let i = 0; i < 30; i++) assert.equal((await chat(moon)).status, 200);
  assert.deepEqual(shares(providers), [10, 10, 10]);
});

test('round-robin takes turns across all workers when chats come at once', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3, strategy: 'round-robin', workers: 2 });
  const answers = await Promise.all(Array.from({ length: 60 }, () => chat(moon)));
  assert.ok(answers.every((r) => r.status === 200));
  assert.deepEqual(shares(providers), [20, 20, 20]);
});

test('round-robin never asks the same provider twice in a row', async (t) => {
  const { moon } = await setup(t, { providers: 3 });
  const order = [];
  for (let i = 0; i < 9; i++) order.push((await chat(moon)).header('x-provider-address'));
  for (let i = 1; i < order.length; i++) assert.notEqual(order[i], order[i - 1], order.join(' '));
});

test('least-connections sends the next chat to the provider with the fewest running', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3, strategy: 'least-connections' });
  const held = new Map();
  for (const p of providers) p.always((call) => held.set(p, [...(held.get(p) ?? []), call]));
  const clients = [];
  for (let n = 1; n <= 6; n++) {
    clients.push(await openChat(moon));
    await eventually(() => providers.reduce((sum, p) => sum + p.calls.length, 0) === n, 5000, 'the call');
  }
  assert.deepEqual(shares(providers), [2, 2, 2]);
  const free = providers[1];
  for (const call of held.get(free)) call.respond(200, { id: 'x' });
  await eventually(async () => {
    const { loadBalancer } = await health(moon);
    return loadBalancer.providers.find((p) => p.address === free.id).connections === 0;
  }, 5000, 'the end of its chats');
  clients.push(await openChat(moon));
  await free.until(() => free.calls.length === 3, 'third call');
  assert.deepEqual(shares(providers), [2, 3, 2]);
  for (const c of clients) c.destroy();
});

test('least-connections weighs: a provider of weight 3 holds three times the chats', async (t) => {
  const { moon, providers } = await setup(t, {
    providers: [{ id: 'light', weight: 1 }, { id: 'heavy', weight: 3 }], strategy: 'least-connections',
  });
  for (const p of providers) p.always(() => {});
  const clients = [];
  for (let n = 1; n <= 8; n++) {
    clients.push(await openChat(moon));
    await eventually(() => shares(providers)[0] + shares(providers)[1] === n, 5000, 'the call');
  }
  assert.deepEqual(shares(providers), [2, 6]);
  for (const c of clients) c.destroy();
});

test('weighted-round-robin keeps to the weights and interleaves', async (t) => {
  const { moon, providers } = await setup(t, {
    providers: [{ id: 'five', weight: 5 }, { id: 'three', weight: 3 }, { id: 'two', weight: 2 }],
    strategy: 'weighted-round-robin', workers: 1,
  });
  const order = [];
  for (let i = 0; i < 50; i++) order.push((await chat(moon)).header('x-provider-address'));
  assert.deepEqual(shares(providers), [25, 15, 10]);
  const bursts = order.filter((id, i) => i >= 2 && id === order[i - 1] && id === order[i - 2]);
  assert.deepEqual(bursts, [], order.join(' '));
});

test('weighted-round-robin takes real weights, and 0 means never while another can', async (t) => {
  const { moon, providers } = await setup(t, {
    providers: [{ id: 'a', weight: 0.5 }, { id: 'b', weight: 1.5 }, { id: 'c', weight: 0 }],
    strategy: 'weighted-round-robin', workers: 1,
  });
  for (let i = 0; i < 40; i++) assert.equal((await chat(moon)).status, 200);
  assert.deepEqual(shares(providers), [10, 30, 0]);
});

test('a provider that does not serve the model gets none of its chats', async (t) => {
  const { moon, providers } = await setup(t, {
    providers: [{ id: 'a', model: 'm1' }, { id: 'b', model: 'm2' }, { id: 'c', model: 'm1' }],
    models: { alias: ['b', 'c'] },
  });
  for (let i = 0; i < 8; i++) await chat(moon, { model: 'm1' });
  assert.deepEqual(shares(providers), [4, 0, 4]);
  for (let i = 0; i < 8; i++) await chat(moon, { model: 'alias' });
  assert.deepEqual(shares(providers), [4, 4, 8]);
  for (let i = 0; i < 9; i++) await chat(moon, { model: 'unknown to all' });
  assert.deepEqual(shares(providers), [7, 7, 11]);
});

test('with strictModels an unknown model is a 404 that reaches nobody', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, strictModels: true });
  assertError(await chat(moon, { model: 'unknown' }), 404, { code: 'model_not_found', type: 'not_found_error' });
  assert.deepEqual(shares(providers), [0, 0]);
  assert.equal((await chat(moon, { model: 'fake-model' })).status, 200);
});
