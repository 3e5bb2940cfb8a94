"""Write a manifest of any number of rows, as true to life as tag counts make it; there are no pictures.

    python tests/benchmarks/make_manifest.py tags.csv.gz 3300000 build/m33/manifest.parquet
    python tests/benchmarks/make_manifest.py tags.csv.gz 3300000 build/m33/prepared

``tags.csv.gz`` has no header and begins with name, category number, post count, as e621's exports do. Tags
are drawn by their count, 40 a row; 12 rows in 100 have a caption of three sentences; the logarithm of the
aspect ratio is normal with standard deviation 0.35, that of the area around one megapixel with 0.6. The
output is Parquet or an Arrow file (uncompressed, to be memory-mapped) by its suffix; without a suffix it is
a folder as ``trainkit prepare`` writes it. Digests and perceptual hashes are random numbers there.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import io
import itertools
import json
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
ROWS_PER_BATCH = 65_536
BATCHES_PER_PART = 16


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


def prepared(batch: pa.RecordBatch, first: int, seed: int) -> pa.RecordBatch:
    """The columns of a prepared folder: where each picture lies, its key, and what the table said."""
    n = batch.num_rows
    rng = np.random.default_rng([seed, first, 1])
    ids = [image.removesuffix(".jpg") for image in batch.column("image").to_pylist()]
    keys = b"".join(hashlib.blake2b(name.encode(), digest_size=8).digest() for name in ids)
    no_text = pa.DictionaryArray.from_arrays(pa.array([], pa.int32()), pa.array([], pa.string()))
    return pa.RecordBatch.from_pydict(
        {
            "image": batch.column("image"),
            "container": pa.nulls(n, pa.dictionary(pa.int32(), pa.string())),
            "offset": np.zeros(n, dtype=np.int64),
            "length": rng.integers(20_000, 2_000_000, n),
            "digest": pa.Array.from_buffers(pa.binary(16), n, [None, pa.py_buffer(rng.bytes(16 * n))]),
            "mtime_ns": rng.integers(1_500_000_000, 1_700_000_000, n) * 1_000_000_000,
            "width": batch.column("width"),
            "height": batch.column("height"),
            "id": ids,
            "key": np.frombuffer(keys, dtype="<u8"),
            "phash": rng.integers(0, 1 << 64, n, dtype=np.uint64),
            "flags": pa.ListArray.from_arrays(pa.array(np.zeros(n + 1, dtype=np.int32)), no_text),
            **{name: batch.column(name) for name in ("tags", "caption", "rating", "score")},
        }
    )


def write_folder(made: Iterator[pa.RecordBatch], folder: Path, seed: int) -> None:
    """The parts and manifest.json."""
    folder.mkdir(parents=True, exist_ok=True)
    parts: list[dict[str, object]] = []
    fingerprint = hashlib.blake2b(digest_size=16)
    rows = 0
    while True:
        file = folder / f"part-{len(parts):05d}.arrow"
        before = rows
        writer: Any = None
        for batch in itertools.islice(made, BATCHES_PER_PART):
            whole = prepared(batch, rows, seed)
            writer = writer or pa.ipc.new_file(str(file), whole.schema)
            writer.write_batch(whole)
            rows += whole.num_rows
        if writer is None:
            break
        writer.close()
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
        fingerprint.update(digest.encode())
        parts.append(
            {"file": file.name, "rows": rows - before, "bytes": file.stat().st_size, "digest": digest}
        )
    summary = {
        "format": 1,
        "root": ".",
        "rows": rows,
        "parts": parts,
        "fingerprint": fingerprint.hexdigest(),
        "ids_distinct": True,
        "captionkit": "0",
        "settings": {"seed": seed},
        "found": {},
    }
    (folder / "manifest.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")


def write_table(made: Iterator[pa.RecordBatch], path: Path) -> None:
    """One file, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    writer: Any = None
    for batch in made:
        if writer is None:
            arrow = path.suffix == ".arrow"
            writer = (
                pa.ipc.new_file(str(partial), batch.schema)
                if arrow
                else pq.ParquetWriter(partial, batch.schema)
            )
        writer.write_batch(batch)
    writer.close()
    partial.replace(path)


def main() -> None:
    """Write the table, or the folder."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("tags", type=Path, help="name, category, post count; .csv or .csv.gz without header")
    parser.add_argument("rows", type=int)
    parser.add_argument("out", type=Path, help=".parquet, .arrow, or a folder")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    made = batches(options.tags, options.rows, options.seed)
    if options.out.suffix:
        write_table(made, options.out)
    else:
        write_folder(made, options.out, options.seed)


if __name__ == "__main__":
    main()
