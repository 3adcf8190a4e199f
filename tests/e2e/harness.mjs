// What the tests stand on: the real daemon with a generated configuration, a raw HTTP client that sees every byte,
// and waiting by event or deadline instead of by sleep.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { certificate, FakeProvider } from './fake-provider.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const BINARY = path.resolve(ROOT, process.env.MOONGATE ?? 'build/moongate');
// Sanitizers and loaded machines: deadlines grow by this factor, never the waiting itself.
export const SLOW = Number(process.env.MOONGATE_TEST_SLOW ?? 1);
// A build with sanitizers (its folder says so): times and memory are not those of the program.
export const IS_SANITIZED = /\/(address|thread)/.test(BINARY);

export const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// Polls until `check` returns something truthy (or stops throwing); fails with the last error after `ms`.
export async function eventually(check, ms = 5000, what = 'the condition') {
  const deadline = Date.now() + ms * SLOW;
  for (;;) {
    let last;
    try {
      const value = await check();
      if (value) return value;
      last = new Error(`${what} did not come true within ${ms * SLOW} ms`);
    } catch (error) {
      last = error;
    }
    if (Date.now() > deadline) throw last;
    await sleep(10);
  }
}

export function within(promise, ms, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} took more than ${ms * SLOW} ms`)), ms * SLOW);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// ---- configuration ----

export class Lua {
  constructor(code) {
    this.code = code;
  }
}
// A piece of Lua as it stands, e.g. lua('env("KEY")').
export const lua = (code) => new Lua(code);

export function toLua(value) {
  if (value instanceof Lua) return value.code;
  if (typeof value === 'string') return luaString(value);
  if (Array.isArray(value)) return `{ ${value.map(toLua).join(', ')} }`;
  if (value && typeof value === 'object') {
    const members = Object.entries(value).filter(([, v]) => v !== undefined);
    return `{ ${members.map(([k, v]) => `[${luaString(k)}] = ${toLua(v)}`).join(', ')} }`;
  }
  return String(value);
}

function luaString(s) {
  return `"${Buffer.from(s).toString('latin1').replace(/[^ !#-[\]-~]/g, (c) => `\\${String(c.charCodeAt(0)).padStart(3, '0')}`)}"`;
}

// ---- the daemon ----

const REPORT = /ERROR: (Address|Leak|Memory)Sanitizer|WARNING: ThreadSanitizer|runtime error:|internal error at/;

export function environment(extra = {}) {
  const env = { ...process.env, ...extra };
  env.XDG_STATE_HOME ??= path.join(tmpdir(), 'moongate-state');
  for (const name of ['http_proxy', 'https_proxy', 'all_proxy', 'HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY']) delete env[name];
  delete env.NODE_OPTIONS;
  return env;
}

// Runs a command to its end.
export async function runMoongate(args, { env, input, ms = 10000 } = {}) {
  const child = spawn(BINARY, args, { env: environment(env), stdio: ['pipe', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (b) => (stdout += b));
  child.stderr.on('data', (b) => (stderr += b));
  child.stdin.on('error', () => {});
  child.stdin.end(input ?? '');
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => resolve({ code, signal }));
  });
  try {
    const { code, signal } = await within(ended, ms, `moongate ${args.join(' ')}`);
    assert.doesNotMatch(stderr, REPORT);
    return { code, signal, stdout, stderr };
  } finally {
    child.kill('SIGKILL');
  }
}

export function temporaryFolder(t) {
  const folder = mkdtempSync(path.join(tmpdir(), 'moongate-e2e-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export class Daemon {
  constructor(child) {
    this.child = child;
    this.pid = child.pid;
    this.stdout = '';
    this.stderr = '';
    this.isStopped = false;
    this.exited = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', (code, signal) => resolve({ code, signal }));
    });
    this.exited.catch(() => {});
    this.ended = new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
    child.stdout.on('data', (b) => (this.stdout += b));
    child.stderr.on('data', (b) => (this.stderr += b));
  }

  signal(name) {
    process.kill(this.pid, name);
  }

  logged(pattern) {
    return pattern.test(this.stderr);
  }

  countLogged(pattern) {
    return this.stderr.split('\n').filter((line) => pattern.test(line)).length;
  }

  residentBytes() {
    const status = readFileSync(`/proc/${this.pid}/status`, 'utf8');
    return Number(/VmRSS:\s+(\d+) kB/.exec(status)[1]) * 1024;
  }

  openFiles() {
    return readdirSync(`/proc/${this.pid}/fd`).length;
  }

  // Processor time so far, in ms.
  processorMs() {
    const fields = readFileSync(`/proc/${this.pid}/stat`, 'latin1').replace(/^.*\) /s, '').split(' ');
    return (Number(fields[11]) + Number(fields[12])) * 10; // in clock ticks of 10 ms
  }

  // The limit of open files, changed from outside.
  limitFiles(n) {
    execFileSync('prlimit', ['--pid', String(this.pid), `--nofile=${n}:`]);
  }

  async waitExit(ms = 10000) {
    this.isStopped = true;
    const result = await within(this.exited, ms, 'the exit');
    assert.doesNotMatch(this.stderr, REPORT);
    return result;
  }

  // No clean stop: the process is gone at once.
  async kill() {
    this.isStopped = true;
    this.signal('SIGKILL');
    await within(this.exited, 10000, 'the end');
    assert.doesNotMatch(this.stderr, REPORT);
  }

  // As waitExit(), while a successor goes on with the same output.
  async waitReplaced(ms = 20000) {
    this.isStopped = true;
    const result = await within(this.ended, ms, 'the exit');
    assert.doesNotMatch(this.stderr, REPORT);
    return result;
  }

  // A clean stop: exit code 0 and no sanitizer report.
  async stop() {
    if (this.isStopped) return;
    this.isStopped = true;
    try {
      this.signal('SIGTERM');
    } catch {
      // It is gone already; its exit says how.
    }
    const timer = setTimeout(() => this.child.kill('SIGKILL'), 20000 * SLOW);
    const { code, signal } = await this.exited.finally(() => clearTimeout(timer));
    assert.doesNotMatch(this.stderr, REPORT);
    assert.deepEqual({ code, signal }, { code: 0, signal: null }, `the daemon did not stop cleanly; its log:\n${this.stderr}`);
  }
}

// Starts `moongate run` and waits for its "listening" line. `config`: a table, or the text of a file; `files`: the limit
// of open files; `shell`: what runs it as "$0" "$@"; `folder`: that of a daemon that ran before, whose state is found again.
export async function startDaemon(t, config, { args = [], env, files, shell, program = BINARY, folder = temporaryFolder(t) } = {}) {
  const file = path.join(folder, 'moongate.lua');
  const defaults = { host: '127.0.0.1', port: 0, workers: 2, healthCheckInterval: 60000, ...(certificate && { tls: { ca: certificate.file } }) };
  const text = typeof config === 'string' ? config : `return ${toLua({ ...defaults, ...config })}\n`;
  writeFileSync(file, text);
  const command = [program, 'run', file, ...args];
  if (shell) command.unshift('sh', '-c', shell);
  if (files) command.unshift('sh', '-c', `ulimit -n ${files}; exec "$0" "$@"`);
  const state = { XDG_STATE_HOME: path.join(folder, 'state'), ...(certificate && { SSL_CERT_FILE: certificate.file }), ...env };
  const child = spawn(command[0], command.slice(1), { env: environment(state), stdio: ['ignore', 'pipe', 'pipe'] });
  const daemon = new Daemon(child);
  Object.assign(daemon, { file, folder });
  t.after(() => daemon.stop());
  const listening = new Promise((resolve, reject) => {
    const look = () => {
      const m = /^listening on (http:\/\/(\S+):(\d+))$/m.exec(daemon.stdout);
      if (m) resolve(m);
    };
    child.stdout.on('data', look);
    daemon.exited.then(
      ({ code, signal }) => reject(new Error(`the daemon ended with ${code ?? signal} before listening:\n${daemon.stderr}`)),
      reject,
    );
  });
  const [, url, , port] = await within(listening, 10000, 'the start');
  daemon.url = url;
  daemon.port = Number(port);
  return daemon;
}

// A daemon in front of fake providers: `n` plain ones, or one per entry of `providers` (see FakeProvider).
export async function setup(t, { providers: wanted = 1, daemon: options, waitProbed = true, ...config } = {}) {
  const list = typeof wanted === 'number' ? Array.from({ length: wanted }, (_, i) => ({ id: 'abcdefgh'[i] })) : wanted;
  const providers = [];
  for (const entry of list) providers.push(await FakeProvider.start(entry));
  t.after(() => Promise.all(providers.map((p) => p.stop())));
  const moon = await startDaemon(t, { providers: providers.map((p) => p.config()), ...config }, options);
  // The first probes are over, so that none of them disturbs what a test counts.
  if (waitProbed) await Promise.all(providers.map((p) => p.until(() => p.probes > 0, 'probe')));
  return { moon, providers, byId: Object.fromEntries(providers.map((p) => [p.id, p])) };
}

// ---- a raw client ----

export class RawClient {
  static async connect(port, { host = '127.0.0.1', allowHalfOpen = false, localAddress } = {}) {
    const socket = net.connect({ port, host, noDelay: true, allowHalfOpen, localAddress });
    await new Promise((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
    });
    return new RawClient(socket);
  }

  constructor(socket) {
    this.socket = socket;
    this.bytes = Buffer.alloc(0);
    this.ended = false; // by a FIN
    this.wasReset = false;
    this.waiters = [];
    const wake = () => {
      const list = this.waiters;
      this.waiters = [];
      for (const w of list) w();
    };
    socket.on('data', (b) => {
      this.bytes = Buffer.concat([this.bytes, b]);
      wake();
    });
    socket.on('end', () => {
      this.ended = true;
      wake();
    });
    socket.on('error', (error) => {
      this.wasReset = error.code === 'ECONNRESET' || error.code === 'EPIPE';
      wake();
    });
    this.closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.isClosed = true;
        wake();
        resolve();
      });
    });
  }

  get isOver() {
    return this.ended || this.isClosed;
  }

  send(bytes) {
    this.socket.write(bytes);
    return this;
  }

  destroy() {
    this.socket.destroy();
  }

  // Waits until `take(bytes, isOver)` returns something other than undefined.
  async #take(take, ms, what) {
    const deadline = Date.now() + ms * SLOW;
    for (;;) {
      const value = take(this.bytes, this.isOver);
      if (value !== undefined) return value;
      const left = deadline - Date.now();
      if (left <= 0) throw new Error(`no ${what} within ${ms * SLOW} ms; got ${JSON.stringify(this.bytes.toString('latin1').slice(0, 500))}`);
      let timer;
      await new Promise((resolve) => {
        this.waiters.push(resolve);
        timer = setTimeout(resolve, left);
      });
      clearTimeout(timer);
    }
  }

  // Waits until the text has come; leaves the bytes.
  until(text, ms = 5000) {
    return this.#take((bytes, over) => {
      if (bytes.includes(text)) return true;
      if (over) throw new Error(`the connection ended before ${JSON.stringify(text)}; got ${bytes.toString('latin1')}`);
      return undefined;
    }, ms, JSON.stringify(text));
  }

  // The next answer, whole or as far as it came. `method`: what it answers (HEAD has no body).
  async response({ method = 'GET', ms = 10000 } = {}) {
    return this.#take((bytes, over) => {
      const r = parseResponse(bytes, method, over);
      if (!r) {
        if (over) throw new Error(`the connection ended without an answer; got ${JSON.stringify(bytes.toString('latin1'))}`);
        return undefined;
      }
      this.bytes = this.bytes.subarray(r.size);
      return r;
    }, ms, 'answer');
  }

  async waitClosed(ms = 5000) {
    await within(this.closed, ms, 'the close of the connection');
  }
}

function parseHead(bytes) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const lines = bytes.toString('latin1', 0, end).split('\r\n');
  const status = Number(/^HTTP\/1\.[01] (\d{3}) /.exec(`${lines[0]} `)?.[1]);
  assert.ok(status >= 100, `no status line: ${lines[0]}`);
  const fields = lines.slice(1).map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1).trim()]);
  const all = (name) => fields.filter(([n]) => n.toLowerCase() === name.toLowerCase()).map(([, v]) => v);
  return { status, fields, all, header: (name) => all(name)[0], head: bytes.toString('latin1', 0, end + 4), size: end + 4 };
}

// Null: more is needed. `complete` is false when the connection ended inside the body.
function parseResponse(bytes, method, over) {
  const head = parseHead(bytes);
  if (!head) return null;
  const rest = bytes.subarray(head.size);
  const result = (body, size, complete) => ({
    ...head, body: Buffer.from(body), size, complete,
    text: () => Buffer.from(body).toString('utf8'),
    json: () => JSON.parse(Buffer.from(body).toString('utf8')),
  });
  const isBare = method === 'HEAD' || head.status < 200 || head.status === 204 || head.status === 304;
  if (isBare) return result(rest.subarray(0, 0), head.size, true);
  if (/^chunked$/i.test(head.header('transfer-encoding') ?? '')) {
    const parts = [];
    let at = 0;
    for (;;) {
      const eol = rest.indexOf('\r\n', at);
      const size = eol < 0 ? NaN : parseInt(rest.toString('latin1', at, eol), 16);
      assert.ok(eol < 0 || size >= 0, `no chunk size: ${rest.toString('latin1', at, eol)}`);
      if (eol < 0 || rest.length < eol + 2 + size + 2) {
        if (!over) return null;
        if (eol >= 0) parts.push(rest.subarray(eol + 2));
        return result(Buffer.concat(parts), bytes.length, false);
      }
      parts.push(rest.subarray(eol + 2, eol + 2 + size));
      at = eol + 2 + size + 2;
      if (size === 0) return result(Buffer.concat(parts), head.size + at, true);
    }
  }
  const length = head.header('content-length');
  if (length !== undefined) {
    if (rest.length >= Number(length)) return result(rest.subarray(0, Number(length)), head.size + Number(length), true);
    return over ? result(rest, bytes.length, false) : null;
  }
  return over ? result(rest, bytes.length, true) : null;
}

export function requestBytes({ method = 'GET', path: target = '/', headers = {}, body } = {}) {
  let head = `${method} ${target} HTTP/1.1\r\n`;
  const names = Object.keys(headers).map((n) => n.toLowerCase());
  if (!names.includes('host')) head += 'Host: localhost\r\n';
  for (const [name, value] of Object.entries(headers)) for (const v of [value].flat()) head += `${name}: ${v}\r\n`;
  const bytes = body === undefined ? null : Buffer.from(body);
  if (bytes && !names.includes('content-length') && !names.includes('transfer-encoding')) head += `Content-Length: ${bytes.length}\r\n`;
  return Buffer.concat([Buffer.from(`${head}\r\n`, 'latin1'), bytes ?? Buffer.alloc(0)]);
}

// One request on a connection of its own.
export async function ask(moon, request = {}) {
  const client = await RawClient.connect(moon.port);
  try {
    client.send(requestBytes(request));
    return await client.response({ method: request.method, ms: request.ms });
  } finally {
    client.destroy();
  }
}

export const CHAT = '/v1/chat/completions';
export const MESSAGES = [{ role: 'user', content: 'say hello' }];

// A chat; `body`: members added to the smallest one, or the bytes themselves.
export function chatRequest(body = {}, headers = {}) {
  const isRaw = typeof body === 'string' || Buffer.isBuffer(body);
  const bytes = isRaw ? body : JSON.stringify({ model: 'fake-model', messages: MESSAGES, ...body });
  return { method: 'POST', path: CHAT, headers: { 'Content-Type': 'application/json', ...headers }, body: bytes };
}

export const chat = (moon, body, headers) => ask(moon, chatRequest(body, headers));

// A chat whose answer the test reads as it arrives.
export async function openChat(moon, body, headers) {
  const client = await RawClient.connect(moon.port);
  client.send(requestBytes(chatRequest(body, headers)));
  return client;
}

// Data of the events of a stream, JSON parsed where it is JSON.
export function events(text) {
  return text
    .split(/\r?\n\r?\n/)
    .flatMap((block) => block.split(/\r?\n/).filter((l) => l.startsWith('data:')))
    .map((line) => line.slice(5).trim())
    .map((data) => (data.startsWith('{') ? JSON.parse(data) : data));
}

// Every error of our own looks like this.
export function assertError(response, status, { message, code, type } = {}) {
  assert.equal(response.status, status, `status with body ${response.text()}`);
  assert.match(response.header('content-type') ?? '', /^application\/json/);
  const { error, request_id } = response.json();
  assert.equal(typeof error.message, 'string');
  assert.ok(error.message.length > 0);
  assert.equal(typeof error.type, 'string');
  assert.ok('code' in error);
  assert.equal(typeof request_id, 'string');
  if (message instanceof RegExp) assert.match(error.message, message);
  else if (message !== undefined) assert.equal(error.message, message);
  if (code !== undefined) assert.equal(error.code, code);
  if (type !== undefined) assert.equal(error.type, type);
  return error;
}

export async function health(moon) {
  const r = await ask(moon, { path: '/health' });
  return { status: r.status, ...r.json() };
}

// Counters of one provider.
export async function counters(moon, id) {
  const r = await ask(moon, { path: '/admin/providers' });
  assert.equal(r.status, 200);
  return r.json().providers.find((p) => p.address === id);
}

export const switchProvider = (moon, id, to) => ask(moon, { method: 'POST', path: `/admin/providers/${id}/${to}` });

// ---- processes ----

export const isAlive = (pid) => existsSync(`/proc/${pid}`) && !/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'latin1'));
export const childrenOf = (pid) => readFileSync(`/proc/${pid}/task/${pid}/children`, 'latin1').trim().split(' ').filter(Boolean).map(Number);

// Processes that no longer belong to a Daemon are ended behind the test.
export function endBehind(t, pidOf) {
  t.after(async () => {
    const pid = pidOf();
    if (!pid || !isAlive(pid)) return;
    process.kill(pid, 'SIGTERM');
    await eventually(() => !isAlive(pid), 20000, 'the end of the last process').catch(() => process.kill(pid, 'SIGKILL'));
  });
}
