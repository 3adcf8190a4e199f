import assert from 'node:assert/strict';
import { File } from 'node:buffer';
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

test('a model that only a provider\'s own list names goes to those that list it, until the list changes', async (t) => {
  const { moon, byId } = await setup(t, {
    providers: [{ id: 'a', model: null, models: ['m-one', 'both'] }, { id: 'b', model: null, models: ['m-two', 'both'] }, { id: 'c', model: 'fixed' }],
    healthCheckInterval: 100, strictModels: true,
  });
  const who = async (model, expected) => {
    const seen = new Set();
    for (let i = 0; i < 8; i++) {
      const r = await ask(moon, { method: 'POST', path: '/v1/chat/completions', body: JSON.stringify({ model, messages: [1] }) });
      seen.add(r.status === 200 ? r.header('x-provider-address') : r.json().error.code);
    }
    return [...seen].sort().join() === expected;
  };
  await eventually(() => who('m-one', 'a'));
  assert.ok(await who('m-two', 'b'));
  assert.ok(await who('both', 'a,b'));
  assert.ok(await who('fixed', 'c'));
  assert.ok(await who('nobody', 'model_not_found'));
  byId.a.models = ['m-two'];
  await eventually(() => who('m-two', 'a,b'));
  assert.ok(await who('m-one', 'model_not_found'));
});

// A form as clients send it; a field's value may repeat.
function form(fields, type = 'multipart/form-data; boundary=--x--y') {
  const parts = fields.map(([name, value]) => `----x--y\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`);
  return { method: 'POST', path: '/v1/audio/transcriptions', headers: { 'Content-Type': type }, body: `${parts.join('')}----x--y--\r\n` };
}

test('the model of a form chooses its provider, and the form passes as it came', async (t) => {
  const { moon, byId } = await setup(t, {
    providers: [{ id: 'a', model: 'm-one' }, { id: 'b', model: 'm-two' }, { id: 'c', model: 'm-three' }], models: { alias: ['c'] }, strictModels: true,
  });
  const file = ['file"; filename="model', '\r\nname="model"\r\n\r\nm-one\r\n----x'];
  for (const [model, id] of [['m-one', 'a'], ['m-two', 'b'], ['alias', 'c']]) {
    for (const fields of [[file, ['model', model]], [['model', model], file]]) {
      const request = form(fields);
      for (let i = 0; i < 3; i++) assert.equal((await ask(moon, request)).header('x-provider-address'), id);
      assert.equal(byId[id].calls.at(-1).body.toString(), request.body);
    }
  }
  assertError(await ask(moon, form([['model', 'nobody']])), 404, { code: 'model_not_found' });
});

test('a form that names two models, or none that can be one, is refused', async (t) => {
  const { moon, providers } = await setup(t);
  for (const fields of [[['model', 'fake-model'], ['model', 'fake-model']], [['model', '']], [['model', 'a\nb']], [['model', 'x'.repeat(257)]], [['stream', 'true'], ['stream', 'false']]])
    assertError(await ask(moon, form(fields)), 400, { type: 'invalid_request_error' });
  assert.equal(providers[0].calls.length, 0);
});

test('a form without a model, and what is no form, go to everyone', async (t) => {
  const { moon } = await setup(t, { providers: [{ id: 'a', model: 'm-one' }, { id: 'b', model: 'm-two' }] });
  for (const request of [form([['prompt', 'x']]), form([['model', 'm-one']], 'multipart/form-data'), form([['model', 'm-one']], 'application/octet-stream')]) {
    const seen = new Set();
    for (let i = 0; i < 4; i++) seen.add((await ask(moon, request)).header('x-provider-address'));
    assert.deepEqual([...seen].sort(), ['a', 'b']);
  }
});

test('the openai client transcribes a file', async (t) => {
  const { moon, byId } = await setup(t, { providers: [{ id: 'a', model: 'm-one' }, { id: 'b', model: 'whisper-1' }] });
  byId.b.always((call) => call.respond(200, { text: 'heard' }));
  const client = new OpenAI({ baseURL: `${moon.url}/v1`, apiKey: 'x', maxRetries: 0 });
  const sound = new File([Buffer.alloc(100000, '\r\n--')], 'sound.wav');
  for (let i = 0; i < 3; i++) assert.equal((await client.audio.transcriptions.create({ file: sound, model: 'whisper-1' })).text, 'heard');
  assert.equal(byId.a.calls.length, 0);
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
