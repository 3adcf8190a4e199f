// What the published libraries compute for inputs that nobody has chosen is what this program computes: files of vectors
// are made from a seed (vectors.mjs) and given to check_vectors. MOONGATE_VECTORS_SEED repeats one seed.

import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { noChain } from './chain.mjs';
import { BINARY } from './harness.mjs';

const ROOT = new URL('../..', import.meta.url).pathname;
// Beside the binary that is tested, or the plain one.
const checker = [path.dirname(realpathSync(BINARY)), path.join(ROOT, 'build/plain')].map((dir) => path.join(dir, 'check_vectors')).find(existsSync);
const skip = noChain() || (!checker && 'make vectors-binary has not been run');
const given = process.env.MOONGATE_VECTORS_SEED;
const seeds = given ? [Number(given)] : [1, 2, Math.floor(Math.random() * 1e9)];

const check = (dir) =>
  new Promise((resolve) => {
    execFile(checker, ['--all', dir], { maxBuffer: 1 << 26 }, (error, stdout, stderr) => resolve({ code: error?.code ?? 0, out: stdout + stderr }));
  });

for (const seed of seeds) {
  test(`vectors of seed ${seed}`, { skip }, async (t) => {
    const { makeVectors } = await import('./vectors.mjs');
    const dir = mkdtempSync(path.join(os.tmpdir(), 'moongate-vectors-'));
    t.after(() => rmSync(dir, { recursive: true, force: true }));
    for (const [name, content] of Object.entries(await makeVectors(seed))) writeFileSync(path.join(dir, `${name}.json`), JSON.stringify(content));
    const { code, out } = await check(dir);
    assert.equal(code, 0, out.slice(0, 4000));
    assert.ok(Number(/(\d+) passed, 0 failed\n$/.exec(out)?.[1]) > 2000, out.slice(-200));
  });
}
