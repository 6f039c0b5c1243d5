// SPDX-License-Identifier: Apache-2.0
// A page stays open at a follower of three while the leader dies, and then while its own member does.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { closeBrowser, openBrowser, row, sees, startMembers, until, withPage } from './harness.mjs';

before(openBrowser);
after(closeBrowser);
const isNetwork = [/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|ERR_ABORTED|WebSocket|status of 503|status of 504/];

test('the leader dies, then the member that the page comes from', async () => {
  const members = await startMembers(3);
  const status = await members[0].api('POST', '/v3/maintenance/status', {});
  const list = (await members[0].api('POST', '/v3/cluster/member/list', {})).members;
  const leader = members.find(m => m.name === list.find(x => x.ID === status.leader).name);
  const [mine, other] = members.filter(m => m !== leader);
  await mine.register('orders', 'o1');

  await withPage(mine, async (p, go) => {
    const services = await p.context().newPage();
    services.setDefaultTimeout(60000);
    await services.goto(`${mine.url}/ui/#/services`);
    await row(services, 'orders').getByText('1 up').waitFor();
    await go();
    await sees(p, '3 of 3');
    for (const m of members) await row(p, m.url).getByText(m === leader ? 'leader' : 'follower', { exact: true }).waitFor();

    await leader.stop();
    await sees(p, '2 of 3');
    await row(p, leader.url).getByText('no answer').waitFor();
    await sees(p, 'no further member may fail');
    await until('another is seen to lead', async () => (await p.locator('tbody .badge', { hasText: 'leader' }).count()) === 1 && !(await row(p, leader.url).innerText()).includes('leader'));
    await until('it can be registered', () => mine.register('orders', 'o2').then(() => true, () => false));
    await row(services, 'orders').getByText('2 up').waitFor();

    await go('#/members');
    await row(p, other.url).getByRole('button', { name: 'Remove' }).click();
    await p.locator('dialog').getByText(/Afterwards: 2 voters, 2 needed to write, 1 answering/).waitFor();
    await p.keyboard.press('Escape');
    leader.start();
    await leader.ready();
    await p.getByText('The cluster survives no further failure').waitFor({ state: 'detached' });

    await mine.stop();
    await sees(p, 'no connection');
    const links = p.locator('.where a');
    assert.deepEqual((await links.evaluateAll(list => list.map(a => a.href))).sort(), [leader, other].map(m => `${m.url}/ui/#/members`).sort());
    await links.first().click();
    await row(p, mine.url).getByText('no answer').waitFor();

    mine.start();
    await mine.ready();
    await mine.register('orders', 'o3');
    await row(services, 'orders').getByText('3 up').waitFor(); // the page that stayed has reconnected
  }, { expected: isNetwork });
});
