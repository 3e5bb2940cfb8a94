"""What a person does on the review page: answers its questions and saves the file that it downloads.

Usage: python label.py REVIEW
This person knows the answers: the pictures are those of draw.py.
"""

import json
import random
import re
import sys
from pathlib import Path

from trainkit.demo.scenes import full_scene
from trainkit.demo.words import tags_of

_DATA = re.compile(r'<script type="application/json" id="data">(.*?)</script>', re.DOTALL)


def main(review: str) -> None:
    """Answer all pages of a review."""
    lines = []
    for page in sorted(Path(review).glob("review*.html")):
        found = _DATA.search(page.read_text(encoding="utf-8"))
        assert found is not None
        data = json.loads(found[1])
        for question in data["questions"]:
            picture = data["pictures"][question["picture"]]["id"]
            scene = full_scene(random.Random(f"scene {int(picture)}"))
            true = {tag.name.replace("_", " ") for tag in tags_of(scene)}
            asked = question["answers"] or [question["subject"]]  # A group's tags, or one tag by itself.
            lines += [{"id": picture, "tag": tag, "right": tag in true} for tag in asked]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    Path(review, "corrections.jsonl").write_text(text, encoding="utf-8")
    print(f"{len(lines)} answers in {review}/corrections.jsonl")


if __name__ == "__main__":
    main(*sys.argv[1:])
