// How strictly Moongate, HAProxy and nginx read the same bytes: hostile and unusual requests from a client, and hostile
// answers from a provider. Writes a Markdown table.
//
// The others run as plain reverse proxies with the defaults of their Debian packages, in front of the same provider.
//
// usage: node tests/bench/strictness.mjs [FILE]     FILE: where the table goes (default: standard output)
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ACCEPTED, REFUSED } from '../e2e/hostile-inputs.mjs';

const moongate = process.env.MOONGATE ?? 'build/moongate';
const dir = mkdtempSync(join(tmpdir(), 'moongate-strictness-'));
const children = [];
const WAIT_MS = 1500; // without an answer: the proxy waits for more
const NAMES = ['moongate', 'haproxy', 'nginx'];
const CHAT = 'POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 16\r\n\r\n{"messages":[1]}';
const FINE = 'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}';

// ---- the provider: says what it is told, whatever it is asked ----

const provider = { answer: FINE, seen: 0 };
const server = net.createServer((socket) => {
  let bytes = '';
  socket.on('error', () => {});
  socket.on('data', (b) => {
    bytes += b.toString('latin1');
    for (;;) {
      const end = bytes.indexOf('\r\n\r\n');
      if (end < 0) return;
      const head = bytes.slice(0, end);
      const length = /\r\ncontent-length: *(\d+)/i.exec(head)?.[1];
      let size = end + 4;
      if (/\r\ntransfer-encoding:/i.test(head)) {
        const last = bytes.indexOf('0\r\n', size);
        if (last < 0 || bytes.indexOf('\r\n\r\n', last) < 0) return;
        size = bytes.indexOf('\r\n\r\n', last) + 4;
      } else {
        size += Number(length ?? 0);
        if (bytes.length < size) return;
      }
      bytes = bytes.slice(size);
      if (head.startsWith('POST') || provider.countsAll) provider.seen++;
      const isProbe = head.startsWith('GET /v1/models') && !provider.countsAll;
      socket.write(Buffer.from(isProbe ? FINE : provider.answer, 'latin1'));
      if (provider.closes) socket.end();
    }
  });
}).listen(0, '127.0.0.1');
await once(server, 'listening');
const upstream = server.address().port;

// ---- the proxies ----

async function freePort() {
  const s = net.createServer().listen(0, '127.0.0.1');
  await once(s, 'listening');
  const { port } = s.address();
  s.close();
  await once(s, 'close');
  return port;
}

function start(command, args) {
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'ignore'] });
  children.push(child);
  return child;
}

const starts = {
  async moongate() {
    writeFileSync(join(dir, 'moongate.lua'), `return { host = "127.0.0.1", port = 0, workers = 1, healthCheckInterval = 600000,
      maxRetries = 0, providers = { { id = "p", endpoint = "http://127.0.0.1:${upstream}/v1" } } }\n`);
    const child = start(moongate, ['run', join(dir, 'moongate.lua'), '--log-level', 'off']);
    return Number(/:(\d+)\s*$/.exec(String((await once(child.stdout, 'data'))[0]))[1]);
  },
  async haproxy() {
    const port = await freePort();
    writeFileSync(join(dir, 'haproxy.cfg'), `defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:${port}
  default_backend b
backend b
  server s 127.0.0.1:${upstream}
`);
    start('haproxy', ['-db', '-f', join(dir, 'haproxy.cfg')]);
    return port;
  },
  async nginx() {
    const port = await freePort();
    writeFileSync(join(dir, 'nginx.conf'), `daemon off; worker_processes 1; pid ${dir}/nginx.pid; error_log /dev/null;
events { }
http {
  access_log off; client_body_temp_path ${dir}; proxy_temp_path ${dir}; fastcgi_temp_path ${dir}; uwsgi_temp_path ${dir};
  scgi_temp_path ${dir};
  server { listen 127.0.0.1:${port};
    location / { proxy_pass http://127.0.0.1:${upstream}; proxy_http_version 1.1; proxy_set_header Connection ""; } }
}\n`);
    start('nginx', ['-p', dir, '-c', join(dir, 'nginx.conf'), '-e', '/dev/null']);
    return port;
  },
};

async function untilListens(port) {
  for (let i = 0; i < 400; i++) {
    const socket = net.connect(port, '127.0.0.1');
    const ok = await new Promise((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (ok) return;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
  throw new Error(`nothing listens on port ${port}`);
}

// ---- one question ----

// What comes back until the other side closes, an answer is whole, or nothing more is likely.
function ask(port, bytes) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let got = '';
    let timer;
    const done = (how) => {
      clearTimeout(timer);
      socket.destroy();
      resolve({ got, how });
    };
    timer = setTimeout(() => done('waits'), WAIT_MS);
    socket.on('data', (b) => {
      got += b.toString('latin1');
      const head = got.replace(/^HTTP\/1\.1 100[^]*?\r\n\r\n/, '');
      const end = head.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(head.slice(0, end))?.[1];
      if (length !== undefined && head.length >= end + 4 + Number(length)) done('answered');
      else if (/\r\ntransfer-encoding: chunked/i.test(head.slice(0, end)) && head.endsWith('0\r\n\r\n')) done('answered');
    });
    socket.on('end', () => done('closed'));
    socket.on('error', () => done('closed'));
  });
}

const statusOf = (text) => Number(/^HTTP\/1\.[01] (\d{3})/.exec(text.replace(/^HTTP\/1\.1 100[^]*?\r\n\r\n/, ''))?.[1] ?? 0);

async function request(port, bytes) {
  provider.answer = FINE;
  provider.seen = 0;
  provider.countsAll = true;
  const { got, how } = await ask(port, Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes, 'latin1'));
  const status = statusOf(got);
  const passed = provider.seen ? ' (passed on)' : '';
  if (status >= 400) return `refused ${status}${passed}`;
  if (status) return 'accepted';
  return how === 'closed' ? `closed${passed}` : `waits${passed}`;
}

// ---- answers ----

const ok = (fields, body = '{}') => `HTTP/1.1 200 OK\r\n${fields}\r\n${body}`;
const ANSWERS = [
  ['two equal lengths', ok('Content-Length: 2\r\nContent-Length: 2\r\n')],
  ['two different lengths', ok('Content-Length: 2\r\nContent-Length: 3\r\n')],
  ['a list of lengths', ok('Content-Length: 2, 2\r\n')],
  ['a negative length', ok('Content-Length: -1\r\n'), true],
  ['a signed length', ok('Content-Length: +2\r\n')],
  ['a length beyond all numbers', ok(`Content-Length: ${'9'.repeat(30)}\r\n`), true],
  ['length and chunks', ok('Content-Length: 2\r\nTransfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n')],
  ['gzip, chunked', ok('Transfer-Encoding: gzip, chunked\r\n', '2\r\n{}\r\n0\r\n\r\n')],
  ['an unknown transfer coding', ok('Transfer-Encoding: x\r\n'), true],
  ['chunks in HTTP/1.0', ok('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n0\r\n\r\n').replace('HTTP/1.1', 'HTTP/1.0'), true],
  ['a bad chunk size', ok('Transfer-Encoding: chunked\r\n', 'zz\r\n{}\r\n0\r\n\r\n'), true],
  ['a chunk longer than its size', ok('Transfer-Encoding: chunked\r\n', '1\r\n{}\r\n0\r\n\r\n'), true],
  ['a chunk size of seventeen digits', ok('Transfer-Encoding: chunked\r\n', '00000000000000002\r\n{}\r\n0\r\n\r\n'), true],
  ['a folded field', ok('X-A: a\r\n b\r\nContent-Length: 2\r\n')],
  ['a blank before the colon', ok('X-A : a\r\nContent-Length: 2\r\n')],
  ['a blank before the colon of the length', ok('Content-Length : 2\r\n'), true],
  ['a line without a colon', ok('nonsense\r\nContent-Length: 2\r\n')],
  ['a NUL in a value', ok('X-A: a\0b\r\nContent-Length: 2\r\n')],
  ['a control byte in a value', ok('X-A: a\x01b\r\nContent-Length: 2\r\n')],
  ['a bare CR in a value', ok('X-A: a\rb\r\nContent-Length: 2\r\n')],
  ['bare LFs', 'HTTP/1.1 200 OK\nContent-Length: 2\n\n{}'],
  ['status 999', 'HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\n{}'],
  ['status 099', 'HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\n{}'],
  ['a status of two digits', 'HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\n{}'],
  ['HTTP/2.0', 'HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\n{}'],
  ['HTTP/0.9', '{}', true],
  ['plain nonsense', 'SMTP 220 hello\r\n\r\n', true],
  ['101 that nobody asked for', 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n'],
  ['17 interim answers', `${'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(17)}${FINE}`],
  ['a head of 100 KiB', ok(`${Array.from({ length: 1000 }, (_, i) => `X-${i}: ${'x'.repeat(90)}\r\n`).join('')}Content-Length: 2\r\n`)],
  ['a body cut short', ok('Content-Length: 100\r\n'), true],
  ['chunks cut short', ok('Transfer-Encoding: chunked\r\n', '2\r\n{}\r\n'), true],
  ['a redirect', 'HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n'],
  ['nothing at all', '', true],
];

async function answer(port, bytes, closes) {
  provider.answer = bytes;
  provider.closes = Boolean(closes);
  provider.countsAll = false;
  const { got, how } = await ask(port, Buffer.from(CHAT, 'latin1'));
  provider.closes = false;
  const status = statusOf(got);
  if (status >= 500) return `${status}`;
  if (!status) return how === 'closed' ? 'closed' : 'waits';
  return how === 'answered' ? `passed on (${status})` : `passed on (${status}), then ${how === 'closed' ? 'cut' : 'silence'}`;
}

// ---- the table ----

const version = (command, args) => {
  try {
    return /[\w-]*[ /](version )?v?(\d+\.\d+[\d.]*)/.exec(execFileSync('sh', ['-c', `${command} ${args} 2>&1`], { encoding: 'utf8' }))[2];
  } catch {
    return '?';
  }
};
const lines = [];
const row = (cells) => lines.push(`| ${cells.join(' | ')} |`);
const isStrict = (cell) => /^(refused|closed)/.test(cell);

try {
  const ports = {};
  for (const n of NAMES) {
    ports[n] = await starts[n]();
    await untilListens(ports[n]);
  }
  lines.push('# What is refused, beside HAProxy and nginx', '');
  lines.push('The same bytes to all three, measured by `make strictness`; the others as plain reverse proxies with default settings.',
    `Moongate ${version(moongate, 'version')}, HAProxy ${version('haproxy', '-v')}, nginx ${version('nginx', '-v')}.`, '');
  const table = async (title, note, head, cases, one) => {
    lines.push(`## ${title}`, '', note, '');
    row([head, 'Moongate', 'HAProxy', 'nginx']);
    row(['---', '---', '---', '---']);
    const all = [];
    for (const c of cases) {
      const cells = [];
      for (const n of NAMES) cells.push(await one(ports[n], c));
      all.push(cells);
      row([c[0].replaceAll('|', '\\|'), ...cells]);
    }
    lines.push('');
    return all;
  };
  const count = (all, test) => NAMES.map((_, i) => all.filter((cells) => test(cells[i])).length);
  const bad = await table('Requests that should be refused',
    '"Accepted": answered as if nothing were wrong. "Waits": no answer, and the connection stays open.', 'request', REFUSED,
    (port, [, bytes]) => request(port, bytes));
  const good = await table('Unusual requests that are right', 'RFC 9110 and 9112 allow each of them.', 'request', ACCEPTED,
    (port, [, bytes]) => request(port, bytes));
  const answers = await table('Answers of a provider', 'What a client sees when a provider answers a chat like this.', 'answer', ANSWERS,
    (port, [, bytes, closes]) => answer(port, bytes, closes));
  lines.push('## In numbers', '');
  row(['', 'Moongate', 'HAProxy', 'nginx']);
  row(['---', '---', '---', '---']);
  row([`refused of ${bad.length} bad requests`, ...count(bad, isStrict)]);
  row([`accepted of ${good.length} right ones`, ...count(good, (c) => c.startsWith('accepted'))]);
  row([`of ${answers.length} bad answers kept from the client`, ...count(answers, (c) => /^5|^closed/.test(c))]);
  lines.push('');
} finally {
  for (const child of children) child.kill('SIGTERM');
  server.close();
  rmSync(dir, { recursive: true, force: true });
}
const text = lines.join('\n');
if (process.argv[2]) writeFileSync(process.argv[2], text);
else process.stdout.write(text);
process.exit(0);
