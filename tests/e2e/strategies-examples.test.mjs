// The strategies under examples/: each loads with its settings, and does what its README says.

import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { act } from './fake-provider.mjs';
import { ask, assertError, chat, eventually, health, runMoongate, setup } from './harness.mjs';

const EXAMPLES = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../examples');
const strategy = (name) => path.join(EXAMPLES, name, 'strategy.lua');
const FOLDERS = readdirSync(EXAMPLES).filter((name) => existsSync(strategy(name)));
const shares = (providers) => providers.map((p) => p.calls.length);

test('each example passes check, names one command, and stands in the list', async () => {
  for (const name of ['custom_strategy', 'tenant_routing', 'retry_policy', 'health_by_error_rate', 'prequal', 'stateful_reload'])
    assert.ok(FOLDERS.includes(name), name);
  const list = readFileSync(path.join(EXAMPLES, 'README.md'), 'utf8');
  for (const name of FOLDERS) {
    const settings = path.join(EXAMPLES, name, 'moongate.lua');
    for (const args of [['check', settings], ['strategy', 'check', strategy(name)]]) {
      const r = await runMoongate(args);
      assert.equal(r.code, 0, `${args.join(' ')}: ${r.stdout}${r.stderr}`);
    }
    const readme = readFileSync(path.join(EXAMPLES, name, 'README.md'), 'utf8');
    assert.deepEqual([...readme.matchAll(/^```sh\n([^]*?)\n```$/gm)].map((m) => m[1]),
      [`build/moongate run examples/${name}/moongate.lua`]);
    assert.match(list, new RegExp(`\\]\\(${name}/README\\.md\\)`));
  }
});

test('custom_strategy: a provider with large requests in flight is left alone', async (t) => {
  const { moon, providers, byId } = await setup(t, { providers: 2, strategy: strategy('custom_strategy'), workers: 1 });
  // The first provider learns that its usual request is large.
  byId.a.always((call) => call.respond(200, { id: 'x', usage: { prompt_tokens: 50000, completion_tokens: 1 } }));
  for (let i = 0; i < 40; i++) assert.equal((await chat(moon)).status, 200);
  assert.ok(shares(providers).every((n) => n > 5), shares(providers).join(' '));
  const held = [];
  for (const p of providers) p.always((call) => held.push(call));
  const before = shares(providers);
  const answers = [];
  for (let n = 1; n <= 8; n++) {
    answers.push(chat(moon));
    await eventually(() => held.length === n, 5000, 'the call');
  }
  const [a, b] = shares(providers).map((n, i) => n - before[i]);
  assert.ok(a <= 1 && b >= 7, `${a} ${b}`);
  for (const call of held) call.respond(200, { id: 'x' });
  await Promise.all(answers);
});

test('tenant_routing: a tenant stays among its providers, and gets a 503 when they are away', async (t) => {
  const { moon, byId } = await setup(t, {
    providers: [{ id: 'acme', tags: { acme: true } }, { id: 'common', tags: { shared: true } }],
    strategy: strategy('tenant_routing'), strategyOptions: { tenants: { acme: 'acme' } }, forwardHeaders: ['X-Tenant'],
  });
  for (let i = 0; i < 6; i++) {
    assert.equal((await chat(moon, {}, { 'X-Tenant': 'acme' })).header('x-provider-address'), 'acme');
    assert.equal((await chat(moon, {}, { 'X-Tenant': 'other' })).header('x-provider-address'), 'common');
    assert.equal((await chat(moon)).header('x-provider-address'), 'common');
  }
  assert.equal((await ask(moon, { method: 'POST', path: '/admin/providers/acme/disable' })).status, 200);
  const before = byId.common.calls.length;
  const error = assertError(await chat(moon, {}, { 'X-Tenant': 'acme' }), 503);
  assert.match(error.message, /no provider for tenant acme now/);
  assert.equal(byId.common.calls.length, before);
});

test('retry_policy: the last provider is waited for as long as it asked', async (t) => {
  const { moon, providers } = await setup(t, { providers: 1, strategy: strategy('retry_policy'), workers: 1 });
  providers[0].next(act.status(429, { error: { message: 'slow down' } }, { 'Retry-After': '1' }));
  const start = Date.now();
  const r = await chat(moon);
  const passed = Date.now() - start;
  assert.equal(r.status, 200, r.text());
  assert.ok(passed >= 990 && passed < 60000, `${passed} ms`);
  assert.equal(providers[0].calls.length, 2);
});

test('retry_policy: others are asked at once, and long waits are not waited for', async (t) => {
  const { moon, byId } = await setup(t, { providers: 2, strategy: strategy('retry_policy'), workers: 1 });
  for (const p of Object.values(byId)) p.next(act.status(429, { error: { message: 'later' } }, { 'Retry-After': '600' }));
  const start = Date.now();
  const r = await chat(moon);
  assert.equal(r.status, 429);
  assert.ok(Date.now() - start < 60000);
  assert.deepEqual(shares(Object.values(byId)), [1, 1]);
});

test('retry_policy: overload backs off and then succeeds', async (t) => {
  const { moon, providers } = await setup(t, {
    providers: 1, strategy: strategy('retry_policy'), strategyOptions: { base: 100 }, workers: 1,
  });
  providers[0].next(act.status(503), act.status(503));
  const start = Date.now();
  assert.equal((await chat(moon)).status, 200);
  assert.ok(Date.now() - start >= 140, 'two waits of at least 50 and 100 ms');
  assert.equal(providers[0].calls.length, 3);
});

test('health_by_error_rate: one failure in three degrades a provider, which then gets nothing', async (t) => {
  const { moon, byId } = await setup(t, {
    providers: [{ id: 'a' }, { id: 'b' }], strategy: strategy('health_by_error_rate'),
    strategyOptions: { degradeAt: 0.15, downAt: 0.9 }, health: { ejectAfter: 0 }, workers: 2,
  });
  let n = 0;
  byId.a.always((call) => (n++ % 3 === 0 ? act.status(500)(call) : act.ok()(call)));
  const state = async () => (await health(moon)).loadBalancer.providers.find((p) => p.address === 'a');
  await eventually(async () => {
    assert.equal((await chat(moon)).status, 200);
    return JSON.stringify(await state()).includes('degraded');
  }, 10000, 'the verdict');
  const before = byId.a.calls.length;
  for (let i = 0; i < 20; i++) assert.equal((await chat(moon)).header('x-provider-address'), 'b');
  assert.equal(byId.a.calls.length, before);
});

test('prequal: the quick ones get the work, a slow one little of it', async (t) => {
  const { moon, providers, byId } = await setup(t, {
    providers: [{ id: 'a' }, { id: 'b' }, { id: 'slow' }], strategy: strategy('prequal'), workers: 1,
  });
  byId.a.always(act.slow(5));
  byId.b.always(act.slow(5));
  byId.slow.always(act.slow(80));
  let left = 300;
  await Promise.all(Array.from({ length: 6 }, async () => {
    while (left-- > 0) assert.equal((await chat(moon)).status, 200);
  }));
  const [a, b, slow] = shares(providers);
  assert.ok(slow < 60 && a > 60 && b > 60, `${a} ${b} ${slow}`);
});

test('stateful_reload: what was learnt is there after a reload', async (t) => {
  const { moon, byId } = await setup(t, {
    providers: 2, strategy: strategy('stateful_reload'), strategyOptions: { explore: 0 }, workers: 1, reload: { watch: false },
  });
  byId.a.always(act.slow(120));
  for (let i = 0; i < 8; i++) assert.equal((await chat(moon)).status, 200);
  const before = byId.a.calls.length;
  const r = await ask(moon, { method: 'POST', path: '/admin/reload' });
  assert.equal(r.status, 200, r.text());
  await eventually(() => moon.logged(/bandit: took over 2 averages/), 5000, 'the log line');
  for (let i = 0; i < 8; i++) assert.equal((await chat(moon)).header('x-provider-address'), 'b');
  assert.equal(byId.a.calls.length, before);
});
