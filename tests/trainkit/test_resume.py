"""What may change between start and resume, what may not, and what may when it is meant."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from accelerate.state import AcceleratorState
from hypothesis import given
from hypothesis import strategies as st

from tests.trainkit.tiny import ROOT, run_data, write_tiny_model
from trainkit.changes import FREE, RULES, compare, rule_of, settings_of_run
from trainkit.config import RunConfig, caption_pipeline
from trainkit.errors import CheckpointError, ConfigError
from trainkit.run_file import make_run
from trainkit.train import Result, train


def config(**changes: Any) -> RunConfig:
    plain: dict[str, Any] = {"out": "out", "samples": 1, "model": {"base": "b"}, "data": {"path": "p"}}
    return RunConfig.model_validate(plain | changes)


def settings(run: RunConfig | None = None) -> dict[str, Any]:
    run = run or config()
    return settings_of_run(run, caption_pipeline(run), "21 pictures, fingerprint ab", {"unet": "cd"})


plain = st.none() | st.booleans() | st.integers() | st.text(max_size=3)


@given(st.dictionaries(st.sampled_from(sorted(settings())), plain, max_size=8), st.data())
def test_every_change_is_said_or_refused(changes: dict[str, Any], data: st.DataObject) -> None:
    then = settings()
    now = then | changes
    # Tuples have become lists on their way through JSON.
    then = json.loads(json.dumps(then))
    changed = {path for path in changes if path != "out" and json.loads(json.dumps(now[path])) != then[path]}
    offered = sorted({rule_of(path).path for path in changed if rule_of(path).may == "accept"})
    accepted = data.draw(st.sets(st.sampled_from(offered)) if offered else st.just(set[str]()))
    refused = {
        path
        for path in changed
        if rule_of(path).may == "never"
        or (rule_of(path).may == "accept" and rule_of(path).path not in accepted)
    }
    if refused:
        with pytest.raises(ConfigError) as error:
            compare("it", then, now, accepted)
        assert {problem.split(" is ")[0] for problem in error.value.problems} == refused
        return
    notes, taken = compare("it", then, now, accepted)
    assert {note.removeprefix("note: ").split(" is ")[0] for note in notes} == changed
    assert {path for path, _, _ in taken} == {path for path in changed if rule_of(path).may == "accept"}


def test_nothing_has_changed_when_nothing_has_changed() -> None:
    assert compare("it", json.loads(json.dumps(settings())), settings()) == ([], [])


def test_a_setting_that_an_older_version_did_not_have_is_no_change() -> None:
    then = {path: value for path, value in settings().items() if path != "stop_within"}
    assert compare("it", then, settings()) == ([], [])


def test_a_recipe_of_other_steps_and_an_adapter_that_came_are_changes() -> None:
    fewer = config(data={"path": "p", "recipe": {"steps": []}})
    with pytest.raises(ConfigError, match=r"captions\.steps.*--accept captions if it is meant"):
        compare("it", settings(), settings(fewer))
    notes, taken = compare("it", settings(), settings(fewer), ["captions"])
    assert notes
    assert taken
    with pytest.raises(ConfigError, match=r"adapter\.rank is 16, the checkpoint was made with not set"):
        compare("it", settings(), settings(config(adapter={})))


def test_what_cannot_be_accepted_is_told() -> None:
    with pytest.raises(ConfigError) as error:
        compare("it", settings(), settings(), ["seed", "text.max_tokns"])
    assert error.value.problems == [
        "--accept text.max_tokns: no such setting",
        "--accept seed: cannot be accepted; captions, noise, timesteps and the order of pictures are drawn "
        "from it",
    ]


def test_the_page_has_every_rule_and_no_other() -> None:
    page = (ROOT / "docs" / "nothing-lost.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([\w.]+)` \| (\w+) \| (.+) \|$", page, flags=re.MULTILINE)
    assert [(path, may, why) for path, may, why in rows] == [
        (rule.path, rule.may, rule.why) for rule in RULES
    ]
    assert FREE.why in " ".join(page.split())


def test_every_rule_is_for_something_that_there_is() -> None:
    known = settings(config(adapter={}))
    for rule in RULES:
        assert [path for path in known if path == rule.path or path.startswith(f"{rule.path}.")], rule.path


def train_here(out: Path, model: Path, data: Path, accepted: tuple[str, ...] = (), **changes: Any) -> Result:
    AcceleratorState._reset_state(True)
    return train(make_run(run_data(model, data, out, **changes), out.parent, "test"), accepted=accepted)


def test_a_forbidden_change_shows_the_difference_and_changes_nothing(
    tmp_path: Path, tiny_model: Path, own_pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    train_here(out, tiny_model, own_pictures, samples=16)
    before = {path: path.read_bytes() for path in (*out.rglob("*.json"), *out.glob("*.jsonl"))}
    wrong: dict[str, Any] = {"seed": 7, "text": {"max_tokens": 75}, "mixed_precision": "no"}
    with pytest.raises(ConfigError) as error:
        train_here(out, tiny_model, own_pictures, samples=32, **wrong)
    told = str(error.value)
    assert "this run cannot go on from" in told
    assert "seed is 7, the checkpoint was made with 0: captions, noise" in told
    assert "text.max_tokens is 75, the checkpoint was made with 150" in told
    assert "put it back, --accept text if it is meant, or give another `out` folder" in told
    kept = ("run.json", "log.jsonl", "state.json", "whole.json")
    assert all(path.read_bytes() == content for path, content in before.items() if path.name in kept)
    # What is accepted is written down; the rest of the changes is said.
    train_here(out, tiny_model, own_pictures, ("text", "captions"), samples=32, text={"max_tokens": 75})
    assert (
        "note: text.max_tokens is 75, the checkpoint was made with 150 (accepted)" in capsys.readouterr().out
    )
    (line,) = [
        told
        for told in map(json.loads, (out / "accepted.jsonl").read_text().splitlines())
        if told["setting"] == "text.max_tokens"
    ]
    assert (line["samples"], line["then"], line["now"]) == (16, 150, 75)
    # From the next checkpoint on it is the run's own.
    train_here(out, tiny_model, own_pictures, samples=48, text={"max_tokens": 75})


def test_other_pictures_and_another_base_model_are_noticed(
    tmp_path: Path, tiny_model: Path, own_pictures: Path
) -> None:
    out = tmp_path / "out"
    train_here(out, tiny_model, own_pictures, samples=16)
    # The same folder somewhere else is the same.
    moved = own_pictures.rename(tmp_path / "moved")
    assert train_here(out, tiny_model, moved, samples=24).resumed_from == 16
    other = write_tiny_model(tmp_path / "other", seed=1)
    with pytest.raises(ConfigError, match=r"model\.@unet is .*VAE, tokenizer and all that is not trained"):
        train_here(out, other, moved, samples=32)
    (moved / "004.png").unlink()
    (moved / "004.json").unlink()
    with pytest.raises(ConfigError, match=r'data is "20 pictures, .* was made with "21 pictures, '):
        train_here(out, tiny_model, moved, samples=32)
    with pytest.raises(CheckpointError, match="was made with 21 pictures, this run has 20"):
        train_here(out, tiny_model, moved, ("data",), samples=32)
