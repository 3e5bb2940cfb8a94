"""The page in gradio: knobs to the left, captions to the right."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import astuple
from typing import Any

from captionkit.errors import CaptionkitError
from captionkit.needs import needed
from captionkit.serve.studio import Place, Studio

MAX_DRAWS = 16


def offline_gradio() -> Any:
    """Gradio, told before its import that it shall reach for nothing outside of this machine."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    return needed("gradio", "serve", "the page of captionkit serve")


def blocks(studio: Studio, *, title: str, epoch: int) -> Any:
    """The page, not yet served."""
    gr = offline_gradio()
    with gr.Blocks(title=title, analytics_enabled=False, fill_width=True) as page:
        gr.Markdown(f"### {_plain(title)}")
        with gr.Row():
            with gr.Column(scale=2, min_width=320):
                record = gr.Dropdown(studio.ids, value=studio.first, label="Record", filterable=True)
                with gr.Row():
                    back, on = gr.Button("Back", size="sm"), gr.Button("Next", size="sm")
                picture, about = gr.HTML(), gr.HTML()
            with gr.Column(scale=3, min_width=340):
                with gr.Tab("Captions"):
                    captions = gr.HTML()
                with gr.Tab("Step by step"):
                    draw = gr.Slider(0, MAX_DRAWS - 1, value=0, step=1, label="Draw")
                    steps = gr.HTML()
                with gr.Tab("Recipe"):
                    changes = gr.HTML()
                    toml = gr.Code(label="The recipe as the knobs have it", language=None, lines=12)
                    with gr.Row():
                        replace = gr.Checkbox(
                            False, label="replace it if it is there", visible=_saves(studio)
                        )
                        save = gr.Button(f"Save to {studio.save_path}", visible=_saves(studio))
                    told = gr.Markdown()
            with gr.Column(scale=2, min_width=300):
                with gr.Row():
                    seed = gr.Number(studio.pipeline.seed, label="Seed", precision=0, min_width=90)
                    at = gr.Number(epoch, label="Epoch", precision=0, min_width=90)
                count = gr.Slider(1, MAX_DRAWS, value=4, step=1, label="Draws")
                sliders = [
                    gr.Slider(0, knob.most, value=knob.value, step=0.01, label=knob.label)
                    for knob in studio.knobs
                ]
                reset = gr.Button("Back to the recipe", size="sm")
        place = [record, seed, at, count, draw]
        answers = [captions, steps, changes, toml]
        gr.on(
            [page.load, *(one.change for one in (*place, *sliders))],
            _answering(studio),
            [*place, *sliders],
            answers,
            show_progress="hidden",
            trigger_mode="always_last",
            api_name="captions",
        )
        gr.on(
            [page.load, record.change],
            studio.picture,
            [record],
            [picture, about],
            show_progress="hidden",
            api_name="picture",
        )
        back.click(_neighbour(studio, -1), [record], [record], show_progress="hidden", api_name=False)
        on.click(_neighbour(studio, 1), [record], [record], show_progress="hidden", api_name=False)
        reset.click(
            lambda: [studio.pipeline.seed, *(knob.value for knob in studio.knobs)],
            None,
            [seed, *sliders],
            show_progress="hidden",
            api_name=False,
        )
        save.click(_saving(studio), [seed, replace, *sliders], [told], api_name="save")
    return page


def _saves(studio: Studio) -> bool:
    return studio.save_path is not None


def _answering(studio: Studio) -> Callable[..., tuple[Any, ...]]:
    def answer(id: Any, seed: Any, epoch: Any, draws: Any, draw: Any, *values: Any) -> tuple[Any, ...]:
        """The captions of a record, one of them step by step, what was moved, and the recipe as TOML."""
        shown = min(max(1, _whole(draws)), MAX_DRAWS)
        place = Place(str(id), _whole(seed), _whole(epoch), shown, min(max(0, _whole(draw)), MAX_DRAWS - 1))
        return astuple(studio.answer(place, [_number(value) for value in values]))

    return answer


def _saving(studio: Studio) -> Callable[..., str]:
    def save(seed: Any, replace: Any, *values: Any) -> str:
        """Write the recipe to the path that was given at the start."""
        try:
            return studio.save(_whole(seed), [_number(value) for value in values], replace=replace is True)
        except CaptionkitError as error:
            return f"**not saved:** {_plain(str(error))}"

    return save


def _neighbour(studio: Studio, by: int) -> Callable[[Any], str]:
    ids = studio.ids
    places = {id: at for at, id in enumerate(ids)}

    def neighbour(id: Any) -> str:
        """The record after or before this one, around the ends."""
        return ids[(places.get(str(id), 0) + by) % len(ids)]

    return neighbour


def _whole(value: Any) -> int:
    """A whole number of what a request says; 0 where it says none."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return -1.0  # No setting allows it, so that the page says what is wrong.


def _plain(text: str) -> str:
    """A text that Markdown takes for nothing else."""
    return "".join(f"&#{ord(char)};" if not char.isalnum() and char != " " else char for char in text)
