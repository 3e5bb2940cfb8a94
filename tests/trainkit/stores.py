"""Real stores on this machine, for the tests that read pictures from them: moto speaks S3, and a proxy before
it fails on demand. Both are processes of their own, as the workers of a run are forked."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.processes import PATIENCE
from tests.trainkit.tiny import ROOT
from trainkit.prepare import PrepareConfig, prepare

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "nobody",
    "AWS_SECRET_ACCESS_KEY": "nothing",
    "AWS_DEFAULT_REGION": "us-east-1",
}
BUCKET = "pictures"

_MOTO = """
import threading
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
threading.Event().wait()
"""


def need_s3() -> None:
    """Skip the module where the packages are not there; the extra `dev` has them."""
    pytest.importorskip("s3fs", reason="needs s3fs")
    pytest.importorskip("moto", reason="needs moto")


@contextlib.contextmanager
def s3_server() -> Iterator[str]:
    """The URL of an empty S3 server with one bucket."""
    with _server("-c", _MOTO) as url:
        file_system(url).mkdir(BUCKET)
        yield url


@contextlib.contextmanager
def proxy(target: str, orders: Path) -> Iterator[str]:
    """The URL of a server that hands everything on to ``target``, as ``orders`` says: see faulty_proxy.py."""
    if not orders.exists():
        order(orders)
    with _server(str(ROOT / "tests/trainkit/faulty_proxy.py"), target, str(orders)) as url:
        yield url


def order(orders: Path, **what: Any) -> None:
    """Tell a proxy how to behave from now on."""
    partial = orders.with_suffix(".partial")
    partial.write_text(json.dumps(what), encoding="utf-8")
    partial.replace(orders)


def answered(orders: Path) -> list[list[Any]]:
    """[status, method, path] of every request that a proxy was asked."""
    log = orders.with_suffix(".log")
    return [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []


@contextlib.contextmanager
def _server(*words: str) -> Iterator[str]:
    """The URL of a process that prints its port when it listens: a port that we chose before could meanwhile
    be somebody else's."""
    command = [sys.executable, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], PATIENCE)[0], f"{command} does not listen"
            port = process.stdout.readline().strip()
            assert port, f"{command} ended by itself"
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()


def file_system(url: str) -> Any:
    """s3fs as the tests themselves use it."""
    import fsspec  # type: ignore[import-untyped]

    options = {"key": CREDENTIALS["AWS_ACCESS_KEY_ID"], "secret": CREDENTIALS["AWS_SECRET_ACCESS_KEY"]}
    return fsspec.filesystem("s3", endpoint_url=url, skip_instance_cache=True, **options)


def pack(pictures: Path, folder: Path, *, in_each: int = 7) -> Path:
    """A folder of pictures with sidecars as WebDataset tars of so many pictures."""
    folder.mkdir(parents=True)
    names = sorted(p.stem for p in pictures.glob("*.png"))
    for number, first in enumerate(range(0, len(names), in_each)):
        with tarfile.open(folder / f"{number:03d}.tar", "w") as tar:
            for name in names[first : first + in_each]:
                for suffix in ("png", "json"):
                    tar.add(pictures / f"{name}.{suffix}", f"{name}.{suffix}")
    return folder


def prepared(tars: Path, out: Path, root: str | None = None) -> Path:
    """The manifest of a folder of tars, whose pictures lie at ``root`` when it is used."""
    prepare(tars, out, PrepareConfig(stored_at=root), processes=1)
    return out


def upload(tars: Path, url: str, folder: str) -> str:
    """Copy a folder to the bucket; its URL."""
    store = file_system(url)
    for path in sorted(tars.iterdir()):
        store.pipe_file(f"{BUCKET}/{folder}/{path.name}", path.read_bytes())
        store.chmod(f"{BUCKET}/{folder}/{path.name}", acl="public-read")  # For http://.
    return f"s3://{BUCKET}/{folder}"
