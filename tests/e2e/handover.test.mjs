// One process takes over from another: upgrades, the supervisor, and what a service manager is told.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { chmodSync, copyFileSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { FakeProvider, act } from './fake-provider.mjs';
import {
  BINARY, CHAT, Daemon, MESSAGES, SLOW, RawClient, ask, chat, chatRequest, childrenOf, endBehind, environment, eventually, events, health,
  isAlive, openChat, requestBytes, setup, sleep, startDaemon, temporaryFolder, toLua, within,
} from './harness.mjs';

const MANAGER = path.join(path.dirname(fileURLToPath(import.meta.url)), 'service_manager.lua');

// Clients that never stop asking; every answer that is not a complete 200 is a failure, and so is a connection that
// breaks under a request.
function keepAsking(t, port, n) {
  const result = { ok: 0, failures: [] };
  let isOver = false;
  const body = JSON.stringify({ model: 'fake-model', messages: MESSAGES });
  const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
  const one = (agent) =>
    new Promise((resolve) => {
      const req = http.request({ agent, port, host: '127.0.0.1', path: CHAT, method: 'POST', headers }, (res) => {
        res.resume();
        res.on('end', () => resolve(res.complete && res.statusCode === 200 ? 'ok' : `status ${res.statusCode}`));
        res.on('error', (e) => resolve(`answer: ${e.message}`));
      });
      req.on('error', (e) => resolve(`request: ${e.message}${req.reusedSocket ? ' (kept alive)' : ''}`));
      req.end(body);
    });
  const clients = Array.from({ length: n }, async (_, i) => {
    const agent = new http.Agent({ keepAlive: i % 4 !== 0, maxSockets: 1 });
    while (!isOver) {
      const how = await one(agent);
      if (how === 'ok') result.ok++;
      else result.failures.push(how);
    }
    agent.destroy();
  });
  result.stop = async () => {
    isOver = true;
    await Promise.all(clients);
  };
  t.after(result.stop);
  return result;
}

const serving = async (moon) => {
  const line = new RegExp('process (\\d+) serves now').exec(moon.stderr);
  return line && Number(line[1]);
};

test('SIGUSR2 under load: a new process takes over, and no request fails', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, timeouts: { drain: 4000 * SLOW } });
  providers.forEach((p) => p.always(act.slow(3)));
  const stream = await openChatHeld(moon, providers[0], providers[1]);
  const load = keepAsking(t, moon.port, 12);
  await eventually(() => load.ok > 100, 10000, 'load');
  let pid = moon.pid;
  endBehind(t, () => pid);
  moon.signal('SIGUSR2');
  const next = await eventually(() => serving(moon), 20000, 'the new process');
  const before = load.ok;
  stream.call.delta('two').done();
  const r = await stream.client.response();
  assert.ok(r.complete && /one[^]*two[^]*\[DONE\]/.test(r.text()), 'the running stream ends where it began');
  assert.deepEqual(await moon.waitReplaced(30000), { code: 0, signal: null });
  pid = next;
  await eventually(() => load.ok > before + 200, 20000, 'load at the new process');
  await load.stop();
  assert.deepEqual(load.failures, []);
  t.diagnostic(`${load.ok} requests, 0 failed`);
});

async function openChatHeld(moon, ...providers) {
  const calls = providers.map((p) => p.manual());
  const client = await openChat(moon, { stream: true });
  const call = await Promise.race(calls);
  call.streamHead().delta('one');
  await client.until('one');
  // The others answer as usual again.
  providers.forEach((p) => p.script.length = 0);
  return { client, call };
}

test('sessions go over to the new process', async (t) => {
  const { moon } = await setup(t, { timeouts: { drain: 1000 } });
  const { id } = (await chat(moon)).json();
  let pid;
  endBehind(t, () => pid);
  moon.signal('SIGUSR2');
  pid = await eventually(() => serving(moon), 20000, 'the new process');
  await moon.waitReplaced();
  const verify = () => ask(moon, { method: 'POST', path: '/v1/verify', body: JSON.stringify({ id }) });
  await eventually(async () => (await verify()).status === 200, 5000, 'the session');
});

test('a new program that does not start leaves the old one serving', async (t) => {
  const folder = temporaryFolder(t);
  const program = path.join(folder, 'moongate');
  symlinkSync(BINARY, program);
  const provider = await FakeProvider.start({ id: 'a' });
  t.after(() => provider.stop());
  const moon = await startDaemon(t, { providers: [provider.config()] }, { program });
  const failing = [
    ['#!/bin/sh\nexit 7\n', /the new program ended before it served \(exit code 7\); this one goes on/],
    ['#!/bin/sh\nkill -SEGV $$\n', /the new program ended before it served \(signal 11\)/],
  ];
  for (const [text, message] of failing) {
    unlinkSync(program);
    writeFileSync(program, text);
    chmodSync(program, 0o755);
    moon.signal('SIGUSR2');
    await eventually(() => moon.logged(message), 10000, 'the message');
    assert.equal((await chat(moon)).status, 200);
  }
  unlinkSync(program);
  moon.signal('SIGUSR2');
  await eventually(() => moon.logged(/exit code 127/), 10000, 'the message');
  assert.equal((await chat(moon)).status, 200);
  // And a configuration that the new one refuses.
  symlinkSync(BINARY, program);
  writeFileSync(moon.file, 'return { prot = 1 }');
  moon.signal('SIGUSR2');
  await eventually(() => moon.logged(/exit code 1\)/), 10000, 'the message');
  assert.equal((await chat(moon)).status, 200);
});

test('the new process may have more workers, or fewer, than the old one', async (t) => {
  const { moon, providers } = await setup(t, { workers: 3, timeouts: { drain: 1000 } });
  const load = keepAsking(t, moon.port, 8);
  let pid = moon.pid;
  endBehind(t, () => pid);
  for (const workers of [1, 4]) {
    const before = moon.countLogged(/serves now/);
    writeFileSync(moon.file, `return ${toLua({ host: '127.0.0.1', port: 0, workers, timeouts: { drain: 1000 }, providers: providers.map((p) => p.config()) })}`);
    const old = pid;
    process.kill(pid, 'SIGUSR2');
    await eventually(() => moon.countLogged(/serves now/) > before, 20000, 'the new process');
    pid = Number([...moon.stderr.matchAll(/process (\d+) serves now/g)].at(-1)[1]);
    moon.isStopped = true;
    await eventually(() => !isAlive(old), 20000, 'the end of the old one');
    const now = load.ok;
    await eventually(() => load.ok > now + 50, 10000, 'load');
    assert.ok(moon.logged(new RegExp(`healthy, ${workers} workers`)));
  }
  await load.stop();
  assert.deepEqual(load.failures, []);
});

// ---- the supervisor ----

// What serves: the only child of the supervisor.
const servant = (moon) => eventually(() => {
  const children = childrenOf(moon.pid);
  return children.length === 1 && children[0];
}, 10000, 'one child');

test('--supervise: a worker process that is killed is replaced, and clients only wait', async (t) => {
  const { moon } = await setup(t, { daemon: { args: ['--supervise'] } });
  for (let i = 0; i < 3; i++) {
    const pid = await servant(moon);
    assert.equal((await chat(moon)).status, 200);
    process.kill(pid, 'SIGKILL');
    await eventually(() => !isAlive(pid), 5000, 'the end');
    assert.equal((await chat(moon)).status, 200, 'the socket was never closed');
    assert.notEqual(await servant(moon), pid);
  }
  assert.equal(moon.countLogged(/supervisor: process \d+ ended with signal 9 \(KILL\); starting again in \d+ ms/), 3);
});

test('--supervise: signals reach the child, and the child does not outlive its parent', async (t) => {
  const { moon, providers } = await setup(t, { daemon: { args: ['--supervise'] } });
  const child = await servant(moon);
  moon.signal('SIGHUP');
  await eventually(() => moon.logged(/generation 2:/), 10000, 'the reload');
  const stream = await openChatHeld(moon, providers[0]);
  moon.signal('SIGTERM');
  await eventually(() => moon.logged(/stopping: finishing what runs/), 5000, 'the stop');
  stream.call.delta('two').done();
  assert.ok((await stream.client.response()).complete);
  assert.deepEqual(await moon.waitExit(), { code: 0, signal: null });
  assert.ok(!isAlive(child));

  const second = await setup(t, { daemon: { args: ['--supervise'] } });
  const orphan = await servant(second.moon);
  await second.moon.kill();
  await eventually(() => !isAlive(orphan), 10000, 'the end of the child');
});

test('--supervise: SIGUSR2 changes the program without a failed request', async (t) => {
  const { moon, providers } = await setup(t, { timeouts: { drain: 2000 * SLOW }, daemon: { args: ['--supervise'] } });
  providers[0].always(act.slow(3));
  const first = await servant(moon);
  const load = keepAsking(t, moon.port, 8);
  await eventually(() => load.ok > 100, 10000, 'load');
  moon.signal('SIGUSR2');
  await eventually(() => moon.logged(/supervisor: process \d+ has finished/), 30000, 'the change');
  assert.notEqual(await servant(moon), first);
  const before = load.ok;
  await eventually(() => load.ok > before + 100, 10000, 'load');
  await load.stop();
  assert.deepEqual(load.failures, []);
});

test('--supervise: a wrong configuration is told once, with its exit code', async (t) => {
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'wrong.lua');
  writeFileSync(file, 'return { prot = 1 }');
  const child = spawn(BINARY, ['run', file, '--supervise'], { env: environment(), stdio: ['ignore', 'pipe', 'pipe'] });
  const moon = new Daemon(child);
  assert.equal((await moon.waitExit()).code, 1);
  assert.equal(moon.countLogged(/unknown option "prot"/), 1);
});

// ---- what a service manager is told ----

async function startManager(t) {
  const folder = temporaryFolder(t);
  const socket = path.join(folder, 'notify');
  const child = spawn('luajit', [MANAGER, 'notify', socket], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const heard = { lines: [], socket };
  let rest = '';
  child.stdout.on('data', (b) => {
    const lines = (rest + b).split('\n');
    rest = lines.pop();
    heard.lines.push(...lines);
  });
  await eventually(() => heard.lines.includes('ready'), 5000, 'the manager');
  heard.has = (pattern) => heard.lines.some((l) => pattern.test(l));
  return heard;
}

test('a service manager hears READY, RELOADING, WATCHDOG, MAINPID and STOPPING', async (t) => {
  const manager = await startManager(t);
  const { moon } = await setup(t, {
    timeouts: { drain: 500 }, daemon: { env: { NOTIFY_SOCKET: manager.socket, WATCHDOG_USEC: '2000000' } },
  });
  await eventually(() => manager.has(/^READY=1; STATUS=1 providers, 1 of them healthy/), 5000, 'READY');
  await eventually(() => manager.has(/^WATCHDOG=1$/), 10000, 'WATCHDOG');
  moon.signal('SIGHUP');
  await eventually(() => manager.has(/^RELOADING=1; MONOTONIC_USEC=\d+$/), 5000, 'RELOADING');
  await eventually(() => manager.lines.filter((l) => l.startsWith('READY=1')).length === 2, 5000, 'READY after it');
  let pid;
  endBehind(t, () => pid);
  moon.signal('SIGUSR2');
  pid = await eventually(() => serving(moon), 20000, 'the new process');
  await eventually(() => manager.has(new RegExp(`^MAINPID=${pid}; READY=1$`)), 5000, 'MAINPID');
  await moon.waitReplaced();
  assert.ok(!manager.has(/STOPPING/), 'the service does not stop');
  process.kill(pid, 'SIGTERM');
  await eventually(() => manager.has(/^STOPPING=1$/), 5000, 'STOPPING');
});

test('without a socket of its own: one that systemd holds is used, whatever host and port say', async (t) => {
  const probe = net.createServer();
  await new Promise((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  const provider = await FakeProvider.start({ id: 'a' });
  t.after(() => provider.stop());
  const folder = temporaryFolder(t);
  const file = path.join(folder, 'moongate.lua');
  writeFileSync(file, `return ${toLua({ host: '127.0.0.9', port: 1, workers: 2, providers: [provider.config()], timeouts: { drain: 500 } })}`);
  const child = spawn('luajit', [MANAGER, 'activate', String(port), BINARY, 'run', file],
    { env: environment({ XDG_STATE_HOME: folder }), stdio: ['ignore', 'pipe', 'pipe'] });
  const moon = Object.assign(new Daemon(child), { port });
  t.after(() => moon.stop());
  await eventually(() => RawClient.connect(port).then((c) => (c.destroy(), true)), 5000, 'the socket');
  for (let i = 0; i < 6; i++) assert.equal((await chat(moon)).status, 200);
  let pid;
  endBehind(t, () => pid);
  moon.signal('SIGUSR2');
  pid = await eventually(() => serving(moon), 20000, 'the new process');
  await moon.waitReplaced();
  assert.equal((await chat(moon)).status, 200);
});

test('descriptors that are no listening sockets are not taken for some', async (t) => {
  const { moon } = await setup(t, { daemon: { env: { MOONGATE_LISTEN_FDS: '0,1,2,999,-4,x', MOONGATE_CHANNEL_FD: '77' } } });
  assert.equal((await chat(moon)).status, 200);
});
