// Providers that are known by their address alone: what the contract says of them becomes endpoint, model and price,
// the wallet signs for them, and money moves only when that was allowed. Real contracts on a chain of the test's own.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Chain, ONE_0G, noChain } from './chain.mjs';
import { chat, chatRequest, ask, counters, eventually, events, health, startDaemon } from './harness.mjs';
import { ZeroGProvider } from './zerog-provider.mjs';

const skip = noChain();

let chain;
let nextProvider = 0;
let nextUser = 0;
before(async () => {
  if (!skip) chain = await Chain.start();
});
after(() => chain?.stop());

async function standIn(t, options = {}) {
  const provider = await ZeroGProvider.start({ chain, account: chain.providerAccount(nextProvider++), ...options });
  t.after(() => provider.stop());
  return provider;
}

const start = (t, user, config, options = {}) =>
  startDaemon(t, { rpc: chain.url, chainRefreshInterval: 1000, healthCheckInterval: 500, ...config }, {
    ...options, env: { ZG_PRIVATE_KEY: user.key, ...options.env },
  });

const providerOf = async (moon, provider) => (await health(moon)).loadBalancer.providers.find((p) => p.address === provider.address);
const admin = async (moon) => (await ask(moon, { path: '/admin/providers' })).json();
const ready = (moon, provider) => eventually(async () => (await providerOf(moon, provider))?.isHealthy, 15000, `${provider.address} ready`);

test('from an empty wallet account to a streamed chat: the ledger is opened, the sub-account funded, the token accepted', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  const moon = await start(t, user, { providers: [provider.address], autoFunding: { ledgerMin: 3, perProvider: 2, max: 10 } });
  await ready(moon, provider);
  const account = await chain.account(user, provider.address);
  assert.equal(account.balance, 2n * ONE_0G);
  assert.equal(account.acknowledged, true);
  const r = await chat(moon, { model: 'fake-model', stream: true });
  assert.equal(r.status, 200, r.text());
  assert.equal(r.header('x-provider-address'), provider.address);
  assert.equal(events(r.text()).at(-1), '[DONE]');
  assert.deepEqual(provider.users, [user.address]);
  assert.deepEqual(provider.refusals, []);
  await eventually(async () => (await admin(moon)).chain.funding.deposits === '5 0G', 15000, 'a full ledger');
  const { chain: status, providers } = await admin(moon);
  assert.equal(status.funding.transfers, '2 0G');
  assert.equal(status.funding.deposits, '5 0G');
  assert.equal(status.funding.moved, '5 0G');
  assert.equal(status.wallet, user.address);
  assert.equal(providers[0].chain.priceIn, '0.05');
  assert.equal(providers[0].chain.verifiable, true);
  assert.equal(status.funding.transactions, 3);
  await eventually(async () => (await chain.transactionCount(user.address)) === 3, 15000, 'three transactions');
  assert.equal((await chain.ledger(user)).availableBalance, 3n * ONE_0G);
});
