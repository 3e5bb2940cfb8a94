"""An extension of ai-toolkit that writes captions by a recipe.

Usage, from ai-toolkit's folder and with its Python:
    pip install PATH/TO/this/project
    mkdir -p extensions/captions && cp ai_toolkit_extension.py extensions/captions/__init__.py
    CAPTIONKIT_RECIPE=recipe.toml CAPTIONKIT_DATA=pictures/ python extensions/captions/__init__.py
    CAPTIONKIT_RECIPE=recipe.toml CAPTIONKIT_DATA=pictures/ python run.py config.yaml

The third line prints captions and trains nothing.
"""

import os
import sys

from captionkit import CaptionkitError
from captionkit.adapters.ai_toolkit import install
from captionkit.adapters.captioner import Captioner

AI_TOOLKIT_EXTENSIONS: list[object] = []
"""ai-toolkit looks for this list; an extension that only patches has no process of its own."""


def show() -> None:
    """Print the first visits of the first pictures."""
    captioner = Captioner.from_environment(mirror=False)
    for record in captioner.records[:3]:
        for visit in (1, 2):
            print(f"{record.id}, visit {visit}: {captioner.render_next(record).text}")


if __name__ == "__main__":
    try:
        show()
    except CaptionkitError as error:
        sys.exit(str(error))
elif not os.environ.get("CAPTIONKIT_RECIPE"):
    raise CaptionkitError("the extension for captions lacks CAPTIONKIT_RECIPE", hint="set it, or take it out")
else:
    install(os.environ["CAPTIONKIT_RECIPE"], os.environ.get("CAPTIONKIT_DATA"))
