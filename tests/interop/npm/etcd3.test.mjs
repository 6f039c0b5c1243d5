// SPDX-License-Identifier: Apache-2.0
// The npm package etcd3 (by Microsoft) against a running server, or the members of one cluster with commas between them:
// HOST=127.0.0.1:2379 node --test etcd3.test.mjs
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { Etcd3, EtcdLockFailedError, EtcdLeaseInvalidError } from 'etcd3';

const hosts = (process.env.HOST ?? '127.0.0.1:2379').split(',');
const sleep = ms => new Promise(done => setTimeout(done, ms));
const once = (emitter, name, ms = 10000) =>
  new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} for ${ms} ms`)), ms);
    emitter.once(name, (...args) => (clearTimeout(timer), resolve(args)));
  });
let etcd;

before(async () => {
  etcd = new Etcd3({ hosts });
  await etcd.delete().all();
});
after(() => etcd.close());

test('put, get, delete', async () => {
  await etcd.put('foo').value('bar');
  assert.equal(await etcd.get('foo').string(), 'bar');
  await etcd.put('json').value(JSON.stringify({ a: [1, 2] }));
  assert.deepEqual(await etcd.get('json').json(), { a: [1, 2] });
  assert.equal(await etcd.get('none').string(), null);
  const binary = Buffer.from([0, 1, 254, 255]);
  await etcd.put(Buffer.from([1, 0, 255])).value(binary);
  assert.deepEqual(await etcd.get(Buffer.from([1, 0, 255])).buffer(), binary);
  const { prev_kv } = await etcd.put('foo').value('baz').getPrevious().then(kv => ({ prev_kv: kv }));
  assert.equal(prev_kv.value.toString(), 'bar');
  assert.equal(await etcd.get('foo').exists(), true);
  assert.equal((await etcd.delete().key('foo')).deleted, '1');
  await etcd.put('t').value('1');
  await etcd.put('t').touch();
  assert.equal(await etcd.get('t').string(), '1');
});

test('ranges', async () => {
  for (let i = 0; i < 10; i++) await etcd.put(`r/${i}`).value(String(9 - i));
  assert.equal(Object.keys(await etcd.getAll().prefix('r/').strings()).length, 10);
  assert.deepEqual(await etcd.getAll().prefix('r/').sort('Value', 'Ascend').limit(2).keys(), ['r/9', 'r/8']);
  assert.equal(await etcd.getAll().prefix('r/').count(), 10);
  assert.deepEqual(await etcd.getAll().inRange({ start: 'r/3', end: 'r/5' }).numbers(), { 'r/3': 6, 'r/4': 5 });
  const { header } = await etcd.put('r/0').value('new');
  assert.equal(await etcd.get('r/0').revision(Number(header.revision) - 1).string(), '9');
  const inside = etcd.namespace('r/');
  assert.equal(await inside.get('0').string(), 'new');
  assert.equal((await etcd.delete().prefix('r/')).deleted, '10');
});

test('transactions', async () => {
  await etcd.put('x').value('1');
  const won = await etcd.if('x', 'Value', '==', '1').and('y', 'Create', '==', 0).then(etcd.put('y').value('2'), etcd.get('x')).else(etcd.delete().key('x')).commit();
  assert.equal(won.succeeded, true);
  assert.equal(won.responses[1].response_range.kvs[0].value.toString(), '1');
  const lost = await etcd.if('x', 'Version', '>', 100).then(etcd.put('y').value('3')).commit();
  assert.equal(lost.succeeded, false);
  assert.equal(await etcd.get('y').string(), '2');
});

test('software transactional memory', async () => {
  await etcd.put('balance').value('0');
  await Promise.all(Array.from({ length: 10 }, () =>
    etcd.stm({ retries: 50 }).transact(async tx => {
      const value = Number(await tx.get('balance').string());
      await tx.put('balance').value(String(value + 1));
    })));
  assert.equal(await etcd.get('balance').string(), '10');
});

test('watch', async () => {
  const watcher = await etcd.watch().prefix('w/').withPreviousKV().create();
  const seen = [];
  watcher.on('put', (kv, previous) => seen.push(['put', kv.key.toString(), kv.value.toString(), previous?.value.toString()]));
  watcher.on('delete', (kv, previous) => seen.push(['delete', kv.key.toString(), previous.value.toString()]));
  const first = await etcd.put('w/1').value('a');
  await etcd.put('w/1').value('b');
  await etcd.put('v/1').value('outside');
  await etcd.delete().key('w/1');
  for (let i = 0; seen.length < 3 && i < 100; i++) await sleep(20);
  assert.deepEqual(seen, [['put', 'w/1', 'a', undefined], ['put', 'w/1', 'b', 'a'], ['delete', 'w/1', 'b']]);
  await watcher.cancel();
  await etcd.put('w/1').value('c');
  await sleep(100);
  assert.equal(seen.length, 3);

  const past = etcd.watch().prefix('w/').startRevision(first.header.revision).watcher();
  const [response] = await once(past, 'data');
  assert.equal(response.events[0].kv.value.toString(), 'a');
  await past.cancel();
});

test('leases', async () => {
  const lease = etcd.lease(2);
  const lost = once(lease, 'lost', 15000);
  lost.catch(() => {});
  await lease.put('leased').value('1');
  await sleep(4000); // it keeps itself alive
  assert.equal(await etcd.get('leased').string(), '1');
  await lease.revoke();
  assert.equal(await etcd.get('leased').string(), null);

  const brief = etcd.lease(2, { autoKeepAlive: false });
  await brief.put('brief').value('1');
  const watcher = await etcd.watch().key('brief').create();
  await once(watcher, 'delete');
  await watcher.cancel();
  await assert.rejects(brief.keepaliveOnce(), EtcdLeaseInvalidError);
});

test('locks', async () => {
  const lock = etcd.lock('lock').ttl(10);
  await lock.acquire();
  await assert.rejects(etcd.lock('lock').acquire(), EtcdLockFailedError);
  await lock.release();
  await etcd.lock('lock').do(() => {});
});

test('election', async () => {
  const election = etcd.election('vote', 5);
  const campaign = election.campaign('candidate');
  await once(campaign, 'elected');
  assert.equal(await election.leader(), 'candidate');
  const observer = await election.observe();
  assert.equal(observer.leader(), 'candidate');
  const second = election.campaign('second');
  await sleep(200);
  await campaign.resign();
  await once(second, 'elected');
  for (let i = 0; observer.leader() !== 'second' && i < 100; i++) await sleep(20);
  assert.equal(observer.leader(), 'second');
  await second.resign();
  await observer.cancel();
});

test('cluster and maintenance', async () => {
  assert.equal((await etcd.cluster.memberList({})).members.length, hosts.length);
  const status = await etcd.maintenance.status();
  assert.equal(status.version, '3.7.1');
  assert.deepEqual((await etcd.maintenance.alarm({ action: 'Get' })).alarms, []);
  assert.equal((await etcd.maintenance.hash()).hash > 0, true);
  const { revision } = status.header;
  await etcd.kv.compact({ revision, physical: true });
  await assert.rejects(etcd.get('foo').revision(1).string(), /compacted/);
});
