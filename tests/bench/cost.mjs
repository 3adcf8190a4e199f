// What a request costs where no clock is needed: instructions of our own code, allocations, and system calls of the
// sockets, compared with the figures in cost.json. Fails when one has moved, in either direction.
//
// Instructions: two runs under callgrind that differ in the number of requests; their difference is free of start and
// stop. Only our object code on the worker's thread counts (llhttp is compiled into it), because libraries differ from
// machine to machine. Allocations and calls: of the workers, by count_calls.so, in the steady state; what other threads
// allocate meanwhile (the one that writes sessions to the disk, once a second) is printed.
// Requests come one after the other over one connection, so that the program takes the same way each time.
//
// usage: node tests/bench/cost.mjs [--update] [--only NAME] [--functions N]
//   --update       writes the figures to cost.json
//   --functions N  prints the N functions that cost most
import { spawn, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { once } from 'node:events';
import net from 'node:net';

const args = process.argv.slice(2);
const option = (name) => (args.includes(`--${name}`) ? args[args.indexOf(`--${name}`) + 1] : undefined);
const here = dirname(fileURLToPath(import.meta.url));
const file = join(here, 'cost.json');
const binary = process.env.MOONGATE ?? 'build/plain/moongate';
const counter = join(dirname(binary), 'bench/count_calls.so');
const slowClock = join(dirname(binary), 'bench/slow_clock.so');
const dir = mkdtempSync(join(tmpdir(), 'moongate-cost-'));

const TOLERANCE = 0.03;
// Of counts per request. A change of the code moves a count by one or more; what happens once a second, however long the
// requests take on this machine, moves it by parts.
const COUNT_TOLERANCE = 0.5;
// Workers allocate nothing for a request; what they do once a second is this at most.
const ALLOCATION_TOLERANCE = 0.02;
const WARM = 100; // before the first of the two counts under callgrind
const WARM_COUNTED = 20000; // until the session table is full everywhere
const REQUESTS = 1000;
const DEADLINE_MS = 300000;
const COUNTS = ['allocations', 'frees', 'reads', 'writes', 'waits', 'epoll_ctls', 'allocations elsewhere']; // as in count_calls.c
const EVENTS = 40;

// ---- the provider ----

let served = 0;
const hex = (n, width) => n.toString(16).padStart(width, '0');
const head = (type, extra) =>
  `HTTP/1.1 200 OK\r\nDate: Mon, 23 Nov 2026 06:00:00 GMT\r\nServer: provider\r\nContent-Type: ${type}\r\n` +
  `ZG-Res-Key: ${hex(served, 8)}-0000-4000-8000-${hex(served, 12)}\r\n${extra}\r\n`;
const id = () => `chatcmpl-${hex(served, 24)}`;

function answer() {
  const body = JSON.stringify({
    id: id(),
    object: 'chat.completion',
    created: 1795413600,
    model: 'provider-model',
    choices: [{ index: 0, message: { role: 'assistant', content: 'It is open. '.repeat(40) }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 250, completion_tokens: 120, total_tokens: 370 },
  });
  return `${head('application/json', `Content-Length: ${body.length}\r\n`)}${body}`;
}

const chunk = (text) => `${text.length.toString(16)}\r\n${text}\r\n`;
const event = (delta, finish) =>
  chunk(`data: ${JSON.stringify({
    id: id(),
    object: 'chat.completion.chunk',
    created: 1795413600,
    model: 'provider-model',
    choices: [{ index: 0, delta, finish_reason: finish }],
  })}\n\n`);

// One event at a time: the client asks for the next one when it has seen the last.
function stream(server, socket) {
  let n = 0;
  server.nextEvent = () => {
    n++;
    if (n < EVENTS) socket.write(event({ content: ' open' }, null));
    else if (n === EVENTS) socket.write(event({}, 'stop'));
    else if (n === EVENTS + 1) socket.write(`${chunk('data: [DONE]\n\n')}0\r\n\r\n`);
  };
  socket.write(head('text/event-stream', 'Transfer-Encoding: chunked\r\n') + event({ role: 'assistant', content: '' }, null));
}

// Calls onMessage(head, length) for each complete message with a Content-Length.
function readMessages(socket, onMessage) {
  let got = Buffer.alloc(0);
  socket.on('data', (d) => {
    got = got.length ? Buffer.concat([got, d]) : d;
    for (;;) {
      const end = got.indexOf('\r\n\r\n');
      if (end < 0) return;
      const text = got.latin1Slice(0, end);
      const size = end + 4 + Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0);
      if (got.length < size) return;
      got = got.subarray(size);
      onMessage(text);
    }
  });
}

async function startProvider(isStream) {
  const server = net.createServer((socket) => {
    socket.setNoDelay(true);
    socket.on('error', () => {});
    readMessages(socket, (text) => {
      served++;
      if (text.startsWith('GET')) socket.write('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 11\r\n\r\n{"data":[]}');
      else if (isStream) stream(server, socket);
      else socket.write(answer());
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return server;
}

// ---- the client ----

function request(size, isStream) {
  const around = JSON.stringify({ model: 'any', stream: isStream, messages: [{ role: 'user', content: '' }] });
  const body = around.replace('""', `"${'x'.repeat(size - around.length)}"`);
  return `POST /v1/chat/completions HTTP/1.1\r\nHost: moongate\r\nUser-Agent: cost\r\nAccept: application/json\r\n` +
    `Content-Type: application/json\r\nAuthorization: Bearer sk-client\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

async function send(provider, port, scenario, n) {
  const bytes = request(scenario.size, scenario.isStream);
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  socket.setNoDelay(true);
  const over = new Promise((resolve, reject) => {
    const give = (text) => {
      if (!text.startsWith('HTTP/1.1 200')) reject(new Error(`refused: ${text}`));
      if (--n === 0) resolve();
      else socket.write(bytes);
    };
    socket.on('error', reject);
    socket.on('close', () => reject(new Error('the connection was closed')));
    if (!scenario.isStream) {
      readMessages(socket, give);
      return;
    }
    let tail = '';
    socket.on('data', (d) => {
      tail = (tail + d.latin1Slice()).slice(-64);
      if (tail.endsWith('0\r\n\r\n')) {
        tail = '';
        give('HTTP/1.1 200');
      } else if (tail.endsWith('\n\n\r\n')) {
        provider.nextEvent();
      }
    });
  });
  socket.write(bytes);
  await over;
  socket.removeAllListeners('close');
  socket.destroy();
}

// ---- the daemon ----

const children = new Set();

async function withDaemon(wrapper, env, provider, run) {
  const config = join(dir, `${provider.address().port}.lua`);
  writeFileSync(config, `return {
  host = "127.0.0.1", port = 0, workers = 1, strategy = "round-robin", healthCheckInterval = 600000, maxSessions = 1000, callBudget = 1000,
  reload = { watch = false },
  providers = { { id = "p", endpoint = "http://127.0.0.1:${provider.address().port}/v1", model = "provider-model", apiKey = "sk-provider" } },
}`);
  const [command, ...rest] = [...wrapper, binary, 'run', config, '--log-level', 'warn'];
  const child = spawn(command, rest, { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, ...env } });
  children.add(child);
  let errors = '';
  child.stderr.on('data', (d) => { errors += d; });
  const exit = once(child, 'exit');
  const line = await Promise.race([once(child.stdout, 'data'), exit.then(() => null)]);
  if (!line) throw new Error(`the daemon did not start: ${errors}`);
  try {
    return await run(Number(/:(\d+)\s*$/.exec(String(line[0]))[1]));
  } finally {
    child.kill('SIGTERM');
    await exit;
    children.delete(child);
  }
}

// ---- instructions ----

// Self cost by object and function of one thread's file.
function readCosts(path) {
  const names = { ob: {}, fn: {} };
  const name = (kind, text) => {
    const m = /^\((\d+)\)(?: (.*))?$/.exec(text);
    if (!m) return text;
    if (m[2]) names[kind][m[1]] = m[2];
    return names[kind][m[1]];
  };
  const functions = {};
  let object = '', fn = '', isCall = false, own = 0, all = 0;
  for (const line of readFileSync(path, 'utf8').split('\n')) {
    const at = line.indexOf('=');
    const key = at > 0 ? line.slice(0, at) : '';
    if (key === 'ob') object = name('ob', line.slice(3)).split('/').pop();
    else if (key === 'cob') name('ob', line.slice(4));
    else if (key === 'fn') fn = name('fn', line.slice(3));
    else if (key === 'cfn') name('fn', line.slice(4));
    else if (key === 'calls') isCall = true;
    else if (/^[+*\d-]/.test(line)) {
      if (!isCall) {
        const cost = Number(line.split(' ')[1]);
        all += cost;
        if (object === 'moongate') own += cost;
        const where = `${object} ${fn}`;
        functions[where] = (functions[where] ?? 0) + cost;
      }
      isCall = false;
    }
  }
  return { own, all, functions };
}

async function runUnderCallgrind(scenario, n, run) {
  const provider = await startProvider(scenario.isStream);
  const out = join(dir, `callgrind-${run}`);
  const wrapper = ['valgrind', '-q', '--tool=callgrind', '--separate-threads=yes', `--callgrind-out-file=${out}`];
  await withDaemon(wrapper, { LD_PRELOAD: slowClock }, provider, (port) => send(provider, port, scenario, n));
  provider.close();
  const threads = readdirSync(dir).filter((f) => f.startsWith(`callgrind-${run}-`)).map((f) => readCosts(join(dir, f)));
  // The worker is the thread that relays.
  const isWorker = (t) => Object.keys(t.functions).some((f) => /^moongate (select_provider|decide_select|attempt_start)/.test(f));
  return threads.find(isWorker);
}

async function countInstructions(scenario) {
  const [few, many] = await Promise.all([
    runUnderCallgrind(scenario, WARM, 'few'),
    runUnderCallgrind(scenario, WARM + REQUESTS, 'many'),
  ]);
  const functions = Object.entries(many.functions)
    .map(([name, cost]) => ({ name, cost: (cost - (few.functions[name] ?? 0)) / REQUESTS }))
    .sort((a, b) => b.cost - a.cost);
  return { own: (many.own - few.own) / REQUESTS, all: (many.all - few.all) / REQUESTS, functions };
}

// ---- allocations and calls ----

async function countCalls(scenario) {
  const provider = await startProvider(scenario.isStream);
  const path = join(dir, 'counts');
  const read = () => [...new BigUint64Array(new Uint8Array(readFileSync(path)).buffer)].map(Number);
  const counts = await withDaemon([], { LD_PRELOAD: counter, COUNT_FILE: path }, provider, async (port) => {
    await send(provider, port, scenario, scenario.isStream ? WARM_COUNTED / 4 : WARM_COUNTED);
    const before = read();
    await send(provider, port, scenario, REQUESTS);
    const after = read();
    return Object.fromEntries(COUNTS.map((name, i) => [name, (after[i] - before[i]) / REQUESTS]));
  });
  rmSync(path);
  provider.close();
  return counts;
}

// ---- comparison ----

const SCENARIOS = [
  { name: 'chat-1k', size: 1024, isStream: false },
  { name: 'chat-100k', size: 102400, isStream: false },
  { name: `stream-${EVENTS + 2}-events`, size: 1024, isStream: true },
];

const compiler = `gcc ${execFileSync('gcc', ['-dumpversion'], { encoding: 'utf8' }).trim().split('.')[0]} ${process.arch}`;
const known = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : { scenarios: {} };
const isComparable = known.compiler === compiler;
let passed = 0, failed = 0;

function judge(name, what, got, allowed) {
  const want = known.scenarios[name]?.[what];
  const shown = Math.round(got * 100) / 100;
  if (args.includes('--update')) return;
  if (want === undefined || Math.abs(got - want) > allowed(want)) {
    failed++;
    console.log(`not ok: ${name}: ${what} ${shown}, in cost.json ${want ?? 'nothing'}`);
  } else {
    passed++;
    console.log(`ok: ${name}: ${what} ${shown}, in cost.json ${want}`);
  }
}

async function measure(scenario) {
  const counts = await countCalls(scenario);
  const instructions = await countInstructions(scenario);
  console.log(`${scenario.name}: ${Math.round(instructions.own)} instructions of ours, ${Math.round(instructions.all)} with libraries; ` +
    COUNTS.map((c) => `${c} ${counts[c].toFixed(2)}`).join(', '));
  for (const { name, cost } of instructions.functions.slice(0, Number(option('functions') ?? 0))) {
    console.log(`${cost.toFixed(1).padStart(10)} ${name}`);
  }
  if (isComparable) judge(scenario.name, 'instructions', instructions.own, (want) => want * TOLERANCE);
  judge(scenario.name, 'allocations', counts.allocations, () => ALLOCATION_TOLERANCE);
  // A body of several pieces arrives as the kernel hands it over; only what is sure to be one piece is exact.
  if (scenario.size < 16384) for (const what of ['reads', 'writes', 'epoll_ctls']) judge(scenario.name, what, counts[what], () => COUNT_TOLERANCE);
  known.scenarios[scenario.name] = {
    instructions: Math.round(instructions.own),
    allocations: Math.round(counts.allocations * 100) / 100,
    reads: Math.round(counts.reads * 10) / 10,
    writes: Math.round(counts.writes * 10) / 10,
    epoll_ctls: Math.round(counts.epoll_ctls * 10) / 10,
  };
}

const timer = setTimeout(() => {
  console.log('not ok: it takes too long');
  for (const child of children) child.kill('SIGKILL');
  process.exit(1);
}, DEADLINE_MS);
try {
  if (!isComparable && !args.includes('--update')) console.log(`cost.json was made with ${known.compiler}, not ${compiler}: instructions are not compared`);
  for (const scenario of SCENARIOS) if (!option('only') || option('only') === scenario.name) await measure(scenario);
  if (args.includes('--update')) {
    known.compiler = compiler;
    writeFileSync(file, `${JSON.stringify(known, null, 2)}\n`);
    console.log(`written to ${file}`);
  } else {
    if (failed) console.log('Is the new cost meant? Then: make cost-update, and tell why in the commit.');
    console.log(`${passed} passed, ${failed} failed`);
  }
} finally {
  clearTimeout(timer);
  for (const child of children) child.kill('SIGKILL');
  rmSync(dir, { recursive: true, force: true });
}
process.exit(failed ? 1 : 0);
