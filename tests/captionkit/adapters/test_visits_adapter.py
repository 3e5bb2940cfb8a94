"""Visits: every worker's visit of a picture is another draw, whoever starts it and however."""

from __future__ import annotations

import multiprocessing
import pickle
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import DataError, Record
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.lookup import Records
from captionkit.adapters.visits import Visit, Visits
from tests.captionkit.adapters.peers import PATIENCE, never_mirrored, pictures, pipeline, records


@given(st.integers(1, 4), st.integers(-2, 5), st.lists(st.integers(0, 3), max_size=20))
def test_the_nth_visit_is_the_nth_draw(repeats: int, first: int, order: list[int]) -> None:
    visits = Visits(records(4), first_epoch=first, repeats=repeats)
    seen: Counter[int] = Counter()
    for number in order:
        visit = visits.next(pictures()[number])
        assert visit == (first + seen[number] // repeats, seen[number] % repeats)
        seen[number] += 1


def _visit(arguments: tuple[Visits, Any]) -> None:
    visits, queue = arguments
    queue.put([visits.next(record) for record in pictures(4) for _ in range(5)])


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_counts_also_those_of_the_next_epoch(method: str) -> None:
    context: Any = multiprocessing.get_context(method)
    visits, found = Visits(records(4)), []
    for _ in range(2):  # Fresh workers each time, as a loader starts them.
        queue = context.Queue()
        workers = [context.Process(target=_visit, args=((visits, queue),)) for _ in range(2)]
        for worker in workers:
            worker.start()
        found += [visit for _ in workers for visit in queue.get(timeout=PATIENCE)]
        for worker in workers:
            worker.join(timeout=PATIENCE)
    assert Counter(found) == Counter({Visit(number, 0): 4 for number in range(20)})


def test_a_copy_counts_on_by_itself() -> None:
    visits, fox = Visits(records(4), first_epoch=3), pictures()[1]
    visits.next(fox)
    copy = pickle.loads(pickle.dumps(visits))
    assert copy.next(fox) == visits.next(fox) == Visit(4, 0)
    visits.begin_epoch(9)
    assert [visits.next(fox) for _ in range(3)] == [Visit(12, 0), Visit(12, 1), Visit(12, 2)]
    assert copy.next(fox) == Visit(5, 0)


def test_pictures_without_a_record_are_counted_too() -> None:
    visits = Visits(Records(()))
    one, other = Record("one"), Record("other")
    assert [visits.next(record).epoch for record in (one, other, one, other, one)] == [0, 0, 1, 1, 2]


def test_processes_of_a_distributed_run_draw_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Visit] = []
    for rank in ("0", "1", "2"):
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "3")
        visits = Visits(records(4), repeats=2)
        seen += [visits.next(pictures()[0]) for _ in range(4)]
    assert len(set(seen)) == len(seen)


def test_no_repeats_make_no_sense() -> None:
    with pytest.raises(DataError, match="repeats is 0, must be 1 or more"):
        Visits(records(), repeats=0)


def test_a_captioner_renders_as_the_pipeline_does() -> None:
    captioner = Captioner(pipeline(), records(), first_epoch=2, repeats=2)
    for record in pictures():
        for epoch, draw in ((2, 0), (2, 1), (3, 0)):
            rendered = captioner.render("not this", f"/data/{record.image}")
            assert rendered == pipeline().render(record, epoch=epoch, draw=draw)


def test_without_mirroring_the_text_is_that_of_the_picture_as_it_is() -> None:
    captioner = Captioner(pipeline(), records(), mirror=False)
    for record in pictures():
        rendered = captioner.render("", record.image)
        assert rendered == never_mirrored().render(record)
        assert "right" not in rendered.text


def test_the_environment_describes_a_captioner(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    with pytest.raises(DataError, match="CAPTIONKIT_RECIPE is not set"):
        Captioner.from_environment()
    recipe, data = tmp_path / "recipe.toml", tmp_path / "data.jsonl"
    recipe.write_text("seed = 3\n[[steps]]\nkind = 'shuffle_tags'\n", encoding="utf-8")
    data.write_text('{"file": "a.png", "tags": "red, fox, snow, day"}\n', encoding="utf-8")
    monkeypatch.setenv("CAPTIONKIT_RECIPE", str(recipe))
    monkeypatch.setenv("CAPTIONKIT_DATA", str(data))
    monkeypatch.setenv("CAPTIONKIT_EPOCH", "5")
    captioner = Captioner.from_environment()
    record = captioner.records[0]
    assert captioner.render("a") == captioner.pipeline.render(record, epoch=5)
    monkeypatch.setenv("CAPTIONKIT_EPOCH", "five")
    with pytest.raises(DataError, match="CAPTIONKIT_EPOCH: must be a whole number, got 'five'"):
        Captioner.from_environment()
