// SPDX-License-Identifier: Apache-2.0
// Page of live events of keys with a prefix, from the stream: in order, each once, also across disconnections. While it is
// paused, events are kept up to a limit and then counted.

import { stream, v3 } from './api.js';
import { h } from './dom.js';
import { badge, button, empty, field, head, input, muted, number, plural, problem, search, table } from './ui.js';

const KEPT = 500;

const decode = base64 => atob(base64).replace(/[^ -~]/g, c => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

export function watch(context) {
  let [prefix, error, stop, isPaused, lost, isReady] = [null, null, null, false, 0, false];
  let [events, held] = [[], []];

  async function follow() {
    stop?.();
    prefix = context.get('prefix');
    [error, events, held, lost, isReady] = [null, [], [], 0, false];
    const mine = prefix;
    let revision;
    try {
      revision = Number((await v3('maintenance/status', {}, context.signal)).header.revision ?? 0);
    } catch (e) {
      error = e;
      context.refresh();
      return;
    }
    if (mine !== prefix || context.isOver) return;
    isReady = true;
    stop = stream.follow({ kind: 'kv', prefix, from_revision: revision + 1 }, frame => {
      if (frame.type === 'error') error = frame;
      if (frame.type === 'resync') note({ revision: frame.revision ?? 0, type: 'RESYNC', key: '', value: `some events are missing: ${frame.reason}` });
      if (frame.type === 'delta') {
        for (const i of frame.put ?? []) note({ revision: frame.revision, type: 'PUT', key: i.key ?? decode(i.key_base64), value: i.value ?? decode(i.value_base64 ?? '') });
        for (const i of frame.delete ?? []) note({ revision: frame.revision, type: 'DELETE', key: typeof i === 'string' ? i : i.key ?? decode(i.key_base64), value: '' });
      }
      context.refresh();
    });
    context.refresh();
  }
  let number_ = 0;
  function note(event) {
    event.at = new Date();
    event.number = ++number_;
    const list = isPaused ? held : events;
    if (isPaused && held.length >= KEPT) lost++;
    list.unshift(event);
    list.splice(KEPT);
  }
  function toggle() {
    isPaused = !isPaused;
    if (!isPaused) {
      events = [...held, ...events].slice(0, KEPT);
      [held, lost] = [[], 0];
    }
    context.refresh();
  }
  follow();
  let typing = 0;

  function view() {
    const q = context.get('q').toLowerCase();
    const shown = events.filter(e => !q || `${e.key}\n${e.value}`.toLowerCase().includes(q));
    return [head('Watch', isPaused ? badge(`paused${held.length ? `, ${plural(held.length, 'event')} wait` : ''}${lost ? `, ${number(lost)} lost` : ''}`, 'warn') : isReady ? badge('live', 'good') : null, button(isPaused ? 'Continue' : 'Pause', toggle, { kind: 'primary' }), button('Clear', () => { events = []; context.refresh(); })),
      h('div', { class: 'bar' }, field('Prefix of keys', input(context.get('prefix'), v => { clearTimeout(typing); typing = setTimeout(() => context.set({ prefix: v }), 400); }, { placeholder: '(all)' })), h('div', { class: 'grow' }, search(context.get('q'), v => context.set({ q: v }), 'Search the events'))),
      error ? problem(error) : null,
      events.length ? table(['Time', ['Revision', 'num'], '', ['Key', 'wrap'], ['Value', 'wrap']], shown.map(e => ({ key: e.number, class: 'new', cells: [e.at.toLocaleTimeString('sv-SE'), number(e.revision), badge(e.type), e.key, h('span', { class: 'mono' }, e.value.slice(0, 300))] })), 'Events')
        : empty('Waiting for changes', `Every change of a key with the prefix "${context.get('prefix')}" appears here as it happens. In a shell:`, `etcdctl --endpoints=${location.host} put ${/^[\w./-]*$/.test(prefix ?? '') ? prefix : ''}hello world`, button('Try it: put a key', () => v3('kv/put', { key: btoa(unescape(encodeURIComponent(`${prefix}hello`))), value: btoa(`world at ${new Date().toISOString()}`) }).catch(context.report), { kind: 'primary', disabled: !isReady })),
      events.length >= KEPT ? muted(`The last ${KEPT} are kept.`) : null];
  }
  return { title: 'Watch', view, changed: () => context.get('prefix') !== prefix && follow(), stop: () => { stop?.(); clearTimeout(typing); } };
}
