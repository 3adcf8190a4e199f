import assert from 'node:assert/strict';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import { ask, assertError, chat, events, eventually, setup } from './harness.mjs';

const verify = (moon, body) =>
  ask(moon, {
    method: 'POST', path: '/v1/verify', headers: { 'Content-Type': 'application/json' },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });

for (const stream of [false, true]) {
  test(`an answer is found again at its provider by either of its ids${stream ? ' (stream)' : ''}`, async (t) => {
    const { moon } = await setup(t, { providers: 3 });
    for (let i = 0; i < 6; i++) {
      const answer = await chat(moon, { stream });
      const id = stream ? events(answer.text())[0].id : answer.json().id;
      for (const key of [id, answer.header('zg-res-key')]) {
        const r = await verify(moon, { id: key });
        assert.equal(r.status, 200, r.text());
        assert.equal(r.json().provider, answer.header('x-provider-address'));
        assert.equal(r.json().type, 'direct');
      }
    }
  });
}

test('a direct endpoint cannot be verified: isValid is null, with a note', async (t) => {
  const { moon } = await setup(t);
  const answer = await chat(moon);
  const verdict = (await verify(moon, { id: answer.json().id })).json();
  assert.equal(verdict.isValid, null);
  assert.equal(typeof verdict.note, 'string');
});

test('an id split over any two pieces of the answer is found', async (t) => {
  const { moon, providers } = await setup(t);
  const text = 'data: {"choices":[],"id":"chatcmpl-split","x":1}\n\ndata: [DONE]\n\n';
  for (let at = 1; at < 45; at += 4) {
    const id = `chatcmpl-${at}-xy`;
    const bytes = text.replace('chatcmpl-split', id);
    providers[0].next((call) => {
      call.streamHead().chunk(bytes.slice(0, at));
      setTimeout(() => call.chunk(bytes.slice(at)).endChunks(), 5);
    });
    await chat(moon, { stream: true });
    assert.equal((await verify(moon, { id })).status, 200, `split at ${at}`);
  }
});

test('only the answer\'s own id counts, not one that is quoted in it', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next((call) =>
    call.respond(200, '{"choices":[{"id":"inner","message":{"content":"\\"id\\":\\"quoted\\""}}],"id":"outer"}', { 'Content-Type': 'application/json' }));
  await chat(moon);
  assert.equal((await verify(moon, { id: 'outer' })).status, 200);
  assert.equal((await verify(moon, { id: 'inner' })).status, 404);
  assert.equal((await verify(moon, { id: 'quoted' })).status, 404);
});

test('without an id: 400', async (t) => {
  const { moon } = await setup(t);
  for (const body of [{}, { id: '' }, { id: null }, { id: 7 }, { other: 'x' }])
    assertError(await verify(moon, body), 400, { message: 'Missing id in request body', type: 'invalid_request_error' });
  for (const body of ['', '{', '[]', '"id"']) assertError(await verify(moon, body), 400);
});

test('an id that nobody answered with: 404', async (t) => {
  const { moon } = await setup(t);
  assertError(await verify(moon, { id: 'never seen' }), 404, { message: 'No cached content for this id', type: 'not_found_error' });
  assertError(await verify(moon, { id: 'x'.repeat(5000) }), 404);
});

test('a failed chat leaves nothing to verify', async (t) => {
  const { moon, providers } = await setup(t);
  providers[0].next(act.status(422, '{"id":"failed-chat"}', { 'Content-Type': 'application/json' }));
  await chat(moon);
  assertError(await verify(moon, { id: 'failed-chat' }), 404);
});

test('a session is gone some time after its last use', async (t) => {
  const { moon } = await setup(t, { sessionTimeout: 400 });
  const { id } = (await chat(moon)).json();
  assert.equal((await verify(moon, { id })).status, 200);
  await new Promise((resolve) => setTimeout(resolve, 600));
  assertError(await verify(moon, { id }), 404, { message: 'No cached content for this id' });
});

test('with maxSessions the oldest go first and the newest stay', async (t) => {
  const { moon } = await setup(t, { maxSessions: 8 });
  const ids = [];
  for (let i = 0; i < 400; i++) ids.push((await chat(moon)).json().id);
  assert.equal((await verify(moon, { id: ids.at(-1) })).status, 200);
  assert.equal((await verify(moon, { id: ids[0] })).status, 404);
});

test('the number of sessions is in /health', async (t) => {
  const { moon } = await setup(t);
  for (let i = 0; i < 3; i++) await chat(moon);
  await eventually(async () => (await ask(moon, { path: '/health' })).json().loadBalancer.activeSessions === 3);
});
