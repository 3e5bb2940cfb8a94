"""docs/trainers/kohya.md: every command runs as written, and says what the page says."""

from __future__ import annotations

import json
import re
import shlex
import sys
import tomllib
from pathlib import Path

import pytest

from captionkit import load_pipeline
from captionkit.cli import main

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs/trainers/kohya.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = re.findall(r"^    captionkit ((?!:).*)$", TEXT, flags=re.MULTILINE)
TOML = """\
[general]
caption_extension = ".txt"
shuffle_caption = true
keep_tokens = 1

[[datasets]]
secondary_separator = ";;;"
batch_size = 4
resolution = 512

  [[datasets.subsets]]
  image_dir = "train/fox"
  num_repeats = 10
"""


@pytest.fixture(autouse=True)
def _prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    monkeypatch.chdir(tmp_path)
    Path("train/fox").mkdir(parents=True)
    Path("dataset.toml").write_text(TOML, encoding="utf-8")
    for number in range(3):
        Image.new("RGB", (32, 32), (number * 80, 0, 0)).save(f"train/fox/{number}.png")
        Path(f"train/fox/{number}.txt").write_text(f"fox, tree, snow {number}", encoding="utf-8")


def test_the_page_has_commands() -> None:
    assert [command.split()[0] for command in COMMANDS] == ["import", "preview", "lint", "report", "bake"]


def test_the_commands_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    said = ""
    for command in COMMANDS:
        assert main(shlex.split(command)) == 0, command
        out, err = capsys.readouterr()
        said += out + err
        assert "next: " in out + err or "report" in command, command
    for line in re.findall(r"^    (captionkit: .*)$", TEXT, flags=re.MULTILINE):
        assert line in said
    assert Path("report.html").is_file()
    assert Path("baked/dataset.toml").is_file()


def test_the_recipes_of_the_page_load() -> None:

    blocks = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    assert blocks
    for block in blocks:
        if "datasets" not in tomllib.loads(block):
            load_pipeline(tomllib.loads(block))


def test_the_dataset_toml_of_the_page_is_what_its_arguments_amount_to(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("img/10_fox").mkdir(parents=True)
    arguments = {"train_data_dir": "img", "shuffle_caption": True, "caption_extension": ".txt"}
    Path("settings.json").write_text(json.dumps(arguments), encoding="utf-8")
    assert main(["import", "kohya", "settings.json"]) == 2
    (block,) = (b for b in re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL) if "datasets" in b)
    assert tomllib.loads(capsys.readouterr().out) == tomllib.loads(block)


def test_the_two_lines_in_a_script_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    main(["import", "kohya", "dataset.toml", "-o", "recipe.toml"])
    monkeypatch.syspath_prepend(ROOT / "tests/captionkit/adapters/sd_scripts")
    (block,) = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
    names: dict[str, object] = {}
    exec(block.replace("install(", "plug = install("), names)
    names["plug"].remove()  # type: ignore[attr-defined]
    for name in ("library", "library.train_util"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_every_link_leads_somewhere(link: str) -> None:
    path, _, section = link.partition("#")
    target = PAGE.parent / path
    assert target.is_file()
    headings = re.findall(r"^#+ (.*)$", target.read_text(encoding="utf-8"), flags=re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert not section or section in anchors
