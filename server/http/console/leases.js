// SPDX-License-Identifier: Apache-2.0
// Page of leases with their remaining time and keys; leases of registry sessions are marked.

import { fromBase64, isAbort, toText, v3 } from './api.js';
import { h } from './dom.js';
import { badge, button, confirm, empty, field, head, hex, input, muted, number, plural, problem, search, table, toast, waiting } from './ui.js';

const EVERY_MS = 5000;
const SHOWN = 50;

export function leases(context) {
  let [ids, error, timer] = [null, null, 0];
  const about = new Map(); // ID: {ttl, granted, keys, at}

  async function load() {
    clearTimeout(timer);
    try {
      const answer = await v3('lease/leases', {}, context.signal);
      ids = (answer.leases ?? []).map(l => l.ID);
      error = null;
      context.refresh();
      const now = await Promise.all(page().map(ID => v3('lease/timetolive', { ID, keys: true }, context.signal)));
      about.clear();
      for (const l of now) about.set(l.ID, { ttl: Number(l.TTL ?? 0), granted: Number(l.grantedTTL ?? 0), keys: (l.keys ?? []).map(k => toText(fromBase64(k)) ?? '(no text)'), at: performance.now() });
    } catch (e) { if (!isAbort(e)) error = e; }
    context.refresh();
    if (!context.isOver) timer = setTimeout(load, EVERY_MS);
  }
  const page = () => ids.filter(id => hex(id).includes(context.get('q').toLowerCase())).slice(0, SHOWN);
  load();
  const ticker = setInterval(context.refresh, 1000);

  function grant() {
    let ttl = '60';
    return confirm({ title: 'Grant a lease', action: 'Grant', body: () => [h('p', { class: 'muted' }, 'The lease lives this long after the last keep-alive; then it and its keys are deleted.'), field('Seconds', input(ttl, v => (ttl = v), { type: 'number', min: 1, required: true }))], act: async () => {
      const r = await v3('lease/grant', { TTL: ttl });
      toast(`Lease ${hex(r.ID)} granted.`);
      load();
    } });
  }
  async function revoke(id) {
    const now = await v3('lease/timetolive', { ID: id, keys: true });
    return confirm({ title: `Revoke lease ${hex(id)}?`, danger: true, action: 'Revoke', body: [h('p', null, `${plural((now.keys ?? []).length, 'key')} ${(now.keys ?? []).length === 1 ? 'goes' : 'go'} with it, all in one revision.`), h('ul', null, (now.keys ?? []).slice(0, 10).map(k => h('li', null, toText(fromBase64(k)) ?? '(no text)')))], act: async () => { await v3('lease/revoke', { ID: id }); load(); } });
  }
  async function keepAlive(id) {
    const r = await v3('lease/keepalive', { ID: id });
    toast(Number(r.result?.TTL ?? 0) ? `Lease renewed for ${r.result.TTL} s.` : 'The lease has expired.', Number(r.result?.TTL ?? 0) ? 'good' : 'bad');
    load();
  }
  function view() {
    const title = head('Leases', ids ? muted(plural(ids.length, 'lease')) : null, button('Grant', grant, { kind: 'primary' }));
    const bar = h('div', { class: 'bar' }, h('div', { class: 'grow' }, search(context.get('q'), q => context.set({ q }), 'Search leases by their ID')));
    if (error && !ids) return [title, bar, problem(error)];
    if (!ids) return [title, bar, waiting()];
    if (!ids.length) return [title, bar, empty('No leases', 'A lease keeps its keys as long as a client sends keep-alives. Every session of the registry has a lease.', `etcdctl --endpoints=${location.host} lease grant 60`, button('Try it: grant a lease', grant, { kind: 'primary' }))];
    const shown = page();
    return [title, bar, error ? problem(error) : null, table(['Lease', 'Left', ['Granted', 'num'], ['Keys', 'num'], ['', 'wrap'], ['', 'tight']], shown.map(id => {
      const l = about.get(id);
      const left = l ? Math.max(0, Math.round(l.ttl - (performance.now() - l.at) / 1000)) : null;
      return { key: id, cells: [h('code', null, hex(id)), l ? h('span', { class: 'left' }, h('meter', { min: 0, max: l.granted, value: left, 'aria-label': `${left} of ${l.granted} seconds left` }), ` ${number(left)} s`) : '…', l ? `${number(l.granted)} s` : '', l ? number(l.keys.length) : '',
        l?.keys.slice(0, 3).map(k => [k.startsWith('/cairn/registry/sessions/') ? badge('session', 'info') : h('a', { href: `#/keys?key=${encodeURIComponent(k.replaceAll('\\', '\\\\'))}` }, k), ' ']),
        h('div', { class: 'buttons' }, button('Keep alive', () => keepAlive(id).catch(context.report)), button('Revoke', () => revoke(id).catch(context.report)))] };
    }), 'Leases'), shown.length < ids.length && shown.length === SHOWN ? muted(`The first ${SHOWN} are shown; search to find the others.`) : null];
  }
  return { title: 'Leases', view, changed: load, stop: () => { clearTimeout(timer); clearInterval(ticker); } };
}
