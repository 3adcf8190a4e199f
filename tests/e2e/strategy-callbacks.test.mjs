// What a strategy's callbacks are told and what follows from their answers, as seen from outside: a script tells through
// lb.log what it sees, the tests compare that with what providers and clients did. In both guards.
import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { act } from './fake-provider.mjs';
import { RawClient, SLOW, ask, chat, chatRequest, eventually, requestBytes, setup, sleep, temporaryFolder } from './harness.mjs';

const GUARDS = ['strict', 'fast'];

const FIELDS = {
  provider: `index slot id address kind model weight priority in_flight dispatched latency_ms ttft_ms tpot_ms peak_ttft_ms
    samples error_rate throttle_rate consecutive_failures last_class state state_since_ms cooldown_ms rl_requests_left
    rl_tokens_left rl_reset_ms price_in price_out balance runway_s token_expires_s verifiable verify_ok verify_fail`,
  request: `id kind model stream body_bytes est_input_tokens max_tokens attempt elapsed_ms deadline_ms session_key prefix_hash
    client`,
  outcome: 'class status retry_after_ms connect_ms ttft_ms total_ms tokens_in tokens_out committed',
  evidence: 'is_probe ok status latency_ms attempts failures reason',
};

// tell(what, view, names): one log line "@@{json}" with the named fields of a view. Numbers that JSON does not know are texts.
const TELL = `
local function json(v)
  if type(v) == "string" then return '"' .. v:gsub('[%c"\\\\]', "?") .. '"' end
  if type(v) == "number" and (v ~= v or v == math.huge) then return '"' .. (v ~= v and "nan" or "inf") .. '"' end
  if type(v) == "number" then return ("%.17g"):format(v) end
  return v == nil and "null" or tostring(v)
end
local function tell(what, view, names, more)
  local out = { '"what":' .. json(what) }
  for name in (names or ""):gmatch("%S+") do out[#out + 1] = '"' .. name .. '":' .. json(view[name]) end
  for name, value in pairs(more or {}) do out[#out + 1] = '"' .. name .. '":' .. json(value) end
  lb.log("info", "@@{" .. table.concat(out, ",") .. "}")
end
${Object.entries(FIELDS).map(([name, list]) => `local ${name.toUpperCase()} = "${list.replace(/\s+/g, ' ')}"`).join('\n')}
`;

// Starts with a strategy of these fields; `told(what)` are the lines so far, parsed.
async function begin(t, fields, config = {}) {
  const file = path.join(temporaryFolder(t), 'told.lua');
  writeFileSync(file, `${TELL}\nreturn { abi = 1, name = "told",\n${fields}\n}\n`);
  // All that telling takes its time, most of all about the many providers of a trial.
  const patience = { callBudget: 200, reload: { canary: false } };
  const started = await setup(t, { providers: 3, workers: 1, strategy: file, health: { ejectAfter: 0 }, ...patience, ...config });
  const told = (what) => started.moon.stderr.split('\n').flatMap((line) => {
    const at = line.indexOf('@@');
    return at < 0 ? [] : [JSON.parse(line.slice(at + 2))];
  }).filter((x) => x.what === what);
  return { ...started, told };
}

const first = 'select = function() return 1 end,';
const between = (n, low, high) => assert.ok(n >= low && n <= high, `${n} is not between ${low} and ${high}`);

for (const guard of GUARDS) {
  test(`select sees the request and its candidates as they are (${guard})`, async (t) => {
    const { moon, byId, told } = await begin(t, `
      select = function(_, req, pool)
        tell("request", req, REQUEST, { team = req:header("X-Team"), type = req:header("content-type"), own = req:header("x-request-id"),
          key = req:header("Authorization"), cookie = req:header("cookie"), rand = req:rand(), hash = req:hash("a") })
        for i = 1, #pool do tell("provider", pool[i], PROVIDER, { n = #pool, gpu = pool[i].tags.gpu }) end
        return 1
      end,`, {
      guard, forwardHeaders: ['X-Team'], timeouts: { total: 50000 },
      providers: [{ id: 'a', weight: 2.5, priority: 10, tags: { gpu: true } }, { id: 'b', model: 'b-model' }],
      models: { both: ['a', 'b'] },
    });
    const body = JSON.stringify({ model: 'both', messages: [{ role: 'user', content: 'é' }], stream: true, max_tokens: 77, prompt_cache_key: 'from-body' });
    const sent = { 'Content-Type': 'application/json', 'X-Team': 'red', Authorization: 'Bearer x', Cookie: 'a=b', 'X-Request-Id': 'same' };
    const post = (more = {}) => ask(moon, { method: 'POST', path: '/v1/chat/completions', headers: { ...sent, ...more }, body });
    assert.equal((await post()).status, 200);
    const [r] = await eventually(() => told('request').length && told('request'));
    assert.deepEqual(
      [r.id, r.kind, r.model, r.stream, r.body_bytes, r.est_input_tokens, r.max_tokens, r.attempt, r.session_key, r.client],
      ['same', 'chat', 'both', true, Buffer.byteLength(body), Math.floor(Buffer.byteLength(body) / 4), 77, 1, 'from-body', '127.0.0.1']);
    assert.deepEqual([r.team, r.type, r.own, r.key, r.cookie], ['red', 'application/json', 'same', undefined, undefined]);
    between(r.elapsed_ms, 0, 5000);
    between(r.deadline_ms + r.elapsed_ms, 49999, 50001);
    between(r.rand, 0, 1);
    assert.ok(Number.isInteger(r.hash) && Number.isInteger(r.prefix_hash) && r.prefix_hash > 0);

    const [a, b] = told('provider');
    const fresh = { kind: 'direct', address: '', in_flight: 0, dispatched: 0, samples: 0, latency_ms: 'nan', ttft_ms: 'nan', tpot_ms: 'nan',
      peak_ttft_ms: 'nan', error_rate: 0, throttle_rate: 0, consecutive_failures: 0, state: 'up', cooldown_ms: 0, rl_requests_left: 'nan',
      rl_tokens_left: 'nan', rl_reset_ms: 'nan', price_in: 'nan', price_out: 'nan', balance: 'nan', runway_s: 'nan', token_expires_s: 'nan',
      verifiable: false, verify_ok: 0, verify_fail: 0, n: 2 };
    for (const p of [a, b]) for (const [name, value] of Object.entries(fresh)) assert.equal(p[name], value, name);
    assert.deepEqual([a.index, a.slot, a.id, a.model, a.weight, a.priority, a.gpu], [1, 1, 'a', 'fake-model', 2.5, 10, 'true']);
    assert.deepEqual([b.index, b.slot, b.id, b.model, b.weight, b.priority, b.gpu], [2, 2, 'b', 'b-model', 1, 50, undefined]);

    // The same id draws the same numbers; a session of its own wins over the body's; what the provider says is left counts down.
    byId.a.next(act.ok({ headers: { 'x-ratelimit-remaining-requests': '9', 'x-ratelimit-remaining-tokens': '900', 'x-ratelimit-reset-requests': '1m2s' } }));
    await post({ 'X-Session-Id': 'from-head' });
    await post({ 'X-Request-Id': 'other' });
    const [, again, other] = await eventually(() => told('request').length === 3 && told('request'));
    assert.deepEqual([again.rand, again.hash, again.session_key], [r.rand, r.hash, 'from-head']);
    assert.ok(other.rand !== r.rand && other.hash !== r.hash);
    const later = told('provider').filter((p) => p.id === 'a').at(-1);
    assert.deepEqual([later.rl_requests_left, later.rl_tokens_left, later.dispatched, later.samples, later.last_class], [9, 900, 2, 2, 'ok']);
    between(later.rl_reset_ms, 30000, 62000);
    assert.ok(later.ttft_ms > 0 && later.latency_ms >= later.ttft_ms && later.peak_ttft_ms > 0);
  });

  test(`observe and retry are told how each attempt ended, observe exactly once (${guard})`, async (t) => {
    const { moon, byId, told } = await begin(t, `
      ${first}
      retry = function(_, req, outcome) tell("retry", outcome, OUTCOME, { request = req.id, attempt = req.attempt }) end,
      observe = function(_, req, p, outcome)
        tell("observe", outcome, OUTCOME, { request = req.id, attempt = req.attempt, provider = p.id, in_flight = p.in_flight })
      end,`, { guard, timeouts: { firstByte: 400 * SLOW, idle: 400 * SLOW, total: 1500 * SLOW }, providers: [{ id: 'a' }], maxRetries: 0 });
    const only = async (id, call) => {
      await call();
      const list = await eventually(() => told('observe').filter((o) => o.request === id).length && told('observe').filter((o) => o.request === id));
      assert.equal(list.length, 1);
      return list[0];
    };
    const by = (id, behaviour, body = {}) => only(id, () => {
      if (behaviour) byId.a.next(behaviour);
      return chat(moon, body, { 'X-Request-Id': id });
    });
    const ok = await by('ok');
    assert.deepEqual([ok.class, ok.status, ok.retry_after_ms, ok.tokens_in, ok.tokens_out, ok.committed, ok.attempt, ok.provider, ok.in_flight],
      ['ok', 200, 0, 5, 3, true, 1, 'a', 0]);
    assert.ok(ok.connect_ms >= 0 && ok.ttft_ms > 0 && ok.total_ms >= ok.ttft_ms);
    const busy = await by('busy', act.slow(150, act.status(503, {}, { 'Retry-After': '2' })));
    assert.deepEqual([busy.class, busy.status, busy.retry_after_ms, busy.tokens_in, busy.tokens_out, busy.committed],
      ['overloaded', 503, 2000, 'nan', 'nan', false]);
    between(busy.ttft_ms, 140, 400 * SLOW);
    assert.equal(busy.connect_ms, 0, 'over the connection of the one before');
    const silent = await by('silent', act.silent());
    assert.deepEqual([silent.class, silent.status, silent.ttft_ms, silent.committed], ['timeout_ttft', 0, 'nan', false]);
    assert.ok(silent.connect_ms >= 0, 'there was a connection, but no answer');
    between(silent.total_ms, 390 * SLOW, 1400 * SLOW);
    const cut = await by('cut', act.truncatedStream(), { stream: true });
    assert.deepEqual([cut.class, cut.status, cut.committed], ['stream_truncated', 200, true]);
    const stalled = await by('stalled', (call) => call.streamHead().delta('x'), { stream: true });
    assert.deepEqual([stalled.class, stalled.committed], ['timeout_idle', true]);
    const late = await by('late', async (call) => {
      call.streamHead();
      while (!call.socket.destroyed) {
        call.chunk(': still here\n\n');
        await sleep(100);
      }
    }, { stream: true });
    assert.deepEqual([late.class, late.committed], ['timeout_total', false]);
    const gone = await only('gone', async () => {
      const called = byId.a.manual();
      const client = await RawClient.connect(moon.port);
      client.send(requestBytes(chatRequest({}, { 'X-Request-Id': 'gone' })));
      await called;
      client.destroy();
    });
    assert.deepEqual([gone.class, gone.status, gone.committed], ['client_closed', 0, false]);
    assert.ok(gone.connect_ms >= 0);
    await byId.a.refuse();
    const refused = await by('refused');
    assert.deepEqual([refused.class, refused.status, refused.connect_ms, refused.ttft_ms], ['connect', 0, 'nan', 'nan']);
    assert.deepEqual(told('retry').map((r) => r.request), ['busy', 'silent', 'refused'], 'only of attempts that failed, and none that reached the client');
  });

  test(`what retry answers is done, within maxRetries (${guard})`, async (t) => {
    // [what is returned, attempts at each of three providers after a 500, the same after a 400]
    const cases = [['lb.NEXT', [1, 1, 1], [1, 1, 1]], ['lb.SAME', [3, 0, 0], [3, 0, 0]], ['lb.STOP', [1, 0, 0], [1, 0, 0]],
      ['lb.DEFAULT', [1, 1, 1], [1, 0, 0]], ['nil', [1, 1, 1], [1, 0, 0]], ['"nonsense"', [1, 1, 1], [1, 0, 0]]];
    for (const [verdict, ...wanted] of cases) {
      const { moon, providers } = await begin(t, `${first} retry = function() return ${verdict} end,`, { guard, maxRetries: 2 });
      for (const [i, status] of [500, 400].entries()) {
        const before = providers.map((p) => p.calls.length);
        for (const p of providers) p.always(act.status(status));
        assert.equal((await chat(moon)).status, status);
        assert.deepEqual(providers.map((p, k) => p.calls.length - before[k]), wanted[i], `${verdict} after ${status}`);
      }
      await moon.stop();
    }
  });

  test(`a list is walked on failure without asking again, then select decides among the rest (${guard})`, async (t) => {
    const { moon, providers, told } = await begin(t, `
      select = function(_, req, pool) tell("asked", req, "attempt", { n = #pool }) return { 3, 1 } end,`, { guard });
    const order = [];
    for (const p of providers) p.always((call) => {
      order.push(p.id);
      act.status(500)(call);
    });
    assert.equal((await chat(moon)).header('x-provider-address'), 'b');
    assert.deepEqual(order, ['c', 'a', 'b']);
    assert.deepEqual(told('asked').map((x) => [x.attempt, x.n]), [[1, 3], [3, 1]]);
  });

  test(`none is a 503 with the reason; equal scores share, nil and NaN exclude (${guard})`, async (t) => {
    const none = await begin(t, 'select = function() return nil, "all too dear" end,', { guard });
    const r = await chat(none.moon);
    assert.equal(r.status, 503);
    assert.match(r.json().error.message, /all too dear/);
    assert.ok(Number(r.header('retry-after')) >= 1);
    const scored = await begin(t, `
      score = function(_, req, p)
        if req.session_key == "none" then return nil end
        return p.id == "b" and 0 / 0 or 7
      end,`, { guard });
    for (let i = 0; i < 60; i++) assert.equal((await chat(scored.moon)).status, 200);
    const [a, b, c] = scored.providers.map((p) => p.calls.length);
    assert.equal(b, 0);
    assert.ok(a > 5 && c > 5, `${a} ${c}`);
    assert.equal((await chat(scored.moon, {}, { 'X-Session-Id': 'none' })).status, 503);
  });

  test(`health is asked about probes and attempts, and its verdict holds (${guard})`, async (t) => {
    const { moon, byId, told } = await begin(t, `
      ${first}
      health = function(_, p, evidence)
        tell("health", evidence, EVIDENCE, { provider = p.id })
        if p.id ~= "a" then return nil end
        if evidence.is_probe then return evidence.ok and lb.UP or lb.DOWN, "by the script" end
        if evidence.failures > 0 then return lb.DEGRADED, "by the script" end
      end,`, { guard, providers: 2, healthCheckInterval: 200, maxRetries: 1 });
    const state = async () => (await ask(moon, { path: '/admin/providers' })).json().providers[0];
    await eventually(() => told('health').some((e) => e.provider === 'a' && e.is_probe));
    const probe = told('health').find((e) => e.provider === 'a');
    assert.deepEqual([probe.ok, probe.status, probe.attempts, probe.failures, probe.reason], [true, 200, 1, 0, null]);
    assert.ok(probe.latency_ms > 0);
    byId.a.onModels = act.status(500);
    await eventually(async () => (await state()).state === 'down');
    assert.equal((await state()).reason, 'by the script');
    assert.equal((await chat(moon)).header('x-provider-address'), 'b');
    byId.a.onModels = null;
    await eventually(async () => (await state()).state === 'up');
    byId.a.next(act.status(500));
    await chat(moon);
    const window = await eventually(() => told('health').find((e) => e.provider === 'a' && !e.is_probe));
    assert.deepEqual([window.ok, window.attempts, window.failures, window.status], [false, 1, 1, 0]);
  });

  test(`tick comes every second in each worker; what export returns reaches the next init (${guard})`, async (t) => {
    const { moon, told } = await begin(t, `
      init = function(pool, options, previous)
        tell("init", options, "x", { n = #pool, previous = previous and previous.count })
        return { count = previous and previous.count or 0 }
      end,
      options = { x = { default = 1, min = 0, max = 5 } },
      select = function(state) state.count = state.count + 1 return 1 end,
      tick = function(_, pool) tell("tick", nil, nil, { n = #pool }) end,
      export = function(state) return { count = state.count } end,`, { guard, strategyOptions: { x: 3 }, workers: 2, reload: { canary: true } });
    await chat(moon);
    await sleep(2500);
    between(told('tick').length, 3, 8);
    assert.ok(told('tick').every((x) => x.n === 3));
    assert.ok(told('init').every((x) => x.n === 3 && x.x === 3 && x.previous === undefined));
    assert.equal((await ask(moon, { method: 'POST', path: '/admin/reload' })).status, 200);
    const handed = await eventually(() => told('init').filter((x) => x.previous !== undefined).length >= 2 && told('init').map((x) => x.previous));
    assert.deepEqual(handed.filter((n) => n > 0), [1], 'each worker its own: one of them had the chat');
  });
}

test('a delay holds the next attempt back, and is not spent when nobody is left', async (t) => {
  const delay = 700 * SLOW;
  const { moon, byId } = await begin(t, `${first} retry = function() return lb.NEXT, ${delay} end,`, { providers: 2 });
  byId.a.next(act.status(500));
  let before = Date.now();
  assert.equal((await chat(moon)).status, 200);
  assert.ok(Date.now() - before >= delay - 10);
  for (const p of [byId.a, byId.b]) p.always(act.status(500));
  before = Date.now();
  assert.equal((await chat(moon)).status, 500);
  between(Date.now() - before, delay - 10, 2 * delay - 10);
});
