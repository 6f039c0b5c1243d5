// SPDX-License-Identifier: Apache-2.0
// The console's diff: applied to the one text it makes the other, and no shorter one exists; on seeded random texts.
import assert from 'node:assert/strict';
import { test } from 'node:test';

const { hunksOf } = await import(`${process.env.CONSOLE}/diff.js`);
const split = text => { const lines = text.split('\n'); if (lines.at(-1) === '') lines.pop(); return lines; };

function apply(before, hunks) {
  const lines = split(before);
  const out = [];
  let at = 0;
  for (const hunk of hunks) {
    while (at < hunk.from - 1) out.push(lines[at++]);
    assert.equal(out.length, hunk.to - 1);
    for (const line of hunk.lines) {
      if (line[0] !== '+') assert.equal(lines[at++], line.slice(1));
      if (line[0] !== '-') out.push(line.slice(1));
    }
  }
  return [...out, ...lines.slice(at)];
}
function fewest(a, b) {
  const common = Array.from({ length: a.length + 1 }, () => new Int32Array(b.length + 1));
  for (let i = 1; i <= a.length; i++) for (let j = 1; j <= b.length; j++) common[i][j] = a[i - 1] === b[j - 1] ? common[i - 1][j - 1] + 1 : Math.max(common[i - 1][j], common[i][j - 1]);
  return a.length + b.length - 2 * common[a.length][b.length];
}
let seed = 1;
const random = n => (seed = (seed * 48271) % 2147483647) % n;

test('a diff makes one text the other, by the fewest lines', () => {
  for (let n = 0; n < 5000; n++) {
    const make = () => Array.from({ length: random(14) }, () => 'abcd'[random(4)]).join('\n');
    const [before, after] = [make(), make()];
    const hunks = hunksOf(before, after);
    assert.deepEqual(apply(before, hunks), split(after));
    assert.equal(hunks.flatMap(h => h.lines).filter(l => l[0] !== ' ').length, fewest(split(before), split(after)));
  }
});
test('texts that differ by more than the limit are one change', () => {
  const make = word => Array.from({ length: 3000 }, (_, i) => `${word}${i}`).join('\n');
  assert.deepEqual(apply(make('a'), hunksOf(make('a'), make('b'))), split(make('b')));
});
