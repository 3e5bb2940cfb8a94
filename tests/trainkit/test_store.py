"""Bytes of pictures: all of them, only them, and a clear word when they are not what they should be."""

from __future__ import annotations

import importlib.util
import multiprocessing
import os
import pickle
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.trainkit.processes import PATIENCE
from trainkit.errors import PictureError, StoreError
from trainkit.place import STORES, Place, place_of
from trainkit.store.failures import in_words, may_pass
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store, digest_of
from trainkit.store.trouble import Tally, Trouble

STORE = Store(StoreConfig())

names = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..") and "\\" not in name
)


@given(st.lists(names, min_size=1, max_size=4))
def test_a_path_stays_below_its_root(parts: list[str]) -> None:
    image = "/".join(parts)
    for root in ("/data/set", "s3://bucket/set"):
        try:
            place = place_of("row 1", root, image)
        except PictureError:
            assert "::" in image or "://" in image
            continue
        assert place.path.startswith(root + "/") or "://" in image
        assert not {".."} & set(place.path.split("/"))


@pytest.mark.parametrize(
    ("image", "container"),
    [
        ("../a.jpg", None),
        ("b/../../a.jpg", None),
        ("..\\a.jpg", None),
        ("a\0.jpg", None),
        ("", None),
        ("/etc/a.jpg", None),
        ("/t.tar/a.jpg", "/t.tar"),
        ("../t.tar/a.jpg", "../t.tar"),
        ("file:///etc/a.jpg", None),
        ("local:///etc/a.jpg", None),
        ("reference://x/a.jpg", None),
        ("filecache::s3://b/a.jpg", None),
        ("s3://b/a.zip::zip://a.jpg", None),
        ("s3://b/t.tar/a.jpg", "simplecache::s3://b/t.tar"),
        ("s3://b/../c/t.tar/a.jpg", "s3://b/../c/t.tar"),
        ("https://me:word@host/a.jpg", None),
        ("http://[/a.jpg", None),
    ],
)
def test_a_path_that_leads_out_is_refused(image: str, container: str | None) -> None:
    for root in ("/data", "s3://bucket"):
        with pytest.raises(PictureError) as caught:
            place_of("row 7", root, image, container)
        assert caught.value.picture == "row 7"
        assert "word" not in str(caught.value).replace("password", "")


def test_places_of_files_and_members() -> None:
    assert place_of("", "/d", "a/b.jpg") == Place("/d/a/b.jpg")
    assert place_of("", "/d", "/e/b.jpg", absolute=True) == Place("/e/b.jpg")
    assert place_of("", "/d", "a::b.jpg").path == "/d/a::b.jpg"
    member = place_of("", "/d", "x/t.tar/in/b.jpg", "x/t.tar", 512, 9, b"d" * 16)
    assert member == Place("/d/x/t.tar", 512, 9, b"d" * 16, "in/b.jpg")
    assert member.name == "/d/x/t.tar/in/b.jpg"
    there = place_of("", "s3://b/set/", "t.tar/b.jpg", "t.tar", 512, 9)
    assert (there.path, there.name, there.remote) == ("s3://b/set/t.tar", "s3://b/set/t.tar/b.jpg", True)
    # The root is taken as it is: ".." behind a link is not what it looks like.
    assert place_of("", "link/../d", "a.jpg").path == "link/../d/a.jpg"


@given(st.binary(min_size=1, max_size=2000), st.data())
def test_a_stretch_of_a_file_is_that_stretch(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, draw: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "stretch.tar"
    path.write_bytes(data)
    offset = draw.draw(st.integers(0, len(data) - 1))
    length = draw.draw(st.integers(1, len(data) - offset))
    expected = data[offset : offset + length]
    place = Place(str(path), offset, length, digest_of(expected), "m.png")
    assert STORE.read(place) == expected
    with pytest.raises(PictureError, match="others"):
        STORE.read(replace(place, digest=b"0" * 16))
    assert Store(StoreConfig(), verify=False).read(replace(place, digest=b"0" * 16)) == expected


def test_what_changed_is_told_with_what_it_was(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"x" * 10_301)
    with pytest.raises(PictureError) as caught:
        STORE.read(Place(str(path), 0, 10_240, digest_of(b"y")))
    assert str(caught.value) == (
        f"{path}: changed since it was prepared: 10,240 bytes then, 10,301 now; run trainkit prepare again"
    )
    with pytest.raises(
        PictureError, match=r"tar ends after 301 of the picture's 1,000 bytes: it was cut short"
    ):
        STORE.read(Place(str(path), 10_000, 1000, None, "m.png"))
    with pytest.raises(PictureError, match=r"ends after 0 of"):
        STORE.read(Place(str(path), 20_000, 1000, None, "m.png"))


@pytest.mark.parametrize(("offset", "length"), [(-1, 5), (0, 0), (0, -3), (0, 2**40)])
def test_stretches_that_no_picture_has_are_refused(tmp_path: Path, offset: int, length: int) -> None:
    (tmp_path / "t.tar").write_bytes(b"x" * 100)
    for path in (str(tmp_path / "t.tar"), "memory://t.tar"):
        with pytest.raises(PictureError, match="says the manifest"):
            STORE.read(Place(path, offset, length, None, "m.png"))


def test_what_is_no_file_is_told_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path("/dev/zero")):
        with pytest.raises(PictureError, match="is no file, but a folder, a pipe or a device"):
            STORE.read(Place(str(path)))
    with pytest.raises(PictureError, match="no such file"):
        STORE.read(Place(str(tmp_path / "gone.png")))
    with (tmp_path / "holes.png").open("wb") as file:
        file.truncate(2**31)
    with pytest.raises(PictureError, match="2,147,483,648 bytes, more than a picture can have"):
        STORE.read(Place(str(tmp_path / "holes.png")))


def test_links_are_followed(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far/a.png").write_bytes(b"picture")
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert STORE.read(place_of("", str(tmp_path), "near/a.png")) == b"picture"


def memory(**files: bytes) -> None:
    import fsspec  # type: ignore[import-untyped]

    system = fsspec.filesystem("memory")
    for name, data in files.items():
        system.pipe_file(f"memory://store/{name}", data)


def test_a_store_is_read_by_stretches_and_whole() -> None:
    memory(tar=b"0123456789")
    assert STORE.read(Place("memory://store/tar", 2, 3, digest_of(b"234"), "m")) == b"234"
    assert STORE.read(Place("memory://store/tar")) == b"0123456789"
    assert STORE.read(Place("memory://store/tar", 0, 10)) == b"0123456789"
    with pytest.raises(PictureError, match="9 bytes then, more now"):
        STORE.read(Place("memory://store/tar", 0, 9))
    with pytest.raises(PictureError, match="ends after 2 of"):
        STORE.read(Place("memory://store/tar", 8, 3, None, "m"))
    with pytest.raises(PictureError, match="is not there"):
        STORE.read(Place("memory://store/gone"))
    assert not STORE.take_trouble()


@given(st.lists(st.sampled_from(["near", "far", "gone", "far gone"]), max_size=30), st.integers(1, 9))
def test_many_come_in_order(tmp_path_factory: pytest.TempPathFactory, kinds: list[str], threads: int) -> None:
    folder = tmp_path_factory.getbasetemp()
    (folder / "near").write_bytes(bytes(range(200)))
    memory(far=bytes(range(200)))
    paths = {
        "near": f"{folder}/near",
        "far": "memory://store/far",
        "gone": f"{folder}/gone",
        "far gone": "memory://store/gone",
    }
    places = [Place(paths[kind], i, 1, None, "m") for i, kind in enumerate(kinds)]
    found = list(Store(StoreConfig(threads=threads)).fetch(places))
    assert len(found) == len(places)
    for i, (kind, outcome) in enumerate(zip(kinds, found, strict=True)):
        if "gone" in kind:
            assert isinstance(outcome, PictureError)
            assert outcome.picture == places[i].name
        else:
            assert outcome == bytes([i])


def test_a_missing_package_is_named() -> None:
    assert importlib.util.find_spec("ocifs") is None
    with pytest.raises(StoreError) as caught:
        STORE.read(Place("oci://bucket/a.png"))
    assert "oci:// needs a package that is not installed: pip install ocifs" in str(caught.value)


def test_all_stores_are_protocols_of_fsspec() -> None:
    import fsspec

    assert set(fsspec.available_protocols()) >= set(STORES)


def _answers(store: Store, place: Place, into: object) -> None:
    into.send(store.read(place))  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_store_survives_a_fork_and_a_pickle(tmp_path: Path, method: str) -> None:
    memory(far=b"picture")
    (tmp_path / "near").write_bytes(b"picture")
    store = Store(StoreConfig(threads=3))
    assert list(store.fetch([Place("memory://store/far")] * 5)) == [b"picture"] * 5
    place = Place("memory://store/far") if method == "fork" else Place(str(tmp_path / "near"))
    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=_answers, args=(store, place, theirs))  # type: ignore[attr-defined]
    process.start()
    assert ours.poll(PATIENCE)
    assert ours.recv() == b"picture"
    process.join()
    assert pickle.loads(pickle.dumps(store)).read(place) == b"picture"


class _Coded(Exception):
    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__("coded")


@pytest.mark.parametrize(
    ("error", "passes"),
    [
        (_Coded(503), True),
        (_Coded(500), True),
        (_Coded(429), True),
        (_Coded(408), True),
        (_Coded(404), False),
        (_Coded(403), False),
        (_Coded(301), False),
        (FileNotFoundError("x"), False),
        (PermissionError("x"), False),
        (TimeoutError(), True),
        (ConnectionResetError("x"), True),
        (OSError(16, "slow down"), True),
        (OSError(22, "invalid"), False),
        (KeyError("x"), False),
    ],
)
def test_what_may_pass(error: Exception, passes: bool) -> None:
    assert may_pass(error) is passes
    outer = RuntimeError("wrapped")
    outer.__cause__ = error
    if isinstance(error, _Coded):
        assert may_pass(outer) is passes
    assert len(in_words(error)) < 250


def test_a_reason_is_one_line() -> None:
    assert "\n" not in in_words(ValueError("a\nb" * 1000))
    assert in_words(_Coded(503)) == "the store answered 503"


@pytest.mark.parametrize(
    ("options", "secret"),
    [
        ({"secret": "x"}, True),
        ({"key": "x"}, True),
        ({"token": "x"}, True),
        ({"token": "anon"}, False),
        ({"client_kwargs": {"aws_secret_access_key": "x"}}, True),
        ({"client_kwargs": {"headers": {"Authorization": "Bearer x"}}}, True),
        ({"password": "x"}, True),
        ({"account_key": "x"}, True),
        ({"sas_token": "x"}, True),
        ({"endpoint_url": "https://me:word@host"}, True),
        ({"endpoint_url": "https://host:9000", "anon": True}, False),
        ({"key_file_cache": "x", "keyboard": "y"}, True),
        ({"config_kwargs": {"s3": {"addressing_style": "path"}}, "use_ssl": False}, False),
    ],
)
def test_secrets_are_no_options(options: dict[str, object], secret: bool) -> None:
    if not secret:
        assert StoreConfig(options=options).options == options
        return
    with pytest.raises(ValidationError, match="environment"):
        StoreConfig(options=options)


troubles = st.builds(
    Trouble,
    st.dictionaries(st.sampled_from("abc"), st.integers(1, 9)).map(lambda d: tuple(sorted(d.items()))),
    st.floats(0, 100),
)


@given(troubles, troubles)
def test_troubles_add_up(one: Trouble, other: Trouble) -> None:
    both = one + other
    assert dict(both.failures) == {
        key: dict(one.failures).get(key, 0) + dict(other.failures).get(key, 0)
        for key in dict(one.failures) | dict(other.failures)
    }
    assert both.waited == one.waited + other.waited
    assert bool(both) == (bool(one) or bool(other))
    assert one + Trouble() == one


def test_waiting_together_counts_once(capsys: pytest.CaptureFixture[str]) -> None:
    tally, all_wait = Tally(), threading.Barrier(8)

    def wait() -> None:
        with tally.waiting("s3://b: the store answered 503", 300):
            all_wait.wait()
            time.sleep(0.3)
            all_wait.wait()

    threads = [threading.Thread(target=wait) for _ in range(8)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took = time.monotonic() - began
    trouble = tally.take()
    assert trouble.failures == (("s3://b: the store answered 503", 8),)
    assert 0.29 < trouble.waited <= took
    assert str(trouble) == f"s3://b: the store answered 503 8 times; waited {trouble.waited:.0f} s"
    assert not tally.take()
    # Said once, when it began.
    assert capsys.readouterr().err == "s3://b: the store answered 503; asking again for up to 300 s\n"
