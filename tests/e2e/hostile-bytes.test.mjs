// Each of the 256 bytes at each place of a request where it might mean something: refused and the connection closed, or
// answered, as RFC 9110 and 9112 have it, and never taken for a line end or a second request. And what else happens on a
// connection beside hostile heads: errors inside pipelines, refusals while a body still comes, half-closed connections.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { act } from './fake-provider.mjs';
import { CHAT, RawClient, chat, chatRequest, requestBytes, setup, sleep } from './harness.mjs';
import { H } from './hostile-inputs.mjs';

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/;
const BODY = '{"messages":[1]}';
const isText = (c) => c === 9 || (c >= 0x20 && c !== 0x7f);
const char = (c) => String.fromCharCode(c);
const get = (fields = '', target = '/v1/models', method = 'GET', version = '1.1') => `${method} ${target} HTTP/${version}\r\n${H}${fields}\r\n`;
const post = (fields, body) => `POST ${CHAT} HTTP/1.1\r\n${H}${fields}\r\n${body}`;
const chunked = (size) => post('Transfer-Encoding: chunked\r\n', `${size}\r\n${BODY}\r\n0\r\n\r\n`);

// [where, the request with that byte, whether that byte is right there; null: it makes a longer number of it]
const PLACES = [
  ['a field name', (c) => get(`X${char(c)}Y: v\r\n`), (c) => TOKEN.test(char(c)) || char(c) === ':'],
  ['a field value', (c) => get(`X: a${char(c)}b\r\n`), isText],
  ['the end of a field name', (c) => get(`X${char(c)}: v\r\n`), (c) => TOKEN.test(char(c)) || char(c) === ':'],
  ['the method', (c) => get('', '/v1/models', `GE${char(c)}`), (c) => char(c) === 'T'],
  ['the target', (c) => get('', `/v1/models?a${char(c)}b`), (c) => c > 0x20 && c < 0x7f && char(c) !== '#'],
  ['the version', (c) => get('', '/v1/models', 'GET', `1.${char(c)}`), (c) => char(c) === '0' || char(c) === '1'],
  ['Host', (c) => `GET /v1/models HTTP/1.1\r\nHost: a${char(c)}b\r\n\r\n`, (c) => /^[\w\-.~!$&'()*+;=]$/.test(char(c))],
  ['Content-Length', (c) => post(`Content-Length: 1${char(c)}6\r\n`, BODY), (c) => (/\d/.test(char(c)) ? null : false)],
  ['Transfer-Encoding', (c) => post(`Transfer-Encoding: chunked${char(c)}\r\n`, `10\r\n${BODY}\r\n0\r\n\r\n`), (c) => c === 0x20],
  ['before a chunk size', (c) => chunked(`${char(c)}10`), (c) => (/[1-9a-f]/i.test(char(c)) ? null : char(c) === '0')],
  ['behind a chunk size', (c) => chunked(`10${char(c)}`), (c) => (/[\da-f]/i.test(char(c)) ? null : char(c) === ';')],
  ['a chunk extension', (c) => chunked(`10;a${char(c)}b`), (c) => isText(c) && c < 0x80],
  ['behind chunk data', (c) => post('Transfer-Encoding: chunked\r\n', `10\r\n${BODY}${char(c)}\n0\r\n\r\n`), (c) => c === 0x0d],
  ['a trailer', (c) => post('Transfer-Encoding: chunked\r\n', `10\r\n${BODY}\r\n0\r\nX: a${char(c)}b\r\n\r\n`), isText],
  ['before the request', (c) => `${char(c)}${get()}`, () => false],
];
const SMUGGLED = `GET /health?smuggled HTTP/1.1\r\n${H}\r\n`;

describe('hostile bytes', () => {
  let moon;
  const cleanups = [];
  before(async () => {
    ({ moon } = await setup({ after: (f) => cleanups.push(f) }));
  });
  after(async () => {
    for (const f of cleanups) await f();
  });

  async function verdict(text) {
    const client = await RawClient.connect(moon.port);
    try {
      client.send(Buffer.concat([Buffer.from(text, 'latin1'), Buffer.from(SMUGGLED)]));
      const r = await client.response();
      if (r.status < 400) return 'answered';
      await client.waitClosed();
      return client.bytes.length ? `refused, and more behind it: ${client.bytes}` : 'refused';
    } finally {
      client.destroy();
    }
  }

  for (const [where, request, isRight] of PLACES) {
    test(`every byte in ${where}`, async () => {
      for (let from = 0; from < 256; from += 32) {
        await Promise.all(Array.from({ length: 32 }, async (_, i) => {
          const c = from + i;
          if (isRight(c) === null) return;
          assert.equal(await verdict(request(c)), isRight(c) ? 'answered' : 'refused', `byte 0x${c.toString(16).padStart(2, '0')}`);
        }));
      }
    });
  }

  test('heads, targets and numbers of fields at their limits, and one over', async () => {
    const padded = (n) => get(`X: ${'a'.repeat(n - get('X: \r\n').length)}\r\n`);
    for (const [text, isRight] of [
      [padded(16384), true], [padded(16385), false], [get('', `/v1/models?${'a'.repeat(8192 - 11)}`), true], [get('', `/v1/models?${'a'.repeat(8193 - 11)}`), false],
      [get('X: a\r\n'.repeat(99)), true], [get('X: a\r\n'.repeat(100)), false], [chunked(`10;${'e'.repeat(255)}`), true], [chunked(`10;${'e'.repeat(256)}`), false],
    ]) assert.equal(await verdict(text), isRight ? 'answered' : 'refused', `${text.length} bytes: ${text.slice(0, 60)}`);
  });

  test('an error inside a pipeline is answered in its place; what can be told apart behind it goes on, nothing else', async () => {
    const health = get();
    for (const [bad, statuses, goesOn] of [
      [post('Content-Length: 1\r\n', '{'), [200, 400, 200], true],
      [get('', '/nope'), [200, 404, 200], true],
      [get('', '/v1/models', 'DELETE'), [200, 405, 200], true],
      [`POST /nope HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n`, [200, 404, 200], true],
      [get('Content-Length: 3\r\n', '*', 'OPTIONS') + 'abc', [200, 204, 200], true],
      [post('Content-Length: 999999999\r\n', ''), [200, 413], false],
      [get('X y: a\r\n'), [200, 400], false],
      [get('', '/v1/models', 'GET', '9.9'), [200, 505], false],
      [get('Connection: close\r\n'), [200, 200], false],
    ]) {
      const client = await RawClient.connect(moon.port);
      client.send(health + bad + health);
      const seen = [];
      for (let i = 0; i < statuses.length; i++) seen.push((await client.response()).status);
      assert.deepEqual(seen, statuses, bad.slice(0, 60));
      if (!goesOn) await client.waitClosed();
      assert.equal(client.bytes.length, 0);
      client.destroy();
    }
  });

  test('a refusal reaches a client that is still sending', async () => {
    for (const [head, status] of [
      [`POST ${CHAT} HTTP/1.1\r\n${H}Content-Length: 99999999\r\n\r\n`, 413], [`POST /nope HTTP/1.1\r\n${H}Content-Length: 20000000\r\n\r\n`, 404],
      ['GET / HTTP/9.9\r\n\r\n', 505], [`POST ${CHAT} HTTP/1.1\r\n${H}Transfer-Encoding: chunked\r\n\r\nzz\r\n`, 400],
    ]) {
      const client = await RawClient.connect(moon.port);
      client.send(head);
      for (let i = 0; i < 100; i++) client.send(Buffer.alloc(65536, 'x'));
      const r = await client.response();
      assert.equal(r.status, status);
      assert.ok(r.complete);
      await client.waitClosed();
    }
  });

  test('HTTP/1.0 keeps a connection when it is asked to, and only then', async () => {
    const client = await RawClient.connect(moon.port);
    client.send('GET /v1/models HTTP/1.0\r\nConnection: keep-alive\r\n\r\n'.repeat(3));
    for (let i = 0; i < 3; i++) {
      const r = await client.response();
      assert.deepEqual([r.status, r.header('connection')], [200, 'keep-alive']);
    }
    client.send('GET /v1/models HTTP/1.0\r\n\r\n'.repeat(2));
    assert.equal((await client.response()).status, 200);
    await client.waitClosed();
    assert.equal(client.bytes.length, 0);
  });
});

test('who closes his sending side is answered what is answered at once, and has left otherwise', async (t) => {
  const { moon, providers } = await setup(t);
  const half = async (bytes) => {
    const client = await RawClient.connect(moon.port, { allowHalfOpen: true });
    client.send(bytes);
    client.socket.end();
    return client;
  };
  // In whatever phase: nothing, half a head, a head without its body, half a body.
  const whole = requestBytes(chatRequest());
  for (const n of [0, 7, whole.indexOf('\r\n\r\n') + 4, whole.length - 3]) {
    const client = await half(whole.subarray(0, n));
    await client.waitClosed();
    assert.equal(client.bytes.length, 0, `${n} bytes`);
  }
  const answered = await half(Buffer.concat(Array(3).fill(requestBytes({ path: '/health' }))));
  for (let i = 0; i < 3; i++) assert.equal((await answered.response()).status, 200);
  await answered.waitClosed();
  // A closed sending side is what a client that is gone looks like, too: its provider is left at once.
  const next = providers[0].manual();
  const waiting = await RawClient.connect(moon.port, { allowHalfOpen: true });
  waiting.send(whole);
  const call = await next;
  waiting.socket.end();
  await call.closed;
  await waiting.waitClosed();
  assert.equal((await chat(moon)).status, 200);
});

test('an early answer to a large upload reaches the client, and the rest is not waited for', async (t) => {
  const { moon, providers } = await setup(t, { maxRetries: 0 });
  const body = { pad: 'x'.repeat(20 << 20) };
  for (const [status, fields] of [[413, {}], [422, { Connection: 'close' }]]) {
    // It answers as soon as the head has come, and reads no further for a while.
    const serve = providers[0].server.listeners('connection')[0];
    providers[0].server.removeListener('connection', serve);
    providers[0].server.once('connection', (socket) => {
      providers[0].server.on('connection', serve);
      socket.on('error', () => {});
      socket.once('data', async () => {
        socket.pause();
        const text = '{"error":{"message":"too much for me"}}';
        socket.write(`HTTP/1.1 ${status} No\r\nContent-Type: application/json\r\nContent-Length: ${text.length}\r\n${fields.Connection ? 'Connection: close\r\n' : ''}\r\n${text}`);
        await sleep(300);
        socket.destroy();
      });
    });
    for (const s of providers[0].sockets) s.destroy();
    const r = await chat(moon, body);
    assert.equal(r.status, status, r.text());
    assert.match(r.text(), /too much for me/);
  }
  providers[0].next(act.ok());
  assert.equal((await chat(moon)).status, 200);
});
