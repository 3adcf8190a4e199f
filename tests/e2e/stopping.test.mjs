import assert from 'node:assert/strict';
import { test } from 'node:test';
import { eventually, openChat, RawClient, requestBytes, setup, SLOW } from './harness.mjs';

async function running(t, config) {
  const { moon, providers } = await setup(t, config);
  const next = providers[0].manual();
  const client = await openChat(moon, { stream: true });
  const call = await next;
  call.streamHead().delta('one');
  await client.until('one');
  return { moon, client, call };
}

const isRefused = (moon) => RawClient.connect(moon.port).then((c) => (c.destroy(), false), () => true);

for (const name of ['SIGTERM', 'SIGINT']) {
  test(`on ${name} the running stream finishes, nobody new gets in, and the exit code is 0`, async (t) => {
    const { moon, client, call } = await running(t);
    const idle = await RawClient.connect(moon.port);
    moon.signal(name);
    await eventually(() => isRefused(moon));
    await idle.waitClosed();
    call.delta('two').done();
    const r = await client.response();
    assert.ok(r.complete);
    assert.match(r.text(), /one[\s\S]*two[\s\S]*\[DONE\]/);
    assert.deepEqual(await moon.waitExit(), { code: 0, signal: null });
  });
}

test('a second signal ends at once', async (t) => {
  const { moon } = await running(t);
  moon.signal('SIGTERM');
  await eventually(() => isRefused(moon));
  const started = Date.now();
  moon.signal('SIGTERM');
  await moon.waitExit();
  assert.ok(Date.now() - started < 2000 * SLOW);
});

test('what has not finished by timeouts.drain is ended', async (t) => {
  const { moon, client } = await running(t, { timeouts: { drain: 300 } });
  const started = Date.now();
  moon.signal('SIGTERM');
  const { code } = await moon.waitExit();
  assert.equal(code, 0);
  assert.ok(Date.now() - started >= 250);
  const r = await client.response();
  assert.equal(r.complete, false);
  assert.doesNotMatch(r.text(), /\[DONE\]/);
});

test('with nothing running the stop is immediate, idle connections and all', async (t) => {
  const { moon } = await setup(t, { providers: 2 });
  const clients = await Promise.all(Array.from({ length: 20 }, () => RawClient.connect(moon.port)));
  for (const c of clients) c.send(requestBytes({ path: '/health' }));
  for (const c of clients) assert.equal((await c.response()).status, 200);
  const started = Date.now();
  moon.signal('SIGTERM');
  assert.deepEqual(await moon.waitExit(), { code: 0, signal: null });
  assert.ok(Date.now() - started < 3000 * SLOW, `${Date.now() - started} ms`);
});

test('a signal right at the start is a clean stop too', async (t) => {
  for (let i = 0; i < 3; i++) {
    const { moon } = await setup(t, { waitProbed: false });
    moon.signal('SIGTERM');
    assert.deepEqual(await moon.waitExit(), { code: 0, signal: null });
  }
});
