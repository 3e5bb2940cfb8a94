"""A process that prepares micro-batches for the training process.

It is asked for numbers over a socket of its own and answers with files in memory (`trainkit.packed`). It
prints nothing, does not mind the signals that a terminal or a scheduler sends to the whole group (its parent
decides what becomes of the run), and never outlives its parent.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import gc
import io
import json
import os
import signal
import socket
import struct
import sys
import traceback
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from captionkit import CaptionkitError
from trainkit.errors import TrainkitError
from trainkit.feed import Feed
from trainkit.packed import nameless_file, pack

ASK = struct.Struct("<Q")
"""What the parent sends: the number of a micro-batch."""
ANSWER = struct.Struct("<QQ?")
"""What comes back beside a file: the number, the bytes of its header, whether it is a `Failure`."""
SHOW_STACK = signal.SIGUSR2
"""On this signal a worker writes where it is among its words."""
GROUP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGQUIT)
"""What a worker does not mind."""

_MOST_WORDS = 1 << 16
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a micro-batch could not be prepared."""

    mendable: bool
    """Whether the message is written for the user."""
    what: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """An exception in words: what it is, and in which line of which file."""
        trace = "".join(traceback.format_exception(error))
        if isinstance(error, (TrainkitError, CaptionkitError)):
            return cls(True, str(error), trace)
        last = traceback.extract_tb(error.__traceback__)[-1:]
        where = "".join(f" ({Path(f.filename).name}, line {f.lineno}, in {f.name})" for f in last)
        return cls(False, f"{type(error).__name__}: {error}{where}", trace)


def serve(feed: Feed, mine: socket.socket, others: Sequence[socket.socket], words: int, parent: int) -> None:
    """Answer until the parent is gone or closes the socket. ``others`` are the parent's ends, which a forked
    process holds too: only when it closes them can a socket's end be noticed."""
    for signum in GROUP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, GROUP_SIGNALS)
    _die_with(parent)
    for other in others:
        other.close()
    # Words of C libraries too; the parent quotes the last of them when this process dies.
    silence = os.open(os.devnull, os.O_RDWR)
    os.dup2(silence, 0)
    os.dup2(silence, 1)
    os.dup2(words, 2)
    sys.stdout, sys.stderr = _text(1), _text(2)
    faulthandler.enable(2)
    faulthandler.register(SHOW_STACK, 2, all_threads=False)
    torch.set_num_threads(1)
    # Else the first full collection writes into every object that it shares with its parent, and copies
    # 150 MB of them.
    gc.freeze()
    with contextlib.suppress(ConnectionError, BrokenPipeError):
        while len(asked := mine.recv(ASK.size, socket.MSG_WAITALL)) == ASK.size:
            if os.fstat(2).st_size > _MOST_WORDS:
                os.ftruncate(2, 0)
            _answer(feed, mine, ASK.unpack(asked)[0])


def _text(descriptor: int) -> io.TextIOWrapper:
    file = io.FileIO(descriptor, "w", closefd=False)
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", write_through=True)


def _answer(feed: Feed, mine: socket.socket, number: int) -> None:
    """Prepare one micro-batch and send it, or why there is none."""
    failed = False
    try:
        file, header = pack(feed[number])
    except Exception as error:
        failed = True
        told = json.dumps(asdict(Failure.of(error))).encode()
        file, header = nameless_file("failure"), len(told)
        os.write(file, told)
    try:
        socket.send_fds(mine, [ANSWER.pack(number, header, failed)], [file])
    finally:
        os.close(file)


def _die_with(parent: int) -> None:
    """Have the system end this process when its parent ends, however that ends. Elsewhere than on Linux it
    ends when it next looks at its socket."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # It ended before this.
            os._exit(1)
