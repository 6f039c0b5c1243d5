// SPDX-License-Identifier: Apache-2.0
// Overview page: health, leader, load, services and configurations. An empty server gets the first steps instead.

import { isAbort, send, toBase64, url, v3 } from './api.js';
import { cluster, followCluster, leaderName, nameOf, quorum, rates, total } from './cluster.js';
import { h } from './dom.js';
import { badge, button, bytes, card, chart, copyable, head, muted, number, plural, table, toast, waiting } from './ui.js';

const ALARMS = { NOSPACE: 'The space quota is used up: writes are rejected.', CORRUPT: 'The data of one member differs from the others.' };

export function memberRole(m) {
  const s = cluster.status.get(m.ID);
  if (m.isLearner) return 'learner';
  if (m.ID === cluster.self?.leader) return 'leader';
  return s ? 'follower' : 'no answer';
}

export function membersTable(actions) {
  const furthest = Math.max(0, ...[...cluster.status.values()].map(s => Number(s?.raftIndex ?? 0)));
  const columns = ['Member', 'Role', ['Term', 'num'], ['Raft index', 'num'], ['Behind', 'num'], ['Size', 'num'], ['Revision', 'num'], 'Version', 'Client address', ...(actions ? [''] : [])];
  return table(columns, cluster.members.map(m => {
    const s = cluster.status.get(m.ID);
    const role = memberRole(m);
    return { key: m.ID, cells: [
      [h('b', null, nameOf(m)), m.ID === cluster.self?.header.member_id ? muted(' (this one)') : ''],
      badge(role, role === 'no answer' ? 'bad' : undefined, role === 'no answer' ? 'It is down, or this browser cannot reach its client address' : undefined),
      s?.raftTerm ?? '–', number(s?.raftIndex), s ? number(furthest - Number(s.raftAppliedIndex ?? 0)) : '–', bytes(s?.dbSize), s ? number(s.header.revision ?? 0) : '–', s?.version ?? '–',
      (m.clientURLs ?? []).map(u => h('div', null, h('a', { href: u.replace(/\/$/, '') + '/ui/' }, u))),
      ...(actions ? [actions(m)] : []),
    ] };
  }), 'Members');
}

export function overview(context) {
  const stop = followCluster(context.refresh, { metrics: true });
  let counts = null;
  const count = async () => {
    try {
      const answer = await v3('kv/range', { key: toBase64('\0'), range_end: toBase64('\0'), count_only: true }, context.signal);
      counts = { keys: Number(answer.count ?? 0) };
      context.refresh();
    } catch (e) { if (!isAbort(e)) counts = null; }
  };
  count();
  const timer = setInterval(count, 10000);

  const tryIt = async () => {
    try {
      await v3('kv/put', { key: toBase64('greeting'), value: toBase64('hello') });
      await send('PUT', url('services/{}/instances/{}', ['demo', 'demo-1']), { host: '127.0.0.1', port: 8080, ttl: 30, zone: 'a', metadata: { from: 'the console' } });
      await send('PUT', url('configs/{}', ['demo.yaml'], { title: 'first release' }), 'greeting: hello\nworkers: 4\n');
      toast('A key, a service and a configuration were created: see Services, Configs and Keys.');
      count();
    } catch (e) { context.report(e); }
  };

  const firstSteps = () => h('section', { class: 'empty' }, h('h2', null, 'Nothing is in here yet'),
    h('p', null, 'One server, three uses: keys as in etcd, a registry of services, and configurations that are pushed to those who run on them. In a shell:'),
    copyable(`etcdctl --endpoints=${location.host} put greeting hello`),
    copyable(`curl -X PUT ${location.origin}/api/v1/services/orders/instances/o1 -d '{"host":"10.0.0.5","port":8080}'`),
    copyable(`printf 'workers: 4\\n' | curl -X PUT --data-binary @- ${location.origin}/api/v1/configs/app.yaml`),
    h('p', null, button('Try it: make one of each', tryIt, { kind: 'primary' })));

  function view() {
    if (!cluster.self) return [head('Overview'), cluster.isLost ? h('p', { class: 'problem' }, 'The server does not answer; retrying.') : waiting()];
    const m = cluster.samples.at(-1)?.metrics;
    const s = cluster.self;
    const voters = cluster.members.filter(x => !x.isLearner);
    const answering = voters.filter(x => cluster.status.get(x.ID)).length;
    const isHealthy = !cluster.isLost && cluster.health?.health === 'true';
    const spare = answering - quorum(voters.length);
    const states = ['up', 'warn', 'starting', 'draining', 'lost', 'down'].map(n => [n, m ? total(m, `cairn_registry_instances{state="${n}"}`) : 0]);
    const instances = states.reduce((sum, [, n]) => sum + n, 0);
    const configs = m ? total(m, 'cairn_config_items') : 0;
    return [
      head('Overview'),
      cluster.alarms.map(a => h('p', { class: 'problem', role: 'alert', key: a }, `${a} ${ALARMS[/NOSPACE|CORRUPT/.exec(a)?.[0]] ?? ''}`)),
      h('div', { class: 'cards' },
        card('Health', cluster.isLost ? 'no answer' : isHealthy ? 'healthy' : 'not healthy', cluster.isLost ? 'retrying' : cluster.health?.reason || (leaderName() ? 'reads and writes are served' : 'no leader: writes fail'), isHealthy ? 'good' : 'bad'),
        card('Leader', leaderName() ?? 'none', `term ${s.raftTerm}`, leaderName() ? '' : 'bad'),
        card('Members', `${answering} of ${voters.length}`, voters.length === 1 ? 'a single member survives no failure' : spare > 0 ? `${plural(spare, 'more')} may fail` : spare === 0 ? 'no further member may fail' : 'no quorum', voters.length > 1 && spare < 1 ? 'warn' : ''),
        card('Revision', number(s.header.revision ?? 0), counts ? plural(counts.keys, 'key') : ''),
        card('Data', bytes(s.dbSize), `of ${bytes(s.dbSizeQuota)}, ${bytes(s.dbSizeInUse)} in use`),
        card('Memory', m ? bytes(total(m, 'process_resident_memory_bytes')) : '–', m ? `up for ${Math.max(1, Math.round((Date.now() / 1000 - total(m, 'process_start_time_seconds')) / 60))} min` : '')),
      h('div', { class: 'cards rates' },
        chart('Changes per second', rates(x => total(x, 'etcd_debugging_mvcc_current_revision'))),
        chart('Requests per second', rates(x => total(x, 'grpc_server_handled_total'))),
        chart('Pushed frames per second', rates(x => total(x, 'cairn_stream_frames_total'))),
        chart('Heartbeats per second', rates(x => total(x, 'cairn_registry_heartbeats_total')))),
      h('h2', null, 'Members'), membersTable(),
      h('div', { class: 'columns' },
        h('section', null, h('h2', null, h('a', { href: '#/services' }, 'Services')), h('p', null, m ? [plural(total(m, 'cairn_registry_services'), 'service'), ', ', plural(instances, 'instance'), ' '] : '', states.filter(([, n]) => n).map(([name, n]) => [badge(`${n} ${name}`, undefined), ' '])),
          m ? muted(`${plural(total(m, 'cairn_registry_sessions'), 'session')}, ${plural(total(m, 'cairn_registry_subscribers'), 'subscriber')} on this member`) : ''),
        h('section', null, h('h2', null, h('a', { href: '#/configs' }, 'Configs')), h('p', null, m ? [plural(configs, 'configuration'), ', ', bytes(total(m, 'cairn_config_bytes'))] : ''),
          m ? muted(`${plural(total(m, 'cairn_config_releases_total'), 'release')} since the start, ${plural(total(m, 'cairn_config_listeners'), 'listener')} on this member`) : '')),
      m && counts && counts.keys === 0 ? firstSteps() : null,
    ];
  }
  return { title: 'Overview', view, stop: () => { stop(); clearInterval(timer); } };
}
