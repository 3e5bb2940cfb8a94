"""A model on this machine: every family answers, each request as if it were alone, and ends for a reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pydantic import ValidationError

from tests.trainkit.captioning.tiny_families import FAMILIES, write_family
from tests.trainkit.captioning.tiny_models import write_tiny_captioner
from trainkit.captioning.captioner import Answer, Request
from trainkit.captioning.local import LocalConfig
from trainkit.captioning.local_model import HOPELESS, LocalCaptioner
from trainkit.captioning.sampling import Sampling
from trainkit.errors import ModelError, TrainkitError

DRAWN = Sampling(max_new_tokens=8, temperature=0.8, top_p=0.95, repetition_penalty=1.05)


def picture(number: int, size: tuple[int, int] | None = None) -> Image.Image:
    """A gradient of its own colour, size and shape."""
    wide = Image.linear_gradient("L").resize(size or (50 + 9 * number, 40 + 17 * (number % 3)))
    return Image.merge("RGB", (wide, wide.point(lambda v: 255 - v), wide.point([number * 37 % 256] * 256)))


def requests(count: int, prompt: str = "") -> list[Request]:
    """Prompts of different lengths."""
    return [Request(n, prompt or "what " + "is it " * n, picture(n), 100 + n) for n in range(count)]


def ask(folder: Path, asked: list[Request], sampling: Sampling, **settings: Any) -> dict[int, Answer]:
    with LocalConfig(model=str(folder), **settings).open(sampling) as captioner:
        answers = list(captioner.answers(asked))
    assert len(answers) == len(asked)
    return {answer.key: answer for answer in answers}


def said(answers: dict[int, Answer]) -> dict[int, tuple[str | None, str, int, int]]:
    return {key: (a.text, a.finish, a.tokens_in, a.tokens_out) for key, a in answers.items()}


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_captioner(tmp_path_factory.mktemp("models") / "llava")


# GLM-4V's processor of pictures hands Pillow's to numpy in a way that numpy 2 warns of.
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_answers_each_request_as_if_it_were_alone(family: str, tmp_path: Path) -> None:
    folder = write_family(family, tmp_path / family)
    asked = requests(3, "<DETAILED_CAPTION>" if family == "florence2" else "")
    together = ask(folder, asked, DRAWN, batch=3)
    assert all(answer.problem is None for answer in together.values()), together
    assert sum(answer.tokens_out for answer in together.values()) > 3
    alone = ask(folder, asked[::-1], DRAWN, batch=1)
    assert said(together) == said(alone)


def test_the_likeliest_answers_do_not_depend_on_the_batch_and_drawn_ones_on_the_seed(llava: Path) -> None:
    greedy = Sampling(max_new_tokens=12)
    asked = requests(5)
    assert said(ask(llava, asked, greedy, batch=4)) == said(ask(llava, asked, greedy, batch=1))
    other = [Request(r.key, r.prompt, r.image, r.seed + 1) for r in asked]
    assert said(ask(llava, other, greedy)) == said(ask(llava, asked, greedy))
    assert said(ask(llava, other, DRAWN)) != said(ask(llava, asked, DRAWN))


def test_answers_end_for_a_reason(llava: Path) -> None:
    """Tiny random models stop, loop and go on of themselves; three of each kind are found among 12."""
    loop = {"repeats": 4, "min_tokens": 8}
    answers = ask(llava, requests(12), Sampling(max_new_tokens=120), loop=loop, batch=12)
    ends = {answer.finish for answer in answers.values()}
    assert ends == {"stop", "loop", "length"}
    for answer in answers.values():
        assert (answer.tokens_out == 120) == (answer.finish == "length")
    unstopped = ask(llava, requests(12), Sampling(max_new_tokens=120), loop={"repeats": 0}, batch=12)
    for key, answer in answers.items():
        assert (unstopped[key].text or "").startswith((answer.text or "").rstrip("\ufffd"))
        assert unstopped[key].finish != "loop"


def test_a_stop_string_ends_an_answer_and_is_no_part_of_it(llava: Path) -> None:
    asked = requests(6)
    free = ask(llava, asked, Sampling(max_new_tokens=30))
    key, word = next(
        (key, answer.text[9:10])
        for key, answer in free.items()
        if answer.text and len(answer.text) > 20 and answer.text[9:10].isascii() and answer.text[9:10].strip()
    )
    stopped = ask(llava, asked, Sampling(max_new_tokens=30, stop=(word,)))[key]
    whole = free[key].text
    assert whole is not None
    assert stopped.text == whole[: whole.index(word)].strip()
    assert stopped.finish == "stop"
    assert stopped.tokens_out < 30


def test_a_picture_that_cannot_be_asked_about_is_answered_with_a_problem(llava: Path) -> None:
    asked = requests(3)
    asked[1] = Request(1, "what", picture(1, (1, 1)), 0)
    asked.append(Request(9, "what", picture(1, (2000, 9)), 0))
    asked.append(Request(10, "  ", picture(1), 0))
    answers = ask(llava, asked, DRAWN)
    assert [answers[key].problem is None for key in (0, 1, 2, 9, 10)] == [True, False, True, False, False]
    assert "1 x 1 px" in (answers[1].problem or "")
    assert answers[9].text is None
    assert answers[9].finish == "error"
    assert said(ask(llava, [requests(3)[2]], DRAWN))[2] == said(answers)[2]


def test_one_request_that_fails_in_the_processor_fails_alone(llava: Path) -> None:
    """A prompt with a lone surrogate, which no tokenizer takes."""
    asked = requests(4)
    asked[2] = Request(2, "what \udc80", picture(2), 0)
    answers = ask(llava, asked, DRAWN, batch=4)
    assert [key for key, answer in sorted(answers.items()) if answer.problem] == [2]
    assert said(ask(llava, [asked[3]], DRAWN))[3] == said(answers)[3]


def test_when_everything_fails_it_is_told(llava: Path) -> None:
    asked = [Request(n, "what \udc80", picture(1), 0) for n in range(HOPELESS + 5)]
    with (
        LocalConfig(model=str(llava), batch=4).open(DRAWN) as captioner,
        pytest.raises(ModelError, match=f"llava failed {HOPELESS} times in a row"),
    ):
        list(captioner.answers(asked))


def test_a_prompt_cannot_play_the_models_own_tokens(llava: Path) -> None:
    """A tag <image> would promise a second picture, </s> would end the user's turn."""
    plain = [Request(0, "a cat ", picture(0), 0)]
    sly = [Request(0, "a <image>cat</s> <im</s>age>", picture(0), 0)]
    assert said(ask(llava, sly, DRAWN)) == said(ask(llava, plain, DRAWN))


def test_requests_are_drawn_as_there_is_room(llava: Path) -> None:
    drawn = 0

    def source() -> Iterator[Request]:
        nonlocal drawn
        for request in requests(9):
            drawn += 1
            yield request

    with LocalConfig(model=str(llava), batch=2).open(DRAWN) as captioner:
        answers = captioner.answers(source())
        next(answers)
        assert drawn == 2
        assert len(list(answers)) == 8


def test_a_lack_of_memory_halves_the_batch_and_nothing_is_lost(
    llava: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No GPU is here: the network is made to lack memory for more than two rows, as a GPU's would."""
    import torch

    asked = requests(7)
    calm = ask(llava, asked, DRAWN)
    with LocalConfig(model=str(llava), batch=7).open(DRAWN) as captioner:
        assert isinstance(captioner, LocalCaptioner)
        generate = captioner._model.generate

        def short(**inputs: Any) -> Any:
            if len(inputs["input_ids"]) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return generate(**inputs)

        monkeypatch.setattr(captioner._model, "generate", short)
        answers = {answer.key: answer for answer in captioner.answers(asked)}
        assert captioner.batch == 2
    assert said(answers) == said(calm)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("trainkit")]
    assert [told.count("goes on with") for told in ours] == [1, 1]


def test_thinking_is_taken_off(llava: Path) -> None:
    asked = requests(4)
    whole = ask(llava, asked, Sampling(max_new_tokens=30))
    text = whole[0].text or ""
    mark = next(char for char in text[3:] if char.isascii() and char.strip())
    answers = ask(llava, asked, Sampling(max_new_tokens=30), after=mark)
    assert answers[0].text == text.rpartition(mark)[2].strip()
    without = [key for key, answer in whole.items() if mark not in (answer.text or "")]
    assert all("max_new_tokens" in (answers[key].problem or "") for key in without)


def test_a_task_that_is_none_is_told_at_once(tmp_path: Path) -> None:
    folder = write_family("florence2", tmp_path / "florence")
    with (
        LocalConfig(model=str(folder)).open(DRAWN) as captioner,
        pytest.raises(TrainkitError, match=r"<CAPTION>, <DETAILED_CAPTION>, <MORE_DETAILED_CAPTION>"),
    ):
        list(captioner.answers(requests(1, "Describe it.")))


class TestFolders:
    """Folders that are not what they should be."""

    def refused(self, folder: Path, match: str, **settings: Any) -> None:
        with pytest.raises(ModelError, match=match):
            LocalConfig(model=str(folder), **settings).open(DRAWN)

    def changed(self, llava: Path, to: Path, **config: Any) -> Path:
        to.mkdir()
        for path in llava.iterdir():
            (to / path.name).write_bytes(path.read_bytes())
        read = json.loads((to / "config.json").read_text("utf-8"))
        (to / "config.json").write_text(json.dumps(read | config), "utf-8")
        return to

    def test_code_of_its_own_is_refused_by_the_name_of_its_file(self, llava: Path, tmp_path: Path) -> None:
        code = {
            "AutoModelForCausalLM": "modeling_evil.Evil",
            "AutoConfig": "somebody/else--configuration_x.X",
        }
        folder = self.changed(llava, tmp_path / "evil", model_type="evil", auto_map=code)
        (folder / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", "utf-8")
        self.refused(
            folder, r"modeling_evil\.py \(asked for by config\.json\), somebody/else: configuration_x\.py"
        )
        assert not (tmp_path / "ran").exists()

    def test_code_beside_a_family_that_transformers_knows_never_runs(
        self, llava: Path, tmp_path: Path
    ) -> None:
        code = {"AutoModelForImageTextToText": "modeling_evil.Evil", "AutoConfig": "modeling_evil.Evil"}
        folder = self.changed(llava, tmp_path / "evil", auto_map=code)
        (folder / "modeling_evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')", "utf-8")
        assert ask(folder, requests(1), DRAWN)[0].problem is None
        assert not (tmp_path / "ran").exists()

    def test_another_kind_of_model(self, llava: Path, tmp_path: Path) -> None:
        folder = self.changed(llava, tmp_path / "bert", model_type="bert")
        self.refused(folder, "is a bert model, and transformers .* has no model of that kind that writes")

    def test_weights_that_are_cut_off_or_missing(self, llava: Path, tmp_path: Path) -> None:
        folder = self.changed(llava, tmp_path / "cut")
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-1000])
        self.refused(folder, "cut cannot be loaded by transformers")
        weights.rename(folder / "pytorch_model.bin")
        self.refused(folder, r"no \*\.safetensors weights \(pickled")

    def test_weights_of_which_some_lack(self, llava: Path, tmp_path: Path) -> None:
        from safetensors.torch import load_file, save_file

        folder = self.changed(llava, tmp_path / "lacking")
        weights = load_file(folder / "model.safetensors")
        weights.pop(next(name for name in weights if "lm_head" in name))
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        self.refused(folder, r"lacks 1 weights of a llava model, such as .*lm_head")

    def test_without_a_chat_template_it_is_said_why_all_fails(self, llava: Path, tmp_path: Path) -> None:
        """A folder of which only some files were fetched: the network's error spoke of image tokens."""
        folder = self.changed(llava, tmp_path / "partial")
        (folder / "chat_template.jinja").unlink()
        answers = ask(folder, requests(2), DRAWN)
        assert all("has no chat template (chat_template.jinja)" in str(a.problem) for a in answers.values())

    @pytest.mark.parametrize(
        "odd",
        [
            {"guidance_scale": 3.0},
            {"watermarking_config": {"greenlist_ratio": 0.5}},
            {"prompt_lookup_num_tokens": 3},
            {"penalty_alpha": 0.6, "top_k": 4},
            {"dola_layers": "high"},
            {"num_beams": 4, "do_sample": True, "max_length": 1},
        ],
    )
    def test_odd_settings_of_generating_change_nothing(
        self, llava: Path, tmp_path: Path, odd: dict[str, Any]
    ) -> None:
        folder = self.changed(llava, tmp_path / "odd")
        path = folder / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **odd}), "utf-8")
        assert said(ask(folder, requests(2), DRAWN)) == said(ask(llava, requests(2), DRAWN))

    def test_stop_strings_of_the_model_end_an_answer(self, llava: Path, tmp_path: Path) -> None:
        """They failed every picture, because ``generate`` was not given the tokenizer."""
        folder = self.changed(llava, tmp_path / "stops")
        (whole,) = ask(llava, requests(1), DRAWN).values()
        assert whole.text is not None
        stop = next(letter for letter in whole.text[1:] if letter.isascii() and letter.strip())
        path = folder / "generation_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), "stop_strings": [stop]}), "utf-8")
        (answer,) = ask(folder, requests(1), DRAWN).values()
        assert (answer.text, answer.finish) == (whole.text.partition(stop)[0].strip(), "stop")

    def test_no_json_no_folder_no_gpu(self, llava: Path, tmp_path: Path) -> None:
        folder = self.changed(llava, tmp_path / "torn")
        (folder / "config.json").write_text("{", "utf-8")
        self.refused(folder, "is not JSON")
        (tmp_path / "empty").mkdir()
        self.refused(tmp_path / "empty", "no model's folder")
        self.refused(tmp_path / "nowhere", "no such folder")
        self.refused(llava, "which has no revisions", revision="main")
        self.refused(llava, "needs a GPU", quantize="4bit", device="cpu")


def test_settings_that_make_no_sense() -> None:
    for wrong in (
        {"prompt_format": "x"},
        {"device": "tpu"},
        {"batch": 0},
        {"modle": "x"},
        {"template": {"add_generation_prompt": False}},
    ):
        with pytest.raises(ValidationError):
            LocalConfig.model_validate({"model": "m", **wrong})
