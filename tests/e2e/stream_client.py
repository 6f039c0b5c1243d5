#!/usr/bin/env python3
"""A client of the stream with plain sockets, for the e2e tests.

  stream_client.py chain PORT SECONDS     follows keys, a service and a configuration while the server is killed and comes back: checks
                                          that no revision is missed or doubled, by `previous` and by what the writer wrote
  stream_client.py config PORT            publishes and follows configurations: gray releases, contents by reference, deliveries
  stream_client.py frames PORT            subscriptions of every kind, and every frame of both sides, as /asyncapi.json describes them
  stream_client.py events PORT            the events on standard input, as /asyncapi.json describes them
  stream_client.py reject PORT USER NAME  follows a configuration as a user with the password USER-pw, and rejects each release after the first
  stream_client.py hostile PORT PID       slow, silent, huge and broken clients; a good one is served all the while
"""
import base64, json, os, random, re, socket, struct, sys, threading, time, urllib.error, urllib.request

from frames import Frames

FRAMES = None  # what the server's frames are checked against, in every mode

class Closed(Exception):
    pass


class Stream:
    def __init__(self, port, timeout=20, extra=''):
        self.s = socket.create_connection(('127.0.0.1', port), timeout=timeout)
        self.buffer = b''
        key = base64.b64encode(os.urandom(16)).decode()
        self.s.sendall((f'GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                        f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n'
                        f'Sec-WebSocket-Protocol: cairn.v1+json\r\n{extra}\r\n').encode())
        while b'\r\n\r\n' not in self.buffer:
            self.fill()
        head, self.buffer = self.buffer.split(b'\r\n\r\n', 1)
        if b' 101 ' not in head.split(b'\r\n')[0] or b'cairn.v1+json' not in head:
            raise Closed(head)

    def fill(self):
        try:
            data = self.s.recv(65536)
        except ConnectionError as e:
            raise Closed(e)
        if not data:
            raise Closed('end')
        self.buffer += data

    def raw(self, first, payload):
        mask, n = os.urandom(4), len(payload)
        head = struct.pack('!BB', first, 0x80 | n) if n < 126 else struct.pack('!BBH', first, 0xfe, n) if n < 65536 \
            else struct.pack('!BBQ', first, 0xff, n)
        self.s.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))

    def say(self, **frame):
        self.raw(0x81, json.dumps(frame).encode())

    def need(self, n):
        while len(self.buffer) < n:
            self.fill()

    def hear(self):
        while True:
            self.need(2)
            opcode, n, head = self.buffer[0] & 15, self.buffer[1] & 127, 2
            if n == 126:
                self.need(4)
                n, head = struct.unpack('!H', self.buffer[2:4])[0], 4
            elif n == 127:
                self.need(10)
                n, head = struct.unpack('!Q', self.buffer[2:10])[0], 10
            self.need(head + n)
            payload, self.buffer = self.buffer[head:head + n], self.buffer[head + n:]
            if opcode == 8:
                raise Closed(struct.unpack('!H', payload[:2])[0] if n >= 2 else 1005)
            if opcode == 9:
                self.raw(0x8a, payload)
            elif opcode == 1:
                frame = json.loads(payload)
                if FRAMES:
                    FRAMES.check(frame)
                return frame

    def close(self):
        self.s.close()


def post(port, path, body):
    request = urllib.request.Request(f'http://127.0.0.1:{port}{path}', json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def call(port, method, path, body=None):
    """Status and JSON, or the text that is none."""
    request = urllib.request.Request(f'http://127.0.0.1:{port}/api/v1/{path}', body, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            status, text = answer.status, answer.read()
    except urllib.error.HTTPError as e:
        status, text = e.code, e.read()
    try:
        return status, json.loads(text)
    except ValueError:
        return status, text


def b64(text):
    return base64.b64encode(text.encode()).decode()


def put(port, key, value):
    return int(post(port, '/v3/kv/put', {'key': b64(key), 'value': b64(value)})['header']['revision'])


class Follower(threading.Thread):
    """Keeps subscriptions over reconnects; each resumes from its own last revision."""

    def __init__(self, port):
        super().__init__(daemon=True)
        self.port, self.is_over, self.error = port, False, None
        self.keys_revision = self.service_revision = self.config_revision = None  # of the last frame
        self.contents, self.config_seq = [], 0
        self.token = None
        self.values, self.items, self.parts = {}, {}, None
        self.seen, self.reconnects, self.resyncs = [], 0, []

    def run(self):
        while not self.is_over:
            try:
                self.follow()
            except (Closed, OSError):
                self.reconnects += 1
                time.sleep(0.05)
            except AssertionError as e:
                self.error = e
                return

    def follow(self):
        s = Stream(self.port)
        hello = {'type': 'hello', 'client_id': 'chain'}
        if self.token:
            hello['resume'] = {'cluster_id': self.cluster_id, 'revision': self.token}
        s.say(**hello)
        welcome = s.hear()
        if welcome['type'] == 'goaway':
            return
        assert welcome['type'] == 'welcome', welcome
        self.cluster_id = welcome['cluster_id']
        for sid, kind, name, last in ((1, 'kv', {'prefix': '/chain/'}, self.keys_revision),
                                      (2, 'service', {'name': 'chain'}, self.service_revision),
                                      (3, 'config', {'name': 'chain'}, self.config_revision)):
            more = {'from_revision': last + 1} if last is not None else {}
            s.say(type='subscribe', sid=sid, kind=kind, **name, **more)
        while not self.is_over:
            frame = s.hear()
            {1: self.on_keys, 2: self.on_service, 3: self.on_config}.get(frame.get('sid'), self.on_other)(frame)
            if 'revision' in frame:
                s.say(type='ack', revision=frame['revision'])
        s.close()

    def on_other(self, frame):
        assert frame['type'] in ('mark', 'goaway'), frame
        if frame['type'] == 'mark':
            self.token = frame['revision']

    def on_keys(self, frame):
        if frame['type'] == 'snapshot':
            assert self.keys_revision is None, 'keys are told anew though their history is there'
            self.seen += [int(i['value']) for i in frame['items']]
        else:
            assert frame['type'] == 'delta' and frame['previous'] == self.keys_revision, (self.keys_revision, frame)
            assert frame['revision'] > self.keys_revision, frame
            self.seen += [int(i['value']) for i in frame['put']]
        self.keys_revision = frame['revision']

    def on_service(self, frame):
        if frame['type'] == 'resync':
            self.resyncs.append(frame['reason'])
            self.service_revision = None
        elif frame['type'] == 'snapshot':
            assert self.service_revision is None or self.parts is not None or frame['part'] == 1, frame
            if frame['part'] == 1:
                self.parts = {}
            self.parts.update({i['id']: i for i in frame['items']})
            if frame['last']:
                self.items, self.parts, self.service_revision = self.parts, None, frame['revision']
        else:
            assert frame['type'] == 'delta' and frame['previous'] == self.service_revision, (self.service_revision, frame)
            assert frame['revision'] > self.service_revision, frame
            self.items.update({i['id']: i for i in frame['put']})
            for gone in frame['delete']:
                self.items.pop(gone, None)
            self.service_revision = frame['revision']


    def on_config(self, frame):
        if frame['type'] == 'resync':
            self.config_revision = None
            return
        if frame['type'] == 'delta':
            assert frame['previous'] == self.config_revision and frame['revision'] > frame['previous'], frame
        else:
            assert frame['type'] == 'snapshot' and self.config_revision is None, frame
        for item in frame.get('items', []) + frame.get('put', []):
            assert item['seq'] >= self.config_seq, f'went back from {self.config_seq}: {item}'
            assert frame['type'] == 'snapshot' or item['seq'] > self.config_seq, f'again: {item}'
            self.config_seq = item['seq']
            self.contents.append(int(item['content']))
        self.config_revision = frame['revision']


def wait_until(what, condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            sys.exit(f'not within {seconds} s: {what}')
        time.sleep(0.02)


def chain(port, seconds):
    follower = Follower(port)
    follower.start()
    wait_until('the first state', lambda: follower.service_revision is not None or follower.error)
    end, n, written, wanted = time.time() + seconds, 0, [], {}
    while time.time() < end and not follower.error:
        n += 1
        try:
            put(port, '/chain/k', str(n))
            written.append(n)
            call(port, 'PUT', 'configs/chain', str(n).encode())
            name = f'i{n % 7}'
            key = f'/cairn/registry/instances/default/default/chain/{name}'
            wanted[name] = None  # until its outcome is known
            if n % 5 == 0:
                post(port, '/v3/kv/deleterange', {'key': b64(key)})
                del wanted[name]
            else:
                put(port, key, json.dumps({'host': 'h', 'port': n}))
                wanted[name] = n
        except OSError:
            time.sleep(0.02)
    def finish():
        put(port, '/chain/k', str(n + 1))
        put(port, '/cairn/registry/instances/default/default/chain/last', '{"host":"h","port":1}')
        if call(port, 'PUT', 'configs/chain', str(n + 1).encode())[0] != 200:
            raise OSError('not published')
    for _ in range(200):
        try:
            finish()
            break
        except OSError:
            time.sleep(0.1)
    wait_until('the last change', lambda: follower.error or ('last' in follower.items and n + 1 in follower.seen and
                                                             n + 1 in follower.contents))
    follower.is_over = True
    if follower.error:
        sys.exit(f'the chain broke: {follower.error}')
    seen = follower.seen
    assert len(seen) == len(set(seen)), 'an event came twice'
    assert seen == sorted(seen), 'events are out of order'
    first = seen[0]
    missed = [i for i in written if i not in set(seen) and i > first]
    assert not missed, f'never came: {missed[:10]}'
    ports = {k: i['port'] for k, i in follower.items.items() if k != 'last'}
    for name, value in wanted.items():
        assert value is None or ports.get(name) == value, (name, value, ports)
    assert all(name in wanted for name in ports), (wanted, ports)
    assert follower.contents == sorted(follower.contents), 'contents are out of order'
    print(f'{len(seen)} events, {len(follower.contents)} contents, {follower.reconnects} reconnects, resyncs {len(follower.resyncs)}')


def config(port):
    def frame_of(s, kind):
        while True:
            frame = s.hear()
            if frame['type'] != 'mark':
                assert frame['type'] == kind, frame
                return frame

    def follow(client_id, **labels):
        s = Stream(port)
        s.say(type='hello', client_id=client_id, labels=labels)
        frame_of(s, 'welcome')
        s.say(type='subscribe', sid=1, kind='config', name='e2e.json')
        return s

    a, b = follow('a', zone='a'), follow('b', zone='b')
    assert frame_of(a, 'snapshot')['items'] == [] == frame_of(b, 'snapshot')['items']
    a.say(type='publish', rid=1, name='e2e.json', content='{"a":1', title='first')
    error = frame_of(a, 'error')
    assert (error['rid'], error['code'], error['line'], error['column']) == (1, 'malformed', 1, 7), error
    a.say(type='publish', rid=2, name='e2e.json', content='{"a":1}', title='first', if_absent=True)
    frames = {f['type']: f for f in (a.hear(), a.hear())}
    assert frames['result']['seq'] == 1 and frames['result']['format'] == 'json', frames
    item = frames['delta']['put'][0]
    assert (item['seq'], item['content'], item['format'], item['title']) == (1, '{"a":1}', 'json', 'first'), item
    assert frame_of(b, 'delta')['put'] == [item]
    # Gray: by label and by our address; a client that does not match gets only the next release.
    status, rule = call(port, 'PUT', 'configs/e2e.json/gray/r',
                        json.dumps({'match': {'zone': ['b'], 'ip': ['127.0.0.0/8']}, 'content': '{"a":2}'}).encode())
    assert status == 200, rule
    assert frame_of(b, 'delta')['put'][0]['seq'] == 2
    status, answer = call(port, 'PUT', 'configs/e2e.json', b'{"a":3}')
    assert status == 200 and answer['seq'] == 3, answer
    assert frame_of(a, 'delta')['put'][0]['seq'] == 3
    a.say(type='applied', sid=1, name='e2e.json', seq=3, ok=True)
    b.say(type='applied', sid=1, name='e2e.json', seq=2, ok=False, error='two is too much')
    wait_until('it is known what they run on', lambda: call(port, 'GET', 'configs/e2e.json/releases/2/delivery')[1]['rejected'] == 1)
    listeners = {l['client_id']: l for l in call(port, 'GET', 'configs/e2e.json/listeners')[1]['listeners']}
    shown = {k: [l.get(f) for f in ('transport', 'chosen', 'sent', 'applied', 'rejected', 'error')] for k, l in listeners.items()}
    assert shown == {'a': ['websocket', 3, 3, 3, None, None], 'b': ['websocket', 2, 2, None, 2, 'two is too much']}, shown
    delivery = call(port, 'GET', 'configs/e2e.json/releases/3/delivery')[1]
    assert (delivery['chosen'], delivery['applied'], delivery['pending']) == (1, 1, 0), delivery
    # A content beyond 64 KiB goes by reference.
    large = json.dumps({'a': 'x' * 70000}).encode()
    assert call(port, 'PUT', 'configs/e2e.json', large)[0] == 200
    item = frame_of(a, 'delta')['put'][0]
    assert 'content' not in item and item['size'] == len(large), item
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/api/v1/configs/e2e.json?seq={item["seq"]}', timeout=5) as answer:
        assert answer.read() == large and answer.headers['ETag'] == f'"{item["md5"]}"'
    assert call(port, 'DELETE', 'configs/e2e.json')[0] == 200  # ends the rules: for both
    assert frame_of(a, 'delta')['delete'] == ['e2e.json'] == frame_of(b, 'delta')['delete']
    print('gray releases, contents by reference, deliveries')


def frames(port):
    schemas = FRAMES.schemas
    requests = iter(range(1, 100))

    def say(s, **frame):
        assert not FRAMES.why(frame, schemas[frame['type']], frame['type']), FRAMES.why(frame, schemas[frame['type']], '')
        s.say(**frame)

    def answer(s, kind, **frame):
        rid = next(requests)
        say(s, rid=rid, **frame)
        while True:
            got = s.hear()
            if got.get('rid') == rid:
                assert got['type'] == kind, got
                return got

    def until(s, sid, kind):
        while True:
            got = s.hear()
            assert got.get('sid') != sid or got['type'] in (kind, 'mark'), got
            if got.get('sid') == sid:
                return got

    s = Stream(port)
    say(s, type='hello', client_id='frames', labels={'zone': 'a'}, window=1 << 20, session={'ttl': 30})
    welcome = s.hear()
    assert 'session_key' in welcome, welcome
    instance = {'host': '10.0.0.5', 'port': 80, 'tags': ['t'], 'metadata': {'k': 'v'}, 'zone': 'a', 'weight': 5}
    answer(s, 'result', type='register', name='framed', id='i1', instance=instance)
    answer(s, 'result', type='register', name='framed', id='i1', instance=instance)
    assert call(port, 'PUT', 'services/framed/instances/i1/override', b'{"weight":1}')[0] == 200
    answer(s, 'result', type='publish', name='framed.json', content='{}', title='t', note='n')
    assert answer(s, 'result', type='publish', name='framed.json', content='{}')['unchanged']
    assert answer(s, 'result', type='publish', name='framed.json', content='[]', validate='only')['valid']
    assert 'current' in answer(s, 'error', type='publish', name='framed.json', content='1', if_seq=7)
    assert answer(s, 'error', type='publish', name='framed.json', content='{')['line'] == 1
    answer(s, 'result', type='publish', name='framed.bin', content='/w==', base64=True, format='bin')
    assert answer(s, 'error', type='deregister', name='framed', id='none')['code'] == 'not_found'
    revision = put(port, 'framed/text', 'v')
    post(port, '/v3/kv/put', {'key': base64.b64encode(b'framed/\xff').decode(), 'value': base64.b64encode(b'\xff').decode()})
    wanted = ({'kind': 'service', 'name': 'framed', 'filter': {'tags': ['t'], 'labels': {'k': 'v'}}}, {'kind': 'services', 'prefix': 'fram'},
              {'kind': 'services', 'namespace': '*', 'group': '*', 'name': 'fram*'},
              {'kind': 'instances', 'name': 'fram*', 'groups': ['default']}, {'kind': 'config', 'name': 'framed.json'},
              {'kind': 'config', 'name': 'framed.none'}, {'kind': 'configs', 'prefix': 'framed'},
              {'kind': 'configs', 'namespace': '*', 'group': '*', 'name': 'framed*'}, {'kind': 'kv', 'prefix': 'framed/'})
    for sid, what in enumerate(wanted, 1):
        say(s, type='subscribe', sid=sid, **what)
        items = until(s, sid, 'snapshot')['items']
        assert bool(items) != (what.get('name') == 'framed.none'), (what, items)
    post(port, '/v3/kv/deleterange', {'key': base64.b64encode(b'framed/\xff').decode()})
    assert until(s, 9, 'delta')['delete'] == [{'key_base64': 'ZnJhbWVkL/8='}]
    say(s, type='applied', sid=5, name='framed.json', seq=1, ok=True)
    say(s, type='ack', revision=revision)
    say(s, type='heartbeat')
    say(s, type='unsubscribe', sid=1)
    answer(s, 'result', type='deregister', name='framed', id='i1')
    until(s, 4, 'delta')
    # The member refuses frames that the document does not allow.
    for wrong in ({'type': 'ack', 'revision': -1}, {'type': 'ack'}, {'type': 'heartbeat', 'colour': 'red'}, {'type': 'unsubscribe', 'sid': 0},
                  {'type': 'subscribe', 'sid': 20, 'kind': 'kv', 'groups': []}):
        assert FRAMES.why(wrong, schemas[wrong['type']], ''), wrong
        s.say(**wrong)
        while s.hear()['type'] != 'error':
            pass
    other = Stream(port)
    say(other, type='hello', resume={'cluster_id': '1', 'revision': 1})
    assert other.hear()['type'] == 'welcome'
    say(other, type='subscribe', sid=1, kind='config', name='framed.json', from_revision=2, known=[{'id': 'a', 'revision': 1}])
    assert other.hear().get('reason') == 'cluster_changed'
    while 'mark' not in FRAMES.seen:
        other.hear()
    assert FRAMES.seen == FRAMES.sent - {'goaway'}, FRAMES.sent - FRAMES.seen
    print(f'{len(FRAMES.seen)} kinds of frames of the member, {len([t for t in schemas if t not in FRAMES.sent])} other schemas')


def reject(port, user, name):
    credentials = base64.b64encode(f'{user}:{user}-pw'.encode()).decode()
    s = Stream(port, 120, f'Authorization: Basic {credentials}\r\n')
    s.say(type='hello', client_id='rejecter')
    s.say(type='subscribe', sid=1, kind='config', name=name)
    first = None
    while True:
        frame = s.hear()
        for item in frame.get('items', []) + frame.get('put', []):
            first = first or item['seq']
            is_first = item['seq'] == first
            s.say(type='applied', sid=1, name=name, seq=item['seq'], ok=is_first, **({} if is_first else {'error': 'it does not start'}))
            print('applied' if is_first else 'rejected', item['seq'], flush=True)


def rss_kib(pid):
    return int(re.search(r'VmRSS:\s+(\d+)', open(f'/proc/{pid}/status').read()).group(1))


def hello(port, subscribe=True, sid=1):
    s = Stream(port)
    s.say(type='hello')
    assert s.hear()['type'] == 'welcome'
    if subscribe:
        s.say(type='subscribe', sid=sid, kind='service', name='busy')
    return s


def change(port, i, size=3000):
    key = f'/cairn/registry/instances/default/default/busy/i{i % 20}'
    metadata = {f'k{k}': 'x' * 200 for k in range(size // 200)}
    return put(port, key, json.dumps({'host': 'h', 'port': 1 + i % 60000, 'metadata': metadata}))


def expect_closed(s, statuses):
    try:
        while True:
            s.hear()
    except Closed as e:
        assert e.args[0] in statuses or 'end' in statuses, e


def hostile(port, pid):
    good = hello(port)
    assert good.hear()['type'] == 'snapshot'
    slow = [hello(port) for _ in range(40)]  # they never read again
    silent = [socket.create_connection(('127.0.0.1', port)) for _ in range(20)]
    half = [socket.create_connection(('127.0.0.1', port)) for _ in range(20)]
    for s in half:
        s.sendall(b'GET /api/v1/stream HTTP/1.1\r\nHost: x\r\nUpgr')
    before, slowest, previous = rss_kib(pid), 0, None
    for i in range(500):
        began = time.time()
        revision = change(port, i)
        while True:
            frame = good.hear()
            if frame['type'] == 'delta':
                assert previous is None or frame['previous'] == previous, frame
                previous = frame['revision']
                if frame['revision'] >= revision:
                    break
        good.say(type='ack', revision=revision)
        slowest = max(slowest, time.time() - began)
        if i % 25 == 0:
            for s in slow:  # alive, though they do not read
                s.say(type='heartbeat')
            random.choice((broken_json, huge, nested, unmasked, binary, storm))(port)
    grown = rss_kib(pid) - before
    # 40 slow readers of what would be 2 MB each: at most 64 KiB of each wait here, beside the snapshots.
    assert grown < 60000, f'{grown} KiB more than before'
    for s in slow:  # and they get there when they read: the last state, by an unbroken chain
        s.s.settimeout(20)
    catch_up(slow[0], revision)
    for s in slow + silent + half + [good]:
        s.close()
    wait_until('all are forgotten', lambda: streams(port) == 0, 30)
    print(f'slowest {slowest * 1000:.0f} ms, {grown} KiB grown')


def catch_up(s, revision):
    at = None
    while at is None or at < revision:
        frame = s.hear()
        if frame['type'] == 'snapshot' and frame['last']:
            at = frame['revision']
        elif frame['type'] == 'delta':
            assert frame['previous'] == at, frame
            at = frame['revision']
        if 'revision' in frame:
            s.say(type='ack', revision=frame['revision'])


def streams(port):
    with urllib.request.urlopen(f'http://127.0.0.1:{port}/metrics', timeout=5) as answer:
        return int(float(re.search(rb'^cairn_stream_connections (\S+)', answer.read(), re.M).group(1)))


def broken_json(port):
    s = hello(port, False)
    s.raw(0x81, b'{"type":')
    expect_closed(s, (1008,))


def huge(port):
    s = hello(port, False)
    try:
        s.raw(0x81, b' ' * 3000000)
    except OSError:
        return
    expect_closed(s, (1009, 'end'))


def nested(port):
    s = hello(port, False)
    s.raw(0x81, b'[' * 60000)
    expect_closed(s, (1008,))


def unmasked(port):
    s = hello(port, False)
    s.s.sendall(b'\x81\x02{}')
    expect_closed(s, (1002,))


def binary(port):
    s = hello(port, False)
    s.raw(0x82, bytes(range(256)))
    expect_closed(s, (1007, 1008))


def storm(port):
    s = hello(port, False)
    for i in range(300):
        s.say(type='subscribe', sid=i + 1, kind='kv', prefix=f'/{i}')
    s.close()


def events(port):
    """Checks the events of standard input: what curl has heard."""
    heard = re.findall(r'^event: (.*)\n(?:id: .*\n)?data: (.*)$', sys.stdin.read(), re.M)
    for kind, data in heard:
        assert json.loads(data)['type'] == kind, (kind, data)
        FRAMES.check(json.loads(data))
    assert len(heard) >= 2, heard
    print(f'{len(heard)} events')


if __name__ == '__main__':
    FRAMES = Frames(int(sys.argv[2]))
    if sys.argv[1] == 'events':
        events(int(sys.argv[2]))
    elif sys.argv[1] == 'frames':
        frames(int(sys.argv[2]))
    elif sys.argv[1] == 'reject':
        reject(int(sys.argv[2]), sys.argv[3], sys.argv[4])
    elif sys.argv[1] == 'chain':
        chain(int(sys.argv[2]), float(sys.argv[3]))
    elif sys.argv[1] == 'config':
        config(int(sys.argv[2]))
    else:
        hostile(int(sys.argv[2]), int(sys.argv[3]))
