import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chat, counters, eventually, health, openChat, RawClient, requestBytes, chatRequest, setup, SLOW, within } from './harness.mjs';

async function assertCancelled(call, since) {
  const at = await within(call.closed, 5000, 'the end of the upstream call');
  assert.ok(at - since < 500 * SLOW, `cancelled after ${at - since} ms`);
}

for (const [how, leave] of [['closes', (c) => c.socket.destroy()], ['resets', (c) => c.socket.resetAndDestroy()]]) {
  test(`a client that ${how} before the answer cancels the upstream call at once`, async (t) => {
    const { moon, providers } = await setup(t, { providers: 2 });
    const next = Promise.race(providers.map((p) => p.manual()));
    const client = await openChat(moon);
    const call = await next;
    const since = Date.now();
    leave(client);
    await assertCancelled(call, since);
    await eventually(async () => (await health(moon)).loadBalancer.totalConnections === 0);
    assert.equal(providers[0].calls.length + providers[1].calls.length, 1, 'no other provider was asked');
  });

  test(`a client that ${how} in the middle of a stream cancels the upstream call at once`, async (t) => {
    const { moon, providers } = await setup(t);
    const next = providers[0].manual();
    const client = await openChat(moon, { stream: true });
    const call = await next;
    call.streamHead().delta('one');
    await client.until('one');
    const since = Date.now();
    leave(client);
    await assertCancelled(call, since);
    await eventually(async () => (await health(moon)).loadBalancer.totalConnections === 0);
  });
}

test('clients that leave harm no provider', async (t) => {
  const { moon, providers } = await setup(t);
  for (let i = 0; i < 10; i++) {
    const next = providers[0].manual();
    const client = await openChat(moon);
    const call = await next;
    client.destroy();
    await call.closed;
  }
  await eventually(async () => /"client_closed": ?10\b/.test(JSON.stringify(await counters(moon, 'a'))));
  assert.equal((await health(moon)).status, 'healthy');
  assert.equal((await chat(moon)).status, 200);
});

test('a client that leaves inside its body costs nothing', async (t) => {
  const { moon, providers } = await setup(t);
  for (let i = 0; i < 20; i++) {
    const client = await RawClient.connect(moon.port);
    const bytes = requestBytes(chatRequest());
    client.send(bytes.subarray(0, bytes.length - 1 - i));
    client.destroy();
  }
  assert.equal((await chat(moon)).status, 200);
  assert.equal(providers[0].calls.length, 1);
});

test('a client that only closes its sending side still gets its answer or a clean end', async (t) => {
  const { moon, providers } = await setup(t);
  const next = providers[0].manual();
  const client = await RawClient.connect(moon.port, { allowHalfOpen: true });
  client.send(requestBytes(chatRequest()));
  const call = await next;
  client.socket.end();
  call.respond(200, { id: 'x' });
  await within(Promise.race([client.closed, client.response().catch(() => {})]), 5000, 'an end');
  client.destroy();
  assert.equal((await chat(moon)).status, 200);
});

test('no descriptor is left behind by any of it', async (t) => {
  const { moon, providers } = await setup(t);
  await chat(moon);
  const before = moon.openFiles();
  for (let i = 0; i < 30; i++) {
    const next = providers[0].manual();
    const client = await openChat(moon, { stream: true });
    const call = await next;
    call.streamHead().delta('one');
    await client.until('one');
    client.destroy();
    await call.closed;
  }
  await eventually(() => moon.openFiles() <= before + 2);
});
