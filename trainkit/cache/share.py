"""Blocks of work that several processes, and several runs, do together: each block once.

A block becomes one shard. Who does a block claims it; what another has claimed is left to it and looked for
again later, so that nobody leaves before all is there, and what a killed process had claimed is done by
another. No process needs to know of any other.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from trainkit.cache.store import Claim, Store


class Block(Protocol):
    """What becomes one shard."""

    @property
    def name(self) -> str:
        """The shard's name without its suffix: the same for whoever does this block."""
        ...


B = TypeVar("B", bound=Block)

_POLL = 0.2
"""Seconds between two looks for what other processes do."""


def file_of(name: str) -> str:
    """The file of a block."""
    return f"{name}.safetensors"


@dataclass(frozen=True, slots=True)
class Rows:
    """What was made of a block."""

    keys: NDArray[np.uint8]
    """[n, 16]"""
    rows: NDArray[np.float16]
    """[n, ...]"""
    failed: NDArray[np.uint8]
    """[m, 16]: keys of which no row could be made."""


def joined(parts: Sequence[Rows]) -> Rows:
    """All rows of several companies."""
    return Rows(
        np.concatenate([part.keys for part in parts]),
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.failed for part in parts]),
    )


class Shared(Generic[B]):
    """The blocks that are still to do, by this process or another. Process ``rank`` of ``world`` begins at
    its own place among them."""

    def __init__(self, store: Store, blocks: Sequence[B], rank: int, world: int) -> None:
        self.store = store
        first = len(blocks) * rank // max(1, world)
        self._left = deque((*blocks[first:], *blocks[:first]))
        self._claims: dict[str, Claim] = {}
        self._seen: list[B] = []
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="cache writer")
        self._writing: Future[None] | None = None

    def claim(self) -> B | None:
        """A block to do now; None when others are at all that are left."""
        for _ in range(len(self._left)):
            block = self._left.popleft()
            if self.store.exists(file_of(block.name)):
                self._seen.append(block)
                continue
            claim = self.store.claim(block.name)
            if claim is None:
                self._left.append(block)
            elif self.store.exists(file_of(block.name)):  # Done between the two looks.
                claim.release()
                self._seen.append(block)
            else:
                self._claims[block.name] = claim
                return block
        return None

    def seen_done(self) -> list[B]:
        """Blocks that turned out to be done by others since this was last asked."""
        seen, self._seen = self._seen, []
        return seen

    def give_up(self, block: B) -> None:
        """Give a block that was claimed back without a shard; nobody waits for it."""
        self._claims.pop(block.name).release()

    def hand_in(self, block: B, made: Rows) -> None:
        """Write a block that was claimed, beside what goes on meanwhile; waits for the block before it.

        Raises CacheError when that could not be written.
        """
        self.wait()
        self._writing = self._writer.submit(self._write, block.name, made)

    def wait(self) -> None:
        """Wait for the block that is being written. Raises CacheError."""
        if self._writing is not None:
            self._writing.result()
            self._writing = None

    def all_done(self) -> bool:
        """To be asked when there is nothing to claim: whether every block is there; if not, after a while in
        which others may get on. Raises CacheError as `wait` does."""
        self.wait()
        if self._left or self._claims:
            time.sleep(_POLL)
            return False
        return True

    def _write(self, name: str, made: Rows) -> None:
        self.store.put(file_of(name), made.keys, made.rows, made.failed)
        self._claims.pop(name).release()

    def close(self) -> None:
        """Give back what is claimed."""
        self._writer.shutdown()
        for claim in self._claims.values():
            claim.release()


@contextmanager
def shared(store: Store, blocks: Sequence[B], rank: int, world: int) -> Iterator[Shared[B]]:
    """Work through blocks; at the end everything is written, or given back."""
    work = Shared(store, blocks, rank, world)
    try:
        yield work
        work.wait()
    finally:
        work.close()
