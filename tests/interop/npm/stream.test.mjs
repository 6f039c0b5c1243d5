// SPDX-License-Identifier: Apache-2.0
// The npm packages ws and eventsource on /api/v1/stream of a running server: HOST=127.0.0.1:2379 node --test stream.test.mjs
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { EventSource } from 'eventsource';
import WebSocket from 'ws';

const host = process.env.HOST ?? '127.0.0.1:2379';
const base64 = text => Buffer.from(text).toString('base64');
const ask = (path, body) => fetch(`http://${host}${path}`, { method: 'POST', body: JSON.stringify(body) }).then(r => r.json());
const put = (key, value) => ask('/v3/kv/put', { key: base64(key), value: base64(value) }).then(r => Number(r.header.revision));
const instance = (service, id) => `/cairn/registry/instances/default/default/${service}/${id}`;
const metadata = JSON.stringify({ host: 'h', port: 1, metadata: Object.fromEntries([...Array(8).keys()].map(i => [`k${i}`, 'x'.repeat(100)])) });

// Frames in the order they come; next() waits for one.
class Client {
  frames = [];
  waiting = [];
  constructor(options = {}, protocols = ['cairn.v1+json']) {
    this.ws = new WebSocket(`ws://${host}/api/v1/stream`, protocols, options);
    this.ws.on('message', data => this.take(JSON.parse(data)));
    this.closed = new Promise(done => this.ws.on('close', code => done(code)));
    this.failed = new Promise(done => this.ws.on('unexpected-response', (_, response) => done(response.statusCode)));
    this.ws.on('error', () => {});
  }
  open = () => new Promise((done, fail) => (this.ws.on('open', done), this.ws.on('error', fail)));
  take(frame) {
    if (frame.type === 'mark') return;
    const waiting = this.waiting.shift();
    if (waiting) waiting(frame);
    else this.frames.push(frame);
  }
  say = frame => this.ws.send(JSON.stringify(frame));
  next = () =>
    this.frames.length
      ? Promise.resolve(this.frames.shift())
      : new Promise((done, fail) => {
          const timer = setTimeout(() => fail(new Error('no frame for 10 s')), 10000);
          this.waiting.push(frame => (clearTimeout(timer), done(frame)));
        });
}

for (const [name, options] of [
  ['compressed', { perMessageDeflate: { threshold: 0 } }],
  ['compressed, its own way', { perMessageDeflate: { threshold: 0, serverNoContextTakeover: true, clientNoContextTakeover: true, clientMaxWindowBits: 10 } }],
  ['a smaller window of ours is declined', { perMessageDeflate: { serverMaxWindowBits: 10 } }],
  ['plain', { perMessageDeflate: false }],
])
  test(`ws, ${name}`, async () => {
    const service = name.replaceAll(/\W/g, '');
    const first = await put(instance(service, 'a'), metadata);
    const client = new Client(options);
    await client.open();
    assert.equal(client.ws.protocol, 'cairn.v1+json');
    assert.equal(client.ws.extensions.includes('permessage-deflate'), name.startsWith('compressed'));
    client.say({ type: 'hello', client_id: 'ws', labels: { zone: 'b' } });
    const welcome = await client.next();
    assert.equal(welcome.type, 'welcome');
    client.say({ type: 'subscribe', sid: 1, kind: 'service', name: service });
    const snapshot = await client.next();
    assert.equal(snapshot.revision >= first, true);
    assert.deepEqual(snapshot.items.map(i => i.id), ['a']);
    assert.equal(snapshot.items[0].metadata.k7, 'x'.repeat(100));
    let previous = snapshot.revision;
    for (let i = 0; i < 20; i++) {
      const revision = await put(instance(service, `b${i}`), metadata);
      const delta = await client.next();
      assert.equal(delta.previous, previous);
      assert.equal(delta.revision, revision);
      assert.deepEqual(delta.put.map(i => i.id), [`b${i}`]);
      previous = delta.revision;
    }
    client.say({ type: 'ack', revision: previous });
    client.say({ type: 'register', rid: 5, name: service, id: 'mine', instance: { host: 'h', port: 9, metadata: { text: 'ä€😀'.repeat(20) } } });
    const [one, two] = [await client.next(), await client.next()];
    const result = one.type === 'result' ? one : two, delta = one.type === 'result' ? two : one;
    assert.equal(result.rid, 5);
    assert.match(result.session, /^[0-9a-f]+$/);
    assert.equal(delta.put[0].metadata.text, 'ä€😀'.repeat(20));
    client.ws.ping();
    await new Promise(done => client.ws.on('pong', done));
    client.ws.close(1000);
    assert.equal(await client.closed, 1000);
  });

test('ws: going on where it was', async () => {
  const first = new Client();
  await first.open();
  first.say({ type: 'hello' });
  const { cluster_id } = await first.next();
  first.say({ type: 'subscribe', sid: 1, kind: 'kv', prefix: '/resume/' });
  let { revision } = await first.next();
  first.ws.terminate();
  const wanted = [];
  for (let i = 0; i < 10; i++) wanted.push(await put('/resume/k', String(i)));
  const second = new Client();
  await second.open();
  second.say({ type: 'hello', resume: { cluster_id, revision } });
  assert.equal((await second.next()).type, 'welcome');
  second.say({ type: 'subscribe', sid: 1, kind: 'kv', prefix: '/resume/', from_revision: revision + 1 });
  for (const next of wanted) {
    const delta = await second.next();
    assert.deepEqual([delta.previous, delta.revision], [revision, next]);
    revision = next;
  }
  second.ws.terminate();
});

test('ws: a configuration', async () => {
  const client = new Client();
  await client.open();
  client.say({ type: 'hello', client_id: 'npm', labels: { zone: 'b' } });
  assert.equal((await client.next()).type, 'welcome');
  client.say({ type: 'subscribe', sid: 1, kind: 'config', name: 'npm.yaml' });
  const { revision, items } = await client.next();
  assert.deepEqual(items, []);
  const content = 'text: ä€😀\nport: 8080\n';
  client.say({ type: 'publish', rid: 1, name: 'npm.yaml', content, if_absent: true });
  const [one, two] = [await client.next(), await client.next()];
  const result = one.type === 'result' ? one : two, delta = one.type === 'result' ? two : one;
  assert.deepEqual([result.rid, result.seq, result.format], [1, 1, 'yaml']);
  assert.equal(delta.previous, revision);
  assert.deepEqual([delta.put[0].content, delta.put[0].md5, delta.put[0].format], [content, result.md5, 'yaml']);
  client.say({ type: 'applied', sid: 1, name: 'npm.yaml', seq: 1, ok: true });
  client.say({ type: 'publish', rid: 2, name: 'npm.yaml', content: 'port: 1\nport: 2\n' });
  const error = await client.next();
  assert.deepEqual([error.code, error.line, error.column], ['malformed', 2, 1]);
  const { listeners } = await fetch(`http://${host}/api/v1/configs/npm.yaml/listeners`).then(r => r.json());
  assert.deepEqual(listeners.map(l => [l.client_id, l.chosen, l.sent, l.applied]), [['npm', 1, 1, 1]]);
  const large = 'x: ' + 'y'.repeat(100000);
  client.say({ type: 'publish', rid: 3, name: 'npm.yaml', content: large });
  const frames = [await client.next(), await client.next()];
  const item = frames.find(f => f.type === 'delta').put[0];
  assert.deepEqual([item.seq, item.size, 'content' in item], [2, large.length, false]);
  assert.equal(await fetch(`http://${host}/api/v1/configs/npm.yaml?seq=${item.seq}`).then(r => r.text()), large);
  client.ws.terminate();
});

test('ws: what is wrong', async () => {
  const client = new Client();
  await client.open();
  client.ws.send('{"type":"heartbeat"}');
  assert.equal((await client.next()).code, 'invalid');
  assert.equal(await client.closed, 1008);
  const large = new Client();
  await large.open();
  large.ws.send('x'.repeat(70000));
  assert.equal(await large.closed, 1009);
  // A page of a foreign origin, on a server that lists its own origins.
  const page = new Client({ origin: 'https://evil.example' });
  assert.equal(await page.failed, 403);
});

test('eventsource', async () => {
  await put(instance('events', 'a'), metadata);
  const source = new EventSource(`http://${host}/api/v1/stream?client_id=es&kind=service&name=events`);
  const event = name => new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error(`no ${name} for 10 s`)), 10000);
    source.addEventListener(name, e => (clearTimeout(timer), done(e)), { once: true });
  });
  const snapshot = await event('snapshot');
  assert.match(snapshot.lastEventId, /^\d+:\d+$/);
  assert.deepEqual(JSON.parse(snapshot.data).items.map(i => i.id), ['a']);
  const coming = event('delta');
  const revision = await put(instance('events', 'b'), metadata);
  const delta = await coming;
  assert.equal(delta.lastEventId.split(':')[1], String(revision));
  assert.equal(JSON.parse(delta.data).put[0].id, 'b');
  source.close();
  // The header that such a client sends when it reconnects by itself.
  const missed = await put(instance('events', 'c'), metadata);
  const again = await fetch(`http://${host}/api/v1/stream?kind=service&name=events`, { headers: { 'Last-Event-ID': delta.lastEventId } });
  let text = '';
  for await (const piece of again.body) {
    text += Buffer.from(piece);
    if (text.includes('event: delta')) break;
  }
  assert.equal(text.includes('event: snapshot'), false);
  const data = JSON.parse(text.match(/event: delta\nid: \S+\ndata: (.*)\n/)[1]);
  assert.deepEqual([data.previous, data.revision, data.put[0].id], [revision, missed, 'c']);
});
