"""Pictures in object storage: a real S3 server, and a proxy before it that fails as networks do."""

from __future__ import annotations

import json
import multiprocessing
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.processes import PATIENCE, command, write_run
from tests.trainkit.processes import run as run_to_the_end
from tests.trainkit.stores import (
    BUCKET,
    CREDENTIALS,
    answered,
    need_s3,
    order,
    pack,
    prepared,
    proxy,
    s3_server,
    upload,
)
from tests.trainkit.tiny import run_data
from trainkit.config import RunConfig
from trainkit.data_config import DataConfig
from trainkit.errors import PictureError, StoreError, TrainkitError
from trainkit.manifest import Manifest
from trainkit.picture import PictureReader
from trainkit.pictures import read_data
from trainkit.place import Place
from trainkit.store.settings import StoreConfig
from trainkit.store.store import Store, digest_of
from trainkit.train import train

need_s3()


@dataclass(frozen=True)
class Set:
    """The same pictures in tars on the disk and on S3."""

    server: str
    near: Path
    """Manifest of the tars on the disk."""
    far: Path
    """Manifest of the same tars on S3."""


@pytest.fixture(scope="module")
def both(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Set]:
    folder = tmp_path_factory.mktemp("stores")
    tars = pack(pictures, folder / "tars")
    with s3_server() as server:
        root = upload(tars, server, "set")
        yield Set(server, prepared(tars, folder / "near"), prepared(tars, folder / "far", root))


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)


def at(url: str, **settings: Any) -> StoreConfig:
    """Asks again at once, and for long; the patience of a test that waits for its end is its own."""
    return StoreConfig(options={"endpoint_url": url}, **{"first_wait": 0.05, "patience": PATIENCE} | settings)


def places(manifest: Path) -> list[Place]:
    table = Manifest(manifest)
    return [table.place(row, str(table.record(row).image)) for row in range(len(table))]


def test_what_lies_on_s3_is_what_lies_on_the_disk(both: Set) -> None:
    near, far = (Store(at(both.server)).fetch(places(path)) for path in (both.near, both.far))
    count = 0
    for one, other, place in zip(near, far, places(both.far), strict=True):
        assert isinstance(one, bytes)
        assert one == other
        assert place.digest == digest_of(one)
        count += 1
    assert count == 21


def test_what_will_not_pass_is_told_at_once(both: Set, tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    order(orders)
    with proxy(both.server, orders) as url:
        store = Store(at(url, first_wait=30))
        (first, *_) = places(both.far)
        for place, reason in (
            (Place(f"s3://{BUCKET}/set/gone.png"), "is not there"),
            (Place("s3://no-such-bucket/gone.png"), "is not there"),
            (Place(first.path, 10_000_000, 10, None, "m"), "ends before the picture"),
            (Place(first.path, first.offset, first.length, b"0" * 16, "m"), "but others"),
        ):
            with pytest.raises(PictureError, match=reason):
                store.read(place)
        order(orders, status=403)
        with pytest.raises(PictureError, match=r"access was refused \(403\)"):
            store.read(first)
        # Asked once each: neither we nor the libraries below try again.
        gets = [(status, path) for status, method, path in answered(orders) if method == "GET"]
        assert len([path for _, path in gets if "gone" in path]) == 2
        assert len([path for status, path in gets if status == 403]) == 1
        assert not store.take_trouble()


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"status": 429}])
def test_what_passes_is_asked_for_again_and_counted(
    both: Set, tmp_path: Path, fault: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    orders = tmp_path / "orders.json"
    order(orders, **fault, count=12)
    with proxy(both.server, orders) as url:
        store = Store(at(url))
        found = list(store.fetch(places(both.far)))
        assert found == list(Store(at(url)).fetch(places(both.near)))
        trouble = store.take_trouble()
        # Every failure that the proxy noted is told of: no library below asks again in silence.
        assert sum(count for _, count in trouble.failures) == 12
        assert len([1 for status, *_ in answered(orders) if status == fault["status"]]) == 12
        assert str(fault["status"]) in str(trouble)
        assert trouble.waited > 0
        assert capsys.readouterr().err.count(f"asking again for up to {PATIENCE:g} s") >= 1


def test_answers_that_are_cut_short_or_never_come(both: Set, tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    (place, *_) = places(both.far)
    order(orders)
    with proxy(both.server, orders) as url:
        whole = Store(at(url)).read(place)
        # Where nothing hangs, no answer is too late: on a busy machine the first one takes all of a patience.
        for fault, timeout, patience in (({"cut": True}, PATIENCE, 3), ({"hang": 600}, 5, 8)):
            store = Store(at(url, timeout=timeout, patience=patience))
            assert store.read(place) == whole
            order(orders, **fault)
            with pytest.raises(StoreError, match="handed over nothing"):
                store.read(place)
            assert sum(count for _, count in store.take_trouble().failures) >= 1
            order(orders)
            assert store.read(place) == whole


def test_one_broken_object_among_good_ones_is_a_broken_picture(both: Set, tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    order(orders, status=503, only="001.tar")
    with proxy(both.server, orders) as url:
        store = Store(at(url, patience=4.0, first_wait=0.5))
        found = list(store.fetch(places(both.far)))
        # Having waited once for the tar is enough for all that lies in it.
        assert store.take_trouble()
        again = list(store.fetch(places(both.far)[7:14]))
        assert not store.take_trouble()
        assert all(isinstance(outcome, PictureError) for outcome in again)
        order(orders)
        assert all(isinstance(outcome, bytes) for outcome in store.fetch(places(both.far)))
    for outcome, place in zip(found, places(both.far), strict=True):
        if "001.tar" in place.path:
            assert isinstance(outcome, PictureError)
            assert outcome.reason.startswith("the store answered 503")
        else:
            assert isinstance(outcome, bytes)


def test_a_store_that_is_away_ends_in_time(both: Set, tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    order(orders, status=503)
    with proxy(both.server, orders) as url:
        store = Store(at(url, patience=1.5, longest_wait=0.5))
        began = time.monotonic()
        with pytest.raises(StoreError) as caught:
            list(store.fetch(places(both.far)))
        assert time.monotonic() - began > 0.9
        message = str(caught.value)
        assert message.startswith(f"s3://{BUCKET} handed over nothing for ")
        assert "the store answered 503" in message
        assert "start the same command again" in message
    with pytest.raises(StoreError, match="Could not connect"):
        Store(at(url, patience=0.2)).read(places(both.far)[0])


def test_several_are_on_their_way_at_once(both: Set, tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    order(orders, together=8)  # None is answered before eight are there.
    with proxy(both.server, orders) as url:
        some = places(both.far)[:16]
        assert list(Store(at(url, threads=8)).fetch(some)) == list(
            Store(at(url)).fetch(places(both.near)[:16])
        )


def _fetched(store: Store, wanted: list[Place], into: Any) -> None:
    into.send([outcome if isinstance(outcome, bytes) else str(outcome) for outcome in store.fetch(wanted)])


def test_forked_processes_make_their_own_connections(both: Set) -> None:
    store, wanted = Store(at(both.server)), places(both.far)
    expected = list(store.fetch(wanted))  # The parent's loop and threads run.
    context = multiprocessing.get_context("fork")
    pipes = []
    for _ in range(3):
        ours, theirs = context.Pipe()
        process = context.Process(target=_fetched, args=(store, wanted, theirs))
        process.start()
        pipes.append((process, ours))
    for process, ours in pipes:
        assert ours.poll(PATIENCE), "a forked process waits for a loop that it has not"
        assert ours.recv() == expected
        process.join()
    assert list(store.fetch(wanted)) == expected


def test_http_is_a_store_too(both: Set, tmp_path: Path) -> None:
    orders = tmp_path / "orders.json"
    order(orders, status=503, count=3)
    (place, *_) = places(both.far)
    expected = Store(at(both.server)).read(place)
    with proxy(both.server, orders) as url:
        store = Store(StoreConfig(first_wait=0.05, patience=PATIENCE))
        there = Place(f"{url}/{BUCKET}/set/000.tar", place.offset, place.length, place.digest, "m.png")
        assert store.read(there) == expected
        assert [count for _, count in store.take_trouble().failures] == [3]
        with pytest.raises(PictureError, match="is not there"):
            store.read(Place(f"{url}/{BUCKET}/gone.png"))


def test_options_that_cannot_be_used_are_told() -> None:
    with pytest.raises(StoreError, match=r"data\.store\.options cannot be used for s3://"):
        Store(StoreConfig(options={"config_kwargs": "much"})).read(Place("s3://b/a.png"))


def test_wrong_names_are_found_when_the_run_begins(both: Set, tmp_path: Path) -> None:
    gone = prepared(both.near.parent / "tars", tmp_path / "gone", "s3://no-such-bucket/set")
    with pytest.raises(TrainkitError, match="none of 8 pictures that were tried can be had") as caught:
        read_data(DataConfig(path=gone, store=at(both.server)), [])
    assert "no-such-bucket/set/000.tar/000.png: is not there" in str(caught.value)
    with pytest.raises(
        TrainkitError, match=r'none of 8 .*\n.*data\.masks = "file" finds no masks in a store'
    ):
        read_data(DataConfig(path=both.far, store=at(both.server), masks="file"), [])
    with pytest.raises(TrainkitError, match=r'none of 8 .*\n.*data\.masks = "file" finds no masks in a tar'):
        read_data(DataConfig(path=both.near, masks="file"), [])
    assert read_data(DataConfig(path=both.far, store=at(both.server)), []).notes == ()


def test_masks_in_alpha_channels_come_with_the_picture(both: Set) -> None:
    config = DataConfig(path=both.far, store=at(both.server), masks="alpha")
    reader: PictureReader = config.reader
    for picture in read_data(config, []).spread(3):
        assert reader.mask(picture) is None  # Drawn scenes have no alpha channel.


def losses(model: Path, data: Path, out: Path, store: StoreConfig, **settings: Any) -> list[float]:
    """Of a small run with two workers, whose log says how it went."""
    told = run_data(model, data, out, samples=24)
    told["data"] |= {"workers": 2, "store": store.model_dump()} | settings
    train(RunConfig.model_validate(told))
    return logged(out)


def logged(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "log.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize("latents", ["live", "cached"])
def test_a_run_from_s3_is_the_run_from_the_disk_though_it_answers_503(
    both: Set, tiny_model: Path, tmp_path: Path, latents: str
) -> None:
    near = losses(tiny_model, both.near, tmp_path / "near", StoreConfig(), latents=latents)
    orders = tmp_path / "orders.json"
    order(orders, status=503, after=8, count=30)  # Eight are tried before a run begins.
    with proxy(both.server, orders) as url:
        store = at(url, longest_wait=0.5)
        far = losses(tiny_model, both.far, tmp_path / "far", store, latents=latents)
    assert len([1 for status, *_ in answered(orders) if status == 503]) == 30
    assert len(near) == 3
    assert far == near
    if latents == "live":
        progress = json.loads((tmp_path / "far/progress.json").read_text("utf-8"))
        assert sum(progress["store_failures"].values()) == 30
    for name in ("near", "far"):
        assert (tmp_path / name / "skipped.jsonl").read_text("utf-8") == ""
    assert CREDENTIALS["AWS_SECRET_ACCESS_KEY"] not in (tmp_path / "far/run.json").read_text("utf-8")


def test_a_run_whose_store_never_comes_back_ends_with_a_message(
    both: Set, tiny_model: Path, tmp_path: Path
) -> None:
    orders = tmp_path / "orders.json"
    order(orders, status=503, after=8 + 20)  # Eight are tried before a run begins; two steps and a half.
    with proxy(both.server, orders) as url:
        run = write_run(tmp_path / "far", tiny_model, both.far, samples=48, checkpoint_every=8)
        patience = f'data.store={{options={{endpoint_url="{url}"}}, first_wait=0.1, patience=2}}'
        words = [*command("train", run), patience, 'data.latents="live"', "data.workers=1"]
        ended = run_to_the_end(words)
        said = ended.stdout + ended.stderr
        assert ended.returncode > 0
        assert 1 <= len(logged(tmp_path / "far/out")) < 6, "it stopped in its middle"
        # Pictures that fail while one that was asked for before still arrives are taken for bad ones, and two
        # of them are too many; on a busy machine that comes first.
        ends = ("handed over nothing for", "pictures could not be read any more while training")
        assert any(end in said for end in ends), said
        assert "Traceback" not in said
        order(orders)
        again = run_to_the_end(words)
        assert again.returncode == 0, "the same command goes on: " + again.stderr[-2000:]
    assert len(logged(tmp_path / "far/out")) == 6
