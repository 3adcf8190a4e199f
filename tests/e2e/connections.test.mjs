import assert from 'node:assert/strict';
import { test } from 'node:test';
import { certificate } from './fake-provider.mjs';
import { ask, assertError, chat, CHAT, chatRequest, RawClient, requestBytes, setup } from './harness.mjs';

test('a connection carries one request after the other', async (t) => {
  const { moon, providers } = await setup(t);
  const client = await RawClient.connect(moon.port);
  for (let i = 0; i < 20; i++) {
    client.send(requestBytes(chatRequest({ stream: i % 2 === 1 })));
    const r = await client.response();
    assert.equal(r.status, 200);
    assert.ok(r.complete);
  }
  assert.equal(providers[0].calls.length, 20);
  // That of the health check, the client's worker's, and one more; to an https:// provider each worker has one from the start.
  assert.ok(providers[0].connections <= (certificate ? 5 : 3), `${providers[0].connections} connections to the provider`);
  client.destroy();
});

test('pipelined requests are answered in order', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].always((call) => {
    const { n } = call.request.json();
    setTimeout(() => call.respond(200, { n }), n % 2 ? 1 : 30);
  });
  const client = await RawClient.connect(moon.port);
  const requests = Array.from({ length: 10 }, (_, n) => requestBytes(chatRequest({ n })));
  requests.splice(5, 0, requestBytes({ path: '/health' }));
  client.send(Buffer.concat(requests));
  const answers = [];
  for (let i = 0; i < 11; i++) answers.push((await client.response()).json());
  assert.deepEqual(answers.map((a) => a.n ?? a.status), [0, 1, 2, 3, 4, 'healthy', 5, 6, 7, 8, 9]);
  client.destroy();
});

test('a request that comes byte by byte is the same request', async (t) => {
  const { moon, providers } = await setup(t);
  const client = await RawClient.connect(moon.port);
  for (const byte of requestBytes(chatRequest())) {
    client.send(Buffer.of(byte));
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.equal((await client.response()).status, 200);
  assert.equal(providers[0].calls[0].json().messages.length, 1);
  client.destroy();
});

test('Connection: close and HTTP/1.0 end the connection behind the answer', async (t) => {
  const { moon } = await setup(t);
  const closing = await RawClient.connect(moon.port);
  closing.send(requestBytes(chatRequest({}, { Connection: 'close' })));
  const r = await closing.response();
  assert.equal(r.status, 200);
  assert.match(r.header('connection') ?? '', /close/i);
  await closing.waitClosed();
  const old = await RawClient.connect(moon.port);
  old.send('GET /health HTTP/1.0\r\n\r\n');
  const plain = await old.response();
  assert.equal(plain.status, 200);
  assert.equal(plain.header('transfer-encoding'), undefined);
  await old.waitClosed();
});

test('a stream for an HTTP/1.0 client has no chunks and ends with the connection', async (t) => {
  const { moon } = await setup(t);
  const client = await RawClient.connect(moon.port);
  client.send(requestBytes(chatRequest({ stream: true })).toString('latin1').replace('HTTP/1.1', 'HTTP/1.0'));
  const r = await client.response();
  assert.equal(r.header('transfer-encoding'), undefined);
  assert.match(r.text(), /^data: [\s\S]*data: \[DONE\]\n\n$/);
});

test('Expect: 100-continue gets its 100 before the body, and the final answer after it', async (t) => {
  const { moon, providers } = await setup(t);
  const client = await RawClient.connect(moon.port);
  const bytes = requestBytes(chatRequest({}, { Expect: '100-continue' }));
  const at = bytes.indexOf('\r\n\r\n') + 4;
  client.send(bytes.subarray(0, at));
  assert.equal((await client.response()).status, 100);
  client.send(bytes.subarray(at));
  assert.equal((await client.response()).status, 200);
  assert.equal(providers[0].calls.length, 1);
  client.destroy();
});

test('Expect: 100-continue gets its 100 also when the head comes in pieces, or behind another request', async (t) => {
  const { moon, providers } = await setup(t);
  const bytes = requestBytes(chatRequest({}, { Expect: '100-continue' }));
  const at = bytes.indexOf('\r\n\r\n') + 4;
  const pieces = [[10, at], [at - 1, at], Array.from({ length: at }, (_, i) => i + 1)];
  for (const ends of pieces) {
    const client = await RawClient.connect(moon.port);
    let from = 0;
    for (const end of ends) {
      client.send(bytes.subarray(from, end));
      from = end;
      await new Promise((resolve) => setTimeout(resolve, ends.length > 9 ? 0 : 20));
    }
    assert.equal((await client.response()).status, 100);
    client.send(bytes.subarray(at));
    assert.equal((await client.response()).status, 200);
    client.destroy();
  }
  const client = await RawClient.connect(moon.port);
  client.send(Buffer.concat([requestBytes(chatRequest()), bytes.subarray(0, at)]));
  assert.equal((await client.response()).status, 200);
  assert.equal((await client.response()).status, 100);
  client.send(bytes.subarray(at));
  assert.equal((await client.response()).status, 200);
  client.destroy();
  assert.equal(providers[0].calls.length, pieces.length + 2);
});

test('Expect: 100-continue is refused at once when the body would be too large', async (t) => {
  const { moon } = await setup(t, { maxBodyBytes: 1000 });
  const client = await RawClient.connect(moon.port);
  client.send(`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nExpect: 100-continue\r\nContent-Length: 1001\r\n\r\n`);
  assertError(await client.response(), 413);
  client.destroy();
});

test('who expects a 100 and gets a final answer gets the end of the connection, too: a body may follow, or another request', async (t) => {
  const { moon, providers } = await setup(t, { clientKeys: ['the-client-key'] });
  const expecting = (method, path) => `${method} ${path} HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 40\r\n\r\n`;
  for (const [method, path, status] of [['POST', '/nothing', 404], ['PUT', CHAT, 405], ['POST', CHAT, 401], ['GET', '/health', 200]]) {
    const client = await RawClient.connect(moon.port);
    client.send(expecting(method, path));
    const r = await client.response();
    assert.equal(r.status, status);
    assert.match(r.header('connection') ?? '', /close/);
    client.send('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
    await client.waitClosed();
    assert.equal(client.bytes.length, 0);
  }
  assert.equal(providers[0].calls.length, 0);
});

test('HEAD answers as GET would, without the body', async (t) => {
  const { moon } = await setup(t);
  const client = await RawClient.connect(moon.port);
  client.send(requestBytes({ method: 'HEAD', path: '/health' }));
  const head = await client.response({ method: 'HEAD' });
  assert.equal(head.status, 200);
  client.send(requestBytes({ path: '/health' }));
  const get = await client.response();
  assert.equal(get.status, 200);
  assert.equal(head.header('content-type'), get.header('content-type'));
  assert.ok(get.json().loadBalancer);
  client.destroy();
});

test('unknown paths are 404, known ones with the wrong method 405 with Allow', async (t) => {
  const { moon, providers } = await setup(t);
  for (const path of ['/nothing', '/v1', '/v1/chat', '/v1/chat/completions/', '/v1/chat/completions/x', '/healthz', '/../health'])
    assertError(await ask(moon, { path }), 404, { type: 'not_found_error' });
  const r = await ask(moon, { path: CHAT });
  assertError(r, 405);
  assert.match(r.header('allow'), /POST/);
  assertError(await ask(moon, { method: 'DELETE', path: '/health' }), 405);
  assertError(await ask(moon, { method: 'PUT', path: CHAT, body: '{}' }), 405);
  assert.equal(providers[0].calls.length, 0);
});

test('an absolute target for our own Host is taken as its path', async (t) => {
  const { moon } = await setup(t);
  const client = await RawClient.connect(moon.port);
  client.send('GET http://localhost/health HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.equal((await client.response()).status, 200);
  client.destroy();
});

test('two empty lines before a request are passed over', async (t) => {
  const { moon } = await setup(t);
  const client = await RawClient.connect(moon.port);
  client.send(`\r\n\r\nGET /health HTTP/1.1\r\nHost: localhost\r\n\r\n`);
  assert.equal((await client.response()).status, 200);
  client.destroy();
});

test('Upgrade is ignored and never forwarded', async (t) => {
  const { moon, providers } = await setup(t);
  const r = await chat(moon, {}, { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAMAAABkAAQAAP__' });
  assert.equal(r.status, 200);
  for (const name of ['upgrade', 'http2-settings']) assert.equal(providers[0].calls[0].header(name), undefined);
});

test('without a CORS setting no page elsewhere is allowed anything', async (t) => {
  const { moon } = await setup(t);
  const r = await chat(moon, {}, { Origin: 'https://page.example' });
  assert.equal(r.status, 200);
  assert.equal(r.header('access-control-allow-origin'), undefined);
  const preflight = await ask(moon, {
    method: 'OPTIONS', path: CHAT, headers: { Origin: 'https://page.example', 'Access-Control-Request-Method': 'POST' },
  });
  assert.equal(preflight.header('access-control-allow-origin'), undefined);
  const star = await RawClient.connect(moon.port);
  star.send('OPTIONS * HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.ok((await star.response()).status < 500);
  star.destroy();
});

test('a provider\'s own CORS fields do not pass for ours', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next((call) => call.respond(200, { id: 'x' }, { 'Access-Control-Allow-Origin': '*' }));
  const r = await chat(moon, {}, { Origin: 'https://page.example' });
  assert.equal(r.header('access-control-allow-origin'), undefined);
});

test('many clients at once are all answered', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3 });
  const answers = await Promise.all(Array.from({ length: 300 }, (_, i) => chat(moon, { stream: i % 3 === 0 })));
  assert.ok(answers.every((r) => r.status === 200 && r.complete));
  assert.equal(providers.reduce((n, p) => n + p.calls.length, 0), 300);
});

test('with CORS on for an origin its pages get their fields, and others none', async (t) => {
  const { moon, providers } = await setup(t, { cors: { origins: ['https://page.example'] } });
  const preflight = (Origin) =>
    ask(moon, { method: 'OPTIONS', path: CHAT, headers: { Origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' } });
  const allowed = await preflight('https://page.example');
  assert.ok(allowed.status === 204 || allowed.status === 200);
  assert.equal(allowed.header('access-control-allow-origin'), 'https://page.example');
  assert.match(allowed.header('access-control-allow-methods'), /POST/);
  assert.match(allowed.header('vary') ?? '', /origin/i);
  // Client libraries in pages have fields of their own, and a browser asks for each of them.
  const asks = (names) =>
    ask(moon, { method: 'OPTIONS', path: CHAT, headers: { Origin: 'https://page.example', 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': names } });
  const wanted = 'authorization,content-type,x-stainless-arch, x-stainless-os';
  assert.equal((await asks(wanted)).header('access-control-allow-headers'), wanted);
  for (const odd of ['a;b', 'a"b', 'x'.repeat(3000)]) assert.match((await asks(odd)).header('access-control-allow-headers'), /^Authorization, /);
  assert.equal((await preflight('https://other.example')).header('access-control-allow-origin'), undefined);
  const r = await chat(moon, {}, { Origin: 'https://page.example' });
  assert.deepEqual(r.all('access-control-allow-origin'), ['https://page.example']);
  assert.equal(providers[0].calls.length, 1);
});
