// A stand-in for a provider of the 0G Compute Network: the routes, refusals and signatures of its broker software in
// both current shapes (generation 'G2a' and 'G2b'), over the scripted sockets of fake-provider.
//
//   const p = await ZeroGProvider.start({ chain, account: chain.providerAccount(0) });   // registered, acknowledged
//   p.fault = { alterBody: true };        // what is wrong with every answer from now on
//   p.next(act.status(500));              // the next balanced call only, in front of every check
//
// Without a chain, `accounts` says what the contract would: p.accounts.set(user.toLowerCase(), { generation: 0, … }).
//
// Faults: alterBody (other bytes than the signed ones), wrongSigner, forgedText (signed, but about nothing), noSignature
// (never there), signatureGone (410-like refusal for a key once known), replay: KEY (the signature of another answer),
// badSignature: TEXT (instead of the hex), badAnswer: TEXT (instead of the signature's JSON), signatureMisses: N (asked
// too early N times), resKeyUpperCase (a key that its own cache never finds).

import { createHash, randomUUID } from 'node:crypto';
import path from 'node:path';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { additionalInfo, loadEthers, ONE_0G } from './chain.mjs';
import { FakeProvider, chatAnswer, chatChunk } from './fake-provider.mjs';

const require = createRequire(import.meta.url);
const MODULES = path.join(path.dirname(fileURLToPath(import.meta.url)), 'node_modules');

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');
const same = (a, b) => String(a).toLowerCase() === String(b).toLowerCase();
// As Go's encoder writes texts into JSON.
const goJson = (value) =>
  JSON.stringify(value).replace(/[<>&\u2028\u2029]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);

// ---- session tokens ----

const EARLIEST = 'missing or invalid Authorization header, must be Bearer app-sk-<base64(rawMessage:signature)>';

class Refusal extends Error {}
const refuse = (text) => {
  throw new Refusal(text);
};

// Go's encoding/base64.StdEncoding, with its offsets of errors.
function decodeBase64(text) {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';
  const bad = (at) => refuse(`invalid base64 in Authorization header: illegal base64 data at input byte ${at}`);
  const isBreak = (c) => c === '\r' || c === '\n';
  const out = [];
  let at = 0;
  for (;;) {
    const quad = [];
    let isLast = false;
    while (quad.length < 4) {
      if (at === text.length) {
        if (quad.length === 0) return Buffer.from(out);
        bad(at - quad.length);
      }
      const c = text[at++];
      if (isBreak(c)) continue;
      if (c === '=') {
        if (quad.length < 2) bad(at - 1);
        const skip = () => {
          while (at < text.length && isBreak(text[at])) at++;
        };
        if (quad.length === 2) {
          skip();
          if (at === text.length) bad(text.length);
          if (text[at++] !== '=') bad(at - 1);
        }
        skip();
        if (at < text.length) bad(at);
        isLast = true;
        break;
      }
      const n = alphabet.indexOf(c);
      if (n < 0) bad(at - 1);
      quad.push(n);
    }
    const bits = (quad[0] << 18) | (quad[1] << 12) | ((quad[2] ?? 0) << 6) | (quad[3] ?? 0);
    out.push(...[bits >> 16, (bits >> 8) & 255, bits & 255].slice(0, quad.length - 1));
    if (isLast) return Buffer.from(out);
  }
}

const TOKEN_MEMBERS = {
  address: 'string', provider: 'string', timestamp: 'int64', expiresAt: 'int64', nonce: 'string', generation: 'uint64', tokenId: 'uint8',
};
const LARGEST = { int64: 2n ** 63n - 1n, uint64: 2n ** 64n - 1n, uint8: 255n };

function readToken(text) {
  const bad = (why) => refuse(`invalid session token format in Authorization: ${why}`);
  let parsed;
  try {
    parsed = JSON.parse(text);
  } catch {
    bad(text ? `invalid character '${text.trimStart()[0] ?? text[0]}' looking for beginning of value` : 'unexpected end of JSON input');
  }
  if (parsed === null || typeof parsed !== 'object' || Array.isArray(parsed)) bad('json: cannot unmarshal into Go value of type ctrl.SessionToken');
  const token = {};
  for (const [name, type] of Object.entries(TOKEN_MEMBERS)) {
    const value = parsed[name];
    const into = `into Go struct field SessionToken.${name} of type ${type}`;
    token[name] = type === 'string' ? '' : 0n;
    if (value === undefined || value === null) continue;
    const kind = Array.isArray(value) ? 'array' : typeof value === 'boolean' ? 'bool' : typeof value;
    if (type === 'string') {
      if (kind !== 'string') bad(`json: cannot unmarshal ${kind} ${into}`);
      token[name] = value;
      continue;
    }
    if (kind !== 'number') bad(`json: cannot unmarshal ${kind} ${into}`);
    // As it is written: 2.0 and 2e0 are no integers to Go.
    const raw = new RegExp(`"${name}"\\s*:\\s*(-?[0-9.eE+-]+)`).exec(text)[1];
    const isInteger = /^-?\d+$/.test(raw);
    const least = type === 'int64' ? -(2n ** 63n) : 0n;
    if (!isInteger || BigInt(raw) > LARGEST[type] || BigInt(raw) < least) bad(`json: cannot unmarshal number ${raw} ${into}`);
    token[name] = BigInt(raw);
  }
  return token;
}

function recoverAddress(message, signature) {
  const { keccak256, toUtf8Bytes, getBytes, hashMessage, computeAddress, hexlify } = loadEthers();
  if (signature === '') refuse('invalid signature format: empty hex string');
  if (!/^0[xX]/.test(signature)) refuse('invalid signature format: hex string without 0x prefix');
  if (!/^0[xX]([0-9a-fA-F]{2})*$/.test(signature)) refuse('invalid signature format: invalid hex string');
  const bytes = Buffer.from(signature.slice(2), 'hex');
  if (bytes.length !== 65) refuse('invalid signature length');
  const v = (bytes[64] - 27) & 255;
  const failed = (why) => refuse(`failed to recover public key from signature: ${why}`);
  if (v >= 4) failed('invalid signature recovery id');
  const { secp256k1 } = require(path.join(MODULES, '@noble/curves/secp256k1.js'));
  const digest = getBytes(hashMessage(getBytes(keccak256(toUtf8Bytes(message)))));
  try {
    const point = secp256k1.Signature.fromCompact(bytes.subarray(0, 64)).addRecoveryBit(v).recoverPublicKey(digest);
    return computeAddress(hexlify(point.toRawBytes(false)));
  } catch {
    return failed('recovery failed');
  }
}

// The checks of a broker in their order; account: { generation, revokedBitmap } or null. { address } or { error }.
export function checkSessionToken(authorization, { provider, nowMs, account }) {
  try {
    const prefix = 'Bearer app-sk-';
    if (!authorization?.startsWith(prefix)) refuse(EARLIEST);
    const payload = decodeBase64(authorization.slice(prefix.length)).toString('utf8');
    const cut = payload.indexOf('|');
    if (cut < 0) refuse('invalid Authorization payload, expect base64(rawMessage:signature)');
    const message = payload.slice(0, cut);
    const token = readToken(message);
    if (!same(token.provider, provider)) refuse('session token is for different provider');
    if (token.tokenId === 255n) {
      if (token.expiresAt === 0n) refuse('ephemeral token must have an expiration time');
      if (token.expiresAt - token.timestamp > 86_400_000n) refuse('ephemeral token duration cannot exceed 24 hours');
    }
    if (token.expiresAt > 0n && BigInt(Math.floor(nowMs / 1000)) > token.expiresAt / 1000n) refuse('session token expired');
    if (account) {
      const generation = BigInt(account.generation);
      if (token.generation < generation) refuse('session token has been revoked (generation expired)');
      if (token.generation > generation) refuse('invalid session token (future generation)');
      if (token.tokenId < 255n && (BigInt(account.revokedBitmap) >> token.tokenId) & 1n) refuse('session token has been revoked');
    }
    if (!same(recoverAddress(message, payload.slice(cut + 1)), token.address)) refuse('signature verification failed: address mismatch');
    return { address: token.address, token };
  } catch (error) {
    if (error instanceof Refusal) return { error: error.message };
    throw error;
  }
}

// ---- the provider ----

const CHAT_PATHS = ['/v1/proxy/chat/completions'];
const BILLED = /^\/v1\/proxy\/(chat\/completions|images\/generations|images\/edits|audio\/transcriptions|messages|v1\/messages|videos)$/;

export class ZeroGProvider extends FakeProvider {
  static async start({ chain, account, register = true, acknowledge = true, service = {}, ...options } = {}) {
    const p = new ZeroGProvider({ chain, address: account, ...options });
    await p.listen(0);
    if (chain && register) {
      await chain.registerService(p.address, { ...p.service(), ...service });
      if (acknowledge) await chain.acknowledgeSigner(p.address);
    }
    return p;
  }

  // centralized, separated: the signer's variants. minReserve: what a sub-account must hold (neuron). clockMs: how far its clock
  // is ahead.
  constructor({
    chain, address, generation = 'G2b', model = 'fake-model', centralized = false, separated = false,
    minReserve = ONE_0G, rewritesBody = true, refusesOtherModels = false, clockMs = 0, fault = {}, ...rest
  }) {
    super({ id: address, model, ...rest });
    const ethers = loadEthers();
    Object.assign(this, { chain, address, generation, centralized, separated, minReserve, rewritesBody, refusesOtherModels, clockMs, fault });
    this.tee = new ethers.Wallet(ethers.id(`tee of ${address}`)); // its own key
    this.target = new ethers.Wallet(ethers.id(`target of ${address}`)); // of the model's own TEE, when separated
    this.accounts = new Map(); // instead of a chain: user in lower case -> account
    this.isSignerAcknowledged = true; // instead of a chain
    this.unsettled = new Map(); // user in lower case -> neuron
    this.signatures = new Map(); // key -> { text, signature, … }
    this.answers = []; // { key, request, response } as they were signed
    this.signatureAsks = []; // targets of requests for a signature
    this.refusals = []; // texts
    this.users = []; // of the tokens that were accepted
    this.usual = (call) => this.chat(call);
  }

  // What it registers on chain.
  service() {
    const info = {};
    if (this.separated) Object.assign(info, { TargetSeparated: true, TargetTeeAddress: this.target.address });
    if (this.centralized) Object.assign(info, { TargetSeparated: true, ProviderType: 'centralized', ProviderIdentity: 'openai' });
    return { url: this.origin, model: this.model, signer: this.tee.address, additionalInfo: additionalInfo(info) };
  }

  config() {
    return { address: this.address, ...this.entry };
  }

  // A new TEE key that the contract does not know yet.
  rotateKey() {
    const ethers = loadEthers();
    this.tee = new ethers.Wallet(ethers.id(`tee of ${this.address} ${this.tee.address}`));
    return this.tee.address;
  }

  async accountOf(user) {
    return this.chain ? this.chain.account(user, this.address) : (this.accounts.get(user.toLowerCase()) ?? null);
  }

  take(call) {
    const [target, query = ''] = call.request.target.split('?');
    let at = this.generation === 'G2b' ? target.replace(/\/+$/, '').replace(/^\/v1\/proxy\/v1\//, '/v1/proxy/') : target;
    if (at === '') at = '/';
    const isGet = call.request.method === 'GET';
    if (isGet && at === '/v1/models') {
      this.probes++;
      this.notify();
      return (this.onModels ?? ((c) => this.#models(c)))(call);
    }
    if (isGet && at.startsWith('/v1/proxy/signature/')) return this.#signature(call, this.separated ? at : at.toLowerCase(), query);
    const settled = isGet && /^\/v1\/user\/([^/]+)\/unsettledfee$/.exec(at);
    if (settled) return this.#guard(call, () => this.#unsettledFee(call, settled[1]));
    if (!at.startsWith('/v1/proxy/')) return call.respond(404, '404 page not found', { 'Content-Type': 'text/plain' });
    if (!BILLED.test(at)) {
      if (this.generation === 'G2b') return this.refuseCall(call, 'unsupported endpoint: endpoint not supported');
      if (isGet && at === '/v1/proxy/models') return this.#models(call);
      return call.respond(404, { detail: 'Not Found' });
    }
    this.calls.push(call.request);
    this.notify();
    call.isChat = CHAT_PATHS.includes(at);
    return this.#guard(call, () => (this.script.shift() ?? this.usual)(call));
  }

  #guard(call, act) {
    Promise.resolve()
      .then(act)
      .catch((error) => {
        this.broken = error;
        call.respond(500, { error: `the stand-in broke: ${error.stack}` });
      });
  }

  // An error of the broker itself.
  refuseCall(call, text, status = 400, { prefix = true, source = 'broker', headers = {} } = {}) {
    this.refusals.push(text);
    const front = prefix && this.generation === 'G2a' ? 'Provider proxy: handle proxied service, ' : '';
    call.respond(status, goJson({ error: front + text }), {
      'Content-Type': 'application/json; charset=utf-8',
      ...(this.generation === 'G2b' ? { 'ZG-Failure-Source': source } : {}), ...headers,
    });
  }

  #models(call) {
    const service = this.chain?.services.get(this.address);
    const pricing = { prompt: String(service?.inputPrice ?? 0), completion: String(service?.outputPrice ?? 0) };
    const data = this.models.map((id) => ({
      id, object: 'model', created: 1700000000, owned_by: this.address, type: 'chatbot', pricing, verifiability: 'TeeML', tee_attested: true,
    }));
    call.respond(200, { object: 'list', data });
  }

  // The user of a good token; null when the request was refused.
  async #session(call) {
    const authorization = call.request.header('authorization');
    const claimed = claimedAddress(authorization);
    const account = claimed ? await this.accountOf(claimed) : null;
    const { address, error } = checkSessionToken(authorization, { provider: this.address, nowMs: Date.now() + this.clockMs, account });
    if (error) {
      this.refuseCall(call, `validate session: ${error}`, 400, { source: 'client' });
      return null;
    }
    return { address, account };
  }

  async #unsettledFee(call, user) {
    const session = await this.#session(call);
    if (!session) return;
    if (!same(session.address, user)) return this.refuseCall(call, 'you can only query your own unsettled fee', 403, { prefix: false });
    call.respond(200, { unsettledFee: String(this.unsettled.get(user.toLowerCase()) ?? 0n), userAddress: session.address });
  }

  // Why the account may not be billed, or null.
  async #billingRefusal({ address, account }) {
    const front = 'validate request: ';
    if (!account) return `${front}get account from contract, account not exist: user ${address}, provider ${this.address}`;
    if (!account.acknowledged)
      return `${front}user not acknowledge the provider, please use acknowledgeProviderSigner function in sdk first, it will take effect in 2 minutes`;
    const isKnown = this.chain ? (await this.chain.service(this.address)).teeSignerAcknowledged : this.isSignerAcknowledged;
    if (!isKnown) return `${front}service not acknowledge the tee signer`;
    const locked = BigInt(account.balance) - BigInt(account.pendingRefund);
    const unsettled = this.unsettled.get(address.toLowerCase()) ?? 0n;
    const required = unsettled + this.minReserve;
    if (locked >= required) return null;
    const { formatEther } = loadEthers();
    return `${front}insufficient balance: your locked balance is ${formatEther(locked)} 0G, but the required minimum is ` +
      `${formatEther(required)} 0G (breakdown: minimum reserve ${formatEther(this.minReserve)} 0G + unsettled fees ` +
      `${formatEther(unsettled)} 0G + current request fee 0 0G). Please add more funds with: 0g-compute-cli transfer-fund ` +
      `--provider ${this.address} --amount 1`;
  }

  // A balanced call: token, account, then an answer that is signed. `content`: what the model says.
  async chat(call, { content = ['hel', 'lo'] } = {}) {
    const session = await this.#session(call);
    if (!session) return;
    const refusal = await this.#billingRefusal(session);
    if (refusal) return this.refuseCall(call, refusal, 400, { source: 'client' });
    this.users.push(session.address);
    let request = call.request.body;
    if (call.isChat) {
      let body;
      try {
        body = call.request.json();
      } catch {
        return this.refuseCall(call, 'prepare HTTP request: invalid character in request body', 400, { source: 'client' });
      }
      if (this.refusesOtherModels && body.model !== this.model)
        return this.refuseCall(call, `validate request: model ${body.model} is not served by this provider`, 400, { source: 'client' });
      request = this.#forwarded(request, body);
    }
    const isImages = /\/images\//.test(call.request.target);
    call.signed = { request, parts: [], images: isImages ? this.images(call) : null };
    const fields = { Provider: this.address, 'X-Accel-Buffering': 'no', 'Transfer-Encoding': 'chunked' };
    const key = this.fault.resKeyUpperCase ? randomUUID().toUpperCase() : randomUUID();
    if (!this.separated) fields['Zg-Res-Key'] = key;
    // A broker of this generation signs before it ends the answer, an older one behind it.
    const sign = () => this.#sign(call, this.separated ? call.completionId : key);
    if (isImages) this.#send(call, JSON.stringify({ created: 1700000000, data: call.signed.images.map((b) => this.imageMember(b)) }), fields);
    else if (call.wantsStream) this.#stream(call, fields, [content].flat());
    else this.#whole(call, fields, [content].flat().join(''));
    if (this.generation === 'G2b') sign();
    call.endChunks();
    if (this.generation === 'G2a') sign();
    this.#bill(session.address);
  }

  // The images of an answer: two, each with bytes of its own. imageMember: how one stands in the answer.
  images(call) {
    return ['one', 'two'].map((name) => createHash('sha512').update(`${name} of ${call.request.body}`).digest());
  }

  imageMember(bytes) {
    return { b64_json: bytes.toString('base64'), revised_prompt: 'a "moon"' };
  }

  // The body as the model's server gets it.
  #forwarded(bytes, body) {
    const isLeftAlone = !this.rewritesBody || body.stream !== true || body.stream_options?.include_usage !== undefined;
    if (isLeftAlone) return bytes;
    return Buffer.from(goJson(sorted({ ...body, stream_options: { ...body.stream_options, include_usage: true } })));
  }

  #send(call, bytes, fields) {
    if (fields) call.head(200, { 'Content-Type': 'application/json', ...fields });
    call.signed.parts.push(Buffer.from(bytes));
    call.chunk(this.fault.alterBody ? altered(bytes) : bytes);
  }

  #stream(call, fields, pieces) {
    call.head(200, { 'Content-Type': 'text/event-stream', ...fields });
    const event = (data) => this.#send(call, `data: ${typeof data === 'string' ? data : JSON.stringify(data)}\n\n`);
    for (const content of pieces) event(chatChunk(call, { choices: [{ index: 0, delta: { content }, finish_reason: null }] }));
    event(chatChunk(call, { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }));
    event(chatChunk(call, { choices: [], usage: { prompt_tokens: 5, completion_tokens: 3, total_tokens: 8 } }));
    event('[DONE]');
  }

  #whole(call, fields, content) {
    call.head(200, { 'Content-Type': 'application/json', ...fields });
    this.#send(call, JSON.stringify(chatAnswer(call, content)));
  }

  #sign(call, key) {
    const { request, parts, images } = call.signed;
    const response = Buffer.concat(parts);
    let text = `${sha256(request)}:${images ? images.map(sha256).join(',') : sha256(response)}`;
    const extra = {};
    if (this.centralized) {
      Object.assign(extra, { provider_type: 'centralized', provider_identity: 'openai', tls_cert_fingerprint: sha256('a certificate') });
      text += `:${extra.provider_type}:${extra.provider_identity}:${extra.tls_cert_fingerprint}`;
    }
    if (this.fault.forgedText) text = `${sha256('another request')}:${sha256('another response')}`;
    const ethers = loadEthers();
    const wallet = this.fault.wrongSigner ? new ethers.Wallet(ethers.id('somebody else')) : this.separated ? this.target : this.tee;
    const signature = wallet.signMessageSync(text);
    const signed = { text, signature, signing_address: wallet.address.toLowerCase(), signing_algo: 'ecdsa', ...extra };
    this.answers.push({ key, request, response });
    if (!this.fault.noSignature) this.signatures.set(key, { signed, misses: this.fault.signatureMisses ?? 0 });
  }

  #bill(user) {
    const service = this.chain?.services.get(this.address);
    if (!service) return;
    const fee = 5n * BigInt(service.inputPrice) + 3n * BigInt(service.outputPrice);
    const key = user.toLowerCase();
    this.unsettled.set(key, (this.unsettled.get(key) ?? 0n) + fee);
  }

  #signature(call, target, query) {
    this.signatureAsks.push(call.request.target);
    this.notify();
    if (this.onSignature) return this.onSignature(call);
    const asked = decodeURIComponent(target.slice('/v1/proxy/signature/'.length));
    const model = new URLSearchParams(query).get('model');
    const entry = this.signatures.get(this.fault.replay ?? asked);
    if (model !== this.model) return this.refuseCall(call, `prepare HTTP request: model ${model} not found`);
    if (!entry || this.fault.signatureGone || entry.misses-- > 0)
      return this.refuseCall(call, 'prepare HTTP request: Chat id not found or expired, chat_id_not_found');
    if (this.fault.badAnswer !== undefined) return call.respond(200, this.fault.badAnswer, { 'Content-Type': 'application/json' });
    const signed = this.fault.badSignature === undefined ? entry.signed : { ...entry.signed, signature: this.fault.badSignature };
    call.respond(200, signed);
  }
}

// Another text, or other images.
function altered(bytes) {
  return bytes.includes('b64_json') ? bytes.replace(/"b64_json":"(.)/g, (_, c) => `"b64_json":"${c === 'A' ? 'B' : 'A'}`) : bytes.replaceAll('hel', 'hal');
}

// Whose account is looked up, before the signature says whether it is theirs.
function claimedAddress(authorization) {
  try {
    const payload = Buffer.from(authorization.slice('Bearer app-sk-'.length), 'base64').toString('utf8');
    const { address } = JSON.parse(payload.slice(0, payload.indexOf('|')));
    return loadEthers().isAddress(address) ? address : null;
  } catch {
    return null;
  }
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.keys(value).sort().map((k) => [k, sorted(value[k])]));
}
