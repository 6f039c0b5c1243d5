// SPDX-License-Identifier: Apache-2.0
// Page of the members and changes of membership. Each dialog first states the effect on the quorum.

import { v3 } from './api.js';
import { cluster, followCluster, leaderName, lookAgain, nameOf, quorum } from './cluster.js';
import { h } from './dom.js';
import { membersTable } from './overview.js';
import { badge, button, card, confirm, copyable, field, head, input, muted, plural, toast, waiting, warning } from './ui.js';

const voters = () => cluster.members.filter(m => !m.isLearner);
const answers = m => Boolean(cluster.status.get(m.ID));

// The failures that the cluster survives with these voters: [sentence, is it bad].
export function judge(list, what) {
  const alive = list.filter(answers).length;
  const need = quorum(list.length);
  const text = `${what}: ${plural(list.length, 'voter')}, ${need} needed to write, ${alive} answering. `;
  if (!list.length || alive < need) return [text + 'There would be no quorum: writes would fail.', true];
  return [text + (alive === need ? 'The cluster would survive no further failure.' : `The cluster would survive ${plural(alive - need, 'more failure')}.`), alive === need && list.length > 1];
}
const say = ([text, isBad]) => h('p', { class: isBad ? 'warning' : 'hint' }, text);

export function members(context) {
  const stop = followCluster(context.refresh);
  const changing = async (promise, text) => { await promise; toast(text); lookAgain(); };

  function add() {
    let urls = '';
    return confirm({ title: 'Add a member', action: 'Add as a learner', body: () => [h('p', null, 'It comes as a learner: it gets all data and has no vote until it has caught up. Then it is promoted, by itself unless --promote-learners=false.'),
      field('Peer addresses', input('', v => (urls = v), { placeholder: 'http://10.0.0.9:2380', required: true }), 'Several: with commas.')],
    act: async () => {
      const r = await v3('cluster/member/add', { peerURLs: urls.split(',').map(u => u.trim()).filter(Boolean), isLearner: true });
      await changing(null, `Member ${BigInt(r.member.ID).toString(16)} is added: start it with --initial-cluster-state existing.`);
    } });
  }
  function remove(m) {
    const left = voters().filter(v => v.ID !== m.ID);
    const verdict = m.isLearner ? ['It is a learner: the quorum does not change.', false] : judge(left, 'Afterwards');
    return confirm({ title: `Remove ${nameOf(m)}?`, danger: true, action: 'Remove', typed: m.name || m.ID,
      body: [h('p', null, 'It is removed for good: the same member cannot come back, only a new one in its place.'), m.ID === cluster.self.leader ? warning('It leads. Another is elected first.') : null, m.ID === cluster.self.header.member_id ? warning('It is the member this page comes from.') : null, say(verdict)],
      act: () => changing(v3('cluster/member/remove', { ID: m.ID }), `${nameOf(m)} removed.`) });
  }
  const promote = m => confirm({ title: `Promote ${nameOf(m)}?`, action: 'Promote', body: [h('p', null, 'It becomes a voter if it has caught up with the leader.'), say(judge([...voters(), m], 'Afterwards'))], act: () => changing(v3('cluster/member/promote', { ID: m.ID }), `${nameOf(m)} is a voter now.`) });
  function lead(m) {
    const leader = cluster.members.find(x => x.ID === cluster.self.leader);
    if (leader?.ID !== cluster.self.header.member_id)
      return confirm({ title: `Transfer leadership to ${nameOf(m)}`, action: 'Close', body: h('p', null, 'Only the leader can transfer leadership. Use the console of ', h('b', null, leaderName() ?? '(no leader)'), leader?.clientURLs?.length ? [': ', h('a', { href: `${leader.clientURLs[0].replace(/\/$/, '')}/ui/#/members` }, 'its console')] : ''), act: async () => {} });
    return confirm({ title: `Transfer leadership to ${nameOf(m)}?`, action: 'Transfer leadership', body: [h('p', null, 'Writes wait for a moment; no write is lost.'), answers(m) ? null : warning('The member does not answer: the transfer will fail.')], act: () => changing(v3('maintenance/transfer-leadership', { targetID: m.ID }), `${nameOf(m)} is the leader now.`) });
  }
  const actions = m => h('div', { class: 'buttons' }, m.isLearner ? button('Promote', () => promote(m)) : m.ID !== cluster.self.leader ? button('Transfer leadership', () => lead(m)) : null, button('Remove', () => remove(m), { disabled: cluster.members.length === 1, title: cluster.members.length === 1 ? 'The only member cannot go' : null }));

  function view() {
    if (!cluster.self || !cluster.members) return [head('Members'), waiting()];
    const list = voters();
    const alive = list.filter(answers).length;
    const spare = alive - quorum(list.length);
    return [head('Members', button('Add a member', add, { kind: 'primary' })),
      spare < 0 ? h('p', { class: 'problem', role: 'alert' }, 'This browser reaches no quorum of members: writes fail.') : list.length > 1 && spare === 0 ? warning('The cluster survives no further failure until another member is back.') : null,
      h('div', { class: 'cards' }, card('Voters', list.length, `${quorum(list.length)} needed to write`), card('Answering', alive, 'as this browser sees it', alive < list.length ? 'warn' : 'good'), card('Learners', cluster.members.length - list.length, 'without a vote'), card('Leader', leaderName() ?? 'none', `term ${cluster.self.raftTerm}`, leaderName() ? '' : 'bad')),
      membersTable(actions),
      h('h2', null, 'IDs and peer addresses'), h('ul', null, cluster.members.map(m => h('li', { key: m.ID }, h('b', null, nameOf(m)), ' ', h('code', null, BigInt(m.ID).toString(16)), ' ', muted((m.peerURLs ?? []).join(', ')), m.isLearner ? [' ', badge('learner')] : ''))),
      list.length === 1 ? [h('p', { class: 'muted' }, 'A single member survives no failure. To start three on this machine:'), copyable('make cluster')] : null];
  }
  return { title: 'Members', view, stop };
}
