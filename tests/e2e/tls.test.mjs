// https:// providers whose certificate is not good are never spoken to; another one is asked.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createSecureServer } from 'node:http2';
import https from 'node:https';
import path from 'node:path';
import { test } from 'node:test';
import { FakeProvider } from './fake-provider.mjs';
import { ask, assertError, chat, counters, eventually, health, sleep, startDaemon, temporaryFolder, toLua } from './harness.mjs';

// A certificate of its own for `name`, valid from and to these days (YYYYMMDD).
function certificate(folder, file, name, from, to) {
  const at = (f) => path.join(folder, f);
  const ca = at(`${file}-ca`);
  mkdirSync(ca);
  writeFileSync(path.join(ca, 'index'), '');
  writeFileSync(path.join(ca, 'config'), [
    '[ca]', 'default_ca = own', '[own]', `database = ${ca}/index`, `new_certs_dir = ${ca}`, 'default_md = sha256', 'policy = any',
    'rand_serial = yes', 'x509_extensions = extensions', '[any]', 'commonName = supplied', '[extensions]',
    `subjectAltName = DNS:${name}`, 'basicConstraints = critical,CA:TRUE', '[req]', 'distinguished_name = subject', '[subject]', '',
  ].join('\n'));
  const openssl = (...args) => execFileSync('openssl', args, { stdio: 'pipe' });
  openssl('req', '-new', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-keyout', at(`${file}.key`),
    '-out', at(`${file}.csr`), '-subj', `/CN=${name}`, '-config', path.join(ca, 'config'));
  openssl('ca', '-batch', '-selfsign', '-notext', '-config', path.join(ca, 'config'), '-keyfile', at(`${file}.key`),
    '-in', at(`${file}.csr`), '-out', at(`${file}.pem`), '-startdate', `${from}000000Z`, '-enddate', `${to}000000Z`);
  return { file: at(`${file}.pem`), key: readFileSync(at(`${file}.key`)), cert: readFileSync(at(`${file}.pem`)) };
}

async function startTls(t, { key, cert }) {
  const seen = [];
  const server = https.createServer({ key, cert }, (req, res) => {
    seen.push(req.headers);
    req.resume();
    req.on('end', () => {
      res.setHeader('Content-Type', 'application/json');
      res.end('{"id":"over-tls","object":"chat.completion","choices":[]}');
    });
  });
  server.on('tlsClientError', () => {});
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.close();
    server.closeAllConnections();
  });
  return { seen, url: `https://localhost:${server.address().port}/v1` };
}

const FAULTS = {
  'an expired certificate': { name: 'localhost', from: '20200101', to: '20200201', isTrusted: true },
  'a certificate that is not valid yet': { name: 'localhost', from: '21000101', to: '21000201', isTrusted: true },
  'a certificate of another name': { name: 'other.example', from: '20200101', to: '21000101', isTrusted: true },
  'a certificate that nobody vouches for': { name: 'localhost', from: '20200101', to: '21000101', isTrusted: false },
};

for (const [what, { name, from, to, isTrusted }] of Object.entries(FAULTS)) {
  test(`${what} is refused: no request and no key reaches that provider, and another one is asked`, async (t) => {
    const folder = temporaryFolder(t);
    const own = certificate(folder, 'own', name, from, to);
    const bad = await startTls(t, own);
    const good = await FakeProvider.start({ id: 'good' });
    t.after(() => good.stop());
    const moon = await startDaemon(t, {
      strategy: 'priority', tls: isTrusted ? { ca: own.file } : {},
      providers: [{ id: 'bad', endpoint: bad.url, apiKey: 'sk-that-must-not-leave-12345', priority: 1 }, { ...good.config(), priority: 2 }],
    });
    const r = await chat(moon);
    assert.equal(r.status, 200, r.text());
    assert.equal(r.header('x-provider-address'), 'good');
    // As the last resort it is tried, and still not spoken to.
    const alone = await startDaemon(t, {
      tls: isTrusted ? { ca: own.file } : {}, providers: [{ id: 'bad', endpoint: bad.url, apiKey: 'sk-that-must-not-leave-12345' }],
    });
    const failed = await chat(alone);
    assertError(failed, 502);
    assert.ok(!failed.text().includes('sk-that'));
    assert.equal((await counters(alone, 'bad')).outcomes.tls, 1);
    assert.deepEqual(bad.seen, []);
  });
}

test('a certificate that tls.ca names is trusted, and only with it', async (t) => {
  const folder = temporaryFolder(t);
  const own = certificate(folder, 'own', 'localhost', '20200101', '21000101');
  const provider = await startTls(t, own);
  const moon = await startDaemon(t, { tls: { ca: own.file }, providers: [{ id: 'a', endpoint: provider.url, apiKey: 'sk-for-this-one-123456' }] });
  const r = await chat(moon);
  assert.equal(r.status, 200, r.text());
  assert.equal(r.json().id, 'over-tls');
  assert.equal(provider.seen.at(-1).authorization, 'Bearer sk-for-this-one-123456');
});

test('libcurl is loaded when the first https:// provider comes, also in a running service', async (t) => {
  const folder = temporaryFolder(t);
  const own = certificate(folder, 'own', 'localhost', '20200101', '21000101');
  const provider = await startTls(t, own);
  const plain = await FakeProvider.start({ id: 'plain' });
  t.after(() => plain.stop());
  const config = { upstream: 'native', tls: { ca: own.file }, reload: { watch: false } };
  const moon = await startDaemon(t, { ...config, providers: [plain.config()] });
  const isLoaded = () => /libcurl\.so/.test(readFileSync(`/proc/${moon.pid}/maps`, 'latin1'));
  assert.equal((await chat(moon)).header('x-provider-address'), 'plain');
  assert.equal(isLoaded(), false);
  // Schemes are read without regard to case.
  const moved = { ...config, providers: [{ id: 'a', endpoint: provider.url.replace('https:', 'HTTPS:') }] };
  writeFileSync(moon.file, `return ${toLua({ host: '127.0.0.1', port: 0, ...moved })}\n`);
  const reloaded = await ask(moon, { method: 'POST', path: '/admin/reload' });
  assert.equal(reloaded.status, 200, reloaded.text());
  assert.equal((await chat(moon)).json().id, 'over-tls');
  assert.equal(isLoaded(), true);
});

// ---- good certificates: what a connection costs, and who pays for it ----

// A provider over TLS that tells of its connections. `answer(req)` gives a response's headers.
async function startGood(t, { http2 = false, port = 0, own, headers = {} }) {
  const connections = [];
  const calls = [];
  const handler = (req, res) => {
    calls.push(`${req.method} ${req.url}`);
    req.resume();
    req.on('end', () => {
      res.writeHead(200, { 'Content-Type': 'application/json', ...headers });
      setTimeout(() => res.end('{"id":"over-tls","object":"chat.completion","data":[],"choices":[]}'), 20);
    });
  };
  const server = http2 ? createSecureServer({ key: own.key, cert: own.cert }, handler) : https.createServer({ key: own.key, cert: own.cert }, handler);
  server.on('secureConnection', (socket) => connections.push({ socket, isResumed: socket.isSessionReused() }));
  server.on('tlsClientError', () => {});
  await new Promise((resolve) => server.listen(port, '127.0.0.1', resolve));
  const stop = () => {
    for (const { socket } of connections) socket.destroy();
    return new Promise((resolve) => server.close(resolve));
  };
  t.after(stop);
  return { connections, calls, stop, port: server.address().port, url: `https://localhost:${server.address().port}/v1` };
}

const ONE = { workers: 1, healthCheckInterval: 60000 };

test('the first chat finds a connection that was made at the start', async (t) => {
  const own = certificate(temporaryFolder(t), 'own', 'localhost', '20200101', '21000101');
  const provider = await startGood(t, { own });
  const moon = await startDaemon(t, { ...ONE, tls: { ca: own.file }, providers: [{ id: 'p', endpoint: provider.url }] });
  // That of the health check, and the worker's.
  await eventually(() => provider.calls.filter((c) => c === 'GET /v1/models').length === 2);
  await sleep(100);
  assert.equal(provider.connections.length, 2);
  assert.equal((await chat(moon)).status, 200);
  assert.equal(provider.connections.length, 2);
  // A reload leaves it as it is.
  assert.equal((await ask(moon, { method: 'POST', path: '/admin/reload' })).status, 200);
  assert.equal((await chat(moon)).status, 200);
  await sleep(100);
  assert.equal(provider.connections.length, 2);
  assert.equal(provider.calls.filter((c) => c === 'GET /v1/models').length, 2);
});

test('a provider that comes back has a connection before it has a chat', async (t) => {
  const own = certificate(temporaryFolder(t), 'own', 'localhost', '20200101', '21000101');
  const first = await startGood(t, { own });
  const moon = await startDaemon(t, {
    ...ONE, healthCheckInterval: 100, health: { rise: 1 }, tls: { ca: own.file }, providers: [{ id: 'p', endpoint: first.url }],
  });
  await first.stop();
  await eventually(async () => (await health(moon)).status === 'unhealthy');
  const second = await startGood(t, { own, port: first.port });
  await eventually(() => second.connections.length === 2);
  await sleep(100);
  assert.ok(second.calls.every((c) => c === 'GET /v1/models'));
  await eventually(async () => (await health(moon)).status === 'healthy');
  assert.equal((await chat(moon)).status, 200);
  assert.equal(second.connections.length, 2);
});

test('a burst of chats shares one connection over HTTP/2', async (t) => {
  const own = certificate(temporaryFolder(t), 'own', 'localhost', '20200101', '21000101');
  const provider = await startGood(t, { own, http2: true });
  const moon = await startDaemon(t, { ...ONE, tls: { ca: own.file }, providers: [{ id: 'p', endpoint: provider.url }] });
  await eventually(() => provider.calls.length === 2);
  await sleep(100);
  // One each of the health check and the worker; and another each in which it said that it would rather speak HTTP/2.
  const before = provider.connections.length;
  assert.ok(before <= 4);
  const answers = await Promise.all(Array.from({ length: 50 }, () => chat(moon)));
  assert.deepEqual([...new Set(answers.map((r) => r.status))], [200]);
  assert.equal(provider.calls.length, 52);
  assert.equal(provider.connections.length, before);
});

test('a burst of chats that finds no connection makes one over HTTP/2, and shares it', async (t) => {
  const own = certificate(temporaryFolder(t), 'own', 'localhost', '20200101', '21000101');
  const provider = await startGood(t, { own, http2: true });
  const moon = await startDaemon(t, { ...ONE, tls: { ca: own.file }, providers: [{ id: 'p', endpoint: provider.url }] });
  assert.equal((await chat(moon)).status, 200);
  for (let round = 0; round < 3; round++) {
    for (const { socket } of provider.connections) socket.destroy();
    await sleep(100);
    const before = provider.connections.length;
    const answers = await Promise.all(Array.from({ length: 50 }, () => chat(moon)));
    assert.deepEqual([...new Set(answers.map((r) => r.status))], [200]);
    assert.equal(provider.connections.length - before, 1);
  }
});

// Over libcurl that is so for every second connection of a handle.
test('a new connection resumes the TLS session of one before', { skip: process.env.MOONGATE_UPSTREAM === 'curl' }, async (t) => {
  const own = certificate(temporaryFolder(t), 'own', 'localhost', '20200101', '21000101');
  const provider = await startGood(t, { own, headers: { Connection: 'close' } });
  const moon = await startDaemon(t, { ...ONE, tls: { ca: own.file }, providers: [{ id: 'p', endpoint: provider.url }] });
  await eventually(() => provider.calls.length === 2);
  await sleep(100);
  for (let round = 0; round < 4; round++) await Promise.all(Array.from({ length: 8 }, () => chat(moon)));
  const later = provider.connections.slice(2 + 8);
  assert.equal(later.length, 24);
  assert.ok(later.every((c) => c.isResumed), later.map((c) => c.isResumed).join());
});
