"""The command line: quick answers, plain messages, exit status 2 for what the user can mend."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.trainkit.processes import command, environment, run, write_run
from trainkit.cli import main


def said(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    """Exit status and standard error of a command in this process."""
    status = main([str(word) for word in words])
    return status, capsys.readouterr().err


def test_mistakes_in_a_run_file_are_messages(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = write_run(tmp_path, tiny_model, pictures)
    for verb in ("train", "check"):
        status, text = said(capsys, verb, tmp_path / "nowhere.toml")
        assert (status, text.splitlines()[0]) == (2, f"trainkit: {tmp_path / 'nowhere.toml'}: 1 problem")
        status, text = said(capsys, verb, run_file, "optim.lrr=1")
        assert status == 2
        assert text.endswith("optim.lrr: no such setting; did you mean 'lr'?\n")
    for override, part in (
        (f"model.base={tmp_path}", "lacks its unet/ folder"),
        (f"data.path={tmp_path / 'gone'}", "data.path: no such folder or table"),
        ("data.recipe=hyperfussion", "data.recipe: "),
        ("text.clip_skip=9", "clip_skip is 9, but the text encoder has only 3 layers"),
    ):
        status, text = said(capsys, "train", run_file, override)
        assert status == 2
        assert text.count("trainkit: ") == 1
        assert part in text
    assert not (tmp_path / "out" / "model").exists()


def test_a_process_shows_no_traceback_for_a_users_mistake(tmp_path: Path) -> None:
    done = run(command("train", tmp_path / "nowhere.toml"))
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    assert "cannot be read: No such file or directory" in done.stderr


def test_a_folder_that_cannot_be_written_is_a_message(
    tmp_path: Path, tiny_model: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_file = write_run(tmp_path, tiny_model, pictures)
    (tmp_path / "file").write_text("")
    status, text = said(capsys, "train", run_file, f"out={tmp_path / 'file' / 'out'}")
    assert status == 2
    assert "trainkit: " in text
    assert str(tmp_path / "file") in text


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["trian"],
        ["check", "run.toml", "--devices", "0"],
        ["train", "run.toml", "--fast"],
        ["sample"],
    ],
)
def test_commands_that_make_no_sense(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: trainkit" in capsys.readouterr().err


def test_sample_paints_every_prompt_and_a_sheet(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "samples"
    words = ["sample", tiny_model, "Red circle, black!", "", "--out", out, "--steps", "2", "--size", "64x96"]
    assert main([str(word) for word in words]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["000-red-circle-black.png", "001-empty.png", "sheet.png"]
    with Image.open(out / "001-empty.png") as picture:
        assert picture.size == (64, 96)
    assert str(out / "sheet.png") in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--steps", "0"], "--steps is 0: "),
        (["--guidance", "0.5"], "--guidance is 0.5: "),
        (["--guidance-rescale", "2"], "--guidance-rescale is 2.0: "),
        (["--size", "64"], "--size is '64', must be WIDTHxHEIGHT in multiples of 8"),
        (["--size", "60x64"], "--size is '60x64', must be WIDTHxHEIGHT in multiples of 8"),
        (["--clip-skip", "20"], "--clip-skip is 20: "),
        (["--clip-skip", "9"], "clip_skip is 9, but the text encoder has only 3 layers"),
    ],
)
def test_sample_refuses_what_it_cannot_do(
    tmp_path: Path, tiny_model: Path, words: list[str], part: str, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = said(capsys, "sample", tiny_model, "x", "--out", tmp_path / "samples", *words)
    assert status == 2
    assert part in text
    assert not (tmp_path / "samples").exists()


def test_sample_without_a_model_or_with_a_prompt_that_is_too_long(
    tmp_path: Path, tiny_model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, text = said(capsys, "sample", tmp_path / "nowhere", "x")
    assert status == 2
    assert "no model folder at" in text
    status, text = said(capsys, "sample", tiny_model, "a" * 600, "--out", tmp_path / "samples")
    assert status == 2
    assert "caption has 600 tokens, at most 525 fit" in text


def python(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment(), check=True
    ).stdout


def test_help_answers_before_torch_is_loaded() -> None:
    code = """
import sys
from trainkit.cli import main
try:
    main(["train", "--help"])
except SystemExit:
    pass
print(sorted({"torch", "diffusers", "transformers", "numpy", "PIL", "accelerate"} & set(sys.modules)))
"""
    text = python(code)
    assert "settings by dotted path, such as optim.lr=1e-6" in text
    assert text.endswith("[]\n")


def test_a_missing_package_is_one_line(tmp_path: Path) -> None:
    code = f"""
import sys
sys.modules["diffusers"] = None
from trainkit.cli import main
sys.stderr = sys.stdout
print(main(["check", {str(tmp_path)!r}]))
"""
    assert python(code) == (
        "trainkit: the package 'diffusers' is missing; install everything with: "
        "pip install 'captionkit[train]'\n2\n"
    )
