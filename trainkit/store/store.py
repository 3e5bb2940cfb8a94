"""The bytes of pictures, wherever they lie, and nothing silent when they are not what they should be."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from trainkit.errors import PictureError
from trainkit.place import MOST_BYTES, Place
from trainkit.store.remote import Remote
from trainkit.store.settings import StoreConfig
from trainkit.store.trouble import Trouble


class Store:
    """Reads places: files, stretches of tars, objects in stores.

    May be used by several threads, and sent to other processes or forked: each makes its own connections.
    """

    def __init__(self, config: StoreConfig, *, verify: bool = True) -> None:
        self.config = config
        self.verify = verify
        """Whether the bytes' hash is compared with the one in the manifest; their number always is."""
        self._here: dict[int, tuple[Remote, ThreadPoolExecutor]] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return _again, (self.config, self.verify)

    def read(self, place: Place) -> bytes:
        """The bytes of a picture. Raises PictureError when they cannot be read or are no longer what
        `prepare` found, StoreError when the store does not answer."""
        if place.offset < 0 or (place.length is not None and not 0 < place.length <= MOST_BYTES):
            raise PictureError(
                place.name,
                f"lies at byte {place.offset} and has {place.length} bytes, says the manifest; a picture has "
                f"from 1 to {MOST_BYTES:,}",
            )
        data = self._process()[0].get(place) if place.remote else _read_file(place)
        self._check(place, data)
        return data

    def fetch(self, places: Iterable[Place]) -> Iterator[bytes | PictureError]:
        """The bytes of many pictures in order, or what is wrong with each.

        Up to ``threads`` of those that lie in stores are on their way or here at a time; files are read when
        their turn comes. Raises StoreError as `read` does.
        """
        ahead: deque[Place | Future[bytes]] = deque()
        pool = self._process()[1]
        try:
            for place in places:
                ahead.append(pool.submit(self.read, place) if place.remote else place)
                if len(ahead) >= self.config.threads:
                    yield self._outcome(ahead.popleft())
            while ahead:
                yield self._outcome(ahead.popleft())
        finally:
            for left in ahead:
                if isinstance(left, Future):
                    left.cancel()

    def take_trouble(self) -> Trouble:
        """How often stores had to be asked again since this was last called, in this process."""
        return self._process()[0].tally.take()

    def _outcome(self, asked: Place | Future[bytes]) -> bytes | PictureError:
        try:
            return asked.result() if isinstance(asked, Future) else self.read(asked)
        except PictureError as error:
            return error

    def _process(self) -> tuple[Remote, ThreadPoolExecutor]:
        """This process's connections; after a fork those of the parent are left alone."""
        here = self._here.get(os.getpid())
        if here is None:
            made = Remote(self.config), ThreadPoolExecutor(self.config.threads, "store")
            here = self._here.setdefault(os.getpid(), made)
        return here

    def _check(self, place: Place, data: bytes) -> None:
        if len(data) > MOST_BYTES:
            raise PictureError(place.name, f"has more bytes than a picture can have ({MOST_BYTES:,})")
        if place.length is not None and len(data) != place.length:
            if place.member:
                raise PictureError(
                    place.name,
                    f"the tar ends after {len(data):,} of the picture's {place.length:,} bytes: it was cut "
                    "short, or changed since it was prepared; mend it, or run trainkit prepare again",
                )
            now = "more" if place.remote and len(data) > place.length else f"{len(data):,}"
            raise PictureError(
                place.name,
                f"changed since it was prepared: {place.length:,} bytes then, {now} now; run "
                "trainkit prepare again",
            )
        if self.verify and place.digest is not None and digest_of(data) != place.digest:
            raise PictureError(
                place.name,
                f"changed since it was prepared: {len(data):,} bytes as then, but others; run trainkit "
                "prepare again",
            )


def digest_of(data: bytes) -> bytes:
    """What a manifest knows a picture by: BLAKE2b of 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


def _again(config: StoreConfig, verify: bool) -> Store:
    return Store(config, verify=verify)


def _read_file(place: Place) -> bytes:
    """A stretch of a regular file. Reading from a pipe would wait for ever, from /dev/zero never end."""
    try:
        # Opening a pipe without O_NONBLOCK waits, too.
        descriptor = os.open(place.path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            return _read_open(place, descriptor)
        finally:
            os.close(descriptor)
    except FileNotFoundError as error:
        raise PictureError(place.name, "no such file") from error
    except (OSError, ValueError) as error:
        if isinstance(error, PictureError):
            raise
        reason = getattr(error, "strerror", None) or error
        raise PictureError(place.name, f"cannot be read ({reason})") from error


def _read_open(place: Place, descriptor: int) -> bytes:
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode):
        raise PictureError(place.name, "is no file, but a folder, a pipe or a device")
    # Of a file of its own all is read: more than was expected is to be noticed.
    part = bool(place.member or place.offset) and place.length is not None
    size = (place.length or 0) if part else found.st_size - place.offset
    if size > MOST_BYTES:
        raise PictureError(place.name, f"is {size:,} bytes, more than a picture can have ({MOST_BYTES:,})")
    parts: list[bytes] = []
    at = place.offset
    while size > 0 and (data := os.pread(descriptor, size, at)):
        parts.append(data)
        size, at = size - len(data), at + len(data)
    return parts[0] if len(parts) == 1 else b"".join(parts)
