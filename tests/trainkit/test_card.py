"""The model card: what it says, and that nothing out of the data can say more than it does."""

from __future__ import annotations

import ast
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from captionkit import Prose, Record, Tag
from tests.trainkit.tiny import run_data
from trainkit.config import write_resolved
from trainkit.export.card import escape, render_card, write_card
from trainkit.export.metadata import About, make_metadata
from trainkit.export.source import Source, find_source
from trainkit.export.statistics import data_statistics
from trainkit.loss import ObjectiveConfig
from trainkit.models import ModelConfig, export_model, load_model
from trainkit.run_file import make_run
from trainkit.schedule import ScheduleConfig
from trainkit.text import TextConfig

HOSTILE = "<script>alert(1)</script>|`x`\n# [a](javascript:b) *c* {{ 7 * 7 }} _d_ ---"
ABOUT = About(title="Fox", license="creativeml-openrail-m", author="A. Maker", tags=("foxes",))


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained model's folder."""
    text = TextConfig(max_tokens=150)
    folder = tmp_path_factory.mktemp("card") / "model"
    export_model(
        load_model(ModelConfig(base=tiny_model), text), ScheduleConfig(), ObjectiveConfig(), text, folder
    )
    return folder


def write_run(out: Path, folder: Path, records: list[Record], **changes: Any) -> Path:
    """A run's folder as a run leaves it."""
    out.mkdir()
    run = make_run(run_data(Path("bases/sd 15"), Path("pictures"), out, **changes), Path("/home/me"), "test")
    write_resolved(run, out / "run.json")
    (out / "data.json").write_text(json.dumps(data_statistics(records, sizes=[(64, 64)] * len(records))))
    (out / "log.jsonl").write_text('{"samples": 8, "epoch": 0}\n{"samples": 12345, "epoch": 1}\n{"samp')
    (out / "previews").mkdir()
    for samples in (8, 12345):
        about = PngImagePlugin.PngInfo()
        about.add_text("parameters", "secret")
        Image.new("RGB", (9, samples % 97 + 1)).save(out / "previews" / f"{samples:012d}.png", pnginfo=about)
    shutil.copytree(folder, out / "model")
    return out


RECORDS = [
    Record("1", (Tag("fox"), Tag("snow")), (Prose("A fox."),), "a/1.png"),
    Record("2", (Tag("fox"),), (Prose("Again.", "cogvlm"),), "a/2.png"),
    Record("3", (), (), "b/3.png"),
]


def card(source: Source, about: About = ABOUT, **more: Any) -> str:
    options: dict[str, Any] = {"model": "fox.safetensors", "dtype": "fp16", "markers": False, "sheet": None}
    return render_card(source, about, **(options | more))


def test_the_card_tells_how_it_was_made_and_how_it_is_used(model: Path, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", model, RECORDS, preview={"prompts": ["red fox", ""]})
    files = write_card(
        tmp_path / "fox.README.md",
        find_source(run),
        ABOUT,
        model="fox.safetensors",
        dtype="fp16",
        markers=True,
    )
    assert [path.name for path in files] == ["fox.README.md", "fox.samples.png"]
    text = files[0].read_text()
    for line in (
        'license: "creativeml-openrail-m"',
        "pipeline_tag: text-to-image",
        'base_model: "sd 15"',
        "# Fox",
        "| prediction | v |",
        "| zero terminal SNR | yes |",
        "| clip skip | 2, counted as front ends do |",
        "| CFG rescale | 0.7 |",
        "![samples](fox.samples.png)",
        "1. red fox",
        "2. (empty)",
        "| loss weight | soft\\_min\\_snr, gamma 3.0 |",
        "| learning rate, UNet | 0.001 |",
        "| samples seen | 12,345 |",
        "| optimizer steps | 2 |",
        "| fox | 2 | 66.7 % |",
        "| snow | 1 | 33.3 % |",
        "3 pictures, 2 with tags and 2 with a caption in words (cogvlm: 1, human: 1)",
        "; 2 different tags, 3 tags in all.",
        '        "kind": "empty_caption",',
        "By A. Maker. Made with trainkit",
    ):
        assert line in text, line
    assert 'ModelSamplingDiscrete (sampling "v_prediction", zsnr on) > RescaleCFG 0.7' in text
    assert "`v_pred` and `ztsnr`" in text
    assert "/home/me" not in text
    # The newest sheet, without what previews keep in their metadata.
    with Image.open(files[1]) as sheet:
        assert sheet.size == (9, 12345 % 97 + 1)
        assert sheet.info == {}
    assert [line for line in text.splitlines() if line.rstrip() != line] == []


def test_the_head_is_what_the_hub_reads(model: Path, tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml")  # Comes with the libraries that trainkit needs.
    about = About(title="x", license="https://example.com/licence", tags=('quote " and : colon', "ümlaut"))
    text = card(find_source(model), about)
    _, head, _ = text.split("---\n", 2)
    assert yaml.safe_load(head) == {
        "license": "other",
        "license_name": "see below",
        "pipeline_tag": "text-to-image",
        "library_name": "diffusers",
        "tags": [
            "stable-diffusion",
            "stable-diffusion-diffusers",
            "text-to-image",
            "v-prediction",
            "zero-terminal-snr",
            'quote " and : colon',
            "ümlaut",
        ],
    }


def test_the_snippet_is_python_that_leaves_out_the_skipped_layers(model: Path) -> None:
    text = card(find_source(model))
    (snippet,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    ast.parse(snippet)
    assert "text.encoder.layers = text.encoder.layers[:-1]" in snippet
    assert "guidance_rescale=0.7," in snippet
    assert "width=64," in snippet


def test_a_base_model_has_no_run_to_tell_of(tiny_model: Path) -> None:
    text = card(find_source(tiny_model), About())
    assert text.startswith("---\npipeline_tag")
    assert "# fox\n" in text
    assert "How it was trained" not in text
    assert "## Data" not in text
    assert "zero terminal SNR | no" in text
    assert ".yaml" not in text
    assert "ztsnr" not in text


def test_text_out_of_the_data_is_only_ever_text(model: Path, tmp_path: Path) -> None:
    records = [Record("1", (Tag(HOSTILE),), (Prose("x", HOSTILE),), "a/1.png")]
    run = write_run(
        tmp_path / "run",
        model,
        records,
        preview={"prompts": [HOSTILE]},
        model={"base": f"bases/{HOSTILE.replace('/', '')}"},
    )
    about = About(title=HOSTILE, author=HOSTILE, trigger=HOSTILE, description=HOSTILE, tags=(HOSTILE,))
    text = card(find_source(run), about, model="a`b|c.safetensors")
    body = text.split("\n---\n", 1)[1]
    assert "<script" not in body
    assert "49" not in re.findall(r"alert.*", body)[0]
    assert "](javascript" not in body.replace("\\]", "")
    rows = [line for line in body.splitlines() if line.startswith("| ") and "alert" in line]
    assert len(rows) == 1
    assert len(re.findall(r"(?<!\\)\|", rows[0])) == 4
    assert json.loads(make_metadata(find_source(run), about, "x", "fp32")["ss_tag_frequency"]) == {
        "a": {HOSTILE: 1}
    }


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    shown = escape(text)
    assert "\n" not in shown
    assert "<" not in shown
    assert re.sub(r"\\.", "", shown).count("|") == 0
    assert re.sub(r"\\.", "", shown).count("`") == 0


def test_the_tags_can_be_kept_back(model: Path, tmp_path: Path) -> None:
    source = find_source(write_run(tmp_path / "run", model, RECORDS))
    about = About(tag_frequency=False)
    assert "snow" not in card(source, about)
    assert "snow" not in json.dumps(make_metadata(source, about, "x", "fp32"))


def test_phases_are_rows_and_the_last_one_counts(model: Path, tmp_path: Path) -> None:
    phases = [
        {"name": "first", "epochs": 2},
        {
            "epochs": 1,
            "batch": 2,
            "data": {"buckets": {"resolution": 128, "max_side": 128}},
            "optim": {"optimizer": "adopt", "lr": 1e-6},
        },
    ]
    out = write_run(tmp_path / "run", model, RECORDS, samples=None, phases=phases)
    source = find_source(out)
    text = card(source)
    assert "| first | 2 epochs | 64 | 4 x 2 | adamw | 0.001 | soft\\_min\\_snr |" in text
    assert "| 2 | 1 epoch | 128 | 2 x 2 | adopt | 1e-06 | soft\\_min\\_snr |" in text
    said = make_metadata(source, ABOUT, "x", "fp32")
    assert said["modelspec.resolution"] == "128x128"
    assert said["ss_resolution"] == "(128, 128)"
    assert said["ss_num_epochs"] == "3"
    assert json.loads(said["ss_bucket_info"]) == {"buckets": {"0": {"resolution": [64, 64], "count": 3}}}
