// CPU time per request of the balancer beside nginx and HAProxy as plain proxies, all in one run on one machine.
//
// One core for the proxy, the other for driver (wrk) and provider (moongate sim-provider). Rounds are interleaved and
// the median is reported: CPU microseconds per request of the proxy's process, read from the kernel's scheduler
// statistics, are steady where wall-clock figures on shared machines are not.
//
// usage: node tests/bench/bench.mjs [--rounds N] [--seconds S] [--connections C] [--only a,b] [--json FILE]
import { spawn, execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { cpus, tmpdir } from 'node:os';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { once } from 'node:events';

const args = process.argv.slice(2);
const option = (name, fallback) => {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? fallback : args[at + 1];
};
const rounds = Number(option('rounds', 5));
const seconds = Number(option('seconds', 3));
const connections = Number(option('connections', 32));
const only = option('only', '').split(',').filter(Boolean);
const moongate = process.env.MOONGATE ?? 'build/moongate';

if (args.includes('--help') || args.includes('-h')) {
  console.log('usage: node tests/bench/bench.mjs [--rounds N] [--seconds S] [--connections C] [--only nginx,haproxy,moongate] [--json FILE]');
  process.exit(0);
}

const dir = mkdtempSync(join(tmpdir(), 'moongate-bench-'));
const children = [];

function start(command, commandArgs, options = {}) {
  const child = spawn(command, commandArgs, { stdio: ['ignore', 'pipe', 'pipe'], ...options });
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
  return Number(/:(\d+)\s*$/.exec(String(line))[1]);
}

const proxies = {
  async nginx(provider) {
    const port = await freePort();
    writeFileSync(join(dir, 'nginx.conf'), `
daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log ${dir}/nginx.err;
events { worker_connections 4096; }
http {
  access_log off; client_body_temp_path ${dir}; proxy_temp_path ${dir}; client_body_buffer_size 256k;
  fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir}; scgi_temp_path ${dir};
  keepalive_requests 100000000; client_max_body_size 32m;
  upstream p { server 127.0.0.1:${provider}; keepalive 256; keepalive_requests 100000000; }
  server { listen 127.0.0.1:${port};
    location / { proxy_pass http://p; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; } }
}`);
    return { port, child: start('taskset', ['-c', '0', 'nginx', '-p', dir, '-c', join(dir, 'nginx.conf')]) };
  },
  async haproxy(provider) {
    const port = await freePort();
    writeFileSync(join(dir, 'haproxy.cfg'), `
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
  http-reuse always
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  server s 127.0.0.1:${provider} pool-max-conn 256
`);
    return { port, child: start('taskset', ['-c', '0', 'haproxy', '-f', join(dir, 'haproxy.cfg')]) };
  },
  async moongate(provider) {
    writeFileSync(join(dir, 'moongate.lua'), `return {
  host = "127.0.0.1", port = 0, workers = 1, strategy = "round-robin", healthCheckInterval = 60000,
  providers = { { id = "p", endpoint = "http://127.0.0.1:${provider}/v1", model = "sim-model" } },
}`);
    const child = start('taskset', ['-c', '0', moongate, 'run', join(dir, 'moongate.lua'), '--log-level', 'warn']);
    const line = await once(child.stdout, 'data');
    return { port: Number(/:(\d+)\s*$/.exec(String(line))[1]), child };
  },
};

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

async function scenario(name, bodyBytes, tokens) {
  const provider = await startProvider(tokens);
  const names = Object.keys(proxies).filter((n) => only.length === 0 || only.includes(n));
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

const version = (command, flag) => {
  try {
    return execFileSync('sh', ['-c', `${command} ${flag} 2>&1`], { encoding: 'utf8' }).split('\n')[0].trim();
  } catch {
    return 'not found';
  }
};

try {
  const results = [
    await scenario('1 KB chat, keep-alive on both sides, one worker', 1024, 100),
    await scenario('100 KB chat, keep-alive on both sides, one worker', 100 * 1024, 100),
  ];
  const machine = `${cpus()[0]?.model ?? 'unknown CPU'}, ${cpus().length} cores; ${version('nginx', '-v')}; ` +
    `${version('haproxy', '-v')}; ${version(moongate, 'version')}; ${rounds} rounds of ${seconds} s, ${connections} connections`;
  const text = [`Machine: ${machine}`, '', ...results.map(table)].join('\n\n');
  console.log(text);
  const file = option('json', '');
  if (file) writeFileSync(file, `${JSON.stringify({ machine, results }, null, 2)}\n`);
} finally {
  await stopAll();
  rmSync(dir, { recursive: true, force: true });
}
