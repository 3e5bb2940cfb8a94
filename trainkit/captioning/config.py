"""The run file of ``trainkit caption``: assembled from the settings that each part declares."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from captionkit.policies import CleanCaptions
from trainkit.additions.addition import check_name
from trainkit.captioning.agreement import AgreementConfig
from trainkit.captioning.choose import ChooseConfig
from trainkit.captioning.gate import GateConfig
from trainkit.captioning.local import LocalConfig
from trainkit.captioning.prompts import PromptConfig
from trainkit.captioning.sampling import Sampling
from trainkit.captioning.server import ServerConfig
from trainkit.captioning.words import WordsConfig
from trainkit.errors import ConfigError, TrainkitError
from trainkit.settings import explain_problem, read_settings

_BACKENDS: dict[str, type[BaseModel]] = {"transformers": LocalConfig, "server": ServerConfig}


class CaptionConfig(BaseModel):
    """Everything that decides which captions are made, and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)

    data: Path
    """The folder that ``trainkit prepare`` wrote; the captions are added to it."""
    name: str
    """The source of the captions, such as "cogvlm": by it a caption recipe picks them out."""
    prompts: tuple[PromptConfig, ...]
    """What is asked. Several are drawn from by weight, or all asked, as ``per_picture`` says."""
    per_picture: int | Literal["all"] = Field(default=1)
    """Captions of a picture, each by another prompt. With 1 all have the source ``name``; with more, those of
    a prompt have the source "NAME-PROMPT", so that a recipe can weigh them."""
    seed: int = 0
    """Of the draw of prompts; another one gives pictures other prompts."""
    transparent_as: str = "white"
    """The ground that shows through transparent pictures."""
    ahead: int = Field(default=16, ge=1, le=10_000)
    """Pictures that are read and decoded ahead of the model."""
    words: WordsConfig = WordsConfig()
    choose: ChooseConfig = ChooseConfig()
    backend: LocalConfig | ServerConfig
    """The model: ``kind = "transformers"``, on this machine, or ``kind = "server"``."""
    sampling: Sampling = Sampling()
    clean: CleanCaptions = CleanCaptions()
    """How captions are cleaned: settings of captionkit's ``clean_captions``."""
    gate: GateConfig = GateConfig()
    agreement: AgreementConfig = AgreementConfig()

    @field_validator("name")
    @classmethod
    def _can_be_one(cls, name: str) -> str:
        try:
            check_name(name)
        except TrainkitError as error:
            raise ValueError(str(error).removeprefix("name ")) from None
        return name

    @field_validator("per_picture")
    @classmethod
    def _at_least_one(cls, count: int | str) -> int | str:
        if isinstance(count, int) and count < 1:
            raise ValueError(f'is {count}, must be 1 or more, or "all"')
        return count

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        names = [prompt.name for prompt in self.prompts]
        if not names:
            raise ValueError('prompts: is empty; write at least one, such as "Describe the picture."')
        if twice := [name for name in names if names.count(name) > 1]:
            raise ValueError(
                f"prompts: {len(names)} prompts, and two are called {twice[0]!r}; give each a name"
            )
        if isinstance(self.per_picture, int) and self.per_picture > len(names):
            raise ValueError(
                f'per_picture is {self.per_picture}, but there are {len(names)} prompts; write "all"'
            )
        if not any(prompt.weight for prompt in self.prompts):
            raise ValueError("prompts: all weights are 0; one must be above")
        for source in self.sources:
            check_name(source)
        return self

    @property
    def num_per_picture(self) -> int:
        """Captions of a picture."""
        return len(self.prompts) if self.per_picture == "all" else self.per_picture

    @property
    def sources(self) -> tuple[str, ...]:
        """The sources of all captions that the run makes, each an addition of its own."""
        return tuple(dict.fromkeys(self.source_of(prompt) for prompt in self.prompts))

    @property
    def ours(self) -> frozenset[str]:
        """Sources of captions that the run itself may have made before: they must change nothing."""
        return frozenset({self.name, *self.sources})

    def source_of(self, prompt: PromptConfig) -> str:
        """The source of the captions of a prompt."""
        return self.name if self.num_per_picture == 1 else f"{self.name}-{prompt.name}"


def load_caption_run(path: Path, overrides: list[str] | None = None) -> CaptionConfig:
    """Read a run file and the dotted overrides; relative paths in it start at its folder.

    Raises ConfigError with every problem at once.
    """
    return make_caption_run(read_settings(path, overrides), path.parent, str(path))


def make_caption_run(data: dict[str, Any], base: Path, where: str) -> CaptionConfig:
    """A run from plain data; relative paths start at ``base``. Raises ConfigError."""
    data = {**data, "prompts": _tables(data.get("prompts"))} if "prompts" in data else dict(data)
    problems: list[str] = []
    if "backend" in data:
        backend = _backend(data.pop("backend"), problems)
        data |= {} if backend is None else {"backend": backend}
    if isinstance(data.get("clean"), dict):
        data["clean"] = _rules_from(base, data["clean"])
    try:
        config = CaptionConfig.model_validate(data)
    except ValidationError as error:
        known = bool(problems)
        problems += [
            explain_problem(problem, CaptionConfig)
            for problem in error.errors()
            if not (known and problem["loc"] == ("backend",))
        ]
    if problems:
        raise ConfigError(where, problems)
    return config.model_copy(update={"data": base / config.data, "backend": _from(base, config.backend)})


def _tables(prompts: Any) -> Any:
    """A prompt may be written as text alone."""
    if isinstance(prompts, str):
        prompts = [prompts]
    if not isinstance(prompts, list):
        return prompts
    return [
        {"text": prompt, **({"name": f"prompt-{number}"} if len(prompts) > 1 else {})}
        if isinstance(prompt, str)
        else prompt
        for number, prompt in enumerate(prompts, 1)
    ]


def _backend(table: Any, problems: list[str]) -> BaseModel | None:
    """The settings of a back end by its kind; what is wrong with them is added to ``problems``."""
    kind = table.get("kind") if isinstance(table, dict) else None
    if kind not in _BACKENDS:
        near = difflib.get_close_matches(str(kind), _BACKENDS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        problems.append(
            f"backend.kind: is {kind!r}, must be 'transformers' (a model on this machine) or 'server'{hint}"
        )
        return None
    try:
        return _BACKENDS[kind].model_validate(table)
    except ValidationError as error:
        problems += [f"backend.{explain_problem(problem, _BACKENDS[kind])}" for problem in error.errors()]
        return None


def _from(base: Path, backend: LocalConfig | ServerConfig) -> LocalConfig | ServerConfig:
    """A back end whose model, if it is a folder beside the run file, is found from anywhere."""
    model = backend.model
    if isinstance(backend, LocalConfig) and (base / model).is_dir():
        return backend.model_copy(update={"model": str(base / model)})
    return backend


def _rules_from(base: Path, clean: dict[str, Any]) -> dict[str, Any]:
    """Settings of cleaning whose paths of rule files start at ``base``."""
    rules = clean.get("rules")
    if isinstance(rules, str):
        return {**clean, "rules": str(base / rules)}
    if isinstance(rules, list):
        return {**clean, "rules": [str(base / rule) if isinstance(rule, str) else rule for rule in rules]}
    return clean
