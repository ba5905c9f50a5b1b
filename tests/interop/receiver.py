"""A receiver that verifies with the Python library of Standard Webhooks, and answers 204, or 401 with the reason."""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks.webhooks import Webhook

webhook = Webhook(sys.argv[1])


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            webhook.verify(body.decode(), {name.lower(): value for name, value in self.headers.items()})
            status, reason = 204, b""
        except Exception as error:
            status, reason = 401, repr(error).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(reason)))
        self.end_headers()
        self.wfile.write(reason)

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
