// The stand-ins of the chain tests are held to what they stand for: the published SDK takes them for the network, and a
// broker's recorded verdicts on tokens are theirs.

import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';
import { Chain, ONE_0G, noChain, quietly, sdkBroker } from './chain.mjs';
import { ZeroGProvider, checkSessionToken } from './zerog-provider.mjs';

const skip = noChain();
const VERDICTS = new URL('../vectors/session_token.json', import.meta.url);

let chain;
before(async () => {
  if (!skip) chain = await Chain.start();
});
after(() => chain?.stop());

const post = (provider, body, headers) =>
  fetch(`${provider.origin}/v1/proxy/chat/completions`, { method: 'POST', body: JSON.stringify(body), headers: { 'Content-Type': 'application/json', ...headers } });

const CHAT = { model: 'fake-model', messages: [{ role: 'user', content: 'say hello' }] };

test('a token meets the verdict that a real broker gave, text by text', { skip: !existsSync(VERDICTS) && 'tests/vectors is not there' }, () => {
  const { broker_account: account, broker_verdicts: cases } = JSON.parse(readFileSync(VERDICTS));
  for (const c of cases) {
    const verdict = checkSessionToken(c.authorization, {
      provider: account.provider, nowMs: c.now_ms, account: { generation: account.generation, revokedBitmap: account.revoked_bitmap },
    });
    assert.equal(verdict.error ?? verdict.address, c.ok ? c.value : c.error, c.name);
  }
});

for (const generation of ['G2a', 'G2b']) {
  test(`the SDK pays, talks to and believes a stand-in of ${generation}`, { skip }, async (t) => {
    const user = chain.user(generation === 'G2a' ? 0 : 1);
    const provider = await ZeroGProvider.start({ chain, account: chain.providerAccount(generation === 'G2a' ? 0 : 1), generation });
    t.after(() => provider.stop());
    await chain.addLedger(user, 5);
    await chain.transferFund(user, provider.address, 2);
    const broker = await sdkBroker(chain, user);
    await quietly(async () => {
      const { endpoint, model } = await broker.inference.getServiceMetadata(provider.address);
      assert.equal(endpoint, `${provider.origin}/v1/proxy`);
      assert.equal(model, 'fake-model');
      for (const stream of [false, true]) {
        const headers = await broker.inference.getRequestHeaders(provider.address);
        const r = await post(provider, { ...CHAT, stream }, headers);
        assert.equal(r.status, 200, await r.clone().text());
        await r.text();
        const key = r.headers.get('zg-res-key');
        assert.equal(await broker.inference.processResponse(provider.address, key), true);
        provider.fault = { wrongSigner: true };
        const other = await post(provider, CHAT, headers);
        await other.text();
        assert.equal(await broker.inference.processResponse(provider.address, other.headers.get('zg-res-key')), false);
        provider.fault = {};
      }
    });
    assert.equal(provider.broken, undefined);
    assert.ok(provider.unsettled.get(user.address.toLowerCase()) > 0n);
  });
}

test('refusals come as 400 with the texts of each generation', { skip }, async (t) => {
  const user = chain.user(2);
  const provider = await ZeroGProvider.start({ chain, account: chain.providerAccount(2), generation: 'G2a', acknowledge: false });
  t.after(() => provider.stop());
  const broker = await sdkBroker(chain, user);
  await chain.addLedger(user, 5);
  // The SDK makes the token; it neither opens nor funds anything here.
  const { rawMessage, signature } = await broker.inference.requestProcessor.getOrCreateSession(provider.address);
  const headers = { Authorization: `Bearer app-sk-${Buffer.from(`${rawMessage}|${signature}`).toString('base64')}` };
  const error = async (h) => {
    const r = await post(provider, CHAT, h);
    assert.equal(r.status, 400);
    return (await r.json()).error;
  };
  assert.match(await error({}), /^Provider proxy: handle proxied service, validate session: missing or invalid Authorization header/);
  provider.generation = 'G2b';
  assert.match(await error({}), /^validate session: missing or invalid Authorization header/);
  assert.match(await error(headers), /^validate request: get account from contract, account not exist: /);
  await chain.transferFund(user, provider.address, 1);
  assert.match(await error(headers), /^validate request: service not acknowledge the tee signer$/);
  await chain.acknowledgeSigner(provider.address);
  provider.minReserve = 2n * ONE_0G;
  assert.match(await error(headers), /^validate request: insufficient balance: your locked balance is 1.0 0G, but the required minimum is 2.0 0G /);
});
