"""Runs of ``trainkit caption`` against a real server on loopback: what is asked, kept, judged, and not asked
again."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.trainkit.captioning.caption_runs import TEXT, additions, captions, make_run, write_manifest
from tests.trainkit.captioning.caption_server import caption_server, order, seen
from trainkit.captioning.choose import Choice, ChooseConfig
from trainkit.captioning.config import CaptionConfig, make_caption_run
from trainkit.captioning.dry_run import dry_run
from trainkit.captioning.plan import plan_of
from trainkit.captioning.preview import preview
from trainkit.captioning.report import write_report
from trainkit.captioning.run import Result, caption, check_some
from trainkit.errors import ConfigError, TrainkitError
from trainkit.manifest_pictures import ManifestPictures
from trainkit.signals import Stop


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_manifest(tmp_path_factory.mktemp("data"), 10).parent


@pytest.fixture
def manifest(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "data") / "manifest"


@pytest.fixture
def server() -> Iterator[str]:
    with caption_server(text=TEXT) as url:
        yield url


def run(config: CaptionConfig, **settings: bool) -> Result:
    result = caption(config, Stop(), show=False, **settings)
    assert result is not None
    return result


def test_a_picture_is_asked_about_once_and_its_caption_is_in_the_manifest(
    manifest: Path, server: str
) -> None:
    result = run(make_run(manifest, server, choose={"share": 0.5}))
    chosen = len(result.choice.rows)
    assert 0 < chosen < 10
    assert seen(server)["requests"] == result.asked == result.tally.captioned == result.tally.mended == chosen
    told = captions(manifest)
    assert sum("cog" in prose for prose in told.values()) == chosen
    for id, addition in additions(manifest).items():
        detail = addition.detail
        assert detail["raw"].startswith("The image showcases a shape whose mean colour is ")
        assert told[id] == {"cog": detail["cleaned"]}
        assert detail["cleaned"] == "A shape" + detail["raw"].removeprefix("The image showcases a shape")
        assert detail["prompt"].startswith("Describe the picture. It is tagged: ")
        assert detail["finish"] == "stop"
        assert detail["tokens_out"] > 10
    assert {body["seed"] for body in seen(server)["bodies"]} == {
        addition.detail["seed"] for addition in additions(manifest).values()
    }

    # Again: nothing. A larger share: only what is new, though the manifest now holds our own captions.
    again = run(make_run(manifest, server, choose={"share": 0.5}))
    assert (again.asked, seen(server)["requests"]) == (0, chosen)
    assert again.tally.captioned == chosen
    assert captions(manifest) == told
    assert run(make_run(manifest, server)).asked == 10 - chosen
    assert seen(server)["requests"] == 10
    assert captions(manifest).items() >= {id: prose for id, prose in told.items() if prose}.items()


def test_cleaning_and_gate_may_change_afterwards_and_nobody_is_asked(manifest: Path, server: str) -> None:
    run(make_run(manifest, server))
    strict = run(make_run(manifest, server, gate={"languages": [], "min_words": 40}))
    assert (strict.tally.captioned, strict.tally.refused) == (0, 10)
    assert strict.tally.faults == {"too short": 10}
    assert not any(captions(manifest).values())
    lax = run(make_run(manifest, server, clean={"lead_ins": False}))
    assert lax.tally.captioned == 10
    assert all(prose["cog"].startswith("The image showcases") for prose in captions(manifest).values())
    assert seen(server)["requests"] == 10


def test_other_prompts_under_the_same_name_are_refused_until_restarted(manifest: Path, server: str) -> None:
    run(make_run(manifest, server))
    other = make_run(manifest, server, prompts=["What is it?"])
    with pytest.raises(TrainkitError) as error:
        run(other)
    assert "prompts.describe.text" in str(error.value)
    assert "What is it?" in str(error.value)
    assert "--restart" in str(error.value)
    assert run(other, restart=True).asked == 10
    assert {addition.detail["prompt"] for addition in additions(manifest).values()} == {"What is it?"}
    anew = make_run(
        manifest, server, prompts=["What is it?"], name="other", choose={"share": 1.0, "skip": "nothing"}
    )
    assert run(anew).asked == 10


def test_servers_that_serve_another_model_are_told_apart(manifest: Path, server: str) -> None:
    assert run(make_run(manifest, server, choose={"share": 0.5})).tally.captioned > 0
    order(server, model="another")
    assert run(make_run(manifest, server, choose={"share": 0.5})).asked == 0
    with pytest.raises(TrainkitError, match=r"serve 'another' now; what is there was made by 'arithmetic"):
        run(make_run(manifest, server))
    assert run(make_run(manifest, server), restart=True).asked == 10
    assert {addition.detail["model"] for addition in additions(manifest).values()} == {"another"}


def test_a_broken_picture_is_named_and_asked_about_only_when_wanted(manifest: Path, server: str) -> None:
    picture = manifest.parent / "pictures" / "003.png"
    whole = picture.read_bytes()
    picture.write_bytes(whole[: len(whole) // 2])
    config = make_run(manifest, server)
    result = run(config)
    assert (result.tally.captioned, result.tally.failed) == (9, 1)
    [(id, problem)] = result.tally.problems
    assert id == "003"
    assert "003.png" in problem
    picture.write_bytes(whole)
    assert run(config).tally.failed == 1
    assert seen(server)["requests"] == 9
    mended = run(config, retry_failed=True)
    assert (mended.asked, mended.tally.captioned, mended.tally.failed) == (1, 10, 0)
    assert "cog" in captions(manifest)["003"]


def test_an_answer_that_is_refused_is_kept_and_one_that_failed_is_asked_for_again(
    manifest: Path, server: str
) -> None:
    failed = {"status": 400, "body": {"error": {"message": "cannot look"}}, "every": 4}
    order(server, failed, text="I'm sorry, I cannot see any image.")
    config = make_run(manifest, server)
    first = run(config)
    assert first.tally.failed == 2
    assert first.tally.captioned == 0
    assert first.tally.refused == 10 - first.tally.failed
    assert set(first.tally.faults) & {"blind", "refusal"}
    order(server, text=TEXT)
    again = run(config, retry_failed=True)
    assert (again.asked, again.tally.captioned) == (first.tally.failed, first.tally.failed)
    assert again.tally.refused == first.tally.refused


def test_several_prompts_each_with_a_source(manifest: Path, server: str) -> None:
    prompts = [{"name": "long", "text": "Describe it."}, {"name": "short", "text": "Sum it up."}]
    drawn = run(make_run(manifest, server, prompts=prompts))
    assert drawn.asked == 10
    assert set(drawn.tally.prompts) == {"long", "short"}
    every = {"share": 1.0, "skip": "nothing"}
    both = run(make_run(manifest, server, prompts=prompts, per_picture="all", name="both", choose=every))
    assert both.asked == 20
    for prose in captions(manifest).values():
        assert set(prose) == {"cog", "both-long", "both-short"}
    assert {a.detail["prompt"] for a in additions(manifest, "both-short").values()} == {"Sum it up."}


def test_an_opening_is_kept_in_the_raw_text_and_gone_in_the_caption(manifest: Path, server: str) -> None:
    prompt = {"text": "Describe it.", "opening": "The image showcases"}
    run(make_run(manifest, server, prompts=[prompt], clean={"lead_ins": False}))
    addition = additions(manifest)["001"]
    assert addition.detail["raw"].startswith("The image showcases a shape")
    assert captions(manifest)["001"]["cog"].startswith("A shape")
    assert addition.detail["prompt"].endswith('Begin your answer with the words "The image showcases".')


@pytest.mark.parametrize("world", [1, 2, 3, 11])
def test_ranks_share_the_pictures_and_leave_out_what_is_done(prepared: Path, world: int) -> None:
    config = make_run(prepared / "manifest", "http://127.0.0.1:1/v1")
    pictures = ManifestPictures.open(config.data)
    done = {"cog": {int(key) for key in pictures.keys[::3]}}
    plans = [
        plan_of(pictures, config, tuple(range(10)), done, rank=rank, world=world) for rank in range(world)
    ]
    rows = [row for plan in plans for row in plan.todo]
    assert sorted(rows) == [row for row in range(10) if row % 3]
    assert sum(plan.answered for plan in plans) == 4


def test_a_preview_changes_nothing_and_shows_what_was_sent(
    manifest: Path, server: str, tmp_path: Path
) -> None:
    before = {path: path.read_bytes() for path in manifest.rglob("*") if path.is_file()}
    backend = {"kind": "server", "urls": [server], "price_in": 1.0, "price_out": 2.0}
    config = make_run(manifest, server, backend=backend)
    shown = preview(config, 4, tmp_path / "page.html", Stop(), show=False)
    assert {path: path.read_bytes() for path in manifest.rglob("*") if path.is_file()} == before
    assert [card.id for card in shown.cards] == ["001", "003", "006", "008"]
    assert seen(server)["requests"] == 4
    assert shown.estimate.captions == 10
    tokens_in, tokens_out = shown.estimate.tokens_in, shown.estimate.tokens_out
    assert shown.estimate.cost == pytest.approx((tokens_in + 2 * tokens_out) / 1e6)
    page = shown.path.read_text(encoding="utf-8")
    assert page.count("data:image/jpeg;base64,") == 4
    assert all(card.prompt in page for card in shown.cards)
    assert "<del>The image showcases a </del>" in page
    assert "by the server" in page


def test_pages_escape_what_models_and_boards_say(manifest: Path, server: str, tmp_path: Path) -> None:
    order(server, text="The <script>alert(1)</script> image is a fine drawing.")
    prompts = ["Describe <b>it</b>."]
    config = make_run(manifest, server, prompts=prompts, choose={"count": 3})
    shown = preview(config, 2, tmp_path / "page.html", Stop(), show=False)
    for page in (shown.path, write_report(config, run(config))):
        text = page.read_text(encoding="utf-8")
        assert "<script>" not in text
        assert "<b>it</b>" not in text
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text


def test_a_dry_run_asks_nobody(manifest: Path) -> None:
    prompts = ["Name {tags:colr}. Name {tags:shape:1}. Go on."]
    told = dry_run(make_run(manifest, "http://127.0.0.1:1/v1", prompts=prompts))
    assert (told.plan.count, told.plan.answered, len(told.sent)) == (10, 0, 3)
    assert [note for note in told.silent if "{tags:colr}" in note and "did you mean 'colour'?" in note]
    assert len(told.silent) == 1
    assert not (manifest / "additions").exists()
    assert "Go on." in told.describe()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backend": {"kind": "servre"}}, "backend.kind: is 'servre', must be 'transformers'"),
        ({"backend": {"kind": "server", "urls": ["http://a/v1"], "modle": 1}}, "did you mean 'model'?"),
        ({"backend": {"kind": "transformers"}}, "backend.model: is required"),
        ({"prompts": [{"name": "a", "text": "x"}, {"name": "a", "text": "y"}]}, "two are called 'a'"),
        ({"prompts": []}, "prompts: "),
        ({"prompts": ["Tags: {tgs}"]}, "prompts.0.text"),
        ({"per_picture": 2}, "there are 1 prompts"),
        ({"name": "a/b"}, "name: "),
        ({"name": "human"}, "kept for what a person says"),
        ({"sampling": {"temprature": 1}}, "did you mean 'temperature'?"),
        ({"choose": {"share": 2}}, "choose.share"),
    ],
)
def test_what_is_wrong_with_a_run_file_is_said(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        make_run(Path("m"), "http://127.0.0.1:1/v1", **changes)
    assert said in str(error.value)


def test_no_picture_left_to_caption_is_an_error(manifest: Path) -> None:
    config = make_run(manifest, "http://127.0.0.1:1/v1", choose={"any": ["no such tag"]})
    with pytest.raises(TrainkitError, match=r"none of 10 pictures is chosen"):
        run(config)


def test_two_models_with_one_seed_draw_the_same_pictures_and_that_is_said() -> None:
    """Regression: "the filter leaves 673; raise choose.share", of which the second model got none."""
    with pytest.raises(TrainkitError, match=r"or draw other pictures .* choose\.seed=4"):
        check_some(Choice((), seen=10, left=8, captioned=2), 10, ChooseConfig(seed=3))
    with pytest.raises(TrainkitError, match=r'choose.skip = "nothing"$'):
        check_some(Choice((), seen=10, left=8, captioned=0), 10, ChooseConfig())
    check_some(Choice((3,), seen=10, left=8, captioned=2), 10, ChooseConfig())


def test_paths_in_a_run_file_start_at_it(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    data = {
        "data": "m",
        "name": "x",
        "prompts": "Go.",
        "backend": {"kind": "transformers", "model": "model"},
    }
    config = make_caption_run(data, tmp_path, "caption.toml")
    assert config.data == tmp_path / "m"
    assert config.backend.model == str(tmp_path / "model")
    assert [prompt.text for prompt in config.prompts] == ["Go."]


def test_a_disk_that_is_full_at_the_end_loses_nothing(server: str, tmp_path: Path) -> None:
    """It was told as "File too large", without the file and what to do."""
    order(server, text=TEXT)
    manifest = write_manifest(tmp_path, 1)
    (part,) = manifest.glob("*.arrow")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (part.stat().st_size - 1, before[1]))
    try:
        with pytest.raises(TrainkitError, match=r"manifest could not be written: .*the same command goes on"):
            caption(make_run(manifest, server), Stop(), show=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    asked = seen(server)["requests"]
    caption(make_run(manifest, server), Stop(), show=False)
    assert seen(server)["requests"] == asked
    assert captions(manifest).popitem()[1]
