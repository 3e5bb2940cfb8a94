"""The examples for trainers: short, print what they promise, and hand over to a trainer that has the patch.

The trainers here are scripts that print what they were given; the tests beside this one run the real ones as
far as they install.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from captionkit import load_pipeline
from captionkit.adapters.captioner import unmirrored
from captionkit.adapters.lookup import Records
from tests.captionkit.adapters.peers import PATIENCE, RECIPE, ROOT

FOLDER = ROOT / "examples/trainers"
MINE = (
    *("train_onetrainer", "train_simpletuner", "ai_toolkit_extension"),
    *("train_everydream", "train_naifu", "hcp_handler"),
)


@pytest.fixture
def trainer(tmp_path: Path) -> Path:
    """A folder with a recipe, pictures, and scripts of the names that trainers have."""
    (tmp_path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    (tmp_path / "pictures").mkdir()
    for name, text in {"a": "red, fox, snow, day", "b": "cat, left arm up, tree, sky"}.items():
        (tmp_path / f"pictures/{name}.png").touch()
        (tmp_path / f"pictures/{name}.txt").write_text(text, encoding="utf-8")
    return tmp_path


def run(trainer: Path, *command: str, **env: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", *command],
        cwd=trainer,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(trainer)])} | env,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


@pytest.mark.parametrize("name", MINE)
def test_an_example_is_short_and_says_how_to_run_it(name: str) -> None:
    source = (FOLDER / f"{name}.py").read_text(encoding="utf-8")
    assert len(source.splitlines()) <= 60
    assert "\nUsage" in source
    assert f"{name}.py" in source


@pytest.mark.parametrize("name", [name for name in MINE if name.startswith("train_")])
def test_what_is_shown_is_what_the_pipeline_renders(name: str, trainer: Path) -> None:
    said = run(trainer, str(FOLDER / f"{name}.py"), "recipe.toml", "pictures", "--show")
    assert said == run(trainer, str(FOLDER / f"{name}.py"), "recipe.toml", "pictures", "--show")
    pipeline = load_pipeline(trainer / "recipe.toml")
    never = name in ("train_simpletuner", "train_everydream")
    for record in Records.read(trainer / "pictures"):
        rendered = (unmirrored(pipeline) if never else pipeline).render(record)
        assert f"{rendered.text}\n" in said
        assert record.id in said


SCRIPTS = ("kohya", "train_onetrainer", "train_simpletuner", "train_everydream", "train_naifu")


def refused(trainer: Path, *command: str) -> str:
    """What is said when an example ends with status 2."""
    path = os.pathsep.join([str(ROOT), str(trainer)])
    done = subprocess.run(
        [sys.executable, *command],
        cwd=trainer,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("name", SCRIPTS)
def test_with_too_few_words_the_usage_is_said(name: str, trainer: Path) -> None:
    for words in ([], ["recipe.toml"]):
        assert f"{name}.py recipe.toml" in refused(trainer, str(FOLDER / f"{name}.py"), *words)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("kohya", "no such script: train_network.py; "),
        ("train_onetrainer", "modules.dataLoader.mixin.DataLoaderText2ImageMixin cannot be imported: "),
        ("train_simpletuner", "SimpleTuner cannot be imported: "),
        ("train_everydream", "there is no train.py here: run this from EveryDream2's folder"),
        ("train_naifu", "there is no trainer.py here: run this from naifu's folder"),
    ],
)
def test_where_the_trainer_is_not_one_line_says_so(name: str, told: str, trainer: Path) -> None:
    example = str(FOLDER / f"{name}.py")
    said = refused(trainer, example, "recipe.toml", "pictures", "train_network.py")
    assert said.startswith(told)
    assert said.count("\n") == 1
    said = refused(trainer, example, "nope.toml", "pictures", "--show")
    assert said.startswith("nope.toml: cannot read the recipe: No such file or directory")


def test_a_missing_trainer_is_one_error_and_no_chain(trainer: Path) -> None:
    for name in ("ai_toolkit", "kohya", "onetrainer", "simpletuner"):
        script = f"from captionkit.adapters.{name} import install\ninstall('recipe.toml', 'pictures')\n"
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=trainer,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.stderr.count("Traceback") == 1, done.stderr
        assert "captionkit.errors.CaptionkitError: " in done.stderr


def test_hcp_and_ai_toolkit_show_their_visits(trainer: Path) -> None:
    said = run(trainer, str(FOLDER / "hcp_handler.py"), "recipe.toml", "pictures")
    pipeline = unmirrored(load_pipeline(trainer / "recipe.toml"))
    for record in Records.read(trainer / "pictures"):
        for epoch in (0, 1):
            expected = f"{record.id}, visit {epoch + 1}: {pipeline.render(record, epoch=epoch).text}\n"
            assert expected in said
    (trainer / "extensions/captions").mkdir(parents=True)
    shutil.copy(FOLDER / "ai_toolkit_extension.py", trainer / "extensions/captions/__init__.py")
    env = {"CAPTIONKIT_RECIPE": "recipe.toml", "CAPTIONKIT_DATA": "pictures"}
    assert run(trainer, "extensions/captions/__init__.py", **env) == said


def test_the_extension_patches_when_ai_toolkit_imports_it(trainer: Path) -> None:
    (trainer / "extensions/captions").mkdir(parents=True)
    shutil.copy(FOLDER / "ai_toolkit_extension.py", trainer / "extensions/captions/__init__.py")
    (trainer / "toolkit").mkdir()
    (trainer / "toolkit/prompt_utils.py").write_text("def inject_trigger_into_prompt(*a): pass\n")
    (trainer / "toolkit/dataloader_mixins.py").write_text(
        "class CaptionProcessingDTOMixin:\n"
        "    def load_caption(self): pass\n"
        "    def get_caption(self): pass\n"
        "class ImageProcessingDTOMixin:\n"
        "    def load_and_process_image(self): pass\n"
    )
    script = (
        "import importlib, pkgutil\n"
        "for _, name, _ in pkgutil.iter_modules(['extensions']):\n"
        "    print(importlib.import_module('extensions.' + name).AI_TOOLKIT_EXTENSIONS)\n"
        "from toolkit.dataloader_mixins import CaptionProcessingDTOMixin as mixin\n"
        "print(mixin.get_caption.__module__)\n"
    )
    said = run(trainer, "-c", script, CAPTIONKIT_RECIPE="recipe.toml", CAPTIONKIT_DATA="pictures")
    assert said == "[]\ncaptionkit.adapters.ai_toolkit\n"


def test_onetrainer_gets_its_arguments_and_the_patch(trainer: Path) -> None:
    mixin = trainer / "modules/dataLoader/mixin"
    mixin.mkdir(parents=True)
    (mixin / "DataLoaderText2ImageMixin.py").write_text(
        "class DataLoaderText2ImageMixin:\n    def _augmentation_modules(self, config): return []\n"
    )
    (trainer / "scripts").mkdir()
    (trainer / "scripts/train.py").write_text(
        "import sys\n"
        "from modules.dataLoader.mixin.DataLoaderText2ImageMixin import DataLoaderText2ImageMixin as m\n"
        "print(__name__, sys.argv, m._augmentation_modules.__module__)\n"
    )
    example = str(FOLDER / "train_onetrainer.py")
    said = run(trainer, example, "recipe.toml", "pictures", "--config-path", "config.json")
    arguments = ["scripts/train.py", "--config-path", "config.json"]
    assert said == f"__main__ {arguments} captionkit.adapters.onetrainer\n"


def test_everydream_gets_its_arguments_and_the_plugin(trainer: Path) -> None:
    (trainer / "plugins").mkdir()
    (trainer / "plugins/plugins.py").write_text("class BasePlugin:\n    pass\n")
    (trainer / "train.py").write_text(
        "import importlib, sys\n"
        "place, _, name = sys.argv[-1].rpartition('.')\n"
        "plugin = getattr(importlib.import_module(place), name)()\n"
        "plugin.on_epoch_start(epoch=0)\n"
        "print(sys.argv[:-1], plugin.transform_caption('b'), sep='; ')\n"
    )
    example = str(FOLDER / "train_everydream.py")
    said = run(trainer, example, "recipe.toml", "pictures", "--config", "train.json")
    arguments, text = said.strip().split("; ")
    assert arguments == "['train.py', '--config', 'train.json', '--plugins']"
    assert set(text.split(", ")) <= {"cat", "left arm up", "tree", "sky"}


def test_the_page_s_text_files_are_found_by_the_plugin(trainer: Path) -> None:
    page = (ROOT / "docs/trainers/everydream2.md").read_text(encoding="utf-8")
    block = page.split("```python\n")[1].split("```")[0]
    (trainer / "data.jsonl").write_text('{"file": "x/c.png", "tags": "red, fox"}\n', encoding="utf-8")
    run(trainer, "-c", block)
    text = (trainer / "pictures/x/c.txt").read_text(encoding="utf-8")
    assert Records.read(trainer / "data.jsonl").record(text).image == "x/c.png"


@pytest.mark.parametrize("name", ["onetrainer", "simpletuner", "ai-toolkit", "everydream2", "naifu", "hcp"])
def test_a_page_leads_to_its_example_and_its_test(name: str) -> None:
    page = (ROOT / f"docs/trainers/{name}.md").read_text(encoding="utf-8")
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page)
    assert any(link.startswith("../../examples/trainers/") for link in links)
    tests = re.findall(r"`(tests/[\w/]+\.py)`", page)
    assert tests
    for path in [ROOT / "docs/trainers" / link for link in links] + [ROOT / test for test in tests]:
        assert path.is_file()


def test_naifu_gets_its_arguments_and_a_function_that_is_ready(trainer: Path) -> None:
    (trainer / "trainer.py").write_text(
        "import sys\nfrom captionkit.adapters import naifu\nprint(__name__, sys.argv, len(naifu._ready))\n"
    )
    example = str(FOLDER / "train_naifu.py")
    said = run(trainer, example, "recipe.toml", "pictures", "--config", "c.yaml")
    assert said == "__main__ ['trainer.py', '--config', 'c.yaml'] 1\n"


def test_simpletuner_gets_its_arguments_and_the_patch(trainer: Path) -> None:
    (trainer / "simpletuner/helpers").mkdir(parents=True)
    (trainer / "simpletuner/helpers/prompts.py").write_text(
        "class PromptHandler:\n"
        "    @staticmethod\n    def magic_prompt(): pass\n"
        "    @staticmethod\n    def get_all_captions(): pass\n"
    )
    (trainer / "simpletuner/train.py").write_text(
        "import sys\nfrom simpletuner.helpers.prompts import PromptHandler as handler\n"
        "print(__name__, sys.argv[1:], handler.magic_prompt.__module__)\n"
    )
    example = str(FOLDER / "train_simpletuner.py")
    said = run(trainer, example, "recipe.toml", "pictures", "--more", "1")
    assert said == "__main__ ['--more', '1'] captionkit.adapters.simpletuner\n"


def test_the_adapters_are_imported_without_any_peer(tmp_path: Path) -> None:
    names = ("onetrainer", "simpletuner", "ai_toolkit", "everydream", "naifu", "hcp", "lookup", "visits")
    imports = "".join(f"import captionkit.adapters.{name}\n" for name in names)
    script = f"{imports}import sys\nprint(sorted({{'torch', 'numpy', 'PIL', 'mgds'}} & set(sys.modules)))"
    assert run(tmp_path, "-c", script) == "[]\n"
