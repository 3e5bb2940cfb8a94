"""Train, in less than a minute on one core, a tiny model that captions the demo's plain scenes.

    python examples/from_pictures/train_tiny_captioner.py captioner

It is a PaliGemma of transformers (a small ConvNeXt sees, a small Llama writes) with random weights at first.
In so little time it learns four kinds of figures, one in the middle of each picture, in eight colours. Of
other kinds, places, sizes and grounds it knows little. The folder is one that ``trainkit caption`` takes as
``backend.model``: it lacks size, not parts. So small a model reads no prompts: its chat template leaves them
out. Prints how many new scenes of both sorts are captioned rightly.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import (
    DINOv3ConvNextConfig,
    LlamaConfig,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PreTrainedTokenizerFast,
    SiglipImageProcessor,
)

from trainkit.captioning.captioner import Request
from trainkit.captioning.local import LocalConfig
from trainkit.captioning.sampling import Sampling
from trainkit.demo.scenes import (
    FIGURE_COLOURS,
    GROUND_COLOURS,
    KINDS,
    Scene,
    draw_scene,
    full_scene,
    plain_scene,
)
from trainkit.demo.words import plain_sentence

SIDE = 32
PEAK = 3e-3
SPECIAL = ("<pad>", "<s>", "</s>", "<unk>", "<image>")
SEEN = 5
"""Tokens of a picture: the whole, and its four quarters."""
PROMPT = [SPECIAL.index("<image>")] * SEEN + [SPECIAL.index("<s>")]


def main() -> None:
    """Train, save, and caption what was never seen."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=150)
    options = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # Of so small a model, more threads only wait for each other.
    started, spent = time.perf_counter(), time.process_time()
    rng = random.Random(0)
    scenes = [plain_scene(rng) for _ in range(800)]
    words = {*("a", "small", "big", "on", "background"), *KINDS, *FIGURE_COLOURS, *GROUND_COLOURS}
    vocabulary = {token: n for n, token in enumerate((*SPECIAL, *sorted(words)))}
    model = new_model(len(vocabulary))
    model.train()
    pictures = Pictures(scenes)
    learn_to_see(model, pictures, 2 * options.steps)
    learn_to_write(model, pictures, vocabulary, options.steps)
    save(model, vocabulary, options.folder)
    print(
        f"{sum(p.numel() for p in model.parameters()):,} parameters, {options.steps} steps: "
        f"{time.perf_counter() - started:.0f} s, {time.process_time() - spent:.0f} s of one core"
    )
    judge(options.folder, "plain scenes (one of four kinds, in the middle)", plain_scene)
    judge(options.folder, "all scenes of one figure (nine kinds)", single)


def single(rng: random.Random) -> Scene:
    """A scene of the demo with one figure on it."""
    while (scene := full_scene(rng)).layout != "single":
        pass
    return scene


def new_model(vocabulary: int) -> PaliGemmaForConditionalGeneration:
    """A picture becomes five tokens of 96 numbers."""
    sees = DINOv3ConvNextConfig(
        hidden_sizes=[32, 64, 96], depths=[1, 1, 1], layer_scale_init_value=1.0, image_size=SIDE
    )
    # What PaliGemma asks of what sees for it, beside what a ConvNeXt has to say.
    sees.update({"hidden_size": 96, "patch_size": 16})
    writes = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    writes.update({"use_bidirectional_attention": False})
    return PaliGemmaForConditionalGeneration(
        PaliGemmaConfig(
            vision_config=sees,
            text_config=writes,
            image_token_index=SPECIAL.index("<image>"),
            vocab_size=vocabulary,
            projection_dim=64,
            hidden_size=64,
        )
    )


def learn_to_see(model: PaliGemmaForConditionalGeneration, pictures: Pictures, steps: int) -> None:
    """What sees alone names kind and colour first: captions teach it the shapes three times as slowly."""
    eye = model.model.vision_tower
    names = torch.nn.Linear(96, len(KINDS) + len(FIGURE_COLOURS))
    colours = list(FIGURE_COLOURS)
    for optimizer in slowly_stopping([*eye.parameters(), *names.parameters()], steps):
        seen, told = pictures.painted()
        kind, colour = names(eye(seen).last_hidden_state[:, 0]).split([len(KINDS), len(colours)], dim=1)
        figures = [scene.figures[0] for scene in told]
        loss = cross_entropy(kind, torch.tensor([KINDS.index(figure.kind) for figure in figures]))
        loss += cross_entropy(colour, torch.tensor([colours.index(figure.colour) for figure in figures]))
        learn(optimizer, loss)
    print(f"sees after {steps} steps: loss {loss.item():.3f}", flush=True)


def learn_to_write(
    model: PaliGemmaForConditionalGeneration, pictures: Pictures, vocabulary: dict[str, int], steps: int
) -> None:
    """The whole model learns captions."""
    for optimizer in slowly_stopping(list(model.parameters()), steps):
        seen, told = pictures.painted()
        captions = [[vocabulary[word] for word in plain_sentence(scene).split()] + [2] for scene in told]
        longest = max(map(len, captions))
        rows = [PROMPT + caption + [0] * (longest - len(caption)) for caption in captions]
        wanted = [[-100] * len(PROMPT) + c + [-100] * (longest - len(c)) for c in captions]
        ids = torch.tensor(rows)
        loss = model(
            input_ids=ids,
            pixel_values=seen,
            attention_mask=torch.ones_like(ids),
            token_type_ids=(torch.arange(ids.shape[1]) >= len(PROMPT)).long().expand_as(ids),
            labels=torch.tensor(wanted),
        ).loss
        learn(optimizer, loss)
    print(f"writes after {steps} steps: loss {loss.item():.3f}", flush=True)


def slowly_stopping(parameters: list[torch.nn.Parameter], steps: int) -> Iterator[torch.optim.Optimizer]:
    """An optimizer for each step; its rate warms up and then falls to nothing."""
    optimizer = torch.optim.AdamW(parameters, lr=PEAK, weight_decay=0.05)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = PEAK * min(1, (step + 1) / 30) * (1 - step / steps)
        yield optimizer


def learn(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    """One step."""
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(optimizer.param_groups[0]["params"], 1.0)
    optimizer.step()


class Pictures:
    """Scenes whose figures are kept as masks, and painted anew in other colours for every step."""

    def __init__(self, scenes: list[Scene]) -> None:
        self._scenes, self._rng = scenes, random.Random(1)
        self._masks_N1HW = torch.stack([mask(scene) for scene in scenes])

    def painted(self, count: int = 96) -> tuple[torch.Tensor, list[Scene]]:
        """Pictures [count, 3, SIDE, SIDE] in -1..1, moved a little, and the scenes that they show."""
        rng = self._rng
        chosen = [rng.randrange(len(self._scenes)) for _ in range(count)]
        told = [coloured(self._scenes[n], rng) for n in chosen]
        figure = pixels([FIGURE_COLOURS[scene.figures[0].colour] for scene in told])
        ground = pixels([GROUND_COLOURS[scene.ground] for scene in told])
        seen = ground + (figure - ground) * self._masks_N1HW[chosen]
        return seen.roll((rng.randint(-2, 2), rng.randint(-2, 2)), (2, 3)), told


def mask(scene: Scene) -> torch.Tensor:
    """Where the figure is, [1, SIDE, SIDE] in 0..1."""
    figure = dataclasses.replace(scene.figures[0], colour="blue", word=None)
    drawn = draw_scene(dataclasses.replace(scene, ground="black", figures=(figure,)))
    blue = np.asarray(drawn.resize((SIDE, SIDE), Image.Resampling.BICUBIC), dtype=np.float32)[:, :, 2]
    return torch.from_numpy(blue)[None] / FIGURE_COLOURS["blue"][2]


def coloured(scene: Scene, rng: random.Random) -> Scene:
    """The scene in other colours."""
    figure = dataclasses.replace(scene.figures[0], colour=rng.choice(list(FIGURE_COLOURS)))
    return dataclasses.replace(scene, ground=rng.choice(list(GROUND_COLOURS)), figures=(figure,))


def pixels(colours: list[tuple[int, int, int]]) -> torch.Tensor:
    """Colours as the processor gives them, [N, 3, 1, 1] in -1..1."""
    return torch.tensor(colours, dtype=torch.float32)[:, :, None, None] / 127.5 - 1


def save(model: PaliGemmaForConditionalGeneration, vocabulary: dict[str, int], folder: Path) -> None:
    """A whole folder: weights, tokenizer, processor and chat template."""
    tokenizer = Tokenizer(models.WordLevel(vocab=vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    model.save_pretrained(folder)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        extra_special_tokens={"image_token": "<image>"},
    ).save_pretrained(folder)
    SiglipImageProcessor(
        size={"height": SIDE, "width": SIDE},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
        image_seq_length=SEEN,
    ).save_pretrained(folder)
    (folder / "processor_config.json").write_text(
        json.dumps({"processor_class": "PaliGemmaProcessor"}), "utf-8"
    )
    (folder / "chat_template.jinja").write_text("<image>", "utf-8")


def judge(folder: Path, what: str, scene_of: Callable[[random.Random], Scene], count: int = 200) -> None:
    """Print for how many new scenes colour and shape are right, and the whole caption."""
    rng = random.Random(2)
    scenes = [scene_of(rng) for _ in range(count)]
    requests = [Request(n, "Describe it.", draw_scene(scene), n) for n, scene in enumerate(scenes)]
    backend = LocalConfig(model=str(folder), batch=50, device="cpu")
    with backend.open(Sampling(max_new_tokens=16)) as captioner:
        answers = {
            answer.key: (answer.text or answer.problem or "").split()
            for answer in captioner.answers(requests)
        }
    told = [
        (scene.figures[0].colour in answers[n], scene.figures[0].kind in answers[n])
        for n, scene in enumerate(scenes)
    ]
    colour, kind = (sum(column) / count for column in zip(*told, strict=True))
    both = sum(map(all, told)) / count
    right = sum(answers[n] == plain_sentence(scene).split() for n, scene in enumerate(scenes)) / count
    print(
        f"of {count} {what} never seen: colour right in {colour:.1%}, shape in {kind:.1%}, both in "
        f"{both:.1%}, every word in {right:.1%}; the first: {' '.join(answers[0])!r}"
    )


if __name__ == "__main__":
    main()
