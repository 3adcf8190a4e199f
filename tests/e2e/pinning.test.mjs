// X-0G-Provider-Address: a client that insists on one provider.

import assert from 'node:assert/strict';
import test from 'node:test';
import { act } from './fake-provider.mjs';
import { assertError, chat, setup, switchProvider } from './harness.mjs';

const pin = (id) => ({ 'X-0G-Provider-Address': id });

test('the named provider answers every time, whatever the strategy would choose', async (t) => {
  const { moon, byId } = await setup(t, { providers: 3 });
  for (let i = 0; i < 6; i++) assert.equal((await chat(moon, {}, pin('b'))).header('x-provider-address'), 'b');
  assert.deepEqual([byId.a.calls.length, byId.b.calls.length, byId.c.calls.length], [0, 6, 0]);
});

test('its failure reaches the client; nobody else is asked', async (t) => {
  const { moon, byId } = await setup(t, { providers: 2 });
  byId.a.next(act.status(500, { error: { message: 'own trouble' } }));
  const r = await chat(moon, {}, pin('a'));
  assert.equal(r.status, 500);
  assert.match(r.text(), /own trouble/);
  assert.equal(byId.b.calls.length, 0);
});

test('a provider that the operator has switched off is not reached by naming it', async (t) => {
  const { moon, byId } = await setup(t, { providers: 2 });
  assert.equal((await switchProvider(moon, 'a', 'disable')).status, 200);
  assertError(await chat(moon, {}, pin('a')), 503, { code: 'no_available_provider' });
  assert.equal(byId.a.calls.length + byId.b.calls.length, 0);
});

test('an unknown provider is a 404 that names it', async (t) => {
  const { moon } = await setup(t, { providers: 1 });
  assertError(await chat(moon, {}, pin('nobody')), 404, { code: 'provider_not_found', message: /`nobody`/ });
});

test('a provider that does not serve the model is told so', async (t) => {
  const { moon } = await setup(t, { providers: 2, models: { 'only-a': ['a'] } });
  assertError(await chat(moon, { model: 'only-a' }, pin('b')), 404, { code: 'model_not_found', message: /`b`.*`only-a`/ });
  assert.equal((await chat(moon, { model: 'only-a' }, pin('a'))).status, 200);
});
