#!/usr/bin/env python3
"""check_server.py PORT TLS_PORT TRAP_PORT DIR: instances for tests/e2e/checks.sh on 127.0.0.2.

PORT answers /ok, /busy, /broken and /go, a redirect to the trap. TLS_PORT answers /ok with DIR/cert.pem. The trap listens on
every address of the machine: each connection to it adds a line to DIR/trapped. DIR/ready exists when all of them listen."""
import http.server
import socket
import ssl
import sys
import threading

port, tls_port, trap_port, folder = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
STATUS = {"/ok": 200, "/busy": 429, "/broken": 500, "/go": 302}


class Instance(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(STATUS.get(self.path, 404))
        if self.path == "/go":
            self.send_header("Location", f"http://127.0.0.2:{trap_port}/")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *arguments):
        pass


def trap(listener):
    while True:
        connection, source = listener.accept()
        with open(f"{folder}/trapped", "a") as file:
            file.write(f"{source}\n")
        connection.close()


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        """A client that refuses the certificate is expected."""


def main():
    listener = socket.create_server(("", trap_port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=trap, args=(listener,), daemon=True).start()
    sealed = Server(("127.0.0.2", tls_port), Instance)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{folder}/cert.pem", f"{folder}/key.pem")
    sealed.socket = context.wrap_socket(sealed.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=sealed.serve_forever, daemon=True).start()
    server = Server(("127.0.0.2", port), Instance)
    open(f"{folder}/ready", "w").close()
    server.serve_forever()


main()
