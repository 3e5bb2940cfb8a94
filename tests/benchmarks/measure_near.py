"""How often the perceptual hash finds copies, and how often it takes strangers for copies, by distance.

Usage: python tests/benchmarks/measure_near.py FOLDER

Every picture is laid on white and enlarged to 288 pixels. Copies: half the size and JPEG quality 50; a crop
of 4 % on each side; brightness 1.2. Strangers: all pairs of different pictures in the folder. Icons that
differ only in colour or a detail count as strangers here, so that the figures are worse than for photographs.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from trainkit.prepare.phash import perceptual_hash


def main() -> None:
    """Print a line for each distance."""
    hashes: dict[str, list[int]] = {name: [] for name in ("original", "small", "cropped", "brighter")}
    for path in sorted(Path(sys.argv[1]).glob("*.png")):
        layer = Image.open(path).convert("RGBA").resize((288, 288))
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
        hashes["original"].append(hashed(image, "PNG"))
        hashes["small"].append(hashed(image.resize((144, 144)), "JPEG"))
        hashes["cropped"].append(hashed(image.crop((12, 12, 276, 276)), "JPEG"))
        hashes["brighter"].append(hashed(ImageEnhance.Brightness(image).enhance(1.2), "JPEG"))
    made = {name: np.array(values, np.uint64) for name, values in hashes.items()}
    original = made.pop("original")
    apart = np.bitwise_count(original[:, None] ^ original[None, :])
    pairs = apart[np.triu_indices(len(original), 1)]
    np.fill_diagonal(apart, 64)
    for distance in (0, 2, 3, 4, 5, 6, 8, 10):
        found = {n: f"{(np.bitwise_count(h ^ original) <= distance).mean():.1%}" for n, h in made.items()}
        alike = (np.tril(np.where(apart <= distance, 1, 0), -1).any(axis=1)).sum()
        print(
            f"distance {distance:2}: copies found {found}; {(pairs <= distance).sum():,} of {len(pairs):,} "
            f"pairs of strangers, {alike} of {len(original)} pictures flagged"
        )


def hashed(image: Image.Image, format: str) -> int:
    """The hash of the picture as a file."""
    file = io.BytesIO()
    image.save(file, format, quality=50)
    return perceptual_hash(file.getvalue())


if __name__ == "__main__":
    main()
