// SPDX-License-Identifier: Apache-2.0
// Line diff of two texts in the form of the server's diff (hunks of " ", "-" and "+" lines), for contents that are not published
// yet. Myers' shortest edit script; texts that differ by more than EDITS_MAX lines get one change.

import { h } from './dom.js';

const EDITS_MAX = 1000;
const CONTEXT = 3;

const split = text => {
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  return lines;
};

// For each line of the way from a to b: [" " | "-" | "+", line].
function script(a, b) {
  let first = 0;
  while (first < a.length && first < b.length && a[first] === b[first]) first++;
  let [aEnd, bEnd] = [a.length, b.length];
  while (aEnd > first && bEnd > first && a[aEnd - 1] === b[bEnd - 1]) { aEnd--; bEnd--; }
  const [x, y] = [a.slice(first, aEnd), b.slice(first, bEnd)];
  const middle = shortest(x, y) ?? [...x.map(l => ['-', l]), ...y.map(l => ['+', l])];
  return [...a.slice(0, first).map(l => [' ', l]), ...middle, ...a.slice(aEnd).map(l => [' ', l])];
}

function shortest(a, b) {
  const most = Math.min(a.length + b.length, EDITS_MAX);
  const reach = new Map([[1, 0]]); // diagonal to how far along a
  const trace = [];
  for (let d = 0; d <= most; d++) {
    trace.push(new Map(reach));
    for (let k = -d; k <= d; k += 2) {
      let i = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1)) ? reach.get(k + 1) ?? 0 : (reach.get(k - 1) ?? 0) + 1;
      while (i < a.length && i - k < b.length && a[i] === b[i - k]) i++;
      reach.set(k, i);
      if (i >= a.length && i - k >= b.length) return walkBack(a, b, trace);
    }
  }
  return null;
}

function walkBack(a, b, trace) {
  const list = [];
  let [i, j] = [a.length, b.length];
  for (let d = trace.length - 1; d >= 0; d--) {
    const reach = trace[d];
    const k = i - j;
    const isDown = k === -d || (k !== d && (reach.get(k - 1) ?? -1) < (reach.get(k + 1) ?? -1));
    const from = isDown ? reach.get(k + 1) ?? 0 : reach.get(k - 1) ?? 0;
    const fromJ = from - (isDown ? k + 1 : k - 1);
    while (i > from && j > fromJ && i > 0 && j > 0 && (d > 0 ? i > (isDown ? from : from + 1) : true)) {
      list.push([' ', a[--i]]);
      j--;
    }
    if (d === 0) break;
    if (isDown) list.push(['+', b[--j]]);
    else list.push(['-', a[--i]]);
  }
  return list.reverse();
}

export function hunksOf(before, after) {
  const all = script(split(before), split(after));
  const isNear = new Uint8Array(all.length);
  all.forEach(([kind], i) => kind !== ' ' && isNear.fill(1, Math.max(0, i - CONTEXT), i + CONTEXT + 1));
  const hunks = [];
  let [from, to, hunk] = [0, 0, null];
  all.forEach(([kind, line], i) => {
    if (!isNear[i]) hunk = null;
    else {
      if (!hunk) hunks.push((hunk = { from: from + 1, from_count: 0, to: to + 1, to_count: 0, lines: [] }));
      hunk.lines.push(kind + line);
      hunk.from_count += kind !== '+';
      hunk.to_count += kind !== '-';
    }
    from += kind !== '+';
    to += kind !== '-';
  });
  return hunks;
}

const KINDS = { '+': 'add', '-': 'del' };
export const diffView = (hunks, labels) => (hunks.length
  ? h('div', { class: 'diff', tabindex: '0', role: 'region', 'aria-label': 'What changes' }, labels ? h('div', { class: 'at' }, `before: ${labels[0]}   after: ${labels[1]}`) : null,
    hunks.map(hunk => [h('div', { class: 'at' }, `@@ -${hunk.from},${hunk.from_count} +${hunk.to},${hunk.to_count} @@`), hunk.lines.map(l => h('div', { class: KINDS[l[0]] }, l || ' '))]))
  : h('p', { class: 'hint' }, 'There are no differences.'));
