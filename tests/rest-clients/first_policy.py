"""Makes the first policy, with a history."""

import json
import urllib.request

import receiver

policy = {"name": "first", "enabled": True, "event_types": ["PUSH_ARTIFACT"],
          "targets": [{"type": "http", "address": receiver.start()}]}
request = urllib.request.Request(f"{receiver.API}/api/v2.0/projects/{receiver.PROJECT}/webhook/policies",
                                 json.dumps(policy).encode(), method="POST")
request.add_header("Authorization", f"Bearer {receiver.TOKEN}")
with urllib.request.urlopen(request, timeout=10) as answer:
    assert answer.headers["Location"].endswith("/1"), answer.headers
receiver.send_test(1)
