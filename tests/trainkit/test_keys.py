"""Keys: pinned, spread evenly, and the same wherever an id comes from."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from trainkit.keys import fingerprint_of, key_of, keys_of, mixed, splitmix64

numbers = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20, unique=True)


@given(st.lists(st.text(max_size=9)))
def test_many_keys_are_those_of_each(ids: list[str]) -> None:
    assert keys_of(map(str.encode, ids)).tolist() == [key_of(name) for name in ids]
    for name in ids:
        assert key_of(name).to_bytes(8, "little") == hashlib.blake2b(name.encode(), digest_size=8).digest()


def test_keys_and_their_mixture_are_promises() -> None:
    # Which pictures are held out, and prepared folders on disks, hang on them.
    assert key_of("a") == 0x2F42665B399EF840
    assert key_of("bilder/füchse 1") == int.from_bytes(
        hashlib.blake2b("bilder/füchse 1".encode(), digest_size=8).digest(), "little"
    )
    assert mixed(np.array([0, 1], dtype=np.uint64), 0).tolist() == [12035550249420947055, 627405149472732430]


def test_splitmix64_is_that_of_the_paper() -> None:
    # The first outputs of Vigna's C code from seed 1234567; each state is the one before plus the constant.
    states = [(1234567 + i * 0x9E3779B97F4A7C15) % 2**64 for i in range(3)]
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    assert splitmix64(np.array(states, dtype=np.uint64)).tolist() == expected


@given(numbers, st.integers(-(2**70), 2**70))
def test_a_mixture_keeps_keys_apart_and_depends_on_the_seed(keys: list[int], seed: int) -> None:
    array = np.array(keys, dtype=np.uint64)
    found = mixed(array, seed)
    assert len(set(found.tolist())) == len(keys)
    assert (found != mixed(array, seed + 1)).all()
    assert (found == mixed(array, seed + 2**64)).all()


@given(numbers, st.integers(0, 19))
def test_another_key_size_or_order_is_another_fingerprint(keys: list[int], at: int) -> None:
    array = np.array(keys, dtype=np.uint64)
    sizes = np.arange(2 * len(keys), dtype=np.int32).reshape(-1, 2)
    own = fingerprint_of(array, sizes)
    assert fingerprint_of(array.copy(), sizes.copy()) == own
    other_keys, other_sizes = array.copy(), sizes.copy()
    other_keys[at % len(keys)] ^= np.uint64(1)
    other_sizes[at % len(keys), 1] += 1
    found = {own, fingerprint_of(other_keys, sizes), fingerprint_of(array, other_sizes)}
    assert len(found) == 3
    if len(keys) > 1:
        assert fingerprint_of(array[::-1], sizes) != own
