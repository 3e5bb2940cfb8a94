"""What an answer is worth: cleaned by captionkit's rules, then judged by the gate; both texts are kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, final

from captionkit import Prose
from captionkit.policies import CleanCaptions
from trainkit.additions.addition import Addition
from trainkit.captioning.captioner import Finish
from trainkit.captioning.gate import Gate, GateConfig

State = Literal["captioned", "refused", "failed"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A caption as it goes into the manifest, and why it does not."""

    text: str
    """Cleaned."""
    faults: tuple[str, ...]
    """Of the gate; none is a caption that passes."""


@final
class Judge:
    """Cleans answers and names their faults."""

    def __init__(self, clean: CleanCaptions, gate: GateConfig) -> None:
        self.clean = clean
        self._gate = Gate(gate)
        told = {"clean": clean.model_dump(mode="json"), "gate": gate.model_dump(mode="json")}
        text = json.dumps(told, sort_keys=True, ensure_ascii=True)
        self.mark = hashlib.blake2b(text.encode("ascii"), digest_size=8).hexdigest()
        """Of the settings; captions that bear another one are judged again, without asking the model."""

    def judge(self, answer: str, *, finish: Finish, prompt: str) -> Judged:
        """``answer`` is what the model said, less a forced opening."""
        cleaned = self.clean.clean(answer)
        return Judged(cleaned, self._gate.judge(cleaned, finish=finish, raw=answer, prompt=prompt))

    def again(self, addition: Addition, source: str) -> Addition:
        """An earlier caption, judged by these settings; itself when it was already, or has no answer."""
        detail = addition.detail
        if detail.get("judged") == self.mark or not isinstance(detail.get("raw"), str):
            return addition
        judged = self.judge(
            str(detail.get("answer", detail["raw"])),
            finish=detail.get("finish", "stop"),
            prompt=str(detail.get("prompt", "")),
        )
        return captioned(addition.id, addition.digest, source, detail, judged, self.mark)


def captioned(
    id: str, digest: str, source: str, detail: Mapping[str, Any], judged: Judged, mark: str
) -> Addition:
    """What is kept of an answer: a caption only when it passes; ``detail`` is what is known besides."""
    prose = () if judged.faults else (Prose(judged.text, source),)
    told = {**detail, "cleaned": judged.text, "faults": list(judged.faults), "judged": mark}
    return Addition(id, digest, prose=prose, detail=told)


def state_of(addition: Addition) -> State:
    """What came of a picture."""
    if addition.detail.get("problem") is not None:
        return "failed"
    return "captioned" if addition.prose else "refused"
