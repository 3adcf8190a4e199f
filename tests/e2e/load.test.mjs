// The balancer under load, with the built-in simulated providers as separate processes that can be killed.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { test } from 'node:test';
import { BINARY, CHAT, IS_SANITIZED, SLOW, eventually, health, sleep, startDaemon } from './harness.mjs';

// SLOW builds carry sanitizers: the same story with fewer chats.
const CHATS = IS_SANITIZED ? 6000 : 30000;
const STREAMS = IS_SANITIZED ? 300 : 1000;

async function startSim(t, port, flags = []) {
  const child = spawn(BINARY, ['sim-provider', '--port', String(port), ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  return { child, port: Number(/:(\d+)\s*$/.exec(String(line))[1]) };
}

function post(agent, port, body) {
  return new Promise((resolve, reject) => {
    const headers = { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const req = http.request({ agent, port, host: '127.0.0.1', path: CHAT, method: 'POST', headers }, (res) => {
      let bytes = 0;
      res.on('data', (d) => { bytes += d.length; });
      res.on('end', () => resolve({ status: res.statusCode, provider: res.headers['x-provider-address'], bytes }));
      res.on('error', reject);
    });
    req.on('error', reject);
    req.end(body);
  });
}

const residentMiB = (pid) => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]) / 1024;
const CHAT_BODY = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: 'x'.repeat(900) }] });

test(`${CHATS} chats from 64 clients see no error while one of three providers is killed and comes back`, async (t) => {
  const sims = [];
  for (let i = 0; i < 3; i++) sims.push(await startSim(t, 0));
  const moon = await startDaemon(t, {
    strategy: 'round-robin', healthCheckInterval: 500, logLevel: 'error',
    providers: sims.map((s, i) => ({ id: 'abc'[i], endpoint: `http://127.0.0.1:${s.port}/v1` })),
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 64 });
  t.after(() => agent.destroy());
  const third = CHATS / 3;
  const counts = { a: 0, b: 0, c: 0 };
  const bad = [];
  let sent = 0;
  let allLive;
  const client = async () => {
    while (sent < CHATS) {
      const n = sent++;
      if (n === third) {
        allLive = { ...counts };
        sims[1].child.kill('SIGKILL');
      }
      if (n === 2 * third) sims[1] = await startSim(t, sims[1].port);
      const r = await post(agent, moon.port, CHAT_BODY);
      if (r.status === 200) counts[r.provider]++;
      else bad.push(r.status);
    }
  };
  await Promise.all(Array.from({ length: 64 }, client));
  assert.deepEqual(bad, [], 'client-visible errors');
  assert.equal(counts.a + counts.b + counts.c, CHATS);
  const total = allLive.a + allLive.b + allLive.c;
  for (const id of ['a', 'b', 'c']) {
    const share = allLive[id] / total;
    assert.ok(Math.abs(share - 1 / 3) < 0.02 / 3, `${id} got ${(100 * share).toFixed(2)} % while all lived`);
  }
  assert.ok(counts.b > allLive.b, 'the provider that came back is used again');
  await eventually(async () => (await health(moon)).loadBalancer.healthyProviders === 3, 5000, 'recovery');
  const { loadBalancer } = await health(moon);
  assert.equal(loadBalancer.totalConnections, 0, 'in-flight counters return to 0');
  t.diagnostic(`shares while all lived: ${JSON.stringify(allLive)}; in all: ${JSON.stringify(counts)}`);
});

test(`a 32 MiB body and ${STREAMS} slow streams at once stay under 200 MB, and the memory returns`, async (t) => {
  const sim = await startSim(t, 0, ['--tokens', '40', '--tokens-per-second', '8']);
  const moon = await startDaemon(t, { logLevel: 'error', providers: [{ id: 'a', endpoint: `http://127.0.0.1:${sim.port}/v1` }] });
  const agent = new http.Agent({ keepAlive: false, maxSockets: Infinity });
  const before = residentMiB(moon.pid);
  const body = JSON.stringify({ model: 'm', stream: true, messages: [{ role: 'user', content: 'hello' }] });
  const streams = Array.from({ length: STREAMS }, () => post(agent, moon.port, body));
  await eventually(async () => (await health(moon)).loadBalancer.totalConnections === STREAMS, 20000, 'all streams running');
  const whileStreaming = residentMiB(moon.pid);
  const frame = JSON.stringify({ model: 'm', messages: [{ role: 'user', content: '' }] });
  const big = frame.replace('""', `"${'x'.repeat(32 * 1024 * 1024 - frame.length)}"`);
  assert.equal(big.length, 32 * 1024 * 1024);
  let peak = 0;
  const watch = setInterval(() => { peak = Math.max(peak, residentMiB(moon.pid)); }, 5);
  const answer = await post(agent, moon.port, big);
  clearInterval(watch);
  assert.equal(answer.status, 200);
  for (const r of await Promise.all(streams)) assert.equal(r.status, 200);
  t.diagnostic(`MiB: idle ${before.toFixed(1)}, ${STREAMS} streams ${whileStreaming.toFixed(1)}, with the big body ${peak.toFixed(1)}`);
  if (IS_SANITIZED) return; // sanitizers keep freed memory
  assert.ok(peak < 200, `${peak} MiB`);
  // Connections kept for reuse are part of it, and libcurl's have buffers of their own.
  const kept = process.env.MOONGATE_UPSTREAM === 'curl' ? 24 : 16;
  await eventually(() => residentMiB(moon.pid) < before + kept, 5000, 'the memory to return');
  await sleep(0);
});
