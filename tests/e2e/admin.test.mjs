import assert from 'node:assert/strict';
import { test } from 'node:test';
import { networkInterfaces } from 'node:os';
import { writeFileSync, readFileSync } from 'node:fs';
import { ask, assertError, chat, eventually, health, openChat, RawClient, requestBytes, setup, switchProvider } from './harness.mjs';

test('/admin/providers is the inner object of /health, each provider with its counters', async (t) => {
  const { moon } = await setup(t, { providers: 2 });
  for (let i = 0; i < 4; i++) await chat(moon);
  const r = await ask(moon, { path: '/admin/providers' });
  assert.equal(r.status, 200);
  const inner = r.json();
  assert.equal(inner.totalProviders, 2);
  assert.equal(inner.healthyProviders, 2);
  assert.deepEqual(inner.providers.map((p) => p.address), ['a', 'b']);
  for (const p of inner.providers) assert.match(JSON.stringify(p), /"dispatched": ?2\b/);
});

test('a drained provider finishes what it has and gets nothing new, until it is enabled', async (t) => {
  const { moon, providers, byId } = await setup(t, { providers: 2, strategy: 'round-robin' });
  const calls = Promise.all(providers.map((p) => p.manual()));
  const clients = [await openChat(moon, { stream: true }), await openChat(moon, { stream: true })];
  const [call] = await calls;
  assert.equal((await switchProvider(moon, 'a', 'drain')).status, 200);
  for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).header('x-provider-address'), 'b');
  call.streamHead().delta('still here').done();
  const answers = await Promise.race(clients.map((c) => c.response()));
  assert.match(answers.text(), /still here[\s\S]*\[DONE\]/);
  assert.equal((await switchProvider(moon, 'a', 'enable')).status, 200);
  const before = byId.a.calls.length;
  for (let i = 0; i < 4; i++) await chat(moon);
  assert.ok(byId.a.calls.length > before);
  for (const c of clients) c.destroy();
});

test('a disabled provider is not used even when it is the last one', async (t) => {
  const { moon, providers } = await setup(t);
  assert.equal((await switchProvider(moon, 'a', 'disable')).status, 200);
  assertError(await chat(moon), 503, { code: 'no_available_provider' });
  assert.equal(providers[0].calls.length, 0);
  assert.equal((await switchProvider(moon, 'a', 'enable')).status, 200);
  assert.equal((await chat(moon)).status, 200);
});

test('a switch for a provider that does not exist is a 404, an unknown switch too, and GET switches nothing', async (t) => {
  const { moon } = await setup(t);
  assertError(await switchProvider(moon, 'nobody', 'drain'), 404, { type: 'not_found_error' });
  assertError(await switchProvider(moon, 'a', 'explode'), 404);
  assertError(await ask(moon, { path: '/admin/providers/a/disable' }), 405);
  assert.equal((await chat(moon)).status, 200);
});

const ADMIN = [
  ['GET', '/admin/providers'], ['POST', '/admin/providers/a/drain'], ['POST', '/admin/providers/a/disable'],
  ['POST', '/admin/reload'], ['GET', '/admin/strategy'],
];

test('with adminToken everyone needs it, loopback peers too', async (t) => {
  const { moon } = await setup(t, { adminToken: 'the-admin-token' });
  for (const [method, path] of ADMIN) {
    const refused = await ask(moon, { method, path });
    assertError(refused, 401, { type: 'authentication_error' });
    assert.equal(refused.header('www-authenticate'), 'Bearer');
    for (const Authorization of ['Bearer wrong', 'Bearer the-admin-token2', 'Bearer ', 'the-admin-token', 'Basic the-admin-token'])
      assert.equal((await ask(moon, { method, path, headers: { Authorization } })).status, 401, `${path} with ${Authorization}`);
  }
  const r = await ask(moon, { path: '/admin/providers', headers: { Authorization: 'Bearer the-admin-token' } });
  assert.equal(r.status, 200);
  assert.equal((await chat(moon)).status, 200, 'no switch was thrown by the refused calls');
});

test('without adminToken only a loopback Host gets in, so that no web page can', async (t) => {
  const { moon } = await setup(t);
  for (const Host of ['evil.example', `evil.example:${moon.port}`, '127.0.0.1.evil.example', 'localhost.evil.example', '10.0.0.1', '127.0.0.1.nip.io',
    '127...', '127.0.0.999', '127.1', '0x7f.0.0.1', '2130706433', '127.0.0.1.', 'localhost.', '[::ffff:127.0.0.1]', '[::]', '0.0.0.0'])
    for (const [method, path] of ADMIN) assert.equal((await ask(moon, { method, path, headers: { Host } })).status, 403, `${path} with ${Host}`);
  for (const Host of ['localhost', `localhost:${moon.port}`, '127.0.0.1', `127.0.0.1:${moon.port}`, `[::1]:${moon.port}`])
    assert.equal((await ask(moon, { path: '/admin/providers', headers: { Host } })).status, 200, Host);
  assert.equal((await health(moon)).status, 'healthy');
});

test('without adminToken a request that a foreign page makes is refused', async (t) => {
  const { moon } = await setup(t);
  const status = async (headers) => (await ask(moon, { method: 'POST', path: '/admin/providers/a/disable', headers })).status;
  for (const Origin of ['https://evil.example', 'null', '', 'file://', 'http://localhost.evil.example', 'http://127.0.0.1.nip.io:80', 'evil://localhost',
    '://localhost', 'http://localhost@evil.example', 'http://localhost, http://evil.example', ['http://localhost', 'http://evil.example']])
    assert.equal(await status({ Origin }), 403, `${Origin}`);
  // As a form or a simple fetch() of another site has it.
  assert.equal(await status({ 'Sec-Fetch-Site': 'cross-site', 'Content-Type': 'text/plain' }), 403);
  assert.equal((await chat(moon)).status, 200);
  for (const headers of [{ Origin: 'http://localhost:5173' }, { Origin: `http://127.0.0.1:${moon.port}` }, { 'Sec-Fetch-Site': 'same-origin' }, { Origin: 'http://[::1]' }])
    assert.equal(await status(headers), 200);
});

test('without adminToken a peer from elsewhere is refused', async (t) => {
  const address = Object.values(networkInterfaces()).flat().find((a) => a.family === 'IPv4' && !a.internal)?.address;
  if (!address) return t.skip('this machine has no address but loopback');
  const { moon } = await setup(t, { host: '0.0.0.0' });
  const client = await RawClient.connect(moon.port, { host: address });
  client.send(requestBytes({ path: '/admin/providers', headers: { Host: 'localhost' } }));
  assert.equal((await client.response()).status, 403);
  client.destroy();
});

test('a reload says its generation; a broken file keeps the old one and says why', async (t) => {
  const { moon, providers } = await setup(t);
  const text = readFileSync(moon.file, 'utf8');
  const reload = () => ask(moon, { method: 'POST', path: '/admin/reload' });
  const first = await reload();
  assert.equal(first.status, 200);
  const { generation } = first.json();
  assert.ok(generation >= 2);
  writeFileSync(moon.file, text.replace('return {', 'return { nonsense = 1,'));
  const refused = await reload();
  assert.equal(refused.status, 422);
  assert.match(refused.text(), /moongate\.lua:\d+.*nonsense/);
  assert.equal((await chat(moon)).status, 200);
  writeFileSync(moon.file, text.replace('["id"] = "a"', '["id"] = "renamed"'));
  assert.equal((await reload()).status, 200);
  await eventually(async () => (await chat(moon)).header('x-provider-address') === 'renamed');
  assert.ok(providers[0].calls.length >= 2);
});

test('/health does not count who is switched off, until all are', async (t) => {
  const { moon } = await setup(t, { providers: 2 });
  const status = async () => {
    const r = await ask(moon, { path: '/health' });
    return `${r.status} ${r.json().status}`;
  };
  assert.equal(await status(), '200 healthy');
  await switchProvider(moon, 'a', 'drain');
  assert.equal(await status(), '200 healthy');
  await switchProvider(moon, 'b', 'disable');
  assert.equal(await status(), '503 unhealthy');
  assertError(await chat(moon), 503, { code: 'no_available_provider' });
  await switchProvider(moon, 'a', 'enable');
  assert.equal(await status(), '200 healthy');
});

test('/admin/strategy names the strategy that decides', async (t) => {
  const { moon } = await setup(t, { strategy: 'least-connections' });
  const r = await ask(moon, { path: '/admin/strategy' });
  assert.equal(r.status, 200);
  assert.equal(r.json().name, 'least-connections');
});

test('who opens the address in a browser is told where to go', async (t) => {
  const { moon } = await setup(t, { adminToken: 'the-admin-token', clientKeys: ['of-the-client'] });
  const r = await ask(moon, { path: '/' });
  assert.equal(r.status, 200);
  assert.match(r.header('content-type'), /^text\/plain/);
  assert.match(r.text(), /\/v1\/chat\/completions/);
});

test('a provider is switched by its id, however the path spells it', async (t) => {
  const { moon } = await setup(t, { providers: [{ id: 'h:80' }, { id: 'b' }] });
  for (const spelled of ['h:80', 'h%3A80', '%68:80']) {
    assert.equal((await switchProvider(moon, spelled, 'disable')).json().admin, 'disabled');
    assert.equal((await switchProvider(moon, spelled, 'enable')).json().admin, 'enabled');
  }
  for (const odd of ['h%3', 'h%zz80', '%00', 'x'.repeat(200), '']) assertError(await switchProvider(moon, odd, 'disable'), 404);
});
