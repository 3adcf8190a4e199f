import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { SLOW, ask, assertError, eventually, setup } from './harness.mjs';

test('GET /v1/models lists what the providers serve, each model once, as OpenAI does', async (t) => {
  const { moon } = await setup(t, {
    providers: [{ id: 'a', model: 'm-one' }, { id: 'b', model: 'm-two' }, { id: 'c', model: 'm-one' }],
  });
  const r = await ask(moon, { path: '/v1/models' });
  assert.equal(r.status, 200);
  const { object, data } = r.json();
  assert.equal(object, 'list');
  assert.deepEqual(data.map((m) => m.id).sort(), ['m-one', 'm-two']);
  for (const m of data) {
    assert.equal(m.object, 'model');
    assert.equal(typeof m.created, 'number');
    assert.equal(typeof m.owned_by, 'string');
  }
});

test('the openai client can page through it', async (t) => {
  const { moon } = await setup(t);
  const client = new OpenAI({ baseURL: `${moon.url}/v1`, apiKey: 'x', maxRetries: 0 });
  const ids = [];
  for await (const m of client.models.list()) ids.push(m.id);
  assert.deepEqual(ids, ['fake-model']);
});

test('one model is told by its name, however the path spells it; what nobody serves is 404', async (t) => {
  const { moon } = await setup(t, { providers: [{ id: 'a', model: 'org/m-1 b' }, { id: 'b', model: 'org/m-1 b' }], models: { alias: ['a'] } });
  const get = (name) => ask(moon, { path: `/v1/models/${name}` });
  for (const spelled of ['org%2Fm-1%20b', 'org/m-1%20b', 'org%2fm%2d1%20b']) {
    const r = await get(spelled);
    assert.equal(r.status, 200, spelled);
    const { created, ...rest } = r.json();
    assert.equal(typeof created, 'number');
    assert.deepEqual(rest, { id: 'org/m-1 b', object: 'model', owned_by: 'a' });
  }
  assert.equal((await get('alias')).json().owned_by, 'moongate');
  for (const odd of ['nobody', 'org', 'alias%', 'alias%0', 'alias%zz', 'alias%00', '%0aalias%0a', 'x'.repeat(4000)])
    assertError(await get(odd), 404, { code: 'model_not_found' });
});

test('the operator\'s own names are listed too', async (t) => {
  const { moon } = await setup(t, { models: { alias: ['a'] } });
  const { data } = (await ask(moon, { path: '/v1/models' })).json();
  assert.deepEqual(data.map((m) => m.id).sort(), ['alias', 'fake-model']);
});

test('a provider without a configured model is listed with what it says itself', async (t) => {
  const { moon } = await setup(t, { providers: [{ id: 'a', model: null, models: ['own-1', 'own-2'] }] });
  await eventually(async () => {
    const { data } = (await ask(moon, { path: '/v1/models' })).json();
    return data.map((m) => m.id).sort().join() === 'own-1,own-2';
  });
});

test('lists of thousands of names from each of many providers are told in little time, each name once', async (t) => {
  const names = (i) => Array.from({ length: 3000 }, (_, k) => (i * 2000 + k).toString(36));
  const providers = Array.from({ length: 12 }, (_, i) => ({ id: `p${i}`, model: null, models: names(i) }));
  const { moon } = await setup(t, { providers });
  const began = Date.now();
  const r = await ask(moon, { path: '/v1/models' });
  assert.ok(Date.now() - began < 2000 * SLOW, `${Date.now() - began} ms`);
  const ids = r.json().data.map((m) => m.id);
  assert.ok(ids.length > 20000, `${ids.length} names`);
  assert.equal(new Set(ids).size, ids.length);
  for (const name of [names(0)[0], names(5)[1500]]) assert.ok(ids.includes(name));
});
