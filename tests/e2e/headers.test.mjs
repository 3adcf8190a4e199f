import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act, shareScript } from './fake-provider.mjs';
import { ask, chat, counters, setup } from './harness.mjs';

test('the client\'s credentials never leave', async (t) => {
  const { moon, providers } = await setup(t);
  await chat(moon, {}, {
    Authorization: 'Bearer client-secret-1', Cookie: 'c=client-secret-2', 'Proxy-Authorization': 'Basic client-secret-3',
    'X-Api-Key': 'client-secret-4', 'Api-Key': 'client-secret-5', 'Set-Cookie': 'client-secret-6', 'X-Custom': 'client-secret-7',
  });
  assert.doesNotMatch(providers[0].calls[0].head.toString('latin1'), /client-secret/);
  assert.equal(providers[0].calls[0].header('authorization'), undefined);
});

test('forwardHeaders cannot be used to let credentials out', async (t) => {
  const { moon, providers } = await setup(t, { forwardHeaders: ['X-Custom', 'x-other'] });
  await chat(moon, {}, { 'X-Custom': 'one', 'X-Other': 'two', 'X-Third': 'three', Authorization: 'Bearer client-secret' });
  assert.equal(providers[0].calls[0].header('x-custom'), 'one');
  assert.equal(providers[0].calls[0].header('x-other'), 'two');
  assert.equal(providers[0].calls[0].header('x-third'), undefined);
  assert.doesNotMatch(providers[0].calls[0].head.toString('latin1'), /client-secret/);
});

test('the fields on the allow-list go to the provider as they came', async (t) => {
  const { moon, providers } = await setup(t);
  const fields = {
    Accept: 'text/event-stream', 'OpenAI-Organization': 'org', 'OpenAI-Beta': 'b=v2', 'Anthropic-Version': '2023-06-01',
    'Idempotency-Key': 'i-1', traceparent: '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01', tracestate: 'a=b',
    'X-0G-Thing': 'zg', 'X-Request-Id': 'req-from-client-1',
  };
  await chat(moon, {}, { ...fields, 'Content-Type': 'application/json; charset=utf-8' });
  const sent = providers[0].calls[0];
  for (const [name, value] of Object.entries(fields)) assert.deepEqual(sent.all(name), [value], name);
  assert.deepEqual(sent.all('content-type'), ['application/json; charset=utf-8']);
});

test('nothing that is not on the allow-list goes to the provider', async (t) => {
  const { moon, providers } = await setup(t);
  await chat(moon, {}, {
    'X-Forwarded-For': '1.2.3.4', Forwarded: 'for=1.2.3.4', 'X-Real-IP': '1.2.3.4', Referer: 'http://r', Origin: 'http://o', 'User-Agent': 'client/1',
    Via: '1.1 x', TE: 'trailers', 'Keep-Alive': '5', 'Proxy-Connection': 'keep-alive', Connection: 'X-0G-Hop', 'X-0G-Hop': 'hop',
    'Accept-Encoding': 'gzip, br', Range: 'bytes=0-1', 'If-None-Match': '"x"', 'X-HTTP-Method-Override': 'DELETE', 'Content-Length-X': '1',
  });
  const sent = providers[0].calls[0];
  for (const name of ['x-forwarded-for', 'forwarded', 'x-real-ip', 'referer', 'origin', 'via', 'te', 'keep-alive', 'proxy-connection', 'range',
    'if-none-match', 'x-http-method-override', 'content-length-x']) assert.equal(sent.header(name), undefined, name);
  assert.equal(sent.header('x-0g-hop'), undefined, 'a field named in Connection is hop-by-hop');
  assert.doesNotMatch(sent.header('user-agent') ?? '', /client/);
  assert.doesNotMatch(sent.header('accept-encoding') ?? '', /gzip|br/);
});

test('Host is the provider\'s, and the request framing our own', async (t) => {
  const { moon, providers } = await setup(t);
  await chat(moon, {}, { Host: 'front.example' });
  const sent = providers[0].calls[0];
  assert.deepEqual(sent.all('host'), [`127.0.0.1:${providers[0].port}`]);
  assert.equal(sent.version, 'HTTP/1.1');
  assert.deepEqual(sent.all('content-length'), [String(sent.body.length)]);
  assert.equal(sent.header('expect'), undefined);
});

test('each provider gets its own key, also behind a failure of another', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', apiKey: 'sk-key-of-a' }, { id: 'b', apiKey: 'sk-key-of-b' }, { id: 'c' }] });
  shareScript(providers, act.status(500), act.status(500));
  assert.equal((await chat(moon)).status, 200);
  assert.deepEqual(providers.map((p) => p.calls[0].header('authorization')), ['Bearer sk-key-of-a', 'Bearer sk-key-of-b', undefined]);
});

test('a sane X-Request-Id is kept, any other is replaced', async (t) => {
  const { moon } = await setup(t);
  const idFor = async (id) => (await chat(moon, {}, { 'X-Request-Id': id })).header('x-request-id');
  assert.equal(await idFor('req_1-a.B:c'.replace(':', '-')), 'req_1-a.B-c');
  for (const id of ['x'.repeat(1000), 'a b', '', 'a"b', '<script>', 'caf\xe9']) {
    const got = await idFor(id);
    assert.notEqual(got, id);
    assert.match(got, /^[\w.-]{8,128}$/);
  }
  const twice = (await chat(moon, {}, { 'X-Request-Id': ['one-id', 'two-id'] })).all('x-request-id');
  assert.equal(twice.length, 1);
});

test('the request id is in our errors too', async (t) => {
  const { moon } = await setup(t);
  const r = await ask(moon, { path: '/nothing', headers: { 'X-Request-Id': 'my-request-7' } });
  assert.equal(r.header('x-request-id'), 'my-request-7');
  assert.equal(r.json().request_id, 'my-request-7');
});

test('the provider\'s fields reach the client, but for those that are ours or nobody\'s business', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.ok({
    headers: {
      'Set-Cookie': 'a=b', Server: 'fake/1', 'X-Provider-Address': 'forged', 'X-Request-Id': 'forged', Connection: 'X-Hop', 'X-Hop': 'h',
      'Keep-Alive': 'timeout=5', Upgrade: 'h2c', 'Proxy-Authenticate': 'Basic', Trailer: 'X-T', 'X-Ratelimit-Remaining-Requests': '9',
      'Alt-Svc': 'h3=":443"', 'Strict-Transport-Security': 'max-age=9', 'Clear-Site-Data': '"*"', NEL: '{}', 'Report-To': '{}', Refresh: '0',
      'Reporting-Endpoints': 'a="/x"', 'Proxy-Authentication-Info': 'x', 'OpenAI-Processing-Ms': '12', 'X-Detail': 'kept', 'Cache-Control': 'no-store',
    },
  }));
  const r = await chat(moon);
  assert.equal(r.status, 200);
  for (const name of ['set-cookie', 'x-hop', 'keep-alive', 'upgrade', 'proxy-authenticate', 'trailer', 'alt-svc', 'strict-transport-security',
    'clear-site-data', 'nel', 'report-to', 'refresh', 'reporting-endpoints', 'proxy-authentication-info']) assert.equal(r.header(name), undefined, name);
  assert.notEqual(r.header('server'), 'fake/1');
  assert.deepEqual(r.all('x-provider-address'), ['a']);
  assert.equal(r.all('x-request-id').length, 1);
  assert.notEqual(r.header('x-request-id'), 'forged');
  assert.equal(r.header('x-ratelimit-remaining-requests'), '9');
  assert.equal(r.header('openai-processing-ms'), '12');
  assert.equal(r.header('x-detail'), 'kept');
  assert.equal(r.header('cache-control'), 'no-store');
});

for (const upstream of ['native', 'curl']) {
  test(`as many fields as a head may have go on, and no caller harms a provider with them (${upstream})`, async (t) => {
    const { moon, providers } = await setup(t, { upstream, maxRetries: 0 });
    const fields = Object.fromEntries(Array.from({ length: 90 }, (_, i) => [`X-0G-Field-${i}`, `${i}`]));
    for (let i = 0; i < 3; i++) assert.equal((await chat(moon, {}, fields)).status, 200);
    for (const [name, value] of Object.entries(fields)) assert.deepEqual(providers[0].calls[2].all(name), [value]);
    assert.equal((await counters(moon, 'a')).outcomes.bad_response, 0);
  });
}

test('a provider cannot split our answer with bytes in its fields', async (t) => {
  const { moon, providers } = await setup(t, { maxRetries: 0 });
  for (const value of ['a\rX-Injected: 1', 'a\nX-Injected: 1', 'a\0b']) {
    providers[0].next(act.raw(`HTTP/1.1 200 OK\r\nX-A: ${value}\r\nContent-Length: 2\r\n\r\n{}`));
    const r = await chat(moon);
    assert.equal(r.status, 502);
    assert.equal(r.header('x-injected'), undefined);
    await chat(moon);
  }
});

test('interim answers of a provider are swallowed', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.raw('HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}'));
  const r = await chat(moon);
  assert.equal(r.status, 200);
  assert.equal(r.header('link'), undefined);
  assert.equal(r.text(), '{}');
});

test('a 204 and a 304 of a provider have no body, whatever it sends behind them', async (t) => {
  const { moon, providers } = await setup(t, { maxRetries: 0 });
  providers[0].next(act.raw('HTTP/1.1 204 No Content\r\n\r\n'));
  const r = await chat(moon);
  assert.equal(r.status, 204);
  assert.equal(r.header('content-length'), undefined);
  assert.equal((await chat(moon)).status, 200);
});

test('an answer has one Date: the provider\'s, or the time that it came when it sent none', async (t) => {
  const { moon, providers } = await setup(t);
  const theirs = 'Mon, 01 Jan 2024 00:00:00 GMT';
  providers[0].next(act.ok({ headers: { Date: theirs } }), act.ok(), act.status(400));
  assert.deepEqual((await chat(moon)).all('date'), [theirs]);
  for (const status of [200, 400]) {
    const r = await chat(moon);
    assert.equal(r.status, status);
    assert.equal(r.all('date').length, 1);
    assert.ok(Math.abs(Date.parse(r.header('date')) - Date.now()) < 60000);
  }
});
