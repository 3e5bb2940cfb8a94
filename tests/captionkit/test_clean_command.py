"""`captionkit.clean` and `captionkit clean`: what the policy does, alone."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from captionkit import RecipeError, clean, read_records
from captionkit.cli import main
from captionkit.policies import CleanCaptions

RAW = "The image shows a man who appears to be asleep. There are no visible watermarks."
CLEAN = "A man who is asleep."
WORDS = st.lists(
    st.sampled_from([RAW, "A dog.", "It possibly rains.", "**Bold**", "a b a b a b", "No"]), max_size=4
)


@given(WORDS.map(" ".join), st.booleans(), st.booleans())
def test_it_is_the_policy(text: str, hedges: bool, meta: bool) -> None:
    assert clean(text, hedges=hedges, meta=meta) == CleanCaptions(hedges=hedges, meta=meta).clean(text)


@given(st.text() | WORDS.map(" ".join))
def test_a_second_cleaning_changes_nothing(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_rules_of_ones_own(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    example = '[{ before = "A dog, yes.", after = "A dog." }, { before = "Yes." }]'
    rules.write_text(
        '[[rule]]\nname = "yes"\ngroup = "meta"\nabout = "Cut yes."\naction = "cut"\n'
        f'patterns = [", yes"]\nexamples = {example}\n'
    )
    assert clean("A dog, yes.", rules=rules) == "A dog."
    with pytest.raises(RecipeError):
        clean("A dog.", rules=tmp_path / "none.toml")
    with pytest.raises(ValueError, match="did you mean 'mood clause'"):
        clean("A dog.", skip=("mood claus",))


def run(*words: str | Path, stdin: str = "", monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
    return main(["clean", *map(str, words)])


def test_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = f"{RAW}\r\nA dog.\nThere are no visible watermarks.\n\nA cat."
    assert run(stdin=text, monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr()
    assert shown.out == f"{CLEAN}\nA dog.\n\n\nA cat.\n"
    assert "2 of 4 captions changed, nothing is left of 1" in shown.err

    file, out = tmp_path / "captions.txt", tmp_path / "cleaned.txt"
    file.write_text("\ufeff" + text, encoding="utf-8")
    assert run(file, "-o", out, monkeypatch=monkeypatch) == 0
    assert out.read_text(encoding="utf-8") == f"{CLEAN}\nA dog.\n\n\nA cat.\n"
    assert run(file, "-o", out, monkeypatch=monkeypatch) == 2
    assert "is there already" in capsys.readouterr().err
    file.write_bytes(b"A dog.\n\xff\n")
    assert run(file, monkeypatch=monkeypatch) == 2
    assert "captions.txt:2: is no UTF-8 text" in capsys.readouterr().err
    assert run(tmp_path / "none.txt", monkeypatch=monkeypatch) == 2
    assert "cannot be read" in capsys.readouterr().err


@pytest.fixture
def data(tmp_path: Path) -> Path:
    records = [
        {
            "id": "1",
            "tags": ["man"],
            "prose": [{"text": RAW, "source": "cogvlm"}, {"text": RAW, "source": "human"}],
        },
        {
            "id": "2",
            "tags": ["dog"],
            "prose": [{"text": "There are no visible watermarks.", "source": "cogvlm"}],
        },
        {"id": "3", "tags": ["cat"], "prose": [{"text": "<b>The image shows a cat.", "source": "cogvlm"}]},
    ]
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_records(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "cleaned.jsonl"
    assert run(data, "-o", out, "--source", "cogvlm", monkeypatch=monkeypatch) == 0
    found = {
        record.id: [(piece.text, piece.source) for piece in record.prose] for record in read_records(out)
    }
    assert found["1"] == [(CLEAN, "cogvlm"), (RAW, "human")]
    assert found["2"] == []
    assert run(data, "-o", out, "--off", "hedges", "--overwrite", monkeypatch=monkeypatch) == 0
    assert next(iter(read_records(out))).prose[0].text == "A man who appears to be asleep."


def test_what_changes_is_shown(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.html"
    assert run(data, "--diff", "--html", page, "--source", "cogvlm", monkeypatch=monkeypatch) == 0
    shown = capsys.readouterr().out
    assert "appears to be: 'appears to be' becomes 'is'" in shown
    assert "[-There are no visible watermarks.-]" in shown
    html = page.read_text(encoding="utf-8")
    assert "nothing is left" in html
    assert "<b>The" not in html
    assert run(data, "--json", "--skip", "absent things", monkeypatch=monkeypatch) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["captions"], told["emptied"]) == (4, 0)
    assert run(data, "--skip", "absent thing", "--diff", monkeypatch=monkeypatch) == 2
    assert "did you mean 'absent things'" in capsys.readouterr().err
    assert run(data, monkeypatch=monkeypatch) == 2
    assert "nothing to do with the cleaned records" in capsys.readouterr().err
