"""A model is a folder, or a repository that a process of its own fetches from a hub: here, a real server on
loopback that answers as the hub does."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from trainkit.errors import ModelError
from trainkit.hub import find_model, offline_by_default

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "config.json": b"{}",
    "model.safetensors": b"weights",
    "model.fp16.safetensors": b"weights again",
    "pytorch_model.bin": b"pickled",
    "modeling_own.py": b"code",
}


class Hub(BaseHTTPRequestHandler):
    """Two repositories: owner/whole, and owner/pickled without safetensors."""

    protocol_version = "HTTP/1.1"
    asked: list[str] = []  # noqa: RUF012  One server, one list.

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        self.asked.append(self.path)
        path = self.path.partition("?")[0]
        files = {
            name: data
            for name, data in FILES.items()
            if "owner/whole" in path or not name.endswith(".safetensors")
        }
        if "owner/whole" not in path and "owner/pickled" not in path:
            return self._send(404, b"{}", {"X-Error-Code": "RepoNotFound"}, body)
        if path.startswith("/api/") and "/tree/" in path:
            listed = [
                {"type": "file", "path": n, "size": len(d), "oid": hashlib.sha1(d).hexdigest()}
                for n, d in files.items()
            ]
            return self._send(200, json.dumps(listed).encode(), {}, body)
        if path.startswith("/api/"):
            told = {"id": "owner/whole", "sha": COMMIT, "siblings": [{"rfilename": n} for n in files]}
            return self._send(200, json.dumps(told).encode(), {}, body)
        data = files[path.rpartition("/")[2]]
        headers = {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT}
        return self._send(200, data, headers, body)

    def _send(self, status: int, data: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A hub, an empty cache, and no setting of the user's; gives the paths that it is asked for."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "TRAINKIT_HUB_OFFLINE_IS_DEFAULT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    for name in ("NO_PROXY", "no_proxy"):  # A machine may reach the world through a proxy, us not.
        monkeypatch.setenv(name, "127.0.0.1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache" / "hub"))
    Hub.asked.clear()
    yield Hub.asked
    server.shutdown()
    server.server_close()


def test_a_folder_asks_no_hub(hub: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "owner" / "whole").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    found = find_model("owner/whole")
    assert (found.folder, found.name) == (Path("owner/whole"), "whole")
    assert hub == []


def test_a_named_repository_is_fetched_once(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """That this process stays offline by default does not forbid it; one copy of the weights, no pickle."""
    monkeypatch.setenv("TRAINKIT_HUB_OFFLINE_IS_DEFAULT", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found = find_model("owner/whole", revision=COMMIT)
    assert found.name == f"owner/whole@{COMMIT[:12]}"
    assert sorted(path.name for path in found.folder.iterdir()) == ["config.json", "model.safetensors"]
    assert (found.folder / "model.safetensors").read_bytes() == b"weights"
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    hub.clear()
    assert find_model("owner/whole", revision=COMMIT) == found
    assert hub == []


def test_code_is_fetched_only_when_it_may_run(hub: list[str]) -> None:
    found = find_model("owner/whole", code=True)
    assert "modeling_own.py" in {path.name for path in found.folder.iterdir()}


def test_pickled_weights_are_never_fetched(hub: list[str]) -> None:
    with pytest.raises(ModelError, match=r"owner/pickled .* has no \*\.safetensors weights; pickled"):
        find_model("owner/pickled")
    assert not any("resolve" in path and path.endswith(".bin") for path in hub)


def test_a_repository_that_is_not_there(hub: list[str]) -> None:
    with pytest.raises(
        ModelError, match="there is no such folder, and the hub has no such repository, or it is private"
    ):
        find_model("owner/nothing")


def test_the_users_own_offline_wins(hub: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ModelError, match=r"no such folder, .* HF_HUB_OFFLINE forbids to ask the hub"):
        find_model("owner/whole")
    assert hub == []


def test_what_is_neither_folder_nor_name(tmp_path: Path) -> None:
    for wrong in ("../nothing", "nothing", "/nothing/here", "a/b/c", "owner/na\nme", "-owner/x"):
        with pytest.raises(ModelError, match="no such folder"):
            find_model(wrong)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ModelError, match="is a file"):
        find_model(str(tmp_path / "file"))


def test_the_default_is_told_from_the_users_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_OFFLINE", "TRAINKIT_HUB_OFFLINE_IS_DEFAULT"):
        monkeypatch.setenv(name, "x")  # So that what follows is taken back.
        monkeypatch.delenv(name)
    offline_by_default()
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert "TRAINKIT_HUB_OFFLINE_IS_DEFAULT" in os.environ
    monkeypatch.delenv("TRAINKIT_HUB_OFFLINE_IS_DEFAULT")
    offline_by_default()
    assert "TRAINKIT_HUB_OFFLINE_IS_DEFAULT" not in os.environ
