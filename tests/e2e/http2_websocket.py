#!/usr/bin/env python3
"""WebSockets over HTTP/2 (RFC 8441), for http2_websocket.sh.

  http2_websocket.py trials PORT PID [CA]  conversations, refusals, ends, windows; with CA over TLS
  http2_websocket.py users PORT TOKEN      with users enabled
  http2_websocket.py stalled PORT          a stream that is not read is reset after --output-stall-timeout (3 s)
  http2_websocket.py limit PORT            --max-concurrent-streams is 100
  http2_websocket.py leave PORT FILE       writes FILE once its streams are open, and waits for the end of the server
"""
import base64, http.client, json, os, re, socket, struct, sys, time, urllib.request, zlib

from h2_client import ENABLE_CONNECT_PROTOCOL, INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, Closed, Connection, WebSocket
from stream_client import b64, catch_up, change, expect_closed, put, rss_kib, streams


def wait_until(what, is_so, seconds=30):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.05)


def follow(c, sid=1, name='busy'):
    s = WebSocket(c)
    s.say(type='subscribe', sid=sid, kind='service', name=name)
    assert s.hear()['type'] == 'snapshot'
    return s


def delta(s, revision):
    """Hears deltas until this revision, and acknowledges them."""
    while True:
        f = s.hear()
        if f['type'] == 'delta':
            s.say(type='ack', revision=f['revision'])
            if f['revision'] >= revision:
                return f


# --- conversations -----------------------------------------------------------------------------------------------------
def conversation(port, ca):
    c = Connection(port, ca)
    assert c.settings.get(ENABLE_CONNECT_PROTOCOL) == 1, c.settings
    followers = [follow(c, i + 1) for i in range(5)]
    assert followers[0].fields['sec-websocket-protocol'] == 'cairn.v1+json'
    assert 'sec-websocket-accept' not in followers[0].fields
    for i in range(20):
        revision = change(PLAIN, i)
        for s in followers:
            delta(s, revision)
        assert c.request('/version')[0] == 200  # beside them
    # A session over the stream.
    s = followers[0]
    s.say(type='register', rid=1, name='h2', id='one', instance={'host': '10.0.0.9', 'port': 80})
    while (f := s.hear())['type'] != 'result':
        assert f['type'] != 'error', f
    assert json.loads(c.request('/api/v1/services/h2')[1])['instances'][0]['id'] == 'one'
    shown = json.loads(c.request('/api/v1/services/busy/subscribers')[1])
    assert [x['transport'] for x in shown['subscribers']] == ['websocket'] * 5, shown
    for s in followers:
        s.close()
    wait_until('all are forgotten', lambda: streams(PLAIN) == 0)
    c.close()


def framing(port, ca):
    """Frames of WebSockets do not care for the borders of DATA frames."""
    c = Connection(port, ca)
    s = WebSocket(c, hello=False)
    out = []
    s.s = type('Gather', (), {'sendall': lambda self, data: out.append(data)})()
    s.say(type='hello')
    s.raw(0x89, b'ping')
    s.say(type='subscribe', sid=1, kind='service', name='busy')
    for byte in b''.join(out):
        s.stream.send(bytes([byte]))
    s.s = s
    got = [s.one() for _ in range(3)]  # the welcome may come after the pong
    assert (0x8a, b'ping') in got, got
    assert [json.loads(text)['type'] for first, text in got if first == 0x81] == ['welcome', 'snapshot'], got
    out.clear()
    s.s = type('Gather', (), {'sendall': lambda self, data: out.append(data)})()
    for i in range(50):
        s.say(type='subscribe', sid=i + 2, kind='service', name='small')
    s.stream.send(b''.join(out), padding=200)  # many in one
    whole = set()
    while len(whole) < 50:
        f = s.hear()
        if f['type'] == 'snapshot' and f['last']:
            whole.add(f['sid'])
    s.s = s
    s.close()
    # Three snapshots of 60 KB in one turn: more than a stream's window.
    s = WebSocket(c)
    out.clear()
    s.s = type('Gather', (), {'sendall': lambda self, data: out.append(data)})()
    for i in range(3):
        s.say(type='subscribe', sid=i + 1, kind='service', name='busy')
    s.s = s
    s.stream.send(b''.join(out))
    whole = set()
    while len(whole) < 3:
        f = s.hear()
        if f['type'] == 'snapshot' and f['last']:
            whole.add(f['sid'])
    s.close()
    # A message in pieces, then permessage-deflate.
    s = WebSocket(c, hello=False, more=[('sec-websocket-extensions', 'permessage-deflate; client_max_window_bits')])
    assert 'permessage-deflate' in s.fields['sec-websocket-extensions']
    wide = json.dumps({'host': '10.0.0.8', 'port': 80, 'metadata': {f'key{i}': 'value' * 20 for i in range(20)}})
    urllib.request.urlopen(urllib.request.Request(f'http://127.0.0.1:{PLAIN}/api/v1/services/wide/instances/one', wide.encode(), method='PUT'), timeout=30)
    s.raw(0x01, b'{"type":')
    s.raw(0x80, b'"hello"}')
    assert s.hear()['type'] == 'welcome'
    s.say(type='subscribe', sid=1, kind='service', name='wide')
    while (got := s.one())[0] != 0xc1:
        assert got[0] in (0x81, 0x89), got  # or a ping
    text = zlib.decompressobj(-15).decompress(got[1] + b'\0\0\xff\xff')
    assert json.loads(text)['type'] == 'snapshot'
    s.close()
    c.close()


def gateway(port, ca):
    """The gateway's watch, which takes no close frame from us but the end of the stream."""
    c = Connection(port, ca)
    s = WebSocket(c, '/v3/watch', protocol='x', hello=False)
    s.say(create_request={'key': b64('h2')})
    assert s.hear()['result']['created']
    put(PLAIN, 'h2', 'value')
    assert s.hear()['result']['events'][0]['kv']['value'] == b64('value')
    s.stream.send(b'', end=True)
    try:
        while True:
            s.hear()
    except Closed as e:
        assert e.args[0] == 'end', e
    c.close()


# --- refusals ----------------------------------------------------------------------------------------------------------
def over_http1(port, path, more, version):
    """Status and body of the same request over HTTP/1.1."""
    c = http.client.HTTPConnection('127.0.0.1', port, timeout=30)
    c.request('GET', path, headers={'Upgrade': 'websocket', 'Connection': 'Upgrade', 'Sec-WebSocket-Version': version,
                                    'Sec-WebSocket-Key': base64.b64encode(os.urandom(16)).decode(), **dict(more)})
    answer = c.getresponse()
    return answer.status, b'' if answer.status == 101 else answer.read()


def refusals(port, ca):
    c = Connection(port, ca)
    for path, more, version in (
            ('/api/v1/stream', [], '13'),
            ('/api/v1/stream', [('origin', 'http://other.example')], '13'),
            ('/api/v1/stream', [('origin', f'http://127.0.0.1:{PLAIN}')], '13'),
            ('/v3/watch', [('origin', 'http://other.example')], '13'),
            ('/v3/watch', [], '13'),
            ('/v3/kv/range', [], '13'),
            ('/api/v1/services', [], '13'),
            ('/ui/', [], '13'),
            ('/nothing', [], '13'),
            ('/%zz', [], '13'),
            ('/api/v1/stream', [], '12'),
            ('/api/v1/stream', [('host', 'attacker.example'), ('user-agent', 'Mozilla/5.0'), ('sec-fetch-site', 'none')], '13')):
        wanted = over_http1(PLAIN, path, more, version)
        connection = c
        if more and more[0][0] == 'host':
            if ca:
                continue  # the rule is for plain HTTP
            connection = Connection(port)
            connection.authority = more[0][1]
        if ca and more and 'http://127' in more[0][1]:
            more = [('origin', f'https://127.0.0.1:{port}')]  # its own page, too
        stream = connection.connect(path, more, version=version)
        got = stream.status(), b'' if stream.status() == 200 else stream.body()
        # HTTP/2 has neither 101 nor 426.
        wanted = ({101: 200, 426: 400}.get(wanted[0], wanted[0]), wanted[1])
        assert got == wanted, f'{path} {more} {version}: {got}, over HTTP/1.1 {wanted}'
        if version == '12':
            assert stream.fields['sec-websocket-version'] == '13', stream.fields
        stream.cancel()
    assert c.connect(protocol='connect-udp').status() == 501
    assert c.open([(':method', 'CONNECT'), (':authority', 'other.example:443')]).status() == 501
    reset = c.open([(':method', 'GET'), (':protocol', 'websocket'), (':scheme', 'http'), (':path', '/api/v1/stream'),
                    (':authority', c.authority)])
    assert reset.status() == 'reset 1', reset.status()
    assert c.request('/version')[0] == 200 and c.goaway is None  # all these were errors of streams
    c.close()


# --- ends --------------------------------------------------------------------------------------------------------------
def ends(port, ca):
    c = Connection(port, ca)
    # The client's close frame: ours comes with the end of the stream, and then its end.
    s = follow(c)
    s.raw(0x88, struct.pack('!H', 1000))
    expect_closed(s, (1000,))
    c.until(lambda: s.stream.has_ended)
    s.stream.send(b'', end=True)
    # The end of the stream without a close frame is the end of the connection.
    s = follow(c)
    s.stream.send(b'', end=True)
    c.until(lambda: s.stream.has_ended)
    assert s.stream.reset is None
    # So it is at once.
    s = c.open([(':method', 'CONNECT'), (':protocol', 'websocket'), (':scheme', c.scheme), (':path', '/api/v1/stream'),
                (':authority', c.authority), ('sec-websocket-version', '13')], end=True)
    assert s.status() == 200 and s.body() == b'' and s.reset is None
    # A reset.
    s = follow(c)
    s.stream.cancel()
    wait_until('all are forgotten', lambda: streams(PLAIN) == 0)
    # Wrong frames.
    for what, statuses in ((b'\x81\x02{}', (1002,)), (b'\xf1\x80\0\0\0\0', (1002,)), (b'\x81\xff' + struct.pack('!Q', 1 << 40) + bytes(4), (1009,)),
                           (b'\x81\x83\0\0\0\0{"a', (1008,)), (b'\x81\x82\0\0\0\0\xff\xff', (1007, 1008))):
        s = WebSocket(c, hello=False)
        s.stream.send(what)
        try:
            expect_closed(s, statuses)
        except AssertionError as e:
            raise AssertionError(what, e)
        c.until(lambda: s.stream.has_ended)
        s.stream.send(b'x' * 1000)  # after our close frame: dropped
        s.stream.send(b'', end=True)
    assert c.request('/version')[0] == 200 and c.goaway is None
    # The end of the connection.
    follow(c)
    c.close()
    wait_until('all are forgotten', lambda: streams(PLAIN) == 0)


# --- windows -----------------------------------------------------------------------------------------------------------
def stalled_streams(port, ca, pid):
    """Streams whose windows are closed hold little, and get there when they open; others go on beside them."""
    c = Connection(port, ca)
    good, slow = follow(c), []
    for _ in range(40):
        s = follow(c)
        s.stream.window_by_hand = True
        slow.append(s)
    before = rss_kib(pid)
    for i in range(500):
        revision = change(PLAIN, i)
        delta(good, revision)
        if i % 25 == 0:
            for s in slow:
                s.say(type='heartbeat')
    grown = rss_kib(pid) - before
    assert grown < 60000, f'{grown} KiB more than before'
    got = [s.stream.received for s in slow]
    for s in slow:
        assert s.stream.received < 140000, s.stream.received  # a window, and what was read before
        s.stream.window_by_hand = False
        s.stream.give(1 << 20)
    for s in slow:
        catch_up_from_anywhere(s, revision)
    c.close()
    return f'{grown} KiB for 40 streams that are not read ({max(got)} bytes sent to one)'


def catch_up_from_anywhere(s, revision):
    """By a chain that does not break, from the snapshot that it has had."""
    at = None
    while at is None or at < revision:
        f = s.hear()
        if f['type'] == 'snapshot' and f['last']:
            at = f['revision']
        elif f['type'] == 'delta':
            assert at is None or f['previous'] == at, f
            at = f['revision']
        if 'revision' in f:
            s.say(type='ack', revision=f['revision'])


def pings(port, ca):
    """Beyond 64 KiB of pongs that it does not read a client's window stays closed: at most 1 MiB waits."""
    c = Connection(port, ca)
    s = follow(c)
    s.stream.window_by_hand = True
    one = b'\x89\xfd\0\0\0\0' + b'x' * 125
    sent, limit = 0, 1 << 20
    while sent + 16384 < limit + s.stream.given and sent < 8 << 20:
        n = 16384 // len(one)
        s.stream.send(one * n)
        sent += n * len(one)
        if limit + s.stream.given - sent < 32768:
            c.request('/version')  # what has been given meanwhile comes with it
    assert s.stream.reset is None and sent < 4 << 20, f'{sent} bytes of pings were taken'
    assert c.request('/version')[0] == 200
    s.stream.give(sent * 2)  # it reads after all: every pong comes
    s.stream.window_by_hand = False
    pongs = 0
    while pongs < sent // len(one):
        pongs += s.one()[0] == 0x8a
    c.close()
    return f'{sent >> 10} KiB of pings taken without reading'


def trials(port, pid, ca):
    silent = Connection(port, ca)  # answers no ping: closed after 30 s
    began, quiet = time.monotonic(), follow(silent)
    conversation_before(silent, quiet)
    refusals(port, ca)
    framing(port, ca)
    gateway(port, ca)
    print(pings(port, ca))
    print(stalled_streams(port, ca, pid))
    quiet.s = type('Mute', (), {'sendall': lambda self, data: None})()
    try:
        while True:
            quiet.hear()
    except Closed as e:
        assert e.args[0] == 'reset 8', e
    took = time.monotonic() - began
    assert 28 < took < 60, f'silent for {took} s'
    wait_until('all are forgotten', lambda: streams(PLAIN) == 0)
    conversation(port, ca)
    ends(port, ca)
    print('conversations, refusals, ends')


def conversation_before(c, s):
    s.stream.window_by_hand = False
    assert c.request('/version')[0] == 200


# --- others ------------------------------------------------------------------------------------------------------------
def users(port, token):
    c = Connection(port)
    s = WebSocket(c, more=[('authorization', f'Bearer {token}')])
    s.say(type='subscribe', sid=1, kind='service', name='busy')
    assert s.hear()['type'] == 'snapshot'
    s = WebSocket(c, hello=False)
    s.say(type='hello', token=token)
    assert s.hear()['type'] == 'welcome'
    for more, hello in (([], {}), ([('authorization', 'Bearer none')], {}), ([('authorization', 'Bearer none')], {'token': token})):
        s = WebSocket(c, hello=False, more=more)
        s.say(type='hello', **hello)
        f = s.hear()
        assert f['type'] == 'error' and f['code'] in ('invalid_auth_token', 'unauthenticated'), f
    # The gateway takes a token as a subprotocol, as over HTTP/1.1.
    s = WebSocket(c, '/v3/watch', protocol=f'Bearer, {token}', hello=False)
    assert s.fields['sec-websocket-protocol'] == 'Bearer'
    s.say(create_request={'key': b64('a')})
    assert s.hear()['result']['created']
    s = WebSocket(c, '/v3/watch', protocol='Bearer, none', hello=False)
    s.say(create_request={'key': b64('a')})
    try:
        f = s.hear()
        assert 'error' in f or f['result'].get('canceled'), f
    except Closed:
        pass
    c.close()
    print('users')


def closed_for(reason):
    with urllib.request.urlopen(f'http://127.0.0.1:{PLAIN}/metrics', timeout=5) as answer:
        return int(float(re.search(rb'^cairn_client_connections_closed_total\{reason="' + reason + rb'"\} (\S+)', answer.read(), re.M).group(1)))


def stalled(port):
    c = Connection(port)
    good, before = follow(c), closed_for(b'output_stalled')
    slow = follow(c)
    slow.stream.window_by_hand = True
    # An event stream has the same limit.
    events = c.open([(':method', 'GET'), (':scheme', 'http'), (':path', '/api/v1/stream?kind=service&name=busy'), (':authority', c.authority)], True)
    assert events.status() == 200
    events.window_by_hand = True
    began, i = time.monotonic(), 0
    while slow.stream.reset is None or events.reset is None:
        delta(good, change(PLAIN, i))
        slow.say(type='heartbeat')
        i += 1
        assert time.monotonic() < began + 40, 'streams that are not read are never reset'
    assert (slow.stream.reset, events.reset) == (8, 8)
    assert closed_for(b'output_stalled') == before + 2
    delta(good, change(PLAIN, i))
    c.close()
    print('stalled')


def limit(port):
    c = Connection(port)
    assert c.settings[MAX_CONCURRENT_STREAMS] == 100, c.settings
    opened = [WebSocket(c) for _ in range(100)]
    refused = c.connect()
    assert refused.status() == 'reset 7', refused.status()
    opened[50].close()
    WebSocket(c)
    c.close()
    print('limit')


def leave(port, path):
    c = Connection(port)
    native, watch = follow(c), WebSocket(c, '/v3/watch', protocol='x', hello=False)
    watch.say(create_request={'key': b64('h2')})
    assert watch.hear()['result']['created']
    with open(path, 'w', encoding='ascii') as f:
        f.write('ready')
    while (f := native.hear())['type'] != 'goaway':
        pass
    assert f['after_ms'] >= 0, f
    for s, statuses in (native, (1001,)), (watch, (1000, 1001)):  # a watch may end first, and then its stream
        try:
            while True:
                s.hear()
        except Closed as e:
            assert e.args[0] in statuses, e
        c.until(lambda: s.stream.has_ended)
    try:
        c.until(lambda: False)
    except Closed as e:
        assert e.args[0] == 'end' or isinstance(e.args[0], ConnectionResetError), e
    assert c.goaway is not None and c.goaway[1] == 0, c.goaway
    print('left')


if __name__ == '__main__':
    PLAIN = int(os.environ['PLAIN_PORT'])
    if sys.argv[1] == 'trials':
        trials(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else None)
    elif sys.argv[1] == 'users':
        users(int(sys.argv[2]), sys.argv[3])
    elif sys.argv[1] == 'stalled':
        stalled(int(sys.argv[2]))
    elif sys.argv[1] == 'limit':
        limit(int(sys.argv[2]))
    else:
        leave(int(sys.argv[2]), sys.argv[3])
