"""What is true about a scene, in words: booru-style tags, and sentences in a vision-language model's manner.

The sentences carry, on purpose, the faults that such models are known for (measured on real outputs in
docs/policies.md): lead-ins, hedges, meta talk, repetition loops, and last sentences that are cut off.
"""

from __future__ import annotations

import random

from captionkit import Prose, Record, Tag
from trainkit.demo.scenes import KINDS, Figure, Scene

ASYMMETRICAL_KINDS = ("arrow", "crescent")


def record_of(
    scene: Scene, record_id: str, image: str, rng: random.Random, *, p_prose: float = 0.3
) -> Record:
    """The record of a scene: always tags, and with probability ``p_prose`` one CogVLM-like sentence group."""
    prose = (Prose(text=faulty_sentences(scene, rng), source="cogvlm"),) if rng.random() < p_prose else ()
    return Record(id=record_id, tags=tags_of(scene), prose=prose, image=image)


def tags_of(scene: Scene) -> tuple[Tag, ...]:
    """Every true tag of a scene, the implied ones included, each once, in a fixed order."""
    found: dict[str, str] = {}
    for figure in scene.figures:
        found |= _tags_of_figure(figure, scene.layout)
    found[f"{scene.ground}_background"] = "background"
    found["simple_background"] = "background"
    if scene.layout == "pair":
        found["2_shapes"] = "count"
    elif scene.layout == "sequence":
        found |= {"sequence": "count", "3_shapes": "count", "growing_left_to_right": "place"}
    else:
        found["1_shape"] = "count"
    return tuple(Tag(name=name, category=category) for name, category in found.items())


def _tags_of_figure(figure: Figure, layout: str) -> dict[str, str]:
    tags = {f"{figure.colour}_{figure.kind}": "colour"}
    if figure.size != "medium" and layout == "single":
        tags[f"{figure.size}_{figure.kind}"] = "shape"
    tags |= {figure.kind: "shape", "shape": "shape"}
    if figure.facing is not None:
        tags |= {f"{figure.kind}_facing_{figure.facing}": "place", "asymmetrical": "place"}
    if figure.place != "center" and layout == "single":
        tags[f"{figure.kind}_at_{figure.place}"] = "place"
    if figure.word is not None:
        tags |= {f"text_on_{figure.kind}": "text", f"written_{figure.word.lower()}": "text", "text": "text"}
    return tags


def implications() -> tuple[tuple[str, str], ...]:
    """(tag, tag that it implies) for the whole little world: big circle -> circle -> shape, and so on."""
    edges = [(kind, "shape") for kind in KINDS]
    edges += [(f"{size}_{kind}", kind) for kind in KINDS for size in ("small", "big")]
    edges += [
        (f"{ground}_background", "simple_background")
        for ground in ("gray", "brown", "beige", "black", "white")
    ]
    edges += [
        (f"{kind}_facing_{side}", "asymmetrical") for kind in ASYMMETRICAL_KINDS for side in ("left", "right")
    ]
    edges += [(f"text_on_{kind}", "text") for kind in ("circle", "square")]
    edges += [("sequence", "3_shapes")]
    return tuple(edges)


_LEAD_INS = (
    "The image showcases {}",
    "The image depicts {}",
    "This is an image of {}",
    "In this image, there is {}",
)
_META = (
    "There are no visible watermarks in the image.",
    "The style of the image is a simple, flat illustration with no artistic effects applied.",
    "There are no other objects visible in the image.",
)


def plain_sentence(scene: Scene) -> str:
    """One short faultless sentence, without lead-in or full stop: "a red circle on a gray background"."""
    things = [f"a {f.colour} {f.kind}" for f in scene.figures]
    if scene.layout == "sequence":
        things = [f"three {scene.figures[0].colour} {scene.figures[0].kind}s in a row"]
    elif scene.layout == "single" and scene.figures[0].size != "medium":
        things = [f"a {f.size} {f.colour} {f.kind}" for f in scene.figures]
    return f"{' and '.join(things)} on a {scene.ground} background"


def faulty_sentences(scene: Scene, rng: random.Random) -> str:
    """Two to five sentences about a scene, with the typical faults of CogVLM."""
    first = scene.figures[0]
    sentences = [rng.choice(_LEAD_INS).format(plain_sentence(scene)) + "."]
    if first.place != "center" or scene.layout == "pair":
        sentences.append(f"The {first.kind} appears to be placed at the {first.place}.")
    if first.facing is not None:
        sentences.append(f"The {first.kind} seems to be facing {first.facing}.")
    if first.word is not None:
        sentences.append(f"The word '{first.word}' is written on it.")
    if scene.ground in ("black", "white"):
        sentences.append(f"The background is possibly pure {scene.ground}.")
    if rng.random() < 0.5:
        sentences.append(rng.choice(_META))
    fault = rng.random()
    if fault < 0.1:
        sentences += [f"The {first.kind} is {first.colour}."] * rng.randint(4, 8)
    elif fault < 0.2:
        cut = f"The overall composition is centred around the {first.colour} {first.kind}"
        sentences.append(cut[: rng.randint(20, len(cut) - 3)])
    return " ".join(sentences)
