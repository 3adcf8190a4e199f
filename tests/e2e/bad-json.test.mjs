import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { ask, assertError, chat, chatRequest, RawClient, requestBytes, setup } from './harness.mjs';

const M = '"messages":[{"role":"user","content":"x"}]';

const BAD = {
  'nothing at all': '',
  'blanks only': ' \n',
  'no object': '[1]',
  'a string at the top': '"model"',
  'null': 'null',
  'cut off': `{"model":"m",${M}`,
  'a comma too many': `{"model":"m",${M},}`,
  'a comma missing': `{"model":"m" ${M}}`,
  'two documents': `{"model":"m",${M}}{}`,
  'text behind the document': `{"model":"m",${M}} x`,
  'single quotes': "{'model':'m'}",
  'a name without quotes': `{model:"m",${M}}`,
  'a comment': `{"model":"m",/* c */${M}}`,
  'NaN': `{"a":NaN,${M}}`,
  'a number with leading zero': `{"a":01,${M}}`,
  'a number with leading plus': `{"a":+1,${M}}`,
  'a number without digits behind the dot': `{"a":1.,${M}}`,
  'a bare minus': `{"a":-,${M}}`,
  'a bad escape': `{"a":"\\x41",${M}}`,
  'a short \\u escape': `{"a":"\\u12",${M}}`,
  'a raw control character in a string': `{"a":"\u0001",${M}}`,
  'a raw line end in a string': `{"a":"\n",${M}}`,
  'bytes that are no UTF-8': Buffer.concat([Buffer.from('{"a":"'), Buffer.of(0xff), Buffer.from(`",${M}}`)]),
  'an overlong UTF-8 form': Buffer.concat([Buffer.from('{"a":"'), Buffer.of(0xc0, 0xaf), Buffer.from(`",${M}}`)]),
  'a UTF-8 surrogate': Buffer.concat([Buffer.from('{"a":"'), Buffer.of(0xed, 0xa0, 0x80), Buffer.from(`",${M}}`)]),
  'a byte order mark': Buffer.concat([Buffer.of(0xef, 0xbb, 0xbf), Buffer.from(`{${M}}`)]),
  'a NUL': Buffer.from(`{"a":1,\0${M}}`),
  'more than 128 levels': `{"a":${'['.repeat(200)}${']'.repeat(200)},${M}}`,
  'a model that is a number': `{"model":1,${M}}`,
  'a model that is null': `{"model":null,${M}}`,
  'an empty model': `{"model":"",${M}}`,
  'a model of 257 bytes': `{"model":"${'m'.repeat(257)}",${M}}`,
  'a model with a control character': `{"model":"a\\u000ab",${M}}`,
  'a stream that is a string': `{"stream":"true",${M}}`,
  'a stream that is a number': `{"stream":1,${M}}`,
  'model twice': `{"model":"a","model":"a",${M}}`,
  'model twice, once in disguise': `{"model":"a","\\u006d\\u006Fdel":"b",${M}}`,
  'messages twice': `{"model":"a",${M},${M}}`,
  'stream twice': `{"stream":true,"stream":false,${M}}`,
  'stream_options twice': `{"stream":true,"stream_options":{},"stream_options":{},${M}}`,
};

test('a body that is no proper request is a 400 that says why, and reaches nobody', async (t) => {
  const { moon, providers } = await setup(t);
  for (const [what, body] of Object.entries(BAD)) {
    const r = await chat(moon, body);
    try {
      assertError(r, 400, { type: 'invalid_request_error' });
    } catch (error) {
      error.message = `${what}: ${error.message}`;
      throw error;
    }
    assert.ok(r.header('x-request-id'), what);
  }
  assert.equal(providers[0].calls.length, 0);
  assert.equal((await chat(moon)).status, 200);
});

test('messages that are missing, empty or no array are named', async (t) => {
  const { moon, providers } = await setup(t);
  for (const rest of ['', ',"messages":[]', ',"messages":null', ',"messages":{}', ',"messages":"hello"', ',"Messages":[1]'])
    assertError(await chat(moon, `{"model":"m"${rest}}`), 400, { message: 'Missing or invalid messages in request body' });
  assert.equal(providers[0].calls.length, 0);
});

test('the other routes need no messages, but proper JSON', async (t) => {
  const { moon, providers } = await setup(t);
  assert.equal((await ask(moon, { ...chatRequest('{"model":"m","input":"x"}'), path: '/v1/embeddings' })).status, 200);
  assertError(await ask(moon, { ...chatRequest('{"model":"m","input":"x"'), path: '/v1/embeddings' }), 400);
  assertError(await ask(moon, { ...chatRequest('{"model":"m","model":"n"}'), path: '/v1/responses' }), 400);
  assert.equal(providers[0].calls.length, 1);
});

test('the connection lives on after a bad body', async (t) => {
  const { moon } = await setup(t);
  const client = await RawClient.connect(moon.port);
  client.send(requestBytes(chatRequest('{"oops"')));
  assertError(await client.response(), 400);
  client.send(requestBytes(chatRequest()));
  assert.equal((await client.response()).status, 200);
  client.destroy();
});

test('a packed body is a 415 that says so, and reaches nobody', async (t) => {
  const { moon, providers } = await setup(t);
  const body = gzipSync(`{"model":"m",${M}}`);
  const r = await chat(moon, body, { 'Content-Encoding': 'gzip' });
  assertError(r, 415, { code: 'unsupported_content_encoding', type: 'invalid_request_error' });
  assert.equal(r.header('accept-encoding'), 'identity');
  const form = { method: 'POST', path: '/v1/audio/transcriptions', headers: { 'Content-Type': 'multipart/form-data; boundary=b', 'Content-Encoding': 'gzip' }, body };
  assertError(await ask(moon, form), 415);
  assert.equal(providers[0].calls.length, 0);
  assert.equal((await chat(moon, {}, { 'Content-Encoding': 'identity' })).status, 200);
});
