"""Captions alone: what is known about two pictures, and the text that each training step sees.

Usage:
    python examples/01_captions_alone.py

Needs only captionkit; a picture is a name here. The texts are the same wherever and whenever this runs.
"""

from captionkit import Prose, Record, Tag, preset

RECORDS = [
    Record(
        id="fox",
        tags=(
            Tag("solo"),
            Tag("red_fox", category="species"),
            Tag("fox", category="species"),
            Tag("animal", category="species"),
            *(Tag(name) for name in ("snow", "forest", "running", "winter", "looking_at_viewer")),
        ),
        prose=(Prose("The image showcases a red fox, which appears to be running.", source="cogvlm"),),
    ),
    Record(id="sign", tags=(Tag("stop_sign"), Tag("sign"), Tag("text_on_sign"), Tag("street"))),
]

# The whole recipe of a fine-tune of 3.3 million pictures; three settings are yours.
PIPELINE = preset(
    "hyperfusion",
    important=["solo"],
    implications={"red_fox": ["fox"], "fox": ["animal"], "stop_sign": ["sign"]},
    seed=1,
)


def main() -> None:
    """Print several draws of every record, then one draw step by step."""
    for record in RECORDS:
        print(f"{record.id}: {'may' if PIPELINE.may_flip(record) else 'must not'} be mirrored")
        for draw, rendered in enumerate(PIPELINE.render_many(record, 5)):
            print(f"  {draw}  {rendered.source:18}{rendered.text or '(empty)'}")

    print("\nwhy fox, draw 0, reads as it does:")
    for step in PIPELINE.explain(RECORDS[0], draw=0).trace:
        print(f"  {step.address:25}{step.reason}")


if __name__ == "__main__":
    main()
