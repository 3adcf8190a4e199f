import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { chat, CHAT, RawClient, setup } from './harness.mjs';

const H = 'Host: localhost\r\n';
const BODY = '{"messages":[1]}';
const post = (fields, body = '') => `POST ${CHAT} HTTP/1.1\r\n${H}Content-Type: application/json\r\n${fields}\r\n${body}`;
const L = `Content-Length: ${BODY.length}\r\n`;
const CHUNKED = `${BODY.length.toString(16)}\r\n${BODY}\r\n0\r\n\r\n`;

// [what, bytes, the statuses that are right]
const HEADS = [
  ['Content-Length twice, different', post(`${L}Content-Length: 3\r\n`, BODY), [400]],
  ['Content-Length twice, equal', post(L + L, BODY), [400]],
  ['a list of lengths', post(`Content-Length: ${BODY.length}, ${BODY.length}\r\n`, BODY), [400]],
  ['a signed length', post(`Content-Length: +${BODY.length}\r\n`, BODY), [400]],
  ['a negative length', post('Content-Length: -1\r\n'), [400]],
  ['an empty length', post('Content-Length:\r\n'), [400]],
  ['a hexadecimal length', post('Content-Length: 0x10\r\n', BODY), [400]],
  ['a length beyond all numbers', post(`Content-Length: ${'9'.repeat(30)}\r\n`), [400, 413]],
  ['both framings', post(`${L}Transfer-Encoding: chunked\r\n`, CHUNKED), [400]],
  ['both framings, the other way round', post(`Transfer-Encoding: chunked\r\n${L}`, CHUNKED), [400]],
  ['chunked twice', post('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n', CHUNKED), [400, 501]],
  ['chunked, chunked', post('Transfer-Encoding: chunked, chunked\r\n', CHUNKED), [400, 501]],
  ['gzip, chunked', post('Transfer-Encoding: gzip, chunked\r\n', CHUNKED), [400, 501]],
  ['identity', post(`Transfer-Encoding: identity\r\n`, BODY), [400, 501]],
  ['xchunked', post('Transfer-Encoding: xchunked\r\n', CHUNKED), [400, 501]],
  ['chunked with a parameter', post('Transfer-Encoding: chunked;q=1\r\n', CHUNKED), [400, 501]],
  ['chunked in quotes', post('Transfer-Encoding: "chunked"\r\n', CHUNKED), [400, 501]],
  ['an empty transfer coding', post('Transfer-Encoding:\r\n', CHUNKED), [400, 501]],
  ['a vertical tab before chunked', post('Transfer-Encoding: \x0bchunked\r\n', CHUNKED), [400, 501]],
  ['chunked in HTTP/1.0', post('Transfer-Encoding: chunked\r\n', CHUNKED).replace('HTTP/1.1', 'HTTP/1.0'), [400]],
  ['a blank before the colon', post(`Content-Length : ${BODY.length}\r\n`, BODY), [400]],
  ['a tab before the colon', post(`Transfer-Encoding\t: chunked\r\n`, CHUNKED), [400]],
  ['a folded field', post(`X-A: a\r\n b\r\n${L}`, BODY), [400]],
  ['a folded first field', `GET /health HTTP/1.1\r\n X: y\r\n${H}\r\n`, [400]],
  ['a line without a colon', post(`Nonsense\r\n${L}`, BODY), [400]],
  ['a field without a name', post(`: a\r\n${L}`, BODY), [400]],
  ['a name with a blank', post(`X A: a\r\n${L}`, BODY), [400]],
  ['a name with a raw byte', post(`X-\xe9: a\r\n${L}`, BODY), [400]],
  ['a name with a bracket', post(`X(a): a\r\n${L}`, BODY), [400]],
  ['a NUL in a value', post(`X-A: a\0b\r\n${L}`, BODY), [400]],
  ['a control byte in a value', post(`X-A: a\x01b\r\n${L}`, BODY), [400]],
  ['a DEL in a value', post(`X-A: a\x7fb\r\n${L}`, BODY), [400]],
  ['a bare CR in a value', post(`X-A: a\rb\r\n${L}`, BODY), [400]],
  ['a bare LF behind a field', `GET /health HTTP/1.1\r\n${H}X-A: a\nX-B: b\r\n\r\n`, [400]],
  ['a bare LF behind the request line', `GET /health HTTP/1.1\n${H}\r\n`, [400]],
  ['bare LFs only', `GET /health HTTP/1.1\nHost: localhost\n\n`, [400]],
  ['no Host', `GET /health HTTP/1.1\r\n\r\n`, [400]],
  ['two Hosts', `GET /health HTTP/1.1\r\n${H}${H}\r\n`, [400]],
  ['two Hosts in HTTP/1.0', `GET /health HTTP/1.0\r\n${H}Host: other\r\n\r\n`, [400]],
  ['an empty Host', `GET /health HTTP/1.1\r\nHost:\r\n\r\n`, [400]],
  ['a Host with a path', `GET /health HTTP/1.1\r\nHost: a/b\r\n\r\n`, [400]],
  ['a Host with a blank', `GET /health HTTP/1.1\r\nHost: a b\r\n\r\n`, [400]],
  ['a Host with a user', `GET /health HTTP/1.1\r\nHost: u@a\r\n\r\n`, [400]],
  ['a Host list', `GET /health HTTP/1.1\r\nHost: a, b\r\n\r\n`, [400]],
  ['a Host with a bad port', `GET /health HTTP/1.1\r\nHost: a:99999\r\n\r\n`, [400]],
  ['an absolute target for another Host', `GET http://other/health HTTP/1.1\r\n${H}\r\n`, [400]],
  ['two blanks in the request line', `GET  /health HTTP/1.1\r\n${H}\r\n`, [400]],
  ['a tab in the request line', `GET\t/health HTTP/1.1\r\n${H}\r\n`, [400]],
  ['a blank before the method', ` GET /health HTTP/1.1\r\n${H}\r\n`, [400]],
  ['a blank behind the version', `GET /health HTTP/1.1 \r\n${H}\r\n`, [400]],
  ['a fragment in the target', `GET /health#x HTTP/1.1\r\n${H}\r\n`, [400]],
  ['raw bytes in the target', `GET /h\xe9alth HTTP/1.1\r\n${H}\r\n`, [400]],
  ['a control byte in the target', `GET /h\x01 HTTP/1.1\r\n${H}\r\n`, [400]],
  ['a target without a slash', `GET health HTTP/1.1\r\n${H}\r\n`, [400]],
  ['* for GET', `GET * HTTP/1.1\r\n${H}\r\n`, [400]],
  ['CONNECT', `CONNECT localhost:1 HTTP/1.1\r\n${H}\r\n`, [400, 405, 501]],
  ['TRACE', `TRACE / HTTP/1.1\r\n${H}\r\n`, [400, 405, 501]],
  ['a method in lower case', `get /health HTTP/1.1\r\n${H}\r\n`, [400, 405, 501]],
  ['a method that is no token', `G@T /health HTTP/1.1\r\n${H}\r\n`, [400, 501]],
  ['HTTP/0.9', `GET /health\r\n\r\n`, [400, 505]],
  ['HTTP/1.2', `GET /health HTTP/1.2\r\n${H}\r\n`, [400, 505]],
  ['HTTP/2.0', `GET /health HTTP/2.0\r\n${H}\r\n`, [400, 505]],
  ['http in lower case', `GET /health http/1.1\r\n${H}\r\n`, [400, 505]],
  ['HTTP/01.1', `GET /health HTTP/01.1\r\n${H}\r\n`, [400, 505]],
  ['the HTTP/2 preface', 'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', [400, 405, 501, 505]],
  ['a TLS hello', Buffer.from('16030100a5010000a10303', 'hex'), [400]],
  ['plain nonsense', 'hello\r\n\r\n', [400, 405, 501, 505]],
  ['an unknown expectation', post(`Expect: miracles\r\n${L}`, BODY), [417]],
  ['a chunk size of letters', post('Transfer-Encoding: chunked\r\n', 'zz\r\nabc\r\n0\r\n\r\n'), [400]],
  ['a chunk size with a sign', post('Transfer-Encoding: chunked\r\n', `+${CHUNKED}`), [400]],
  ['a chunk size with 0x', post('Transfer-Encoding: chunked\r\n', `0x${CHUNKED}`), [400]],
  ['a chunk size of nine digits', post('Transfer-Encoding: chunked\r\n', `00000000${CHUNKED}`), [400, 413]],
  ['an empty chunk size', post('Transfer-Encoding: chunked\r\n', '\r\nabc\r\n0\r\n\r\n'), [400]],
  ['a bare LF behind a chunk size', post('Transfer-Encoding: chunked\r\n', CHUNKED.replace('\r\n', '\n')), [400]],
  ['a chunk longer than its size', post('Transfer-Encoding: chunked\r\n', '3\r\nabcd\r\n0\r\n\r\n'), [400]],
  ['a blank before a chunk size', post('Transfer-Encoding: chunked\r\n', ` ${CHUNKED}`), [400]],
  ['a chunk extension over 256 bytes', post('Transfer-Encoding: chunked\r\n', `1;${'e'.repeat(300)}\r\na\r\n0\r\n\r\n`), [400]],
  ['a bare CR in a chunk extension', post('Transfer-Encoding: chunked\r\n', `1;a\rb\r\na\r\n0\r\n\r\n`), [400]],
  ['a trailer that is no field', post('Transfer-Encoding: chunked\r\n', `${CHUNKED.slice(0, -2)}nonsense\r\n\r\n`), [400]],
  ['trailers without bound', post('Transfer-Encoding: chunked\r\n', `${CHUNKED.slice(0, -2)}${'X-T: tttttttttttttttttttt\r\n'.repeat(4000)}\r\n`), [400, 431]],
];

// What follows a hostile request on the same connection must never be taken for a request.
const SMUGGLED = `GET /health?smuggled HTTP/1.1\r\n${H}\r\n`;

describe('hostile heads', () => {
  let moon, providers;
  const cleanups = [];
  before(async () => ({ moon, providers } = await setup({ after: (f) => cleanups.push(f) })));
  after(async () => {
    for (const f of cleanups) await f();
  });

  for (const [what, bytes, statuses] of HEADS) {
    test(`refused, and the connection closed: ${what}`, async () => {
      const client = await RawClient.connect(moon.port);
      client.send(Buffer.concat([Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes, 'latin1'), Buffer.from(SMUGGLED)]));
      const r = await client.response();
      assert.ok(statuses.includes(r.status), `status ${r.status}: ${r.text()}`);
      assert.equal(typeof r.json().error.message, 'string');
      await client.waitClosed();
      assert.equal(client.bytes.length, 0, `something followed the refusal: ${client.bytes.toString('latin1')}`);
      assert.equal(providers[0].calls.length, 0);
    });
  }

  test('none of it has disturbed anybody', async () => {
    assert.equal((await chat(moon)).status, 200);
    assert.equal(providers[0].calls.length, 1);
  });
});
