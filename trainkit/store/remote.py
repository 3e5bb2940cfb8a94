"""Bytes from object storage through fsspec, asked for again while a failure may pass."""

from __future__ import annotations

import itertools
import random
import threading
import time
from typing import Any

from trainkit.errors import PictureError, StoreError
from trainkit.place import MOST_BYTES, STORES, Place
from trainkit.store.failures import in_words, may_pass
from trainkit.store.settings import StoreConfig
from trainkit.store.trouble import Tally


class Remote:
    """The stores as one process sees them.

    fsspec's file systems do not survive a fork, so every process makes its own.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self.tally = Tally()
        self._lock = threading.Lock()
        self._given_up = threading.Event()
        self._hopeless: set[str] = set()
        """Objects that were asked for in vain while others came. In a tar lie thousands of pictures: it is
        not waited for each of them."""
        self._systems: dict[str, Any] = {}

    def get(self, place: Place) -> bytes:
        """The bytes of a picture, as the store hands them over.

        Raises PictureError for what will not pass, or passed too late while the store answered others;
        StoreError when the store answered nobody for the time of its patience, or cannot be asked at all.
        """
        store = self._store_of(place.path)
        began = time.monotonic()
        for attempt in itertools.count():
            try:
                data = self._ask(place)
            except (PictureError, StoreError):
                raise
            except Exception as error:  # Whatever a library below fsspec raises.
                if not may_pass(error):
                    raise PictureError(place.name, in_words(error)) from error
                wait = self._wait(place, attempt)
                if place.path in self._hopeless or time.monotonic() + wait > began + self.config.patience:
                    raise self._too_late(place, store, began, error) from error
                with self.tally.waiting(f"{store}: {in_words(error)}", self.config.patience):
                    given_up = self._given_up.wait(wait)
                if given_up:  # By another thread.
                    raise self._too_late(place, store, began, error) from error
            else:
                self.tally.answered()
                self._given_up.clear()
                self._hopeless.discard(place.path)
                return data
        raise AssertionError("counts for ever")

    def _ask(self, place: Place) -> bytes:
        """One request: the stretch of a tar, or a whole object and a byte more, should it have grown. Without
        a stretch s3fs would first ask how long an object is."""
        system = self._system(place.path.partition("://")[0])
        length = MOST_BYTES if place.length is None else place.length
        end = place.offset + length + (0 if place.member else 1)
        limit = {"timeout": self.config.timeout} if system.async_impl else {}
        data: bytes = system.cat_file(place.path, start=place.offset, end=end, **limit)
        if place.member and len(data) > length:
            raise PictureError(
                place.name,
                f"the store sent {len(data):,} bytes where {length:,} were asked for: it does not answer "
                "byte ranges, so pictures cannot be read out of its tars",
            )
        return data

    def _wait(self, place: Place, attempt: int) -> float:
        """Doubling, and spread out, so that all workers do not come back in the same moment."""
        spread = random.Random(f"{place.name}/{attempt}").uniform(0.5, 1.0)
        return min(self.config.longest_wait, self.config.first_wait * 2.0 ** min(attempt, 60)) * spread

    def _too_late(self, place: Place, store: str, began: float, error: Exception) -> Exception:
        seconds = f"{time.monotonic() - began:.0f} s"
        if place.path in self._hopeless or self.tally.answered_at > began:
            self._hopeless.add(place.path)
            return PictureError(place.name, f"{in_words(error)}, and nothing else for {seconds}")
        self._given_up.set()
        return StoreError(
            f"{store} handed over nothing for {seconds} (data.store.patience is {self.config.patience:g} s), "
            f"last asked for {place.name}: {in_words(error)}. When it answers again, start the same command "
            "again to go on from the last checkpoint."
        )

    def _store_of(self, url: str) -> str:
        protocol, _, rest = url.partition("://")
        return f"{protocol}://{rest.partition('/')[0]}"

    def _system(self, protocol: str) -> Any:
        """fsspec's file system for a protocol. Raises StoreError when its package is not installed, or it
        cannot be made with the given options."""
        with self._lock:
            if protocol not in self._systems:
                self._systems[protocol] = self._make(protocol)
            return self._systems[protocol]

    def _make(self, protocol: str) -> Any:
        import fsspec  # type: ignore[import-untyped]

        options = dict(self.config.options)
        try:
            if protocol in ("s3", "s3a"):
                # botocore and s3fs ask again by themselves, which nobody would hear of.
                limits = {"connect_timeout": self.config.timeout, "read_timeout": self.config.timeout}
                once = {**limits, "retries": {"total_max_attempts": 1}}
                options["config_kwargs"] = once | options.get("config_kwargs", {})
            system = fsspec.filesystem(protocol, skip_instance_cache=True, **options)
        except ImportError as error:
            what = f"{protocol}:// needs a package that is not installed"
            raise StoreError(f"{what}: pip install {STORES[protocol]} ({error})") from error
        except Exception as error:  # Whatever a library makes of options that are not its own.
            raise StoreError(f"data.store.options cannot be used for {protocol}://: {error}") from error
        if protocol in ("s3", "s3a"):
            system.retries = 1
        return system
