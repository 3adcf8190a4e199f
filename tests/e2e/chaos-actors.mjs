// Who takes part in the chaos: providers that fail in every way, clients that behave in every way, and what each client
// may see of it.

import http from 'node:http';
import net from 'node:net';
import { act, chatAnswer } from './fake-provider.mjs';
import { CHAT, RawClient, requestBytes, sleep } from './harness.mjs';

// One small generator per actor: what one does cannot depend on how fast another is.
export function dice(seed, n) {
  let state = (Math.imul(seed, 2654435761) ^ Math.imul(n + 1, 40503)) >>> 0 || 1;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
  return {
    random,
    below: (n2) => Math.floor(random() * n2),
    pick: (list) => list[Math.floor(random() * list.length)],
    weighted(list) {
      let at = random() * list.reduce((sum, [weight]) => sum + weight, 0);
      for (const [weight, value] of list) if ((at -= weight) < 0) return value;
      return list[0][1];
    },
  };
}

// ---- providers ----

const idOf = (call) => call.request.header('x-request-id');
// Whose answer this is can be read in it.
const mark = (id) => `<${id}>`;
const answers = (pieces = ['hel', 'lo'], headers = {}) => (call) => act.ok({ content: [mark(idOf(call)), ...pieces], headers })(call);

const flood = (call) => {
  for (let i = 0; i < 40; i++) call.raw('HTTP/1.1 102 Processing\r\n\r\n');
  act.ok()(call);
};
const endlessHead = (call) => {
  call.raw('HTTP/1.1 200 OK\r\n');
  for (let i = 0; i < 90; i++) call.raw(`X-Filler-${i}: ${'x'.repeat(1000)}\r\n`);
};
const drip = async (call) => {
  const body = JSON.stringify(chatAnswer(call, mark(idOf(call))));
  for (const byte of Buffer.from(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`)) {
    call.raw(Buffer.of(byte));
    await sleep(0);
  }
  call.end();
};
// One whole answer, and bytes that nobody asked for behind it.
const andMore = (call) => {
  const body = JSON.stringify(chatAnswer(call, mark(idOf(call))));
  call.raw(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}HTTP/1.1 200 OK\r\n\r\n`).end();
};
const untilClose = (call) => {
  call.raw(`HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n${JSON.stringify(chatAnswer(call, mark(idOf(call))))}`).close();
};
const whole = (type, body, more = '') => act.raw(`HTTP/1.1 200 OK\r\nContent-Type: ${type}\r\n${more}Content-Length: ${body.length}\r\n\r\n${body}`);

export const BEHAVIOURS = [
  [60, answers()], [10, act.slow(20, answers())], [5, answers(Array(40).fill('piece '))], [2, drip], [2, answers([], { Connection: 'close' })],
  [2, act.status(500)], [2, act.status(503)], [0.5, act.status(429)], [0.1, act.status(429, undefined, { 'Retry-After': '1' })], [2, act.status(400)],
  [0.3, act.status(401)], [2, act.reset()], [2, act.close()], [1, act.resetInHead()], [1, act.resetAfterHead()], [1, act.resetMidBody()],
  [1, act.truncatedLength()], [2, act.truncatedStream(2)], [1, act.garbage()], [1, act.silent()], [1, act.silentAfterHead()],
  [1, flood], [1, endlessHead], [1, act.redirect('http://127.0.0.1:1/')], [1, andMore], [1, untilClose],
  [1, act.raw('HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello', 'close')],
  [1, act.raw('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n', 'close')],
  [1, whole('text/html', '<html>')], [1, whole('application/json', '{"id":"ha')], [1, whole('application/json', '{"error":{"message":"m"}}')],
  [1, whole('application/json', '\x1f\x8b', 'Content-Encoding: gzip\r\n')],
  [1, (call) => call.respond(200, Buffer.alloc(300000, 0x78), { 'Content-Type': 'application/octet-stream' })],
];

// ---- clients ----

const NONSENSE = ['GET / HTTP/9.9\r\n\r\n', '\x16\x03\x01\x02\x00', 'G', '\r\n\r\n\r\n\r\n', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n',
  `POST ${CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n{]`, `POST ${CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n`,
  `POST ${CHAT} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\nGET /health HTTP/1.1\r\nHost: x\r\n\r\n`,
  `POST ${CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999999999\r\n\r\n`];

export function talkNonsense(port, d) {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(d.pick(NONSENSE)));
    const timer = setTimeout(() => socket.destroy(), 200);
    socket.on('error', () => {});
    socket.on('close', () => {
      clearTimeout(timer);
      resolve('nonsense');
    });
    socket.resume();
  });
}

// What is wrong with a whole answer: '' when it is the one to `id`.
function wrongAnswer(id, status, header, text) {
  if (header('x-request-id') !== id) return `the answer to ${header('x-request-id')} came for ${id}`;
  if (status >= 400) return /"error":\s*\{/.test(text) || /fault/.test(text) ? '' : `no error of ours, ${status}: ${text.slice(0, 200)}`;
  if (!text.includes('chatcmpl-') || text.includes('"object":"list"')) return '';
  if (!text.includes(mark(id))) return `another's answer came for ${id}: ${text.slice(0, 200)}`;
  const isStream = (header('content-type') ?? '').startsWith('text/event-stream');
  const ends = text.split('data: [DONE]').length - 1;
  return isStream && (ends !== 1 || !text.endsWith('data: [DONE]\n\n')) ? `a whole stream with ${ends} ends: ${text.slice(-100)}` : '';
}

// How one request ended: 'ok'; 'error', one of ours or a provider's, whole; 'broken', after it had begun; 'left', by the
// client; anything else is a broken promise: 'lost' (no answer), or an answer that is another request's.
export function request(agent, port, { path = CHAT, method = 'POST', body, id, leaveAfterMs, pauseMs, pieces = 1, onAnswer }) {
  return new Promise((resolve) => {
    const headers = { 'X-Request-Id': id };
    if (body !== undefined) Object.assign(headers, { 'Content-Type': 'application/json' }, pieces === 1 && { 'Content-Length': Buffer.byteLength(body) });
    let timer;
    let hasLeft = false;
    const end = (how) => {
      clearTimeout(timer);
      resolve(how);
    };
    const req = http.request({ agent, port, host: '127.0.0.1', path, method, headers }, (res) => {
      let text = '';
      res.on('data', (chunk) => {
        text += chunk;
        if (!pauseMs) return;
        res.pause();
        setTimeout(() => res.resume(), pauseMs);
        pauseMs = 0;
      });
      res.on('error', () => end(hasLeft ? 'left' : 'broken'));
      res.on('end', () => {
        if (!res.complete) return end(hasLeft ? 'left' : 'broken');
        const wrong = path === '/health' ? '' : wrongAnswer(id, res.statusCode, (name) => res.headers[name], text);
        if (wrong) return end(wrong);
        onAnswer?.(res.statusCode, text);
        return end(res.statusCode < 400 ? 'ok' : 'error');
      });
    });
    req.on('error', (e) => end(hasLeft ? 'left' : `lost: ${e.message}`));
    if (leaveAfterMs !== undefined) {
      timer = setTimeout(() => {
        hasLeft = true;
        req.destroy();
      }, leaveAfterMs);
    }
    if (pieces === 1) req.end(body);
    else upload(req, body, pieces);
  });
}

// In chunks, with time between them.
async function upload(req, body, pieces) {
  const size = Math.ceil(body.length / pieces);
  for (let at = 0; at < body.length && !req.destroyed; at += size) {
    req.write(body.slice(at, at + size));
    await sleep(3);
  }
  req.end();
}

const rawChat = (id, body, headers = {}) =>
  requestBytes({ method: 'POST', path: CHAT, headers: { 'Content-Type': 'application/json', 'X-Request-Id': id, ...headers }, body });

// Several requests at once over one connection: answered in their order, or not at all behind one that broke off.
export async function pipeline(port, ids, bodies) {
  const client = await RawClient.connect(port).catch((e) => e);
  if (client instanceof Error) return `lost: ${client.message}`;
  try {
    client.send(Buffer.concat(ids.map((id, i) => rawChat(id, bodies[i]))));
    for (const id of ids) {
      const r = await client.response({ ms: 20000 });
      if (!r.complete) return 'broken';
      const wrong = wrongAnswer(id, r.status, r.header, r.text());
      if (wrong) return wrong;
      if (/close/.test(r.header('connection') ?? '')) return 'ok';
    }
    return 'ok';
  } catch (e) {
    return /ended without an answer/.test(e.message) && client.bytes.length === 0 && ids.length > 1 ? 'broken' : `lost: ${e.message}`;
  } finally {
    client.destroy();
  }
}

// The body is sent once it is asked for.
export async function expectContinue(port, id, body) {
  const client = await RawClient.connect(port).catch((e) => e);
  if (client instanceof Error) return `lost: ${client.message}`;
  try {
    const bytes = rawChat(id, body, { Expect: '100-continue' });
    const at = bytes.indexOf('\r\n\r\n') + 4;
    client.send(bytes.subarray(0, at >> 1)).send(bytes.subarray(at >> 1, at));
    let r = await client.response();
    if (r.status !== 100) return wrongAnswer(id, r.status, r.header, r.text()) || 'error';
    client.send(bytes.subarray(at));
    r = await client.response({ ms: 20000 });
    if (!r.complete) return 'broken';
    return wrongAnswer(id, r.status, r.header, r.text()) || (r.status < 400 ? 'ok' : 'error');
  } catch (e) {
    return /ended without an answer/.test(e.message) && client.bytes.length ? 'broken' : `lost: ${e.message}`;
  } finally {
    client.destroy();
  }
}

// Nothing more is sent behind the request: an answer, a break or an orderly end.
export async function halfClose(port, id, body) {
  const client = await RawClient.connect(port, { allowHalfOpen: true }).catch((e) => e);
  if (client instanceof Error) return `lost: ${client.message}`;
  client.send(rawChat(id, body));
  client.socket.end();
  const how = await client.response().then(() => 'left', (e) => (/ended without an answer/.test(e.message) ? 'left' : `lost: ${e.message}`));
  client.destroy();
  return how;
}
