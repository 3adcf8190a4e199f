// The figures of what clients notice, and what it costs, when operators, providers, clients or the machine misbehave:
// one line for each, `# figure: WHAT: FIGURE (BOUND) held|MISSED`. Everything is measured from outside, at the real
// daemon, with fake providers on loopback. What the tests assert holds on any machine; bounds in ms, KiB and % are here.
//
// usage: node tests/bench/robustness.mjs [PART]...     PART: storm faults reader idle descriptors kill upgrade leave
//   MOONGATE  the binary (default: build/moongate)
// Exit code 1 when a bound is missed.
import http from 'node:http';
import { readFileSync } from 'node:fs';
import { FakeProvider, act, blackHole, shareScript } from '../e2e/fake-provider.mjs';
import {
  CHAT, MESSAGES, RawClient, ask, chat, chatRequest, eventually, health, openChat, requestBytes, setup, sleep, startDaemon,
} from '../e2e/harness.mjs';

let isMissed = false;

function figure(what, value, bound, isHeld) {
  isMissed ||= !isHeld;
  console.log(`# figure: ${what}: ${value} (${bound}) ${isHeld ? 'held' : 'MISSED'}`);
}

const atMost = (what, value, bound, unit, digits = 0) =>
  figure(what, `${value.toFixed(digits)}${unit}`, `at most ${bound}${unit}`, value <= bound);

const none = (what, failures, of) => {
  figure(what, `${failures.length} of ${of}`, 'none', failures.length === 0 && of > 0);
  for (const f of [...new Set(failures)].slice(0, 5)) console.log(`#   ${f}`);
};

// `t` of a test, as far as the harness uses it.
class Scope {
  #steps = [];

  after(step) {
    this.#steps.push(step);
  }

  async end() {
    for (const step of this.#steps.reverse()) await step();
  }
}

// VmRSS of /proc/…/status lags by some pages for each thread; smaps counts anew, for whoever may read it.
function residentBytes(moon) {
  try {
    return Number(/^Rss:\s+(\d+) kB/m.exec(readFileSync(`/proc/${moon.pid}/smaps_rollup`, 'latin1'))[1]) * 1024;
  } catch {
    return moon.residentBytes();
  }
}

const isWhole = (text, stream) => (stream ? /\[DONE\]/ : /"hello"/).test(text);

// Clients that ask without a pause, each over one kept connection; whatever is no whole 200 is a failure.
function keepAsking(scope, port, n, { onAnswer = () => {}, limit = Infinity } = {}) {
  const result = { asked: 0, failures: [], connections: 0 };
  let isOver = false;
  const one = (agent, sockets, stream) => new Promise((resolve) => {
    const body = JSON.stringify({ model: 'fake-model', messages: MESSAGES, stream });
    const headers = { 'Content-Type': 'application/json', 'Content-Length': body.length };
    const req = http.request({ agent, port, host: '127.0.0.1', path: CHAT, method: 'POST', headers }, (res) => {
      let text = '';
      res.on('data', (d) => { text += d; });
      res.on('error', (e) => resolve(`in the answer: ${e.message}`));
      res.on('end', () => {
        if (!res.complete || res.statusCode !== 200 || !isWhole(text, stream)) return resolve(`${res.statusCode}: ${text.slice(0, 100)}`);
        onAnswer(text, stream);
        resolve('ok');
      });
    });
    req.on('socket', (s) => sockets.add(s));
    req.on('error', (e) => resolve(`the request: ${e.message}`));
    req.end(body);
  });
  const clients = Array.from({ length: n }, async (_, i) => {
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const sockets = new Set();
    for (let k = 0; !isOver && k < limit; k++) {
      const how = await one(agent, sockets, (i + k) % 2 === 0);
      result.asked++;
      if (how !== 'ok') result.failures.push(how);
    }
    result.connections += sockets.size;
    agent.destroy();
  });
  result.done = () => Promise.all(clients);
  result.stop = () => {
    isOver = true;
    return result.done();
  };
  scope.after(result.stop);
  return result;
}

// ---- the parts ----

async function storm(scope) {
  const { moon, providers } = await setup(scope, { providers: 2, timeouts: { clientIdle: 600000 } });
  providers.forEach((p) => p.always(act.slow(2)));
  const CLIENTS = 16;
  const load = keepAsking(scope, moon.port, CLIENTS);
  await eventually(() => load.asked > 50, 10000, 'load');
  const generation = async () => (await ask(moon, { method: 'POST', path: '/admin/reload', ms: 60000 })).json().generation;
  const firstGeneration = await generation();
  const first = load.asked;
  const from = Date.now();
  const refused = [];
  const answers = [];
  for (let i = 0; i < 1000; i++) {
    const wait = from + i * 5 - Date.now();
    if (wait > 0) await sleep(wait);
    answers.push(ask(moon, { method: 'POST', path: '/admin/reload', ms: 60000 })
      .then((r) => r.status === 200 || refused.push(`${r.status}: ${r.text()}`), (e) => refused.push(e.message)));
  }
  const seconds = (Date.now() - from) / 1000;
  await Promise.all(answers);
  const carriedOut = (await generation()) - firstGeneration;
  const during = load.asked - first;
  await load.stop();
  figure('reload storm, 1,000 reloads asked for', `in ${seconds.toFixed(1)} s, ${carriedOut} versions adopted`, 'about 5 s', seconds < 6);
  none('reload storm, refused reloads', refused, 1000);
  none('reload storm, failed requests', load.failures, during);
  figure('reload storm, dropped kept-alive connections', load.connections - CLIENTS, 'none', load.connections === CLIENTS);
}

const endless = (call) => {
  for (let i = 0; i < 20000; i++) call.raw(i ? `X-Filler-${i}: ${'x'.repeat(100)}\r\n` : 'HTTP/1.1 200 OK\r\n');
};

const whole = (type, body) => act.raw(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`);

const FAULTS = {
  reset: act.reset(), closed: act.close(), 'reset in the head': act.resetInHead(), 'reset before the body': act.resetAfterHead(),
  silent: act.silent(), 'silent after the head': act.silentAfterHead(), garbage: act.garbage(),
  ...Object.fromEntries([401, 402, 403, 408, 429, 500, 502, 503, 504, 529].map((s) => [`status ${s}`, act.status(s)])),
  redirect: act.redirect('http://127.0.0.1:1/'), 'endless head': endless,
  '1xx flood': act.raw('HTTP/1.1 102 Processing\r\n\r\n'.repeat(200)), 'status 101': act.raw('HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n'),
  'status 999': act.raw('HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}'),
  'two lengths': act.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 'close'),
  'length and chunks': act.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n'),
  'bad chunk': act.raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'close'),
  'control byte in a field': act.raw('HTTP/1.1 200 OK\r\nX: a\x01b\r\nContent-Length: 2\r\n\r\n{}'),
  'a page': whole('text/html', '<html>'), 'half a document': whole('application/json', '{"id":"half"'), 'no document': whole('application/json', ''),
  'an error below a 200': whole('application/json', '{"error":{"message":"m"}}'), 'another protocol': act.raw('SSH-2.0-x', 'nothing'),
  'drip of a head': (call) => { act.drip(50)(call); }, // a first byte each 50 ms is no answer in time
};

async function faults(scope) {
  const failures = [];
  let asked = 0;
  const meet = async (what, prepare) => {
    const own = new Scope();
    try {
      const { moon, met } = await prepare(own);
      const load = keepAsking(own, moon.port, 12, { limit: 10 });
      await load.done();
      asked += load.asked;
      failures.push(...load.failures.map((f) => `${what}: ${f}`));
      if (met && !met()) failures.push(`${what}: the bad provider was never asked`);
    } finally {
      await own.end();
    }
  };
  const timeouts = { connect: 300, firstByte: 300, idle: 300, total: 10000 };
  for (const [what, fault] of Object.entries(FAULTS)) {
    await meet(what, async (own) => {
      const { moon, providers } = await setup(own, { providers: 3, timeouts });
      providers[0].always(fault);
      return { moon, met: () => providers[0].calls.length > 0 };
    });
  }
  await meet('refused', async (own) => {
    const { moon, providers } = await setup(own, { providers: 3, timeouts });
    await providers[0].refuse();
    return { moon };
  });
  await meet('kept connections closed at the moment of reuse', async (own) => {
    const { moon, providers } = await setup(own, { providers: 3, timeouts });
    providers[0].always((call) => {
      act.ok()(call);
      setImmediate(() => call.socket.destroy());
    });
    return { moon, met: () => providers[0].calls.length > 0 };
  });
  const elsewhere = {
    'no such host': 'http://no-such-host.invalid/v1', unreachable: 'http://224.0.0.1:9/v1', 'no TLS there': null,
    'connection never taken': `http://127.0.0.1:${await blackHole(scope)}/v1`,
  };
  for (const [what, endpoint] of Object.entries(elsewhere)) {
    await meet(what, async (own) => {
      const bad = await FakeProvider.start();
      own.after(() => bad.stop());
      const list = [{ id: 'bad', endpoint: endpoint ?? `https://127.0.0.1:${bad.port}/v1` }, { id: 'b' }, { id: 'c' }];
      const { moon } = await setup(own, { providers: list, timeouts, waitProbed: false });
      return { moon };
    });
  }
  const kinds = Object.keys(FAULTS).length + Object.keys(elsewhere).length + 2;
  none(`one of three providers failing before its answer, ${kinds} ways, client-visible failures`, failures, asked);
}

async function reader(scope) {
  const { moon, providers } = await setup(scope, { workers: 1, timeouts: { idle: 60000 } });
  const pumps = [];
  providers[0].always((call) => {
    if (!call.wantsStream) return act.ok()(call);
    call.streamHead();
    pumps.push(setInterval(() => {
      if (call.socket.writableLength < 1 << 20) call.delta('x'.repeat(60000));
    }, 1));
  });
  const readers = [];
  scope.after(() => {
    pumps.forEach(clearInterval);
    readers.forEach((r) => r.destroy());
  });
  for (let i = 0; i < 30; i++) await chat(moon);
  const stall = async (n) => {
    for (let i = 0; i < n; i++) {
      const client = await openChat(moon, { stream: true });
      await client.until('xxx');
      client.socket.pause();
      readers.push(client);
    }
    let last = 0;
    await eventually(async () => {
      await sleep(500);
      const isStill = residentBytes(moon) === last;
      last = residentBytes(moon);
      return isStill;
    }, 60000, 'standstill');
    return last;
  };
  const before = residentBytes(moon);
  const one = await stall(1);
  atMost('a reader that stands still on an endless stream, growth', (one - before) / 1024, 256, ' KiB');
  const more = await stall(20);
  atMost('each of 20 further ones', (more - one) / 20 / 1024, 256, ' KiB', 1);
}

async function idle(scope) {
  const { moon } = await setup(scope, { timeouts: { clientIdle: 600000 } });
  const N = 10000;
  const clients = [];
  scope.after(() => clients.forEach((c) => c.destroy()));
  for (let i = 0; i < 20; i++) await chat(moon);
  const before = residentBytes(moon);
  while (clients.length < N) clients.push(...(await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(moon.port)))));
  // Kept alive: each has been answered once.
  for (const client of clients) {
    client.send(requestBytes({ path: '/health' }));
    await client.response();
  }
  await eventually(async () => (await health(moon)).load.clients >= N, 20000, 'all connections');
  atMost(`each of ${N} idle kept-alive connections, resident`, (residentBytes(moon) - before) / N / 1024, 8, ' KiB', 2);
  let opened = true;
  for (let i = 0; i < N; i += 500) opened &&= !clients[i].isOver;
  figure('of them closed in the meantime', opened ? 0 : 'some', 'none', opened);
}

// How much of one processor the daemon takes while nothing new happens, in %.
async function processorShare(moon, ms) {
  const before = moon.processorMs();
  const from = Date.now();
  await sleep(ms);
  return (100 * (moon.processorMs() - before)) / (Date.now() - from);
}

// A daemon whose provider begins streams and then hangs until the client leaves.
async function setupHeld(scope, config) {
  const { moon, providers } = await setup(scope, { timeouts: { clientIdle: 600000 }, ...config });
  await eventually(async () => (await health(moon)).strategy.guard !== null, 20000, 'the end of the start');
  providers[0].always((call) => {
    if (!call.wantsStream) return act.ok()(call);
    call.streamHead();
    return call.delta('first');
  });
  return moon;
}

async function descriptors(scope) {
  const moon = await setupHeld(scope, { daemon: { files: 256 } });
  const clients = [];
  scope.after(() => clients.forEach((c) => c.destroy()));
  // Streams that never end take what there is; many more clients only knock.
  for (let refused = false; !refused && clients.length < 400;) {
    const client = await openChat(moon, { stream: true });
    clients.push(client);
    await client.until('\r\n\r\n');
    refused = !client.bytes.toString('latin1').startsWith('HTTP/1.1 200 ');
  }
  for (let i = 0; i < 10; i++) clients.push(...(await Promise.all(Array.from({ length: 100 }, () => RawClient.connect(moon.port)))));
  await sleep(500);
  atMost('at the limit of descriptors, processor time over 5 s', await processorShare(moon, 5000), 10, ' %', 1);
  const status = (await health(moon)).status;
  figure('health meanwhile', status, 'answers', status === 'healthy');
  const releasedAt = Date.now();
  clients.forEach((c) => c.destroy());
  await eventually(async () => (await chat(moon)).status === 200, 10000, 'service');
  atMost('service again after the release', Date.now() - releasedAt, 2000, ' ms');
  await noneLeft(scope);
}

// With no descriptor left at all: the limit is lowered below what is open.
async function noneLeft(scope) {
  const moon = await setupHeld(scope, { workers: 1 });
  const held = [];
  scope.after(() => held.forEach((c) => c.destroy()));
  for (let i = 0; i < 20; i++) {
    held.push(await openChat(moon, { stream: true }));
    await held.at(-1).until('first');
  }
  const open = moon.openFiles();
  moon.limitFiles(open - 10);
  for (let i = 0; i < 50; i++) held.push(await RawClient.connect(moon.port));
  atMost('with no descriptor left, processor time over 5 s', await processorShare(moon, 5000), 10, ' %', 1);
  const raisedAt = Date.now();
  moon.limitFiles(open + 200);
  await eventually(async () => (await chat(moon)).status === 200, 10000, 'service');
  atMost('service again after the limit was raised', Date.now() - raisedAt, 2000, ' ms');
}

async function kill(scope) {
  const { moon, providers } = await setup(scope, { providers: 3 });
  const answers = [];
  const load = keepAsking(scope, moon.port, 16, {
    onAnswer: (text) => answers.push({ at: Date.now(), id: /"id": ?"([^"]+)"/.exec(text)[1] }),
  });
  await sleep(4000);
  const killedAt = Date.now();
  const stopped = load.stop();
  await moon.kill();
  await stopped;
  const again = await startDaemon(scope, { providers: providers.map((p) => p.config()) }, { folder: moon.folder });
  const verify = async (id) => (await ask(again, { method: 'POST', path: '/v1/verify', body: JSON.stringify({ id }) })).status;
  const old = answers.filter((a) => a.at < killedAt - 1000);
  const lost = [];
  const step = Math.max(1, Math.floor(old.length / 1000));
  let checked = 0;
  for (let i = old.length - 1; i >= 0; i -= step, checked++) {
    if ((await verify(old[i].id)) !== 200) lost.push(`answered ${killedAt - old[i].at} ms before the kill`);
  }
  none(`kill -9 under load (${answers.length} answers), of those older than 1 s no longer found`, lost, checked);
  const young = answers.filter((a) => a.at >= killedAt - 1000);
  let newest = 0;
  for (const { at, id } of young.reverse()) {
    if ((await verify(id)) === 200) break;
    newest = killedAt - at;
  }
  atMost('kill -9 under load, age of the oldest that was lost', newest, 1000, ' ms');
}

async function upgrade(scope) {
  const { moon, providers } = await setup(scope, { providers: 2, timeouts: { drain: 10000 } });
  providers.forEach((p) => p.always(act.slow(3)));
  const load = keepAsking(scope, moon.port, 16);
  await eventually(() => load.asked > 100, 10000, 'load');
  const ROUNDS = 5;
  let pid = moon.pid;
  scope.after(() => {
    if (pid !== moon.pid) process.kill(pid, 'SIGTERM');
  });
  const isAlive = (p) => {
    try {
      return !/\) Z /.test(readFileSync(`/proc/${p}/stat`, 'latin1'));
    } catch {
      return false;
    }
  };
  const from = load.asked;
  for (let i = 0; i < ROUNDS; i++) {
    process.kill(pid, 'SIGUSR2');
    const next = await eventually(() => {
      const lines = [...moon.stderr.matchAll(/process (\d+) serves now/g)];
      return lines.length > i && Number(lines.at(-1)[1]);
    }, 20000, 'the next process');
    const old = pid;
    pid = next;
    await eventually(() => !isAlive(old), 20000, 'the end of the old process');
    if (old === moon.pid) await moon.waitReplaced();
    const before = load.asked;
    await eventually(() => load.asked > before + 500, 20000, 'load at the new process');
  }
  await load.stop();
  none(`${ROUNDS} upgrades (SIGUSR2) under load, failed requests`, load.failures, load.asked - from);
}

// The phases of a request in which its client may leave, and the upstream call that must end with it.
const PHASES = {
  'before the answer': {},
  'after the head': { answer: (call) => call.streamHead() },
  'in the stream': { answer: (call) => call.streamHead().delta('one'), isSeen: 'one' },
  'in a body with a length': {
    stream: false, answer: (call) => call.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{"id":'),
  },
  'while it does not read': {
    isStalled: true, isSeen: 'xxx',
    answer: (call) => {
      call.streamHead();
      const pump = setInterval(() => {
        if (call.socket.destroyed) clearInterval(pump);
        else if (call.socket.writableLength < 1 << 20) call.delta('x'.repeat(60000));
      }, 1);
    },
  },
  'in the second attempt': { fails: true },
};

async function leave(scope) {
  for (const transport of ['h1', 'curl']) {
    const env = transport === 'curl' ? { MOONGATE_UPSTREAM: 'curl' } : {};
    const { moon, providers } = await setup(scope, { providers: 2, daemon: { env } });
    for (const [phase, { answer, isSeen, stream = true, isStalled, fails }] of Object.entries(PHASES)) {
      const times = [];
      for (let i = 0; i < 20; i++) {
        const arrived = new Promise((resolve) => {
          shareScript(providers, ...(fails ? [act.status(500)] : []), (call) => {
            answer?.(call);
            resolve(call);
          });
        });
        const client = await openChat(moon, { stream });
        const call = await arrived;
        if (isSeen) await client.until(isSeen);
        if (isStalled) {
          client.socket.pause();
          await sleep(100);
        }
        const from = performance.now();
        const isOver = call.closed.then(() => performance.now() - from);
        if (i % 2) client.socket.resetAndDestroy();
        else client.destroy();
        times.push(await Promise.race([isOver, sleep(5000).then(() => 5000)]));
      }
      const bound = 100;
      atMost(`client leaves ${phase} (${transport}), upstream cancelled, slowest of 20`, Math.max(...times), bound, ' ms', 1);
    }
    await moon.stop();
  }
}

const PARTS = { storm, faults, reader, idle, descriptors, kill, upgrade, leave };
const wanted = process.argv.slice(2);
const unknown = wanted.filter((name) => !PARTS[name]);
if (unknown.length) {
  console.error(`there is no part ${unknown.join(', ')}; there are: ${Object.keys(PARTS).join(' ')}`);
  process.exit(2);
}
for (const name of wanted.length ? wanted : Object.keys(PARTS)) {
  const scope = new Scope();
  try {
    await PARTS[name](scope);
  } catch (error) {
    figure(name, error.message, 'measured', false);
  } finally {
    await scope.end().catch((error) => figure(`${name}, its end`, error.message, 'clean', false));
  }
}
process.exit(isMissed ? 1 : 0);
