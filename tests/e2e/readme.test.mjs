// The documentation is true: its examples run and answer what they show, and what exists is described.
//
// A comment above a fenced block says what happens to it:
//   <!-- test: serve -->       each line starts a program that listens (make run, run, demo, sim-provider) or is run
//   <!-- test: run -->         the block is run by sh; it must succeed
//   <!-- test: output -->      what the block before printed; … stands for anything, line ends of long lines do not count
//   <!-- test: file NAME -->   the block is that file, in the folder where everything runs
//   <!-- test: node -->        the block is run by node, with the packages of the tests
// Ports in the text are replaced by those on which the started programs listen. Blocks whose mark says "chain" before the
// kind make a second text of their document: node, provider and wallet in it are those of a chain of the test's own.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Chain, noChain } from './chain.mjs';
import { BINARY, Daemon, runMoongate, temporaryFolder, within } from './harness.mjs';
import { ZeroGProvider } from './zerog-provider.mjs';

const E2E = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(E2E, '../..');
const read = (file) => readFileSync(path.join(ROOT, file), 'utf8');

const DOCUMENTS = ['README.md', 'CHANGELOG.md', 'CONTRIBUTING.md', 'core/README.md', 'tests/README.md', 'examples/README.md',
  'examples/minimal/README.md'];

// ---- the blocks of a document ----

function blocksOf(text) {
  const blocks = [];
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const mark = /^<!-- test: (chain )?(\w+) ?(\S*) -->$/.exec(lines[i]);
    if (!mark) continue;
    const line = i + 1;
    assert.match(lines[++i] ?? '', /^```/, `line ${line}: a block follows the comment`);
    const content = [];
    while (lines[++i] !== '```') {
      assert.ok(i < lines.length, `line ${line}: the block ends`);
      content.push(lines[i]);
    }
    blocks.push({ isOnChain: Boolean(mark[1]), kind: mark[2], name: mark[3], line, text: `${content.join('\n')}\n` });
  }
  return blocks;
}

function patternOf(expected) {
  const flat = (s) => s.replace(/\r/g, '').replace(/([,{[])\n(?=["{[])/g, '$1').trim();
  const pieces = flat(expected).split(/\n?…\n?/).map((s) => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'));
  return { regexp: new RegExp(`^${pieces.join('[^]*?')}$`), flat };
}

// ---- running them ----

// Nothing of the caller's own settings reaches the examples.
function environment(extra) {
  const isForeign = (name) => /_proxy$/i.test(name) || /^(MOONGATE_|DEMO_|NODE_OPTIONS$)/.test(name);
  const own = Object.entries(process.env).filter(([name]) => !isForeign(name));
  return { ...Object.fromEntries(own), NO_PROXY: '*', XDG_STATE_HOME: '/nonexistent', ...extra };
}

class Reader {
  // `variables` are set for every program, with the ports of those that run; `names` are replaced in every text; `input` is
  // what is typed.
  constructor(t, variables, { names = {}, input = '' } = {}) {
    this.variables = variables;
    this.names = Object.entries(names);
    this.input = input;
    this.folder = temporaryFolder(t);
    this.ports = new Map(); // written -> real
    this.running = new Map(); // written port -> Daemon
    this.files = new Map();
    mkdirSync(path.join(this.folder, 'build'));
    symlinkSync(BINARY, path.join(this.folder, 'build/moongate'));
    for (const name of ['examples', 'strategies']) symlinkSync(path.join(ROOT, name), path.join(this.folder, name));
    t.after(() => Promise.all([...this.running.values()].map((d) => d.stop())));
  }

  translate(text) {
    const moved = text.replace(/(127\.0\.0\.1:)(\d+)/g, (_, host, port) => {
      assert.ok(this.ports.has(port), `nothing listens on port ${port} yet`);
      return host + this.ports.get(port);
    });
    return this.rename(moved.replace(/(?<=build\/moongate verify )/, () => `--port ${this.ports.get('3000')} `));
  }

  rename(text) {
    return this.names.reduce((s, [written, real]) => s.replaceAll(written, real), text);
  }

  environment() {
    const ready = Object.entries(this.variables).filter(([, v]) => this.ports.has(/:(\d+)/.exec(v)[1]));
    return environment(Object.fromEntries(ready.map(([name, v]) => [name, this.translate(v)])));
  }

  writeFiles() {
    for (const [name, text] of this.files) writeFileSync(path.join(this.folder, name), this.translate(text));
  }

  async execute(command, args, cwd = this.folder) {
    const child = spawn(command, args, { cwd, env: this.environment(), stdio: ['pipe', 'pipe', 'pipe'] });
    child.stdin.on('error', () => {});
    child.stdin.end(this.input);
    let stdout = '';
    let stderr = '';
    child.stdout.on('data', (b) => (stdout += b));
    child.stderr.on('data', (b) => (stderr += b));
    const ended = new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('close', resolve);
    });
    try {
      const code = await within(ended, 20000, args.at(-1));
      assert.equal(code, 0, `${args.at(-1)}\nended with ${code}:\n${stdout}${stderr}`);
      return stdout;
    } finally {
      child.kill('SIGKILL');
    }
  }

  // Starts one program on a free port, in place of whatever had its port before.
  async start(line) {
    let command = line.replace(/\s*&$/, '').replace(/^make run$/, 'build/moongate demo');
    const port = /--port (\d+)/.exec(command)?.[1] ?? '3000';
    command = /--port/.test(command) ? command.replace(/--port \d+/, '--port 0') : `${command} --port 0`;
    await this.running.get(port)?.stop();
    this.running.delete(port);
    const child = spawn('sh', ['-c', `exec ${command}`],
      { cwd: this.folder, env: this.environment(), stdio: ['ignore', 'pipe', 'pipe'] });
    const daemon = new Daemon(child);
    this.running.set(port, daemon);
    const listening = new Promise((resolve, reject) => {
      child.stdout.on('data', () => {
        const m = /^listening on http:\/\/\S+:(\d+)$/m.exec(daemon.stdout);
        if (m) resolve(m[1]);
      });
      daemon.exited.then(({ code }) => reject(new Error(`${line}\nended with ${code}:\n${daemon.stderr}`)), reject);
    });
    this.ports.set(port, await within(listening, 10000, line));
  }

  async serve(text) {
    for (const line of text.trim().split('\n')) {
      const isProvider = line.startsWith('build/moongate sim-provider ');
      if (!isProvider) this.writeFiles(); // they name the providers' ports
      if (isProvider || /^(make run$|build\/moongate (run|demo)\b)/.test(line)) await this.start(line);
      else await this.execute('sh', ['-euc', this.translate(line)]);
    }
  }

  async follow(blocks) {
    let printed = '';
    for (const { kind, name, line, text } of blocks) {
      const where = `line ${line}`;
      switch (kind) {
        case 'file': this.files.set(name, text); break;
        case 'serve': await this.serve(text); break;
        case 'run': printed = await this.execute('sh', ['-euc', this.translate(text)]); break;
        case 'node':
          printed = await this.execute(process.execPath, ['--input-type=module', '--eval', this.translate(text)], E2E);
          assert.notEqual(printed, '', where);
          break;
        case 'output': {
          const { regexp, flat } = patternOf(this.rename(text));
          assert.match(flat(printed), regexp, where);
          break;
        }
        default: assert.fail(`${where}: unknown mark ${kind}`);
      }
    }
  }
}

const EXAMPLES = {
  'README.md': {},
  'examples/minimal/README.md': { FIRST_URL: 'http://127.0.0.1:9001/v1', SECOND_URL: 'http://127.0.0.1:9002/v1' },
};

for (const [document, variables] of Object.entries(EXAMPLES)) {
  test(`${document}: its examples run and answer what it shows`, async (t) => {
    const blocks = blocksOf(read(document)).filter((b) => !b.isOnChain);
    assert.ok(blocks.some((b) => b.kind === 'serve') && blocks.some((b) => b.kind === 'run'));
    await new Reader(t, variables).follow(blocks);
  });
}

test('README.md: a new wallet comes to a proved answer as it says', { skip: noChain() }, async (t) => {
  const chain = await Chain.start(t);
  const provider = await ZeroGProvider.start({ chain, account: chain.providerAccount(0) });
  t.after(() => provider.stop());
  const user = chain.user(0);
  const names = { 'https://evmrpc-testnet.0g.ai': chain.url, '0x1234567890123456789012345678901234567890': provider.address };
  const blocks = blocksOf(read('README.md')).filter((b) => b.isOnChain);
  assert.ok(blocks.some((b) => b.kind === 'serve') && blocks.some((b) => b.kind === 'output'));
  await new Reader(t, {}, { names, input: `${user.key}\n` }).follow(blocks);
  assert.deepEqual(provider.users, [user.address]);
});

test('the manual page sets up a wallet as README.md does, which is run', () => {
  const section = /^\.Ss Wallet[^]*?(?=^\.S[hs] )/m.exec(read(MAN))?.[0] ?? '';
  const lines = [...section.matchAll(/^\.Bd .*\n([^]*?)^\.Ed$/gm)].flatMap((m) => m[1].trimEnd().split('\n'));
  assert.ok(lines.length >= 10);
  const run = blocksOf(read('README.md')).filter((b) => b.isOnChain).map((b) => b.text).join('').replaceAll('build/moongate', 'moongate').split('\n');
  assert.deepEqual(lacking(lines, (l) => run.includes(l)), []);
});

test('README.md quotes the reasons of providers on chain', () => {
  const table = /\| The reason says \|.*\n.*\n((?:\|.*\n)+)/.exec(read('README.md'))?.[1] ?? '';
  const quotes = [...table.matchAll(/^\| (.*?) \|/gm)].flatMap((m) => [...m[1].matchAll(/`([^`]+)`/g)]).map((m) => m[1]);
  assert.ok(quotes.length >= 9);
  const code = read('core/chain/standing.c').replace(/"\s+"/g, '');
  assert.deepEqual(lacking(quotes, (q) => code.includes(q)), []);
});

test('make run serves what the README says it serves', () => {
  const recipe = /^run:.*\n((?:\t.*\n)+)/m.exec(read('Makefile'))?.[1] ?? '';
  assert.match(recipe, /build\/moongate demo\n$/);
});

// ---- what exists is described ----

const MAN = 'man/moongate.1';

const escaped = (s) => s.replace(/[.*+?^${}()|[\]\\]/g, '\\$&');

function lacking(names, isThere) {
  return names.filter((name) => !isThere(name));
}

// Names of options, as the two files of the schema write them: { "name", check, default } in a table of such lines.
function optionNames() {
  const names = new Set();
  for (const file of ['scripts/runtime/config.lua', 'scripts/runtime/config_checks.lua']) {
    const text = read(file);
    for (const m of text.matchAll(/^\s+\{ "(\w+)"[, ]|members\(\{ \{ "(\w+)"/gm)) names.add(m[1] ?? m[2]);
  }
  return [...names];
}

test('the manual page explains every option of the configuration', () => {
  const names = optionNames();
  for (const name of ['host', 'models', 'ejectAfter', 'apiKey', 'clientIdle', 'ca', 'origins', 'providers'])
    assert.ok(names.includes(name), `the schema is still written as this test reads it: ${name}`);
  const man = read(MAN);
  assert.deepEqual(lacking(names, (n) => new RegExp(`^\\.It Va (\\w+\\.)?${n}( |$)`, 'm').test(man)), []);
});

test('the manual page names every command and flag that help names', async () => {
  const man = read(MAN);
  const help = (await runMoongate(['help'])).stdout;
  const commands = [...help.matchAll(/^ {2}([a-z][a-z-]*(?: check)?) (?=[A-Z[ ]|bash).*? {2,}\S/gm)].map((m) => m[1]).filter((c) => c !== 'moongate');
  for (const name of ['run', 'demo', 'check', 'strategy check', 'sim-provider', 'help']) assert.ok(commands.includes(name), name);
  assert.deepEqual(lacking(commands, (c) => new RegExp(`^\\.It Cm ${c}( |$)`, 'm').test(man)), []);
  const flags = new Set();
  for (const command of commands) {
    const text = (await runMoongate(['help', ...command.split(' ')])).stdout;
    for (const m of text.matchAll(/^ {2}(?:-h, )?--([a-z-]+)/gm)) flags.add(m[1]);
  }
  assert.ok(flags.has('port') && flags.has('truncate-rate'));
  assert.deepEqual(lacking([...flags], (f) => new RegExp(`\\bFl (Fl|-)${f}( |$)|Fl -${f}( |$)`, 'm').test(man)), []);
});

test('the manual page names every environment variable, preset and class of outcome', () => {
  const man = read(MAN);
  const variables = [...read('scripts/runtime/config.lua').matchAll(/"((?:MOONGATE|ZG|RPC)_[A-Z_]+)"/g)].map((m) => m[1]);
  assert.ok(variables.includes('MOONGATE_PORT'));
  assert.deepEqual(lacking(variables, (v) => new RegExp(`^\\.It Ev .*\\b${v}\\b`, 'm').test(man)), []);
  const presets = readdirSync(path.join(ROOT, 'strategies')).filter((f) => f.endsWith('.lua')).map((f) => f.slice(0, -4));
  assert.deepEqual(lacking(presets, (p) => new RegExp(`^\\.It Cm ${escaped(p)}$`, 'm').test(man)), []);
  const classes = [...read('core/model/outcome.h').matchAll(/X\(\w+, "(\w+)"/g)].map((m) => m[1]);
  assert.ok(classes.length >= 18);
  assert.deepEqual(lacking(classes, (c) => new RegExp(`\\b${c}\\b`).test(man)), []);
});

test('the manual page is that of this version', () => {
  assert.match(read(MAN), new RegExp(`^\\.Os Moongate ${escaped(read('VERSION').trim())}$`, 'm'));
});

test('README and manual page name every route', () => {
  const routes = [...read('core/flow/api.c').matchAll(/\.path = "([^"]+)"/g)].map((m) => m[1].replace(/\/$/, ''));
  assert.ok(routes.length >= 16);
  for (const file of ['README.md', MAN]) assert.deepEqual(lacking(routes, (r) => new RegExp(`${escaped(r)}(?![\\w-])`).test(read(file))), [], file);
});

test('core/README.md has a line for each file of core/, and for none that is gone', () => {
  const text = read('core/README.md');
  const written = [];
  let room = '';
  for (const line of text.split('\n')) {
    room = /^### `(\w+)\/`/.exec(line)?.[1] ?? (line.startsWith('## ') ? '' : room);
    const name = room && /^\| `([\w.[\]]+)` \|/.exec(line)?.[1];
    if (name?.endsWith('.[ch]')) written.push(...['c', 'h'].map((ext) => `${room}/${name.replace('[ch]', ext)}`));
    else if (name) written.push(`${room}/${name}`);
  }
  const rooms = readdirSync(path.join(ROOT, 'core'), { withFileTypes: true }).filter((e) => e.isDirectory());
  const real = rooms.flatMap((r) => readdirSync(path.join(ROOT, 'core', r.name)).filter((f) => /\.[ch]$/.test(f)).map((f) => `${r.name}/${f}`));
  assert.deepEqual(lacking(real, (f) => written.includes(f)), [], 'files without a line');
  assert.deepEqual(lacking(written, (f) => real.includes(f)), [], 'lines without a file');
});

test('tests/README.md has a place for each end-to-end test', () => {
  const text = read('tests/README.md');
  const names = readdirSync(E2E).filter((f) => f.endsWith('.test.mjs'));
  assert.deepEqual(lacking(names, (f) => text.includes(`(e2e/${f})`)), []);
});

test('links between the documents lead somewhere', () => {
  for (const document of DOCUMENTS) {
    const text = read(document).replace(/```[^]*?```/g, '');
    for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)/g)) {
      if (target) assert.ok(existsSync(path.join(ROOT, path.dirname(document), target)), `${document}: ${target}`);
    }
  }
});
