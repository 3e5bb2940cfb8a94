"""Requests of pictures as a back end has room for them, and what is remembered until each is answered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from typing import Any, final

from PIL import Image

from captionkit import Record
from trainkit.additions.addition import Addition
from trainkit.captioning.captioner import Answer, Request
from trainkit.captioning.config import CaptionConfig
from trainkit.captioning.judged import Judge, captioned
from trainkit.captioning.prompts import PromptConfig, prompt_hash, request_seed
from trainkit.manifest_pictures import ManifestPictures, Seen


@dataclass(frozen=True, slots=True)
class Question:
    """A request on its way."""

    record: Record
    digest: str
    prompt: PromptConfig
    sent: str
    """The prompt as it was sent."""
    seed: int
    image: Image.Image | None
    """Only where images are kept."""


@final
class Questions:
    """Makes the requests of a plan. A back end may draw them from a thread of its own: what is shared is only
    a dictionary and a queue, each touched by one operation at a time."""

    def __init__(
        self, pictures: ManifestPictures, config: CaptionConfig, model: str, *, keep_images: bool = False
    ) -> None:
        self._pictures, self._config, self._model = pictures, config, model
        self._keep = keep_images
        self._prompts = {prompt.name: prompt for prompt in config.prompts}
        self._hashes = {
            name: prompt_hash(prompt, config.words, config.sampling, model)
            for name, prompt in self._prompts.items()
        }
        self._on_way: dict[int, Question] = {}
        self._failed: SimpleQueue[tuple[str, Addition]] = SimpleQueue()

    def requests(self, todo: Mapping[int, tuple[str, ...]], stopped: Callable[[], bool]) -> Iterator[Request]:
        """One for each caption of ``todo``, pictures read ahead; ends early once ``stopped`` says so."""
        number = 0
        for seen in self._pictures.images(todo, ahead=self._config.ahead):
            for name in todo[seen.row]:
                if stopped():
                    return
                if seen.image is None or seen.record is None:
                    self._fail(seen, self._prompts[name])
                    continue
                question = self._question(seen.row, seen.record, self._prompts[name], seen.image)
                self._on_way[number] = question
                yield Request(number, question.sent, seen.image, question.seed)
                number += 1

    def failures(self) -> Iterator[tuple[str, Addition]]:
        """The pictures that could not be asked about since the last call, each with its source."""
        while True:
            try:
                yield self._failed.get_nowait()
            except Empty:
                return

    def answered(self, answer: Answer) -> Question:
        """What an answer is to; it is forgotten."""
        return self._on_way.pop(answer.key)

    def addition(self, question: Question, answer: Answer, judge: Judge) -> tuple[str, Addition]:
        """What is kept of an answer, and its source."""
        source = self._config.source_of(question.prompt)
        detail = self._detail(question.prompt) | {
            "prompt": question.sent,
            "seed": question.seed,
            "tokens_in": answer.tokens_in,
            "tokens_out": answer.tokens_out,
            "finish": answer.finish,
            "seconds": round(answer.seconds, 3),
        }
        if answer.text is None:
            failed = {**detail, "problem": answer.problem or "no answer"}
            return source, Addition(question.record.id, question.digest, detail=failed)
        detail["raw"] = answer.text
        said = question.prompt.without_opening(answer.text)
        if said != answer.text:
            detail["answer"] = said
        judged = judge.judge(said, finish=answer.finish, prompt=question.sent)
        return source, captioned(question.record.id, question.digest, source, detail, judged, judge.mark)

    def _question(self, row: int, record: Record, prompt: PromptConfig, image: Image.Image) -> Question:
        return Question(
            record,
            self._pictures.digest(row),
            prompt,
            prompt.ask(record, self._config.words, self._config.ours),
            request_seed(self._config.sampling.seed, record.id, prompt.name),
            image if self._keep else None,
        )

    def _detail(self, prompt: PromptConfig) -> dict[str, Any]:
        return {"model": self._model, "prompt_name": prompt.name, "prompt_hash": self._hashes[prompt.name]}

    def _fail(self, seen: Seen, prompt: PromptConfig) -> None:
        """A picture that cannot be had is remembered, like an answer that failed."""
        record = seen.record or self._pictures.record(seen.row)
        detail = self._detail(prompt) | {"problem": seen.problem or "no picture", "finish": "error"}
        addition = Addition(record.id, self._pictures.digest(seen.row), detail=detail)
        self._failed.put((self._config.source_of(prompt), addition))
