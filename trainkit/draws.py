"""Where trainkit's random numbers come from: an address, never a global generator.

A draw is a function of (seed, purpose, index), so it is the same under any number of devices, workers and
restarts, and two purposes never share a stream.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, purpose: str, *index: int) -> int:
    """A 63-bit seed for one purpose and index, stable between machines and versions (BLAKE2b)."""
    address = "/".join([str(seed), purpose, *map(str, index)])
    digest = hashlib.blake2b(address.encode("utf-8"), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, purpose: str, *index: int) -> torch.Generator:
    """A fresh CPU generator for one purpose and index. Noise is drawn on the CPU so that every device sees
    the same."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, *index))
