// bench_peers.mjs PROGRAM PEERS_DIR OUT.csv, run by bench_peers.sh: ONNX Runtime and this program in turn, so that what
// else the machine does falls on both. Ratios are medians over rounds of the two medians of one round.
import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';

const [program, peers, out] = process.argv.slice(2);
const kRounds = 5, kRuns = 50;
const median = (values) => values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)];
const least = (values) => Math.min(...values);

function theirs(onnx, threads) {
  const args = [path.join(peers, 'ort_bench.mjs'), path.join(peers, onnx), threads, kRuns];
  return JSON.parse(execFileSync('node', args.map(String), { encoding: 'utf8' }));
}

function ours(arch, engine, threads) {
  const json = path.join(os.tmpdir(), `qhyvit-bench-${process.pid}.json`);
  execFileSync(program, ['--engine', engine, 'bench', arch, '--threads', threads, '--runs', kRuns, '--quiet', '--json', json].map(String));
  const result = JSON.parse(fs.readFileSync(json, 'utf8'));
  fs.unlinkSync(json);
  return result;
}

const columns = ['model', 'engine', 'threads', 'onnxruntime_median_ms', 'onnxruntime_min_ms', 'qhyvit_median_ms', 'qhyvit_min_ms',
  'ratio', 'floor_ratio', 'kernels', 'isa', 'cpu', 'onnxruntime'];
const rows = [];
for (const [arch, engine, onnx] of [['mobilevit_s', 'float32', 'mobilevit_s.onnx'], ['mobilevit_xxs', 'float32', 'mobilevit_xxs.onnx'],
  ['mobilevit_s', 'int8', 'mobilevit_s_int8_qdq.onnx']])
  for (const threads of [1, 2]) {
    const rounds = [];
    for (let i = 0; i < kRounds; i++) rounds.push({ theirs: theirs(onnx, threads), ours: ours(arch, engine, threads) });
    const last = rounds.at(-1);
    const peak = (r) => (engine === 'int8' ? r.ours.peaks.int8_gmacs : r.ours.peaks.gmacs);  // 0 if it has none
    rows.push([arch, engine, threads, median(rounds.map((r) => r.theirs.median_ms)), least(rounds.map((r) => r.theirs.min_ms)),
      median(rounds.map((r) => r.ours.median_ms)), least(rounds.map((r) => r.ours.min_ms)),
      median(rounds.map((r) => r.theirs.median_ms / r.ours.median_ms)),
      peak(last) ? median(rounds.map((r) => r.ours.median_ms / (r.ours.gmacs / peak(r) * 1000))) : '',
      last.ours.kernels, last.ours.isa, os.cpus()[0].model.trim(), last.theirs.version]
      .map((value) => (typeof value === 'number' ? +value.toFixed(3) : value)));
    const [model, , , theirMs, , ourMs, , ratio, floor] = rows.at(-1);
    console.log(`${model} ${engine}, ${threads} thread(s): ONNX Runtime ${theirMs} ms, qhyvit ${ourMs} ms, ` +
      `ratio ${ratio}` + (floor ? `, ${floor} times the arithmetic floor` : ''));
  }
fs.writeFileSync(`${out}.tmp`, [columns, ...rows].map((row) => row.join(',')).join('\n') + '\n');
fs.renameSync(`${out}.tmp`, out);
console.log(`written to ${out}`);
