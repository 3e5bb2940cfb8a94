"""The index and the shards: what is found, under which circumstances, and what is damaged."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from trainkit.cache.index import NONE, Index, merged, open_index
from trainkit.cache.shard import Shard, as_keys, read_shard, write_shard
from trainkit.cache.store import INDEX, Store
from trainkit.errors import DamagedError

key_bytes = st.one_of(
    st.binary(min_size=16, max_size=16),
    # Keys whose first halves are equal, which 64 bits alone would not tell apart.
    st.binary(min_size=1, max_size=1).map(lambda last: bytes(15) + last),
    st.binary(min_size=1, max_size=1).map(lambda first: first + bytes(15)),
)
shard_keys = st.lists(st.lists(key_bytes, max_size=8), max_size=5)


def name_of(number: int) -> str:
    return f"8x8-{number:032x}.safetensors"


def shards_of(keys: list[list[bytes]]) -> list[Shard]:
    return [
        Shard(name_of(i), 100 + i, i, as_keys(some), as_keys(some[:1]), (2, 4, 1, 1), 64 + i)
        for i, some in enumerate(keys)
    ]


@given(shard_keys, st.lists(key_bytes, min_size=1), st.sets(st.integers(0, 4)))
def test_the_index_is_a_dictionary_of_all_keys(
    keys: list[list[bytes]], others: list[bytes], dropped: set[int]
) -> None:
    index = merged(merged(NONE, (), shards_of(keys)[:2]), (), shards_of(keys)[2:])
    for gone in (set[int](), dropped):
        index = merged(index, {name_of(i) for i in gone}, ())
        expected: dict[bytes, set[tuple[str, int]]] = {}
        for i, some in enumerate(keys):
            for row, key in enumerate(some):
                if i not in gone:
                    expected.setdefault(key, set()).add((name_of(i), row))
        assert len(index) == len(expected)
        names = index.shard_names()
        assert names == [name_of(i) for i in range(len(keys)) if i not in gone]
        asked = [key for some in keys for key in some] + others
        for key, entry in zip(asked, index.find(as_keys(asked)).tolist(), strict=True):
            if key in expected:
                assert (names[index.shard[entry]], int(index.row[entry])) in expected[key]
            else:
                assert entry == -1
        failed = {some[0] for some in keys if some}
        assert index.has_failed(as_keys(asked)).tolist() == [key in failed for key in asked]


@given(shard_keys, st.data())
def test_no_flipped_bit_of_an_index_goes_unnoticed(keys: list[list[bytes]], data: st.DataObject) -> None:
    index = merged(NONE, (), shards_of(keys))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.safetensors"
        index.save(path)
        content = path.read_bytes()
        assert same(open_index(path, verify=True), index)
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        broken = bytearray(content)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        # A blank behind the header may be another blank; everything else is an error.
        try:
            found = open_index(path, verify=True)
        except DamagedError:
            return
        assert same(found, index)


def same(one: Index, other: Index) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(vars(one).values(), vars(other).values(), strict=True))


@given(st.lists(key_bytes, unique=True, max_size=5), st.data())
def test_no_flipped_bit_of_a_shard_goes_unnoticed(keys: list[bytes], data: st.DataObject) -> None:
    rows = np.arange(len(keys) * 8, dtype=np.float16).reshape(len(keys), 2, 4)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name_of(1)
        write_shard(path, as_keys(keys), rows, as_keys([bytes(16)]))
        content = path.read_bytes()
        whole = read_shard(path, verify=True)
        assert load_file(path)["rows"].tobytes() == rows.tobytes()
        assert content[whole.start : whole.start + rows.nbytes] == rows.tobytes()
        broken = bytearray(content)
        bit = data.draw(st.integers(0, 8 * len(content) - 1))
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken[: data.draw(st.integers(len(content) // 2, len(content)))])
        try:
            found = read_shard(path, verify=True)
        except DamagedError:
            return
        assert (found.keys.tobytes(), found.shape, found.start) == (
            whole.keys.tobytes(),
            whole.shape,
            whole.start,
        )
        assert path.read_bytes()[found.start :] == content[whole.start :]


def filled(folder: Path, count: int = 3) -> Store:
    store = Store(folder)
    for i in range(count):
        keys = as_keys([bytes([i, row]) + bytes(14) for row in range(4)])
        store.put(name_of(i), keys, np.full((4, 2, 3), i, np.float16), as_keys([]))
    assert store.refresh() == []
    return store


def test_rows_are_found_after_a_refresh_and_by_whoever_opens_the_folder(tmp_path: Path) -> None:
    store = filled(tmp_path)
    for again in (store, Store(tmp_path)):
        for i in range(3):
            row = again.read(bytes([i, 2]) + bytes(14))
            assert row is not None
            assert (row == i).all()
        assert again.read(bytes([9]) + bytes(15)) is None
    # A shard that another process adds is there after the next look.
    other = Store(tmp_path)
    other.put(name_of(7), as_keys([bytes([7]) * 16]), np.full((1, 2, 3), 7, np.float16), as_keys([]))
    assert store.read(bytes([7]) * 16) is None
    assert store.refresh() == []
    assert store.read(bytes([7]) * 16) is not None


def test_a_shard_that_is_gone_is_an_error_of_its_rows_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    filled(tmp_path)
    assert store.read(bytes([0, 1]) + bytes(14)) is not None
    (tmp_path / name_of(1)).unlink()
    with pytest.raises(FileNotFoundError):
        store.read(bytes([1, 1]) + bytes(14))
    assert store.read(bytes([2, 1]) + bytes(14)) is not None
    assert store.refresh() == []
    assert store.read(bytes([1, 1]) + bytes(14)) is None


def test_what_is_verified_once_is_not_read_again_until_it_changes(tmp_path: Path) -> None:
    filled(tmp_path)
    path = tmp_path / name_of(0)
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Store(tmp_path).refresh() == []
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 10**9))  # Now may be the same tick of the clock.
    (line,) = Store(tmp_path).refresh()
    assert line == f"{path}: its bytes are not those that were written"
    assert not path.exists()


def test_an_index_that_points_nowhere_gives_an_error_and_no_other_file(tmp_path: Path) -> None:
    store = filled(tmp_path)
    index = store.index
    names = index.names.copy()
    names[0, :56] = np.frombuffer(b"../../etc/passwd".ljust(56, b"\0"), np.uint8)
    Index(**(vars(index) | {"names": names})).save(tmp_path / INDEX)
    # A worker that opens it takes the names from the folder.
    assert Store(tmp_path).index.shard_names() == [name_of(i) for i in range(3)]
    assert Store(tmp_path).refresh() == [f"{tmp_path / INDEX}: it names files that are no shards"]
    assert Store(tmp_path).index.shard_names() == [name_of(i) for i in range(3)]
    starts = index.starts.copy()
    starts[0] = -5
    Index(**(vars(index) | {"starts": starts})).save(tmp_path / INDEX)
    assert Store(tmp_path).refresh() == [f"{tmp_path / INDEX}: it says rows lie where none can"]


def test_whoever_claims_a_shard_has_it_alone(tmp_path: Path) -> None:
    store = Store(tmp_path)
    claim = store.claim("8x8-1")
    assert claim is not None
    pid = os.fork()
    if pid == 0:
        os._exit(0 if Store(tmp_path).claim("8x8-1") is None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    claim.release()
    pid = os.fork()
    if pid == 0:  # Ends without giving it back.
        os._exit(0 if Store(tmp_path).claim("8x8-1") is not None else 1)
    assert os.waitpid(pid, 0)[1] == 0
    assert store.claim("8x8-1") is not None
