#!/usr/bin/env python3
"""Tries the peer port's cells of the table of permissions, frame by frame: peer.py ACCESS SERVER.json

An independent client of the peer protocol (consensus/peer/README.md), which shows no proof, a wrong token or the right one, as a member, as
a process that is none, as a removed member, for another cluster. Dial-back and mutual TLS are tried by tests/e2e/ with real members.
"""
import hashlib, hmac, json, os, socket, struct, subprocess, sys, time

TIMEOUT_S, VERSION = 60, 2
MAGIC = b'\0CAIRN\r\n'
HELLO, REPLY, MESSAGE, PING, PONG, QUESTION, ANSWER, CHALLENGE, PROOF = range(1, 10)
LOG, BULK, QUERY = 0, 1, 255
REASONS = ['welcome', 'version', 'not ready', 'wrong cluster', 'wrong member', 'removed', 'too many', 'certificate', 'unknown member', 'unproved',
           'level']
KINDS = {'WHO': 0, 'CLAIM': 1, 'REPLACE': 2, 'ADD': 3}
CRC = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82f63b78 if n & 1 else 0)
    CRC.append(n)


def crc32c(data):
    c = 0xffffffff
    for b in data:
        c = CRC[(c ^ b) & 255] ^ c >> 8
    return c ^ 0xffffffff


def frame(kind, payload=b''):
    head = struct.pack('<I', len(payload))[:3] + bytes([kind]) + struct.pack('<I', crc32c(payload))
    return head + struct.pack('<I', crc32c(head)) + payload


def varint(n):
    out = b''
    while n > 127:
        out, n = out + bytes([n & 127 | 128]), n >> 7
    return out + bytes([n])


def fields(message):
    """Numbers and texts of a protobuf message, the last of each."""
    at, out = 0, {}

    def number():
        nonlocal at
        value = shift = 0
        while True:
            b, at = message[at], at + 1
            value, shift = value | (b & 127) << shift, shift + 7
            if b < 128:
                return value
    while at < len(message):
        key = number()
        if key & 7 == 0:
            out[key >> 3] = number()
        elif key & 7 == 1:
            out[key >> 3], at = struct.unpack_from('<Q', message, at)[0], at + 8
        else:
            size = number()
            out[key >> 3], at = message[at:at + size], at + size
    return out


class Peer:
    """One connection. token None: no proof is shown."""

    def __init__(self, port, stream, cluster, sender, to, token, url='', level=0):
        self.s = socket.create_connection(('127.0.0.1', port), timeout=TIMEOUT_S)
        self.buffer, self.token, self.url, self.level = b'', token, url.encode(), level
        self.ids, self.stream, self.nonce = (cluster, sender, to, int.from_bytes(os.urandom(7), 'big'), 1), stream, os.urandom(32)
        self.send(HELLO, MAGIC + struct.pack('<HBBI5QH', VERSION, stream, 0, level, *self.ids, len(self.url)) + self.nonce + self.url)

    def send(self, kind, payload=b''):
        try:
            self.s.sendall(frame(kind, payload))
        except ConnectionError:
            pass

    def next(self):
        """Kind and payload, or None when the server has closed."""
        def take(n):
            while len(self.buffer) < n:
                data = self.s.recv(65536)
                if not data:
                    raise ConnectionError
                self.buffer += data
            taken, self.buffer = self.buffer[:n], self.buffer[n:]
            return taken
        try:
            head = take(12)
            return head[3], take(int.from_bytes(head[:3], 'little'))
        except ConnectionError:
            return None

    def mac(self, text):
        if not self.token:
            return bytes(32)
        fixed = b'cairn peer dialer'.ljust(24, b'\0') + struct.pack('<HBB5Q', VERSION, self.stream, 0, *self.ids) + self.nonce + \
            self.challenge[4:36] + struct.pack('<I', len(self.url)) + hashlib.sha256(text).digest()
        return hmac.new(self.token.encode(), fixed + self.url, hashlib.sha256).digest()

    def prove(self, text=b''):
        """False: the server answered the hello with something else than a challenge."""
        got = self.next()
        if not got or got[0] != CHALLENGE:
            self.refusal = 'closed' if not got else REASONS[got[1][2]] if got[0] == REPLY else f'frame {got[0]}'
            return False
        self.challenge = got[1]
        self.send(QUESTION if self.stream == QUERY else PROOF, self.mac(text) + text)
        return True

    def open(self):
        """welcome, or why not."""
        if not self.prove():
            return self.refusal
        got = self.next()
        return REASONS[got[1][2]] if got and got[0] == REPLY else 'closed'

    def ask(self, kind, member, name):
        text = (b'\x08' + varint(kind) if kind else b'') + b'\x11' + bytes(8) + b'\x1a' + varint(len(name)) + name.encode() + \
            b'\x22' + varint(len(self.url)) + self.url + b'\x28' + varint(self.ids[0] or self.cluster) + \
            b'\x30' + varint(member) + b'\x38' + varint(self.level)
        if not self.prove(text):
            return self.refusal
        got = self.next()
        return fields(got[1]) if got and got[0] == ANSWER else 'closed'

    def close(self):
        self.s.close()


class Cells:
    def __init__(self, access, server):
        self.server, self.cells, self.failures = server, 0, 0
        self.rows = [line.split('\t') for line in subprocess.run([access, 'rows'], check=True, capture_output=True, text=True).stdout.splitlines()]
        self.cluster, self.self = int(server['cluster']), int(server['self'])
        self.added, self.removed = int(server['added']), int(server['removed'])
        self.url, self.level = server['added_url'], int(server['level'])

    def check(self, what, is_right, said):
        self.cells += 1
        if not is_right:
            self.failures += 1
            print(f'  FAIL peer port, {self.server["policy"]}, {what}: {said}')

    def tokens(self):
        right = self.server.get('token')
        return [('no proof', None), ('a wrong token', 'x' * 40)] + ([('the token', right)] if right else [])

    def wait_for_removal(self):
        """The server accepts a removed member for half a second more, so that it learns of its removal."""
        end = time.monotonic() + TIMEOUT_S
        while time.monotonic() < end:
            p = Peer(self.server['peer'], LOG, self.cluster, self.removed, self.self, self.server.get('token'), self.url, self.level)
            said = p.open()
            p.close()
            if said != 'welcome':
                return
            time.sleep(0.05)

    def streams(self):
        for proof, token in self.tokens():
            is_proved = proof == 'the token'
            for stream in (LOG, BULK):
                for who, ids, wanted in (('a member', (self.cluster, self.added, self.self), is_proved),
                                         ('an unknown member', (self.cluster, 77, self.self), is_proved),
                                         ('a removed member', (self.cluster, self.removed, self.self), False),
                                         ('a member of another cluster', (self.cluster + 1, self.added, self.self), False),
                                         ('a member that means another', (self.cluster, self.added, 99), False)):
                    p = Peer(self.server['peer'], stream, *ids, token, self.url, self.level)
                    said = p.open()
                    p.close()
                    self.check(f'stream {stream} as {who} with {proof}', (said == 'welcome') == wanted, said)
                if is_proved:
                    p = Peer(self.server['peer'], stream, self.cluster, self.added, self.self, token, self.url, self.level - 1)
                    said = p.open()
                    p.close()
                    self.check(f'stream {stream} as a member below the level of the cluster', said == 'level', said)

    def frames(self):
        """The server accepts no frame on a connection that was not opened: neither as the first frame, nor after the hello, nor after a
        refusal."""
        bodies = [('', bytes([kind]) + bytes(24)) for kind in range(1, 9)]
        for stage in ('first', 'after the hello', 'after a proof that is none'):
            for kind in (MESSAGE, PING, PONG, ANSWER, REPLY):
                for _, body in bodies if kind == MESSAGE else [('', bytes(32))]:
                    p = Peer(self.server['peer'], LOG, self.cluster, self.added, self.self, None, self.url) if stage != 'first' else \
                        Peer.__new__(Peer)
                    if stage == 'first':
                        p.s, p.buffer = socket.create_connection(('127.0.0.1', self.server['peer']), timeout=TIMEOUT_S), b''
                    elif stage == 'after the hello':
                        p.next()
                    else:
                        p.prove()
                    p.send(kind, body)
                    said = []
                    while (got := p.next()):
                        said.append((got[0], REASONS[got[1][2]] if got[0] == REPLY else ''))
                    p.close()
                    self.check(f'frame {kind} {body[:1].hex()} {stage}', all(k == CHALLENGE or (k == REPLY and r != 'welcome') for k, r in said), said)

    def queries(self):
        is_required = self.server['policy'] == '--require-peer-proof'
        for row in (r for r in self.rows if r[0] == 'QUERY'):
            operation, need = row[1], row[3]
            for proof, token in self.tokens():
                is_served = proof == 'the token' or (need == 'PEER_OPEN' and not is_required)
                name = f'q-{operation}-{len(proof)}'
                p = Peer(self.server['peer'], QUERY, 0, 0, 0, token, self.url if operation in ('CLAIM', 'REPLACE') else 'http://127.0.0.1:9',
                         self.level)
                p.cluster = self.cluster
                answer = p.ask(KINDS[operation], self.added, name)
                p.close()
                if operation == 'WHO':
                    self.check(f'{operation} with {proof}', (isinstance(answer, dict) and answer.get(2) == 2) == is_served, answer)
                elif is_served:  # LATER is no refusal: the cluster may be busy with the previous change
                    self.check(f'{operation} with {proof}', isinstance(answer, dict) and answer.get(16) in (1, 2), answer)
                else:
                    self.check(f'{operation} with {proof}', not isinstance(answer, dict) or answer.get(16) in (2, 3), answer)

    def members(self):
        """The members of the cluster at the end: only processes that showed a proof were added."""
        url = f'http://127.0.0.1:{self.server["client"]}/v3/cluster/member/list'
        import urllib.request
        list_ = json.load(urllib.request.urlopen(urllib.request.Request(url, b'{}'), timeout=TIMEOUT_S))['members']
        names = sorted(m.get('name', '') for m in list_)
        allowed = {'default', '', f'q-CLAIM-{len("the token")}', f'q-ADD-{len("the token")}', f'q-REPLACE-{len("the token")}'}
        self.check('members after it all', set(names) <= allowed and len(names) <= 3, names)


def main():
    c = Cells(sys.argv[1], json.load(open(sys.argv[2])))
    c.wait_for_removal()
    c.streams()
    c.frames()
    c.queries()
    c.members()
    print(f'matrix: peer port, {c.server["policy"]}: {c.cells} cells, {c.failures} failed')
    return c.failures != 0


sys.exit(main())
