"""Pictures of coloured figures, without a word about them.

Usage: python draw.py FOLDER COUNT
"""

import random
import sys
from pathlib import Path

from trainkit.demo.scenes import draw_scene, full_scene


def main(folder: str, count: str) -> None:
    """Draw the pictures; their names are their numbers, from which label.py knows what is on them."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for number in range(int(count)):
        draw_scene(full_scene(random.Random(f"scene {number}"))).save(Path(folder, f"{number:04d}.png"))


if __name__ == "__main__":
    main(*sys.argv[1:])
