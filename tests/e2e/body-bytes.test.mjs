import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ask, assertError, chat, CHAT, RawClient, setup } from './harness.mjs';

const M = '"messages":[{"role":"user","content":"x"}]';

// [what, the body sent, the value in it that becomes the provider's model]
const BODIES = [
  ['an ordinary body', `{"model":"old",${M}}`, '"old"'],
  ['model last', `{${M},"model":"old"}`, '"old"'],
  ['blanks of every kind', ` \t\r\n{ "model"\n:\t"old" ,\r\n ${M} } \n`, '"old"'],
  ['an escaped key', `{"\\u006dodel":"old",${M}}`, '"old"'],
  ['an escaped value', `{"model":"\\u006fld",${M}}`, '"\\u006fld"'],
  ['numbers beyond any double', `{"a":1e400,"b":-1E-999,"model":"old",${M},"c":123456789012345678901234567890}`, '"old"'],
  ['numbers in odd spellings', `{"a":1.0,"b":-0,"c":0.10,"d":1E+2,"model":"old",${M}}`, '"old"'],
  ['escapes of every kind', `{"a":"\\ud800 \\u0000 \\/ \\b\\f\\n\\r\\t \\ud83d\\ude00","model":"old",${M}}`, '"old"'],
  ['lone surrogates in keys', `{"\\udc00":1,"model":"old",${M}}`, '"old"'],
  ['characters of every length', `{"a":"é€😀\u2028","model":"old",${M}}`, '"old"'],
  ['repeated members that nobody interprets', `{"x":1,"x":2,"model":"old","x":{"y":1,"y":2},${M}}`, '"old"'],
  ['model inside other members', `{"metadata":{"model":"m"},"model":"old","tools":[{"model":"n"}],${M}}`, '"old"'],
  ['model in a string', `{"a":"\\"model\\":\\"m\\"","model":"old",${M}}`, '"old"'],
  ['empty arrays and objects', `{"a":[],"b":{},"c":[[],{}],"model":"old",${M}}`, '"old"'],
  ['members with odd names', `{"":0,"Model":"x","model ":"y","model":"old",${M}}`, '"old"'],
  ['deep values', `{"a":${'['.repeat(100)}${']'.repeat(100)},"model":"old",${M}}`, '"old"'],
];

test('model is replaced by the provider\'s, and not one other byte changes', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', model: 'the/provider"s \\ model' }] });
  for (const [what, body, old] of BODIES) {
    const r = await chat(moon, body);
    assert.equal(r.status, 200, `${what}: ${r.text()}`);
    const at = body.indexOf(old);
    const expected = body.slice(0, at) + '"the/provider\\"s \\\\ model"' + body.slice(at + old.length);
    const sent = providers[0].calls.at(-1);
    assert.equal(sent.body.toString(), expected, what);
    assert.equal(Number(sent.header('content-length') ?? sent.body.length), sent.body.length);
  }
});

test('a provider without a model of its own gets the body as it came', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', model: null }] });
  for (const [what, body] of BODIES) {
    assert.equal((await chat(moon, body)).status, 200, what);
    assert.equal(providers[0].calls.at(-1).body.toString(), body, what);
  }
});

test('a body without a model gets the provider\'s in front, and is otherwise as it came', async (t) => {
  const { moon, providers } = await setup(t);
  const rest = ` ${M} , "stream":false }`;
  assert.equal((await chat(moon, `{${rest}`)).status, 200);
  assert.equal(providers[0].calls[0].body.toString(), `{"model":"fake-model",${rest}`);
});

test('stream_options of a direct endpoint are the client\'s business', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', model: null }] });
  for (const extra of ['', ',"stream_options":{"include_usage":false}', ',"stream_options":null']) {
    const body = `{${M},"stream":true${extra}}`;
    assert.equal((await chat(moon, body)).status, 200);
    assert.equal(providers[0].calls.at(-1).body.toString(), body);
  }
});

test('a body that came in chunks arrives whole, with its model replaced', async (t) => {
  const { moon, providers } = await setup(t);
  const body = `{"model":"old",${M},"pad":"${'p'.repeat(200000)}"}`;
  const client = await RawClient.connect(moon.port);
  client.send(`POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nTransfer-Encoding: Chunked\r\n\r\n`);
  for (let at = 0; at < body.length; at += 7001) {
    const piece = body.slice(at, at + 7001);
    client.send(`${piece.length.toString(16).toUpperCase()};ext=1\r\n${piece}\r\n`);
  }
  client.send('0\r\nX-Trailer: dropped\r\n\r\n');
  assert.equal((await client.response()).status, 200);
  assert.equal(providers[0].calls[0].body.toString(), body.replace('"old"', '"fake-model"'));
  assert.equal(providers[0].calls[0].header('x-trailer'), undefined);
  client.destroy();
});

test('a multipart body passes untouched, whatever bytes it has', async (t) => {
  const { moon, providers } = await setup(t);
  const bytes = Buffer.alloc(300000);
  for (let i = 0; i < bytes.length; i++) bytes[i] = (i * 7919) & 255;
  const body = Buffer.concat([
    Buffer.from('--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nold\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'),
    bytes, Buffer.from('\r\n--b--\r\n'),
  ]);
  for (const path of ['/v1/audio/transcriptions', '/v1/images/edits']) {
    const r = await ask(moon, { method: 'POST', path, headers: { 'Content-Type': 'multipart/form-data; boundary=b' }, body });
    assert.equal(r.status, 200);
    const sent = providers[0].calls.at(-1);
    assert.ok(sent.body.equals(body));
    assert.equal(sent.header('content-type'), 'multipart/form-data; boundary=b');
    assert.equal(sent.target, path);
  }
});

test('a chat is read as JSON whatever its Content-Type says', async (t) => {
  const { moon, providers } = await setup(t);
  const headers = { 'Content-Type': 'multipart/form-data; boundary=b' };
  assertError(await ask(moon, { method: 'POST', path: '/v1/chat/completions', headers, body: '--b--' }), 400);
  const twice = '{"messages":[1],"model":"a","model":"b"}';
  assertError(await ask(moon, { method: 'POST', path: '/v1/chat/completions', headers, body: twice }), 400);
  assert.equal(providers[0].calls.length, 0);
});

test('JSON to a route of forms is checked, and its model replaced', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'a', model: 'ours' }] });
  const post = (body) => ask(moon, { method: 'POST', path: '/v1/images/edits', headers: { 'Content-Type': 'application/json' }, body });
  assert.equal((await post('{"model":"theirs","prompt":"x"}')).status, 200);
  assert.equal(providers[0].calls[0].body.toString(), '{"model":"ours","prompt":"x"}');
  assertError(await post('{"model":"theirs"'), 400);
});

test('bodies of all lengths over one connection arrive whole, also with the next request behind them', async (t) => {
  const { moon, providers } = await setup(t);
  const client = await RawClient.connect(moon.port);
  const send = async (bodies) => {
    const from = providers[0].calls.length;
    client.send(Buffer.concat(bodies.map((body) => Buffer.from(
      `POST ${CHAT} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`))));
    for (let i = 0; i < bodies.length; i++) assert.equal((await client.response()).status, 200);
    bodies.forEach((body, i) => assert.ok(providers[0].calls[from + i].body.toString() === body.replace('"old"', '"fake-model"'), `${body.length} bytes`));
  };
  // Around what is read at once, what is copied and what keeps its memory.
  const body = (length, c = 'p') => `{"model":"old",${M},"pad":"${c.repeat(length - 68)}"}`;
  for (const edge of [4096, 16384, 32768, 65536, 131072, 262144]) {
    for (const off of [-300, -1, 0, 1, 300]) await send([body(edge + off)]);
  }
  await send([body(100_000, 'a'), body(100, 'b'), body(40_000, 'c'), body(130_000, 'd'), body(500, 'e')]);
  await send([body(60_000, 'f'), body(60_000, 'g'), body(60_000, 'h')]);
  client.destroy();
});

test('a body of 20 MB passes, and the memory for it is given back', async (t) => {
  const { moon, providers } = await setup(t);
  const body = `{"model":"old",${M},"pad":"${'p'.repeat(20_000_000)}"}`;
  const r = await chat(moon, body);
  assert.equal(r.status, 200);
  assert.equal(providers[0].calls[0].body.length, body.length + 'fake-model'.length - 'old'.length);
});
