import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { act, shareScript } from './fake-provider.mjs';
import { ask, chat, chatRequest, MESSAGES, setup, within } from './harness.mjs';

const clientOf = (moon) => new OpenAI({ baseURL: `${moon.url}/v1`, apiKey: 'of-the-client', maxRetries: 0 });

test('a chat through the openai client is answered by a provider', async (t) => {
  const { moon, providers } = await setup(t);
  const answer = await clientOf(moon).chat.completions.create({ model: 'fake-model', messages: MESSAGES });
  assert.equal(answer.choices[0].message.content, 'hello');
  assert.equal(answer.usage.total_tokens, 8);
  assert.equal(providers[0].calls.length, 1);
  assert.equal(providers[0].calls[0].target, '/v1/chat/completions');
  assert.deepEqual(providers[0].calls[0].json().messages, MESSAGES);
});

test('a streamed chat through the openai client arrives piece by piece, as the provider sends it', async (t) => {
  const { moon, providers } = await setup(t);
  const next = providers[0].manual();
  const opening = clientOf(moon).chat.completions.create({ model: 'fake-model', messages: MESSAGES, stream: true });
  const call = await next;
  call.streamHead().delta('one');
  const stream = (await opening)[Symbol.asyncIterator]();
  const content = async () => (await within(stream.next(), 5000, 'an event')).value.choices[0]?.delta.content;
  assert.equal(await content(), 'one');
  call.delta('two');
  assert.equal(await content(), 'two'); // it came before the provider sent anything further
  call.done();
  const last = [];
  for (let e = await stream.next(); !e.done; e = await stream.next()) last.push(e.value);
  assert.equal(last.at(-1).usage.total_tokens, 8);
});

test('the bytes of a stream are relayed as they are, comments and line ends included', async (t) => {
  const { moon, providers } = await setup(t);
  const bytes = ': note\r\n\r\ndata: {"id":"x",  "choices":[]}\r\n\r\nevent: a\ndata: {"k":"\\u00e9"}\n\ndata: [DONE]\n\n';
  providers[0].next((call) => {
    call.streamHead();
    for (const byte of Buffer.from(bytes)) call.chunk(Buffer.of(byte));
    call.endChunks();
  });
  const r = await chat(moon, { stream: true });
  assert.equal(r.text(), bytes);
  assert.ok(r.complete);
});

test('each answer names its provider and its request and keeps ZG-Res-Key', async (t) => {
  const { moon, providers } = await setup(t, { providers: [{ id: 'the-provider' }] });
  providers[0].always(act.ok({ headers: { 'ZG-Res-Key': 'k-1' } }));
  for (const stream of [false, true]) {
    const r = await chat(moon, { stream });
    assert.equal(r.status, 200);
    assert.deepEqual(r.all('x-provider-address'), ['the-provider']);
    assert.equal(r.all('x-request-id').length, 1);
    assert.ok(r.header('x-request-id').length >= 8);
    assert.deepEqual(r.all('zg-res-key'), ['k-1']);
  }
});

test('an answer that drips in byte by byte is the same answer', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.drip());
  const r = await chat(moon);
  assert.equal(r.json().choices[0].message.content, 'hello');
});

test('a large answer passes unchanged, with and without a known length', async (t) => {
  const { moon, providers } = await setup(t);
  const body = Buffer.alloc(5_000_000, 'abcdefghijklmnopqrstuvwxyz\n');
  providers[0].next((call) => call.respond(200, body, { 'Content-Type': 'application/json' }));
  const known = await chat(moon);
  assert.ok(known.body.equals(body));
  providers[0].next((call) => {
    call.head(200, { 'Content-Type': 'application/json', 'Transfer-Encoding': 'chunked' });
    for (let at = 0; at < body.length; at += 65_537) call.chunk(body.subarray(at, at + 65_537));
    call.endChunks();
  });
  const unknown = await chat(moon);
  assert.ok(unknown.body.equals(body) && unknown.complete);
});

test('an answer without a declared length ends with the provider\'s connection', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n\r\n{"id":"x"}', 'close'));
  const r = await chat(moon);
  assert.equal(r.text(), '{"id":"x"}');
  assert.ok(r.complete);
});

const ROUTES = [
  ['/v1/completions', { prompt: 'p' }],
  ['/v1/embeddings', { input: 'text' }],
  ['/v1/images/generations', { prompt: 'a moon' }],
  ['/v1/audio/speech', { input: 'text', voice: 'v' }],
  ['/v1/responses', { input: 'text' }],
  ['/v1/messages', { messages: MESSAGES, max_tokens: 9 }],
];

for (const [path, body] of ROUTES) {
  test(`POST ${path} takes the same way, retries included`, async (t) => {
    const { moon, providers } = await setup(t, { providers: 2 });
    const answer = Buffer.from([0, 1, 2, 255, 13, 10, 0]);
    shareScript(providers, act.status(500), (call) => call.respond(200, answer, { 'Content-Type': 'audio/mpeg' }));
    const text = JSON.stringify({ model: 'fake-model', ...body });
    const r = await ask(moon, { ...chatRequest(text), path });
    assert.equal(r.status, 200);
    assert.ok(r.body.equals(answer));
    assert.equal(r.header('content-type'), 'audio/mpeg');
    for (const p of providers) {
      assert.equal(p.calls.length, 1);
      assert.equal(p.calls[0].target, path);
      assert.equal(p.calls[0].body.toString(), text);
    }
  });
}

test('a query string does not keep a request from its route', async (t) => {
  const { moon, providers } = await setup(t);
  const r = await ask(moon, { ...chatRequest(), path: '/v1/chat/completions?beta=true&x=%20' });
  assert.equal(r.status, 200);
  assert.match(providers[0].calls[0].target, /^\/v1\/chat\/completions(\?|$)/);
});
