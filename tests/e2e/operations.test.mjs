// What operators do to it, and what befalls the machine.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import http from 'node:http';
import {
  closeSync, constants, mkdirSync, openSync, readFileSync, readSync, readlinkSync, rmSync, rmdirSync, symlinkSync, writeFileSync, writeSync,
} from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import {
  CHAT, IS_SANITIZED, MESSAGES, RawClient, SLOW, ask, assertError, chat, eventually, health, openChat, requestBytes, setup, sleep, temporaryFolder,
} from './harness.mjs';

const isPlain = SLOW <= 2; // sanitizers have memory and limits of their own

test('a log that cannot be written costs lines, not the service', async (t) => {
  const { moon } = await setup(t, { logLevel: 'debug', daemon: { shell: 'exec "$0" "$@" 2>/dev/full' } });
  for (let i = 0; i < 20; i++) assert.equal((await chat(moon)).status, 200);
  assert.equal(moon.stderr, '');
});

test('a log that nobody reads costs lines, holds up nobody, and is gone on with', async (t) => {
  const pipe = path.join(temporaryFolder(t), 'log');
  // Open for reading as well, so that there is no end to be seen: it fills up.
  const { moon } = await setup(t, { logLevel: 'debug', daemon: { shell: `mkfifo ${pipe} && exec "$0" "$@" 2<>${pipe}` } });
  for (let i = 0; i < 600; i++) assert.equal((await chat(moon, { stream: i % 2 === 0 })).status, 200);
  moon.signal('SIGHUP');
  assert.equal((await health(moon)).status, 'healthy');
  const fd = openSync(pipe, constants.O_RDONLY | constants.O_NONBLOCK);
  t.after(() => closeSync(fd));
  let text = '';
  const drain = () => {
    const bytes = Buffer.alloc(1 << 20);
    try {
      text += bytes.toString('latin1', 0, readSync(fd, bytes));
    } catch {
      // nothing there now
    }
  };
  drain();
  assert.ok(text.length > 10000 && !/were lost/.test(text));
  await eventually(async () => {
    await chat(moon);
    drain();
    return /warn  \d{2,} lines before this one were lost/.test(text);
  }, 5000, 'the number of lines that were lost');
  for (const line of text.trimEnd().split('\n')) assert.match(line, /^\d{4}-\d\d-\d\dT\S+Z (debug|info |warn ) /);
});

test('standard streams that are closed from the start are nobody else\'s', async (t) => {
  for (const closed of ['<&-', '2>&-', '<&- 2>&-']) {
    const { moon, providers } = await setup(t, { logLevel: 'debug', daemon: { shell: `exec "$0" "$@" ${closed}` } });
    for (let i = 0; i < 5; i++) assert.equal((await chat(moon)).status, 200);
    for (const fd of closed === '<&-' ? [0] : [2]) assert.equal(readlinkSync(`/proc/${moon.pid}/fd/${fd}`), '/dev/null');
    assert.equal(providers[0].calls.length, 5);
    await moon.stop();
  }
});

test('without memory for large bodies they are refused, and all else goes on', { skip: IS_SANITIZED }, async (t) => {
  const { moon } = await setup(t, { daemon: { shell: 'ulimit -v 400000; exec "$0" "$@"' } });
  const body = Buffer.alloc(30 << 20, 'x');
  const clients = [];
  t.after(() => clients.forEach((c) => c.destroy()));
  for (let i = 0; i < 20; i++) {
    const client = await RawClient.connect(moon.port);
    clients.push(client.send(`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Length: ${body.length + 1}\r\n\r\n`).send(body));
  }
  const first = await Promise.any(clients.map((c) => c.response()));
  assertError(first, 503, { code: 'overloaded' });
  assert.equal(first.header('retry-after'), '1');
  assert.equal((await chat(moon)).status, 200);
  clients.forEach((c) => c.destroy());
  await eventually(async () => (await health(moon)).load.clients === 1, 5000, 'the end of the others');
  assert.equal((await chat(moon, { pad: 'x'.repeat(20 << 20) })).status, 200);
});

test('SIGUSR1, by which others open their logs anew, ends nothing', async (t) => {
  const { moon } = await setup(t);
  moon.signal('SIGUSR1');
  assert.equal((await chat(moon)).status, 200);
});

test('a configuration that is gone, or is no file, changes nothing until it is back', async (t) => {
  const { moon } = await setup(t);
  const reload = () => ask(moon, { method: 'POST', path: '/admin/reload' });
  const text = readFileSync(moon.file);
  rmSync(moon.file);
  assertError(await reload(), 422, { message: /no such file/i });
  moon.signal('SIGHUP');
  assert.equal((await chat(moon)).status, 200);
  mkdirSync(moon.file);
  assertError(await reload(), 422, { message: /directory/i });
  assert.equal((await chat(moon)).status, 200);
  rmdirSync(moon.file);
  execFileSync('mkfifo', [moon.file]);
  assertError(await reload(), 422, { message: /not a regular file/ });
  moon.signal('SIGHUP');
  for (const device of ['/dev/zero', '/dev/full', '/proc/self/mem', moon.file]) {
    rmSync(moon.file);
    symlinkSync(device, moon.file);
    assert.equal((await reload()).status, 422, device);
    assert.equal((await chat(moon)).status, 200);
  }
  rmSync(moon.file);
  writeFileSync(moon.file, text.subarray(0, text.length / 2));
  assert.equal((await reload()).status, 422);
  assert.equal((await chat(moon)).status, 200);
  assert.match((await health(moon)).strategy.lastReloadError, /moongate\.lua/);
  writeFileSync(moon.file, text);
  assert.equal((await reload()).status, 200);
  assert.equal((await chat(moon)).status, 200);
});

test('a storm of reloads under load: no request fails, and no kept connection is dropped', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, timeouts: { clientIdle: 600000 } });
  providers.forEach((p) => p.always(act.slow(2)));
  const body = JSON.stringify({ model: 'fake-model', messages: MESSAGES });
  const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
  let isOver = false;
  let requests = 0;
  let connections = 0;
  const failures = [];
  const clients = Array.from({ length: 8 }, async () => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set();
    while (!isOver) {
      const how = await new Promise((resolve) => {
        const req = http.request({ agent, port: moon.port, host: '127.0.0.1', path: CHAT, method: 'POST', headers }, (res) => {
          res.resume();
          res.on('end', () => resolve(res.complete && res.statusCode === 200 ? 'ok' : `status ${res.statusCode}`));
          res.on('error', (e) => resolve(e.message));
        });
        req.on('socket', (s) => sockets.add(s));
        req.on('error', (e) => resolve(e.message));
        req.end(body);
      });
      requests++;
      if (how !== 'ok') failures.push(how);
    }
    connections += sockets.size;
    agent.destroy();
  });
  const STORM = 1000;
  for (let i = 0; i < STORM; i++) {
    if (i % 10 === 0) ask(moon, { method: 'POST', path: '/admin/reload', ms: 60000 }).then((r) => r.status === 200 || failures.push(`reload ${r.status}`), (e) => failures.push(e.message));
    else moon.signal('SIGHUP');
    await sleep(5);
  }
  const last = await ask(moon, { method: 'POST', path: '/admin/reload', ms: 60000 });
  assert.equal(last.status, 200);
  isOver = true;
  await Promise.all(clients);
  assert.deepEqual(failures, []);
  assert.equal(connections, 8, 'each client kept its one connection');
  t.diagnostic(`${STORM} reloads asked for, ${last.json().generation} done, ${requests} requests, 0 failed, 0 connections dropped`);
});

test('readers that stand still on endless streams cost little', { skip: !isPlain }, async (t) => {
  const { moon, providers } = await setup(t, { timeouts: { idle: 60000 } });
  const calls = [];
  providers[0].always((call) => {
    if (!call.wantsStream) return act.ok()(call);
    call.streamHead();
    calls.push(setInterval(() => {
      if (call.socket.writableLength < 1 << 20) call.delta('x'.repeat(60000));
    }, 1));
  });
  t.after(() => calls.forEach(clearInterval));
  for (let i = 0; i < 30; i++) await chat(moon);
  const before = moon.residentBytes();
  const readers = [];
  t.after(() => readers.forEach((r) => r.destroy()));
  for (let i = 0; i < 20; i++) {
    const client = await openChat(moon, { stream: true });
    await client.until('xxx');
    client.socket.pause();
    readers.push(client);
  }
  let last = 0;
  await eventually(async () => {
    await sleep(500);
    const now = moon.residentBytes();
    const isStill = now === last;
    last = now;
    return isStill;
  }, 30000, 'standstill');
  const each = (last - before) / 20 / 1024;
  readers.forEach((r) => r.destroy());
  assert.ok(each <= 256, `${each.toFixed(1)} KiB each`);
  t.diagnostic(`${each.toFixed(1)} KiB for each reader`);
});

test('idle connections cost at most 8 KiB each', { skip: !isPlain }, async (t) => {
  const { moon } = await setup(t, { timeouts: { clientIdle: 600000 } });
  const N = 5000;
  const idle = [];
  t.after(() => idle.forEach((c) => c.destroy()));
  for (let i = 0; i < 20; i++) await chat(moon);
  const before = moon.residentBytes();
  while (idle.length < N) idle.push(...(await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(moon.port)))));
  for (let i = 0; i < N; i += 250) {
    idle[i].send(requestBytes({ path: '/health' }));
    assert.equal((await idle[i].response()).status, 200);
  }
  await eventually(async () => (await health(moon)).load.clients >= N, 10000, 'all connections');
  const each = (moon.residentBytes() - before) / N / 1024;
  assert.ok(each <= 8, `${each.toFixed(2)} KiB each`);
  t.diagnostic(`${each.toFixed(2)} KiB for each of ${N} connections`);
});

test('live streams cost at most 4 KiB each', { skip: !isPlain }, async (t) => {
  const { moon, providers } = await setup(t, { timeouts: { idle: 60000 } });
  const N = 1000;
  const fields = { Date: 'Mon, 30 Nov 2026 06:00:00 GMT', Server: 'provider', 'ZG-Res-Key': '00000000-0000-4000-8000-000000000000' };
  providers[0].always((call) => {
    if (!call.wantsStream) return act.ok()(call);
    call.streamHead(fields);
    call.delta('it has begun');
  });
  const live = [];
  t.after(() => live.forEach((c) => c.destroy()));
  const open = async (n) => {
    const more = await Promise.all(Array.from({ length: n }, () => openChat(moon, { stream: true })));
    await Promise.all(more.map((c) => c.until('it has begun')));
    live.push(...more);
  };
  for (let i = 0; i < 4; i++) await open(50);
  const before = moon.residentBytes();
  while (live.length < N + 200) await open(50);
  const each = (moon.residentBytes() - before) / N / 1024;
  assert.ok(each <= 4, `${each.toFixed(2)} KiB each`);
  t.diagnostic(`${each.toFixed(2)} KiB for each of ${N} streams`);
});

// Stands before the C library's clock: the wall clock is off by what the file says, the other one is right.
const JUMPS = `
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
static volatile long *off;
__attribute__((constructor)) static void find(void) {
  int fd = open(getenv("CLOCK_OFF_BY"), O_RDONLY | O_CLOEXEC);
  off = mmap(0, sizeof *off, PROT_READ, MAP_SHARED, fd, 0);
}
int clock_gettime(clockid_t clock, struct timespec *t) {
  int err = (int)syscall(SYS_clock_gettime, clock, t);
  if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE) t->tv_sec += *off;
  return err;
}`;

test('a clock that jumps by years, either way, ends no session, pause or request', { skip: IS_SANITIZED }, async (t) => {
  const folder = temporaryFolder(t);
  const [library, offset] = [path.join(folder, 'jumps.so'), path.join(folder, 'off-by')];
  execFileSync(process.env.CC ?? 'cc', ['-shared', '-fPIC', '-o', library, '-x', 'c', '-'], { input: JUMPS });
  const jump = (seconds) => {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(BigInt(seconds));
    const fd = openSync(offset, constants.O_RDWR | constants.O_CREAT);
    writeSync(fd, bytes);
    closeSync(fd);
  };
  jump(0);
  const { moon, providers } = await setup(t, {
    providers: 2, healthCheckInterval: 200, sessionTimeout: 60000, daemon: { env: { LD_PRELOAD: library, CLOCK_OFF_BY: offset } },
  });
  const verify = (id) => ask(moon, { method: 'POST', path: '/v1/verify', body: JSON.stringify({ id }) });
  const { id } = (await chat(moon)).json();
  providers[1].always(act.status(429, undefined, { 'Retry-After': '60' }));
  for (let i = 0; i < 4; i++) await chat(moon);
  const next = providers[0].manual();
  const stream = await openChat(moon, { stream: true });
  const call = await next;
  call.streamHead().delta('one');
  await stream.until('one');
  const YEAR = 365 * 86400;
  for (const seconds of [10 * YEAR, -20 * YEAR, 0, 3600, -3600, 0]) {
    jump(seconds);
    const r = await chat(moon);
    assert.equal(r.status, 200, `off by ${seconds} s`);
    const told = Date.parse(r.header('date') ?? (await ask(moon, { path: '/health' })).header('date'));
    assert.ok(Math.abs(told - Date.now() - seconds * 1000) < 60000 * SLOW, 'the wall clock has jumped');
    assert.equal((await verify(id)).status, 200, `off by ${seconds} s`);
    assert.equal(providers[1].calls.length, 1, 'the pause goes on');
    await eventually(async () => (await health(moon)).loadBalancer.providers.every((p) => p.isHealthy));
    call.delta('more');
  }
  call.done();
  const r = await stream.response();
  assert.ok(r.complete && /\[DONE\]/.test(r.text()));
});
