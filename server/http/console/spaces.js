// SPDX-License-Identifier: Apache-2.0
// Namespaces, found by skipping over the keys of the registry and the config center, one read a namespace. A user without READ on
// these keys enters the name by hand.

import { fromBase64, prefixEnd, toBase64, toBytes, toText, v3 } from './api.js';
import { h } from './dom.js';
import { field } from './ui.js';

const MOST = 100;
const found = new Map(); // prefix to names

export async function findNamespaces(prefix, signal) {
  const names = [];
  const end = toBase64(prefixEnd(toBytes(prefix)));
  let from = toBytes(prefix);
  while (names.length < MOST) {
    const answer = await v3('kv/range', { key: toBase64(from), range_end: end, limit: 1, keys_only: true }, signal);
    if (!answer.kvs?.length) break;
    const name = (toText(fromBase64(answer.kvs[0].key)) ?? '').slice(prefix.length).split('/')[0];
    if (!name) break;
    names.push(name);
    from = prefixEnd(toBytes(`${prefix}${name}/`));
  }
  return names;
}

// A field for the namespace of this page; the address has the value.
export function namespaceField(context, prefixes) {
  const key = prefixes.join();
  if (!found.has(key)) {
    found.set(key, ['default']);
    Promise.all(prefixes.map(p => findNamespaces(p, context.signal).catch(() => []))).then(lists => {
      found.set(key, [...new Set(['default', ...lists.flat()])]);
      context.refresh();
    });
  }
  const ns = context.get('ns', 'default');
  return field('Namespace', h('input', { type: 'text', list: 'namespaces', value: ns, autocomplete: 'off', spellcheck: 'false', onchange: e => context.set({ ns: e.target.value.trim() === 'default' ? '' : e.target.value.trim() }) },
  ), h('datalist', { id: 'namespaces' }, found.get(key).map(n => h('option', { value: n }))));
}
export const forgetNamespaces = () => found.clear();
