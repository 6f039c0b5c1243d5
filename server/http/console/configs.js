// SPDX-License-Identifier: Apache-2.0
// Page of the list of configurations, import and export. One configuration is config.js.

import { ask, download, followUrl, send, url } from './api.js';
import { config } from './config.js';
import { h } from './dom.js';
import { namespaceField } from './spaces.js';
import { badge, button, bytes, dialog, empty, field, head, input, muted, plural, problem, search, select, table, time, toast, waiting } from './ui.js';

const SHOWN = 500;
const LOADED_MAX = 5000;
const nsPart = ns => (ns ? `?ns=${encodeURIComponent(ns)}` : '');
export const configHref = (group, name, ns, more = '') => `#/configs/${encodeURIComponent(group)}/${encodeURIComponent(name)}${nsPart(ns)}${more && (ns ? '&' : '?') + more}`;

// --- a new one, import ------------------------------------------------------------------------------------------

function create(context, ns) {
  const now = { group: 'default', name: '' };
  dialog((close, again) => h('form', { onsubmit: e => { e.preventDefault(); close(); location.hash = configHref(now.group.trim() || 'default', now.name.trim(), ns, 'tab=edit'); } },
    h('h2', null, 'New configuration'), h('p', { class: 'muted' }, 'The suffix of the name sets the format: .yaml, .json, .properties, .toml, .xml, .html; otherwise text.'),
    field('Name', input(now.name, v => { now.name = v; again(); }, { placeholder: 'app.yaml', required: true, pattern: '[^\\/]+' })), field('Group', input(now.group, v => (now.group = v))),
    h('div', { class: 'buttons' }, button('Cancel', () => close()), button('Continue', null, { type: 'submit', kind: 'primary', disabled: !now.name.trim() }))));
}

function importDialog(ns, done) {
  let [file, policy, into, report, error, isBusy] = [null, 'abort', false, null, null, false];
  const run = async (dry, again, close) => {
    [error, isBusy] = [null, true];
    again();
    try {
      report = await send('POST', url('import', [], { policy, dry_run: dry ? 'true' : '', namespace: into ? ns || 'default' : '' }), file);
      if (!dry) { close(); toast(`Imported: ${summary(report)}.`); done(); }
    } catch (e) { error = e; report = e.current?.items ? e.current : report; }
    isBusy = false;
    again();
  };
  const summary = r => Object.entries(r.actions).filter(([, n]) => n).map(([name, n]) => `${n} ${name.replace('_', ' ')}`).join(', ') || 'nothing to do';
  dialog((close, again) => h('div', null, h('h2', null, 'Import'), h('p', { class: 'muted' }, 'Choose an exported archive, or any tar or tar.gz of files. All files are checked before one is written.'),
    field('Archive', h('input', { type: 'file', accept: '.tgz,.gz,.tar', onchange: e => { file = e.target.files[0] ?? null; report = null; again(); } })),
    field('If the live content differs', select(policy, [['abort', 'stops the import'], ['skip', 'is left as it is'], ['overwrite', 'gets a new release']], v => { policy = v; report = null; again(); })),
    h('label', null, h('input', { type: 'checkbox', checked: into, onchange: e => { into = e.target.checked; report = null; again(); } }), ` Import everything into the namespace ${ns || 'default'}`),
    report ? [h('p', null, h('b', null, summary(report))), table(['Configuration', 'What'], report.items.slice(0, 200).map((i, n) => ({ key: n, cells: [`${i.namespace}/${i.group}/${i.name}`, [badge(i.action.replace('_', ' '), { created: 'good', updated: 'warn', conflict: 'bad', refused: 'bad' }[i.action]), ' ', i.error ?? '']] })), 'Result of the import')] : null,
    error ? problem(error) : null,
    h('div', { class: 'buttons' }, button('Cancel', () => close()), button('Preview', () => run(true, again, close), { disabled: !file || isBusy }), button('Import', () => run(false, again, close), { kind: 'primary', disabled: !file || !report || isBusy }))));
}

// --- the list -----------------------------------------------------------------------------------------------------

function list(context) {
  let [items, error, ns, follower, isCut] = [null, null, null, null, false];
  const follow = () => {
    follower?.abort();
    follower = new AbortController();
    context.signal.addEventListener('abort', () => follower.abort());
    [items, error, ns] = [null, null, context.get('ns')];
    const mine = follower.signal;
    const query = more => url('configs', [], { namespace: ns, group: '*', limit: 1000, deleted: 'true', ...more });
    followUrl(query, async (body, e) => {
      error = e;
      if (body) {
        const all = body.configs;
        let next = body.continue;
        while (next && all.length < LOADED_MAX && !mine.aborted) {
          const page = await ask(query({ continue: next }), { signal: mine });
          all.push(...page.configs);
          next = page.continue;
        }
        [items, isCut] = [all, Boolean(next)];
      }
      context.refresh();
    }, mine);
  };
  follow();

  const tryIt = async () => {
    try {
      await send('PUT', url('configs/{}', ['demo.yaml'], { namespace: ns, title: 'first release' }), 'greeting: hello\nworkers: 4\n');
      await send('PUT', url('configs/{}', ['demo.yaml'], { namespace: ns, title: 'more workers' }), 'greeting: hello\nworkers: 8\n');
      context.go(['configs', 'default', 'demo.yaml'], { ns });
    } catch (e) { context.report(e); }
  };

  function view() {
    const q = context.get('q').toLowerCase();
    const group = context.get('group');
    // The element of the count exists before the count is known: a button that is pressed while the list loads stays
    // the same element.
    const title = (count = null) => head('Configs', count, button('New', () => create(context, ns), { kind: 'primary' }), button('Import', () => importDialog(ns, () => {})),
      button('Export', () => download(url('export', [], { namespace: ns || 'default' }), `cairn-${ns || 'default'}.tgz`).catch(context.report), { title: 'All live configurations of this namespace as a tar.gz' }));
    const bar = h('div', { class: 'bar' }, namespaceField(context, ['/cairn/config/heads/']),
      h('div', { class: 'grow' }, search(context.get('q'), v => context.set({ q: v }), 'Search configurations: name, title')),
      field('Group', select(group, [['', 'all'], ...[...new Set((items ?? []).map(c => c.group))].map(g => [g, g])], v => context.set({ group: v }))),
      h('label', null, h('input', { type: 'checkbox', checked: context.get('deleted') === '1', onchange: e => context.set({ deleted: e.target.checked ? '1' : '' }) }), ' include deleted'));
    if (error && !items) return [title(), bar, problem(error)];
    if (!items) return [title(), bar, waiting()];
    const live = items.filter(c => !c.deleted);
    if (!items.length) return [title(), bar, empty('No configurations yet', 'A configuration is a named file. Every publish is checked, kept as a release, and pushed to the clients that use it.', `printf 'workers: 4\\n' | curl -X PUT --data-binary @- '${location.origin}/api/v1/configs/app.yaml${ns ? `?namespace=${ns}` : ''}'`, button('Try it: publish two releases', tryIt, { kind: 'primary' }))];
    const shown = (context.get('deleted') === '1' ? items : live).filter(c => (!group || c.group === group) && (!q || `${c.name}\n${c.title ?? ''}`.toLowerCase().includes(q)));
    return [title(muted(`${plural(shown.length, 'configuration')} of ${items.length}`)), bar,
      isCut ? h('p', { class: 'warning' }, `Only the first ${LOADED_MAX} are searched.`) : null,
      table(['Name', 'Group', 'Type', ['Release', 'num'], ['Size', 'num'], 'Title', 'Published'], shown.slice(0, SHOWN).map(c => ({
        key: `${c.group}/${c.name}`, cells: [h('a', { href: configHref(c.group, c.name, ns) }, c.name), c.group, c.type, c.deleted ? badge('deleted') : c.seq, bytes(c.size),
          [c.title ?? '', c.gray?.length ? [' ', badge(`${c.gray.length} gray`, 'info')] : ''], time(c.time_ms)] })), 'Configurations')];
  }
  return { title: 'Configs', view, changed: () => context.get('ns') !== ns && follow() };
}

export const configs = context => (context.segments.length >= 3 ? config(context) : list(context));
