"""A recipe inside sd-scripts: its draws are right where the trainer's own are not.

sd-scripts itself is on no package index; `sd_scripts/library/train_util.py` beside this file tells its order
of calls again. The data loaders and their worker processes are real.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import shutil
import subprocess
import sys
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.utils.data import DataLoader

from captionkit import CaptionkitError, CaptionPipeline, Curve, FlipRule, Record, load_pipeline, parse_tags
from captionkit.adapters.kohya import install
from captionkit.adapters.kohya_batch import record_of_caption
from captionkit.adapters.lookup import Records
from captionkit.policies import DropTags, EmptyCaption, KeepTags, ShuffleTags, When
from captionkit.readers.kohya_dataset import KohyaDatasetSource
from captionkit.readers.source import strict
from tests.captionkit.adapters.peers import PATIENCE

# PyTorch warns where there are fewer cores than workers.
pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create")

NUM, BATCH, EPOCHS = 48, 4, 3
TAGS = "left_arm_up, " + ", ".join(f"tag_{number}" for number in range(20))
SHUFFLE = CaptionPipeline(steps=(ShuffleTags(), DropTags(rate=0.2)), flip=FlipRule(p=0.5, mirror="swap"))


@pytest.fixture
def sd(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module `library.train_util`, fresh."""
    monkeypatch.syspath_prepend(Path(__file__).with_name("sd_scripts"))
    for name in ("library", "library.train_util"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    from importlib import import_module

    yield import_module("library.train_util")
    for name in ("library", "library.train_util"):
        sys.modules.pop(name, None)


def group(sd: ModuleType, num_repeats: int = 1, **options: Any) -> Any:
    """Pictures of one subset whose captions are all the same, in batches."""
    dataset = sd.BaseDataset(BATCH)
    subset = sd.BaseSubset(num_repeats=num_repeats, **options)
    dataset.subsets = [subset]
    for number in range(NUM):
        key = f"/data/fox/{number:03}.png"
        dataset.register_image(sd.ImageInfo(key, num_repeats, TAGS, False, key), subset)
    dataset.make_buckets()
    return sd.DatasetGroup([dataset])


def trained(
    sd: ModuleType,
    data: Any,
    num_workers: int,
    *,
    persistent: bool = False,
    context: str | None = None,
    epochs: int = EPOCHS,
) -> list[list[dict[str, Any]]]:
    """The batches of each epoch, from a loop and a data loader such as train_network.py has."""
    values: Any = multiprocessing.get_context(context)
    epoch, step = values.Value("i", 0), values.Value("i", 0)
    loader: Any = DataLoader(
        data,
        batch_size=1,
        shuffle=True,
        collate_fn=sd.collator_class(epoch, step, None if num_workers else data),
        num_workers=num_workers,
        persistent_workers=persistent,
        multiprocessing_context=context if num_workers else None,
        generator=torch.Generator().manual_seed(1),
    )
    batches: list[list[dict[str, Any]]] = []
    for number in range(1, epochs + 1):
        epoch.value = number
        batches.append([])
        for batch in loader:
            batches[-1].append(batch)
            step.value += 1
    return batches


def seen(batches: list[dict[str, Any]]) -> list[tuple[str, str, bool]]:
    """(picture, text, mirrored) of one epoch, sorted."""
    return sorted(
        (key, text, bool(flip))
        for batch in batches
        for key, text, flip in zip(batch["image_keys"], batch["captions"], batch["flippeds"], strict=True)
    )


def expected(epoch: int, num_repeats: int = 1) -> list[tuple[str, str, bool]]:
    records = [Record(f"/data/fox/{number:03}.png", parse_tags(TAGS)) for number in range(NUM)]
    drawn = [
        (record.id, SHUFFLE.render(record, epoch=epoch, draw=draw))
        for record in records
        for draw in range(num_repeats)
    ]
    return sorted((key, one.text, one.flip) for key, one in drawn)


# ------------------------------------------------------------------------------------- the trainer by itself


def test_the_trainer_alone_gives_all_workers_the_same_numbers_and_some_pictures_twice(sd: ModuleType) -> None:
    data = group(sd, shuffle_caption=True, flip_aug=True)
    (first, second, _) = trained(sd, data, 4)
    rounds = [second[at : at + 4] for at in range(4, len(second) - 3, 4)]
    same = [len({(tuple(b["captions"]), tuple(b["flippeds"])) for b in batches}) == 1 for batches in rounds]
    assert rounds
    assert all(same)
    for batches in (first, second):
        counts = Counter(key for batch in batches for key in batch["image_keys"])
        assert len(counts) < NUM


# --------------------------------------------------------------------------------------------- with a recipe


@pytest.mark.parametrize(("num_workers", "persistent"), [(0, False), (2, False), (4, False), (4, True)])
def test_draws_are_the_recipes_under_any_number_of_workers(
    sd: ModuleType, num_workers: int, persistent: bool
) -> None:
    with install(SHUFFLE):
        epochs = trained(sd, group(sd, flip_aug=True), num_workers, persistent=persistent)
    for number, batches in enumerate(epochs, start=1):
        assert seen(batches) == expected(number)
    assert seen(epochs[0]) != seen(epochs[1])


def test_pictures_of_one_caption_are_drawn_apart(sd: ModuleType) -> None:
    with install(SHUFFLE):
        (batches,) = trained(sd, group(sd, flip_aug=True, random_crop=True), 4, epochs=1)
    drawn = seen(batches)
    assert len({text for _, text, _ in drawn}) == NUM
    assert 0 < sum(flip for _, _, flip in drawn) < NUM
    assert len({int(crop) for batch in batches for crop in batch["crops"]}) == NUM


@pytest.mark.parametrize("num_workers", [0, 2])
def test_repeats_of_an_epoch_are_drawn_anew(sd: ModuleType, num_workers: int) -> None:
    with install(SHUFFLE):
        epochs = trained(sd, group(sd, num_repeats=3, flip_aug=True), num_workers, epochs=2)
    for number, batches in enumerate(epochs, start=1):
        assert seen(batches) == expected(number, num_repeats=3)


def test_several_data_sets_of_one_group(sd: ModuleType) -> None:
    both = [group(sd, num_repeats=2, flip_aug=True).datasets[0] for _ in range(2)]
    with install(SHUFFLE):
        epochs = trained(sd, sd.DatasetGroup(both), 2, epochs=2)
    for number, batches in enumerate(epochs, start=1):
        assert seen(batches) == sorted(2 * expected(number, num_repeats=2))


def test_spawned_workers_are_patched_too(sd: ModuleType) -> None:
    with install(SHUFFLE):
        (batches,) = trained(sd, group(sd, flip_aug=True), 1, context="spawn", epochs=1)
    assert seen(batches) == expected(1)


def test_text_and_picture_agree_about_sides(sd: ModuleType) -> None:
    pipeline = CaptionPipeline(flip=FlipRule(p=0.5, mirror="swap"))
    with install(pipeline):
        (batches,) = trained(sd, group(sd, flip_aug=True), 2, epochs=1)
    for _, text, flip in seen(batches):
        assert text.startswith("right arm up" if flip else "left arm up")


def test_a_veto_holds(sd: ModuleType) -> None:
    with install(CaptionPipeline(flip=FlipRule(p=1.0, no_flip=("left*",)))):
        (batches,) = trained(sd, group(sd, flip_aug=True), 0, epochs=1)
    assert not any(flip for _, _, flip in seen(batches))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_without_flip_aug_nothing_is_mirrored_and_texts_say_so(sd: ModuleType, num_workers: int) -> None:
    always = CaptionPipeline(flip=FlipRule(p=1.0, mirror="swap"))
    with install(always), pytest.warns(UserWarning, match="flip_aug is false, so no picture is mirrored"):
        data = group(sd)
    with install(always):
        (batches,) = trained(sd, data, num_workers, epochs=1)
    assert all(not flip and text.startswith("left arm up") for _, text, flip in seen(batches))


def test_samples_follow_the_trainers_steps(sd: ModuleType) -> None:
    share: Any = {"over": "samples", "points": [[0, 0.0], [BATCH * 6, 1.0]], "shape": "linear"}
    with install(
        CaptionPipeline(steps=(KeepTags(share=Curve(**share), which="first"),), flip=FlipRule(p=0.0))
    ):
        (batches,) = trained(sd, group(sd), 0, epochs=1)
    lengths = [len(text.split(", ")) if text else 0 for batch in batches for text in batch["captions"][:1]]
    assert lengths[0] == 0
    assert lengths == sorted(lengths)
    assert lengths[6:] == [21] * (len(lengths) - 6)


# --------------------------------------------------------------------------------------- records of pictures


def test_a_caption_is_looked_up_by_picture_whatever_the_trainer_holds(sd: ModuleType) -> None:
    """cache_info with validation_split pairs pictures with the captions of others."""
    records = [
        Record(f"{number:03}", parse_tags(f"picture {number}"), image=f"fox/{number:03}.png")
        for number in range(NUM)
    ]
    with install(CaptionPipeline(flip=FlipRule(p=0.0)), Records(records, root="/data")):
        (batches,) = trained(sd, group(sd), 2, epochs=1)
    assert [text for _, text, _ in seen(batches)] == [f"picture {number}" for number in range(NUM)]


def test_a_picture_without_a_record_has_the_trainers_text_and_is_told_once(sd: ModuleType) -> None:
    known = Records([Record("other", parse_tags("other"), image="fox/other.png")], root="/data")
    with install(CaptionPipeline(flip=FlipRule(p=0.0)), known):
        data = group(sd)
        with pytest.warns(UserWarning, match="no record belongs to") as told:
            (batches,) = trained(sd, data, 0, epochs=1)
    assert len(told) == 1
    assert {text for _, text, _ in seen(batches)} == {TAGS.replace("_", " ")}


def test_records_from_a_dataset_toml(sd: ModuleType, tmp_path: Path) -> None:
    folder = tmp_path / "fox"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").touch()
        (folder / f"{name}.txt").write_text(f"picture {name}", encoding="utf-8")
    (folder / "bad.png").touch()
    toml = tmp_path / "dataset.toml"
    toml.write_text(
        f"[[datasets]]\n[[datasets.subsets]]\nimage_dir = '{folder}'\ncaption_extension = '.txt'\n",
        encoding="utf-8",
    )
    dataset = sd.BaseDataset(BATCH)
    subset = sd.BaseSubset(image_dir=str(folder))
    dataset.subsets = [subset]
    for name in ("a", "b", "bad"):
        key = str(folder / f"{name}.png")
        dataset.register_image(sd.ImageInfo(key, 1, "wrong" if name != "bad" else "", False, key), subset)
    with pytest.warns(UserWarning, match="1 records cannot be read"):
        plug = install(CaptionPipeline(flip=FlipRule(p=0.0)), toml)
    with plug:
        dataset.make_buckets()
        with pytest.warns(UserWarning, match="no record belongs to"):
            (batches,) = trained(sd, sd.DatasetGroup([dataset]), 0, epochs=1)
    assert [text for _, text, _ in seen(batches)] == ["picture a", "picture b", ""]


def test_a_record_of_the_trainers_caption_is_that_of_the_source_but_for_its_id(
    sd: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("fox").mkdir()
    Path("fox/a.png").touch()
    Path("fox/a.txt").write_text("solo $$ red fox, tree $$ best\nA fox.\n\n", encoding="utf-8")
    Path("d.toml").write_text(
        "[[datasets]]\ncaption_extension = 'txt'\nkeep_tokens_separator = '$$'\nenable_wildcard = true\n"
        "caption_tag_dropout_rate = 0.5\n[[datasets.subsets]]\nimage_dir = 'fox'\nnum_repeats = 3\n",
        encoding="utf-8",
    )
    (record,) = KohyaDatasetSource("d.toml").records(lambda error: pytest.fail(str(error)))
    subset = sd.BaseSubset(
        "fox", num_repeats=3, keep_tokens_separator="$$", enable_wildcard=True, caption_tag_dropout_rate=0.5
    )
    ours = record_of_caption("fox\\a.png", "solo $$ red fox, tree $$ best\nA fox.", subset)
    assert ours.id == "fox/a.png"
    assert (ours.tags, ours.prose, ours.info) == (record.tags, record.prose, record.info)


def test_subsets_are_treated_apart_by_their_facts(sd: ModuleType) -> None:
    facts: Any = {"kohya.subset": ["fox"]}
    recipe = CaptionPipeline(steps=(When(facts=facts, then=EmptyCaption(p=1.0)),), flip=FlipRule(p=0.0))
    with install(recipe):
        (batches,) = trained(sd, group(sd), 0, epochs=1)
        (others,) = trained(sd, group(sd, image_dir="cat"), 0, epochs=1)
    assert not any(text for _, text, _ in seen(batches))
    assert all(text for _, text, _ in seen(others))


# -------------------------------------------------------------------------------- what would undo the recipe


def test_the_trainers_own_options_have_no_effect_and_are_named(sd: ModuleType) -> None:
    with install(CaptionPipeline(flip=FlipRule(p=0.0))):
        with pytest.warns(
            UserWarning, match=r"fox: without effect, .* captions: shuffle_caption, caption_dropout_rate;"
        ):
            data = group(sd, shuffle_caption=True, caption_dropout_rate=1.0)
        (batches,) = trained(sd, data, 0, epochs=1)
    assert {text for _, text, _ in seen(batches)} == {TAGS.replace("_", " ")}


def test_cached_text_encoder_outputs_are_refused(sd: ModuleType) -> None:
    data = group(sd)
    for info in data.datasets[0].image_data.values():
        info.text_encoder_outputs = "cached"
    with install(CaptionPipeline()), pytest.raises(CaptionkitError, match="cache_text_encoder_outputs"):
        trained(sd, data, 0, epochs=1)


def test_a_trainer_that_decides_otherwise_about_mirroring_is_refused(
    sd: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = sd.BaseDataset.__getitem__

    def decides_late(dataset: Any, index: int) -> Any:
        example = theirs(dataset, index)
        return example | {"flippeds": [not flip for flip in example["flippeds"]]}

    monkeypatch.setattr(sd.BaseDataset, "__getitem__", decides_late)
    with install(CaptionPipeline()), pytest.raises(CaptionkitError, match="mirrored other pictures"):
        trained(sd, group(sd, flip_aug=True), 0, epochs=1)


def test_a_worker_that_cannot_know_the_epoch_is_refused(sd: ModuleType) -> None:
    with install(CaptionPipeline()):
        data = group(sd, flip_aug=True)
        loader: Any = DataLoader(data, batch_size=1, num_workers=1, collate_fn=lambda examples: examples[0])
        with pytest.raises(CaptionkitError, match="the epoch is not known in this worker"):
            next(iter(loader))


def test_without_a_loader_the_dataset_says_the_epoch(sd: ModuleType) -> None:
    with install(SHUFFLE):
        data = group(sd, flip_aug=True)
        data.set_current_epoch(2)
        assert seen([data[index] for index in range(len(data))]) == expected(2)


def test_validation_has_the_same_captions_in_every_epoch(sd: ModuleType) -> None:
    data = group(sd, flip_aug=True)
    data.datasets[0].is_training_dataset = False
    with install(SHUFFLE):
        epochs = trained(sd, data, 2)
    assert [seen(batches) for batches in epochs] == [expected(0)] * EPOCHS


def test_caching_latents_reads_no_caption(sd: ModuleType) -> None:
    data = group(sd)
    data.datasets[0].caching_mode = "latents"
    with install(CaptionPipeline()):
        assert data[0]["captions"] == [TAGS] * BATCH


def test_other_users_of_the_generator_are_left_alone(sd: ModuleType) -> None:
    data = group(sd, flip_aug=True)
    with install(SHUFFLE):
        random.seed(5)
        data[0]
        after = random.random()
    random.seed(5)
    assert after == random.random()


def test_textual_inversion_replaces_its_words(sd: ModuleType) -> None:
    data = group(sd)
    data.datasets[0].replacements = {"tag 3": "<fox>"}
    with install(CaptionPipeline(flip=FlipRule(p=0.0))):
        assert all("<fox>" in text and "tag 3" not in text for text in data[0]["captions"])
    data.datasets[0].replacements = {"": ["one", "two"]}
    with install(CaptionPipeline(flip=FlipRule(p=0.0))):
        assert {text for index in range(len(data)) for text in data[index]["captions"]} == {"one", "two"}
    with install(CaptionPipeline(steps=(EmptyCaption(p=1.0),), flip=FlipRule(p=0.0))):
        assert data[0]["captions"] == [""] * BATCH


# -------------------------------------------------------------------------------------------------- patching


def test_nothing_is_left_behind(sd: ModuleType) -> None:
    before = {name: vars(sd.BaseDataset).get(name) for name in dir(sd.BaseDataset)}
    init = sd.collator_class.__init__
    with install(CaptionPipeline()):
        assert sd.BaseDataset.process_caption is not before["process_caption"]
    assert {name: vars(sd.BaseDataset).get(name) for name in dir(sd.BaseDataset)} == before
    assert sd.collator_class.__init__ is init


def test_it_cannot_be_installed_twice(sd: ModuleType) -> None:
    with install(CaptionPipeline()), pytest.raises(CaptionkitError, match="patched already"):
        install(CaptionPipeline())
    install(CaptionPipeline()).remove()


def test_another_version_is_refused(sd: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(sd.BaseDataset, "process_caption")
    with pytest.raises(CaptionkitError, match=r"library\.train_util has no BaseDataset\.process_caption"):
        install(CaptionPipeline())


def test_a_missing_trainer_says_where_to_run_it() -> None:
    with pytest.raises(CaptionkitError, match=r"there is no module no_such_trainer\.train_util"):
        install(CaptionPipeline(), train_util="no_such_trainer.train_util")


def test_importing_the_adapter_imports_neither_torch_nor_the_trainer() -> None:
    code = (
        "import sys, captionkit; assert 'captionkit.adapters' not in sys.modules;"
        "import captionkit.adapters.kohya; print({'torch', 'library'} & set(sys.modules))"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "set()"


def test_nothing_warns_where_nothing_is_wrong(sd: ModuleType) -> None:
    with warnings.catch_warnings(), install(SHUFFLE):
        warnings.simplefilter("error")
        group(sd, flip_aug=True)


# ----------------------------------------------------------------------------------------------- the example

ROOT = Path(__file__).resolve().parents[3]
EXAMPLE = ROOT / "examples/trainers/kohya.py"
TRAIN = """\
import sys
from multiprocessing import Value, set_start_method
from pathlib import Path
from torch.utils.data import DataLoader
from library.train_util import BaseDataset, BaseSubset, DatasetGroup, ImageInfo, collator_class

if __name__ == "__main__":
    _, folder, method = sys.argv
    set_start_method(method)
    dataset, subset = BaseDataset(2), BaseSubset(folder, shuffle_caption=True, flip_aug=True)
    dataset.subsets = [subset]
    for path in sorted(Path(folder).glob("*.png")):
        dataset.register_image(ImageInfo(str(path), 1, "the trainer's own", False, str(path)), subset)
    dataset.make_buckets()
    group, epoch, step = DatasetGroup([dataset]), Value("i", 1), Value("i", 0)
    loader = DataLoader(group, 1, num_workers=1, collate_fn=collator_class(epoch, step, None))
    for batch in loader:
        for key, text, flip in zip(batch["image_keys"], batch["captions"], batch["flippeds"]):
            print(Path(key).stem, flip, text, sep="|")
"""


def run_example(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The example, from a folder that is not that of sd-scripts."""
    return subprocess.run(
        [sys.executable, EXAMPLE, *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Pictures, their dataset TOML, a recipe, and an sd-scripts with a script that trains on them."""
    pictures = tmp_path / "fox"
    pictures.mkdir()
    for number in range(6):
        (pictures / f"{number}.png").touch()
        (pictures / f"{number}.txt").write_text(f"left_{number}, tree, snow, day, night", encoding="utf-8")
    (tmp_path / "dataset.toml").write_text(
        "[[datasets]]\nflip_aug = true\n[[datasets.subsets]]\nimage_dir = 'fox'\n"
        "caption_extension = '.txt'\n",
        encoding="utf-8",
    )
    (tmp_path / "recipe.toml").write_text(
        '[[steps]]\nkind = "shuffle_tags"\n[flip]\nmirror = "swap"\n', encoding="utf-8"
    )
    shutil.copytree(Path(__file__).with_name("sd_scripts"), tmp_path / "sd-scripts")
    (tmp_path / "sd-scripts/train_network.py").write_text(TRAIN, encoding="utf-8")
    return tmp_path


def test_the_example_is_short_and_says_how_to_run_it() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 60
    assert "python kohya.py recipe.toml dataset.toml --show" in EXAMPLE.read_text(encoding="utf-8")


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_the_example_runs_the_trainers_script_with_the_recipe(prepared: Path, method: str) -> None:
    ran = run_example(prepared, "recipe.toml", "dataset.toml", "sd-scripts/train_network.py", "fox", method)
    assert ran.returncode == 0, ran.stderr
    assert "the recipe makes the captions: shuffle_caption;" in ran.stderr
    pipeline = load_pipeline(prepared / "recipe.toml")
    expected = []
    for record in KohyaDatasetSource(prepared / "dataset.toml").records(strict):
        drawn = pipeline.render(record, epoch=1)
        expected.append(f"{record.id.rpartition('/')[2]}|{drawn.flip}|{drawn.text}")
    assert sorted(ran.stdout.splitlines()) == expected


def test_the_example_shows_captions_without_a_trainer(prepared: Path) -> None:
    ran = run_example(prepared, "recipe.toml", "dataset.toml", "--show")
    assert (ran.returncode, ran.stderr) == (0, "")
    lines = ran.stdout.splitlines()
    assert [line.partition(":")[0].replace(", mirrored", "") for line in lines] == [
        f"fox/{number}, epoch {epoch}" for number in range(3) for epoch in (1, 2)
    ]
