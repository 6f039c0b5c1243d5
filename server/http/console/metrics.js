// SPDX-License-Identifier: Apache-2.0
// Page of this member's metrics: charts of the most useful ones, requests by method, and a search in all of them.

import { cluster, followCluster, rates, total } from './cluster.js';
import { h } from './dom.js';
import { bytes, chart, head, muted, number, search, table, waiting } from './ui.js';

const SHOWN = 300;
const counter = name => rates(m => total(m, name));
const gauge = name => cluster.samples.map(s => total(s.metrics, name));
// The mean of a histogram between two samples, in milliseconds.
function mean(name) {
  const list = [];
  for (let i = 1; i < cluster.samples.length; i++) {
    const [a, b] = [cluster.samples[i - 1].metrics, cluster.samples[i].metrics];
    const count = total(b, `${name}_count`) - total(a, `${name}_count`);
    list.push(count > 0 ? (1000 * (total(b, `${name}_sum`) - total(a, `${name}_sum`))) / count : list.at(-1) ?? 0);
  }
  return list;
}
const ms = n => `${n.toFixed(n < 10 ? 2 : 0)} ms`;

const CHARTS = [
  ['Changes per second', () => counter('etcd_debugging_mvcc_current_revision')],
  ['Requests per second', () => counter('grpc_server_handled_total')],
  ['Proposals per second', () => counter('etcd_server_proposals_committed_total')],
  ['Proposals waiting', () => gauge('etcd_server_proposals_pending')],
  ['WAL sync, mean', () => mean('etcd_disk_wal_fsync_duration_seconds'), ms],
  ['Store commit, mean', () => mean('etcd_disk_backend_commit_duration_seconds'), ms],
  ['Watchers', () => gauge('etcd_debugging_mvcc_watcher_total')],
  ['Stream connections', () => gauge('cairn_stream_connections')],
  ['Pushed frames per second', () => counter('cairn_stream_frames_total')],
  ['Heartbeats per second', () => counter('cairn_registry_heartbeats_total')],
  ['Resident memory', () => gauge('process_resident_memory_bytes'), bytes],
  ['CPU, cores', () => counter('process_cpu_seconds_total')],
  ['Data in use', () => gauge('etcd_mvcc_db_total_size_in_use_in_bytes'), bytes],
  ['Open files', () => gauge('process_open_fds')],
];

export function metrics(context) {
  const stop = followCluster(context.refresh, { metrics: true });

  function methods() {
    const last = cluster.samples.at(-1);
    const before = cluster.samples.length > 1 ? cluster.samples.at(-2) : null;
    const rows = new Map();
    for (const [series, value] of last.metrics) {
      if (!value || !series.startsWith('grpc_server_handled_total{')) continue;
      const method = /grpc_method="([^"]*)"/.exec(series)?.[1];
      const row = rows.get(method) ?? { count: 0, failed: 0, rate: 0 };
      row.count += value;
      if (!series.includes('grpc_code="OK"')) row.failed += value;
      if (before) row.rate += ((value - (before.metrics.get(series) ?? 0)) * 1000) / (last.at - before.at);
      rows.set(method, row);
    }
    const list = [...rows].sort((a, b) => b[1].count - a[1].count);
    return list.length ? table(['Method', ['Answered', 'num'], ['Not OK', 'num'], ['A second', 'num']], list.map(([method, r]) => ({ key: method, cells: [method, number(r.count), number(r.failed), number(r.rate)] })), 'Requests by method') : h('p', { class: 'muted' }, 'None yet.');
  }
  function view() {
    if (!cluster.samples.length) return [head('Metrics'), waiting()];
    const last = cluster.samples.at(-1).metrics;
    const q = context.get('q').toLowerCase();
    const series = [...last].filter(([name]) => name.toLowerCase().includes(q) && !/_bucket\{/.test(name));
    return [head('Metrics', h('a', { href: '/metrics' }, 'Prometheus format')), h('p', { class: 'muted' }, 'Of this member, every two seconds while this page is open.'),
      h('div', { class: 'cards rates' }, CHARTS.map(([title, values, format]) => h('div', { key: title }, chart(title, values(), format)))),
      h('h2', null, 'Requests by method'), methods(),
      h('h2', null, 'All'), h('div', { class: 'bar' }, h('div', { class: 'grow' }, search(context.get('q'), v => context.set({ q: v }), 'Search metrics'))),
      table([['Series', 'wrap'], ['Value', 'num']], series.slice(0, SHOWN).map(([name, value]) => ({ key: name, cells: [h('code', null, name), number(value)] })), 'All metrics'),
      series.length > SHOWN ? muted(`${SHOWN} of ${series.length} are shown.`) : null];
  }
  return { title: 'Metrics', view, stop };
}
