// Everything at once for a while: chats and streams over providers that fail, hang and break off, clients that leave
// and talk nonsense, operators that drain and reload. MOONGATE_SOAK_SECONDS says how long (5 by default).
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import http from 'node:http';
import net from 'node:net';
import { test } from 'node:test';
import { BINARY, CHAT, SLOW, eventually, health, sleep, startDaemon } from './harness.mjs';

const SECONDS = Number(process.env.MOONGATE_SOAK_SECONDS ?? 5);

// A small seeded generator, so that a failing run can be told apart by its seed.
const seed = Number(process.env.MOONGATE_SOAK_SEED ?? Date.now() % 2 ** 31);
let state = seed || 1;
const random = () => {
  state = (Math.imul(state, 1103515245) + 12345) & 0x7fffffff;
  return state / 0x80000000;
};
const pick = (list) => list[Math.floor(random() * list.length)];

async function startSim(t, flags) {
  const child = spawn(BINARY, ['sim-provider', '--port', '0', ...flags], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  const [line] = await once(child.stdout, 'data');
  return Number(/:(\d+)\s*$/.exec(String(line))[1]);
}

// One request; says how it ended: 'ok', 'error' (an OpenAI-shaped one), 'broken' or 'left'.
function request(agent, port, { path, method = 'POST', body, leaveAfterMs }) {
  return new Promise((resolve) => {
    const headers = body === undefined ? {} : { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    let done = false;
    const end = (how) => {
      if (!done) resolve(how);
      done = true;
    };
    const req = http.request({ agent, port, host: '127.0.0.1', path, method, headers }, (res) => {
      let text = '';
      res.on('data', (d) => { text += d; });
      res.on('end', () => {
        if (!res.complete) return end('broken');
        if (res.statusCode < 400) return end('ok');
        try {
          const answer = JSON.parse(text);
          const isShaped = typeof answer.error?.message === 'string' || (path === '/health' && answer.status);
          return end(isShaped ? 'error' : `shape ${res.statusCode}`);
        } catch {
          return end(`not JSON, ${res.statusCode}: ${text.slice(0, 200)}`);
        }
      });
      res.on('error', () => end('broken'));
    });
    req.on('error', () => end(leaveAfterMs === undefined ? 'broken' : 'left'));
    if (leaveAfterMs !== undefined) {
      setTimeout(() => {
        req.destroy();
        end('left');
      }, leaveAfterMs);
    }
    req.end(body);
  });
}

const NONSENSE = ['GET / HTTP/9.9\r\n\r\n', '\x16\x03\x01\x02\x00', 'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{]',
  'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'G', '\r\n\r\n\r\n\r\n'];

function talkNonsense(port) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(pick(NONSENSE)));
    socket.on('error', () => {});
    socket.on('close', () => resolve('nonsense'));
    socket.resume();
    setTimeout(() => socket.destroy(), 300);
  });
}

test(`${SECONDS} s of everything at once leave nothing behind`, async (t) => {
  t.diagnostic(`seed ${seed}`);
  const ports = [
    await startSim(t, ['--latency', '5', '--tokens-per-second', '400']),
    await startSim(t, ['--latency', '2', '--error-rate', '0.2', '--status', '503', '--retry-after', '1', '--truncate-rate', '0.1']),
    await startSim(t, ['--latency', '20', '--error-rate', '0.1', '--hang-rate', '0.02', '--tokens', '200', '--tokens-per-second', '1000']),
  ];
  const moon = await startDaemon(t, {
    strategy: 'least-connections', healthCheckInterval: 200, logLevel: 'error',
    timeouts: { firstByte: 1000, idle: 1000, total: 5000, clientHeader: 1000 },
    health: { ejectBase: 300, ejectMax: 1000 },
    providers: ports.map((port, i) => ({ id: 'abc'[i], endpoint: `http://127.0.0.1:${port}/v1` })),
  });
  const agent = new http.Agent({ keepAlive: true, maxSockets: 48 });
  const chat = (stream) => JSON.stringify({ model: 'm', stream, messages: [{ role: 'user', content: 'x'.repeat(10 + Math.floor(random() * 3000)) }] });
  const filesBefore = moon.openFiles();
  const ends = {};
  const until = Date.now() + SECONDS * 1000;
  const actions = [
    [40, () => request(agent, moon.port, { path: CHAT, body: chat(false) })],
    [25, () => request(agent, moon.port, { path: CHAT, body: chat(true) })],
    [8, () => request(new http.Agent(), moon.port, { path: CHAT, body: chat(true), leaveAfterMs: random() * 60 })],
    [8, () => request(agent, moon.port, { path: CHAT, body: pick(['{', '[]', '{"messages":[]}', '{"messages":[1],"stream":"x"}']) })],
    [5, () => request(agent, moon.port, { path: '/health', method: 'GET' })],
    [5, () => talkNonsense(moon.port)],
    [2, () => request(agent, moon.port, { path: '/admin/reload', body: '' })],
    [2, () => request(agent, moon.port, { path: `/admin/providers/${pick(['a', 'b', 'c'])}/${pick(['drain', 'enable', 'enable'])}`, body: '' })],
  ];
  const total = actions.reduce((sum, [weight]) => sum + weight, 0);
  const actOnce = () => {
    let at = random() * total;
    for (const [weight, action] of actions) {
      at -= weight;
      if (at < 0) return action();
    }
    return actions[0][1]();
  };
  await Promise.all(Array.from({ length: 48 }, async () => {
    while (Date.now() < until) {
      const how = await actOnce();
      ends[how] = (ends[how] ?? 0) + 1;
    }
  }));
  agent.destroy();
  t.diagnostic(JSON.stringify(ends));
  const known = ['ok', 'error', 'broken', 'left', 'nonsense'];
  assert.deepEqual(Object.keys(ends).filter((k) => !known.includes(k)), []);
  assert.ok(ends.ok > 10 * SECONDS, 'work was done');
  await eventually(async () => (await health(moon)).loadBalancer.totalConnections === 0, 10000 * SLOW, 'in-flight counters at 0');
  await eventually(() => moon.openFiles() <= filesBefore + 80, 5000 * SLOW, 'descriptors to go back');
  await sleep(0);
});
