"""An HTTP server that hands requests on to another, slowly or wrongly when it is told to.

Usage: python faulty_proxy.py TARGET ORDERS

It prints the port that it listens on, which the system chooses. ORDERS is a JSON file, read at every request:
``status`` is answered in place of an answer to GETs with ``only`` in their path (default all), for the next
``count`` (default without end) ``after`` so many; ``hang`` waits with every GET for so many seconds and then
closes; ``cut`` sends only half of what there is; ``together`` lets every GET wait until so many have come.
Every request is noted in ORDERS with the suffix .log.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

TARGET, ORDERS = urlsplit(sys.argv[1]).netloc, Path(sys.argv[2])
_LOCK = threading.Lock()
_ASKED: dict[str, int] = {}
"""GETs since an order was given, by the order."""
_GATES: dict[str, threading.Barrier] = {}
"""Where GETs wait for each other, by the order."""


class Proxy(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        text = ORDERS.read_text("utf-8")
        orders = json.loads(text)
        with _LOCK:
            asked = _ASKED[text] = _ASKED.get(text, 0) + 1
            gate = _GATES.setdefault(text, threading.Barrier(orders.get("together", 1)))
        if self.command == "GET":
            gate.wait(600)
        if self.command == "GET" and "hang" in orders:
            time.sleep(orders["hang"])
            self.close_connection = True
            return
        asked -= orders.get("after", 0)
        fails = "status" in orders and 0 < asked <= orders.get("count", asked)
        if self.command == "GET" and fails and orders.get("only", "") in self.path:
            self._answer(orders["status"], {"Content-Type": "application/xml"}, _SLOW_DOWN)
            return
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        there = http.client.HTTPConnection(TARGET, timeout=600)
        there.request(self.command, self.path, body, dict(self.headers))
        response = there.getresponse()
        data = response.read()
        there.close()
        headers = {k: v for k, v in response.getheaders() if k.lower() not in _OWN}
        if self.command == "HEAD":
            headers["Content-Length"] = response.headers.get("Content-Length", "0")
        self._answer(response.status, headers, data, cut=self.command == "GET" and orders.get("cut", False))

    do_HEAD = do_PUT = do_POST = do_GET

    def _answer(self, status: int, headers: dict[str, str], data: bytes, *, cut: bool = False) -> None:
        with _LOCK, ORDERS.with_suffix(".log").open("a", encoding="utf-8") as log:
            log.write(json.dumps([status, self.command, self.path]) + "\n")
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(data))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


_SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
"""What S3 says with a 503; s3fs asks again in silence when it reads that."""
_OWN = {"content-length", "transfer-encoding", "connection", "date", "server"}

if __name__ == "__main__":
    ThreadingHTTPServer.daemon_threads = True
    ThreadingHTTPServer.request_queue_size = 256
    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        print(server.server_port, flush=True)
        server.serve_forever()
