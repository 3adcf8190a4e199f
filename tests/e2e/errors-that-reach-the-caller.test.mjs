import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import { assertError, chat, counters, health, setup } from './harness.mjs';

test('when all attempts fail the client gets the last provider\'s own error', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3 });
  const order = [];
  for (const p of providers)
    p.always((call) => {
      order.push(p.id);
      call.respond(500 + order.length, `{"error" : {"message":"trouble number ${order.length}"}}`, { 'Content-Type': 'application/json' });
    });
  const r = await chat(moon);
  assert.equal(order.length, 3);
  assert.equal(r.status, 503);
  assert.equal(r.text(), '{"error" : {"message":"trouble number 3"}}');
  assert.equal(r.header('x-provider-address'), order[2]);
  assert.ok(r.header('x-request-id'));
});

test('when no provider can be reached the client gets 502 provider_error', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  for (const p of providers) await p.refuse();
  assertError(await chat(moon), 502, { code: 'provider_error', type: 'server_error' });
});

const MISTAKES = [400, 404, 405, 409, 410, 413, 415, 422];

for (const status of MISTAKES) {
  test(`a caller's own mistake (${status}) is relayed as it came and harms nobody`, async (t) => {
    const { moon, providers } = await setup(t, { providers: 2 });
    const body = `{"error":{"message":"your mistake ${status}","type":"t","param":"p","code":"c"}}\n`;
    for (const p of providers) p.always(act.status(status, body, { 'Content-Type': 'application/json', 'X-Detail': 'd' }));
    for (let i = 0; i < 12; i++) {
      const r = await chat(moon);
      assert.equal(r.status, status);
      assert.equal(r.text(), body);
      assert.equal(r.header('x-detail'), 'd');
    }
    assert.equal(providers[0].calls.length + providers[1].calls.length, 12, 'none was tried again');
    const h = await health(moon);
    assert.equal(h.status, 'healthy');
    for (const p of providers) p.always(act.ok());
    for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).status, 200);
    assert.deepEqual(providers.map((p) => p.calls.length), [8, 8], 'both are still asked in turn');
  });
}

test('a refusal for its content is relayed and not tried elsewhere', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  const body = '{"error":{"message":"no","type":"invalid_request_error","code":"content_policy_violation"}}';
  for (const p of providers) p.always(act.status(400, body, { 'Content-Type': 'application/json' }));
  const r = await chat(moon);
  assert.equal(r.status, 400);
  assert.equal(r.text(), body);
  assert.equal(providers[0].calls.length + providers[1].calls.length, 1);
});

for (const status of [401, 403]) {
  test(`a provider's ${status} is never relayed`, async (t) => {
    const { moon, providers } = await setup(t, { providers: [{ id: 'a', apiKey: 'sk-our-own-secret-key' }] });
    providers[0].always(act.echoAuthorization(status));
    const r = await chat(moon);
    assertError(r, 502, { message: 'provider refused our credentials' });
    assert.doesNotMatch(r.head + r.text(), /sk-our-own-secret-key/);
  });
}

test('account trouble in a 400 is not shown to the caller as a mistake of his', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].always(act.status(400, { error: 'validate session: session token expired' }));
  const r = await chat(moon);
  assert.ok(r.status >= 500, `status ${r.status}`);
});

test('a rate-limited provider rests for its Retry-After while the others serve', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  providers[0].always(act.status(429, undefined, { 'Retry-After': '60' }));
  for (let i = 0; i < 10; i++) assert.equal((await chat(moon)).status, 200);
  assert.equal(providers[0].calls.length, 1);
  assert.equal(providers[1].calls.length, 10);
  const h = await health(moon);
  assert.equal(h.status, 'healthy', 'a rate limit is no illness');
});

test('a pause ends when its Retry-After has passed', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.status(429, undefined, { 'Retry-After': '1' }));
  assert.equal((await chat(moon)).status, 429);
  const started = Date.now();
  for (;;) {
    const r = await chat(moon);
    if (r.status === 200) break;
    assertError(r, 503, { code: 'no_available_provider' });
    assert.equal(r.header('retry-after'), '1');
    assert.ok(Date.now() - started < 60000);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  assert.ok(Date.now() - started > 500);
  assert.equal(providers[0].calls.length, 2);
});

test('when everyone is rate-limited nobody is asked: 503 with the Retry-After that helps', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  providers[0].always(act.status(429, undefined, { 'Retry-After': '100' }));
  providers[1].always(act.status(429, undefined, { 'Retry-After': '30' }));
  const first = await chat(moon);
  assert.equal(first.status, 429);
  const r = await chat(moon);
  assertError(r, 503, { code: 'no_available_provider', type: 'server_error' });
  const after = Number(r.header('retry-after'));
  assert.ok(after >= 25 && after <= 30, `Retry-After: ${after}`);
  assert.deepEqual(providers.map((p) => p.calls.length), [1, 1]);
});

test('a provider that fails again and again is left out, and asked again when nobody else is left', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  providers[0].always(act.status(500));
  for (let i = 0; i < 20; i++) assert.equal((await chat(moon)).status, 200);
  assert.equal(providers[0].calls.length, 3, 'ejected after three failures in a row');
  await providers[1].refuse();
  providers[0].always(act.ok());
  for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).status, 200);
  assert.ok(providers[0].calls.length >= 7);
});

test('with panic = "refuse" nobody is asked when nobody is healthy', async (t) => {
  const { moon, providers } = await setup(t, { panic: 'refuse' });
  providers[0].always(act.status(500));
  for (let i = 0; i < 3; i++) assert.equal((await chat(moon)).status, 500);
  const r = await chat(moon);
  assertError(r, 503, { code: 'no_available_provider' });
  assert.ok(Number(r.header('retry-after')) >= 1);
  assert.equal(providers[0].calls.length, 3);
});

test('attempts are counted by class', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.ok(), act.status(500), act.status(429, undefined, { 'Retry-After': '0' }));
  for (let i = 0; i < 3; i++) await chat(moon);
  const text = JSON.stringify(await counters(moon, 'a'));
  for (const name of ['ok', 'server', 'rate_limited']) assert.match(text, new RegExp(`"${name}": ?1\\b`));
});
