import assert from 'node:assert/strict';
import { test } from 'node:test';
import net from 'node:net';
import {
  IS_SANITIZED, RawClient, SLOW, assertError, chat, chatRequest, eventually, health, requestBytes, setup, sleep,
} from './harness.mjs';

test('a slow reader pauses the provider, costs bounded memory, and gets every byte', async (t) => {
  const { moon, providers } = await setup(t);
  const total = 64 * 1024 * 1024;
  const piece = Buffer.alloc(64 * 1024, 'data: xxxxxxxxxxxxxxxxxxxxxxxxx\n\n');
  const next = providers[0].manual();
  const socket = net.connect({ port: moon.port, host: '127.0.0.1' });
  t.after(() => socket.destroy());
  socket.pause();
  socket.write(requestBytes(chatRequest({ stream: true })));
  const call = await next;
  call.head(200, { 'Content-Type': 'text/event-stream', 'Content-Length': total });
  let left = total;
  let isBlocked = false;
  const pump = () => {
    isBlocked = false;
    while (left > 0) {
      left -= piece.length;
      if (!call.socket.write(piece)) {
        isBlocked = true;
        call.socket.once('drain', pump);
        return;
      }
    }
    call.end();
  };
  pump();
  // Everything on the way is full when nothing has moved for a while.
  let seen = -1;
  await eventually(async () => {
    const moved = seen !== left;
    seen = left;
    await sleep(150);
    return !moved && isBlocked;
  });
  assert.ok(left > total / 2, `${(total - left) >> 20} MiB were taken from the provider while nobody read`);
  assert.ok(moon.residentBytes() < (IS_SANITIZED ? 400 : 100) * 1024 * 1024, `${moon.residentBytes() >> 20} MiB resident`);
  assert.equal((await chat(moon)).status, 200, 'the others are not disturbed');
  let received = 0;
  await new Promise((resolve, reject) => {
    let headLeft = true;
    let start = Buffer.alloc(0);
    socket.on('data', (b) => {
      if (headLeft) {
        start = Buffer.concat([start, b]);
        const end = start.indexOf('\r\n\r\n');
        if (end < 0) return;
        headLeft = false;
        received = start.length - end - 4;
      } else received += b.length;
      if (received >= total) resolve();
    });
    socket.on('error', reject);
    socket.on('close', () => reject(new Error(`closed after ${received} of ${total} bytes`)));
    socket.resume();
  });
  assert.equal(received, total);
});

test('a head that does not arrive in time is a 408', async (t) => {
  const { moon } = await setup(t, { timeouts: { clientHeader: 300 } });
  const client = await RawClient.connect(moon.port);
  client.send('GET /health HTTP/1.1\r\nHost: loc');
  const dripping = setInterval(() => client.send('x'), 50);
  const started = Date.now();
  const r = await client.response();
  clearInterval(dripping);
  assertError(r, 408);
  assert.ok(Date.now() - started >= 250);
  await client.waitClosed();
});

test('a connection on which nothing comes is closed without a word', async (t) => {
  const { moon } = await setup(t, { timeouts: { clientHeader: 200, clientIdle: 300 } });
  const silent = await RawClient.connect(moon.port);
  await silent.waitClosed();
  assert.equal(silent.bytes.length, 0);
  const used = await RawClient.connect(moon.port);
  used.send(requestBytes({ path: '/health' }));
  assert.equal((await used.response()).status, 200);
  await used.waitClosed();
  assert.equal(used.bytes.length, 0);
});

test('a body that does not arrive within the total time is a 408', async (t) => {
  const { moon, providers } = await setup(t, { timeouts: { total: 500, firstByte: 400 } });
  const client = await RawClient.connect(moon.port);
  const bytes = requestBytes(chatRequest());
  client.send(bytes.subarray(0, bytes.length - 5));
  assertError(await client.response(), 408);
  await client.waitClosed();
  assert.equal(providers[0].calls.length, 0);
});

test('many half-sent heads do not keep others from being served', async (t) => {
  const { moon } = await setup(t);
  const clients = await Promise.all(Array.from({ length: 200 }, () => RawClient.connect(moon.port)));
  for (const c of clients) c.send('POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nX-');
  for (let i = 0; i < 10; i++) assert.equal((await chat(moon)).status, 200);
  assert.equal((await health(moon)).status, 'healthy');
  for (const c of clients) c.destroy();
});

test('a body that comes too slowly is a 408, and one that keeps the minimum rate is not', async (t) => {
  const { moon, providers } = await setup(t);
  const begun = Date.now();
  const upload = async (bytesPerSecond) => {
    const client = await RawClient.connect(moon.port);
    t.after(() => client.destroy());
    client.send(`POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n`);
    const timer = setInterval(() => client.send('x'.repeat(bytesPerSecond / 5)), 200);
    client.closed.then(() => clearInterval(timer));
    return { client, stop: () => clearInterval(timer) };
  };
  const [slow, fair] = [await upload(100), await upload(1000)];
  assertError(await slow.client.response({ ms: 40000 }), 408, { code: 'body_timeout' });
  slow.stop();
  const took = Date.now() - begun;
  assert.ok(took > 10000 && took < 20000 * SLOW, `${took} ms`);
  assert.ok(!fair.client.isOver && fair.client.bytes.length === 0);
  fair.stop();
  assert.equal(providers[0].calls.length, 0);
});
