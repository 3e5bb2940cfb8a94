"""The epoch, known to the main process and to all of its data-loading workers at once."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from ctypes import c_longlong
from multiprocessing.context import get_spawning_popen
from multiprocessing.reduction import ForkingPickler
from multiprocessing.sharedctypes import RawValue
from operator import index
from typing import Any, SupportsIndex

from captionkit.errors import DataError

_LOWEST, _HIGHEST = -(2**63), 2**63 - 1


class SharedEpoch:
    """A whole number that the main process sets and its workers read, also those that live on between epochs.

    It is shared with every process that this one starts through `multiprocessing`, by fork, spawn or
    forkserver, and so with the workers of a PyTorch `DataLoader`. Whatever else pickles it (a file, a
    cluster, the fingerprint of `datasets`) gets the number as it stands.

    Set it before the loop over the loader begins: what workers have prepared by then keeps its epoch.
    Wherever a whole number is asked for, it stands for its number.

    >>> epoch = SharedEpoch()
    >>> epoch.set(3)
    >>> epoch.get(), range(10)[epoch]
    (3, 3)
    """

    __slots__ = ("_cell",)

    _cell: c_longlong

    def __init__(self, epoch: SupportsIndex = 0) -> None:
        self._cell = RawValue("q", _whole(epoch))

    @classmethod
    def of(cls, epoch: SupportsIndex) -> SharedEpoch:
        """The same object where it is a shared epoch already, else a new one with this number."""
        return epoch if isinstance(epoch, SharedEpoch) else cls(epoch)

    def set(self, epoch: SupportsIndex) -> None:
        """From now on it is this epoch, in all processes. Raises `DataError` for what is no whole number."""
        # One aligned word with one writer: no reader sees half of it, so there is no lock.
        self._cell.value = _whole(epoch)

    def get(self) -> int:
        """The epoch."""
        return self._cell.value

    def __index__(self) -> int:
        return self._cell.value

    def __repr__(self) -> str:
        return f"SharedEpoch({self.get()})"

    def __reduce__(self) -> tuple[Callable[..., SharedEpoch], tuple[Any, ...]]:
        if get_spawning_popen() is None:
            return SharedEpoch, (self.get(),)
        return _attached, (for_a_child(self._cell),)


def for_a_child(memory: Any) -> bytes:
    """Shared memory (a `Value`, an `Array`) in the form in which the process being started gets it.

    Pickled here, since the pickler that called us need not be the one that knows shared memory.
    """
    pickled = bytes(ForkingPickler.dumps(memory))
    # Two pieces of memory often lie in one arena, whose descriptor is handed over twice; Python refuses to
    # spawn a process with "bad value(s) in fds_to_keep" for that. A fork server tells them by their place.
    popen: Any = get_spawning_popen()
    if popen.method == "spawn" and isinstance(getattr(popen, "_fds", None), list):
        popen._fds[:] = dict.fromkeys(popen._fds)
    return pickled


def _attached(cell: bytes) -> SharedEpoch:
    """The epoch of the process that started this one."""
    epoch = SharedEpoch.__new__(SharedEpoch)
    epoch._cell = pickle.loads(cell)
    return epoch


def _whole(epoch: SupportsIndex) -> int:
    if isinstance(epoch, bool):
        raise DataError(f"an epoch must be a whole number, got {epoch!r}")
    try:
        number = index(epoch)
    except TypeError:
        raise DataError(f"an epoch must be a whole number, got {epoch!r}") from None
    if not _LOWEST <= number <= _HIGHEST:
        raise DataError(f"an epoch must lie between -2**63 and 2**63 - 1, got {number}")
    return number
