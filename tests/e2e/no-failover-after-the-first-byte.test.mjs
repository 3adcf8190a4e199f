import assert from 'node:assert/strict';
import { test } from 'node:test';
import OpenAI from 'openai';
import { act, shareScript } from './fake-provider.mjs';
import { ask, chat, counters, events, eventually, MESSAGES, openChat, setup } from './harness.mjs';

const BREAKS = {
  'resets the connection': (call) => call.reset(),
  'closes the connection': (call) => call.close(),
  'sends a bad chunk': (call) => call.raw('xyz\r\n').close(),
  'falls silent': () => {},
};

for (const [what, breaks] of Object.entries(BREAKS)) {
  test(`a stream whose provider ${what} ends with an error event and a broken body, never with [DONE]`, async (t) => {
    const { moon, providers } = await setup(t, { providers: 2, timeouts: { idle: 300 } });
    for (const p of providers)
      p.always((call) => {
        call.streamHead().delta('one').delta('two');
        setTimeout(() => breaks(call), 50);
      });
    const r = await chat(moon, { stream: true });
    assert.equal(r.status, 200);
    assert.equal(r.complete, false, 'the chunked body must not end properly');
    const list = events(r.text());
    assert.ok(!list.includes('[DONE]'));
    assert.deepEqual(list.slice(0, 2).map((e) => e.choices[0].delta.content), ['one', 'two']);
    assert.equal(typeof list.at(-1).error.message, 'string');
    assert.equal(list.length, 3);
    assert.equal(providers[0].calls.length + providers[1].calls.length, 1);
  });
}

test('the openai client sees the broken stream as an error', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].always((call) => {
    call.streamHead().delta('one');
    setTimeout(() => call.reset(), 50);
  });
  const client = new OpenAI({ baseURL: `${moon.url}/v1`, apiKey: 'x', maxRetries: 0 });
  const stream = await client.chat.completions.create({ model: 'fake-model', messages: MESSAGES, stream: true });
  const seen = [];
  await assert.rejects(async () => {
    for await (const e of stream) seen.push(e.choices[0]?.delta.content);
  });
  assert.deepEqual(seen, ['one']);
});

test('a stream that breaks inside an event puts its error event behind a line end of its own', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].always((call) => {
    call.streamHead().delta('one');
    call.chunk('data: {"id":"half');
    setTimeout(() => call.reset(), 50);
  });
  const r = await chat(moon, { stream: true });
  const last = r.text().split('\n').filter((l) => l.startsWith('data:')).at(-1);
  assert.equal(typeof JSON.parse(last.slice(5)).error.message, 'string');
  assert.equal(r.complete, false);
});

test('a long plain answer that is cut off is left broken: nobody else is asked for the rest', async (t) => {
  const { moon, providers } = await setup(t, { providers: 2 });
  const body = Buffer.alloc(4 << 20, 'x');
  for (const leave of ['reset', 'close']) {
    for (const p of providers) {
      p.calls = [];
      p.next((call) => {
        call.head(200, { 'Content-Type': 'application/json', 'Content-Length': body.length });
        call.raw(body.subarray(0, body.length / 2));
        setTimeout(() => call[leave](), 100);
      });
    }
    const client = await openChat(moon);
    const r = await client.response();
    assert.equal(r.status, 200);
    assert.equal(r.complete, false);
    await client.waitClosed();
    assert.equal(providers[0].calls.length + providers[1].calls.length, 1);
    for (const p of providers) p.script = [];
  }
});

for (const [what, fault] of [['resets in the middle of', act.resetMidBody()], ['cuts short', act.truncatedLength()]]) {
  test(`a provider that ${what} a short answer never makes two answers of one`, async (t) => {
    const { moon, providers } = await setup(t, { providers: 2 });
    shareScript(providers, fault);
    const r = await chat(moon);
    assert.equal(r.status, 200);
    // Either nothing of it had reached the client and another provider answered, or the break is shown.
    if (r.complete) assert.equal(r.json().choices[0].message.content, 'hello');
    else assert.equal(r.text(), '{"id":"half');
  });
}

test('a broken stream counts against its provider', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].always((call) => {
    call.streamHead().delta('one');
    setTimeout(() => call.reset(), 20);
  });
  await chat(moon, { stream: true });
  await eventually(async () => /"stream_truncated": ?1\b/.test(JSON.stringify(await counters(moon, 'a'))));
});

for (const [what, ends] of Object.entries({
  'and then ends as if all were well': (call) => call.event('[DONE]').endChunks(),
  'and then just ends': (call) => call.endChunks(),
})) {
  test(`a stream in which the provider reports an error ${what} is no success, and the error is told once`, async (t) => {
    const { moon, providers } = await setup(t);
    providers[0].always((call) => ends(call.streamHead().delta('one').event({ error: { message: 'out of memory', code: 500 } })));
    const r = await chat(moon, { stream: true });
    assert.equal(r.complete, false);
    assert.equal(events(r.text()).filter((e) => e.error).length, 1);
    assert.equal((await counters(moon, 'a')).outcomes.server, 1);
    assert.equal((await counters(moon, 'a')).consecutiveFailures, 1);
  });
}

// [route, an event inside the stream, the event that ends it]
const ENDS = [
  ['/v1/completions', { choices: [{ text: 'one', finish_reason: null }] }, '[DONE]'],
  ['/v1/responses', { type: 'response.output_text.delta', delta: 'one' }, { type: 'response.completed', response: { id: 'r', error: null } }],
  ['/v1/messages', { type: 'content_block_delta', delta: { text: 'one' } }, { type: 'message_stop' }],
];

for (const [path, inside, last] of ENDS) {
  test(`a stream of ${path} that just ends is not complete; one that says so is`, async (t) => {
    const { moon, providers } = await setup(t);
    const request = { method: 'POST', path, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ stream: true, messages: [1] }) };
    providers[0].next((call) => call.streamHead().event(inside).event(last).endChunks(), (call) => call.streamHead().event(inside).endChunks());
    const whole = await ask(moon, request);
    assert.equal(whole.complete, true);
    assert.deepEqual(events(whole.text()), [inside, last]);
    const cut = await ask(moon, request);
    assert.equal(cut.complete, false);
    assert.equal(typeof events(cut.text()).at(-1).error.message, 'string');
    assert.equal((await counters(moon, 'a')).outcomes.stream_truncated, 1);
  });
}
