"""SimpleTuner with eight captions per picture by a recipe, all of them in its text cache.

Usage, where you would else call `simpletuner train`:
    pip install PATH/TO/this/project
    python train_simpletuner.py recipe.toml pictures/ --show
    accelerate launch train_simpletuner.py recipe.toml pictures/

All behind the two paths goes to SimpleTuner; `--show` prints captions and trains nothing.
"""

import runpy
import sys
from typing import NoReturn

from captionkit import CaptionkitError
from captionkit.adapters.captioner import Captioner
from captionkit.adapters.simpletuner import Variants, install

COUNT = 8


def show(recipe: str, data: str) -> None:
    """Print the captions of the first pictures."""
    captioner = Captioner(recipe, data)
    variants = Variants(captioner, COUNT)
    for record in captioner.records[:3]:
        texts = variants(record.image or record.id, [])
        print(f"{record.id}: {len(texts)} different captions of {COUNT}")
        for text in texts:
            print(f"  {text or '(empty)'}")


def fail(what: object) -> NoReturn:
    """Say what is wrong, and end."""
    print(what, file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Patch SimpleTuner's prompts in this process, then train in it."""
    if len(sys.argv) < 3:
        fail(__doc__)
    recipe, data, *rest = sys.argv[1:]
    try:
        if rest == ["--show"]:
            show(recipe, data)
            return
        install(recipe, data, count=COUNT)
    except CaptionkitError as error:
        fail(error)
    sys.argv = ["train.py", *rest]
    runpy.run_module("simpletuner.train", run_name="__main__")


if __name__ == "__main__":
    main()
