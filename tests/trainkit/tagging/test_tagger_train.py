"""Training a tagger: it learns, goes on after a kill to the bit, and two processes do the work of one."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from captionkit import Tag
from tests.trainkit import processes
from tests.trainkit.tiny import write_pictures
from trainkit.additions.addition import Addition
from trainkit.additions.finished import write_additions
from trainkit.additions.merge import merge_additions
from trainkit.cli import main
from trainkit.errors import CheckpointError, ConfigError, ModelError, TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.prepare import PrepareConfig, prepare
from trainkit.tagging.learned import learned_corrections
from trainkit.tagging.outputs import Temperatures
from trainkit.tagging.run_file import load_tagger_run, make_tagger_run
from trainkit.tagging.set_up import set_up_tagger
from trainkit.tagging.train import train_tagger
from trainkit.tagging.trained import TrainedTagger, write_temperatures

GROUNDS = [f"{colour}_background" for colour in ("gray", "brown", "beige", "black", "white")]
CONVNEXT = {"kind": "convnext", "size": 32}
TINY = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "patch_size": 4}


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixty drawn scenes, prepared; tests must not change them."""
    folder = tmp_path_factory.mktemp("tagger data")
    write_pictures(folder / "pictures", 60)
    prepare(str(folder / "pictures"), folder / "manifest", PrepareConfig(min_side=8), processes=1, show=False)
    return folder / "manifest"


def settings(manifest: Path, out: Path, **changes: Any) -> dict[str, Any]:
    told: dict[str, Any] = {
        "out": str(out),
        "epochs": 2,
        "batch": 8,
        "patience": 0,
        "data": {"path": str(manifest), "threads": 1},
        "learn": {"groups": {"ground": GROUNDS}, "categories": ["shape"], "min_count": 5},
        "split": {"share": 0.25},
        "backbone": {**CONVNEXT, "settings": TINY},
        "optim": {"lr": 3e-3, "average": 0.9},
    }
    return told | changes


def trained(manifest: Path, out: Path, **changes: Any) -> Path:
    train_tagger(make_tagger_run(settings(manifest, out, **changes), Path()))
    return out


def log(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def losses(out: Path) -> list[float]:
    return [entry["loss"] for entry in log(out) if "loss" in entry]


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model.safetensors")


def same(a: Path, b: Path) -> bool:
    one, other = weights(a), weights(b)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def write_run(path: Path, told: dict[str, Any]) -> Path:
    path.write_text(processes.toml_text(told), encoding="utf-8")
    return path


def test_it_learns_what_is_in_the_pictures_and_its_folder_stands_alone(
    manifest: Path, tmp_path: Path
) -> None:
    easy: dict[str, Any] = {"learn": {"groups": {"ground": GROUNDS}}, "evaluate_every": 400, "epochs": 14}
    easy |= {
        "backbone": {**CONVNEXT, "settings": TINY, "fit": "squash"},
        "optim": {"lr": 1e-2, "average": 0.9},
    }
    easy["augment"] = {"brightness": 0.05, "contrast": 0.05, "saturation": 0.05}
    result = train_tagger(make_tagger_run(settings(manifest, tmp_path / "out", **easy), Path()))
    assert result.verdict is not None
    assert result.verdict.by_group["ground"] > result.verdict.majority["ground"] + 0.3
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("tagger.json", "model.safetensors", "backbone"):
        (tmp_path / "out" / name).rename(moved / name)
    tagger = TrainedTagger(moved)
    assert tagger.name == "out"
    assert {label.name for label in tagger.labels if label.group == "ground"} == set(GROUNDS)
    pictures = ManifestPictures.open(manifest)
    right = []
    places = [i for i, label in enumerate(tagger.labels) if label.group == "ground"]
    for seen in pictures.images(range(len(pictures))):
        assert seen.image is not None
        assert seen.record is not None
        scores = tagger.scores([tagger.prepare(seen.image)])[0]
        chosen = tagger.labels[places[int(scores[places].argmax())]].name
        right.append(chosen in {tag.name for tag in seen.record.tags})
    assert np.mean(right) > 0.8
    sure = tagger.scores([tagger.prepare(Image.new("RGB", (40, 30), "black"))])
    write_temperatures(moved, Temperatures(9.0, {"ground": 9.0}))
    assert (
        TrainedTagger(moved).scores([tagger.prepare(Image.new("RGB", (40, 30), "black"))]).max() < sure.max()
    )


STANDS_STILL = """
import itertools, sys, time
import accelerate
from trainkit.cli import main

backward, number = accelerate.Accelerator.backward, itertools.count()

def slow(*asked):
    if next(number) >= 12:
        time.sleep(3600)
    return backward(*asked)

accelerate.Accelerator.backward = slow
sys.exit(main(sys.argv[1:]))
"""
"""trainkit on a machine that does not get beyond twelve steps, so that a kill meets it in the middle."""


@pytest.mark.slow
def test_a_killed_training_goes_on_to_the_bit(manifest: Path, tmp_path: Path) -> None:
    told = settings(manifest, tmp_path / "killed", checkpoint_every=8, epochs=3)
    told["optim"] = {**told["optim"], "dropout": 0.2}
    run = write_run(tmp_path / "killed.toml", told)
    log_file = tmp_path / "killed" / "log.jsonl"
    processes.kill_when(
        [sys.executable, "-c", STANDS_STILL, "tagger", "train", str(run)],
        lambda: log_file.exists() and log_file.read_text().count("loss") >= 7,
    )
    # Where the kill came, fewer steps were done than there are.
    assert not (tmp_path / "killed" / "tagger.json").exists()
    result = train_tagger(load_tagger_run(run))
    assert 0 < result.resumed_from < result.samples_seen
    straight = {**told, "out": str(tmp_path / "straight"), "checkpoint_every": 0}
    train_tagger(make_tagger_run(straight, Path()))
    assert same(tmp_path / "killed", tmp_path / "straight")
    assert losses(tmp_path / "killed") == losses(tmp_path / "straight")


@pytest.mark.slow
def test_two_processes_see_the_samples_of_one(manifest: Path, tmp_path: Path) -> None:
    told = settings(manifest, tmp_path / "two", batch=4, samples=24, epochs=None)
    told["optim"] = {"lr": 3e-3, "dropout": 0.0, "average": 0.0}
    run = write_run(tmp_path / "two.toml", told)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    ended = processes.run([*torchrun, "-m", "trainkit", "tagger", "train", str(run)])
    assert ended.returncode == 0, ended.stderr[-3000:]
    one = {**told, "out": str(tmp_path / "one"), "batch": 8}
    train_tagger(make_tagger_run(one, Path()))
    # The same pictures in every step, each once: the losses are the same, but for the order of sums.
    assert np.allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=1e-4)
    judged = [[e["accuracy"] for e in log(tmp_path / name) if "accuracy" in e] for name in ("two", "one")]
    assert judged[0] == judged[1]


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import AutoConfig, AutoModel

    folder = tmp_path_factory.mktemp("dinov2")
    torch.manual_seed(1)
    config = AutoConfig.for_model(
        "dinov2", hidden_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    AutoModel.from_config(config).save_pretrained(folder)
    told = {"size": {"shortest_edge": 56}, "crop_size": {"height": 56, "width": 56}, "image_std": [0.5] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder


def test_a_probe_makes_features_once(
    manifest: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "features"
    probe: dict[str, Any] = {"mode": "probe", "backbone": {"base": str(pretrained)}, "mirrored_too": True}
    probe["features"] = {"cache": str(cache), "batch": 16}
    trained(manifest, tmp_path / "first", **probe)
    (own,) = cache.iterdir()
    files = {path: path.stat().st_mtime_ns for path in own.iterdir()}
    # A killed run leaves some of them, and a damaged file is as if it were not there.
    assert sum(load_file(path)["keys"].numel() for path in files) == 60
    trained(manifest, tmp_path / "second", **probe)
    assert {path: path.stat().st_mtime_ns for path in own.iterdir()} == files
    assert same(tmp_path / "first", tmp_path / "second")
    next(iter(files)).write_bytes(b"damaged")
    trained(manifest, tmp_path / "third", **probe)
    assert same(tmp_path / "first", tmp_path / "third")
    tagger = TrainedTagger(tmp_path / "first")
    assert tagger.about.preprocessing.size == 56
    assert tagger.about.preprocessing.std == (0.5, 0.5, 0.5)
    # The backbone is as it was.
    original = load_file(pretrained / "model.safetensors")
    kept = weights(tmp_path / "first")
    assert torch.equal(kept["backbone.model.layernorm.weight"], original["layernorm.weight"])


def test_a_person_outweighs_the_records(manifest: Path, tmp_path: Path) -> None:
    pictures = ManifestPictures.open(manifest)
    lines = [
        json.dumps({"id": pictures.record(row).id, "tag": "circle", "right": True})
        for row in range(len(pictures))
    ]
    (tmp_path / "corrections.jsonl").write_text("\n".join(lines))
    run = settings(manifest, tmp_path / "out", learn={"tags": ["circle"]}, epochs=1)
    run["data"] = {**run["data"], "corrections": [str(tmp_path / "corrections.jsonl")]}
    train_tagger(make_tagger_run(run, Path()))
    tagger = TrainedTagger(tmp_path / "out")
    # All pictures have it now: the bias alone says so.
    assert tagger.scores([tagger.prepare(Image.new("RGB", (32, 32)))]).min() > 0.99
    assert len(list(learned_corrections(tmp_path / "out", pictures))) == len(pictures)


def test_it_ends_early_keeps_the_best_and_says_when_settings_changed(manifest: Path, tmp_path: Path) -> None:
    run = settings(manifest, tmp_path / "out", epochs=50, patience=1, optim={"lr": 1e-9, "average": 0.0})
    result = train_tagger(make_tagger_run(run, Path()))
    assert result.samples_seen < 400
    assert result.best_at < result.samples_seen
    # Again: nothing is left to do.
    write_temperatures(tmp_path / "out", Temperatures(3.0))
    again = train_tagger(make_tagger_run(run, Path()))
    assert TrainedTagger(tmp_path / "out").about.temperatures.tags == 3.0
    assert (again.resumed_from, again.samples_seen) == (result.samples_seen, result.samples_seen)
    with pytest.raises(CheckpointError, match=r"optim.lr: was 1e-09, is 0.5"):
        train_tagger(make_tagger_run({**run, "optim": {"lr": 0.5, "average": 0.0}}, Path()))
    # After new corrections, too; --restart is for that.
    circle = {"id": ManifestPictures.open(manifest).record(0).id, "tag": "circle", "right": False}
    (tmp_path / "corrections.jsonl").write_text(json.dumps(circle))
    corrected = {
        **run,
        "data": {**run["data"], "corrections": [str(tmp_path / "corrections.jsonl")]},
        "epochs": 1,
    }
    with pytest.raises(CheckpointError, match="pictures and their labels"):
        train_tagger(make_tagger_run(corrected, Path()))
    assert train_tagger(make_tagger_run(corrected, Path()), restart=True).resumed_from == 0


def test_bad_pictures_are_left_out_by_name(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(manifest.parent, data)
    (data / "pictures" / "007.png").write_bytes(b"no picture")
    trained(data / "manifest", tmp_path / "out", epochs=1)
    assert capsys.readouterr().out.count("007.png") == 1


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"epochs": None}, "give either epochs or samples"),
        ({"lern": {}}, "lern: no such setting; did you mean 'learn'?"),
        ({"backbone": {"base": "x", "kind": "vit"}}, "give either base"),
        ({"mode": "probe"}, "looks through a pretrained backbone"),
        ({"learn": {"tags": ["x"], "implications": {"a": ["a"]}}}, "implies itself"),
        ({"augment": {"recipe": "hyperfussion"}}, "augment.recipe"),
        ({"backbone": {"kind": "convnext", "settings": {"depths": [1]}}}, "backbone"),
        ({"backbone": {"base": "no such folder"}}, "no such folder"),
        ({"loss": {"priors": {"dragon": 0.1}}}, "loss.priors: 'dragon'"),
        ({"split": {"share": 0.0001}}, "holds out none"),
        ({"name": "emoji groups"}, "name: is 'emoji groups': must be 1 to 80 letters"),
    ],
)
def test_mistakes_are_told(
    manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], told: str
) -> None:
    run = write_run(tmp_path / "tagger.toml", settings(manifest, tmp_path / "out", **changes))
    assert main(["tagger", "train", str(run)]) == 2
    assert told in capsys.readouterr().err


def test_pickled_weights_are_never_read(pretrained: Path, tmp_path: Path) -> None:
    from trainkit.tagging.backbone import BackboneConfig, make_backbone

    folder = tmp_path / "pickled"
    shutil.copytree(pretrained, folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="safetensors"):
        make_backbone(BackboneConfig(base=str(folder)), 0)


@pytest.mark.parametrize(
    "break_it",
    [
        lambda told: told.pop("labels"),
        lambda told: told.update(format=9),
        lambda told: told["labels"].append({"name": 3, "category": None, "group": None}),
        lambda told: told["implications"].append([0, 10_000]),
        lambda told: told["preprocessing"].update(size=10**9),
        lambda told: told["temperature"].update(tags=0),
        lambda told: told["labels"].pop(),
    ],
)
def test_damaged_folders_are_told(manifest: Path, tmp_path_factory: Any, break_it: Any) -> None:
    folder = _whole_tagger(manifest, tmp_path_factory)
    told = json.loads((folder / "tagger.json").read_text())
    before = json.dumps(told)
    try:
        break_it(told)
        (folder / "tagger.json").write_text(json.dumps(told))
        with pytest.raises(ModelError):
            TrainedTagger(folder)
    finally:
        (folder / "tagger.json").write_text(before)


_made: list[Path] = []


def _whole_tagger(manifest: Path, factory: Any) -> Path:
    if not _made:
        _made.append(trained(manifest, factory.mktemp("whole") / "out", epochs=0.2))
    return _made[0]


@pytest.mark.parametrize("kind", ["vit", "siglip", "clip", "convnext", "resnet", "dinov2"])
def test_pretrained_vision_models_are_loaded_with_their_weights(kind: str, tmp_path: Path) -> None:
    from transformers import AutoConfig, AutoModel

    from trainkit.tagging.backbone import BackboneConfig, make_backbone

    small: dict[str, Any] = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    small |= {"intermediate_size": 32, "image_size": 32, "patch_size": 8}
    if kind in ("siglip", "clip"):
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
        text |= {"vocab_size": 99, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
        small = {"vision_config": small, "text_config": text}
    elif kind in ("convnext", "resnet"):
        small = {"hidden_sizes": [8, 16], "depths": [1, 1], "num_stages": 2, "embedding_size": 8}
    model = AutoModel.from_config(AutoConfig.for_model(kind, **small))
    model.save_pretrained(tmp_path)
    made = make_backbone(BackboneConfig(base=str(tmp_path), size=64), 0)
    stored = {name.removeprefix("vision_model."): value for name, value in model.state_dict().items()}
    loaded = made.backbone.model.state_dict()
    shared = [name for name in loaded if name in stored]
    assert len(shared) > 0.8 * len(loaded)
    assert all(torch.equal(loaded[name], stored[name]) for name in shared if "pooler" not in name)
    features = made.backbone(torch.rand(2, 3, 64, 64))
    assert features.shape == (2, made.backbone.num_features)
    assert not torch.equal(features[0], features[1])


def test_weights_of_another_network_are_refused(pretrained: Path, tmp_path: Path) -> None:
    from trainkit.tagging.backbone import BackboneConfig, make_backbone

    shutil.copytree(pretrained, tmp_path / "empty")
    save_file({"something.else": torch.zeros(1)}, tmp_path / "empty" / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks weights of its own network"):
        make_backbone(BackboneConfig(base=str(tmp_path / "empty")), 0)


def test_no_pictures_to_learn_from(manifest: Path, tmp_path: Path) -> None:
    with pytest.raises((ConfigError, TrainkitError)):
        trained(tmp_path / "nowhere", tmp_path / "out")


def test_of_a_picture_without_tags_nothing_is_known(tmp_path: Path) -> None:
    """Untagged pictures are no examples of what lacks a tag; what a person said of them holds."""
    write_pictures(tmp_path / "pictures", 24)
    for path in sorted((tmp_path / "pictures").glob("*.json"))[:8]:
        path.unlink()
    names = [path.stem for path in sorted((tmp_path / "pictures").glob("*.png"))]
    untagged = names[:8]
    config = PrepareConfig(min_side=8, untagged=True)
    prepare(str(tmp_path / "pictures"), tmp_path / "manifest", config, processes=1, show=False)
    said = [{"id": untagged[0], "tag": "circle", "right": False}]
    said += [{"id": untagged[1], "tag": "gray background", "right": True}]
    said += [{"id": untagged[2], "tag": tag, "right": False} for tag in ("gray background", "circle")]
    said += [{"id": "nowhere", "tag": "circle", "right": True}]
    corrections = tmp_path / "corrections.jsonl"
    corrections.write_text("".join(json.dumps(line) + "\n" for line in said), encoding="utf-8")

    told = settings(tmp_path / "manifest", tmp_path / "out", split={"share": 0})
    told["learn"] = {"tags": ["circle"], "groups": {"ground": {"tags": GROUNDS, "none": True}}}
    told["data"]["corrections"] = [str(corrections)]
    setup = set_up_tagger(make_tagger_run(told, Path()), show=False)
    assert "nothing is known of 5 pictures: they are left out" in setup.describe()
    told_of = "corrections: 1 of 5 are of pictures that the manifest does not have, the first of 'nowhere'"
    assert told_of in setup.describe()
    data = setup.data
    assert len(data.rows) == 19
    at = {data.pictures.record(row).id: place for place, row in enumerate(data.rows.tolist())}
    circle = [label.name for label in data.outputs.labels].index("circle")
    ground = data.outputs.groups["ground"]
    unknown = data.unknown([at[name] for name in untagged[:3]])
    assert unknown[:, circle].tolist() == [False, True, False]
    assert [set(row.tolist()) for row in unknown[:, ground]] == [{True}, {False}, {False}]
    assert not data.unknown([at[name] for name in names[8:]]).any()
    assert data.targets.judged(data.train)[circle] == 18

    # The answers as `tagger apply` writes them into the manifest change nothing.
    written = Addition(untagged[1], "", (Tag("gray background", source="human"),))
    write_additions(tmp_path / "manifest", "human", {}, [written])
    merge_additions(tmp_path / "manifest", show=False)
    again = set_up_tagger(make_tagger_run(told, Path()), show=False).data
    assert again.pictures.record(int(again.rows[at[untagged[1]]])).tags
    assert again.fingerprint() == data.fingerprint()

    # What another tagger wrote is truth, too, and makes a picture one that has tags: that is said.
    digest = data.pictures.digest(0)
    write_additions(
        tmp_path / "manifest", "wd", {}, [Addition(data.pictures.record(0).id, digest, (Tag("sea"),))]
    )
    merge_additions(tmp_path / "manifest", show=False)
    setup = set_up_tagger(make_tagger_run(told, Path()), show=False)
    assert "tags of 'wd' count as truth" in setup.describe()
    assert "data.leave_out_sources = ['wd']" in setup.describe()
    told["data"]["leave_out_sources"] = ["wd"]
    setup = set_up_tagger(make_tagger_run(told, Path()), show=False)
    assert "count as truth" not in setup.describe()
    assert setup.data.fingerprint() == data.fingerprint()

    # With a prior they are what positive-unlabelled learning calls unlabelled.
    told["loss"] = {"priors": {"circle": 0.5}}
    data = set_up_tagger(make_tagger_run(told, Path()), show=False).data
    assert len(data.rows) == 24
    assert data.unlabelled.tolist().count(True) == 1
