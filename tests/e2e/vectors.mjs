// Test vectors that nobody has seen before: the cases of tests/vectors, with other inputs, computed by the published
// libraries (ethers, the SDK) from a seed. The same seed makes the same files.
//
//   const files = await makeVectors(seed);   // { keccak256: {…}, addresses: {…}, … }, each as it would stand in a file
//
// What the SDK only does with a chain or a network gets a contract and a fetch() that answer from the case.

import { createHash } from 'node:crypto';
import { createRequire } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { additionalInfo, loadEthers, quietly } from './chain.mjs';

const require = createRequire(import.meta.url);
const SDK = path.join(path.dirname(fileURLToPath(import.meta.url)), 'node_modules/@0gfoundation/0g-compute-ts-sdk/lib.commonjs');
const fromSdk = (file) => require(path.join(SDK, file));
const ethers = loadEthers();

const MAX = 2n ** 256n - 1n;
const NOW = 1767225600000;
const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const utf8 = (text) => ethers.hexlify(ethers.toUtf8Bytes(text));

// ---- chance ----

class Dice {
  constructor(seed) {
    this.state = seed >>> 0;
  }

  // 32 bits (mulberry32)
  next() {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (t ^ (t >>> 14)) >>> 0;
  }

  below = (n) => this.next() % n;
  of = (list) => list[this.below(list.length)];
  chance = (percent) => this.below(100) < percent;
  bytes = (n) => Buffer.from(Array.from({ length: n }, () => this.below(256)));
  hex = (n) => ethers.hexlify(this.bytes(n));
  key = () => this.hex(32);
  address = () => ethers.getAddress(this.hex(20));
  times = (n, make) => Array.from({ length: n }, (_, i) => make(i));

  // Small, around powers of two, any length up to 256 bits.
  number() {
    const power = 2n ** BigInt(this.below(257));
    const near = power + BigInt(this.below(5)) - 2n;
    return this.of([BigInt(this.below(10)), BigInt(this.next()), near < 0n ? 0n : near > MAX ? MAX : near, BigInt(this.hex(1 + this.below(32))), 10n ** BigInt(this.below(78))]);
  }

  text() {
    const pieces = ['', 'a', ' ', '/', '"', '\\', '\n', '\0', 'é', '量子', '🙂', '\u2028', '\ufeff', 'x'.repeat(this.below(70)), '{"k":"v"}', '<&>', '\u0080', '\u{10ffff}'];
    return this.times(this.below(6), () => this.of(pieces)).join('');
  }
}

// ---- hashes, keys, messages ----

function keccak(dice) {
  const lengths = [...dice.times(30, () => dice.below(700)), 134, 135, 136, 137, 271, 272, 273, 543, 544, 545, 65536];
  const cases = lengths.map((n) => {
    const input = dice.hex(n);
    return { name: `${n} bytes`, input, keccak256: ethers.keccak256(input), sha256: ethers.sha256(input) };
  });
  for (const text of dice.times(10, () => dice.text()))
    cases.push({ name: 'text', text, input: utf8(text), keccak256: ethers.id(text), sha256: ethers.sha256(utf8(text)) });
  return { cases };
}

const verdict = (act) => {
  try {
    return { ok: true, value: act() };
  } catch (error) {
    return { ok: false, error: String(error.shortMessage ?? error.message) };
  }
};

const upper = (text) => `0x${text.slice(2).toUpperCase()}`;

function addresses(dice) {
  const cases = dice.times(20, () => dice.key()).map((private_key) => {
    const key = new ethers.SigningKey(private_key);
    return { private_key, public_key: key.publicKey, compressed: key.compressedPublicKey, address: ethers.computeAddress(key) };
  });
  const key = dice.key();
  const spoilt = [
    key, upper(key), `0X${key.slice(2)}`, ` ${key}`, `${key}\n`, `${key} `, key.slice(0, -1), `${key}0`, `${key}00`, `0x${key}`, key.replace(/.$/, 'g'), '0x',
    key.slice(2), key.slice(3), `x${key.slice(2)}`, '-1', '0', `${key.slice(0, 40)}é${key.slice(41)}`, '0x' + '0'.repeat(64), '0x' + 'f'.repeat(64),
  ];
  const keys = spoilt.map((private_key) => ({ name: JSON.stringify(private_key), private_key, ...verdict(() => new ethers.Wallet(private_key).address) }));
  const parse = [];
  for (let i = 0; i < 12; i++) {
    const good = dice.address();
    const at = 2 + dice.below(40);
    const flipped = good.slice(0, at) + (good[at] === good[at].toLowerCase() ? good[at].toUpperCase() : good[at].toLowerCase()) + good.slice(at + 1);
    for (const input of dice.of([[good, flipped, good.toLowerCase()], [upper(good), `0X${good.slice(2)}`], [good.slice(2), good.slice(2).toLowerCase(), good.slice(2).toUpperCase()],
      [`${good} `, `${good}\n`, `\t${good}`, `${good}0`, good.slice(0, -1), `0x${good}`], [good.replace(/.$/, '٣'), good.replace(/.$/, 'G'), `${good.slice(0, 20)} ${good.slice(21)}`]]))
      parse.push({ name: JSON.stringify(input), input, ...verdict(() => ethers.getAddress(input)) });
  }
  return { cases, invalid_keys: keys.filter((k) => !k.ok), also_accepted: keys.filter((k) => k.ok), parse };
}

function eip191(dice) {
  const sign = (digest, private_key) => {
    const s = new ethers.SigningKey(private_key).sign(digest);
    return { digest, private_key, signature: s.serialized, compact_2098: s.compactSerialized };
  };
  const cases = dice.times(25, () => {
    const text = dice.text();
    const isText = dice.chance(60);
    const bytes = isText ? utf8(text) : dice.hex(dice.below(200));
    const private_key = dice.key();
    return { ...(isText ? { text } : {}), bytes, address: ethers.computeAddress(private_key), ...sign(ethers.hashMessage(ethers.getBytes(bytes)), private_key) };
  });
  const raw_digests = dice.times(40, () => sign(dice.hex(32), dice.key()));
  const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n;
  const word = (n) => ethers.toBeHex(n, 32).slice(2);
  const recover = [];
  for (let i = 0; i < 12; i++) {
    const digest = dice.hex(32);
    const { r, s, v } = new ethers.SigningKey(dice.key()).sign(digest);
    const [R, S] = [BigInt(r), BigInt(s)];
    const make = (a, b, c) => `0x${word(a)}${word(b)}${c.toString(16).padStart(2, '0')}`;
    const list = [
      make(R, S, v), make(R, S, v ^ 7), make(R, N - S, v), make(R, 2n ** 255n - 1n, v), make(R, N / 2n + 1n, v), make(R, N / 2n, v), make(R, 2n ** 255n, v), make(N - 1n, S, v), make(N, S, v),
      make(N + 1n, S, v), make(0n, S, v), make(R, 0n, v), make(1n, 1n, 27), make(BigInt(dice.hex(32)), S, v), make(R, BigInt(dice.hex(31)), v), make(R, S, dice.below(256)),
      make(R, S, 34), make(R, S, 35), make(R, S, 254), make(R, S, v).toUpperCase(), upper(make(R, S, v)), `${make(R, S, v)}00`, make(R, S, v).slice(0, -2), make(R, S, v).slice(0, -4),
      make(R, S, v).slice(2), `${make(R, S, v)} `, `0x${word(R)}${word(S | (2n ** 255n))}`, `0x${word(R)}${word(S)}`, `0x${word(R)}${word(N - S)}`, '0x', '', '0', dice.hex(dice.below(80)),
    ];
    for (const signature of dice.times(14, () => dice.of(list)))
      recover.push({ name: signature, digest, signature, ...verdict(() => ethers.recoverAddress(digest, signature)) });
  }
  return { cases, raw_digests, recover };
}

// ---- RLP and transactions ----

function rlp(dice) {
  const value = (depth) => {
    if (depth === 0 || dice.chance(55)) return dice.hex(dice.of([0, 1, 1, 2, 20, 32, 54, 55, 56, 57, 255, 256, dice.below(300)]));
    return dice.times(dice.of([0, 1, 2, 3, 17]), () => value(depth - 1));
  };
  const all = [...dice.times(40, () => value(4)), dice.hex(65535), dice.hex(65536), [dice.hex(70000), []], ...dice.times(128, (i) => `0x${(i * 2 + 1).toString(16).padStart(2, '0')}`)];
  return { cases: all.map((v, i) => ({ name: `value ${i}`, value: v, rlp: ethers.encodeRlp(v) })) };
}

function transactions(dice) {
  const cases = dice.times(60, (i) => {
    const private_key = dice.key();
    const type = dice.of([0, 2]);
    const price = () => dice.of([0n, 1n, 127n, 128n, BigInt(dice.next()), 2n ** 64n, dice.number()]);
    const tip = price();
    const fee = price();
    const small = () => dice.of([0, 1, 127, 128, 255, 256, 65535, dice.next(), 2 ** 32, Number.MAX_SAFE_INTEGER]);
    const tx = {
      type,
      chainId: String(dice.of([1, 16661, 16602, 31337, 2 ** 32, dice.next() + 1])),
      nonce: small(),
      to: dice.chance(8) ? null : dice.address(),
      value: String(dice.number()),
      gasLimit: String(small()),
      gasPrice: type === 0 ? String(price()) : null,
      maxFeePerGas: type === 2 ? String(tip > fee ? tip : fee) : null,
      maxPriorityFeePerGas: type === 2 ? String(tip < fee ? tip : fee) : null,
      data: dice.hex(dice.of([0, 1, 4, 36, 55, 56, 100, 255, 256, dice.below(2000)])),
      accessList: type === 2 ? dice.times(dice.of([0, 0, 1, 3]), () => ({ address: dice.address(), storageKeys: dice.times(dice.below(4), () => dice.hex(32)) })) : null,
    };
    const t = ethers.Transaction.from(Object.fromEntries(Object.entries(tx).filter(([, v]) => v !== null)));
    const unsigned = t.unsignedSerialized;
    const signing_hash = t.unsignedHash;
    t.signature = new ethers.SigningKey(private_key).sign(signing_hash);
    const { r, s, yParity, networkV } = t.signature;
    const v = type === 0 ? String(BigInt(tx.chainId) * 2n + 35n + BigInt(yParity)) : null;
    return {
      name: `type ${type}, number ${i}`, private_key, from: ethers.computeAddress(private_key), tx, unsigned, signing_hash,
      signature: { r, s, yParity, v: networkV === null ? v : String(networkV) }, raw: t.serialized, hash: t.hash,
    };
  });
  return { cases };
}

// ---- the contracts ----

const interfaces = () => ({
  inference: fromSdk('inference/contract/typechain/factories/InferenceServing__factory.js').InferenceServing__factory.createInterface(),
  ledger: fromSdk('ledger/contract/typechain/factories/LedgerManager__factory.js').LedgerManager__factory.createInterface(),
});

// A value of the type as ethers takes it.
function valueOf(dice, param) {
  if (param.baseType === 'array') return dice.times(param.arrayLength >= 0 ? param.arrayLength : dice.of([0, 1, 2, 3, 5, 7, 51]), () => valueOf(dice, param.arrayChildren));
  if (param.baseType === 'tuple') return param.components.map((c) => valueOf(dice, c));
  const bits = /^(u?)int(\d+)$/.exec(param.type);
  if (bits) return bits[1] ? dice.number() % 2n ** BigInt(bits[2]) : -(dice.number() % 2n ** BigInt(bits[2] - 1));
  if (/^bytes\d+$/.test(param.type)) return dice.hex(Number(param.type.slice(5)));
  return { address: () => dice.address(), bool: () => dice.chance(50), string: () => dice.text(), bytes: () => dice.hex(dice.below(100)) }[param.type]();
}

// The same as it stands in a file: wide numbers as texts; `named`: tuples as objects.
function asJson(param, value, named) {
  if (param.baseType === 'array') return value.map((v) => asJson(param.arrayChildren, v, named));
  if (param.baseType === 'tuple') {
    const parts = param.components.map((c, i) => asJson(c, value[i], named));
    return named && param.components.every((c) => c.name) ? Object.fromEntries(param.components.map((c, i) => [c.name, parts[i]])) : parts;
  }
  return typeof value === 'bigint' ? String(value) : value;
}

const typesText = (param) => {
  if (param.baseType === 'array') return `${typesText(param.arrayChildren)}[${param.arrayLength >= 0 ? param.arrayLength : ''}]`;
  if (param.baseType === 'tuple') return `(${param.components.map((c) => `${typesText(c)}${c.name ? ` ${c.name}` : ''}`).join(', ')})`;
  return param.type;
};

function calls(dice) {
  const cases = [];
  const selectors = {};
  const event_topics = {};
  for (const [contract, abi] of Object.entries(interfaces())) {
    selectors[contract] = {};
    event_topics[contract] = {};
    abi.forEachEvent((e) => (event_topics[contract][e.format('sighash')] = e.topicHash));
    abi.forEachFunction((f) => {
      selectors[contract][f.format('sighash')] = f.selector;
      for (let i = 0; i < 3; i++) {
        const values = f.inputs.map((p) => valueOf(dice, p));
        cases.push({
          contract, function: f.format('sighash'), selector: f.selector, args: f.inputs.map((p, n) => asJson(p, values[n], i === 0)),
          calldata: abi.encodeFunctionData(f, values),
        });
      }
    });
  }
  return { cases, selectors, event_topics };
}

function returns(dice) {
  const cases = [];
  const malformed = [];
  for (const [contract, abi] of Object.entries(interfaces())) {
    abi.forEachFunction((f) => {
      if (f.outputs.length === 0) return;
      const isNamed = f.outputs.every((p) => p.name);
      const decode = (values) => {
        const list = f.outputs.map((p, n) => asJson(p, values[n], true));
        return isNamed ? Object.fromEntries(f.outputs.map((p, n) => [p.name, list[n]])) : list;
      };
      const types = f.outputs.map((p) => `${typesText(p)}${p.name ? ` ${p.name}` : ''}`).join(', ');
      for (let i = 0; i < 4; i++) {
        const values = f.outputs.map((p) => valueOf(dice, p));
        const data = abi.encodeFunctionResult(f, values);
        const row = { contract, function: f.format('sighash') };
        cases.push({ name: `${f.name} ${i}`, ...row, returns: types, data, decoded: decode(values) });
        for (let k = 0; k < 6; k++) {
          const bad = spoil(dice, data);
          malformed.push({ name: `${f.name} ${i}.${k}`, ...row, data: bad, ...verdict(() => decode(deepRead(abi.decodeFunctionResult(f, bad)))) });
        }
      }
    });
  }
  return { cases, malformed };
}

// Errors of ethers come when a member is looked at.
function deepRead(result) {
  return result instanceof ethers.Result ? result.toArray().map(deepRead) : result;
}

function spoil(dice, data) {
  const bytes = Buffer.from(data.slice(2), 'hex');
  const words = Math.max(1, bytes.length / 32);
  const at = dice.below(words) * 32;
  const put = (n) => Buffer.from(ethers.toBeHex(n < 0n ? 0n : n, 32).slice(2), 'hex').copy(bytes, at);
  switch (dice.below(7)) {
    case 0: return ethers.hexlify(bytes.subarray(0, dice.below(bytes.length + 1)));
    case 1: return ethers.hexlify(bytes.subarray(0, dice.below(words) * 32));
    case 2: put(dice.of([0n, 1n, 2n, 31n, 32n, 33n, 64n, BigInt(bytes.length), BigInt(bytes.length - 32), 2n ** 32n, 2n ** 63n, 2n ** 64n, 2n ** 255n, MAX])); break;
    case 3: put(BigInt(dice.below(words) * 32)); break;
    case 4: bytes[dice.below(bytes.length)] ^= 1 << dice.below(8); break;
    case 5: return ethers.hexlify(Buffer.concat([bytes, dice.bytes(dice.of([1, 32, 64, 31]))]));
    default: bytes[at + 31] = dice.below(256);
  }
  return ethers.hexlify(bytes);
}

function errors(dice) {
  const { decodeCustomError, formatError } = fromSdk('common/utils/error-handler.js');
  const message = (data) => decodeCustomError({ data }) ?? formatError({ message: 'execution reverted', data });
  const cases = [];
  const all_selectors = {};
  for (const [contract, abi] of Object.entries(interfaces())) {
    all_selectors[contract] = {};
    abi.forEachError((e) => {
      all_selectors[contract][e.format('sighash')] = e.selector;
      for (let i = 0; i < 2; i++) {
        const values = e.inputs.map((p) => valueOf(dice, p));
        const data = abi.encodeErrorResult(e, values);
        cases.push({ contract, error: e.format('sighash'), selector: e.selector, args: e.inputs.map((p, n) => asJson(p, values[n])), data, sdk_message: message(data) });
      }
    });
  }
  const coder = ethers.AbiCoder.defaultAbiCoder();
  const reason = (text) => ethers.concat(['0x08c379a0', coder.encode(['string'], [text])]);
  const panic = (n) => ethers.concat(['0x4e487b71', coder.encode(['uint256'], [n])]);
  const datas = [
    ...dice.times(8, () => reason(dice.text())), ...[0, 1, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32, 0x41, 0x51, 0x77].map(panic), panic(MAX),
    ...dice.times(20, () => spoil(dice, dice.of(cases).data)), ...dice.times(6, () => dice.hex(dice.below(70))),
    ...dice.times(6, () => reason(dice.text()).slice(0, -2 * (1 + dice.below(33)))), '0x', '0x08c379a0', '0x4e487b71',
  ];
  const generic = datas.map((data, i) => ({ name: `data ${i}`, data, sdk_message: message(data) }));
  return { cases, generic, all_selectors };
}

// ---- session tokens ----

// The SDK's base class with a contract that knows one account.
function tokenMaker(wallet, account) {
  const { ZGServingUserBrokerBase } = fromSdk('inference/broker/base.js');
  const contract = {
    signer: wallet, getUserAddress: () => wallet.address,
    getAccount: async () => ({ generation: BigInt(account.generation), revokedBitmap: BigInt(account.revoked_bitmap) }),
  };
  const cache = { getItem: async () => null, setItem: async () => {} };
  return new ZGServingUserBrokerBase(contract, null, null, cache);
}

async function atTime(ms, act) {
  const { now } = Date;
  Date.now = () => ms;
  try {
    return await act();
  } finally {
    Date.now = now;
  }
}

const someOptions = (dice) => {
  const duration = dice.of([undefined, 0, 1, -1, 60000, 86399999, 86400000, 86400001, -86400000, 10 ** 12, dice.next()]);
  const tokenId = dice.of([undefined, undefined, 0, 1, 254, 255, 256, -1, -2, 2 ** 31, dice.below(255)]);
  const mode = dice.of([undefined, 'ephemeral', 'persistent', 'persistent']);
  return Object.fromEntries(Object.entries({ mode, duration, tokenId }).filter(([, v]) => v !== undefined));
};
const someBitmap = (dice) => String(dice.of([0n, 1n, 7n, 2n ** 255n - 1n, MAX, 2n ** 254n, 2n ** 255n, 2n ** 255n - 1n - 2n ** BigInt(dice.below(255)), BigInt(dice.hex(32))]));

async function tokens(dice) {
  const cases = [];
  const sdk_limits = [];
  while (cases.length < 30 || sdk_limits.length < 40) {
    const wallet = new ethers.Wallet(dice.key());
    const account = { generation: dice.of([0, 1, 7, 255, 256, dice.next(), 2 ** 32, Number.MAX_SAFE_INTEGER]), revoked_bitmap: someBitmap(dice) };
    const options = someOptions(dice);
    const now_ms = NOW + dice.next();
    const address = dice.address();
    const provider = dice.of([address, address.toLowerCase(), upper(address)]);
    let session;
    let error;
    try {
      session = await atTime(now_ms, () => quietly(() => tokenMaker(wallet, account).generateSessionToken(provider, options)));
    } catch (e) {
      error = e.message;
    }
    const { token } = session ?? {};
    const life = token && (token.expiresAt ? token.expiresAt - token.timestamp : 0);
    sdk_limits.push({
      name: JSON.stringify(options), options, revoked_bitmap: account.revoked_bitmap, ok: !error, ...(error ? { error } : { value: { tokenId: token.tokenId, duration: life } }),
    });
    if (error) continue;
    const { rawMessage: message, signature } = session;
    const payload = `${message}|${signature}`;
    const message_keccak256 = ethers.id(message);
    cases.push({
      private_key: wallet.privateKey, user: wallet.address, provider, now_ms, options, account, token, message, message_keccak256,
      digest_signed: ethers.hashMessage(ethers.getBytes(message_keccak256)), signature, payload, authorization: `Bearer app-sk-${Buffer.from(payload).toString('base64')}`,
    });
  }
  return { cases, sdk_limits };
}

// ---- verification ----

const json = (value) => JSON.stringify(value);

async function sdkVerdict(c) {
  const { ResponseProcessor } = fromSdk('inference/broker/response.js');
  const contract = { getService: async () => c.service, getUserAddress: () => c.service.provider };
  const cache = { getItem: async () => null, setItem: async () => {} };
  const { fetch } = globalThis;
  let url = null;
  globalThis.fetch = async (at) => {
    url = at;
    return new Response(c.signature_status === 204 ? null : c.signature_body, { status: c.signature_status });
  };
  try {
    const verdict = await quietly(() => new ResponseProcessor(contract, null, null, cache).processResponse(c.service.provider, c.chat_id));
    return { url, sdk: { verdict } };
  } catch (error) {
    return { url, sdk: { throws: error.message } };
  } finally {
    globalThis.fetch = fetch;
  }
}

function bindingOf(body, request, response) {
  let value;
  try {
    value = JSON.parse(body);
  } catch {
    return null;
  }
  if (value === null) return null;
  const parts = typeof value.text === 'string' ? value.text.split(':') : [''];
  return { request_hash_matches: parts[0] === sha256(request), response_hash_matches: parts[1] === sha256(response), parts: parts.length };
}

function someInfo(dice, target) {
  const plain = additionalInfo();
  const members = () => {
    const type = dice.of([undefined, 'centralized', 'decentralized', 'Centralized', '', 'x', 5, null, true, ['centralized']]);
    const separated = dice.of([true, true, true, false, 'true', 1, null, undefined, {}]);
    const address = dice.of([target, target.toLowerCase(), upper(target), `0X${target.slice(2)}`, target.slice(2), '', '0x', `${target} `, null, 0, 0.5, -0, 1e-400, false, true, [], [target], { a: 1 }, dice.text()]);
    return Object.fromEntries(Object.entries({ ProviderType: type, TargetSeparated: separated, TargetTeeAddress: address, ProviderIdentity: 'openai' }).filter(([, v]) => v !== undefined));
  };
  const text = json({ ...JSON.parse(plain), ...members() });
  return dice.of([
    plain, text, text, text, text, ` ${text}\n`, text.replace('Target', '\\u0054arget'), text.replace(/"ProviderIdentity".*/, '"TargetSeparated":true}'), `{"TargetSeparated":true,"TargetTeeAddress":"","TargetTeeAddress":${json(target)}}`,
    `{"a":{"TargetSeparated":true,"TargetTeeAddress":${json(target)}}}`, `{"TargetSeparated":true,"targetTeeAddress":${json(target)}}`, text.slice(0, -1), `${text}x`, `[${text}]`, '{"a":1,}', "{'a':1}",
    '{"a":NaN}', '{"a":01}', '{"a":"\t"}', '{"a":"\\ud800"}', '{"a":"\\x41"}', '{"a":1e999,"b":-0}', '\ufeff{}', '', ' ', '0', 'true', 'false', 'null', ' null ', 'nul', '"null"', '""', '[]', '{}', '[', '{', '-', '1 2', '"\\u0000"',
    '{"__proto__":{"TargetSeparated":true}}', `{"a":${'['.repeat(60)}${']'.repeat(60)}}`, `{"tieredPricing":[{"upTo":1000,"input":"1"}],"cacheTokenBilling":{"enabled":true}}`, dice.text(),
  ]);
}

async function verifications(dice) {
  const broker = new ethers.Wallet(dice.key());
  const target = new ethers.Wallet(dice.key());
  const cases = [];
  for (let i = 0; i < 400; i++) {
    const request = dice.bytes(dice.below(300));
    const response = dice.bytes(dice.below(300));
    const [a, b] = [sha256(request), sha256(response)];
    const text = dice.of([
      `${a}:${b}`, `${a}:${b}`, `${a}:${b}`, `${a}:${b}:centralized:openai:${sha256('cert')}`, `${a}:${b}:x`, `${a}`, '', ':', `${b}:${a}`, `${sha256('x')}:${b}`, `${a}:${sha256('y')}`, `${a.toUpperCase()}:${b}`,
      `${a}:${b}:`, `:${b}`, `${a}:${b}:1:2:3:4`, `${a}:${b},${b}`, `é${a}:${b}`, dice.text(), `0x${a}:0x${b}`,
    ]);
    const signer = dice.of([broker, broker, broker, target, new ethers.Wallet(dice.key())]);
    const full = signer.signMessageSync(text);
    const signature = dice.of([
      full, full, full, full, upper(full), `0X${full.slice(2)}`, full.slice(2), full.slice(0, -2), `${full}00`, `${full.slice(0, -2)}0${dice.below(4)}`, `${full.slice(0, -2)}${dice.hex(1).slice(2)}`, '', '0x', 5, null,
      undefined, false, true, [], {}, [full], dice.hex(65), dice.hex(64), dice.text(), ethers.Signature.from(full).compactSerialized,
    ]);
    const members = { text: dice.chance(92) ? text : dice.of([undefined, null, 5, [], {}, true]), signature, signing_address: dice.of([signer.address.toLowerCase(), dice.address(), 7]), signing_algo: 'ecdsa' };
    const whole = json(members);
    const signature_body = dice.of([
      whole, whole, whole, whole, whole, whole, ` ${whole}\n`, whole.replace('"text"', '"te\\u0078t"'), `${whole.slice(0, -1)},"text":${json(`${a}:${sha256('z')}`)}}`, `{"text":"first",${whole.slice(1)}`, `{"signature":"0x00",${whole.slice(1)}`,
      whole.slice(0, -1), `${whole}}`, `[${whole}]`, json(whole), 'null', 'true', '0', '""', '', ' ', '{}', `{"data":${whole}}`, '{"text":"\\ud800","signature":"0x00"}', '{"text":"a","signature":"0x00",}',
    ]);
    const service = {
      provider: dice.address(),
      serviceType: dice.chance(85) ? 'chatbot' : dice.of(['speech-to-text', 'text-to-image', 'image-editing', 'zgStorage', 'video-generation', 'embedding', '', 'Chatbot', 'chatbot ']),
      url: dice.of(['https://provider.example:8443', 'http://10.0.0.1', 'https://provider.example/base', 'https://provider.example']),
      inputPrice: String(dice.number()), outputPrice: String(dice.number()), updatedAt: String(dice.next()),
      model: dice.of(['qwen/qwen-2.5-7b-instruct', 'gpt', '', 'a b', 'ü', 'm?x=1&y', 'a#b', 'a+b', '100%', 'm:latest']),
      verifiability: dice.chance(88) ? dice.of(['TeeML', 'TeeML', 'OpML', 'ZKML']) : dice.of(['', 'teeml', 'TeeML ', 'TEEML', 'none', 'SPML']),
      additionalInfo: dice.chance(45) ? additionalInfo() : someInfo(dice, target.address),
      teeSignerAddress: dice.chance(92) ? dice.of([broker.address, broker.address.toLowerCase()]) : dice.of([target.address, dice.address(), ethers.ZeroAddress]),
      teeSignerAcknowledged: dice.chance(95),
    };
    const c = {
      name: `case ${i}`, service, chat_id: dice.chance(93) ? dice.of(['id-1', 'chatcmpl-9', '3fa85f64-5717-4562-b3fc-2c963f66afa6', 'A b/ü?#%25', '..', 'x'.repeat(300)]) : dice.of([null, '']),
      signature_status: !signature_body ? dice.of([200, 204, 204]) : dice.chance(92) ? 200 : dice.of([201, 202, 299, 300, 302, 400, 401, 404, 429, 500, 503]), signature_body,
      request_bytes: ethers.hexlify(request), response_bytes: ethers.hexlify(response),
    };
    const { url, sdk } = await sdkVerdict(c);
    cases.push({ ...c, signature_url: url, sdk, binding: bindingOf(c.signature_body, request, response) });
  }
  return { signers: { broker: broker.address, target: target.address }, cases };
}

// ---- fees ----

async function fees(dice) {
  const { ZGServingUserBrokerBase } = fromSdk('inference/broker/base.js');
  const maker = new ZGServingUserBrokerBase(null, null, null, null);
  const numbers = [
    '0', '-0', '1', '12', '-3', '1.5', '1.0', '1e3', '1E3', '1e-3', '10e-1', '1e21', '1e22', '9007199254740993', '123456789012345678901234567890', '1e308', '1e309', '-1e309', '5e-324', '-1.5e1', '0.1e1',
  ];
  const strings = ['', ' ', '7', ' 7', '\n7', '\u00a07', '\ufeff7', '+7', '-7', '--7', '0x10', '1e3', '1.9', '34x', 'x34', '007', '9007199254740993', '9'.repeat(400), '٣', '-', '1_000', '\v7', '\u20287', '-0'];
  const other = ['null', 'true', 'false', '[]', '[5]', '{}', '"\\u0037"'];
  const some = () => dice.of([dice.of(numbers), dice.of(numbers), json(dice.of(strings)), dice.of(other)]);
  const names = ['prompt_tokens', 'completion_tokens', 'output_tokens', 'input_tokens', 'n', 'total_tokens'];
  const content = () => {
    const text = `{${dice.times(dice.below(5), () => `"${dice.of(names)}":${some()}`).join(',')}}`;
    return dice.chance(85) ? text : dice.of(['', ' ', 'null', '5', '[]', '"x"', 'hello', text.slice(0, -1), `${text}}`, ` ${text} `, `\ufeff${text}`, '{"prompt_tokens":5,}', `{"usage":${text}}`, '{"prompt_tokens" : 5}', 'true']);
  };
  const cases = [];
  for (let i = 0; i < 300; i++) {
    const c = {
      name: `case ${i}`, service_type: dice.of(['chatbot', 'chatbot', 'chatbot', 'text-to-image', 'image-editing', 'speech-to-text', 'embedding', '', 'Chatbot']),
      input_price: String(dice.number()), output_price: String(dice.number()), content: content(),
    };
    try {
      const extractor = maker.createExtractor({ serviceType: c.service_type, inputPrice: BigInt(c.input_price), outputPrice: BigInt(c.output_price) });
      cases.push({ ...c, ok: true, value: String(await maker.calculateFee(extractor, c.content)) });
    } catch (error) {
      cases.push({ ...c, ok: false, error: error.message });
    }
  }
  return { cases };
}

export async function makeVectors(seed) {
  const make = {
    keccak256: keccak, addresses, eip191, rlp, transactions, abi_calls: calls, abi_returns: returns, abi_errors: errors, session_token: tokens, response_verification: verifications, fees,
  };
  const files = {};
  let n = 0;
  for (const [name, maker] of Object.entries(make)) {
    const made_with = { ethers: ethers.version, seed };
    files[name] = { about: 'made by tests/e2e/vectors.mjs', made_with, ...(await maker(new Dice(seed * 31 + n++))) };
  }
  return files;
}
