// SPDX-License-Identifier: Apache-2.0
// Pages of other origins against a server with its default options: an attack page may write, follow and embed nothing, a page of an origin
// in --cors may. A real browser decides what is sent and what can be read.
import assert from 'node:assert/strict';
import { createServer } from 'node:http';
import { after, before, test } from 'node:test';
import { closeBrowser, openBrowser, startMembers, until, withPage } from './harness.mjs';

let server, listed, pages, attack;
const anything = [/./];

before(async () => {
  pages = createServer((q, r) => r.setHeader('content-type', 'text/html').end('<!doctype html><title>another page</title><body>'));
  await new Promise(done => pages.listen(0, '127.0.0.1', done));
  attack = `http://127.0.0.1:${pages.address().port}`; // the same site, another origin
  [server] = await startMembers(1);
  [listed] = await startMembers(1, [`--cors=${attack}`]);
  for (const m of [server, listed]) {
    await m.register('orders', 'o1');
    await m.config('page.html', '<script>document.title = "ran"; fetch("/api/v1/configs/gone", { method: "PUT", body: "x" })</script><p>content</p>', '?type=html');
  }
  await openBrowser();
});
after(async () => {
  await closeBrowser();
  pages.close();
});

// Runs in the page: the attempts of an attacker by name; each is 'done', or the reason of its failure.
const tries = async url => {
  const attempt = async run => { try { return await run(); } catch (e) { return `refused: ${e.message}`; } };
  const json = '{"host":"10.6.6.6","port":1,"ttl":60,"deadline_ms":1000,"seq":1}';
  const blind = (path, body) => fetch(url + path, { method: 'POST', mode: 'no-cors', credentials: 'include', body }).then(() => 'sent');
  const form = (path, type) => new Promise(done => {
    const frame = Object.assign(document.createElement('iframe'), { name: `f${Math.random()}`, onload: () => frame.isDone && done('sent') });
    const f = Object.assign(document.createElement('form'), { method: 'POST', action: url + path, target: frame.name, enctype: type });
    f.append(Object.assign(document.createElement('input'), { name: json.slice(0, -1) + ',"x":"', value: '"}' }));
    document.body.append(frame, f);
    frame.isDone = true;
    f.submit();
  });
  const opens = (make, opened) => new Promise(done => {
    const s = make();
    s[opened] = () => { s.close(); done('done'); };
    s.onerror = () => { s.close(); done('refused: error'); };
  });
  return {
    put: await attempt(() => fetch(`${url}/api/v1/services/orders/instances/evil`, { method: 'PUT', body: '{"host":"10.6.6.6","port":1,"ttl":60}' }).then(r => (r.ok ? 'done' : `refused: ${r.status}`))),
    remove: await attempt(() => fetch(`${url}/api/v1/services/orders/instances/o1`, { method: 'DELETE' }).then(r => (r.ok ? 'done' : `refused: ${r.status}`))),
    read: await attempt(() => fetch(`${url}/api/v1/services/orders`).then(r => r.json()).then(() => 'done')),
    socket: await attempt(() => opens(() => new WebSocket(`${url.replace('http', 'ws')}/api/v1/stream`, ['cairn.v1+json']), 'onopen')),
    events: await attempt(() => opens(() => new EventSource(`${url}/api/v1/stream?kind=service&name=orders`), 'onopen')),
    blind: [await attempt(() => blind('/api/v1/sessions', '{}')), await attempt(() => blind('/api/v1/services/orders/instances/o1/drain', json)),
      await attempt(() => blind('/api/v1/configs/page.html/rollback', json)), await attempt(() => blind('/api/v1/import', new Blob(['x']))), await attempt(() => blind('/api/v1/sessions'))],
    forms: [await attempt(() => form('/api/v1/sessions', 'text/plain')), await attempt(() => form('/api/v1/configs/page.html/rollback', 'text/plain')),
      await attempt(() => form('/api/v1/sessions', 'application/x-www-form-urlencoded'))],
  };
};

const state = async m => {
  const metrics = await m.api('GET', '/metrics');
  return {
    instances: (await m.api('GET', '/api/v1/services/orders')).instances.map(i => `${i.id} ${i.status ?? i.state}`),
    releases: (await m.api('GET', '/api/v1/configs/page.html/history')).releases?.length,
    leases: metrics.match(/^etcd_debugging_lease_granted_total (\d+)/m)?.[1],
  };
};

test('a page of another origin writes, reads and follows nothing', () => withPage(server, async page => {
  const before = await state(server);
  assert.ok(before.leases >= 1 && before.instances.length === 1, JSON.stringify(before));
  await page.goto(attack);
  const seen = await page.evaluate(tries, server.url);
  for (const what of ['put', 'remove', 'read', 'socket', 'events']) assert.match(seen[what], /^refused/, what);
  assert.deepEqual(await state(server), before);
}, { expected: anything }));

test('a page of an origin in --cors reads, writes and follows', () => withPage(listed, async page => {
  await page.goto(attack);
  const seen = await page.evaluate(tries, listed.url);
  for (const what of ['put', 'remove', 'read', 'socket', 'events']) assert.equal(seen[what], 'done', what);
}, { expected: anything }));

test('the console is in no frame of another page', () => withPage(server, async page => {
  await page.goto(attack);
  await page.evaluate(url => new Promise(done => document.body.append(Object.assign(document.createElement('iframe'), { src: `${url}/ui/`, onload: done, onerror: done }))), server.url);
  const frame = await until('the frame has a document', () => page.frames().find(f => f !== page.mainFrame()));
  assert.equal(await frame.locator('#app').count(), 0);
}, { expected: anything }));

test('a configuration with a script runs nothing', () => withPage(server, async page => {
  await page.goto(`${server.url}/api/v1/configs/page.html`);
  await page.getByText('content').waitFor();
  assert.notEqual(await page.title(), 'ran');
  assert.equal(await page.evaluate(() => self.origin).catch(() => 'null'), 'null');
  await server.api('GET', '/api/v1/configs/gone', undefined, 404);
}, { expected: anything }));

test('a name that leads here in the DNS of another is not answered', () => withPage(server, async page => {
  const url = server.url.replace('127.0.0.1', 'rebind.example'); // the browser's resolver says 127.0.0.1
  const r = await page.goto(`${url}/ui/`);
  assert.equal(r.status(), 421);
  for (const path of ['/api/v1/services', '/api/v1/configs/page.html', '/openapi.json', '/sd/prometheus'])
    assert.equal(await page.evaluate(p => fetch(p).then(a => a.status), path), 421, path);
  assert.equal(await page.evaluate(() => fetch('/api/v1/services/orders/instances/evil', { method: 'PUT', body: '{}' }).then(a => a.status)), 421);
}, { expected: anything }));
