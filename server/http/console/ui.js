// SPDX-License-Identifier: Apache-2.0
// Parts of pages: formatted numbers, tables, badges, dialogs, small charts. Everything here returns views (dom.js).

import { h, show } from './dom.js';

// --- words and numbers -----------------------------------------------------------------------------------

export const number = n => (n === undefined || n === null || Number.isNaN(n) ? '–' : Number(n).toLocaleString('en-US', { maximumFractionDigits: n < 10 ? 2 : n < 100 ? 1 : 0 }));
export function bytes(n) {
  if (n === undefined || n === null) return '–';
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let at = 0;
  for (n = Number(n); n >= 1024 && at < units.length - 1; at++) n /= 1024;
  return `${at ? n.toFixed(n < 10 ? 1 : 0) : n} ${units[at]}`;
}
export const plural = (n, one, many = one + 's') => `${number(n)} ${n === 1 ? one : many}`;
export const clock = ms => new Date(ms).toLocaleString('sv-SE'); // 2026-01-31 12:00:00
export function ago(ms) {
  const s = Math.max(0, Math.round((Date.now() - ms) / 1000));
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return s < 86400 ? `${Math.floor(s / 3600)} h ago` : `${Math.floor(s / 86400)} d ago`;
}
export const time = ms => h('time', { datetime: new Date(ms).toISOString(), title: clock(ms) }, ago(ms));
export const hex = id => BigInt(id).toString(16);

// --- small parts -------------------------------------------------------------------------------------------

const TONES = {
  up: 'good', healthy: 'good', leader: 'good', yes: 'good', applied: 'good', warn: 'warn', starting: 'info', draining: 'warn', learner: 'info', lost: 'bad',
  down: 'bad', disabled: 'bad', rejected: 'bad', unreachable: 'bad', deleted: 'bad', pending: 'warn', guarded: 'warn', PUT: 'good', DELETE: 'bad',
};
export const badge = (text, tone = TONES[text] ?? 'plain', title) => h('span', { class: `badge ${tone}`, title }, text);
export const muted = (...c) => h('span', { class: 'muted' }, ...c);
export const code = text => h('code', null, text);
export const button = (text, onclick, { kind = '', disabled = false, title, type = 'button', key } = {}) =>
  h('button', { type, class: kind, onclick, disabled, title, key }, text);
export const link = (text, href, props) => h('a', { href, ...props }, text);
export const field = (label, input, hint) => h('label', { class: 'field' }, h('span', null, label), input, hint ? h('small', null, hint) : null);
export const input = (value, oninput, props = {}) => h('input', { type: 'text', value, oninput: e => oninput(e.target.value), autocomplete: 'off', spellcheck: 'false', ...props });
export const select = (value, options, onchange, props = {}) =>
  h('select', { value, onchange: e => onchange(e.target.value), ...props }, options.map(o => (Array.isArray(o) ? h('option', { value: o[0] }, o[1]) : h('option', { value: o }, o))));
export const search = (value, oninput, placeholder) =>
  h('input', { type: 'search', value, placeholder, 'aria-label': placeholder, oninput: e => oninput(e.target.value), title: 'Press / to come here' });
export const problem = e => h('p', { class: 'problem', role: 'alert' }, typeof e === 'string' ? e : `${e.message}${e.line && !/line/.test(e.message) ? ` (line ${e.line}, column ${e.column})` : ''}`);
export const waiting = () => h('p', { class: 'muted' }, 'Loading …');
export const head = (title, ...actions) => h('header', { class: 'head' }, h('h1', null, title), h('div', { class: 'actions' }, actions));
export const card = (title, value, note, tone) => h('div', { class: `card ${tone ?? ''}` }, h('h3', null, title), h('div', { class: 'value' }, value), h('div', { class: 'note' }, note ?? ''));
export const facts = list => h('dl', { class: 'facts' }, list.filter(Boolean).map(([k, v]) => h('div', null, h('dt', null, k), h('dd', null, v ?? '–'))));
export const tabs = (list, current, hrefOf) =>
  h('nav', { class: 'tabs', 'aria-label': 'Views' }, list.map(([id, text]) => h('a', { key: id, href: hrefOf(id), 'aria-current': id === current ? 'page' : null }, text)));

// columns: [title, class]; rows: {key, cells, class, onclick}.
export const table = (columns, rows, label) =>
  h('div', { class: 'scroll', tabindex: '0', role: 'region', 'aria-label': label }, h('table', null,
    h('thead', null, h('tr', null, columns.map(c => h('th', { scope: 'col', class: Array.isArray(c) ? c[1] : null }, Array.isArray(c) ? c[0] : c)))),
    h('tbody', null, rows.map(r => h('tr', { key: r.key, class: r.class },
      r.cells.map((cell, i) => h('td', { class: Array.isArray(columns[i]) ? columns[i][1] : null }, cell)))))));

export function copyable(command) {
  return h('div', { class: 'command' }, h('pre', { tabindex: '0' }, command), button('Copy', () => {
    navigator.clipboard?.writeText(command).then(() => toast('Copied.'), () => toast('The browser rejected copying; select the text instead.', 'bad'));
  }, { title: 'Copy the command' }));
}
// An empty list: an explanation, a command, and a button to try it.
export const empty = (title, text, command, action) =>
  h('section', { class: 'empty' }, h('h2', null, title), h('p', null, text), command ? copyable(command) : null, action ? h('p', null, action) : null);

export function sparkline(values, label, format = number) {
  const [width, height] = [160, 36];
  const shown = values.slice(-60);
  const top = Math.max(...shown, 1e-9);
  const x = i => (width * (i + 60 - shown.length)) / 59;
  const y = v => height - 2 - (v / top) * (height - 6);
  const line = shown.map((v, i) => `${x(i).toFixed(1)},${y(v).toFixed(1)}`).join(' ');
  const area = shown.length > 1 ? `${x(0).toFixed(1)},${height} ${line} ${width},${height}` : '';
  return h('svg', { class: 'spark', viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: 'none', role: 'img', 'aria-label': `${label}: now ${format(shown.at(-1) ?? 0)}, at most ${format(shown.length ? top : 0)}` },
    h('polygon', { points: area }), h('polyline', { points: shown.length > 1 ? line : '' }));
}
export const chart = (title, values, format = number) =>
  h('div', { class: 'card chart' }, h('h3', null, title), h('div', { class: 'value' }, values.length ? format(values.at(-1)) : '–'), sparkline(values, title, format));

// A text with its lines' numbers; marks: line number to class.
export const lines = (text, marks = {}) =>
  h('ol', { class: 'code', tabindex: '0' }, text.replace(/\n$/, '').split('\n').map((line, i) => h('li', { class: marks[i + 1] }, line || ' ')));

// A text area with line numbers beside it. error: {line, column, message} or null.
export function editor(value, oninput, error, label) {
  const count = value.split('\n').length;
  const follow = e => (e.target.previousSibling.scrollTop = e.target.scrollTop);
  return h('div', { class: 'editor' },
    h('div', { class: 'gutter', 'aria-hidden': 'true' }, Array.from({ length: count }, (_, i) => h('div', { class: error?.line === i + 1 ? 'bad' : null }, i + 1))),
    h('textarea', { value, 'aria-label': label, spellcheck: 'false', autocapitalize: 'off', wrap: 'off', rows: Math.min(30, Math.max(12, count + 1)), oninput: e => { oninput(e.target.value); follow(e); }, onscroll: follow,
      'aria-invalid': error ? 'true' : null }));
}

// --- dialogs, notices --------------------------------------------------------------------------------------

export function toast(text, tone = 'good') {
  const box = document.getElementById('toasts');
  const item = document.createElement('div');
  item.className = `toast ${tone}`;
  item.textContent = text;
  box.append(item);
  setTimeout(() => item.remove(), tone === 'bad' ? 9000 : 4000);
}

// A dialog whose view is view(close, again); again() renders it again. Resolves with the argument of close, null for
// Escape.
export function dialog(view) {
  const before = document.activeElement;
  const box = document.createElement('dialog');
  document.body.append(box);
  return new Promise(done => {
    let result = null;
    const close = value => {
      result = value ?? null;
      box.close();
    };
    const again = () => {
      show(box, view(close, again));
      const title = box.querySelector('h2');
      if (title) box.setAttribute('aria-label', title.textContent);
    };
    box.onclose = () => {
      box.remove();
      before?.focus?.();
      done(result);
    };
    again();
    box.showModal();
  });
}

// act() is awaited; while it runs the dialog stays, and its error is shown in it. typed: text that the user must enter to confirm.
export function confirm({ title, body, action, danger = false, typed, act }) {
  let text = '';
  let error = null;
  let isBusy = false;
  return dialog((close, again) => {
    const go = async e => {
      e?.preventDefault();
      isBusy = true;
      error = null;
      again();
      try {
        const result = await act();
        close(result ?? true);
      } catch (e) {
        error = e;
        isBusy = false;
        again();
      }
    };
    return h('form', { onsubmit: go },
      h('h2', null, title), typeof body === 'function' ? body(again) : body,
      typed ? field(`Enter ${typed} to confirm`, input(text, t => { text = t; again(); })) : null,
      error ? problem(error) : null,
      h('div', { class: 'buttons' }, button('Cancel', () => close(null)),
        button(action, null, { type: 'submit', kind: danger ? 'danger' : 'primary', disabled: isBusy || (typed !== undefined && text !== typed) })));
  });
}
export const warning = text => h('p', { class: 'warning' }, text);
