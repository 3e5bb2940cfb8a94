"""Baked captions: what a trainer reads from the files by its own rule is what the recipe drew."""

from __future__ import annotations

import argparse
import json
import random
import re
import tomllib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import CaptionkitError, CaptionPipeline, DataError, FlipRule, Record, Renderer, parse_tags
from captionkit.bake import (
    Baked,
    CaptionsJson,
    Form,
    KohyaDataset,
    Lines,
    Tally,
    TextLists,
    Variants,
    bake,
)
from captionkit.bake.form import percent
from captionkit.bake.lines import Reader, lines_of
from captionkit.commands.bake import add_bake
from captionkit.curves import Curve
from captionkit.policies import DropTags, EmptyCaption, ShuffleTags
from captionkit.readers.folder import FolderSource
from captionkit.readers.jsonl import JsonlSource
from captionkit.readers.open import open_source
from captionkit.readers.source import Source, strict
from captionkit.writers.pictures import Picture
from captionkit.writers.staging import Pictures

# What kohya reads, by reference pages on its code (order of steps, `.txt` files, wildcards), and the others.
# Only the rules are the same: nothing of their code is here.


def kohya_file(text: str) -> str:
    """The caption of a `.txt` with enable_wildcard: its lines, stripped, without empty ones. An empty file
    ends the training."""
    lines = text.splitlines(keepends=True) if "\u2028" not in text else re.findall(r"[^\n]*\n|[^\n]+", text)
    assert lines, "sd-scripts stops at an empty caption file"
    return "\n".join(line.strip() for line in lines if line.strip())


def kohya_captions(caption: str) -> Counter[str]:
    """Every caption that a draw may give, with how many of the lines give it: a line is drawn, then one
    option of each choice; doubled braces are braces."""
    found: Counter[str] = Counter()
    for line in caption.split("\n"):
        hidden = line.replace("{{", "\x01").replace("}}", "\x02")
        options = {_choose(hidden, number) for number in range(6)}
        assert len(options) == 1, "a choice is left to chance"
        found[options.pop().replace("\x01", "{").replace("\x02", "}")] += 1
    return found


def _choose(line: str, number: int) -> str:
    def option(found: re.Match[str]) -> str:
        options = found[1].split("|")
        return options[number % len(options)]

    return re.sub(r"\{([^}]+)\}", option, line)


def onetrainer_captions(text: str) -> Counter[str]:
    """Lines, stripped, without empty ones; none at all is one empty caption."""
    lines = [line.strip() for line in text.split("\n")]
    return Counter([line for line in lines if line] or [""])


def simpletuner_captions(text: str) -> Counter[str]:
    """Split where there is a line end, without empty ones; a text without a line end is one caption."""
    return Counter([line for line in text.split("\n") if line] if "\n" in text else [text])


# ------------------------------------------------------------------------------------------------------ laws

marks = [
    "fox",
    " ",
    "{",
    "}",
    "|",
    "{a|b}",
    "{{",
    "}}",
    "{|}",
    ",",
    "|||",
    "\n",
    "\r\n",
    "\u2028",
    "é",
    "(a:1.2)",
    "\\",
]
texts = st.lists(st.lists(st.sampled_from(marks), max_size=6).map("".join), min_size=1, max_size=5)


def flat(text: str) -> str:
    """A caption as a line can hold it."""
    return text.replace("\r", " ").replace("\n", " ").strip()


@given(texts)
def test_kohya_draws_what_was_drawn_letter_by_letter(texts: list[str]) -> None:
    assert kohya_captions(kohya_file(lines_of(texts, "kohya"))) == Counter(map(flat, texts))


@given(texts, st.sampled_from(["onetrainer", "simpletuner"]))
def test_others_draw_all_but_the_empty_ones(texts: list[str], reader: Reader) -> None:
    read = onetrainer_captions if reader == "onetrainer" else simpletuner_captions
    there = [text for text in map(flat, texts) if text]
    assert read(lines_of(texts, reader)) == Counter(there or [""])


# -------------------------------------------------------------------------------------------- files of a run

RECIPE = CaptionPipeline(
    steps=(EmptyCaption(p=0.2), ShuffleTags(), DropTags(rate=0.3)),
    flip=FlipRule(no_flip=("text on*",), mirror="swap"),
    seed=3,
)
K = 4
A = Picture("a.png", "a.png")


def data(folder: Path, number: int = 24, folders: tuple[str, ...] = ("", "cats")) -> FolderSource:
    """Pictures of four kinds: one that may be mirrored, one with writing, one that speaks of sides, one with
    braces."""
    kinds = ["fox, snow, tree", "fox, text on shirt", "fox, left arm up", "fox, {a|b}, {:, }}"]
    for index in range(number):
        place = folder / folders[index // 2 % len(folders)]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index:02d}.png").write_bytes(b"%d" % index)
        (place / f"{index:02d}.txt").write_text(kinds[index % 4])
    return FolderSource(folder)


def drawn(source: FolderSource, pipeline: CaptionPipeline = RECIPE, k: int = K) -> dict[str, list[str]]:
    still = pipeline.with_settings({"flip.p": 0.0})
    return {
        str(record.image): [one.text for one in still.render_many(record, k)]
        for record in source.records(strict)
    }


def run(form: Form, source: Source, processes: int = 1, pipeline: CaptionPipeline = RECIPE) -> Tally:
    return bake(source, Variants(pipeline, K), form, processes=processes, report=strict)


def tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


FORMS: dict[str, Callable[[Path, Path], Form]] = {
    "lines": lambda out, root: Lines(out, root, "onetrainer"),
    "lines, split": lambda out, root: Lines(out, root, "kohya", "link", split=True),
    "captions.json": lambda out, root: CaptionsJson(out, root, "copy"),
    "kohya, metadata": lambda out, root: KohyaDataset(out, root),
    "kohya, folders": lambda out, root: KohyaDataset(out, root, "link"),
    "jsonl": lambda out, root: TextLists(out / "metadata.jsonl", root),
    "parquet": lambda out, root: TextLists(out / "metadata.parquet", root),
}


@pytest.mark.parametrize("name", FORMS)
def test_run_again_it_is_the_same_and_so_in_two_processes(tmp_path: Path, name: str) -> None:
    source = data(
        tmp_path / "in", 60, ("", "a", "b", "c/d", "e", "f")
    )  # So many blocks that processes are begun.
    out = tmp_path / "out"
    run(FORMS[name](out, source.root), source)
    before = tree(out)
    times = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    # Two of them are enough to see: what the processes do is the same for all.
    run(FORMS[name](out, source.root), source, processes=2 if name in ("kohya, folders", "parquet") else 1)
    assert tree(out) == before
    if name not in ("jsonl", "parquet"):  # Which are written whole.
        assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    assert not list(out.rglob(".*"))


@pytest.mark.parametrize("name", FORMS)
def test_an_error_on_the_way_changes_nothing(tmp_path: Path, name: str) -> None:
    source = data(tmp_path / "in", 8)
    out = tmp_path / "out"
    run(FORMS[name](out, source.root), source)
    before = tree(out)
    (tmp_path / "in" / "zz.png").touch()
    (tmp_path / "in" / "zz.txt").write_text("")
    with pytest.raises(DataError, match="holds no tags"):
        run(FORMS[name](out, source.root), source)
    assert tree(out) == before


def test_lines_lie_where_the_pictures_would(tmp_path: Path) -> None:
    source = data(tmp_path / "in")
    tally = run(Lines(tmp_path / "out", source.root, "onetrainer"), source)
    captions = drawn(source)
    assert {name: onetrainer_captions(text.decode()) for name, text in tree(tmp_path / "out").items()} == {
        f"{image.removesuffix('.png')}.txt": Counter([text for text in texts if text] or [""])
        for image, texts in captions.items()
    }
    count = tally.count
    every = [text for texts in captions.values() for text in texts]
    assert (count.pictures, count.texts, count.k) == (24, 96, 4)
    assert count.empty == every.count("")
    assert count.all_empty == sum(not any(texts) for texts in captions.values())
    assert count.distinct == sum(len(set(texts)) for texts in captions.values())
    assert count.braces == sum("{" in text or "}" in text for text in every)
    # The dropout that stands in for empty lines: as often empty, over pictures that have other captions.
    mixed = [text for texts in captions.values() if any(texts) for text in texts]
    assert count.empty_share == pytest.approx(mixed.count("") / len(mixed))
    assert count.empty
    assert any(
        f"Dropout Probability = {count.empty_share:.3g}" in line
        for line in Lines(Path("o"), Path("p")).advice(count)
    )


@pytest.mark.parametrize("pictures", ["stay", "link", "copy"])
def test_kohya_reads_two_subsets(tmp_path: Path, pictures: Pictures) -> None:
    """The TOML as sd-scripts takes it: of a subset with metadata the keys, of one without it the pictures of
    its folder, not of those below."""
    source = data(tmp_path / "in")
    run(KohyaDataset(tmp_path / "out", source.root, pictures), source)
    config = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    assert config["general"] == {"enable_wildcard": True}
    (dataset,) = config["datasets"]
    read: dict[str, tuple[bool, Counter[str]]] = {}
    for subset in dataset["subsets"]:
        if "metadata_file" in subset:
            assert set(subset) == {"image_dir", "metadata_file", "flip_aug"}
            metadata = json.loads(Path(subset["metadata_file"]).read_text())
            entries = {Path(key): entry["caption"] for key, entry in metadata.items()}
        else:
            assert set(subset) == {"image_dir", "caption_extension", "flip_aug"}
            entries = {
                path: kohya_file(path.with_suffix(subset["caption_extension"]).read_text())
                for path in sorted(Path(subset["image_dir"]).glob("*.png"))
            }
        for path, caption in entries.items():
            image = path.relative_to(subset["image_dir"]).name
            assert path.is_file()
            assert path.is_symlink() == (pictures == "link")
            read[image] = (subset["flip_aug"], kohya_captions(caption))
    # And as our own reader of such files finds them.
    assert len(list(open_source(tmp_path / "out" / "dataset.toml").records(strict))) == 24
    captions = drawn(source)
    # The first kind and the one with braces may be mirrored; mirror = "swap" speaks of sides in the third.
    assert read == {
        Path(image).name: (int(Path(image).stem) % 4 in (0, 3), Counter(map(flat, texts)))
        for image, texts in captions.items()
    }


@pytest.mark.parametrize("pictures", ["stay", "link"])
def test_repeats_and_flips_of_subsets_are_kept(tmp_path: Path, pictures: Pictures) -> None:
    """A data set with two subsets went in, and its repeats were lost."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{folder}.png").touch()
        (tmp_path / folder / f"{folder}.txt").write_text("fox, snow")
    (tmp_path / "in.toml").write_text(
        "[general]\ncaption_extension = '.txt'\n[[datasets]]\n"
        "[[datasets.subsets]]\nimage_dir = 'a'\nnum_repeats = 10\nflip_aug = true\n"
        "[[datasets.subsets]]\nimage_dir = 'b'\nis_reg = true\n"
    )
    source = open_source(tmp_path / "in.toml")
    recipe = CaptionPipeline(flip=FlipRule(facts={"kohya.flip_aug": (True,)}))
    run(KohyaDataset(tmp_path / "out", source.root, pictures), source, pipeline=recipe)
    config = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    told = sorted(
        (one["flip_aug"], one.get("num_repeats", 1), one.get("is_reg", False))
        for one in config["datasets"][0]["subsets"]
    )
    assert told == [(False, 1, True), (True, 10, False)]
    facts = {
        Path(str(record.image)).name: (record.fact("kohya.num_repeats"), record.fact("kohya.flip_aug"))
        for record in open_source(tmp_path / "out" / "dataset.toml").records(strict)
    }
    assert facts == {"a.png": (10, True), "b.png": (1, None)}


def test_captions_json_lies_in_each_folder(tmp_path: Path) -> None:
    source = data(tmp_path / "in")
    tally = run(CaptionsJson(tmp_path / "out", source.root, "link"), source)
    read = {
        f"{folder}{name}": texts
        for folder in ("", "cats/")
        for name, texts in json.loads((tmp_path / "out" / folder / "captions.json").read_text()).items()
    }
    assert read == drawn(source)
    assert (tmp_path / "out" / "cats" / "02.png").resolve() == (tmp_path / "in" / "cats" / "02.png").resolve()
    advice = CaptionsJson(tmp_path / "out", source.root, "link").advice(tally.count)
    assert any("divide epochs by 4" in line for line in advice)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_datasets_reads_the_lists(tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets: Any = pytest.importorskip("datasets")
    source = data(tmp_path / "in")
    table = tmp_path / "tables" / f"x{suffix}"
    run(TextLists(table, source.root), source)
    rows: Any = datasets.load_dataset(
        "json" if suffix == ".jsonl" else "parquet",
        data_files=str(table),
        split="train",
        cache_dir=str(tmp_path / "c"),
    )
    captions = drawn(source)
    assert {row["file_name"]: row["text"] for row in rows} == {
        f"../in/{image}": texts for image, texts in captions.items()
    }
    assert [row["file_name"] for row in rows if row["may_flip"]] == [
        row["file_name"] for row in rows if int(Path(row["file_name"]).stem) % 4 in (0, 3)
    ]


def test_the_diffusers_script_finds_pictures_and_lists(tmp_path: Path) -> None:
    """`load_dataset("imagefolder")`, as train_text_to_image.py calls it; of a list it draws one text."""
    datasets: Any = pytest.importorskip("datasets")
    image: Any = pytest.importorskip("PIL.Image")
    source = data(tmp_path / "in", 6)
    for path in (tmp_path / "in").rglob("*.png"):
        image.new("RGB", (2, 2)).save(path)
    run(TextLists(tmp_path / "in" / "metadata.jsonl", source.root), source)
    loaded: Any = datasets.load_dataset(
        "imagefolder", data_dir=str(tmp_path / "in"), split="train", cache_dir=str(tmp_path / "c")
    )
    assert {"image", "text", "may_flip"} <= set(loaded.column_names)
    assert sorted(map(tuple, loaded["text"])) == sorted(map(tuple, drawn(source).values()))
    assert random.Random(0).choice(loaded[0]["text"]) in loaded[0]["text"]


# ------------------------------------------------------------------------------------------------- mirroring


@pytest.mark.parametrize(
    ("mirror", "tags", "may_flip"),
    [
        ("keep", "fox, left arm up", True),
        ("swap", "fox, left arm up", False),
        ("tags", "fox, left arm up", False),
        ("swap", "fox, snow", True),
        ("keep", "text on shirt", False),
    ],
)
def test_a_trainer_may_mirror_what_stays_true(mirror: Any, tags: str, may_flip: bool) -> None:
    pipeline = CaptionPipeline(flip=FlipRule(no_flip=("text on*",), mirror=mirror))
    baked = Variants(pipeline, 8).of(Record("a", parse_tags(tags)), A)
    assert baked == Baked("a", A, (tags,) * 8, may_flip)


def test_a_recipe_that_never_mirrors_has_nothing_to_mirror() -> None:
    baked = Variants(CaptionPipeline(flip=FlipRule(p=0.0)), 2).of(Record("a", parse_tags("fox")), A)
    assert not baked.may_flip


def test_a_recipe_that_changes_is_told() -> None:
    changing = CaptionPipeline(steps=(DropTags(rate=Curve(over="epoch", points=((0, 0.1), (5, 0.5)))),))
    assert Variants(changing, 2).changes
    assert not Variants(RECIPE, 2).changes
    record = Record("a", parse_tags(", ".join(f"tag {number}" for number in range(30))))
    assert Variants(changing, 2, epoch=5).of(record, A) != Variants(changing, 2).of(record, A)


# ----------------------------------------------------------------------------------------------- what is bad


def test_a_line_break_in_a_text_is_a_space_and_told(tmp_path: Path) -> None:
    source = data(tmp_path / "in", 4)
    pipeline = CaptionPipeline(text=Renderer(tag_separator="\n"))
    tally = run(Lines(tmp_path / "out", source.root, "onetrainer"), source, pipeline=pipeline)
    assert (tmp_path / "out" / "00.txt").read_text() == "fox snow tree\n" * K
    assert tally.count.breaks == 4 * K


def test_what_is_there_and_differs_is_not_overwritten(tmp_path: Path) -> None:
    source = data(tmp_path / "in", 4)
    run(Lines(tmp_path / "out", source.root, "kohya"), source)
    before = tree(tmp_path / "out")
    other = RECIPE.with_seed(9)
    with pytest.raises(DataError, match="is there already"):
        run(Lines(tmp_path / "out", source.root, "kohya"), source, pipeline=other)
    assert tree(tmp_path / "out") == before
    run(Lines(tmp_path / "out", source.root, "kohya", overwrite=True), source, pipeline=other)
    assert tree(tmp_path / "out") != before


@pytest.mark.parametrize("name", [name for name in FORMS if name not in ("jsonl", "parquet")])
def test_no_picture_outside_and_no_picture_twice(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.png").write_bytes(b"s")
    (tmp_path / "in" / "a.png").write_bytes(b"a")
    table = tmp_path / "in" / "t.jsonl"
    lines = [
        '{"image": "../secret.png", "tags": "fox"}',
        '{"id": "n", "tags": "fox"}',
        '{"image": "a.png", "tags": "fox"}',
    ]
    table.write_text("\n".join(lines))
    tally = bake(
        JsonlSource(table), Variants(RECIPE, K), FORMS[name](tmp_path / "out", table.parent), report=strict
    )
    assert tally.count.pictures == 1
    assert sorted(tally.losses.counts) == [
        "records whose picture lies outside the folder, left out",
        "records without a picture, left out",
    ]
    table.write_text("\n".join([lines[2], lines[2]]))
    with pytest.raises(DataError, match="two records"):
        bake(
            JsonlSource(table),
            Variants(RECIPE, K),
            FORMS[name](tmp_path / "out2", table.parent),
            report=strict,
        )
    assert not (tmp_path / "out2").exists()


def test_nothing_to_write_is_an_error(tmp_path: Path) -> None:
    table = tmp_path / "t.jsonl"
    table.write_text('{"id": "n", "tags": "fox"}')
    with pytest.raises(DataError, match="nothing to write: records without a picture"):
        bake(JsonlSource(table), Variants(RECIPE, K), Lines(tmp_path / "out", tmp_path), report=strict)
    with pytest.raises(DataError, match=r"\.jsonl or \.parquet"):
        bake(JsonlSource(table), Variants(RECIPE, K), TextLists(tmp_path / "x.csv", tmp_path), report=strict)


@pytest.mark.parametrize(
    ("share", "text"), [(0.0, "0 %"), (0.0512, "5.1 %"), (0.004, "0.4 %"), (0.5, "50 %")]
)
def test_shares_are_readable(share: float, text: str) -> None:
    assert percent(share) == text


# ----------------------------------------------------------------------------------------------- the command


def command(*arguments: str) -> None:
    parser = argparse.ArgumentParser()
    add_bake(parser.add_subparsers())
    parsed = parser.parse_args(["bake", *arguments, "--processes", "1"])
    parsed.run(parsed)


RECIPE_TOML = """
seed = 3
[[steps]]
kind = "empty_caption"
p = 0.2
[[steps]]
kind = "drop_tags"
rate = { over = "epoch", points = [[0, 0.3], [9, 0.5]] }
[flip]
p = 0.25
no_flip = ["text on*"]
"""


def test_the_command_says_what_to_set(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = data(tmp_path / "in", 8)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE_TOML)
    (tmp_path / "in" / "zz.png").touch()
    out = str(tmp_path / "out")
    command(
        str(recipe), str(source.root), "-k", "3", "-o", out, "--form", "lines", "--trainer", "simpletuner"
    )
    said, told = capsys.readouterr()
    assert f"{out}: 3 captions of 8 pictures" in said
    assert "may be mirrored by a trainer: 6 of 8 pictures" in said
    assert "empty captions: " in said
    assert "the recipe mirrors with p = 0.25" in said
    assert "those of epoch 0 and 0 samples" in said
    assert "zz.png: has neither tags nor captions" in told
    assert 'next: SimpleTuner: "instance_data_dir"' in told
    assert "caption_dropout_probability = " in told
    command(str(recipe), str(source.root), "-o", out, "--form", "kohya", "--json")
    values = json.loads(capsys.readouterr().out)
    assert (values["pictures"], values["texts"], values["may_flip"]) == (8, 64, 6)
    assert any("--dataset_config" in line for line in values["advice"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--form", "lines"), "needs to know who reads them"),
        (("--form", "list", "--trainer", "kohya"), "--trainer belongs to --form lines"),
        (("--form", "kohya", "--split"), "--split belongs to --form lines"),
        (("--form", "list", "--pictures", "link"), "brings no pictures along"),
        (("--form", "list"), r"\.jsonl or \.parquet"),
        (("--form", "kohya", "--pictures", "link", "-o", "in/out"), "lies in the folder of the data"),
        (("--form", "lines", "--trainer", "kohya", "-o", "in"), "lies in the folder of the data"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data(tmp_path / "in", 4)
    before = tree(tmp_path)
    with pytest.raises(CaptionkitError, match=says):
        command("hyperfusion", "in", "-o", "out", *arguments)
    assert tree(tmp_path) == before


PAGE = Path(__file__).resolve().parents[2] / "docs" / "trainers" / "without-code.md"
COMMANDS = [
    line.removeprefix("captionkit bake ")
    for line in PAGE.read_text(encoding="utf-8").splitlines()
    if line.strip().startswith("captionkit bake recipe.toml pictures/")
]


def test_the_page_has_commands() -> None:
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("line", COMMANDS)
def test_the_commands_of_the_page_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], line: str
) -> None:
    monkeypatch.chdir(tmp_path)
    data(tmp_path / "pictures", 8)
    (tmp_path / "recipe.toml").write_text(RECIPE_TOML)
    command(*line.split()[line.split().index("recipe.toml") :])
    assert "8 captions of 8 pictures" in capsys.readouterr().out
