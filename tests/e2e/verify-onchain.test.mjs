// Answers of providers on chain, verified against the real contracts, and against what the published SDK says of them.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Chain, noChain, quietly, sdkBroker } from './chain.mjs';
import { act } from './fake-provider.mjs';
import { RawClient, ask, assertError, chat, counters, eventually, events, health, lua, openChat, requestBytes, runMoongate, sleep, startDaemon } from './harness.mjs';
import { ZeroGProvider } from './zerog-provider.mjs';

const skip = noChain();
let chain;
let nextProvider = 0;
let nextUser = 0;

before(async () => {
  if (!skip) chain = await Chain.start();
});
after(() => chain?.stop());

// A user with money for each provider, and a daemon that acts for him. `funded: false`: the sub-accounts are not opened.
async function setup(t, { providers: wanted = [{}], config = {}, funded = true, ready = true } = {}) {
  const user = chain.user(nextUser++);
  const providers = [];
  for (const options of wanted)
    providers.push(await ZeroGProvider.start({ chain, account: chain.providerAccount(nextProvider++), ...options }));
  t.after(() => Promise.all(providers.map((p) => p.stop())));
  await chain.addLedger(user, 20);
  if (funded) for (const p of providers) await chain.transferFund(user, p.address, 2);
  const moon = await startDaemon(
    t,
    { providers: providers.map((p) => p.config()), rpc: chain.url, key: lua('env("WALLET")'), ...config },
    { env: { WALLET: user.key } },
  );
  if (ready) await eventually(async () => (await health(moon)).loadBalancer.healthyProviders === providers.length, 15000, 'ready providers');
  return { moon, user, providers };
}

const verify = async (moon, id) => {
  const r = await ask(moon, {
    method: 'POST', path: '/v1/verify', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ id }), ms: 60000,
  });
  return { status: r.status, response: r, ...(r.status === 200 ? r.json() : {}) };
};

async function ok(moon, body) {
  const r = await chat(moon, body);
  assert.equal(r.status, 200, r.text());
  return r;
}

for (const generation of ['G2a', 'G2b']) {
  for (const stream of [false, true]) {
    test(`an answer of ${generation} is proved, down to the request${stream ? ' (stream)' : ''}`, { skip }, async (t) => {
      const { moon, providers } = await setup(t, { providers: [{ generation, fault: { signatureMisses: 2 } }] });
      const answer = await ok(moon, { stream });
      const id = stream ? events(answer.text())[0].id : answer.json().id;
      for (const key of [answer.header('zg-res-key'), id]) {
        const v = await verify(moon, key);
        assert.equal(v.isValid, true, v.response.text());
        assert.deepEqual(
          [v.provider.toLowerCase(), v.type, v.signer, v.checks.signature, v.checks.response, v.checks.request],
          [providers[0].address.toLowerCase(), 'onchain', providers[0].tee.address, 'pass', 'pass', 'pass'],
        );
      }
      assert.match(providers[0].signatureAsks[0], new RegExp(`/v1/proxy/signature/${answer.header('zg-res-key')}\\?model=fake-model$`));
      assert.equal(providers[0].broken, undefined);
    });
  }
}

test('an empty sub-account, a daemon that may fund it: a streamed chat, verified', { skip }, async (t) => {
  const { moon, user, providers } = await setup(t, { funded: false, config: { autoFunding: { ledgerMin: 3, perProvider: 2, max: 5 } } });
  const answer = await ok(moon, { stream: true });
  assert.match(answer.text(), /\[DONE\]/);
  assert.equal((await verify(moon, answer.header('zg-res-key'))).isValid, true);
  assert.ok((await chain.account(user, providers[0].address)).balance >= 10n ** 18n);
});

test('variants: centralized (five parts) and a separate model TEE (its signer, the completion id)', { skip }, async (t) => {
  const { moon, providers: [central, separate] } = await setup(t, {
    providers: [{ centralized: true, model: 'central' }, { separated: true, model: 'separate' }],
  });
  const c = await verify(moon, (await ok(moon, { model: 'central' })).header('zg-res-key'));
  assert.equal(c.isValid, true, c.response.text());
  assert.equal(c.signer, central.tee.address);
  assert.equal(c.checks.routing, 'pass');
  const answer = await ok(moon, { model: 'separate' });
  assert.equal(answer.header('zg-res-key'), undefined);
  const s = await verify(moon, answer.json().id);
  assert.equal(s.isValid, true, s.response.text());
  assert.equal(s.signer, separate.target.address);
});

test('what is not what the provider signed is not valid, and the SDK judges the signature alike', { skip }, async (t) => {
  const { moon, user, providers: [p] } = await setup(t);
  const sdk = await sdkBroker(chain, user);
  const sdkSays = (key) => quietly(() => sdk.inference.processResponse(p.address, key));
  const cases = [
    // fault, the SDK's verdict, signature, response
    [{}, true, 'pass', 'pass'],
    [{ alterBody: true }, true, 'pass', 'fail'],
    [{ forgedText: true }, true, 'pass', 'fail'],
    [{ wrongSigner: true }, false, 'fail', 'pass'],
  ];
  for (const [fault, verdict, signature, response] of cases) {
    p.fault = fault;
    const answer = await ok(moon);
    const key = answer.header('zg-res-key');
    assert.equal(await sdkSays(key), verdict, JSON.stringify(fault));
    const v = await verify(moon, key);
    assert.equal(v.isValid, signature === 'pass' && response === 'pass', v.response.text());
    assert.equal(v.checks.signature, signature);
    assert.equal(v.checks.response, response);
    if (!v.isValid) assert.equal(typeof v.checks.reason, 'string');
  }
  p.fault = {};
  const first = (await ok(moon)).header('zg-res-key');
  const second = (await ok(moon, { messages: [{ role: 'user', content: 'another chat' }] })).header('zg-res-key');
  p.fault = { replay: first };
  assert.equal(await sdkSays(second), true, 'the SDK takes a replayed signature');
  const replayed = await verify(moon, second);
  assert.equal(replayed.isValid, false);
  assert.deepEqual([replayed.checks.signature, replayed.checks.response], ['pass', 'fail']);
  // Never true for what is no signature at all.
  p.fault = { badSignature: '0x00' };
  assert.equal((await verify(moon, first)).isValid, false);
  p.fault = { badAnswer: 'nope' };
  assert.equal((await verify(moon, first)).isValid, false);
  p.fault = { badAnswer: `"${'x'.repeat(200000)}"` };
  assertError((await verify(moon, first)).response, 502, { message: /longer than/ });
  const seen = await counters(moon, p.address);
  assert.ok(seen.verifyOk >= 1 && seen.verifyFail >= 4, JSON.stringify(seen));
  assert.equal(seen.state, 'degraded');
  assert.match(seen.reason, /failed its verification/);
  assert.ok(moon.logged(/does not verify/));
  // One that passes ends it.
  p.fault = {};
  assert.equal((await verify(moon, first)).isValid, true);
  assert.equal((await counters(moon, p.address)).state, 'up');
});

test('a signature that is gone, or a provider that is: 502 with the cause, and the balancer serves on', { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t);
  const key = (await ok(moon)).header('zg-res-key');
  p.fault = { signatureGone: true };
  const asked = verify(moon, key);
  await eventually(() => p.signatureAsks.length >= 2, 5000, 'a second question');
  assert.equal((await health(moon)).status, 'healthy', 'nothing is held up meanwhile');
  assertError((await asked).response, 502, { message: /chat_id_not_found/, code: 'signature_not_found' });
  p.onSignature = (call) => call.respond(503, 'busy');
  assertError((await verify(moon, key)).response, 502, { message: /status 503/ });
  p.onSignature = (call) => call.respond(302, '', { Location: 'http://127.0.0.1:1/' });
  assertError((await verify(moon, key)).response, 502, { message: /status 302/ });
  await p.refuse();
  assertError((await verify(moon, key)).response, 502, { message: /could not be asked/ });
  assert.equal((await counters(moon, p.address)).verifyFail, 0, 'no verdict is no failure');
});

test('a provider that is too busy for the question is asked again', { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t);
  const key = (await ok(moon)).header('zg-res-key');
  let left = 2;
  p.onSignature = (call) => {
    if (left-- > 0) return call.respond(left ? 429 : 503, { error: 'Too many requests. Please try again later.' });
    p.onSignature = undefined;
    p.take(call);
  };
  assert.equal((await verify(moon, key)).isValid, true);
});

const drawing = (moon, more = {}) =>
  ask(moon, {
    method: 'POST', path: '/v1/images/generations', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ prompt: 'a moon', response_format: 'b64_json', ...more }),
  });

test('images are proved one by one, down to the request; others than those that were signed are not', { skip }, async (t) => {
  const { moon, user, providers: [p] } = await setup(t, { providers: [{ service: { serviceType: 'text-to-image' } }] });
  const r = await drawing(moon);
  assert.equal(r.status, 200, r.text());
  assert.equal(r.json().data.length, 2);
  const { priceIn, priceUnit } = (await ask(moon, { path: '/admin/providers' })).json().providers[0].chain;
  assert.deepEqual([priceIn, priceUnit], ['0.00000005', 'image'], 'images are paid one by one');
  const v = await verify(moon, r.header('zg-res-key'));
  assert.deepEqual([v.isValid, v.checks.signature, v.checks.response, v.checks.request], [true, 'pass', 'pass', 'pass'], v.response.text());
  const sdk = await sdkBroker(chain, user);
  assert.equal(await quietly(() => sdk.inference.processResponse(p.address, r.header('zg-res-key'))), true);
  // An image of megabytes, in pieces.
  p.images = () => [Buffer.alloc(3_000_001, 'moon')];
  const large = await drawing(moon);
  assert.equal((await verify(moon, large.header('zg-res-key'))).isValid, true);
  p.fault = { alterBody: true };
  const altered = await drawing(moon);
  const bad = await verify(moon, altered.header('zg-res-key'));
  assert.deepEqual([bad.isValid, bad.checks.signature, bad.checks.response], [false, 'pass', 'fail'], bad.response.text());
  assert.match(bad.checks.reason, /about other images/);
});

test('what could not be compared is neither proved nor refuted: images that are given by their address', { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t, { providers: [{ service: { serviceType: 'text-to-image' } }], config: { verifyAnswers: 'all' } });
  p.imageMember = (bytes) => ({ url: `${p.origin}/v1/proxy/images/${bytes.length}/0` });
  const r = await drawing(moon, { response_format: 'url' });
  assert.equal(r.status, 200, r.text());
  const v = await verify(moon, r.header('zg-res-key'));
  assert.deepEqual([v.isValid, v.checks.signature, v.checks.response], [false, 'pass', 'unknown'], v.response.text());
  assert.match(v.checks.reason, /did not hold them \(ask for b64_json\)/);
  await eventually(() => p.signatureAsks.length >= 2, 5000, 'the question behind the answer');
  const seen = await counters(moon, p.address);
  assert.deepEqual([seen.verifyFail, seen.verifyOk, seen.state], [0, 0, 'up']);
  assert.ok(!moon.logged(/does not verify/));
});

test('a client that leaves at [DONE], before the end of the framing, has its answer proved; one that leaves earlier has none', { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t);
  p.usual = (call) => {
    call.endChunks = () => {}; // the last chunk never comes
    return p.chat(call);
  };
  const client = await openChat(moon, { stream: true });
  await client.until('[DONE]\n\n');
  const key = /zg-res-key: (\S+)/i.exec(client.bytes.toString('latin1'))[1];
  client.destroy();
  await eventually(async () => (await verify(moon, key)).isValid === true, 5000, 'a valid answer');
  assert.equal((await counters(moon, p.address)).outcomes.ok, 1);

  p.usual = (call) => call.streamHead({ 'Zg-Res-Key': 'early' }).delta('half');
  const early = await openChat(moon, { stream: true });
  await early.until('half');
  early.destroy();
  await eventually(async () => (await counters(moon, p.address)).outcomes.client_closed === 1, 5000, 'the end of the attempt');
  assert.equal((await verify(moon, 'early')).status, 404);
});

test('a request of megabytes is hashed to its last byte, through a retry with a fresh token as well', { skip }, async (t) => {
  const { moon, user, providers: [p] } = await setup(t);
  const messages = [{ role: 'user', content: 'x'.repeat(3_000_000) }];
  assert.equal((await verify(moon, (await ok(moon, { messages })).header('zg-res-key'))).checks.request, 'pass');
  await chain.revokeAllTokens(user, p.address);
  const v = await verify(moon, (await ok(moon, { messages, stream: true })).header('zg-res-key'));
  assert.deepEqual([v.isValid, v.checks.request], [true, 'pass']);
  assert.match(p.refusals.at(-1), /revoked/);
});

test('a client that leaves a verify, and a stop in the middle of many, leave nothing behind', { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t, { config: { verifyAnswers: 'all' } });
  p.onSignature = () => {}; // never answered
  const keys = [];
  for (let i = 0; i < 20; i++) keys.push((await ok(moon)).header('zg-res-key'));
  const asks = p.signatureAsks.length;
  const client = await RawClient.connect(moon.port);
  client.send(requestBytes({ method: 'POST', path: '/v1/verify', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ id: keys[0] }) }));
  await eventually(() => p.signatureAsks.length > asks, 5000, 'the question');
  client.destroy();
  assert.equal((await ok(moon)).status, 200);
  await moon.stop(); // clean, which the sanitizers' builds look at closely
});

test('a rotated signer is told; a revoked token is renewed; an unfunded provider is left out', { skip }, async (t) => {
  const { moon, user, providers: [rotated, revoked, unfunded] } = await setup(t, {
    providers: [{ model: 'rotated' }, { model: 'revoked' }, { model: 'unfunded', minReserve: 10n ** 21n }],
    config: { strictModels: true, maxRetries: 0 },
  });
  const before = (await ok(moon, { model: 'rotated' })).header('zg-res-key');
  assert.equal((await verify(moon, before)).isValid, true);
  // The TEE has another key than the contract knows: the answer does not verify, and the record is read again.
  await chain.rpc('evm_increaseTime', [5]);
  await sleep(3200); // since the last reading: the next one begins soon after it is asked for, however often it is
  await chain.rotateSigner(rotated.address, rotated.rotateKey());
  await eventually(async () => {
    const v = await verify(moon, (await ok(moon, { model: 'rotated' })).header('zg-res-key'));
    return v.isValid === true;
  }, 20000, 'the new signer');
  const v = await verify(moon, before);
  assert.equal(v.isValid, false);
  assert.match(v.checks.reasons.signature, /may have been replaced/);

  const n = revoked.calls.length;
  await chain.revokeAllTokens(user, revoked.address);
  const answer = await ok(moon, { model: 'revoked' });
  assert.equal((await verify(moon, answer.header('zg-res-key'))).isValid, true);
  assert.equal(revoked.calls.length, n + 2, 'one refusal, one retry');
  assert.match(revoked.refusals.at(-1), /revoked/);

  const r = await chat(moon, { model: 'unfunded' });
  assertError(r, 502);
  const seen = await counters(moon, unfunded.address);
  assert.match(seen.reason, /it requires 1000\.0 0G: run `0g-compute-cli transfer-fund --service inference --provider 0x\w{40} --amount [\d.]+`, or set autoFunding/);
});

test("a caller's own mistake reaches the caller as it came and harms nobody", { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t);
  const body = '{"error":"prepare HTTP request: unexpected end of JSON input"}';
  for (let i = 0; i < 8; i++) {
    p.next(act.status(400, body, { 'Content-Type': 'application/json' }));
    const r = await chat(moon);
    assert.deepEqual([r.status, r.text()], [400, body]);
  }
  const seen = await counters(moon, p.address);
  assert.equal(seen.isHealthy, true);
  assert.equal(seen.cooldownMs, 0);
});

for (const [what, refusal, remedy] of [
  ['has no account', 'validate request: get account from contract, account not exist: x', /no sub-account with it: run `0g-compute-cli transfer-fund/],
  ['is not acknowledged', 'validate request: user not acknowledge the provider', /run `0g-compute-cli inference acknowledge-provider/],
  ['has a signer that nobody acknowledged', 'validate request: service not acknowledge the tee signer', /other providers/],
]) {
  test(`a provider where our account ${what} is replaced, and never seen by the caller as a 400`, { skip }, async (t) => {
    const { moon, providers: [a, b] } = await setup(t, { providers: [{}, {}], config: { strategy: 'priority', healthCheckInterval: 60000 } });
    for (const p of [a, b]) p.next(act.status(400, { error: refusal }));
    const r = await chat(moon);
    assertError(r, 502);
    assert.doesNotMatch(r.text(), /validate request/);
    const seen = [await counters(moon, a.address), await counters(moon, b.address)];
    for (const s of seen) assert.equal(s.outcomes.exhausted, 1);
    assert.ok(moon.logged(remedy), moon.stderr);
  });
}

test('verifyAnswers = "all" verifies behind each answer, "sample" a share, and the default none', { skip }, async (t) => {
  for (const config of [{}, { verifyAnswers: 'sample', verifySampleRate: 0 }]) {
    const { moon, providers: [p] } = await setup(t, { config });
    const key = (await ok(moon)).header('zg-res-key');
    assert.equal((await verify(moon, key)).isValid, true);
    assert.equal(p.signatureAsks.length, 1, 'only the one that was asked for');
  }
  const sampled = await setup(t, { config: { verifyAnswers: 'sample', verifySampleRate: 0.5 } });
  for (let i = 0; i < 64; i++) await ok(sampled.moon);
  await eventually(() => sampled.providers[0].signatureAsks.length > 8, 15000, 'some of 64');
  assert.ok(sampled.providers[0].signatureAsks.length < 60);
  const { moon, providers: [p] } = await setup(t, { config: { verifyAnswers: 'all' } });
  for (let i = 0; i < 5; i++) await ok(moon, { stream: i % 2 === 0 });
  await eventually(async () => (await counters(moon, p.address)).verifyOk === 5, 15000, 'five verified answers');
  p.fault = { alterBody: true };
  await ok(moon);
  await eventually(async () => (await counters(moon, p.address)).verifyFail === 1, 15000, 'a failed verification');
  assert.ok(moon.logged(/ERROR.*does not verify|error.*does not verify/i));
});

test('moongate verify tells the verdict in words and by its exit code', { skip }, async (t) => {
  const { moon, providers: [p] } = await setup(t);
  const key = (await ok(moon)).header('zg-res-key');
  const port = ['--port', String(moon.port)];
  const good = await runMoongate(['verify', key, ...port]);
  assert.equal(good.code, 0, good.stderr);
  assert.match(good.stdout, /^valid: provider 0x/);
  const json = await runMoongate(['verify', key, '--json', ...port]);
  assert.equal(JSON.parse(json.stdout).isValid, true);
  p.fault = { alterBody: true };
  const altered = (await ok(moon)).header('zg-res-key');
  const bad = await runMoongate(['verify', altered, ...port]);
  assert.equal(bad.code, 1);
  assert.match(bad.stdout, /^NOT VALID/);
  assert.match(bad.stdout, /response +fail: the signed text is about another response/);
  const unknown = await runMoongate(['verify', 'nobody-knows', ...port]);
  assert.deepEqual([unknown.code, unknown.stdout], [1, 'not verified: No cached content for this id (status 404)\n']);
});
