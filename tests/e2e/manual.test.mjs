// strategies/README.md is true: every block of it runs.
//
// A comment above a fenced block says what happens to it; a block without one fails the test:
//   <!-- test: strategy NAME -->         the block is that file, and `moongate strategy check` finds nothing in it
//   <!-- test: strategy-fails NAME -->   the block is that file, and `moongate strategy check` refuses it
//   <!-- test: config NAME -->           the block is that file
//   <!-- test: unit -->                  run by luajit beside the files above, over the stub
//   <!-- test: run -->                   run by sh in the folder of the files; it must succeed
//   <!-- test: fails -->                 run by sh in the folder of the files; it must fail
//   <!-- test: output -->                what the block before printed; … stands for anything

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { BINARY, chat, runMoongate, setup, temporaryFolder, within } from './harness.mjs';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const MANUAL = readFileSync(path.join(ROOT, 'strategies/README.md'), 'utf8');

function blocksOf(text) {
  const blocks = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    if (!lines[i].startsWith('```')) continue;
    const mark = /^<!-- test: ([\w-]+) ?(\S*) -->$/.exec(lines[i - 1]);
    assert.ok(mark, `line ${i + 1}: the block says how it is tested`);
    const line = i + 1;
    const content = [];
    while (lines[++i] !== '```') {
      assert.ok(i < lines.length, `line ${line}: the block ends`);
      content.push(lines[i]);
    }
    blocks.push({ kind: mark[1], name: mark[2], line, text: `${content.join('\n')}\n` });
  }
  return blocks;
}

async function execute(command, args, cwd) {
  const child = spawn(command, args, { cwd, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  child.stdout.on('data', (b) => (output += b));
  child.stderr.on('data', (b) => (output += b));
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  try {
    return { code: await within(ended, 20000, args.at(-1)), output };
  } finally {
    child.kill('SIGKILL');
  }
}

test('the blocks of strategies/README.md run, in their order', async (t) => {
  const blocks = blocksOf(MANUAL);
  for (const kind of ['strategy', 'config', 'unit', 'run']) assert.ok(blocks.some((b) => b.kind === kind), kind);
  assert.ok(blocks.filter((b) => b.kind === 'strategy').length >= 3);
  const folder = temporaryFolder(t);
  mkdirSync(path.join(folder, 'build'));
  symlinkSync(BINARY, path.join(folder, 'build/moongate'));
  for (const name of ['scripts', 'strategies']) symlinkSync(path.join(ROOT, name), path.join(folder, name));
  let printed = '';
  for (const { kind, name, line, text } of blocks) {
    const where = `line ${line}`;
    switch (kind) {
      case 'strategy':
      case 'strategy-fails': {
        writeFileSync(path.join(folder, name), text);
        const r = await runMoongate(['strategy', 'check', path.join(folder, name)]);
        assert.equal(r.code, kind === 'strategy' ? 0 : 1, `${where}: ${r.stdout}${r.stderr}`);
        break;
      }
      case 'config': writeFileSync(path.join(folder, name), text); break;
      case 'unit': {
        writeFileSync(path.join(folder, 'unit.lua'), text);
        const r = await execute('luajit', ['unit.lua'], folder);
        assert.equal(r.code, 0, `${where}: ${r.output}`);
        assert.match(r.output, /^ok 1 /m);
        break;
      }
      case 'run':
      case 'fails': {
        const r = await execute('sh', ['-euc', text], folder);
        if (kind === 'run') assert.equal(r.code, 0, `${where}: ${r.output}`);
        else assert.notEqual(r.code, 0, where);
        printed = r.output;
        break;
      }
      case 'output': {
        const pieces = text.trim().split('…').map((s) => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
        assert.match(printed.trim(), new RegExp(`^${pieces.join('[^]*?')}$`), where);
        break;
      }
      default: assert.fail(`${where}: unknown mark ${kind}`);
    }
  }
});

test('links of strategies/README.md lead somewhere', async () => {
  const { existsSync } = await import('node:fs');
  const links = [...MANUAL.replace(/```[^]*?```/g, '').matchAll(/\]\((?!https?:)([^)#\s]+)/g)].map((m) => m[1]);
  assert.ok(links.length >= 4);
  assert.deepEqual(links.filter((to) => !existsSync(path.join(ROOT, 'strategies', to))), []);
});

test('strategies/README.md names every flag of simulate, and no other', async () => {
  const help = (await runMoongate(['help', 'strategy', 'simulate'])).stdout;
  const real = [...help.matchAll(/^ {2}(?:-h, )?--([a-z-]+)/gm)].map((m) => m[1]).filter((f) => f !== 'help');
  const section = /\n## Simulate\n([^]*?)\n## /.exec(MANUAL)[1];
  const written = [...section.matchAll(/^\| `--([a-z-]+)/gm)].map((m) => m[1]);
  assert.deepEqual(written.sort(), real.sort());
});

test('strategy check says what it found, and what to do with the wrong kind of file', async (t) => {
  const folder = temporaryFolder(t);
  const check = async (text, command = ['strategy', 'check']) => {
    const file = path.join(folder, 'mine.lua');
    writeFileSync(file, text);
    const r = await runMoongate([...command, file]);
    return `${r.code} ${r.stdout}${r.stderr}`.replaceAll(folder, '');
  };
  assert.equal(await check('return { abi = 1, name = "mine", tick = function() end, score = function() return 1 end }'),
    '0 /mine.lua: fine: strategy mine with score, tick\n');
  const cases = [
    ['return { abi = 1, select = function() return 1 end,\n  options = { limit = 5 } }', /^1 \/mine\.lua:2: the option limit needs a table, such as \{ default = 5 \}$/m],
    ['return { abi = 1, select = function() return 1 end,\n  on_retry = print }', /^1 \/mine\.lua:2: a strategy has no field on_retry$/m],
    ['return { abi = 1, select = function(_, _, pool)\n  return pool[1].inflight end }', /mine\.lua:2: select: a provider has no field inflight \(did you mean "in_flight"\?\)/],
    ['return { abi = 1, select = function(_, _, pool)\n  return pool[1] end }', /mine\.lua:1: select: must return an index \(p\.index of a provider p\), a list of them, or nil/],
    ['return { abi = 1, select = function(_, _, pool)\n  return #pool + 1 end }', /mine\.lua:1: select: returned 4, which is no index of a candidate \(1 to #pool\)/],
    ['return { abi = 1, select = function(_, _, pool)\n  pool[1].weight = 0 return 1 end }', /mine\.lua:2: select: views are read-only, what is yours belongs into the state/],
    ['return { abi = 1, select = function(_, _, pool)\n  local n = lb.filter.below(pool) return #n end }', /mine\.lua:2: select: lb\.filter\.below: a number is expected, not nil/],
    ['local json = require("cjson")\nreturn {}', /mine\.lua:1: attempt to call global 'require' \(a nil value\): a strategy has no I\/O/],
    ['return { providers = { "http://10.0.0.5:8000/v1" } }', /mine\.lua:1: this is a configuration, which `moongate check` is for/],
    ['return { apiKey = env("KEY") }', /mine\.lua:1: .*`moongate check`/],
  ];
  for (const [text, message] of cases) assert.match(await check(text), message, text);
  assert.match(await check('local least = lb.pick.least\nreturn {}', ['check']), /mine\.lua:1: lb is not defined.*`moongate strategy check`/);
});

// Every field that the annotations name can be read by a script in the program, in both kinds of view.
const TYPES = readFileSync(path.join(ROOT, 'strategies/types/moongate.lua'), 'utf8');
const fieldsOf = (name) => {
  const block = new RegExp(`---@class lb\\.${name}\\n([^]*?)\\n\\n|---@class lb\\.${name}\\n([^]*?)\\nlocal `).exec(TYPES);
  return [...(block[1] ?? block[2]).matchAll(/---@field (\w+)/g)].map((m) => m[1]);
};

test('every field of the annotations exists in the program, and no other', async (t) => {
  const folder = temporaryFolder(t);
  const reads = (view, names) => names.map((n) => `type(${view}.${n})`).join(', ');
  const file = path.join(folder, 'reads.lua');
  const strategy = (extra) => `return {
  abi = 1,
  init = function(pool)
    for i = 1, #pool do local _ = { ${reads('pool[i]', fieldsOf('Provider'))} } end
    ${extra}
  end,
  select = function(_, req, pool)
    local _ = { ${reads('req', fieldsOf('Request'))}, req:header("x"), req:rand(), req:hash("x"), pool.key }
    for i = 1, #pool do local _ = { ${reads('pool[i]', fieldsOf('Provider'))} } end
    return #pool > 0 and 1 or nil
  end,
  retry = function(_, _, outcome) local _ = { ${reads('outcome', fieldsOf('Outcome'))} } end,
  observe = function(_, _, _, outcome) local _ = { ${reads('outcome', fieldsOf('Outcome'))} } end,
  health = function(_, _, evidence) local _ = { ${reads('evidence', fieldsOf('Evidence'))} } end,
}
`;
  assert.ok(fieldsOf('Provider').length > 30 && fieldsOf('Request').length > 10);
  writeFileSync(file, strategy(''));
  const good = await runMoongate(['strategy', 'check', file]);
  assert.equal(good.code, 0, good.stdout + good.stderr);
  writeFileSync(file, strategy('local _ = pool[1] and pool[1].latency'));
  const bad = await runMoongate(['strategy', 'check', file]);
  assert.equal(bad.code, 1);
  assert.match(bad.stdout + bad.stderr, /reads\.lua:\d+: .*a provider has no field latency/);
});

// A dry run has a store of its own; so this one serves.
test('lb.shared in the program: kinds, bounds and sums', async (t) => {
  const file = path.join(temporaryFolder(t), 'shared.lua');
  writeFileSync(file, `
local shared = lb.shared
local function try()
  assert(shared.get("a") == nil)
  assert(shared.set("a", "x\\0y") and shared.get("a") == "x\\0y")
  assert(shared.set("a", false) and shared.get("a") == false)
  assert(shared.set("a", -1.5) and shared.incr("a", 2) == 0.5 and shared.incr("n") == 1)
  assert(not pcall(shared.set, "a", ("v"):rep(1025)) and not pcall(shared.get, ("k"):rep(65)))
  assert(shared.set("t", "text") and not pcall(shared.incr, "t"))
  for _, key in ipairs({ "a", "n", "t" }) do
    shared.delete(key)
    assert(shared.get(key) == nil)
  end
  for i = 1, 1024 do assert(shared.set("k" .. i, i)) end
  assert(not shared.set("one more", 1) and shared.incr("one more") == nil)
  for i = 1, 1024 do shared.delete("k" .. i) end
end
return {
  abi = 1,
  select = function(_, _, pool)
    local ok, wrong = pcall(try)
    if not ok then return nil, wrong end
    return lb.pick.rendezvous(pool, "key")
  end,
}
`);
  for (const guard of ['strict', 'fast']) {
    const { moon } = await setup(t, { strategy: file, guard, callBudget: 100 });
    const r = await chat(moon);
    assert.equal(r.status, 200, `${guard}: ${r.text()}`);
    assert.equal(moon.countLogged(/shared\.lua:\d+/), 0, moon.stderr);
  }
});
