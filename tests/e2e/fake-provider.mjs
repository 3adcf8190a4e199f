// A scripted provider on 127.0.0.1. It speaks HTTP by hand over plain sockets, so that it can also speak it wrongly,
// and keeps every request's bytes as they came.
//
//   const p = await FakeProvider.start({ id: 'a' });
//   p.next(act.status(500));            // the next call only; further arguments: the calls after it
//   p.always(act.ok());                 // every call without a script of its own (the default)
//   const call = await p.manual();      // the next call is answered by the test itself

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tls from 'node:tls';

// With MOONGATE_TEST_TLS all fake providers are https:// ones, by a certificate that the harness lets the daemon trust.
export const certificate = process.env.MOONGATE_TEST_TLS ? makeCertificate() : null;

function makeCertificate() {
  const folder = mkdtempSync(path.join(tmpdir(), 'moongate-certificate-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  const [keyFile, file] = [path.join(folder, 'key.pem'), path.join(folder, 'certificate.pem')];
  execFileSync('openssl', ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
    '-subj', '/CN=127.0.0.1', '-addext', 'subjectAltName=IP:127.0.0.1', '-keyout', keyFile, '-out', file], { stdio: 'pipe' });
  return { file, key: readFileSync(keyFile), cert: readFileSync(file) };
}

let counter = 0;

export class FakeProvider {
  static async start(options = {}) {
    const p = new FakeProvider(options);
    await p.listen(0);
    return p;
  }

  constructor({ id, model = 'fake-model', models, ...entry } = {}) {
    this.id = id ?? `p${++counter}`;
    this.model = model;
    this.models = models ?? (model ? [model] : []);
    this.entry = entry; // further members of its configuration entry
    this.requests = [];
    this.calls = []; // requests other than the model list
    this.probes = 0;
    this.connections = 0; // accepted so far
    this.sockets = new Set();
    this.open = new Set(); // those and, of https:// ones, what is not that far yet
    this.closed = new Map(); // socket: promise of the time of its close
    this.script = [];
    this.usual = act.ok();
    this.onModels = null; // behaviour of GET …/models, when not the list
    this.waiters = [];
  }

  async listen(port) {
    const serve = (socket) => this.#serve(socket);
    this.server = certificate
      ? tls.createServer({ noDelay: true, key: certificate.key, cert: certificate.cert }, serve).on('tlsClientError', () => {})
      : net.createServer({ noDelay: true }, serve);
    this.server.on('connection', (socket) => {
      this.open.add(socket);
      socket.once('close', () => this.open.delete(socket));
    });
    this.server.listen(port, '127.0.0.1');
    await once(this.server, 'listening');
    this.port = this.server.address().port;
  }

  get origin() {
    return `http${certificate ? 's' : ''}://127.0.0.1:${this.port}`;
  }

  // Its entry in a configuration.
  config() {
    return { id: this.id, endpoint: `${this.origin}/v1`, model: this.model ?? undefined, ...this.entry };
  }

  next(...behaviours) {
    this.script.push(...behaviours);
    return this;
  }

  always(behaviour) {
    this.usual = behaviour;
    return this;
  }

  // The next call, for the test to answer: resolves when its request is complete.
  manual() {
    return new Promise((resolve) => this.script.push((call) => resolve(call)));
  }

  // No longer listens; new connections are refused, open ones closed. resume() returns on the same port.
  async refuse() {
    const closed = once(this.server, 'close');
    this.server.close();
    for (const s of [...this.sockets, ...this.open]) s.destroy();
    await closed;
  }

  async resume() {
    await this.listen(this.port);
  }

  async stop() {
    if (!this.server.listening) return;
    await this.refuse();
  }

  // Resolves once `check(this)` holds; looked at whenever a request or a connection's end is seen.
  until(check, what = 'a condition at the provider', ms = 5000) {
    return new Promise((resolve, reject) => {
      if (check(this)) return resolve();
      const timer = setTimeout(() => reject(new Error(`${this.id}: no ${what} within ${ms} ms`)), ms);
      this.waiters.push(() => {
        if (!check(this)) return false;
        clearTimeout(timer);
        resolve();
        return true;
      });
    });
  }

  notify() {
    this.waiters = this.waiters.filter((w) => !w());
  }

  // A request is complete.
  take(call) {
    const { method, target } = call.request;
    const isModels = method === 'GET' && target.endsWith('/models');
    if (isModels) this.probes++;
    else this.calls.push(call.request);
    this.notify();
    if (isModels) (this.onModels ?? listModels)(call);
    else (this.script.shift() ?? this.usual)(call);
  }

  #serve(socket) {
    this.connections++;
    this.sockets.add(socket);
    let buffered = Buffer.alloc(0);
    let busy = false;
    socket.on('error', () => {});
    this.closed.set(socket, new Promise((resolve) => {
      socket.on('close', () => {
        this.sockets.delete(socket);
        this.notify();
        resolve(Date.now());
      });
    }));
    const proceed = () => {
      if (busy) return;
      const request = takeRequest(buffered);
      if (request === 'continue') {
        if (!socket.saidContinue) socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        socket.saidContinue = true;
        return;
      }
      if (!request) return;
      socket.saidContinue = false;
      buffered = buffered.subarray(request.size);
      busy = true;
      const call = new Call(this, socket, request, () => {
        busy = false;
        setImmediate(proceed);
      });
      this.requests.push(request);
      this.take(call);
    };
    socket.on('data', (bytes) => {
      buffered = Buffer.concat([buffered, bytes]);
      proceed();
    });
  }
}

function takeRequest(bytes) {
  const end = bytes.indexOf('\r\n\r\n');
  if (end < 0) return null;
  const head = bytes.subarray(0, end + 4);
  const lines = head.toString('latin1').slice(0, -4).split('\r\n');
  const [method, target, version] = lines[0].split(' ');
  const fields = lines.slice(1).map((l) => [l.slice(0, l.indexOf(':')), l.slice(l.indexOf(':') + 1).trim()]);
  const all = (name) => fields.filter(([n]) => n.toLowerCase() === name.toLowerCase()).map(([, v]) => v);
  const header = (name) => all(name)[0];
  let body = Buffer.alloc(0);
  let size = head.length;
  if (/chunked/i.test(header('transfer-encoding') ?? '')) {
    const parts = [];
    for (;;) {
      const eol = bytes.indexOf('\r\n', size);
      if (eol < 0) return header('expect') ? 'continue' : null;
      const n = parseInt(bytes.toString('latin1', size, eol), 16);
      if (bytes.length < eol + 2 + n + 2) return null;
      parts.push(bytes.subarray(eol + 2, eol + 2 + n));
      size = eol + 2 + n + 2;
      if (n === 0) break;
    }
    body = Buffer.concat(parts);
  } else {
    const n = Number(header('content-length') ?? 0);
    if (bytes.length < size + n) return header('expect') ? 'continue' : null;
    body = bytes.subarray(size, size + n);
    size += n;
  }
  return {
    method, target, version, fields, all, header, size,
    head: Buffer.from(head), body: Buffer.from(body),
    json: () => JSON.parse(body.toString('utf8')),
  };
}

// One request being answered.
export class Call {
  constructor(provider, socket, request, finished) {
    Object.assign(this, { provider, socket, request, finished });
    this.isChunked = false;
    this.closed = provider.closed.get(socket);
  }

  get wantsStream() {
    try {
      return this.request.json().stream === true;
    } catch {
      return false;
    }
  }

  raw(bytes) {
    if (!this.socket.destroyed) this.socket.write(bytes);
    return this;
  }

  head(status, fields = {}) {
    let text = `HTTP/1.1 ${status} ${status === 200 ? 'OK' : 'Status'}\r\n`;
    for (const [name, value] of Object.entries(fields))
      for (const v of [value].flat()) text += `${name}: ${v}\r\n`;
    return this.raw(text + '\r\n');
  }

  // Head of a chunked event stream.
  streamHead(fields = {}) {
    this.isChunked = true;
    return this.head(200, { 'Content-Type': 'text/event-stream', 'Transfer-Encoding': 'chunked', ...fields });
  }

  chunk(bytes) {
    const b = Buffer.from(bytes);
    return this.raw(Buffer.concat([Buffer.from(`${b.length.toString(16)}\r\n`), b, Buffer.from('\r\n')]));
  }

  event(data) {
    return this.chunk(`data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
  }

  delta(content, extra = {}) {
    return this.event(chatChunk(this, { choices: [{ index: 0, delta: { content }, finish_reason: null }], ...extra }));
  }

  // What an event stream ends with: finish reason, usage, [DONE], last chunk.
  done() {
    this.event(chatChunk(this, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }));
    this.event(chatChunk(this, { choices: [], usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 } }));
    this.event('[DONE]');
    return this.endChunks();
  }

  endChunks() {
    this.raw('0\r\n\r\n');
    return this.end();
  }

  // This answer is complete; the connection may carry another.
  end() {
    this.finished();
    return this;
  }

  respond(status, body, fields = {}) {
    const bytes = Buffer.isBuffer(body) ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    const type = typeof body === 'string' || Buffer.isBuffer(body) ? {} : { 'Content-Type': 'application/json' };
    this.head(status, { ...type, 'Content-Length': bytes.length, ...fields });
    return this.raw(bytes).end();
  }

  reset() {
    (this.socket._parent ?? this.socket).resetAndDestroy();
  }

  // A clean end of the connection, whatever was promised.
  close() {
    this.socket.end();
  }
}

let answers = 0;

export function chatChunk(call, rest) {
  call.completionId ??= `chatcmpl-${call.provider.id}-${++answers}`;
  return { id: call.completionId, object: 'chat.completion.chunk', created: 1700000000, model: call.provider.model, ...rest };
}

export function chatAnswer(call, content = 'hello') {
  call.completionId ??= `chatcmpl-${call.provider.id}-${++answers}`;
  return {
    id: call.completionId, object: 'chat.completion', created: 1700000000, model: call.provider.model,
    choices: [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 },
  };
}

function listModels(call) {
  const data = call.provider.models.map((id) => ({ id, object: 'model', created: 1700000000, owned_by: 'fake' }));
  // Connections that were made before the first chat would be used again, and sent again on a fresh one when they fail.
  call.respond(200, { object: 'list', data }, certificate ? { Connection: 'close' } : {});
}

const wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

// What a call may meet. Each is a function of the call.
export const act = {
  // A chat answer, streamed when asked for. `content` may be an array: one event each.
  ok({ content = ['hel', 'lo'], headers = {} } = {}) {
    return (call) => {
      const fields = { 'ZG-Res-Key': `key-${call.provider.id}-${answers + 1}`, ...headers };
      const pieces = [content].flat();
      if (!call.wantsStream) return call.respond(200, chatAnswer(call, pieces.join('')), fields);
      call.streamHead(fields);
      for (const piece of pieces) call.delta(piece);
      return call.done();
    };
  },
  status(status, body = { error: { message: `fault ${status}`, type: 'server_error', code: 'fault' } }, headers = {}) {
    return (call) => call.respond(status, body, headers);
  },
  raw(text, then = 'end') {
    return (call) => {
      call.raw(text);
      if (then === 'end') call.end();
      else if (then === 'reset') setTimeout(() => call.reset(), 20);
      else if (then === 'close') call.close();
    };
  },
  reset: () => (call) => call.reset(),
  close: () => (call) => call.close(),
  resetInHead: () => act.raw('HTTP/1.1 200 OK\r\nContent-Ty', 'reset'),
  resetAfterHead: () => act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n', 'reset'),
  resetMidBody: () => act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"id":"half', 'reset'),
  truncatedLength: () => act.raw('HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"id":"half', 'close'),
  truncatedStream: (n = 1) => (call) => {
    call.streamHead();
    for (let i = 0; i < n; i++) call.delta(`piece ${i}`);
    call.close();
  },
  garbage: () => act.raw('SMTP 220 hello\r\n\r\n', 'close'),
  silent: () => () => {},
  silentAfterHead: () => (call) => call.streamHead(),
  slow: (ms, then = act.ok()) => async (call) => {
    await wait(ms);
    then(call);
  },
  // An answer byte by byte.
  drip: (ms = 1) => async (call) => {
    const body = Buffer.from(JSON.stringify(chatAnswer(call)));
    const head = `HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n`;
    for (const byte of Buffer.concat([Buffer.from(head), body])) {
      call.raw(Buffer.of(byte));
      await wait(ms);
    }
    call.end();
  },
  redirect: (to) => (call) => call.respond(302, 'moved', { Location: to }),
  // A refusal that shows the caller what it was sent.
  echoAuthorization: (status = 400) => (call) =>
    call.respond(status, { error: { message: `bad key ${call.request.header('authorization')}`, type: 'x', code: 'x' } }),
};

// Several providers that share one script: whichever is asked first meets its first entry.
export function shareScript(providers, ...behaviours) {
  const left = [...behaviours];
  for (const p of providers) p.always((call) => (left.shift() ?? act.ok())(call));
}

// The port of a socket that listens and never accepts: its queue is full, so further connections are neither taken nor
// refused.
export async function blackHole(t) {
  const child = spawn(process.execPath, ['-e',
    "const s = require('net').createServer().listen({ port: 0, host: '127.0.0.1', backlog: 1 }, () => console.log(s.address().port))"],
  { stdio: ['ignore', 'pipe', 'inherit'] });
  const port = Number((await once(child.stdout, 'data'))[0]);
  child.kill('SIGSTOP');
  const fillers = Array.from({ length: 6 }, () => net.connect(port, '127.0.0.1').on('error', () => {}));
  t.after(() => {
    fillers.forEach((s) => s.destroy());
    child.kill('SIGKILL');
  });
  await wait(50);
  return port;
}
