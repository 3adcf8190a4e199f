// What was answered before a restart, a crash or a kill can still be verified after it.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { SLOW, ask, chat, eventually, health, setup, sleep, startDaemon, temporaryFolder } from './harness.mjs';

const LOSS_MS = 1000; // at most so much of what was filed is lost

const verify = (moon, id) =>
  ask(moon, { method: 'POST', path: '/v1/verify', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ id }) });

const storesIn = (folder) => readdirSync(path.join(folder, 'state/moongate')).filter((f) => f.endsWith('.sessions'));

// The same configuration again, in the same folder.
const startAgain = (t, moon, providers, config) =>
  startDaemon(t, { providers: providers.map((p) => p.config()), ...config }, { folder: moon.folder });

test('kill -9 under load: every answer older than a second is found after the restart', async (t) => {
  const { moon, providers } = await setup(t, { providers: 3 });
  const answers = [];
  let isOver = false;
  const clients = Array.from({ length: 8 }, async () => {
    while (!isOver) {
      try {
        const r = await chat(moon);
        answers.push({ at: Date.now(), id: r.json().id, key: r.header('zg-res-key'), provider: r.header('x-provider-address') });
      } catch {
        // the kill
      }
    }
  });
  await sleep(2500 * SLOW);
  const killedAt = Date.now();
  isOver = true;
  await moon.kill();
  await Promise.all(clients);
  const again = await startAgain(t, moon, providers);
  const old = answers.filter((a) => a.at < killedAt - LOSS_MS * SLOW);
  assert.ok(old.length > 50, `${old.length} answers`);
  for (let i = 0; i < 200; i++) {
    const answer = old[Math.floor((i * old.length) / 200)];
    const r = await verify(again, i % 2 ? answer.id : answer.key);
    assert.equal(r.status, 200, `${answer.id}, filed ${killedAt - answer.at} ms before the kill: ${r.text()}`);
    assert.equal(r.json().provider, answer.provider);
  }
  t.diagnostic(`${answers.length} answers, ${old.length} of them older than ${LOSS_MS * SLOW} ms`);
});

test('a stop loses nothing, and nothing has to be configured for that', async (t) => {
  const { moon, providers } = await setup(t);
  const ids = [];
  for (let i = 0; i < 20; i++) ids.push((await chat(moon)).json().id);
  await moon.stop();
  const again = await startAgain(t, moon, providers);
  assert.equal((await health(again)).loadBalancer.activeSessions, 20);
  for (const id of ids) assert.equal((await verify(again, id)).status, 200);
  const [store] = storesIn(moon.folder);
  assert.equal(statSync(path.join(moon.folder, 'state/moongate', store)).mode & 0o777, 0o600);
});

test('a session that is over stays over after a restart', async (t) => {
  const { moon, providers } = await setup(t, { sessionTimeout: 300 });
  const { id } = (await chat(moon)).json();
  await moon.stop();
  await sleep(350);
  const again = await startAgain(t, moon, providers, { sessionTimeout: 300 });
  assert.equal((await verify(again, id)).status, 404);
});

test('sessionStore = false keeps nothing on the disk', async (t) => {
  const { moon, providers } = await setup(t, { sessionStore: false });
  const { id } = (await chat(moon)).json();
  await moon.stop();
  assert.ok(!existsSync(path.join(moon.folder, 'state')));
  const again = await startAgain(t, moon, providers, { sessionStore: false });
  assert.equal((await verify(again, id)).status, 404);
});

test('a file that is not ours is left alone, and the service goes on without it', async (t) => {
  const folder = temporaryFolder(t);
  const foreign = path.join(folder, 'diary');
  const text = 'dear diary, this is no database at all, however long one looks at it\n'.repeat(100);
  writeFileSync(foreign, text);
  const { moon } = await setup(t, { sessionStore: foreign });
  const { id } = (await chat(moon)).json();
  assert.equal((await verify(moon, id)).status, 200);
  assert.ok(moon.logged(/warn .*sessionStore .*diary: it cannot be read: file is not a database; sessions are kept in memory only/));
  await moon.stop();
  assert.equal(readFileSync(foreign, 'utf8'), text);
});

test('places that cannot be written are told once, and the service goes on', async (t) => {
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, 'taken'));
  for (const place of ['/proc/nowhere/sessions', path.join(folder, 'taken')]) {
    const { moon } = await setup(t, { sessionStore: place });
    for (let i = 0; i < 3; i++) assert.equal((await chat(moon)).status, 200);
    await moon.stop();
    assert.equal(moon.countLogged(/sessionStore .*sessions are kept in memory only/), 1);
  }
});

test('a damaged store is put aside, and a new one begins', async (t) => {
  const { moon, providers } = await setup(t);
  for (let i = 0; i < 300; i++) await chat(moon);
  await moon.stop();
  const [name] = storesIn(moon.folder);
  const store = path.join(moon.folder, 'state/moongate', name);
  const bytes = readFileSync(store);
  bytes.fill(0xa5, 100); // the head is left, so that it is still ours
  writeFileSync(store, bytes);
  const again = await startAgain(t, moon, providers);
  const { id } = (await chat(again)).json();
  assert.equal((await verify(again, id)).status, 200);
  await again.stop();
  const third = await startAgain(t, moon, providers);
  assert.equal((await verify(third, id)).status, 200);
});

test('a disk that is full costs sessions, never an answer', async (t) => {
  const { moon } = await setup(t);
  execFileSync('prlimit', ['--pid', String(moon.pid), '--fsize=40000:40000']);
  for (let i = 0; i < 400; i++) assert.equal((await chat(moon)).status, 200);
  await eventually(() => moon.logged(/sessions cannot be kept in .*it cannot be written/), 5000, 'the message');
  assert.equal((await chat(moon)).status, 200);
  await moon.stop();
});
