import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { gunzipSync, gzipSync } from 'node:zlib';
import { act } from './fake-provider.mjs';
import { BINARY, IS_SANITIZED, ask, assertError, chat, eventually, lua, setup, startDaemon, temporaryFolder } from './harness.mjs';

const KEY = 'sk-very-secret-provider-key-123';

test('our key is redacted from whatever a provider echoes, in any error and in the log', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', apiKey: KEY }], daemon: { args: ['--log-level', 'debug'] } });
  for (const status of [400, 401, 403, 404, 422, 429, 500, 503]) {
    providers[0].next(act.echoAuthorization(status));
    const r = await chat(moon);
    assert.ok(r.status >= 400);
    assert.ok(!`${r.head}${r.text()}`.includes(KEY), `status ${status}: ${r.text()}`);
    // A pause would keep the next call from the provider.
    await ask(moon, { method: 'POST', path: '/admin/reload' });
  }
  for (const path of ['/health', '/admin/providers', '/admin/strategy', '/v1/models']) assert.ok(!(await ask(moon, { path })).text().includes(KEY), path);
  assert.ok(!moon.stderr.includes(KEY) && !moon.stdout.includes(KEY));
});

const isRoot = process.getuid() === 0;
const NOBODY = 65534;

// Sanitizers look into their own process.
test('a process with a wallet is closed to other processes of its user, and dumps no core', { skip: IS_SANITIZED }, async (t) => {
  const folder = temporaryFolder(t);
  chmodSync(folder, 0o777);
  const program = path.join(folder, 'moongate');
  copyFileSync(BINARY, program);
  const as = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
  const shell = isRoot ? `exec setpriv --reuid ${NOBODY} --regid ${NOBODY} --clear-groups "$0" "$@"` : undefined;
  const look = (moon, file) => spawnSync('head', ['-c', '1', `/proc/${moon.pid}/${file}`], { ...as, encoding: 'utf8' });
  const config = { rpc: 'http://127.0.0.1:1', providers: ['0x1234567890123456789012345678901234567890'], workers: 1 };
  const moon = await startDaemon(t, config, { folder, program, shell, env: { ZG_PRIVATE_KEY: `0x${'ab'.repeat(32)}` } });
  for (const file of ['environ', 'maps', 'mem']) assert.match(look(moon, file).stderr, /Permission denied/, file);
  assert.match(readFileSync(`/proc/${moon.pid}/limits`, 'utf8'), /^Max core file size +0 +0 /m);
  const plain = await startDaemon(t, { providers: ['http://127.0.0.1:1'], workers: 1 }, { folder, program, shell });
  assert.equal(look(plain, 'environ').status, 0, 'one that has none can be looked into');
});

test('a compressed error, in which a key would not be found, is not passed on; without a key it is', async (t) => {
  const { moon, providers, byId } = await setup(t, { providers: [{ id: 'a', apiKey: KEY }, { id: 'b' }], maxRetries: 0 });
  for (const p of providers)
    p.always((call) => call.respond(422, gzipSync(JSON.stringify({ error: { message: call.request.header('authorization') ?? 'none' } })), { 'Content-Encoding': 'gzip' }));
  for (let i = 0; i < 2; i++) {
    const r = await chat(moon);
    assert.equal(r.status, 422);
    if (r.header('x-provider-address') === 'a') assertError(r, 422, { code: 'provider_error', message: /compressed/ });
    else assert.equal(gunzipSync(r.body).toString(), '{"error":{"message":"none"}}');
  }
  assert.deepEqual([byId.a.calls.length, byId.b.calls.length], [1, 1]);
});

test('a key that a provider puts into its probe\'s failure stays out of log and health', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', apiKey: KEY }], healthCheckInterval: 100 });
  providers[0].onModels = (call) => call.respond(500, `bad key ${call.request.header('authorization')}`);
  await eventually(async () => (await ask(moon, { path: '/health' })).status === 503);
  assert.ok(!(await ask(moon, { path: '/admin/providers' })).text().includes(KEY));
  assert.ok(!moon.stderr.includes(KEY));
});

test('a key from the environment is used and not shown', async (t) => {
  const { moon, providers } = await setup(t, {
    providers: [{ id: 'a', apiKey: lua('env("E2E_PROVIDER_KEY")') }], daemon: { env: { E2E_PROVIDER_KEY: KEY }, args: ['--log-level', 'debug'] },
  });
  assert.equal((await chat(moon)).status, 200);
  assert.equal(providers[0].calls[0].header('authorization'), `Bearer ${KEY}`);
  assert.ok(!moon.stderr.includes(KEY));
});

// What a process lets nobody read it does not show.
function shown(file) {
  try {
    return readFileSync(file, 'latin1');
  } catch (error) {
    assert.match(error.code, /EACCES|EPERM/);
    return '';
  }
}

for (const args of [[], ['--supervise']]) {
  test(`no secret is in what /proc shows of any process, after an upgrade too${args.length ? ', nor of the supervisor' : ''}`, async (t) => {
    const secrets = { E2E_KEY: KEY, E2E_ADMIN: 'the-admin-token-0123456789', E2E_CLIENT: 'the-client-key-0123456789', ZG_PRIVATE_KEY: `0x${'3b'.repeat(32)}` };
    const headers = { Authorization: `Bearer ${secrets.E2E_CLIENT}` };
    const { moon, providers } = await setup(t, {
      providers: [{ id: 'a', apiKey: lua('env("E2E_KEY")') }], adminToken: lua('env("E2E_ADMIN")'), clientKeys: lua('{ env("E2E_CLIENT") }'),
      timeouts: { drain: 500 }, daemon: { env: secrets, args },
    });
    const look = async () => {
      assert.equal((await chat(moon, {}, headers)).status, 200);
      assert.equal(providers[0].calls.at(-1).header('authorization'), `Bearer ${KEY}`);
      const children = readFileSync(`/proc/${moon.pid}/task/${moon.pid}/children`, 'latin1').trim().split(' ').filter(Boolean);
      for (const pid of [moon.pid, ...children]) {
        const seen = shown(`/proc/${pid}/environ`) + shown(`/proc/${pid}/cmdline`);
        for (const secret of Object.values(secrets)) assert.ok(!seen.includes(secret.replace('0x', '')), `process ${pid}`);
        const isServing = !args.length || pid !== moon.pid;
        if (isServing) assert.match(readFileSync(`/proc/${pid}/limits`, 'latin1'), /Max core file size +0 +0/);
      }
    };
    await look();
    moon.signal('SIGUSR2');
    const [, , next] = await eventually(() => /(process (\d+) (serves now|takes over))/.exec(moon.stderr), 20000, 'the new process');
    if (args.length) await eventually(() => moon.logged(/has finished/), 20000, 'the end of the old one');
    else {
      t.after(() => process.kill(Number(next), 'SIGTERM'));
      await moon.waitReplaced();
      moon.pid = Number(next);
    }
    await look();
    assert.ok(!moon.stderr.includes(KEY));
  });
}

test('what a client sends cannot forge a log line', async (t) => {
  const { moon } = await setup(t, { daemon: { args: ['--log-level', 'debug'] } });
  await chat(moon, { model: 'fake\u001b[31m' });
  await ask(moon, { path: '/x%0aFORGED' });
  await ask(moon, { path: '/ok', headers: { 'X-Request-Id': 'a\tb', 'User-Agent': 'u\xe9' } });
  assert.ok(!/^FORGED/m.test(moon.stderr));
  assert.doesNotMatch(moon.stderr, /[\x00-\x08\x0b-\x1f\x7f]/);
});

test('prompts and answers are not in the log, at no level', async (t) => {
  const { moon } = await setup(t, { daemon: { args: ['--log-level', 'debug'] } });
  await chat(moon, { messages: [{ role: 'user', content: 'the-private-prompt' }] });
  await chat(moon, '{"messages":["the-private-prompt"');
  assert.ok(!moon.stderr.includes('the-private-prompt') && !moon.stderr.includes('hello'));
});

test('with clientKeys a balanced route needs one of them, and none goes on to the provider', async (t) => {
  const { moon, providers } = await setup(t, { clientKeys: ['client-key-one', 'client-key-two'] });
  const paths = ['/v1/chat/completions', '/v1/embeddings', '/v1/messages', '/v1/verify'];
  for (const path of paths)
    for (const headers of [{}, { Authorization: 'Bearer wrong' }, { Authorization: 'client-key-one' }, { Authorization: 'Bearer client-key-one2' }, { Authorization: 'Bearer ' }])
      assertError(await ask(moon, { method: 'POST', path, headers, body: '{}' }), 401, { type: 'authentication_error' });
  assert.equal(providers[0].calls.length, 0);
  for (const key of ['client-key-one', 'client-key-two']) assert.equal((await chat(moon, {}, { Authorization: `Bearer ${key}` })).status, 200);
  assert.equal((await chat(moon, {}, { authorization: 'bearer client-key-one' })).status, 200, 'the scheme has no case');
  for (const call of providers[0].calls) assert.doesNotMatch(call.head.toString('latin1'), /client-key/);
  assert.equal((await ask(moon, { path: '/health' })).status, 200, '/health stays open');
});
