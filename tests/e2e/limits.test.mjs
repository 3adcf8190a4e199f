import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertError, CHAT, chat, chatRequest, RawClient, requestBytes, setup } from './harness.mjs';

async function tryBytes(moon, bytes) {
  const client = await RawClient.connect(moon.port);
  client.send(bytes);
  const r = await client.response();
  await client.waitClosed();
  return r;
}

test('a body over maxBodyBytes is a 413, said as soon as its length is known', async (t) => {
  const { moon, providers } = await setup(t, { maxBodyBytes: 100000 });
  const head = (n) => `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${n}\r\n\r\n`;
  const client = await RawClient.connect(moon.port);
  client.send(head(100001)); // not one byte of the body
  assertError(await client.response(), 413, { type: 'invalid_request_error' });
  client.destroy();
  const r = await tryBytes(moon, head('999999999999999999'));
  assertError(r, 413);
  assert.equal(providers[0].calls.length, 0);
});

test('a chunked body over maxBodyBytes is a 413 when it gets there', async (t) => {
  const { moon, providers } = await setup(t, { maxBodyBytes: 100000 });
  const client = await RawClient.connect(moon.port);
  client.send(`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n`);
  for (let i = 0; i < 11; i++) client.send(`2710\r\n${'x'.repeat(10000)}\r\n`);
  assertError(await client.response(), 413);
  await client.waitClosed();
  assert.equal(providers[0].calls.length, 0);
});

test('a chunk that cannot fit is a 413 by its size alone, before its bytes come', async (t) => {
  const { moon, providers } = await setup(t, { maxBodyBytes: 100000 });
  for (const size of ['186a1', 'ffffffff']) {
    const client = await RawClient.connect(moon.port);
    client.send(`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n${size}\r\n`);
    assertError(await client.response(), 413);
    client.destroy();
  }
  assert.equal(providers[0].calls.length, 0);
});

test('a body of exactly maxBodyBytes passes', async (t) => {
  const { moon, providers } = await setup(t, { maxBodyBytes: 100000 });
  const frame = '{"messages":[1],"pad":""}';
  const body = frame.replace('""', `"${'p'.repeat(100000 - frame.length)}"`);
  assert.equal(body.length, 100000);
  assert.equal((await chat(moon, body)).status, 200);
  assert.equal((await chat(moon, body.replace('"p', '"pp'))).status, 413);
  assert.equal(providers[0].calls.length, 1);
});

test('a target over 8 KiB is a 414', async (t) => {
  const { moon } = await setup(t);
  assertError(await tryBytes(moon, `GET /${'a'.repeat(8200)} HTTP/1.1\r\nHost: localhost\r\n\r\n`), 414);
  const ok = await RawClient.connect(moon.port);
  ok.send(`GET /health?${'a'.repeat(8000)} HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  assert.equal((await ok.response()).status, 200);
  ok.destroy();
});

test('a head over 16 KiB is a 431, whether one field or many', async (t) => {
  const { moon } = await setup(t);
  assertError(await tryBytes(moon, `GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ${'a'.repeat(17000)}\r\n\r\n`), 431);
  const fields = Array.from({ length: 90 }, (_, i) => `X-${i}: ${'b'.repeat(200)}\r\n`).join('');
  assertError(await tryBytes(moon, `GET /health HTTP/1.1\r\nHost: localhost\r\n${fields}\r\n`), 431);
  assertError(await tryBytes(moon, `GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ${'a'.repeat(40000)}`), 431);
});

test('more than 100 fields are a 431', async (t) => {
  const { moon } = await setup(t);
  const head = (n) => `GET /health HTTP/1.1\r\nHost: localhost\r\n${Array.from({ length: n - 1 }, (_, i) => `X-${i}: b\r\n`).join('')}\r\n`;
  assertError(await tryBytes(moon, head(101)), 431);
  const ok = await RawClient.connect(moon.port);
  ok.send(head(100));
  assert.equal((await ok.response()).status, 200);
  ok.destroy();
});

test('a small unwanted body is read away, and the connection goes on', async (t) => {
  const { moon } = await setup(t);
  const client = await RawClient.connect(moon.port);
  client.send(requestBytes({ method: 'POST', path: '/no/such/route', body: 'x'.repeat(1000) }));
  assertError(await client.response(), 404);
  client.send(requestBytes(chatRequest()));
  assert.equal((await client.response()).status, 200);
  client.destroy();
});

test('a body that says nothing on a local route is read away, and the answer is the usual one', async (t) => {
  const { moon } = await setup(t);
  const bodies = [{ body: 'hello' }, { body: '5\r\nhello\r\n0\r\n\r\n', headers: { 'Transfer-Encoding': 'chunked' } }, { body: 'x'.repeat(60000) }];
  for (const path of ['/health', '/v1/models', '/metrics', '/admin/providers']) {
    const client = await RawClient.connect(moon.port);
    for (const request of bodies) {
      client.send(requestBytes({ method: 'GET', path, ...request }));
      assert.equal((await client.response()).status, 200, path);
    }
    client.send(requestBytes({ method: 'HEAD', path, body: 'hello' }));
    assert.equal((await client.response({ method: 'HEAD' })).status, 200);
    client.send(requestBytes(chatRequest()));
    assert.equal((await client.response()).status, 200);
    client.destroy();
  }
});

test('a large unwanted body ends the connection, and the answer says so', async (t) => {
  const { moon } = await setup(t);
  for (const [method, path, status] of [['POST', '/no/such/route', 404], ['GET', '/health', 200], ['PUT', CHAT, 405]]) {
    const client = await RawClient.connect(moon.port);
    client.send(`${method} ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n\r\n`);
    const r = await client.response();
    assert.equal(r.status, status);
    assert.match(r.header('connection') ?? '', /close/);
    client.send(requestBytes({ path: '/health' })); // part of that body
    await client.waitClosed();
    assert.equal(client.bytes.length, 0);
  }
});
