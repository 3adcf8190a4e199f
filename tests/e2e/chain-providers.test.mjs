// Providers that are known by their address alone: what the contract says of them becomes endpoint, model and price,
// the wallet signs for them, and money moves only when that was allowed. Real contracts on a chain of the test's own.

import assert from 'node:assert/strict';
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { Chain, ONE_0G, noChain, sdkCommand } from './chain.mjs';
import { IS_SANITIZED, ask, chat, chatRequest, eventually, events, health, runMoongate, startDaemon, temporaryFolder } from './harness.mjs';
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

test('without autoFunding nothing moves, and the reason names the option and the command', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  const moon = await start(t, user, { providers: [provider.address] });
  const { reason, isHealthy } = await eventually(async () => {
    const p = await providerOf(moon, provider);
    return /sub-account with it/.test(p.reason ?? '') && p;
  }, 15000, 'a reason');
  assert.equal(isHealthy, false);
  assert.match(reason, new RegExp(`^Failed to initialize provider ${provider.address}: wallet ${user.address} has no sub-account`));
  assert.match(reason, /autoFunding = \{ ledgerMin = 3/);
  assert.match(reason, /0g-compute-cli transfer-fund --service inference --provider 0x/);
  assert.equal((await chat(moon)).status, 503);
  assert.equal(await chain.transactionCount(user.address), 0);
  // Funded by other hands, it serves; no restart.
  await chain.addLedger(user, 3);
  await chain.transferFund(user, provider.address, 1);
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
});

test('a url, a price and a signer that change on chain are followed without a restart; running requests end where they began', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  await chain.addLedger(user, 3);
  await chain.transferFund(user, provider.address, 2);
  const moon = await start(t, user, { providers: [provider.address] });
  await ready(moon, provider);
  const elsewhere = await ZeroGProvider.start({ chain, account: provider.address, register: false });
  t.after(() => elsewhere.stop());
  const running = provider.manual();
  const answer = chat(moon);
  const call = await running;
  await chain.registerService(provider.address, { url: elsewhere.origin, inputPrice: 70_000_000_000n });
  await eventually(async () => (await providerOf(moon, provider)).endpoint === `${elsewhere.origin}/v1/proxy`, 15000, 'the new url');
  await provider.chat(call);
  assert.equal((await answer).status, 200, 'the one that was running');
  assert.equal((await chat(moon)).status, 200);
  assert.equal(elsewhere.users.length, 1);
  assert.equal((await admin(moon)).providers[0].chain.priceIn, '0.07');
  assert.ok(moon.logged(/as the contract says now/));

  // A rotated signer: out of service until the contract's owner has acknowledged it.
  await chain.registerService(provider.address, { signer: elsewhere.rotateKey() });
  await eventually(async () => /signer has not been acknowledged/.test((await providerOf(moon, provider)).reason ?? ''), 15000, 'the reason');
  assert.equal((await chat(moon)).status, 503);
  await chain.acknowledgeSigner(provider.address);
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
});

test('what cannot be used is listed with its reason, and the rest serves', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const good = await standIn(t);
  const unproved = await standIn(t, { service: { verifiability: '' } });
  const unacknowledged = await standIn(t, { acknowledge: false });
  await chain.addLedger(user, 9);
  for (const p of [good, unproved, unacknowledged]) await chain.transferFund(user, p.address, 2);
  const stranger = '0x1234567890123456789012345678901234567890';
  const moon = await start(t, user, { providers: [good.address, unproved.address, unacknowledged.address, stranger] });
  await ready(moon, good);
  const reasons = await eventually(async () => {
    const list = (await health(moon)).loadBalancer.providers;
    return list.slice(1).every((p) => p.reason && !/being read|has not been read/.test(p.reason)) && list.map((p) => p.reason);
  }, 15000, 'reasons');
  assert.match(reasons[1], /no verifiability in the contract\): set unverified = true/);
  assert.match(reasons[2], /its signer has not been acknowledged by the contract's owner/);
  assert.match(reasons[3], new RegExp(`^Failed to initialize provider ${stranger}: the contract 0x\\w+ has no service of that address`));
  assert.equal((await health(moon)).status, 'degraded');
  for (let i = 0; i < 6; i++) assert.equal((await chat(moon)).header('x-provider-address'), good.address);
});

test('the commands that a reason names mend it, run as they stand there', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  const moon = await start(t, user, { providers: [provider.address], chainRefreshInterval: 600000 });
  const folder = temporaryFolder(t);
  const reload = async () => assert.equal((await ask(moon, { method: 'POST', path: '/admin/reload' })).status, 200);
  const reason = (pattern) => eventually(async () => {
    const why = (await providerOf(moon, provider)).reason ?? '';
    return pattern.test(why) && why;
  }, 20000, `a reason like ${pattern}`);
  const commands = (why) => [...why.matchAll(/`(0g-compute-cli [^`]+)`/g)].map((m) => m[1]);

  const [transfer, open] = commands(await reason(/no sub-account with it/));
  await sdkCommand(chain, user, open, folder);
  await sdkCommand(chain, user, transfer, folder);
  await reload(); // asks the chain at once
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
  // Taken back, it is pending, and does not count.
  await chain.retrieveFund(user, provider.address);
  assert.match((await chat(moon)).text(), /The account at provider \w+ is exhausted/);
  assert.deepEqual(commands(await reason(/nothing left in its sub-account/)), [transfer, open]);
  await sdkCommand(chain, user, transfer, folder);
  await reload();
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
});

test('revoked tokens are renewed and the request goes once more, unseen by the client', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  await chain.addLedger(user, 3);
  await chain.transferFund(user, provider.address, 2);
  const moon = await start(t, user, { providers: [provider.address], maxRetries: 0, chainRefreshInterval: 600000 });
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
  await chain.revokeAllTokens(user, provider.address);
  const answers = await Promise.all(Array.from({ length: 5 }, () => chat(moon)));
  for (const r of answers) assert.equal(r.status, 200, r.text());
  assert.ok(provider.refusals.some((text) => /revoked \(generation expired\)/.test(text)));
  assert.equal(moon.countLogged(/refused the session token: it has a new one/), 1);
});

test('with every node dead for the rest of the run, chats and new tokens go on', { skip }, async (t) => {
  const own = await Chain.start(t);
  const user = own.user(0);
  const provider = await ZeroGProvider.start({ chain: own, account: own.providerAccount(0) });
  t.after(() => provider.stop());
  await own.addLedger(user, 3);
  await own.transferFund(user, provider.address, 2);
  const moon = await startDaemon(t, {
    rpc: ['http://127.0.0.1:1', own.url], providers: [provider.address], chainRefreshInterval: 300, tokenLifetime: 3000,
  }, { env: { ZG_PRIVATE_KEY: user.key } });
  await ready(moon, provider);
  // From here the stand-in must know by itself what the contract said.
  provider.accounts.set(user.address.toLowerCase(), { generation: 0, revokedBitmap: 0, acknowledged: true, balance: 2n * ONE_0G, pendingRefund: 0n });
  provider.chain = null;
  await own.stop();
  const first = (await admin(moon)).providers[0].chain.tokenExpires;
  assert.equal((await chat(moon)).status, 200);
  await eventually(async () => (await admin(moon)).chain.trouble, 20000, 'the trouble in /admin');
  await eventually(async () => (await admin(moon)).providers[0].chain.tokenExpires > first + 3000, 20000, 'a third token');
  const calls = (await admin(moon)).chain.calls;
  for (let i = 0; i < 5; i++) assert.equal((await chat(moon)).status, 200);
  assert.ok((await admin(moon)).chain.calls - calls < 5, 'no call to a node for a request');
  assert.deepEqual(provider.refusals, []);
  assert.equal((await providerOf(moon, provider)).isHealthy, true);
});

test('an unknown chain id says what to set; with the addresses it serves', { skip }, async (t) => {
  const own = await Chain.start(t, { chainId: 4242, atTable: false });
  const user = own.user(0);
  const provider = await ZeroGProvider.start({ chain: own, account: own.providerAccount(0) });
  t.after(() => provider.stop());
  const settings = { rpc: own.url, providers: [provider.address], autoFunding: true };
  const lost = await startDaemon(t, settings, { env: { ZG_PRIVATE_KEY: user.key } });
  const { reason } = await eventually(async () => {
    const p = await providerOf(lost, provider);
    return /chain id/.test(p.reason ?? '') && p;
  }, 15000, 'a reason');
  assert.match(reason, /chain id 4242 is not known: set contracts = \{ ledger/);
  assert.equal((await health(lost)).chain.chainId, 4242);
  await lost.stop();
  assert.equal(await own.transactionCount(user.address), 0);
  const moon = await startDaemon(t, { ...settings, contracts: own.contracts, healthCheckInterval: 500 }, { env: { ZG_PRIVATE_KEY: user.key } });
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
});

test('max is never passed: three empty sub-accounts, money for two', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const providers = [await standIn(t), await standIn(t), await standIn(t)];
  const before = await chain.balance(user.address);
  const moon = await start(t, user, { providers: providers.map((p) => p.address), autoFunding: { ledgerMin: 0, perProvider: 2, max: '4.5' } });
  await eventually(async () => (await health(moon)).loadBalancer.healthyProviders === 2, 20000, 'two that are funded');
  const poor = await eventually(async () => (await health(moon)).loadBalancer.providers.find((p) => /autoFunding.max/.test(p.reason ?? '')), 15000, 'a reason');
  assert.match(poor.reason, /2 0G more would be needed, and 4(\.\d+)? 0G of autoFunding.max = 4.5 0G have moved/);
  const { funding } = (await admin(moon)).chain;
  assert.ok(parseFloat(funding.moved) <= 4.5, funding.moved);
  for (let i = 0; i < 20; i++) assert.equal((await chat(moon)).status, 200);
  const spent = before - (await chain.balance(user.address));
  assert.ok(spent <= (ONE_0G * 46n) / 10n, `${spent} neuron left the wallet`);
  const ledger = await chain.ledger(user);
  assert.ok(ledger.totalBalance <= (ONE_0G * 45n) / 10n);
});

// How often each of `wanted` is in a process's memory; null: it may not be read (nobody but root can).
function memoryOf(pid, wanted) {
  let fd;
  try {
    fd = openSync(`/proc/${pid}/mem`, 'r');
  } catch {
    return null;
  }
  const counts = wanted.map(() => 0);
  for (const line of readFileSync(`/proc/${pid}/maps`, 'latin1').split('\n')) {
    const m = /^([0-9a-f]+)-([0-9a-f]+) r/.exec(line);
    if (!m || /\[v/.test(line)) continue;
    const from = Number(`0x${m[1]}`);
    const bytes = Buffer.alloc(Number(`0x${m[2]}`) - from);
    try {
      readSync(fd, bytes, 0, bytes.length, from);
    } catch {
      continue;
    }
    wanted.forEach((w, i) => {
      for (let at = bytes.indexOf(w); at >= 0; at = bytes.indexOf(w, at + 1)) counts[i]++;
    });
  }
  closeSync(fd);
  return counts;
}

test('the private key is in no log, answer, argument or environment of the process', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  const digits = user.key.slice(2);
  const moon = await start(t, user, {
    providers: [provider.address], autoFunding: true,
  }, { args: ['--log-level', 'debug'], env: { ANOTHER_NAME: digits.toUpperCase() } });
  await ready(moon, provider);
  await chat(moon);
  const seen = [moon.stderr, moon.stdout];
  for (const path of ['/health', '/admin/providers', '/admin/strategy', '/v1/models']) seen.push((await ask(moon, { path })).text());
  const shown = (file) => {
    try {
      return readFileSync(file, 'latin1');
    } catch (error) {
      assert.match(error.code, /EACCES|EPERM/); // not even readable
      return '';
    }
  };
  for (const name of ['cmdline', 'environ']) seen.push(shown(`/proc/${moon.pid}/${name}`));
  for (const text of seen) assert.ok(!text.toLowerCase().includes(digits), text.slice(0, 300));
  for (const header of provider.calls.map((c) => c.header('authorization'))) assert.ok(!moon.stderr.includes(header.slice(7)));
  assert.match(readFileSync(`/proc/${moon.pid}/limits`, 'latin1'), /Max core file size +0 +0/);
  // In memory it is where it is used, and once more for the next process; no copy is left in a heap or on a stack.
  const copies = IS_SANITIZED ? null : memoryOf(moon.pid, [Buffer.from(digits, 'hex'), Buffer.from(digits)]);
  if (copies) assert.deepEqual(copies, [1, 1]);
  // Reloads and a program that takes over find it all the same.
  assert.equal((await ask(moon, { method: 'POST', path: '/admin/reload' })).status, 200);
  assert.equal((await chat(moon)).status, 200);
  moon.signal('SIGUSR2');
  const [, next] = await eventually(() => /process (\d+) serves now/.exec(moon.stderr), 20000, 'the new process');
  t.after(() => process.kill(Number(next), 'SIGTERM'));
  await moon.waitReplaced();
  await ready(moon, provider);
  assert.equal((await chat(moon)).status, 200);
  assert.ok(!shown(`/proc/${next}/environ`).toLowerCase().includes(digits));
});

test('discover finds what fits, with its price; one that comes later is found, too', { skip }, async (t) => {
  const own = await Chain.start(t);
  const user = own.user(0);
  const make = async (i, service, options) => {
    const p = await ZeroGProvider.start({ chain: own, account: own.providerAccount(i), service, ...options });
    t.after(() => p.stop());
    return p;
  };
  const cheap = await make(0, { inputPrice: 10_000_000_000n });
  await make(1, { inputPrice: 900_000_000_000n });
  await make(2, { verifiability: '' });
  await make(3, { serviceType: 'text-to-image' });
  await own.addLedger(user, 9);
  await own.transferFund(user, cheap.address, 2);
  const moon = await startDaemon(t, `return { host = "127.0.0.1", port = 0, workers = 1, rpc = "${own.url}", chainRefreshInterval = 500,
    healthCheckInterval = 500, strategy = "cheapest", providers = discover{ maxPriceIn = 0.1 } }`, { env: { ZG_PRIVATE_KEY: user.key } });
  await ready(moon, cheap);
  assert.equal((await health(moon)).loadBalancer.totalProviders, 1);
  assert.equal((await chat(moon)).header('x-provider-address'), cheap.address);
  const cheaper = await make(4, { inputPrice: 1_000_000_000n, outputPrice: 1n });
  await own.transferFund(user, cheaper.address, 2);
  await ready(moon, cheaper);
  for (let i = 0; i < 4; i++) assert.equal((await chat(moon)).header('x-provider-address'), cheaper.address, 'the cheapest one');
});

test('a strategy sees prices, balance, runway, the token and what was proved', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t);
  await chain.addLedger(user, 3);
  await chain.transferFund(user, provider.address, 2);
  const file = path.join(temporaryFolder(t), 'watch.lua');
  writeFileSync(file, `return { abi = 1, select = function(state, req, pool)
    local p = pool[1]
    lb.log("info", ("saw %.0f %.0f %.0f %.0f %.0f %s %d %d"):format(p.price_in, p.price_out, p.balance / 1e9, p.runway_s, p.token_expires_s, tostring(p.verifiable), p.verify_ok, p.verify_fail))
    return 1
  end }`);
  const moon = await start(t, user, { providers: [provider.address], strategy: file, tokenLifetime: 3600_000, verifyAnswers: 'all' });
  await ready(moon, provider);
  const saw = () => [...moon.stderr.matchAll(/saw (.*)$/gm)].at(-1)[1].split(' ').map((x) => ({ true: true, inf: Infinity })[x] ?? Number(x));
  assert.equal((await chat(moon)).status, 200);
  const [priceIn, priceOut, balance, runway, expires, verifiable, ok, failed] = saw();
  assert.deepEqual([priceIn, priceOut, verifiable, ok, failed], [5e10, 1e11, true, 0, 0]);
  assert.ok(balance > 1.9e9 && balance <= 2e9, `balance ${balance}`);
  assert.ok(runway === Infinity || runway > 1e6, `runway ${runway}`);
  assert.ok(expires > 3000 && expires <= 3600, `token ${expires}`);
  await eventually(async () => (await admin(moon)).providers[0].verifyOk === 1, 10000, 'a proof');
  provider.fault = { alterBody: true };
  assert.equal((await chat(moon)).status, 200);
  await eventually(async () => (await admin(moon)).providers[0].verifyFail === 1, 10000, 'a refutation');
  assert.equal((await chat(moon)).status, 200);
  const later = saw();
  assert.deepEqual(later.slice(6), [1, 1]);
  await eventually(() => chat(moon).then(() => saw()[3] < Infinity), 20000, 'a runway');
});

test('the commands: a list with filters, and a token that a provider takes', { skip }, async (t) => {
  const user = chain.user(nextUser++);
  const provider = await standIn(t, { model: 'listed-model' });
  const env = { ZG_PRIVATE_KEY: user.key };
  const list = await runMoongate(['providers', '--rpc', chain.url, '--model', 'listed-model'], { env });
  assert.equal(list.code, 0, list.stderr);
  assert.match(list.stdout, new RegExp(provider.address));
  const json = JSON.parse((await runMoongate(['providers', '--rpc', chain.url, '--json', '--verifiable', '--max-price-in', '0.05'], { env })).stdout);
  const entry = json.find((p) => p.address === provider.address);
  assert.deepEqual([entry.inputPrice, entry.model, entry.url, entry.verifiable], ['50000000000', 'listed-model', provider.origin, true]);
  assert.ok(!(await runMoongate(['providers', '--rpc', chain.url, '--max-price-in', '0.0499'], { env })).stdout.includes(provider.address));
  const painter = await standIn(t, { model: 'painter', service: { serviceType: 'text-to-image', inputPrice: 3_000_000_000_000_000n } });
  const images = async (most) => (await runMoongate(['providers', '--rpc', chain.url, '--type', 'text-to-image', '--max-price-in', most], { env })).stdout;
  assert.match(await images('0.003'), new RegExp(`${painter.address}  text-to-image .* 0\\.003/image +- +painter`), 'images are paid one by one');
  assert.doesNotMatch(await images('0.0029'), /painter/);

  const none = await runMoongate(['token', provider.address, '--rpc', chain.url], { env });
  assert.equal(none.code, 0);
  assert.match(none.stderr, /no sub-account/);
  await chain.addLedger(user, 3);
  await chain.transferFund(user, provider.address, 2);
  await chain.revokeAllTokens(user, provider.address);
  const token = await runMoongate(['token', provider.address, '--rpc', chain.url, '--duration', '60'], { env });
  assert.equal(token.code, 0, token.stderr);
  assert.match(token.stdout, /^app-sk-[A-Za-z0-9+/=]+\n$/);
  const r = await fetch(`${provider.origin}/v1/proxy/chat/completions`, {
    method: 'POST', body: chatRequest().body, headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${token.stdout.trim()}` },
  });
  assert.equal(r.status, 200, await r.text());

  const dead = await runMoongate(['token', provider.address, '--rpc', 'http://127.0.0.1:1'], { env });
  assert.deepEqual([dead.code, dead.stdout], [1, '']);
  assert.match(dead.stderr, /no node answers/);
  assert.equal((await runMoongate(['token', provider.address, '--rpc', chain.url], { env: { ZG_PRIVATE_KEY: '' } })).code, 1);
  assert.equal((await runMoongate(['providers'], { env: { RPC_ENDPOINT: '', ZG_RPC_ENDPOINT: '' } })).code, 1);
  assert.equal((await runMoongate(['token', 'nobody', '--rpc', chain.url], { env })).code, 2);
});
