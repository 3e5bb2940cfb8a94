"""Write a manifest of any number of rows, as true to life as tag counts make it; there are no pictures.

    python tests/benchmarks/make_manifest.py tags.csv.gz 3300000 build/m33/manifest.parquet

``tags.csv.gz`` has no header and begins with name, category number, post count, as e621's exports do. Tags
are drawn by their count, 40 a row; 12 rows in 100 have a caption of three sentences; the logarithm of the
aspect ratio is normal with standard deviation 0.35, that of the area around one megapixel with 0.6. The
suffix of the output says whether it is Parquet or an Arrow file (uncompressed, to be memory-mapped).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq
from numpy.typing import NDArray

TAGS_PER_ROW = 40
PROSE_SHARE = 0.12
ROWS_PER_BATCH = 100_000


def read_counts(path: Path) -> tuple[list[str], NDArray[np.float64]]:
    """Tag names and how many posts have each; tags without posts are left out."""
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    lines = csv.reader(io.StringIO(content.decode("utf-8"), newline=""))
    rows = [(row[0], int(row[2])) for row in lines if row[0].strip() and int(row[2]) > 0]
    return [name for name, _ in rows], np.array([count for _, count in rows], dtype=np.float64)


def draw_tags(rng: np.random.Generator, chance: NDArray[np.float64], rows: int) -> tuple[Any, Any]:
    """Offsets [rows + 1] and tag numbers: every tag at most once a row, 40 in the middle."""
    drawn = np.searchsorted(chance, rng.random((rows, TAGS_PER_ROW * 2)) * chance[-1], side="right")
    wanted = rng.poisson(TAGS_PER_ROW, rows)
    order = np.argsort(drawn, axis=1, kind="stable")
    ranked = np.take_along_axis(drawn, order, axis=1)
    first = np.ones_like(drawn, dtype=bool)
    np.put_along_axis(
        first, order, np.concatenate([first[:, :1], ranked[:, 1:] != ranked[:, :-1]], axis=1), axis=1
    )
    kept = first & (np.cumsum(first, axis=1) <= wanted[:, None])
    return np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32), drawn[kept].astype(np.int32)


def caption(names: list[str]) -> str:
    """Three plain sentences about a picture's first tags."""
    said = [name.replace("_", " ") for name in names]
    third = max(1, len(said) // 3)
    parts = [", ".join(said[i : i + third]) for i in range(0, 3 * third, third)]
    return (
        f"The picture shows {parts[0]}. There is {parts[1]} as well. In the background one sees {parts[2]}."
    )


def batches(tags: Path, rows: int, seed: int) -> Iterator[pa.RecordBatch]:
    """The rows in batches; the dictionary of tags is the same in all of them."""
    names, counts = read_counts(tags)
    dictionary, chance = pa.array(names), np.cumsum(counts)
    for first in range(0, rows, ROWS_PER_BATCH):
        n = min(ROWS_PER_BATCH, rows - first)
        rng = np.random.default_rng([seed, first])
        offsets, numbers = draw_tags(rng, chance, n)
        area, ratio = np.exp(rng.normal(np.log(1e6), 0.6, n)), np.exp(rng.normal(0, 0.35, n))
        prose: list[str | None] = [None] * n
        for row in np.flatnonzero(rng.random(n) < PROSE_SHARE).tolist():
            prose[row] = caption([names[i] for i in numbers[offsets[row] : offsets[row + 1]][:24]])
        listed = pa.DictionaryArray.from_arrays(pa.array(numbers), dictionary)
        yield pa.RecordBatch.from_pydict(
            {
                "image": [f"{i % 256:02x}/{i:07d}.jpg" for i in range(first, first + n)],
                "width": np.clip(np.sqrt(area * ratio), 16, 20_000).astype(np.int32),
                "height": np.clip(np.sqrt(area / ratio), 16, 20_000).astype(np.int32),
                "tags": pa.ListArray.from_arrays(pa.array(offsets), listed),
                "caption": pa.array(prose, pa.string()),
                "rating": pa.array(rng.choice(["s", "q", "e"], n)),
                "score": rng.poisson(20, n).astype(np.int32),
            }
        )


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tags", type=Path, help="name, category, post count; .csv or .csv.gz without header")
    parser.add_argument("rows", type=int)
    parser.add_argument("out", type=Path, help=".parquet or .arrow")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    partial = options.out.with_suffix(".partial")
    writer: Any = None
    for batch in batches(options.tags, options.rows, options.seed):
        if writer is None:
            arrow = options.out.suffix == ".arrow"
            writer = (
                pa.ipc.new_file(str(partial), batch.schema)
                if arrow
                else pq.ParquetWriter(partial, batch.schema)
            )
        writer.write_batch(batch)
    writer.close()
    partial.replace(options.out)


if __name__ == "__main__":
    main()
