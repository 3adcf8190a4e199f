import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { chat, RawClient, setup } from './harness.mjs';
import { ACCEPTED, H, REFUSED } from './hostile-inputs.mjs';

// What follows a hostile request on the same connection must never be taken for a request.
const SMUGGLED = `GET /health?smuggled HTTP/1.1\r\n${H}\r\n`;

describe('hostile heads', () => {
  let moon, providers;
  const cleanups = [];
  before(async () => ({ moon, providers } = await setup({ after: (f) => cleanups.push(f) })));
  after(async () => {
    for (const f of cleanups) await f();
  });

  for (const [what, bytes, statuses] of REFUSED) {
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

  for (const [what, bytes] of ACCEPTED) {
    test(`answered: ${what}`, async () => {
      const client = await RawClient.connect(moon.port);
      client.send(Buffer.from(bytes, 'latin1'));
      let r = await client.response({ method: bytes.startsWith('HEAD') ? 'HEAD' : 'GET' });
      if (r.status === 100) r = await client.response();
      assert.equal(r.status, 200, r.text());
      client.destroy();
    });
  }
});
