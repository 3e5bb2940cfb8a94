"""One process at a time in a run's folder.

The lock is the system's (POSIX record lock on ``<out>/.lock``): it is gone with the process that holds it,
however that ends, and other than flock's it is not handed on to the loader's workers, which outlive a killed
process by seconds. On network disks it holds between machines where the disk knows locks (NFS 4, Lustre
with -o flock, most others).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from trainkit.errors import LockError
from trainkit.moment import time_stamp

_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
"""What a disk says that knows no locks."""


@contextlib.contextmanager
def only_here(out: Path) -> Iterator[None]:
    """Hold a run's folder for this process; the folder is made if need be.

    Raises LockError when another process holds it, naming that, or when there can be no such folder.
    """
    path = out / ".lock"
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise LockError(
            f"out: {out} cannot be written to: {error.strerror or error}; choose another `out` folder, or "
            "make this one writable"
        ) from error
    try:
        _take(lock, path)
        yield
    finally:
        os.close(lock)


def _take(lock: int, path: Path) -> None:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _NO_LOCKS:
            print(f"note: the disk of {path} knows no locks; start no second command there", flush=True)
            return
        raise LockError(
            f"out: {path.parent} is in use by {_holder(path)}; two runs would overwrite each other's "
            "checkpoints. Wait for it, end it, or choose another `out` folder."
        ) from error
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time_stamp()}
    with contextlib.suppress(OSError):  # A full disk is told by what matters more than this note.
        os.ftruncate(lock, 0)
        os.pwrite(lock, json.dumps(who).encode() + b"\n", 0)


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text(encoding="utf-8"))
        return f"process {int(who['pid'])} on {who['host']!s:.99} since {who['since']!s:.30}"
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return "another process"
