// SPDX-License-Identifier: Apache-2.0
// Services: the list of a namespace, and one service with its instances, both followed on the stream. Operators drain and
// override instances here; services register themselves.

import { ask, isAbort, send, stream, url } from './api.js';
import { h } from './dom.js';
import { namespaceField } from './spaces.js';
import { badge, button, clock, confirm, empty, facts, field, head, input, muted, number, plural, problem, search, select, table, tabs, toast, waiting } from './ui.js';

const STATES = ['up', 'warn', 'starting', 'draining', 'lost', 'down'];
const SHOWN = 500;
const PREFIXES = ['/cairn/registry/instances/', '/cairn/registry/services/'];

const register = (origin, ns) => `curl -X PUT '${origin}/api/v1/services/orders/instances/o1${ns ? `?namespace=${ns}` : ''}' -d '{"host":"10.0.0.5","port":8080}'`;

// --- the list ------------------------------------------------------------------------------------------------

function list(context) {
  let [items, error, ns, stop, flashed] = [null, null, null, null, new Set()];
  const follow = () => {
    stop?.();
    [items, error, ns, flashed] = [null, null, context.get('ns'), new Set()];
    stop = stream.followItems({ kind: 'services', namespace: ns || 'default', group: '', prefix: '' }, (now, change) => {
      if (!now) error = change;
      else items = [...now.values()].sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.group < b.group ? -1 : 1));
      flashed = new Set(change?.put);
      context.refresh();
    });
  };
  follow();

  const tryIt = async () => {
    try {
      await send('PUT', url('services/{}/instances/{}', ['demo', 'demo-1'], { namespace: ns }), { host: '127.0.0.1', port: 8080, ttl: 5, grace: 30, zone: 'a', tags: ['demo'] });
      toast('demo-1 is registered for 5 s and sends no heartbeats: watch it become lost, then removed.');
      context.go(['services', 'default', 'demo'], { ns });
    } catch (e) { context.report(e); }
  };

  function rows() {
    const q = context.get('q').toLowerCase();
    const state = context.get('state');
    const group = context.get('group');
    return items.filter(s => (!q || s.name.toLowerCase().includes(q)) && (!group || s.group === group) && (!state || (state === 'trouble' ? s.states.up + s.states.warn < s.instances || !s.instances : s.states[state])));
  }

  function view() {
    const bar = h('div', { class: 'bar' }, namespaceField(context, PREFIXES),
      h('div', { class: 'grow' }, search(context.get('q'), q => context.set({ q }), 'Search services')),
      field('Group', select(context.get('group'), [['', 'all'], ...[...new Set((items ?? []).map(s => s.group))].map(g => [g, g])], group => context.set({ group }))),
      field('Show', select(context.get('state'), [['', 'all'], ['trouble', 'not all up'], ...STATES.map(s => [s, `with ${s}`])], state => context.set({ state }))));
    if (error) return [head('Services'), bar, problem(error)];
    if (!items) return [head('Services'), bar, waiting()];
    if (!items.length) return [head('Services'), bar, empty('No services yet', 'Register an instance with one request, and send the same request as its heartbeat. Clients find it by HTTP, WebSocket, DNS and Prometheus.', register(location.origin, ns), button('Try it: register a demo instance', tryIt, { kind: 'primary' }))];
    const shown = rows();
    return [head('Services', muted(`${plural(shown.length, 'service')} of ${items.length}`)), bar,
      table(['Service', 'Group', ['Instances', 'num'], 'Health'], shown.slice(0, SHOWN).map(s => ({
        key: s.id, class: flashed.has(s.id) ? 'new' : null, cells: [
          h('a', { href: `#/services/${encodeURIComponent(s.group)}/${encodeURIComponent(s.name)}${ns ? `?ns=${encodeURIComponent(ns)}` : ''}` }, s.name), s.group, number(s.instances),
          s.instances ? STATES.filter(n => s.states[n]).map(n => [badge(`${s.states[n]} ${n}`, tone(n)), ' ']) : muted('none'),
        ] })), 'Services'),
      shown.length > SHOWN ? muted(`The first ${SHOWN} are shown; search to find the others.`) : null];
  }
  return { title: 'Services', view, changed: () => context.get('ns') !== ns && follow(), stop: () => stop() };
}

const tone = state => ({ up: 'good', warn: 'warn', starting: 'info', draining: 'warn' })[state] ?? 'bad';

// --- one service ---------------------------------------------------------------------------------------------

function overrideDialog(target, instance, done) {
  const was = instance.override ?? {};
  const now = { enabled: was.enabled ?? true, weight: was.weight ?? '', state: was.state ?? '', reason: was.reason ?? '', until: was.until ?? '' };
  return confirm({
    title: `Override ${instance.id}`, action: 'Set',
    body: again => [
      h('p', { class: 'muted' }, 'Overrides are stored separately from the instance’s own data. They survive re-registration and restarts until you undo them or they expire.'),
      h('div', { class: 'grid' },
        field('Traffic', select(now.enabled ? 'on' : 'off', [['on', 'as registered'], ['off', 'none']], v => { now.enabled = v === 'on'; again(); })),
        field('Weight', input(String(now.weight), v => (now.weight = v), { type: 'number', min: 0, max: 65535, placeholder: `as registered (${instance.registered?.weight ?? instance.weight})` })),
        field('State', select(now.state, [['', 'as registered'], ...STATES.map(s => [s, s])], v => (now.state = v)))),
      field('Reason', input(now.reason, v => (now.reason = v), { placeholder: 'INC-7' })),
      field('Until', input(now.until, v => (now.until = v), { placeholder: '2030-01-31T12:00:00Z; empty = until it is taken back' })),
    ],
    act: async () => {
      const body = { enabled: now.enabled };
      if (now.weight !== '') body.weight = Number(now.weight);
      for (const name of ['state', 'reason', 'until']) if (now[name]) body[name] = now[name];
      await send('PUT', target('/override'), body);
      done();
    },
  });
}

function drain(target, instance) {
  return confirm({
    title: `Drain ${instance.id}`, action: 'Drain',
    body: h('p', null, 'It is taken out of traffic. The answer comes when every live subscriber has acknowledged that, or after 30 s.'),
    act: async () => {
      const r = await send('POST', target('/drain'), { deadline_ms: 30000 });
      toast(r.complete ? `${instance.id} is out of traffic: ${plural(r.acknowledged, 'subscriber')} acknowledged.` : `${instance.id} is draining; ${plural(r.waiting_count, 'subscriber')} did not acknowledge in time.`, r.complete ? 'good' : 'bad');
    },
  });
}

const addressOf = i => [i.host + (i.port ? `:${i.port}` : ''), ...Object.entries(i.ports ?? {}).map(([name, port]) => `${name} ${port}`)].join(', ');
const pairs = map => Object.entries(map ?? {}).map(([k, v]) => h('div', null, muted(`${k}=`), v));

function service(context) {
  const [, group, name] = context.segments;
  const ns = () => context.get('ns');
  const query = () => ({ namespace: ns(), group: group === 'default' ? '' : group });
  let [items, error, about, subscribers, flashed] = [null, null, null, null, new Set()];
  const events = [];
  const target = id => more => url(`services/{}/instances/{}${more}`, [name, id], query());

  const readAbout = async () => {
    try {
      about = await ask(url('services/{}', [name], { ...query(), healthy: false }), { signal: context.signal });
    } catch (e) { if (e.status === 404) about = null; }
    context.refresh();
  };
  const note = (change, before, now) => {
    for (const id of change.put) {
      const [a, b] = [before.get(id), now.get(id)];
      const what = !a ? `registered, ${b.state}` : a.state !== b.state ? `${a.state} → ${b.state}` : a.serving !== b.serving ? (b.serving ? 'in traffic again' : 'out of traffic') : 'changed';
      events.unshift({ at: Date.now(), revision: change.revision, id, what, tone: b.state });
    }
    for (const id of change.delete) if (before.has(id)) events.unshift({ at: Date.now(), revision: change.revision, id, what: 'gone', tone: 'down' });
    events.splice(200);
  };
  let before = new Map();
  const stopStream = stream.followItems({ kind: 'service', namespace: ns() || 'default', group, name }, (now, change) => {
    if (!now) error = change;
    else {
      if (change) note(change, before, now);
      before = new Map(now);
      items = [...now.values()].sort((a, b) => (a.id < b.id ? -1 : 1));
      flashed = new Set(change?.put);
      readAbout();
    }
    context.refresh();
  });
  const readSubscribers = async () => {
    if (context.get('tab') !== 'subscribers') return;
    try {
      subscribers = await ask(url('services/{}/subscribers', [name], query()), { signal: context.signal });
    } catch (e) { if (!isAbort(e)) subscribers = null; }
    context.refresh();
  };
  const timer = setInterval(readSubscribers, 3000);
  readSubscribers();

  const act = async promise => { try { await promise; } catch (e) { context.report(e); } };
  const actions = i => h('div', { class: 'buttons' },
    i.override ? button('Undo', () => act(send('DELETE', target(i.id)('/override'))), { title: 'Take the override back' }) : button('Drain', () => drain(target(i.id), i)),
    button('Override', () => overrideDialog(target(i.id), i, () => toast('Set.'))),
    i.source ? null : button('Remove', () => confirm({ title: `Deregister ${i.id}?`, danger: true, action: 'Deregister', body: h('p', null, 'It is gone for everybody. If it still runs, its next heartbeat registers it again.'), act: () => send('DELETE', target(i.id)('')) })));

  function instances() {
    const q = context.get('q').toLowerCase();
    const shown = items.filter(i => !q || JSON.stringify([i.id, addressOf(i), i.zone, i.version, i.tags, i.metadata]).toLowerCase().includes(q));
    if (!items.length) return empty('No instances', 'They were deregistered, or were lost for longer than their grace period.', register(location.origin, ns()).replace('orders', name));
    return [h('div', { class: 'bar' }, h('div', { class: 'grow' }, search(context.get('q'), v => context.set({ q: v }), 'Search instances: id, address, zone, tag, metadata'))),
      table(['Instance', 'Address', 'Health', ['Weight', 'num'], 'Zone', 'Version', 'Tags', 'Metadata', ['Last change', 'num'], ['', 'tight']], shown.slice(0, SHOWN).map(i => ({
        key: i.id, class: flashed.has(i.id) ? 'new' : null, cells: [
          [h('b', null, i.id), i.source ? [' ', badge(i.source, 'info', 'This framework registered it through the etcd API; it is read-only here')] : ''],
          addressOf(i),
          [badge(i.state, tone(i.state)), ' ', i.serving ? '' : badge('no traffic', 'bad'), i.guarded ? [' ', badge('guarded')] : '',
            i.override ? h('div', { class: 'muted' }, `override: ${[i.override.drain ? 'drained' : '', i.override.enabled === false ? 'no traffic' : '', i.override.weight !== undefined ? `weight ${i.override.weight}` : '', i.override.state ?? '', i.override.reason ?? '', i.override.until ? `until ${i.override.until}` : ''].filter(Boolean).join(', ')}`) : ''],
          number(i.weight), i.zone ?? '–', i.version ?? '–', (i.tags ?? []).map(t => [badge(t), ' ']), pairs(i.metadata), h('span', { title: i.session ? `session ${i.session}, TTL ${i.ttl} s, grace ${i.grace} s` : '' }, `rev ${i.mod_revision ?? i.revision ?? '–'}`), actions(i),
        ] })), 'Instances')];
  }
  function views() {
    const tab = context.get('tab', 'instances');
    if (tab === 'subscribers') {
      if (!subscribers) return waiting();
      if (!subscribers.subscribers.length) return empty('No subscribers', 'This list shows clients that follow the service by stream or long poll, and the revision that each has acknowledged.', `curl -N -H 'Accept: text/event-stream' '${location.origin}/api/v1/stream?kind=service&name=${encodeURIComponent(name)}'`);
      return table(['Client', 'Address', 'Member', 'By', ['Acknowledged', 'num'], 'Labels'], subscribers.subscribers.map((s, i) => ({ key: i, cells: [s.client_id || muted('no name'), s.peer, s.member, s.transport, `rev ${s.revision}`, pairs(s.labels)] })), 'Subscribers');
    }
    if (tab === 'events') return events.length ? table(['Time', ['Revision', 'num'], 'Instance', 'What'], events.map(e => ({ key: `${e.revision} ${e.id} ${e.what}`, cells: [clock(e.at), number(e.revision), e.id, badge(e.what, tone(e.tone))] })), 'Events') : h('p', { class: 'muted' }, 'Changes appear here while this page is open.');
    return instances();
  }
  function view() {
    const title = head(name, muted(`${ns() || 'default'} / ${group}`), h('a', { href: `#/services${ns() ? `?ns=${encodeURIComponent(ns())}` : ''}` }, 'All services'));
    if (error) return [title, problem(error)];
    if (!items) return [title, waiting()];
    const serving = items.filter(i => i.serving).length;
    return [title,
      facts([['Instances', number(items.length)], ['In traffic', [number(serving), ' ', about?.protected ? badge('protected', 'warn', 'Too few instances are healthy: clients get all of them') : '']],
        ['Protection threshold', about?.settings?.protect_threshold ?? 'none'], ...Object.entries(about?.settings?.metadata ?? {}),
        ['DNS name', h('code', null, `${name}.${group === 'default' && !ns() ? '' : `${group}.${ns() || 'default'}.`}svc.cairn`)]]),
      tabs([['instances', `Instances (${items.length})`], ['subscribers', 'Subscribers'], ['events', `Events (${events.length})`]], context.get('tab', 'instances'), tab => context.href({ tab: tab === 'instances' ? '' : tab, q: '' })),
      views()];
  }
  return { title: name, view, changed: readSubscribers, stop: () => { stopStream(); clearInterval(timer); } };
}

export const services = context => (context.segments.length >= 3 ? service(context) : list(context));
