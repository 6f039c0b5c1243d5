"""A client of HTTP/2 with plain sockets, for tests: streams, windows that open by hand or by themselves, WebSockets by extended
CONNECT (RFC 8441). Single-threaded: bytes are read while something is awaited."""
import os, socket, ssl, struct, sys, time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import stream_client  # noqa: E402
from stream_client import Closed  # noqa: E402

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED = 1, 1, 4, 8
INITIAL_WINDOW_SIZE, MAX_CONCURRENT_STREAMS, ENABLE_CONNECT_PROTOCOL = 4, 3, 8
STATIC = {8: '200', 9: '204', 10: '206', 11: '304', 12: '400', 13: '404', 14: '500'}


def frame(kind, flags, stream, payload=b''):
    return struct.pack('!I', len(payload))[1:] + struct.pack('!BBI', kind, flags, stream) + payload


def integer(n, bits):
    most = (1 << bits) - 1
    if n < most:
        return bytes([n])
    out, n = [most], n - most
    while n >= 128:
        out.append(n & 127 | 128)
        n >>= 7
    return bytes([*out, n])


def block(fields):
    """Fields as literals that no table remembers."""
    out = b''
    for name, value in fields:
        name, value = name.encode(), value.encode('latin-1')
        out += b'\0' + integer(len(name), 7) + name + integer(len(value), 7) + value
    return out


def read_block(data):
    """The server's blocks: literals, and indexed fields of the static table. Names to values."""
    fields, at = {}, 0

    def text():
        nonlocal at
        n, at = data[at], at + 1
        assert n < 128, 'Huffman'
        if n == 127:
            shift = 0
            while True:
                more, at = data[at], at + 1
                n += (more & 127) << shift
                shift += 7
                if more < 128:
                    break
        at += n
        return data[at - n:at].decode('latin-1')
    while at < len(data):
        first, at = data[at], at + 1
        if first & 0x80:
            fields[':status'] = STATIC[first & 0x7f]
        elif first != 0x20:
            assert first == 0, first
            name = text()
            fields[name] = text()
    return fields


class Stream:
    """One stream. `window_by_hand`: the server may send what the window has, until give() opens it."""

    def __init__(self, connection, number):
        self.c, self.number = connection, number
        self.fields, self.data, self.has_ended, self.reset = None, b'', False, None
        self.window_by_hand, self.given, self.received = False, 0, 0

    def send(self, data, end=False, padding=None):
        flags = END_STREAM if end else 0
        if padding is not None:
            data, flags = bytes([padding]) + data + b'\0' * padding, flags | PADDED
        self.c.write(frame(DATA, flags, self.number, data))

    def cancel(self, code=8):
        self.c.write(frame(RST_STREAM, 0, self.number, struct.pack('!I', code)))
        self.c.streams.pop(self.number, None)

    def give(self, n):
        self.c.write(frame(WINDOW_UPDATE, 0, self.number, struct.pack('!I', n)))

    def status(self):
        self.c.until(lambda: self.fields is not None or self.reset is not None)
        return int(self.fields[':status']) if self.fields else f'reset {self.reset}'

    def body(self):
        self.c.until(lambda: self.has_ended or self.reset is not None)
        return self.data


class Connection:
    def __init__(self, port, tls=None, settings=(), timeout=30):
        self.s = socket.create_connection(('127.0.0.1', port), timeout=timeout)
        self.s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            context = ssl.create_default_context(cafile=tls)
            context.set_alpn_protocols(['h2'])
            self.s = context.wrap_socket(self.s, server_hostname='127.0.0.1')
            assert self.s.selected_alpn_protocol() == 'h2'
        self.scheme = 'https' if tls else 'http'
        self.authority = f'127.0.0.1:{port}'
        self.timeout, self.buffer, self.next = timeout, b'', 1
        self.streams, self.settings, self.goaway = {}, None, None
        self.write(b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' +
                   frame(SETTINGS, 0, 0, b''.join(struct.pack('!HI', *s) for s in settings)) +
                   frame(WINDOW_UPDATE, 0, 0, struct.pack('!I', 1 << 30)))
        self.until(lambda: self.settings is not None)

    def write(self, data):
        self.s.settimeout(self.timeout)
        self.s.sendall(data)

    def until(self, is_so, timeout=None):
        end = time.monotonic() + (timeout or self.timeout)
        while not is_so():
            left = end - time.monotonic()
            if left <= 0:
                raise TimeoutError('nothing came in time')
            self.pump(left)

    def pump(self, timeout):
        """Reads once and handles all whole frames."""
        self.s.settimeout(timeout)
        try:
            data = self.s.recv(1 << 18)
        except ConnectionError as e:
            raise Closed(e)
        if not data:
            raise Closed('end')
        self.buffer += data
        while len(self.buffer) >= 9:
            size = int.from_bytes(self.buffer[:3], 'big')
            if len(self.buffer) < 9 + size:
                break
            kind, flags, number = struct.unpack('!BBI', self.buffer[3:9])
            payload, self.buffer = self.buffer[9:9 + size], self.buffer[9 + size:]
            self.take(kind, flags, number, payload)

    def take(self, kind, flags, number, payload):
        stream = self.streams.get(number)
        if kind == SETTINGS and not flags & ACK:
            self.settings = dict(struct.unpack('!HI', payload[i:i + 6]) for i in range(0, len(payload), 6))
            self.write(frame(SETTINGS, ACK, 0))
        elif kind == PING and not flags & ACK:
            self.write(frame(PING, ACK, 0, payload))
        elif kind == GOAWAY:
            self.goaway = struct.unpack('!II', payload[:8])
        elif stream is None:
            return
        elif kind == HEADERS:
            assert flags & END_HEADERS
            stream.fields = read_block(payload)
            stream.has_ended |= bool(flags & END_STREAM)
        elif kind == DATA:
            stream.data += payload
            stream.received += len(payload)
            stream.has_ended |= bool(flags & END_STREAM)
            if payload and not stream.window_by_hand and not stream.has_ended:
                stream.give(len(payload))
        elif kind == RST_STREAM:
            stream.reset = struct.unpack('!I', payload)[0]
        elif kind == WINDOW_UPDATE:
            stream.given += struct.unpack('!I', payload)[0]

    def open(self, fields, end=False):
        stream, self.next = Stream(self, self.next), self.next + 2
        self.streams[stream.number] = stream
        self.write(frame(HEADERS, END_HEADERS | (END_STREAM if end else 0), stream.number, block(fields)))
        return stream

    def request(self, path, method='GET', more=()):
        """Status and body."""
        stream = self.open([(':method', method), (':scheme', self.scheme), (':path', path), (':authority', self.authority), *more], True)
        status = stream.status()
        return status, stream.body()

    def connect(self, path='/api/v1/stream', more=(), protocol='websocket', version='13'):
        return self.open([(':method', 'CONNECT'), (':protocol', protocol), (':scheme', self.scheme), (':path', path),
                          (':authority', self.authority), ('sec-websocket-version', version), *more])

    def close(self):
        self.s.close()


class WebSocket(stream_client.Stream):
    """The client of stream_client on a stream of HTTP/2."""

    def __init__(self, connection, path='/api/v1/stream', protocol='cairn.v1+json', more=(), hello=True):
        self.c, self.buffer, self.s = connection, b'', self
        self.stream = connection.connect(path, [('sec-websocket-protocol', protocol), *more])
        if self.stream.status() != 200:
            raise Closed((self.stream.status(), self.stream.body()))
        self.fields = self.stream.fields
        if hello:
            self.say(type='hello')
            assert self.hear()['type'] == 'welcome'

    def sendall(self, data):
        for at in range(0, len(data), 16384):
            self.stream.send(data[at:at + 16384])

    def settimeout(self, timeout):
        self.c.timeout = timeout

    def fill(self):
        self.c.until(lambda: self.stream.data or self.stream.has_ended or self.stream.reset is not None)
        if not self.stream.data:
            raise Closed('end' if self.stream.has_ended else f'reset {self.stream.reset}')
        self.buffer, self.stream.data = self.buffer + self.stream.data, b''

    def one(self):
        """The next frame of any kind: its first byte and its payload."""
        self.need(2)
        n, head = self.buffer[1] & 127, 2
        if n == 126:
            self.need(4)
            n, head = struct.unpack('!H', self.buffer[2:4])[0], 4
        self.need(head + n)
        first, payload, self.buffer = self.buffer[0], self.buffer[head:head + n], self.buffer[head + n:]
        return first, payload

    def close(self):
        if not self.stream.has_ended and self.stream.reset is None:
            self.stream.cancel()
