// What a run of bench.mjs says of the targets. Figures of processor time and latency are judged as ratios to HAProxy and
// nginx of the same run where a target names one; the absolute ones are those of the machine that the targets were made on.
import { readdirSync } from 'node:fs';

const proxy = (rows, name) => rows?.find((r) => r.proxy === name);
const ratio = (rows, field, to) => {
  const [ours, theirs] = [proxy(rows, 'moongate')?.[field], proxy(rows, to)?.[field]];
  return ours && theirs ? ours / theirs : undefined;
};
// Through the proxy beyond what driver and provider need without one.
const added = (rows, name) => {
  const [through, direct] = [proxy(rows, name)?.p50us, proxy(rows, 'direct')?.p50us];
  return through && direct ? through - direct : undefined;
};

// Lines of a bench in C below its heading: the name, then numbers.
function figures(native, bench) {
  const text = native?.split(`### ${bench}`)[1]?.split('### ')[0] ?? '';
  const rows = {};
  for (const line of text.split('\n')) {
    const m = /^(\D[^\d]*?)\s+(-?\d.*)$/.exec(line);
    if (m) rows[m[1].trim()] ??= m[2].trim().split(/\s+/).map(Number);
  }
  return rows;
}

const worst = (rows, names, columns) => {
  const list = names.flatMap((name) => (rows[name] ? columns.map((i) => ({ name, ns: rows[name][i] })) : []));
  return list.sort((a, b) => b.ns - a.ns)[0];
};

// [what, the most that it may be, what it is, unit or remark]
function rows(result) {
  const [small, large] = result.chat ?? [];
  const select = figures(result.native, 'bench_select');
  const parts = figures(result.native, 'bench_parts');
  const presets = readdirSync(new URL('../../strategies/', import.meta.url)).filter((f) => f.endsWith('.lua')).map((f) => f.slice(0, -4));
  const slowest = worst(select, presets, [0, 1]);
  const script = worst(select, ['user script, strict'], [0, 1]);
  const reloads = /^reloads +(\d+) chats (\d+) failed/m.exec(result.reload ?? '');
  const delays = /p99 of the median window: ([\d.]+) without reloads, ([\d.]+) with/.exec(result.reload ?? '');
  const latency = result.latency;
  const ours = proxy(result.streams?.['5000 x 8/s'], 'moongate');
  return [
    ['1 KB chat, µs of CPU', 16, proxy(small?.rows, 'moongate')?.cpuUs],
    ['1 KB chat, × HAProxy', 1, ratio(small?.rows, 'cpuUs', 'haproxy')],
    ['1 KB chat to https://, × nginx', 1.2, ratio(result.https?.[0].rows, 'cpuUs', 'nginx')],
    ['100 KB chat, µs of CPU', 55, proxy(large?.rows, 'moongate')?.cpuUs],
    ['100 KB chat, × HAProxy', 0.65, ratio(large?.rows, 'cpuUs', 'haproxy')],
    ['1,000 streams × 40 events/s, µs of CPU an event', 12.5, proxy(result.streams?.['1000 x 40/s'], 'moongate')?.cpuUs],
    ['5,000 streams, KiB each', 3, ours?.kibPerStream],
    ['streams of https://, KiB each', 20, proxy(result.httpsStreams, 'moongate')?.kibPerStream],
    ['at rest, MiB', 10, result.memory?.atRestMiB ?? ours?.idleMiB],
    [`${result.memory?.idleClients ?? 8000} idle clients and ${result.memory?.liveStreams ?? 4000} streams at once, MiB`, 50, result.memory?.allMiB],
    ['added latency at 2,000 chats/s, p50, µs', 100, added(latency, 'moongate')],
    ['the same, × HAProxy', 1, latency && added(latency, 'moongate') / added(latency, 'haproxy')],
    ['one select, 3 to 8 candidates, slowest preset, ns', 60, slowest?.ns, slowest?.name],
    ['one select, 3 to 8 candidates, user script in strict mode, ns', 150, script?.ns],
    ['session token of a request (copied; made ahead of need), ns', 1000, parts['copied for a request']?.[0]],
    ['chats that failed in reloads', 0, reloads ? Number(reloads[2]) : undefined],
    ['p99 later with reloads than without, ms', 1, delays ? Number(delays[2]) - Number(delays[1]) : undefined],
  ];
}

const shown = (x) => (Number.isInteger(x) ? String(x) : Math.abs(x) < 10 ? x.toFixed(2) : x.toFixed(1));

// [{ what, atMost, is, verdict, remark }]; what a run has left out is missing.
export function judge(result) {
  return rows(result).map(([what, atMost, is, remark]) => ({
    what, atMost, is: is === undefined || Number.isNaN(is) ? null : is, verdict: is === undefined || Number.isNaN(is) ? '-' : is <= atMost ? 'met' : 'missed', remark,
  }));
}

export function targetsTable(verdicts) {
  const lines = verdicts.map(({ what, atMost, is, verdict, remark }) =>
    `| ${what} | ≤ ${atMost} | ${is === null ? 'not measured' : shown(is)}${remark ? ` (${remark})` : ''} | ${verdict === 'missed' ? '**missed**' : verdict} |`);
  return ['### Targets', '', '| what | target | here | |', '| --- | --- | --- | --- |', ...lines].join('\n');
}
