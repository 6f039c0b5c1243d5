// SPDX-License-Identifier: Apache-2.0
// The task of each page, done as a user does it: clicks and keys in a browser, then the state of the server.
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { assertAccessible, closeBrowser, inDialog, openBrowser, press, row, sees, startMembers, until, withPage } from './harness.mjs';

let server;
before(openBrowser);
after(closeBrowser);

const fresh = async flags => {
  if (server) await server.stop();
  [server] = await startMembers(1, flags);
};
const page = (run, options) => withPage(server, run, options);
const is4xx = [/Failed to load resource: the server responded with a status of 4\d\d/];

test('overview: a server with nothing in it teaches, then shows what there is', async () => {
  await fresh();
  await page(async (p, go) => {
    await go();
    await sees(p, 'Nothing is in here yet');
    await sees(p, 'healthy');
    assert.match(await row(p, 'default').innerText(), /leader/);
    await press(p, /Try it/);
    await sees(p, '1 service, 1 instance');
    await sees(p, '1 configuration,');
    assert.equal(await p.getByText('Nothing is in here yet').count(), 0);
    const before_ = Number(await p.locator('#revision').innerText());
    await server.put('elsewhere', 'x');
    await until('the revision is seen to move', async () => Number(await p.locator('#revision').innerText()) > before_);
  });
});

test('services: the demo instance is seen going from up to lost, live', async () => {
  await fresh();
  await page(async (p, go) => {
    await go('#/services');
    await sees(p, 'No services yet');
    await press(p, /Try it/);
    await p.waitForURL(/services\/default\/demo/);
    await row(p, 'demo-1').getByText('up', { exact: true }).waitFor();
    await row(p, 'demo-1').getByText('lost', { exact: true }).waitFor();
    await p.getByRole('link', { name: /Events/ }).click();
    await row(p, 'up → lost').waitFor();
  });
});

test('services: list, search, what is registered elsewhere appears, the address keeps the search', async () => {
  await fresh();
  await server.register('orders', 'o1');
  await server.register('carts', 'c1', { state: 'warn' });
  await server.register('pay', 'p1', {}, '&namespace=prod&group=core');
  await page(async (p, go) => {
    await go('#/services');
    await row(p, 'orders').getByText('1 up').waitFor();
    await server.register('orders', 'o2');
    await row(p, 'orders').getByText('2 up').waitFor();
    await p.getByRole('searchbox').fill('CAR');
    await row(p, 'carts').waitFor();
    assert.equal(await p.locator('tbody tr').count(), 1);
    assert.match(p.url(), /q=CAR/);
    await p.reload();
    await row(p, 'carts').waitFor();
    assert.equal(await p.locator('tbody tr').count(), 1);
    await go('#/services?ns=prod');
    await row(p, 'pay').getByRole('link').click();
    await row(p, 'p1').waitFor();
    await p.goBack();
    await row(p, 'pay').waitFor();
    const names = await p.locator('#namespaces option').evaluateAll(list => list.map(o => o.value));
    assert.ok(names.includes('prod'), String(names));
  });
});

test('services: drain, undo, override', async () => {
  await fresh();
  await server.register('orders', 'o1');
  await server.register('orders', 'o2');
  const o1 = async () => (await server.api('GET', '/api/v1/services/orders')).instances.find(i => i.id === 'o1');
  await page(async (p, go) => {
    await go('#/services/default/orders');
    await row(p, 'o1').getByRole('button', { name: 'Drain' }).click();
    await inDialog(p).getByRole('button', { name: 'Drain' }).click();
    await row(p, 'o1').getByText('no traffic', { exact: true }).waitFor();
    assert.equal((await o1()).serving, false);
    await row(p, 'o1').getByRole('button', { name: 'Undo' }).click();
    await until('it is in traffic', async () => (await o1()).serving);
    await row(p, 'o1').getByRole('button', { name: 'Drain' }).waitFor();
    await row(p, 'o1').getByRole('button', { name: 'Override' }).click();
    await inDialog(p).getByLabel('Weight').fill('7');
    await inDialog(p).getByLabel('Reason').fill('INC-7');
    await inDialog(p).getByLabel('Until').fill('tomorrow');
    await press(p, 'Set');
    await inDialog(p).getByRole('alert').waitFor(); // the server's own sentence
    await inDialog(p).getByLabel('Until').fill('');
    await press(p, 'Set');
    await row(p, 'o1').getByText('INC-7').waitFor();
    assert.deepEqual([(await o1()).weight, (await o1()).override.reason], [7, 'INC-7']);
    await row(p, 'o2').getByRole('button', { name: 'Remove' }).click();
    await inDialog(p).getByRole('button', { name: 'Deregister' }).click();
    await row(p, 'o2').waitFor({ state: 'detached' });
  }, { expected: is4xx });
});

const changes = (place, wanted) => until(`the diff is ${wanted}`, async () => String(await place.locator('.diff .add, .diff .del').allInnerTexts()) === String(wanted));
const typeIn = (p, text) => p.getByLabel('Content').fill(text);

test('configs: a new one, the error at its line, the diff, publish', async () => {
  await fresh();
  await page(async (p, go) => {
    await go('#/configs');
    await sees(p, 'No configurations yet');
    await press(p, 'New');
    await inDialog(p).getByLabel('Name').fill('app.yaml');
    await press(p, 'Continue');
    await typeIn(p, 'port: 80\nport: 81\n');
    await sees(p, 'line 2, column 1: duplicate key "port"');
    assert.equal(await p.locator('.gutter .bad').innerText(), '2');
    assert.ok(await p.getByRole('button', { name: 'Review and publish' }).isDisabled());
    await typeIn(p, 'port: 80\nsize: 4\n');
    await p.locator('.problem').waitFor({ state: 'detached' });
    await press(p, 'Review and publish');
    await p.getByLabel('Title').fill('the first');
    await press(p, 'Publish');
    await sees(p, 'Release 1 is published.');
    await p.locator('ol.code li').nth(1).waitFor();
    assert.deepEqual(await p.locator('ol.code li').allInnerTexts(), ['port: 80', 'size: 4']);
    await press(p, 'Edit');
    await typeIn(p, 'port: 80\nsize: 8\n');
    await press(p, 'Review and publish');
    await changes(p, ['-size: 4', '+size: 8']);
    await press(p, 'Publish');
    await sees(p, 'Release 2 is published.');
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'port: 80\nsize: 8\n');
  }, { expected: is4xx });
});

test('configs: two people at once: nothing is overwritten unseen', async () => {
  await fresh();
  await server.config('app.yaml', 'a: 1\nb: 1\n');
  await page(async (p, go) => {
    await go('#/configs/default/app.yaml?tab=edit');
    await typeIn(p, 'a: 2\nb: 1\n');
    await press(p, 'Review and publish');
    await server.config('app.yaml', 'a: 1\nb: 2\n');
    await press(p, 'Publish');
    await sees(p, 'Release 2 was published meanwhile');
    await changes(p, ['-b: 1', '+b: 2']);
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'a: 1\nb: 2\n');
    await press(p, 'Apply my changes to the new release');
    await sees(p, 'What changes from release 2');
    await changes(p, ['-a: 1', '-b: 2', '+a: 2', '+b: 1']);
    await press(p, 'Back to the editor');
    await typeIn(p, 'a: 2\nb: 2\n');
    await press(p, 'Review and publish');
    await press(p, 'Publish');
    await sees(p, 'Release 3 is published.');
  }, { expected: is4xx });
});

test('configs: a history of several pages', async () => {
  await fresh();
  const note = '%22'.repeat(4000); // 8,000 bytes in an answer, which ends after 512 KiB
  const publish = n => server.config('long.yaml', `size: ${n}\n`, `?title=release-${String(n).padStart(3, '0')}&note=${note}`);
  for (let n = 1; n <= 150; n++) await publish(n);
  await page(async (p, go) => {
    const shown = () => p.locator('tbody tr').count();
    await go('#/configs/default/long.yaml?tab=history');
    await row(p, 'release-150').getByText('live').waitFor();
    const first = await shown();
    assert.ok(first < 100, `${first} are shown`);
    await press(p, 'Load more');
    await until('the next page is there', async () => await shown() > first);
    assert.equal(await row(p, 'release-001').count(), 0);
    await publish(151); // what is loaded stays
    await row(p, 'release-151').getByText('live').waitFor();
    assert.ok(await shown() > first);
    await press(p, 'Load more');
    await row(p, 'release-001').waitFor();
    assert.equal(await shown(), 151);
    assert.equal(await p.getByText('Load more').count(), 0);
  });
});

test('configs: history, any two compared, rollback, delete', async () => {
  await fresh();
  for (const n of [1, 2, 3]) await server.config('app.yaml', `size: ${n}\n`, `?title=release-${n}`);
  await page(async (p, go) => {
    await go('#/configs/default/app.yaml?tab=history');
    await row(p, 'release-3').getByText('live').waitFor();
    await row(p, 'release-2').getByRole('link', { name: 'Diff' }).click();
    await changes(p, ['-size: 1', '+size: 2']);
    await p.getByLabel('After').selectOption('3');
    await changes(p, ['-size: 1', '+size: 3']);
    assert.match(p.url(), /from=1/);
    await p.getByRole('link', { name: 'History' }).click();
    await row(p, 'release-1').getByRole('button', { name: 'Roll back' }).click();
    await changes(inDialog(p), ['-size: 3', '+size: 1']);
    await inDialog(p).getByRole('button', { name: 'Roll back' }).click();
    await row(p, 'rollback of 1').getByText('live').waitFor();
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'size: 1\n');
    await press(p, 'Delete');
    await inDialog(p).getByRole('button', { name: 'Delete' }).click();
    await row(p, 'delete').waitFor();
    await p.getByRole('link', { name: 'Content', exact: true }).click();
    await sees(p, 'There is no live release');
    await go('#/configs?deleted=1');
    await row(p, 'app.yaml').getByText('deleted').waitFor();
  }, { expected: is4xx });
});

test('configs: a gray rule and who runs on what', async () => {
  await fresh();
  await server.config('app.yaml', 'size: 1\n');
  const reader = new AbortController();
  fetch(`${server.url}/api/v1/stream?client_id=web-7&kind=config&name=app.yaml`, { headers: { accept: 'text/event-stream' }, signal: reader.signal }).then(r => r.text()).catch(() => {});
  await page(async (p, go) => {
    await go('#/configs/default/app.yaml?tab=listeners');
    await row(p, 'web-7').getByText('sent').waitFor();
    await p.getByRole('link', { name: 'Gray' }).click();
    await press(p, 'New gray rule');
    await inDialog(p).getByLabel('Rule').fill('canary');
    await inDialog(p).getByLabel('Match').fill('zone=b');
    await inDialog(p).getByLabel('Content').fill('size: 2\n');
    await press(p, 'Release to matching clients');
    await row(p, 'canary').getByText('zone is').waitFor();
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml?labels=zone=b'), 'size: 2\n');
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'size: 1\n');
    await row(p, 'canary').getByRole('button', { name: 'Promote' }).click();
    await inDialog(p).getByRole('button', { name: 'Promote' }).click();
    await sees(p, 'No gray rules');
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'size: 2\n');
  });
  reader.abort();
});

test('configs: a button that is pressed while the list comes is the same button when the list is there', async () => {
  await fresh();
  await server.config('app.yaml', 'size: 1\n');
  await page(async (p, go) => {
    let answer;
    const isAllowed = new Promise(done => (answer = done));
    await p.route('**/api/v1/configs?**', async route => { await isAllowed; await route.continue(); });
    await go('#/configs');
    const before = await p.getByRole('button', { name: 'Export' }).elementHandle();
    answer();
    await row(p, 'app.yaml').waitFor();
    assert.ok(await before.evaluate(e => e.isConnected && e.textContent === 'Export'), 'another element is the button now: a click in between is lost');
  });
});

test('configs: what is exported is imported elsewhere, looked at first', async () => {
  await fresh();
  await server.config('app.yaml', 'size: 1\n');
  await page(async (p, go) => {
    await go('#/configs');
    const [download] = await Promise.all([p.waitForEvent('download'), press(p, 'Export')]);
    const file = await download.path();
    await server.config('app.yaml', 'size: 2\n');
    await press(p, 'Import');
    await inDialog(p).getByLabel('Archive').setInputFiles(file);
    assert.ok(await inDialog(p).getByRole('button', { name: 'Import' }).isDisabled());
    await press(p, 'Preview');
    await inDialog(p).getByText('1 conflict').waitFor();
    await inDialog(p).getByLabel('If the live content differs').selectOption('overwrite');
    await press(p, 'Preview');
    await inDialog(p).getByText('1 updated').waitFor();
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'size: 2\n');
    await inDialog(p).getByRole('button', { name: 'Import' }).click();
    await sees(p, 'Imported: 1 updated.');
    assert.equal(await server.api('GET', '/api/v1/configs/app.yaml'), 'size: 1\n');
  });
});

test('keys: a tree, a key, its bytes, an edit upon what was seen, its past, deletion with a count', async () => {
  await fresh();
  await server.put('greeting', 'hello');
  for (let i = 0; i < 130; i++) await server.put(`app/many/${String(i).padStart(3, '0')}`, String(i));
  await server.put('app/one', 'x');
  await server.put('app/bytes', Buffer.from([0xff, 0x00, 0x41]));
  await page(async (p, go) => {
    await go('#/keys');
    await row(p, 'app/').getByText('132 keys').waitFor();
    assert.equal(await p.locator('tbody tr').count(), 2);
    await row(p, 'app/').getByRole('link').click();
    await row(p, 'many/').getByText('130 keys').waitFor();
    await row(p, 'bytes').getByRole('link').click();
    await sees(p, /ff 00 41/);
    await p.goBack();
    await row(p, 'many/').getByRole('link').click();
    await row(p, '099').waitFor();
    assert.equal(await p.locator('tbody tr').count(), 100);
    await p.getByRole('link', { name: 'Next page' }).click();
    await row(p, '129').waitFor();
    assert.equal(await p.locator('tbody tr').count(), 30);

    await go('#/keys?key=greeting');
    await sees(p, 'hello');
    await press(p, 'Edit');
    await p.getByLabel('Value').fill('helo');
    await press(p, 'Save');
    await sees(p, 'Saved.');
    await p.getByRole('link', { name: 'Earlier values' }).click();
    await row(p, 'hello').getByRole('button', { name: 'Restore' }).click();
    await until('it is back', async () => (await p.locator('tbody tr').count()) === 3);
    await p.getByRole('link', { name: 'Value', exact: true }).click();
    await press(p, 'Edit');
    await server.put('greeting', 'changed elsewhere');
    await p.getByLabel('Value').fill('mine');
    await press(p, 'Save');
    await sees(p, 'The key was changed meanwhile');
    await sees(p, 'changed elsewhere');

    await go('#/keys?prefix=app/&view=list');
    await press(p, /Delete all/);
    await inDialog(p).getByText('Delete 132 keys?').waitFor();
    const remove = inDialog(p).getByRole('button', { name: 'Delete 132 keys' });
    assert.ok(await remove.isDisabled());
    await inDialog(p).getByLabel(/Enter 132/).fill('132');
    await remove.click();
    await sees(p, '132 keys deleted.');
    await press(p, 'New key');
    await inDialog(p).getByLabel('Key').fill('app/\\xfe');
    await inDialog(p).getByLabel('Value').fill('v');
    await press(p, 'Put');
    await p.getByRole('heading', { name: 'app/\\xfe' }).waitFor();
    const { kvs } = await server.api('POST', '/v3/kv/range', { key: Buffer.from('app/').toString('base64'), range_end: Buffer.from('app0').toString('base64') });
    assert.deepEqual(kvs.map(kv => kv.key), [Buffer.from([0x61, 0x70, 0x70, 0x2f, 0xfe]).toString('base64')]);
  });
});

test('watch: live, paused without loss, through a restart of the server', async () => {
  await fresh();
  await page(async (p, go) => {
    await go('#/watch?prefix=app/');
    await sees(p, 'live', { exact: true });
    await until('the first event is there', async () => { await server.put('app/first', 'x'); return (await row(p, 'app/first').count()) > 0; });
    await press(p, 'Pause');
    await server.put('app/second', 'y');
    await sees(p, /event.* wait/);
    assert.equal(await row(p, 'app/second').count(), 0);
    await press(p, 'Continue');
    await row(p, 'app/second').waitFor();
    await server.put('other', 'z');
    await server.stop('SIGTERM');
    server.start();
    await server.ready();
    await server.put('app/third', 'after');
    await row(p, 'app/third').waitFor();
    assert.equal(await p.locator('tbody tr', { hasText: 'other' }).count(), 0);
    for (const once of ['app/second', 'app/third']) assert.equal(await p.locator('tbody tr', { hasText: once }).count(), 1);
  }, { expected: [/ERR_CONNECTION_REFUSED|ERR_CONNECTION_RESET|ERR_EMPTY_RESPONSE|WebSocket|503/] });
});

test('leases: granted, kept alive, revoked with its keys named', async () => {
  await fresh();
  await page(async (p, go) => {
    await go('#/leases');
    await sees(p, 'No leases');
    await press(p, /Try it/);
    await inDialog(p).getByLabel('Seconds').fill('600');
    await inDialog(p).getByRole('button', { name: 'Grant' }).click();
    await row(p, '600 s').waitFor();
    const ID = (await server.api('POST', '/v3/lease/leases', {})).leases[0].ID;
    await server.api('POST', '/v3/kv/put', { key: 'YQ==', value: 'YQ==', lease: ID });
    await row(p, '600 s').getByRole('button', { name: 'Keep alive' }).click();
    await sees(p, /Lease renewed for 600 s/);
    await row(p, '600 s').getByRole('button', { name: 'Revoke' }).click();
    await inDialog(p).getByText('1 key goes with it').waitFor();
    await inDialog(p).getByRole('button', { name: 'Revoke' }).click();
    await sees(p, 'No leases');
    assert.equal((await server.api('POST', '/v3/kv/range', { key: 'YQ==' })).count, undefined);
  });
});

test('members: a learner comes and goes; what that means for the quorum is said first', async () => {
  await fresh();
  await page(async (p, go) => {
    await go('#/members');
    await press(p, 'Add a member');
    await inDialog(p).getByLabel(/Peer addresses/).fill('http://127.0.0.1:1');
    await press(p, 'Add as a learner');
    await row(p, 'not started yet').getByText('learner', { exact: true }).waitFor();
    await row(p, 'not started yet').getByRole('button', { name: 'Promote' }).click();
    await inDialog(p).getByText(/2 voters, 2 needed to write, 1 answering.*no quorum/).waitFor();
    await inDialog(p).getByRole('button', { name: 'Promote' }).click();
    await inDialog(p).getByRole('alert').waitFor(); // the server refuses
    await inDialog(p).getByRole('button', { name: 'Cancel' }).click();
    await row(p, 'not started yet').getByRole('button', { name: 'Remove' }).click();
    const go_ = inDialog(p).getByRole('button', { name: 'Remove' });
    assert.ok(await go_.isDisabled());
    const id = (await server.api('POST', '/v3/cluster/member/list', {})).members.find(m => m.isLearner).ID;
    await inDialog(p).getByLabel(/Enter/).fill(id);
    await go_.click();
    await row(p, 'not started yet').waitFor({ state: 'detached' });
    assert.ok(await row(p, 'default').getByRole('button', { name: 'Remove' }).isDisabled());
  }, { expected: is4xx });
});

test('metrics: charts, methods, all of them to search in', async () => {
  await fresh();
  await page(async (p, go) => {
    await go('#/metrics');
    await sees(p, 'WAL sync, mean');
    await row(p, 'Status').waitFor();
    await p.getByRole('searchbox').fill('has_leader');
    await row(p, 'etcd_server_has_leader').getByText('1').waitFor();
    await until('a line is drawn', async () => ((await p.locator('.spark polyline').first().getAttribute('points')) ?? '').includes(' '));
  });
});

test('the keyboard: / to the search, g and a letter to a page, ? for the list', async () => {
  await fresh();
  await server.register('orders', 'o1');
  await page(async (p, go) => {
    await go();
    await sees(p, 'healthy');
    await p.keyboard.press('g');
    await p.keyboard.press('s');
    await row(p, 'orders').waitFor();
    await p.keyboard.press('/');
    await p.keyboard.type('gs/x');
    assert.equal(await p.getByRole('searchbox').inputValue(), 'gs/x');
    await p.keyboard.press('Escape');
    await p.keyboard.press('?');
    await inDialog(p).getByText('focus the search field').waitFor();
    await p.keyboard.press('Escape');
    await p.locator('dialog').waitFor({ state: 'detached' });
    await p.keyboard.press('g');
    await p.keyboard.press('k');
    await p.getByRole('heading', { name: 'Keys' }).waitFor();
  });
});

// --- everything at once ------------------------------------------------------------------------------------------

const EVIL = '<img src=x onerror=window.hit=1>"\'><script>window.hit=1<\u2044script><b>';
const evilPages = s => ['#/overview', '#/services', `#/services/${s}/${s}`, `#/services/${s}/${s}?tab=events`, '#/configs', `#/configs/${s}/${s}`, `#/configs/${s}/${s}?tab=edit`, `#/configs/${s}/${s}?tab=history`, `#/configs/${s}/${s}?tab=diff&from=1&to=2`,
  `#/configs/${s}/${s}?tab=gray`, `#/configs/${s}/${s}?tab=listeners`, '#/keys', '#/keys?view=list', `#/keys?key=${s}`, `#/keys?key=${s}&tab=past`, `#/keys?prefix=${s}`, `#/watch?prefix=${s}`, `#/leases?q=${s}`, `#/metrics?q=${s}`, `#/${s}`, '#/members'];

test('names and values with markup in them are shown as they are, everywhere', async () => {
  await fresh(['--initial-cluster-token', 'evil']);
  const s = encodeURIComponent(EVIL);
  await server.register(EVIL, EVIL, { host: EVIL, zone: EVIL, version: EVIL, tags: [EVIL], metadata: { [EVIL]: EVIL } }, `&group=${s}`);
  await server.api('PUT', `/api/v1/services/${s}/instances/${s}/override?group=${s}`, { reason: EVIL, weight: 3 });
  await server.config(EVIL, EVIL, `?group=${s}&title=${s}&note=${s}&type=text`);
  await server.config(EVIL, `${EVIL}\n${EVIL}`, `?group=${s}&title=${s}&type=text`);
  await server.api('PUT', `/api/v1/configs/${s}/gray/${s}?group=${s}`, { match: { [EVIL]: [EVIL] }, content: EVIL });
  await server.put(EVIL, EVIL);
  await server.put(EVIL, `${EVIL}2`);
  const reader = new AbortController();
  fetch(`${server.url}/api/v1/stream?client_id=${s}&kind=config&name=${s}&group=${s}`, { headers: { accept: 'text/event-stream' }, signal: reader.signal }).then(r => r.text()).catch(() => {});
  await page(async (p, go) => {
    for (const hash of evilPages(s)) {
      await go(hash);
      await p.locator('main h1').waitFor();
      await p.getByText('Loading …').first().waitFor({ state: 'detached' });
      if (/(services|configs)\/|list|key=/.test(hash)) await sees(p, EVIL.slice(0, 20));
      const found = await p.evaluate(() => [window.hit, document.querySelectorAll('main img, main script, main b b, [onerror]').length, document.scripts.length]);
      assert.deepEqual(found, [undefined, 0, 1], hash);
      assert.ok(await p.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${hash} scrolls sideways`);
    }
    await go('#/watch');
    await until('an event came', async () => { await server.put(EVIL, EVIL); return (await row(p, EVIL.slice(0, 20)).count()) > 0; });
    assert.equal(await p.evaluate(() => window.hit), undefined);
    // The policy is a second defense: it blocks the effects of markup.
    const refused = await p.evaluate(() => { const e = document.createElement('div'); e.innerHTML = '<img src="x" onerror="window.hit=1">'; document.body.append(e); return new Promise(done => setTimeout(() => done(window.hit), 300)); });
    assert.equal(refused, undefined);
  }, { expected: [/Content Security Policy/, /\/ui\/x$/], viewport: { width: 390, height: 844 } });
  reader.abort();
});

test('every page passes axe, light and dark, wide and narrow, and never scrolls sideways', async () => {
  await fresh();
  await server.register('orders', 'o1', { zone: 'b', version: '1.4.2', tags: ['canary'], metadata: { team: 'shop' } });
  await server.register('orders', 'o2', { state: 'warn' });
  await server.api('PUT', '/api/v1/services/orders/instances/o2/override', { weight: 0, reason: 'INC-7' });
  for (const n of [1, 2]) await server.config('shop.yaml', `port: 8080\nsize: ${n}\n`, `?title=release-${n}`);
  await server.api('PUT', '/api/v1/configs/shop.yaml/gray/canary', { match: { zone: ['b'] }, content: 'size: 3\n' });
  await server.put('app/color', 'blue');
  const pages = ['', '#/services', '#/services?ns=nothing', '#/services/default/orders', '#/services/default/orders?tab=subscribers', '#/configs', '#/configs/default/shop.yaml', '#/configs/default/shop.yaml?tab=edit', '#/configs/default/shop.yaml?tab=history',
    '#/configs/default/shop.yaml?tab=diff', '#/configs/default/shop.yaml?tab=gray', '#/configs/default/shop.yaml?tab=listeners', '#/keys', '#/keys?prefix=app/', '#/keys?key=app/color', '#/keys?key=app/color&tab=past', '#/watch', '#/leases', '#/members', '#/metrics', '#/nothing'];
  for (const [colorScheme, viewport] of [['light', { width: 1280, height: 800 }], ['dark', { width: 390, height: 844 }]])
    await page(async (p, go) => {
      for (const hash of pages) {
        await go(hash);
        await p.locator('main h1').waitFor();
        await p.getByText('Loading …').first().waitFor({ state: 'detached' });
        await assertAccessible(p, `${hash} ${colorScheme}`);
        assert.ok(await p.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${hash} is wider than ${viewport.width}`);
      }
      await go('#/members');
      await press(p, 'Add a member');
      await assertAccessible(p, `a dialog ${colorScheme}`);
    }, { colorScheme, viewport });
});

test('who must sign in is asked, once, and the token travels in headers and hello alone', async () => {
  await fresh();
  const seen = [];
  await page(async (p, go) => {
    await p.route(/\/v3\/|\/api\/v1\//, async route => {
      const token = route.request().headers().authorization;
      if (route.request().url().endsWith('/v3/auth/authenticate')) {
        const { name, password } = route.request().postDataJSON();
        return route.fulfill(name === 'root' && password === 'right' ? { json: { token: 'root.1' } } : { status: 400, json: { code: 3, message: 'etcdserver: authentication failed, invalid user ID or password' } });
      }
      seen.push([route.request().url(), token]);
      return token === 'root.1' ? route.fallback() : route.fulfill({ status: 401, json: { code: 16, message: 'etcdserver: invalid auth token' } });
    });
    let hello = '';
    p.on('websocket', w => w.on('framesent', f => (hello ||= String(f.payload))));
    await go('#/services');
    await inDialog(p).getByLabel('User').waitFor();
    await p.keyboard.press('Escape');
    await press(p, 'Sign in'); // not asked again and again
    await inDialog(p).getByLabel('User').fill('root');
    await inDialog(p).getByLabel('Password').fill('wrong');
    await inDialog(p).getByRole('button', { name: 'Sign in' }).click();
    await inDialog(p).getByText('invalid user ID or password').waitFor();
    await inDialog(p).getByLabel('Password').fill('right');
    await inDialog(p).getByRole('button', { name: 'Sign in' }).click();
    await until('requests carry the token', () => seen.some(([, token]) => token === 'root.1'));
    await sees(p, 'revision');
    await until('the stream says it', () => hello.includes('"token":"root.1"') || p.reload().then(() => (hello = '')));
    assert.ok(!seen.some(([url]) => url.includes('root.1')));
    assert.equal(await p.evaluate(() => document.cookie), '');
    await press(p, 'Sign out');
    await inDialog(p).getByLabel('User').waitFor();
  }, { expected: is4xx });
});

test('--console=false serves none', async () => {
  await fresh(['--console=false']);
  for (const path of ['/ui', '/ui/', '/ui/main.js']) assert.equal((await fetch(server.url + path, { redirect: 'manual' })).status, 404);
});
