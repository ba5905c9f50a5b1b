"""A receiver of webhooks, and a test that is sent to it, so that there is a history to read."""

import base64
import http.server
import json
import os
import threading
import time
import urllib.request

API = os.environ["API"]
TOKEN = os.environ["TOKEN"]
PROJECT = "library"


class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


def start():
    """Starts it, and gives its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/hook"


def send_test(policy):
    """Has a test sent to a policy, and waits until it was taken."""
    call("POST", f"/projects/{PROJECT}/policies/{policy}/test", {})
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        taken = call("GET", f"/projects/{PROJECT}/deliveries?policy_id={policy}&state=delivered")
        if taken:
            return
        time.sleep(0.05)
    raise AssertionError("the test was not delivered")


def call(method, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(f"{API}/api/webhooks/v1{path}", data, method=method)
    request.add_header("Authorization", "Basic " + base64.b64encode(f"admin:{TOKEN}".encode()).decode())
    with urllib.request.urlopen(request, timeout=10) as answer:
        return json.load(answer)
