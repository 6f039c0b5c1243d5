"""Clients of each surface with plain sockets, for matrix.py: gRPC over HTTP/2, HTTP/1.1, WebSocket, Server-Sent Events, DNS.

Each connects plainly or through an ssl context, and returns the server's response; none of them retries.
"""
import base64, http.client, json, os, socket, ssl, struct

TIMEOUT_S = 60


class Tls:
    """One identity; a context for each protocol, as ALPN is a context's."""

    def __init__(self, ca, cert=None, key=None):
        self.contexts = {}
        for alpn in ('h2', 'http/1.1'):
            context = ssl.create_default_context(cafile=ca)
            context.set_alpn_protocols([alpn])
            if cert:
                context.load_cert_chain(cert, key)
            self.contexts[alpn] = context


def connect(port, tls=None, alpn='http/1.1'):
    s = socket.create_connection(('127.0.0.1', port), timeout=TIMEOUT_S)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return tls.contexts[alpn].wrap_socket(s, server_hostname='127.0.0.1') if tls else s


class Bytes:
    """The input of a socket, read in pieces of known size."""

    def __init__(self, s):
        self.s, self.buffer = s, b''

    def more(self):
        data = self.s.recv(65536)
        if not data:
            raise ConnectionError('the server closed the connection')
        self.buffer += data

    def take(self, n):
        while len(self.buffer) < n:
            self.more()
        taken, self.buffer = self.buffer[:n], self.buffer[n:]
        return taken

    def line(self):
        while b'\n' not in self.buffer:
            self.more()
        at = self.buffer.index(b'\n') + 1
        return self.take(at)


# --- gRPC ------------------------------------------------------------------------------------------------------------------
DATA, HEADERS, RST, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8


def literal(name, value):
    def text(t):
        t = t.encode()
        if len(t) < 127:
            return bytes([len(t)]) + t
        rest, out = len(t) - 127, [127]
        while rest >= 128:
            out.append(rest & 127 | 128)
            rest >>= 7
        return bytes(out + [rest]) + t
    return b'\0' + text(name) + text(value)


def fields(block):
    """A header block of our server: no Huffman code, and, as we take no dynamic table, no names from there."""
    at, out = 0, {}

    def number(bits):
        nonlocal at
        value, at = block[at] & (1 << bits) - 1, at + 1
        shift = 0
        while value >= (1 << bits) - 1 and (shift == 0 or block[at - 1] & 128):
            value, at, shift = value + ((block[at] & 127) << shift), at + 1, shift + 7
        return value

    def text():
        nonlocal at
        size = number(7)
        at += size
        return block[at - size:at].decode()

    while at < len(block):
        first = block[at]
        if first & 0x80:  # of the static table, of which our server uses the status alone
            out[':status'] = {8: '200', 9: '204', 12: '400', 13: '404', 14: '500'}.get(number(7), '?')
        elif first & 0xe0 == 0x20:
            number(5)
        else:
            index = number(4)
            name = f'static {index}' if index else text()
            out[name] = text()
    return out


class Grpc:
    def __init__(self, port, tls=None):
        self.s = connect(port, tls, 'h2')
        self.b, self.id = Bytes(self.s), -1
        self.s.sendall(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + self.frame(SETTINGS, 0, 0, struct.pack('!HIHI', 1, 0, 4, 0x7fffffff)) +
                       self.frame(WINDOW, 0, 0, struct.pack('!I', 0x7fff0000)))

    @staticmethod
    def frame(kind, flags, stream, payload=b''):
        return struct.pack('!I', len(payload))[1:] + struct.pack('!BBI', kind, flags, stream) + payload

    def next(self):
        head = self.b.take(9)
        kind, flags, stream = struct.unpack('!BBI', head[3:])
        payload = self.b.take(int.from_bytes(head[:3], 'big'))
        if kind == SETTINGS and not flags & 1:
            self.s.sendall(self.frame(SETTINGS, 1, 0))
        elif kind == PING and not flags & 1:
            self.s.sendall(self.frame(PING, 1, 0, payload))
        elif kind == GOAWAY:
            raise ConnectionError(f'GOAWAY {payload!r}')
        return kind, flags, stream, payload

    def call(self, path, message, token=None, waits=True):
        """Status, text and body of the first response. The client leaves a stream after its first message."""
        self.id += 2
        head = [(':method', 'POST'), (':scheme', 'http'), (':path', path), (':authority', '127.0.0.1'), ('te', 'trailers'),
                ('content-type', 'application/grpc')] + ([('token', token)] if token else [])
        self.s.sendall(self.frame(HEADERS, 4, self.id, b''.join(literal(n, v) for n, v in head)) +
                       self.frame(DATA, 1, self.id, b'\0' + struct.pack('!I', len(message)) + message))
        body = b''
        while True:
            kind, flags, stream, payload = self.next()
            if stream != self.id:
                continue
            if kind == DATA:
                body += payload
                if not waits and len(body) >= 5:
                    self.s.sendall(self.frame(RST, 0, self.id, struct.pack('!I', 8)))
                    return 0, '', body
            elif kind == HEADERS and flags & 1:
                f = fields(payload)
                return int(f.get('grpc-status', -1)), f.get('grpc-message', ''), body
            elif kind == RST:
                return -1, 'the stream was reset', body

    def close(self):
        self.s.close()


# --- HTTP ------------------------------------------------------------------------------------------------------------------
class Http:
    """One connection at a time, opened again when the server closes it."""

    def __init__(self, port, tls=None):
        self.port, self.context, self.c = port, tls and tls.contexts['http/1.1'], None

    def call(self, method, path, body=None, authorization=None, headers=()):
        head = dict(headers)
        if authorization:
            head['Authorization'] = authorization
        for is_last in (False, True):
            if not self.c:
                self.c = http.client.HTTPSConnection('127.0.0.1', self.port, timeout=TIMEOUT_S, context=self.context) if self.context \
                    else http.client.HTTPConnection('127.0.0.1', self.port, timeout=TIMEOUT_S)
            try:
                self.c.request(method, path, body, head)
                answer = self.c.getresponse()
                text = answer.read()
                if answer.will_close:
                    self.close()
                return answer.status, text.decode('utf-8', 'replace')
            except (ConnectionError, http.client.HTTPException):
                self.close()
                if is_last:
                    raise

    def first(self, method, path, body=None, authorization=None, enough=lambda text: True):
        """Status and the beginning of an answer that need not end."""
        c = http.client.HTTPSConnection('127.0.0.1', self.port, timeout=TIMEOUT_S, context=self.context) if self.context \
            else http.client.HTTPConnection('127.0.0.1', self.port, timeout=TIMEOUT_S)
        c.request(method, path, body, {'Authorization': authorization} if authorization else {})
        answer, text = c.getresponse(), ''
        while answer.status == 200:
            line = answer.readline().decode('utf-8', 'replace')
            text += line
            if not line or enough(text):
                break
        if answer.status != 200:
            text = answer.read().decode('utf-8', 'replace')
        c.close()
        return answer.status, text

    def close(self):
        if self.c:
            self.c.close()
        self.c = None


# --- WebSocket -------------------------------------------------------------------------------------------------------------
class WebSocket:
    def __init__(self, port, tls=None, path='/api/v1/stream', authorization=None, protocol='cairn.v1+json'):
        self.s = connect(port, tls)
        self.b = Bytes(self.s)
        key = base64.b64encode(os.urandom(16)).decode()
        more = (f'Authorization: {authorization}\r\n' if authorization else '') + \
            (f'Sec-WebSocket-Protocol: {protocol}\r\n' if protocol else '')
        self.s.sendall((f'GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n'
                        f'Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n'
                        f'{more}\r\n').encode())
        self.status = int(self.b.line().split()[1])
        while self.b.line().strip():
            pass

    def say(self, frame):
        payload, mask = json.dumps(frame).encode(), os.urandom(4)
        n = len(payload)
        head = struct.pack('!BB', 0x81, 0x80 | n) if n < 126 else struct.pack('!BBH', 0x81, 0xfe, n)
        self.s.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))

    def hear(self):
        """The next frame, or None when the server has closed."""
        while True:
            try:
                first, n = self.b.take(2)
                if n == 126:
                    n = struct.unpack('!H', self.b.take(2))[0]
                elif n == 127:
                    n = struct.unpack('!Q', self.b.take(8))[0]
                payload = self.b.take(n)
            except ConnectionError:
                return None
            if first & 15 == 8:
                return None
            if first & 15 == 1:
                return json.loads(payload)

    def close(self):
        self.s.close()


# --- DNS -------------------------------------------------------------------------------------------------------------------
TYPES = {'A': 1, 'NS': 2, 'SOA': 6, 'PTR': 12, 'TXT': 16, 'AAAA': 28, 'SRV': 33, 'ANY': 255}


def dns(port, name, kind):
    """The response code and the types of the answer's records."""
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    labels = b''.join(bytes([len(part)]) + part.encode() for part in name.strip('.').split('.')) + b'\0'
    query = struct.pack('!HHHHHH', 7, 0, 1, 0, 0, 0) + labels + struct.pack('!HH', TYPES[kind], 1)
    answer = None
    for _ in range(TIMEOUT_S):
        s.sendto(query, ('127.0.0.1', port))
        s.settimeout(1)
        try:
            answer = s.recv(4096)
            break
        except TimeoutError:
            continue
    s.close()
    if answer is None:
        raise TimeoutError('no DNS answer')
    flags, count = struct.unpack('!H', answer[2:4])[0], struct.unpack('!H', answer[6:8])[0]
    at, types = 12 + len(labels) + 4, []
    for _ in range(count):
        while answer[at] and answer[at] < 0xc0:
            at += 1 + answer[at]
        at += 2 if answer[at] else 1
        types.append(struct.unpack('!H', answer[at:at + 2])[0])
        at += 10 + struct.unpack('!H', answer[at + 8:at + 10])[0]
    return flags & 15, types
