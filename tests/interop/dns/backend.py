# SPDX-License-Identifier: Apache-2.0
"""A backend that says at which address it was reached: backend.py ADDRESS PORT"""
import http.server
import sys


class Backend(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = (sys.argv[1] + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer((sys.argv[1], int(sys.argv[2])), Backend).serve_forever()
