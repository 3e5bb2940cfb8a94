"""kohya sd-scripts with captions by a recipe, and pictures mirrored where the caption allows it.

Usage, with the Python of sd-scripts, from anywhere:
    pip install PATH/TO/this/project
    captionkit import kohya dataset.toml -o recipe.toml
    python kohya.py recipe.toml dataset.toml --show
    accelerate launch kohya.py recipe.toml dataset.toml PATH/sd-scripts/train_network.py \\
        --dataset_config dataset.toml ...

All behind the two paths is the command you had. Instead of the dataset TOML any folder or table of records
may stand there; its pictures are found by their paths. `--show` prints captions and trains nothing.
"""

import runpy
import sys
from itertools import islice
from pathlib import Path

from captionkit import CaptionkitError, load_pipeline, read_records
from captionkit.adapters.captioner import unmirrored
from captionkit.adapters.kohya import install


def show(recipe: str, data: str) -> None:
    """Print what two epochs make of the first pictures; sd-scripts counts epochs from 1."""
    pipeline = load_pipeline(recipe)
    for record in islice(read_records(data, on_error=print), 3):
        ours = pipeline if record.fact("kohya.flip_aug") else unmirrored(pipeline)
        for epoch in (1, 2):
            drawn = ours.render(record, epoch=epoch, samples=0)
            print(f"{record.id}, epoch {epoch}{', mirrored' * drawn.flip}: {drawn.text or '(empty)'}")


def fail(what: object) -> None:
    """Say what is wrong, and end."""
    print(what, file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Put the recipe into sd-scripts, then run its script as if this file were not there."""
    if len(sys.argv) < 4:
        fail(__doc__)
    recipe, data, script, *_ = sys.argv[1:]
    try:
        if script == "--show":
            show(recipe, data)
            return
        if not Path(script).is_file():
            fail(f"no such script: {script}; behind the two paths stands the trainer's own command")
        sys.path.insert(0, str(Path(script).resolve().parent))  # Where sd-scripts has its `library`.
        install(recipe, data)
    except CaptionkitError as error:
        fail(error)
    sys.argv = sys.argv[3:]
    runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":  # Workers that are spawned import this file: they must not train.
    main()
