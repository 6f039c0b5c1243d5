// SPDX-License-Identifier: Apache-2.0
// State of the cluster, polled every two seconds while a page needs it: the members, the status of each, and this member's metrics
// of the last minutes. Other members are polled at their client URLs; one that the browser cannot reach is shown without figures.

import { ask, v3 } from './api.js';

const EVERY_MS = 2000;
const WAIT_MS = 1500;
const KEPT = 150;

export const cluster = {
  members: null, // as /v3/cluster/member/list has them
  status: new Map(), // by member ID: status or null
  self: null, // our member's status
  health: null, // {health, reason}
  alarms: [], // from the status
  isLost: false, // our member does not answer
  samples: [], // {at, metrics}: a Map of series to numbers
  onChange: new Set(),
};

let known = null; // client URLs that this page may connect to: those of the members when it was loaded
let wants = 0;
let wantsMetrics = 0;
let timer = 0;
let isRunning = false;

// --- metrics -----------------------------------------------------------------------------------------------

// Parses Prometheus' text: series ("name{labels}") to number.
export function parseMetrics(text) {
  const series = new Map();
  for (const line of text.split('\n')) {
    if (!line || line[0] === '#') continue;
    const at = line.lastIndexOf(' ');
    series.set(line.slice(0, at), Number(line.slice(at + 1)));
  }
  return series;
}
export function total(metrics, name) {
  let sum = 0;
  for (const [series, value] of metrics) if (series === name || series.startsWith(name + '{')) sum += value;
  return sum;
}
// For each pair of consecutive samples, the increase of a counter per second.
export function rates(pick) {
  const list = [];
  for (let i = 1; i < cluster.samples.length; i++) {
    const [a, b] = [cluster.samples[i - 1], cluster.samples[i]];
    const gained = pick(b.metrics) - pick(a.metrics);
    list.push(gained < 0 ? 0 : (gained * 1000) / (b.at - a.at)); // a restart begins at 0
  }
  return list;
}

// --- polling ----------------------------------------------------------------------------------------------

const within = (promise, ms) => Promise.race([promise, new Promise((_, fail) => setTimeout(() => fail(new Error('no answer')), ms))]);

// Without headers of ours: a simple POST needs no preflight request, and no credential is sent to the other member.
async function statusOf(member) {
  for (const at of member.clientURLs ?? []) {
    if (!known.has(at)) continue;
    try {
      const r = await fetch(at.replace(/\/$/, '') + '/v3/maintenance/status', { method: 'POST', body: '{}', signal: AbortSignal.timeout(WAIT_MS) });
      if (r.ok) return await r.json();
    } catch { /* the next one */ }
  }
  return null;
}

async function look() {
  const [self, list, health] = await Promise.all([
    within(v3('maintenance/status'), 4000),
    within(v3('cluster/member/list', { linearizable: false }), 4000),
    fetch('/health', { cache: 'no-store' }).then(r => r.json()).catch(() => null),
  ]);
  cluster.self = self;
  cluster.members = (list.members ?? []).sort((a, b) => ((a.name ?? '') < (b.name ?? '') ? -1 : 1));
  cluster.health = health;
  cluster.alarms = self.errors ?? []; // a request for the alarms would be a Raft proposal
  known ??= new Set(cluster.members.flatMap(m => m.clientURLs ?? []));
  cluster.isLost = false;
  const me = self.header.member_id;
  const states = await Promise.all(cluster.members.map(async m => [m.ID, m.ID === me ? self : await statusOf(m)]));
  cluster.status = new Map(states);
}

async function lookAtMetrics() {
  const text = await ask('/metrics', { as: 'text' });
  cluster.samples.push({ at: performance.now(), metrics: parseMetrics(text) });
  if (cluster.samples.length > KEPT) cluster.samples.shift();
}

async function turn() {
  timer = 0;
  if (isRunning) return;
  isRunning = true;
  try {
    if (!document.hidden || !cluster.self) await Promise.all([look(), wantsMetrics ? lookAtMetrics() : null]);
  } catch (e) {
    if (!e.status) cluster.isLost = true;
  }
  isRunning = false;
  for (const on of cluster.onChange) on();
  if (wants && !timer) timer = setTimeout(turn, EVERY_MS);
}

// Returns a function that ends it.
export function followCluster(on, { metrics = false } = {}) {
  wants++;
  wantsMetrics += metrics;
  cluster.onChange.add(on);
  clearTimeout(timer);
  turn();
  return () => {
    wants--;
    wantsMetrics -= metrics;
    cluster.onChange.delete(on);
  };
}
export const lookAgain = () => { clearTimeout(timer); turn(); };

export const leaderName = () => {
  const leader = cluster.self?.leader;
  if (!leader || leader === '0') return null;
  return nameOf(cluster.members?.find(m => m.ID === leader)) ?? leader;
};
export const nameOf = m => m && (m.name || 'not started yet');
// How many voters may fail before nothing can be written.
export const quorum = voters => Math.floor(voters / 2) + 1;
