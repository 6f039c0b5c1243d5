// SPDX-License-Identifier: Apache-2.0
// Page of one configuration: the live release, an editor with the server's checks and a diff before publishing, releases, gray rules,
// listeners.
//
// Invariant: a write never replaces a release that the user has not seen: it names the release that it is based on (if_seq).

import { ask, followUrl, isAbort, send, url } from './api.js';
import { diffView, hunksOf } from './diff.js';
import { h } from './dom.js';
import { badge, button, bytes, confirm, editor, empty, facts, field, head, input, lines, muted, plural, problem, select, table, tabs, time, toast, waiting, warning } from './ui.js';

const TYPES = ['text', 'json', 'yaml', 'properties', 'toml', 'xml', 'html'];
const CHECK_AFTER_MS = 400;
const endings = { json: 'json', yaml: 'yaml', yml: 'yaml', properties: 'properties', toml: 'toml', xml: 'xml', html: 'html', htm: 'html' };
const typeOf = name => endings[name.split('.').at(-1).toLowerCase()] ?? 'text';
const textOf = c => (c.base64 ? null : c.content ?? '');

const RELEASES_MAX = 10000; // shown of a history

export function config(context) {
  const [, group, name] = context.segments;
  const ns = context.get('ns');
  const query = more => ({ namespace: ns, group: group === 'default' ? '' : group, ...more });
  const at = (pattern, more) => url(`configs/{}${pattern}`, [name], query(more));
  let [live, liveError] = [null, null]; // the live release, from the stream
  let [shown, shownError] = [null, null]; // an older release, if the address names one
  let [history, diff, listeners, error] = [null, null, null, null];
  let [older, wanted] = [null, 1]; // where the history continues; how many releases are requested
  let draft = null; // {text, type, title, note, base, check, isReviewing, conflict}
  let checkTimer = 0;

  const failed = e => { if (!isAbort(e)) { error = e; context.refresh(); } };
  followUrl(more => at('', { meta: 'true', ...more }), (body, e) => {
    if (body || e.status !== 0) live = body;
    liveError = e;
    if (['history', 'diff'].includes(context.get('tab'))) changed();
    context.refresh();
  }, context.signal);

  async function past() {
    const all = [];
    let next;
    do {
      const page = await ask(at('/history', next ? { continue: next } : {}), { signal: context.signal });
      all.push(...page.releases);
      next = page.continue;
    } while (next && all.length < Math.min(wanted, RELEASES_MAX));
    [history, older] = [all, next];
  }
  async function changed() {
    const tab = context.get('tab');
    error = null;
    try {
      const seq = context.get('seq');
      if (!seq) shown = null;
      else if (String(shown?.seq) !== seq) {
        shownError = null;
        shown = await ask(at('', { meta: 'true', seq }), { signal: context.signal }).catch(e => { shownError = e; return null; });
      }
      if (['history', 'diff', 'edit'].includes(tab)) await past();
      if (tab === 'diff') diff = await ask(at('/diff', { meta: 'true', from: context.get('from'), to: context.get('to') }), { signal: context.signal });
      if (tab === 'listeners') listeners = await ask(at('/listeners'), { signal: context.signal });
    } catch (e) {
      if (e.status !== 404) failed(e);
      else if (tab === 'history' || tab === 'diff') failed(e);
    }
    context.refresh();
  }
  const timer = setInterval(() => context.get('tab') === 'listeners' && changed(), 3000);
  changed();

  // --- the live or an older release ------------------------------------------------------------------------

  function content() {
    const c = context.get('seq') ? shown : live;
    if (context.get('seq') && shownError) return problem(shownError);
    if (!c) return liveError?.status === 404 ? gone() : waiting();
    const text = textOf(c);
    return [
      shown ? h('p', { class: 'hint' }, `This is release ${shown.seq}, `, live?.seq === shown.seq ? 'which is live. ' : live ? `not release ${live.seq}, which is live. ` : 'nothing is live. ', h('a', { href: context.href({ seq: '' }) }, 'Show the live release')) : null,
      facts([['Release', c.seq], ['Type', c.type], ['Size', bytes(c.size)], ['Published', time(c.time_ms)], ['By', c.operation + (c.origin_seq ? ` of ${c.origin_seq}` : '')], c.title && ['Title', c.title], c.note && ['Note', c.note], ['MD5', h('code', null, c.md5)]]),
      c.operation === 'delete' ? h('p', { class: 'hint' }, 'With this release the configuration was deleted.') : text === null ? h('p', { class: 'muted' }, `${bytes(c.size)} of binary content.`) : lines(text),
    ];
  }
  const gone = () => empty('There is no live release', 'The configuration was deleted or never published. Its history keeps all releases.', null, [h('a', { href: context.href({ tab: 'edit' }) }, 'Write a first release'), ' · ', h('a', { href: context.href({ tab: 'history' }) }, 'History')]);

  // --- editing ---------------------------------------------------------------------------------------------

  function begin() {
    draft = { text: live ? textOf(live) : '', type: live?.type ?? typeOf(name), title: '', note: '', base: live, check: null, isReviewing: false, error: null };
    check();
  }
  function check() {
    clearTimeout(checkTimer);
    const mine = draft;
    checkTimer = setTimeout(async () => {
      const text = mine.text;
      let found = null;
      try {
        await send('PUT', at('', { type: mine.type, validate: 'only' }), text);
      } catch (e) { found = e; }
      if (mine !== draft || text !== mine.text || context.isOver) return;
      mine.check = found?.status === 400 || found?.status === 413 ? found : null;
      context.refresh();
    }, CHECK_AFTER_MS);
  }
  async function publish() {
    draft.error = null;
    try {
      const r = await send('PUT', at('', { type: draft.type, if_seq: draft.base ? draft.base.seq : 0, title: draft.title, note: draft.note }), draft.text);
      toast(r.unchanged ? 'The live release has the same content: nothing was published.' : `Release ${r.seq} is published.`);
      live = await ask(at('', { meta: 'true' })).catch(() => live);
      draft = null;
      context.set({ tab: '' });
    } catch (e) {
      draft.error = e;
      if (e.status === 412) {
        live = await ask(at('', { meta: 'true' })).catch(x => (x.status === 404 ? null : live));
        draft.conflict = live;
      } else if (e.status === 400) [draft.check, draft.isReviewing] = [e, false];
      context.refresh();
    }
  }
  function conflict() {
    const theirs = draft.conflict;
    return [h('p', { class: 'problem', role: 'alert' }, theirs ? `Release ${theirs.seq} was published meanwhile; your changes were not written. The new release changes this:` : 'The configuration was deleted meanwhile; your changes were not written.'),
      theirs && textOf(theirs) !== null ? diffView(hunksOf(draft.base ? textOf(draft.base) ?? '' : '', textOf(theirs))) : null,
      h('div', { class: 'buttons' }, button('Discard my changes', () => { draft = null; context.set({ tab: '' }); }),
        button('Apply my changes to the new release', () => { Object.assign(draft, { base: theirs, conflict: undefined, error: null }); context.refresh(); }, { kind: 'primary', title: 'Shows the difference to what is live now, before anything is published' }))];
  }
  function review() {
    if (draft.conflict !== undefined) return conflict();
    return [h('h2', null, draft.base ? `What changes from release ${draft.base.seq}` : 'What is published'), diffView(hunksOf(draft.base ? textOf(draft.base) ?? '' : '', draft.text)),
      h('div', { class: 'grid' }, field('Title', input(draft.title, v => (draft.title = v), { maxlength: 256, placeholder: 'a line about this release' })), field('Note', input(draft.note, v => (draft.note = v), { placeholder: 'see INC-7' }))),
      draft.error ? problem(draft.error) : null,
      h('div', { class: 'buttons' }, button('Back to the editor', () => { draft.isReviewing = false; context.refresh(); }), button('Publish', publish, { kind: 'primary' }))];
  }
  function edit() {
    if (!live && liveError?.status !== 404) return liveError ? problem(liveError) : waiting();
    if (live && textOf(live) === null) return h('p', { class: 'hint' }, 'This content is binary; publish it with curl.');
    if (!draft) begin();
    if (draft.isReviewing) return review();
    const isBehind = live && draft.base && live.seq !== draft.base.seq;
    return [isBehind ? warning(`Release ${live.seq} was published while you edit release ${draft.base.seq}. You can compare both before you publish.`) : null,
      h('div', { class: 'bar' }, field('Type', select(draft.type, TYPES, v => { draft.type = v; check(); }))),
      editor(draft.text, v => { draft.text = v; check(); context.refresh(); }, draft.check, 'Content'),
      draft.check ? problem(draft.check) : null,
      h('div', { class: 'buttons' }, button('Discard changes', () => { draft = null; context.set({ tab: '' }); }), button('Review and publish', () => { draft.isReviewing = true; context.refresh(); }, { kind: 'primary', disabled: Boolean(draft.check) }))];
  }

  // --- releases ------------------------------------------------------------------------------------------------

  async function rollback(seq) {
    const [then, base] = [await ask(at('', { meta: 'true', seq })), live];
    let note = '';
    return confirm({
      title: `Roll back to release ${seq}`, action: 'Roll back',
      body: () => [h('p', null, `This publishes a new release with the content of release ${seq}. Changes:`), diffView(hunksOf(base ? textOf(base) ?? '' : '', textOf(then) ?? ''), [base ? `release ${base.seq}, live` : 'nothing', `release ${seq}`]), field('Note', input('', v => (note = v), { placeholder: 'why' }))],
      act: async () => {
        const r = await send('POST', at('/rollback', { if_seq: base ? base.seq : 0 }), { seq, ...(note ? { note } : {}) });
        toast(`Release ${r.seq ?? seq} is live, with the content of ${seq}.`);
      },
    });
  }
  const loadMore = () => (older && history.length < RELEASES_MAX ? h('div', { class: 'bar' }, button('Load more', () => { wanted = history.length + 1; return changed(); }), muted(`${plural(history.length, 'release')} shown`)) : null);
  function releases() {
    if (error) return problem(error);
    if (!history) return waiting();
    return [table([['Release', 'tight'], 'By', 'Title', 'Published', ['Size', 'num'], ['', 'tight']], history.map((r, i) => ({ key: r.seq, cells: [
      [r.seq, ' ', r.seq === live?.seq ? badge('live', 'good') : ''], badge(r.operation + (r.origin_seq ? ` of ${r.origin_seq}` : ''), r.operation === 'delete' ? 'bad' : r.operation === 'publish' ? 'plain' : 'info'), [r.title ?? '', r.note ? h('div', { class: 'muted' }, r.note) : ''], time(r.time_ms), bytes(r.size),
      h('div', { class: 'buttons' }, h('a', { href: context.href({ tab: '', seq: r.seq }) }, 'View'), h('a', { href: context.href({ tab: 'diff', from: history[i + 1]?.seq ?? (older ? '' : 0), to: r.seq }) }, 'Diff'),
        r.operation !== 'delete' && r.seq !== live?.seq ? button('Roll back', () => rollback(r.seq).catch(context.report)) : null) ] })), 'Releases'), loadMore()];
  }
  function differences() {
    if (error) return problem(error);
    if (!diff || !history) return waiting();
    const options = [['0', '0: nothing'], ...history.map(r => [String(r.seq), `${r.seq}${r.seq === live?.seq ? ', live' : ''}${r.title ? `: ${r.title}` : ''}`])];
    return [h('div', { class: 'bar' }, field('Before', select(String(diff.from), options, from => context.set({ from, to: diff.to }))), field('After', select(String(diff.to), options.slice(1), to => context.set({ from: diff.from, to }))),
      muted(`${diff.diff.added ?? 0} lines added, ${diff.diff.removed ?? 0} removed`)), diff.diff.hunks ? diffView(diff.diff.hunks, [`release ${diff.from}`, `release ${diff.to}`]) : h('p', { class: 'hint' }, 'The contents differ, and are binary.'), loadMore()];
  }

  // --- gray rules, listeners ----------------------------------------------------------------------------------------

  function newRule() {
    const now = { rule: '', labels: '', percent: '', priority: '', text: textOf(live) ?? '' };
    return confirm({
      title: 'New gray release', action: 'Release to matching clients',
      body: () => [h('p', { class: 'muted' }, 'Matching clients get this content instead of the live one, until you promote or remove the rule.'),
        h('div', { class: 'grid' }, field('Rule', input('', v => (now.rule = v), { placeholder: 'canary', required: true })), field('Percent', input('', v => (now.percent = v), { type: 'number', min: 0, max: 100, placeholder: 'all that match' })), field('Priority', input('', v => (now.priority = v), { type: 'number', placeholder: '0' }))),
        field('Match', input('', v => (now.labels = v), { placeholder: 'zone=b app=web,api ip=10.0.0.0/8' }), 'A label and its values. If you give several labels, all must match.'),
        field('Content', h('textarea', { value: now.text, rows: 10, spellcheck: 'false', class: 'mono', oninput: e => (now.text = e.target.value) }))],
      act: async () => {
        const match = {};
        for (const pair of now.labels.split(/\s+/).filter(Boolean)) {
          const [label, values] = pair.split(/=(.*)/s);
          if (!values) throw new Error(`"${pair}" must have the form label=value`);
          match[label] = values.split(',');
        }
        const body = { content: now.text };
        if (Object.keys(match).length) body.match = match;
        if (now.percent !== '') body.percent = Number(now.percent);
        if (now.priority !== '') body.priority = Number(now.priority);
        const r = await send('PUT', url('configs/{}/gray/{}', [name, now.rule.trim()], query({ if_revision: live.revision })), body);
        toast(`Release ${r.seq} is sent to matching clients.`);
      },
    });
  }
  const onRule = (rule, pattern, method) => send(method, url(`configs/{}/gray/{}${pattern}`, [name, rule], query()), method === 'POST' ? {} : undefined);
  function gray() {
    if (!live) return gone();
    const add = h('p', null, button('New gray rule', newRule, { kind: 'primary', disabled: textOf(live) === null }));
    if (!live.gray?.length) return [empty('No gray rules', 'A gray rule sends another release to some clients, chosen by labels, address or percentage.', `curl -X PUT '${location.origin}${at('/gray/canary')}' -d '{"match":{"zone":["b"]},"content":"…"}'`), add];
    return [table(['Rule', 'Release', 'Match', ['Percent', 'num'], ['Priority', 'num'], ['', 'tight']], live.gray.map(r => ({ key: r.name, cells: [h('b', null, r.name), h('a', { href: context.href({ tab: '', seq: r.seq }) }, r.seq),
      Object.entries(r.match ?? {}).map(([k, v]) => h('div', null, muted(`${k} is `), v.join(' or '))), r.percent ?? 100, r.priority ?? 0,
      h('div', { class: 'buttons' }, h('a', { href: context.href({ tab: 'diff', from: live.seq, to: r.seq }) }, 'Diff'),
        button('Promote', () => confirm({ title: `Promote ${r.name}?`, action: 'Promote', body: h('p', null, `The content of release ${r.seq} becomes live for all clients, and the rule is removed.`), act: () => onRule(r.name, '/promote', 'POST') })),
        button('Remove', () => confirm({ title: `Remove ${r.name}?`, action: 'Remove', danger: true, body: h('p', null, `Its clients get the live release ${live.seq} again.`), act: () => onRule(r.name, '', 'DELETE') }))) ] })), 'Gray rules'), add];
  }
  function who() {
    if (error) return problem(error);
    if (!listeners) return waiting();
    if (!listeners.listeners.length) return empty('No listeners', 'This list shows clients that follow the configuration by stream or long poll: the release that each should have, was sent, and reports as applied.', `curl -N -H 'Accept: text/event-stream' '${location.origin}/api/v1/stream?kind=config&name=${encodeURIComponent(name)}'`);
    const state = l => (l.rejected && l.rejected === l.chosen ? ['rejected', 'bad'] : l.applied === l.chosen ? ['applied', 'good'] : l.sent === l.chosen ? ['sent', 'info'] : ['stale', 'warn']);
    return [listeners.members_silent ? warning(`${listeners.members_silent} member(s) did not report their listeners.`) : null,
      table(['Client', 'Address', 'Member', 'By', 'State', ['Expected', 'num'], ['Sent', 'num'], ['Applied', 'num'], 'Labels', 'Error'], listeners.listeners.map((l, i) => ({ key: i, cells: [l.client_id || muted('no name'), l.peer, l.member, l.transport, badge(...state(l)), l.chosen ?? '–', l.sent ?? '–', l.applied ?? '–', Object.entries(l.labels ?? {}).map(([k, v]) => h('div', null, `${k}=${v}`)), l.error ?? ''] })), 'Listeners')];
  }

  // --- the page ------------------------------------------------------------------------------------------------------

  const remove = () => { const base = live; return confirm({ title: `Delete ${name}?`, danger: true, action: 'Delete', body: h('p', null, 'Its clients are told that it is gone. Its history stays: it can be rolled back.'), act: () => send('DELETE', at('', { if_seq: base.seq })) }); };
  function view() {
    const tab = context.get('tab', 'content');
    const views = { content, edit, history: releases, diff: differences, gray, listeners: who };
    return [head(name, muted(`${ns || 'default'} / ${group}`), h('a', { href: `#/configs${ns ? `?ns=${encodeURIComponent(ns)}` : ''}` }, 'All configs'), live && tab !== 'edit' ? button('Edit', () => context.set({ tab: 'edit', seq: '' }), { kind: 'primary' }) : null, live ? button('Delete', remove) : null),
      liveError && liveError.status !== 404 && live ? problem(liveError) : null,
      tabs([['content', 'Content'], ['edit', 'Edit'], ['history', 'History'], ['diff', 'Diff'], ['gray', `Gray${live?.gray?.length ? ` (${live.gray.length})` : ''}`], ['listeners', 'Listeners']], tab, t => context.href({ tab: t === 'content' ? '' : t, seq: '', from: '', to: '' })),
      (views[tab] ?? content)()];
  }
  return { title: name, view, changed, stop: () => { clearInterval(timer); clearTimeout(checkTimer); } };
}
