// Money is never moved twice, and never more of it than autoFunding.max, whatever nodes do: lose answers, fall behind,
// contradict each other or lie; whatever happens to the process meanwhile. The chain is a real one with the real
// contracts; the nodes between are scripted (rpc-node.mjs).

import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { Chain, ONE_0G, noChain } from './chain.mjs';
import { IS_SANITIZED, ask, chat, childrenOf, endBehind, eventually, health, sleep, startDaemon, toLua } from './harness.mjs';
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

const SECONDS = Number(process.env.MOONGATE_MONEY_SECONDS ?? 15);
const FUNDING = { ledgerMin: 3, perProvider: 2, max: 10 };
const admin = async (moon) => (await ask(moon, { path: '/admin/providers' })).json();
const isReady = async (moon) => (await health(moon)).status === 'healthy';
const blocked = async (moon) => (await admin(moon)).chain.funding.blocked;

async function standIn(t, own = chain, options = {}) {
  const account = own === chain ? chain.providerAccount(nextProvider++) : own.providerAccount(own.used = (own.used ?? -1) + 1);
  const provider = await ZeroGProvider.start({ chain: own, account, ...options });
  t.after(() => provider.stop());
  return provider;
}

const settings = (nodes, providers, more) => ({
  rpc: nodes.map((n) => n.url), providers: providers.map((p) => p.address), chainRefreshInterval: 1000, healthCheckInterval: 300, autoFunding: FUNDING, ...more,
});

function start(t, user, nodes, providers, more = {}, options = {}) {
  return startDaemon(t, settings(nodes, providers, more), { ...options, env: { ZG_PRIVATE_KEY: user.key, ...options.env } });
}

function change(moon, nodes, providers, more = {}) {
  const text = toLua({ host: '127.0.0.1', port: 0, workers: 2, ...settings(nodes, providers, more) });
  writeFileSync(moon.file, `return ${text}\n`);
}

async function reload(moon, ...config) {
  change(moon, ...config);
  const r = await ask(moon, { method: 'POST', path: '/admin/reload', ms: 20000 });
  assert.equal(r.status, 200, r.text());
}

// What the chain says has moved: 0G from the wallet into the ledger, and on to the provider.
async function moved(own, user, providers) {
  const ledger = await own.ledger(user);
  const balances = await Promise.all(providers.map(async (p) => (await own.account(user, p.address))?.balance ?? 0n));
  return { ledger: ledger?.totalBalance ?? 0n, accounts: balances, transfers: balances.reduce((a, b) => a + b, 0n) };
}

// One deposit, one transfer, and what keeps the ledger at its least; nothing of it twice.
async function assertOnce(own, user, providers) {
  const { ledger, accounts } = await moved(own, user, providers);
  for (const balance of accounts) assert.equal(balance, 2n * ONE_0G);
  assert.ok(ledger <= 3n * ONE_0G + 2n * ONE_0G * BigInt(providers.length), `${ledger} in the ledger`);
}

const isTransfer = (tx) => tx.data.startsWith('0x2ba43b82');
// A fault for transactions that fit; the others go through.
const only = (fits, f) => async (call, node) => (fits(node.sent.at(-1)) ? f(call, node) : call.forward());

describe('money', { concurrency: IS_SANITIZED ? 2 : 4 }, () => {
  test('an answer to a sent transaction is lost, and the nodes are changed meanwhile: it is found, and not sent anew', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const provider = await standIn(t);
    const [a, b] = [await RpcNode.start(t, chain), await RpcNode.start(t, chain)];
    a.faults.eth_sendRawTransaction = only(isTransfer, fault.silenceAfter);
    a.faults.eth_getTransactionReceipt = only(isTransfer, fault.silence);
    const moon = await start(t, user, [a], [provider]);
    await eventually(() => a.sent.some(isTransfer), 20000, 'the transfer');
    await reload(moon, [b], [provider]);
    await eventually(() => isReady(moon), 20000, 'a funded provider');
    await sleep(2500);
    await assertOnce(chain, user, [provider]);
    assert.deepEqual(b.sent.filter(isTransfer).map((tx) => tx.hash).filter((h) => h !== a.sent.find(isTransfer).hash), []);
    assert.equal((await chat(moon)).status, 200);
  });

  test('a node that is behind takes over from one that has the transaction', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const provider = await standIn(t);
    const [a, b] = [await RpcNode.start(t, chain), await RpcNode.start(t, chain)];
    b.behind = 3; // for ever three blocks in the past
    // The first one dies with the transfer in its hands.
    a.faults.eth_sendRawTransaction = only(isTransfer, async (call, node) => {
      await call.forward();
      node.faults['*'] = fault.reset;
      return 'reset';
    });
    const moon = await start(t, user, [a, b], [provider]);
    await eventually(() => a.faults['*'], 20000, 'the end of the first node');
    await sleep(4000);
    // It sees neither the transfer nor its block; whatever it makes of that is void.
    for (const tx of b.sent.filter(isTransfer)) assert.equal(tx.nonce, a.sent.find(isTransfer).nonce);
    b.behind = 0;
    await eventually(() => isReady(moon), 30000, 'a funded provider');
    await assertOnce(chain, user, [provider]);
  });

  test('two nodes that contradict each other, in turns', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const providers = [await standIn(t), await standIn(t)];
    const [a, b] = [await RpcNode.start(t, chain), await RpcNode.start(t, chain)];
    b.behind = 2;
    let turn = 0;
    for (const node of [a, b]) node.faults['*'] = async (call) => ((turn++ % 7 === 3) ? 'reset' : call.forward());
    const moon = await start(t, user, [a, b], providers);
    await eventually(() => isReady(moon), 60000, 'funded providers');
    await assertOnce(chain, user, providers);
  });

  for (const [what, message] of [
    ['calls the nonce used', 'nonce too low'], ['says that the money does not suffice', 'insufficient funds for gas * price + value'],
    ['has an internal error', 'timed out'], ['calls it underpriced', 'transaction underpriced'],
  ]) {
    test(`a node that takes a transaction and ${what}: it is counted, and not made twice`, { skip }, async (t) => {
      const user = chain.user(nextUser++);
      const provider = await standIn(t);
      const node = await RpcNode.start(t, chain);
      node.faults.eth_sendRawTransaction = fault.errorAfter(message);
      const moon = await start(t, user, [node], [provider], {}, { args: ['--log-level', 'debug'] });
      await eventually(() => isReady(moon), 90000, 'a funded provider');
      await assertOnce(chain, user, [provider]);
      const { funding } = (await admin(moon)).chain;
      assert.ok(parseFloat(funding.moved) <= 10, funding.moved);
      assert.equal(parseFloat(funding.transfers), 2);
    });
  }

  test('a node that lies in everything cannot make more move than max', { skip }, async (t) => {
    const own = await Chain.start(t);
    const user = own.user(0);
    const provider = await standIn(t, own);
    const node = await RpcNode.start(t, own);
    const ACCOUNT = '0xfd590847';
    const notThere = async (call) => (call.params[0].data?.startsWith(ACCOUNT) ? { error: { code: 3, message: 'execution reverted', data: `0x08ca03ac${'00'.repeat(64)}` } } : call.forward());
    // The account is never there; each transaction is undone, or refused, or its nonce used; the next nonce is the true one.
    node.faults.eth_call = notThere;
    let n = 0;
    node.faults.eth_getTransactionReceipt = async (call) => {
      const { result } = await call.forward();
      return { result: result && { ...result, status: '0x0' } };
    };
    node.faults.eth_sendRawTransaction = async (call) => {
      const answer = await call.forward();
      return [answer, { error: { code: -32000, message: 'nonce too low' } }, { error: { code: -32000, message: 'insufficient funds' } }][n++ % 3];
    };
    const moon = await start(t, user, [node], [provider], { autoFunding: { ledgerMin: 0, perProvider: 2, max: 3 } });
    await eventually(async () => /autoFunding.max = 3 0G/.test((await blocked(moon)) ?? ''), 90000, 'the limit');
    const { ledger } = await moved(own, user, [provider]);
    assert.ok(ledger <= 3n * ONE_0G, `${ledger} neuron are in the ledger`);
    assert.ok(node.sent.length >= 2);
    const nonces = new Map();
    for (const tx of node.sent) nonces.set(tx.nonce, [...(nonces.get(tx.nonce) ?? []), tx.value].sort((a, b) => Number(b - a)));
    const worst = [...nonces.values()].reduce((sum, [most]) => sum + most, 0n);
    assert.ok(worst <= 3n * ONE_0G, `${worst} neuron were signed away`);
  });

  test('a transaction that the contract undoes counts all the same, and the next one is looked at anew', { skip }, async (t) => {
    const own = await Chain.start(t);
    const user = own.user(0);
    const provider = await standIn(t, own);
    await own.addLedger(user, 3);
    const node = await RpcNode.start(t, own);
    node.next('eth_estimateGas', fault.answer({ result: '0x7530' })); // far too little
    const moon = await start(t, user, [node], [provider], { autoFunding: { ledgerMin: 0, perProvider: 2, max: 20 } });
    await eventually(() => moon.logged(/reverted: the contract undid it/), 20000, 'the revert');
    await eventually(() => isReady(moon), 90000, 'a funded provider');
    const { funding } = (await admin(moon)).chain;
    assert.equal(parseFloat(funding.transfers), 4, 'one that was undone, one that was not');
    assert.equal((await moved(own, user, [provider])).transfers, 2n * ONE_0G);
  });

  test('a transaction that no block takes is replaced under its nonce, and one of the versions is executed', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const provider = await standIn(t);
    const node = await RpcNode.start(t, chain);
    const held = [];
    // The pool holds what it gets, and the last version is the one that a block takes.
    node.faults.eth_sendRawTransaction = only(isTransfer, async (call, n) => {
      held.push(n.sent.at(-1));
      if (held.length < 3) return held.length === 1 ? { result: held[0].hash } : { error: { code: -32000, message: 'replacement transaction underpriced' } };
      return call.forward();
    });
    const moon = await start(t, user, [node], [provider]);
    await eventually(() => isReady(moon), 90000, 'a funded provider');
    assert.equal(new Set(held.map((tx) => tx.nonce)).size, 1);
    assert.ok(held.length >= 3 && held[2].price > held[0].price, held.map((tx) => tx.price).join(' '));
    await assertOnce(chain, user, [provider]);
  });

  test('autoFunding that is switched off in the middle neither signs nor sends again', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const provider = await standIn(t);
    const node = await RpcNode.start(t, chain);
    node.faults.eth_sendRawTransaction = fault.reset; // nobody gets it
    const moon = await start(t, user, [node], [provider]);
    await eventually(() => node.sent.length >= 2, 20000, 'the same bytes again');
    assert.equal(new Set(node.sent.map((tx) => tx.hash)).size, 1);
    await reload(moon, [node], [provider], { autoFunding: false });
    const n = node.sent.length;
    await sleep(4000);
    assert.equal(node.sent.length, n);
    assert.equal(await chain.transactionCount(user.address), 0);
  });

  test("another program's transaction of the same wallet is waited for, and not replaced", { skip }, async (t) => {
    const own = await Chain.start(t);
    const user = own.user(0);
    const provider = await standIn(t, own);
    await own.addLedger(user, 4);
    await own.rpc('evm_setAutomine', [false]);
    const other = await own.rpc('eth_sendTransaction', [{ from: user.address, to: own.owner, value: '0x1', gas: '0x5208' }]);
    const node = await RpcNode.start(t, own);
    const moon = await start(t, user, [node], [provider]);
    await eventually(async () => /nonce 1 is under way already: that is waited for/.test((await blocked(moon)) ?? ''), 60000, 'the reason');
    assert.equal(node.sent.length, 0);
    await own.rpc('evm_setAutomine', [true]);
    await own.rpc('evm_mine');
    await eventually(() => isReady(moon), 60000, 'a funded provider');
    assert.equal((await own.rpc('eth_getTransactionReceipt', [other])).status, '0x1');
    assert.equal((await moved(own, user, [provider])).transfers, 2n * ONE_0G);
  });

  test('an upgrade with a transaction under way: the wallet goes over, the transaction is not made again, the count goes on', { skip }, async (t) => {
    const own = await Chain.start(t);
    const user = own.user(0);
    const provider = await standIn(t, own);
    const node = await RpcNode.start(t, own);
    const more = { timeouts: { drain: 1000 } };
    const moon = await start(t, user, [node], [provider], more);
    await eventually(() => isReady(moon), 30000, 'a funded provider');
    const before = (await admin(moon)).chain.funding;
    // A second provider, and blocks that do not come.
    const second = await standIn(t, own);
    await eventually(async () => (await own.transactionCount(user.address)) === 3, 20000, 'a full ledger');
    await own.rpc('evm_setAutomine', [false]);
    await reload(moon, [node], [provider, second], more);
    const transfers = () => node.sent.filter(isTransfer).length;
    await eventually(() => transfers() >= 2, 20000, 'the second transfer');
    let pid;
    endBehind(t, () => pid);
    moon.signal('SIGUSR2');
    pid = await eventually(() => Number(/process (\d+) serves now/.exec(moon.stderr)?.[1]), 30000, 'the new process');
    await moon.waitReplaced(30000);
    await sleep(3000);
    const { wallet, funding } = (await admin(moon)).chain;
    assert.equal(wallet, user.address, 'the key went over');
    assert.equal(transfers(), 2, 'nothing is sent beside it');
    assert.equal(parseFloat(funding.transfers), parseFloat(before.transfers) + 2);
    await own.rpc('evm_setAutomine', [true]);
    await own.rpc('evm_mine');
    await eventually(() => isReady(moon), 60000, 'both funded');
    await assertOnce(own, user, [provider, second]);
    assert.equal(parseFloat((await admin(moon)).chain.funding.transfers), 4);
    assert.ok(!readFileSync(`/proc/${pid}/environ`, 'latin1').toLowerCase().includes(user.key.slice(2)));
  });

  test('a supervisor starts a crashed process again: it pays, within what the one before has left of max; no environment shows the key', { skip }, async (t) => {
    const own = await Chain.start(t);
    const user = own.user(0);
    const provider = await standIn(t, own);
    const node = await RpcNode.start(t, own);
    const rules = { ledgerMin: 0, perProvider: 2, max: 4 };
    const moon = await start(t, user, [node], [provider], { autoFunding: rules }, { args: ['--supervise'] });
    await eventually(() => isReady(moon), 30000, 'a funded provider');
    const [child] = childrenOf(moon.pid);
    const transfers = (await admin(moon)).chain.funding.transfers;
    assert.equal(parseFloat(transfers), 2);
    for (const pid of [moon.pid, child]) assert.ok(!readFileSync(`/proc/${pid}/environ`, 'latin1').toLowerCase().includes(user.key.slice(2)), `environ of ${pid}`);
    process.kill(child, 'SIGKILL');
    const next = await eventually(() => childrenOf(moon.pid).find((pid) => pid !== child), 20000, 'a new process');
    await eventually(() => isReady(moon), 30000, 'the new process');
    assert.equal((await chat(moon)).status, 200);
    const { wallet, funding } = (await admin(moon)).chain;
    assert.equal(wallet, user.address);
    assert.equal(parseFloat(funding.transfers), 2, 'the count goes on');
    // Two more are needed for another provider, and then two more that max does not allow.
    const second = await standIn(t, own);
    const third = await standIn(t, own);
    await reload(moon, [node], [provider, second, third], { autoFunding: rules });
    await eventually(async () => /autoFunding.max = 4 0G/.test((await blocked(moon)) ?? ''), 30000, 'the limit');
    const all = await moved(own, user, [provider, second, third]);
    assert.equal(all.transfers, 4n * ONE_0G);
    assert.ok(all.ledger <= 4n * ONE_0G);
    assert.ok(!readFileSync(`/proc/${next}/environ`, 'latin1').toLowerCase().includes(user.key.slice(2)));
  });

  test('what a provider claims to be owed pulls no more than twice its share into its account', { skip }, async (t) => {
    const user = chain.user(nextUser++);
    const provider = await standIn(t);
    const node = await RpcNode.start(t, chain);
    provider.unsettled.set(user.address.toLowerCase(), 10n ** 30n);
    const moon = await start(t, user, [node], [provider], { autoFunding: { ledgerMin: 3, perProvider: 2, max: 100 } });
    await eventually(async () => {
      const p = (await health(moon)).loadBalancer.providers[0];
      return /by its word 1000000000000 0G are owed to it/.test(p.reason ?? '');
    }, 60000, 'the reason');
    await sleep(3000);
    assert.ok((await moved(chain, user, [provider])).transfers <= 4n * ONE_0G);
  });

  test(`${SECONDS} s of nodes that lose answers, refuse what they take, fall behind and hang, and of reloads between them`, { skip }, async (t) => {
    const own = await Chain.start(t);
    const user = own.user(0);
    const providers = [await standIn(t, own), await standIn(t, own), await standIn(t, own)];
    const nodes = [await RpcNode.start(t, own), await RpcNode.start(t, own), await RpcNode.start(t, own)];
    const seed = Number(process.env.MOONGATE_MONEY_SEED ?? Math.floor(Math.random() * 1e6));
    t.diagnostic(`seed ${seed}`);
    let state = seed >>> 0;
    const dice = (n) => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return Math.floor((state / 2 ** 32) * n);
    };
    const wild = [
      fault.loseAnswer, fault.reset, fault.silenceAfter, fault.silence, fault.slow(300), fault.status(503), fault.status(429), fault.status(200, 'nonsense'), fault.huge(5_000_000),
      fault.error('nonce too low'), fault.errorAfter('nonce too low'), fault.errorAfter('insufficient funds'), fault.errorAfter('already known'), fault.error('replacement transaction underpriced'),
      fault.errorAfter('internal error', -32603), fault.error('limit exceeded', -32005), fault.answer({ result: '0x1' }), fault.answer({ result: null }), fault.answer({ result: {} }),
    ];
    const isOver = { value: false };
    for (const node of nodes)
      node.faults['*'] = async (call, n) => {
        const share = call.method === 'eth_sendRawTransaction' ? 15 : 65;
        return isOver.value || dice(100) < share ? call.forward() : wild[dice(wild.length)](call, n);
      };
    const moon = await start(t, user, nodes, providers, { autoFunding: { ledgerMin: 3, perProvider: 2, max: 20 } });
    const end = Date.now() + SECONDS * 1000;
    while (Date.now() < end) {
      await sleep(300 + dice(1200));
      for (const node of nodes) node.behind = dice(3) ? 0 : dice(4);
      const some = nodes.filter(() => dice(2));
      if (dice(3) === 0) await reload(moon, some.length ? some : [nodes[0]], providers, { autoFunding: { ledgerMin: 3, perProvider: 2, max: 20 + dice(2) } });
    }
    isOver.value = true;
    for (const node of nodes) node.behind = 0;
    await reload(moon, nodes, providers, { autoFunding: { ledgerMin: 3, perProvider: 2, max: 20 } });
    await eventually(() => isReady(moon), 120000, 'funded providers').catch((error) => assert.fail(`${error.message}; ${moon.stderr.slice(-3000)}`));
    await assertOnce(own, user, providers);
    const { funding } = (await admin(moon)).chain;
    assert.ok(parseFloat(funding.moved) <= 21, funding.moved);
    t.diagnostic(`${nodes.reduce((n, node) => n + node.calls.length, 0)} calls, ${nodes.reduce((n, node) => n + node.sent.length, 0)} sendings, counted ${funding.moved}`);
  });
});
