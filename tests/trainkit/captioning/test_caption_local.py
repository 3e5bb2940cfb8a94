"""A run of ``trainkit caption`` with a model on this machine: cutting it changes nothing that is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.trainkit.captioning.caption_runs import additions, make_run, write_manifest
from tests.trainkit.captioning.tiny_models import write_tiny_captioner
from trainkit.captioning.run import caption
from trainkit.signals import Stop


@pytest.mark.filterwarnings("ignore:.*torchvision.*")
def test_answers_do_not_depend_on_where_a_run_was_cut(tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, 8)
    backend = {"kind": "transformers", "model": str(write_tiny_captioner(tmp_path / "model")), "batch": 3}
    settings = {
        "backend": backend,
        "sampling": {"temperature": 0.9, "max_new_tokens": 12},
        "prompts": [
            {"name": "a", "text": "Describe it: {tags:3}", "otherwise": "Go."},
            {"name": "b", "text": "Go."},
        ],
        "per_picture": "all",
    }
    for share in (0.5, 1.0):
        cut = caption(
            make_run(manifest, "", choose={"share": share, "skip": "nothing"}, **settings), Stop(), show=False
        )
    whole = caption(
        make_run(manifest, "", name="whole", choose={"share": 1.0, "skip": "nothing"}, **settings),
        Stop(),
        show=False,
    )
    assert cut is not None
    assert whole is not None
    assert (cut.tally.answered, whole.tally.answered) == (16, 16)
    assert 0 < cut.asked < 16 == whole.asked
    for prompt in ("a", "b"):
        first, second = additions(manifest, f"cog-{prompt}"), additions(manifest, f"whole-{prompt}")
        assert {id: one.detail["raw"] for id, one in first.items()} == {
            id: one.detail["raw"] for id, one in second.items()
        }
        assert len({one.detail["raw"] for one in first.values()}) > 1
        assert {one.detail["model"] for one in first.values()} == {"model"}
