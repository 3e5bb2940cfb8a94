"""A server that speaks the OpenAI protocol and captions by arithmetic, as a process of its own on loopback.

    with caption_server() as url:                  # http://127.0.0.1:PORT/v1
        order(url, {"status": 429, "headers": {"Retry-After": "1"}, "count": 3})
        ...
        assert seen(url)["most_at_once"] <= 8

It decodes the picture that it was sent and answers ``TEXT`` with the picture's size, its mean colour and the
prompt, so that a test sees that the right picture got the right answer. Told to, it answers wrongly, late or
not at all: see ``order``. Usage by hand: python caption_server.py [PORT] [--model NAME] [--key KEY]
[--latency SECONDS] [--text TEXT]; it prints its URL.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import io
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from PIL import Image

MODEL = "arithmetic-captioner"
TEXT = "A picture of {width} by {height} pixels whose mean colour is {red}, {green}, {blue}. Asked: {prompt}"


@dataclass
class CaptionServer:
    """A running server. ``kill`` ends it as a crash would; ``start`` again takes the same port."""

    words: tuple[str, ...]
    port: int = 0
    process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def start(self) -> CaptionServer:
        command = [sys.executable, str(Path(__file__).resolve()), str(self.port), *self.words]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        url = self.process.stdout.readline().strip()
        assert url, "the caption server did not start"
        self.port = int(url.removesuffix("/v1").rpartition(":")[2])
        return self

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None


@contextlib.contextmanager
def running(
    *, model: str = MODEL, key: str = "", latency: float = 0.0, text: str = TEXT, port: int = 0
) -> Iterator[CaptionServer]:
    """A server that can be killed and started again."""
    words = ("--model", model, "--key", key, "--latency", str(latency), "--text", text)
    server = CaptionServer(words, port).start()
    try:
        yield server
    finally:
        server.kill()


@contextlib.contextmanager
def caption_server(
    *, model: str = MODEL, key: str = "", latency: float = 0.0, text: str = TEXT
) -> Iterator[str]:
    """The URL of a server that is there until the end of the block."""
    with running(model=model, key=key, latency=latency, text=text) as server:
        yield server.url


def order(url: str, *faults: Mapping[str, Any], **settings: Any) -> None:
    """Replace the faults of a server; ``settings`` may be model, latency, text, together, answers.

    ``together`` lets requests wait until so many have been there at once, ``answers`` those that come after
    so many answers: a test then knows what is on its way, however fast or slow the machine is.

    A fault is a table. Which requests it meets: "count" (how many; default all), "every" (each n-th of those
    that it could meet), "match" (text in the prompt), "path" ("models" for GET; default "chat"). What they
    get: "status", "headers", "body" (text, or plain data that is sent as JSON), "message" (changes of the
    right answer's message, such as {"refusal": "No."}), "choice" (changes of its choice), "wait" (seconds
    before), "end" ("reset", "half" of the body, "die": the whole server).
    """
    body = json.dumps({"faults": faults, **settings}).encode()
    with urllib.request.urlopen(urllib.request.Request(_admin(url), body, method="POST"), timeout=30):
        pass


def seen(url: str) -> dict[str, Any]:
    """What a server has met so far: "requests" and "answered" (of chats), "most_at_once", "bodies" (each
    without its picture), "headers", "pictures" (format and size)."""
    with urllib.request.urlopen(_admin(url), timeout=30) as response:
        return dict(json.load(response))


def _admin(url: str) -> str:
    return url.removesuffix("/v1") + "/admin"


class _State:
    """What the server was told and what it has met."""

    def __init__(self, settings: argparse.Namespace) -> None:
        self.lock = threading.Condition()
        self.model, self.key, self.latency, self.text = (
            settings.model,
            settings.key,
            settings.latency,
            settings.text,
        )
        self.faults: list[dict[str, Any]] = []
        self.together, self.answers = 0, 1 << 60
        self.at_once = self.let_through = 0
        self.seen: dict[str, Any] = {
            "requests": 0,
            "answered": 0,
            "most_at_once": 0,
            "bodies": [],
            "headers": [],
            "pictures": [],
        }

    def obey(self, orders: dict[str, Any]) -> None:
        with self.lock:
            self.faults = [{"met": 0, "done": 0, **fault} for fault in orders.pop("faults")]
            for name, value in orders.items():
                setattr(self, name, value)
            self.lock.notify_all()

    def fault(self, path: str, prompt: str) -> dict[str, Any] | None:
        """The first fault that this request meets."""
        with self.lock:
            for fault in self.faults:
                if fault.get("path", "chat") != path or fault.get("match", "") not in prompt:
                    continue
                fault["met"] += 1
                if fault["met"] % fault.get("every", 1) or fault["done"] >= fault.get("count", 1 << 60):
                    continue
                fault["done"] += 1
                return fault
        return None

    def enter(self, body: dict[str, Any], headers: dict[str, str]) -> None:
        with self.lock:
            self.at_once += 1
            self.seen["requests"] += 1
            self.seen["most_at_once"] = max(self.seen["most_at_once"], self.at_once)
            self.seen["bodies"].append(body)
            self.seen["headers"].append(headers)
            self.lock.notify_all()
            # After minutes it goes on: what was waited for will not come, and the test says so.
            self.lock.wait_for(lambda: self.seen["most_at_once"] >= self.together, 300)
            self.lock.wait_for(lambda: self.let_through < self.answers)
            self.let_through += 1

    def leave(self) -> None:
        with self.lock:
            self.at_once -= 1


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    state: _State

    def do_GET(self) -> None:
        if self.path == "/admin":
            with self.state.lock:
                self._send(200, self.state.seen)
            return
        fault = self.state.fault("models", "")
        if not self._allowed() or (fault and self._misbehave(fault, {})):
            return
        known = self.path == "/v1/models"
        names = [self.state.model] if isinstance(self.state.model, str) else self.state.model
        models = {"object": "list", "data": [{"id": name, "object": "model"} for name in names]}
        self._send(200 if known else 404, models if known else {"error": {"message": "not here"}})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path == "/admin":
            self.state.obey(json.loads(data))
            self._send(200, {})
        elif self._allowed():
            self._chat(json.loads(data))

    def _chat(self, body: dict[str, Any]) -> None:
        url, prompt = _taken(body)
        self.state.enter(body, {name.lower(): value for name, value in self.headers.items()})
        time.sleep(self.state.latency)
        reply = self._reply(body, url, prompt)
        fault = self.state.fault("chat", prompt)
        # Before the answer goes out: its reader may send the next request at once.
        self.state.leave() if not fault or not fault.get("wait") else None
        if fault and self._misbehave(fault, reply):
            return
        if body.get("model") != self.state.model:
            error = {"message": f"The model `{body.get('model')}` does not exist.", "code": 404}
            self._send(404, {"error": error})
            return
        with self.state.lock:
            self.state.seen["answered"] += 1
        self._send(200, reply)

    def _reply(self, body: dict[str, Any], url: str, prompt: str) -> dict[str, Any]:
        with Image.open(io.BytesIO(base64.b64decode(url.partition("base64,")[2], validate=True))) as image:
            with self.state.lock:
                self.state.seen["pictures"].append([image.format, *image.size])
            (width, height), mean = image.size, image.convert("RGB").resize((1, 1), Image.Resampling.BOX)
        red, green, blue = mean.tobytes()
        values = {"red": red, "green": green, "blue": blue, "width": width, "height": height}
        text = self.state.text
        for name, value in ({**values, "prompt": prompt, "seed": body.get("seed")}).items():
            text = text.replace("{" + name + "}", str(value))
        words = text.split()
        most = body.get("max_tokens", body.get("max_completion_tokens", 1 << 30))
        cut = len(words) > most
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": body.get("model"),
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": " ".join(words[:most]) if cut else text},
                    "finish_reason": "length" if cut else "stop",
                }
            ],
            "usage": {"prompt_tokens": 100 + len(prompt.split()), "completion_tokens": min(len(words), most)},
        }

    def _misbehave(self, fault: dict[str, Any], reply: dict[str, Any]) -> bool:
        """Do what the fault says; whether that was the whole answer."""
        if fault.get("wait"):
            time.sleep(fault["wait"])
            self.state.leave()
        if fault.get("end") == "die":
            os._exit(1)
        if fault.get("end") == "reset":
            # Closed with data unsent and no lingering: the other side sees a reset.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.shutdown(socket.SHUT_RD)
            self.close_connection = True
            return True
        for choice in reply.get("choices", []):
            choice["message"].update(fault.get("message", {}))
            choice.update(fault.get("choice", {}))
        changed = {"status", "body", "message", "choice", "end"} & fault.keys()
        if changed:
            body = fault.get(
                "body", reply if fault.get("status", 200) == 200 else {"error": {"message": "so told"}}
            )
            half = fault.get("end") == "half"
            self._send(fault.get("status", 200), body, fault.get("headers", {}), half=half)
        return bool(changed)

    def _allowed(self) -> bool:
        if self.state.key and self.headers.get("Authorization") != f"Bearer {self.state.key}":
            said = self.headers.get("Authorization", "nothing")
            self._send(401, {"error": {"message": f"Incorrect API key provided: {said}"}})
            return False
        return True

    def _send(
        self, status: int, body: Any, headers: Mapping[str, str] | None = None, *, half: bool = False
    ) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        all_headers = {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }
        for name, value in all_headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if half else data)
        self.close_connection = self.close_connection or half

    def log_message(self, format: str, *args: object) -> None:
        """Silent."""


def _taken(body: dict[str, Any]) -> tuple[str, str]:
    """The picture's URL, which is taken out of the body, and the prompt."""
    url, prompt = "", ""
    for message in body["messages"]:
        if message["role"] == "user":
            for part in message["content"]:
                if part["type"] == "image_url":
                    url, part["image_url"]["url"] = part["image_url"]["url"], "..."
                else:
                    prompt = part["text"]
    return url, prompt


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent: clients that go away are part of the tests."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("port", type=int, nargs="?", default=0)
    parser.add_argument("--model", default=MODEL)
    parser.add_argument("--key", default="")
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--text", default=TEXT)
    settings = parser.parse_args()
    _Handler.state = _State(settings)
    server = _Server(("127.0.0.1", settings.port), _Handler)
    print(f"http://127.0.0.1:{server.server_address[1]}/v1", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
