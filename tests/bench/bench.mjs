// The balancer beside nginx and HAProxy as plain proxies, all in one run on one machine.
//
// One core for the proxy, the other for driver and provider: wrk and `moongate sim-provider` for chats as fast as they
// go, tests/bench/load.c for chats at a fixed rate (without coordinated omission) and for paced streams. Rounds are
// interleaved and the median is reported: CPU microseconds of the proxy's process, read from the kernel's scheduler
// statistics, are steady where wall-clock figures on shared machines are not. Begins with what the figures say of the
// targets (targets.mjs); a target that is missed fails nothing.
//
// Providers with https:// are the same ones behind an nginx of the other core, which all proxies trust by its authority.
//
// usage: node tests/bench/bench.mjs [--rounds N] [--seconds S] [--connections C] [--only a,b] [--parts PART,…]
//                                   [--native FILE] [--out DIR]
//   --parts        of chat, https, latency, streams, memory, workers, reload; default: all
//   --native FILE  text that goes into the result (what the C benches of this folder have printed)
//   --out DIR      writes bench.md and bench.json there
import { spawn, execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, release, tmpdir } from 'node:os';
import { createInterface } from 'node:readline';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { judge, targetsTable } from './targets.mjs';

const args = process.argv.slice(2);
const option = (name, fallback) => {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? fallback : args[at + 1];
};
const rounds = Number(option('rounds', 5));
const seconds = Number(option('seconds', 3));
const connections = Number(option('connections', 32));
const only = option('only', '').split(',').filter(Boolean);
const ALL_PARTS = 'chat,https,latency,streams,memory,workers,reload';
const parts = option('parts', ALL_PARTS).split(',');
const moongate = process.env.MOONGATE ?? 'build/moongate';
const loadProgram = process.env.LOAD ?? 'build/plain/bench/load';

if (args.includes('--help') || args.includes('-h')) {
  console.log('usage: node tests/bench/bench.mjs [--rounds N] [--seconds S] [--connections C] [--only nginx,haproxy,moongate] [--parts ' + ALL_PARTS + '] [--native FILE] [--out DIR]');
  process.exit(0);
}

const dir = mkdtempSync(join(tmpdir(), 'moongate-bench-'));
const children = [];

// With as many descriptors as are allowed.
function start(command, commandArgs, options = {}) {
  const child = spawn('sh', ['-c', 'ulimit -n "$(ulimit -Hn)" 2>/dev/null; exec "$@"', 'sh', command, ...commandArgs], { stdio: ['pipe', 'pipe', 'pipe'], ...options });
  child.stderr.on('data', (d) => { child.errors = (child.errors ?? '') + d; });
  children.push(child);
  return child;
}

async function stopAll() {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    await gone;
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of children) child.kill('SIGTERM');
    rmSync(dir, { recursive: true, force: true });
    process.exit(1);
  });
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

async function untilAnswers(port, path = '/v1/models') {
  for (let i = 0; i < 200; i++) {
    try {
      await (await fetch(`http://127.0.0.1:${port}${path}`)).text();
      return;
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 25));
    }
  }
  throw new Error(`nothing answers on port ${port}`);
}

// Nanoseconds of CPU time of a process and its children, all threads.
function cpuNs(pid) {
  let total = 0;
  for (const task of readdirSync(`/proc/${pid}/task`)) {
    total += Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]);
    const kids = readFileSync(`/proc/${pid}/task/${task}/children`, 'utf8').trim();
    for (const kid of kids ? kids.split(' ') : []) total += cpuNs(Number(kid));
  }
  return total;
}

function residentKiB(pid) {
  let total = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  const kids = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim();
  for (const kid of kids ? kids.split(' ') : []) total += residentKiB(Number(kid));
  return total;
}

async function startProvider(tokens) {
  const child = start('taskset', ['-c', '1', moongate, 'sim-provider', '--port', '0', '--tokens', String(tokens)]);
  const line = await once(child.stdout, 'data');
  return { port: Number(/:(\d+)\s*$/.exec(String(line))[1]) };
}

async function startNginx(core, provider, listen, to) {
  const port = await freePort();
  const file = join(dir, `nginx-${port}.conf`);
  writeFileSync(file, `
daemon off; worker_processes 1; pid ${dir}/nginx-${port}.pid; error_log ${dir}/nginx.err;
worker_rlimit_nofile 20000; events { worker_connections 16000; }
http {
  access_log off; client_body_temp_path ${dir}; proxy_temp_path ${dir}; client_body_buffer_size 256k;
  fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
  keepalive_requests 100000000; keepalive_timeout 600s; client_max_body_size 32m;
  upstream p { server 127.0.0.1:${provider}; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port} backlog=4096 ${listen}
    location / { ${to} proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }
}`);
  return { port, child: start('taskset', ['-c', String(core), 'nginx', '-p', dir, '-c', file]) };
}

// The provider with https:// before it, by a certificate of its own authority.
async function withTls(provider, isHttp2 = false) {
  const [key, certificate] = [join(dir, 'key.pem'), join(dir, 'certificate.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-days', '2',
    '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', key, '-out', certificate], { stdio: 'ignore' });
  const listen = `ssl ${isHttp2 ? 'http2' : ''}; ssl_certificate ${certificate}; ssl_certificate_key ${key}; ssl_session_cache shared:s:1m;`;
  return { port: (await startNginx(1, provider.port, listen, 'proxy_pass http://p;')).port, ca: certificate };
}

// A provider is { port, ca }, ca for https:// alone.
const proxies = {
  nginx({ port, ca }) {
    const to = ca
      ? `proxy_pass https://p; proxy_ssl_name 127.0.0.1; proxy_ssl_verify on; proxy_ssl_trusted_certificate ${ca};`
      : 'proxy_pass http://p;';
    return startNginx(0, port, ';', to);
  },
  async haproxy(provider) {
    const port = await freePort();
    writeFileSync(join(dir, 'haproxy.cfg'), `
global
  nbthread 1
  maxconn 9000
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  http-reuse always
  option http-no-delay
frontend f
  bind 127.0.0.1:${port} backlog 4096
  default_backend b
backend b
  server s 127.0.0.1:${provider.port} pool-max-conn 256 ${provider.ca ? `ssl verify required ca-file ${provider.ca}` : ''}
`);
    return { port, child: start('taskset', ['-c', '0', 'haproxy', '-f', join(dir, 'haproxy.cfg')]) };
  },
  moongate: (provider) => startMoongate(provider, 'sessionStore = false,'),
  // Also keeps the sessions of its answers on the disk, as it does by default.
  'moongate, store': (provider) => startMoongate(provider, `sessionStore = "${join(dir, `sessions-${provider.port}`)}",`),
};

async function startMoongate({ port, ca }, more, workers = 1) {
  const config = join(dir, `moongate-${port}-${more.length}-${workers}.lua`);
  writeFileSync(config, `return {
  host = "127.0.0.1", port = 0, workers = ${workers}, strategy = "round-robin", healthCheckInterval = 600000, ${more}
  ${ca ? `tls = { ca = "${ca}" },` : ''}
  providers = { { id = "p", endpoint = "http${ca ? 's' : ''}://127.0.0.1:${port}/v1", model = "sim-model" } },
}`);
  const child = start('taskset', ['-c', '0', moongate, 'run', config, '--log-level', 'warn']);
  const line = await once(child.stdout, 'data');
  return { port: Number(/:(\d+)\s*$/.exec(String(line))[1]), child };
}

function drive(port, bodyBytes) {
  const content = 'x'.repeat(bodyBytes - 70);
  const script = join(dir, 'post.lua');
  writeFileSync(script, `wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"model":"any","messages":[{"role":"user","content":"${content}"}]}'
`);
  const out = execFileSync('taskset', ['-c', '1', 'wrk', '-t1', `-c${connections}`, `-d${seconds}s`, '--latency', '-s', script,
    `http://127.0.0.1:${port}/v1/chat/completions`], { encoding: 'utf8' });
  const requests = Number(/(\d+) requests in/.exec(out)[1]);
  const bad = Number(/Non-2xx or 3xx responses: (\d+)/.exec(out)?.[1] ?? 0);
  const p50 = /50%\s+([\d.]+)(us|ms)/.exec(out);
  return { requests, bad, p50us: Number(p50[1]) * (p50[2] === 'ms' ? 1000 : 1) };
}

const median = (list) => [...list].sort((a, b) => a - b)[Math.floor(list.length / 2)];

async function scenario(name, bodyBytes, tokens, { isTls = false, isHttp2 = false } = {}) {
  let provider = await startProvider(tokens);
  if (isTls) provider = await withTls(provider, isHttp2);
  const names = Object.keys(proxies).filter((n) => (only.length === 0 || only.includes(n)) && !(isHttp2 && n.includes('store')));
  const running = {};
  for (const n of names) {
    running[n] = await proxies[n](provider);
    await untilAnswers(running[n].port);
  }
  const figures = Object.fromEntries(names.map((n) => [n, { cpu: [], rate: [], p50: [], bad: 0 }]));
  for (let round = 0; round < rounds; round++) {
    for (const n of names) {
      const { port, child } = running[n];
      const before = cpuNs(child.pid);
      const result = drive(port, bodyBytes);
      figures[n].cpu.push((cpuNs(child.pid) - before) / 1000 / result.requests);
      figures[n].rate.push(result.requests / seconds);
      figures[n].p50.push(result.p50us);
      figures[n].bad += result.bad;
    }
  }
  const rows = names.map((n) => ({
    proxy: n,
    cpuUs: median(figures[n].cpu),
    perSecond: median(figures[n].rate),
    p50us: median(figures[n].p50),
    notOk: figures[n].bad,
    rssMiB: residentKiB(running[n].child.pid) / 1024,
  }));
  await stopAll();
  return { name, rows };
}

function table({ name, rows }) {
  const base = (n) => rows.find((r) => r.proxy === n)?.cpuUs;
  const ratio = (r, n) => (base(n) ? (r.cpuUs / base(n)).toFixed(2) : '-');
  const lines = [`### ${name}`, '', '| proxy | CPU µs/request | × nginx | × HAProxy | requests/s | p50 µs | not 2xx | RSS MiB |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |'];
  for (const r of rows) {
    lines.push(`| ${r.proxy} | ${r.cpuUs.toFixed(1)} | ${ratio(r, 'nginx')} | ${ratio(r, 'haproxy')} | ` +
      `${Math.round(r.perSecond)} | ${Math.round(r.p50us)} | ${r.notOk} | ${r.rssMiB.toFixed(1)} |`);
  }
  return lines.join('\n');
}

// ---- chats at a fixed rate, and streams ----

class Load {
  async start() {
    this.child = start('taskset', ['-c', '1', loadProgram]);
    this.child.stdin.on('error', () => {});
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
    this.port = Number((await this.lines.next()).value.split(' ')[1]);
  }
  async ask(command) {
    this.child.stdin.write(`${command}\n`);
    const line = (await this.lines.next()).value;
    if (line === undefined) throw new Error(`load ended: ${this.child.errors ?? ''}`);
    return JSON.parse(line);
  }
}

const names = () => Object.keys(proxies).filter((n) => only.length === 0 || only.includes(n));

async function latency(rate, bytes) {
  const load = new Load();
  await load.start();
  const running = { direct: { port: load.port } };
  for (const n of names()) running[n] = await proxies[n]({ port: load.port });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const figures = {};
  for (let round = 0; round <= rounds; round++) {
    for (const [n, { port, child }] of Object.entries(running)) {
      const before = child ? cpuNs(child.pid) : 0;
      const r = await load.ask(`chat ${port} ${rate} ${round ? seconds : 0.5} ${bytes}`);
      if (round === 0) continue; // to warm up
      const f = figures[n] ??= { p50: [], p99: [], cpu: [], bad: 0 };
      f.p50.push(r.p50us);
      f.p99.push(r.p99us);
      f.cpu.push(child ? (cpuNs(child.pid) - before) / 1000 / r.chats : 0);
      f.bad += r.bad;
    }
  }
  await stopAll();
  return Object.entries(figures).map(([n, f]) => ({ proxy: n, p50us: median(f.p50), p99us: median(f.p99), cpuUs: median(f.cpu), notOk: f.bad }));
}

async function streams(count, rate, isTls = false) {
  const figures = {};
  for (let round = 0; round < Math.min(rounds, 3); round++) {
    for (const n of names()) {
      const load = new Load();
      await load.start();
      const provider = { port: load.port };
      const { port, child } = await proxies[n](isTls ? await withTls(provider) : provider);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      await load.ask(`chat ${port} 200 0.2 1024`);
      const idle = residentKiB(child.pid);
      const opened = await load.ask(`open ${port} ${count} ${rate}`);
      const kib = (residentKiB(child.pid) - idle) / count;
      await load.ask('watch 1');
      const before = cpuNs(child.pid);
      const r = await load.ask(`watch ${seconds}`);
      const f = figures[n] ??= { cpu: [], kib: [], p50: [], p99: [], idle: [], bad: 0 };
      f.cpu.push((cpuNs(child.pid) - before) / 1000 / r.events);
      f.kib.push(kib);
      f.p50.push(r.p50us);
      f.p99.push(r.p99us);
      f.idle.push(idle / 1024);
      f.bad += r.bad + opened.bad;
      await stopAll();
    }
  }
  return Object.entries(figures).map(([n, f]) => ({
    proxy: n, cpuUs: median(f.cpu), kibPerStream: median(f.kib), p50us: median(f.p50), p99us: median(f.p99), idleMiB: median(f.idle), notOk: f.bad,
  }));
}

async function memory(idleClients, liveStreams) {
  const load = new Load();
  await load.start();
  const { port, child } = await proxies.moongate({ port: load.port });
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const atRest = residentKiB(child.pid) / 1024;
  const a = await load.ask(`idle ${port} ${idleClients}`);
  const b = await load.ask(`open ${port} ${liveStreams} 1`);
  const all = residentKiB(child.pid) / 1024;
  await stopAll();
  return { atRestMiB: atRest, idleClients: a.idle, liveStreams: b.streams, notOk: a.bad + b.bad, allMiB: all };
}

// More workers on the one core: what each request costs must not rise. How evenly they took the connections is told by
// the busiest and the idlest of them.
async function workers(counts) {
  const provider = await startProvider(100);
  const rows = counts.map((n) => ({ workers: n, cpu: [], bad: 0 }));
  for (const row of rows) Object.assign(row, await startMoongate(provider, 'sessionStore = false,', row.workers));
  const taken = (pid) => readdirSync(`/proc/${pid}/task`)
    .map((task) => ({ name: readFileSync(`/proc/${pid}/task/${task}/comm`, 'utf8').trim(), ns: Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]) }))
    .filter(({ name }) => name.startsWith('worker'));
  for (let round = 0; round <= rounds; round++) {
    for (const row of rows) {
      const before = cpuNs(row.child.pid);
      const result = drive(row.port, 1024);
      if (round === 0) continue; // to warm up
      row.cpu.push((cpuNs(row.child.pid) - before) / 1000 / result.requests);
      row.bad += result.bad;
    }
  }
  const out = rows.map(({ workers: n, cpu, bad, child }) => {
    const times = taken(child.pid).map(({ ns }) => ns);
    return { workers: n, cpuUs: median(cpu), 'busiest / idlest': times.length > 1 ? Math.max(...times) / Math.min(...times) : 1, notOk: bad };
  });
  await stopAll();
  return out;
}

// The bench of reloads is a program of its own; its last lines are over all windows.
function reloads() {
  const out = execFileSync('node', [fileURLToPath(new URL('reload.mjs', import.meta.url)), '--seconds', String(rounds * 10)],
    { encoding: 'utf8', env: { ...process.env, MOONGATE: moongate }, stdio: ['ignore', 'pipe', 'inherit'] });
  return out.trim().split('\n').slice(-4).join('\n');
}

// ---- the report ----

const cell = (x) => (typeof x === 'number' ? (Number.isInteger(x) ? x : x < 10 ? x.toFixed(2) : x.toFixed(1)) : x);
const markdown = (title, rows) => [`### ${title}`, '', `| ${Object.keys(rows[0]).join(' | ')} |`,
  `|${' --- |'.repeat(Object.keys(rows[0]).length)}`, ...rows.map((r) => `| ${Object.values(r).map(cell).join(' | ')} |`)].join('\n');

const version = (command, flag) => {
  try {
    return execFileSync('sh', ['-c', `${command} ${flag} 2>&1`], { encoding: 'utf8' }).split('\n')[0].trim();
  } catch {
    return 'not found';
  }
};

try {
  const result = {
    machine: `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores, Linux ${release()}`,
    versions: [version('nginx', '-v'), version('haproxy', '-v'), version('dpkg-query', '-W -f "wrk \\${Version}" wrk'), version(moongate, 'version')],
    run: `${rounds} rounds of ${seconds} s, ${connections} connections`,
  };
  const text = [];
  if (parts.includes('chat')) {
    result.chat = [
      await scenario('1 KB chat, keep-alive on both sides, one worker', 1024, 100),
      await scenario('100 KB chat, keep-alive on both sides, one worker', 100 * 1024, 100),
    ];
    text.push(...result.chat.map(table));
  }
  if (parts.includes('https')) {
    result.https = [
      await scenario('1 KB chat to https:// providers', 1024, 100, { isTls: true }),
      await scenario('1 KB chat to https:// providers that offer HTTP/2, which nginx and HAProxy do not take', 1024, 100, { isTls: true, isHttp2: true }),
    ];
    text.push(...result.https.map(table));
    result.httpsStreams = await streams(1000, 40, true);
    text.push(markdown('Streams of https:// providers, 1000 x 40/s: CPU per event, delay of events', result.httpsStreams));
  }
  if (parts.includes('latency')) {
    result.latency = await latency(2000, 1024);
    text.push(markdown('1 KB chat at 2,000 a second: from when it was due to the end of its answer', result.latency));
  }
  if (parts.includes('streams')) {
    result.streams = { '1000 x 40/s': await streams(1000, 40), '5000 x 8/s': await streams(5000, 8) };
    for (const [name, rows] of Object.entries(result.streams)) text.push(markdown(`Streams, ${name}: CPU per event, delay of events`, rows));
  }
  if (parts.includes('memory')) {
    result.memory = await memory(8000, 4000);
    text.push(markdown('Resident memory with idle keep-alive clients and live streams at once', [result.memory]));
  }
  if (parts.includes('workers')) {
    result.workers = await workers([1, 2, 4]);
    text.push(markdown('1 KB chat, workers that share one core: CPU per request', result.workers));
  }
  if (parts.includes('reload')) {
    result.reload = reloads();
    text.push(`### 200 chats at a time, with and without 17 reloads a second\n\n\`\`\`\n${result.reload}\n\`\`\``);
  }
  const native = option('native', '');
  if (native) {
    result.native = readFileSync(native, 'utf8');
    text.push(result.native.trim());
  }
  result.targets = judge(result);
  text.unshift('# Bench', `Machine: ${result.machine}`, `Versions: ${result.versions.join('; ')}`, `Run: ${result.run}`, targetsTable(result.targets));
  console.log(text.join('\n\n'));
  const out = option('out', '');
  if (out) {
    mkdirSync(out, { recursive: true });
    writeFileSync(join(out, 'bench.md'), `${text.join('\n\n')}\n`);
    writeFileSync(join(out, 'bench.json'), `${JSON.stringify(result, null, 2)}\n`);
  }
} finally {
  await stopAll();
  rmSync(dir, { recursive: true, force: true });
}
