// What reloads cost those who chat meanwhile: 200 chats at a time, in windows with and without reloads in turn, so that
// both see the same machine. The reloads bring two good versions, broken syntax, an error in init and a loop in turn.
//
// Each chat takes a while at its provider, as chats do; what is compared is how long the client waited beyond that.
// The last lines are over all windows; percentiles in ms. On a shared machine the median window tells more than the sum.
//
// usage: node tests/bench/reload.mjs [--seconds N] [--window S] [--rate R] [--clients C] [--latency MS] [--workers W]
//   --seconds   of reloads, and as many without (60)      --rate      reloads a second (17)
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const args = process.argv.slice(2);
const option = (name, fallback) => {
  const at = args.indexOf(`--${name}`);
  return at < 0 ? fallback : Number(args[at + 1]);
};
const [seconds, window, rate] = [option('seconds', 60), option('window', 5), option('rate', 17)];
const [clients, latency, workers] = [option('clients', 200), option('latency', 100), option('workers', 2)];
const moongate = process.env.MOONGATE ?? 'build/moongate';

const dir = mkdtempSync(join(tmpdir(), 'moongate-bench-'));
const children = [];
const start = (commandArgs) => new Promise((resolve, reject) => {
  const child = spawn(moongate, commandArgs, { stdio: ['ignore', 'pipe', 'inherit'] });
  children.push(child);
  child.once('error', reject);
  child.once('exit', (code) => reject(new Error(`${commandArgs[0]} ended with ${code}`)));
  child.stdout.on('data', (text) => {
    const m = /http:\/\/[\d.]+:(\d+)/.exec(text);
    if (m) resolve({ pid: child.pid, port: Number(m[1]) });
  });
});
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const good = (version) => `return { abi = 1, name = "version-${version}", select = function() return ${version} end }\n`;
const versions = [
  [good(1), 200], [good(2), 200], ['return {', 422], [`${good(3).slice(0, -3)}, init = function() error("x") end }`, 422],
  ['while true do end', 422],
];

const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });
const body = JSON.stringify({ model: 'sim-model', messages: [{ role: 'user', content: 'hello' }] });
const now = () => Number(process.hrtime.bigint()) / 1e6;
function ask(port, path, text) {
  return new Promise((resolve) => {
    const began = now();
    const req = http.request({ agent, port, host: '127.0.0.1', path, method: 'POST',
      headers: { 'Content-Type': 'application/json', 'Content-Length': text.length } }, (res) => {
      res.resume();
      res.on('end', () => resolve({ status: res.statusCode, ms: now() - began, by: res.headers['x-provider-address'] }));
    });
    req.on('error', (error) => resolve({ status: error.code, ms: now() - began }));
    req.end(text);
  });
}

const sum = () => ({ ms: [], p99: [], failed: 0, reloads: 0, wrong: 0, by: {} });
const kinds = { calm: sum(), reloads: sum() };

function describe(what, s, rss) {
  const sorted = Float64Array.from(s.ms).sort();
  const at = (p) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
  const cells = [0.5, 0.9, 0.99, 0.999].map((p) => (at(p) - latency).toFixed(2).padStart(7));
  console.log(`${what.padEnd(12)} ${String(s.ms.length).padStart(8)} chats ${s.failed} failed  over ${latency} ms: p50 ${cells[0]}  p90 ${cells[1]}  `
    + `p99 ${cells[2]}  p99.9 ${cells[3]}  ${s.reloads} reloads, ${s.wrong} with the wrong verdict${rss ? `  ${rss} MiB` : ''}`);
  return at(0.99) - latency;
}

async function main() {
  const sim = await start(['sim-provider', '--port', '0', '--latency', String(latency)]);
  const file = join(dir, 'strategy.lua');
  const config = join(dir, 'moongate.lua');
  writeFileSync(file, versions[0][0]);
  const provider = (id) => `{ id = "${id}", endpoint = "http://127.0.0.1:${sim.port}/v1" }`;
  writeFileSync(config, `return { host = "127.0.0.1", port = 0, workers = ${workers}, strategy = "strategy.lua", logLevel = "off",
    maxSessions = 1000, reload = { watch = false }, healthCheckInterval = 60000,
    providers = { ${['v1', 'v2', 'never'].map(provider).join(', ')} } }\n`);
  const moon = await start(['run', config]);
  const resident = () => (Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${moon.pid}/status`, 'utf8'))[1]) / 1024).toFixed(1);

  let current = null; // what is measured now
  let isOver = false;
  const chatting = Array.from({ length: clients }, async (_, i) => {
    await sleep(i * latency / clients);
    while (!isOver) {
      const into = current;
      const r = await ask(moon.port, '/v1/chat/completions', body);
      if (!into || into !== current) continue; // a chat belongs to the window that it spent all its time in
      into.ms.push(r.ms);
      if (r.status !== 200) into.failed++;
      into.by[r.by] = (into.by[r.by] ?? 0) + 1;
    }
  });
  let n = 0;
  async function reloadUntil(end, into) {
    for (let due = now(); due < end; due += 1000 / rate) {
      await sleep(Math.max(0, due - now()));
      const [text, verdict] = versions[n++ % versions.length];
      writeFileSync(file, text);
      const r = await ask(moon.port, '/admin/reload', '');
      into.reloads++;
      if (r.status !== verdict) into.wrong++;
    }
  }
  await sleep(2000);
  for (let i = 0; i < seconds / window; i++) {
    for (const kind of ['calm', 'reloads']) {
      current = sum();
      const end = now() + window * 1000;
      if (kind === 'reloads') await reloadUntil(end, current);
      await sleep(Math.max(0, end - now()));
      const s = current;
      current = null;
      const all = kinds[kind];
      all.p99.push(describe(kind, s, resident()));
      for (const ms of s.ms) all.ms.push(ms);
      for (const key of ['failed', 'reloads', 'wrong']) all[key] += s[key];
      for (const [id, count] of Object.entries(s.by)) all.by[id] = (all.by[id] ?? 0) + count;
    }
  }
  isOver = true;
  await Promise.all(chatting);
  console.log('---');
  for (const [kind, s] of Object.entries(kinds)) describe(kind, s);
  const median = (list) => list.sort((a, b) => a - b)[Math.floor(list.length / 2)].toFixed(2);
  console.log(`p99 of the median window: ${median(kinds.calm.p99)} without reloads, ${median(kinds.reloads.p99)} with`);
  console.log(`chosen by the versions: ${JSON.stringify(kinds.reloads.by)}`);
}

try {
  await main();
} finally {
  agent.destroy();
  for (const child of children) {
    child.removeAllListeners('exit');
    child.kill('SIGTERM');
  }
  rmSync(dir, { recursive: true, force: true });
}
