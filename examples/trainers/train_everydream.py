"""EveryDream2 with captions by a recipe, by its plugin.

Usage, from EveryDream2's folder and with its Python:
    pip install PATH/TO/this/project
    python train_everydream.py recipe.toml data.jsonl --show
    python train_everydream.py recipe.toml data.jsonl --config train.json

All behind the two paths goes to EveryDream2's own train.py; `--show` prints captions and trains nothing. The
same without this script: set the two environment variables, and name the plugin in train.json.
"""

import os
import runpy
import sys
from pathlib import Path
from typing import NoReturn

from captionkit import CaptionkitError
from captionkit.adapters.captioner import Captioner

PLUGIN = "captionkit.adapters.everydream.CaptionPlugin"


def show() -> None:
    """Print what two epochs make of the first pictures, each of which comes twice."""
    captioner = Captioner.from_environment(mirror=False)
    for epoch in (0, 1):
        captioner.visits.begin_epoch(epoch)
        for record in captioner.records[:3] * 2:
            print(f"{record.id}, epoch {epoch}: {captioner.render_next(record).text}")


def fail(what: object) -> NoReturn:
    """Say what is wrong, and end."""
    print(what, file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Tell the plugin its recipe and records, then train."""
    if len(sys.argv) < 3:
        fail(__doc__)
    recipe, data, *rest = sys.argv[1:]
    os.environ["CAPTIONKIT_RECIPE"], os.environ["CAPTIONKIT_DATA"] = recipe, data
    if rest == ["--show"]:
        try:
            show()
        except CaptionkitError as error:
            fail(error)
        return
    if not Path("train.py").is_file():
        fail("there is no train.py here: run this from EveryDream2's folder")
    sys.path[:0] = ["."]
    sys.argv = ["train.py", *rest, "--plugins", PLUGIN]
    runpy.run_path("train.py", run_name="__main__")


if __name__ == "__main__":
    main()
