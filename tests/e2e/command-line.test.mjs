import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chmodSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { once } from 'node:events';
import path from 'node:path';
import { FakeProvider } from './fake-provider.mjs';
import { ask, BINARY, chat, Daemon, eventually, runMoongate, setup, startDaemon, temporaryFolder, within } from './harness.mjs';
import { spawn } from 'node:child_process';

const ONE = 'providers = { { id = "a", endpoint = "http://127.0.0.1:9/v1" } },';

// [what, text of the file, what the message must name behind file:line:, the line]
const BAD = [
  ['no table', 'return 7\n', /table/, null],
  ['nothing returned', 'local x = 1\n', /table/, null],
  ['a syntax error', 'return {\n  port = = 1,\n}\n', /./, 2],
  ['an error while it runs', 'local t = nil\nlocal x = t.y\nreturn {}\n', /./, 2],
  ['an unknown name, with a suggestion', `return {\n  ${ONE}\n  maxRetrys = 3,\n}\n`, /maxRetrys.*maxRetries/, 3],
  ['an unknown timeout', `return {\n  ${ONE}\n  timeouts = {\n    conect = 3,\n  },\n}\n`, /conect.*connect/, 4],
  ['a port that is none', `return {\n  ${ONE}\n  port = 70000,\n}\n`, /port/, 3],
  ['a host with a port', `return {\n  ${ONE}\n  host = "127.0.0.1:80",\n}\n`, /host/, 3],
  ['a port that is text', `return {\n  ${ONE}\n  port = "http",\n}\n`, /port/, 3],
  ['a negative number of retries', `return {\n  ${ONE}\n  maxRetries = -1,\n}\n`, /maxRetries/, 3],
  ['no providers', 'return {\n  port = 1,\n}\n', /provider/, null],
  ['an empty list of providers', 'return {\n  providers = {},\n}\n', /provider/, 2],
  ['two providers with one id', `return {\n  providers = {\n    { id = "a", endpoint = "http://h/v1" },\n    { id = "a", endpoint = "http://i/v1" },\n  },\n}\n`, /"?a"?/, 4],
  ['a weight below 0', 'return {\n  providers = {\n    { id = "a", endpoint = "http://h/v1", weight = -1 },\n  },\n}\n', /weight/, 3],
  ['a weight that is not finite', 'return {\n  providers = {\n    { id = "a", endpoint = "http://h/v1", weight = 0/0 },\n  },\n}\n', /weight/, 3],
  ['an endpoint that is not http', 'return {\n  providers = {\n    { id = "a", endpoint = "ftp://h/v1" },\n  },\n}\n', /http/, 3],
  ['an endpoint with a password', 'return {\n  providers = {\n    { id = "a", endpoint = "http://u:p@h/v1" },\n  },\n}\n', /apiKey|user|password/, 3],
  ['a bad address', 'return {\n  providers = {\n    "0x12345",\n  },\n}\n', /0x12345|address/, 3],
  ['a provider with neither address nor endpoint', 'return {\n  providers = {\n    { id = "a" },\n  },\n}\n', /endpoint|address/, 3],
  ['an unknown member of a provider', 'return {\n  providers = {\n    { id = "a", endpoint = "http://h/v1", wieght = 1 },\n  },\n}\n', /wieght.*weight/, 3],
  ['a model map that names nobody', `return {\n  ${ONE}\n  models = { m = { "nobody" } },\n}\n`, /nobody/, 3],
  ['an unknown strategy', `return {\n  ${ONE}\n  strategy = "round-robbin",\n}\n`, /round-robbin/, 3],
  ['a strategy file that is not there', `return {\n  ${ONE}\n  strategy = "./none.lua",\n}\n`, /none\.lua/, 3],
  ['a missing environment variable', 'return {\n  providers = {\n    { id = "a", endpoint = "http://h/v1", apiKey = env("E2E_NOT_SET") },\n  },\n}\n', /E2E_NOT_SET/, 3],
  ['a file that reaches for I/O', 'return {\n  port = io.open("/etc/passwd"),\n}\n', /io/, 2],
  ['a file that runs a command', 'os.execute("true")\nreturn {}\n', /os/, 1],
  ['bytecode', '\x1bLJ\x02\x0a', /./, null],
  ['a file without end', 'while true do end\nreturn {}\n', /./, null],
];

for (const [what, text, message, line] of BAD) {
  test(`a bad configuration is named with its place, exit code 1: ${what}`, async (t) => {
    const file = path.join(temporaryFolder(t), 'bad.lua');
    writeFileSync(file, text, 'latin1');
    for (const command of ['run', 'check']) {
      const r = await runMoongate([command, file], { ms: 20000 });
      const said = r.stderr + r.stdout;
      assert.equal(r.code, 1, `${command}: ${said}`);
      assert.match(said, message);
      assert.match(said, /bad\.lua/);
      if (line) assert.match(said, new RegExp(`bad\\.lua:${line}:`));
      assert.doesNotMatch(r.stdout, /listening on/);
    }
  });
}

test('check prints every problem, not only the first', async (t) => {
  const file = path.join(temporaryFolder(t), 'bad.lua');
  writeFileSync(file, `return {\n  ${ONE}\n  portt = 1,\n  maxRetries = "x",\n  strategy = "nope",\n}\n`);
  const r = await runMoongate(['check', file]);
  assert.equal(r.code, 1);
  for (const n of [3, 4, 5]) assert.match(r.stderr + r.stdout, new RegExp(`bad\\.lua:${n}:`));
});

test('check tries the strategy although the rest has problems', async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'bad.lua');
  writeFileSync(path.join(folder, 'mine.lua'), 'return { abi = 1,\n  select = function(_, _, pool) return pool.best.index end }\n');
  writeFileSync(file, `return {\n  ${ONE}\n  maxRetries = "x",\n  strategy = "mine.lua",\n}\n`);
  const r = await runMoongate(['check', file]);
  assert.equal(r.code, 1);
  assert.match(r.stderr, /bad\.lua:3: maxRetries/);
  assert.match(r.stderr, /mine\.lua:2: select/);
  assert.match(r.stderr, /^2 problems$/m);
});

test('what strategyOptions gets wrong is named where it is written', async (t) => {
  const file = path.join(temporaryFolder(t), 'bad.lua');
  for (const [options, what] of [['{ maxInFlight = "x" }', /must be a number/], ['{ maxInFlight = 0 }', /allowed is/], ['{ maxInFlght = 3 }', /no option maxInFlght.*maxInFlight/]]) {
    writeFileSync(file, `return {\n  ${ONE}\n  strategy = "priority",\n  strategyOptions = ${options},\n}\n`);
    const r = await runMoongate(['check', file]);
    assert.equal(r.code, 1);
    assert.match(r.stderr, /bad\.lua:4: /);
    assert.match(r.stderr, what);
  }
});

test('check of a good file exits 0 and contacts nobody', async (t) => {
  const file = path.join(temporaryFolder(t), 'good.lua');
  writeFileSync(file, `return {\n  ${ONE}\n  strategy = "least-connections",\n}\n`);
  const r = await runMoongate(['check', file]);
  assert.equal(r.code, 0, r.stderr);
});

test('a file that is not there or cannot be read is exit code 1 with its name', async (t) => {
  const folder = temporaryFolder(t);
  const r = await runMoongate(['run', path.join(folder, 'none.lua')]);
  assert.equal(r.code, 1);
  assert.match(r.stderr, /none\.lua/);
  assert.equal((await runMoongate(['check', folder])).code, 1);
});

test('a private key where something else belongs is not printed', async (t) => {
  const key = 'ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80';
  const file = path.join(temporaryFolder(t), 'c.lua');
  writeFileSync(file, `return { ${ONE} }\n`);
  const wrong = path.join(temporaryFolder(t), 'wrong.lua');
  for (const text of [`return { ${ONE} [env("K")] = 1 }`, 'return { providers = { env("K") } }', `return { ${ONE} strategy = env("K") }`, `error("0x${key}")`, `return { ${ONE} keyFile = "0x${key}" }`]) {
    writeFileSync(wrong, `${text}\n`);
    const r = await runMoongate(['check', wrong], { env: { K: `0x${key}` } });
    assert.equal(r.code, 1, r.stderr);
    assert.ok(!(r.stdout + r.stderr).includes(key.slice(0, 16)), r.stderr);
  }
  for (const args of [['run', file, '--provider', `0x${key}`], ['token', `0x${key}`], [`0x${key}`], ['run', `0x${key}`], ['run', file, '--strategy', `0x${key}`], ['run', file, '--port', key], ['run', file, `--0x${key}`]]) {
    const r = await runMoongate(args);
    assert.notEqual(r.code, 0);
    assert.ok(!(r.stdout + r.stderr).includes(key.slice(0, 16)), `${args}: ${r.stderr}`);
  }
});

test('an address that is in use is exit code 1 with the address', async (t) => {
  const other = net.createServer().listen(0, '127.0.0.1');
  await once(other, 'listening');
  t.after(() => other.close());
  const { port } = other.address();
  const r = await runMoongate(['run', '--host', '127.0.0.1', '--port', String(port), '--provider', 'http://127.0.0.1:9/v1']);
  assert.equal(r.code, 1);
  assert.match(r.stderr, new RegExp(String(port)));
});

test('a provider that is no URL and no address is named, and nothing starts', async () => {
  const r = await runMoongate(['run', '--provider', 'ftp://x']);
  assert.ok(r.code === 1 || r.code === 2);
  assert.match(r.stderr, /--provider.*ftp:\/\/x/);
});

const WRONG = [
  ['an unknown command', ['runn'], /runn.*run/s], ['an unknown flag', ['run', '--prot', '1'], /prot.*port/s],
  ['a flag without its value', ['run', '--port'], /port/], ['a port that is none', ['run', '--port', '65536'], /port/],
  ['a port that is text', ['run', '--port', 'http'], /port/], ['a negative number', ['run', '--max-retries', '-1'], /max-retries/],
  ['two files', ['run', 'a.lua', 'b.lua'], /b\.lua/], ['check without a file', ['check'], /check/],
  ['an unknown log level', ['run', '--log-level', 'loud'], /loud|log-level/], ['an unknown log format', ['run', '--log-format', 'xml'], /xml|log-format/],
  ['sim-provider without a port', ['sim-provider'], /port/],
];

for (const [what, args, message] of WRONG) {
  test(`wrong usage is exit code 2 with a hint on standard error: ${what}`, async () => {
    const r = await runMoongate(args);
    assert.equal(r.code, 2, r.stderr + r.stdout);
    assert.match(r.stderr, message);
  });
}

test('version and help are exit code 0 on standard output', async () => {
  const version = await runMoongate(['version']);
  assert.equal(version.code, 0);
  assert.match(version.stdout, /\d+\.\d+\.\d+/);
  for (const args of [['help'], ['--help'], ['help', 'run'], ['run', '--help']]) {
    const r = await runMoongate(args);
    assert.equal(r.code, 0, args.join(' '));
    assert.match(r.stdout, /run/);
    assert.equal(r.stderr, '');
  }
  assert.match((await runMoongate(['help', 'run'])).stdout, /--max-retries/);
});

test('flags win over the file', async (t) => {
  const provider = await FakeProvider.start({ id: 'x' });
  t.after(() => provider.stop());
  const moon = await startDaemon(t, { port: 1, providers: [{ id: 'never', endpoint: 'http://127.0.0.1:9/v1' }] }, {
    args: ['--port', '0', '--provider', `${provider.origin}/v1`, '--strategy', 'least-connections'],
  });
  assert.equal((await chat(moon)).status, 200);
  assert.equal(provider.calls.length, 1);
  assert.equal((await ask(moon, { path: '/admin/strategy' })).json().name, 'least-connections');
});

test('the listening line is the only thing on standard output; logs go to standard error', async (t) => {
  const { moon } = await setup(t);
  await chat(moon);
  assert.equal(moon.stdout, `listening on http://127.0.0.1:${moon.port}\n`);
  assert.match(moon.stderr, /round-robin/);
});

test('with --log-format json each log line is one JSON object', async (t) => {
  const { moon } = await setup(t, { daemon: { args: ['--log-format', 'json', '--log-level', 'debug'] } });
  await chat(moon, { model: 'with "quotes" \\ and é' });
  const lines = moon.stderr.split('\n').slice(0, -1);
  assert.ok(lines.length > 0);
  for (const line of lines) assert.equal(typeof JSON.parse(line), 'object', line);
});

test('warnings of a start are log lines, too', async (t) => {
  const providers = ['0x1234567890123456789012345678901234567890']; // without a node and a wallet
  const moon = await startDaemon(t, { providers }, { args: ['--log-format', 'json'] });
  const lines = moon.stderr.split('\n').slice(0, -1).map((line) => JSON.parse(line));
  assert.ok(lines.some(({ level, message }) => level === 'warn' && /need a node/.test(message)), moon.stderr);
});

test('sim-provider answers chats, plain and streamed, and stops cleanly', async (t) => {
  const child = spawn(BINARY, ['sim-provider', '--port', '0', '--tokens', '5'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const sim = new Daemon(child);
  t.after(() => sim.stop());
  const [, port] = await eventually(() => /http:\/\/\S+:(\d+)/.exec(sim.stdout));
  sim.port = Number(port);
  const models = await ask(sim, { path: '/v1/models' });
  assert.equal(models.json().object, 'list');
  const r = await chat(sim);
  assert.equal(r.json().object, 'chat.completion');
  assert.equal(r.json().usage.completion_tokens, 5);
  assert.ok(r.header('zg-res-key'));
  const s = await chat(sim, { stream: true });
  assert.match(s.text(), /"usage"[\s\S]*data: \[DONE\]\n\n$/);
});

test('demo serves its own providers', async (t) => {
  const child = spawn(BINARY, ['demo', '--port', '0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const demo = new Daemon(child);
  t.after(() => demo.stop());
  const [, port] = await within(eventually(() => /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(demo.stdout)), 10000, 'the start');
  demo.port = Number(port);
  await eventually(async () => (await ask(demo, { path: '/health' })).json().status === 'healthy');
  const served = new Set();
  for (let i = 0; i < 6; i++) {
    const r = await chat(demo);
    assert.equal(r.status, 200);
    served.add(r.header('x-provider-address'));
  }
  assert.equal(served.size, 3);
});

test('a key file that others can read is refused', async (t) => {
  const folder = temporaryFolder(t);
  const key = path.join(folder, 'key');
  writeFileSync(key, `${'11'.repeat(32)}\n`);
  chmodSync(key, 0o644);
  const file = path.join(folder, 'c.lua');
  writeFileSync(file, `return {\n  ${ONE}\n  keyFile = ${JSON.stringify(key)},\n}\n`);
  const r = await runMoongate(['check', file]);
  assert.equal(r.code, 1);
  assert.match(r.stderr + r.stdout, /key/);
  assert.ok(!(r.stderr + r.stdout).includes('1111'));
});
