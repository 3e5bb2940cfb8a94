"""The model card: the README.md of a model, written from its run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from PIL import Image

from trainkit import __version__
from trainkit.errors import ModelError
from trainkit.export.metadata import About, made_at, usage_hint
from trainkit.export.recipe import find_recipe, recipe_name, without_paths
from trainkit.export.source import Source, phases
from trainkit.export.tensor_file import write_text
from trainkit.whole_file import whole_file

_TOP_TAGS = 40

_SPECIAL = re.compile(r"[\\`*_{}\[\]#!|~$]|^[-+=]")
"""Characters with a meaning in Markdown; what HTML would see is taken care of before."""


class Plain(str):
    """Text of the card itself, or escaped already: written as it is."""

    __slots__ = ()


def write_card(
    path: Path,
    source: Source,
    about: About,
    *,
    model: str,
    dtype: str,
    markers: bool,
    weights: str | None = None,
) -> list[Path]:
    """Write the card of the single file ``model`` and beside it the newest preview sheet; returns the files.

    ``weights`` says what other weights than the run's last ones the file holds, such as an average.

    Raises ModelError when they cannot be written.
    """
    # The previews are those of the trained weights: they would not be this file's.
    sheet = path.with_name(f"{Path(model).stem}.samples.png") if source.sheet and weights is None else None
    if source.sheet and sheet:
        _copy_picture(source.sheet, sheet)
    shown = sheet.name if sheet else None
    text = render_card(source, about, model=model, dtype=dtype, markers=markers, sheet=shown, weights=weights)
    write_text(path, text)
    return [path, *([sheet] if sheet else [])]


def render_card(
    source: Source,
    about: About,
    *,
    model: str,
    dtype: str,
    markers: bool,
    sheet: str | None,
    weights: str | None = None,
) -> str:
    """The card's text: Markdown with a YAML head as the hub reads it. Everything that comes from the run or
    the data is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        finalize=lambda value: value if isinstance(value, Plain) else escape(value),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"yaml": yaml_text, "code": code, "span": span, "url": url}
    last = source.phase
    name = Path(model).stem
    return environment.get_template("card.md.jinja").render(
        title=about.title or name,
        about=about,
        model=model,
        name=name,
        folder=Plain("MODEL_FOLDER"),
        dtype=dtype,
        markers=markers,
        sheet=sheet,
        weights=weights,
        prompts=_list(last.get("preview", {}).get("prompts")),
        v=source.objective.prediction == "v_prediction",
        zero_snr=source.schedule.zero_terminal_snr,
        clip_skip=source.text.clip_skip,
        text=source.text,
        side=str(source.resolution),
        hint=usage_hint(source),
        date=made_at(source).date().isoformat(),
        base=Path(str(last.get("model", {}).get("base", ""))).name,
        recipe=_recipe_rows(source),
        phases=_phase_rows(source.run),
        captions=without_paths(find_recipe(last)),
        recipe_name=recipe_name(last) if source.run else "",
        data=source.data,
        top_tags=source.data.get("top_tags", [])[:_TOP_TAGS] if about.tag_frequency else [],
        version=__version__,
    )


def escape(value: object) -> str:
    """Text from elsewhere as Markdown that shows it and nothing else, on one line."""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    text = " ".join(str(value).split())
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", text)


def yaml_text(value: object) -> Plain:
    """A YAML scalar or list: JSON is YAML."""
    return Plain(json.dumps(value, ensure_ascii=False))


def code(value: object) -> Plain:
    """Data as an indented block of code: nothing inside of it has a meaning."""
    text = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
    return Plain("\n".join(f"    {line}" for line in text.splitlines()))


def span(value: object) -> Plain:
    """Text for between two backticks, where only a backtick has a meaning."""
    return Plain(" ".join(str(value).replace("`", "").split()))


def url(value: object) -> Plain:
    """A file's name as a link."""
    return Plain(quote(str(value)))


def _recipe_rows(source: Source) -> list[tuple[str, str]]:
    """The settings of the run that decide what the model is, in words."""
    if not source.run:
        return []
    first, last = phases(source.run)[0], source.phase
    optim, objective = first.get("optim", {}), last.get("objective", {})
    weighting = objective.get("weighting")
    rows: list[tuple[str, Any]] = [
        ("loss weight", f"{weighting}, gamma {objective.get('gamma')}" if weighting != "none" else "none"),
        ("least weight of a timestep", objective.get("weight_floor") if weighting != "none" else None),
        ("input perturbation", objective.get("ip_noise_gamma")),
        ("optimizer", optim.get("optimizer")),
        ("learning rate, UNet", optim.get("lr")),
        ("learning rate, text encoder", optim.get("lr_text_encoder")),
        ("shape of the learning rate", optim.get("schedule")),
        ("batch per device x accumulation", f"{first.get('batch')} x {first.get('accumulate')}"),
        ("samples seen", source.last.get("samples")),
        ("optimizer steps", source.last.get("step")),
        ("longest caption", f"{source.text.max_tokens} tokens in chunks of 75 ({source.text.chunk_mode})"),
        ("seed", str(source.run.get("seed"))),
    ]
    if first.get("model", {}).get("train_text_encoder") is False:
        rows = [row for row in rows if row[0] != "learning rate, text encoder"]
        rows.append(("text encoder", "as in the base model"))
    return [(name, value) for name, value in rows if value is not None]


def _phase_rows(run: dict[str, Any]) -> list[dict[str, Any]]:
    """What changes from phase to phase; [] for a run in one."""
    if len(every := phases(run)) < 2:
        return []
    return [
        {
            "name": phase.get("name") or str(number),
            "length": f"{phase['epochs']} epoch{'s' if phase['epochs'] > 1 else ''}"
            if phase.get("epochs")
            else f"{phase.get('samples')} samples",
            "side": str(phase.get("data", {}).get("buckets", {}).get("resolution", "")),
            "batch": f"{phase.get('batch')} x {phase.get('accumulate')}",
            "optimizer": phase.get("optim", {}).get("optimizer", ""),
            "lr": str(phase.get("optim", {}).get("lr", "")),
            "weighting": phase.get("objective", {}).get("weighting", ""),
        }
        for number, phase in enumerate(every, 1)
    ]


def _list(value: Any) -> list[str]:
    return [str(item) for item in value or []]


def _copy_picture(source: Path, target: Path) -> None:
    """A preview sheet without its metadata, which may hold more than is meant to be shown."""
    try:
        with Image.open(source) as picture, whole_file(target) as partial:
            picture.convert("RGB").save(partial, format="PNG")
    except OSError as error:
        raise ModelError(f"the preview sheet {source} cannot be copied to {target}: {error}") from error
