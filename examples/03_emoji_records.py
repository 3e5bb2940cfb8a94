"""Somebody's metadata to records: the Noto emoji with their labels, keywords and groups, ready for trainkit.

Usage:
    python examples/03_emoji_records.py path/to/emoji/metadata.jsonl build/emoji
    trainkit check examples/configs/emoji.toml
    trainkit train examples/configs/emoji.toml

A line of the metadata is {"file", "caption", "tags", "group", "subgroup"}; the pictures lie beside the file.
Writes records.jsonl (label as caption; keywords, subgroup and group as tags) and implications.csv
(subgroup -> group).
Without arguments it shows what one line becomes.
"""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Any

SAMPLE = {
    "file": "fox.png",
    "caption": "fox",
    "tags": ["animal"],
    "group": "animals-nature",
    "subgroup": "animal-mammal",
}


def as_record(row: dict[str, Any], folder: str) -> dict[str, object]:
    """One line of metadata as one line that captionkit reads."""
    tags = {"keyword": row["tags"]}
    if row["group"]:
        tags |= {"subgroup": [row["subgroup"]], "group": [row["group"]]}
    captions = {"label": row["caption"]}
    return {"file": os.path.join(folder, row["file"]), "tags": tags, "captions": captions}


def main(arguments: list[str]) -> None:
    """Convert a metadata file, or show one line."""
    if not arguments:
        print(json.dumps(as_record(SAMPLE, "."), indent=2))
        return
    metadata, out = Path(arguments[0]), Path(arguments[1])
    rows = [json.loads(line) for line in metadata.read_text(encoding="utf-8").splitlines()]
    out.mkdir(parents=True, exist_ok=True)
    folder = str(metadata.parent.resolve())  # A path with ".." would be refused: no picture lies outside.
    lines = [json.dumps(as_record(row, folder)) + "\n" for row in rows]
    (out / "records.jsonl").write_text("".join(lines), encoding="utf-8")
    edges = sorted({(row["subgroup"], row["group"]) for row in rows if row["group"]})
    with (out / "implications.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["id", "antecedent_name", "consequent_name", "created_at", "status"])
        table.writerows([number, *edge, "", "active"] for number, edge in enumerate(edges, start=1))
    print(f"{len(lines)} records and {len(edges)} implications in {out}")


if __name__ == "__main__":
    main(sys.argv[1:])
