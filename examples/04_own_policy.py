"""A policy of your own: thirty lines with its test, and a recipe that uses it beside the built-in ones.

Usage:
    pip install '.[test]'
    python examples/04_own_policy.py

The test is three lines; pytest would find it by its name.
"""

from typing import Literal

from captionkit import Caption, Claim, Draws, Policy, Probability, Record, Tag, load_pipeline
from captionkit.testing import check_policy


class DropCategory(Policy):
    """Leave out all tags of a category, or none."""

    kind: Literal["drop_category"] = "drop_category"
    category: str
    """The category to leave out."""
    p: Probability = 0.5
    """How often it is left out."""

    def apply(self, caption: Caption, draws: Draws) -> Caption:
        """The caption with or without the tags."""
        if not draws.chance(self.p):
            return caption
        return caption.with_tags(tuple(tag for tag in caption.tags if tag.category != self.category))

    def claims(self) -> frozenset[Claim]:
        """It only removes, and can be turned off."""
        return frozenset({"subset", "off at zero"})


def test_drop_category() -> None:
    """Every law that a policy keeps."""
    check_policy(DropCategory(category="artist"))


def main() -> None:
    """Test it, then render with it."""
    test_drop_category()
    print("keeps every law")
    recipe = {"steps": [{"kind": "drop_category", "category": "artist"}, {"kind": "shuffle_tags"}]}
    pipeline = load_pipeline(recipe, kinds=[DropCategory])
    record = Record("picture 1", (Tag("red fox"), Tag("snow"), Tag("by someone", "artist")))
    for rendered in pipeline.render_many(record, 6):
        print(rendered.text)


if __name__ == "__main__":
    main()
