import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act, blackHole, shareScript } from './fake-provider.mjs';
import { assertError, chat, counters, eventually, setup } from './harness.mjs';

const isCurl = process.env.MOONGATE_UPSTREAM === 'curl'; // which reads on to the end of a line
const SHORT = { connect: 1000, firstByte: 300, idle: 300, total: 5000 };

// What the first provider asked does; the client must not notice any of it.
const FAULTS = {
  'resets the connection without a word': act.reset(),
  'closes the connection without a word': act.close(),
  'breaks off inside the head': act.resetInHead(),
  'breaks off between head and body': act.resetAfterHead(),
  'never answers': act.silent(),
  'sends a head and then nothing': act.silentAfterHead(),
  'speaks another protocol': act.garbage(),
  'answers with a page for people': act.raw('HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 6\r\n\r\n<html>'),
  'answers with JSON that is none': act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 6\r\n\r\n<html>'),
  'answers with half a document': act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 12\r\n\r\n{"id":"half"'),
  'cuts off a document that it does not name': act.raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{"id"\r\n', 'close'),
  'answers with nothing': act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 0\r\n\r\n'),
  'answers 200 with an error': act.status(200, { error: { message: 'Provider returned error', code: 502 } }),
  'breaks off a short compressed answer': act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 100\r\n\r\n\x1f\x8b', 'reset'),
  'answers 500': act.status(500),
  'answers 502': act.status(502),
  'answers 503': act.status(503),
  'answers 504': act.status(504),
  'answers 529': act.status(529),
  'answers 408': act.status(408),
  'answers 429': act.status(429),
  'answers 429 for an empty account': act.status(429, { error: { message: 'm', code: 'insufficient_quota' } }),
  'answers 401': act.status(401),
  'answers 402': act.status(402),
  'answers 403': act.status(403),
  'answers 400 because its session check fails': act.status(400, { error: 'validate session: session token expired' }),
  'answers 400 because our account is empty': act.status(400, {
    error: 'Provider proxy: handle proxied service, validate request: insufficient balance: your locked balance is 0 0G',
  }),
  'answers 400 because we have no account': act.status(400, {
    error: 'validate request: get account from contract, account not exist: 0x00',
  }),
  'redirects': act.redirect('http://127.0.0.1:1/elsewhere'),
  'answers with two lengths': act.raw('HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}'),
  'answers with length and chunks': act.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
  'answers with an unknown transfer coding': act.raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n'),
  'answers with a negative length': act.raw('HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n', 'close'),
  'answers with a control byte in a field': act.raw('HTTP/1.1 200 OK\r\nX-A: a\x01b\r\nContent-Length: 2\r\n\r\n{}'),
  'names more fields in Connection than there may be': act.raw(`HTTP/1.1 200 OK\r\nConnection: ${'a,'.repeat(5000)}b\r\nContent-Length: 2\r\n\r\n{}`),
  'answers with a folded field': act.raw('HTTP/1.1 200 OK\r\nX-A: a\r\n b\r\nContent-Length: 2\r\n\r\n{}'),
  'starts its body with a bad chunk size': act.raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n', 'close'),
  'sends 17 interim answers': act.raw('HTTP/1.1 100 Continue\r\n\r\n'.repeat(17) + 'HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'),
  'answers 101': act.raw('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'),
  'answers status 999': act.raw('HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}'),
  'sends a head without end': (call) => {
    for (let i = 0; i < 20000; i++) call.raw(i ? `X-Filler-${i}: ${'x'.repeat(100)}\r\n` : 'HTTP/1.1 200 OK\r\n');
  },
};

for (const stream of [false, true]) {
  for (const [what, fault] of Object.entries(FAULTS)) {
    test(`a provider that ${what} is replaced without the client noticing${stream ? ' (stream)' : ''}`, async (t) => {
      const { moon, providers } = await shared(t);
      shareScript(providers, fault);
      for (const p of providers) p.calls = [];
      const r = await chat(moon, { stream });
      assert.equal(r.status, 200, r.text());
      assert.ok(r.complete);
      assert.match(r.text(), stream ? /\[DONE\]/ : /hello/);
      assert.deepEqual(providers.map((p) => p.calls.length), [1, 1]);
    });
  }
}

// Each test gets two providers that nothing has been held against yet.
function shared(t) {
  return setup(t, { providers: 2, timeouts: SHORT, waitProbed: true });
}

test('a provider that refuses connections is replaced without the client noticing', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  await providers[0].refuse();
  for (let i = 0; i < 6; i++) {
    const r = await chat(moon, { stream: i % 2 === 0 });
    assert.equal(r.status, 200);
    assert.equal(r.header('x-provider-address'), 'b');
  }
  assert.equal(providers[1].calls.length, 6);
});

test('a host name that does not exist is replaced without the client noticing', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', endpoint: 'http://no-such-host.invalid/v1' }, { id: 'b' }], waitProbed: false });
  for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).status, 200);
  assert.equal(providers[1].calls.length, 4);
});

test('an address that is out of reach, or that never takes a connection, is replaced without the client noticing', async (t) => {
  for (const [endpoint, failure] of [['http://224.0.0.1:9/v1', 'connect'], [`http://127.0.0.1:${await blackHole(t)}/v1`, 'timeout_connect']]) {
    const { moon, providers } = await setup(t, {
      providers: [{ id: 'a', endpoint }, { id: 'b' }], timeouts: { connect: 300 }, healthCheckInterval: 600000, health: { fall: 100 }, waitProbed: false,
    });
    for (let i = 0; i < 4; i++) assert.equal((await chat(moon, { stream: i % 2 === 0 })).status, 200);
    assert.equal(providers[1].calls.length, 4);
    const a = await counters(moon, 'a');
    assert.ok(a.outcomes[failure] > 0 || /unreachable|Failed to connect/.test(a.reason), JSON.stringify(a));
  }
});

test('a kept connection that the provider has closed in the meantime is no failure', async (t) => {
  const { moon, providers } = await setup(t);
  for (let i = 0; i < 5; i++) {
    assert.equal((await chat(moon)).status, 200);
    for (const s of providers[0].sockets) s.destroy();
  }
  assert.equal(providers[0].calls.length, 5);
});

test('bytes on an idle kept connection are never taken for an answer', async (t) => {
  const { moon, providers } = await setup(t);
  assert.equal((await chat(moon)).status, 200);
  for (const s of providers[0].sockets) s.write('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsmugg');
  const r = await chat(moon);
  assert.equal(r.status, 200);
  assert.equal(r.json().choices[0].message.content, 'hello');
});

test('a provider that speaks another protocol is found out by its first bytes, not when its time is over', async (t) => {
  const { moon, providers } = await setup(t, { maxRetries: 0 });
  for (const text of ['220 mail.example ESMTP\r\n', 'SSH-2.0-x', '\x15\x03\x01\x00\x02\x02\x28', '<', ...(isCurl ? [] : ['HTTP/2 200'])]) {
    providers[0].next(act.raw(text, 'nothing'));
    assertError(await chat(moon), 502, { code: 'provider_error', message: /bad_response/ });
  }
});

test('each provider is tried at most once, and maxRetries + 1 in all', async (t) => {
  const { moon, providers } = await setup(t, { providers: 5, maxRetries: 2 });
  for (const p of providers) p.always(act.status(500));
  await chat(moon);
  assert.deepEqual(providers.map((p) => p.calls.length).sort(), [0, 0, 1, 1, 1]);
});

test('two providers and many retries still make two attempts', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, maxRetries: 10 });
  for (const p of providers) p.always(act.status(500));
  await chat(moon);
  assert.deepEqual(providers.map((p) => p.calls.length), [1, 1]);
});

test('with maxRetries = 0 the first failure is the answer', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3, maxRetries: 0 });
  for (const p of providers) p.always(act.status(500));
  assert.equal((await chat(moon)).status, 500);
  assert.equal(providers.reduce((n, p) => n + p.calls.length, 0), 1);
});

test('the body that is sent again is the same, byte for byte, for the next provider\'s model', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', model: 'model-a' }, { id: 'b', model: 'model-b' }] });
  shareScript(providers, act.reset());
  const body = `{"model" : "x", "messages":[{"role":"user","content":"${'é'.repeat(50000)}"}]}`;
  assert.equal((await chat(moon, body)).status, 200);
  for (const p of providers) assert.equal(p.calls[0].body.toString(), body.replace('"x"', `"${p.model}"`));
});

test('a redirect is not followed', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a' }] });
  providers[0].always(act.redirect(`${providers[0].origin}/v1/other`));
  assertError(await chat(moon), 502, { code: 'provider_error', type: 'server_error' });
  assert.equal(providers[0].calls.length, 1);
});

test('when nobody answers in time the client gets 504', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2, timeouts: { firstByte: 150, total: 5000 } });
  for (const p of providers) p.always(act.silent());
  assertError(await chat(moon), 504, { type: 'server_error' });
  await eventually(() => providers.every((p) => p.calls.length === 1));
});

test('the total deadline covers all attempts together', async (t) => {
  const { moon, providers } = await setup(t, { providers: 4, timeouts: { firstByte: 400, total: 600 } });
  for (const p of providers) p.always(act.silent());
  const started = Date.now();
  assertError(await chat(moon), 504);
  assert.ok(Date.now() - started >= 590 && providers.reduce((n, p) => n + p.calls.length, 0) <= 2);
});
