// A chain of its own for a test: anvil on a free loopback port, with the real contracts of the 0G Compute Network
// behind proxies. The contracts' code comes out of the published SDK, the accounts are anvil's, which sign for
// themselves (eth_sendTransaction).
//
//   const chain = await Chain.start(t);                 // t: stopped behind the test; without: by chain.stop()
//   const user = chain.user(0);                         // { address, key } with plenty of money, no ledger yet
//   const account = chain.providerAccount(0);           // an address that may register a service
//   await chain.registerService(account, { url, model, signer });
//   await chain.acknowledgeSigner(account);             // by the contracts' owner
//   await chain.addLedger(user, 3);
//   await chain.transferFund(user, account, 1);
//
// Amounts given as numbers or texts are in 0G, bigint is neuron. Amounts that come back are neuron (bigint).

import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const HERE = path.dirname(fileURLToPath(import.meta.url));
const MODULES = path.join(HERE, 'node_modules');
const require = createRequire(import.meta.url);
const SDK = path.join(MODULES, '@0gfoundation/0g-compute-ts-sdk');

// Where the contracts of a known chain id live (the SDK's own table).
export const CONTRACTS_OF = {
  16661: { ledger: '0x2dE54c845Cd948B72D2e32e39586fe89607074E3', inference: '0x47340d900bdFec2BD393c626E12ea0656F938d84' },
  16602: { ledger: '0xE70830508dAc0A97e6c087c75f402f9Be669E406', inference: '0xa79F4c8311FF93C06b8CfB403690cc987c93F91E' },
};
export const ONE_0G = 10n ** 18n;
const MNEMONIC = 'test test test test test test test test test test test junk';
const N_ACCOUNTS = 64;
const ACCOUNT_OWNER = 0;
const ACCOUNT_PROVIDERS = 1;
const ACCOUNT_USERS = 32;

// MOONGATE_ANVIL, else the npm package's program.
function anvilPath() {
  if (process.env.MOONGATE_ANVIL) return process.env.MOONGATE_ANVIL;
  const isAmd64Linux = process.platform === 'linux' && process.arch === 'x64';
  return isAmd64Linux ? path.join(MODULES, '@foundry-rs/anvil-linux-amd64/bin/anvil') : null;
}

// Why there can be no chain here (for a test's `skip`), or false.
export function noChain() {
  const anvil = anvilPath();
  if (!anvil) return `there is no anvil for ${process.platform} ${process.arch}; MOONGATE_ANVIL may name one`;
  if (!existsSync(anvil)) return `${anvil} is missing; run npm ci in tests/e2e`;
  if (!existsSync(SDK)) return 'the package @0gfoundation/0g-compute-ts-sdk is missing; run npm ci in tests/e2e';
  return false;
}

export const loadEthers = () => require('ethers');
export const loadSdk = () => require('@0gfoundation/0g-compute-ts-sdk');

// Runs what calls the SDK: it prints its thoughts, and leaves the timers of its receipts behind, which keep a process
// alive for five minutes.
export async function quietly(act) {
  const { log, warn, error } = console;
  const { setTimeout: set } = globalThis;
  console.log = console.warn = console.error = () => {};
  globalThis.setTimeout = (f, ms, ...args) => (ms < 60000 || ms === undefined ? set(f, ms, ...args) : set(f, ms, ...args).unref());
  try {
    return await act();
  } finally {
    Object.assign(console, { log, warn, error });
    globalThis.setTimeout = set;
  }
}

// The published SDK as a user of the chain.
export function sdkBroker(chain, user) {
  const ethers = loadEthers();
  const wallet = new ethers.Wallet(user.key, new ethers.JsonRpcProvider(chain.url, undefined, { cacheTimeout: -1 }));
  const { ledger, inference } = chain.contracts;
  return quietly(() => loadSdk().createZGComputeNetworkBroker(wallet, ledger, inference));
}

// One command of the SDK's command line, as a person types it: "0g-compute-cli add-account --amount 5".
export async function sdkCommand(chain, user, command, folder) {
  const [name, ...args] = command.split(' ');
  if (name !== '0g-compute-cli') throw new Error(`not a command of the SDK: ${command}`);
  mkdirSync(path.join(folder, '.0g-compute-cli'), { recursive: true });
  writeFileSync(path.join(folder, '.0g-compute-cli/config.json'), JSON.stringify({ rpcEndpoint: chain.url, network: 'testnet', privateKey: user.key }));
  const child = spawn(process.execPath, [path.join(SDK, 'cli.commonjs/cli/index.js'), ...args], {
    env: { PATH: process.env.PATH, HOME: folder, NO_UPDATE_NOTIFIER: '1', CI: '1', NO_PROXY: '*' }, stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.on('data', (b) => (output += b));
  child.stderr.on('data', (b) => (output += b));
  const clock = setTimeout(() => child.kill('SIGKILL'), 120000);
  const code = await new Promise((resolve, reject) => child.once('error', reject).once('close', resolve));
  clearTimeout(clock);
  if (code !== 0) throw new Error(`${command}\nended with ${code}:\n${output}`);
}

function factory(file, name) {
  return require(path.join(SDK, 'lib.commonjs', file))[name];
}

export function neuron(amount) {
  return typeof amount === 'bigint' ? amount : loadEthers().parseEther(String(amount));
}

// What the operators of providers publish; members sorted, as their Go software writes them.
export function additionalInfo(members = {}) {
  const all = {
    ImageDigest: 'sha256:0000', ImageName: 'registry/broker', TEEVerifier: 'dstack', TargetSeparated: false,
    TargetTeeAddress: '', VerifierURL: 'https://verifier.example/v', ...members,
  };
  return JSON.stringify(Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1))));
}

export class Chain {
  services = new Map(); // what registerService() said last, by provider
  #killWithUs;

  // atTable: the contracts stand at the addresses that belong to the chain id, else wherever they were deployed.
  static async start(t, { chainId = 16602, atTable = true, anvilArgs = [], lockTime = 86400 } = {}) {
    const chain = new Chain(chainId);
    t?.after(() => chain.stop());
    try {
      await chain.#spawn(anvilArgs);
      await chain.#deploy(atTable ? CONTRACTS_OF[chainId] : null, lockTime);
    } catch (error) {
      await chain.stop();
      throw error;
    }
    return chain;
  }

  constructor(chainId) {
    this.chainId = chainId;
    this.ethers = loadEthers();
    const inference = factory('inference/contract/typechain/factories/InferenceServing__factory.js', 'InferenceServing__factory');
    const ledger = factory('ledger/contract/typechain/factories/LedgerManager__factory.js', 'LedgerManager__factory');
    this.code = { inference: inference.bytecode, ledger: ledger.bytecode };
    this.abi = { inference: inference.createInterface(), ledger: ledger.createInterface() };
    const root = this.ethers.HDNodeWallet.fromPhrase(MNEMONIC, undefined, "m/44'/60'/0'/0");
    this.accounts = Array.from({ length: N_ACCOUNTS }, (_, i) => {
      const { address, privateKey } = root.deriveChild(i);
      return { address, key: privateKey };
    });
    this.owner = this.accounts[ACCOUNT_OWNER].address;
    this.nextId = 1;
  }

  providerAccount(i) {
    if (i >= ACCOUNT_USERS - ACCOUNT_PROVIDERS) throw new Error(`there are ${ACCOUNT_USERS - ACCOUNT_PROVIDERS} accounts for providers`);
    return this.accounts[ACCOUNT_PROVIDERS + i].address;
  }

  user(i) {
    if (i >= N_ACCOUNTS - ACCOUNT_USERS) throw new Error(`there are ${N_ACCOUNTS - ACCOUNT_USERS} accounts for users`);
    return this.accounts[ACCOUNT_USERS + i];
  }

  async #spawn(extra) {
    const args = ['--host', '127.0.0.1', '--port', '0', '--chain-id', String(this.chainId), '--accounts', String(N_ACCOUNTS),
      '--mnemonic', MNEMONIC, '--threads', '2', ...extra];
    this.child = spawn(anvilPath(), args, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.#killWithUs = () => this.child.kill('SIGKILL');
    process.once('exit', this.#killWithUs);
    let output = '';
    this.child.stderr.on('data', (b) => (output += b));
    this.exited = new Promise((resolve) => this.child.once('close', resolve));
    const port = await new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.exited.then((code) => reject(new Error(`anvil ended with ${code}:\n${output}`)));
      this.child.stdout.on('data', (b) => {
        if (this.url) return; // what it tells later about requests
        output += b;
        const m = /^Listening on 127\.0\.0\.1:(\d+)$/m.exec(output);
        if (m) resolve(m[1]);
      });
    });
    this.url = `http://127.0.0.1:${port}`;
  }

  // Clones of the real code, then initialised, registered with each other.
  async #deploy(addresses, lockTime) {
    const place = async (kind) => {
      const code = (await this.#create(this.code[kind])).slice(2).toLowerCase();
      const clone = `363d3d373d3d3d363d73${code}5af43d82803e903d91602b57fd5bf3`;
      if (!addresses) return this.#create(`0x3d602d80600a3d3981f3${clone}`);
      await this.rpc('anvil_setCode', [addresses[kind], `0x${clone}`]);
      return addresses[kind];
    };
    this.contracts = { ledger: await place('ledger'), inference: await place('inference') };
    await this.send('ledger', 'initialize', [this.owner]);
    await this.send('inference', 'initialize', [lockTime, this.contracts.ledger, this.owner]);
    await this.send('ledger', 'registerService', ['inference', 'v1.0', this.contracts.inference, 'inference']);
  }

  async #create(data) {
    const receipt = await this.#transact({ from: this.owner, data });
    return this.ethers.getAddress(receipt.contractAddress);
  }

  async rpc(method, params = []) {
    const body = JSON.stringify({ jsonrpc: '2.0', id: this.nextId++, method, params });
    const r = await fetch(this.url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body });
    const { result, error } = await r.json();
    if (error) throw Object.assign(new Error(`${method}: ${error.message}`), { code: error.code, data: error.data });
    return result;
  }

  async #transact(tx) {
    // The estimate fails with the contract's reason, and fits exactly: the block's time may differ by then.
    const gas = BigInt(await this.rpc('eth_estimateGas', [tx])) * 2n;
    const hash = await this.rpc('eth_sendTransaction', [{ ...tx, gas: `0x${gas.toString(16)}` }]);
    for (;;) {
      const receipt = await this.rpc('eth_getTransactionReceipt', [hash]);
      if (receipt && receipt.status !== '0x1') throw new Error(`transaction ${hash} reverted`);
      if (receipt) return receipt;
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
  }

  // A transaction to one of the contracts ("ledger", "inference"); fails with the contract's own error name.
  async send(contract, name, args, { from = this.owner, value = 0n } = {}) {
    const data = this.abi[contract].encodeFunctionData(name, args);
    try {
      return await this.#transact({ from, to: this.contracts[contract], data, value: `0x${value.toString(16)}` });
    } catch (error) {
      throw this.#named(contract, name, error);
    }
  }

  async call(contract, name, args) {
    const to = this.contracts[contract];
    try {
      const result = await this.rpc('eth_call', [{ to, data: this.abi[contract].encodeFunctionData(name, args) }, 'latest']);
      return this.abi[contract].decodeFunctionResult(name, result);
    } catch (error) {
      throw this.#named(contract, name, error);
    }
  }

  #named(contract, name, error) {
    if (typeof error.data !== 'string' || error.data.length < 10) return error;
    const known = this.abi[contract].parseError(error.data);
    return known ? Object.assign(new Error(`${name}: ${known.name}(${known.args.join(', ')})`), { reason: known.name }) : error;
  }

  // ---- what providers do ----

  // Registers the service, or changes it: members that are not given stay as they are (or get a default).
  async registerService(provider, members = {}) {
    const before = this.services.get(provider);
    const service = {
      serviceType: 'chatbot', url: 'http://127.0.0.1:1', model: 'fake-model', verifiability: 'TeeML',
      inputPrice: 50_000_000_000n, outputPrice: 100_000_000_000n, additionalInfo: additionalInfo(), signer: provider,
      ...before, ...members,
    };
    const { signer: teeSignerAddress, ...rest } = service;
    await this.send('inference', 'addOrUpdateService', [{ ...rest, teeSignerAddress }],
      { from: provider, value: before ? 0n : 100n * ONE_0G });
    this.services.set(provider, service);
  }

  changeUrl(provider, url) {
    return this.registerService(provider, { url });
  }

  changePrice(provider, inputPrice, outputPrice) {
    return this.registerService(provider, { inputPrice, outputPrice });
  }

  // A new TEE key; the contract clears the owner's acknowledgement.
  async rotateSigner(provider, signer, { acknowledge = true } = {}) {
    await this.registerService(provider, { signer });
    if (acknowledge) await this.acknowledgeSigner(provider);
  }

  removeService(provider) {
    this.services.delete(provider);
    return this.send('inference', 'removeService', [], { from: provider });
  }

  // ---- what the contracts' owner does ----

  acknowledgeSigner(provider) {
    return this.send('inference', 'acknowledgeTEESignerByOwner', [provider]);
  }

  // ---- what users do; a user is { address } or an address ----

  addLedger(user, amount = 3) {
    return this.send('ledger', 'addLedger', [''], { from: addressOf(user), value: neuron(amount) });
  }

  depositFund(user, amount) {
    return this.send('ledger', 'depositFund', [], { from: addressOf(user), value: neuron(amount) });
  }

  transferFund(user, provider, amount = 1) {
    return this.send('ledger', 'transferFund', [provider, 'inference-v1.0', neuron(amount)], { from: addressOf(user) });
  }

  // Takes the sub-account's money back (it is pending for the lock time, and does not count from now on).
  retrieveFund(user, provider) {
    return this.send('ledger', 'retrieveFund', [[provider], 'inference-v1.0'], { from: addressOf(user) });
  }

  acknowledgeProvider(user, provider, acknowledged = true) {
    return this.send('inference', 'acknowledgeTEESigner', [provider, acknowledged], { from: addressOf(user) });
  }

  revokeToken(user, provider, tokenId) {
    return this.send('inference', 'revokeToken', [provider, tokenId], { from: addressOf(user) });
  }

  revokeAllTokens(user, provider) {
    return this.send('inference', 'revokeAllTokens', [provider], { from: addressOf(user) });
  }

  // Gives any address money, and anvil's leave to act for it.
  async impersonate(address, amount = 1000) {
    await this.rpc('anvil_setBalance', [address, `0x${neuron(amount).toString(16)}`]);
    await this.rpc('anvil_impersonateAccount', [address]);
  }

  // ---- reading ----

  async service(provider) {
    return (await this.call('inference', 'getService', [provider]))[0];
  }

  // Null when there is none.
  async account(user, provider) {
    if (!(await this.call('inference', 'accountExists', [addressOf(user), provider]))[0]) return null;
    return (await this.call('inference', 'getAccount', [addressOf(user), provider]))[0];
  }

  async ledger(user) {
    try {
      return (await this.call('ledger', 'getLedger', [addressOf(user)]))[0];
    } catch (error) {
      if (error.reason === 'LedgerNotExists') return null;
      throw error;
    }
  }

  async balance(address) {
    return BigInt(await this.rpc('eth_getBalance', [address, 'latest']));
  }

  // Transactions that an address has sent.
  async transactionCount(address) {
    return Number(await this.rpc('eth_getTransactionCount', [address, 'latest']));
  }

  // ---- faults ----

  // The node no longer answers, but still takes connections; thaw() ends it.
  freeze() {
    this.child.kill('SIGSTOP');
  }

  thaw() {
    this.child.kill('SIGCONT');
  }

  // The node is gone for good: connections are refused.
  async stop() {
    if (!this.child) return;
    this.child.kill('SIGKILL');
    await this.exited;
    process.removeListener('exit', this.#killWithUs);
    this.child = null;
  }
}

function addressOf(user) {
  return typeof user === 'string' ? user : user.address;
}
