"""The 64-bit key of a record: what stands for its id where millions are compared, mixed or counted."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_GOLDEN = 0x9E3779B97F4A7C15
_FIRST = 0xBF58476D1CE4E5B9
_SECOND = 0x94D049BB133111EB


def key_of(id: str) -> int:
    """BLAKE2b of 8 bytes over the id's UTF-8, read as a little-endian number."""
    return int.from_bytes(hashlib.blake2b(id.encode("utf-8"), digest_size=8).digest(), "little")


def keys_of(ids: Iterable[bytes]) -> NDArray[np.uint64]:
    """The key of each id, given as UTF-8; 3.3 million take 2 s."""
    hashed = hashlib.blake2b
    digests = b"".join([hashed(id, digest_size=8).digest() for id in ids])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64, copy=False)


def fingerprint_of(keys: NDArray[np.uint64], sizes: NDArray[np.int32]) -> str:
    """A hash, in hexadecimal, of the records' keys and the pictures' sizes ([N, 2]), in their order."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(np.ascontiguousarray(keys, dtype="<u8").data)
    digest.update(np.ascontiguousarray(sizes, dtype="<i4").data)
    return digest.hexdigest()


def mixed(keys: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Each key with the seed as 64 bits that look random: splitmix64(key xor splitmix64(seed)).

    Stable between machines and versions. ``seed`` counts modulo 2^64. splitmix64 is the generator of Steele,
    Lea and Flood, "Fast splittable pseudorandom number generators" (2014), one step of it: a bijection.
    """
    start = splitmix64(np.array([seed % (1 << 64)], dtype=np.uint64))
    return splitmix64(keys ^ start)


def splitmix64(states: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The output that follows each state; all arithmetic is modulo 2^64."""
    z = states + np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))
