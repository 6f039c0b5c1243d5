# SPDX-License-Identifier: Apache-2.0
"""A WebSocket client (RFC 6455) for JSON texts, on the standard library alone."""
import base64
import hashlib
import json
import os
import socket
import struct

CONTINUATION, TEXT, CLOSE, PING, PONG = 0, 1, 8, 9, 10


class Closed(OSError):
    """The connection is over."""


class WebSocket:
    """One connection. send() and receive() take and give what JSON has; receive() gives None at a time-out."""

    def __init__(self, host, port, path, protocol, timeout_s=10.0):
        self.bytes = b""
        self.message = b""
        self.socket = socket.create_connection((host, port), timeout_s)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            (f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
             f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
             f"Sec-WebSocket-Protocol: {protocol}\r\n\r\n").encode())
        while b"\r\n\r\n" not in self.bytes:
            self._read()
        head, self.bytes = self.bytes.split(b"\r\n\r\n", 1)
        accept = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        if not head.startswith(b"HTTP/1.1 101 ") or base64.b64encode(accept) not in head:
            raise Closed(head.decode("latin-1").split("\r\n")[0])

    def close(self):
        self.socket.close()

    def send(self, value):
        self._send(TEXT, json.dumps(value).encode())

    def receive(self, timeout_s):
        self.socket.settimeout(timeout_s)
        try:
            while True:
                text = self._frame()
                if text is not None:
                    return json.loads(text)
        except TimeoutError:  # the bytes of an incomplete frame are kept
            return None

    def _send(self, opcode, payload):
        mask = os.urandom(4)
        size = len(payload)
        head = bytes([0x80 | opcode])
        if size < 126:
            head += bytes([0x80 | size])
        elif size < 65536:
            head += bytes([0x80 | 126]) + struct.pack(">H", size)
        else:
            head += bytes([0x80 | 127]) + struct.pack(">Q", size)
        self.socket.settimeout(10.0)
        self.socket.sendall(head + mask + bytes(b ^ mask[i & 3] for i, b in enumerate(payload)))

    def _read(self):
        more = self.socket.recv(65536)
        if not more:
            raise Closed("the server has closed the connection")
        self.bytes += more

    def _need(self, size):
        while len(self.bytes) < size:
            self._read()

    def _frame(self):
        """A whole message, or None when the frame was none or not the last of one."""
        self._need(2)
        opcode, size, at = self.bytes[0] & 15, self.bytes[1] & 127, 2
        if size == 126:
            self._need(4)
            size, at = struct.unpack(">H", self.bytes[2:4])[0], 4
        elif size == 127:
            self._need(10)
            size, at = struct.unpack(">Q", self.bytes[2:10])[0], 10
        self._need(at + size)
        is_last, payload = self.bytes[0] & 0x80, self.bytes[at:at + size]
        self.bytes = self.bytes[at + size:]
        if opcode == CLOSE:
            raise Closed("closed: " + payload[2:].decode(errors="replace"))
        if opcode == PING:
            self._send(PONG, payload)
        if opcode not in (TEXT, CONTINUATION):
            return None
        self.message += payload
        if not is_last:
            return None
        message, self.message = self.message, b""
        return message
