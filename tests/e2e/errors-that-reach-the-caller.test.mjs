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

// [what the provider says, whole seconds that the caller is told, the least and the most that the provider is left alone]
const PAUSES = [
  [{ 'Retry-After': '7' }, '7', 6000, 7000],
  [{ 'retry-after-ms': '1500' }, '2', 1000, 1500],
  [{ 'retry-after-ms': '1500.5', 'Retry-After': '9' }, '2', 1000, 1501],
  [{ 'Retry-After': '2.5' }, '3', 2000, 2500],
  [{ 'Retry-After': 'soon' }, '1', 500, 1000],
  [{}, '1', 500, 1000],
  [{ 'x-ratelimit-remaining-requests': '0', 'x-ratelimit-reset-requests': '6s', 'x-ratelimit-remaining-tokens': '5000', 'x-ratelimit-reset-tokens': '1h' }, '6', 5000, 6000],
  [{ 'x-ratelimit-remaining-tokens': '0', 'x-ratelimit-reset-tokens': '1m2.5s' }, '63', 60000, 62500],
  [{ 'x-ratelimit-remaining-requests': '3', 'x-ratelimit-reset-requests': '20s' }, '1', 500, 1000],
];

test('however a provider says how long to wait, it is left alone so long, and the caller is told in whole seconds', async (t) => {
  const { moon, providers } = await setup(t, { providers: PAUSES.map((_, i) => ({ id: `p${i}`, model: `m${i}` })), maxRetries: 0 });
  for (const [i, [fields, told, least, most]] of PAUSES.entries()) {
    providers[i].next(act.status(429, undefined, fields));
    const r = await chat(moon, { model: `m${i}` });
    assert.equal(r.status, 429);
    assert.deepEqual(r.all('retry-after'), [told], JSON.stringify(fields));
    const { cooldownMs } = await counters(moon, `p${i}`);
    assert.ok(cooldownMs >= least && cooldownMs <= most, `${JSON.stringify(fields)}: ${cooldownMs}`);
  }
});

test('an overloaded provider rests for its Retry-After while somebody else is there, and only then', async (t) => {
  const { moon, byId } = await setup(t, { providers: 2, maxRetries: 1 });
  byId.a.next(act.status(503, undefined, { 'Retry-After': '60' }));
  for (let i = 0; i < 6; i++) assert.equal((await chat(moon)).status, 200);
  assert.equal(byId.a.calls.length, 1);
  await byId.b.refuse();
  assert.equal((await chat(moon, {}, { 'X-0G-Provider-Address': 'a' })).status, 200);
});

test('clients that ask again by themselves are told not to, once others were tried', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, health: { ejectAfter: 0 } });
  const advice = async (behaviour) => {
    for (const p of providers) p.always(behaviour);
    return (await chat(moon)).all('x-should-retry');
  };
  assert.deepEqual(await advice(act.status(500)), ['false']);
  assert.deepEqual(await advice(act.reset()), ['false']);
  assert.deepEqual(await advice(act.status(500, undefined, { 'x-should-retry': 'true' })), ['true']);
  assert.deepEqual(await advice(act.status(400)), []);
  assert.deepEqual(await advice(act.status(503)), [], 'there, Retry-After says when');
  const alone = await setup(t, { providers: 1 });
  alone.providers[0].always(act.status(500));
  assert.deepEqual((await chat(alone.moon)).all('x-should-retry'), [], 'nobody else was tried');
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
