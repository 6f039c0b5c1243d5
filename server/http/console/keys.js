// SPDX-License-Identifier: Apache-2.0
// Page of keys: a tree by a separator, a list by prefix, one key with its bytes and earlier values.
//
// A key is bytes. Here it is a string with one character a byte, as atob makes it; it becomes text only for display.
// The tree skips the keys below a folder, one read a folder, so that a million keys open as quickly as ten.

import { fromBase64, isAbort, prefixEnd, toBase64, toText, v3 } from './api.js';
import { diffView, hunksOf } from './diff.js';
import { h } from './dom.js';
import { badge, button, bytes, confirm, copyable, empty, facts, field, head, hex, input, lines, muted, number, plural, problem, search, select, table, tabs, toast, waiting } from './ui.js';

const PAGE = 100;
const STEP = 50;
const PAST_MAX = 20;

const bytesOf = s => Uint8Array.from(s, c => c.charCodeAt(0));
const ofBytes = b => Array.from(b, n => String.fromCharCode(n)).join('');
const ofText = text => ofBytes(new TextEncoder().encode(text));
const textOf = s => toText(bytesOf(s));
const endOf = prefix => btoa(ofBytes(prefixEnd(bytesOf(prefix))));
// Bytes that are not UTF-8 are shown, and written in addresses, as \xff; a backslash in a text is doubled there.
const CONTROL = /[\x00-\x1f\x7f]/;
const shown = s => {
  const text = textOf(s);
  return text !== null && !CONTROL.test(text) ? text : Array.from(s, c => (c < ' ' || c > '~' ? `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}` : c)).join('');
};
const toAddress = s => { const text = textOf(s); return text !== null && !CONTROL.test(text) ? text.replaceAll('\\', '\\\\') : shown(s.replaceAll('\\', '\\\\')); };
const ofAddress = text => ofText(text).replace(/\\(\\|x([0-9a-f]{2}))/g, (_, all, code) => (code ? String.fromCharCode(parseInt(code, 16)) : '\\'));

function preview(base64) {
  const data = fromBase64(base64);
  const text = toText(data.length > 240 ? data.slice(0, 240) : data) ?? (data.length > 240 ? toText(data.slice(0, 237)) : null);
  return text === null ? muted(`${bytes(data.length)} of binary data`) : text.replace(/\s+/g, ' ').slice(0, 120) + (data.length > 120 ? ' …' : '');
}
function hexView(data) {
  const rows = [];
  for (let i = 0; i < data.length && i < 16384; i += 16) {
    const part = data.subarray(i, i + 16);
    rows.push(`${i.toString(16).padStart(6, '0')}  ${Array.from(part, b => b.toString(16).padStart(2, '0')).join(' ').padEnd(48)} ${Array.from(part, b => (b > 31 && b < 127 ? String.fromCharCode(b) : '.')).join('')}`);
  }
  return [h('pre', { class: 'hex', tabindex: '0' }, rows.join('\n') || '(empty)'), data.length > 16384 ? muted('The first 16 KiB are shown.') : null];
}

const range = (body, signal) => v3('kv/range', body, signal);
const countOf = async (prefix, signal) => Number((await range({ key: btoa(prefix || '\0'), range_end: endOf(prefix), count_only: true }, signal)).count ?? 0);

// --- writing ---------------------------------------------------------------------------------------------------

// Puts if the key still has this mod revision (0: it does not exist). false: it has another one.
async function putIf(key, value, modRevision, options = {}) {
  const answer = await v3('kv/txn', { compare: [{ key: btoa(key), target: 'MOD', result: 'EQUAL', mod_revision: String(modRevision) }], success: [{ request_put: { key: btoa(key), value, ...options } }] });
  return answer.succeeded === true;
}
function newKey(context, prefix) {
  const now = { key: toAddress(prefix), value: '', lease: '' };
  return confirm({
    title: 'New key', action: 'Put',
    body: () => [field('Key', input(now.key, v => (now.key = v), { required: true })), field('Value', h('textarea', { rows: 8, value: '', spellcheck: 'false', oninput: e => (now.value = e.target.value) })), field('Lease', input('', v => (now.lease = v), { placeholder: 'hexadecimal; empty = none' }))],
    act: async () => {
      const key = ofAddress(now.key);
      if (!key) throw new Error('the key must not be empty');
      if (now.lease && !/^[0-9a-f]{1,16}$/i.test(now.lease)) throw new Error('a lease has up to 16 hexadecimal digits');
      if (!(await putIf(key, toBase64(now.value), 0, now.lease ? { lease: BigInt('0x' + now.lease).toString() } : {}))) throw new Error('This key exists already: open it to change it.');
      context.set({ key: toAddress(key) });
    },
  });
}
async function removeAll(context, prefix, done) {
  const count = await countOf(prefix);
  if (!count) return toast('There is nothing to delete.');
  return confirm({
    title: `Delete ${plural(count, 'key')}?`, danger: true, action: `Delete ${plural(count, 'key')}`, typed: String(count),
    body: h('p', null, 'This deletes all keys with the prefix ', h('code', null, shown(prefix) || '(anything)'), '. Keys under /cairn/ belong to the registry and the config center.'),
    act: async () => {
      const r = await v3('kv/deleterange', { key: btoa(prefix || '\0'), range_end: endOf(prefix) });
      toast(`${plural(Number(r.deleted ?? 0), 'key')} deleted.`);
      done();
    },
  });
}

// --- the tree --------------------------------------------------------------------------------------------------

// The folders and keys right below the prefix, from a place on: {entries: [{name, isFolder, kv}], next}.
async function level(prefix, separator, from, signal) {
  const entries = [];
  const end = endOf(prefix);
  let at = from ?? (prefix || '\0');
  while (entries.length < PAGE) {
    const { kvs = [], more } = await range({ key: btoa(at), range_end: end, limit: STEP }, signal);
    let folder = null;
    for (const kv of kvs) {
      const key = atob(kv.key);
      const cut = key.indexOf(separator, prefix.length);
      folder = cut < 0 ? null : key.slice(0, cut + separator.length);
      entries.push(folder ? { name: folder, isFolder: true } : { name: key, kv });
      at = folder ? ofBytes(prefixEnd(bytesOf(folder))) : key + '\0';
      if (entries.length >= PAGE) return { entries, next: at };
      if (folder) break; // skip the keys below it
    }
    if (!kvs.length || (!folder && !more)) return { entries, next: null };
  }
  return { entries, next: at };
}

function keyList(context) {
  let [data, error, current, counts, run] = [null, null, '', new Map(), 0];
  const settings = () => ({ prefix: ofAddress(context.get('prefix')), separator: ofAddress(context.get('sep', '/')) || '/', isTree: context.get('view', 'tree') === 'tree', from: context.query.has('from') ? ofAddress(context.get('from')) : null });

  async function load() {
    const mine = ++run;
    const { prefix, separator, isTree, from } = settings();
    current = context.query.toString();
    try {
      const total = await countOf(prefix, context.signal);
      let found;
      if (isTree) found = await level(prefix, separator, from, context.signal);
      else {
        const { kvs = [], more } = await range({ key: btoa(from ?? (prefix || '\0')), range_end: endOf(prefix), limit: PAGE }, context.signal);
        found = { entries: kvs.map(kv => ({ name: atob(kv.key), kv })), next: more ? atob(kvs.at(-1).key) + '\0' : null };
      }
      if (mine !== run) return;
      [data, error] = [{ ...found, total, prefix, separator, isTree, from }, null];
      context.refresh();
      for (const e of found.entries.filter(e => e.isFolder)) {
        if (mine !== run) return;
        counts.set(e.name, await countOf(e.name, context.signal));
        context.refresh();
      }
    } catch (e) {
      if (isAbort(e) || mine !== run) return;
      error = e;
      context.refresh();
    }
  }
  load();
  const reload = () => { counts = new Map(); load(); };

  const tryIt = async () => {
    try {
      for (const [k, v] of [['app/color', 'blue'], ['app/size', '12'], ['greeting', 'hello']]) await v3('kv/put', { key: toBase64(k), value: toBase64(v) });
      reload();
    } catch (e) { context.report(e); }
  };
  function crumbs({ prefix, separator }) {
    const parts = [];
    for (let at = 0; (at = prefix.indexOf(separator, at)) >= 0;) {
      const start = parts.at(-1)?.length ?? 0;
      at += separator.length;
      parts.push(prefix.slice(0, at));
      if (at === start) break;
    }
    return h('p', { class: 'crumbs' }, h('a', { href: context.href({ prefix: '', from: '' }) }, 'all keys'), parts.map((p, i) => [' › ', h('a', { href: context.href({ prefix: toAddress(p), from: '' }) }, shown(p.slice(parts[i - 1]?.length ?? 0)))]));
  }
  function view() {
    const { prefix } = settings();
    const title = head('Keys', data ? muted(plural(data.total, 'key')) : null, button('New key', () => newKey(context, prefix), { kind: 'primary' }), h('a', { href: `#/watch?prefix=${encodeURIComponent(toAddress(prefix))}` }, 'Watch'), button('Delete all …', () => removeAll(context, prefix, reload).catch(context.report), { title: 'Counts the keys with this prefix, then deletes them' }), button('Reload', reload));
    const bar = h('div', { class: 'bar' }, h('div', { class: 'grow' }, search(context.get('prefix'), v => context.set({ prefix: v, from: '' }), 'Prefix of keys')),
      field('Show', select(context.get('view', 'tree'), [['tree', 'as a tree'], ['list', 'as a list']], v => context.set({ view: v === 'tree' ? '' : v, from: '' }))), field('Separator', input(context.get('sep', '/'), v => context.set({ sep: v === '/' ? '' : v, from: '' }), { size: 3, maxlength: 8 })));
    if (error) return [title, bar, problem(error)];
    if (!data) return [title, bar, waiting()];
    if (!data.total && !prefix) return [title, bar, empty('No keys yet', 'Use any etcd v3 client to read and write keys.', `etcdctl --endpoints=${location.host} put greeting hello`, button('Try it: put three keys', tryIt, { kind: 'primary' }))];
    const rows = data.entries.map(e => ({ key: e.name, cells: e.isFolder
      ? [h('a', { href: context.href({ prefix: toAddress(e.name), from: '' }) }, '▸ ', shown(e.name.slice(data.prefix.length))), muted(counts.has(e.name) ? plural(counts.get(e.name), 'key') : '…'), '', '', '', '']
      : [h('a', { href: context.href({ key: toAddress(e.name) }) }, shown(data.isTree ? e.name.slice(data.prefix.length) : e.name) || '(this key)'), h('span', { class: 'mono' }, preview(e.kv.value)), bytes(fromBase64(e.kv.value).length), number(e.kv.mod_revision), number(e.kv.version), e.kv.lease ? h('a', { href: `#/leases?q=${hex(e.kv.lease)}` }, badge('lease', 'info')) : ''] }));
    return [title, bar, data.isTree ? crumbs(data) : null,
      rows.length ? table([['Key', 'wrap'], ['Value', 'wrap'], ['Size', 'num'], ['Changed at', 'num'], ['Version', 'num'], ''], rows, 'Keys') : h('p', { class: 'muted' }, 'No key has this prefix.'),
      h('div', { class: 'buttons' }, data.from !== null ? h('a', { href: context.href({ from: '' }) }, 'From the beginning') : null, data.next ? h('a', { href: context.href({ from: toAddress(data.next) }) }, 'Next page') : null)];
  }
  return { view, changed: () => context.query.toString() !== current && load() };
}

// --- one key ------------------------------------------------------------------------------------------------------

function oneKey(context) {
  const address = context.get('key');
  const key = ofAddress(address);
  let [kv, error, isGone, draft, past, pastEnd] = [null, null, false, null, null, ''];

  async function load() {
    try {
      const answer = await range({ key: btoa(key) }, context.signal);
      [kv, error, isGone] = [answer.kvs?.[0] ?? null, null, !answer.kvs?.length];
    } catch (e) { if (!isAbort(e)) error = e; }
    past = null;
    if (context.get('tab') === 'past') loadPast();
    context.refresh();
  }
  async function loadPast() {
    if (past || !kv) return;
    past = [kv];
    pastEnd = '';
    try {
      while (past.length < PAST_MAX && past.at(-1).version !== '1') {
        const answer = await range({ key: btoa(key), revision: String(BigInt(past.at(-1).mod_revision) - 1n) }, context.signal);
        if (!answer.kvs?.length) break;
        past.push(answer.kvs[0]);
        context.refresh();
      }
      pastEnd = past.at(-1).version === '1' ? 'The key did not exist before.' : `The last ${PAST_MAX} values are shown.`;
    } catch (e) {
      if (isAbort(e)) return;
      pastEnd = /compacted/.test(e.message) ? 'Earlier values are compacted.' : e.message;
    }
    context.refresh();
  }
  load();

  async function save(value, seen, what) {
    try {
      if (await putIf(key, value, seen.mod_revision, seen.lease ? { lease: seen.lease } : {})) {
        toast(what);
        draft = null;
        load();
        return;
      }
      toast('The key was changed meanwhile; nothing was written. This is the current value.', 'bad');
      draft = null;
      load();
    } catch (e) { context.report(e); }
  }
  const remove = () => confirm({ title: 'Delete this key?', danger: true, action: 'Delete', body: h('p', null, h('code', null, shown(key))), act: async () => {
    const answer = await v3('kv/txn', { compare: [{ key: btoa(key), target: 'MOD', result: 'EQUAL', mod_revision: kv.mod_revision }], success: [{ request_delete_range: { key: btoa(key) } }] });
    if (!answer.succeeded) throw new Error('The key was changed meanwhile; nothing was deleted.');
    load();
  } });

  function valueView(data) {
    const text = toText(data);
    const as = context.get('as', text === null ? 'hex' : 'text');
    let pretty = null;
    try { pretty = text !== null && /^\s*[[{]/.test(text) ? JSON.stringify(JSON.parse(text), null, 2) : null; } catch { /* no JSON */ }
    return [h('div', { class: 'bar' }, field('Show as', select(as, [...(text === null ? [] : [['text', 'text']]), ...(pretty ? [['json', 'JSON, indented']] : []), ['hex', 'bytes'], ['base64', 'base64']], v => context.set({ as: v }))),
      text !== null && !draft ? button('Edit', () => { draft = { text, seen: kv }; context.refresh(); }, { kind: 'primary' }) : null),
    as === 'hex' ? hexView(data) : as === 'base64' ? h('pre', { class: 'hex', tabindex: '0' }, toBase64(data)) : lines(as === 'json' && pretty ? pretty : text ?? '')];
  }
  function editing() {
    return [h('label', { class: 'field' }, h('span', null, 'Value'), h('textarea', { class: 'wide', rows: 14, value: draft.text, spellcheck: 'false', oninput: e => { draft.text = e.target.value; context.refresh(); } })),
      diffView(hunksOf(toText(fromBase64(draft.seen.value)) ?? '', draft.text)),
      h('div', { class: 'buttons' }, button('Discard changes', () => { draft = null; context.refresh(); }), button('Save', () => save(toBase64(draft.text), draft.seen, 'Saved.'), { kind: 'primary', title: `Only if the key has not changed since revision ${draft.seen.mod_revision}` }))];
  }
  function pastView() {
    if (!past) return waiting();
    return [table([['Revision', 'num'], ['Version', 'num'], ['Value', 'wrap'], ['Size', 'num'], ['', 'tight']], past.map((p, i) => ({ key: p.mod_revision, cells: [[number(p.mod_revision), ' ', i ? '' : badge('now', 'good')], p.version, h('span', { class: 'mono' }, preview(p.value)), bytes(fromBase64(p.value).length), i ? button('Restore', () => save(p.value, kv, `The value of revision ${p.mod_revision} is restored.`)) : ''] })), 'Earlier values'), muted(pastEnd)];
  }
  function view() {
    const title = head(shown(key), h('a', { href: context.href({ key: '', as: '', tab: '' }) }, 'Back to the keys'), h('a', { href: `#/watch?prefix=${encodeURIComponent(address)}` }, 'Watch'), button('Reload', load), kv ? button('Delete', remove) : null);
    if (error) return [title, problem(error)];
    if (isGone) return [title, empty('There is no such key', 'It was deleted, or its lease has ended.', `etcdctl --endpoints=${location.host} put ${/^[\w./-]+$/.test(shown(key)) ? shown(key) : 'KEY'} VALUE`)];
    if (!kv) return [title, waiting()];
    const data = fromBase64(kv.value);
    const tab = context.get('tab', 'value');
    return [title, facts([['Created at', `revision ${kv.create_revision}`], ['Changed at', `revision ${kv.mod_revision}`], ['Version', kv.version], ['Size', bytes(data.length)], ['Lease', kv.lease ? h('a', { href: `#/leases?q=${hex(kv.lease)}` }, hex(kv.lease)) : 'none']]),
      tabs([['value', 'Value'], ['past', 'Earlier values']], tab, t => context.href({ tab: t === 'value' ? '' : t })), tab === 'past' ? pastView() : draft ? editing() : valueView(data)];
  }
  return { view, changed: () => context.get('tab') === 'past' && loadPast() };
}

export function keys(context) {
  let [address, part] = [null, null];
  const choose = () => {
    if (part && address === context.get('key', null)) return part.changed();
    address = context.get('key', null);
    part = address ? oneKey(context) : keyList(context);
    return null;
  };
  choose();
  return { get title() { return address ? `${address} · Keys` : 'Keys'; }, view: () => part.view(), changed: choose };
}
