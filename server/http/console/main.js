// SPDX-License-Identifier: Apache-2.0
// The frame around the pages: addresses, navigation, keys, sign-in. An address alone determines a view: #/page/segment?parameters.
//
// A page is create(context) -> {title, view(), changed(), stop()}: created when its path is opened, notified by changed() when only
// parameters have changed, stopped when it is left. It calls context.refresh() when there is something new to show.

import { identity, stream } from './api.js';
import { cluster, followCluster, leaderName } from './cluster.js';
import { h, show } from './dom.js';
import { pages } from './pages.js';
import { badge, button, dialog, field, input, problem, toast } from './ui.js';

const app = document.getElementById('app');
let current = null; // {page, path, context}
let isScheduled = false;
let isDeclined = false; // the user closed the sign-in dialog: it opens again on another page, or by the button

// --- addresses ---------------------------------------------------------------------------------------------

function parse() {
  const [path, query = ''] = location.hash.replace(/^#\/?/, '').split('?');
  const segments = path.split('/').filter(Boolean).map(s => { try { return decodeURIComponent(s); } catch { return s; } });
  return { segments, path, query: new URLSearchParams(query) };
}
export const address = (segments, query = {}) => {
  const parameters = new URLSearchParams();
  for (const [k, v] of Object.entries(query)) if (v !== undefined && v !== null && v !== '' && v !== false) parameters.set(k, v);
  return '#/' + segments.map(encodeURIComponent).join('/') + (parameters.size ? `?${parameters}` : '');
};

class Context {
  constructor(at) {
    this.segments = at.segments;
    this.query = at.query;
    this.ended = new AbortController();
  }
  get signal() { return this.ended.signal; }
  get isOver() { return this.ended.signal.aborted; }
  refresh = () => !this.isOver && refresh();
  get(name, otherwise = '') { return this.query.get(name) ?? otherwise; }
  // The same page with other parameters; a search as it is typed replaces the address, so that "back" leaves the page.
  href(change) {
    return address(this.segments, { ...Object.fromEntries(this.query), ...change });
  }
  set(change) {
    history.replaceState(null, '', this.href(change));
    onAddress();
  }
  go(segments, query) { location.hash = address(segments, query); }
  report(e) { if (!this.isOver) toast(e.message, 'bad'); }
}

function onAddress() {
  const at = parse();
  const entry = pages.find(p => p.path === (at.segments[0] ?? 'overview'));
  if (current?.path === at.path) {
    current.context.query = at.query;
    current.page.changed?.();
  } else {
    current?.context.ended.abort();
    current?.page.stop?.();
    isDeclined = false;
    const context = new Context(at);
    current = { path: at.path, entry, context };
    current.page = entry ? entry.create(context) : { title: 'Not found', view: () => h('section', { class: 'empty' }, h('h1', null, 'There is no such page'), h('a', { href: '#/' }, 'To the overview')) };
    scrollTo(0, 0);
  }
  refresh();
}

// --- the frame ----------------------------------------------------------------------------------------------

function connection() {
  const name = cluster.members?.find(m => m.ID === cluster.self?.header.member_id)?.name;
  if (cluster.isLost) {
    const others = (cluster.members ?? []).filter(m => m.ID !== cluster.self?.header.member_id && m.clientURLs?.length);
    return h('span', { class: 'where' }, badge('no connection', 'bad'), others.length ? [' continue at ', others.map(m => [h('a', { href: m.clientURLs[0].replace(/\/$/, '') + '/ui/' + location.hash }, m.name || m.ID), ' '])] : ' retrying …');
  }
  if (!cluster.self) return h('span', { class: 'where' });
  return h('span', { class: 'where' }, 'member ', h('b', null, name ?? '?'), ' · revision ', h('b', { id: 'revision' }, cluster.self.header.revision ?? 0), ' ',
    leaderName() ? '' : badge('no leader', 'bad'), stream.state === 'connecting' ? badge('stream is reconnecting', 'warn') : '');
}

const frame = () => [
  h('a', { class: 'skip', href: '#main', onclick: e => { e.preventDefault(); document.getElementById('main').focus(); } }, 'To the content'),
  h('aside', null,
    h('a', { class: 'brand', href: '#/' }, h('img', { src: 'icon.svg', alt: '', width: 22, height: 22 }), 'Cairn'),
    h('nav', { 'aria-label': 'Pages' }, pages.map(p => h('a', { key: p.path, href: address([p.path]), 'aria-current': current.entry === p ? 'page' : null, title: `g ${p.key}` }, p.title))),
    h('div', { class: 'foot' }, identity.token ? [h('span', null, identity.user, ' '), button('Sign out', () => { identity.signOut(); location.reload(); }, { kind: 'quiet' })] : null,
      isDeclined ? button('Sign in', () => { isDeclined = false; identity.onNeeded(); }, { kind: 'primary' }) : null,
      button('Keys ?', showKeys, { kind: 'quiet', title: 'What the keyboard does' }))),
  h('div', { class: 'body' }, h('div', { class: 'top' }, connection()), h('main', { id: 'main', tabindex: '-1' }, h('div', { key: current.path }, current.page.view()))),
];

function refresh() {
  if (isScheduled) return;
  isScheduled = true;
  setTimeout(() => {
    isScheduled = false;
    document.title = `${current.page.title} · Cairn`;
    show(app, frame());
  });
}

// --- the keyboard --------------------------------------------------------------------------------------------

let prefix = 0;
function showKeys() {
  dialog(close => h('div', null, h('h2', null, 'Keys'), h('dl', { class: 'keys' },
    [['/', 'focus the search field'], ['?', 'this list'], ['Esc', 'close the dialog or leave the field'], ...pages.map(p => [`g ${p.key}`, p.title])].map(([k, t]) => h('div', null, h('dt', null, h('kbd', null, k)), h('dd', null, t)))),
  h('div', { class: 'buttons' }, button('Close', () => close(), { kind: 'primary' }))));
}
addEventListener('keydown', e => {
  const isField = e.target.closest?.('input, textarea, select');
  if (e.ctrlKey || e.metaKey || e.altKey || document.querySelector('dialog[open]')) return;
  if (isField) {
    if (e.key === 'Escape') e.target.blur();
    return;
  }
  if (e.key === '/') {
    const box = document.querySelector('main input[type=search]');
    if (box) { e.preventDefault(); box.focus(); box.select(); }
  } else if (e.key === '?') showKeys();
  else if (e.key === 'g') prefix = e.timeStamp;
  else if (prefix && e.timeStamp - prefix < 1500) {
    const page = pages.find(p => p.key === e.key);
    prefix = 0;
    if (page) location.hash = address([page.path]);
  }
});

// --- signing in ------------------------------------------------------------------------------------------------

let isAsking = false;
identity.onNeeded = async () => {
  if (isAsking || isDeclined) return;
  isAsking = true;
  let [name, password, error] = [identity.user ?? '', '', null];
  const isIn = await dialog((close, again) => h('form', { class: 'signin', onsubmit: async e => {
    e.preventDefault();
    try {
      await identity.signIn(name, password);
      close(true);
    } catch (problem) {
      error = problem;
      again();
    }
  } }, h('h2', null, 'Sign in'), h('p', { class: 'muted' }, 'This cluster requires a user. The token is kept in this browser tab only.'),
  field('User', input(name, t => (name = t), { autocomplete: 'username', required: true })),
  field('Password', input('', t => (password = t), { type: 'password', autocomplete: 'current-password', required: true })),
  error ? problem(error) : null,
  h('div', { class: 'buttons' }, button('Sign in', null, { type: 'submit', kind: 'primary' }))));
  isAsking = false;
  isDeclined = !isIn;
  if (!isIn) return refresh();
  current.context.ended.abort();
  current.page.stop?.();
  current = null;
  onAddress();
};

stream.onState = refresh;
addEventListener('hashchange', onAddress);
onAddress();
followCluster(refresh);
