// What strangers write into the contract, and what nodes do, other than moving money (money.test.mjs): records of all
// kinds, addresses that lead into private networks, nodes that hang or change their chain, ten thousand services, clocks
// that are wrong.

import assert from 'node:assert/strict';
import dns from 'node:dns/promises';
import os from 'node:os';
import { after, before, describe, test } from 'node:test';
import { Chain, additionalInfo, loadEthers, noChain } from './chain.mjs';
import { IS_SANITIZED, SLOW, ask, chat, counters, eventually, health, sleep, startDaemon } from './harness.mjs';
import { RpcNode, fault } from './rpc-node.mjs';
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

// Registered, with nobody behind the url.
async function record(service) {
  const address = chain.providerAccount(nextProvider++);
  await chain.registerService(address, service);
  await chain.acknowledgeSigner(address);
  return address;
}

async function funded(providers, amount = 2) {
  const user = chain.user(nextUser++);
  await chain.addLedger(user, 3 + amount * providers.length);
  for (const p of providers) await chain.transferFund(user, p.address ?? p, amount);
  return user;
}

const start = (t, user, config, options = {}) =>
  startDaemon(t, { rpc: chain.url, chainRefreshInterval: 1000, healthCheckInterval: 500, ...config }, { ...options, env: { ZG_PRIVATE_KEY: user.key, ...options.env } });
const list = async (moon) => (await health(moon)).loadBalancer.providers;
const reasonOf = async (moon, address) => (await list(moon)).find((p) => p.address === address)?.reason ?? '';

describe('hostile', { concurrency: IS_SANITIZED ? 2 : 4 }, () => {
  test('records with all kinds of urls, prices and texts: what cannot be used says why, and the rest serves', { skip }, async (t) => {
    const good = await standIn(t);
    const free = await standIn(t, { service: { inputPrice: 0n, outputPrice: 0n }, model: 'free' });
    const dear = await standIn(t, { service: { inputPrice: 2n ** 256n - 1n, outputPrice: 2n ** 256n - 1n }, model: 'dear' });
    const bad = [];
    for (const url of ['', 'ftp://example.com', 'provider.example', 'http://user:pw@example.com', 'http://', 'http://a b', 'http://x/\r\nX: y', 'javascript:1', `http://${'a'.repeat(3000)}`, 'http://[::1', 'http://x:99999'])
      bad.push([url, await record({ url })]);
    const odd = await record({ url: good.origin, model: 'm\u0000\n"量子', additionalInfo: '{"a":'.repeat(300) });
    const all = [good, free, dear, odd, ...bad.map(([, address]) => address)];
    const user = await funded(all, 1.2);
    const moon = await start(t, user, { providers: all.map((p) => p.address ?? p), strategy: 'cheapest' });
    for (const p of [good, free, dear]) await eventually(async () => (await list(moon)).find((x) => x.address === p.address).isHealthy, 20000, `${p.model} ready`);
    for (const [url, address] of bad) await eventually(async () => /its url in the contract cannot be used/.test(await reasonOf(moon, address)), 10000, JSON.stringify(url));
    for (const p of [good, free, dear]) assert.equal((await chat(moon, { model: p.model })).status, 200);
    for (const path of ['/health', '/admin/providers', '/metrics', '/v1/models']) {
      const r = await ask(moon, { path });
      assert.ok([200, 503].includes(r.status));
      if (path !== '/metrics') r.json(); // JSON has no infinity
    }
    const { chain: free_, ...rest } = await counters(moon, free.address);
    assert.equal(free_.priceIn, '0');
    assert.ok(rest);
    assert.equal((await counters(moon, dear.address)).chain.priceIn, '115792089237316195423570985008687907853269984665640564039457.584007913129639935');
  });

  test('what the contract names is not reached in a private network, by number or by name, unless that is allowed', { skip }, async (t) => {
    const near = await standIn(t);
    const own = await dns.lookup(os.hostname()).catch(() => null);
    const isNear = own && /^(127\.|10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|169\.254\.|::1$|f[cd])/.test(own.address);
    const urls = ['http://127.0.0.1:1', 'http://localhost:1', 'http://169.254.169.254', 'http://[::1]:1', 'http://[::ffff:10.0.0.1]', 'http://192.168.7.7', 'http://0.0.0.0:1', 'http://[fd00:ec2::254]'];
    const named = isNear ? await record({ url: `http://${os.hostname()}:${near.port ?? new URL(near.origin).port}` }) : null;
    const records = [];
    for (const url of urls) records.push([url, await record({ url })]);
    const all = [near.address, ...records.map(([, a]) => a), ...(named ? [named] : [])];
    const user = await funded(all, 1.2);
    const moon = await start(t, user, { providers: all, allowPrivateProviders: false });
    for (const [url, address] of [[near.origin, near.address], ...records])
      await eventually(async () => (await reasonOf(moon, address)).includes('leads into a private network'), 15000, url);
    assert.match(await reasonOf(moon, near.address), /set allowPrivateProviders = true/);
    if (named) await eventually(async () => /its name leads into a private network/.test(await reasonOf(moon, named)), 15000, 'a name');
    assert.equal(near.probes, 0, 'nobody was asked');
    assert.ok([502, 503].includes((await chat(moon)).status));
    // With a node of one's own the chain is taken for one's own.
    const usual = await start(t, user, { providers: [near.address] });
    await eventually(async () => (await list(usual))[0].isHealthy, 15000, 'a provider nearby');
  });

  test('a node that moves to another chain is left alone: nothing is forgotten, and the next one is asked', { skip }, async (t) => {
    const provider = await standIn(t);
    const user = await funded([provider]);
    const [a, b] = [await RpcNode.start(t, chain), await RpcNode.start(t, chain)];
    const moon = await start(t, user, { rpc: [a.url, b.url], providers: [provider.address], chainRefreshInterval: 500 });
    await eventually(async () => (await list(moon))[0].isHealthy, 15000, 'ready');
    const elsewhere = { eth_chainId: { result: '0x1' }, eth_call: { result: '0x' }, eth_blockNumber: { result: '0x1' }, eth_getTransactionCount: { result: '0x0' }, eth_getBalance: { result: '0x0' } };
    a.faults['*'] = async (call) => elsewhere[call.method];
    const seen = b.calls.length;
    await eventually(() => b.calls.length > seen + 6, 20000, 'the second node');
    b.faults['*'] = a.faults['*'];
    await eventually(async () => /it is on chain 1, not on 16602/.test((await health(moon)).chain?.trouble ?? JSON.stringify((await ask(moon, { path: '/admin/providers' })).json().chain)), 20000, 'the trouble');
    await sleep(2500);
    for (let i = 0; i < 5; i++) assert.equal((await chat(moon)).status, 200);
    assert.equal((await list(moon))[0].isHealthy, true);
    assert.equal(moon.countLogged(/has no service of that address/), 0);
  });

  test('nodes that hang, send nonsense, too much, or nothing in time hold up no chat and not the next node', { skip }, async (t) => {
    const provider = await standIn(t);
    const user = await funded([provider]);
    for (const [what, f] of [['silence', fault.silence], ['nonsense', fault.status(200, '{"jsonrpc":"2.0","id":1,"result"')], ['too much', fault.huge(9_000_000)], ['429', fault.status(429)], ['a redirect', fault.status(302)], ['another id', fault.answer({ id: 7, result: '0x1' })]]) {
      const [a, b] = [await RpcNode.start(t, chain), await RpcNode.start(t, chain)];
      a.faults['*'] = f;
      const moon = await start(t, user, { rpc: [a.url, b.url], providers: [provider.address] });
      await eventually(async () => (await list(moon))[0].isHealthy, 40000, what);
      assert.equal((await chat(moon)).status, 200);
      await moon.stop();
    }
  });

  test('ten thousand services are read page by page, what fits is found, and nothing stands still meanwhile', { skip }, async (t) => {
    const N = 10_000;
    const provider = await standIn(t, { model: 'wanted-model' });
    const user = await funded([provider]);
    const abi = chain.abi.inference;
    const { url } = chain.services.get(provider.address);
    const service = (i) => [
      i === 7321 ? provider.address : loadEthers().getAddress(`0x${(i + 1).toString(16).padStart(40, 'a')}`), 'chatbot', i === 7321 ? url : `https://p${i}.example`, BigInt(i) * 10n ** 9n, 1n, 1_700_000_000n,
      i === 7321 ? 'wanted-model' : `model-${i}`, 'TeeML', additionalInfo(), i === 7321 ? provider.tee.address : provider.address, true,
    ];
    const node = await RpcNode.start(t, chain);
    let pages = 0;
    node.faults.eth_call = async (call) => {
      const { data } = call.params[0];
      if (!data.startsWith('0xa09cfca9')) return call.forward();
      const [offset, limit] = abi.decodeFunctionData('getAllServices', data);
      pages++;
      const page = Array.from({ length: Math.min(Number(limit), N - Number(offset)) }, (_, i) => service(Number(offset) + i));
      return { result: abi.encodeFunctionResult('getAllServices', [page, BigInt(N)]) };
    };
    const moon = await startDaemon(t, `return { host = "127.0.0.1", port = 0, workers = 1, rpc = "${node.url}", chainRefreshInterval = 2000, healthCheckInterval = 500,
      providers = discover{ model = "wanted-model" } }`, { env: { ZG_PRIVATE_KEY: user.key } });
    await eventually(async () => (await list(moon))[0]?.isHealthy, 60000, 'the wanted one');
    assert.equal((await list(moon)).length, 1);
    assert.ok(pages >= 200, `${pages} pages`);
    // The second reading goes on under the eyes of a watch: control answers, and so do chats.
    const before = pages;
    let worst = 0;
    const began = Date.now();
    while (pages < before + 200 && Date.now() - began < 40000 * SLOW) {
      const at = performance.now();
      assert.equal((await ask(moon, { method: 'POST', path: '/admin/providers/nobody/enable' })).status, 404);
      assert.equal((await ask(moon, { path: '/health' })).status, 200);
      worst = Math.max(worst, performance.now() - at);
      await sleep(5);
    }
    t.diagnostic(`worst answer ${worst.toFixed(0)} ms, resident ${(moon.residentBytes() / 2 ** 20).toFixed(0)} MiB, processor ${moon.processorMs()} ms`);
    if (!IS_SANITIZED) assert.ok(moon.residentBytes() < 80 * 2 ** 20);
    assert.equal((await chat(moon, { model: 'wanted-model' })).status, 200);
  });

  test('discover{} that finds nothing serves nobody, and says so', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const moon = await startDaemon(t, `return { host = "127.0.0.1", port = 0, rpc = "${chain.url}", chainRefreshInterval = 500, providers = discover{ model = "no such model" } }`, { env: { ZG_PRIVATE_KEY: user.key } });
    const h = await health(moon);
    assert.equal(h.status, 'unhealthy');
    assert.equal(h.loadBalancer.totalProviders, 0);
    const r = await chat(moon);
    assert.equal(r.status, 503, r.text());
    assert.ok(moon.logged(/discover\{\} finds none of the \d+ services of the contract/), moon.stderr);
    assert.match(h.chain.trouble, /finds none of the/);
    assert.equal(r.json().error.code, 'no_available_provider');
  });

  test("a provider whose clock is days ahead: the reason names the clocks", { skip }, async (t) => {
    const provider = await standIn(t, { clockMs: 30 * 3600 * 1000 });
    const user = await funded([provider]);
    const moon = await start(t, user, { providers: [provider.address] });
    await eventually(async () => (await list(moon))[0].isHealthy, 15000, 'ready');
    const r = await chat(moon);
    assert.equal(r.status, 502, r.text());
    assert.match((await counters(moon, provider.address)).reason, /clock/);
  });
});
