// GET /metrics: the text that Prometheus reads, what it counts, and who may read it.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import {
  RawClient, SLOW, ask, assertError, chat, chatRequest, eventually, health, openChat, requestBytes, setup, sleep, temporaryFolder,
} from './harness.mjs';

const NAME = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const SAMPLE = new RegExp(`^(${NAME})(?:\\{((?:[a-z0-9_]+="(?:[^"\\\\\\n]|\\\\["\\\\n])*",?)*)\\})? (\\S+)$`);

// As the format wants it: each family once, described before its samples. Returns samples by their text up to the value.
function parse(text) {
  assert.ok(text.endsWith('\n'));
  const samples = new Map();
  const types = new Map();
  let family = null;
  for (const line of text.slice(0, -1).split('\n')) {
    const meta = /^# (HELP|TYPE) (\S+) (.+)$/.exec(line);
    if (meta && meta[1] === 'HELP') {
      assert.ok(!types.has(meta[2]), `${meta[2]} twice`);
      family = meta[2];
    } else if (meta) {
      assert.equal(meta[2], family);
      assert.match(meta[3], /^(counter|gauge|histogram|summary)$/);
      types.set(family, meta[3]);
    } else {
      const m = SAMPLE.exec(line);
      assert.ok(m, line);
      assert.equal(m[1].replace(/_(bucket|sum|count)$/, ''), family.replace(/_(bucket|sum|count)$/, ''), line);
      assert.ok(/^[+-]Inf$/.test(m[3]) || Number.isFinite(Number(m[3])), line);
      const key = line.slice(0, -m[3].length - 1);
      assert.ok(!samples.has(key), `${key} twice`);
      samples.set(key, Number(m[3]));
    }
  }
  return { samples, types };
}

async function metrics(moon) {
  const r = await ask(moon, { path: '/metrics' });
  assert.equal(r.status, 200);
  assert.match(r.header('content-type'), /^text\/plain; version=0\.0\.4/);
  return parse(r.text());
}

test('requests, attempts and tokens are counted over all workers', async (t) => {
  const providers = [{ id: 'a', model: 'own "name"\\', priority: 1 }, { id: 'b', model: 'm', priority: 2 }];
  const { moon, byId } = await setup(t, {
    providers, models: { x: ['a', 'b'] }, strategy: 'priority', workers: 2, health: { ejectAfter: 0 },
  });
  byId.a.always(act.status(500));
  for (let i = 0; i < 6; i++) assert.equal((await chat(moon, { model: 'x' })).status, 200);
  assert.equal((await chat(moon, { model: 'x', stream: true })).status, 200);
  assertError(await chat(moon, { messages: [] }), 400);
  assert.equal((await ask(moon, { method: 'POST', path: '/v1/embeddings', body: '{"input":"x"}' })).status, 200);
  const { samples, types } = await metrics(moon);
  const is = (key, value) => assert.equal(samples.get(`moongate_${key}`), value, key);
  is('requests_total{kind="chat",status="200",stream="false"}', 6);
  is('requests_total{kind="chat",status="200",stream="true"}', 1);
  is('requests_total{kind="chat",status="400",stream="false"}', 1);
  is('requests_total{kind="embeddings",status="200",stream="false"}', 1);
  is('request_duration_seconds_count{kind="chat"}', 8);
  is('request_duration_seconds_bucket{kind="chat",le="+Inf"}', 8);
  is('attempts_total{provider="a",model="own \\"name\\"\\\\",class="server",attempt="first"}', 8);
  is('attempts_total{provider="a",model="own \\"name\\"\\\\",class="server",attempt="retry"}', 0);
  is('attempts_total{provider="b",model="m",class="ok",attempt="first"}', 0);
  is('attempts_total{provider="b",model="m",class="ok",attempt="retry"}', 8);
  is('provider_probes_total{provider="a",result="ok"}', 1);
  is('provider_probe_duration_seconds_count{provider="a",result="ok"}', 1);
  is('provider_probe_duration_seconds_count{provider="a",result="fail"}', 0);
  is('time_to_first_token_seconds_count{provider="b",model="m"}', 1);
  is('provider_inflight_requests{provider="a"}', 0);
  is('provider_state{provider="a",state="up"}', 1);
  is('provider_state{provider="a",state="down"}', 0);
  is('strategy_calls_total{strategy="priority",hook="select"}', 16);
  const timed = samples.get('moongate_strategy_duration_seconds_count{strategy="priority",hook="select"}');
  assert.ok(timed >= 1 && timed <= 16);
  const counted = (await ask(moon, { path: '/admin/providers' })).json().providers[1];
  is('tokens_total{provider="b",model="m",type="input"}', counted.tokensIn);
  is('tokens_total{provider="b",model="m",type="output"}', counted.tokensOut);
  assert.equal(types.get('moongate_requests_total'), 'counter');
  for (const name of ['request_duration_seconds', 'strategy_duration_seconds', 'provider_probe_duration_seconds'])
    assert.equal(types.get(`moongate_${name}`), 'histogram');
});

test('what takes a provider out of the choice, and what ends a request without an answer, is counted by its reason', async (t) => {
  const providers = [{ id: 'a', priority: 1 }, { id: 'b', priority: 2 }];
  const { moon, byId } = await setup(t, { providers, maxRetries: 1, strategy: 'priority', health: { ejectAfter: 1 } });
  const ask2 = (headers) => chat(moon, {}, headers);
  byId.a.next(act.status(429, undefined, { 'Retry-After': '600' }));
  assert.equal((await ask2()).header('x-provider-address'), 'b');
  assert.equal((await ask2({ 'X-0G-Provider-Address': 'b' })).status, 200);
  assert.equal((await ask2({ 'X-0G-Provider-Address': 'nobody' })).status, 404);
  byId.b.next(act.status(500));
  assert.equal((await ask2()).status, 500, 'nobody is left');
  assert.equal((await ask2()).status, 200, 'the rule for the case that nobody is healthy');
  await ask(moon, { method: 'POST', path: '/admin/providers/b/disable' });
  assert.equal((await ask2()).status, 503);
  const { samples } = await metrics(moon);
  const is = (key, value) => assert.equal(samples.get(`moongate_${key}`), value, key);
  is('provider_cooldowns_total{provider="a",reason="rate_limited"}', 1);
  is('provider_cooldowns_total{provider="b",reason="rate_limited"}', 0);
  is('provider_ejections_total{provider="b",reason="server"}', 1);
  is('pick_exclusions_total{provider="a",reason="cooldown"}', 4);
  is('pick_exclusions_total{provider="b",reason="health"}', 1);
  is('pick_exclusions_total{provider="b",reason="admin"}', 1);
  is('retries_denied_total{reason="no_provider"}', 1);
  is('retries_denied_total{reason="max_retries"}', 0);
  is('affinity_total{source="header",outcome="hit"}', 1);
  is('affinity_total{source="header",outcome="strict_fail"}', 1);
});

test('histograms are cumulative, and their last bucket is their count', async (t) => {
  const { moon } = await setup(t);
  for (let i = 0; i < 3; i++) await chat(moon, { stream: true });
  const { samples } = await metrics(moon);
  for (const name of ['request_duration_seconds', 'time_to_first_token_seconds', 'time_per_output_token_seconds']) {
    const buckets = [...samples].filter(([key]) => key.startsWith(`moongate_${name}_bucket{`) && !/kind="(?!chat)/.test(key));
    assert.equal(buckets.length, 15);
    buckets.forEach(([, n], i) => assert.ok(i === 0 || n >= buckets[i - 1][1]));
    const count = [...samples].find(([key]) => key.startsWith(`moongate_${name}_count{`) && !/kind="(?!chat)/.test(key))[1];
    assert.equal(buckets.at(-1)[1], count);
    assert.match(buckets.at(-1)[0], /le="\+Inf"/);
  }
});

// Sum, count and buckets of a histogram without labels.
async function times(moon, name) {
  const { samples, types } = await metrics(moon);
  assert.equal(types.get(`moongate_${name}`), 'histogram');
  const get = (key) => samples.get(`moongate_${name}_${key}`);
  assert.equal(get('bucket{le="+Inf"}'), get('count'));
  return { sum: get('sum'), count: get('count'), upTo: (le) => get(`bucket{le="${le}"}`) };
}

// A strategy of these callbacks, in which `spend(ms)` keeps the worker busy.
function busyStrategy(t, callbacks) {
  const file = path.join(temporaryFolder(t), 'busy.lua');
  writeFileSync(file, `
    local function spend(ms)
      local till = lb.now_ms() + ms
      while lb.now_ms() < till do end
    end
    return { abi = 1, name = "busy", ${callbacks} }\n`);
  return { strategy: file, callBudget: 1000, reload: { canary: false }, workers: 1 };
}

test('the own time of a request is neither its upload, nor its wait in the queue, nor the provider\'s time', async (t) => {
  const { moon, providers } = await setup(t, { maxActiveRequests: 1, workers: 1, maxRetries: 1 });
  const bytes = requestBytes(chatRequest());
  const client = await RawClient.connect(moon.port);
  for (const at of [0, bytes.length - 40, bytes.length - 20]) {
    if (at) await sleep(150);
    client.send(bytes.subarray(at, at ? at + 20 : bytes.length - 40));
  }
  assert.equal((await client.response()).status, 200);
  client.destroy();
  const first = providers[0].manual();
  const running = await openChat(moon);
  const call = await first;
  const waiting = await openChat(moon);
  await eventually(async () => (await health(moon)).load.queuedRequests === 1, 5000, 'the queue');
  await sleep(300);
  act.ok()(call);
  assert.equal((await running.response()).status, 200);
  assert.equal((await waiting.response()).status, 200);
  for (const c of [running, waiting]) c.destroy();
  assertError(await chat(moon, { messages: [] }), 400);
  const own = await times(moon, 'upstream_overhead_seconds');
  assert.equal(own.count, 3, 'requests with an attempt');
  assert.ok(own.sum > 0 && own.sum < 0.1 * SLOW, `${own.sum} s`);
});

test('a request\'s own time ends with its first attempt', async (t) => {
  const { moon, byId } = await setup(t, {
    ...busyStrategy(t, `select = function() return { 1, 2 } end, retry = function() spend(60) return "next" end`), providers: 2,
  });
  byId.a.always(act.status(500));
  byId.b.always(act.status(500));
  assert.equal((await chat(moon)).status, 500);
  const own = await times(moon, 'upstream_overhead_seconds');
  assert.equal(own.count, 1);
  assert.ok(own.sum < 0.05 * SLOW, `${own.sum} s`);
});

test('what a strategy takes to choose is in a request\'s own time', async (t) => {
  const { moon } = await setup(t, busyStrategy(t, 'select = function() spend(20) return 1 end'));
  for (let i = 0; i < 3; i++) assert.equal((await chat(moon)).status, 200);
  const own = await times(moon, 'upstream_overhead_seconds');
  assert.equal(own.count, 3);
  assert.equal(own.upTo('0.016384'), 0);
  assert.ok(own.sum >= 0.06 - 3e-6 && own.sum < 0.06 + 0.3 * SLOW, `${own.sum} s`);
});

test('the loop\'s lag shows what keeps a worker busy, between requests as well, and no waiting', async (t) => {
  const { moon, providers } = await setup(t, { workers: 1 });
  providers[0].always((call) => setTimeout(() => act.ok()(call), 200));
  for (let i = 0; i < 3; i++) assert.equal((await chat(moon)).status, 200);
  const idle = await times(moon, 'loop_lag_seconds');
  assert.ok(idle.count >= 6, 'two turns for each chat');
  assert.ok(idle.sum < 0.1 * SLOW, `${idle.sum} s`);
  for (const callbacks of ['select = function() spend(50) return 1 end', 'select = function() return 1 end, tick = function() spend(50) end']) {
    const { moon: busy } = await setup(t, busyStrategy(t, callbacks));
    for (let i = 0; i < 2; i++) assert.equal((await chat(busy)).status, 200);
    await eventually(async () => {
      const lag = await times(busy, 'loop_lag_seconds');
      return lag.count - lag.upTo('0.032') >= 2 && lag.sum >= 0.098;
    }, 5000 * SLOW, 'two long turns');
  }
});

test('what a client says is never a label', async (t) => {
  const { moon } = await setup(t);
  await chat(moon, { model: 'made-up-by-a-client' }, { 'X-Request-Id': 'id-of-a-client' });
  const text = (await ask(moon, { path: '/metrics' })).text();
  assert.doesNotMatch(text, /made-up-by-a-client|id-of-a-client/);
});

test('the metrics are for those who may see the admin routes', async (t) => {
  const { moon } = await setup(t, { adminToken: 'the-token' });
  assertError(await ask(moon, { path: '/metrics' }), 401);
  const authorized = { Authorization: 'Bearer the-token' };
  assert.equal((await ask(moon, { path: '/metrics', headers: authorized })).status, 200);
  const { moon: open } = await setup(t);
  assertError(await ask(open, { path: '/metrics', headers: { Host: 'evil.example' } }), 403);
  assertError(await ask(open, { method: 'POST', path: '/metrics' }), 405);
});
