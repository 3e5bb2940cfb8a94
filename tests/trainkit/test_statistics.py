"""Counts over a data set."""

from __future__ import annotations

import json
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from captionkit import Prose, Record, Tag
from trainkit.export.statistics import data_statistics

NAMES = st.sampled_from(["fox", "red fox", "snow", "solo", 'a "quoted" tag', "x</table>"])
RECORDS = st.lists(
    st.builds(
        Record,
        id=st.text("abc123", min_size=1),
        tags=st.lists(st.builds(Tag, NAMES), max_size=6).map(tuple),
        prose=st.lists(st.builds(Prose, st.sampled_from(["", "A fox."]), NAMES), max_size=2).map(tuple),
        image=st.sampled_from([None, "1.png", "a/1.png", "a/b/2.png", "/far/away/3.png", "c\\4.png"]),
    ),
    max_size=30,
)


@settings(deadline=None)
@given(RECORDS)
def test_every_count_is_what_counting_by_hand_gives(records: list[Record]) -> None:
    found = data_statistics(records)
    tags = Counter(name for record in records for name in {tag.name for tag in record.tags})
    assert found["pictures"] == len(records)
    assert found["with_tags"] == sum(bool(record.tags) for record in records)
    assert found["tags"] == tags.total()
    assert found["distinct_tags"] == len(tags)
    assert dict(found["top_tags"]) == tags
    assert [count for _, count in found["top_tags"]] == sorted(tags.values(), reverse=True)
    said = [[p.source for p in record.prose if p.text] for record in records]
    assert found["with_prose"] == sum(map(bool, said))
    assert found["prose_sources"] == Counter(source for sources in said for source in sources)
    assert sum(folder["pictures"] for folder in found["folders"].values()) == len(records)
    inside: Counter[str] = Counter()
    for folder in found["folders"].values():
        inside.update(folder["tags"])
    assert inside == tags
    assert json.loads(json.dumps(found)) == found


@settings(deadline=None)
@given(RECORDS, st.randoms(use_true_random=False))
def test_the_order_of_the_records_does_not_matter(records: list[Record], random: object) -> None:
    shuffled = list(records)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert json.dumps(data_statistics(records)) == json.dumps(data_statistics(shuffled))


def test_folders_are_the_top_ones_and_paths_of_this_machine_stay_here() -> None:
    images = ["1.png", "a/1.png", "a/b/2.png", "/home/me/secret/3.png"]
    records = [Record(str(n), (Tag("fox"),), image=image) for n, image in enumerate(images)]
    found = data_statistics(records, name="foxes")
    assert {name: folder["pictures"] for name, folder in found["folders"].items()} == {
        "a": 2,
        "foxes": 1,
        "secret": 1,
    }
    assert "home" not in json.dumps(found)


def test_very_many_folders_are_counted_as_one() -> None:
    records = [Record(str(n), (Tag(f"tag {n % 2}"),), image=f"{n}/1.png") for n in range(200)]
    found = data_statistics(records)
    assert found["folders"] == {"data": {"pictures": 200, "tags": {"tag 0": 100, "tag 1": 100}}}


def test_lists_of_tags_are_cut_and_numbers_are_not() -> None:
    records = [Record("1", tuple(Tag(f"tag {n:03d}") for n in range(50)))]
    found = data_statistics(records, most_tags=3)
    assert found["top_tags"] == [["tag 000", 1], ["tag 001", 1], ["tag 002", 1]]
    assert list(found["folders"]["data"]["tags"]) == ["tag 000", "tag 001", "tag 002"]
    assert (found["tags"], found["distinct_tags"]) == (50, 50)


def test_sizes_are_counted() -> None:
    found = data_statistics([], sizes=[(64, 96), (96, 64), (64, 96)])
    assert list(found["resolutions"].items()) == [("64x96", 2), ("96x64", 1)]
    assert found["pictures"] == 0
