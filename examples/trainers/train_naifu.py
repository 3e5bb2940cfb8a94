"""naifu with captions by a recipe, and pictures mirrored where the caption allows it.

Usage, from naifu's folder and with its Python:
    pip install PATH/TO/this/project
    python train_naifu.py recipe.toml data.jsonl --show
    python train_naifu.py recipe.toml data.jsonl --config config/train_sd15.yaml

with `process_batch_fn: captionkit.adapters.naifu.fn` under `dataset` in the config. All behind the two paths
goes to naifu's own trainer.py; `--show` prints captions and trains nothing.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import NoReturn

from captionkit import CaptionkitError
from captionkit.adapters import naifu
from captionkit.adapters.captioner import Captioner


def show(recipe: str, data: str) -> None:
    """Print the first visits of the first pictures."""
    captioner = Captioner(recipe, data)
    for record in captioner.records[:3]:
        for visit in (1, 2):
            rendered = captioner.render_next(record)
            print(f"{record.id}, visit {visit}{', mirrored' * rendered.flip}: {rendered.text}")


def fail(what: object) -> NoReturn:
    """Say what is wrong, and end."""
    print(what, file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Read recipe and records before naifu starts its workers, then train."""
    if len(sys.argv) < 3:
        fail(__doc__)
    recipe, data, *rest = sys.argv[1:]
    try:
        if rest == ["--show"]:
            show(recipe, data)
            return
        if not Path("trainer.py").is_file():
            fail("there is no trainer.py here: run this from naifu's folder")
        # The environment is for the processes that naifu starts for further GPUs.
        os.environ["CAPTIONKIT_RECIPE"], os.environ["CAPTIONKIT_DATA"] = recipe, data
        naifu.prepare(recipe, data)
    except CaptionkitError as error:
        fail(error)
    sys.path[:0] = ["."]
    sys.argv = ["trainer.py", *rest]
    runpy.run_path("trainer.py", run_name="__main__")


if __name__ == "__main__":
    main()
