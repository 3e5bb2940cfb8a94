"""OneTrainer with captions by a recipe, and pictures mirrored where the caption allows it.

Usage, from OneTrainer's folder and with its Python:
    pip install PATH/TO/this/project
    python train_onetrainer.py recipe.toml pictures/ --show
    python train_onetrainer.py recipe.toml pictures/ --config-path config.json

All behind the two paths goes to OneTrainer's own scripts/train.py; `--show` prints captions and trains
nothing.
"""

import runpy
import sys
from typing import NoReturn

from captionkit import CaptionkitError
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.onetrainer import MIRRORED, CaptionStep, install


def show(recipe: str, data: str) -> None:
    """Print what two epochs make of the first pictures."""
    captioner = Captioner(recipe, data)
    step = CaptionStep(captioner)
    for record in captioner.records[:3]:
        for epoch in (0, 1):
            item = step.item(epoch, record.image or record.id, prompt="")
            print(f"{record.id}, epoch {epoch}{', mirrored' * item[MIRRORED]}: {item['prompt']}")


def fail(what: object) -> NoReturn:
    """Say what is wrong, and end."""
    print(what, file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Patch OneTrainer's data loaders, then train."""
    if len(sys.argv) < 3:
        fail(__doc__)
    recipe, data, *rest = sys.argv[1:]
    sys.path[:0] = ["scripts", "."]
    try:
        if rest == ["--show"]:
            show(recipe, data)
            return
        install(recipe, data)
    except CaptionkitError as error:
        fail(error)
    sys.argv = ["scripts/train.py", *rest]
    runpy.run_path("scripts/train.py", run_name="__main__")


if __name__ == "__main__":
    main()
