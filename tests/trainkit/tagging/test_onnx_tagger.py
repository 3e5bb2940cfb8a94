"""Taggers in ONNX files: real ones, run by onnxruntime, and hostile ones."""

from __future__ import annotations

import contextlib
import importlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.trainkit.tagging.foreign import (
    COLOURS,
    WD_TAGS,
    colour_weights,
    write_csv,
    write_onnx,
    write_wd,
)
from trainkit.errors import ModelError, TrainkitError
from trainkit.tagging.load import load_tagger
from trainkit.tagging.onnx_files import external_files

_NCHW = "[input]\nmean = [0.5, 0.5, 0.5]\nstd = [0.5, 0.5, 0.5]\n"


def _expected(colour: str) -> np.ndarray:
    weights, bias = colour_weights()
    logits = np.array(COLOURS[colour], np.float32) / 255 @ weights + bias
    return 1 / (1 + np.exp(-logits))


def _scores(folder: Path, colour: str, size: tuple[int, int] = (40, 40)) -> np.ndarray:
    tagger = load_tagger(folder)
    image = Image.new("RGB", size, COLOURS[colour])
    return np.asarray(tagger.scores([tagger.prepare(image)])[0])


def test_a_wd_folder_is_read_as_it_is_published(tmp_path: Path) -> None:
    tagger = load_tagger(write_wd(tmp_path / "wd-tiny-tagger-v3"))
    assert tagger.name == "wd-tiny-tagger-v3"
    assert [label.name for label in tagger.labels] == [name for name, _ in WD_TAGS]
    assert {label.name for label in tagger.labels if label.group == "rating"} == {"general", "sensitive"}
    images = [Image.new("RGB", (30, 30), colour) for colour in COLOURS.values()]
    prepared = [tagger.prepare(image) for image in images]
    assert prepared[0].shape == (16, 16, 3)
    assert prepared[0][0, 0].tolist() == [20, 20, 230], "blue, green, red, from 0 to 255"
    np.testing.assert_allclose(tagger.scores(prepared), [_expected(name) for name in COLOURS], atol=1e-5)


def test_a_wide_picture_stands_whole_on_white(tmp_path: Path) -> None:
    tagger = load_tagger(write_wd(tmp_path / "wd"))
    square = tagger.prepare(Image.new("RGB", (80, 20), (0, 0, 0)))
    assert (square[:5] == 255).all()
    assert (square[-5:] == 255).all()
    assert (square[7:9] == 0).all()
    strip = tagger.prepare(Image.new("RGB", (20_000, 1), (0, 0, 0)))
    assert strip.shape == (16, 16, 3)


def test_logits_in_nchw_with_what_trainkit_toml_says(tmp_path: Path) -> None:
    weights, bias = colour_weights()
    # From -1 to 1 in place of 0 to 1.
    write_onnx(
        tmp_path / "jtp.onnx",
        weights / np.float32(2),
        bias + weights.sum(axis=0) / np.float32(2),
        layout="NCHW",
        sigmoid=False,
    )
    write_csv(tmp_path / "selected_tags.csv", WD_TAGS)
    with pytest.raises(ModelError, match="nothing says in which range"):
        load_tagger(tmp_path)
    (tmp_path / "trainkit.toml").write_text(_NCHW)
    np.testing.assert_allclose(_scores(tmp_path, "blue"), _expected("blue"), atol=1e-5)


def test_timms_config_says_the_same(tmp_path: Path) -> None:
    weights, bias = colour_weights()
    write_onnx(
        tmp_path / "model.onnx",
        weights / np.float32(2),
        bias + weights.sum(axis=0) / np.float32(2),
        layout="NCHW",
    )
    write_csv(tmp_path / "selected_tags.csv", WD_TAGS)
    (tmp_path / "config.json").write_text(
        '{"architecture": "x", "pretrained_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]}}'
    )
    np.testing.assert_allclose(_scores(tmp_path, "green"), _expected("green"), atol=1e-5)


def test_any_size_and_one_at_a_time(tmp_path: Path) -> None:
    weights, bias = colour_weights()
    write_onnx(tmp_path / "model.onnx", weights[::-1] / np.float32(255), bias, size="S", batch=1)
    write_csv(tmp_path / "tags.csv", WD_TAGS)
    with pytest.raises(ModelError, match=r"size = 448"):
        load_tagger(tmp_path)
    # Said of the input, so all of it is said: the range, too.
    (tmp_path / "trainkit.toml").write_text('[input]\nsize = 24\nchannels = "BGR"\nscale = 1\n')
    tagger = load_tagger(tmp_path)
    prepared = [tagger.prepare(Image.new("RGB", (9, 9), c)) for c in COLOURS.values()]
    assert prepared[0].shape == (24, 24, 3)
    np.testing.assert_allclose(tagger.scores(prepared), [_expected(name) for name in COLOURS], atol=1e-5)


@pytest.mark.parametrize(
    ("tags", "says"),
    [(WD_TAGS[:-1], "has 6 tags, but no output of model.onnx has as many numbers"), ((), "holds no tags")],
)
def test_tags_that_do_not_fit_the_model_are_refused(
    tmp_path: Path, tags: tuple[tuple[str, int], ...], says: str
) -> None:
    write_wd(tmp_path)
    write_csv(tmp_path / "selected_tags.csv", tags)
    with pytest.raises(ModelError, match=says):
        load_tagger(tmp_path)


def test_a_model_that_takes_so_many_pictures_at_a_time(tmp_path: Path) -> None:
    """Regression: one exported for batches of 4 failed at the first batch of another number."""
    weights, bias = colour_weights()
    folder = write_wd(tmp_path / "wd")
    write_onnx(folder / "model.onnx", weights[::-1] / np.float32(255), bias, batch=4)
    tagger = load_tagger(folder)
    prepared = [tagger.prepare(Image.new("RGB", (9, 9), c)) for c in COLOURS.values()]
    np.testing.assert_allclose(tagger.scores(prepared), [_expected(name) for name in COLOURS], atol=1e-5)


def test_a_model_for_pictures_that_nobody_can_make_is_refused(tmp_path: Path) -> None:
    """Regression: a traceback of MemoryError."""
    weights, bias = colour_weights()
    folder = write_wd(tmp_path / "wd")
    write_onnx(folder / "model.onnx", weights, bias, size=1_000_000)
    with pytest.raises(ModelError, match="at most 4096 can be made"):
        load_tagger(folder)


@pytest.mark.parametrize("file", ["model.onnx", "selected_tags.csv"])
def test_a_pointer_of_git_lfs_is_named_as_that(tmp_path: Path, file: str) -> None:
    """Regression: a clone without Git LFS was told that byte 1 is no protobuf."""
    folder = write_wd(tmp_path / "wd")
    (folder / file).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 37\n")
    with pytest.raises(ModelError, match=rf"{file} is a pointer of Git LFS.*`git lfs pull`"):
        load_tagger(folder)


def test_what_a_model_gives_is_checked(tmp_path: Path) -> None:
    weights, bias = colour_weights()
    folder = write_wd(tmp_path)
    write_onnx(folder / "model.onnx", weights * np.float32(np.nan), bias)
    with pytest.raises(ModelError, match="no finite numbers"):
        load_tagger(folder)
    write_onnx(folder / "model.onnx", weights, bias, sigmoid=False)
    (folder / "trainkit.toml").write_text('activation = "none"\n')
    tagger = load_tagger(folder)
    with pytest.raises(ModelError, match=r'activation = "sigmoid"'):
        tagger.scores([tagger.prepare(Image.new("RGB", (8, 8), "red"))])


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        (
            "trainkit.toml",
            'model = "../x.onnx"',
            "model is '../x.onnx', must be the name of a file in the folder",
        ),
        ("trainkit.toml", 'tags = "/etc/passwd"', "tags is '/etc/passwd', must be the name of a file"),
        ("trainkit.toml", 'tags = "none.csv"', "tags is 'none.csv', which is not there"),
        ("trainkit.toml", 'outptu = "x"', "outptu: no such setting; did you mean 'output'?"),
        ("trainkit.toml", 'output = "x"', "output is 'x', must be one of predictions_sigmoid"),
        ("trainkit.toml", "[input]\nstd = [0, 1, 1]", "input: std is (0.0, 1.0, 1.0), each must be above 0"),
        ("trainkit.toml", "[input]\nsize = 99", "must be a square of 99 as its settings say"),
        ("config.json", "[" * 9999, "config.json cannot be read"),
    ],
)
def test_what_stands_beside_the_model_is_checked(tmp_path: Path, file: str, content: str, says: str) -> None:
    write_wd(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(TrainkitError) as raised:
        load_tagger(tmp_path)
    assert says in str(raised.value)


def test_a_folder_without_a_usable_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="is not there"):
        load_tagger(tmp_path / "none")
    with pytest.raises(ModelError, match=r"tagger\.json"):
        load_tagger(tmp_path)
    (tmp_path / "model.pth").write_bytes(b"\x80\x04.")
    with pytest.raises(ModelError, match=r"model\.pth is a pickle"):
        load_tagger(tmp_path)
    with pytest.raises(ModelError, match=r"model\.pth is a pickle"):
        load_tagger(tmp_path / "model.pth")
    write_wd(tmp_path / "two")
    (tmp_path / "two" / "model.onnx").rename(tmp_path / "two" / "a.onnx")
    (tmp_path / "two" / "b.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"several models: a\.onnx, b\.onnx"):
        load_tagger(tmp_path / "two")
    assert load_tagger(tmp_path / "two" / "a.onnx").name == "two"
    (tmp_path / "two" / "selected_tags.csv").unlink()
    with pytest.raises(ModelError, match="holds no list of tags"):
        load_tagger(tmp_path / "two" / "a.onnx")


def test_weights_outside_of_the_file_are_read_only_from_the_folder(tmp_path: Path) -> None:
    weights, bias = colour_weights()
    folder = write_wd(tmp_path / "wd")
    (folder / "model.data").write_bytes((weights[::-1] / np.float32(255)).tobytes())
    write_onnx(folder / "model.onnx", weights, bias, external="model.data")
    assert external_files(folder / "model.onnx") == {"model.data"}
    np.testing.assert_allclose(_scores(folder, "red"), _expected("red"), atol=1e-5)

    secret = tmp_path / "secret"
    secret.write_bytes(bytes(weights.nbytes))
    for name in ("../secret", str(secret), "sub/../../secret", "..\\secret", ""):
        write_onnx(folder / "model.onnx", weights, bias, external=name)
        with pytest.raises(ModelError, match="lies outside of its folder"):
            load_tagger(folder)
    write_onnx(folder / "model.onnx", weights, bias, external="gone.data")
    with pytest.raises(ModelError, match="is not there"):
        load_tagger(folder)
    os.symlink(secret, folder / "linked.data")
    write_onnx(folder / "model.onnx", weights, bias, external="linked.data")
    with pytest.raises(ModelError, match="a link that leads out of its folder"):
        load_tagger(folder)


def test_external_weights_hidden_in_a_nodes_attribute_are_found(tmp_path: Path) -> None:
    tensor = onnx.TensorProto(dims=[1], data_type=1, data_location=onnx.TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="../secret")
    inner = onnx.helper.make_graph([onnx.helper.make_node("Constant", [], ["x"], value=tensor)], "g", [], [])
    outer = onnx.helper.make_node("If", ["c"], ["x"], then_branch=inner, else_branch=inner)
    model = onnx.helper.make_model(onnx.helper.make_graph([outer], "h", [], []))
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert external_files(tmp_path / "m.onnx") == {"../secret"}


@given(st.binary(max_size=200), st.integers(0, 10_000), st.booleans())
def test_damaged_models_are_errors_never_tracebacks(
    tmp_path_factory: pytest.TempPathFactory, noise: bytes, at: int, cut: bool
) -> None:
    folder = write_wd(tmp_path_factory.mktemp("wd"))
    whole = (folder / "model.onnx").read_bytes()
    at %= len(whole)
    (folder / "model.onnx").write_bytes(whole[:at] + noise + (b"" if cut else whole[at + len(noise) :]))
    with contextlib.suppress(ModelError):  # A change of a name or of a weight leaves it a model.
        load_tagger(folder)


def test_onnxruntime_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_wd(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    with pytest.raises(ModelError, match=r"pip install 'captionkit\[onnx\]'"):
        load_tagger(tmp_path)


def test_a_gpu_that_onnxruntime_lacks_is_told(tmp_path: Path) -> None:
    onnxruntime: Any = importlib.import_module("onnxruntime")
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has CUDA")
    with pytest.raises(ModelError, match="onnxruntime-gpu"):
        load_tagger(write_wd(tmp_path), device="cuda")
